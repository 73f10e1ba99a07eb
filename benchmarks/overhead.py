"""
What our own bookkeeping costs per trial, and whether it stays flat from trial 1 to trial 10,000.

The asset is a file with a number, the run is `true`-like (a shell's echo), one run per trial, one worker, the
real loop with the real log, git and keeper. Processor time of this process is ours; that of git and of the run
is counted apart.

    python -m benchmarks.overhead --trials 10000 --write
"""

import argparse
import itertools
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

from autoresearch import session
from autoresearch.events import Event, TrialDecided
from autoresearch.propose import Tree
from autoresearch.report.brief import Brief
from autoresearch.session import Goal, Listener
from autoresearch.state import State
from autoresearch.trial import Limits, Proposal
from benchmarks.tables import markdown, report

STUDY = """
name = "overhead"
asset = ["number.txt"]
[metric]
name = "score"
direction = "maximize"
[measure]
run = "echo METRIC score=0"
timeout_s = 20
[execute]
cores = 1
sandbox = "none"
[decide]
policy = "greedy"
[propose]
with = ["benchmarks.overhead:Count"]
"""


class Count:
    """Proposes the next number: the cheapest proposer there is, so that what is measured is the loop."""

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        number = str(len(brief.trials))
        (tree.path / "number.txt").write_text(number)
        return Proposal(f"number {number}", "count", {"n": number})


class Clock(Listener):
    """Reads the clocks at every verdict: wall, our own processor time, that of our children."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float, float]] = []

    def event(self, event: Event, state: State) -> None:
        if isinstance(event, TrialDecided):
            own = resource.getrusage(resource.RUSAGE_SELF)
            git = resource.getrusage(resource.RUSAGE_CHILDREN)
            self.points.append((time.perf_counter(), own.ru_utime + own.ru_stime, git.ru_utime + git.ru_stime))


def make(folder: Path) -> None:
    folder.mkdir()
    (folder / "study.toml").write_text(STUDY)
    (folder / "number.txt").write_text("start")
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "start"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)


def keeper_ms(clock: Clock, state: State) -> float:
    """Processor milliseconds of nursery and keeper per run: what was reaped at the end, less git and the runs."""
    all_children = resource.getrusage(resource.RUSAGE_CHILDREN)
    runs = sum(run.measurement.processor_s for run in state.runs.values() if run.measurement)
    others = all_children.ru_utime + all_children.ru_stime - clock.points[-1][2]
    return (others - runs) * 1e3 / len(state.runs)


def windows(points: list[tuple[float, float, float]], size: int) -> list[list[str]]:
    """Per window of trials: milliseconds per trial, median wall and mean processor times."""
    rows = []
    for start in range(0, len(points) - size, max(size, (len(points) - size - 1) // 5 or 1)):
        part = points[start : start + size + 1]
        walls = [(b[0] - a[0]) * 1e3 for a, b in itertools.pairwise(part)]
        own, git = ((part[-1][i] - part[0][i]) * 1e3 / size for i in (1, 2))
        spread = f"{sorted(walls)[len(walls) // 10]:.1f}-{sorted(walls)[len(walls) * 9 // 10]:.1f}"
        rows.append([f"{start + 1}-{start + size}", f"{own:.2f}", f"{git:.1f}", f"{median(walls):.1f}", spread])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    clock = Clock()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "study"
        make(folder)
        os.chdir(folder)
        state = session.run(folder, Goal(trials=options.trials, workers=1), clock)
        keepers = keeper_ms(clock, state)
    size = min(500, max(10, options.trials // 6))
    header = ["trials", "our processor ms", "git's processor ms", "wall ms, median", "wall ms, 10-90 %"]
    table = markdown(header, windows(clock.points, size))
    text = (
        f"{table}\nThe keeper of a run (a process of ours) takes {keepers:.1f} ms of processor time more. Per trial of a no-op study (one run, one worker): claim, worktree, change check, commit, ref, "
        f"run, verdict, five synced log lines. Means over windows of {size} trials."
    )
    report("overhead", "Our own bookkeeping per trial", text, options.write)


if __name__ == "__main__":
    main()
