"""
At which budget a value is reached, read between budgets that were measured; pure functions.

Training curves are not used: a loss on the way is the candidate's word, on data of its own, from a schedule that was
not at its end. Each budget here was measured by whole runs. Between two of them the value is taken to be straight in
the budget's logarithm, seed by seed; outside of them nothing is said.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from autoresearch import stats
from autoresearch.rungs import Crossing

ALPHA = 0.05
PLACES = 200  # between two budgets at which the interval is asked for: ends are exact to half a percent of the way
Margins = Mapping[float, Sequence[float]]  # budget -> how far beyond the value, seed by seed; positive is reached


def crossing(margins: Margins, cost_s: Mapping[float, float]) -> Crossing:
    """
    The first budget at which the mean margin is 0 or more, with the budgets where the paired 95 % interval of the
    margin holds 0: all that cannot be ruled out (Fieller 1954 inverts a test of a ratio in the same way).

    `cost_s` is what a run takes at each budget.
    """
    low = high = found = None
    smallest, largest = min(margins), max(margins)
    for budget, values in _between(margins):
        margin = stats.paired(values, ALPHA)
        low = budget if low is None and margin.high >= 0 else low
        found = budget if found is None and margin.estimate >= 0 else found
        if margin.low >= 0:
            high = budget
            break
    shown_low = largest if low is None else low if low > smallest else None
    if found is None:
        return Crossing("above", low=shown_low, high=high)
    if found == smallest:
        return Crossing("below", low=shown_low, high=high)
    return Crossing("between", found, shown_low, high, _at(cost_s, found))


def _between(margins: Margins) -> Iterator[tuple[float, list[float]]]:
    """The margins of each seed at many budgets, from the smallest that was measured to the largest."""
    budgets = sorted(margins)
    yield budgets[0], list(margins[budgets[0]])
    for below, above in pairwise(budgets):
        places = {i / PLACES for i in range(1, PLACES + 1)} | {_zero(margins[below], margins[above])}
        for part in sorted(place for place in places if 0 < place <= 1):
            values = [a + part * (b - a) for a, b in zip(margins[below], margins[above], strict=True)]
            yield below * (above / below) ** part if part < 1 else above, values


def _zero(below: Sequence[float], above: Sequence[float]) -> float:
    """How far on the way the mean crosses 0, a hair beyond it; 0 where it does not rise through it."""
    a, b = sum(below), sum(above)
    return min(1.0, a / (a - b) * (1 + 1e-9)) if a < 0 <= b else 0.0


def _at(cost_s: Mapping[float, float], budget: float) -> float | None:
    """Seconds of a run with this budget, straight between logarithms; None where a run took no time to speak of."""
    known = sorted(cost_s)
    i = min(max(1, bisect_left(known, budget)), len(known) - 1)
    below, above = known[i - 1], known[i]
    if not (cost_s[below] > 0 and cost_s[above] > 0):
        return None
    part = math.log(budget / below) / math.log(above / below)
    return math.exp((1 - part) * math.log(cost_s[below]) + part * math.log(cost_s[above]))
