"""
Records as rows of a table, and back.

What is said often (a cell, a segment, a kind, a source) is kept once, under a number.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, select

from autoresearch.live.records import AnyRecord, Cost, Exposure, Outcome, Suppression
from autoresearch.live.schema import COST, EXPOSURE, OUTCOME, RECORDS, SUPPRESSION, WORDS, mark
from autoresearch.live.tallying import day_of

MOST_ASKED = 1000  # values in one IN
_WHAT = {Exposure: EXPOSURE, Outcome: OUTCOME, Cost: COST, Suppression: SUPPRESSION}
_EMPTY = dict.fromkeys(column.name for column in RECORDS.columns)


def key(record: AnyRecord) -> bytes:
    """What a record is known by."""
    return mark(record.source, record.id)


class Words:
    """Numbers for what is said often. What a transaction makes that fails is not remembered: call `keep` when it has ended."""

    def __init__(self, study: int) -> None:
        self.study = study
        self._numbers: dict[str, int] = {}
        self._texts: dict[int, str] = {}

    def numbers(self, connection: Connection, texts: Iterable[str], make: bool = False) -> dict[str, int]:
        """Those that are there, or with `make` all."""
        wanted = set(texts)
        found = {text: self._numbers[text] for text in wanted if text in self._numbers}
        missing = {
            mark(text): text for text in sorted(wanted - found.keys())
        }  # neighbours get numbers that are neighbours
        if not missing:
            return found
        columns = select(WORDS.c.id, WORDS.c.mark).where(WORDS.c.study == self.study)
        for some in chunks(missing):
            for number, told in connection.execute(columns.where(WORDS.c.mark.in_(some))):
                found[missing.pop(told)] = number
        if missing and make:
            made = [{"study": self.study, "mark": told, "text": text} for told, text in missing.items()]
            connection.execute(WORDS.insert(), made)
            found |= self.numbers(connection, missing.values())
        return found

    def texts(self, connection: Connection, numbers: Iterable[int]) -> Mapping[int, str]:
        """All texts that are known; those of these numbers are among them."""
        unknown = set(numbers) - self._texts.keys()
        for some in chunks(unknown):
            rows = connection.execute(select(WORDS.c.id, WORDS.c.text).where(WORDS.c.id.in_(some)))
            self._texts.update({row.id: row.text for row in rows})
        return self._texts

    def keep(self, numbers: Mapping[str, int]) -> None:
        self._numbers.update(numbers)
        self._texts.update({number: text for text, number in numbers.items()})


def chunks(values: Iterable[Any]) -> Iterable[list[Any]]:
    """As many at once as a database takes in one question."""
    told = list(values)
    return [told[i : i + MOST_ASKED] for i in range(0, len(told), MOST_ASKED)]


def said(records: Iterable[AnyRecord]) -> set[str]:
    said = set[str]()
    for record in records:
        said.add(record.source)
        if isinstance(record, Exposure):
            said |= {record.cell, record.segment}
        elif isinstance(record, Outcome):
            said.add(record.kind)
        elif isinstance(record, Cost):
            said.add(record.cell)
    return said


def row_of(study: int, number: int, record: AnyRecord, words: Mapping[str, int]) -> dict[str, Any]:
    row = _EMPTY | {"study": study, "number": number, "key": key(record), "what": _WHAT[type(record)]}
    row |= {"source": words[record.source], "id": record.id, "at": record.at}
    if not isinstance(record, Cost):
        row["unit"] = bytes.fromhex(record.unit)
    if isinstance(record, Exposure):
        row |= {"cell": words[record.cell], "segment": words[record.segment], "plan": record.plan}
        row |= {"chance": record.chance, "held": int(record.held), "day": day_of(record.at), "first": 0}
    elif isinstance(record, Outcome):
        row |= {"kind": words[record.kind], "value": record.value}
    elif isinstance(record, Cost):
        row |= {"cell": words[record.cell], "value": record.amount}
    else:
        row["why"] = record.why
    return row


def read(connection: Connection, words: Words, where: Any) -> list[AnyRecord]:
    """The records of these rows, in no order."""
    found = connection.execute(select(RECORDS).where(RECORDS.c.study == words.study, where)).all()
    said = {n for row in found for n in (row.source, row.cell, row.segment, row.kind) if n is not None}
    texts = words.texts(connection, said)
    return [_record(row, texts) for row in found]


def _record(row: Any, texts: Mapping[int, str]) -> AnyRecord:
    known: dict[str, Any] = {"source": texts[row.source], "id": row.id, "at": row.at}
    if row.what == COST:
        return Cost(**known, cell=texts[row.cell], amount=row.value)
    known["unit"] = row.unit.hex()
    if row.what == SUPPRESSION:
        return Suppression(**known, why=row.why)
    if row.what == OUTCOME:
        return Outcome(**known, kind=texts[row.kind], value=row.value)
    shown: dict[str, Any] = {"cell": texts[row.cell], "segment": texts[row.segment], "held": bool(row.held)}
    return Exposure(**known, **shown, plan=row.plan, chance=row.chance)
