"""
How the map over time looks: as a table, a picture with a panel for each variable, CSV and JSON. Pure functions; every text in it is
somebody's and is escaped.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

import msgspec

from autoresearch import spreadsheet
from autoresearch.campaign.drawing import FONT, REACHES, SIMULATED, short
from autoresearch.campaign.history import History, Line, Point

if TYPE_CHECKING:
    from rich.console import Group

HEAD = ("variable", "level", "text", "day", "at", "effect", "low", "high", "shown", "outcomes", "standing")
COLUMNS = 4  # days that a terminal shows
LEFT, WIDE, RIGHT, TOP, PANEL, GAP, LABEL = 64, 560, 400, 116, 190, 52, 15  # pixels
LEVELS = ("#2f5fa8", "#b3541e", "#0f6b5c", "#8a3d82", "#6b7a16", "#a33b2b", "#3b3f8f", "#7a5a2b")  # dark on white
DEFAULT = "#777777"
MOST_SHADES = 4  # of a panel; the best that are still shown
LEAST_SEEN = 100  # people who saw a level, before its interval sets the scale


def data(history: History) -> Any:
    """For scripts."""
    return msgspec.to_builtins(history)


def as_csv(history: History) -> str:
    """For spreadsheets."""
    rows = (
        (
            *(line.variable, line.level, line.text, one.day),
            datetime.fromtimestamp(one.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            *(round(x, 4) for x in (one.effect, one.low, one.high, one.shown, one.won)),
            one.standing,
        )
        for line in history.lines
        for one in line.points
    )
    return spreadsheet.text(HEAD, rows)


def table(history: History) -> "Group":
    """For a terminal: a few of the days."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    days = list(dict.fromkeys(history.days))
    shown = [days[round(i * (len(days) - 1) / (COLUMNS - 1))] for i in range(COLUMNS)] if len(days) > COLUMNS else days
    found = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("variable", "level"):
        found.add_column(name, no_wrap=True, overflow="ellipsis")
    for day in shown:
        found.add_column(f"day {day}", justify="right", no_wrap=True)
    last = ""
    for line in history.lines:
        by_day = {point.day: point for point in line.points}
        cells = ("" if line.first else _cell(by_day[day]) if day in by_day else "" for day in shown)
        name = line.variable if line.variable != last else ""
        found.add_row(Text(short(name, 24)), Text(short(line.level, 24)), *cells)
        last = line.variable
    said = "By what share the rate changes, against the levels that were the defaults at first (± half of the 95 % interval):"
    lines = [Text(SIMULATED, style="bold yellow")] if history.simulated else []
    return Group(*lines, Text(said), Text(""), found)


def _cell(point: Point) -> str:
    return f"{point.effect:+.0%} ±{(point.high - point.low) / 2:.0%}"


def svg(history: History) -> str:
    """A panel for each variable, all on one scale: each level's effect as a line, its interval as a shade."""
    panels = {line.variable: [one for one in history.lines if one.variable == line.variable] for line in history.lines}
    names = [name for name, lines in panels.items() if len(lines) > 1]  # where there is something to compare
    heights = {name: max(PANEL, LABEL * (len(panels[name]) + 1)) for name in names}
    wide, height = LEFT + WIDE + RIGHT, TOP + sum(heights.values()) + GAP * len(names)
    every = f"every {history.step_days} days" if history.step_days > 1 else "day by day"
    said = f"How each level changes the rate against the first default, as it was known {every}; the shade is the 95 % interval, of the best {MOST_SHADES} at most."
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {height}" width="{wide}" height="{height}" {FONT}>',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="24" y="30" font-size="18" font-weight="600">{escape(history.study)}: what was known when</text>',
        f'<text x="24" y="52" fill="#555">{escape(said)}</text>',
        '<text x="24" y="70" fill="#555">A ring: it became the default. A cross: it was not shown any more from then on.</text>',
    ]
    if history.simulated:
        parts.append(f'<text x="24" y="92" fill="#a06000" font-weight="600">{SIMULATED}</text>')
    reach, top = _reach(history), TOP + 24
    for name in names:
        parts.append(f'<text x="24" y="{top - 12}" font-weight="600">{escape(short(name, 60))}</text>')
        parts += _panel(panels[name], history.days, reach, top, heights[name])
        top += heights[name] + GAP
    return "\n".join([*parts, "</svg>", ""])


def _reach(history: History) -> float:
    """What the axis shows to either side: all that is known of levels that somebody saw, a first guess's width aside."""
    known = [point for line in history.lines for point in line.points if point.shown >= LEAST_SEEN]
    widest = max([0.1, *(abs(point.effect) * 1.15 for point in known), *_last_bounds(history)])
    return next((tidy for tidy in REACHES if tidy >= widest), REACHES[-1])


def _last_bounds(history: History) -> Iterator[float]:
    for line in history.lines:
        if line.points[-1].shown >= LEAST_SEEN:
            yield from (abs(line.points[-1].low), abs(line.points[-1].high))


def _panel(lines: Sequence[Line], days: Sequence[int], reach: float, top: float, height: float) -> list[str]:
    first, last = days[0], max(days[-1], days[0] + 1)

    def x(day: int) -> float:
        return LEFT + WIDE * (day - first) / (last - first)

    def y(effect: float) -> float:
        return top + height / 2 * (1 - max(-1.0, min(1.0, effect / reach)))

    parts = []
    for effect in (-reach, -reach / 2, 0.0, reach / 2, reach):
        stroke = "#999" if effect == 0 else "#e4e4e4"
        parts.append(
            f'<line x1="{LEFT}" x2="{LEFT + WIDE}" y1="{y(effect):.1f}" y2="{y(effect):.1f}" stroke="{stroke}"/>'
        )
        parts.append(
            f'<text x="{LEFT - 8}" y="{y(effect) + 4:.1f}" text-anchor="end" fill="#555" font-size="11">{effect:+.0%}</text>'
        )
    for day in _ticks(first, days[-1]):
        parts.append(
            f'<text x="{x(day):.1f}" y="{top + height + 16:.1f}" text-anchor="middle" fill="#555" font-size="11">day {day}</text>'
        )
    others = [line for line in lines if not line.first]
    colours = {line.level: LEVELS[i % len(LEVELS)] for i, line in enumerate(others)}
    shaded = sorted(others, key=lambda line: (line.points[-1].standing == "not shown", -line.points[-1].effect))
    for line in shaded[:MOST_SHADES]:
        seen = [one for one in line.points if one.shown]  # before anybody counted, all is possible of all of them
        edge = [(x(one.day), y(one.high)) for one in seen] + [(x(one.day), y(one.low)) for one in reversed(seen)]
        colour = colours[line.level]
        parts.append(f'<polygon points="{_joined(edge)}" fill="{colour}" stroke="{colour}" opacity="0.09"/>')
    for line in others:
        colour, path = colours[line.level], [(x(one.day), y(one.effect)) for one in line.points]
        faint = ' opacity="0.45"' if line.points[-1].standing == "not shown" else ""
        parts.append(
            f'<polyline points="{_joined(path)}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"{faint}/>'
        )
        parts += _marks(line, path, colour)
    parts += _labels(lines, colours, y, top, height)
    return parts


def _marks(line: Line, path: Sequence[tuple[float, float]], colour: str) -> Iterator[str]:
    """A ring where it became the default, a cross where it was not shown any more, a dot at the end."""
    before = ""
    for (px, py), point in zip(path, line.points, strict=True):
        if point.standing == "default" and before != "default":
            yield f'<circle cx="{px:.1f}" cy="{py:.1f}" r="6" fill="white" stroke="{colour}" stroke-width="2"/>'
        if point.standing == "not shown" and before in ("shown", "default"):
            yield f'<path d="M{px - 4:.1f} {py - 4:.1f}l8 8m0 -8l-8 8" stroke="{colour}" stroke-width="2"/>'
        before = point.standing
    yield f'<circle cx="{path[-1][0]:.1f}" cy="{path[-1][1]:.1f}" r="3" fill="{colour}"/>'


def _labels(lines: Sequence[Line], colours: dict[str, str], y: Any, top: float, height: float) -> Iterator[str]:
    """To the right, from the best to the worst, moved apart where they would lie upon each other."""
    wanted = sorted((y(line.points[-1].effect), line.level, line) for line in lines)
    places: list[float] = []
    for at, _, _ in wanted:
        places.append(max(at, places[-1] + LABEL) if places else max(at, top + 4))
    over = places[-1] - (top + height)
    if over > 0:  # from below upwards
        bound = top + height
        for i in range(len(places) - 1, -1, -1):
            places[i] = min(places[i], bound)
            bound = places[i] - LABEL
    for place, (_, _, line) in zip(places, wanted, strict=True):
        one, colour = line.points[-1], colours.get(line.level, DEFAULT)
        told = {"default": "default", "shown": "", "not shown": "no longer shown"}[one.standing]
        effect = "the first default" if line.first else f"{one.effect:+.0%} ({one.low:+.0%} to {one.high:+.0%})"
        told = "" if line.first and told == "default" else told
        said = ", ".join(part for part in (effect, told) if part)
        yield (
            f'<text x="{LEFT + WIDE + 14}" y="{place + 4:.1f}" font-size="12" fill="{colour}"><title>{escape(line.text)}</title>'
            f'<tspan font-weight="600">{escape(short(line.level, 18))}</tspan> {escape(said)}</text>'
        )


def _ticks(first: int, last: int) -> list[int]:
    step = next(tidy for tidy in (1, 2, 5, 7, 14, 28, 56, 91, 182, 364, 10**6) if (last - first) / tidy <= 8)
    return list(range(first, last + 1, step))


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
