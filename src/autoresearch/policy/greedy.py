"""Karpathy's rule: one run, and whatever is better than the best seen is kept. Here to compare with."""

from autoresearch.policy import Ask, OnBest, failed, failure, unless_moved
from autoresearch.state import State
from autoresearch.trial import Trial, Verdict


class Greedy(OnBest):
    def another(self, state: State, trial: Trial) -> Ask | None:
        assert trial.tree is not None
        return None if state.values(trial.tree) else Ask(0)

    def judge(self, state: State, trial: Trial) -> Verdict:
        assert trial.tree is not None
        if problem := failure(state, trial):
            return failed(problem)
        value = state.values(trial.tree)[0]
        if trial.is_baseline:
            return Verdict("keep", "the value to beat", value=value)
        before = state.values(trial.base_tree)[0]
        gain = self.study.metric.gain(before, value)
        if gain > 0:
            return unless_moved(Verdict("keep", f"better by {gain:.4g}", value, before, gain), state, trial)
        return Verdict("discard", f"worse by {-gain:.4g}" if gain else "no difference", value, before, gain)
