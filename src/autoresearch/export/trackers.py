"""
MLflow and Weights & Biases: a tracker takes a study and then its trials, one by one, whether they come from a finished
study or, mirrored, from a running one. Taking a trial again changes nothing.
"""

import hashlib
import importlib.util
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from autoresearch.errors import AutoresearchError, MissingExtra
from autoresearch.export.tables import Decided, all_decided, identity
from autoresearch.state import State

NAMES = ("mlflow", "wandb")
STEPS = 100  # of a curve: hundredths of a run's budget
BATCH = 900  # metrics that MLflow takes at once are 1000
_NOT_A_NAME = re.compile(r"[^\w\-. /]")  # MLflow's own rule for names of metrics and parameters


class About(Struct, frozen=True):
    """The study, for a tracker."""

    identity: str
    study: str
    metric: str
    direction: str
    unit: str


class Tracker(Protocol):
    """Where trials go."""

    def take(self, trial: Decided) -> None: ...

    def close(self) -> None: ...


def about(state: State) -> About:
    assert state.opened is not None
    metric = state.metric
    return About(identity(state), state.opened.study, metric.name, metric.direction, metric.unit)


def opened(form: str, place: str, study: About) -> Tracker:
    """
    A tracker of this kind at this place.

    Raises:
        MissingExtra: the program is not installed.
    """
    return MLflow(place, study) if form == "mlflow" else Wandb(place, study)


def installed(form: str) -> None:
    """
    Raises:
        MissingExtra: the program is not installed.
    """
    if importlib.util.find_spec(form) is None:
        raise MissingExtra(form, form, f"a mirror in {form}")


def export(form: str, state: State, place: str) -> None:
    """
    Hand every decided trial to a tracker.

    Raises:
        MissingExtra: the program is not installed.
        AutoresearchError: the tracker refused.
    """
    tracker = opened(form, place, about(state))
    try:
        for trial in all_decided(state):
            tracker.take(trial)
    except AutoresearchError:
        raise
    except Exception as error:  # whatever a tracker's client raises
        raise AutoresearchError(
            f"{form} at {place} refused: {type(error).__name__}; --out names another place"
        ) from error
    finally:
        tracker.close()


class MLflow:
    """
    An MLflow experiment, a run for each trial: parameters are the constants that were set and the idea, metrics the
    numbers and the curves by step, tags the verdict and why. `place` is a file (SQLite) or a tracking server's address.
    """

    def __init__(self, place: str, study: About) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # a study talks to nobody that it was not told to
        try:
            import mlflow.entities
            from mlflow.tracking import MlflowClient
        except ImportError:
            raise MissingExtra("mlflow", "mlflow", "MLflow") from None
        for noisy in ("mlflow", "alembic"):  # they tell of the tables that they make, across the screen
            logging.getLogger(noisy).setLevel(logging.ERROR)
        self._entities: Any = mlflow.entities
        self._study = study
        uri = place if "://" in place else f"sqlite:///{Path(place).absolute()}"
        self._client: Any = MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(study.identity)
        tags = {"study": study.study, "metric": study.metric, "direction": study.direction, "unit": study.unit}
        self._experiment = found.experiment_id if found else self._client.create_experiment(study.identity, tags=tags)

    def take(self, trial: Decided) -> None:
        tags = {
            "autoresearch.trial": str(trial.id),
            "verdict": trial.word,
            "why": trial.why,
            "by": trial.by,
            "commit": trial.commit,
            "flags": "; ".join(trial.flags),
        }
        known = self._client.search_runs([self._experiment], f"tags.`autoresearch.trial` = '{trial.id}'", max_results=1)
        if known and known[0].info.status == "FINISHED":
            for name, value in tags.items():  # a suspect trial may have been accepted since
                self._client.set_tag(known[0].info.run_id, name, value)
            return
        for half in known:  # cut off in the middle
            self._client.delete_run(half.info.run_id)
            self._client.set_tag(half.info.run_id, "autoresearch.trial", "cut off")
        at = round(trial.started_at * 1000)
        run = self._client.create_run(self._experiment, at, tags, run_name=trial.name).info.run_id
        for start in range(0, max(1, len(metrics := self._metrics(trial))), BATCH):
            params = self._params(trial) if not start else []
            self._client.log_batch(run, metrics=metrics[start : start + BATCH], params=params)
        self._client.set_terminated(run, "FINISHED", round(trial.decided_at * 1000))

    def _metrics(self, trial: Decided) -> list[Any]:
        at, metric = round(trial.decided_at * 1000), self._entities.Metric
        found = [metric(_name(name), value, at, 0) for name, value in trial.metrics.items() if name != "value"]
        if "value" in trial.metrics:
            found.append(metric(_name(self._study.metric), trial.metrics["value"], at, 0))
        for index, points in trial.curves:
            by_step = {round(fraction * STEPS): loss for fraction, loss in points}
            found += [metric(f"loss seed {index}", loss, at, step) for step, loss in by_step.items()]
        return found

    def _params(self, trial: Decided) -> list[Any]:
        param = self._entities.Param
        return [param("idea", trial.idea)] + [param(_name(k), str(v)) for k, v in trial.params.items()]

    def close(self) -> None:
        pass


def _name(name: str) -> str:
    return _NOT_A_NAME.sub(" ", name)[:200] or "unnamed"


class Wandb:
    """
    One W&B run for the study, a step for each trial: its numbers, its verdict and idea, and its curves as a table.
    `place` is a folder, where it stays until somebody types `wandb sync`: nothing is sent from here. A run that was
    begun there for the same study is begun anew.
    """

    def __init__(self, place: str, study: About) -> None:
        try:
            import wandb
        except ImportError:
            raise MissingExtra("wandb", "wandb", "Weights & Biases") from None
        self._wandb: Any = wandb
        id = hashlib.sha256(study.identity.encode()).hexdigest()[:12]
        folder = Path(place)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AutoresearchError(f"{folder}: {error.strerror}; --out names another folder") from None
        for before in folder.glob(f"wandb/offline-run-*-{id}"):
            shutil.rmtree(before, ignore_errors=True)
        self._run: Any = wandb.init(
            project=_name(study.study),
            id=id,
            name=study.identity,
            dir=str(folder),
            mode="offline",
            config={"metric": study.metric, "direction": study.direction, "unit": study.unit},
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
            ),
        )
        self._run.define_metric("trial")
        self._run.define_metric("*", step_metric="trial")
        self._study = study
        self._curves: list[list[Any]] = []
        self._trials: list[list[Any]] = []

    def take(self, trial: Decided) -> None:
        for index, points in trial.curves:
            self._curves += [[trial.id, index, fraction, loss] for fraction, loss in points]
        params = ", ".join(f"{name}={value}" for name, value in trial.params.items())
        self._trials.append([trial.id, trial.word, trial.metrics.get("value"), trial.idea, params, trial.by, trial.why])
        numbers = {name: value for name, value in trial.metrics.items() if name != "value"}
        if "value" in trial.metrics:
            numbers[self._study.metric] = trial.metrics["value"]
        told = {"trial": trial.id, "verdict": trial.word, "idea": trial.idea, "by": trial.by}
        self._run.log({**numbers, **told})

    def close(self) -> None:
        table = self._wandb.Table
        columns = ["trial", "verdict", "value", "idea", "params", "by", "why"]
        tables = {"trials": table(columns=columns, data=self._trials)}
        if self._curves:
            tables["curves"] = table(columns=["trial", "seed", "fraction", "loss"], data=self._curves)
        self._run.log(tables)
        self._run.finish()
