"""
The staircase as an inline SVG that needs nothing to be drawn: every trial a dot, kept ones labelled, the running best.

Colours come from the page's style, so one picture serves dark and light. Bounded: dots that would lie on top of each
other are drawn once. For a file to show elsewhere there is plot.py.
"""

import math
from collections.abc import Iterable, Sequence

from autoresearch.report.markup import Html, tag
from autoresearch.report.morning import Dot, Picture
from autoresearch.report.text import amount
from autoresearch.trial import Metric

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 74, 190, 92, 44  # room for labels above and on the right, values on the left
LABELS, LETTERS = 18, 30
APART = 26  # points between labels
NEARLY = 1e-6  # of a step: ends that are round themselves count


def draw(picture: Picture, metric: Metric) -> Html:
    """The picture; an empty paragraph where nothing is measured."""
    if not picture.steps:
        return tag("p", "Nothing is measured yet.")
    frame = Frame(picture, metric)
    parts = [*_axes(frame), *_noise(frame, picture), *_dots(frame, picture), *_steps(frame, picture)]
    parts += _labels(frame, [dot for dot in picture.dots if dot.kept])
    title = f"{metric.name} of every trial; the line is the best so far, as seen while climbing"
    return tag(
        "svg",
        tag("title", title),
        *parts,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="staircase",
        width="100%",
    )


class Frame:
    """Where things are. A few hopeless trials far outside do not flatten the staircase: they are drawn at the edge."""

    def __init__(self, picture: Picture, metric: Metric) -> None:
        values = [value for _, value in picture.steps]
        self.worse = 1 if metric.direction == "minimize" else -1
        # Kept ones can lie above the start: each was held against its base seed by seed, and means are over other seeds.
        span = max(max(values) - min(values), 2 * (picture.sd or 0.0)) or abs(values[0]) or 1.0
        better, worst = sorted((min(values), max(values)), key=lambda value: self.worse * value)
        edges = sorted((better - self.worse * 0.12 * span, worst + self.worse * 0.35 * span))
        self.low, self.high = edges
        places = [dot.n for dot in picture.dots] + [n for n, _ in picture.steps]
        self.first, self.last = min(places), max(*places, min(places) + 1)

    def x(self, n: float) -> float:
        return round(LEFT + (n - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return round(HEIGHT - BOTTOM - (inside - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM), 1)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two ends, at most one more than `most`."""
    if not low < high:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * n for n in (1, 2, 5, 10) if (high - low) / (power * n) <= most + NEARLY)
    first, last = math.ceil(low / step - NEARLY), math.floor(high / step + NEARLY)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _axes(frame: Frame) -> list[Html]:
    lines, right, bottom = [], WIDTH - RIGHT, HEIGHT - BOTTOM
    for value in ticks(frame.low, frame.high):
        y = frame.y(value)
        lines.append(tag("path", d=f"M{LEFT} {y}H{right}", class_="grid"))
        lines.append(tag("text", amount(value, 6), x=LEFT - 8, y=y + 4, class_="end"))
    for n in ticks(frame.first, frame.last, 8):
        if n == int(n):
            lines.append(tag("text", f"{n:,.0f}", x=frame.x(n), y=bottom + 18, class_="mid"))
    lines.append(tag("text", "trial", x=(LEFT + right) / 2, y=HEIGHT - 6, class_="mid"))
    return lines


def _noise(frame: Frame, picture: Picture) -> list[Html]:
    """How far one run scatters, around the start."""
    if not picture.sd:
        return []
    start = picture.steps[0][1]
    ends = sorted((frame.y(start - picture.sd), frame.y(start + picture.sd)))
    size = {"width": WIDTH - LEFT - RIGHT, "height": round(max(1.0, ends[1] - ends[0]), 1)}
    return [tag("rect", tag("title", "scatter of one run"), x=LEFT, y=ends[0], class_="noise", **size)]


def _dots(frame: Frame, picture: Picture) -> list[Html]:
    tried = {(frame.x(d.n), frame.y(d.value)) for d in picture.dots if not d.kept and frame.holds(d.value)}
    beyond = {frame.x(d.n) for d in picture.dots if not d.kept and not frame.holds(d.value)}
    edge = TOP if frame.worse > 0 else HEIGHT - BOTTOM
    dots = [tag("path", d=_marks(tried), class_="tried")] if tried else []
    return [*dots, tag("path", d=_marks((x, edge) for x in beyond), class_="beyond")] if beyond else dots


def _marks(places: Iterable[tuple[float, float]]) -> str:
    """A dot for each place, on a grid of whole points, so that ten thousand are no more than the picture holds."""
    return "".join(f"M{x} {y}h0" for x, y in sorted({(round(x), round(y)) for x, y in places}))


def _steps(frame: Frame, picture: Picture) -> list[Html]:
    (n, value), *rest = picture.steps
    line = f"M{frame.x(n)} {frame.y(value)}" + "".join(f"H{frame.x(n)}V{frame.y(value)}" for n, value in rest)
    kept = [(frame.x(dot.n), frame.y(dot.value)) for dot in picture.dots if dot.kept and frame.holds(dot.value)]
    return [
        tag("path", d=f"{line}H{frame.x(frame.last)}", class_="best"),
        tag("path", d=_marks(kept), class_="kept-rim"),
        tag("path", d=_marks(kept), class_="kept"),
    ]


def _labels(frame: Frame, kept: Sequence[Dot]) -> list[Html]:
    """Names of kept changes, slanted; where they would lie on each other, only the first, and always the last."""
    chosen: list[Dot] = []
    for dot in [kept[-1], *kept[:-1]] if kept else []:
        if all(abs(frame.x(dot.n) - frame.x(other.n)) >= APART for other in chosen) and len(chosen) < LABELS:
            chosen.append(dot)
    shown = []
    for dot in chosen:
        short = dot.idea if len(dot.idea) <= LETTERS else f"{dot.idea[: LETTERS - 1]}…"
        x, y = frame.x(dot.n), frame.y(dot.value)
        shown.append(tag("text", short, x=x + 7, y=y - 8, transform=f"rotate(-28 {x} {y})", class_="label"))
    return shown
