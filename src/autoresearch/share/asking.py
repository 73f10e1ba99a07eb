"""
Whom to ask for receipts that are missing here: one peer at a time, in the order in which their beacons came.

For transports that pass messages. Counts turns and answers, never seconds.
"""

from collections.abc import Iterable

from autoresearch.share.exchange import Exchange

SKIPPED = 16  # beacons, at most, of somebody whose answers brought nothing


class Asking:
    """Who is to be asked. The transport asks `next()`, and in the end says `answered` or `lost`."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.asked = ""  # who is being asked now
        self._want: dict[str, None] = {}
        self._vain: dict[str, int] = {}  # answers in a row that brought nothing
        self._skip: dict[str, int] = {}  # beacons that are still let pass

    def hear(self, beacon: bytes) -> None:
        peer = self.exchange.hear(beacon)
        if not peer:
            return
        if self._skip.get(peer, 0):
            self._skip[peer] -= 1
        else:
            self._want[peer] = None

    def again(self, peer: str) -> None:
        """There is reason to ask this peer, whatever its beacon says."""
        if peer in self.exchange.heard:
            self._skip.pop(peer, None)
            self._want[peer] = None

    def next(self) -> str:
        """The peer to ask now; "" while another is being asked, or where there is none."""
        while not self.asked and self._want:
            peer = next(iter(self._want))
            del self._want[peer]
            if self.exchange.differs(peer):  # others may have told us meanwhile
                self.asked = peer
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
            self._vain[peer] = min(SKIPPED, self._vain.get(peer, 0) * 2 + 1)
            self._skip[peer] = self._vain[peer] - 1
        self._forget()

    def lost(self) -> None:
        """No answer came; whoever was asked is asked again when he is heard."""
        self.asked = ""
        self._forget()

    def _forget(self) -> None:
        for table in (self._vain, self._skip):
            for gone in [name for name in table if name not in self.exchange.heard]:
                del table[gone]
