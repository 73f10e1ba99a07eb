"""
What a live study's store says until a time, in the shapes that plans and decisions are made of.

One place for it, so that a plan, a decision and the map never differ in what they count.
"""

from typing import Any, NamedTuple

from msgspec import Struct

from autoresearch.live.arriving import Side
from autoresearch.live.belief import Belief, Levels, Prior, believe
from autoresearch.live.counts import Counts
from autoresearch.live.records import Plan
from autoresearch.live.settings import Live
from autoresearch.live.store import Store
from autoresearch.live.tallying import day_of
from autoresearch.live.variables import Variables
from autoresearch.stats import delays, labels

FEWEST_SETTLED, THOROUGH = 7, 100  # days; steps of their fit, from which every other of the day is a short way
LEAST_AUDITED = 20  # replies that a person read, before labels are corrected by them


class Known(Struct, frozen=True):
    """
    `seen`: the number of the last record; `rates`: of each outcome that a guardrail bounds; `arrived`: what came to each side, and what
    plans gave it.
    """

    until: float
    seen: int
    counts: Counts
    rates: dict[str, Counts]
    arrived: tuple[Side, ...]
    labels: labels.Errors | None
    _believed: list[Any] = []

    def believed(self, variables: Variables, levels: Levels, live: Live, prior: Prior | None) -> Belief:
        """What follows from it; worked out once for a decision and the plan after it."""
        asked = variables, levels, prior
        if not self._believed or self._believed[0] != asked:
            near = settled(self.counts, day_of(self.until - live.window_s), (*asked, live, self.labels))
            self._believed[:] = [asked, believe(self.counts, variables, levels, live, prior, self.labels, near)]
        found: Belief = self._believed[1]
        return found


Asked = tuple[Variables, Levels, Prior | None, Live, labels.Errors | None]
_settled: dict[str, tuple[object, Belief]] = {}  # of the study that asked last


def settled(counts: Counts, day: int, asked: Asked) -> Belief | None:
    """
    What is believed by the days before this one alone, which no longer change as time goes by: near what is believed by all of them, and the same
    for whoever asks. Worked out once for a day; None where they are few.
    """
    before = counts.without({one for one in counts.days if one >= day})
    if len(before.days) < FEWEST_SETTLED:
        return None
    same = (before.days, before.columns, before.shown.tobytes(), before.won.tobytes(), asked)
    known = _settled.get("latest")
    if known is None or known[0] != same:
        variables, levels, prior, live, errors = asked
        known = _settled["latest"] = same, believe(before, variables, levels, live, prior, errors, most=THOROUGH)
    return known[1]


def known(store: Store, live: Live, until: float, plan: Plan | None = None) -> Known:
    """At a time; or, with a `plan` of then, what was known when it was made. Audits have no time: they are those of now."""
    until, seen = (until, store.seen()) if plan is None else (plan.at, plan.seen)
    return Known(
        until,
        seen,
        counted(store, live, until, seen),
        {guard.name: store.rates(guard.name, until, seen, live) for guard in live.bounds},
        store.arrived(until, seen),
        audited(store),
    )


def counted(store: Store, live: Live, until: float, seen: int) -> Counts:
    """Visitors and outcomes, by day and cell."""
    came = delays.curve(store.delays(until, seen, live), live.window_s).share if live.attribution == "hazard" else None
    return store.counts(until, seen, live, came=came)


class People(NamedTuple):
    """Of `came`, `counted` count in full, `successes` of whom had the outcome; the windows of `waiting` are open. `outcomes`: of all who came."""

    came: int
    counted: int
    successes: int
    waiting: int
    outcomes: int


def people(store: Store, live: Live, until: float, seen: int) -> People:
    """Who came by then, and how many of them are counted by then."""
    everybody, mature = store.rates(live.outcome, until, seen, live), store.counts(until, seen, live)
    came, counted = round(float(everybody.shown.sum())), round(float(mature.shown.sum()))
    return People(came, counted, round(float(mature.won.sum())), came - counted, round(float(everybody.won.sum())))


def audited(store: Store) -> labels.Errors | None:
    """How the labels of replies err, as persons found who read some of them; None while they read few."""
    audits = store.audits()
    if len(audits) < LEAST_AUDITED:
        return None
    return labels.errors(labels.audited((one.said, one.truly) for one in audits))
