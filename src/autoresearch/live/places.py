"""
Which columns of a table have what: worked out once for the same columns, since a decision asks for it many times and columns seldom
change.

Needs numpy, the extra `live`. What is given out is not to be changed.
"""

import functools
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from autoresearch.live.counts import Column, Counts, parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Places = NDArray[np.int64]

CELL = "cell"  # the one variable where whole cells are compared
Default = tuple[tuple[str, str], ...]  # variable and level
Names = tuple[str, ...]
Key = tuple[Names, Names, str | None]  # variables, their levels, and a segment; None: all


class Grouped(NamedTuple):
    """Columns in order of the group that each is in; `starts` of each group among them; all `groups` that have one, of `size`."""

    order: "Places"
    starts: "Places"
    groups: "Places"
    size: int

    def sums(self, table: "Numbers") -> "Numbers":
        """(size, days): of each group's columns together."""
        import numpy as np

        found = np.zeros((self.size, len(table)))
        if len(self.order):
            found[self.groups] = np.add.reduceat(table[:, self.order], self.starts, axis=1).T
        return found


def grouped(group_of: "Places", size: int) -> Grouped:
    """`group_of`: each column's group, -1 for none."""
    import numpy as np

    order = np.argsort(group_of, kind="stable")
    order = order[np.searchsorted(group_of[order], 0) :]
    groups, starts = np.unique(group_of[order], return_index=True)
    return Grouped(order, starts, groups, size)


class Strata(NamedTuple):
    """
    Of a variable: its levels that were shown, the place of the default among them, and the strata in which they meet: the segment of
    each. Group: a stratum's number, times the number of levels, and the level's.
    """

    name: str
    levels: tuple[str, ...]
    default: int
    segments: tuple[str, ...]
    columns: Grouped


@functools.lru_cache(maxsize=64)
def strata(columns: tuple[Column, ...], variables: tuple[str, ...], default: Default) -> tuple[Strata, ...]:
    """
    Of the variables of a block, held equal in all but one. The holdout sees all defaults at once, so it takes part only where whole cells
    are compared.
    """
    import numpy as np

    cells, own = cells_of(columns, default), dict(default)
    taken = [own.keys() == {CELL} or not column.held for column in columns]
    found = []
    for name in variables:
        others = [other for other in variables if other != name]
        keys = [
            (column.segment, *(cell[other] for other in others)) for column, cell in zip(columns, cells, strict=True)
        ]
        groups = sorted({key for key, take in zip(keys, taken, strict=True) if take})
        at = {key: i for i, key in enumerate(groups)}
        levels = sorted({own[name], *(cell[name] for cell, take in zip(cells, taken, strict=True) if take)})
        place = {level: i for i, level in enumerate(levels)}
        group_of = [
            at[key] * len(levels) + place[cell[name]] if take else -1
            for key, cell, take in zip(keys, cells, taken, strict=True)
        ]
        together = grouped(np.array(group_of, dtype=np.int64), len(groups) * len(levels))
        found.append(Strata(name, tuple(levels), place[own[name]], tuple(key[0] for key in groups), together))
    return tuple(found)


@functools.lru_cache(maxsize=16)
def sides(columns: tuple[Column, ...]) -> tuple[Grouped, Grouped]:
    """Everybody else, and the holdout; by segment."""
    import numpy as np

    segments = sorted({column.segment for column in columns})
    of = [segments.index(column.segment) for column in columns]
    held = np.array([column.held for column in columns], dtype=bool)
    groups = np.array(of, dtype=np.int64)
    return grouped(np.where(held, -1, groups), len(segments)), grouped(np.where(held, groups, -1), len(segments))


@functools.lru_cache(maxsize=16)
def cells_of(columns: tuple[Column, ...], default: Default) -> tuple[Mapping[str, str], ...]:
    """Variable -> level, of each column; of one that was not there yet, the default."""
    own = dict(default)
    if own.keys() == {CELL}:
        return tuple({CELL: column.cell} for column in columns)
    return tuple({**own, **parts(column.cell)} for column in columns)


@functools.lru_cache(maxsize=16)
def having(columns: tuple[Column, ...], default: Default) -> Mapping[tuple[str, str], "Places"]:
    """(variable, level) -> the columns that have it."""
    import numpy as np

    found: dict[tuple[str, str], list[int]] = {}
    for i, cell in enumerate(cells_of(columns, default)):
        for item in cell.items():
            found.setdefault(item, []).append(i)
    return {item: np.array(places, dtype=np.int64) for item, places in found.items()}


@functools.lru_cache(maxsize=16)
def pairs(columns: tuple[Column, ...], default: Default, named: tuple[tuple[str, str], ...]) -> "Places":
    """(columns, pairs of variables but the named): the number of the pair of levels that a column has."""
    import numpy as np

    cells = cells_of(columns, default)
    number: dict[tuple[str, str, str, str], int] = {}
    apart = [pair for pair in itertools.combinations(sorted(dict(default)), 2) if pair not in named]
    found = [[number.setdefault((a, cell[a], b, cell[b]), len(number)) for a, b in apart] for cell in cells]
    return np.array(found, dtype=np.int64).reshape(len(columns), len(apart))


def sums(counts: Counts, default: Default, pairs: tuple[tuple[str, str], ...]) -> dict[Key, tuple[float, float]]:
    """Visitors, and how many of them had the outcome; the holdout's too."""
    import numpy as np

    keys, columns, of = _keys(counts.columns, default, pairs)
    shown, won = (
        np.bincount(of, table.sum(axis=0)[columns], len(keys)).tolist() for table in (counts.shown, counts.won)
    )
    return dict(zip(keys, zip(shown, won, strict=True), strict=True))


@functools.lru_cache(maxsize=16)
def _keys(
    columns: tuple[Column, ...], default: Default, pairs: tuple[tuple[str, str], ...]
) -> tuple[tuple[Key, ...], "Places", "Places"]:
    """All keys; and of each that a column has, the column and the key's place."""
    import numpy as np

    at: dict[Key, int] = {}
    where, of = list[int](), list[int]()
    for i, (column, cell) in enumerate(zip(columns, cells_of(columns, default), strict=True)):
        items: list[tuple[Names, Names]] = [((name,), (level,)) for name, level in cell.items()]
        items += [((a, b), (cell[a], cell[b])) for a, b in pairs]
        for names, levels in items:
            for segment in (None, column.segment):
                where.append(i)
                of.append(at.setdefault((names, levels, segment), len(at)))
    return tuple(at), np.array(where, dtype=np.int64), np.array(of, dtype=np.int64)
