"""
The default: lenient while climbing, repeats only where they pay, and a bar of fresh runs.

One run drops what is not better; what looks better is run with another seed. One run is enough to keep only where
seeds were seen to pair well, and never where the patch writes a seed: it could be that seed's luck. What was kept is
looked at again with fresh seeds the longer it stays the best, so that no later trial has to beat a lucky run. Code
that was added has to gain more, and what was taken away may gain nothing. Errors made here are found by `certify`, not
here. The figures: docs/deciding.md.
"""

from msgspec.structs import replace

from autoresearch.policy import Ask, OnBest, failed, failure, next_seed, simple, timing, unless_moved
from autoresearch.policy.compare import Comparison, bar, compare
from autoresearch.state import State
from autoresearch.trial import Trial, Verdict

# In standard errors of the gain; chosen in simulation, benchmarks/results/policies.md.
PROMISING = 0.15  # below it, another run is spent better on the next idea
KEEP = 0.25
SIMPLER = 2 * KEEP  # given at most for code that was taken away: it may then be worse by no more than KEEP
ALONE = 1.0  # times what seeds leave unexplained: what one run has to show to be kept without another
PAIRED = 3.0  # degrees of freedom that show how far seeds pair, before one run may be enough
# Look at the best again after so many trials on it, divided by (1 - correlation)^1.5: where seeds pair well, a lucky
# run is one of a lucky seed, which it shares with its rivals.
LOOK_AGAIN = (5, 15, 30)
MOST_TURNS = 4  # times decide.repeats; two make a pair, and a base that fails now and then makes none
CONTROL_EVERY = 25  # trials; a run of 26 or so that shows whether the machine is still what it was
LEAST_SEEDS = 3  # that such runs take turns with
DRIFTS = {None, "seconds", "processor_seconds"}  # budgets under which a slower machine gives a worse value


class Climb(OnBest):
    def another(self, state: State, trial: Trial) -> Ask | None:
        assert trial.tree is not None
        if self.study.metric.is_timing:
            return None if self._is_timed(state, trial) else timing.ask(state, trial)
        done = len(state.values(trial.tree))
        if not done and self._wants_a_look_at(state, trial):
            return Ask(next_seed(state, trial.base_tree), base=True, purpose="record")
        if not done and (repeat := self._control(state, trial)) is not None:
            return Ask(repeat, base=True, purpose="control")
        if done and self._is_clear(state, trial, done):
            return None
        return Ask(next_seed(state, trial.tree, bar(state, self.study.metric, trial.base_tree)))

    def _is_clear(self, state: State, trial: Trial, done: int) -> bool:
        c = self.compare(state, trial)
        worth = c.worth(SIMPLER)
        if done >= self.study.decide.repeats or worth < PROMISING or not c.error:
            return True
        if done > 1 or not state.noise or not state.noise.sd:
            return worth >= KEEP
        seen = state.pairing.dof >= PAIRED and not trial.seeds and not self.study.metric.is_timing
        return seen and worth >= max(KEEP, ALONE * (1 - state.pairing.correlation))

    def _is_timed(self, state: State, trial: Trial) -> bool:
        done, turns = len(timing.pairs(state, trial)), len(timing.turns(state, trial))
        clear = done > 0 and turns % 2 == 0 and self._is_clear(state, trial, done)
        return clear or turns >= MOST_TURNS * self.study.decide.repeats

    def _wants_a_look_at(self, state: State, trial: Trial) -> bool:
        """Whether the base has been best for so long that another fresh run of it pays."""
        best = state.best
        if best is None or best.tree != trial.base_tree or state.trials[best.trial].is_baseline:
            return False
        if not state.noise or not state.noise.sd:
            return False
        looks = [run for run in state.runs_on(best.tree) if run.purpose == "record"]
        running = [state.runs[i] for i in tuple(state.open_runs)]
        waiting = any(run.tree == best.tree and run.purpose == "record" for run in running)
        stretch = (1 - state.pairing.correlation) ** 1.5
        due = sum(state.tried_on.get(best.tree, 0) * stretch >= after for after in LOOK_AGAIN)
        return not waiting and len(looks) < due

    def _control(self, state: State, trial: Trial) -> int | None:
        """The seed of a run of the best that is to be repeated now, to see whether the machine drifts."""
        budget = self.study.measure.allowance
        # Those that could not be made are not made up for: many at once say no more than one.
        last = state.runs[state.controls[-1]].trial if state.controls else 0
        if (budget.unit if budget else None) not in DRIFTS or trial.id - last <= CONTROL_EVERY:
            return None
        best = state.best
        seeds = list(state.record(best.tree)) if best is not None and best.tree == trial.base_tree else []
        # Not runs that it was kept for: those were lucky, so every repeat would look worse.
        return seeds[len(state.controls) % len(seeds)] if len(seeds) >= LEAST_SEEDS else None

    def judge(self, state: State, trial: Trial) -> Verdict:
        if problem := failure(state, trial):
            return failed(problem)
        if trial.is_baseline:
            return self._baseline(state, trial)
        c = self.compare(state, trial)
        numbers = (c.value, c.before, c.gain, c.error)
        runs = f"{c.runs} run{'s' if c.runs > 1 else ''}"
        scatter = f" +- {c.error:.2g}" if c.error else ""
        better = f"better by {c.gain:.4g}{scatter} over {runs}"
        worse = f"worse by {-c.gain:.4g}{scatter} over {runs}" if c.gain else f"no difference over {runs}"
        if c.worth(SIMPLER) >= KEEP:
            no_gain = f"{worse}{', which is none to speak of' if c.gain else ''}, and {-c.lines:.3g} lines simpler"
            return unless_moved(Verdict("keep", better if c.gain > 0 else no_gain, *numbers), state, trial)
        if c.gain > 0:
            too_little = f"for {c.lines:.3g} lines more" if c.score >= KEEP else "to tell"
            return Verdict("inconclusive", f"{better}: too small {too_little}", *numbers)
        return Verdict("discard", worse, *numbers)

    def _baseline(self, state: State, trial: Trial) -> Verdict:
        assert trial.tree is not None
        values = state.values(trial.tree)
        noise = f"; one run scatters by {state.noise.sd:.2g}" if state.noise else ""
        return Verdict("keep", f"the value to beat, from {len(values)} runs{noise}", value=state.mean(trial.tree))

    def compare(self, state: State, trial: Trial) -> Comparison:
        found = compare(state, self.study.metric, trial)
        lines, knob = simple.lines_more(state, trial), self.study.decide.simplicity
        return replace(found, lines=lines, price=simple.price(state, trial, knob)) if knob else found
