"""
What happened to whom: records that come from outside, in any order, perhaps twice, and are only ever added.

Whoever is shown something is a *unit*: a salted hash of a first-party id or of an address, never either of them. A record is known
by its source and that source's own id for it; the second of the same changes nothing.
"""

from enum import IntEnum
from typing import Annotated

from msgspec import Meta, Struct

Word = Annotated[str, Meta(min_length=1, max_length=120)]
Unit = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
Segment = Annotated[str, Meta(max_length=80)]  # "" where everybody is treated alike
CellKey = Annotated[str, Meta(min_length=1, max_length=1200)]  # see variables.key


class Record(Struct, frozen=True, kw_only=True, tag_field="what", forbid_unknown_fields=True):
    """`at` is when it happened, in seconds since 1970, as its source says."""

    source: Word
    id: Word
    at: Annotated[float, Meta(ge=0, le=1e11)]


class Exposure(Record, frozen=True, kw_only=True, tag="exposure"):
    """
    Somebody was shown a cell, under the plan of this number, which gave it with this chance. `held`: a part of the holdout, which sees the
    defaults whatever the plan says.
    """

    unit: Unit
    cell: CellKey
    segment: Segment = ""
    plan: Annotated[int, Meta(ge=0)] = 0
    chance: Annotated[float, Meta(gt=0, le=1)] = 1.0
    held: bool = False


class Outcome(Record, frozen=True, kw_only=True, tag="outcome"):
    """Somebody did something: the outcome of the study, or one that a guardrail bounds. `value` is its amount, where it has one."""

    unit: Unit
    kind: Word
    value: float = 1.0


class Cost(Record, frozen=True, kw_only=True, tag="cost"):
    """What showing a cell cost, in the study's currency; an advertisement's clicks, a tool's sends."""

    cell: CellKey
    amount: Annotated[float, Meta(ge=0, le=1e9)]


class Suppression(Record, frozen=True, kw_only=True, tag="suppression"):
    """Somebody is not to be written to any more."""

    unit: Unit
    why: Annotated[str, Meta(max_length=200)] = ""


AnyRecord = Exposure | Outcome | Cost | Suppression


class Fate(IntEnum):
    """What becomes of a record that is told: one of somebody who asked to be forgotten is refused."""

    NEW = 0
    KNOWN = 1
    REFUSED = 2


class Tally(Struct, frozen=True):
    """
    What is known of a cell in a segment on a day (whole days since 1970, UTC): of units whose first exposure was then and counts by now,
    how many there are and how many of them had the outcome within its window. `n` is a fraction where exposures count in part,
    because their window is still open. `held`: units of the holdout.
    """

    day: int
    segment: str
    cell: str
    n: float
    successes: int
    held: bool = False


class Plan(Struct, frozen=True):
    """
    Who is shown what from `at` on: segment -> cell -> its share, of which `holdout` is taken off first for the default cell. The segment ""
    stands for all that are not named. `seen` is the number of the last record that it was made from, so that it can be made again.
    """

    number: int
    at: float
    seen: int
    seed: int
    default: str
    holdout: float
    shares: dict[str, dict[str, float]]
