"""
What values a constant may sensibly take, and what a step up or down from one of them is.

A range comes from the person's hint or is inferred from the constant's name and present value. On its
*coordinate* (octaves for rates, octaves of the nearer end for fractions, places in a list for options) steps
are of equal length and a sampler may draw evenly. Knows numbers and names; no files.
"""

import math
import re
from typing import Literal

from msgspec import Struct

Value = bool | int | float | str
Scale = Literal["log", "linear", "fraction", "integer", "power of two", "flag", "options", "fixed"]
Size = Literal["far", "step", "fine"]

DIGITS = 3  # significant digits of a proposed value: readable, and finer than any effect one can measure
OCTAVES = {"far": math.log2(5), "step": 1.0, "fine": math.log2(1.3)}  # x5, x2, x1.3
FROM_ZERO = {"far": 0.3, "step": 0.1, "fine": 0.01}  # what a switched-off constant is first tried at
COUNTABLE = 64  # whole numbers in a range that can be tried one by one
REACH = 3.0  # octaves to either side of the present value that a sampler may go without a hint

# What the words in a name say about its values.
FIXED = {"seed", "seeds", "version", "vocab", "path", "dir", "file", "port", "log", "print", "verbose", "debug"}
RATES = {"lr", "lrs", "rate", "decay", "eps", "epsilon", "std", "wd", "lambda", "coef", "weight", "scale"}
FRACTIONS = {
    "beta",
    "beta1",
    "beta2",
    "betas",
    "momentum",
    "dropout",
    "ratio",
    "fraction",
    "frac",
    "prob",
    "share",
    "percent",
}
FRACTIONS |= {"warmup", "warmdown", "cooldown", "ema", "smoothing"}
CAN_BE_OFF = {"decay", "wd", "dropout", "warmup", "warmdown", "cooldown", "clip", "smoothing", "weight", "coef", "ema"}
COUNTS = {"depth", "layer", "layers", "heads", "blocks"}  # one more or less, although 8 is a power of two

_NUMBER = r"[+-]?(?:\d[\d_]*\.?[\d_]*|\.\d+)(?:[eE][+-]?\d+)?"
_SPAN = re.compile(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})(?:\s+(log|linear))?")


class Range(Struct, frozen=True):
    """The values a constant may take. `low` and `high` are None where nothing bounds it."""

    scale: Scale
    low: float | None = None
    high: float | None = None
    options: tuple[Value, ...] = ()
    hinted: bool = False

    @property
    def is_choice(self) -> bool:
        """Options without an order: a step from one to another has no direction."""
        return self.scale == "options" and any(isinstance(option, str | bool) for option in self.options)

    @property
    def values(self) -> tuple[Value, ...] | None:
        """All values, where they can be counted."""
        if self.scale == "flag":
            return (False, True)
        if self.scale == "integer" and self.low is not None and self.high is not None:
            return tuple(range(int(self.low), int(min(self.high, self.low + COUNTABLE)) + 1))
        return self.options or None

    def steps(self, value: Value, size: Size = "step") -> list[tuple[Value, int]]:
        """
        Values one step away, with the direction in which each lies: +1, -1, or 0 where there is none.

        Never `value` itself; empty at the end of the range, and where the constant has no such step.
        """
        if self.scale == "fixed":
            return []
        if self.scale == "flag":
            return [(not value, 0)] if size == "step" else []
        if self.is_choice:
            return [(option, 0) for option in self.options if option != value] if size == "step" else []
        found = [(self._step(value, size, way), way) for way in (+1, -1)]
        return [(new, way) for new, way in found if new is not None and new != value]

    def _step(self, value: Value, size: Size, way: int) -> Value | None:
        assert not isinstance(value, str)
        if self.scale == "options":
            if size == "fine":
                return None
            return self.at(self.coordinate(value) + way * (2 if size == "far" else 1))
        if self.scale == "power of two":
            return None if size == "fine" else self.at(self.coordinate(value) + way * (2 if size == "far" else 1))
        if self.scale == "integer":
            return self._count(int(value), size, way)
        if self.scale == "linear":
            bounded = self.low is not None and self.high is not None
            width = (self.high - self.low) / 6 if bounded else abs(float(value)) / 2 or FROM_ZERO["step"]  # type: ignore[operator]
            return self.at(float(value) + way * tidy(OCTAVES[size] * width, 1))
        if value == 0:
            return self._clamp(FROM_ZERO[size]) if way > 0 else None
        if value == 1 and self.scale == "fraction":
            return self._clamp(1 - FROM_ZERO[size]) if way < 0 else None
        if size == "far" and way < 0 and self.low == 0:
            return 0.0
        return self.at(self.coordinate(value) + way * OCTAVES[size], like=value)

    def _count(self, value: int, size: Size, way: int) -> Value:
        if size == "fine":
            return self._clamp(value + way * max(1, round(abs(value) * 0.15)))
        factor = 1.5 if size == "step" else 3.0
        far = round(abs(value) * (factor if way * value > 0 else 1 / factor)) * (1 if value >= 0 else -1)
        return self._clamp(far if abs(far - value) > 1 else value + way * (1 if size == "step" else 2))

    # -- the coordinate --------------------------------------------------------------------------------

    def coordinate(self, value: Value) -> float:
        """Where `value` lies on this range's even scale; the far low end for zero on a log scale."""
        if self.scale in ("options", "flag"):
            options = self.options or (False, True)
            near = min(options, key=lambda option: abs(option - value)) if not self.is_choice else value  # type: ignore[operator]
            return float(options.index(near)) if near in options else 0.0
        assert not isinstance(value, str)
        if self.scale == "linear":
            return float(value)
        if self.scale == "integer":
            return math.copysign(math.log2(abs(value) + 1), value)
        if self.scale == "fraction":
            inside = min(max(float(value), 1e-12), 1 - 1e-12)
            return math.log2(2 * inside) if inside <= 0.5 else -math.log2(2 * (1 - inside))
        return math.log2(max(abs(value), 1e-12))

    def at(self, coordinate: float, like: Value = 1.0) -> Value:
        """The value at a coordinate, rounded to something a person would write, with the sign of `like`."""
        if self.scale in ("options", "flag"):
            options = self.options or (False, True)
            return options[min(max(round(coordinate), 0), len(options) - 1)]
        if self.scale == "linear":
            return self._clamp(tidy(coordinate))
        if self.scale == "integer":
            return self._clamp(round(math.copysign(2 ** min(abs(coordinate), 62) - 1, coordinate)))
        if self.scale == "power of two":
            return self._clamp(2 ** min(max(round(coordinate), 0), 62))
        if self.scale == "fraction":
            part = tidy(2 ** (-abs(coordinate) - 1))
            return self._clamp(part if coordinate <= 0 else tidy(1 - part, 12))
        sign = -1 if not isinstance(like, str) and like < 0 else 1
        return self._clamp(sign * tidy(2 ** min(max(coordinate, -1000), 1000)))

    def box(self, value: Value) -> tuple[float, float]:
        """The stretch of coordinates that a sampler should look at while `value` is the best known."""
        if self.scale in ("options", "flag"):
            return 0.0, float(len(self.options or (False, True)) - 1)
        here, reach = self.coordinate(value), REACH if self.scale != "integer" else REACH / 2
        if self.scale == "linear":
            reach = abs(float(value)) or 1.0
        if value == 0 and self.scale in ("log", "fraction"):
            here = self.coordinate(FROM_ZERO["step"])
        low, high = here - reach, here + reach
        if self.low is not None and not (self.low == 0 and self.scale == "log"):
            low = self.coordinate(self.low) if self.hinted else max(low, self.coordinate(self.low))
        if self.high is not None:
            high = self.coordinate(self.high) if self.hinted else min(high, self.coordinate(self.high))
        return (low, high) if low < high else (high, low)

    def _clamp(self, value: float) -> Value:
        if self.low is not None:
            value = max(value, self.low)
        if self.high is not None:
            value = min(value, self.high)
        return int(value) if self.scale in ("integer", "power of two") else float(value)


def tidy(value: float, digits: int = DIGITS) -> float:
    """Rounded to significant digits."""
    return float(f"{value:.{digits}g}")


def infer(name: str, value: Value) -> Range:
    """The range that a constant's name and present value suggest, where no hint says otherwise."""
    words = set(re.findall(r"[a-z]+\d*", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.split(".")[-1]).lower()))
    if isinstance(value, str) or words & FIXED or any(part.startswith("_") for part in name.split(".")):
        return Range("fixed")
    if isinstance(value, bool):
        return Range("flag")
    if isinstance(value, int):
        if value >= 2 and value & (value - 1) == 0 and not words & COUNTS:
            return Range("power of two", low=1)
        return Range("integer", low=None if value < 0 else min(value, 1))
    if not math.isfinite(value):
        return Range("fixed")
    low = 0.0 if value == 0 or words & CAN_BE_OFF else None
    if 0 <= value <= 1 and words & FRACTIONS:
        return Range("fraction", low=0.0 if value == 0 or low == 0 else None, high=1.0 if value == 1 else None)
    if 0.85 <= value < 1 and words & RATES:  # a decay of 0.999 is an average's, a decay of 0.1 a weight's
        return Range("fraction")
    return Range("log", low=low)


def parse_hint(text: str, value: Value) -> Range:
    """
    The range that a person wrote after `search:`.

    Raises:
        ValueError: it cannot be read; the message says what is wrong and what would be right.
    """
    text = text.split("#")[0].strip()
    if text == "fixed":
        return Range("fixed", hinted=True)
    if "|" in text:
        return _options([part.strip() for part in text.split("|")], value)
    if match := _SPAN.fullmatch(text):
        return _span(match[1], match[2], match[3], value)
    raise ValueError(f"{text!r} is none of '1e-4..1e-1 log', '1..16', '64|128|256', 'fixed'")


def _options(parts: list[str], value: Value) -> Range:
    if isinstance(value, str):
        options: list[Value] = [part.strip("\"'") for part in parts]
    elif isinstance(value, bool):
        if {part.lower() for part in parts} != {"true", "false"}:
            raise ValueError("a true-or-false constant has the options true|false")
        return Range("flag", hinted=True)
    else:
        try:
            options = sorted(_number(part, value) for part in parts)
        except ValueError:
            raise ValueError("the options of a number are numbers, such as 64|128|256") from None
    if "" in options or len(set(options)) < max(2, len(options)):
        raise ValueError("options are two or more different values, such as 64|128|256")
    return Range("options", options=tuple(options), hinted=True)


def _span(first: str, last: str, spacing: str | None, value: Value) -> Range:
    if isinstance(value, bool | str):
        raise ValueError("only a number can have a range; write options, such as a|b|c")  # noqa: TRY004 - the hint is wrong
    low, high = _number(first, value), _number(last, value)
    if low >= high:
        raise ValueError(f"the range runs backwards; write {last}..{first}")
    if spacing == "log" and low <= 0:
        raise ValueError("a log range starts above zero, for example 1e-5..1e-1 log")
    if isinstance(value, int) and isinstance(low, int) and isinstance(high, int):
        return Range("integer", float(low), float(high), hinted=True)
    wide = low > 0 and high / low >= 20 and spacing is None
    return Range("log" if spacing == "log" or wide else "linear", float(low), float(high), hinted=True)


def _number(text: str, like: Value) -> int | float:
    """A hint's number, an int where the constant is one and the number is whole."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return int(number) if isinstance(like, int) and number.is_integer() else number
