"""
For those who pay for false keeps: a change is kept only on evidence that counts every look and every trial.

A trial and its base are run with the same seeds, one after the other, and an e-value grows with their differences; it
may be looked at after each run. A trial is kept when its e-value passes the level that is left for it after all trials
before, so that of all kept changes at most ALPHA in expectation are false. Source: Xu and Ramdas 2024 (e-LOND);
Perez-Ortiz et al. 2024 (the t e-value, which needs no known noise).
"""

import math

from autoresearch.errors import StudyError
from autoresearch.policy import Ask, OnBest, failed, failure, next_seed, timing, unless_moved
from autoresearch.state import State
from autoresearch.stats import e_lond_level, t_e_value
from autoresearch.study import Study
from autoresearch.trial import Trial, Verdict

ALPHA = 0.05
TIMES_REPEATS = 4  # runs that a trial may get, in multiples of decide.repeats: proof costs more than a hint
HOPELESS = 0.3  # an e-value below which no more runs are spent
LEAST = 2  # differences before a trial can look hopeless


class Strict(OnBest):
    def __init__(self, study: Study) -> None:
        super().__init__(study)
        if study.metric.is_proportion:
            raise StudyError(
                'study.toml: decide.policy = "strict" cannot weigh proportions (metric.kind) yet: write "climb"'
            )

    def another(self, state: State, trial: Trial) -> Ask | None:
        assert trial.tree is not None
        done = len(state.values(trial.tree))
        if self.study.metric.is_timing:
            whole = done and len(timing.turns(state, trial)) % 2 == 0
            return None if whole and self._is_over(state, trial, done) else timing.ask(state, trial)
        lost = self._lost(state, trial)
        if (done or lost) and self._is_over(state, trial, done + len(lost)):
            return None
        untried = [seed for seed in state.record(trial.base_tree) if seed not in state.values(trial.tree)]
        if untried:
            return Ask(untried[0])
        return Ask(next_seed(state, trial.base_tree, but=lost), base=True, purpose="record")

    def _lost(self, state: State, trial: Trial) -> set[int]:
        """Seeds with which the base gave no value when this trial asked for it; a base may fail every time."""
        runs = (state.runs[i] for i in state.trials[trial.id].runs)
        of_base = (run for run in runs if run.tree == trial.base_tree and state.has_ended(run))
        return {run.seed_index for run in of_base if run.value is None}

    def _is_over(self, state: State, trial: Trial, done: int) -> bool:
        differences = self.differences(state, trial)
        if state.noise and not state.noise.sd and differences:
            return True
        e_value = t_e_value(differences)
        enough = done >= self.study.decide.repeats * TIMES_REPEATS
        return enough or e_value >= self.needed(state, trial) or (len(differences) >= LEAST and e_value < HOPELESS)

    def differences(self, state: State, trial: Trial) -> list[float]:
        """Gains, seed by seed, over the base's fresh runs; timings over those beside them."""
        if self.study.metric.is_timing:
            return [self.study.metric.gain(before, after) for before, after in timing.pairs(state, trial)]
        mine, base = state.values(trial.tree or ""), state.record(trial.base_tree)
        return [self.study.metric.gain(base[seed], value) for seed, value in mine.items() if seed in base]

    def needed(self, state: State, trial: Trial) -> float:
        """
        The e-value at which this trial is kept, after all that were tried before it. What may go wrong is shared out
        evenly among `budget.trials`, or ever more thinly where nobody says how many there will be.
        """
        before = [t for t in tuple(state.trials.values()) if t.id < trial.id and t.runs and not t.is_baseline]
        kept, trials = sum(t.word == "keep" for t in before), self.study.budget.trials
        if trials is not None and len(before) >= trials:
            return math.inf  # more than were said: nothing is left for them
        return 1 / e_lond_level(len(before), kept, ALPHA, 1 / trials if trials else None)

    def judge(self, state: State, trial: Trial) -> Verdict:
        assert trial.tree is not None
        if problem := failure(state, trial):
            return failed(problem)
        if trial.is_baseline:
            values = state.values(trial.tree)
            return Verdict("keep", f"the value to beat, from {len(values)} runs", value=state.mean(trial.tree))
        differences = self.differences(state, trial)
        if not differences:
            return Verdict("discard", "none of its runs can be paired with one of its base")
        gain, e_value, needed = sum(differences) / len(differences), t_e_value(differences), self.needed(state, trial)
        value = sum(state.values(trial.tree).values()) / len(state.values(trial.tree))
        before = value + gain if self.study.metric.direction == "minimize" else value - gain
        numbers = (value, before, gain, None)
        runs = f"{len(differences)} pair{'s' if len(differences) > 1 else ''} of runs"
        certain = state.noise is not None and not state.noise.sd and gain > 0
        if certain or e_value >= needed:
            why = f"better by {gain:.4g} over {runs}; evidence {e_value:.3g} of {needed:.3g} needed"
            return unless_moved(Verdict("keep", why, *numbers), state, trial)
        if gain > 0:
            why = f"better by {gain:.4g} over {runs}, which is no proof: evidence {e_value:.3g} of {needed:.3g} needed"
            return Verdict("inconclusive", why, *numbers)
        return Verdict(
            "discard", f"worse by {-gain:.4g} over {runs}" if gain else f"no difference over {runs}", *numbers
        )
