"""
What may leave the house: figures of groups, and no persons.

No unit, no id of an event and no time of one is in it; and groups that are so small that they point at somebody are put together.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime

from autoresearch import spreadsheet
from autoresearch.live.records import Tally
from autoresearch.live.tallying import DAY_S

LEAST = 5  # units of a group that is told by itself
COLUMNS = ("day", "segment", "cell", "holdout", "units", "successes")


def figures(tallies: Iterable[Tally], least: int = LEAST) -> str:
    """
    A CSV file of `Store.tallies`: a line for each day, segment and cell. Those with fewer than `least` units are one line of their day,
    with neither segment nor cell, and where that is still fewer, of the last line, which has no day either; so the sums are right.
    """
    days: defaultdict[int, list[tuple[object, ...]]] = defaultdict(list)
    small: defaultdict[int, list[Tally]] = defaultdict(list)
    for one in tallies:
        if one.n >= least:
            days[one.day].append((one.segment, one.cell, one.held, _plain(one.n), one.successes))
        else:
            small[one.day].append(one)
    rest = list[Tally]()
    for day, few in small.items():
        if sum(one.n for one in few) >= least:
            days[day].append(_together(few, least))
        else:
            rest += few
    last = [("", *_together(rest, least))] if rest else []
    told = ((_date(day), *row) for day in sorted(days) for row in days[day])
    return spreadsheet.text(COLUMNS, itertools.chain(told, last))


def _together(few: list[Tally], least: int) -> tuple[object, ...]:
    n, won = sum(one.n for one in few), sum(one.successes for one in few)
    return "", f"(groups of fewer than {least})", None, _plain(n), won


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_S, UTC).date().isoformat()


def _plain(n: float) -> float | int:
    return int(n) if n == int(n) else round(n, 3)
