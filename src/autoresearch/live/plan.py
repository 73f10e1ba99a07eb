"""
Who is shown what: a pure function of a plan, a unit and its segment, so that anybody can work it out again.

Knows no store and no clock.
"""

import hashlib
import hmac

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


def assign(plan: Plan, study: str, unit: str, segment: str) -> Assigned:
    """
    What a unit is shown that comes for the first time under this plan. Who is in the holdout stays in it under every plan, as long
    as its share is the same.
    """
    if point(study, unit, "holdout") < plan.holdout:
        return Assigned(plan.default, plan.holdout, True)
    shares = plan.shares.get(segment) or plan.shares.get("") or {plan.default: 1.0}
    total, at = sum(shares.values()), point(study, unit, f"cell {plan.number}")
    reached, chosen = 0.0, plan.default
    for chosen in sorted(shares):
        reached += shares[chosen] / total
        if at < reached:
            break
    return Assigned(chosen, (1 - plan.holdout) * shares[chosen] / total, False)
