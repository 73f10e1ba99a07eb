"""
Guards: what must hold of other numbers than the metric, as the contract writes it.

    peak_memory_mb <= 64000          a bound on every run
    val_bpb <= baseline + 0.01       no worse than the start by more than a margin, over all runs of a trial
    val_bpb <= baseline              the same; the margin is what one run of the start scatters by

Knows the shape of a metric's name, and no study.
"""

import re
from collections.abc import Mapping

from msgspec import Struct

METRIC_NAME = re.compile(r"[A-Za-z_][\w./%-]{0,63}")
_NUMBER = r"(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_SHAPE = re.compile(rf"({METRIC_NAME.pattern})\s*(<=|>=|<|>)\s*([-+]?{_NUMBER})")
_NO_WORSE = re.compile(rf"({METRIC_NAME.pattern})\s*(<=|>=|<|>)\s*baseline(?:\s*([-+])\s*({_NUMBER}))?")
_AWAY = {"<=": "+", ">=": "-"}  # from the baseline, to the worse side


class Guard(Struct, frozen=True):
    """A run that breaks it has no value."""

    name: str
    sense: str
    bound: float

    def broken(self, stated: Mapping[str, float]) -> str:
        """Why these numbers break it, in words; empty if they keep it."""
        if self.name not in stated:
            return missing(self.name, self)
        value = stated[self.name]
        kept = {"<=": value <= self.bound, "<": value < self.bound, ">=": value >= self.bound, ">": value > self.bound}
        return "" if kept[self.sense] else f"{self.name} = {value:g} breaks the guard {self}"

    def __str__(self) -> str:
        return f"{self.name} {self.sense} {_plain(self.bound)}"


class NoWorse(Struct, frozen=True):
    """
    A trial that is not shown to keep it is not kept. `<=` says that lower is better, `>=` that higher is.

    `margin` is what may be lost against the start, in the number's unit; None: what one run of the start scatters by.
    """

    name: str
    sense: str
    margin: float | None = None

    @property
    def away(self) -> str:
        """The sign of the margin."""
        return _AWAY[self.sense]

    def worse(self, before: float, after: float) -> float:
        """How much worse `after` is than `before`; positive is worse."""
        return after - before if self.sense == "<=" else before - after

    def broken(self, stated: Mapping[str, float]) -> str:
        """Of one run no more can be said than whether it states the number."""
        return "" if self.name in stated else missing(self.name, self)

    def __str__(self) -> str:
        margin = "" if self.margin is None else f" {self.away} {_plain(self.margin)}"
        return f"{self.name} {self.sense} baseline{margin}"


def read(text: str) -> Guard | NoWorse:
    """
    Raises:
        ValueError: it is none of the shapes above.
    """
    if match := _SHAPE.fullmatch(text.strip()):
        return Guard(match[1], match[2], float(match[3]))
    match = _NO_WORSE.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"guards: {text!r} is not a name, a sense and a number, like 'peak_memory_mb <= 64000' or "
            "'val_bpb <= baseline + 0.01'"
        )
    name, sense, sign, margin = match.groups()
    away = _AWAY.get(sense[0] + "=", "")
    if sense not in _AWAY or sign not in (away, None):
        meant = f"{name} {sense[0]}= baseline" + (f" {away} {margin}" if margin else "")
        raise ValueError(f"guards: {text!r} would ask for a gain; a guard allows for a loss: write {meant!r}")
    if margin and float(margin) == float("inf"):
        raise ValueError(f"guards: {text!r} allows for any loss: leave it out")
    return NoWorse(name, sense, float(margin) if margin else None)


def missing(name: str, guard: object) -> str:
    return f"nobody stated {name}, which metric.guards bounds ({guard})"


def _plain(number: float) -> str:
    """As short as people write it, and the same number when read again."""
    return short if float(short := f"{number:g}") == number else repr(number)
