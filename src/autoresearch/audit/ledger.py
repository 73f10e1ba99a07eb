"""
Any log as an audit reads it: entries in order, each with its value, whether it was kept, and what it repeats.

Knows Karpathy's results.tsv, pi-autoresearch's JSONL and our own journal, and tells them apart by what stands in
them. Judges nothing.
"""

import stat
from itertools import pairwise
from pathlib import Path

import msgspec
from msgspec import Struct

from autoresearch import interchange, log
from autoresearch.audit.repeats import Kind, kind
from autoresearch.errors import AutoresearchError
from autoresearch.scatter import Noise
from autoresearch.state import State
from autoresearch.trial import Direction, Metric, Trial

LARGEST_JOURNAL = 256 << 20  # bytes; 100,000 events are 30 MiB
LARGEST = 1e100  # a value beyond is no measurement, and its square no float
IDEA_LENGTH = 200
KEPT = frozenset({"keep", "kept", "baseline"})
FORMS = {"tsv": "Karpathy's results.tsv", "jsonl": "pi-autoresearch's log", "own": "a journal of autoresearch"}


class Entry(Struct, frozen=True):
    """
    One trial. `where` is its line in the file, or its number in our own log; `value` the mean of its `runs`.

    `written` is the number that stands there though there is no value: a crash that reads 0.
    """

    where: int
    idea: str
    status: str
    kept: bool
    value: float | None
    runs: int = 1
    repeats: Kind | None = None
    written: float | None = None


class Ledger(Struct, frozen=True):
    """A log. `noise` and `baseline_runs` are given only where the log itself knows them: our own."""

    form: str
    place: str  # what `where` counts: "line" or "trial"
    metric: Metric
    entries: list[Entry]
    guessed: bool = False  # the direction is not stated anywhere
    noise: Noise | None = None
    baseline_runs: int | None = None
    notes: list[str] = []


def load(path: Path) -> Ledger:
    """
    Read a log, or a study's folder.

    Raises:
        AutoresearchError: it is none of the three formats, or empty; the message names the line.
    """
    try:
        path = _journal_in(path) if path.is_dir() else path
    except OSError as error:
        raise AutoresearchError(f"{path}: {error.strerror}") from None
    found = of_state(log.read(path)) if _is_journal(path) else of_table(interchange.read_table(path))
    if all(entry.value is None for entry in found.entries):
        raise AutoresearchError(f"{path}: no trial with a value in it, so there is nothing to audit; name another log")
    return found


def _journal_in(folder: Path) -> Path:
    path = folder / ".autoresearch" / "events.jsonl"
    if not path.exists():
        raise AutoresearchError(
            f"{folder}: this folder holds no study that was run; name the log itself (results.tsv, a .jsonl)"
        )
    return path


def _is_journal(path: Path) -> bool:
    """Whether the first line is an event of ours."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False  # interchange says what is wrong with it
        with path.open("rb") as file:
            first = file.readline(1 << 20)
        if isinstance(msgspec.json.decode(first, type=dict[str, object]).get("event"), str):
            if path.stat().st_size > LARGEST_JOURNAL:
                raise AutoresearchError(f"{path}: larger than {LARGEST_JOURNAL >> 20} MiB; audit an export of it")
            return True
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        pass
    return False


def of_table(table: interchange.Table) -> Ledger:
    """A foreign log. Of several segments, the last: values of different ones do not compare."""
    segment = table.lines[-1].segment if table.lines else 0
    lines = [line for line in table.lines if line.segment == segment]
    entries = [
        Entry(
            where=line.number,
            idea=_one_line(line.trial.idea),
            status=line.trial.status,
            kept=line.trial.status.lower() in KEPT,
            value=_sane(line.trial.value),
            repeats=kind(line.trial.idea),
            written=line.written,
        )
        for line in lines
    ]
    notes = []
    if left_out := len(table.lines) - len(lines):
        notes.append(f"only the last segment is read; lines of earlier ones, left out: {left_out}")
    numbers = {line.run for line in lines if line.run is not None}
    if gaps := (max(numbers) - min(numbers) + 1 - len(numbers)) if numbers else 0:
        notes.append(f"{gaps} run number{'s' if gaps > 1 else ''} missing: lines were taken out or never written")
    direction = table.direction or _direction([e.value for e in entries if e.kept and e.value is not None])
    metric = Metric(_one_line(table.metric) or "metric", direction, _one_line(table.unit))
    return Ledger(FORMS[table.form], "line", metric, entries, guessed=table.direction is None, notes=notes)


def _direction(kept: list[float]) -> Direction:
    """The way that most kept steps go: Karpathy's format does not say it, and ours writes any metric in it."""
    rising = sum(after > before for before, after in pairwise(kept))
    falling = sum(after < before for before, after in pairwise(kept))
    return "maximize" if rising > falling else "minimize"


def of_state(state: State) -> Ledger:
    """Our own log: a value is the mean over the runs of the content, under the latest referee and machine."""
    if state.opened is None:
        return Ledger(FORMS["own"], "trial", Metric("metric"), [])
    entries, seen, foreign = [], set[str](), 0
    for trial in state.trials.values():
        if trial.verdict is None or (trial.is_baseline and trial.tree in seen):
            continue  # a later baseline measures the best again: its runs are in that mean already
        seen.add(trial.tree or "")
        entry = _entry(state, trial)
        foreign += entry.value is None and any(state.runs[i].value is not None for i in trial.runs)
        entries.append(entry)
    notes = [f"trials of another referee or machine, not compared: {foreign}"] if foreign else []
    first = next((trial for trial in state.trials.values() if trial.tree and state.values(trial.tree)), None)
    runs = len(state.values(first.tree)) if first and first.tree else 0
    return Ledger(
        FORMS["own"], "trial", state.metric, entries, noise=state.noise, baseline_runs=runs or None, notes=notes
    )


def _entry(state: State, trial: Trial) -> Entry:
    values = state.values(trial.tree) if trial.tree and trial.runs else {}
    value = sum(values.values()) / len(values) if values else None
    return Entry(trial.id, _one_line(trial.idea), trial.word, trial.word == "keep", _sane(value), max(1, len(values)))


def _one_line(text: str) -> str:
    return " ".join(text[:IDEA_LENGTH].split())


def _sane(value: float | None) -> float | None:
    return value if value is not None and abs(value) <= LARGEST else None
