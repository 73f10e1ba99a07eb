"""
From what was measured to what may be said: gains with intervals, a word for each change, sums and budgets.

Pure functions of measurements. All intervals are Student's on differences of the same seed, 95 %; none is corrected
for how many changes there are, so of twenty that do nothing one may get a word.
"""

from collections.abc import Mapping, Sequence

from autoresearch import stats
from autoresearch.rungs import Carried, Crossing, Each, Effect, Passage, Reach, Rung, Setting
from autoresearch.study import MetricTable
from autoresearch.transfer.ladder import Step
from autoresearch.transfer.measuring import Bench
from autoresearch.transfer.reach import crossing
from autoresearch.transfer.sides import Side
from autoresearch.trial import Measurement

ALPHA = 0.05
Gains = Sequence[float]  # seed by seed, in the metric's unit
Settings = Mapping[str, Setting]


def ends_of(steps: Sequence[Step]) -> tuple[int, int]:
    """The rungs that are compared: the last, and the first with its budget; the very first where it is alone in that."""
    top = len(steps) - 1
    bottom = next(i for i, step in enumerate(steps) if step.budget == steps[top].budget)
    return (bottom if bottom < top else 0), top


def word(bottom: Gains | None, top: Gains | None) -> Carried:
    """
    What becomes of a gain between two rungs, by 95 % intervals: of the gain at each, and of the difference between the
    two, seed by seed.

    reverses: at the top the interval lies below 0.
    carries: at the top it lies above 0, and the difference is not below 0.
    shrinks: at the top it lies above 0, and the difference lies below 0: clearly smaller.
    gone: at the bottom it lies above 0, at the top it holds 0, and the difference lies below 0.
    unclear: anything else. unmeasured: a rung has no values.
    """
    if bottom is None or top is None:
        return "unmeasured"
    at_bottom, at_top = stats.paired(bottom, ALPHA), stats.paired(top, ALPHA)
    rounding = 1e-9 * max(map(abs, [*bottom, *top]))  # without noise, the last digits would decide
    smaller = stats.paired([b - a for a, b in zip(bottom, top, strict=True)], ALPHA).high < -rounding
    if at_top.high < 0:
        return "reverses"
    if at_top.low > 0:
        return "shrinks" if smaller else "carries"
    return "gone" if at_bottom.low > 0 and smaller else "unclear"


class Table:
    """The measured rungs, read as gains: of the best over the start, and of each change."""

    def __init__(self, metric: MetricTable, each: Each, sides: Sequence[Side], benches: Sequence[Bench]) -> None:
        self.metric, self.each, self.sides, self.benches = metric, each, sides, benches
        self.changes = sides[2:]

    def results(self, rung: int, side: Side) -> list[Measurement] | None:
        return self.benches[rung].results(side.at[rung]) if side.at else None

    def gains(self, rung: int, side: Side) -> list[float] | None:
        """How much better with it than without it: a change alone on the start, or the best over the best without it."""
        mine = self.results(rung, side)
        base = self._without(side)
        other = self.results(rung, base)
        if mine is None or other is None:
            return None
        before, after = (mine, other) if base is self.sides[1] else (other, mine)
        return [self.metric.gain(_value(a), _value(b)) for a, b in zip(before, after, strict=True)]

    def _without(self, side: Side) -> Side:
        """What a side is held against: the best, where it is the best without a change, else the start."""
        return self.sides[1 if self.each == "without" and side in self.changes else 0]

    def is_overridden(self, rung: int, side: Side) -> bool:
        """Whether the ladder's own settings leave nothing of a change."""
        base = self._without(side)
        return bool(side.at) and side.at[rung].tree == base.at[rung].tree

    # -- records ---------------------------------------------------------------------------------------

    def rung(self, number: int, settings: Settings) -> Rung:
        """One rung on record; `settings` are its constants as values."""
        bench = self.benches[number]
        start, best = self.results(number, self.sides[0]) or [], self.results(number, self.sides[1]) or []
        return Rung(
            settings=dict(settings),
            budget=budget.amount if (budget := bench.lab.study.measure.allowance) else None,
            digest=bench.digest,
            before=_mean([_value(result) for result in start]),
            after=_mean([_value(result) for result in best]),
            before_s=_mean([result.compute_s for result in start]),
            after_s=_mean([result.compute_s for result in best]),
            stack=self._effect(number, self.sides[1]),
            changes=tuple(self._effect(number, side) for side in self.changes),
            excess=self._excess(number),
        )

    def _effect(self, rung: int, side: Side) -> Effect:
        if not side.at:
            return Effect(why=side.why)
        if side in self.changes and self.is_overridden(rung, side):
            return Effect(0.0, 0.0, 0.0, "nothing of it is left: the ladder sets what it changed")
        gains = self.gains(rung, side)
        if gains is None:
            return Effect(why=self.benches[rung].failed.get(side.at[rung].tree, "a run gave no value"))
        return _effect(gains)

    def _excess(self, rung: int) -> Effect:
        """The best's gain less the sum of the single ones, seed by seed."""
        if len(self.changes) < 2:
            return Effect(why="there are no two single gains to add")
        gains = [self.gains(rung, side) for side in self.changes]
        known = [single for single in gains if single is not None]
        if len(known) < len(gains):
            return Effect(why="not every change could be measured by itself, so their gains cannot be added")
        trials = [trial for side in self.changes for trial in side.trials]
        if len(set(trials)) < len(trials):
            return Effect(why="changes that build on each other were taken out together, so shares would count twice")
        whole = self.gains(rung, self.sides[1]) or []
        return _effect([all_ - sum(singles) for all_, *singles in zip(whole, *known, strict=True)])

    def passage(self, side: Side, bottom: int, top: int) -> Passage:
        """What becomes of one change from the bottom to the top."""
        if self.is_overridden(top, side):
            return Passage(side.trials, side.idea, "overridden", side.overridden)
        found = word(self.gains(bottom, side), self.gains(top, side))
        failed = [self.benches[i].failed.get(side.at[i].tree) for i in (bottom, top) if side.at]
        why = side.why or next(filter(None, failed), "")
        return Passage(side.trials, side.idea, found, side.overridden, why)

    # -- budgets ---------------------------------------------------------------------------------------

    def reaches(self, rungs: Sequence[Rung], target: float | None) -> tuple[list[Reach], list[str]]:
        """What is reached with how much budget, for rungs that differ in nothing else; and what cannot be said."""
        groups: dict[tuple[tuple[str, Setting], ...], list[int]] = {}
        for number, rung in enumerate(rungs):
            groups.setdefault(tuple(rung.settings.items()), []).append(number)
        found = []
        for settings, numbers in groups.items():
            if len({rungs[number].budget for number in numbers}) < 2:
                continue
            found.append(self._reach(dict(settings), rungs, numbers, None))
            found += [self._reach(dict(settings), rungs, numbers, target)] if target is not None else []
        if found:
            return found, []
        what = "how much less budget reaches the same value" + (" or the target" if target is not None else "")
        why = "that takes two budgets of one setting at least, like --budgets 100_000,200_000"
        return [], [f"It is not said {what}: {why}. A training curve is the candidate's word and no substitute."]

    def _reach(
        self, settings: dict[str, Setting], rungs: Sequence[Rung], numbers: list[int], target: float | None
    ) -> Reach:
        budgets = {n: rungs[n].budget or 0.0 for n in numbers}
        largest = max(numbers, key=lambda n: budgets[n])
        own = [_value(result) for result in self.results(largest, self.sides[0]) or []]
        wanted = own if target is None else [target] * len(own)
        crossings = []
        for side in self.sides[:2]:
            margins = {
                budgets[n]: [
                    self.metric.gain(w, _value(r)) for w, r in zip(wanted, self.results(n, side) or [], strict=True)
                ]
                for n in numbers
            }
            cost_s = {budgets[n]: rungs[n].before_s if side is self.sides[0] else rungs[n].after_s for n in numbers}
            crossings.append(crossing(margins, cost_s))
        start, best = crossings
        if target is None:  # by definition, and not by the first time that a noisy line comes as far
            own_budget = budgets[largest]
            start = Crossing("between", own_budget, own_budget, own_budget, rungs[largest].before_s)
        times = start.budget / best.budget if start.budget and best.budget else None
        if target is not None:
            return Reach(settings, target, True, start, best, times)
        ends = (budgets[largest] / end if end else None for end in (best.high, best.low))
        return Reach(settings, _mean(own), False, start, best, times, *ends)


def _effect(gains: Gains) -> Effect:
    found = stats.paired(gains, ALPHA)
    return Effect(found.estimate, found.low, found.high)


def _value(result: Measurement) -> float:
    assert result.value is not None, "only runs with a value are results"
    return result.value


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
