"""
Whether visitors arrive as they were sent: a side that loses some of them can no longer be compared with the others.

A redirect that drops mobile visitors, a page that fails to load, a bot that reads one side only: all show in the counts
before they show in a rate. Both tests may be looked at after every visitor. Standard library only.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from autoresearch.stats.checks import not_negative, positive

Part = tuple[float, float, float]  # visitors of this side, visitors in all, the share it should have; one for each plan
FACTORS = (0.5, 0.8, 0.9, 0.95, 0.98, 1.02, 1.05, 1.1, 1.25, 2.0)  # by which a side may come too seldom or too often


def multinomial(counts: Sequence[float], shares: Sequence[float], weight: float = 100.0) -> float:
    """
    Log evidence that counts do not follow these shares: any other shares, under one and the same plan.

    Shares are drawn from a Dirichlet distribution around the planned ones, which counts for as much as `weight`
    visitors; the mean likelihood under them by that under the plan. Source: Lindon and Malek, Anytime-valid inference
    for multinomial count data, 2022.
    """
    positive("weight", weight)
    if len(counts) != len(shares) or not math.isclose(math.fsum(shares), 1.0, abs_tol=1e-6):
        raise ValueError("shares must be as many as counts, and sum to 1")
    for count, share in zip(counts, shares, strict=True):
        not_negative("count", count), positive("share", share)
    total = math.fsum(counts)
    found = math.lgamma(weight) - math.lgamma(weight + total)
    for count, share in zip(counts, shares, strict=True):
        found += math.lgamma(weight * share + count) - math.lgamma(weight * share) - count * math.log(share)
    return found


def side(parts: Iterable[Part]) -> float:
    """Log evidence that a side does not get its share, over any number of plans that gave it different ones."""
    return _log_mean(paid(parts))


def paid(parts: Iterable[Part]) -> list[float]:
    """
    What bets against a side's share have paid, one for each of `FACTORS`, as logarithms. Those of several plans, or
    days, add up, so none of them need be kept.

    The bet that it gets f times its share of visitors, against the others, pays f for each that comes to it, and each
    visitor costs 1 / (1 - share + f share): 1 on average if the share is right, whatever was decided before. The
    evidence is the mean over all factors.
    """
    found = list(parts)
    for of_side, of_all, share in found:
        not_negative("visitors", of_side)
        if of_side > of_all or not 0 < share < 1:
            raise ValueError(f"{of_side:g} of {of_all:g} visitors, of whom a share of {share:g} was to be expected")
    return [
        math.fsum(of_side * math.log(f) - of_all * math.log1p(share * (f - 1)) for of_side, of_all, share in found)
        for f in FACTORS
    ]


def mismatch(sides: Mapping[str, Sequence[Part]]) -> tuple[float, str]:
    """
    Log evidence that any of several sides does not get its share, and the one that is the worst: the mean of their
    evidence, which is evidence however they depend on each other.
    """
    return mismatch_of({name: paid(parts) for name, parts in sides.items()})


def mismatch_of(sides: Mapping[str, Sequence[float]]) -> tuple[float, str]:
    """The same, of what bets against each side have paid."""
    if not sides:
        return 0.0, ""
    each = {name: _log_mean(logs) for name, logs in sorted(sides.items())}
    return _log_mean(list(each.values())), max(each, key=each.__getitem__)


def _log_mean(terms: Sequence[float]) -> float:
    largest = max(terms)
    return largest + math.log(math.fsum(math.exp(term - largest) for term in terms) / len(terms))
