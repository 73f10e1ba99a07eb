"""
What simplicity is worth: code that was added has to gain more, and code that was removed may gain nothing.

One knob, `decide.simplicity`: what a line more has to gain, in standard deviations of a run. Pure functions of the
state. The number of parameters is the candidate's word, like everything it prints; a false one is worth the error of a
gain at most.
"""

import math

from autoresearch.state import State
from autoresearch.trial import Trial

DOUBLING = 10.0  # lines that twice the parameters count for


def lines_more(state: State, trial: Trial) -> float:
    """What a trial adds, in lines of code; negative where it takes away."""
    added, removed = trial.lines
    return added - removed + DOUBLING * _doublings(state, trial)


def price(state: State, trial: Trial, simplicity: float) -> float:
    """The gain that what was added has to bring, in the metric's unit; negative where something was taken away."""
    return simplicity * lines_more(state, trial) * (state.noise.sd if state.noise else 0.0)


def _doublings(state: State, trial: Trial) -> float:
    mine, base = _parameters(state, trial.tree or ""), _parameters(state, trial.base_tree)
    return math.log2(mine / base) if mine and base else 0.0


def _parameters(state: State, tree: str) -> float | None:
    results = (run.measurement for run in state.runs_on(tree) if run.value is not None)
    stated = next((result.extras.get("parameters") for result in results if result), None)
    return stated if stated and stated > 0 else None
