"""
What can be asked of a day of first exposures, out of the tables or of records at hand: the same answers as tallying.py's.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, func, select

from autoresearch.live.arriving import Side, sides
from autoresearch.live.plans import Plans
from autoresearch.live.records import AnyRecord, Tally
from autoresearch.live.rows import Words
from autoresearch.live.schema import RECORDS
from autoresearch.live.tallying import DAY_S, Came, Group, Shown, day_of, every, firsts, shown, tally, waited

A = TypeVar("A", covariant=True)
_F, _O = RECORDS.alias("f"), RECORDS.alias("o")
_GROUP = (_F.c.segment, _F.c.cell, _F.c.held)


class Question(Protocol[A]):
    """
    `name` is the same for questions whose answers are the same once a day is ripe. `kind` is the type of an answer, a tuple, which is
    kept as JSON.
    """

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Any: ...

    def ripe(self, day: int, until: float) -> bool:
        """Whether nothing that happens after `until` can change the answer."""
        ...

    def empty(self, day: int, until: float) -> bool:
        """Whether there is certainly nothing to count yet."""
        ...

    def final(self, answer: tuple[Any, ...]) -> bool:
        """Whether an answer of a ripe day holds until the day is touched."""
        ...

    def quick(self, connection: Connection, words: Words, day: int, until: float) -> tuple[A, ...]:
        """The answer, from all that is recorded."""
        ...

    def slow(self, connection: Connection, records: Sequence[AnyRecord], day: int, until: float) -> tuple[A, ...]:
        """The answer, from these records: all of every unit that was exposed on that day."""
        ...


class _Final:
    """What records alone say."""

    def final(self, answer: tuple[Any, ...]) -> bool:
        return True


class _Windowed(_Final):
    """What concerns outcomes of a kind within a window of the exposure."""

    def __init__(self, outcome: str, window_s: float) -> None:
        self.outcome, self.window_s = outcome, window_s

    def ripe(self, day: int, until: float) -> bool:
        return (day + 1) * DAY_S + self.window_s <= until

    def closed(self, until: float) -> ColumnElement[bool]:
        return _F.c.at + self.window_s <= until

    def replies(
        self, connection: Connection, words: Words, day: int, until: float, *columns: Any
    ) -> Select[Any] | None:
        """These of first exposures, beside each outcome that makes one a success; None where there is no such outcome."""
        kind = words.numbers(connection, [self.outcome]).get(self.outcome)
        if kind is None:
            return None
        together = (_O.c.study == _F.c.study) & (_O.c.unit == _F.c.unit)
        end = min((day + 1) * DAY_S + self.window_s, until)
        return (
            select(*columns)
            .select_from(_O.join(_F, together))
            .where(_O.c.study == words.study, _O.c.kind == kind, _O.c.at >= day * DAY_S, _O.c.at <= end)
            .where(_O.c.at >= _F.c.at, _O.c.at <= _F.c.at + self.window_s, *_first_on(words.study, day))
        )


class Tallied(_Windowed):
    """Tallies. `came`: see tallying.py."""

    kind = tuple[Tally, ...]

    def __init__(self, outcome: str, window_s: float, came: Came | None = None) -> None:
        super().__init__(outcome, window_s)
        self.came = came
        self.name = f"tally {window_s!r} {outcome}"

    def empty(self, day: int, until: float) -> bool:
        return day * DAY_S + (self.window_s if self.came is None else 0) > until

    def quick(self, connection: Connection, words: Words, day: int, until: float) -> tuple[Tally, ...]:
        counts = _F.c.at <= until if self.came is every else self.closed(until)
        parts: defaultdict[Group, list[float]] = defaultdict(list)
        won: defaultdict[Group, int] = defaultdict(int)
        asked = select(*_GROUP, func.count()).where(*_first_on(words.study, day), counts).group_by(*_GROUP)
        for group, n in _grouped(connection, words, asked):
            parts[group].append(float(n))
        replied = self.replies(connection, words, day, until, *_GROUP, func.count(_F.c.key.distinct()))
        if replied is not None:
            for group, n in _grouped(connection, words, replied.where(counts).group_by(*_GROUP)):
                won[group] += n
        if self.came is not None and self.came is not every and not self.ripe(day, until):
            self._open(connection, words, day, until, self.came, parts, won)
        return tuple(Tally(day, g.segment, g.cell, math.fsum(parts[g]), won[g], g.held) for g in sorted(parts))

    def _open(
        self,
        connection: Connection,
        words: Words,
        day: int,
        until: float,
        came: Came,
        parts: defaultdict[Group, list[float]],
        won: defaultdict[Group, int],
    ) -> None:
        """Add those whose window is not over."""
        open_ = (~self.closed(until), _F.c.at <= until)
        asked = select(*_GROUP, _F.c.at).where(*_first_on(words.study, day), *open_)
        for group, at in _grouped(connection, words, asked):
            parts[group].append(came(until - at))
        replied = self.replies(connection, words, day, until, *_GROUP, func.count(_F.c.key.distinct()))
        if replied is not None:
            for group, n in _grouped(connection, words, replied.where(*open_).group_by(*_GROUP)):
                won[group] += n

    def slow(self, connection: Connection, records: Sequence[AnyRecord], day: int, until: float) -> tuple[Tally, ...]:
        tallies = tally(records, until, self.outcome, self.window_s, self.came)
        return tuple(one for one in tallies if one.day == day)


class Waited(_Windowed):
    """How long each success of a day waited, in seconds, in ascending order; of exposures whose window is closed."""

    kind = tuple[float, ...]

    def __init__(self, outcome: str, window_s: float) -> None:
        super().__init__(outcome, window_s)
        self.name = f"wait {window_s!r} {outcome}"

    def empty(self, day: int, until: float) -> bool:
        return day * DAY_S + self.window_s > until

    def quick(self, connection: Connection, words: Words, day: int, until: float) -> tuple[float, ...]:
        asked = self.replies(connection, words, day, until, func.min(_O.c.at - _F.c.at))
        if asked is None:
            return ()
        return tuple(sorted(connection.execute(asked.where(self.closed(until)).group_by(_F.c.key)).scalars()))

    def slow(self, connection: Connection, records: Sequence[AnyRecord], day: int, until: float) -> tuple[float, ...]:
        begun = firsts(records, until)
        took = waited(records, until, self.outcome, self.window_s)
        closed = (u for u in took if day_of(begun[u].at) == day and begun[u].at + self.window_s <= until)
        return tuple(sorted(took[unit] for unit in closed))


class ShownFirst(_Final):
    """How many units were shown what first, under which plan."""

    kind = tuple[Shown, ...]
    name = "shown"

    def ripe(self, day: int, until: float) -> bool:
        return (day + 1) * DAY_S <= until

    def empty(self, day: int, until: float) -> bool:
        return day * DAY_S > until

    def quick(self, connection: Connection, words: Words, day: int, until: float) -> tuple[Shown, ...]:
        asked = select(*_GROUP, _F.c.plan, func.count()).where(*_first_on(words.study, day), _F.c.at <= until)
        found = _grouped(connection, words, asked.group_by(*_GROUP, _F.c.plan))
        return tuple(
            sorted(
                (Shown(plan, group.segment, group.cell, group.held, n) for group, plan, n in found),
                key=msgspec.structs.astuple,
            )
        )

    def slow(self, connection: Connection, records: Sequence[AnyRecord], day: int, until: float) -> tuple[Shown, ...]:
        there = firsts(records, until).values()
        return shown((first for first in there if day_of(first.at) == day), until)


class ArrivedAs:
    """What came to each side, and what plans gave it."""

    kind = tuple[Side, ...]
    name = "arrived"
    shown = ShownFirst()

    def __init__(self, plans: Plans) -> None:
        self.plans = plans

    def ripe(self, day: int, until: float) -> bool:
        return self.shown.ripe(day, until)

    def empty(self, day: int, until: float) -> bool:
        return self.shown.empty(day, until)

    def final(self, answer: tuple[Any, ...]) -> bool:
        """A plan that an exposure names may still be made, unless a later one was."""
        return all(side.name or side.plan <= self.plans.latest for side in answer)

    def quick(self, connection: Connection, words: Words, day: int, until: float) -> tuple[Side, ...]:
        return self._of(connection, self.shown.quick(connection, words, day, until))

    def slow(self, connection: Connection, records: Sequence[AnyRecord], day: int, until: float) -> tuple[Side, ...]:
        return self._of(connection, self.shown.slow(connection, records, day, until))

    def _of(self, connection: Connection, counts: Sequence[Shown]) -> tuple[Side, ...]:
        self.plans.read(connection, {count.plan for count in counts})
        return sides(counts, self.plans.gave)


def _first_on(study: int, day: int) -> tuple[ColumnElement[bool], ...]:
    return _F.c.study == study, _F.c.day == day, _F.c.first == 1


def _grouped(connection: Connection, words: Words, asked: Select[Any]) -> Iterable[tuple[Any, ...]]:
    """Rows that begin with a group, with its words for their numbers."""
    rows = connection.execute(asked).all()
    texts = words.texts(connection, {number for row in rows for number in row[:2]})
    for segment, cell, held, *rest in rows:
        yield Group(texts[segment], texts[cell], bool(held)), *rest
