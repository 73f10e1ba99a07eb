"""
What was tried, sorted: by theme, the failures by class, and the near misses. Pure functions of State.

Text that proposers and runs wrote is cleaned and bounded here; whoever shows it escapes it.
"""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from autoresearch.report.text import clean
from autoresearch.state import State
from autoresearch.trial import Trial

SHOWN = 160  # characters of an idea, or of the last line of a failure
FAILED = {"crash", "timeout", "rejected"}
NEAR = {"inconclusive", "stale", "suspect", "discard"}
_NUMBER = re.compile(r"\d+")

Files = Mapping[int, tuple[str, ...]]  # trial -> the files that it changed


class Theme(Struct, frozen=True):
    """Trials about the same thing. `best` is the largest gain any of them showed while climbing."""

    name: str
    tried: int
    kept: int
    unclear: int  # inconclusive, or waiting for a person
    failed: int
    best: float | None


class Near(Struct, frozen=True):
    """A trial that was not kept though it looked better than its base."""

    trial: int
    word: str
    idea: str
    gain: float
    error: float | None


class Failure(Struct, frozen=True):
    """Trials that ended the same way: how many, the latest of them, and what its last line was."""

    name: str
    count: int
    trial: int
    last: str


def one_line(text: str, limit: int = SHOWN) -> str:
    """Text of unknown origin on one bounded line."""
    flat = " ".join(clean(text[: 8 * limit]).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def tried(state: State) -> list[Trial]:
    """Every decided trial but the baselines."""
    return [trial for trial in tuple(state.trials.values()) if trial.verdict and not trial.is_baseline]


# -- themes ----------------------------------------------------------------------------------------------


def themes(state: State, files: Files) -> list[Theme]:
    """What was tried by theme: what brought something first, then what was tried most."""
    groups: dict[str, list[Trial]] = {}
    for trial in tried(state):
        groups.setdefault(theme_of(state, trial, files), []).append(trial)
    return sorted(
        (_theme(name, group) for name, group in groups.items()),
        key=lambda t: (-t.kept, -(t.best or 0), -t.tried, t.name),
    )


def theme_of(state: State, trial: Trial, files: Files) -> str:
    """
    The constant that a trial set, where it set one; else the kind of its change, the files, or who proposed it.
    """
    if trial.again is not None and not trial.memo:
        trial = state.trials[trial.again]  # its patch did not fit any more: nothing else is known of it
    changed = trial.memo.get("set")
    if trial.stack:
        return "winners of one race together"
    if "cut" in trial.memo:
        return "leaving something out"
    if isinstance(changed, dict) and len(changed) == 1:
        return one_line(str(next(iter(changed))), 60)
    if isinstance(changed, dict) and changed:
        return "several constants at once"
    if names := files.get(trial.id, ()):
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        return one_line(f"edits to {', '.join(names[:2])}{more}", 80)
    return one_line(f"ideas of {trial.by or 'nobody: no proposal came'}", 60)


def _theme(name: str, group: Iterable[Trial]) -> Theme:
    group = list(group)
    words = [trial.word for trial in group]
    gains = [t.verdict.gain for t in group if t.verdict and t.verdict.gain is not None]
    return Theme(
        name=name,
        tried=len(group),
        kept=words.count("keep"),
        unclear=words.count("inconclusive") + words.count("suspect"),
        failed=sum(word in FAILED for word in words),
        best=max(gains, default=None),
    )


# -- near misses -----------------------------------------------------------------------------------------


def near_misses(state: State) -> list[Near]:
    """What looked better than its base and was not kept, by how far beyond the noise it looked so."""
    done = tried(state)
    again = {stale for trial in done if trial.word not in FAILED for stale in trial.carries}
    found = [
        Near(trial.id, trial.word, one_line(trial.idea), verdict.gain, verdict.error)
        for trial in done
        if (verdict := trial.verdict) and trial.word in NEAR and trial.id not in again
        if verdict.gain is not None and verdict.gain > 0
    ]
    return sorted(found, key=lambda near: -_beyond(near))


def _beyond(near: Near) -> float:
    """Standard errors, those that wait for a person before all others."""
    return (near.gain / near.error if near.error else 0.0) + (1e9 if near.word == "suspect" else 0.0)


# -- failures --------------------------------------------------------------------------------------------


def failures(state: State) -> list[Failure]:
    """How trials failed, the commonest way first."""
    groups: dict[str, list[tuple[Trial, str]]] = {}
    for trial in tried(state):
        if trial.word in FAILED:
            name, last = _how(state, trial)
            groups.setdefault(name, []).append((trial, last))
    listed = [Failure(name, len(group), group[-1][0].id, group[-1][1]) for name, group in groups.items()]
    return sorted(listed, key=lambda failure: (-failure.count, failure.name))


def _how(state: State, trial: Trial) -> tuple[str, str]:
    """The class of a failure, and what was said last."""
    why = trial.verdict.why if trial.verdict else ""
    if trial.word == "rejected":
        # Numbers and quoted names differ from trial to trial, the reason does not.
        return f"rejected: {one_line(_NUMBER.sub('N', why.partition(':')[0]), 80)}", one_line(why)
    results = [run.measurement for run in (state.runs[i] for i in trial.runs) if run.measurement]
    bad = [result for result in results if result.value is None and result.status != "stopped"]
    status = bad[-1].status if bad else trial.word
    return status.replace("_", " "), one_line(bad[-1].why if bad and bad[-1].why else why)
