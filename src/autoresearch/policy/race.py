"""
Racing: whether a run whose training curve is behind its base's can still end well.

A run is held against the base's run with the same seed: as far as both read the same data from the same start, only
what was changed is between them. How far behind is too far is learnt from the study's own runs: each one that was seen
to its end says how far behind one may be, at a fraction of the budget, and still end no worse. Pure functions of the
state.

The loss is the candidate's word. One that prints a better loss than it has is not stopped, and gains nothing else.
"""

import functools
import math
from collections.abc import Sequence
from itertools import islice, pairwise
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from autoresearch.policy import DECIDING
from autoresearch.state import State
from autoresearch.stats import gain_error
from autoresearch.trial import Run, Trial, Verdict

Points = tuple[tuple[float, float], ...]  # (fraction of the budget, loss), in order
Levels = tuple[float | None, ...]  # one for each of GRID or LOOKS; None where the curve has not got to

GRID = 50  # places, evenly over the budget, at which curves are compared
NEAR = 0.101  # of the budget (a tenth, as floats have it); between points further apart nothing is known
WINDOW = 8  # of them over whose median a gap is taken: one batch's loss is noisy
LOOKS = tuple(range(8, 46, 2))  # places at which a run may be stopped: never before 16 %, and 90 % is not worth it
ENOUGH = 5  # finished trials with curves, before anything is stopped
# The chance, look by look, that one more run which ends well is behind by more. There are many looks, and the truly
# better are of other kinds than the many that change little: in simulation, 2 % of them are stopped; tests/test_race.py.
WRONG = 0.0003
LOST = 3  # runs that were as far behind, and did not catch up
TO_THE_END = 20  # every so many trials one goes on whatever its curve: else what is believed would never be checked
RECENT = 300  # runs that are learnt from; the cost of a look at the past grows with them


class Past(Struct, frozen=True):
    """A run that was seen to its end: how far behind it was at each of LOOKS, what it gained, and whether it ended well."""

    tree: str
    behind: Levels
    gain: float
    well: bool


class Limit(Struct, frozen=True):
    """How far behind is too far, at each of LOOKS (None: nothing is), and the base's curve on GRID."""

    at: Levels
    base: Levels

    def __call__(self, curve: Sequence[tuple[float, float]]) -> str:
        """Why the run with this curve so far is hopeless; empty while it is not, or cannot be told."""
        gaps = behind(tuple(curve), self.base)
        reached = [i for i, gap in enumerate(gaps) if gap is not None]
        if not reached or (limit := self.at[reached[-1]]) is None or not (gaps[reached[-1]] or 0.0) > limit:
            return ""
        look = LOOKS[reached[-1]]
        mine, theirs = level(on_grid(tuple(curve)), look), level(self.base, look)
        return (
            f"stopped at {100 * look / GRID:.0f} % of its budget: loss {mine:.4g} where the best had {theirs:.4g}; "
            "nothing so far behind has caught up"
        )


def watch(state: State, trial: Trial, run: Run) -> Limit | None:
    """
    What tells while this run goes on that it is hopeless; None for a run that is not to be stopped.

    Only the first run of a trial is raced: one that has a value has shown that it can be compared.
    """
    own = run.tree == trial.tree != trial.base_tree and run.purpose == "trial"
    if not own or trial.is_baseline or trial.carries or trial.id % TO_THE_END == 0:
        return None
    if state.noise is None or state.values(run.tree):
        return None
    base = beside(state, trial.base_tree, run)
    if base is None or base.measurement is None:
        return None
    limits = too_far(evidence(state))
    return Limit(limits, on_grid(base.measurement.curve)) if any(limit is not None for limit in limits) else None


def examined(state: State, trial: Trial, verdict: Verdict) -> Verdict:
    """The verdict, with what a run that was ended early would have gained."""
    runs = (state.runs[i] for i in state.trials[trial.id].runs)
    ended = next((run for run in runs if run.measurement and run.measurement.status == "hopeless"), None)
    return replace(verdict, foreseen=foreseen(state, trial, ended)) if ended else verdict


def foreseen(state: State, trial: Trial, run: Run) -> tuple[float, float] | None:
    """
    What a run that was ended early would have gained, with the standard error of that: in proportion to how far behind it
    was, as with those that were seen to their end. None where there are too few of them.
    """
    base = beside(state, trial.base_tree, run)
    if base is None or base.measurement is None or run.measurement is None:
        return None
    gaps = behind(run.measurement.curve, on_grid(base.measurement.curve))
    reached = [(look, gap) for look, gap in enumerate(gaps) if gap is not None]
    if not reached:
        return None
    look, gap = reached[-1]
    seen = [(there, one.gain) for one in evidence(state) if (there := one.behind[look]) is not None]
    squares = sum(there * there for there, _ in seen)
    if len(seen) < ENOUGH or not squares:
        return None
    slope = sum(there * gain for there, gain in seen) / squares
    scatter = sum((gain - slope * there) ** 2 for there, gain in seen) / (len(seen) - 1)
    return slope * gap, math.sqrt(scatter * (1 + gap * gap / squares))


def evidence(state: State) -> list[Past]:
    """The latest runs with a curve and a value, under the current referee and on this kind of machine."""
    sd = state.noise.sd if state.noise else 0.0
    scatter = gain_error(sd, 1, 1, 1, state.pairing.correlation)
    found: list[Past] = []
    known = (run for run in reversed(tuple(state.runs.values())) if run.purpose in DECIDING and run.held == "search")
    for run in islice(known, 2 * RECENT):
        trial, measured = state.trials[run.trial], run.measurement
        if run.value is None or measured is None or not measured.curve or not state.has_ended(run):
            continue
        base = beside(state, trial.base_tree, run) if run.tree == trial.tree != trial.base_tree else None
        if base is None or base.measurement is None or base.value is None or len(found) == RECENT:
            continue
        gaps = behind(measured.curve, on_grid(base.measurement.curve))
        gain = state.metric.gain(base.value, run.value)
        found.append(Past(run.tree, gaps, gain, gain >= -scatter))
    return found


def beside(state: State, tree: str, run: Run) -> Run | None:
    """The run on this content, with a curve and a value, that had the same seed."""
    same = (other for other in state.runs_on(tree) if other.seed_index == run.seed_index and other.held == run.held)
    return next(
        (other for other in same if other.value is not None and other.measurement and other.measurement.curve), None
    )


def too_far(past: Sequence[Past]) -> Levels:
    """
    For each of LOOKS, how far behind its base nothing has ever caught up from; None where too little is known.

    It is the margin times the farthest that any run which ended well was behind, there or later; three that were beyond
    it must have ended badly.
    """
    well, behind = {one.tree for one in past if one.well}, set[str]()
    farthest, found = 0.0, list[float | None]()
    for look in reversed(range(len(LOOKS))):
        known = [(one, gap) for one in past if (gap := one.behind[look]) is not None]
        behind |= {one.tree for one, gap in known if one.well and gap > 0}
        farthest = max([farthest, *(gap for one, gap in known if one.well)])
        # Most that end well are never behind. What may go wrong falls on the others alone.
        often = min(1.0, WRONG * (len(well) + 1) / (len(behind) + 1))
        limit = farthest * margin(len(behind), often) if behind else math.inf
        lost = sum(gap > limit for one, gap in known if not one.well)
        found.append(limit if len(past) >= ENOUGH and lost >= LOST else None)
    return tuple(reversed(found))


@functools.cache
def margin(n: int, wrong: float) -> float:
    """
    How many times the largest of n gaps the next one of their kind exceeds with a probability of `wrong`; 1 at least.

    For gaps with an exponential tail it is n! m! / (n + m)!, whatever their scale. None seen: infinite.
    """
    if n < 1:
        return math.inf
    low, high = 1.0, 1 / wrong
    for _ in range(40):
        m = (low + high) / 2
        chance = math.exp(math.lgamma(n + 1) + math.lgamma(m + 1) - math.lgamma(n + m + 1))
        low, high = (m, high) if chance > wrong else (low, m)
    return high


# -- curves --------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4 * RECENT)  # the same runs are looked at again before every run
def behind(curve: Points, base: Levels) -> Levels:
    """
    How far a curve is behind its base's, at each of LOOKS: the median over the last places, or what that will have
    shrunk to when it shrinks on as it did since the places before. A slow start, as of a longer warm-up, is made good.
    """
    gaps = tuple(
        mine - theirs if mine is not None and theirs is not None else None
        for mine, theirs in zip(on_grid(curve), base, strict=True)
    )
    found: list[float | None] = []
    for look in LOOKS:
        now, before = level(gaps, look), level(gaps, look - WINDOW)
        shrinks = now is not None and before is not None and 0 < now < before
        found.append(now * now / before if shrinks and now and before else now)
    return tuple(found)


def level(values: Levels, place: int, window: int = WINDOW) -> float | None:
    """The median over the last places; None where the place itself is not known."""
    if place < 0 or values[place] is None:
        return None
    return median(value for value in values[max(0, place - window + 1) : place + 1] if value is not None)


@functools.lru_cache(maxsize=4 * RECENT)
def on_grid(curve: Points) -> Levels:
    """A curve at even places, straight between points that are near; None elsewhere: nobody said what was there."""
    found: list[float | None] = [None] * (GRID + 1)
    for (f0, loss0), (f1, loss1) in pairwise(curve):
        if f1 - f0 > NEAR:
            continue
        for place in range(math.ceil(f0 * GRID), math.floor(f1 * GRID) + 1):
            found[place] = loss0 + (loss1 - loss0) * ((place / GRID - f0) / (f1 - f0) if f1 > f0 else 1.0)
    return tuple(found)
