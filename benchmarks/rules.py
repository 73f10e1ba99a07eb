"""
Rules for keeping from the field, for benchmarks/policies.py to hold ours against: each stated anew, in our own code.

They know neither of failures nor of a direction: every run has a value, and higher is better. The two that other
projects ship are held against the projects' own code by tests/test_policies_benchmark.py, where they are installed.
"""

import functools
import itertools
import math
import random
from collections.abc import Sequence
from statistics import NormalDist, fmean, median, stdev
from typing import Literal

from autoresearch.policy import Ask
from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.trial import Best, Run, Trial, Verdict

MIN_DELTA = 0.5  # the threshold of a person who happens to know the noise
TWO_SIGMA = 2.0
BADGE = 2.0  # median absolute deviations
# labloop 1.0.5
REPEATS = 5  # labloop/cli.py, `noise --repeat`
# hillclimbanything 0.2.0, hca/stats.py
BLOCKS, EXTENDED = 10, 20  # pairs of runs in a try, and in one that looked promising
LEVEL = 0.01 / 2  # a try is one test at 1 %, shared by its two looks
POWER = 0.8
EFFICIENCY = 0.955  # of signed ranks, by Student's test on normal noise

Look = Literal["keep", "extend", "revert"]


class Rule:
    """One run of a change with the first seed, kept if `better`. The rules below differ in that, and in runs."""

    calibrate = 1
    runs = 1
    fixed_seed = False  # every run with the first seed, not each of a content with another

    def __init__(self, study: Study) -> None:
        pass

    def base(self, state: State) -> Best:
        assert state.best is not None
        return state.best

    def next_run(self, state: State, trial: Trial) -> Ask | None:
        done = values(state, trial.tree)
        if trial.is_baseline:
            enough = len(done) >= max(self.calibrate, self.runs)
        else:
            enough = len(done) == self.runs or bool(done and self.hopeless(state, trial))
        return None if enough else Ask(0 if self.fixed_seed else len(done))

    def judge(self, state: State, trial: Trial) -> Verdict:
        after, before = self.level(state, trial.tree), self.level(state, trial.base_tree)
        keep = trial.is_baseline or (not self.hopeless(state, trial) and self.better(state, trial, after - before))
        return Verdict("keep" if keep else "discard", "", after, before, after - before)

    def level(self, state: State, tree: str | None) -> float:
        """What it takes this content's value to be."""
        return fmean(values(state, tree))

    def hopeless(self, state: State, trial: Trial) -> bool:
        """Whether the runs at hand are enough to drop it."""
        return False

    def better(self, state: State, trial: Trial, gain: float) -> bool:
        return gain > 0


class MinDelta(Rule):
    """Better by more than a fixed threshold."""

    def better(self, state: State, trial: Trial, gain: float) -> bool:
        return gain > MIN_DELTA


class ConfirmTwice(Rule):
    """Better, and better again with a second seed, each time than the best's run with that seed."""

    runs = 2

    def hopeless(self, state: State, trial: Trial) -> bool:
        mine, base = values(state, trial.tree), values(state, trial.base_tree)
        return any(after <= before for after, before in zip(mine, base, strict=False))


class TwoSigma(Rule):
    """One run better by two standard deviations, which five runs of the start have shown."""

    calibrate = 5

    def better(self, state: State, trial: Trial, gain: float) -> bool:
        return state.noise is not None and gain > TWO_SIGMA * state.noise.sd


class Bootstrap(Rule):
    """Three seeds on each side, and the 95 % percentile interval of the difference of means lies above 0."""

    runs = 3

    def better(self, state: State, trial: Trial, gain: float) -> bool:
        after, before = resampled(values(state, trial.tree)), resampled(values(state, trial.base_tree))
        differences = sorted(a - b for a in after for b in before)
        return differences[len(differences) * 25 // 1000] > 0


class MadBadge(Rule):
    """Better than the best by two median absolute deviations of all values so far; from the third value on."""

    def better(self, state: State, trial: Trial, gain: float) -> bool:
        seen = [run.value for run in state.runs.values() if run.value is not None]
        middle = median(seen)
        mad = median(abs(value - middle) for value in seen)
        return gain > 0 and (len(seen) < 3 or gain >= BADGE * mad)


class Labloop(Rule):
    """
    labloop 1.0.5 (plicara, Apache-2.0) as its README advises where equal runs differ: with `--confirm`, and with the
    spread that `labloop noise` shows as `--min-delta`.

    The spread is the largest less the smallest of five runs of the unchanged code; a sixth is the number to beat. A
    change must beat that number by more than the spread, and if it does, do so again in a second run; the weaker of
    the two becomes the number to beat, and the base is never run again. The seed is fixed, as the README asks first.
    With neither option, which is its default, it is greedy. Source: _one_trial in labloop/loop.py, Goal.is_better in
    labloop/types.py, _noise in labloop/cli.py.
    """

    calibrate = REPEATS + 1
    runs = 2
    fixed_seed = True

    def level(self, state: State, tree: str | None) -> float:
        seen = values(state, tree)
        return min(seen) if len(seen) <= self.runs else seen[-1]  # only the start has more

    def hopeless(self, state: State, trial: Trial) -> bool:
        bar = self.level(state, trial.base_tree) + self.min_delta(values(state, state.trials[0].tree)[:REPEATS])
        return any(value <= bar for value in values(state, trial.tree))

    def min_delta(self, repeats: list[float]) -> float:
        return max(repeats) - min(repeats)


class LabloopDeviation(Labloop):
    """The same with the other threshold that `labloop noise` offers, the standard deviation of the five runs."""

    def min_delta(self, repeats: list[float]) -> float:
        return stdev(repeats)


class HillClimbAnything(Rule):
    """
    hillclimbanything 0.2.0 (Jai Singh, MIT) in its `blocks` mode, with its defaults: an exact one-sided test of signed
    ranks on ten pairs of a run of the change and a fresh run of the best, in random order.

    Kept when p is at most 0.5 % and the shift (Hodges and Lehmann's) at least half of the useful effect; when not, but
    the shift is above 0, ten more pairs are run and all twenty decide in the same way. Before the first change twenty
    pairs of the unchanged code say how small an effect can be detected. The useful effect has no default: here it is
    the smallest that `hca init` then accepts. A pair has the same seed on both sides.

    In its favour: the two runs that it throws away before each try to warm up cost nothing here, nor does `hca
    confirm`. Differences stand for its logarithms of ratios, which they nearly are where the noise is small beside the
    value. It was made for benchmarks of seconds, not for runs that are dear. Source: keep_decision and noise_report in
    hca/stats.py, _decide_blocks in hca/commands/try_.py, hca/commands/init.py.
    """

    def next_run(self, state: State, trial: Trial) -> Ask | None:
        runs = own_runs(state, trial)
        blocks = BLOCKS
        if trial.is_baseline or (len(runs) >= 2 * BLOCKS and self.look(state, trial, runs[: 2 * BLOCKS]) == "extend"):
            blocks = EXTENDED
        if len(runs) == 2 * blocks:
            return None
        block, place = divmod(len(runs), 2)
        base_is_first = random.Random(f"{trial.id} {block}").random() < 0.5
        return Ask(block, base=base_is_first == (place == 0))

    def level(self, state: State, tree: str | None) -> float:
        """Above the start: the sum of what was estimated at each change on the way, which is what its report shows."""
        trial = next(trial for trial in state.trials.values() if trial.tree == tree)
        if trial.is_baseline:
            return 0.0
        return self.level(state, trial.base_tree) + shift(in_pairs(own_runs(state, trial), tree))

    def better(self, state: State, trial: Trial, gain: float) -> bool:
        return self.look(state, trial, own_runs(state, trial)) == "keep"

    def look(self, state: State, trial: Trial, runs: list[Run]) -> Look:
        useful = detectable(in_pairs(own_runs(state, state.trials[0]), state.trials[0].tree))
        return signed_ranks(in_pairs(runs, trial.tree), useful, last=len(runs) == 2 * EXTENDED)


def signed_ranks(gains: Sequence[float], useful: float, last: bool) -> Look:
    """What a look at these pairs comes to. Assumes that no two sizes are equal, and none is 0."""
    sums = sum(rank for rank, gain in enumerate(sorted(gains, key=abs), 1) if gain > 0)
    if sums >= critical(len(gains)) and shift(gains) >= useful / 2:
        return "keep"
    return "extend" if shift(gains) > 0 and not last else "revert"


def shift(gains: Sequence[float]) -> float:
    """Hodges and Lehmann's estimate: the median of the means of every two, each also with itself."""
    return median((a + b) / 2 for a, b in itertools.combinations_with_replacement(gains, 2))


@functools.cache
def critical(pairs: int) -> int:
    """The smallest sum of ranks of gains that chance alone reaches with a probability of at most LEVEL."""
    ways = [1]  # sum of ranks -> how many of the equally likely choices of signs have it
    for rank in range(1, pairs + 1):
        without, within = ways + [0] * rank, [0] * rank + ways
        ways = [a + b for a, b in zip(without, within, strict=True)]
    tail = itertools.accumulate(reversed(ways))
    allowed = LEVEL * (1 << pairs)
    return len(ways) - sum(count <= allowed for count in tail)


def detectable(gains: Sequence[float]) -> float:
    """The smallest effect that EXTENDED pairs show with a probability of POWER, from pairs without one."""
    middle = median(gains)
    sd = 1.4826 * median(abs(gain - middle) for gain in gains)  # of normal noise
    normal = NormalDist()
    return (normal.inv_cdf(1 - LEVEL) + normal.inv_cdf(POWER)) * sd / math.sqrt(EFFICIENCY * EXTENDED)


def own_runs(state: State, trial: Trial) -> list[Run]:
    """The runs made for this trial, also those of its base."""
    return [state.runs[i] for i in state.trials[trial.id].runs]


def in_pairs(runs: list[Run], tree: str | None) -> list[float]:
    """By how much this tree's run was better, in each pair of runs in a row."""
    found = []
    for first, second in zip(runs[::2], runs[1::2], strict=True):
        assert first.value is not None
        assert second.value is not None
        found.append((first.value - second.value) * (1 if first.tree == tree else -1))
    return found


def values(state: State, tree: str | None) -> list[float]:
    assert tree is not None
    return [run.value for run in state.runs_on(tree) if run.value is not None]


def resampled(few: Sequence[float]) -> list[float]:
    """The mean of every resample, each as likely as another."""
    return [fmean(drawn) for drawn in itertools.product(few, repeat=len(few))]
