"""
What became of a run: from how its commands ended and what they left, to the measurement on record.

Reads the ends of output files; starts nothing and decides nothing.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import structs

from autoresearch import measure
from autoresearch.execute.curve import Curve
from autoresearch.execute.keepers import Ending
from autoresearch.study import Study
from autoresearch.trial import MEASURED, Machine, Measurement, Run, RunStatus


def judged(reading: measure.Reading, study: Study, ending: Ending) -> tuple[RunStatus, float | None, str]:
    """
    Status, value and reason of what was stated, held against what the study says is possible and allowed.

    What was measured from outside goes before what was stated under the same name.
    """
    if reading.value is None:
        return reading.status, reading.value, reading.why
    if why := study.metric.implausible(reading.value, reading.extras):
        return "implausible", None, why
    measured = {name: getattr(ending, name) for name in MEASURED}
    broken = [why for guard in study.metric.bounds if (why := guard.broken(reading.extras | measured))]
    return ("infeasible", None, "; ".join(broken)) if broken else (reading.status, reading.value, "")


def altogether(endings: list[Ending]) -> Ending:
    """How a command ended that was asked several times, with what all the asking took."""
    return structs.replace(
        endings[-1],
        wall_s=sum(e.wall_s for e in endings),
        processor_s=sum(e.processor_s for e in endings),
        peak_memory_mb=max(e.peak_memory_mb for e in endings),
    )


def recorder(run: Run, machine: Machine, ending: Ending, curve: Curve) -> Callable[..., Measurement]:
    """Makes this run's measurement from its status, value, reason, extras and scoring."""

    def record(
        status: Any,
        value: float | None,
        why: str = "",
        extras: dict[str, float] | None = None,
        scoring: Ending | None = None,
    ) -> Measurement:
        return Measurement(
            status=status,
            value=value,
            digest=run.digest,
            machine=machine,
            extras=extras or {},
            why=why,
            wall_s=ending.wall_s,
            processor_s=ending.processor_s,
            peak_memory_mb=ending.peak_memory_mb,
            score_s=scoring.wall_s if scoring else 0.0,
            score_processor_s=scoring.processor_s if scoring else 0.0,
            curve=curve.points,
        )

    return record


def problem(ending: Ending, output: Path, timeout_s: float) -> tuple[str, None, str] | None:
    """Why a command's output is not worth reading, if so: status, no value, reason."""
    what = output.name
    if ending.how == "timeout":
        return "timeout", None, f"{what} was ended after {timeout_s:g} s"
    if ending.how == "overran":
        why = f"{what} {ending.why} and was ended: more than measure.overrun allows over the baseline"
        return "timeout", None, why
    if ending.how == "bounds":
        return "crash", None, f"{what} {ending.why} and was ended"
    if ending.how == "failed":
        return "crash", None, f"{what} could not start: {ending.why}"
    if ending.code:
        how = f"was ended by signal {-ending.code}" if ending.code < 0 else f"ended with exit code {ending.code}"
        return "crash", None, f"{what} {how}{last_words(output)}"
    return None


def last_words(output: Path) -> str:
    """The last line that a command left, quoted: usually the exception."""
    for stream in ("err", "out"):
        with contextlib.suppress(OSError):
            text = output.with_name(f"{output.name}.{stream}.txt").read_bytes()[-4096:].decode(errors="replace")
            if lines := [line for line in text.splitlines() if line.strip()]:
                return f": {' '.join(lines[-1].split())[:200]!r}"
    return ""
