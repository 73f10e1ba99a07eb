"""
The default: screen every change with one run, spend repeats only on the borderline ones and on winners.

Runs of the same seed are compared with each other. The first run drops what is clearly no better; what is not gets
more seeds, up to `decide.repeats`. Where runs scatter, nothing is kept on one seed: it could be that seed's luck, or
the seed itself that was changed.
"""

import math

from msgspec import Struct

from autoresearch.events import State
from autoresearch.policy import failed, failure, next_seed, unless_moved
from autoresearch.study import Study
from autoresearch.trial import Best, Trial, Verdict

# In standard errors of the mean gain. Two-sided 16 % and 0.3 %: lenient while climbing, certain enough to
# stop early. A later measurement, not this gate, is what a claim rests on.
CLEARLY_BETTER = 3.0
KEEP = 1.5
PROMISING = 0.5  # below it, repeats are spent better on the next idea


class Comparison(Struct, frozen=True):
    """A trial against its base: means over the compared runs, mean gain and its standard error."""

    value: float
    before: float
    gain: float
    error: float | None
    runs: int

    @property
    def score(self) -> float:
        """The gain in standard errors; infinite where there is no noise."""
        if self.error:
            return self.gain / self.error
        return math.copysign(math.inf, self.gain) if self.gain else 0.0


class Climb:
    def __init__(self, study: Study) -> None:
        self.study = study

    def base(self, state: State) -> Best:
        assert state.best is not None
        return state.best

    def next_run(self, state: State, trial: Trial) -> int | None:
        if failure(state, trial):
            return None
        assert trial.tree is not None
        done = len(state.values(trial.tree))
        most = self.study.decide.calibrate if trial.is_baseline else self.study.decide.repeats
        if done >= most:
            return None
        if done and not trial.is_baseline and self._is_clear(state, trial, done):
            return None
        return next_seed(state, trial)

    def _is_clear(self, state: State, trial: Trial, done: int) -> bool:
        score = self.compare(state, trial).score
        scatters = state.noise is not None and state.noise.sd > 0
        return score <= PROMISING or (score >= CLEARLY_BETTER and (done > 1 or not scatters))

    def judge(self, state: State, trial: Trial) -> Verdict:
        if problem := failure(state, trial):
            return failed(problem)
        if trial.is_baseline:
            return self._baseline(state, trial)
        c = self.compare(state, trial)
        numbers = (c.value, c.before, c.gain, c.error)
        runs = f"{c.runs} run{'s' if c.runs > 1 else ''}"
        scatter = f" +- {c.error:.2g}" if c.error else ""
        if c.score >= KEEP:
            why = f"better by {c.gain:.4g}{scatter} over {runs}"
            return unless_moved(Verdict("keep", why, *numbers), state, trial)
        if c.score > 0:
            return Verdict("inconclusive", f"better by {c.gain:.4g}{scatter} over {runs}: too small to tell", *numbers)
        how = f"worse by {-c.gain:.4g}{scatter}" if c.gain else "no difference"
        return Verdict("discard", f"{how} over {runs}", *numbers)

    def _baseline(self, state: State, trial: Trial) -> Verdict:
        assert trial.tree is not None
        values = state.values(trial.tree)
        noise = f"; one run scatters by {state.noise.sd:.2g}" if state.noise else ""
        return Verdict("keep", f"the value to beat, from {len(values)} runs{noise}", value=state.mean(trial.tree))

    def compare(self, state: State, trial: Trial) -> Comparison:
        """
        The mean gain over the trial's seeds where the base has run them all too; else over all runs of both.

        The error assumes independent runs (noise sd * sqrt(1/n + 1/m)); paired seeds that correlate make it
        smaller than stated, never larger.
        """
        assert trial.tree is not None
        after, before = state.values(trial.tree), state.values(trial.base_tree)
        mine = list(after.values())
        theirs = [before[k] for k in after] if after.keys() <= before.keys() else list(before.values())
        value, base = sum(mine) / len(mine), sum(theirs) / len(theirs)
        gain = self.study.metric.gain(base, value)
        error = state.noise.sd * math.sqrt(1 / len(mine) + 1 / len(theirs)) if state.noise else None
        return Comparison(value, base, gain, error, len(mine))
