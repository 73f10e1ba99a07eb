"""
Making the sets of receipts of many peers equal, over any transport.

A peer says now and then, in a beacon, what its set comes to: one digest for all of it. Who hears a digest that its own never was asks
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
from autoresearch.share.receipt import Id, Peer, Refused

ANSWER = 1 << 20  # bytes of receipts in one answer; who lacks more asks again
MOST_HEADS = 2 << 20  # bytes of a question
MOST_LEASES = 256
MOST_BEACON = 32 << 10  # bytes
HAD = 1024  # digests of one's own that are remembered
STRANGERS = 64  # peers that are heard, but did not introduce themselves yet


class Beacon(Struct, frozen=True, forbid_unknown_fields=True):
    """
    What a peer is at. `beat` grows with each; `digest` is that of its book; `leases` are keys of what it is measuring now.
    """

    peer: Peer
    beat: Annotated[int, Meta(ge=1, le=receipt.LARGEST)]
    digest: Id
    leases: Annotated[tuple[Annotated[str, Meta(pattern=r"^[0-9a-f]{8,64}\Z")], ...], Meta(max_length=MOST_LEASES)]
    sign: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{86}\Z")]


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
        self.heard: dict[str, Heard] = {}  # the one that was silent longest comes first
        self._had: dict[str, None] = {}  # digests of our own book, lately
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
        return self.book.question()

    # -- what one hears ------------------------------------------------------------------------------------

    def hear(self, data: bytes) -> str:
        """
        Take a beacon. The peer to ask, where it may know what we do not; else "".
        """
        try:
            found = _beacon.decode(data[: MOST_BEACON + 1])
        except (msgspec.MsgspecError, ValueError):
            self.refused("a beacon is malformed")
            return ""
        if found.peer == self.me.peer or not self._later(found):
            return ""
        if not identity.verify(found.peer, _line(found.peer, found.beat, found.digest, found.leases), found.sign):
            self.refused("a beacon is not signed by its peer")
            return ""
        with self._lock:
            if not self._later(found):
                return ""
            self.heard.pop(found.peer, None)
            self.heard[found.peer] = Heard(found, self.clock())
            if found.peer not in self.book.chains:
                strangers = [peer for peer in self.heard if peer not in self.book.chains]
                if len(strangers) > STRANGERS:
                    del self.heard[
                        strangers[0]
                    ]  # names cost nothing: whoever makes up many must not keep newcomers out
        return found.peer if self.differs(found.peer) else ""

    def _later(self, found: Beacon) -> bool:
        known = self.heard.get(found.peer)
        return known is None or known.beacon.beat < found.beat

    def differs(self, peer: str) -> bool:
        """Whether somebody may know what we do not: what we knew before is part of what we know, and is not asked for."""
        known, digest = self.heard.get(peer), self.book.digest()
        with self._lock:
            self._had[digest] = None
            if len(self._had) > HAD:
                del self._had[next(iter(self._had))]
            return known is not None and known.beacon.digest not in self._had

    def answer(self, question: bytes) -> list[bytes]:
        """What somebody lacks who asks like this; nothing where it is no question."""
        if len(question) > MOST_HEADS:
            return []
        try:
            theirs = msgspec.json.decode(question, type=dict[Peer, Head])
        except (msgspec.MsgspecError, ValueError):
            self.refused("a question is malformed")
            return []
        return self.book.missing(theirs, ANSWER)

    def take(self, data: bytes) -> bool:
        """
        Take a receipt, from whomever. Whether there is reason to ask again soon: it, or one that waited for it, belongs to another
        story than the one that is known here. A question says which story that is, so its answer then begins with the first.

        Raises:
            StudyError: the disk refused.
        """
        try:
            outcome = self.book.take(data)
        except Refused as error:
            self.refused(str(error))
            return False
        if outcome not in ("known", "waits"):
            self._tell_of_caught()
        return outcome in ("split", "caught")

    def _tell_of_caught(self) -> None:
        """Show the proof that no receipt shows which counts; not before we introduced ourselves, nor once we were caught."""
        if not self.book.caught:
            return
        with self.book.lock:
            head = self.book.head(self.me.peer)
            if head.seq and not head.caught:
                for proof in self.book.unshown():
                    self.book.say(self.me, proof)


_beacon = msgspec.json.Decoder(Beacon)


def _line(peer: str, beat: int, digest: str, leases: Iterable[str]) -> bytes:
    return f"autoresearch beacon {receipt.VERSION} {peer} {beat} {digest} {','.join(leases)}".encode()
