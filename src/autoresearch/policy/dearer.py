"""
What a run may cost: some times what the start took (`measure.overrun`), for what is kept and for what comes after it.

A run that is ended half-way says nothing. Where best itself takes nearly as much as is allowed, half of what comes after
would be ended for the scatter of its cost alone; so a run may take somewhat more than its base's runs did, and what
takes more than is allowed on average is not kept. Pure functions of the state.
"""

from statistics import fmean

from msgspec.structs import replace

from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.trial import Measurement, Trial, Verdict

SCATTER = 1.25  # times the dearest run of the base: what one run of the same program takes more where others work too


def usual(state: State, study: Study, trial: Trial) -> Measurement | None:
    """What a trial's runs are held against: what the start took, or so much of what its base took."""
    start = state.usual
    if start is None or trial.base_tree == (state.baseline.tree if state.baseline else None):
        return start
    share = SCATTER / study.measure.overrun
    base = [run.measurement for run in state.runs_on(trial.base_tree) if run.value is not None and run.measurement]
    return replace(
        start,
        wall_s=max([start.wall_s, *(share * done.wall_s for done in base)]),
        processor_s=max([start.processor_s, *(share * done.processor_s for done in base)]),
        score_processor_s=max([start.score_processor_s, *(share * done.score_processor_s for done in base)]),
    )


def examined(state: State, study: Study, trial: Trial, verdict: Verdict) -> Verdict:
    """The verdict, unless it would keep what takes more than is allowed over the start."""
    budget, start = study.measure.allowance, state.usual
    if verdict.word != "keep" or trial.is_baseline or budget is None or start is None:
        return verdict
    done = [run.measurement for run in state.runs_on(trial.tree or "") if run.value is not None and run.measurement]
    wall = budget.unit == "seconds"
    costs = [result.wall_s if wall else result.processor_s for result in done]
    before = start.wall_s if wall else start.processor_s
    if not costs or fmean(costs) <= study.measure.most_s(before):
        return verdict
    why = (
        f"{verdict.why}, but a run takes {fmean(costs):.3g} s of {'wall' if wall else 'processor'} time where the start's "
        f"took {before:.3g} s at most: more than measure.overrun allows"
    )
    return replace(verdict, word="discard", why=why)
