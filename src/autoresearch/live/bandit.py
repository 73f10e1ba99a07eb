"""
Who is shown what next: Thompson's rule over the levels of all variables at once, in batches, with a second choice and a
floor.

A plan is a pure function of the tallies and its seed, so it can be made again by anybody. Blocks of variables are drawn
independently of each other: within a plan a level meets all others by the same chances as its rivals do, so that a
comparison of levels is one of a randomised trial, whatever the model believes. Knows no clock and no store.

Sources: Thompson 1933; in batches: Kalkanli and Özgür 2021; top two: Russo, Simple Bayesian algorithms for best-arm
identification, 2020; factorial: Scott 2010, section 4; Hill et al., An efficient bandit algorithm for realtime
multivariate optimization, KDD 2017.
"""

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from autoresearch.live.belief import Belief, Block, Levels, Prior, believe
from autoresearch.live.counts import Counts, as_counts
from autoresearch.live.records import Plan, Tally
from autoresearch.live.settings import Live
from autoresearch.live.variables import Variables, key
from autoresearch.stats.labels import Errors

if TYPE_CHECKING:
    import numpy as np

    from autoresearch.stats.logistic import Numbers, Places

DRAWS = 500  # of the posterior; a share is known to 0.02
FIRST = 0.98  # of the visitors of a block see a draw's best, the others the best that is another; docs/dev/LOG.md
FLOOR = 0.005  # of the visitors see each level at least, so that none is forgotten and each can be compared
DEFAULT_FLOOR = 0.1  # of each variable's visitors see its default, which the others are compared with
MOST_LISTED = 1000  # cells of a plan; beyond, so many are drawn
DIGITS, LITTLE = 6, 1e-9  # of a share that is written down; what is not worth another round


def make(
    tallies: Iterable[Tally] | Counts,
    variables: Variables,
    levels: Levels,
    live: Live,
    number: int,
    at: float,
    seen: int,
    seed: int,
    prior: Prior | None = None,
    labels: Errors | None = None,
) -> Plan:
    """
    The plan from `at` on, made from records up to number `seen`. `levels` may be shown: approved, and neither retired
    nor stopped; a variable's default always may. A segment that was seen has shares of its own; "" stands for all
    others.

    Raises:
        StudyError: see believe.
        MissingExtra: numpy is not there.
    """
    return planned(believe(as_counts(tallies), variables, levels, live, prior, labels), live, number, at, seen, seed)


def planned(belief: Belief, live: Live, number: int, at: float, seen: int, seed: int) -> Plan:
    """The plan that follows from a belief."""
    import numpy as np

    rng = np.random.default_rng([seed, number])
    drawn = belief.posterior.draw(DRAWS, rng)
    shares = {}
    for segment in ("", *(name for name in sorted(belief.weights) if name)):
        inside = segment if segment in belief.weights else None
        of_blocks = [block_shares(belief, block, drawn, inside) for block in belief.blocks]
        shares[segment] = _listed(belief, of_blocks, rng)
    default = belief.default["cell"] if belief.whole else key(belief.default)
    return Plan(number, at, seen, seed, default, live.holdout, shares)


def block_shares(belief: Belief, block: Block, drawn: "Numbers", segment: str | None = None) -> "Numbers":
    """Of each combination of a block the chance that a visitor is shown it."""
    import numpy as np

    rows = belief.rows(block.variables, block.combos, segment)
    used = np.flatnonzero(rows.any(axis=0))
    values = drawn[:, used] @ rows[:, used].T
    best = np.bincount(values.argmax(axis=1), minlength=len(block.combos))
    shares = top_two(best / len(drawn), FIRST)
    means = rows @ belief.posterior.mean
    return _with_floor(shares, block, means, belief.default)


def top_two(best: "Numbers", first: float) -> "Numbers":
    """
    From the chance of each to be the best: so many see one that is drawn by it, the others one that is drawn until it
    is another.
    """
    import numpy as np

    if len(best) < 2:
        return best
    # A chance of 1 has no second; half a draw for each gives it one.
    smooth = (best * DRAWS + 0.5) / (best.sum() * DRAWS + 0.5 * len(best))
    odds = smooth / (1 - smooth)
    found: Numbers = first * best + (1 - first) * smooth * (odds.sum() - odds)
    return found / float(np.sum(found))


def _with_floor(shares: "Numbers", block: Block, means: "Numbers", default: dict[str, str]) -> "Numbers":
    """
    What a level lacks to its floor is given to the best combination that has it; the others give it in proportion.
    """
    import numpy as np

    floors = list[tuple[list[int], int, float]]()
    for place, name in enumerate(block.variables):
        levels = sorted({combo[place] for combo in block.combos})
        for level in levels if len(levels) > 1 else []:
            having = [i for i, combo in enumerate(block.combos) if combo[place] == level]
            floor = min(DEFAULT_FLOOR if level == default[name] else FLOOR, 1 / len(levels))
            floors.append((having, max(having, key=lambda i: (means[i], -i)), floor))
    for _ in range(4):  # who gives may fall below a floor by it, by less each time
        added = np.zeros(len(shares))
        for having, best, floor in floors:
            added[best] += max(0.0, floor - float(shares[having].sum()))
        given = min(0.5, float(added.sum()))
        if given < LITTLE:
            break
        shares = shares * (1 - given) + added * (given / float(added.sum()))
    return shares


def _listed(belief: Belief, of_blocks: Sequence["Numbers"], rng: "np.random.Generator") -> dict[str, float]:
    """
    Cell -> share. The product over blocks; where that has too many cells, so many of them as a plan lists, in which
    each combination of a block comes as often as its share says (to one cell), and blocks are shuffled against each
    other.
    """
    import numpy as np

    if math.prod(len(block.combos) for block in belief.blocks) <= MOST_LISTED:
        shares = functools.reduce(np.multiply.outer, of_blocks, np.ones(()))
        cells, order = _all_cells(belief.blocks, belief.whole)
        rounded = np.round(shares.ravel()[list(order)], DIGITS).tolist()
        return {cell: share for cell, share in zip(cells, rounded, strict=True) if share > 0}
    found: dict[str, float] = {}
    slots = [rng.permutation(_slots(of, rng)).tolist() for of in of_blocks]
    for row in zip(*slots, strict=True):
        cell = _cell(belief.blocks, row, belief.whole)
        found[cell] = found.get(cell, 0.0) + 1 / MOST_LISTED
    return {cell: round(share, DIGITS) for cell, share in sorted(found.items())}


def _cell(blocks: Sequence[Block], row: Sequence[int], whole: bool) -> str:
    combos = [block.combos[i] for block, i in zip(blocks, row, strict=True)]
    if whole:
        return combos[0][0]
    names = (name for block in blocks for name in block.variables)
    return key(dict(zip(names, itertools.chain.from_iterable(combos), strict=True)))


@functools.lru_cache(maxsize=16)
def _all_cells(blocks: tuple[Block, ...], whole: bool) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """All cells in order, and the place that each has in the product of the blocks."""
    rows = itertools.product(*(range(len(block.combos)) for block in blocks))
    cells = [_cell(blocks, row, whole) for row in rows]
    order = sorted(range(len(cells)), key=cells.__getitem__)
    return tuple(cells[i] for i in order), tuple(order)


def _slots(shares: "Numbers", rng: "np.random.Generator") -> "Places":
    """Places in a list of `MOST_LISTED`, each as often as its share says, up to one: systematic sampling."""
    import numpy as np

    marks = (np.arange(MOST_LISTED) + rng.random()) / MOST_LISTED
    ends = np.cumsum(shares / shares.sum())
    ends[-1] = 1.0
    slots: Places = np.searchsorted(ends, marks, side="right")
    return slots
