"""The picture of a ladder: gain against rung, with intervals, for the best and each kept change. Pure."""

from itertools import groupby
from pathlib import Path
from typing import Any

from autoresearch.errors import MissingExtra
from autoresearch.report.text import clean
from autoresearch.report.transfer import SAID, label, name
from autoresearch.rungs import Effect, Transfer
from autoresearch.trial import Metric

LABEL_LENGTH = 40  # characters
COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf")
MARKERS = "osD^vP*X"
SPREAD, APART = 0.5, 0.07  # of the way from one rung to the next: what a rung's points take up at most, and each


def draw(found: Transfer, metric: Metric, path: Path) -> None:
    """
    Write the picture; the format follows from the file's ending.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra("matplotlib", "plot", "drawing the ladder") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = len(found.changes) // 2 + 1
    figure, axes = plt.subplots(figsize=(10, 5.5 + 0.22 * rows), layout="constrained")
    _draw(axes, found, metric)
    figure.legend(loc="outside lower left", ncols=2, fontsize=9, frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw(axes: Any, found: Transfer, metric: Metric) -> None:
    n = len(found.changes)
    axes.axhline(0, color="#888888", linewidth=1, zorder=1)
    apart = min(APART, SPREAD / n) if n else 0.0
    best = {"color": "black", "marker": "o", "linewidth": 2.2}
    _line(axes, found, [rung.stack for rung in found.rungs], -apart * n / 2, best, f"all together: {found.stack}")
    for i, change in enumerate(found.changes):
        idea = clean(change.idea).partition(": ")[0]  # the reason is for the table
        short = idea if len(idea) <= LABEL_LENGTH else idea[: LABEL_LENGTH - 1] + "…"
        style = {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i // len(COLORS) % len(MARKERS)], "linewidth": 1.4}
        effects = [rung.changes[i] for rung in found.rungs]
        _line(axes, found, effects, apart * (i + 1 - n / 2), style, f"trial {name(change)}: {change.word} ({short})")
    axes.set_xticks(range(len(found.rungs)), [label(found, rung).replace(", ", "\n") for rung in found.rungs])
    axes.set_xlim(-0.5, len(found.rungs) - 0.5)
    unit = f" in {metric.unit}" if metric.unit else ""
    how = {"alone": "each change by itself on the start", "without": "what the best loses without each change"}
    axes.set_ylabel(f"gain in {metric.name}{unit} (above 0 is better)")
    singles = f"; {how[found.each]}" if found.each in how else ""
    axes.set_title(
        f"The best's gain {SAID[found.stack]} from {label(found, found.rungs[found.bottom])} to "
        f"{label(found, found.rungs[found.top])}\n{found.runs} paired seeds, 95 % intervals{singles}",
        fontsize=11,
        loc="left",
    )
    axes.grid(axis="y", alpha=0.25)


def _line(axes: Any, found: Transfer, effects: list[Effect], shift: float, style: dict[str, Any], text: str) -> None:
    """Points with their intervals, joined; where rungs are crossed with budgets, only those that differ in nothing else."""
    crossed = len({rung.budget for rung in found.rungs}) > 1 and len({str(rung.settings) for rung in found.rungs}) > 1
    crossed = crossed and len({rung.budget for rung in found.rungs}) < len(found.rungs)
    places = [(i, effect) for i, effect in enumerate(effects) if effect.gain is not None]
    groups = [
        list(part) for _, part in groupby(places, key=lambda p: str(found.rungs[p[0]].settings) if crossed else "")
    ]
    for number, group in enumerate(groups or [[]]):
        xs = [i + shift for i, _ in group]
        gains = [effect.gain or 0.0 for _, effect in group]
        below = [max(0.0, (e.gain or 0.0) - (e.low or 0.0)) for _, e in group]
        above = [max(0.0, (e.high or 0.0) - (e.gain or 0.0)) for _, e in group]
        shown = text.replace("$", r"\$") if number == 0 else None
        axes.errorbar(xs, gains, yerr=[below, above], capsize=3, markersize=5, label=shown, zorder=3, **style)
