"""
Intervals: where a mean, a difference or a rate lies, from values at hand or from values still coming in.

Those up to `success_rates` need the standard library alone; the others need scipy (the extra `stats`), imported where
used. Estimates and ends are in the values' unit.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

from autoresearch.stats.checks import count, exp, finite, mean, probability, scale, squares, variance_of

BOLDEST = 0.5  # share of the capital a bet may lose; Waudby-Smith and Ramdas 2024 (c = 1/2)
HALVINGS = 50  # 1e-15 of the range
RESAMPLES = 9999  # scipy's own default; the ends then scatter by 1 % of the interval's width


class Interval(NamedTuple):
    """
    An estimate, the interval around it, and where there is one the two-sided p-value of "it is 0" and its degrees of
    freedom. Ends are infinite where nothing can be said yet.
    """

    estimate: float
    low: float
    high: float
    p: float | None = None
    dof: float | None = None


def confidence_sequence(values: Sequence[float], alpha: float = 0.05, best_at: int = 100, first: int = 20) -> Interval:
    """
    An interval for the mean of values in order that holds at every n at once, for any distribution of finite variance.

    Asymptotic: infinite before value number `first`, and the later that is, the better the promise is kept. At alpha = 5 %,
    looked at up to n = 400, it misses 4 % of normal streams and 3 % of Student-t(3) ones from n = 20 on, but 17 % of
    lognormal ones, and still 7 % of these from n = 100 on (docs/dev/LOG.md). For few, normal values there is
    t_confidence_sequence. Narrowest near n = best_at, where it is 1.5 times as wide as Student's interval.
    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, theorem 2.2.
    """
    probability("alpha", alpha), count("best_at", best_at), count("first", first, least=2)
    found = finite(values)
    n, middle = len(found), mean(found)
    if n < first:
        return Interval(middle, -math.inf, math.inf)
    squared = _narrowest(alpha) / best_at * n  # n rho^2
    width = _sd(found) * math.sqrt((1 + 1 / squared) * (math.log1p(squared) - 2 * math.log(alpha)) / n)
    return Interval(middle, middle - width, middle + width)


def t_confidence_sequence(values: Sequence[float], alpha: float = 0.05, effect: float = 1.0) -> Interval:
    """
    An interval for the mean of normal values that holds at every n at once, whatever their scatter.

    All means against which the two-sided `t_e_value` with this `effect` stays below 1 / alpha: exact for normal
    values, and infinite while no values of this number could rule anything out (with effect = 1: up to 4). At 8 it
    is 1.8 times as wide as Student's interval. A larger effect tells sooner and less. Skewed values are not covered:
    25 % missed where they are lognormal (docs/dev/LOG.md).
    Source: Wang and Ramdas, Anytime-valid t-tests, 2023, the Gaussian mixture.
    """
    probability("alpha", alpha)
    found, g = finite(values), variance_of(effect)
    n, middle = len(found), mean(found)
    ratio = exp((math.log1p(n * g) - 2 * math.log(alpha)) / n)
    if n < 2 or ratio >= 1 + n * g:
        return Interval(middle, -math.inf, math.inf)
    squared_t = (n - 1) * (ratio - 1) / (1 - ratio / (1 + n * g))
    width = _sd(found) * math.sqrt(squared_t / n)
    return Interval(middle, middle - width, middle + width, dof=n - 1)


def betting_interval(values: Sequence[float], lower: float, upper: float, alpha: float = 0.05) -> Interval:
    """
    An interval for the mean of values in order that lie in [lower, upper], which holds at every n at once.

    A mean is ruled out once a gambler who bets against it, half the money on each side, had 1 / alpha times as much
    at any time (so it never grows again, and the mean at hand may fall outside). Needs no other assumption than that
    each value has the same expectation given those before. That capital is monotone in the mean, so the ends are
    found by halving. Costs 100 passes over the values.
    Source: Waudby-Smith and Ramdas 2024, theorem 3 (hedged capital, with its predictable plug-in bets).

    Raises:
        ValueError: a value outside the bounds.
    """
    probability("alpha", alpha)
    found = finite(values)
    finite([lower, upper], what="bound")
    if not lower < upper:
        raise ValueError(f"lower must be below upper, not {lower} and {upper}")
    if outside := [value for value in found if not lower <= value <= upper]:
        raise ValueError(f"{outside[0]} lies outside the bounds {lower} and {upper}")
    half = upper / 2 - lower / 2  # halved, since the bounds may be a whole float's range apart
    if not half:
        raise ValueError(f"{lower} and {upper} are too close for a float")
    shares = [min(1.0, (value / 2 - lower / 2) / half) for value in found]
    bets = _bets(shares, alpha)
    low = _ruled_out_below(shares, bets, alpha)
    high = 1 - _ruled_out_below([1 - share for share in shares], bets, alpha)
    if low > high:  # happens with probability alpha at most: all means are ruled out
        low = high = (low + high) / 2
    return Interval(mean(found), *(lower * (1 - end) + upper * end for end in (low, high)))


def success_rates(successes_a: int, n_a: int, successes_b: int, n_b: int, alpha: float = 0.05) -> Interval:
    """
    The difference of two success rates, a's minus b's, each from independent attempts; ends within [-1, 1].

    Wilson's score interval for each, joined. At 95 % it covers 95.2 % averaged over rates, 89.5 % at the worst of
    them with 10 to 20 attempts (tests/test_stats.py). Source: Newcombe 1998, method 10.
    """
    z = NormalDist().inv_cdf(1 - probability("alpha", alpha) / 2)
    a, low_a, high_a = _wilson(successes_a, n_a, z)
    b, low_b, high_b = _wilson(successes_b, n_b, z)
    gain = a - b
    low = gain - math.hypot(a - low_a, high_b - b)
    high = gain + math.hypot(high_a - a, b - low_b)
    return Interval(gain, max(-1.0, low), min(1.0, high))


def welch(a: Sequence[float], b: Sequence[float], alpha: float = 0.05) -> Interval:
    """
    The difference of two means, a's minus b's, from independent runs that may scatter differently. Needs scipy.

    Source: Welch 1947, with Satterthwaite's degrees of freedom.
    """
    first, second = finite(a, 2), finite(b, 2)
    unit = scale(first, second)
    x, y = [value / unit for value in first], [value / unit for value in second]
    of_x, of_y = squares(x) / (len(x) - 1) / len(x), squares(y) / (len(y) - 1) / len(y)
    both = of_x + of_y
    dof = float(len(x) + len(y) - 2)
    if both:
        share = of_x / both
        dof = 1 / (share * share / (len(x) - 1) + (1 - share) * (1 - share) / (len(y) - 1))
    return _student(mean(x) - mean(y), math.sqrt(both), dof, alpha, unit)


def paired(differences: Sequence[float], alpha: float = 0.05) -> Interval:
    """
    The mean of paired differences, by Student's t. Needs scipy. Source: Student 1908.

    Misses 5 % of normal and Student-t(3) means, but 15 % of means of 15 lognormal values; differences of two sides
    with like noise are not skewed.
    """
    found = finite(differences, 2, "difference")
    unit = scale(found)
    return _paired([value / unit for value in found], alpha, unit)


def paired_abba(timings: Sequence[float], alpha: float = 0.05) -> Interval:
    """
    The mean difference, a's minus b's, of timings taken in the order A B B A A B B A ... Needs scipy.

    Each block gives (A - B - B + A) / 2, from which any drift that is linear over the block cancels, also one that
    changes from block to block; Student's t over blocks. For a ratio, give logarithms. Carry-over from one timing
    to the next does not cancel. Source: Cox, Planning of Experiments, 1958 (systematic designs under a trend).

    Raises:
        ValueError: not a whole number of blocks of four, or fewer than two.
    """
    found = finite(timings, 8, "timing")
    if len(found) % 4:
        raise ValueError(f"timings must come in whole blocks A B B A, and {len(found)} is no multiple of 4")
    unit = scale(found)
    t = [value / unit for value in found]
    return _paired([(t[i] - t[i + 1] - t[i + 2] + t[i + 3]) / 2 for i in range(0, len(t), 4)], alpha, unit)


def bootstrap(
    values: Sequence[float],
    statistic: Callable[[Sequence[float]], float] | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Interval:
    """
    Any statistic of independent values (None: the mean), by the bias-corrected and accelerated bootstrap. Needs scipy.

    For what Student's t cannot give: a median, a ratio. Too narrow for few values, 91 % instead of 95 % for the mean
    of 15 normal ones, where `paired` is as good or better under every noise tried (docs/dev/LOG.md). Where the
    correction is undefined it is the percentile bootstrap. Source: Efron 1987.
    """
    import numpy as np
    from scipy import stats

    found = finite(values, 2)
    estimate = mean(found) if statistic is None else float(statistic(found))
    if min(found) == max(found):
        return Interval(estimate, estimate, estimate)
    unit = scale(found) if statistic is None else 1.0
    of = np.mean if statistic is None else lambda resample: statistic(resample.tolist())

    def ends(method: str) -> tuple[float, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a correction that is undefined is seen by its NaN
            of_resamples = stats.bootstrap(
                (np.asarray(found) / unit,),
                of,
                vectorized=statistic is None,
                n_resamples=RESAMPLES,
                confidence_level=1 - probability("alpha", alpha),
                method=method,
                rng=np.random.default_rng(seed),
            )
        return float(of_resamples.confidence_interval.low), float(of_resamples.confidence_interval.high)

    low, high = ends("BCa")
    if math.isnan(low) or math.isnan(high):
        low, high = ends("percentile")
    return Interval(estimate, low * unit, high * unit)


def _paired(differences: Sequence[float], alpha: float, unit: float) -> Interval:
    n = len(differences)
    return _student(mean(differences), math.sqrt(squares(differences) / (n - 1) / n), n - 1, alpha, unit)


def _student(estimate: float, error: float, dof: float, alpha: float, unit: float) -> Interval:
    from scipy import special

    width = error * float(special.stdtrit(dof, 1 - probability("alpha", alpha) / 2))
    score = estimate / error if error else math.copysign(math.inf, estimate) if estimate else 0.0
    p = min(1.0, 2 * float(special.stdtr(dof, -abs(score))))
    return Interval(estimate * unit, (estimate - width) * unit, (estimate + width) * unit, p, dof)


def _sd(values: Sequence[float]) -> float:
    unit = scale(values)
    return unit * math.sqrt(squares([value / unit for value in values]) / (len(values) - 1))


def _narrowest(alpha: float) -> float:
    """n rho^2 for the narrowest sequence: the y with y = log(1 + y) - 2 log(alpha)."""
    y = -2 * math.log(alpha)
    for _ in range(100):  # a contraction by y / (1 + y) a step
        y = math.log1p(y) - 2 * math.log(alpha)
    return y


def _bets(shares: Sequence[float], alpha: float) -> list[float]:
    """For each value the bet that the values before it suggest."""
    bets, total, spread = [], 0.5, 0.25
    for t, share in enumerate(shares, start=1):
        bets.append(math.sqrt(2 * math.log(2 / alpha) / (spread / t * t * math.log(t + 1))))
        total += share
        middle = total / (t + 1)
        spread += (share - middle) * (share - middle)
    return bets


def _ruled_out_below(shares: Sequence[float], bets: Sequence[float], alpha: float) -> float:
    """The largest mean, of values in [0, 1], that betting on more than it has ruled out; 0 where there is none."""
    goal = math.log(2 / alpha)

    def ruled_out(m: float) -> bool:
        capital, boldest = 0.0, BOLDEST / m if m else math.inf
        for share, bet in zip(shares, bets, strict=True):
            capital += math.log1p(min(bet, boldest) * (share - m))
            if capital >= goal:
                return True
        return False

    if not ruled_out(0.0):
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if ruled_out(middle) else (low, middle)
    return low


def _wilson(successes: int, n: int, z: float) -> tuple[float, float, float]:
    """A rate and its score interval. Source: Wilson 1927."""
    count("attempts", n)
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} attempts")
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    width = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # At rates of 0 and 1 the formula's end is the rate, up to rounding.
    return rate, min(rate, max(0.0, centre - width)), max(rate, min(1.0, centre + width))
