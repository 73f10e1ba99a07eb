"""
The map of a live study: what resonates, with whom, and how surely; worked out from log and store whenever it is asked for.

Pure data in the end: how it looks is in drawing.py.
"""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from autoresearch import log
from autoresearch.campaign import house, levels
from autoresearch.campaign.known import Known, known, people
from autoresearch.campaign.own import Own
from autoresearch.errors import StudyError
from autoresearch.git import git
from autoresearch.live import deciding
from autoresearch.live.belief import Prior
from autoresearch.live.counts import parts
from autoresearch.live.deciding import Decision, Reading
from autoresearch.live.places import CELL
from autoresearch.live.settings import Live
from autoresearch.live.store import Store
from autoresearch.live.variables import FILE, Variables, check_named, parse
from autoresearch.session import journal
from autoresearch.state import State
from autoresearch.stats.misfit import Misfit
from autoresearch.study import Study, load
from autoresearch.trial import Trial
from autoresearch.workspace import HOME, Workspace

NOBODYS = "a file or a webhook named it, and this study never had it"


class Place(Struct, frozen=True):
    """
    One reading (see deciding.Reading), with the words that the level stands for and what became of its trial. `word` is "unknown" where a file or
    a webhook named a level that this study never had, and "waits" where it did one that waits for a person's word. `spent`: what cells with
    this level cost, of the time that is counted; nothing of a segment, and nothing of a pair.
    """

    reading: Reading
    text: str
    trial: int | None
    word: str
    spent: float = 0.0

    @property
    def each(self) -> float | None:
        """What an outcome cost, where that is known."""
        return self.spent / self.reading.won if self.spent and self.reading.won else None


class Atlas(Struct, frozen=True):
    """
    `days`: from the first exposure to the last; `lift`: of everybody over the holdout, measured. `pairs`: variables
    that were never looked at together, and what knowing it would be worth, as a share of the rate. `began`: the file of what an
    earlier campaign found, where there is one. `misfit`: see deciding.Decision. `waiting`: people whose window of `window_hours` is open, so
    that they do not count yet, or `in_part`.
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
    began: str = ""
    misfit: Misfit = Misfit()
    waiting: int = 0
    window_hours: float = 0.0
    in_part: bool = False


class Shelf(Struct, frozen=True):
    """What maps are worked out from. `variables` are those of the best, `prior` what the study began from."""

    study: Study
    live: Live
    state: State
    variables: Variables
    store: Store
    prior: Prior | None


@contextlib.contextmanager
def open_shelf(folder: Path) -> Iterator[Shelf]:
    """
    The study in this folder, to be read.

    Raises:
        StudyError: it is no live study, or was not run yet.
    """
    study = load(folder)
    live = study.need_live()
    state = log.read(journal(folder))
    if state.best is None or state.opened is None:
        raise StudyError(f"this study was not run yet: `{live.begins}` begins it")
    workspace = Workspace(folder, study)
    text = git(folder, "show", f"{state.best.commit}:{workspace.prefix}{FILE}").decode()
    variables = parse(text)
    check_named(live, variables)
    prior = house.prior(Own(workspace, state.opened.start, live))
    with contextlib.closing(house.store_of(study.name, live, folder / HOME)) as store:
        yield Shelf(study, live, state, variables, store, prior)


def learnt(folder: Path, now: float | None = None) -> Atlas:
    """The map of the study in this folder as it is now; errors as in `open_shelf`."""
    with open_shelf(folder) as shelf:
        return drawn_from(shelf, latest(shelf.store, now))


def latest(store: Store, now: float | None) -> float:
    """The time as the study has it: where its clock is a simulated one, that of the latest plan."""
    plan = store.plan()
    return max(time.time() if now is None else now, plan.at if plan else 0.0)


def drawn_from(shelf: Shelf, now: float) -> Atlas:
    """The same, of what was opened already."""
    allowed = levels.allowed(shelf.variables, levels.shown(shelf.state).values())
    facts = known(shelf.store, shelf.live, now)
    return made_of(shelf, decided(shelf.state, shelf.variables, shelf.live, facts, allowed, shelf.prior), facts)


def made_of(shelf: Shelf, found: Decision, facts: Known, word: Callable[[Reading], str] | None = None) -> Atlas:
    """The map that shows a decision. `word`: what had become of a reading's level by then, where that is not now."""
    state = shelf.state
    ever = {
        level.at: (number, level) for number, trial in state.trials.items() if (level := levels.of(trial)) is not None
    }
    everything = levels.joined(shelf.variables, (level for _, level in ever.values()))
    costs = _spent(shelf, facts)

    def place(reading: Reading) -> Place:
        own = everything.variables.get(reading.variable)
        number = ever[reading.variable, reading.level][0] if (reading.variable, reading.level) in ever else None
        text = own.levels.get(reading.level, "") if own else ""
        spent = costs.get((reading.variable, reading.level), 0.0) if not reading.segment else 0.0
        if own and reading.level not in own.levels:
            return Place(msgspec.structs.replace(reading, why=NOBODYS), "", None, "unknown", spent)
        now = _stands(state.trials[number]) if number is not None else reading.word
        return Place(reading, text, number, word(reading) if word else now, spent)

    days = facts.counts.days
    return Atlas(
        shelf.study.name,
        shelf.study.metric.name,
        shelf.live.simulated,
        facts.until,
        float(facts.counts.shown.sum()),
        int(facts.counts.won.sum()),
        float(max(days) - min(days) + 1) if days else 0.0,
        (found.lift.effect, found.lift.low, found.lift.high),
        tuple(map(place, found.readings)),
        found.pairs,
        found.halt,
        shelf.live.prior or "",
        found.misfit,
        people(shelf.store, shelf.live, facts.until, facts.seen).waiting,
        shelf.live.window_hours,
        shelf.live.attribution == "hazard",
    )


def _stands(trial: Trial) -> str:
    """A level that was not approved may have been shown elsewhere all the same."""
    return trial.word if trial.verdict or trial.approved else "waits"


def _spent(shelf: Shelf, facts: Known) -> dict[tuple[str, str], float]:
    """(variable, level) -> what its cells cost, and ("cell", cell); until people of then count."""
    until = facts.until if shelf.live.attribution == "hazard" else facts.until - shelf.live.window_s
    found: defaultdict[tuple[str, str], float] = defaultdict(float)
    for cell, amount in shelf.store.costs(until, facts.seen).items():
        for at in ((CELL, cell), *{**shelf.variables.default, **parts(cell)}.items()):
            found[at] += amount
    return found


def decided(
    state: State,
    variables: Variables,
    live: Live,
    facts: Known,
    allowed: dict[str, set[str]],
    prior: Prior | None = None,
    whole_map: bool = True,
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
        prior=prior,
        labels=facts.labels,
        belief=facts.believed(everything, allowed, live, prior),
        whole_map=whole_map,
    )
