"""
What is measured in seconds, on a machine that others use too: a trial and its base are run by turns, A B B A.

Only runs that were next to each other are compared, so a machine that is slower for an hour slows both; and a drift
that goes on evenly cancels over a whole A B B A (Cox, Planning of Experiments, 1958). Pure functions of the state.
"""

import math
from itertools import islice, pairwise

from autoresearch.policy import Ask, next_seed
from autoresearch.state import State
from autoresearch.trial import Run, Trial

BASE_RUNS = (True, False, False, True)  # by turns, over and over: whether the run is one of the base
WHOLE = 2  # pairs in which an even drift cancels
RECENT = 30  # trials from whose pairs it is learnt how far pairs scatter


def ask(state: State, trial: Trial) -> Ask:
    """The next run of the turn. Both of a pair have the same seed; the base's are repeats, no runs of its own."""
    assert trial.tree is not None
    done = turns(state, trial)
    base = BASE_RUNS[len(done) % len(BASE_RUNS)]
    index = done[-1].seed_index if len(done) % 2 else next_seed(state, trial.tree)
    return Ask(index, base, "control" if base else "trial")


def turns(state: State, trial: Trial) -> list[Run]:
    """A trial's runs and those of its base beside them, in order; one that was stopped is none."""
    runs = (state.runs[i] for i in state.trials[trial.id].runs)
    purposes = {trial.tree: "trial", trial.base_tree: "control"}
    return [run for run in runs if state.has_ended(run) and run.purpose == purposes.get(run.tree)]


def pairs(state: State, trial: Trial) -> list[tuple[float, float]]:
    """(the base's value, the trial's) for each two that were run one after the other."""
    found = []
    done = turns(state, trial)
    for one, other in zip(done[::2], done[1::2], strict=False):
        base, mine = (one, other) if one.tree == trial.base_tree else (other, one)
        if base.value is not None and mine.value is not None:
            found.append((base.value, mine.value))
    return found


def scatter(state: State) -> float | None:
    """
    Standard deviation of the difference within a pair, in the metric's unit; None before two runs followed each other.

    From the runs of the baseline, each with the next (von Neumann 1941: what moves slowly does not enter), and from
    the pairs of the latest trials around their mean.
    """
    baseline = state.baseline
    first = [run.value for run in state.runs_on(baseline.tree or "") if run.purpose == "record"] if baseline else []
    steps = [after - before for before, after in pairwise(v for v in first if v is not None)]
    squares, dof = math.fsum(step * step for step in steps), len(steps)
    repeated = (trial for trial in state.back() if len(trial.runs) > 3 and not trial.is_baseline)
    for trial in islice(repeated, RECENT):
        gains = [mine - base for base, mine in pairs(state, trial)]
        if len(gains) > 1:
            mean = math.fsum(gains) / len(gains)
            squares += math.fsum((gain - mean) ** 2 for gain in gains)
            dof += len(gains) - 1
    return math.sqrt(squares / dof) if dof else None
