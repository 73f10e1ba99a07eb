"""
The map of a live study over time: what was known when, worked out again from the records and plans of then.

A plan says from which records it was made, what it showed, and what its default was; so what was known then follows from the store
alone, whatever has become of the levels since. Only audits of labels have no time, and count as they are now.
"""

import math
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from autoresearch.campaign import levels
from autoresearch.campaign.atlas import Atlas, Shelf, decided, made_of, open_shelf
from autoresearch.campaign.known import audited, counted, known
from autoresearch.errors import StudyError
from autoresearch.live import effects
from autoresearch.live.belief import Belief, believe, handed_on
from autoresearch.live.counts import Counts, joined, parts
from autoresearch.live.deciding import Reading
from autoresearch.live.mappings import instant
from autoresearch.live.prior import Effect, Handed
from autoresearch.live.records import Plan
from autoresearch.live.store import Store
from autoresearch.live.tallying import DAY_S, day_of
from autoresearch.live.unnamed import allowed_for
from autoresearch.live.variables import Variables, cell_of

MOST_POINTS = 30
DAILY = 30  # days that a study is drawn day by day; a longer one by weeks, or by so many weeks that the points suffice
_DAY_NUMBER = re.compile(r"\d{1,5}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")

Standing = Literal["default", "shown", "not shown"]


class Point(Struct, frozen=True):
    """
    A level as it was known at a time: by what share the rate changes against the level that was the default when the study began,
    with a 95 % interval; how many had seen it, and how many of them had the outcome.
    """

    at: float
    day: int
    effect: float
    low: float
    high: float
    shown: float
    won: float
    standing: Standing


class Line(Struct, frozen=True):
    """A level over time, from when it was first shown on. `first`: it was the default when the study began."""

    variable: str
    level: str
    text: str
    first: bool
    points: tuple[Point, ...]


class History(Struct, frozen=True):
    """`days` are the study's own, from 1 on; each point is what was known at the end of one."""

    study: str
    metric: str
    simulated: bool
    step_days: int
    days: tuple[int, ...]
    lines: tuple[Line, ...]


def replayed(folder: Path, when: str) -> Atlas:
    """
    The map as it was at a time: a day of the study ("3"), a date (its end, UTC), or a date and time.

    Raises:
        StudyError: it is no time, or nothing was known then; or as in `atlas.learnt`.
    """
    with open_shelf(folder) as shelf:
        first = _first(shelf.store)
        at = _instant(when, first.at)
        plan = latest(shelf.store, at)
        if plan is None:
            raise StudyError(f"--at {when}: nothing was known then; the first plan was made at {_told(first.at)}")
        return _as_of(shelf, plan)


def _as_of(shelf: Shelf, plan: Plan) -> Atlas:
    state, live = shelf.state, shelf.live
    variables = with_default(levels.ever_approved(state, shelf.variables), plan.default)
    facts = known(shelf.store, live, plan.at, plan)
    shown = listed(plan)
    found = decided(state, variables, live, facts, shown, shelf.prior)
    chains = _chains(shelf)

    def word(reading: Reading) -> str:
        """What had become of its trial: a default in its time was kept, what is shown is open, and what is not was dropped."""
        own = chains.get(reading.variable, [])
        if reading.level in own[1:]:
            now = variables.variables[reading.variable].default
            if now in own and own.index(reading.level) <= own.index(now):
                return "keep"
        if reading.level in own[:1] or reading.variable not in variables.variables:
            return reading.word
        return "running" if reading.level in shown[reading.variable] else "discard"

    return made_of(shelf, found, facts, word)


def over_time(folder: Path) -> History:
    """
    How the effect of each level came to be known, day by day or week by week.

    Raises:
        StudyError: nothing was planned yet, or whole cells are compared; or as in `atlas.learnt`.
    """
    with open_shelf(folder) as shelf:
        if shelf.live.decide == "winner":
            raise StudyError(
                'study.toml: live.decide = "winner" compares whole cells; the map over time is of levels. See `live map --at`'
            )
        first = _first(shelf.store)
        last = shelf.store.plan() or first
        step, plans = _chosen(shelf.store, first, last)
        variables = with_default(levels.ever_approved(shelf.state, shelf.variables), first.default)
        lines: dict[tuple[str, str], list[Point]] = {}
        days = []
        looks = _Looks(shelf)
        for plan in plans:
            days.append(_day(plan.at, first.at))
            belief = looks.belief(plan, variables)
            for at, point in _points(belief, looks.counts, plan, days[-1]):
                lines.setdefault(at, []).append(point)
        return History(
            shelf.study.name,
            shelf.study.metric.name,
            shelf.live.simulated,
            step,
            tuple(days),
            tuple(
                Line(
                    name,
                    level,
                    variables.variables[name].levels.get(level, ""),
                    level == variables.variables[name].default,
                    tuple(points),
                )
                for (name, level), points in sorted(lines.items())
            ),
        )


def for_the_next(folder: Path) -> Handed:
    """
    What the next campaign may start from: the effect of each level that somebody saw, as it is known now.

    Raises:
        StudyError: nothing was planned yet, or whole cells are compared; or as in `atlas.learnt`.
    """
    with open_shelf(folder) as shelf:
        last = shelf.store.plan() or _first(shelf.store)
        variables = with_default(levels.ever_approved(shelf.state, shelf.variables), last.default)
        now = last.at if shelf.live.simulated else max(last.at, time.time())
        plan = msgspec.structs.replace(last, at=now, seen=shelf.store.seen())
        looks = _Looks(shelf)
        belief = looks.belief(plan, variables)
        totals = _totals(belief, looks.counts)
        found = [
            (one, totals.get((one.variable, one.level), (0.0, 0.0))[0]) for one in handed_on(belief, variables).known
        ]
        return Handed(
            format=1,
            study=shelf.study.name,
            outcome=shelf.live.outcome,
            until=datetime.fromtimestamp(now, UTC).date(),
            effects=[
                Effect(one.variable, one.level, one.text, one.mean, one.sd, n) for one, n in found if n and one.sd > 0
            ],
            people=float(looks.counts.shown.sum()),
            simulated=shelf.live.simulated,
        )


class _Looks:
    """Beliefs at one time after another."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf, self.labels = shelf, audited(shelf.store)
        self.counts = joined([])

    def belief(self, plan: Plan, variables: Variables) -> Belief:
        self.counts = counted(self.shelf.store, self.shelf.live, plan.at, plan.seen)
        found = believe(self.counts, variables, listed(plan), self.shelf.live, self.shelf.prior, self.labels)
        return allowed_for(found, self.counts, self.labels)[0]


def _points(belief: Belief, counts: Counts, plan: Plan, day: int) -> Iterator[tuple[tuple[str, str], Point]]:
    """Of each level that was shown by then."""
    shown, now, totals = listed(plan), cell_of(plan.default), _totals(belief, counts)
    for block in belief.blocks:
        for name in block.variables:
            for level in sorted({term.levels[0] for term in belief.terms if term.variables == (name,)}):
                standing: Standing = (
                    "default" if now.get(name) == level else "shown" if level in shown.get(name, ()) else "not shown"
                )
                effect = effects.relative(belief, effects.contrast(belief, block, name, level, None), None)
                yield (name, level), Point(plan.at, day, *effect, *totals.get((name, level), (0.0, 0.0)), standing)


def _totals(belief: Belief, counts: Counts) -> dict[tuple[str, str], tuple[float, float]]:
    """(variable, level) -> how many saw it, and how many of them had the outcome."""
    seen, won = counts.shown.sum(axis=0).tolist(), counts.won.sum(axis=0).tolist()
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for column, n, y in zip(counts.columns, seen, won, strict=True):
        for item in {**belief.default, **parts(column.cell)}.items():
            before = found.get(item, (0.0, 0.0))
            found[item] = before[0] + n, before[1] + y
    return found


def latest(store: Store, at: float) -> Plan | None:
    """The last plan that was made by then. Plans are numbered from 1 on, in the order of their times."""
    last = store.plan()
    low, high, found = 1, last.number if last else 0, None
    while low <= high:
        middle = (low + high) // 2
        plan = store.plan(middle)
        if plan is not None and plan.at <= at:
            low, found = middle + 1, plan
        else:
            high = middle - 1
    return found


def _chosen(store: Store, first: Plan, last: Plan) -> tuple[int, list[Plan]]:
    """Days between two points, and the plans that were the last ones then."""
    days = _day(last.at, first.at)
    step = 1 if days <= DAILY else 7 * math.ceil(days / 7 / (MOST_POINTS - 1))
    begun = day_of(first.at) * DAY_S
    ends = [begun + day * DAY_S - 1e-3 for day in range(step, days, step)]
    found = {plan.number: plan for end in ends if (plan := latest(store, end)) is not None}
    return step, [plan for _, plan in sorted({**found, last.number: last}.items())]


def listed(plan: Plan) -> dict[str, set[str]]:
    """Variable -> levels that a plan shows, its default's too."""
    found: dict[str, set[str]] = {}
    for cell in {plan.default, *(cell for shares in plan.shares.values() for cell in shares)}:
        for name, level in cell_of(cell).items():
            found.setdefault(name, set()).add(level)
    return found


def with_default(variables: Variables, cell: str) -> Variables:
    """The variables with the levels of a cell as their defaults."""
    default = cell_of(cell)
    return Variables(
        {
            name: msgspec.structs.replace(variable, default=default.get(name, variable.default))
            for name, variable in variables.variables.items()
        },
        variables.forbid,
    )


def _chains(shelf: Shelf) -> dict[str, list[str]]:
    """Variable -> its defaults, in the order in which they were."""
    found = {name: [level] for name, level in cell_of(_first(shelf.store).default).items()}
    for number in shelf.state.kept:
        if (level := levels.of(shelf.state.trials[number])) is not None:
            found.setdefault(level.variable, []).append(level.name)
    return found


def _first(store: Store) -> Plan:
    first = store.plan(1)
    if first is None:
        raise StudyError("nothing was planned yet: `autoresearch live serve` or `autoresearch run` begins the study")
    return first


def _day(at: float, first: float) -> int:
    return day_of(at) - day_of(first) + 1


def _instant(when: str, first: float) -> float:
    told = when.strip()
    if _DAY_NUMBER.fullmatch(told):
        return (day_of(first) + int(told)) * DAY_S - 1e-3
    try:
        return instant(told) + (DAY_S - 1e-3 if _DATE.fullmatch(told) else 0.0)
    except ValueError:
        raise StudyError(
            f"--at {when[:60]!r} is no time; give a day of the study like 3, a date like 2026-03-01, or 2026-03-01T09:30:00Z"
        ) from None


def _told(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
