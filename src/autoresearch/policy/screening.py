"""
Trials on another kind of machine than the study's own: they may be discarded there, and are kept here alone.

There, a trial is held against its base as it was measured there, on the noise seen there; values of two kinds never
meet. What looks like a keep goes on as if it had not been run. Pure functions of the state, as seen on that kind.
"""

from collections.abc import Iterable

from autoresearch.policy import Ask, next_seed
from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.trial import Run, Trial

BASE_RUNS = 2  # of each new best; the first time, as many as the study's calibration takes


def fits(study: Study) -> bool:
    """Whether trials are screened at all."""
    return not _why_not(study)


def _why_not(study: Study) -> str:
    if study.decide.screen == "off":
        return 'decide.screen is "off"'
    if study.metric.no_worse:
        return "a guard holds the start"
    return "time is what is measured" if study.metric.is_timing else ""


def sentence(study: Study, own: str, others: Iterable[str]) -> str:
    """Which kind of machine decides and what the others do, by their tiers; empty where there are no others."""
    names = " and ".join(others)
    if not names:
        return ""
    if why := _why_not(study):
        return f"all runs are on {own}; not used, since {why}: {names}"
    return (
        f"what is kept is decided on {own}; only to screen: {names}. Values from different machines are never compared"
    )


def ask(state: State, study: Study, trial: Trial) -> Ask | None:
    """
    A run of the base that nobody does yet; while others do the last of them, the first of the trial itself, so that the
    place is not idle. None where there is nothing to do but to wait, or to judge.
    """
    assert trial.tree is not None
    running = _under_way(state, trial)
    if len(_done(state, trial)) + len(running) < _wanted(state, study):
        index = next_seed(state, trial.base_tree, but=[run.seed_index for run in running])
        return Ask(index, base=True, purpose="record")
    if waits(state, study, trial) and not _was_run(state, trial):
        return Ask(next_seed(state, trial.tree))
    return None


def waits(state: State, study: Study, trial: Trial) -> bool:
    """Whether runs of the base that are under way will do, and have to be waited for."""
    done = len(_done(state, trial))
    return done < _wanted(state, study) <= done + len(_under_way(state, trial))


def _done(state: State, trial: Trial) -> list[Run]:
    """Runs that failed are among them: where the base does not run at all, nothing more is to be learnt."""
    return [run for run in state.runs_on(trial.base_tree) if run.purpose == "record"]


def _was_run(state: State, trial: Trial) -> bool:
    runs = (state.runs[run] for run in state.trials[trial.id].runs)
    return any((run.tree, run.tier) == (trial.tree, state.tier) for run in runs)


def _wanted(state: State, study: Study) -> int:
    return BASE_RUNS if state.noise else max(BASE_RUNS, study.decide.baseline_runs)


def _under_way(state: State, trial: Trial) -> list[Run]:
    runs = (state.runs[i] for i in tuple(state.open_runs))
    return [run for run in runs if (run.tree, run.tier, run.purpose) == (trial.base_tree, state.tier, "record")]
