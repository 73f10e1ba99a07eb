"""
Levels against their variable's default, within days and by chance alone: what verdicts rest on.

No model is believed here. A plan draws its blocks of variables independently of each other, so within a day and a
segment a level meets the levels of other blocks by the same chances as the default does; levels of its own block are
held equal. Knows no verdict.
"""

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from autoresearch.live import places
from autoresearch.live.belief import Belief
from autoresearch.live.counts import Counts
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
    open_, held = (
        (side.sums(counts.shown).ravel(), side.sums(counts.won).ravel()) for side in places.sides(counts.columns)
    )
    found = sequences.ratio(*open_, *held, alpha=live.false_winner)
    effect = found.estimate - 1 if math.isfinite(found.estimate) else None
    return Lift(float(open_[0].sum()), float(held[0].sum()), effect, found.low - 1, found.high - 1)


class Comparison(Struct, frozen=True, dict=True):
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

    @functools.cached_property
    def bets(self) -> sequences.Bets:
        """In all segments."""
        return sequences.bets(*self.within(None))

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
    for block in belief.blocks:
        for name, levels, base, segments, columns in places.strata(
            counts.columns, block.variables, tuple(belief.default.items())
        ):
            shown, won = (
                columns.sums(table)
                .reshape(len(segments), len(levels), len(counts.days))
                .swapaxes(0, 1)
                .reshape(len(levels), len(segments) * len(counts.days))
                for table in (counts.shown, counts.won)
            )
            days = np.tile(np.array(counts.days, dtype=np.int64), len(segments))
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
    evidence = [one.bets.evidence[1 if worse else 0] for one in compared]
    return [compared[i] for i in sorted(sequences.family(evidence, alpha))]
