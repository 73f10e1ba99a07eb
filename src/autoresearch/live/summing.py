"""
Ripe days together, kept up to date: what a day adds is added once, and taken away if the day is touched.

All sums are of whole numbers, so what comes out depends on the days alone, and not on the way on which they came.
"""

from typing import Generic, TypeVar

from autoresearch.live.arriving import Side, Sides
from autoresearch.live.counts import Counts, counted, joined
from autoresearch.live.records import Tally

A = TypeVar("A")


class Days(Generic[A]):
    """The ripe days of a question."""

    def __init__(self) -> None:
        self.days: dict[int, tuple[A, ...]] = {}

    def follow(self, days: dict[int, tuple[A, ...]]) -> None:
        """Be these together."""
        gone = {day: answer for day, answer in self.days.items() if days.get(day) is not answer}
        new = {day: answer for day, answer in days.items() if self.days.get(day) is not answer}
        if gone or new:
            self.change(gone, new)
            self.days = dict(days)

    def change(self, gone: dict[int, tuple[A, ...]], new: dict[int, tuple[A, ...]]) -> None:
        for day in sorted(gone):
            self.add(gone[day], -1)
        for day in sorted(new):
            self.add(new[day], 1)

    def add(self, answer: tuple[A, ...], sign: int) -> None:
        raise NotImplementedError


class Table(Days[Tally]):
    """Days by columns. A day that is added costs a copy, a day that is asked for again nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = self.whole = counted(())

    def change(self, gone: dict[int, tuple[Tally, ...]], new: dict[int, tuple[Tally, ...]]) -> None:
        kept = self.counts.without(gone.keys()) if gone else self.counts
        self.counts = joined([kept, counted(one for answer in new.values() for one in answer)])

    def and_(self, rest: list[Tally]) -> Counts:
        return joined([self.counts, counted(rest)]) if rest else self.counts


class Columns(Table):
    """All days as one, by columns."""

    def change(self, gone: dict[int, tuple[Tally, ...]], new: dict[int, tuple[Tally, ...]]) -> None:
        super().change(gone, new)
        self.whole = self.counts.together()

    def and_(self, rest: list[Tally]) -> Counts:
        return joined([self.whole, counted(rest).together()]).together() if rest else self.whole


class Arrivals(Days[Side]):
    """What came to each side, and what plans gave it."""

    def __init__(self) -> None:
        super().__init__()
        self.sides = Sides()

    def add(self, answer: tuple[Side, ...], sign: int) -> None:
        self.sides.add(answer, sign)

    def and_(self, rest: list[Side]) -> tuple[Side, ...]:
        return self.sides.and_(rest)
