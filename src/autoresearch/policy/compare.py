"""
A trial against its base: what was gained, and how well that is known.

Three kinds, chosen by the metric. Repeats: runs with the same seed move together as far as the code uses its seed, so
they are compared with each other where that is the sharper look. Timings: those that were taken one after the other
(timing.py). Proportions: all items together. Pure functions of the state; decides nothing.
"""

import math

from msgspec import Struct

from autoresearch.policy import DECIDING, timing
from autoresearch.state import State
from autoresearch.stats import gain_error
from autoresearch.study import MetricTable
from autoresearch.trial import Metric, Trial

# What is believed of the gain of something that was just kept, until fresh runs of it exist. It was kept because
# its runs looked good, and what is chosen for looking good is less good. benchmarks/results/policies.md
BELIEVED = 0.8


class Comparison(Struct, frozen=True):
    """
    Means over the compared runs, mean gain and its standard error (None while the noise is unknown).

    `lines` of code are more than the base's, and `price` is the gain that they have to bring; both negative where
    code was taken away.
    """

    value: float
    before: float
    gain: float
    error: float | None
    runs: int
    lines: float = 0.0
    price: float = 0.0

    @property
    def score(self) -> float:
        """The gain in standard errors; infinite where there is no noise."""
        if self.error:
            return self.gain / self.error
        return math.copysign(math.inf, self.gain) if self.gain else 0.0

    def worth(self, most: float) -> float:
        """The score after the price; for what was taken away no more is given than so many errors, or a tie."""
        if self.error:
            return (self.gain - max(self.price, -most * self.error)) / self.error
        return self.score or (math.copysign(math.inf, -self.lines) if self.lines else 0.0)


def compare(state: State, metric: MetricTable, trial: Trial) -> Comparison:
    """A trial against its base, in the way that suits what is measured."""
    assert trial.tree is not None
    if metric.is_timing and (found := timing.pairs(state, trial)):
        sd = timing.scatter(state)
        error = None if sd is None else sd / math.sqrt(len(found))
        return _over(metric, [mine for _, mine in found], [base for base, _ in found], error)
    if metric.is_proportion:
        return _of_rates(metric, _counts(state, trial.tree), _counts(state, trial.base_tree))
    return _over_seeds(state, metric, trial)


def _over_seeds(state: State, metric: Metric, trial: Trial) -> Comparison:
    """Over the seeds that both have run, or over all runs, what errs less."""
    mine, base = state.values(trial.tree or ""), bar(state, metric, trial.base_tree)
    shared = [seed for seed in mine if seed in base]
    known = state.noise
    if known is None:
        return _over(metric, list(mine.values()), list(base.values()), None)
    rho = state.pairing.correlation if known.sd else 0.0
    over_all = gain_error(known.sd, len(mine), len(base), len(shared), rho)
    if shared and (error := gain_error(known.sd, len(shared), len(shared), len(shared), rho)) < over_all:
        return _over(metric, [mine[s] for s in shared], [base[s] for s in shared], error)
    return _over(metric, list(mine.values()), list(base.values()), over_all)


def _over(metric: Metric, mine: list[float], base: list[float], error: float | None) -> Comparison:
    value, before = math.fsum(mine) / len(mine), math.fsum(base) / len(base)
    return Comparison(value, before, metric.gain(before, value), error, len(mine))


def _of_rates(metric: Metric, mine: tuple[float, float, int], base: tuple[float, float, int]) -> Comparison:
    """The score test of two proportions: the error where both succeed equally often (Newcombe 1998, section 1)."""
    (rate, n, runs), (before, m, _) = mine, base
    both = (rate * n + before * m) / (n + m)
    error = math.sqrt(both * (1 - both) * (1 / n + 1 / m))
    return Comparison(rate, before, metric.gain(before, rate), error, runs)


def _counts(state: State, tree: str) -> tuple[float, float, int]:
    """
    Share of successes, of how many items, in how many runs: all runs together. Where all gave the same share, they
    looked at the same items in the same way and count as one.
    """
    runs = [run for run in state.runs_on(tree) if run.held == "search" and run.purpose in DECIDING]
    seen = [(run.value, run.measurement.extras["items"]) for run in runs if run.measurement and run.value is not None]
    if len(set(seen)) == 1:
        return *seen[0], len(seen)
    items = math.fsum(n for _, n in seen)
    return math.fsum(rate * n for rate, n in seen) / items, items, len(seen)


def bar(state: State, metric: Metric, tree: str) -> dict[int, float]:
    """
    Seed index -> the value that a trial on this base has to beat: its fresh runs. Before there is one, the runs that
    it was kept for, moved back by the part of their gain that is luck.
    """
    if record := state.record(tree):
        return record
    values = state.values(tree)
    kept = state.trials.get(state.best.trial) if state.best and state.best.tree == tree else None
    gain = kept.verdict.gain if kept and kept.verdict and not kept.is_baseline else None
    back = (1 - BELIEVED) * gain if gain and gain > 0 and len(values) and state.noise and state.noise.sd else 0.0
    return {seed: value + (back if metric.direction == "minimize" else -back) for seed, value in values.items()}
