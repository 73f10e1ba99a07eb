"""
What the tools answer: the study as data for an agent. Pure functions of what a proposer may know.

All of it comes from the same Brief that every proposer is given, so an agent that asks learns no more than one that
is told: where the Ladder holds, no value of a trial that did not win. Text from runs and proposers is data: bounded,
without control characters.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from autoresearch.report.brief import Brief
from autoresearch.report.text import clean, start_value
from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.trial import Measurement, Run, Trial

SENTENCE = 500  # characters of a sentence that is passed on
PATCH = 40_000  # characters of a patch
OUTPUT = 4_000  # characters of what a run printed last
PAGE = 100  # trials in one answer, at most
EACH = 20  # findings of a kind
EXTRAS = 50  # numbers beside a value
POINTS = 50  # of a training curve


def sentence(text: str, most: int = SENTENCE) -> str:
    """One bounded line."""
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def block(text: str, most: int) -> str:
    """Several lines with their tabs, bounded; what is cut is said."""
    shown = "\t".join(clean(part) for part in text.split("\t"))
    return shown if len(shown) <= most else f"{shown[:most]}\n[cut here: {len(shown) - most} more characters]\n"


def status(study: Study, state: State, brief: Brief, holder: str) -> dict[str, Any]:
    """Where the study stands. `holder`: who is at it now, in words."""
    noise = brief.noise.sd if brief.noise else None
    return {
        "study": study.name,
        "metric": {"name": brief.metric.name, "direction": brief.metric.direction, "unit": brief.metric.unit},
        "may_change": list(study.asset),
        "running": holder,
        "start": None if brief.told_less else start_value(state),
        "best": {"value": brief.base_value, "trial": brief.base.trial, "commit": brief.base.commit},
        "noise_of_one_run": noise,
        "trials": {"decided": state.decided, "unfinished": len(state.unfinished)} | _counts(brief.trials),
        "now": [row(trial) for trial in brief.trials if trial.verdict is None][-EACH:],
        "waiting_for_the_person": [trial.id for trial in brief.trials if trial.word == "suspect"][-EACH:],
        "runs": len(state.runs),
        "minutes_of_measuring": round(state.spent_s / 60, 2),
        "left": {
            name: left for name, left in msgspec.structs.asdict(brief.around.left(state)).items() if left is not None
        },
    }


def _counts(trials: Iterable[Trial]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for trial in trials:
        if trial.verdict is not None and not trial.is_baseline:
            counts[trial.word] = counts.get(trial.word, 0) + 1
    return counts


def row(trial: Trial) -> dict[str, Any]:
    """One trial in a line."""
    verdict = trial.verdict
    told: dict[str, Any] = {
        "trial": trial.id,
        "verdict": trial.word,
        "idea": sentence(trial.idea),
        "by": sentence(trial.by, 60),
    }
    if trial.carries:
        told["carries_on"] = list(trial.carries)
    if verdict is not None:
        numbers = {"value": verdict.value, "gain": verdict.gain, "error": verdict.error, "cost": verdict.cost}
        told |= {name: number for name, number in numbers.items() if number is not None}
        told |= {"why": sentence(verdict.why)}
        told |= {"read_before_believing": [sentence(flag) for flag in verdict.flags]} if verdict.flags else {}
    return told


def history(brief: Brief, before: int | None, most: int, word: str | None) -> dict[str, Any]:
    """A page of trials, the newest first; `before` is a trial's number."""
    found = [
        trial
        for trial in reversed(brief.trials)
        if (before is None or trial.id < before) and (word is None or trial.word == word)
    ]
    shown = found[:most]
    told: dict[str, Any] = {"trials": [row(trial) for trial in shown]}
    return told | ({"more_with_before": shown[-1].id} if len(found) > len(shown) else {})


def findings(brief: Brief) -> dict[str, Any]:
    """What helped, what hurt, and what came close, with numbers; what failed, with why."""
    tried = [trial for trial in brief.trials if trial.verdict is not None and not trial.is_baseline]
    measured = [trial for trial in tried if trial.verdict and trial.verdict.gain is not None]
    helped = [trial for trial in measured if trial.word == "keep"]
    near = [
        trial for trial in measured if trial.word == "inconclusive" or (_gain(trial) > 0 and trial.word == "discard")
    ]
    hurt = [trial for trial in measured if trial.word == "discard" and _gain(trial) < 0]
    failed = [trial for trial in tried if trial.word in ("crash", "timeout", "rejected")]
    unsaid = sum(trial.word == "discard" for trial in tried) - sum(trial.word == "discard" for trial in measured)
    return {
        "metric": f"{brief.metric.name}, {brief.metric.direction}; a gain is positive when better",
        "noise_of_one_run": brief.noise.sd if brief.noise else None,
        "helped": _first(helped, by=lambda trial: -_gain(trial)),
        "near_misses": _first(near, by=lambda trial: -_gain(trial)),
        "hurt": _first(hurt, by=_gain),
        "failed": [row(trial) for trial in failed[-EACH:]],
        "suspect": [row(trial) for trial in tried if trial.word == "suspect"][-EACH:],
        "did_not_win_and_no_more_is_told": unsaid,
        "elsewhere": [{"idea": sentence(one.idea), "status": one.status[:20]} for one in brief.imported[-EACH:]],
    }


def _gain(trial: Trial) -> float:
    assert trial.verdict is not None
    return trial.verdict.gain or 0.0


def _first(trials: list[Trial], by: Any) -> list[dict[str, Any]]:
    return [row(trial) for trial in sorted(trials, key=by)[:EACH]]


def show(state: State, told: Trial, patch: str, output: str) -> dict[str, Any]:
    """One trial in full. `told` is the trial as the brief has it; `output` what its failed run printed last."""
    hidden = told is not state.trials[told.id]  # the Ladder holds: no value of a single run is told
    found = row(told) | {"base": told.base, "commit": told.commit, "kept_as": told.kept_as}
    found["lines_added_and_removed"] = list(told.lines)
    found["runs"] = [_run(state.runs[i], told, hidden) for i in told.runs]
    found["patch"] = block(patch, PATCH)
    return found | ({"printed_last": block(output, OUTPUT)} if output else {})


def _run(run: Run, trial: Trial, hidden: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"run": run.id, "seed": run.seed_index, "of": "trial" if run.tree == trial.tree else "base"}
    done = run.measurement
    if done is None:
        return told | {"status": "running"}
    told |= {"status": done.status, "seconds": done.wall_s, "processor_s": done.processor_s}
    told |= {"peak_memory_mb": done.peak_memory_mb} | ({"why": sentence(done.why)} if done.why else {})
    return told if hidden else told | _stated(done)


def _stated(done: Measurement) -> dict[str, Any]:
    extras = {sentence(name, 100): number for name, number in list(done.extras.items())[:EXTRAS]}
    step = max(1, len(done.curve) // POINTS)
    curve = [list(point) for point in done.curve[::step]]
    told: dict[str, Any] = {"value": done.value}
    return told | ({"numbers": extras} if extras else {}) | ({"curve": curve} if curve else {})
