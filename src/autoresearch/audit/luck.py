"""
What luck alone would show: how far an estimated noise may be off, how large the noise can be at all, and the gain
that a greedy climb over nothing but noise reaches.

Pure functions of numbers, standard library only; imports nothing of ours.
"""

import functools
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

SIDE = 0.025  # chance that a bound below is missed, on each side
FEWEST = 20  # differences; below, the middle half of them is too narrow by chance to bound anything
HALF = 2 * NormalDist().inv_cdf(0.75)  # sigma; the shortest interval that holds half of a normal distribution
SLACK, SHRINK = 10.0, -0.74  # margin of `ceiling`, fitted to 4000 null studies a size, 20 to 1000 trials
EXACT_DOF = 200  # above, Wilson and Hilferty's cube is right to 1e-4
REACH = 8.0  # sigma; where the integral over the baseline's luck ends
STEPS = 400


def sd_range(sd: float, dof: int) -> tuple[float, float]:
    """
    Between what the true standard deviation lies, with 2.5 % missed on each side, for normal noise.

    From one degree of freedom it spans a factor of 70: 0.45 to 32 times the estimate.
    """
    low, high = (sd * math.sqrt(dof / chi_square_quantile(p, dof)) for p in (1 - SIDE, SIDE))
    return low, high


def chi_square_quantile(p: float, dof: int) -> float:
    if dof > EXACT_DOF:
        z = NormalDist().inv_cdf(p)
        return dof * (1 - 2 / (9 * dof) + z * math.sqrt(2 / (9 * dof))) ** 3  # Wilson and Hilferty 1931
    return _root(lambda x: chi_square(x, dof) - p, 0.0, 4.0 * dof + 40)


def chi_square(x: float, dof: int) -> float:
    """P(chi-square <= x): the incomplete gamma function by its series (Abramowitz and Stegun 6.5.29)."""
    if x <= 0:
        return 0.0
    a, half = dof / 2, x / 2
    term = total = 1 / a
    k = a
    while term > total * 1e-15:
        k += 1
        term *= half / k
        total += term
    return min(1.0, total * math.exp(a * math.log(half) - half - math.lgamma(a)))


def ceiling(differences: Sequence[float]) -> float | None:
    """
    The largest standard deviation that one run can have, given by how much better than the best before it each of
    many trials was; missed by chance in 2.5 % of null studies. None from fewer than 20.

    Such a difference is the run's own noise plus something independent of it: the change's effect, less the value to
    beat. No interval catches more of such a sum than one of the same width around 0 catches of the noise (Anderson
    1955, for symmetric noise with one peak), so the shortest interval with half of them is no narrower than the
    noise's middle half. Few differences lie closer by chance; SLACK pays for that.
    """
    # A difference of exactly 0 is a change without any effect under a fixed seed: its noise is not independent.
    sorted_ = sorted(difference for difference in differences if difference)
    n = len(sorted_)
    if n < FEWEST:
        return None
    held = n // 2 + 1
    width = min(sorted_[i + held - 1] - sorted_[i] for i in range(n - held + 1))
    return width / HALF * (1 + SLACK * n**SHRINK) or None


@functools.cache
def largest_gain(trials: int) -> float:
    """
    The gain over one run of the baseline that the best of so many single runs of the same code exceeds in 2.5 % of
    studies, in standard deviations of a run.

    P(gain <= x) = integral of phi(b) Phi(x - b)^trials db, with b the baseline's own bad luck; by Simpson's rule.
    """
    if not trials:
        return 0.0
    return _root(lambda x: _all_within(x, trials) - (1 - SIDE), 0.0, 2 * REACH)


def _all_within(x: float, trials: int) -> float:
    h = 2 * REACH / STEPS
    total = 0.0
    for i in range(STEPS + 1):
        b = -REACH + i * h
        tail = math.erfc((x - b) / math.sqrt(2)) / 2
        below = math.exp(trials * math.log1p(-tail)) if tail < 1 else 0.0
        weight = 1 if i in (0, STEPS) else 4 if i % 2 else 2
        total += weight * math.exp(-b * b / 2) * below
    return total * h / 3 / math.sqrt(2 * math.pi)


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function crosses 0."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if f(middle) >= 0 else (middle, high)
    return high
