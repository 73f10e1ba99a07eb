"""
What racing would have saved: the gpt template under random changes of its constants, every run to its end, recorded;
then the decisions of policy/race.py are replayed on that record, in its order.

A run that would have been stopped is unknown to the decisions after it, as it would have been that night.

    python -m benchmarks.race record --proposals BoldOrNudge    # about 25 s a run, on one core
    python -m benchmarks.race replay --write
"""

import argparse
import contextlib
import gzip
import random
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
from autoresearch.stats import gain_error
from autoresearch.trial import Limits, Measurement, Proposal
from benchmarks.tables import RESULTS, markdown, report

RECORDS = Path(__file__).parent / "records"
BOLD, BOLD_CONSTANTS = 0.6, 3  # share of bold proposals, and how many constants each changes
RECKLESS_CONSTANTS = 8
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


class Reckless(OneConstant):
    """Every proposal sets eight constants anywhere within their ranges."""

    def values(self, knobs: dict[str, Knob]) -> dict[str, Any]:
        return {knob.name: self.anywhere(knob) for knob in self.chance.sample(list(knobs.values()), RECKLESS_CONSTANTS)}


def record(log: Path, trials: int, proposals: str) -> None:
    """A study of the gpt template that stops nothing early; its log is copied after every trial."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "study"
        starter.make(folder, "gpt", own=True, size="cpu")
        contract = folder / "study.toml"
        text = contract.read_text().replace(
            '["search"]\n\n[decide]', f'["benchmarks.race:{proposals}"]\n\n[decide]\nrace = false\nrepeats = 1'
        )
        # What costs more than the start is not cut off: the table is about what is worse, not about what is dearer.
        text = text.replace("timeout_s = 120", "timeout_s = 600\noverrun = 6.0")
        contract.write_text(text.replace("cores = 1", "cores = 1\nworkers = 1"))
        git(folder, "commit", "-qam", "random changes, nothing stopped")
        session.run(folder, Goal(trials=trials), Copy(session.journal(folder), log))


class Copy(Listener):
    """Keeps a copy of the log after every event: what was recorded stays, however the recording ends."""

    def __init__(self, journal: Path, to: Path) -> None:
        self.journal, self.to = journal, to

    def event(self, event: object, state: object) -> None:
        self.to.write_bytes(gzip.compress(self.journal.read_bytes(), mtime=0))


class Decision(Struct, frozen=True):
    """What racing would have done with one trial. `spent`: the part of its budget that it would have run."""

    trial: int
    idea: str
    word: str
    gain: float | None
    spent: float
    compute_s: float
    watched: bool


def replay(log_file: Path, stop: bool = True) -> tuple[State, list[Decision]]:
    """The state that racing would have led to (or the one that was), and what it would have done with each trial."""
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
            if spent < 1 and stop:
                event = msgspec.structs.replace(event, measurement=hopeless(result, spent))
        if isinstance(event, TrialDecided) and event.trial in decisions:
            was, verdict = decisions[event.trial], event.verdict
            decisions[event.trial] = msgspec.structs.replace(was, word=verdict.word, gain=verdict.gain)
        state.apply(event)
    return state, [decision for decision in decisions.values() if decision.word]


def whole_lines(log_file: Path) -> Iterator[Event]:
    for line in gzip.decompress(log_file.read_bytes()).splitlines():
        with contextlib.suppress(msgspec.DecodeError):  # the last one, of a record under way
            yield msgspec.json.decode(line, type=AnyEvent)


def stops_at(limit: race.Limit | None, result: Measurement) -> float:
    points = result.curve
    return next((points[i - 1][0] for i in range(1, len(points) + 1) if limit and limit(points[:i])), 1.0)


def hopeless(result: Measurement, spent: float) -> Measurement:
    points = tuple(point for point in result.curve if point[0] <= spent)
    return msgspec.structs.replace(result, status="hopeless", value=None, curve=points)


# -- what is shown -------------------------------------------------------------------------------------


def section(name: str, state: State, decisions: list[Decision]) -> str:
    raced = [d for d in decisions if d.gain is not None]
    pair = scatter_of_a_pair(state)
    groups = {
        "worse": [d for d in raced if (d.gain or 0.0) < -pair],
        "as good": [d for d in raced if abs(d.gain or 0.0) <= pair],
        "better": [d for d in raced if (d.gain or 0.0) > pair],
        "all": raced,
        "all from the first that was watched on": [
            d for d in raced if any(e.watched for e in raced if e.trial <= d.trial)
        ],
    }
    rows = []
    for group, some in groups.items():
        compute, saved = sum(d.compute_s for d in some), sum(d.compute_s * (1 - d.spent) for d in some)
        counted = [sum(d.watched for d in some), sum(d.spent < 1 for d in some)]
        rows.append([group, str(len(some)), *map(str, counted), f"{saved / compute if compute else 0:.1%}"])
    table = markdown(["trials that ended", "trials", "watched", "stopped", "compute saved"], rows)
    stopped = [d for d in raced if d.spent < 1]
    lines = [[str(d.trial), d.idea.partition(": ")[0], f"{d.gain:+.4f}", f"{d.spent:.0%}"] for d in stopped]
    shown = markdown(["trial", "change", "gain", "stopped at"], lines) if lines else "Nothing was stopped.\n"
    proposes = " ".join((PROPOSERS[name].__doc__ or "").split())
    return (
        f"## {name}\n\n{proposes} {len(groups['worse']) / len(raced):.0%} of the {len(raced)} trials that ended are worse: "
        f"by more than the {pair:.2g} bits per byte that the gain of one pair of runs scatters by. "
        f"{len(decisions) - len(raced)} more gave no value and are not counted. `watched`: enough was known when the run began to stop it if need be.\n\n{table}\n"
        f"With hindsight, the sharpest limits at each place that stop none of those that ended better would have saved "
        f"{hindsight(name, raced, pair):.1%} of all compute, those that stop none that ended better or as good "
        f"{hindsight(name, raced, -pair):.1%}.\n\n{shown}"
    )


def hindsight(name: str, raced: list[Decision], least: float) -> float:
    """
    The share of compute that limits on how far behind a run may be would have saved, from the first trial on, if they
    were as sharp as they can be without stopping one whose gain is `least` or more. No rule that looks at this alone
    can know them beforehand.
    """
    whole, _ = replay(RECORDS / f"{name}.jsonl.gz", stop=False)
    gaps = {decision.trial: gaps_of(whole, decision.trial) for decision in raced}
    fine = [gaps[decision.trial] for decision in raced if decision.gain is not None and decision.gain >= least]
    limits = [
        max((gap for own in fine for gap in own[look:] if gap is not None), default=0.0)
        for look in range(len(race.LOOKS))
    ]
    saved = 0.0
    for decision in raced:
        beyond = (
            look
            for look, gap, limit in zip(race.LOOKS, gaps[decision.trial], limits, strict=True)
            if gap is not None and gap > max(limit, 0.0)
        )
        saved += decision.compute_s * (1 - next(beyond, race.GRID) / race.GRID)
    return saved / sum(decision.compute_s for decision in raced)


def gaps_of(whole: State, number: int) -> race.Levels:
    """How far a trial's first run was behind its base's run with the same seed, at each place where that is looked at."""
    trial = whole.trials[number]
    run = whole.runs[trial.runs[0]]
    base = next(r for r in whole.runs_on(trial.base_tree) if r.seed_index == run.seed_index)
    if not run.measurement or not base.measurement:
        return (None,) * len(race.LOOKS)
    return race.behind(run.measurement.curve, race.on_grid(base.measurement.curve))


PROPOSERS = {"OneConstant": OneConstant, "BoldOrNudge": BoldOrNudge, "Reckless": Reckless}


def scatter_of_a_pair(state: State) -> float:
    """In bits per byte: how far the gain over the base's run with the same seed errs."""
    return gain_error(state.noise.sd, 1, 1, 1, state.pairing.correlation) if state.noise else 0.0


def draw(name: str, to: Path) -> None:
    """How far each run was behind its base's run with the same seed, and where racing would have stopped it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    state, decisions = replay(RECORDS / f"{name}.jsonl.gz")
    whole, _ = replay(RECORDS / f"{name}.jsonl.gz", stop=False)
    figure, axes = plt.subplots(figsize=(10, 5.5), layout="constrained")
    pair, looks = scatter_of_a_pair(state), [look / race.GRID for look in race.LOOKS]
    for decision in decisions:
        if decision.gain is None:
            continue
        gaps = gaps_of(whole, decision.trial)
        points = [(look, gap) for look, gap in zip(looks, gaps, strict=True) if gap is not None]
        bad = decision.gain < -pair
        told = [point for point in points if point[0] <= decision.spent]
        axes.plot(*zip(*points, strict=True), color=WORSE if bad else NOT_WORSE, alpha=0.2, linewidth=1)
        axes.plot(*zip(*told, strict=True), color=WORSE if bad else NOT_WORSE, alpha=0.8, linewidth=1)
        if decision.spent < 1:
            axes.plot(*told[-1], "x", color="black", markersize=6)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_yscale("symlog", linthresh=0.02)
    axes.set_xlabel("fraction of the budget")
    axes.set_ylabel("loss above that of the base's run with the same seed (nats)")
    handles = [
        Line2D([], [], color=c, label=label) for c, label in ((WORSE, "ended worse"), (NOT_WORSE, "ended no worse"))
    ]
    handles.append(Line2D([], [], color="black", marker="x", linestyle="", label="would be stopped here"))
    axes.legend(handles=handles, frameon=False, loc="upper right")
    figure.savefig(to, dpi=110)


WORSE, NOT_WORSE = "#d62728", "#1f77b4"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["record", "replay"])
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--proposals", choices=list(PROPOSERS), default="BoldOrNudge")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.what == "record":
        record(RECORDS / f"{options.proposals}.jsonl.gz", options.trials, options.proposals)
        return
    title = "What racing saves on the gpt template, replayed on studies in which nothing was stopped"
    records = sorted(RECORDS.glob("*.jsonl.gz"))
    sections = [section(record.name.partition(".")[0], *replay(record)) for record in records]
    if options.write:
        draw("BoldOrNudge", RESULTS / "race.png")
    about = (
        "Real trainings, each to its end, on the best so far (policy climb, one run a trial, one "
        "core; BoldOrNudge on the gpt template as it was first, with 150,000 tokens a run, Reckless on today's, with 100,000); what would have been stopped, and when, is found afterwards.\n\n![How far runs are behind](race.png)"
    )
    report("race", title, "\n\n".join([about, *sections]), options.write)


if __name__ == "__main__":
    main()
