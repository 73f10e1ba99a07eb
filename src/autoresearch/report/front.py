"""
What a gain costs: value against lines of code and compute, and the trials of which no other gives more for less.

Pure functions of State. What proposers wrote is cleaned before it is shown.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from autoresearch.errors import AutoresearchError
from autoresearch.report.text import clean, held, number
from autoresearch.state import State
from autoresearch.trial import Metric, Trial, Verdict, Word

JUDGED = {"keep", "discard", "inconclusive", "stale"}  # the others failed, are under way, or wait for a person


class Point(Struct, frozen=True):
    """
    A measured trial. `value` is the mean over its runs, in the metric's unit; `lines` are those of code.

    `times` is its compute in multiples of the start's, None where that took none. `dearer` is the same in steps that
    count as a difference: see `_steps`.
    """

    trial: int
    word: Word  # its verdict
    idea: str
    value: float
    lines: int  # more than the start has
    compute_s: float
    times: float | None
    dearer: int


class Front(Struct, frozen=True):
    """The measured trials, split: `members` from the worst value to the best, `others` in the order of trials."""

    metric: Metric
    members: tuple[Point, ...]
    others: tuple[Point, ...]
    start: Point
    best: Point | None  # None where it has no value under the current referee or on this kind of machine
    sd: float | None  # of one run


def front(state: State) -> Front:
    """
    The measured trials, and which of them are the front.

    Suspect trials are left out until a person accepts them, and so is what lost a run: its mean is over the runs
    that went well.

    Raises:
        AutoresearchError: the start has no value yet.
    """
    found = tuple(points(state))
    if not found:
        raise AutoresearchError("nothing is measured yet: `autoresearch run`")
    members = undominated(state.metric, found)
    best = next((point for point in found if state.best and state.trials[point.trial].tree == state.best.tree), None)
    others = tuple(point for point in found if point not in members)
    return Front(state.metric, members, others, found[0], best, state.noise.sd if state.noise else None)


def points(state: State) -> Iterator[Point]:
    """The start, then every other content with a value that can be held against it, under the first trial with it."""
    start = state.baseline
    if start is None:
        return
    lines = _lines(state)
    start_s = state.compute_s(start.tree or "") or 0.0
    seen: set[str] = set()
    for trial in (start, *state.trials.values()):
        tree = trial.tree or ""
        value, compute_s = state.mean(tree), state.compute_s(tree)
        if value is None or compute_s is None or tree in seen:
            continue
        if trial.verdict is None or not _says_what_it_is_worth(state, trial, trial.verdict):
            continue
        seen.add(tree)
        yield Point(
            trial=trial.id,
            word=trial.verdict.word,
            idea=trial.idea,
            value=value,
            lines=_lines_of(trial, lines) - lines[start.tree or ""],
            compute_s=compute_s,
            times=compute_s / start_s if start_s else None,
            dearer=round(_steps(compute_s) - _steps(start_s)),
        )


def undominated(metric: Metric, found: Iterable[Point]) -> tuple[Point, ...]:
    """The points that no other dominates, from the worst value to the best."""
    members: list[Point] = []
    # Best value first: whatever dominates a point comes before it, and is a member or dominated by one.
    for point in sorted(found, key=lambda p: (-metric.gain(0, p.value), p.lines, p.dearer)):
        if not any(dominates(metric, member, point) for member in members):
            members.append(point)
    return tuple(reversed(members))


def dominates(metric: Metric, one: Point, other: Point) -> bool:
    """
    Whether `one` is no worse than the other in value, lines and compute, and better in one of them.

    Values are compared as they are, however close: to take close ones for equal would let a chain of small losses
    lead anywhere, and put every trial on the front that is near the best. So the front is what the numbers say,
    and whoever shows it says which of them are closer than the scatter of a run. Compute counts in steps: the same
    code takes a little more or less each time, and a trial that is cheaper by that would never be dominated.
    """
    gain = metric.gain(other.value, one.value)
    no_worse = gain >= 0 and one.lines <= other.lines and one.dearer <= other.dearer
    return no_worse and (gain > 0 or one.lines < other.lines or one.dearer < other.dearer)


def _says_what_it_is_worth(state: State, trial: Trial, verdict: Verdict) -> bool:
    """
    Whether the mean does: decided, not doubted, no guard broken, and no run lost (what was kept may lose one when
    looked at again).
    """
    runs = state.runs_on(trial.tree or "")
    fair = verdict.word in JUDGED and verdict.value is not None
    return verdict.word == "keep" or (fair and all(run.value is not None for run in runs))


def _lines(state: State) -> dict[str, int]:
    """Content that was ever best -> lines of code more than where the study began."""
    found: dict[str, int] = {}
    for trial in (state.trials[i] for i in tuple(state.kept)):
        found.setdefault(trial.tree or "", _lines_of(trial, found))
    return found


def _lines_of(trial: Trial, bases: dict[str, int]) -> int:
    added, removed = trial.lines
    return bases.get(trial.base_tree, 0) + added - removed


def _steps(compute_s: float) -> float:
    """Compute on a scale where 1 is what trial.is_dearer takes for a difference: 0.2 s, from a second on a fifth."""
    return compute_s / 0.2 if compute_s < 1 else 5 + math.log(compute_s, 1.2)


def page(state: State) -> RenderableType:
    """The front as a table, the start and the best with it in any case, and what to know before choosing from it."""
    found = front(state)
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("trial", "value", "lines", "compute"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("idea", overflow="fold", ratio=1)
    beside = {point for point in (found.start, found.best) if point and point not in found.members}
    for point in sorted((*found.members, *beside), key=lambda p: found.metric.gain(0, p.value)):
        shown.add_row(*_row(point, found), style="dim" if point in beside else "")
    sentences = (_how_many(found), _within_noise(found), _best_missing(found), held(state))
    return Group(shown, Text(""), Text("\n".join(filter(None, sentences))))


def _row(point: Point, found: Front) -> tuple[RenderableType, ...]:
    marks = [name for name, marked in (("start", found.start), ("best", found.best)) if point == marked]
    marks += [] if point in found.members else ["not on the front"]
    mark = f"{', '.join(marks)}: " if marks else ""
    times = "-" if point.times is None else f"x{point.times:.2f}"
    lines = f"{point.lines:+d}" if point.lines else "0"
    return str(point.trial), number(point.value), lines, times, Text(mark, "bold").append(clean(point.idea), "not bold")


def _how_many(found: Front) -> str:
    n, of = len(found.members), len(found.members) + len(found.others)
    return f"{n} of {of} measured are the front: no other is as good, as short and as cheap."


def _within_noise(found: Front) -> str:
    """Which members are not to be told apart from the best value, and the simplest of them."""
    if found.sd is None:
        return "How far one run scatters is not known yet: some of these values may be luck."
    top = found.members[-1]
    near = [point for point in found.members if found.metric.gain(point.value, top.value) < found.sd]
    if len(near) < 2:
        return ""
    simplest = min(near, key=lambda point: (point.lines, point.compute_s))
    which = ", ".join(str(point.trial) for point in near)
    return (
        f"Trials {which} are closer to each other than one run scatters ({found.sd:.2g}): "
        f"their values do not tell them apart. The one with the fewest lines is trial {simplest.trial}."
    )


def _best_missing(found: Front) -> str:
    """The best can be off the front: what is kept is judged seed by seed, and these are means over different seeds."""
    better = next((p for p in found.members if found.best and dominates(found.metric, p, found.best)), None)
    if better is None or found.best is None:
        return ""
    return (
        f"The best is not on the front: by its mean, trial {better.trial} ({better.word}) is no worse in anything. "
        f"`autoresearch show {better.trial}` says how it was judged, seed by seed."
    )


def data(state: State) -> dict[str, Any]:
    """The same for scripts, with the trials that are not on the front."""
    found = front(state)
    return {
        "metric": msgspec.to_builtins(found.metric),
        "noise": found.sd,
        "start": found.start.trial,
        "best": found.best.trial if found.best else None,
        "front": msgspec.to_builtins(found.members),
        "others": msgspec.to_builtins(found.others),
    }
