"""
A study in other programs, each read back by the program's own API.

MLflow, W&B and TensorBoard are heavy: where they are not installed, their tests are skipped and say so.
"""

import csv
import json
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import PYTHON, History, autoresearch, histories, make_study, play, says, step
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch import cli_export, export
from autoresearch.errors import AutoresearchError, MissingExtra
from autoresearch.events import Event, TrialProposed
from autoresearch.export import files, tables, to_optuna
from autoresearch.state import State, fold

IDEA = 'raise \x1b[31mLR\x1b[0m, "half"\nas much; \'); DROP TABLE trials;--'
CURVE = ((0.02, 5.0), (0.5, 3.0), (1.0, 2.5))


def night() -> State:
    """Kept with constants, discarded, stopped early, crashed, suspect, and one that still runs."""
    past = History()
    past.session(past.machine)
    past.baseline(10.0, 10.2)
    sets: tuple[dict[str, Any], ...] = (
        {"train.py:LR": [0.1, 0.2]},
        {"train.py:LR": [0.2, 0.4], "train.py:ACT": ["relu", "gelu"]},
        {},
    )
    for word, value, change in (("keep", 9.0, sets[0]), ("discard", 9.5, sets[1]), ("suspect", 3.0, sets[2])):
        trial = past.start()
        past.happen(
            TrialProposed(
                trial=trial, idea=IDEA, by="search", commit=f"c{trial}", tree=f"t{trial}", memo={"set": change}
            )
        )
        past.end_run(past.begin_run(trial), value, extras={"acc": 0.5}, curve=CURVE, wall_s=2.0)
        past.decide(trial, word, value, gain=10.1 - value, error=0.1, flags=("=look",))  # type: ignore[arg-type]
    for status in ("hopeless", "crash"):
        trial = past.tried()
        past.end_run(past.begin_run(trial), None, status, curve=CURVE[:2])
        past.decide(trial, "discard" if status == "hopeless" else "crash")
    past.tried(1.0)
    return past.state


WORDS = ["keep", "keep", "discard", "suspect", "discard", "crash"]
VALUES = [10.1, 9.0, 9.5, 3.0, None, None]


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- files -----------------------------------------------------------------------------------------------


def test_sqlite_answers_questions(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "s.sqlite"
    for _ in range(2):
        files.to_sqlite(night(), out)
    database = sqlite3.connect(out)
    assert database.execute("SELECT verdict, value FROM trials WHERE verdict != 'running'").fetchall() == list(
        zip(WORDS, VALUES, strict=True)
    )
    assert database.execute(
        "SELECT min(loss), count(*) FROM curves JOIN runs USING (run) WHERE runs.status = 'ok'"
    ).fetchone() == (2.5, 9)
    assert database.execute("SELECT best FROM trials ORDER BY trial").fetchall()[-1] == (9.0,)
    assert "\x1b" not in database.execute("SELECT idea FROM trials WHERE trial = 1").fetchone()[0]
    database.close()
    assert [path.name for path in out.parent.iterdir()] == ["s.sqlite"]


def test_csv_is_read_back_and_a_spreadsheet_runs_nothing_of_it(tmp_path: Path) -> None:
    files.to_csv(night(), tmp_path)
    first = content(tmp_path)
    files.to_csv(night(), tmp_path)
    assert content(tmp_path) == first
    with (tmp_path / "trials.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == [*WORDS, "running"]
    assert [row["value"] for row in rows[:6]] == ["" if value is None else str(value) for value in VALUES]
    assert rows[1]["flags"] == "'=look"
    assert json.loads(rows[2]["params"]) == {"train.py:LR": 0.4, "train.py:ACT": "gelu"}
    assert len((tmp_path / "curves.csv").read_text().splitlines()) == 1 + 13


def test_parquet_is_read_back(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: the extra parquet")
    files.to_parquet(night(), tmp_path)
    first = content(tmp_path)
    files.to_parquet(night(), tmp_path)
    assert content(tmp_path) == first
    table = parquet.read_table(tmp_path / "trials.parquet")
    assert table.column("verdict").to_pylist() == [*WORDS, "running"]
    assert table.column("value").to_pylist()[:6] == VALUES
    assert parquet.read_table(tmp_path / "runs.parquet").num_rows == 8


@settings(max_examples=25)
@given(histories())
def test_whatever_happened_can_be_written(happened: list[Event]) -> None:
    state = fold(happened)
    found = tables.tables(state)
    for name, kinds in tables.KINDS.items():
        for row in found[name]:
            assert set(row) == set(kinds)
            assert all(
                value is None or isinstance(value, (kind, int))
                for kind, value in zip(kinds.values(), (row[k] for k in kinds), strict=True)
            )
    assert len(list(tables.all_decided(state))) == sum(trial.verdict is not None for trial in state.trials.values())


@given(st.dictionaries(st.text(max_size=9), st.none() | st.integers() | st.lists(st.text(max_size=3), max_size=3)))
def test_a_memo_of_any_shape_gives_parameters_or_none(changes: dict[str, Any]) -> None:
    past = History()
    past.baseline(1.0)
    trial = past.start()
    past.propose(trial, memo={"set": changes})
    assert all(isinstance(value, str) for value in tables.params(past.state.trials[trial]).values())


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for write in (files.to_csv, files.to_sqlite):
        with pytest.raises(AutoresearchError, match="--out names another place"):
            write(night(), tmp_path / "file" / "x")
    assert (tmp_path / "file").read_text() == "mine"


# -- Optuna ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["s.db", "s.journal"])
def test_optuna_loads_the_study(tmp_path: Path, name: str) -> None:
    optuna = pytest.importorskip("optuna", reason="optuna is not installed: the extra search")
    for _ in range(2):
        to_optuna.export(night(), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == [name]
    storage: Any = f"sqlite:///{tmp_path / name}"
    if name.endswith(".journal"):
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / name)))
    (summary,) = optuna.get_all_study_summaries(storage)
    study = optuna.load_study(study_name=summary.study_name, storage=storage)
    states = ["COMPLETE", "COMPLETE", "COMPLETE", "COMPLETE", "PRUNED", "FAIL"]
    assert [trial.state.name for trial in study.trials] == states
    assert study.direction.name == "MINIMIZE"
    assert study.metric_names == ["loss"]
    one = study.trials[2]
    assert (one.value, one.params) == (9.5, {"train.py:LR": 0.4, "train.py:ACT": "gelu"})
    assert one.intermediate_values == {2: 5.0, 50: 3.0, 100: 2.5}
    assert one.user_attrs["verdict"] == "discard"
    assert one.user_attrs["idea"].startswith("raise �[31mLR")
    if hasattr(storage, "close"):
        storage.close()


# -- TensorBoard -----------------------------------------------------------------------------------------


def test_tensorboard_reads_the_scalars_and_the_parameters(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    (tmp_path / "trial-1").mkdir()
    (tmp_path / "trial-1" / "events.out.tfevents.mine").write_bytes(b"")
    for _ in range(2):
        export.export("tensorboard", night(), str(tmp_path))
    study = EventAccumulator(str(tmp_path / "study")).Reload()
    assert [(e.step, round(e.value, 4)) for e in study.Scalars("value")] == [(0, 10.1), (1, 9.0), (2, 9.5), (3, 3.0)]
    assert [e.value for e in study.Scalars("best")][-1] == 9.0
    (events,) = (tmp_path / "trial-2").iterdir()
    one = EventAccumulator(str(events)).Reload()
    assert [(e.step, e.value) for e in one.Scalars("loss/seed 0")] == [(2, 5.0), (50, 3.0), (100, 2.5)]
    told = one.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    info = metadata.parse_session_start_info_plugin_data(told)
    assert info.hparams["train.py:LR"].number_value == 0.4
    assert info.hparams["verdict"].string_value == "discard"
    assert (tmp_path / "trial-1" / "events.out.tfevents.mine").exists(), "what is not ours stays"


# -- MLflow ----------------------------------------------------------------------------------------------


def test_mlflow_reads_the_runs(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed: the extra mlflow")
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_export; test_export.mlflow_there_and_back(sys.argv[1])\n"
    )  # in a process of its own: its imports warn, and start threads
    done = subprocess.run(
        [PYTHON, "-c", code, str(tmp_path / "m.db")], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.db"]


def mlflow_there_and_back(place: str) -> None:
    from mlflow.tracking import MlflowClient

    state = night()
    for _ in range(2):
        export.export("mlflow", state, place)
    client = MlflowClient(tracking_uri=f"sqlite:///{place}")
    experiment = client.get_experiment_by_name(tables.identity(state))
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    runs = sorted(runs, key=lambda run: int(run.data.tags["autoresearch.trial"]))
    assert [run.data.tags["verdict"] for run in runs] == WORDS
    assert [run.data.metrics.get("loss") for run in runs] == VALUES
    assert {run.info.status for run in runs} == {"FINISHED"}
    one = runs[2]
    assert one.data.params["train.py LR"] == "0.4"
    assert one.data.params["idea"].startswith("raise �[31mLR")
    history = client.get_metric_history(one.info.run_id, "loss seed 0")
    assert [(point.step, point.value) for point in history] == [(2, 5.0), (50, 3.0), (100, 2.5)]


# -- Weights & Biases ------------------------------------------------------------------------------------


def test_wandb_keeps_the_study_offline(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: the extra wandb")
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_export; test_export.wandb_there_and_back(sys.argv[1])\n"
    )
    done = subprocess.run(
        [PYTHON, "-c", code, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def wandb_there_and_back(place: str) -> None:
    from wandb.proto import wandb_internal_pb2

    for _ in range(2):
        export.export("wandb", night(), place)
    (path,) = Path(place).glob("wandb/offline-run-*/*.wandb")
    rows = []
    project = ""
    for data in wandb_records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            project = record.run.project or project
        if record.HasField("history"):
            items = record.history.item
            rows.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items})
    assert project == "s", project
    told = [row for row in rows if "verdict" in row]
    assert [row["verdict"] for row in told] == WORDS
    assert [row.get("loss") for row in told] == VALUES
    assert any("curves" in key for row in rows for key in row)
    (curves,) = Path(place).rglob("curves*.table.json")
    assert len(json.loads(curves.read_text())["data"]) == 13


def wandb_records(data: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: blocks of 32 KiB after a head of 7 bytes, as in LevelDB's log."""
    at, parts = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield parts
            parts = b""


# -- the command -----------------------------------------------------------------------------------------


def test_the_command_writes_beside_and_leaves_the_study_alone(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "s", says(9), step("exit 1\n"))
    play(folder)
    log = (folder / ".autoresearch" / "events.jsonl").read_bytes()
    done = autoresearch("export", "-C", str(folder), "--to", "sqlite", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "Written: s.sqlite\n")
    assert sqlite3.connect(tmp_path / "s.sqlite").execute("SELECT count(*) FROM trials").fetchone() == (3,)
    done = autoresearch("export", "-C", str(folder), "--to", "csv", "--out", str(tmp_path / "c"), cwd=tmp_path)
    assert done.returncode == 0
    assert (folder / ".autoresearch" / "events.jsonl").read_bytes() == log


def test_the_command_offers_what_can_be_written() -> None:
    assert set(cli_export.FORMS) == set(export.PLACES)


@pytest.mark.parametrize(
    ("package", "form", "extra"),
    [
        ("pyarrow", "parquet", "parquet"),
        ("optuna", "optuna", "search"),
        ("tensorboard", "tensorboard", "tensorboard"),
        ("mlflow", "mlflow", "mlflow"),
        ("wandb", "wandb", "wandb"),
    ],
)
def test_what_is_not_installed_is_named_with_the_line_to_type(
    tmp_path: Path, package: str, form: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'autoresearch\[{extra}\]'"):
        export.export(form, night(), str(tmp_path / "x"))
    assert f"{extra} = [" in (Path(__file__).parent.parent / "pyproject.toml").read_text()
