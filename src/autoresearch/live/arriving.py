"""
What came to each level, and what plans gave it: sums that days add up to, so that no decision reads old plans again.

A *side* is a level of a variable, or the holdout. What bets against its share have paid (stats/mismatch.py) is a sum over plans, and so over
days; sums are of whole numbers, so that they are the same in whatever order, and what is taken away is as if it had never been there.
Knows no store. Needs numpy, the extra `live`.
"""

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from msgspec import Struct

from autoresearch.live.counts import need_numpy, parts
from autoresearch.live.records import Plan
from autoresearch.stats.mismatch import FACTORS

HOLDOUT = "the holdout"
GRAIN = 2.0**-32  # of a payment and of visitors due
NONE = 1e-9  # a share that is less is none


class Arrived(Protocol):
    """How many visitors were recorded who saw a cell first under a plan, whether or not their window is over."""

    @property
    def plan(self) -> int: ...
    @property
    def segment(self) -> str: ...
    @property
    def cell(self) -> str: ...
    @property
    def held(self) -> bool: ...
    @property
    def n(self) -> int: ...


class Side(Struct, frozen=True, array_like=True):
    """
    Of some visitors: how many came to a side, how many plans gave it, and what bets against its share paid, as logarithms, for each of
    `FACTORS`; both in units of `GRAIN`. With a number in `plan`: who came to what that plan does not list; and with no `name`, who came under a plan that is
    not known.
    """

    name: str
    came: int
    due: int = 0
    paid: tuple[int, ...] = ()
    plan: int = -1


class Gave(NamedTuple):
    """What a plan gives a segment: the holdout's share, and of all others the share of each level."""

    holdout: float
    shares: dict[str, float]


def gave(plan: Plan, segment: str) -> Gave:
    shares = plan.shares.get(segment) or plan.shares.get("") or {plan.default: 1.0}
    total, found = sum(shares.values()), dict[str, float]()
    for cell, share in shares.items():
        for name in _names(cell):
            found[name] = found.get(name, 0.0) + share / total
    return Gave(plan.holdout, found)


def gave_each(plan: Plan) -> dict[str, Gave]:
    """Each segment that a plan names; "" for all others."""
    return {segment: gave(plan, segment) for segment in {"", *plan.shares}}


def sides_of(plans: Iterable[Plan], counts: Iterable[Arrived]) -> tuple[Side, ...]:
    """Of plans at hand."""
    known = {plan.number: plan for plan in plans}
    return sides(counts, lambda number, segment: gave(known[number], segment) if number in known else None)


def sides(counts: Iterable[Arrived], given: Callable[[int, str], Gave | None]) -> tuple[Side, ...]:
    """In order of their names. `given`: what a plan gave a segment, None of one that is not known."""
    need_numpy()
    import numpy as np

    groups: dict[tuple[int, str], list[Arrived]] = {}
    for count in counts:
        groups.setdefault((count.plan, count.segment), []).append(count)
    unknown, stray = dict[int, int](), dict[tuple[int, str], int]()
    rows = list[tuple[dict[str, float], dict[str, int], int, int]]()  # shares, who came to each, held and all
    for (number, segment), found in sorted(groups.items()):
        whole, plan = sum(count.n for count in found), given(number, segment)
        if plan is None:
            unknown[number] = unknown.get(number, 0) + whole
            continue
        came, held = dict[str, int](), 0
        for count in found:
            if count.held:
                held += count.n
            else:
                for name in _names(count.cell):
                    came[name] = came.get(name, 0) + count.n
        for name in [name for name in came if plan.shares.get(name, 0.0) < NONE]:
            stray[number, name] = stray.get((number, name), 0) + came.pop(name)
        rows.append(({HOLDOUT: plan.holdout, **plan.shares}, {HOLDOUT: held, **came}, held, whole))
    names = sorted({name for shares, *_ in rows for name, share in shares.items() if NONE < share < 1 - NONE})
    share, here, of_all = (np.zeros((len(rows), len(names))) for _ in range(3))
    place = {name: j for j, name in enumerate(names)}
    for i, (shares, came, held, whole) in enumerate(rows):
        of_all[i] = whole - held
        for table, known in ((share, shares), (here, came), (of_all, {HOLDOUT: whole})):
            at = [(place[name], n) for name, n in known.items() if name in place]
            table[i, [j for j, _ in at]] = [n for _, n in at]
    apart = (share > NONE) & (share < 1 - NONE)
    share, here, of_all = share * apart, here * apart, of_all * apart
    paid = here.sum(axis=0)[:, None] * np.log(FACTORS)
    for k, factor in enumerate(FACTORS):
        paid[:, k] -= (of_all * np.log1p(share * (factor - 1))).sum(axis=0)
    due = (of_all * share).sum(axis=0)
    found_sides = [
        Side(name, int(n), round(d / GRAIN), tuple(round(x / GRAIN) for x in row))
        for name, n, d, row in zip(names, here.sum(axis=0).tolist(), due.tolist(), paid.tolist(), strict=True)
    ]
    found_sides += [Side(name, n, plan=number) for (number, name), n in sorted(stray.items())]
    return (*found_sides, *(Side("", n, plan=number) for number, n in sorted(unknown.items())))


class Sides:
    """What was added and not taken away again."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int, str], tuple[int, int, tuple[int, ...]]] = {}

    def add(self, found: Iterable[Side], sign: int = 1) -> None:
        for side in found:
            at = side.plan, side.name
            came, due, paid = self._sums.get(at, (0, 0, (0,) * len(side.paid)))
            paid = tuple(a + sign * b for a, b in zip(paid, side.paid, strict=True))
            self._sums[at] = came + sign * side.came, due + sign * side.due, paid

    def and_(self, others: Iterable[Side]) -> tuple[Side, ...]:
        """With others, in order; without those to which nobody was due and nobody came."""
        found = Sides()
        found._sums = dict(self._sums)
        found.add(others)
        sums = sorted(found._sums.items())
        return tuple(Side(name, *of, plan) for (plan, name), of in sums if of[0] or of[1])


def label(variable: str, level: str) -> str:
    return level if variable == "cell" else f"{variable} = {level}"


@functools.lru_cache(maxsize=65_536)
def _names(cell: str) -> tuple[str, ...]:
    return tuple(label(name, level) for name, level in parts(cell).items())
