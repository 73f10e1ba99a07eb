"""Whether a record can be kept. Knows no database."""

import math
from typing import TypeVar

import msgspec

from autoresearch.live.records import Record

R = TypeVar("R", bound=Record)


def checked(record: R) -> R:
    """
    The same record.

    Raises:
        ValueError: a field cannot be kept: too long, out of range, no number, or with a NUL or half a character in it.
    """
    fields = msgspec.structs.asdict(record)
    for name, value in fields.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number")
        if isinstance(value, int) and abs(value) >= 2**31:
            raise ValueError(f"{name} = {value:.3g} is too large")
        if isinstance(value, str) and ("\0" in value or _broken(value)):
            raise ValueError(f"{name} has a NUL or half a character in it")
    try:
        msgspec.convert(fields, type(record))
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$.")
        raise ValueError(f"{where.rstrip('`') or 'the record'}: {problem}") from None
    return record


def _broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
