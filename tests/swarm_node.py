"""
A peer as a process of its own, on a real transport that is made a bad one, and what starts, asks and kills it.

    python swarm_node.py FOLDER NUMBER git|zenoh ADDRESS [ADDRESS...]

Reads `say N` from its input; writes `at ENDPOINT`, `said ID` once a receipt is on the disk, and `has DIGEST RECEIPTS`.
"""

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lossy import STUDY, Lossy, finding, hello, identity

from autoresearch.share import receipt
from autoresearch.share.book import Book
from autoresearch.share.exchange import Share
from autoresearch.share.over_git import OverGit
from autoresearch.share.over_zenoh import OverZenoh

BEAT_S = 0.05
PATIENCE_S = 60.0


def main(folder: Path, number: int, way: str, addresses: Sequence[str]) -> None:
    me, book = identity(number), Book(folder / f"{number}.jsonl")
    woken, asked, epoch = threading.Event(), queue.SimpleQueue[str](), len(book.entries) + 1
    exchange = Lossy(book, me, epoch, time.monotonic, lambda why: print("refused", why, flush=True))
    exchange.random.seed(number)
    share: Share
    if way == "git":
        share = OverGit(exchange, folder / f"{number}.git", addresses[0], STUDY, pace=0.0)
    else:
        share = OverZenoh(exchange, STUDY, connect=addresses, wake=woken.set)

    def listen() -> None:
        for line in sys.stdin:
            asked.put(line)

    threading.Thread(target=listen, daemon=True).start()
    told, beaten, at = "", 0.0, ""
    while True:
        if not book.head(me.peer).seq:
            share.show(book.say(me, hello(number)))
        with contextlib.suppress(queue.Empty):
            for k in range(int(asked.get_nowait().split()[1])):
                data = book.say(me, finding(k))
                print("said", receipt.read(data).id, flush=True)
                if exchange.random.random() > 0.2:
                    share.show(data)
        if time.monotonic() - beaten > BEAT_S:
            beaten = time.monotonic()
            share.beat(exchange.beacon())
        share.turn()
        if isinstance(share, OverZenoh) and at != share.endpoint:
            at = share.endpoint
            print("at", at, flush=True)
        if told != book.digest():
            told = book.digest()
            print("has", told, len(book.entries), flush=True)
        woken.wait(0.01)
        woken.clear()


class Running:
    """Such a process."""

    def __init__(self, folder: Path, number: int, way: str, *addresses: str) -> None:
        self.args = (folder, number, way, addresses)
        self.said: list[str] = []
        self.refused: list[str] = []
        self.digest, self.receipts, self.endpoint = "", 0, ""
        self.process = self._start(addresses)

    def _start(self, addresses: Sequence[str]) -> "subprocess.Popen[str]":
        folder, number, way, _ = self.args
        words = [sys.executable, __file__, str(folder), str(number), way, *addresses]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._reader.start()
        return process

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.endswith("\n"):
                return  # killed in the middle of a word
            word, _, rest = line.strip().partition(" ")
            match word:
                case "at":
                    self.endpoint = rest
                case "said":
                    self.said.append(rest)
                case "refused":
                    self.refused.append(rest)
                case "has" if " " in rest:
                    self.digest, self.receipts = rest.split()[0], int(rest.split()[1])

    def say(self, number: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"say {number}\n")
        self.process.stdin.flush()

    def sockets(self) -> list[str]:
        fds = Path(f"/proc/{self.process.pid}/fd")
        return [link for fd in os.listdir(fds) if (link := os.readlink(fds / fd)).startswith("socket:")]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def restart(self, *addresses: str) -> None:
        self.digest, self.endpoint = "", ""
        self.process = self._start(addresses or self.args[3])


def until(true: Callable[[], bool], what: str, nodes: Sequence[Running] = ()) -> None:
    """Wait; a minute is for a machine that has other things to do."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not {what}: {[(node.args[1], node.receipts, node.digest[:6]) for node in nodes]}")
        time.sleep(0.02)


def until_equal(nodes: Sequence[Running]) -> None:
    """Wait until all know all that was said, a greeting of each included, and check that it is that."""
    said = {id for node in nodes for id in node.said}

    def equal() -> bool:
        if len({node.digest for node in nodes}) > 1:
            return False
        known = Book(nodes[0].args[0] / f"{nodes[0].args[1]}.jsonl")
        known.close()
        return said <= known.entries.keys() and len(known.chains) == len(nodes) and known.digest() == nodes[0].digest

    until(equal, "equal", nodes)
    assert not [why for node in nodes for why in node.refused]


def faults(folder: Path, way: str, peers: int, each: int, killed: int = 5) -> tuple[int, dict[str, float]]:
    """
    All that may go wrong in a night, on a real transport that also loses, doubles and reorders: two halves that cannot reach each other, some
    peers killed in the middle of their words and started again, one who joins late and, over Zenoh, is the bridge. How many receipts all
    know in the end, which are all that were said, and what took how many seconds.
    """
    began, took = time.monotonic(), dict[str, float]()

    def passed(what: str) -> None:
        nonlocal began
        took[what], began = time.monotonic() - began, time.monotonic()

    size = (peers + 1) // 2
    remotes = [folder / "a.git", folder / "b.git"]
    for remote in remotes if way == "git" else ():
        subprocess.run(["git", "init", "--quiet", "--bare", remote], check=True)
    halves: list[list[Running]] = [[], []]
    nodes: list[Running] = []
    try:
        for number in range(1, peers + 1):
            which = int(number > size)
            half = halves[which]
            if way == "zenoh" and half:
                until(lambda half=half: bool(half[0].endpoint), "open")  # type: ignore[misc]
            there = [str(remotes[which])] if way == "git" else [half[0].endpoint] if half else []
            half.append(Running(folder, number, way, *there))
            nodes.append(half[-1])
        for half in halves:
            until(lambda half=half: all(node.receipts >= len(half) for node in half), "met", half)  # type: ignore[misc]
        passed("met, each half by itself")
        for node in nodes:
            node.say(each)
        until(lambda: all(len(node.said) >= each // 2 for node in nodes), "said", nodes)
        gone = halves[0][: killed - killed // 2] + halves[1][: killed // 2]
        for node in gone:
            node.kill()
        for node in gone:
            node.restart(*([halves[node in halves[1]][-1].endpoint] if way == "zenoh" else ()))
        for half in halves:
            until(lambda half=half: len({node.digest for node in half}) == 1, "equal in each half", half)  # type: ignore[misc]
        assert halves[0][0].digest != halves[1][0].digest
        passed("said, killed, started again, and equal in each half")
        if way == "git":
            remotes[1].rename(folder / "gone.git")
            remotes[1].symlink_to(remotes[0])
        bridge = [str(remotes[0])] if way == "git" else [half[-1].endpoint for half in halves]
        nodes.append(Running(folder, peers + 1, way, *bridge))
        for node in nodes:
            node.say(2)
        until(lambda: all(len(node.said) >= 2 for node in nodes), "said", nodes)
        until_equal(nodes)
        passed("all equal, with one who came late")
        return nodes[0].receipts, took
    finally:
        for node in nodes:
            node.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
