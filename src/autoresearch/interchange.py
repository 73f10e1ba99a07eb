"""
Other people's logs: reads and writes Karpathy's results.tsv and pi-autoresearch's JSONL.

These formats have no word for several of ours and write a crash as the number 0. That happens here, in what
is written for them, and nowhere else.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
from msgspec import Struct

from autoresearch.errors import AutoresearchError
from autoresearch.state import State
from autoresearch.trial import Direction, Imported, Trial

TSV_COLUMNS = ("commit", "val_bpb", "memory_gb", "status", "description")
_TSV_STATUS = {"keep": "keep", "crash": "crash", "timeout": "crash", "rejected": "crash"}
_PI_STATUS = {"keep": "keep", "crash": "crash", "timeout": "crash", "rejected": "checks_failed"}
LARGEST = 16 << 20  # bytes of a foreign log: a hundred thousand lines
TEXT_LENGTH = 1000  # characters of a foreign description that are read


def to_tsv(state: State) -> str:
    """
    Karpathy's five columns. The second keeps his name, val_bpb, whatever the metric is: that is how readers of
    the format find it.
    """
    lines = ["\t".join(TSV_COLUMNS)]
    for trial in _decided(state):
        commit = (trial.kept_as or trial.commit or trial.base)[:7]
        status = _TSV_STATUS.get(trial.word, "discard")
        value, memory = _value(trial), _memory_mb(state, trial) / 1024
        if value is None:
            value, memory, status = 0.0, 0.0, "crash"
        idea = "baseline" if trial.is_baseline else " ".join(trial.idea.split())
        lines.append(f"{commit}\t{value:.6f}\t{memory:.1f}\t{status}\t{idea or 'no proposal'}")
    return "\n".join([*lines, ""])


def to_jsonl(state: State) -> str:
    """pi-autoresearch's log: a config line, then a line per run."""
    metric = state.metric
    lower = metric.direction == "minimize"
    lines: list[dict[str, Any]] = [
        {
            "type": "config",
            "name": state.opened.study if state.opened else "",
            "metricName": metric.name,
            "metricUnit": metric.unit,
            "bestDirection": "lower" if lower else "higher",
        }
    ]
    for number, trial in enumerate(_decided(state), start=1):
        value, status = _value(trial), _PI_STATUS.get(trial.word, "discard")
        if value is None and status == "discard":
            status = "crash"  # their readers take a discarded zero for a value
        lines.append(
            {
                "run": number,
                "commit": (trial.kept_as or trial.commit or trial.base)[:7],
                "metric": 0 if value is None else value,
                "metrics": _extras(state, trial),
                "status": status,
                "description": trial.idea,
                "timestamp": int((trial.decided_at or 0) * 1000),
                "segment": 0,
                "confidence": None,
            }
        )
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _decided(state: State) -> Iterator[Trial]:
    return (trial for trial in state.trials.values() if trial.verdict is not None)


def _value(trial: Trial) -> float | None:
    return trial.verdict.value if trial.verdict else None


def _memory_mb(state: State, trial: Trial) -> float:
    found = (state.runs[run].measurement for run in trial.runs)
    return max((measured.peak_memory_mb for measured in found if measured), default=0.0)


def _extras(state: State, trial: Trial) -> dict[str, float]:
    """What the trial's last run stated beside the metric."""
    last = state.runs[trial.runs[-1]].measurement if trial.runs else None
    return dict(last.extras) if last else {}


class Line(Struct, frozen=True):
    """A trial as a foreign file states it. `written` is its number as it stands there: 0 for many a crash."""

    number: int
    trial: Imported
    written: float | None
    segment: int = 0  # pi-autoresearch begins a new one when the metric or the baseline changes
    run: int | None = None


class Table(Struct, frozen=True):
    """A foreign log in full. `direction` is None where the file does not say it."""

    form: Literal["tsv", "jsonl"]
    lines: list[Line]
    metric: str = ""
    direction: Direction | None = None
    unit: str = ""


def read(path: Path) -> list[Imported]:
    """
    The trials in a foreign log: a .tsv in Karpathy's columns, else pi-autoresearch's JSONL.

    Raises:
        AutoresearchError: it is neither; the message names the line.
    """
    return [line.trial for line in read_table(path).lines]


def read_table(path: Path) -> Table:
    """
    The same with what stands around the trials: line numbers, segments, the metric and its direction.

    Raises:
        AutoresearchError: it is neither format, or too large to be one; the message names the line.
    """
    # Not splitlines: a JSON string may hold other line ends as they are.
    lines = _content(path).decode("utf-8", errors="replace").split("\n")
    if lines and tuple(lines[0].split("\t")[:1]) == ("commit",):
        return Table("tsv", list(_from_tsv(lines, path)), metric=TSV_COLUMNS[1])
    return _from_jsonl(lines, path)


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would wait, a device never end
            raise AutoresearchError(f"{path}: not a file; name the log itself")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise AutoresearchError(f"{path}: {error.strerror}") from None
    if len(data) > LARGEST:
        raise AutoresearchError(f"{path}: larger than {LARGEST >> 20} MiB, which no such log is; name the log itself")
    return data


def _from_tsv(lines: list[str], path: Path) -> Iterator[Line]:
    if tuple(lines[0].strip().split("\t")) != TSV_COLUMNS:
        raise AutoresearchError(f"{path}, line 1: the columns must be {', '.join(TSV_COLUMNS)}, separated by tabs")
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        fields = line.split("\t", 4)
        value, memory = (_number(fields[i]) if len(fields) == 5 else None for i in (1, 2))
        if value is None:
            raise AutoresearchError(
                f"{path}, line {number}: five columns with a number in the second are expected; "
                "correct the line or take it out"
            )
        yield Line(number, _imported(fields[4], fields[3], value, fields[0], memory), value)


def _from_jsonl(lines: list[str], path: Path) -> Table:
    found: list[Line] = []
    config: dict[str, Any] = {}
    segment = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError:
            raise AutoresearchError(
                f"{path}, line {number}: neither a TSV that begins with 'commit' nor a JSON object per line"
            ) from None
        run, value, stated = entry.get("run"), entry.get("metric"), entry.get("segment")
        if isinstance(run, int):
            written = _number(str(value)) if isinstance(value, int | float) else None
            trial = _imported(entry.get("description"), entry.get("status"), written, entry.get("commit"), None)
            found.append(Line(number, trial, written, stated if isinstance(stated, int) else segment, run))
        elif entry.get("type") == "config":
            config = entry
            segment += bool(found)
    direction = {"lower": "minimize", "higher": "maximize"}.get(str(config.get("bestDirection")))
    name, unit = (str(config.get(key) or "").strip()[:40] for key in ("metricName", "metricUnit"))
    return Table("jsonl", found, name, cast("Direction | None", direction), unit)


def _imported(idea: object, status: object, value: float | None, commit: object, memory: float | None) -> Imported:
    word = str(status or "").strip()[:40]
    crashed = word in {"crash", "checks_failed"}  # their zero is no value
    return Imported(
        idea=str(idea or "").strip()[:TEXT_LENGTH],
        status=word,
        value=None if crashed else value,
        commit=str(commit or "").strip()[:40],
        memory_gb=None if crashed else memory,
    )


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
