"""
Making the sets of receipts of many peers equal, over any transport.

A peer says now and then, in a beacon, what its set comes to: one digest for all of it. Who hears another digest than its own asks
for what it lacks, saying how far it knows each peer; the answer is receipts, each of which is checked as if it had come from a
stranger, since it may have. Lost, doubled and reordered messages cost time and nothing else.

What a transport has to do is `Share`: carry beacons, questions and receipts, in whatever order, or not at all.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta, Struct

from autoresearch.share import identity, receipt
from autoresearch.share.book import Book, Head
from autoresearch.share.identity import Identity
from autoresearch.share.receipt import Caught, Id, Peer, Refused

ANSWER = 1 << 20  # bytes of receipts in one answer; who lacks more asks again
MOST_HEADS = 2 << 20  # bytes of a question
MOST_LEASES = 256


class Beacon(Struct, frozen=True, forbid_unknown_fields=True):
    """
    What a peer is at. `beat` grows with each; `digest` is that of its book; `leases` are keys of what it is measuring now.
    """

    peer: Peer
    beat: Annotated[int, Meta(ge=1, le=receipt.LARGEST)]
    digest: Id
    leases: Annotated[tuple[Annotated[str, Meta(pattern="^[0-9a-f]{8,64}$")], ...], Meta(max_length=MOST_LEASES)]
    sign: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{86}$")]


class Share(Protocol):
    """A way to other peers. Nothing it does may raise for want of a network: it then reaches nobody."""

    name: str

    def show(self, data: bytes) -> None:
        """Pass a receipt of one's own on to whoever is there."""
        ...

    def beat(self, beacon: bytes) -> None:
        """Pass a beacon on, in place of the one before."""
        ...

    def turn(self) -> str:
        """Do what takes time, now: fetch, push, ask. A sentence where it failed, else ""."""
        ...

    def close(self) -> None: ...


class Heard(Struct):
    """The latest beacon of a peer, and when it came, by our own clock."""

    beacon: Beacon
    at: float


class Exchange:
    """
    One peer's side. `clock` is in seconds and only ever compared with itself; `refused` is told who brought what, and why it
    was not taken.
    """

    def __init__(
        self,
        book: Book,
        me: Identity,
        epoch: int,
        clock: Callable[[], float],
        refused: Callable[[str], None] = lambda why: None,
    ) -> None:
        self.book, self.me, self.clock, self.refused = book, me, clock, refused
        self.heard: dict[str, Heard] = {}
        self._beat = epoch << 32
        self._lock = threading.Lock()

    # -- what one says -------------------------------------------------------------------------------------

    def beacon(self, leases: Iterable[str] = ()) -> bytes:
        with self._lock:
            self._beat += 1
            beat = self._beat
        said = sorted(leases)[:MOST_LEASES]
        digest = self.book.digest()
        sign = self.me.sign(_line(self.me.peer, beat, digest, said))
        return receipt.canonical(Beacon(self.me.peer, beat, digest, tuple(said), sign))

    def question(self) -> bytes:
        """How far each peer is known here."""
        return msgspec.json.encode(self.book.heads())

    # -- what one hears ------------------------------------------------------------------------------------

    def hear(self, data: bytes) -> str:
        """
        Take a beacon. The peer to ask, where it knows what we do not or the other way round; else "".
        """
        try:
            found = msgspec.json.decode(data, type=Beacon)
        except (msgspec.MsgspecError, ValueError):
            self.refused("a beacon is malformed")
            return ""
        known = self.heard.get(found.peer)
        if found.peer == self.me.peer or (known and known.beacon.beat >= found.beat):
            return ""
        if found.peer not in self.book.chains and len(self.heard) > 4 * len(self.book.chains) + 64:
            return ""  # strangers without end
        if not identity.verify(found.peer, _line(found.peer, found.beat, found.digest, found.leases), found.sign):
            self.refused("a beacon is not signed by its peer")
            return ""
        self.heard[found.peer] = Heard(found, self.clock())
        return found.peer if found.digest != self.book.digest() else ""

    def answer(self, question: bytes) -> list[bytes]:
        """What somebody lacks who asks like this; nothing where it is no question."""
        if len(question) > MOST_HEADS:
            return []
        try:
            theirs = msgspec.json.decode(question, type=dict[Peer, Head])
        except (msgspec.MsgspecError, ValueError):
            self.refused("a question is malformed")
            return []
        return list(self.book.missing(theirs, ANSWER))

    def take(self, data: bytes) -> bool:
        """Take a receipt, from whomever. Whether it, or one that follows on it, is wanted once more from the first."""
        try:
            outcome = self.book.take(data)
        except Refused as error:
            self.refused(str(error))
            return False
        if outcome == "caught":
            self._tell_of_caught()
        return outcome in ("split", "caught")

    def _tell_of_caught(self) -> None:
        """Make proof of what was found here, which nobody else may have."""
        with self.book.lock:
            entries = tuple(self.book.entries.values())
            bodies = (entry.receipt.body for entry in entries)
            shown = {(body.peer, body.one.seq) for body in bodies if isinstance(body, Caught)}
            for peer, (one, other) in self.book.caught.items():
                if (peer, one.seq) not in shown and peer != self.me.peer:
                    self.book.say(self.me, Caught(peer, one, other))


def _line(peer: str, beat: int, digest: str, leases: Iterable[str]) -> bytes:
    return f"autoresearch beacon {receipt.VERSION} {peer} {beat} {digest} {','.join(leases)}".encode()
