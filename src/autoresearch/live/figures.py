"""
What may leave the house: figures of groups, and no persons.

No unit, no id of an event and no time of one is in it; and groups that are so small that they point at somebody are put together.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime

from autoresearch.live import table
from autoresearch.live.records import Tally
from autoresearch.live.tallying import DAY_S

LEAST = 5  # units of a group that is told by itself
COLUMNS = ("day", "segment", "cell", "holdout", "units", "successes")


def figures(tallies: Iterable[Tally], least: int = LEAST) -> str:
    """
    A CSV file of `Store.tallies`: a line for each day, segment and cell. Those with fewer than `least` units are one line of their day,
    with neither segment nor cell, so that the sums are right.
    """
    days: defaultdict[int, list[tuple[object, ...]]] = defaultdict(list)
    small: defaultdict[int, list[Tally]] = defaultdict(list)
    for one in tallies:
        if one.n >= least:
            days[one.day].append((one.segment, one.cell, one.held, _plain(one.n), one.successes))
        else:
            small[one.day].append(one)
    for day, few in small.items():
        n, won = sum(one.n for one in few), sum(one.successes for one in few)
        days[day].append(("", f"(groups of fewer than {least})", None, _plain(n), won))
    return table.write(COLUMNS, [(_date(day), *row) for day in sorted(days) for row in days[day]])


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_S, UTC).date().isoformat()


def _plain(n: float) -> float | int:
    return int(n) if n == int(n) else round(n, 3)
