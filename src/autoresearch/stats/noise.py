"""
How much values scatter by themselves, and what follows: the error of a gain, the smallest gain that can be seen, the
gain that noise alone would show.

Standard library only. Standard deviations, errors and gains are in the metric's unit; a positive gain is better.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from statistics import NormalDist

from autoresearch.stats.checks import count, finite, not_negative, positive, probability, scale, squares

MOST_CORRELATED = 0.99  # at 1 the error of a paired gain would be 0, which no finite number of runs shows
REACH = 40.0  # sigma; beyond it the normal tail is 0 in a float
STEPS = 2000  # of Simpson's rule in each piece; the integrals below are exact to 1e-9 (tests/test_stats.py)


def pooled_sd(groups: Iterable[Sequence[float]]) -> tuple[float, int] | None:
    """
    Standard deviation of one run, from the scatter within groups of repeats, and its degrees of freedom.

    None where no group has two values. Its square is unbiased whatever the groups' means, if all scatter alike.
    Source: the mean square within classes of a one-way analysis of variance (Fisher 1925).
    """
    repeats = [values for values in (finite(group, least=0) for group in groups) if len(values) > 1]
    dof = sum(len(values) - 1 for values in repeats)
    if not dof:
        return None
    unit = scale(*repeats)
    total = math.fsum(squares([value / unit for value in values]) for values in repeats)
    return unit * math.sqrt(total / dof), dof


def own_sd(groups: Sequence[Mapping[int, float]]) -> tuple[float, float] | None:
    """
    Standard deviation of what a run does not share with other runs of its seed, and its degrees of freedom: each
    group is one tree's {seed index: value}.

    From differences between two trees over the seeds that both have run: whatever a seed does to both is not in them.
    On a full table its square is the residual mean square of the layout value = tree + seed + error (Fisher 1925),
    unbiased, with (trees - 1)(seeds - 1) degrees of freedom; with missing cells, the sum over pairs of trees
    (Karlin, Cameron and Williams 1981). A common shift, as of a first run that was chosen for its value, is not in it.
    None where no two trees share two seeds.
    """
    given = [dict(zip(group, finite(group.values(), least=0), strict=True)) for group in groups]
    unit = scale(*(list(group.values()) for group in given))
    total, pairs, paired = 0.0, 0, set[int]()
    for (i, one), (j, other) in combinations(enumerate(given), 2):
        seeds = one.keys() & other.keys()
        if len(seeds) < 2:
            continue
        total += squares([(one[seed] - other[seed]) / unit for seed in seeds]) / 2
        pairs += len(seeds) - 1
        paired |= {i, j}
    if not pairs:
        return None
    return unit * math.sqrt(total / pairs), 2 * pairs / len(paired)


def seed_correlation(
    groups: Sequence[Mapping[int, float]], sd: float, believed: float = 0.0, weight: float = 0.0
) -> tuple[float, float]:
    """
    How far runs of one seed move together across trees, in [0, 0.99], and the degrees of freedom it was seen with.

    One less the share of a run's variance sd^2 that is its own (`own_sd`), as if `weight` more degrees of freedom had
    shown it to be as `believed`. Few runs say little: two trees and two seeds are one degree of freedom, and 1 - F
    scatters as much as an F statistic does.
    """
    positive("sd", sd), not_negative("weight", weight)
    own = own_sd(groups)
    variance, dof = (min(own[0] / sd, 1e9) ** 2, own[1]) if own else (0.0, 0.0)  # beyond 1 it is 0 seed all the same
    if not dof + weight:
        return 0.0, 0.0
    share = (dof * variance + weight * (1 - believed)) / (dof + weight)
    return max(0.0, min(MOST_CORRELATED, 1 - share)), dof


def gain_error(sd: float, n: int, m: int, shared: int = 0, correlation: float = 0.0) -> float:
    """
    Standard error of the difference between the means of n and of m runs, of which `shared` have seeds in common.

    sd^2 (1/n + 1/m - 2 shared correlation / (n m)): the variance of a difference, with covariance
    correlation * sd^2 for each seed that both sides have run.
    """
    not_negative("sd", sd)
    count("n", n), count("m", m), count("shared", shared, least=0)
    if shared > min(n, m):
        raise ValueError(f"{shared} shared seeds are more than the smaller side's {min(n, m)} runs")
    if not -1 <= correlation <= 1:
        raise ValueError(f"correlation must lie between -1 and 1, not {correlation}")
    return sd * math.sqrt(max(0.0, 1 / n + 1 / m - 2 * shared * correlation / (n * m)))


def smallest_effect(
    sd: float, n: int, m: int, correlation: float = 0.0, alpha: float = 0.05, power: float = 0.8
) -> float:
    """
    The smallest true gain that n runs against m find with probability `power`, where a gain of none is found with
    probability alpha: one-sided, since only gains are looked for (two-sided: ask with alpha / 2).

    Normal approximation, sd known, as many seeds in common as there can be. Source: Bloom 1995, minimum detectable
    effects; Cohen, Statistical Power Analysis, 1988.
    """
    normal = NormalDist()
    sigmas = normal.inv_cdf(1 - probability("alpha", alpha)) + normal.inv_cdf(probability("power", power))
    return max(0.0, sigmas) * gain_error(sd, n, m, min(n, m), correlation)


def expected_maximum(number: int) -> float:
    """
    The expected largest of `number` independent standard normal values, in standard deviations.

    The integral of 1 - Phi(z)^k - Phi(-z)^k over z > 0 (David and Nagaraja, Order Statistics, 2003, section 3.1), by
    Simpson's rule. Blom's approximation Phi^-1((k - 0.375) / (k + 0.25)) is up to 4 % off (k = 2: 0.589 for 0.564).
    """
    count("number", number)
    return _integral(lambda z: _some_above(z, number) - _all_below(-z, number), (0.0, 10.0, REACH))


def expected_best_of_noise(sd: float, trials: int, n: int = 1, m: int | None = None) -> float:
    """
    The gain that a study of nothing but noise claims on average: the best of its trials' mean over n runs against
    one base's mean over m runs, or 0 where no trial beats the base. m = None: the base's value is known exactly.

    The base's error is common to all gains: it shifts them together, and leaves the plain expectation of the largest
    at sd / sqrt(n) * expected_maximum(trials) whatever m is. It matters because a loss is not claimed:
    E max(0, B + M) is the integral of Phi(z / tau) (1 - Phi(z)^trials) over all z, in units of sd / sqrt(n), with
    tau = sqrt(n / m) and B, M the base's and the best trial's errors. Runs are independent, the base is this one.
    """
    not_negative("sd", sd)
    count("trials", trials), count("n", n)
    if m is None:
        sigmas = _integral(lambda z: _some_above(z, trials), (0.0, 10.0, REACH))
        return sd / math.sqrt(n) * sigmas
    tau = math.sqrt(n / count("m", m))
    edge = 10 * min(tau, 1.0)
    points = sorted({-10 * tau, -edge, 0.0, edge, max(10.0, edge), REACH})
    return sd / math.sqrt(n) * _integral(lambda z: _below(z / tau) * _some_above(z, trials), points)


def ladder(best: float, value: float, step: float) -> float:
    """
    The loss that may be told of a new measurement on held data: the rounded value where it beats the best told so
    far by more than a step, else that best again. Lower is better; where higher is, negate all. Nothing told yet:
    best = inf.

    Over k adaptive questions to n items what was told errs by about (log(k n) / n)^(1/3), not by (k / n)^(1/2). With
    the standard error of the difference from the best as the step, it is the parameter-free Ladder.
    Source: Blum and Hardt 2015, sections 3 (the Ladder) and 4 (parameter-free).
    """
    positive("step", step)
    finite([value])
    if not value < best - step:
        return best
    steps = value / step
    return round(steps) * step if abs(steps) < 2**52 else value  # beyond, rounding to a step is finer than a float


def _below(z: float) -> float:
    return math.erfc(-z / math.sqrt(2)) / 2


def _all_below(z: float, number: int) -> float:
    """P(all of `number` normal values lie below z)."""
    return 1 - _some_above(z, number)


def _some_above(z: float, number: int) -> float:
    """P(at least one of `number` normal values lies above z), exact also where it is tiny."""
    tail = _below(-z)
    return -math.expm1(number * math.log1p(-tail)) if tail < 1 else 1.0


def _integral(f: Callable[[float], float], points: Sequence[float]) -> float:
    """Simpson's rule over each piece between two points."""
    total = 0.0
    for start, end in pairwise(points):
        h = (end - start) / STEPS
        weighted = ((4 if i % 2 else 2) * f(start + i * h) for i in range(1, STEPS))
        total += h / 3 * (f(start) + f(end) + math.fsum(weighted))
    return total
