"""
Networks that lose, double and reorder what passes: one in memory, and an `Exchange` that treats any real one like that.
"""

import random
from collections.abc import Callable, Iterable
from pathlib import Path

from autoresearch.share.asking import Asking
from autoresearch.share.book import Book
from autoresearch.share.exchange import Exchange
from autoresearch.share.identity import Identity
from autoresearch.share.receipt import Body, Finding, Hello, Ran

LOST, DOUBLED, LATE = 0.2, 0.2, 0.3  # of all messages
STUDY = "0123456789abcdef"
PATIENCE = 3  # turns that an answer may take
BEAT = 3  # turns from one beacon to the next, of which each costs everybody a signature's check
PATCH = "--- a/train.py\n+++ b/train.py\n@@ -1,3 +1,3 @@\n" + "".join(
    f"-    scale_{n} = 0.02\n+    scale_{n} = math.sqrt(2 / fan_in)\n" for n in range(4)
)


def identity(number: int) -> Identity:
    return Identity(number.to_bytes(32, "big"))


def hello(number: int) -> Hello:
    return Hello(f"peer {number}", "2 cores", identity(number).box_key)


def finding(number: int, about: str = "") -> Finding:
    """A finding of ordinary size."""
    runs = tuple(Ran(number * 8 + k, k, 1.25 + number / 1000 + k / 7) for k in range(3))
    base = tuple(Ran(k, k, 1.5 + k / 7) for k in range(3))
    return Finding(
        study=STUDY,
        tier="2 cores, 1000 steps",
        direction="minimize",
        budget="60 s",
        base=f"{7:040x}",
        key=f"{number:016x}",
        word="keep",
        idea=f"scale what layer {number} begins with by the number of its inputs, as He et al. do",
        trial=number,
        runs=runs,
        base_runs=base,
        patch=PATCH,
        noise=0.01,
        gain=0.25,
        error=0.008,
        cost=1.02,
        about=about,
    )


Message = tuple[str, str, bytes | list[bytes]]  # kind, from whom, what


class Net:
    """All messages on their way. `passes` says who reaches whom."""

    def __init__(self, seed: int, lossy: bool = True) -> None:
        self.random = random.Random(seed)
        self.lossy = lossy
        self.boxes: dict[str, list[Message]] = {}
        self.passes: Callable[[str, str], bool] = lambda one, other: True
        self.sent = 0

    def send(self, to: str, message: Message) -> None:
        self.sent += 1
        if to not in self.boxes or not self.passes(message[1], to) or (self.lossy and self.random.random() < LOST):
            return
        for _ in range(2 if self.lossy and self.random.random() < DOUBLED else 1):
            box = self.boxes[to]
            late = self.lossy and self.random.random() < LATE
            box.insert(self.random.randint(0, len(box)) if late else len(box), message)

    def to_all(self, message: Message) -> None:
        for to in tuple(self.boxes):
            if to != message[1]:
                self.send(to, message)


class OnNet:
    """A `Share` on such a net."""

    name = "net"

    def __init__(self, net: Net, exchange: Exchange) -> None:
        self.net, self.exchange, self.asking, self.me = net, exchange, Asking(exchange), exchange.me.peer
        self._turns = 0
        net.boxes[self.me] = []

    def show(self, data: bytes) -> None:
        self.net.to_all(("receipt", self.me, data))

    def beat(self, beacon: bytes) -> None:
        self.net.to_all(("beacon", self.me, beacon))

    def turn(self) -> str:
        box = self.net.boxes[self.me]
        self.net.boxes[self.me] = []
        for kind, peer, data in box:
            match kind, data:
                case "receipt", bytes():
                    if self.exchange.take(data):
                        self.asking.again(peer)
                case "beacon", bytes():
                    self.asking.hear(data)
                case "question", bytes():
                    self.net.send(peer, ("answer", self.me, self.exchange.answer(data)))
                case "answer", list() if peer == self.asking.asked:
                    self.asking.answered(data)
        self._turns = self._turns + 1 if self.asking.asked else 0
        if self._turns > PATIENCE:
            self.asking.lost()
        if peer := self.asking.next():
            self._turns = 0
            self.net.send(peer, ("question", self.me, self.exchange.question()))
        return ""

    def close(self) -> None:
        self.net.boxes.pop(self.me, None)


class Node:
    """A peer on such a net: its book is a file, and it can be killed."""

    def __init__(self, net: Net, number: int, folder: Path | None = None, epoch: int = 1) -> None:
        self.net, self.number, self.folder, self.epoch = net, number, folder, epoch
        self.me = identity(number)
        self.book = Book(folder / f"{number}.jsonl" if folder else None)
        self.refused: list[str] = []
        self.turns = number
        self.exchange = Exchange(self.book, self.me, epoch, lambda: 0.0, self.refused.append)
        self.share = OnNet(net, self.exchange)
        if not self.book.head(self.me.peer).seq:
            self.say(hello(number))

    def say(self, body: Body) -> bytes:
        data = self.book.say(self.me, body)
        self.share.show(data)
        return data

    def turn(self) -> None:
        self.share.turn()
        self.turns += 1
        if self.turns % BEAT == 0:
            self.share.beat(self.exchange.beacon())

    def killed(self) -> None:
        """Nothing is closed in good order: what the file holds is all that is left."""
        self.share.close()
        self.book.close()

    def restarted(self) -> "Node":
        return Node(self.net, self.number, self.folder, self.epoch + 1)


class Lossy(Exchange):
    """An exchange to which any network is a bad one."""

    random = random.Random(1)

    def hear(self, data: bytes) -> str:
        return "" if self.random.random() < LOST else super().hear(data)

    def take(self, data: bytes) -> bool:
        if self.random.random() < LOST:
            return False
        if self.random.random() < DOUBLED:
            super().take(data)
        return super().take(data)

    def answer(self, question: bytes) -> list[bytes]:
        if self.random.random() < LOST:
            return []
        found = super().answer(question)
        for at in range(len(found) - 1):
            if self.random.random() < LATE:
                found[at], found[at + 1] = found[at + 1], found[at]
        return found


def turns_until_equal(nodes: Iterable[Node], most: int = 400) -> int:
    """Turns until all digests are equal. Fails where they do not get there."""
    nodes = tuple(nodes)
    for turn in range(most):
        if len({node.book.digest() for node in nodes}) == 1:
            return turn
        for node in nodes:
            node.turn()
    raise AssertionError(f"not equal after {most} turns: {[node.book.heads() for node in nodes[:3]]}")
