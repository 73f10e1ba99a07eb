"""
A study as an Optuna study in a storage that optuna-dashboard opens: a trial is a trial, constants that the built-in
search set are its parameters, the curve of its last run its intermediate values, everything else its attributes.
"""

import datetime
import warnings
from pathlib import Path
from typing import Any

from autoresearch.errors import MissingExtra
from autoresearch.export.files import in_place_of
from autoresearch.export.tables import Decided, all_decided, identity
from autoresearch.state import State

STEPS = 100  # of an intermediate value: hundredths of a run's budget


def export(state: State, out: Path) -> None:
    """
    Write `out`: an SQLite database, or Optuna's journal where the name ends in .journal or .log. Trials without a
    verdict are left out.

    Raises:
        MissingExtra: optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise MissingExtra("optuna", "search", "exporting to Optuna") from None
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with in_place_of(out) as path, warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            _write(optuna, state, _storage(optuna, path, journal=out.suffix in {".journal", ".log"}))
    finally:
        optuna.logging.set_verbosity(before)


def _storage(optuna: Any, path: Path, *, journal: bool) -> Any:
    if not journal:
        return optuna.storages.RDBStorage(f"sqlite:///{path}")
    from optuna.storages.journal import JournalFileBackend

    return optuna.storages.JournalStorage(JournalFileBackend(str(path)))


def _write(optuna: Any, state: State, storage: Any) -> None:
    metric = state.metric
    study = optuna.create_study(storage=storage, study_name=identity(state), direction=metric.direction)
    study.set_metric_names([metric.name])
    for name, value in (("study", state.opened.study if state.opened else ""), ("unit", metric.unit)):
        study.set_user_attr(name, value)
    trials = list(all_decided(state))
    kinds = distributions(optuna, trials)
    study.add_trials([_trial(optuna, trial, kinds) for trial in trials])
    if engine := getattr(storage, "engine", None):
        engine.dispose()  # the file is moved next


def distributions(optuna: Any, trials: list[Decided]) -> dict[str, Any]:
    """For each parameter the range that was tried: of numbers where all are, else a choice among texts."""
    seen: dict[str, list[float | str | bool]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            seen.setdefault(name, []).append(value)
    found = {}
    for name, values in seen.items():
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            found[name] = optuna.distributions.FloatDistribution(float(min(values)), float(max(values)))
        else:
            found[name] = optuna.distributions.CategoricalDistribution(tuple(sorted({str(value) for value in values})))
    return found


def _trial(optuna: Any, trial: Decided, kinds: dict[str, Any]) -> Any:
    states = optuna.trial.TrialState
    value = trial.metrics.get("value")
    state = states.COMPLETE if value is not None else states.PRUNED if trial.hopeless else states.FAIL
    numeric = optuna.distributions.FloatDistribution
    curve = trial.curves[-1][1] if trial.curves else ()
    made = optuna.trial.create_trial(
        state=state,
        value=value,
        params={k: float(v) if isinstance(kinds[k], numeric) else str(v) for k, v in trial.params.items()},
        distributions={name: kinds[name] for name in trial.params},
        user_attrs={
            "trial": trial.id,
            "idea": trial.idea,
            "by": trial.by,
            "verdict": trial.word,
            "why": trial.why,
            "flags": list(trial.flags),
            "commit": trial.commit,
        }
        | {name: number for name, number in trial.metrics.items() if name != "value"},
        intermediate_values={round(fraction * STEPS): loss for fraction, loss in curve},
    )
    made.datetime_start = datetime.datetime.fromtimestamp(trial.started_at)  # noqa: DTZ006 - Optuna's are local
    made.datetime_complete = datetime.datetime.fromtimestamp(trial.decided_at)  # noqa: DTZ006
    return made
