"""
Tallies as two tables of numbers, days by columns, which is what deciding reads.

The order of tallies does not matter, and tallies of one day, segment and cell add up. Needs numpy, the extra `live`.
"""

import functools
import importlib
import math
import os
import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple

from autoresearch.errors import MissingExtra
from autoresearch.live.records import Tally

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]


THREADS = "OPENBLAS_NUM_THREADS"


class Column(NamedTuple):
    """What some visitors have in common: `held` are those of the holdout."""

    segment: str
    cell: str
    held: bool = False


class Counts(NamedTuple):
    """`shown` and `won` (days, columns): visitors that count by now, and those of them who had the outcome."""

    days: tuple[int, ...]
    columns: tuple[Column, ...]
    shown: "Numbers"
    won: "Numbers"

    def only(self, wanted: Iterable[int]) -> "Counts":
        """These columns."""
        places = list(wanted)
        return Counts(self.days, tuple(self.columns[i] for i in places), self.shown[:, places], self.won[:, places])

    def without(self, days: Collection[int]) -> "Counts":
        """All other days, and the columns in which they have anybody."""
        import numpy as np

        rows = [i for i, day in enumerate(self.days) if day not in days]
        shown, won = self.shown[rows], self.won[rows]
        places = np.flatnonzero(shown.any(axis=0)).tolist()
        return Counts(tuple(self.days[i] for i in rows), self.columns, shown, won).only(places)

    def together(self) -> "Counts":
        """All days as one, the last."""
        if not self.days:
            return self
        return Counts(self.days[-1:], self.columns, self.shown.sum(axis=0)[None], self.won.sum(axis=0)[None])

    def tallies(self) -> tuple[Tally, ...]:
        """The same as a list, without what is nothing."""
        where = zip(*(places.tolist() for places in self.shown.nonzero()), strict=True)
        return tuple(
            Tally(self.days[i], c.segment, c.cell, float(self.shown[i, j]), int(self.won[i, j]), c.held)
            for i, j in where
            for c in (self.columns[j],)
        )


def need_numpy() -> None:
    """
    Load numpy, if nobody has; with one thread for its matrices, unless the person says otherwise: they are small, and threads that
    wait for each other beside other programs took 300 ms for what takes one 17 ms.

    Raises:
        MissingExtra: numpy is not there.
    """
    if sys.modules.get("numpy") is not None:
        return
    said = THREADS in os.environ
    os.environ.setdefault(THREADS, "1")
    try:
        importlib.import_module("numpy")
    except ImportError:
        raise MissingExtra("numpy", "live", "deciding on traffic") from None
    finally:
        if not said:
            del os.environ[THREADS]  # it is for us alone, and not for programs that we start


def counted(tallies: Iterable[Tally]) -> Counts:
    """Of any tallies. Days that are over may be counted once, kept, and put together with `joined`."""
    need_numpy()
    import numpy as np

    found: dict[tuple[int, Column], list[tuple[float, int]]] = {}
    for t in tallies:
        found.setdefault((t.day, Column(t.segment, t.cell, t.held)), []).append((t.n, t.successes))
    days, columns = sorted({day for day, _ in found}), sorted({column for _, column in found})
    day_at, column_at = {day: i for i, day in enumerate(days)}, {column: i for i, column in enumerate(columns)}
    shown, won = np.zeros((len(days), len(columns))), np.zeros((len(days), len(columns)))
    for (day, column), pairs in found.items():
        at = day_at[day], column_at[column]
        won[at] = sum(successes for _, successes in pairs)
        # Exact whatever the order; an open window may count for less than it has already shown.
        shown[at] = max(math.fsum(n for n, _ in pairs), won[at])
    return Counts(tuple(days), tuple(columns), shown, won)


def joined(parts: Iterable[Counts]) -> Counts:
    """Several tables as one; days and columns may be in more than one of them."""
    need_numpy()
    import numpy as np

    found = [part for part in parts if part.days and part.columns]
    days = tuple(sorted({day for part in found for day in part.days}))
    largest = max((part.columns for part in found), key=len, default=())
    every = set(largest).union(*(part.columns for part in found if part.columns is not largest))
    columns = tuple(sorted(largest if len(largest) == len(every) else every))  # what is sorted already is sorted fast
    day_at, column_at = {day: i for i, day in enumerate(days)}, {column: i for i, column in enumerate(columns)}
    shown, won = np.zeros((len(days), len(columns))), np.zeros((len(days), len(columns)))
    for part in found:
        rows = np.array([day_at[day] for day in part.days])
        if part.columns == columns:
            shown[rows] += part.shown
            won[rows] += part.won
        else:
            at = np.ix_(rows, np.array([column_at[column] for column in part.columns]))
            shown[at] += part.shown
            won[at] += part.won
    return Counts(days, columns, shown, won)


def as_counts(tallies: "Iterable[Tally] | Counts") -> Counts:
    return tallies if isinstance(tallies, Counts) else counted(tallies)


@functools.lru_cache(maxsize=65_536)
def parts(cell: str) -> dict[str, str]:
    """Variable -> level; a cell's key, read. Not to be changed."""
    return dict(part.split("=", 1) for part in cell.split(";") if "=" in part)
