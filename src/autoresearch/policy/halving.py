"""
Asynchronous successive halving: of the runs that get to a rung, a fraction of the budget, the best one in `eta` go on.

A run is ranked by how far its curve is behind that of its base's run with the same seed, so trials on different bases
can be compared. It is asked the moment it gets there, among those that got there before, in whatever slot and whether
or not they have ended: no slot waits for another.

Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning"; there runs are paused and the best of
them resumed. What is here stops for good, as Ray Tune and Optuna do, for a run cannot be resumed. Ours: gaps for
values, ranks among the latest alone, and never fewer than half of one in `eta` that go on.

The loss is the candidate's word, as in racing: one that prints a better loss than it has takes the place of another.
"""

import functools
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from msgspec import Struct

from autoresearch.policy.race import GRID, TO_THE_END, WINDOW, Levels, Points, beside, level, on_grid
from autoresearch.state import State
from autoresearch.trial import Run, Trial

RUNGS = 2  # at 1 / eta^2 and 1 / eta of the budget: earlier, a curve says little; later, there is little to save
# The latest that got to a rung; ranks are among these. Gains shrink as a study goes on: against all that ever got there,
# the first easy ones would fill the best part for good.
PEERS = 100


class Reached(Struct, frozen=True):
    """A run that got to a rung: how far behind its base it was there, in loss, and whether it went on."""

    run: int
    gap: float
    went_on: bool


Rungs = tuple[tuple[Reached, ...], ...]  # the runs that got to each rung, the oldest first
_NONE: Rungs = ((),) * RUNGS


class Ended(Struct, frozen=True):
    """A run that has ended: how far behind it was at each rung, None where it did not get to, and whether it was stopped."""

    gaps: Levels
    hopeless: bool = False


class Standing(Struct, frozen=True):
    """How a run stands at a rung: the how-manieth of how many."""

    rank: int
    n: int
    best: int
    goes_on: bool


def stands(gap: float, others: Sequence[Reached], eta: int) -> Standing:
    """
    How a run with this gap stands among the others that got to the same rung, and whether it goes on.

    Among the best n / eta of n, rounded up, it does; equals share the better rank. It does too where else fewer than half
    as many would have gone on: runs that come in order, the best first, are not all stopped but the first.
    """
    n, rank = len(others) + 1, 1 + sum(other.gap < gap for other in others)
    best = math.ceil(n / eta)
    due = sum(other.went_on for other in others) < n // (2 * eta)
    return Standing(rank, n, best, n < eta or rank <= best or due)


def places(eta: int) -> tuple[int, ...]:
    """The place of each rung on the grid of curves (race.GRID), the earliest first."""
    return tuple(math.ceil(GRID / eta**k) for k in range(RUNGS, 0, -1))


@functools.lru_cache(maxsize=8 * PEERS)  # the same runs are looked at again before every run
def gaps_at(curve: Points, base: Levels, eta: int) -> Levels:
    """How far a curve is behind its base's at each rung: the median over the last places; None where it is not known."""
    pairs = zip(on_grid(curve), base, strict=True)
    gaps = tuple(mine - theirs if mine is not None and theirs is not None else None for mine, theirs in pairs)
    return tuple(level(gaps, place, min(WINDOW, place // 2)) for place in places(eta))


# -- who is asked --------------------------------------------------------------------------------------


class Board:
    """
    Where the runs of a session see how far the others are: one for all its workers, in memory.

    A copy that travels with a run to another machine knows what was known when it left, and nobody hears of what is
    written on it.
    """

    def __init__(self, ended: dict[str, Rungs] | None = None, under_way: dict[str, Rungs] | None = None) -> None:
        self._lock = threading.Lock()
        self._ended = ended or {}  # tier -> runs of which the log knows the end
        self._under_way = under_way or {}  # tier -> the others
        self._known: dict[tuple[str, str], dict[int, Ended]] = {}  # of the latest runs, so as not to look at all again

    def __reduce__(self) -> tuple[object, ...]:
        with self._lock:
            return Board, (dict(self._ended), dict(self._under_way))

    def learn(self, state: State, eta: int) -> None:
        """Take over what the log knows by now of the runs on this kind of machine."""
        of = state.digest, state.tier
        self._known[of] = lately(state, eta, self._known.get(of, {}))
        found = reached(self._known[of])
        with self._lock:
            self._ended[state.tier] = found
            self._under_way[state.tier] = tuple(
                tuple(one for one in rung if state.runs[one.run].measurement is None)
                for rung in self._under_way.get(state.tier, _NONE)
            )

    def was_asked(self, tier: str, rung: int, run: int) -> bool:
        with self._lock:
            return any(one.run == run for one in self._under_way.get(tier, _NONE)[rung])

    def ask(self, tier: str, rung: int, run: int, gap: float, eta: int, may_stop: bool = True) -> Standing:
        """Write down that a run got to a rung, and say how it stands there."""
        with self._lock:
            under_way = list(self._under_way.get(tier, _NONE))
            others = [*self._ended.get(tier, _NONE)[rung], *under_way[rung]][-PEERS:]
            found = stands(gap, others, eta)
            under_way[rung] = (*under_way[rung], Reached(run, gap, found.goes_on or not may_stop))
            self._under_way[tier] = tuple(under_way)
            return found


class Asks(Struct, frozen=True):
    """What asks at each rung whether its run goes on. One that may not be stopped is counted there like any other."""

    board: Board
    run: int
    tier: str
    eta: int
    base: Levels
    may_stop: bool = True

    def __call__(self, curve: Sequence[tuple[float, float]]) -> str:
        """Why the run with this curve so far is stopped; empty while it is not."""
        for rung, gap in enumerate(gaps_at(tuple(curve), self.base, self.eta)):
            if gap is None or self.board.was_asked(self.tier, rung, self.run):
                continue
            found = self.board.ask(self.tier, rung, self.run, gap, self.eta, self.may_stop)
            if not found.goes_on and self.may_stop:
                share = places(self.eta)[rung] / GRID
                return (
                    f"stopped at rung {rung + 1} of {RUNGS}, {100 * share:.0f} % of its budget: number {found.rank} "
                    f"of {found.n} that got there, with a loss {gap:+.4g} from its base's; the best {found.best} go on"
                )
        return ""


class Either(Struct, frozen=True):
    """Whichever first says why a run is to be stopped. The first is asked whatever the second thinks: it also takes note."""

    first: Callable[[Sequence[tuple[float, float]]], str]
    second: Callable[[Sequence[tuple[float, float]]], str]

    def __call__(self, curve: Sequence[tuple[float, float]]) -> str:
        return self.first(curve) or self.second(curve)


def watch(state: State, trial: Trial, run: Run, eta: int, board: Board) -> Asks | None:
    """
    What asks for this run at the rungs; None for a run that is not ranked.

    Trials of persons and every twentieth go on to their end, and are counted. What was tried before is not.
    """
    if not _is_ranked(state, trial, run):
        return None
    base = beside(state, trial.base_tree, run)
    if base is None or base.measurement is None:
        return None
    board.learn(state, eta)
    may_stop = not trial.wish and trial.id % TO_THE_END != 0
    return Asks(board, run.id, state.tier, eta, on_grid(base.measurement.curve), may_stop)


def lately(state: State, eta: int, known: Mapping[int, Ended]) -> dict[int, Ended]:
    """
    The latest runs that ended under the current referee and on this kind of machine, the newest first. What is `known`
    of them is not worked out again: this is done before each run.
    """
    own = (run for run in reversed(tuple(state.runs.values())) if run.purpose == "trial" and state.has_ended(run))
    return {run.id: known.get(run.id) or _ended(state, run, eta) for run in islice(own, 4 * PEERS)}


def _ended(state: State, run: Run, eta: int) -> Ended:
    trial = state.trials[run.trial]
    base = beside(state, trial.base_tree, run) if _is_ranked(state, trial, run) else None
    if base is None or base.measurement is None or run.measurement is None:
        return Ended((None,) * RUNGS)
    gaps = gaps_at(run.measurement.curve, on_grid(base.measurement.curve), eta)
    return Ended(gaps, run.measurement.status == "hopeless")


def reached(runs: Mapping[int, Ended]) -> Rungs:
    """Of runs that have ended, the newest first: the latest that got to each rung."""

    def at(rung: int) -> Iterator[Reached]:
        for run, one in runs.items():
            if (gap := one.gaps[rung]) is not None:
                yield Reached(run, gap, not one.hopeless or any(later is not None for later in one.gaps[rung + 1 :]))

    return tuple(tuple(islice(at(rung), PEERS))[::-1] for rung in range(RUNGS))


def _is_ranked(state: State, trial: Trial, run: Run) -> bool:
    """Only the first run of a trial that was not tried before: a repeat was worth it, and what is carried won already."""
    if run.purpose != "trial" or run.held != "search" or not run.tree == trial.tree != trial.base_tree:
        return False
    if trial.is_baseline or trial.carries:
        return False
    return all(other.id >= run.id for other in state.runs_on(run.tree) if other.value is not None)
