"""
Outcomes that come late: what share of them has come by an age, so that a young exposure counts for as much as it can
have shown.

Standard library only. Ages and delays are in seconds, or in any unit that both have.
"""

import bisect
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from autoresearch.stats.checks import finite, positive

FEW = 5.0  # outcomes that a curve which says nothing of when they come is worth


class Curve(NamedTuple):
    """Delays in order, and the share of outcomes that has come by each; all have come by the end of the window."""

    delays: tuple[float, ...]
    shares: tuple[float, ...]
    window: float

    def share(self, age: float) -> float:
        """Of the outcomes that come within the window, those that have come by this age."""
        if age >= self.window:
            return 1.0
        place = bisect.bisect_right(self.delays, age)
        return self.shares[place - 1] if place else 0.0


def curve(delays: Iterable[float], window: float) -> Curve:
    """
    From the delays of outcomes whose exposures had all their time, so that none is missing because it is late.

    The share of them, with `FEW` more whose delays are spread evenly over the window: until something is known, an
    exposure counts in proportion to its age.
    """
    positive("window", window)
    found = sorted(delay for delay in finite(delays, least=0, what="delay") if 0 <= delay <= window)
    return _with_few([(delay, (i + 1) / len(found)) for i, delay in enumerate(found)], len(found), window)


def truncated(seen: Sequence[tuple[float, float]], window: float) -> Curve:
    """
    From outcomes of exposures of any age: pairs of an outcome's delay, and the age that its exposure has by now. An
    outcome with a longer delay than its exposure's age is not seen yet, which makes early ones look too many; this
    takes it out.

    P(delay <= t) is the product over longer delays u of 1 - d(u) / r(u), with d(u) outcomes at u and r(u) seen ones
    whose delay is at most u and whose age is at least u: Kaplan and Meier's estimate with time reversed. Source:
    Lynden-Bell 1971; Woodroofe 1985; Lawless and Kalbfleisch 1992 (hazards in reverse time); the use for conversions:
    Chapelle 2014.
    """
    positive("window", window)
    pairs = [(delay, min(age, window)) for delay, age in seen if 0 <= delay <= min(age, window)]
    delays, ages = sorted(delay for delay, _ in pairs), sorted(age for _, age in pairs)
    times = sorted(set(delays))
    share, shares = 1.0, list[float]()
    for u in reversed(times):
        shares.append(share)
        at_risk = bisect.bisect_right(delays, u) - bisect.bisect_left(ages, u)
        at_u = bisect.bisect_right(delays, u) - bisect.bisect_left(delays, u)
        # Before the first delay nothing has come; a set at risk that runs empty on the way would say so too early.
        share *= 1 - at_u / at_risk if at_risk > at_u else 1.0
    return _with_few(list(zip(times, reversed(shares), strict=True)), len(pairs), window)


def _with_few(steps: Sequence[tuple[float, float]], count: int, window: float) -> Curve:
    """Steps on a grid that is fine where outcomes are, mixed with the even spread."""
    places = sorted({delay for delay, _ in steps} | {window * k / 100 for k in range(101)})
    if len(places) > 1000:  # a curve that is read for each exposure need not be finer
        places = [*places[:: math.ceil(len(places) / 1000)], window]
    delays, shares = [delay for delay, _ in steps], [share for _, share in steps]
    mixed = []
    for place in places:
        at = bisect.bisect_right(delays, place)
        mixed.append((count * (shares[at - 1] if at else 0.0) + FEW * place / window) / (count + FEW))
    return Curve(tuple(places), tuple(mixed), window)
