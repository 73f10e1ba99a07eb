"""
Guards: bounds on other numbers than the metric, as the contract writes them. `peak_memory_mb <= 64000`

Knows the shape of a metric's name, and no study.
"""

import re
from collections.abc import Mapping
from typing import Self

from msgspec import Struct

METRIC_NAME = re.compile(r"[A-Za-z_][\w./%-]{0,63}")
_NUMBER = r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_SHAPE = re.compile(rf"({METRIC_NAME.pattern})\s*(<=|>=|<|>)\s*({_NUMBER})")


class Guard(Struct, frozen=True):
    """A run that breaks it has no value."""

    name: str
    sense: str
    bound: float

    @classmethod
    def read(cls, text: str) -> Self:
        """
        Raises:
            ValueError: it is not a name, a sense and a number.
        """
        match = _SHAPE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"guards: {text!r} is not a name, a sense and a number, like 'peak_memory_mb <= 64000'")
        return cls(match[1], match[2], float(match[3]))

    def broken(self, stated: Mapping[str, float]) -> str:
        """Why these numbers break it, in words; empty if they keep it."""
        if self.name not in stated:
            return f"nobody stated {self.name}, which metric.guards bounds ({self})"
        value = stated[self.name]
        kept = {"<=": value <= self.bound, "<": value < self.bound, ">=": value >= self.bound, ">": value > self.bound}
        return "" if kept[self.sense] else f"{self.name} = {value:g} breaks the guard {self}"

    def __str__(self) -> str:
        return f"{self.name} {self.sense} {self.bound:g}"
