"""
Two pictures. The staircase: every trial a dot, kept ones labelled, the running best. The front: value against lines of
code, compute as the size of the dot; against compute where no trial changed a line. Pure functions of State.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError, MissingExtra
from autoresearch.report import front as fronts
from autoresearch.report.front import Front, Point
from autoresearch.report.text import clean, staircase, summary
from autoresearch.state import State

KEPT, TRIED, LINE, FAILED = "#2ca02c", "#b8b8b8", "#2ca02c", "#d62728"
LABEL_LENGTH = 44  # characters
DOT = 80  # points², of a run that takes what the start's does


def progress(state: State, path: Path) -> None:
    """
    Write the staircase; the format follows from the file's ending.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    _write(path, "drawing the staircase", lambda axes: _draw(axes, state))


def front(state: State, path: Path) -> None:
    """
    Write the front; the format follows from the file's ending.

    Raises:
        MissingExtra: matplotlib is not installed.
        AutoresearchError: nothing is measured yet, or the file cannot be written.
    """
    found = fronts.front(state)
    _write(path, "drawing the front", lambda axes: _draw_front(axes, found))


def _write(path: Path, purpose: str, draw: Callable[[Any], None]) -> None:
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra("matplotlib", "plot", purpose) from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(12, 6.5), layout="constrained")
    draw(axes)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:  # a folder that is not there; an ending that names no format
        raise AutoresearchError(f"{path}: {error}") from None
    finally:
        plt.close(figure)


def _draw(axes: Any, state: State) -> None:
    metric = state.metric
    points = _points(state)
    steps = staircase(state)
    tried = [(n, v) for n, v, word, _ in points if word != "keep"]
    kept = [(n, v, idea) for n, v, word, idea in points if word == "keep"]
    if tried:
        axes.scatter(*zip(*tried, strict=True), s=22, color=TRIED, label="tried, not kept", zorder=2)
    if kept:
        axes.scatter(
            [n for n, _, _ in kept],
            [v for _, v, _ in kept],
            s=46,
            color=KEPT,
            edgecolor="white",
            label="kept",
            zorder=4,
        )
    if steps:
        last = max([n for n, *_ in points] + [n for n, _ in steps])
        xs, ys = [n for n, _ in steps] + [last], [v for _, v in steps] + [steps[-1][1]]
        axes.step(xs, ys, where="post", color=LINE, linewidth=1.8, alpha=0.8, label="best so far", zorder=3)
    if state.noise and steps:
        start = steps[0][1]
        axes.axhspan(
            start - state.noise.sd,
            start + state.noise.sd,
            color="#1f77b4",
            alpha=0.1,
            label="scatter of one run",
            zorder=1,
        )
    for n, value, idea in kept:
        axes.annotate(
            _short(idea),
            (n, value),
            xytext=(5, 7),
            textcoords="offset points",
            rotation=28,
            fontsize=8,
            color="#1a6b1a",
        )
    _frame(axes, state, points, steps)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{metric.name} ({'lower' if metric.direction == 'minimize' else 'higher'} is better)")
    axes.set_title(summary(state), fontsize=11, loc="left", wrap=True)
    axes.grid(alpha=0.25)
    axes.legend(loc="upper right" if metric.direction == "minimize" else "lower right", fontsize=9, frameon=False)


def _points(state: State) -> list[tuple[int, float, str, str]]:
    """(trial number, value, verdict word, idea) of every trial with a value."""
    found: list[tuple[int, float, str, str]] = []
    number = 0
    for trial in state.trials.values():
        if trial.verdict is None:
            continue
        number += not trial.is_baseline
        if trial.verdict.value is not None:
            found.append((number, trial.verdict.value, trial.word, "start" if trial.is_baseline else trial.idea))
    return found


def _frame(axes: Any, state: State, points: list[tuple[int, float, str, str]], steps: list[tuple[int, float]]) -> None:
    """Show the staircase; a few hopeless trials far outside must not flatten it, and are marked at the edge."""
    if not steps:
        return
    values = [value for _, value in steps]
    # Not from the start to the last: means are over other seeds, so what was kept later may lie above either.
    span = max(max(values) - min(values), 2 * (state.noise.sd if state.noise else 0.0)) or abs(values[0]) or 1.0
    worse = 1 if state.metric.direction == "minimize" else -1
    better, worst = sorted((min(values), max(values)), key=lambda value: worse * value)
    edges = sorted((better - worse * 0.12 * span, worst + worse * 0.35 * span))
    axes.set_ylim(*edges)
    outside = [n for n, value, _, _ in points if not edges[0] <= value <= edges[1]]
    edge = edges[1] if worse > 0 else edges[0]
    _mark_far_worse(axes, outside, edge, worse)


def _mark_far_worse(axes: Any, places: Sequence[float], edge: float, worse: int) -> None:
    """Arrows at the edge for what lies beyond it; `worse` is 1 where that is up."""
    if places:
        axes.scatter(
            places,
            [edge] * len(places),
            marker=6 if worse > 0 else 7,
            s=30,
            color=FAILED,
            alpha=0.6,
            clip_on=False,
            label="far worse",
            zorder=5,
        )


def _draw_front(axes: Any, found: Front) -> None:
    metric, members, by_lines = found.metric, found.members, _is_by_lines(found)
    sizes = {point.trial: DOT * max(0.2, min(6.0, point.times or 1.0)) for point in (*members, *found.others)}
    for points, color, label in ((found.others, TRIED, "measured"), (members, KEPT, "front")):
        axes.scatter(
            [_across(found, point) for point in points],
            [point.value for point in points],
            s=[sizes[point.trial] for point in points],
            color=color,
            edgecolor="white",
            label=label,
            zorder=3 if color == TRIED else 4,
        )
    steps = _best_for_so_much(found)
    axes.step(
        [_across(found, point) for point in steps],
        [point.value for point in steps],
        where="post",
        color=LINE,
        linewidth=1.8,
        alpha=0.5,
        label="best value with so many lines" if by_lines else "best value for so much compute",
        zorder=2,
    )
    _frame_front(axes, found)
    _label_front(axes, found)
    axes.xaxis.get_major_locator().set_params(integer=by_lines)
    compute = "compute of a run, in multiples of the start's (no trial added or removed a line)"
    axes.set_xlabel("lines of code more than the start" if by_lines else compute)
    axes.set_ylabel(f"{metric.name} ({'lower' if metric.direction == 'minimize' else 'higher'} is better)")
    noise = f"; one run scatters by {found.sd:.2g}" if found.sd else ""
    axes.set_title(
        f"What a gain costs. The larger a dot, the more compute a run takes{noise}", fontsize=11, loc="left", pad=14
    )
    axes.grid(alpha=0.25)
    axes.legend(loc="upper right" if metric.direction == "minimize" else "lower right", fontsize=9, frameon=False)


def _is_by_lines(found: Front) -> bool:
    """Whether lines are drawn across, or, where no trial added or removed one, compute."""
    return any(point.lines for point in (*found.members, *found.others))


def _across(found: Front, point: Point) -> float:
    return point.lines if _is_by_lines(found) else point.times or 1.0


def _best_for_so_much(found: Front) -> list[Point]:
    """The members that no other beats in value and what is drawn across, least first: the line through the picture."""
    steps: list[Point] = []
    for point in sorted(found.members, key=lambda p: (_across(found, p), -found.metric.gain(0, p.value))):
        if not steps or found.metric.gain(steps[-1].value, point.value) > 0:
            steps.append(point)
    return steps


def _frame_front(axes: Any, found: Front) -> None:
    """Show what lies between the start and the best; what is far worse is marked at the edge."""
    metric = found.metric
    values = [found.start.value, found.members[-1].value]
    span = abs(values[1] - values[0]) or 4 * (found.sd or 0.0) or abs(values[0]) or 1.0
    worse = 1 if metric.direction == "minimize" else -1
    edge = values[0] + worse * 0.35 * span
    axes.set_ylim(*sorted((values[1] - worse * 0.12 * span, edge)))
    outside = [point for point in (*found.members, *found.others) if metric.gain(edge, point.value) < 0]
    _mark_far_worse(axes, [_across(found, point) for point in outside], edge, worse)
    places = [_across(found, point) for point in (*found.members, *found.others)]
    room = max(2.0 if _is_by_lines(found) else 0.05, 0.12 * (max(places) - min(places)))
    axes.set_xlim(min(places) - room, max(places) + 3 * room)


def _label_front(axes: Any, found: Front) -> None:
    """Name the start and the best, and give the others on the front their trial's number, where there is room."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    taken: list[tuple[float, float]] = []
    best = [found.best] if found.best and found.best != found.start else []
    for point in (found.start, *best, *reversed(found.members)):
        place = (_across(found, point) - left) / (right - left), (point.value - bottom) / (top - bottom)
        if not 0 <= place[1] <= 1 or any(math.dist(place, other) < 0.03 for other in taken):
            continue
        taken.append(place)
        number = f"{point.trial}, x{point.times:.2f}" if point.dearer and point.times else str(point.trial)
        named = "start" if point == found.start else f"best: {_short(point.idea)}" if point in best else ""
        axes.annotate(
            named or number,
            (_across(found, point), point.value),
            xytext=(7, 5),
            textcoords="offset points",
            fontsize=9 if named else 8,
            fontweight="bold" if named else "normal",
            color="#1a6b1a" if point in found.members else "#606060",
            zorder=6,
        )


def _short(idea: str) -> str:
    """The idea without its reason, as matplotlib may see it."""
    what = clean(idea).partition(": ")[0]
    return (what if len(what) <= LABEL_LENGTH else what[: LABEL_LENGTH - 1] + "…").replace("$", r"\$")
