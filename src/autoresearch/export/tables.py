"""
A study as three flat tables, and a decided trial as other programs keep one. Pure functions of State.

What proposers and runs wrote is cut to a length and without control characters. Absence is None, never a number.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from autoresearch.report.plain import line
from autoresearch.report.text import clean
from autoresearch.state import State
from autoresearch.trial import Run, Trial

Row = dict[str, Any]
TEXT = 4000  # characters of a text in a table
KINDS: dict[str, dict[str, type]] = {
    "trials": {
        "trial": int, "verdict": str, "value": float, "base_value": float, "gain": float, "error": float, "cost": float,
        "best": float, "idea": str, "by": str, "why": str, "flags": str, "params": str, "runs": int, "baseline": bool,
        "accepted": bool, "again": int, "stack": str, "lines_added": int, "lines_removed": int, "base": str, "commit": str,
        "kept_as": str, "tree": str, "started_at": float, "decided_at": float,
    },
    "runs": {
        "run": int, "trial": int, "purpose": str, "held": str, "seed_index": int, "seed": int, "status": str,
        "value": float, "why": str, "wall_s": float, "processor_s": float, "peak_memory_mb": float, "score_s": float,
        "score_processor_s": float, "extras": str, "machine": str, "tree": str, "commit": str, "digest": str,
        "started_at": float,
    },
    "curves": {"run": int, "trial": int, "fraction": float, "loss": float},
}  # fmt: skip


class Decided(Struct, frozen=True):
    """
    A trial with a verdict, for a program that keeps experiments. `params` are the constants that it set; `curves` are
    those of its runs, as (seed index, points), each point a fraction of the budget and a loss; `metrics` hold what is
    known of value, gain, error, cost, best, and what its last run stated beside.
    """

    id: int
    name: str
    idea: str
    by: str
    word: str
    why: str
    flags: tuple[str, ...]
    params: Mapping[str, float | str | bool]
    metrics: Mapping[str, float]
    curves: tuple[tuple[int, tuple[tuple[float, float], ...]], ...]
    commit: str
    tree: str
    baseline: bool
    hopeless: bool
    started_at: float
    decided_at: float


def identity(state: State) -> str:
    """What tells this study from every other: its name, the commit it began from, and the root of its seeds."""
    opened = state.opened
    return f"{opened.study}-{opened.start[:10]}-{opened.seed}" if opened else ""


def all_decided(state: State) -> Iterator[Decided]:
    """Every trial with a verdict, in order."""
    best: float | None = None
    for trial in state.trials.values():
        if trial.verdict is not None:
            best = trial.verdict.value if trial.word == "keep" else best
            yield decided(state, trial, best)


def decided(state: State, trial: Trial, best: float | None) -> Decided:
    """One of them; `best` is the value that was best once it was decided."""
    verdict = trial.verdict
    assert verdict is not None
    runs = [run for id in trial.runs if (run := state.runs.get(id))]
    done = [run.measurement for run in runs if run.measurement]
    numbers = {name: getattr(verdict, name) for name in ("value", "base_value", "gain", "error", "cost")}
    numbers |= {"best": best} | (dict(done[-1].extras) if done else {})
    return Decided(
        id=trial.id,
        name=f"trial {trial.id}",
        idea=line(trial.idea),
        by=line(trial.by, 60),
        word=verdict.word,
        why=line(verdict.why),
        flags=tuple(line(flag) for flag in verdict.flags),
        params=params(trial),
        metrics={name: float(number) for name, number in numbers.items() if number is not None},
        curves=tuple(
            (run.seed_index, run.measurement.curve) for run in runs if run.measurement and run.measurement.curve
        ),
        commit=trial.kept_as or trial.commit or "",
        tree=trial.tree or "",
        baseline=trial.is_baseline,
        hopeless=any(measurement.status == "hopeless" for measurement in done),
        started_at=trial.started_at,
        decided_at=trial.decided_at or trial.started_at,
    )


def params(trial: Trial) -> dict[str, float | str | bool]:
    """The constants that a trial of the built-in search set: their names and new values. Empty for any other."""
    found: dict[str, float | str | bool] = {}
    changes = trial.memo.get("set")
    for name, change in changes.items() if isinstance(changes, dict) else ():
        if isinstance(change, list | tuple) and len(change) == 2:
            new = change[1]
            found[line(str(name), 200)] = new if isinstance(new, bool | int | float) else line(str(new), 200)
    return found


def tables(state: State) -> dict[str, list[Row]]:
    """`trials`, `runs` and `curves`, with the columns of KINDS."""
    runs = list(state.runs.values())
    return {
        "trials": list(_trials(state)),
        "runs": [_run(run) for run in runs],
        "curves": [
            {"run": run.id, "trial": run.trial, "fraction": fraction, "loss": loss}
            for run in runs
            if run.measurement
            for fraction, loss in run.measurement.curve
        ],
    }


def _trials(state: State) -> Iterator[Row]:
    best: float | None = None
    for trial in state.trials.values():
        verdict = trial.verdict
        best = verdict.value if verdict and trial.word == "keep" else best
        numbers = {name: getattr(verdict, name, None) for name in ("value", "base_value", "gain", "error", "cost")}
        yield {"trial": trial.id, "verdict": trial.word, "best": best} | numbers | {
            "idea": _text(trial.idea),
            "by": _text(trial.by),
            "why": _text(verdict.why if verdict else ""),
            "flags": _text("; ".join(verdict.flags if verdict else ())),
            "params": json.dumps(params(trial), ensure_ascii=False),
            "runs": len(trial.runs),
            "baseline": trial.is_baseline,
            "accepted": trial.accepted,
            "again": trial.again,
            "stack": json.dumps(list(trial.stack)),
            "lines_added": trial.lines[0],
            "lines_removed": trial.lines[1],
            "base": trial.base,
            "commit": trial.commit,
            "kept_as": trial.kept_as,
            "tree": trial.tree,
            "started_at": trial.started_at,
            "decided_at": trial.decided_at,
        }  # fmt: skip


def _run(run: Run) -> Row:
    done = run.measurement
    names = ("value", "wall_s", "processor_s", "peak_memory_mb", "score_s", "score_processor_s")
    return {name: getattr(done, name, None) for name in names} | {
        "run": run.id,
        "trial": run.trial,
        "purpose": run.purpose,
        "held": run.held,
        "seed_index": run.seed_index,
        "seed": run.seed,
        "status": done.status if done else "running",
        "why": _text(done.why if done else ""),
        "extras": json.dumps(dict(done.extras) if done else {}, ensure_ascii=False),
        "machine": _text(done.machine.tier if done else ""),
        "tree": run.tree,
        "commit": run.commit,
        "digest": run.digest,
        "started_at": run.started_at,
    }


def _text(text: str) -> str:
    return clean(text[:TEXT])
