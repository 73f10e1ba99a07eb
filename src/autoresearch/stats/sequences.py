"""
Rates that may be looked at after every visitor: evidence and intervals that hold at all looks together.

Knows no study: a *stratum* is a time (and a kind of visitor) in which both sides were shown at once, by chances that
its own outcomes had no say in. Evidence is told as the logarithm of an e-value (see evidence.py), since it may leave
the range of a float. `rate`, `family` and `hits` need the standard library alone; what goes over strata needs numpy.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from autoresearch.stats.checks import exp, not_negative, positive, probability
from autoresearch.stats.intervals import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

USUAL = 0.2  # log of a ratio of rates: the size that effects of words usually have, which evidence is tuned to
POINTS, NEAR, FAR = 121, 0.006, 1.6  # of the ratios that are bet on: how many, the least and the largest, in logarithms
REACH = 8.0  # log of a ratio; beyond it an end is infinite
HALVINGS, CLOSE = 40, 1e-11  # at most; a smaller step is the last
JEFFREYS = 0.5  # prior successes and failures


class Ratio(NamedTuple):
    """
    By what factor a's rate is b's, with an interval; `better` and `worse` are the logarithms of the evidence that a's
    rate is above, below b's.
    """

    estimate: float
    low: float
    high: float
    better: float
    worse: float


def rate(shown: float, won: float, alpha: float = 0.05) -> Interval:
    """
    A rate, with an interval that holds at all times at once, whoever is shown next and whenever one stops.

    All rates p against which the Beta mixture's ratio B(a + won, b + lost) / B(a, b) / (p^won (1 - p)^lost), with a = b
    = 1/2, stays below 1 / alpha. Source: Robbins 1970; Howard et al. 2021, section 5.2 (the beta-binomial mixture).
    """
    probability("alpha", alpha), not_negative("shown", shown), not_negative("won", won)
    if won > shown:
        raise ValueError(f"{won} of {shown} cannot have won")
    if not shown:
        return Interval(math.nan, 0.0, 1.0)
    lost, middle = shown - won, won / shown
    least = _log_beta(JEFFREYS + won, JEFFREYS + lost) - _log_beta(JEFFREYS, JEFFREYS) + math.log(alpha)

    def inside(p: float) -> bool:
        return _times_log(won, p) + _times_log(lost, 1 - p) > least

    return Interval(middle, _edge(inside, middle, 0.0), _edge(inside, middle, 1.0))


def hits(shown: float, won: float, bound: float, above: bool = True) -> float:
    """
    Log evidence that a rate is above a bound (above = False: below it). Holds however it is chosen who is shown what,
    and when to stop.

    For each visitor r^outcome e^(-bound (r - 1)) is at most 1 on average where the rate p keeps the bound, since
    1 + p (r - 1) <= e^(p (r - 1)); their product is averaged over ratios r > 1 (r < 1). Source: Ville 1939; the bet is
    the one of Poisson counts.
    """
    not_negative("shown", shown), not_negative("won", won), positive("bound", bound)
    side, whole = _half(above)
    return _log_sum([weight + won * x - bound * shown * paid for x, weight, paid in side]) - whole


def ratio(shown_a: "Numbers", won_a: "Numbers", shown_b: "Numbers", won_b: "Numbers", alpha: float = 0.05) -> Ratio:
    """
    How a's rate compares with b's over strata whose own rates may be anything: arrays with one place a stratum.

    With n visitors of a and m of b in a stratum, s outcomes in both together and y of them a's, the bet that a's rate
    is r times b's pays r^y ((n + m) / (n r + m))^s. Where it is r0 times instead it pays (r / r0)^y ((n r0 + m) / (n r
    + m))^s, which is at most 1 on average: 1 + x <= e^x for each visitor, and the exponents cancel, whatever the
    stratum's base rate; and for r > r0 also where a's is less than r0 times b's. So no day's rate need be known, and a
    product over days, of which each day's chances depend on earlier ones alone, is a test martingale. Bets are spread
    over log r like Laplace's distribution with mean size 0.2. The interval holds all r0 against which they did not
    reach 1 / alpha.

    Where outcomes of a stratum change its own chances (a new plan within the day), this holds only nearly:
    benchmarks/results/live_false.md. Source: the partial likelihood of Cox 1972 as a test martingale: ter Schure,
    Pérez-Ortiz, Ly and Grünwald, The safe logrank test, 2020; intervals from the ratio of prior to posterior:
    Waudby-Smith and Ramdas 2020.
    """
    return bets(shown_a, won_a, shown_b, won_b).ratio(alpha)


class Bets(NamedTuple):
    """
    a's outcomes in strata that have both sides and an outcome; outcomes of both in each, and a's share of its visitors. For each ratio
    that is bet on: its logarithm, the logarithm of its weight, and that of its weight times what it paid.
    """

    y: float
    s: "Numbers"
    share: "Numbers"
    points: "Numbers"
    weights: "Numbers"
    paid: "Numbers"

    @property
    def evidence(self) -> tuple[float, float]:
        """Log evidence that a is better, and that it is worse."""
        return _sides(self.points, self.weights, self.paid) if len(self.s) else (0.0, 0.0)

    def ratio(self, alpha: float) -> Ratio:
        """See `ratio`."""
        import numpy as np

        probability("alpha", alpha)
        y, s, share = self[:3]
        if not len(s):
            return Ratio(math.nan, 0.0, math.inf, 0.0, 0.0)
        least = float(np.logaddexp.reduce(self.paid) - np.logaddexp.reduce(self.weights)) + math.log(alpha)
        best = -math.inf if not y else math.inf if y >= float(s.sum()) else _best(y, s, share)
        middle = max(-REACH, min(REACH, best))
        low, high = _end(y, s, share, least, middle, -REACH), _end(y, s, share, least, middle, REACH)
        return Ratio(
            exp(best),
            0.0 if low <= -REACH else math.exp(low),
            math.inf if high >= REACH else math.exp(high),
            *self.evidence,
        )


def bets(shown_a: "Numbers", won_a: "Numbers", shown_b: "Numbers", won_b: "Numbers") -> Bets:
    y, s, share = _informative(shown_a, won_a, shown_b, won_b)
    return _bets(y, s.astype(float).tobytes(), share.astype(float).tobytes())


@functools.lru_cache(maxsize=1024)
def _bets(y: float, s: bytes, share: bytes) -> Bets:
    """What is not shown any more is asked for at each look, and nothing has changed."""
    import numpy as np

    both, part = np.frombuffer(s), np.frombuffer(share)
    return Bets(y, both, part, *_paid(y, both, part))


def difference(
    shown_a: "Numbers",
    won_a: "Numbers",
    shown_b: "Numbers",
    won_b: "Numbers",
    alpha: float = 0.05,
    best_at: float = 5000,
) -> Interval:
    """
    a's rate less b's, over strata whose own rates may be anything, with an interval that nearly holds at all times at
    once.

    Strata are weighed by n m / (n + m). Asymptotic, narrowest at `best_at` visitors: with fewer than some 30 outcomes
    on a side it is too narrow, and `ratio` is not. Source: Mantel and Haenszel 1959 (the weights); Waudby-Smith,
    Arbour, Sinha, Kennedy and Ramdas 2024, theorem 2.2.
    """
    import numpy as np

    probability("alpha", alpha), positive("best_at", best_at)
    both = (shown_a > 0) & (shown_b > 0)
    n, m, y, z = shown_a[both], shown_b[both], won_a[both], won_b[both]
    weight = n * m / (n + m)
    total, visitors = float(weight.sum()), float((n + m).sum())
    if not total:
        return Interval(math.nan, -1.0, 1.0)
    gain = float((weight * (y / n - z / m)).sum() / total)
    # With Jeffreys' prior, so that a side without an outcome yet is not taken for one without scatter.
    p, q = (y + 0.5) / (n + 1), (z + 0.5) / (m + 1)
    variance = float((weight**2 * (p * (1 - p) / n + q * (1 - q) / m)).sum() / total**2)
    log_alpha = -2 * math.log(alpha)
    squared = (log_alpha + math.log(log_alpha + 1)) * visitors / best_at  # n rho^2
    width = math.sqrt(variance * (1 + 1 / squared) * (math.log1p(squared) + log_alpha))
    return (
        Interval(gain, max(-1.0, gain - width), min(1.0, gain + width)) if np.isfinite(width) else Interval(gain, -1, 1)
    )


def family(log_evidence: Sequence[float], alpha: float) -> set[int]:
    """
    Which of several hypotheses to reject so that the chance of any false one is at most alpha, at all looks together.

    One is rejected if, of each set it is in, the mean of the e-values is at least 1 / alpha; the worst such set adds
    the smallest others. Never rejects less than Bonferroni, and holds under any dependence. Source: Vovk and Wang 2021,
    algorithm 1; closed testing: Marcus, Peritz and Gabriel 1976.
    """
    probability("alpha", alpha)
    values = [exp(value) for value in log_evidence]
    order = sorted(range(len(values)), key=values.__getitem__)
    rejected = set[int]()
    for i in order:
        total, count = values[i], 1
        if total < 1 / alpha:
            continue
        for j in order:  # the mean falls for as long as what is added lies below it
            if j != i and values[j] >= total / count:
                break
            if j != i:
                total, count = total + values[j], count + 1
        if total / count >= 1 / alpha:
            rejected.add(i)
    return rejected


def benjamini_yekutieli(p_values: Sequence[float], alpha: float) -> set[int]:
    """
    Which of a finished list of hypotheses to reject so that at most a share alpha of them is false on average, however
    they depend.

    Source: Benjamini and Yekutieli 2001, theorem 1.3.
    """
    probability("alpha", alpha)
    count = len(p_values)
    harmonic = math.fsum(1 / k for k in range(1, count + 1))
    order = sorted(range(count), key=p_values.__getitem__)
    enough = (k for k in range(count, 0, -1) if p_values[order[k - 1]] <= alpha * k / (count * harmonic))
    return set(order[: next(enough, 0)])


def _informative(
    shown_a: "Numbers", won_a: "Numbers", shown_b: "Numbers", won_b: "Numbers"
) -> tuple[float, "Numbers", "Numbers"]:
    """
    a's outcomes in strata that have both sides and an outcome; outcomes of both in each, and a's share of its visitors.
    """
    s = won_a + won_b
    both = (shown_a > 0) & (shown_b > 0) & (s > 0)
    return float(won_a[both].sum()), s[both], shown_a[both] / (shown_a[both] + shown_b[both])


def _cost(x: float, s: "Numbers", share: "Numbers") -> float:
    import numpy as np

    return float(s @ np.log1p(share * math.expm1(x)))


def _paid(y: float, s: "Numbers", share: "Numbers") -> tuple["Numbers", "Numbers", "Numbers"]:
    """
    For each ratio that is bet on: its logarithm, the logarithm of its weight, and that of its weight times what it
    paid.
    """
    import numpy as np

    points, weights = np.array(_ladder()), np.array(_ladder_weights())
    return points, weights, weights + y * points - s @ np.log1p(share[:, None] * np.expm1(points)[None, :])


def _sides(points: "Numbers", weights: "Numbers", paid: "Numbers") -> tuple[float, float]:
    """Log of the mean pay of bets on ratios above, below 1."""
    import numpy as np

    up = points > 0
    of = [float(np.logaddexp.reduce(terms[side])) for side in (up, ~up) for terms in (paid, weights)]
    return of[0] - of[1], of[2] - of[3]


@functools.cache
def _ladder_weights() -> tuple[float, ...]:
    return tuple(_log_weight(x) for x in _ladder())


@functools.cache
def _ladder() -> tuple[float, ...]:
    """Logarithms of ratios, none of them 0, dense near it: evenly spaced before sinh."""
    half = POINTS // 2
    last = math.asinh(FAR / NEAR)
    up = [NEAR * math.sinh(last * (k + 1) / half) for k in range(half)]
    return (*(-x for x in reversed(up)), *up)


@functools.cache
def _half(above: bool) -> tuple[tuple[tuple[float, float, float], ...], float]:
    """Of the ratios on a side of 1: logarithm, logarithm of the weight, ratio less 1; and the logarithm of all weights."""
    side = [x for x in _ladder() if (x > 0) == above]
    return tuple((x, _log_weight(x), math.expm1(x)) for x in side), _log_sum([_log_weight(x) for x in side])


def _log_weight(x: float) -> float:
    """Of Laplace's distribution, for points that are spaced like `_ladder`, up to a factor."""
    return -abs(x) / USUAL + 0.5 * math.log(x * x + NEAR * NEAR)


def _best(y: float, s: "Numbers", share: "Numbers") -> float:
    """
    The log ratio under which y outcomes of a are to be expected. The likelihood is concave: Newton's steps, and a halving where one
    leaves the interval.
    """
    low, high, x = -REACH, REACH, 0.0
    for _ in range(HALVINGS):
        slope, bend = _slope(x, y, s, share)
        low, high = (x, high) if slope > 0 else (low, x)
        after = x + slope / bend if bend > 0 else math.inf
        after = after if low < after < high else (low + high) / 2
        if abs(after - x) < CLOSE:
            return after
        x = after
    return x


def _slope(x: float, y: float, s: "Numbers", share: "Numbers") -> tuple[float, float]:
    """Of the log likelihood at x; and how much it bends down."""
    here = share * math.exp(x)
    part = here / (here + 1 - share)
    expected = s * part
    return y - float(expected.sum()), float(expected @ (1 - part))


def _end(y: float, s: "Numbers", share: "Numbers", least: float, middle: float, end: float) -> float:
    """
    Where the log likelihood falls to `least`, on the way from its top to `end`. A concave function lies below its tangents, so Newton's
    steps come from outside and never pass by.
    """
    x = end
    for _ in range(HALVINGS):
        above = y * x - _cost(x, s, share) - least
        slope, _bend = _slope(x, y, s, share)
        if (x == end and above > 0) or slope == 0:
            return end
        after = x - above / slope
        after = min(max(after, min(middle, end)), max(middle, end))
        if abs(after - x) < CLOSE:
            return after
        x = after
    return x


def _edge(inside: Callable[[float], bool], middle: float, end: float) -> float:
    """Where an interval around `middle` ends, on the way to `end`."""
    if inside(end):
        return end
    near, far = middle, end
    for _ in range(HALVINGS):
        x = (near + far) / 2
        near, far = (x, far) if inside(x) else (near, x)
    return far


def _log_sum(terms: Sequence[float]) -> float:
    """log of the sum of exponentials."""
    largest = float(max(terms))
    return largest + math.log(math.fsum(math.exp(term - largest) for term in terms))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _times_log(count: float, p: float) -> float:
    return 0.0 if not count else count * math.log(p) if p > 0 else -math.inf
