"""
Whom to ask for receipts that are missing here: one peer at a time, in the order in which their beacons came.

For transports that pass messages. Counts beacons and answers, never seconds.
"""

from collections.abc import Iterable

from msgspec import Struct

from autoresearch.share.exchange import Exchange

SKIPPED = 16  # beacons, at most, of somebody who had nothing for us and says that nothing has changed


class Vain(Struct):
    """Answers in a row that brought nothing: how many, what the beacon said then, and how many like it are let pass."""

    digest: str
    times: int
    skip: int


class Asking:
    """Who is to be asked. The transport asks `next()`, and in the end says `answered` or `lost`."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.asked = ""  # who is being asked now
        self._digest = ""  # what his beacon said
        self._want: dict[str, None] = {}
        self._vain: dict[str, Vain] = {}

    def hear(self, beacon: bytes) -> None:
        peer = self.exchange.hear(beacon)
        if not peer:
            return
        vain = self._vain.get(peer)
        if vain is not None and vain.skip and vain.digest == self.exchange.heard[peer].beacon.digest:
            vain.skip -= 1
        else:
            self._want[peer] = None

    def again(self, peer: str) -> None:
        """There is reason to ask this peer now."""
        if peer in self.exchange.heard:
            self._want[peer] = None

    def next(self) -> str:
        """The peer to ask now; "" while another is being asked, or where there is none."""
        while not self.asked and self._want:
            peer = next(iter(self._want))
            del self._want[peer]
            if self.exchange.differs(peer):  # others may have told us meanwhile
                self.asked, self._digest = peer, self.exchange.heard[peer].beacon.digest
                return peer
        return ""

    def answered(self, receipts: Iterable[bytes]) -> None:
        """
        Take what came. Whoever had something new is asked again: there may be more, and another story needs a second question.
        """
        peer, self.asked = self.asked, ""
        before = self.exchange.book.digest()
        for data in receipts:
            self.exchange.take(data)
        if self.exchange.book.digest() != before:
            self._vain.pop(peer, None)
            self.again(peer)
        else:
            times = self._vain[peer].times + 1 if peer in self._vain else 0
            self._vain[peer] = Vain(self._digest, times, min(SKIPPED, (1 << min(times, 10)) - 1))
        for gone in [name for name in self._vain if name not in self.exchange.heard]:
            del self._vain[gone]

    def lost(self) -> None:
        """No answer came; whoever was asked is asked again when he is heard."""
        self.asked = ""
