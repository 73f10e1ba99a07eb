"""
E-values: evidence against "no gain" that may be looked at after every run, multiplied on, and combined over trials.

An e-value is at most 1 on average where there is nothing, however its observations were watched; 1 / e is a p-value
under optional stopping (Ville 1939). Standard library only. Gains are in the metric's unit; a positive gain is
better. One-sided tests are against "the gain is 0 or less".
"""

import functools
import math
from collections.abc import Iterable, Sequence

from autoresearch.stats.checks import (
    count,
    exp,
    finite,
    not_negative,
    positive,
    probability,
    scale,
    squares,
    variance_of,
)

CAUTIOUS = 0.18  # prior successes and failures; Turner, Ly and Grünwald 2024 (least regret)


def mixture_e_value(gain: float, error: float, tau: float, two_sided: bool = False) -> float:
    """
    Evidence that a normal mean is above 0 (two-sided: not 0), from its estimate `gain` with standard error `error`.

    The likelihood ratio against 0, averaged over true gains spread like N(0, tau^2), one-sided over its positive
    half: tau is the size of gain to be expected, fixed before looking. For n paired differences the error is
    sd / sqrt(n); for n runs against m, gain_error(sd, n, m) (both are Brownian motion in 1 / error^2: Jennison and
    Turnbull 2000, section 3.1). May be looked at after every run.

    The error is taken as known. Estimated from 2, 4, 10 or 30 degrees of freedom, it turns false alarms of at most
    5 % into 22, 13, 7 or 4 % over 200 looks; noise that is skewed towards gains, as lognormal, into 10 %; Student-t(3)
    noise leaves them at 5 % (docs/dev/LOG.md). `t_e_value` needs no error.
    Source: Robbins 1970; Howard et al. 2021 (one- and two-sided normal mixture); Johari et al. 2022, eq. 7.
    """
    not_negative("error", error), positive("tau", tau)
    finite([gain])
    if not error:
        return _certain(gain, two_sided)
    if not gain:
        return math.exp(-_softplus(2 * (math.log(tau) - math.log(error))) / 2)
    # In logarithms, since each of these ratios may leave the range of a float.
    doubled = 2 * (math.log(tau) - math.log(error))  # log of (tau / error)^2
    score = exp(math.log(abs(gain)) - math.log(error) - _softplus(-doubled) / 2)
    log_ratio = score * score / 2 - _softplus(doubled) / 2
    if two_sided:
        return exp(log_ratio)
    if gain > 0:
        return exp(log_ratio + math.log(math.erfc(-score / math.sqrt(2))))
    return exp(_log_scaled_tail(score) - _softplus(doubled) / 2)


def t_e_value(differences: Sequence[float], effect: float = 1.0, two_sided: bool = False) -> float:
    """
    Evidence that the mean of normal differences is above 0 (two-sided: not 0), with their scatter unknown.

    The same mixture over mean / sd ~ N(0, effect^2) (one-sided: its positive half) with the right Haar measure on sd:
    a ratio that depends on the differences only up to their scale. `effect` is the size of gain to be expected in
    standard deviations of one difference. Valid when watched after every difference, as long as when to stop follows
    from earlier such ratios, not from the scale of the data. One difference alone says at most 2, none says 1.
    Source: Pérez-Ortiz, Lardy, de Heide and Grünwald 2024 (right Haar); Wang and Ramdas, Anytime-valid t-tests, 2023
    (the Gaussian mixture); Rouder et al. 2009 (the formula). One-sided, also valid for means below 0: the likelihood
    ratio is monotone in t.
    """
    values = finite(differences, least=0, what="difference")
    g, n = variance_of(effect), len(values)
    if not any(values):
        return 1.0
    unit = scale(values)
    values = [value / unit for value in values]
    mean = math.fsum(values) / n
    within, shrunk = squares(values), n * mean * mean / (1 + n * g)
    log_ratio = n / 2 * (math.log(within + n * mean * mean) - math.log(within + shrunk)) - math.log1p(n * g) / 2
    if two_sided:
        return exp(log_ratio)
    t = n * mean * math.sqrt(n / ((n + 1 / g) * (within + shrunk)))
    return exp(log_ratio + math.log(2) + _log_t_tail(-t, n))  # times twice the posterior chance of a gain


def rates_e_value(pairs: Iterable[tuple[bool, bool]], two_sided: bool = False) -> float:
    """
    Evidence that a succeeds more often than b (two-sided: not equally often), from pairs (did a, did b) in order.

    For each pair, the likelihood under what earlier pairs suggest, by that under the mean of both suggestions; where
    they suggest no gain, nothing is bet. May be looked at after every pair; pairs may differ in difficulty only if a
    and b draw theirs independently. Source: Turner, Ly and Grünwald 2024, blocks of 1 + 1.
    """
    won_a, won_b, log_e = CAUTIOUS, CAUTIOUS, 0.0
    for done, (a, b) in enumerate(pairs):
        p, q = won_a / (done + 2 * CAUTIOUS), won_b / (done + 2 * CAUTIOUS)
        if two_sided or p > q:
            same = (p + q) / 2
            log_e += math.log((p if a else 1 - p) / (same if a else 1 - same))
            log_e += math.log((q if b else 1 - q) / (same if b else 1 - same))
        won_a, won_b = won_a + bool(a), won_b + bool(b)
    return exp(log_e)


def always_valid_p(e: float) -> float:
    """
    The p-value of an e-value: 1 / e, at most 1. Of the largest e-value seen so far it holds at every look.

    Source: Ville 1939; Johari et al. 2022.
    """
    _evidence(e)
    return 1.0 if e <= 1 else 1 / e


def e_bh(e_values: Sequence[float], alpha: float) -> set[int]:
    """
    Which of a finished list of hypotheses to reject so that at most a share alpha of them is false on average.

    The k largest, for the largest k whose smallest is at least len / (alpha k). Holds under any dependence.
    Source: Wang and Ramdas 2022, the base e-BH procedure.
    """
    probability("alpha", alpha)
    order = sorted(range(len(e_values)), key=lambda i: -_evidence(e_values[i]))
    enough = (k for k in range(len(order), 0, -1) if alpha * k * e_values[order[k - 1]] >= len(order))
    return set(order[: next(enough, 0)])


def e_lond_level(index: int, discoveries: int, alpha: float, gamma: float | None = None) -> float:
    """
    The level of hypothesis number `index` (from 0) after so many discoveries: rejected where e >= 1 / level.

    alpha gamma (discoveries + 1); the gammas of all hypotheses must sum to at most 1. By default they are
    1 / log2(i + 2) - 1 / log2(i + 3), which sum to exactly 1 over all i and fall hardly faster than 1 / i, so that
    late trials keep a chance; where the number of trials is known, 1 / trials finds up to three times as much
    (docs/dev/LOG.md). Source: Xu and Ramdas 2024, e-LOND; Javanmard and Montanari 2018, LOND.
    """
    count("index", index, least=0), count("discoveries", discoveries, least=0)
    weight = 1 / math.log2(index + 2) - 1 / math.log2(index + 3) if gamma is None else gamma
    return probability("alpha", alpha) * not_negative("gamma", weight) * (discoveries + 1)


def e_lond(e_values: Iterable[float], alpha: float, gammas: Sequence[float] | None = None) -> list[bool]:
    """
    Decide on hypotheses one after the other: after each, at most a share alpha of those rejected is false on average.

    Holds under any dependence, so also where each trial is measured against the same base. `gammas`: see e_lond_level.

    Raises:
        ValueError: gammas that sum to more than 1, or fewer of them than e-values.
    """
    if gammas is not None and math.fsum(gammas) > 1 + 1e-12:
        raise ValueError(f"gammas must sum to at most 1, not {math.fsum(gammas):.6g}")
    decided: list[bool] = []
    for i, e in enumerate(e_values):
        if gammas is not None and i >= len(gammas):
            raise ValueError(f"{len(gammas)} gammas do not reach hypothesis {i + 1}")
        level = e_lond_level(i, sum(decided), alpha, None if gammas is None else gammas[i])
        decided.append(_evidence(e) * level >= 1 if level else False)
    return decided


def _evidence(e: float) -> float:
    if not e >= 0:
        raise ValueError(f"an e-value is a number from 0 up, not {e}")
    return e


def _certain(gain: float, two_sided: bool) -> float:
    """What a gain without noise says."""
    if not gain:
        return 1.0
    return math.inf if gain > 0 or two_sided else 0.0


def _softplus(x: float) -> float:
    """log(1 + e^x)."""
    return x if x > 40 else math.log1p(math.exp(x))


def _log_scaled_tail(score: float) -> float:
    """log(2 Phi(-score)) + score^2 / 2 for a score from 0 up; its asymptotic series where erfc underflows."""
    if score < 25:
        return math.log(math.erfc(score / math.sqrt(2))) + score * score / 2
    return -math.log(score) - math.log(math.pi / 2) / 2 + math.log1p(-1 / score / score)


@functools.cache  # the policy asks for the same few again and again, at 5 ms each
def t_quantile(share: float, dof: int) -> float:
    """The value below which Student's t lies with this probability, for a probability of a half at least."""
    count("dof", dof)
    if not 0.5 <= share < 1:
        raise ValueError(f"share must lie in [0.5, 1), not {share}")
    low, high, wanted = 0.0, 1.0, math.log1p(-share)
    while _log_t_tail(high, dof) > wanted:
        high *= 2
    for _ in range(60):  # halvings reach the last digit of a float
        middle = (low + high) / 2
        low, high = (middle, high) if _log_t_tail(middle, dof) > wanted else (low, middle)
    return high


def _log_t_tail(t: float, dof: int) -> float:
    """log P(T > t) for Student's t. Source: Abramowitz and Stegun 1964, 26.5.27 (dof whole) with 26.5.8."""
    if t < 0:
        return math.log1p(-math.exp(_log_t_tail(-t, dof)))
    u = t / math.sqrt(dof)
    log_x = -math.log1p(u * u) if u < 1e100 else -2 * math.log(u)
    x, a, b = math.exp(log_x), dof / 2, 0.5
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    if x < (a + 1) / (a + b + 2):
        log_front = a * log_x + b * math.log1p(-x) - log_beta - math.log(a)
        return log_front - math.log(_beta_fraction(x, a, b)) - math.log(2)
    y = u * u / (1 + u * u)
    if not y:
        return -math.log(2)
    near = math.exp(b * math.log(y) + a * log_x - log_beta - math.log(b)) / _beta_fraction(y, b, a)
    return math.log1p(-near) - math.log(2)


def _beta_fraction(x: float, a: float, b: float) -> float:
    """
    The continued fraction of the incomplete beta function, evaluated from its end.

    Source: Abramowitz and Stegun 1964, 26.5.8. 200 terms reach 1e-12 for all dof below 10,000.
    """
    value = 1.0
    for i in range(200, 0, -1):
        half = i // 2
        if i % 2:
            term = -(a + half) * (a + b + half) / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            term = half * (b - half) / ((a + 2 * half - 1) * (a + 2 * half))
        value = 1 + term * x / value
    return value
