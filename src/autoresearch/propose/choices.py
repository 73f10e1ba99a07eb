"""
Several choices at once: which option of each constant stands out, from trials that changed many together.

The belief is that gains add up and that in each constant one option is better than the rest, by an amount of
its own; a trial then says how many of its options were right ones before and after. Every hypothesis is
weighed exactly, its unknown amounts integrated out, and the next trial is one drawn from the posterior
(Thompson 1933). With exact scores this is a game of Mastermind; with noise it is a factorial experiment.
Knows options and gains; no files.
"""

import itertools
import math
import random
from collections.abc import Sequence

from msgspec import Struct

from autoresearch.propose.history import Outcome
from autoresearch.propose.knobs import Knob
from autoresearch.propose.ranges import Value

HYPOTHESES = 700  # weighed at once, about 10 ms; more choices than that are taken up in batches
OBSERVATIONS = 40  # the latest; a batch is given up before it needs more
# Pairs, in units of the common amount: variance of single amounts about it (alike, or each its own), and how
# much the other options differ among themselves. Which of them holds is weighed together with the rest.
MODELS = ((0.0, 0.02), (0.3, 0.02), (1.0, 0.35))
NEGLIGIBLE = 20.0  # below the best log evidence, at which a hypothesis is not weighed to the end
CERTAIN = 0.95  # probability of the present options at which a batch is done

Hypothesis = tuple[Value, ...]  # the option that stands out, by constant
Hits = tuple[tuple[tuple[int, int], ...], ...]  # by trial: places of constants, each with +1 or -1


class Seen(Struct, frozen=True):
    """One trial: what it replaced by what, by place of the constant in its batch, and the gain of it."""

    changes: tuple[tuple[int, Value, Value], ...]
    gain: float
    variance: float


def batches(knobs: Sequence[Knob]) -> list[list[Knob]]:
    """The choices, in groups small enough to weigh every combination. A group of one is no group."""
    found: list[list[Knob]] = []
    size = 0
    for knob in knobs:
        if not found or size * len(knob.range.options) > HYPOTHESES:
            found.append([])
            size = 1
        found[-1].append(knob)
        size *= len(knob.range.options)
    return [batch for batch in found if len(batch) > 1]


def patience(batch: Sequence[Knob]) -> int:
    """Trials after which a batch is left to single changes: as many as trying each option by itself takes."""
    return sum(len(knob.range.options) - 1 for knob in batch)


def draw(batch: Sequence[Knob], outcomes: Sequence[Outcome], rng: random.Random, count: int) -> list[Hypothesis]:
    """
    Up to `count` combinations worth measuring, most promising draws first; none when the present one is
    almost certainly the best.
    """
    spaces = [knob.range.options for knob in batch]
    seen = _seen(batch, outcomes)
    weights = weigh(spaces, seen)
    present = tuple(knob.value for knob in batch)
    if weights.get(present, 0.0) > CERTAIN:
        return []
    drawn = rng.choices(list(weights), list(weights.values()), k=count)
    return [combination for combination in dict.fromkeys(drawn) if combination != present]


def weigh(spaces: Sequence[Sequence[Value]], seen: Sequence[Seen]) -> dict[Hypothesis, float]:
    """The posterior probability of every combination of options that may stand out."""
    sizes = sorted(abs(one.gain) for one in seen if one.gain)
    amount = sizes[len(sizes) // 2] if sizes else 1.0
    models = [_Model(seen, len(spaces), amount, *model) for model in MODELS]
    scores: dict[Hypothesis, float] = {}
    alike: dict[Hits, float] = {}  # hypotheses that no trial has told apart yet
    top = -math.inf
    for hypothesis in itertools.product(*spaces):
        hits = tuple(_hits(hypothesis, one) for one in seen)
        if hits not in alike:
            alike[hits] = _log_sum([model.evidence(hits, top - NEGLIGIBLE) for model in models])
        scores[hypothesis] = alike[hits]
        top = max(top, alike[hits])
    total = sum(math.exp(score - top) for score in scores.values())
    return {hypothesis: math.exp(score - top) / total for hypothesis, score in scores.items()}


def _seen(batch: Sequence[Knob], outcomes: Sequence[Outcome]) -> list[Seen]:
    """What trials say about this batch: those that changed nothing else."""
    place = {knob.key: index for index, knob in enumerate(batch)}
    about = [outcome for outcome in outcomes if outcome.changes.keys() <= place.keys()][-OBSERVATIONS:]
    worst = min((outcome.gain for outcome in about if outcome.gain is not None), default=0.0)
    return [
        Seen(
            tuple((place[knob], old, new) for knob, (old, new) in outcome.changes.items()),
            min(worst, 0.0) if outcome.gain is None else outcome.gain,  # a crash is as bad as the worst value
            outcome.error**2,
        )
        for outcome in about
    ]


def _hits(hypothesis: Hypothesis, one: Seen) -> tuple[tuple[int, int], ...]:
    """Constants that the trial moved to (+1) or away from (-1) the option that stands out."""
    signs = ((place, (new == hypothesis[place]) - (old == hypothesis[place])) for place, old, new in one.changes)
    return tuple((place, sign) for place, sign in signs if sign)


def _log_sum(scores: Sequence[float]) -> float:
    """Logarithm of the sum of what the scores are logarithms of."""
    top = max(scores)
    return top + math.log(sum(math.exp(score - top) for score in scores)) if top > -math.inf else top


class _Model:
    """Amounts ~ Normal(amount, amount^2 * (1/2 shared + `unequal` own)), all of them positive."""

    def __init__(self, seen: Sequence[Seen], n: int, amount: float, unequal: float, misfit: float) -> None:
        self.n, self.amount, self.gains = n, amount, [one.gain for one in seen]
        self.shared, self.own = amount**2 / 2, amount**2 * unequal
        self.variances = [one.variance + len(one.changes) * (misfit * amount) ** 2 for one in seen]
        self.prior = n * _log_positive(amount, self.shared + self.own)
        # What trials from each one on can add at most: their gains exactly as foretold.
        best = [-math.log(variance) / 2 for variance in self.variances]
        self.ceilings = [sum(best[index:]) - self.prior for index in range(len(best))]

    def evidence(self, hits: Hits, floor: float) -> float:
        """
        Log probability of all gains under a hypothesis; -inf as soon as it must end below `floor`.

        Source: recursive Bayesian linear regression, one trial after another; Bishop 2006, section 3.3.1.
        """
        mean = [self.amount] * self.n
        cov = [[self.shared + self.own * (i == j) for j in range(self.n)] for i in range(self.n)]
        score = 0.0
        for signs, gain, variance, ceiling in zip(hits, self.gains, self.variances, self.ceilings, strict=True):
            if score + ceiling < floor:
                return -math.inf
            towards = [sum(sign * row[k] for k, sign in signs) for row in cov] if signs else []
            rest = gain - sum(sign * mean[k] for k, sign in signs)
            spread = variance + sum(sign * towards[k] for k, sign in signs)
            score -= (math.log(spread) + rest**2 / spread) / 2
            for i in range(len(towards)):
                pull = towards[i] / spread
                mean[i] += pull * rest
                cov[i] = [c - pull * t for c, t in zip(cov[i], towards, strict=True)]
        return score + sum(_log_positive(mean[k], cov[k][k]) for k in range(self.n)) - self.prior


def _log_positive(mean: float, variance: float) -> float:
    """Log probability that an amount is positive: an option that stands out is better than the rest."""
    return math.log(max(math.erfc(-mean / math.sqrt(2 * max(variance, 1e-300))) / 2, 1e-300))
