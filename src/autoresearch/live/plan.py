"""
Who is shown what: a pure function of a plan, a unit and its segment, so that anybody can work it out again.

Knows no store and no clock.
"""

import hashlib
import hmac
from bisect import bisect_right
from itertools import accumulate

from msgspec import Struct

from autoresearch.live.records import Plan


class Assigned(Struct, frozen=True):
    """A cell's key, the chance with which its plan gives it, and whether the unit is of the holdout."""

    cell: str
    chance: float
    held: bool


def unit(salt: bytes, person: str) -> str:
    """The unit that stands for a first-party id or an address; case and surrounding space are not told apart."""
    return hmac.new(salt, person.strip().lower().encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]


def point(study: str, unit: str, what: str) -> float:
    """A number from 0 to 1, below 1, that is drawn once for each unit and each question."""
    word = hashlib.sha256(f"{study}\0{unit}\0{what}".encode()).digest()
    return (int.from_bytes(word[:8]) >> 11) / (1 << 53)


class Row(Struct, frozen=True):
    """A segment's cells in order, the share of each, and where it ends between 0 and 1."""

    cells: list[str]
    shares: list[float]
    ends: list[float]


class Draw:
    """A plan with its cells laid in a row, for those who assign by it many times."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._rows: dict[str, Row] = {}

    def assign(self, study: str, unit: str, segment: str) -> Assigned:
        """As the function `assign`."""
        plan = self.plan
        if point(study, unit, "holdout") < plan.holdout:
            return Assigned(plan.default, plan.holdout, True)
        row = self._row(segment if plan.shares.get(segment) else "")
        at = bisect_right(row.ends, point(study, unit, f"cell {plan.number}"), hi=len(row.cells) - 1)
        return Assigned(row.cells[at], (1 - plan.holdout) * row.shares[at], False)

    def _row(self, segment: str) -> Row:
        if segment not in self._rows:
            told = self.plan.shares.get(segment) or {self.plan.default: 1.0}
            cells, total = sorted(told), sum(told.values())
            shares = [told[cell] / total for cell in cells]
            self._rows[segment] = Row(cells, shares, list(accumulate(shares)))
        return self._rows[segment]


def assign(plan: Plan, study: str, unit: str, segment: str) -> Assigned:
    """
    What a unit is shown that comes for the first time under this plan. Who is in the holdout stays in it under every plan, as long
    as its share is the same.
    """
    return Draw(plan).assign(study, unit, segment)
