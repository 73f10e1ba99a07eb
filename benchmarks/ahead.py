"""
How much of the time slots wait for ideas, with ideas had ahead of time and without.

    python -m benchmarks.ahead --write

Real studies with real runs, which sleep, by a proposer that sleeps: a fifth of a run's time, as a model that takes a minute
for runs of five. Each slot counts from the end of the baseline to the last run's beginning.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.progress import Progress

from autoresearch import places, session
from autoresearch.events import Event, RunFinished, RunStarted
from autoresearch.git import git
from autoresearch.listener import Listener
from autoresearch.propose import Tree
from autoresearch.report.brief import Brief
from autoresearch.session import Goal
from autoresearch.state import State
from autoresearch.trial import Limits, Proposal
from benchmarks.tables import markdown, report

TITLE = "How long slots wait for ideas"
STUDY = """\
name = "ahead"
asset = ["part/*"]
[metric]
name = "loss"
[measure]
run = "sh step.sh"
[execute]
sandbox = "none"
[decide]
policy = "greedy"
calibrate = 1
[propose]
with = ["benchmarks.ahead:Thinker"]
"""
THINK_S, RUN_S = 2.0, 10.0


class Thinker:
    """Takes its time, and then helps once in ten."""

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        time.sleep(THINK_S)
        number = limits.trial
        (tree.path / "part" / str(number)).write_text(f"{-1 if number % 10 else 1} {number}\n")
        return Proposal(f"part {number}", "thinker")


class Outcome(NamedTuple):
    idle: float  # share of the slots' time
    trials: int
    stale: int  # of them, whose base was replaced before they ran


class Ears(Listener):
    def __init__(self) -> None:
        self.events: list[Event] = []

    def event(self, event: Event, state: State) -> None:
        self.events.append(event)


def study(folder: Path) -> None:
    (folder / "part").mkdir(parents=True)
    for number in range(400):
        (folder / "part" / str(number)).write_text("0\n")
    (folder / "study.toml").write_text(STUDY)
    step = f"sleep {RUN_S}; echo METRIC loss=$(cat part/* | awk '{{s += $1}} END {{print 100 - s}}')\n"
    (folder / "step.sh").write_text(step)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=b", "-c", "user.email=b@localhost", "commit", "-q", "-m", "start")


def night(slots: int, trials: int, ahead: bool) -> Outcome:
    short_s = places.SHORT_S
    places.SHORT_S = short_s if ahead else float("inf")
    try:
        with tempfile.TemporaryDirectory() as name:
            study(Path(name))
            ears = Ears()
            state = session.run(Path(name), Goal(trials=trials, workers=slots), ears)
    finally:
        places.SHORT_S = short_s
    return Outcome(
        idle(ears.events, slots), state.decided, sum(not t.runs for t in state.trials.values() if t.word == "stale")
    )


def idle(events: Sequence[Event], slots: int, first: float | None = None, last: float = math.inf) -> float:
    """
    Share of the slots' time in which no run was under way. From `first`, in seconds since 1970, or the end of the first run;
    to `last`, or the beginning of the last run: until then slots had something to do.
    """
    ends = {event.run: event.at for event in events if isinstance(event, RunFinished)}
    runs = [(event.at, ends[event.run.id]) for event in events if isinstance(event, RunStarted)]
    first = runs[0][1] if first is None else first
    last = min(last, max(began for began, _ in runs))
    busy = sum(max(0.0, min(end, last) - max(began, first)) for began, end in runs)
    return 1 - busy / (slots * (last - first))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--trials", type=int, default=24, help="for each slot")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2], help="no more than there are cores")
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results")
    options = parser.parse_args()
    rows = []
    with Progress() as progress:
        for slots in progress.track(options.slots):
            for ahead in (False, True):
                found = night(slots, slots * options.trials, ahead)
                rows.append(
                    [
                        str(slots),
                        "ahead" if ahead else "in turn",
                        f"{found.idle:.1%}",
                        str(found.trials),
                        str(found.stale),
                    ]
                )
    table = markdown(["slots", "ideas are had", "slots idle", "trials", "moved before they ran"], rows)
    about = f"Having an idea takes {THINK_S:g} s, a run {RUN_S:g} s."
    report("ahead", TITLE, f"{about}\n\n{table}", options.write)


if __name__ == "__main__":
    main()
