"""
The map of a live study as the page shows it: figures, what everybody is shown now, and a row for each level; plain data.

Pure functions of what was worked out. Texts go out as they are but for control characters: the page shows them as text alone.
"""

import re
from collections import defaultdict
from typing import Any

from autoresearch.campaign import drawing
from autoresearch.campaign.atlas import Atlas, Place
from autoresearch.live.records import Plan
from autoresearch.live.variables import Variables, cell_of
from autoresearch.web.rows import clean

MOST_ROWS = 600
WORDS, WHY, SUMMARY = 2000, 300, 600  # characters
LEAST_SHARE = 0.002  # of visitors, to be among what is shown now
_SIZE = re.compile(r'viewBox="0 0 (\d+) (\d+)"')


def told(atlas: Atlas, today: int, plan: Plan | None, variables: Variables) -> dict[str, Any]:
    """`today`: visitors who came for the first time today; `variables`: with all levels that anybody may see."""
    size = _SIZE.search(drawing.svg(atlas))
    segments = dict.fromkeys(
        ["", *sorted(place.reading.segment for place in atlas.places), *(plan.shares if plan else ())]
    )
    return {
        "simulated": atlas.simulated,
        "summary": clean(drawing.summary(atlas), SUMMARY),
        "halt": clean(atlas.halt, SUMMARY),
        "metric": clean(atlas.metric, 80),
        "at": atlas.at,
        "today": today,
        "exposures": atlas.exposures,
        "outcomes": atlas.outcomes,
        "days": atlas.days,
        "lift": atlas.lift,
        "size": [int(size[1]), int(size[2])] if size else None,
        "segments": [clean(one, 80) for one in segments],
        "plan": {"number": plan.number, "at": plan.at, "holdout": plan.holdout} if plan else None,
        "now": [one for segment in segments for one in _now(plan, segment, variables)] if plan else [],
        "rows": [_row(place) for place in _in_order(atlas)[:MOST_ROWS]],
    }


def _in_order(atlas: Atlas) -> list[Place]:
    """Those of all visitors first, then segment by segment; in each, variable by variable, its default first, pairs last."""
    found = [place for place in atlas.places if place.reading.segment]
    return [*drawing.whole(atlas), *sorted(found, key=_where)]


def _where(place: Place) -> tuple[str, bool, str, bool]:
    one = place.reading
    return one.segment, " x " in one.variable, one.variable, one.word != "default"


def _row(place: Place) -> dict[str, Any]:
    one = place.reading
    return {
        "segment": clean(one.segment, 80),
        "variable": clean(one.variable, 120),
        "level": clean(one.level, 1200),
        "text": clean(place.text, WORDS),
        "trial": place.trial,
        "word": drawing.verdict(place),
        "default": one.word == "default",
        "effect": one.effect,
        "low": one.low,
        "high": one.high,
        "p_best": one.p_best,
        "shown": one.shown,
        "told": one.told,
        "each": place.each,
        "why": clean(one.fades or one.why, WHY),
    }


def _now(plan: Plan | None, segment: str, variables: Variables) -> list[dict[str, Any]]:
    """Of the visitors of a segment who come now, what share is shown which level; the holdout among them."""
    if plan is None or (segment and segment not in plan.shares):
        return []
    shares = plan.shares.get(segment) or {plan.default: 1.0}
    total, levels = sum(shares.values()), defaultdict[tuple[str, str], float](float)
    for at in cell_of(plan.default).items():
        levels[at] += plan.holdout
    for cell, share in shares.items():
        for at in cell_of(cell).items():
            levels[at] += (1 - plan.holdout) * share / total
    default = cell_of(plan.default)
    found = sorted(levels.items(), key=lambda item: (item[0][0], -item[1]))
    return [
        {
            "segment": clean(segment, 80),
            "variable": name,
            "level": level,
            "text": clean(_text(variables, name, level), WORDS),
            "share": share,
            "default": default.get(name) == level,
        }
        for (name, level), share in found
        if share >= LEAST_SHARE
    ]


def _text(variables: Variables, name: str, level: str) -> str:
    known = variables.variables.get(name)
    return known.levels.get(level, level) if known else level
