"""
What records say of cells: the definition, as pure functions of any collection of records, in any order, with any of them twice.

A unit counts once, at its *first exposure*: the earliest by `at`, then by source, then by id. Its later exposures, under whatever plan
and in whatever cell, change nothing. It is a success if an outcome of the right kind came at that instant or later, and not later than
a window after it; how many came does not matter. What came before the exposure, after the window, or of a unit that was never
exposed never counts. Nothing that happened after `until` is known.

An exposure whose window is still open at `until` does not count, nor do its outcomes, so that a cell is not blamed for replies that
are on their way. With `came`, the share of outcomes that come by an age, it counts in part: as much as outcomes are in by then.

A unit's day, segment, cell and holdout are those of its first exposure. Cells that are no longer shown, and plans that nobody
remembers, count like others: what to make of them is for whoever decides.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from msgspec import Struct

from autoresearch.live.records import AnyRecord, Exposure, Outcome, Tally

DAY_S = 86400
Came = Callable[[float], float]  # an age in seconds -> the share of outcomes that have come by then, 0 to 1


class Group(NamedTuple):
    """Units that a tally counts together."""

    segment: str
    cell: str
    held: bool


class Shown(Struct, frozen=True, array_like=True):
    """How many units were shown a cell first under a plan."""

    plan: int
    segment: str
    cell: str
    held: bool
    n: int


class Audit(Struct, frozen=True):
    """What a tool said of a unit's reply, and what a person found who read it: whether it was positive."""

    unit: str
    said: bool
    truly: bool


def every(_age_s: float) -> float:
    """The `came` with which every unit counts in full from its exposure on: what bounds a harm must not wait for a window."""
    return 1.0


def day_of(at: float) -> int:
    """Whole days since 1970, UTC."""
    return int(at // DAY_S)


def firsts(records: Iterable[AnyRecord], until: float = math.inf) -> dict[str, Exposure]:
    """Unit -> its first exposure."""
    found: dict[str, Exposure] = {}
    for record in records:
        if isinstance(record, Exposure) and record.at <= until:
            known = found.get(record.unit)
            if known is None or _order(record) < _order(known):
                found[record.unit] = record
    return found


def waited(records: Iterable[AnyRecord], until: float, kind: str, window_s: float) -> dict[str, float]:
    """Unit -> seconds from its first exposure to its first outcome that counts; no entry for units without one."""
    records = list(records)
    begun, found = firsts(records, until), dict[str, float]()
    for record in records:
        if isinstance(record, Outcome) and record.kind == kind and record.at <= until and record.unit in begun:
            at = begun[record.unit].at
            if at <= record.at <= at + window_s:
                found[record.unit] = min(record.at - at, found.get(record.unit, math.inf))
    return found


def tally(
    records: Iterable[AnyRecord], until: float, kind: str, window_s: float, came: Came | None = None
) -> tuple[Tally, ...]:
    """Ordered by day, segment, cell and holdout. `came` is asked only about exposures whose window is open."""
    records = list(records)
    good = waited(records, until, kind, window_s)
    parts: defaultdict[tuple[int, Group], list[float]] = defaultdict(list)
    won: defaultdict[tuple[int, Group], int] = defaultdict(int)
    for unit, first in firsts(records, until).items():
        if first.at + window_s <= until:
            part = 1.0
        elif came is not None:
            part = came(until - first.at)
        else:
            continue
        where = day_of(first.at), Group(first.segment, first.cell, first.held)
        parts[where].append(part)
        won[where] += unit in good
    # fsum: the same sum in whatever order
    return tuple(
        Tally(day, group.segment, group.cell, math.fsum(parts[day, group]), won[day, group], group.held)
        for day, group in sorted(parts)
    )


def shown(records: Iterable[AnyRecord], until: float) -> tuple[Shown, ...]:
    """Units whose first exposure was until then, by plan, segment, cell and holdout."""
    counted: defaultdict[tuple[int, str, str, bool], int] = defaultdict(int)
    for first in firsts(records, until).values():
        counted[first.plan, first.segment, first.cell, first.held] += 1
    return tuple(Shown(*where, n) for where, n in sorted(counted.items()))


def _order(exposure: Exposure) -> tuple[float, str, str]:
    return exposure.at, exposure.source, exposure.id
