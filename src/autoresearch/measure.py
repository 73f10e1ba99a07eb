"""
What a run may print, and how a value is read from it.

Output is data: bounded, matched against three fixed shapes, never evaluated. A value is on record only when
it was stated once (or each time the same), as a finite number.

    METRIC val_bpb=0.9979            anywhere on standard output
    val_bpb:   0.9979                after a line `---`, as Karpathy's train.py prints its summary
    {"val_bpb": 0.9979}              in $AUTORESEARCH_OUT/result.json
"""

import contextlib
import json
import math
import re
from pathlib import Path

from msgspec import Struct

from autoresearch.trial import RunStatus

RESULT_BYTES = 1 << 20  # of result.json that are read
OUTPUT_BYTES = 8 << 20  # of standard output that are read (the keeper stores less)
MAX_EXTRAS = 64
LARGEST = 1e100  # differences and squares of what is larger leave the range of a float

_NAME = r"[A-Za-z_][\w./%-]{0,63}"
_METRIC = re.compile(rf"METRIC\s+({_NAME})=(.*)")
_SUMMARY = re.compile(rf"({_NAME}):\s+(.*)")
_PROGRESS = re.compile(r"([0-9.eE+-]{1,24})(?:\s+loss=([0-9.eE+-]{1,24}))?")


class Reading(Struct, frozen=True):
    """What a run's output says about one metric, and the finite values of everything else it stated."""

    status: RunStatus
    value: float | None
    why: str
    extras: dict[str, float]


def read(metric: str, output: Path, result: Path | None = None) -> Reading:
    """
    The value of `metric` in a finished run's standard output and, where given, its result.json.

    Two statements that disagree have no winner: which of them would a candidate like to be on record?
    """
    stated = statements(output, result)
    extras = {name: _number(texts[-1]) for name, texts in stated.items() if name != metric}
    finite = {name: value for name, value in extras.items() if value is not None and abs(value) < LARGEST}
    status, value, why = _judge(metric, stated.get(metric, []), stated)
    return Reading(status, value, why, dict(list(finite.items())[:MAX_EXTRAS]))


def _judge(metric: str, texts: list[str], stated: dict[str, list[str]]) -> tuple[RunStatus, float | None, str]:
    if not texts:
        others = f"; it stated {', '.join(sorted(stated)[:8])}" if stated else ""
        return "absent", None, f"no value: the output has no line `METRIC {metric}=...`{others}"
    numbers = [_number(text) for text in texts]
    if None in numbers:
        bad = texts[numbers.index(None)][:60]
        return "unparsable", None, f"{metric} is not a number: {bad!r}"
    first = numbers[0]
    assert first is not None
    for number, text in zip(numbers, texts, strict=True):
        if number is not None and not abs(number) < LARGEST:
            return "not_finite", None, f"{metric} is {text[:20]}"
    if any(number != first for number in numbers):
        return "repeated", None, f"{metric} was stated {len(texts)} times with different values"
    return "ok", first, ""


def statements(output: Path, result: Path | None = None) -> dict[str, list[str]]:
    """Name -> every value stated for it, as text, in order."""
    stated: dict[str, list[str]] = {}
    in_summary = False
    for line in _head(output, OUTPUT_BYTES).decode(errors="replace").splitlines():
        text = line.strip()
        in_summary = in_summary or text == "---"
        if match := _METRIC.fullmatch(text) or (_SUMMARY.fullmatch(text) if in_summary else None):
            stated.setdefault(match[1], []).append(match[2].strip())
    if result is not None:
        for name, value in _result(result).items():
            stated.setdefault(name, []).append(value)
    return stated


def _result(path: Path) -> dict[str, str]:
    """The numbers of a result.json; anything else in it is passed over."""
    with contextlib.suppress(ValueError, RecursionError):
        content = json.loads(_head(path, RESULT_BYTES) or b"{}")
        if isinstance(content, dict):
            return {
                name: str(value)
                for name, value in content.items()
                if re.fullmatch(_NAME, name) and isinstance(value, int | float) and not isinstance(value, bool)
            }
    return {}


def _head(path: Path, limit: int) -> bytes:
    # A candidate may leave a link, a pipe or a folder where its result should be.
    if path.is_symlink() or not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(limit)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def progress(text: str) -> tuple[float, float | None] | None:
    """The fraction of the budget spent (0 to 1) and the loss, from what follows the word PROGRESS."""
    match = _PROGRESS.match(text)
    fraction = _number(match[1]) if match else None
    if match is None or fraction is None or not math.isfinite(fraction):
        return None
    loss = _number(match[2]) if match[2] else None
    return min(1.0, max(0.0, fraction)), loss
