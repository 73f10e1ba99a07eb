"""
What every statistic asks of its input, and numbers brought to a scale at which squares neither overflow nor vanish.

Knows no statistics. A value that is no number is refused here, so that nothing below returns NaN.
"""

import math
from collections.abc import Iterable, Sequence


def finite(values: Iterable[float], least: int = 1, what: str = "value") -> list[float]:
    """
    The values as floats.

    Raises:
        ValueError: fewer than `least`, or one that is infinite or not a number.
    """
    found = [float(value) for value in values]
    if len(found) < least:
        raise ValueError(f"at least {least} {what}{'s' if least > 1 else ''} needed, {len(found)} given")
    for value in found:
        if not math.isfinite(value):
            raise ValueError(f"every {what} must be a finite number, not {value}")
    return found


def positive(what: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{what} must be a number above 0, not {value}")
    return value


def not_negative(what: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{what} must be a number from 0 up, not {value}")
    return value


def count(what: str, number: int, least: int = 1) -> int:
    if number < least:
        raise ValueError(f"{what} must be at least {least}, not {number}")
    return number


def probability(what: str, value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(f"{what} must be between 0 and 1, not {value}")
    return value


def variance_of(effect: float) -> float:
    """The variance of effects, in squared standard deviations of one value, whose size is `effect`."""
    if not 1e-100 <= effect <= 1e100:
        raise ValueError(f"effect must lie between 1e-100 and 1e100 standard deviations, not {effect}")
    return effect * effect


def scale(*groups: Sequence[float]) -> float:
    """A power of two near the largest magnitude: dividing by it is exact, and squares of what is left are harmless."""
    largest = max((abs(value) for group in groups for value in group), default=0.0)
    return math.ldexp(0.5, math.frexp(largest)[1]) if largest else 1.0


def mean(values: Sequence[float]) -> float:
    """The mean, also where the sum overflows."""
    unit = scale(values)
    return unit * (math.fsum(value / unit for value in values) / len(values))


def exp(x: float) -> float:
    """e^x, infinite where a float ends."""
    return math.exp(x) if x < 709 else math.inf


def squares(values: Sequence[float]) -> float:
    """Sum of squared deviations from the mean; for values at a harmless scale."""
    middle = math.fsum(values) / len(values)
    return math.fsum((value - middle) * (value - middle) for value in values)
