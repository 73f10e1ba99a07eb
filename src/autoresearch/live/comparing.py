"""
Levels against their variable's default, within days and by chance alone: what verdicts rest on.

No model is believed here. A plan draws its blocks of variables independently of each other, so within a day and a
segment a level meets the levels of other blocks by the same chances as the default does; levels of its own block are
held equal. Knows no verdict.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from autoresearch.live.belief import CELL, Belief
from autoresearch.live.counts import Counts, parts
from autoresearch.live.settings import Live
from autoresearch.stats import sequences

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]


class Lift(Struct, frozen=True):
    """
    By what share the rate of everybody else is above the holdout's, measured and not modelled; the interval holds at
    all looks.
    """

    shown: float
    held: float
    effect: float | None
    low: float
    high: float


def lift(counts: Counts, live: Live) -> Lift:
    """Everybody else against the holdout, within days and segments."""
    segments = sorted({column.segment for column in counts.columns})
    where = [(segments.index(column.segment), column.held) for column in counts.columns]
    open_, held = (
        _summed(counts, [at if of is side else None for at, of in where], len(segments)) for side in (False, True)
    )
    found = sequences.ratio(*open_, *held, alpha=live.false_winner)
    effect = found.estimate - 1 if math.isfinite(found.estimate) else None
    return Lift(float(open_[0].sum()), float(held[0].sum()), effect, found.low - 1, found.high - 1)


class Comparison(Struct, frozen=True):
    """
    Of a level and its variable's default, in strata that have nothing else different by anything but chance: a day, a
    segment, and the levels of the variables that theirs is tied to. Flat arrays; `days` and `segments` of each stratum.
    """

    variable: str
    level: str
    shown: "Numbers"
    won: "Numbers"
    default_shown: "Numbers"
    default_won: "Numbers"
    days: "NDArray[np.int64]"
    segments: tuple[str, ...]  # of each group of strata, which all have the same days

    def within(self, segment: str | None) -> tuple["Numbers", "Numbers", "Numbers", "Numbers"]:
        """(level shown, won, default shown, won), of all strata or of one segment's."""
        import numpy as np

        arrays = (self.shown, self.won, self.default_shown, self.default_won)
        if segment is None:
            return arrays
        here = np.repeat([name == segment for name in self.segments], len(self.days) // max(1, len(self.segments)))
        return arrays[0][here], arrays[1][here], arrays[2][here], arrays[3][here]


def comparisons(counts: Counts, belief: Belief) -> list[Comparison]:
    """
    Each level that was ever shown against its variable's default. The holdout sees all defaults at once, so it takes
    part only where whole cells are compared.
    """
    import numpy as np

    found = []
    cells = [
        {CELL: column.cell} if belief.whole else {**belief.default, **parts(column.cell)} for column in counts.columns
    ]
    taken = [belief.whole or not column.held for column in counts.columns]
    for block in belief.blocks:
        for name in block.variables:
            others = [other for other in block.variables if other != name]
            keys = [
                (column.segment, *(cell[other] for other in others))
                for column, cell in zip(counts.columns, cells, strict=True)
            ]
            groups = sorted({key for key, take in zip(keys, taken, strict=True) if take})
            at = {key: i for i, key in enumerate(groups)}
            levels = sorted(
                {belief.default[name], *(cell[name] for cell, take in zip(cells, taken, strict=True) if take)}
            )
            place = {level: i for i, level in enumerate(levels)}
            where = [
                at[key] * len(levels) + place[cell[name]] if take else None
                for key, cell, take in zip(keys, cells, taken, strict=True)
            ]
            shown, won = (
                table.reshape(len(groups), len(levels), len(counts.days)).swapaxes(0, 1).reshape(len(levels), -1)
                for table in _summed(counts, where, len(groups) * len(levels))
            )
            days = np.tile(np.array(counts.days, dtype=np.int64), len(groups))
            base = place[belief.default[name]]
            segments = tuple(key[0] for key in groups)
            found += [
                Comparison(name, level, shown[i], won[i], shown[base], won[base], days, segments)
                for i, level in enumerate(levels)
                if i != base
            ]
    return found


def shown_better(compared: Sequence[Comparison], alpha: float, worse: bool = False) -> list[Comparison]:
    """
    Those that are shown to be better (worse) than their default, with a chance of any mistake of alpha over all of them
    and all looks.
    """
    evidence = [sequences.compared(*one.within(None))[1 if worse else 0] for one in compared]
    return [compared[i] for i in sorted(sequences.family(evidence, alpha))]


def _summed(counts: Counts, groups: Sequence[int | None], size: int) -> tuple["Numbers", "Numbers"]:
    """Visitors and outcomes, group by group and day by day within them, of columns that are in one."""
    import numpy as np

    here = [i for i, group in enumerate(groups) if group is not None]
    member = np.zeros((len(here), size))
    member[range(len(here)), [group for group in groups if group is not None]] = 1.0
    return (counts.shown[:, here] @ member).T.ravel(), (counts.won[:, here] @ member).T.ravel()
