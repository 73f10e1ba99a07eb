"""
The map of a live study: what resonates, with whom, and how surely; worked out from log and store whenever it is asked for.

Pure data in the end: how it looks is in drawing.py.
"""

import time
from pathlib import Path

from msgspec import Struct

from autoresearch import log
from autoresearch.campaign import house, levels
from autoresearch.campaign.known import Known, known
from autoresearch.errors import StudyError
from autoresearch.git import git
from autoresearch.live import deciding
from autoresearch.live.deciding import Decision, Reading
from autoresearch.live.settings import Live
from autoresearch.live.store import Store
from autoresearch.live.variables import FILE, Variables, parse
from autoresearch.session import journal
from autoresearch.state import State
from autoresearch.study import load
from autoresearch.workspace import HOME, Workspace


class Place(Struct, frozen=True):
    """One reading (see deciding.Reading), with the words that the level stands for and what became of its trial: "" where it has none."""

    reading: Reading
    text: str
    trial: int | None
    word: str


class Atlas(Struct, frozen=True):
    """
    `days`: from the first exposure to the last; `lift`: of everybody over the holdout, measured. `pairs`: variables
    that were never looked at together, and what knowing it would be worth, as a share of the rate.
    """

    study: str
    metric: str
    simulated: bool
    at: float
    exposures: float
    outcomes: float
    days: float
    lift: tuple[float | None, float, float]
    places: tuple[Place, ...]
    pairs: tuple[tuple[str, str, float], ...]
    halt: str = ""


def learnt(folder: Path, now: float | None = None) -> Atlas:
    """
    The map of the study in this folder as it is now.

    Raises:
        StudyError: it is no live study, or was not run yet.
    """
    study = load(folder)
    if study.live is None:
        raise StudyError("study.toml has no table [live], so there is no map")
    state = log.read(journal(folder))
    if state.best is None or state.opened is None:
        raise StudyError("this study was not run yet: `autoresearch live serve`")
    workspace = Workspace(folder, study)
    text = git(folder, "show", f"{state.best.commit}:{workspace.prefix}{FILE}").decode()
    store = house.store_of(study.name, study.live, folder / HOME)
    try:
        return drawn_from(state, parse(text), study.live, store, latest(store, now), study.name, study.metric.name)
    finally:
        store.close()


def latest(store: Store, now: float | None) -> float:
    """The time as the study has it: where its clock is a simulated one, that of the latest plan."""
    plan = store.plan()
    return max(time.time() if now is None else now, plan.at if plan else 0.0)


def drawn_from(
    state: State, variables: Variables, live: Live, store: Store, now: float, study: str, metric: str
) -> Atlas:
    """The same, of what was read already."""
    allowed = levels.allowed(variables, levels.shown(state).values())
    facts = known(store, live, now)
    found = decided(state, variables, live, facts, allowed)
    ever = {
        level.at: (number, level) for number, trial in state.trials.items() if (level := levels.of(trial)) is not None
    }
    everything = levels.joined(variables, (level for _, level in ever.values()))
    days = [tally.day for tally in facts.tallies]
    return Atlas(
        study,
        metric,
        live.simulated,
        now,
        sum(tally.n for tally in facts.tallies),
        sum(tally.successes for tally in facts.tallies),
        float(max(days) - min(days) + 1) if days else 0.0,
        (found.lift.effect, found.lift.low, found.lift.high),
        tuple(_place(reading, everything, state, ever) for reading in found.readings),
        found.pairs,
        found.halt,
    )


def decided(
    state: State, variables: Variables, live: Live, facts: Known, allowed: dict[str, set[str]], whole_map: bool = True
) -> Decision:
    """What follows from what is known; without `whole_map` no more than verdicts need."""
    assert state.opened is not None
    everything = levels.ever_approved(state, variables)
    return deciding.decide(
        facts.counts,
        everything,
        allowed,
        live,
        seed=state.opened.seed,
        rates=facts.rates,
        arrived=facts.arrived,
        labels=facts.labels,
        belief=facts.believed(everything, allowed, live),
        whole_map=whole_map,
    )


def _place(
    reading: Reading, variables: Variables, state: State, ever: dict[tuple[str, str], tuple[int, levels.Level]]
) -> Place:
    known = variables.variables.get(reading.variable)
    text = known.levels.get(reading.level, "") if known else ""
    number = ever[reading.variable, reading.level][0] if (reading.variable, reading.level) in ever else None
    word = state.trials[number].word if number is not None else reading.word
    return Place(reading, text, number, word)
