"""
How the map of a live study looks: as a table, a picture, CSV and JSON. Pure functions; every text in it is somebody's and is escaped.
"""

import math
import textwrap
from html import escape
from typing import TYPE_CHECKING, Any

import msgspec

from autoresearch import spreadsheet
from autoresearch.campaign.atlas import Atlas, Place
from autoresearch.report.live import windows

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

SIMULATED = "SIMULATED AUDIENCE: nothing here says what real people like"
ROW, TOP, LEFT, RIGHT, WIDE, PRICE = 30, 92, 330, 230, 520, 130  # pixels
LINE, LETTERS = 18, 140  # pixels from one line of the summary to the next, and letters of one
MOST_TEXT = 44  # characters of a level's words
SURE = 0.9  # chance that levels do something together, beyond which it is told
REACHES = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)  # of the axis, to either side; what goes beyond is cut
COLOURS = {"keep": "#0f6b5c", "discard": "#a33b2b", "default": "#777777", "unknown": "#777777"}
VERDICTS = {
    "keep": "kept",
    "discard": "dropped",
    "default": "default",
    "rejected": "refused",
    "unknown": "unknown here",
    "waits": "waits",
}
OPEN = "#2f5fa8"
FONT = 'font-family="system-ui, sans-serif" font-size="13"'
HEAD = (
    "variable",
    "level",
    "segment",
    "text",
    "trial",
    "word",
    "effect",
    "low",
    "high",
    "p_best",
    "shown",
    "outcomes",
    "worth",
    "learnt",
    "told",
    "why",
    "fades",
    "spent",
)


def short(text: str, most: int = MOST_TEXT) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def summary(atlas: Atlas) -> str:
    """A sentence or two."""
    effect, low, high = atlas.lift
    said = "Nobody counts yet."
    if atlas.exposures:
        rate, days = atlas.outcomes / atlas.exposures, f"{atlas.days:.0f} day{'' if atlas.days == 1 else 's'}"
        said = f"{atlas.exposures:,.0f} people count, {rate:.2%} of them with the outcome, in {days}."
    if atlas.waiting:
        more = "more " if atlas.exposures and not atlas.in_part else "of them " if atlas.exposures else ""
        said += f" {windows(atlas.waiting, atlas.window_hours, atlas.in_part, more)}."
    if effect is not None and atlas.outcomes:
        said += f" Everybody against the holdout: {effect:+.0%} ({low:+.0%} to {high:+.0%}, at all looks together)."
    if atlas.began:
        said += f" Effects begin from what an earlier campaign found ({atlas.began})."
    if atlas.misfit.chance > SURE:
        said += f" Levels seem to do something together that no pair is named for, {math.expm1(atlas.misfit.size):.0%} each or so: intervals allow for it."
    return f"{said} {atlas.halt}".strip()


def whole(atlas: Atlas) -> list[Place]:
    """Readings of all visitors, pairs last."""
    found = [place for place in atlas.places if not place.reading.segment]
    return sorted(
        found, key=lambda place: (" x " in place.reading.variable, place.reading.variable, place.word != "default")
    )


def worth(atlas: Atlas, most: int) -> list[tuple[str, str, str, float]]:
    """
    What to test next: (variable, level, "", value) or (variable, "", other variable, value), the best of each kind first. A value is by
    what share of itself the rate would rise, on average, if it were known.
    """
    open_ = [
        place.reading
        for place in whole(atlas)
        if place.word not in ("keep", "discard", "rejected", "unknown", "waits") and not place.reading.enough
    ]
    open_.sort(key=lambda one: (-one.value, one.variable, one.level))
    pairs = [(a, "", b, value) for a, b, value in atlas.pairs if value > 0]
    return [*((one.variable, one.level, "", one.value) for one in open_[:most]), *pairs[:most]]


def verdict(place: Place) -> str:
    """One word or two for a person."""
    reading = place.reading
    return VERDICTS.get(place.word) or ("learned enough" if reading.enough else "not yet")


def price(place: Place) -> str:
    """What an outcome cost, in the currency of whoever told it; "" where that is not known."""
    return f"{place.each:,.2f}" if place.each is not None else ""


def table(atlas: Atlas) -> "Group":
    """For a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    found = Table(box=None, pad_edge=False, header_style="bold")
    for name, right in (
        ("variable", False),
        ("level", False),
        ("effect", True),
        ("95 %", True),
        ("best", True),
        ("people", True),
        ("", False),
        ("says", False),
    ):
        # Where a terminal is narrow, the words alone are cut.
        found.add_column(name, justify="right" if right else "left", no_wrap=name != "says", overflow="ellipsis")
    last = ""
    for place in whole(atlas):
        reading = place.reading
        is_default = reading.word == "default"
        found.add_row(
            Text(short(reading.variable, 24) if reading.variable != last else ""),
            Text(short(reading.level, 24)),
            "" if is_default else f"{reading.effect:+.0%}",
            "" if is_default else f"{reading.low:+.0%} to {reading.high:+.0%}",
            f"{reading.p_best:.0%}",
            f"{reading.shown:,.0f}" if reading.shown else "",
            verdict(place),
            Text(short(place.text), no_wrap=True, overflow="ellipsis"),
        )
        last = reading.variable
    lines = [Text(SIMULATED, style="bold yellow")] if atlas.simulated else []
    further = "; ".join(
        f"{short(name, 24)} {f'= {short(level, 24)}' if level else f'together with {short(other, 24)}'} ({value:.1%})"
        for name, level, other, value in worth(atlas, 3)
    )
    last_line = [Text(""), Text(f"Worth knowing next, in shares of the rate: {further}.")] if further else []
    return Group(*lines, Text(summary(atlas)), Text(""), found, *_prices(atlas), *last_line)


def _prices(atlas: Atlas) -> "list[Text]":
    """A line of its own for each variable: a further column would not fit a narrow terminal."""
    from rich.text import Text

    named: dict[str, list[str]] = {}
    for place in whole(atlas):
        if price(place):
            named.setdefault(place.reading.variable, []).append(f"{short(place.reading.level, 24)} {price(place)}")
    lines = [Text(f"{short(name, 24)}: {', '.join(each)}") for name, each in named.items()]
    return [Text(""), Text("What an outcome costs with", style="bold"), *lines] if lines else []


def as_data(atlas: Atlas) -> Any:
    """For scripts."""
    return msgspec.to_builtins(atlas)


def as_csv(atlas: Atlas) -> str:
    """For spreadsheets."""
    rows = (
        (
            *(one.variable, one.level, one.segment, place.text, place.trial, verdict(place)),
            *(round(x, 4) for x in (one.effect, one.low, one.high, one.p_best, one.shown, one.won, one.value)),
            *(one.enough, one.told, _sentence(one.why), one.fades, round(place.spent, 4)),
        )
        for place in atlas.places
        for one in (place.reading,)
    )
    return spreadsheet.text(HEAD, rows)


def _sentence(why: str) -> str:
    """A reason that begins with a number's sign would be taken for a formula."""
    return f"effect {why}" if why[:1] in ("+", "-") else why


def svg(atlas: Atlas) -> str:
    """Each level with its interval, against the default of its variable."""
    places = [place for place in whole(atlas) if place.reading.shown or place.reading.word == "default"]
    names = list(dict.fromkeys(place.reading.variable for place in places))
    said = textwrap.wrap(summary(atlas), LETTERS)
    top = TOP + LINE * (len(said) - 1)
    height = top + ROW * (len(places) + len(names)) + 30
    reach = max([0.1, *(abs(bound) for place in places for bound in (place.reading.low, place.reading.high))])
    reach = next((tidy for tidy in REACHES if tidy >= reach), REACHES[-1])

    def x(effect: float) -> float:
        return LEFT + WIDE / 2 * (1 + max(-1.0, min(1.0, effect / reach)))

    wide = LEFT + WIDE + RIGHT + (PRICE if any(map(price, places)) else 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {height}" width="{wide}" height="{height}" {FONT}>',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="24" y="30" font-size="18" font-weight="600">{escape(atlas.study)}: what resonates</text>',
        *(f'<text x="24" y="{52 + LINE * i}" fill="#555">{escape(line)}</text>' for i, line in enumerate(said)),
    ]
    if atlas.simulated:
        parts.append(f'<text x="24" y="{top - 20}" fill="#a06000" font-weight="600">{SIMULATED}</text>')
    for effect in (-reach, -reach / 2, 0.0, reach / 2, reach):
        line = "#999" if effect == 0 else "#e4e4e4"
        parts.append(f'<line x1="{x(effect):.0f}" x2="{x(effect):.0f}" y1="{top}" y2="{height - 26}" stroke="{line}"/>')
        parts.append(
            f'<text x="{x(effect):.0f}" y="{height - 8}" text-anchor="middle" fill="#555" font-size="11">{effect:+.0%}</text>'
        )
    y, last = top + 4, ""
    for place in places:
        one = place.reading
        if one.variable != last:
            y += ROW
            parts.append(f'<text x="24" y="{y}" font-weight="600">{escape(one.variable)}</text>')
            last = one.variable
        y += ROW
        colour = COLOURS.get(place.word, OPEN)
        words = escape(short(place.text or one.level, 42))
        parts.append(f'<text x="36" y="{y}"><title>{escape(place.text)}</title>{words}</text>')
        if one.word == "default":
            parts.append(f'<circle cx="{x(0):.1f}" cy="{y - 4}" r="4" fill="{colour}"/>')
        else:
            parts.append(
                f'<line x1="{x(one.low):.1f}" x2="{x(one.high):.1f}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="3" stroke-linecap="round" opacity="0.45"/>'
            )
            parts.append(f'<circle cx="{x(one.effect):.1f}" cy="{y - 4}" r="5" fill="{colour}"/>')
        told = ", ".join(
            [
                verdict(place),
                *([f"{one.shown:,.0f} people"] if one.shown else []),
                *([f"{price(place)} an outcome"] if price(place) else []),
            ]
        )
        parts.append(f'<text x="{LEFT + WIDE + 18}" y="{y}" fill="#555">{escape(told)}</text>')
    return "\n".join([*parts, "</svg>", ""])
