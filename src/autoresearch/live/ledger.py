"""
Answers about all days, at a cost that does not grow with the age of a study.

Once nothing that may still happen can change a day's answer, it is kept, in memory and in a table, until a record arrives late that
touches the day: then it is worked out anew. Where somebody asks what was known up to a record of long ago, and a day was touched
since, the answer comes from the records themselves.
"""

import threading
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from autoresearch.live.arriving import Side
from autoresearch.live.counts import Counts
from autoresearch.live.questions import ArrivedAs, Question, Tallied
from autoresearch.live.rows import Words, read
from autoresearch.live.schema import DAYS, EXPOSURE, OUTCOME, RECORDS, ROLLUPS, Database, insert
from autoresearch.live.summing import Arrivals, Columns, Days, Table

A = TypeVar("A")
D = TypeVar("D", bound=Days[Any])


class Touched(NamedTuple):
    """The last record that could change what is said of a day, and the last change of any kind."""

    record: int
    change: int


class Kept(NamedTuple):
    """An answer that holds as long as its day was not changed since."""

    change: int
    answer: tuple[Any, ...]


class Ledger:
    """Of one study. Several threads may ask."""

    def __init__(self, database: Database, words: Words) -> None:
        self.database, self.words = database, words
        self._lock = threading.Lock()
        self._days: dict[int, Touched] = {}
        self._change = 0
        self._kept: dict[str, dict[int, Kept]] = {}
        self._together: dict[tuple[type, str], Any] = {}

    def ask(self, question: Question[A], until: float, seen: int | None = None) -> list[tuple[A, ...]]:
        """Each day's answer, in order. `seen`: as if no record with a larger number were there."""
        with self._lock:
            ripe, other = self._answers(question, until, seen)
        both = ripe | other
        return [both[day] for day in sorted(both)]

    def counts(self, question: Tallied, until: float, seen: int | None = None) -> Counts:
        """Days by columns."""
        with self._lock:
            ripe, rest = self._followed(question, until, seen, Table)
            return ripe.and_(rest)

    def columns(self, question: Tallied, until: float, seen: int | None = None) -> Counts:
        """All days as one, by columns."""
        with self._lock:
            ripe, rest = self._followed(question, until, seen, Columns)
            return ripe.and_(rest)

    def arrived(self, question: ArrivedAs, until: float, seen: int | None = None) -> tuple[Side, ...]:
        with self._lock:
            ripe, rest = self._followed(question, until, seen, Arrivals)
            return ripe.and_(rest)

    def _followed(self, question: Question[A], until: float, seen: int | None, kind: type[D]) -> tuple[D, list[A]]:
        """The ripe days, as they were kept together since the last time, and all other answers."""
        ripe, other = self._answers(question, until, seen)
        kept = self._together.setdefault((kind, question.name), kind())
        kept.follow(ripe)
        return kept, [one for day in sorted(other) for one in other[day]]

    def _answers(
        self, question: Question[A], until: float, seen: int | None
    ) -> tuple[dict[int, tuple[A, ...]], dict[int, tuple[A, ...]]]:
        """Day -> answer: those that are kept, and those that were worked out for this once."""
        kept = self._kept.get(question.name)
        ripe, other = dict[int, tuple[A, ...]](), dict[int, tuple[A, ...]]()
        new = dict[int, Kept]()
        with self.database.reading() as connection:
            self._look(connection)
            if kept is None:
                kept = self._kept[question.name] = self._load(connection, question)
            for day, touched in self._days.items():
                if question.empty(day, until):
                    continue
                if seen is not None and touched.record > seen:
                    other[day] = question.slow(connection, self._records(connection, day, seen), day, until)
                    continue
                if not question.ripe(day, until):
                    other[day] = question.quick(connection, self.words, day, until)
                    continue
                known = kept.get(day)
                if known is None or known.change != touched.change:
                    known = Kept(touched.change, question.quick(connection, self.words, day, until))
                    if not question.final(known.answer):
                        other[day] = known.answer
                        continue
                    new[day] = known
                ripe[day] = known.answer
        if new:
            kept.update(new)
            self._store(question, new)
        return ripe, other

    def _look(self, connection: Connection) -> None:
        """Learn which days were changed since."""
        c = DAYS.c
        asked = select(c.day, c.touched, c.changed).where(c.study == self.words.study, c.changed > self._change)
        for day, touched, changed in connection.execute(asked).all():
            self._days[day] = Touched(touched, changed)
            self._change = max(self._change, changed)

    def _records(self, connection: Connection, day: int, seen: int) -> Sequence[Any]:
        c = RECORDS.c
        units = select(c.unit).where(c.study == self.words.study, c.day == day, c.what == EXPOSURE, c.number <= seen)
        return read(connection, self.words, (c.number <= seen) & c.what.in_((EXPOSURE, OUTCOME)) & c.unit.in_(units))

    def _load(self, connection: Connection, question: Question[Any]) -> dict[int, Kept]:
        c = ROLLUPS.c
        asked = select(c.day, c.changed, c.answer).where(c.study == self.words.study, c.question == question.name)
        decoder = msgspec.json.Decoder(question.kind)
        return {
            day: Kept(changed, decoder.decode(zlib.decompress(packed)))
            for day, changed, packed in connection.execute(asked)
        }

    def _store(self, question: Question[Any], new: dict[int, Kept]) -> None:
        """For whoever opens the store next. It holds only as long as the day has this change, so it may be late or lost."""
        values = [
            {"study": self.words.study, "question": question.name, "day": day, "changed": change}
            | {"answer": zlib.compress(msgspec.json.encode(answer))}
            for day, (change, answer) in new.items()
        ]
        try:
            with self.database.writing() as connection:
                made = insert(connection, ROLLUPS)
                what = {"changed": made.excluded.changed, "answer": made.excluded.answer}
                connection.execute(
                    made.on_conflict_do_update(index_elements=["study", "question", "day"], set_=what), values
                )
        except DBAPIError:
            pass  # a full disk or a lock that is held for long; the answer itself is right
