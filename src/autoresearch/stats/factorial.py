"""
Factorial experiments: several factors changed at once, so that each run says something about all of them.

Two-level fractional factorial designs in which no main effect is mixed up with a two-way interaction (resolution IV),
and what to believe of the effects after any runs. Knows no study: a factor is a place in a tuple.
"""

import functools
import itertools
import math
from collections.abc import Sequence

from msgspec import Struct

Row = tuple[bool, ...]  # for each factor, whether it is changed
Term = tuple[int, ...]  # (i,): a factor by itself; (i, j): a pair, beyond the sum of its two
Seen = tuple[Row, float, float]  # what was changed, what it gained over changing nothing, and the variance of that

SIZES = (0.5, 1.0, 2.0)  # that effects may have, in units of the gains' root mean square
SURE = 3.0  # log of the odds that a pair must bring before it is believed: there are many
MOST = 4  # pairs


def rows(runs: int, factors: int) -> list[Row]:
    """
    What each run of a design changes: the first nothing, which is the base. `runs` is a power of two, of which
    `factors` are at most half.

    Each factor is the product of an odd number of the first few, so no two of them multiply to a third.
    Source: Box, Hunter and Hunter, Statistics for Experimenters, 1978, chapter 12; tests/test_factorial.py checks it.
    """
    own = runs.bit_length() - 1
    odd = [chosen for size in range(1, own + 1, 2) for chosen in itertools.combinations(range(own), size)][:factors]
    levels = itertools.product((False, True), repeat=own)
    return [tuple(sum(level[i] for i in chosen) % 2 == 1 for chosen in odd) for level in levels]


class Effects(Struct, frozen=True):
    """
    What is believed of each factor by itself and of the pairs that do something together: `terms`, with means and
    covariance in the unit of the gains. A pair that is not among them does nothing that was seen.
    """

    terms: tuple[Term, ...]
    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]

    def gain(self, row: Row) -> tuple[float, float]:
        """Expected gain of changing these factors together, over changing none, and its standard error."""
        on = [k for k, term in enumerate(self.terms) if all(row[i] for i in term)]
        variance = sum(self.covariance[j][k] for j in on for k in on)
        return sum(self.mean[k] for k in on), math.sqrt(max(0.0, variance))

    def of(self, term: Term) -> tuple[float, float]:
        """One effect and its standard error."""
        k = self.terms.index(term)
        return self.mean[k], math.sqrt(max(0.0, self.covariance[k][k]))

    @property
    def pairs(self) -> tuple[Term, ...]:
        return tuple(term for term in self.terms if len(term) == 2)


@functools.lru_cache(maxsize=16)  # asked for again before every proposal; eight factors take a tenth of a second
def fit(factors: int, seen: tuple[Seen, ...]) -> Effects:
    """
    Main effects, and those two-way interactions that what was seen speaks for: taken in one after another, each the
    likeliest, as long as it makes the gains so much likelier. Half of a gain's variance is that of the base, which all
    share; effects are Normal around zero, of a size that the gains themselves make likely.

    Source: Bayesian linear regression, one row after another; Bishop 2006, sections 3.3 and 3.5.
    """
    alone: list[Term] = [(i,) for i in range(factors)]
    gains = [gain for _, gain, _ in seen]
    size = math.sqrt(sum(gain**2 for gain in gains) / len(gains)) if gains else 0.0
    if not size:
        return Effects(tuple(alone), (0.0,) * factors, ((0.0,) * factors,) * factors)
    floor = (1e-3 * size) ** 2  # of a variance: where nothing scatters
    seen = tuple((row, gain, max(variance, floor)) for row, gain, variance in seen)
    found = max((_regression(alone, seen, scale * size) for scale in SIZES), key=_evidence)
    together = [
        pair for pair in itertools.combinations(range(factors), 2) if any(all(row[i] for i in pair) for row, *_ in seen)
    ]
    terms = alone
    for _ in range(MOST):
        more = [
            _regression([*terms, pair], seen, scale * size) for pair in together if pair not in terms for scale in SIZES
        ]
        likeliest = max(more, key=_evidence, default=found)
        if _evidence(likeliest) < _evidence(found) + SURE:
            break
        found, terms = likeliest, list(likeliest[1].terms)
    return found[1]


Fit = tuple[float, Effects]  # log evidence, and what is believed


def _evidence(fit: Fit) -> float:
    return fit[0]


def _regression(terms: Sequence[Term], seen: Sequence[Seen], size: float) -> Fit:
    """With a first term for the error of the base, which all gains share."""
    n = 1 + len(terms)
    shared = min(variance for *_, variance in seen) / 2
    mean = [0.0] * n
    covariance = [[(size**2 if i else shared) * (i == j) for j in range(n)] for i in range(n)]
    evidence = 0.0
    for row, gain, variance in seen:
        on = [0, *(k for k, term in enumerate(terms, 1) if all(row[i] for i in term))]
        towards = [sum(line[k] for k in on) for line in covariance]
        spread = variance - shared + sum(towards[k] for k in on)
        rest = gain - sum(mean[k] for k in on)
        evidence -= (math.log(spread) + rest**2 / spread) / 2
        for i in range(n):
            pull = towards[i] / spread
            mean[i] += pull * rest
            covariance[i] = [c - pull * t for c, t in zip(covariance[i], towards, strict=True)]
    return evidence, Effects(tuple(terms), tuple(mean[1:]), tuple(tuple(line[1:]) for line in covariance[1:]))
