"""
A study as TensorBoard event files: under `study` the value of each trial and the best so far over the trials, under
`trial-7` that trial's curves, its parameters for the table of hyperparameters, and what it was.
"""

import contextlib
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError, MissingExtra
from autoresearch.export.tables import Decided, all_decided
from autoresearch.state import State

SUFFIX = ".autoresearch"  # by which our files are told from others in the same folder
STEPS = 100  # of a curve: hundredths of a run's budget


def export(state: State, out: Path) -> None:
    """
    Write a log folder; what an earlier export left in it is replaced, and nothing else is touched.

    Raises:
        MissingExtra: tensorboard is not installed.
        AutoresearchError: the folder cannot be written.
    """
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError:
        raise MissingExtra("tensorboard", "tensorboard", "exporting to TensorBoard") from None

    def write(folder: Path, events: list[tuple[float, int, dict[str, float] | Any]]) -> None:
        writer = EventFileWriter(str(folder), filename_suffix=SUFFIX)
        for at, step, content in events:
            if isinstance(content, dict):
                content = summary_pb2.Summary(
                    value=[summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in content.items()]
                )
            writer.add_event(event_pb2.Event(wall_time=at, step=step, summary=content))
        writer.close()

    try:
        _remove_ours(out)
        trials = list(all_decided(state))
        names = ("value", "best", "gain", "cost")
        write(
            out / "study",
            [(t.decided_at, t.id, {name: t.metrics[name] for name in names if name in t.metrics}) for t in trials],
        )
        for trial in trials:
            write(out / f"trial-{trial.id}", _of_trial(trial, state.metric.name))
    except OSError as error:
        raise AutoresearchError(f"{out}: {error.strerror}; --out names another folder") from None


def _of_trial(trial: Decided, metric: str) -> list[tuple[float, int, Any]]:
    from tensorboard.plugins.hparams import summary_v2

    told = {"idea": trial.idea, "by": trial.by, "verdict": trial.word, **trial.params}
    found: list[tuple[float, int, Any]] = [
        (trial.started_at, 0, summary_v2.hparams_pb(told, str(trial.id), trial.started_at))
    ]
    for index, points in trial.curves:
        for fraction, loss in points:
            found.append((trial.decided_at, round(fraction * STEPS), {f"loss/seed {index}": loss}))
    value = trial.metrics.get("value")
    return found if value is None else [*found, (trial.decided_at, STEPS, {metric: value})]


def _remove_ours(out: Path) -> None:
    for path in out.glob(f"*/events.out.tfevents.*{SUFFIX}"):
        path.unlink()
        with contextlib.suppress(OSError):
            path.parent.rmdir()  # not empty: somebody else's too
