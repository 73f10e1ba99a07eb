"""
Real peers over Zenoh, each a process of its own, for benchmarks/swarm_scale.py: how long a receipt is under way to all others, and
what being one of many costs.

    python -m benchmarks.swarm_mesh FOLDER NUMBER [ADDRESS]     is one of them

It reads `say`, `look` and `times` from its input, and answers each but the first with a line of JSON. Its clock is the
machine's own, which all processes here share; no receipt holds a time.
"""

import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct

from autoresearch.share import leases, receipt
from autoresearch.share.book import Book
from autoresearch.share.exchange import Exchange
from autoresearch.share.identity import Identity
from autoresearch.share.node import BEAT_S
from autoresearch.share.over_zenoh import OverZenoh
from autoresearch.share.receipt import Entry, Hello
from benchmarks.swarm_crowd import STUDY, TIERS, measured

PATIENCE_S = 300.0
TIER = next(iter(TIERS))


class Look(Struct, frozen=True):
    """What a peer is at."""

    endpoint: str
    digest: str
    receipts: int
    processor_s: float
    heard: int  # beacons that came
    questions: int  # that it asked


class Times(Struct, frozen=True):
    """When a peer began, and by id when it said its own receipts, and when it had each."""

    began: float
    said: dict[str, float]
    had: dict[str, float]


class Counted(Exchange):
    """An exchange that counts the questions it asks."""

    questions = 0

    def question(self) -> bytes:
        self.questions += 1
        return super().question()


class Peer:
    def __init__(self, folder: Path, number: int, connect: Sequence[str]) -> None:
        self.times = Times(time.monotonic(), {}, {})
        self.me, self.rng = Identity(number.to_bytes(32, "big")), random.Random(number)
        self.book = Book(folder / f"{number}.jsonl", told=self._told)
        self.exchange = Counted(self.book, self.me, 1, time.monotonic, self._refused)
        self.woken, self.asked = threading.Event(), queue.SimpleQueue[str]()
        self.share = OverZenoh(self.exchange, STUDY, connect=connect, wake=self.woken.set)
        self.trials = self.heard = 0
        self.share.show(self.book.say(self.me, Hello(f"peer {number}", TIER, self.me.box_key)))

    def _told(self, entry: Entry) -> None:
        self.times.had[entry.id] = time.monotonic()

    def _refused(self, why: str) -> None:
        print("refused", why, file=sys.stderr, flush=True)

    def say(self) -> None:
        began, self.trials = time.monotonic(), self.trials + 1
        key = f"{self.rng.getrandbits(64):016x}"
        data = self.book.say(self.me, measured(self.rng, TIER, self.trials, key, "an idea of ordinary length", 0.01))
        self.share.show(data)
        self.times.said[receipt.read(data).id] = began

    def work(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        beaten = 0.0
        while True:
            while not self.asked.empty():
                match self.asked.get():
                    case "say":
                        self.say()
                    case "look":
                        beats = {peer: one.beacon.beat for peer, one in self.exchange.heard.copy().items()}
                        self._answer(
                            Look(
                                self.share.endpoint,
                                self.book.digest(),
                                len(self.book.entries),
                                time.process_time(),
                                sum(beat & 0xFFFFFFFF for beat in beats.values()),
                                self.exchange.questions,
                            )
                        )
                    case "times":
                        self._answer(self.times)
                    case _:
                        self.share.close()
                        return
            pace = max(BEAT_S, leases.pace(len(self.exchange.heard)))
            if time.monotonic() - beaten >= pace:
                beaten = time.monotonic()
                self.share.beat(self.exchange.beacon())
            if problem := self.share.turn():
                print(problem, file=sys.stderr, flush=True)
            self.woken.wait(BEAT_S)
            self.woken.clear()

    def _answer(self, what: object) -> None:
        print(msgspec.json.encode(what).decode(), flush=True)

    def _listen(self) -> None:
        for line in sys.stdin:
            self.asked.put(line.strip())
            self.woken.set()
        self.asked.put("end")
        self.woken.set()


class Running:
    """Such a process."""

    def __init__(self, folder: Path, number: int, *connect: str) -> None:
        words = [sys.executable, "-m", "benchmarks.swarm_mesh", str(folder), str(number), *connect]
        self.errors = (folder / f"{number}.err").open("w+")
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )

    def ask(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise SystemExit(f"a peer ended: {self.errors.read()[-2000:]}")
        return line

    def look(self) -> Look:
        self.ask("look")
        return msgspec.json.decode(self.hear(), type=Look)

    def memory(self) -> tuple[float, float]:
        """MiB that it holds, and that it alone holds with its part of what several hold."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        found = {line.split()[0]: int(line.split()[1]) / 1024 for line in text.splitlines()[1:]}
        return found["Rss:"], found["Pss:"]

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()


def look(peers: Sequence[Running]) -> list[Look]:
    for one in peers:
        one.ask("look")
    return [msgspec.json.decode(one.hear(), type=Look) for one in peers]


def until_equal(peers: Sequence[Running], receipts: int) -> list[Look]:
    """Wait until each has as many, and all digests are equal."""
    end = time.monotonic() + PATIENCE_S
    while True:
        found = look(peers)
        if len({one.digest for one in found}) == 1 and found[0].receipts == receipts:
            return found
        if time.monotonic() > end:
            raise SystemExit(f"not equal: {sorted(one.receipts for one in found)} of {receipts}")
        time.sleep(0.25)


class Mesh(Struct, frozen=True):
    """How it went. Seconds, but for memory, which is in MiB."""

    peers: int
    receipts: int
    met_s: float  # from the first process's start until all knew all introductions
    over_s: float  # in which the receipts were said
    equal_s: float  # from the last of them until all had all
    median_s: float  # of all delays from a receipt's being said until one other peer had it
    most_s: float
    all_median_s: float  # ... until the last other peer had it, median over receipts
    late_s: float  # a late joiner's, from its first word until it had all
    idle: float  # cores that all peers took together while nothing was said
    idle_heard: float  # beacons a second that each heard then
    busy: float  # cores while receipts were said
    met_questions: float  # of each peer until all knew all
    questions: float  # of each peer while receipts were said
    rss: float  # of one peer, median
    pss: float


def mesh(folder: Path, peers: int, each: int, over_s: float, idle_s: float = 10.0) -> Mesh:
    """So many peers, of whom each says so many receipts at random moments within `over_s`."""
    folder.mkdir(parents=True, exist_ok=True)
    began, running = time.monotonic(), [Running(folder, 1)]
    try:
        while not (first := running[0].look().endpoint):
            time.sleep(0.05)
        running += [Running(folder, number, first) for number in range(2, peers + 1)]
        met = until_equal(running, peers)
        met_s = time.monotonic() - began
        before, at = look(running), time.monotonic()
        time.sleep(idle_s)
        idle, heard = _cores(before, after := look(running), at), _heard(before, after, at)
        before, at = after, time.monotonic()
        rng = random.Random(1)
        for when, one in sorted((rng.uniform(0, over_s), one) for one in range(peers) for _ in range(each)):
            time.sleep(max(0.0, at + when - time.monotonic()))
            running[one].ask("say")
        last = time.monotonic()
        after = until_equal(running, peers * (each + 1))
        equal_s, busy = time.monotonic() - last, _cores(before, after, at)
        memory = [one.memory() for one in running]
        late = Running(folder, peers + 1, first)
        running.append(late)
        until_equal([late, running[0]], peers * (each + 1) + 1)
        for node in running:
            node.ask("times")
        times = [msgspec.json.decode(one.hear(), type=Times) for one in running]
    finally:
        for node in running:
            node.end()
    said = {id: at for one in times[:-1] for id, at in one.said.items()}
    delays = {id: [one.had[id] - at for one in times[:-1] if id not in one.said] for id, at in said.items()}
    every = [delay for of_one in delays.values() for delay in of_one]
    joined = times[-1]
    return Mesh(
        peers,
        peers * each,
        met_s,
        over_s,
        equal_s,
        median(every),
        max(every),
        median(max(of_one) for of_one in delays.values()),
        max(joined.had.values()) - joined.began,
        idle,
        heard,
        busy,
        _questions(met) / peers,
        (_questions(after) - _questions(before)) / peers,
        median(rss for rss, _ in memory),
        median(pss for _, pss in memory),
    )


def _cores(before: Sequence[Look], after: Sequence[Look], at: float) -> float:
    took = sum(now.processor_s - then.processor_s for then, now in zip(before, after, strict=True))
    return took / (time.monotonic() - at)


def _questions(found: Sequence[Look]) -> int:
    return sum(one.questions for one in found)


def _heard(before: Sequence[Look], after: Sequence[Look], at: float) -> float:
    """Beacons a second and peer; those that were lost on the way count too."""
    took = sum(now.heard - then.heard for then, now in zip(before, after, strict=True))
    return took / len(after) / (time.monotonic() - at)


if __name__ == "__main__":
    Peer(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]).work()
