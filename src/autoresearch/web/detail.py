"""
One trial in full: idea, verdict in words with its numbers, runs, curves beside the best's, diff, the ends of its output.

Reads files that a candidate filled: bounded, never followed through a link, and passed on as text.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError
from autoresearch.measure import progress as read_progress
from autoresearch.report.text import amount, number
from autoresearch.state import State
from autoresearch.trial import Run, Trial
from autoresearch.web.rows import clean

MOST_DIFF = 200_000  # characters
MOST_LOG = 16_384  # bytes of the end of an output
MOST_CURVE = 65_536  # bytes, while it runs
MOST_RUNS = 200
POINTS = 60


def facts(state: State, found: Trial, home: Path) -> dict[str, Any]:
    """What the log says of it, and its curves. `home` is the study's .autoresearch."""
    runs = [state.runs[i] for i in found.runs[-MOST_RUNS:] if i in state.runs]
    verdict = found.verdict
    return {
        "id": found.id,
        "idea": clean(found.idea),
        "by": clean(found.by),
        "word": found.word,
        "why": clean(verdict.why if verdict else found.problem),
        "numbers": numbers(state, found),
        "flags": [clean(flag) for flag in verdict.flags] if verdict else [],
        "base": found.base[:12],
        "commit": (found.commit or "")[:12],
        "kept_as": (found.kept_as or "")[:12],
        "carries": list(found.carries),
        "lines": list(found.lines),
        "runs": [run_row(found, run) for run in runs],
        "curves": curves(state, found, runs, home),
    }


def files(found: Trial, home: Path, diff: Callable[[str, str], bytes]) -> dict[str, Any]:
    """What has to be fetched: its diff, by `diff(before, after)` of two commits, and the ends of its output."""
    return {"diff": patch(found, diff), "logs": logs(home, found.runs[-1]) if found.runs else []}


def numbers(state: State, found: Trial) -> str:
    """The verdict's numbers, as a sentence."""
    verdict = found.verdict
    if verdict is None or verdict.value is None:
        return ""
    unit = f" {state.metric.unit}".rstrip()
    parts = [f"{state.metric.name} {number(verdict.value)}{unit}"]
    if verdict.base_value is not None:
        parts[0] += f", its base {number(verdict.base_value)}{unit}"
    if verdict.gain is not None:
        error = f" ± {amount(verdict.error, 2)}" if verdict.error else ""
        parts.append(f"gain {'+' if verdict.gain > 0 else ''}{amount(verdict.gain)}{error}")
    if verdict.cost is not None:
        parts.append(f"a run took {verdict.cost:.2f} times the compute")
    if any(found.lines):
        parts.append(f"lines of code: {found.lines[0]} added, {found.lines[1]} removed")
    return clean("; ".join(parts) + ".")


def run_row(found: Trial, run: Run) -> dict[str, Any]:
    m = run.measurement
    return {
        "id": run.id,
        "seed": run.seed_index,
        "purpose": run.purpose,
        "base": run.tree != found.tree,
        "status": m.status if m else "running",
        "value": m.value if m else None,
        "wall_s": m.wall_s if m else None,
        "processor_s": m.processor_s if m else None,
        "memory_mb": m.peak_memory_mb if m else None,
        "why": clean(m.why, 300) if m else "",
        "extras": {clean(name, 80): value for name, value in list(m.extras.items())[:40]} if m else {},
    }


def curves(state: State, found: Trial, runs: list[Run], home: Path) -> list[dict[str, Any]]:
    """(fraction of the budget, loss) of its own latest run and of its base's with the same seed, where they said it."""
    own = [run for run in runs if run.tree == found.tree]
    drawn = [("this trial", curve) for run in reversed(own) if (curve := _curve(run, home))][:1]
    if not drawn or found.is_baseline:
        return [{"name": name, "points": points} for name, points in drawn]
    seeds = [run.seed_index for run in own]
    before = [run for run in state.runs_on(found.base_tree) if run.measurement and run.measurement.curve]
    before.sort(key=lambda run: run.seed_index not in seeds)
    drawn += [("what it had to beat", _curve(run, home)) for run in before[:1]]
    return [{"name": name, "points": points} for name, points in drawn]


def _curve(run: Run, home: Path) -> list[tuple[float, float]]:
    return list(run.measurement.curve) if run.measurement else progress(home, run.id)


def progress(home: Path, run: int) -> list[tuple[float, float]]:
    """(fraction, loss) as a run that is under way has said so far; a loss that it did not say is left out by NaN."""
    points: list[tuple[float, float]] = []
    for line in tail(home / "runs" / str(run) / "run.out.txt", MOST_CURVE).splitlines():
        if line.startswith("PROGRESS ") and (said := read_progress(line.removeprefix("PROGRESS ").strip())):
            points.append((said[0], float("nan") if said[1] is None else said[1]))
    step = max(1, len(points) // POINTS)
    return points[::-step][::-1]  # the last one always


def patch(found: Trial, diff: Callable[[str, str], bytes]) -> str:
    if found.commit is None or found.is_baseline:
        return ""
    try:
        whole = diff(found.base, found.commit).decode(errors="replace")
    except AutoresearchError as error:
        return f"(cannot be shown: {clean(str(error))})"
    return clean(whole[:MOST_DIFF]) + (
        f"\n… {len(whole) - MOST_DIFF} more characters" if len(whole) > MOST_DIFF else ""
    )


def logs(home: Path, run: int) -> list[dict[str, str]]:
    """The ends of what its latest run and the scorer printed."""
    names = ("run.out.txt", "run.err.txt", "score.out.txt", "score.err.txt")
    found = ((name, tail(home / "runs" / str(run) / name, MOST_LOG)) for name in names)
    return [{"name": name, "text": clean(text)} for name, text in found if text.strip()]


def tail(path: Path, most: int) -> str:
    """The last so many bytes of a file, from a line's beginning; empty where there is none, or it is a link."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with open(fd, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - most))
        data = file.read(most)
    if size > most:
        data = data.partition(b"\n")[2] or data
    return data.decode(errors="replace")
