"""The staircase picture: every trial a dot, kept ones labelled, the running best. A pure function of State."""

from pathlib import Path
from typing import Any

from autoresearch.errors import MissingExtra
from autoresearch.report.text import staircase, summary
from autoresearch.state import State

KEPT, TRIED, LINE, FAILED = "#2ca02c", "#b8b8b8", "#2ca02c", "#d62728"
LABEL_LENGTH = 44  # characters


def progress(state: State, path: Path) -> None:
    """
    Write the picture; the format follows from the file's ending.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra("matplotlib", "plot", "drawing the staircase") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(12, 6.5), layout="constrained")
    _draw(axes, state)
    figure.savefig(path, dpi=130)
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
        what = idea.partition(": ")[0]  # the reason is for the table
        label = what if len(what) <= LABEL_LENGTH else what[: LABEL_LENGTH - 1] + "…"
        axes.annotate(
            label.replace("$", r"\$"),
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
    span = (max(values) - min(values)) or abs(values[0]) or 1.0
    worse = 1 if state.metric.direction == "minimize" else -1
    start, best = values[0], values[-1]
    edges = sorted((best - worse * 0.12 * span, start + worse * 0.35 * span))
    axes.set_ylim(*edges)
    outside = [n for n, value, _, _ in points if not edges[0] <= value <= edges[1]]
    edge = edges[1] if worse > 0 else edges[0]
    if outside:
        axes.scatter(
            outside,
            [edge] * len(outside),
            marker=6 if worse > 0 else 7,
            s=30,
            color=FAILED,
            alpha=0.6,
            clip_on=False,
            label="far worse",
            zorder=5,
        )
