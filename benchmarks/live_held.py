"""
What the store of a live study holds, record by record and as it came: for tests and benchmarks, which hold it against what was
acknowledged.
"""

from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select

from autoresearch.live.records import AnyRecord, Exposure, Outcome
from autoresearch.live.rows import Words, key, read
from autoresearch.live.schema import EXPOSURE, OUTCOME, RECORDS, Database

_T = TypeVar("_T", bound=AnyRecord)


def exposures(address: str | Path, study: str) -> list[Exposure]:
    return _of(Exposure, address, study, RECORDS.c.what == EXPOSURE)


def firsts(address: str | Path, study: str) -> dict[str, Exposure]:
    """What each unit was shown first."""
    found = _of(Exposure, address, study, (RECORDS.c.what == EXPOSURE) & (RECORDS.c.first == 1))
    return {one.unit: one for one in found}


def outcomes(address: str | Path, study: str) -> list[Outcome]:
    return _of(Outcome, address, study, RECORDS.c.what == OUTCOME)


def _of(kind: type[_T], address: str | Path, study: str, where: Any) -> list[_T]:
    database = Database(address, study)
    try:
        with database.reading() as connection:
            asked = select(RECORDS.c.key, RECORDS.c.number).where(RECORDS.c.study == database.study)
            came = {row.key: row.number for row in connection.execute(asked)}
            found = [one for one in read(connection, Words(database.study), where) if isinstance(one, kind)]
            return sorted(found, key=lambda one: came[key(one)])
    finally:
        database.engine.dispose()
