"""
Which advertisements to run: the latest plan as a list for whoever books them, each with its words and its share of what is shown.

An account takes some advertisements and not hundreds. So few stand for the plan, chosen such that every level of it has about its share.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping

from msgspec import Struct

from autoresearch import spreadsheet
from autoresearch.errors import StudyError
from autoresearch.live.brand import Brand
from autoresearch.live.counts import parts
from autoresearch.live.exporting import Rendered
from autoresearch.live.mappings import CELL, HELD, HOLDOUT, SEGMENT
from autoresearch.live.records import Plan
from autoresearch.live.render import Template
from autoresearch.live.variables import Variables

MOST = 20  # advertisements for each kind of people
NAME, SHARE = "name", "share"


class Booked(Struct, frozen=True):
    """`text` is the CSV, `ads` how many it lists beside the holdout, `cells` how many the plan has, for all kinds of people."""

    text: str
    ads: int
    cells: int


def advertisements(
    plan: Plan | None,
    variables: Variables,
    template: Template | None = None,
    rules: Brand | None = None,
    most: int = MOST,
) -> Booked:
    """
    A row for each, about so many for each kind of people, and one for the holdout, which has the defaults. Shares add up to one for each kind. Under its
    name the account's results can be imported again.

    Raises:
        StudyError: there is no plan of these words yet, a level reads as a formula, or the rules forbid a cell.
    """
    if plan is None:
        raise StudyError("there is no plan yet; `autoresearch run` makes the first one")
    made = Rendered(variables, template, rules)
    old = StudyError(
        "the latest plan is of other words than there are now: the next one, which a running study makes, is of these"
    )
    if made.of(plan.default) is None:
        raise old
    rows = []
    for segment, shares in sorted(plan.shares.items()):
        there = {cell: share for cell, share in shares.items() if made.of(cell) is not None}
        if not there:
            raise old
        chosen = few(there, most)
        told = [(plan.default, True, plan.holdout), *((cell, False, share) for cell, share in chosen.items())]
        rows += [
            (
                cell + HOLDOUT * held,
                cell,
                segment,
                held,
                round(share if held else (1 - plan.holdout) * share, 4),
                *(made.of(cell) or ()),
            )
            for cell, held, share in told
        ]
    cells = sum(map(len, plan.shares.values()))
    return Booked(
        spreadsheet.text((NAME, CELL, SEGMENT, HELD, SHARE, *made.columns), rows), len(rows) - len(plan.shares), cells
    )


def few(shares: Mapping[str, float], most: int) -> dict[str, float]:
    """
    Cells that stand for all of them, with shares that add up to one, the largest first: so many equal parts at most, and a smaller one for each
    level that has none of them. A level has about the share that it has of all (herding: Welling, Herding dynamical weights to learn, 2009).
    """
    total = sum(shares.values())
    by_share = sorted(shares, key=lambda cell: (-shares[cell], cell))
    levels: defaultdict[tuple[str, str], float] = defaultdict(float)
    for cell in by_share:
        for level in parts(cell).items():
            levels[level] += shares[cell] / total
    found, owed = Counter[str](), dict(levels)
    for _ in range(most):
        cell = max(by_share, key=lambda cell: sum(owed[level] for level in parts(cell).items()))
        found[cell] += 1
        owed = {level: owed[level] + share for level, share in levels.items()}
        for level in parts(cell).items():
            owed[level] -= 1
    told = {cell: float(n) for cell, n in found.items()}
    for level, share in sorted(levels.items()):
        if not any(level in parts(cell).items() for cell in told):
            told[next(cell for cell in by_share if level in parts(cell).items())] = share * most
    whole = sum(told.values())
    return dict(sorted(((cell, part / whole) for cell, part in told.items()), key=lambda pair: (-pair[1], pair[0])))
