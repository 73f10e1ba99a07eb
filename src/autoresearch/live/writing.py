"""
How records enter the tables: each once, with a number, and with a note of the days that they change.

Knows one transaction, in which nobody else writes; see schema.py.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from autoresearch.live.records import AnyRecord, Cost, Exposure, Fate, Outcome
from autoresearch.live.rows import Words, chunks, key, row_of, said
from autoresearch.live.schema import AUDITS, DAYS, FORGOTTEN, RECORDS, STUDIES, SUPPRESSION, insert, mark
from autoresearch.live.tallying import day_of


class First:
    """A unit's first exposure, as far as it is known: its key in the tables, or the row that will be there."""

    __slots__ = ("day", "key", "order", "row")

    def __init__(self, order: tuple[float, str, str], key: bytes | None, row: dict[str, Any] | None) -> None:
        self.order, self.key, self.row = order, key, row
        self.day = day_of(order[0])


def fates(connection: Connection, study: int, records: Sequence[AnyRecord]) -> list[Fate]:
    """Of each of these: it is new where it is not there, not twice among them, and of nobody who asked to be forgotten."""
    keys = [key(record) for record in records]
    known = set[bytes]()
    for some in chunks(set(keys)):
        asked = select(RECORDS.c.key).where(RECORDS.c.study == study, RECORDS.c.key.in_(some))
        known.update(connection.execute(asked).scalars())
    gone = _forgotten(connection, study, {record.unit for record in records if not isinstance(record, Cost)})
    found = []
    for told, record in zip(keys, records, strict=True):
        if not isinstance(record, Cost) and record.unit in gone:
            found.append(Fate.REFUSED)
            continue
        found.append(Fate.KNOWN if told in known else Fate.NEW)
        known.add(told)
    return found


def enter(connection: Connection, words: Words, records: Sequence[AnyRecord]) -> tuple[list[Fate], dict[str, int]]:
    """What became of each of these, and the words that `Words.keep` may remember. Only what is new is written."""
    study = words.study
    found = fates(connection, study, records)
    fresh = [record for record, fate in zip(records, found, strict=True) if fate is Fate.NEW]
    if not fresh:
        return found, {}
    numbers = words.numbers(connection, said(fresh), make=True)
    last, changes = connection.execute(select(STUDIES.c.last, STUDIES.c.changes).where(STUDIES.c.id == study)).one()
    rows = [row_of(study, last + i, record, numbers) for i, record in enumerate(fresh, 1)]
    touched = _place(connection, words, fresh, rows)
    connection.execute(RECORDS.insert(), rows)
    last += len(rows)
    touch(connection, study, touched, changes + 1, last)
    connection.execute(update(STUDIES).where(STUDIES.c.id == study).values(last=last, changes=changes + 1))
    return found, numbers


def touch(connection: Connection, study: int, days: Iterable[int], change: int, last: int | None = None) -> None:
    """Note that these days are not what they were; by a record, or without one where `last` is None."""
    for day in sorted(days):
        made = insert(connection, DAYS).values(study=study, day=day, touched=last or 0, changed=change)
        values = {"changed": change} | ({} if last is None else {"touched": last})
        connection.execute(made.on_conflict_do_update(index_elements=["study", "day"], set_=values))


def forget(connection: Connection, study: int, unit: str) -> int:
    """Take out all that is known of a unit, and note that nothing of it is wanted; how many records that were."""
    raw = bytes.fromhex(unit)
    its = (RECORDS.c.study == study) & (RECORDS.c.unit == raw)
    days = connection.execute(select(RECORDS.c.day).where(its, RECORDS.c.first == 1)).scalars().all()
    removed = connection.execute(delete(RECORDS).where(its)).rowcount
    connection.execute(delete(AUDITS).where(AUDITS.c.study == study, AUDITS.c.unit == raw))
    connection.execute(
        insert(connection, FORGOTTEN).values(study=study, mark=_gone(study, unit)).on_conflict_do_nothing()
    )
    changes = connection.execute(select(STUDIES.c.changes).where(STUDIES.c.id == study)).scalar_one() + 1
    touch(connection, study, days, changes)
    connection.execute(update(STUDIES).where(STUDIES.c.id == study).values(changes=changes))
    return removed


def _forgotten(connection: Connection, study: int, units: set[str]) -> set[str]:
    marks = {_gone(study, unit): unit for unit in units}
    found = set[str]()
    for some in chunks(marks):
        asked = select(FORGOTTEN.c.mark).where(FORGOTTEN.c.study == study, FORGOTTEN.c.mark.in_(some))
        found.update(marks[told] for told in connection.execute(asked).scalars())
    return found


def suppressed(connection: Connection, study: int, units: set[str]) -> frozenset[str]:
    """Which of these are not to be written to: by their own word, or because they are forgotten."""
    found = _forgotten(connection, study, units)
    for some in chunks(bytes.fromhex(unit) for unit in units):
        asked = select(RECORDS.c.unit).where(
            RECORDS.c.study == study, RECORDS.c.unit.in_(some), RECORDS.c.what == SUPPRESSION
        )
        found.update(raw.hex() for raw in connection.execute(asked).scalars())
    return frozenset(found)


def _place(
    connection: Connection, words: Words, records: Sequence[AnyRecord], rows: Sequence[dict[str, Any]]
) -> set[int]:
    """Mark which exposures are their unit's first, here and in the tables; the days that this touches."""
    study = words.study
    firsts = _firsts(connection, words, {r.unit for r in records if isinstance(r, Exposure | Outcome)})
    touched, demoted = set[int](), list[bytes]()
    for record, row in zip(records, rows, strict=True):
        if not isinstance(record, Exposure):
            continue
        order, before = (record.at, record.source, record.id), firsts.get(record.unit)
        if before is not None and before.order <= order:
            continue
        if before is not None:
            touched.add(before.day)
            if before.row is not None:
                before.row["first"] = 0
            elif before.key is not None:
                demoted.append(before.key)
        row["first"] = 1
        firsts[record.unit] = First(order, None, row)
        touched.add(row["day"])
    if demoted:
        statement = update(RECORDS).where(RECORDS.c.study == study, RECORDS.c.key == bindparam("its")).values(first=0)
        connection.execute(statement, [{"its": its} for its in demoted])
    return touched | {firsts[r.unit].day for r in records if isinstance(r, Outcome) and r.unit in firsts}


def _firsts(connection: Connection, words: Words, units: set[str]) -> dict[str, First]:
    found = dict[str, First]()
    c = RECORDS.c
    asked = select(c.unit, c.at, c.source, c.id, c.key).where(c.study == words.study, c.first == 1)
    for some in chunks(bytes.fromhex(unit) for unit in units):
        rows = connection.execute(asked.where(c.unit.in_(some))).all()
        texts = words.texts(connection, {row.source for row in rows})
        for unit, at, source, id, known in rows:
            found[unit.hex()] = First((at, texts[source], id), known, None)
    return found


def _gone(study: int, unit: str) -> bytes:
    return mark("forgotten", str(study), unit)
