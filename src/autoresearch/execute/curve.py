"""
A run's training curve, from its PROGRESS lines: small enough for the log, smooth enough to compare.

What a candidate prints is data: a point that goes back, or is no finite number, is passed over.
"""

import math

from autoresearch.execute import Hopeless
from autoresearch.measure import LARGEST

BINS = 50  # of the budget; each is one point, the mean of what was said in it: a single batch's loss is noisy
DIGITS = 4


class Curve:
    """Grows point by point, and asks after each whether the run is hopeless: `why` says so once it is."""

    def __init__(self, hopeless: Hopeless | None = None) -> None:
        self.why = ""
        self._hopeless = hopeless
        self._points: list[tuple[float, float]] = []  # means over the bins that are full
        self._in_bin: list[tuple[float, float]] = []
        self._furthest = 0.0

    def add(self, fraction: float, loss: float | None) -> None:
        if loss is None or not abs(loss) < LARGEST or fraction < self._furthest:
            return
        if self._in_bin and int(fraction * BINS) > int(self._furthest * BINS):
            self._points.append(_mean(self._in_bin))
            self._in_bin = []
        self._furthest = fraction
        self._in_bin.append((fraction, loss))
        if self._hopeless and not self.why:
            self.why = self._hopeless(self.points)

    @property
    def points(self) -> tuple[tuple[float, float], ...]:
        """(fraction, loss) in order, at most BINS + 1 of them."""
        return (*self._points, *([_mean(self._in_bin)] if self._in_bin else []))


def _mean(points: list[tuple[float, float]]) -> tuple[float, float]:
    fraction, loss = (math.fsum(part) / len(points) for part in zip(*points, strict=True))
    return float(f"{fraction:.{DIGITS}g}"), float(f"{loss:.{DIGITS}g}")
