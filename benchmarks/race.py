"""
What racing would have saved: the gpt template under random changes of single constants, every run to its end,
recorded; then the decisions of policy/race.py are replayed on that record, in its order.

A run that would have been stopped is unknown to the decisions after it, as it would have been that night.

    python -m benchmarks.race record --log /tmp/race.jsonl     # about 10 s a run, on one core
    python -m benchmarks.race replay --log /tmp/race.jsonl --write
"""

import argparse
import contextlib
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from autoresearch import session, starter
from autoresearch.events import AnyEvent, Event, RunFinished, RunStarted, TrialDecided
from autoresearch.git import git
from autoresearch.policy import race
from autoresearch.propose import Tree
from autoresearch.propose.knobs import Knob, read, write
from autoresearch.report.brief import Brief
from autoresearch.session import Goal, Listener
from autoresearch.state import State
from autoresearch.trial import Limits, Measurement, Proposal
from benchmarks.tables import markdown, report

BOLD, BOLD_CONSTANTS = 0.6, 3  # share of bold proposals, and how many constants each changes
NUDGE = 0.1  # of a constant's range, up or down


class OneConstant:
    """Sets one constant of the asset, at random, to a value at random within its range."""

    def __init__(self, seed: int = 0) -> None:
        self.chance = random.Random(seed)

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        file = "train.py"
        source = (tree.path / file).read_bytes()
        while True:
            values = self.values({knob.name: knob for knob in read(file, source)})
            (tree.path / file).write_bytes(write(file, source, values))
            if brief.known(tree.snapshot()) is None:
                return Proposal(", ".join(f"{name} -> {value}" for name, value in values.items()), "at random")

    def values(self, knobs: dict[str, Knob]) -> dict[str, Any]:
        knob = self.chance.choice(list(knobs.values()))
        return {knob.name: self.anywhere(knob)}

    def anywhere(self, knob: Knob) -> Any:
        options = knob.range.values
        place = self.chance.uniform(*knob.range.box(knob.value))
        return self.chance.choice(options) if options else knob.range.at(place, knob.value)


class BoldOrNudge(OneConstant):
    """Six of ten proposals set three constants anywhere within their ranges, the others move one a little."""

    def values(self, knobs: dict[str, Knob]) -> dict[str, Any]:
        if self.chance.random() < BOLD:
            return {knob.name: self.anywhere(knob) for knob in self.chance.sample(list(knobs.values()), BOLD_CONSTANTS)}
        knob = self.chance.choice([knob for knob in knobs.values() if not knob.range.values])
        low, high = knob.range.box(knob.value)
        here = knob.range.coordinate(knob.value)
        place = min(high, max(low, here + self.chance.uniform(-NUDGE, NUDGE) * (high - low)))
        return {knob.name: knob.range.at(place, knob.value)}


def record(log: Path, trials: int, proposals: str) -> None:
    """A study of the gpt template that stops nothing early; its log is copied after every trial."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "study"
        starter.make(folder, "gpt", own=True)
        contract = folder / "study.toml"
        text = contract.read_text().replace(
            '["search"]\n\n[decide]', f'["benchmarks.race:{proposals}"]\n\n[decide]\nrace = false\nrepeats = 1'
        )
        # What costs more than the start is not cut off: the table is about what is worse, not about what is dearer.
        text = text.replace("timeout_s = 120", "timeout_s = 300\noverrun = 6.0")
        contract.write_text(text.replace("cores = 1", "cores = 1\nworkers = 1"))
        git(folder, "commit", "-qam", "random changes, nothing stopped")
        session.run(folder, Goal(trials=trials), Copy(session.journal(folder), log))


class Copy(Listener):
    def __init__(self, journal: Path, to: Path) -> None:
        self.journal, self.to = journal, to

    def event(self, event: object, state: object) -> None:
        shutil.copyfile(self.journal, self.to)


class Decision(Struct, frozen=True):
    """What racing would have done with one trial. `spent`: the part of its budget that it would have run."""

    trial: int
    idea: str
    word: str
    gain: float | None
    spent: float
    compute_s: float
    watched: bool


def replay(log_file: Path) -> tuple[State, list[Decision]]:
    state, decisions = State(), dict[int, Decision]()
    watches: dict[int, race.Limit | None] = {}
    for event in whole_lines(log_file):
        if isinstance(event, RunStarted):
            watches[event.run.id] = race.watch(state, state.trials[event.run.trial], event.run)
        if isinstance(event, RunFinished):
            run, result = state.runs[event.run], event.measurement
            trial = state.trials[run.trial]
            spent = stops_at(watches[run.id], result) if result.value is not None else 1.0
            if run.tree == trial.tree and not trial.is_baseline:
                watched = watches[run.id] is not None
                decisions[trial.id] = Decision(trial.id, trial.idea, "", None, spent, result.compute_s, watched)
            if spent < 1:
                event = msgspec.structs.replace(event, measurement=hopeless(result, spent))
        if isinstance(event, TrialDecided) and event.trial in decisions:
            was, verdict = decisions[event.trial], event.verdict
            decisions[event.trial] = msgspec.structs.replace(was, word=verdict.word, gain=verdict.gain)
        state.apply(event)
    return state, [decision for decision in decisions.values() if decision.word]


def whole_lines(log_file: Path) -> Iterator[Event]:
    for line in log_file.read_bytes().splitlines():
        with contextlib.suppress(msgspec.DecodeError):  # the last one, of a record under way
            yield msgspec.json.decode(line, type=AnyEvent)


def stops_at(limit: race.Limit | None, result: Measurement) -> float:
    points = result.curve
    return next((points[i - 1][0] for i in range(1, len(points) + 1) if limit and limit(points[:i])), 1.0)


def hopeless(result: Measurement, spent: float) -> Measurement:
    points = tuple(point for point in result.curve if point[0] <= spent)
    return msgspec.structs.replace(result, status="hopeless", value=None, curve=points)


def page(state: State, decisions: list[Decision]) -> str:
    raced = [d for d in decisions if d.gain is not None]
    sd = state.noise.sd if state.noise else 0.0
    groups = {
        "worse by more than the noise": [d for d in raced if (d.gain or 0.0) < -sd],
        "within the noise": [d for d in raced if abs(d.gain or 0.0) <= sd],
        "better by more than the noise": [d for d in raced if (d.gain or 0.0) > sd],
        "all": raced,
    }
    rows = []
    for name, some in groups.items():
        stopped, compute = [d for d in some if d.spent < 1], sum(d.compute_s for d in some)
        saved = sum(d.compute_s * (1 - d.spent) for d in some)
        watched = sum(d.watched for d in some)
        rows.append([name, str(len(some)), str(watched), str(len(stopped)), f"{saved / compute if compute else 0:.1%}"])
    table = markdown(["trials that ended", "trials", "watched", "stopped", "compute saved"], rows)
    stopped = [d for d in raced if d.spent < 1]
    lines = [[str(d.trial), d.idea, f"{d.gain:+.4f}", f"{d.spent:.0%}"] for d in stopped]
    shown = markdown(["trial", "change", "gain", "stopped at"], lines) if lines else "Nothing was stopped.\n"
    return (
        f"{table}\n{shown}\n`watched`: enough was known when the run began to stop it if need be. The noise is "
        f"{sd:.2g} bits per byte; {len(decisions) - len(raced)} more trials gave no value (they overran the compute of "
        "the baseline), and are not counted. Each trial changes one constant of the gpt template at random within its "
        "hint, on the best so far (policy climb, one run each, a budget of 150,000 tokens)."
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["record", "replay"])
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--proposals", choices=["OneConstant", "BoldOrNudge"], default="BoldOrNudge")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.what == "record":
        record(options.log, options.trials, options.proposals)
    else:
        title = "What racing saves on the gpt template, replayed on a study in which nothing was stopped"
        report("race", title, page(*replay(options.log)), options.write)


if __name__ == "__main__":
    main()
