"""
Results that name nobody: "this advertisement was shown 1,200 times on that day, and clicked 31 times".

Such a row is kept as so many exposures, each of a unit that stands for one showing, of which so many have the outcome. What they are known
by follows from the cell, the segment, the time and a number, and not from the counts: so the same file twice adds nothing, and a
later one in which a day's counts have grown adds what is new. Rows of one file that are about the same are added up.

Knows no file and no store.
"""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from autoresearch.live.checking import checked
from autoresearch.live.mappings import EXPOSED, LONGEST, generic
from autoresearch.live.records import AnyRecord, Exposure, Outcome

SHOWN, WON = "shown", "won"  # our keys for the two counts
MOST = 500_000  # showings of a file


class Row(NamedTuple):
    """`exposure` is the pattern of all that the row counts."""

    exposure: Exposure
    shown: int
    won: int


def row(told: Mapping[str, str], source: str) -> Row:
    """
    One row of a table, by our keys.

    Raises:
        ValueError: a count is none, or more had the outcome than were shown anything, or as `mappings.generic`.
    """
    shown, won = _count(told, SHOWN), _count(told, WON)
    if won > shown:
        raise ValueError(f"{WON} = {won:,} is more than {SHOWN} = {shown:,}")
    event = {key: text for key, text in told.items() if key not in (SHOWN, WON, "id")}
    [exposure] = generic({**event, "event": EXPOSED, "unit": "0" * 32}, source, lambda person: person).records
    assert isinstance(exposure, Exposure)
    return Row(exposure, shown, won)


def records(rows: list[Row], outcome: str) -> list[AnyRecord]:
    """
    All that rows count, those about the same together.

    Raises:
        ValueError: the outcome is no word.
    """
    if rows:
        checked(Outcome(source="counted", id="1", at=0.0, unit="0" * 32, kind=outcome))
    sums: dict[str, Row] = {}
    for one in rows:
        known = _known_by(one.exposure)
        before = sums.get(known, Row(one.exposure, 0, 0))
        sums[known] = Row(before.exposure, before.shown + one.shown, before.won + one.won)
    found: list[AnyRecord] = []
    for known, (pattern, shown, won) in sums.items():
        for i in range(shown):
            unit = hashlib.sha256(f"{known}\0{i}".encode()).hexdigest()[:32]
            found.append(replace(pattern, unit=unit, id=f"counted-{unit}"))
            if i < won:
                its = f"counted-{unit}-{outcome}"[:LONGEST]
                found.append(Outcome(source=pattern.source, id=its, at=pattern.at, unit=unit, kind=outcome))
    return found


def _known_by(one: Exposure) -> str:
    return "\0".join(("counted", one.source, one.cell, one.segment, repr(one.at), str(one.held)))


def _count(told: Mapping[str, str], key: str) -> int:
    text = told.get(key, "")
    if not (text.isascii() and text.isdigit()) or int(text[:12]) > MOST:
        raise ValueError(f"{key} = {text[:40]!r} is no whole number up to {MOST:,}; write it without separators")
    return int(text)
