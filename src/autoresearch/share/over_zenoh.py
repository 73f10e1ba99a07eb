"""
Sharing live, from peer to peer, over Eclipse Zenoh: no server; whoever knows one peer finds the others by gossip.

Keys: autoresearch/<study>/r/<peer> for receipts, .../b/<peer> for beacons (which can also be asked for), and .../q/<peer>
answers questions. Who puts under a key is not known to us: receipts and beacons are signed, and the peer in a key only
says whose share of our attention it takes. What comes is bounded before it is looked at; zenoh's threads only put it on
a queue, and `turn` takes it from there.
"""

import contextlib
import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from autoresearch.errors import MissingExtra, StudyError
from autoresearch.share.asking import Asking
from autoresearch.share.exchange import ANSWER, MOST_BEACON, MOST_HEADS, Exchange
from autoresearch.share.receipt import MOST_BYTES, PEER

if TYPE_CHECKING:
    import zenoh

LOOPBACK = "tcp/127.0.0.1:0"
QUEUED = 1024  # messages that wait for the next turn
OF_ONE = {"r": 64, "b": 8}  # messages under one peer's name in one turn; more are lost, and asked for later
QUESTIONS, QUESTION_BYTES = 256, 32 << 20  # that wait
ANSWERED = 16  # questions in one turn
LINES = ANSWER >> 8  # of an answer; no receipt is as short as that
REPLIES = 4  # that are looked at: anybody may answer in a peer's place, so the first is not all
ASK_S = 10.0  # until a question is given up
MOST_MESSAGE = 4 << 20  # bytes that zenoh puts together for us


class _Asked(Struct):
    """A question under way. Zenoh's threads fill it."""

    replies: list[bytes] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)


class OverZenoh:
    """
    A `Share` over Zenoh. `listen` and `connect` are its endpoints ("tcp/192.168.0.7:7447"), port 0 any that is free; `settings` are
    more of its configuration, by path (TLS, say). `wake` is called on another thread when there is something to do.

    Raises:
        MissingExtra: the extra `swarm` is not installed.
        StudyError: an endpoint or a setting is none.
    """

    name = "zenoh"

    def __init__(
        self,
        exchange: Exchange,
        study: str,
        listen: str = LOOPBACK,
        connect: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        wake: Callable[[], object] = lambda: None,
    ) -> None:
        try:
            import zenoh
        except ImportError:
            raise MissingExtra("eclipse-zenoh", "swarm", "sharing from peer to peer") from None
        self._zenoh = zenoh
        self.exchange, self.asking, self.me = exchange, Asking(exchange), exchange.me.peer
        self.root = f"autoresearch/{study[:16]}"
        self.listen, self.connect, self._settings, self._wake = listen, list(connect), dict(settings or {}), wake
        self.endpoint = ""  # where we can be reached, once there was a turn
        self._session: zenoh.Session | None = None
        self._closed = False
        self._beacon = b""
        self._came: deque[tuple[str, str, bytes]] = deque()
        self._counts: dict[tuple[str, str], int] = {}
        self._questions: deque[tuple[zenoh.Query, int]] = deque()
        self._asked: _Asked | None = None
        self._called: _Asked | None = None
        self._config(listen)

    def _config(self, listen: str) -> "zenoh.Config":
        ours = {
            "mode": "peer",
            "scouting/multicast/enabled": False,
            "scouting/gossip/enabled": True,
            "listen/endpoints": [listen],
            "connect/endpoints": self.connect,
            "connect/timeout_ms": -1,  # tried again in the background, for ever; with 0, never
            "connect/exit_on_failure": False,
            "transport/link/rx/max_message_size": MOST_MESSAGE,
            "transport/shared_memory/enabled": False,  # 16 MiB of each process here, in the memory of each other one
        }
        config = self._zenoh.Config()
        for path, value in {**ours, **self._settings}.items():
            try:
                config.insert_json5(path, json.dumps(value))
            except self._zenoh.ZError as error:
                raise StudyError(f"swarm: zenoh does not take {value!r} as {path}: {_first(error)}") from None
        return config

    # -- what we say ---------------------------------------------------------------------------------------

    def show(self, data: bytes) -> None:
        self._put("r", data)

    def beat(self, beacon: bytes) -> None:
        self._beacon = beacon
        self._put("b", beacon)

    def _put(self, kind: str, data: bytes) -> None:
        """To whoever is there. To whom it cannot be sent at once, it is not sent: he will ask."""
        session = self._session
        if session is not None:
            with contextlib.suppress(self._zenoh.ZError):
                drop = self._zenoh.CongestionControl.DROP
                session.put(f"{self.root}/{kind}/{self.me}", data, congestion_control=drop)

    # -- on zenoh's threads --------------------------------------------------------------------------------

    def _receive(self, sample: "zenoh.Sample") -> None:
        kind, _, peer = str(sample.key_expr).removeprefix(f"{self.root}/").partition("/")
        at = kind, peer
        most = MOST_BYTES if kind == "r" else MOST_BEACON
        if len(sample.payload) > most or len(self._came) >= QUEUED or not PEER.fullmatch(peer):
            return
        if self._counts.get(at, 0) < OF_ONE.get(kind, 0):
            self._counts[at] = self._counts.get(at, 0) + 1
            self._came.append((kind, peer, sample.payload.to_bytes()))
            self._wake()

    def _receive_question(self, query: "zenoh.Query") -> None:
        """One that is dropped is without an answer, which whoever asked hears."""
        size = len(query.payload) if query.payload is not None else 0
        waiting = sum(size for _, size in tuple(self._questions))
        if 0 < size <= MOST_HEADS and len(self._questions) < QUESTIONS and waiting + size <= QUESTION_BYTES:
            self._questions.append((query, size))
            self._wake()

    def _give_beacon(self, query: "zenoh.Query") -> None:
        with contextlib.suppress(self._zenoh.ZError):
            if self._beacon:
                query.reply(f"{self.root}/b/{self.me}", self._beacon)

    # -- turn by turn --------------------------------------------------------------------------------------

    def turn(self) -> str:
        if self._closed:
            return ""
        try:
            session = self._session or self._open()
            self._take()
            self._answer()
            self._ask(session)
            alone = bool(self.connect) and not session.info.peers_zid()
        except (self._zenoh.ZError, StudyError, OSError) as error:
            return f"sharing over zenoh: {_first(error)}"
        return f"sharing over zenoh: nobody is reached at {', '.join(self.connect)}" if alone else ""

    def _open(self) -> "zenoh.Session":
        listen = _with_port(self.listen)
        session = self._zenoh.open(self._config(listen))
        far = self._zenoh.Locality.REMOTE
        # Not indirect: zenoh would put a queue without an end between itself and us.
        here = self._zenoh.handlers.Callback
        for kind in OF_ONE:
            session.declare_subscriber(f"{self.root}/{kind}/*", here(self._receive, indirect=False), allowed_origin=far)
        for kind, receive in (("q", self._receive_question), ("b", self._give_beacon)):
            session.declare_queryable(
                f"{self.root}/{kind}/{self.me}", here(receive, indirect=False), allowed_origin=far
            )
        self._session, self.endpoint = session, listen
        if self._beacon:
            self._put("b", self._beacon)
        return session

    def _take(self) -> None:
        self._counts = {}
        for _ in range(len(self._came)):
            kind, peer, data = self._came.popleft()
            if kind == "b":
                self.asking.hear(data)
            elif self.exchange.take(data):
                self.asking.again(peer)

    def _answer(self) -> None:
        for _ in range(min(ANSWERED, len(self._questions))):
            query, _ = self._questions.popleft()
            with query:
                asked = query.payload.to_bytes() if query.payload is not None else b""
                query.reply(f"{self.root}/q/{self.me}", b"\n".join(self.exchange.answer(asked)))

    def _ask(self, session: "zenoh.Session") -> None:
        """Ask on, where the last question is done; and who is there, as long as nobody was heard."""
        if self._asked is not None and self._asked.done.is_set():
            replies, self._asked = self._asked.replies, None
            if replies:
                self.asking.answered([line for reply in replies for line in reply.split(b"\n", LINES)[:LINES] if line])
            else:
                self.asking.lost()
        if self._asked is None and (peer := self.asking.next()):
            self._asked = self._get(session, f"{self.root}/q/{peer}", REPLIES, 2 * ANSWER, self.exchange.question())
        if self._called is not None and self._called.done.is_set():
            for beacon in self._called.replies:
                self.asking.hear(beacon)
            self._called = None
        if not self.exchange.heard and self._called is None:
            self._called = self._get(session, f"{self.root}/b/*", QUEUED, MOST_BEACON, None)

    def _get(self, session: "zenoh.Session", key: str, most: int, most_bytes: int, data: bytes | None) -> _Asked:
        asked = _Asked()

        def receive(reply: "zenoh.Reply") -> None:
            sample = reply.ok
            if sample is not None and len(asked.replies) < most and len(sample.payload) <= most_bytes:
                asked.replies.append(sample.payload.to_bytes())

        def finish() -> None:
            asked.done.set()
            if data is not None or asked.replies:  # who is there, where nobody is, is asked again with the next turn
                self._wake()

        handler = self._zenoh.handlers.Callback(receive, finish, indirect=False)
        session.get(key, handler, payload=data, target=self._zenoh.QueryTarget.ALL, timeout=ASK_S)
        return asked

    def close(self) -> None:
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(self._zenoh.ZError):
                session.close()  # type: ignore[no-untyped-call]


def _with_port(listen: str) -> str:
    """The endpoint with a port that is free now, where it leaves that open: zenoh would not tell which it took."""
    head, _, port = listen.rpartition(":")
    if port != "0":
        return listen
    host = head.partition("/")[2].strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return f"{head}:{probe.getsockname()[1]}"


def _first(error: Exception) -> str:
    """What it says, without where in its source it says so."""
    return str(error).partition(" at /")[0][:300]
