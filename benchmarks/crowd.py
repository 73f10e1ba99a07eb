"""
How far one head goes: many slots at once, and a long history in one study.

The real loop with its log, git and policy, on an executor of its own: a run waits, so that slots fill, then reads what its
trial wrote and returns. No process is started for a run, and no folder made: what is measured is the head. One trial in
1,000 is a gain, a new best for those that are under way; all others are losses.

    python -m benchmarks.crowd --slots 1000 --trials 100000 --run-s 20 --write

With --folder the study is kept, and the same command goes on with it after it was ended.
"""

import argparse
import contextlib
import itertools
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from autoresearch import session
from autoresearch.events import Event, TrialDecided
from autoresearch.execute import Hopeless
from autoresearch.execute.guarantees import Guarantee
from autoresearch.lab import Lab
from autoresearch.listener import Listener
from autoresearch.log import read
from autoresearch.places import Places
from autoresearch.propose import Tree
from autoresearch.report.brief import Brief
from autoresearch.session import Goal
from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.trial import Limits, Machine, Measurement, Proposal, Run
from autoresearch.web.feed import Feed
from benchmarks.tables import markdown, report

TITLE = "How far one head goes"
STUDY = """
name = "crowd"
asset = ["part/*"]
[metric]
name = "loss"
[measure]
run = "no process is started"
[execute]
sandbox = "none"
[propose]
with = ["benchmarks.crowd:Many"]
"""
PARTS = 16  # files that may change; a trial writes one of them
LUCKY = 1000  # one trial in so many is a gain
MARKS = (1, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)  # trials at which the head is looked at
REPEATS = 5
TIER = "a slot of the crowd"
LOOKS = (["status"], ["status", "--json"], ["log", "--last", "20"], ["show", "50"])


class Many:
    """Writes a line into one of the files, each time another one; the cheapest proposer there is."""

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        number = limits.trial
        gain = 1 if number % LUCKY == 0 else -1
        part = tree.path / "part" / str(number // LUCKY % PARTS if gain > 0 else number % PARTS)
        level = int(part.read_text().split()[0])
        part.write_text(f"{level + gain} {number}\n")
        return Proposal(f"part {part.name} to {level + gain}", "many", {"part": int(part.name), "level": level + gain})


class Crowd:
    """An executor with so many slots, whose runs take `run_s` and start no process."""

    others: Mapping[str, int] = {}

    def __init__(self, slots: int, run_s: float) -> None:
        self.room, self.run_s = slots, run_s
        self.machine = Machine(TIER, 1)
        self.busy_s, self.most, self._busy, self._last = 0.0, 0, 0, time.monotonic()
        self._lock, self._stop = threading.Lock(), threading.Event()

    def run(
        self, run: Run, tree: Path, study: Study, usual: Measurement | None = None, hopeless: Hopeless | None = None
    ) -> Measurement:
        with self._in_use():
            # The baseline's runs come one after the other: nobody waits beside them.
            stopped = self._stop.wait(0.0 if run.trial == 0 else self.run_s)
            if stopped:
                return Measurement("stopped", None, run.digest, self.machine, why="stopped")
            levels = (int(path.read_text().split()[0]) for path in (tree / "part").iterdir())
            seed, own = random.Random(run.seed).gauss(0, 0.1), random.Random(f"{run.tree} {run.seed}").gauss(0, 0.02)
            took_s = max(0.001, self.run_s)
            return Measurement(
                "ok", 1000 - sum(levels) + seed + own, run.digest, self.machine, wall_s=took_s, processor_s=took_s
            )

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:
            now = time.monotonic()
            self.busy_s += self._busy * (now - self._last)
            self._busy, self._last = self._busy + more, now
            self.most = max(self.most, self._busy)

    def prepare(self, study: Study, referee: Path, digest: str, say: Callable[[str], None] = print) -> None:
        pass

    def tried(self) -> tuple[str, list[Guarantee]]:
        return "none", []

    def attach(self, run: Run, study: Study) -> Callable[[], Measurement | None] | None:
        return None

    def drop(self, runs: Iterable[int]) -> None:
        pass

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        pass


class Mark(Struct, frozen=True):
    """The head after so many trials: clocks in seconds, memory in MiB, and what was appended, since it was started."""

    trials: int
    wall_s: float
    own_s: float  # processor time of the head
    git_s: float  # of the git processes that it started
    memory: float
    lines: int
    busy_s: float  # of all slots together


class Clock(Listener):
    """Looks at the head when so many trials are decided, and writes down what it saw."""

    def __init__(self, path: Path, crowd: Crowd) -> None:
        self.path, self.crowd, self.lines, self.began = path, crowd, 0, time.perf_counter()
        self.look(0)

    def event(self, event: Event, state: State) -> None:
        self.lines += 1
        if isinstance(event, TrialDecided) and (state.decided in MARKS or state.decided % 10_000 == 0):
            self.look(state.decided)

    def look(self, trials: int) -> None:
        own, git = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        mark = Mark(
            trials,
            time.perf_counter() - self.began,
            own.ru_utime + own.ru_stime,
            git.ru_utime + git.ru_stime,
            memory(),
            self.lines,
            self.crowd.busy_s,
        )
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(mark) + b"\n")
        print(mark, flush=True)

    def say(self, sentence: str) -> None:
        print(sentence, flush=True)


def memory() -> float:
    """MiB of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def make(folder: Path) -> None:
    (folder / "part").mkdir(parents=True)
    for number in range(PARTS):
        (folder / "part" / str(number)).write_text("0 start\n")
    (folder / "study.toml").write_text(STUDY)
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "start"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)


def night(folder: Path, marks: Path, slots: int, trials: int, run_s: float) -> None:
    """A session in this folder, up to so many trials in all."""
    before = read(session.journal(folder)).decided
    if before >= trials:
        return
    clock = Clock(marks, Crowd(slots, run_s))
    with session.opened(folder, Goal(trials=trials - before, workers=1), clock) as lab:
        lab = among(lab, clock.crowd)
        with session.stoppable(lab):
            clock.say(session.see_through(lab, "the budget is spent"))
        clock.look(lab.log.state.decided)
    clock.say(f"at most {clock.crowd.most} slots were in use at one time")


def among(lab: Lab, crowd: Crowd) -> Lab:
    """The same study with the crowd's slots in place of this machine's."""
    places = Places(crowd.room, {}, lambda: lab.log.stopping is not None)
    return replace(lab, executor=crowd, places=places, workers=crowd.room)


# -- what is told -----------------------------------------------------------------------------------------


def along(marks: Sequence[Mark]) -> str:
    """How it went between each two looks at the head; a session that was ended and went on is two."""
    rows = []
    for before, now in itertools.pairwise(marks):
        trials, wall_s = now.trials - before.trials, now.wall_s - before.wall_s
        if before.trials < 1 or trials < 100 or wall_s <= 0:
            continue  # the baseline, and what is done before a session and after it
        own, git = (
            (each - other) * 1e3 / trials for each, other in ((now.own_s, before.own_s), (now.git_s, before.git_s))
        )
        rows.append(
            [
                f"{before.trials:,}-{now.trials:,}",
                f"{trials / wall_s:.1f}",
                f"{(now.lines - before.lines) / wall_s:.0f}",
                f"{(now.busy_s - before.busy_s) / wall_s:.0f}",
                f"{own:.1f}",
                f"{git:.1f}",
                f"{(now.own_s + now.git_s - before.own_s - before.git_s) / wall_s:.2f}",
                f"{now.memory:.0f}",
            ]
        )
    header = ["trials", "trials/s", "lines/s", "slots in use, mean", "head, ms a trial", "git, ms a trial", "cores"]
    return markdown([*header, "head, MiB at the end"], rows)


def afterwards(folder: Path) -> str:
    """What the finished study takes to look at, and what it takes up."""
    path = session.journal(folder)
    state = read(path)
    rows = [[f"`autoresearch {' '.join(words)}`", f"{_cli_s(folder, words):.2f} s"] for words in LOOKS]
    rows.append(["reading the log back", f"{_median_s(lambda: read(path)):.2f} s"])
    rows.append(["`autoresearch status`, memory at most", f"{_peak(folder):.0f} MiB"])
    began = time.perf_counter()
    feed = Feed(path)
    feed.poll()
    page = feed.news(None)
    rows.append(["the web page's first rows", f"{time.perf_counter() - began:.2f} s, {len(page.rows) / 2**20:.0f} MiB"])
    objects = dict(line.split(": ") for line in _git(folder, "count-objects", "-v").splitlines())
    refs = len(_git(folder, "for-each-ref", "refs/autoresearch").splitlines())
    lines = path.read_bytes().count(b"\n")
    rows += [
        ["events.jsonl", f"{lines:,} lines, {path.stat().st_size / 2**20:.0f} MiB"],
        ["git", f"{int(objects['count']):,} loose objects, {int(objects['size']) / 2**10:.0f} MiB; {refs:,} refs"],
        ["`git for-each-ref`", f"{_median_s(lambda: _git(folder, 'for-each-ref')):.2f} s"],
        ["`git status`", f"{_median_s(lambda: _git(folder, 'status')):.2f} s"],
        ["`git gc`, once", f"{_median_s(lambda: _git(folder, 'gc', '--quiet'), 1):.0f} s"],
    ]
    packed = dict(line.split(": ") for line in _git(folder, "count-objects", "-v").splitlines())
    rows += [
        ["git after it", f"{int(packed['size-pack']) / 2**10:.0f} MiB packed"],
        ["`git for-each-ref` after it", f"{_median_s(lambda: _git(folder, 'for-each-ref')):.2f} s"],
    ]
    words = ", ".join(f"{n:,} {word}" for word, n in sorted(state.counts.items()))
    title = (
        f"Afterwards, with {len(state.trials):,} trials ({words}) and {len(state.runs):,} runs; medians of {REPEATS}"
    )
    return f"{title}\n\n{markdown(['what', 'takes'], rows)}"


def _cli_s(folder: Path, words: Sequence[str]) -> float:
    command = [sys.executable, "-m", "autoresearch", *words]
    return _median_s(lambda: subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL))


def _peak(folder: Path) -> float:
    """MiB that a process which only tells the status holds at most."""
    code = "import resource; from autoresearch.cli import main; main(['status'], standalone_mode=False); "
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    said = subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True).stdout
    return int(said.split()[-1]) / 2**10


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def _median_s(do: Callable[[], object], times: int = REPEATS) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        do()
        took.append(time.perf_counter() - began)
    return median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--slots", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--run-s", type=float, default=20.0, help="long enough for all slots to be in use at one time")
    parser.add_argument("--folder", type=Path, help="where the study is to be kept")
    parser.add_argument("--write", action="store_true", help="write the tables to benchmarks/results")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "study"
        if not folder.exists():
            make(folder)
        path = folder.with_name(f"{folder.name}-marks.jsonl")
        night(folder, path, options.slots, options.trials, options.run_s)
        marks = msgspec.json.Decoder(Mark).decode_lines(path.read_bytes())
        about = (
            f"{options.slots:,} slots, runs of {options.run_s:g} s that start no process. Processor time is that of the head and "
            "of the git processes that it starts; `cores` is what both got of a machine that others may have used too."
        )
        report("crowd", TITLE, f"{about}\n\n{along(marks)}\n{afterwards(folder)}", options.write)


if __name__ == "__main__":
    main()
