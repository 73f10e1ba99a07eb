"""
A study in other programs: files for ad-hoc questions, and the trackers where people already look.

Exporting twice gives the same, not doubles. Each program is imported in its own module, when it is asked for.
"""

from pathlib import Path

from autoresearch.state import State

# Form -> what its place is named where --out does not say, after the study.
PLACES = {
    "csv": "{}-csv",
    "sqlite": "{}.sqlite",
    "parquet": "{}-parquet",
    "tensorboard": "{}-tensorboard",
    "mlflow": "{}-mlflow.db",
    "wandb": "{}-wandb",
    "optuna": "{}-optuna.db",
}


def export(form: str, state: State, out: str | None) -> str:
    """
    Write a study's trials to `out`, or to a place named after the study here; returns the place.

    Raises:
        MissingExtra: the program is not installed.
        AutoresearchError: the place cannot be written.
    """
    assert state.opened is not None
    place = out or PLACES[form].format(state.opened.study)
    if form in ("csv", "sqlite", "parquet"):
        from autoresearch.export import files

        {"csv": files.to_csv, "sqlite": files.to_sqlite, "parquet": files.to_parquet}[form](state, Path(place))
    elif form == "optuna":
        from autoresearch.export import to_optuna

        to_optuna.export(state, Path(place))
    elif form == "tensorboard":
        from autoresearch.export import to_tensorboard

        to_tensorboard.export(state, Path(place))
    else:
        from autoresearch.export import trackers

        trackers.export(form, state, place)
    return place
