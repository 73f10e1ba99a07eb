"""
A leap: all constants at once to where their own trials say that each is best.

What a constant gains over its coordinate is taken to be a parabola, fitted to the trials that changed it alone, and what several gain
to be the sum: near enough for one trial, which shows whether it is so. Knows constants and what trials say of them; no files.

Source: Box and Wilson, On the experimental attainment of optimum conditions, 1951.
"""

import math
from collections.abc import Iterable, Mapping

from msgspec import Struct

from autoresearch.propose.history import CLEAR, History, Outcome
from autoresearch.propose.knobs import Knob
from autoresearch.propose.ranges import Value

FEWEST = 3  # constants: with fewer, one step after another is as soon there
LIKELY = 1.5  # standard errors that each of them must be expected to gain
WORTH = 2.0  # standard errors that all together must be expected to gain


class Slope(Struct, frozen=True):
    """
    What is believed of a constant: over `u`, its coordinate less what it is now, the gain is `a` u + `b` u². `low` to `high` is as far
    as can be foreseen; `covariance` is that of a with itself, of a with b, and of b with itself.
    """

    a: float
    b: float
    covariance: tuple[float, float, float]
    low: float
    high: float

    def gain(self, u: float) -> tuple[float, float]:
        """The expected gain there, and its standard error."""
        aa, ab, bb = self.covariance
        return self.a * u + self.b * u**2, math.sqrt(max(0.0, aa * u**2 + 2 * ab * u**3 + bb * u**4))

    @property
    def top(self) -> float:
        """Where it is best, as far as can be foreseen."""
        ends = [self.low, self.high]
        if self.b < 0:
            ends.append(min(max(-self.a / (2 * self.b), self.low), self.high))
        return max(ends, key=lambda u: self.gain(u)[0])


def slope(knob: Knob, history: History, base: str) -> Slope | None:
    """None where fewer than two values were tried, or where values have no order."""
    if knob.range.is_choice or knob.range.scale in ("flag", "fixed"):
        return None
    here = knob.range.coordinate(knob.value)
    tried = history.single.get(knob.key, {}).values()
    steps = [abs(knob.range.coordinate(value) - here) for value, _ in knob.range.steps(knob.value)]
    seen = [(*_between(knob, one, here), one) for one in tried if not isinstance(one.changes[knob.key][1], str)]
    known = [(old, new, one) for old, new, one in seen if one.gain is not None]
    if len({round(new, 6) for _, new, _ in known}) < 2 or not steps:
        return None
    places = [0.0, *(new for _, new, _ in known)]
    step = max(steps)
    failed = [new for _, new, one in seen if one.gain is None]
    low, high = min(places) - step, max(places) + step
    low = max([low, *(new + step / 2 for new in failed if new < 0)])
    high = min([high, *(new - step / 2 for new in failed if new > 0)])
    return _fitted(
        [(old, new, one.gain or 0.0, one.variance(base)) for old, new, one in known], min(low, 0.0), max(high, 0.0)
    )


def _between(knob: Knob, one: Outcome, here: float) -> tuple[float, float]:
    old, new = one.changes[knob.key]
    return knob.range.coordinate(old) - here, knob.range.coordinate(new) - here


def _fitted(seen: list[tuple[float, float, float, float]], low: float, high: float) -> Slope:
    """Least squares with a weak prior: slopes and bends of the size of the gains that were seen."""
    size = max(abs(gain) / max(abs(new - old), 1e-9) for old, new, gain, _ in seen) or 1e-9
    floor = (1e-3 * size) ** 2
    aa = bb = 1 / (2 * size) ** 2
    ab = ay = by = 0.0
    for old, new, gain, variance in seen:
        x, y, weight = new - old, new**2 - old**2, 1 / max(variance, floor)
        aa, ab, bb = aa + weight * x * x, ab + weight * x * y, bb + weight * y * y
        ay, by = ay + weight * x * gain, by + weight * y * gain
    rest = aa * bb - ab * ab
    covariance = (bb / rest, -ab / rest, aa / rest)
    return Slope(
        covariance[0] * ay + covariance[1] * by, covariance[1] * ay + covariance[2] * by, covariance, low, high
    )


def slopes(knobs: Iterable[Knob], history: History, base: str) -> dict[str, Slope]:
    """Constant -> what is believed of it, where enough is known."""
    found = {knob.key: slope(knob, history, base) for knob in knobs}
    return {key: one for key, one in found.items() if one is not None}


def leap(
    knobs: Mapping[str, Knob], slopes: Mapping[str, Slope], failed: int = 0
) -> tuple[dict[str, Value], float, float]:
    """
    What to set, with the gain that is expected of it all and its standard error; nothing where it is not worth a trial. The more of
    them `failed` lately, the surer it has to be.
    """
    values: dict[str, Value] = {}
    total = variance = 0.0
    for key, one in slopes.items():
        knob = knobs[key]
        here = knob.range.coordinate(knob.value)
        value = knob.range.at(here + one.top, knob.value)
        gain, error = one.gain(knob.range.coordinate(value) - here)
        if value != knob.value and gain > LIKELY * error:
            values[key] = value
            total, variance = total + gain, variance + error**2
    error = math.sqrt(variance)
    return (values, total, error) if len(values) >= FEWEST and total > WORTH * (1 + failed) * error else ({}, 0.0, 0.0)


def hopeless(knob: Knob, value: Value, slopes: Mapping[str, Slope]) -> bool:
    """Whether a value is foreseen to lose clearly."""
    one = slopes.get(knob.key)
    if one is None:
        return False
    u = knob.range.coordinate(value) - knob.range.coordinate(knob.value)
    gain, error = one.gain(u)
    return one.low <= u <= one.high and gain < -CLEAR * error
