"""
Says what is wrong with a key of a TOML file that was read into records, and what to write instead.

Knows the decoder's messages and the records' fields; nothing of what they mean.
"""

import difflib
import re
import typing
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from autoresearch.errors import StudyError

_MEANT = {"min": "minimize", "lower": "minimize", "max": "maximize", "higher": "maximize"}


def explain(message: str, root: type[Struct], file: str) -> NoReturn:
    """Turn the decoder's message into ours: the key as it is written in the file, and what to write instead."""
    problem, _, where = message.partition(" - at `$")
    place = where.rstrip("`").lstrip(".")
    prefix = f"{place}." if place else ""
    if match := re.match(r"Object contains unknown field `(.*)`", problem):
        known = list(_fields(root, place))
        near = difflib.get_close_matches(match[1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"keys here: {', '.join(known) or 'see docs/study.md'}"
        raise StudyError(f"{file}: {prefix}{match[1]} is not a key ({hint})")
    if match := re.match(r"Object missing required field `(.*)`", problem):
        raise StudyError(f"{file}: {prefix}{match[1]} is missing; docs/study.md shows an example of each key")
    if match := re.match(r"Invalid enum value '(.*)'", problem):
        choices = _choices(root, place)
        meant = _MEANT.get(match[1].lower()) or next(iter(difflib.get_close_matches(match[1], choices, n=1)), None)
        hint = f"did you mean {meant!r}?" if meant in choices else f"it must be {' or '.join(map(repr, choices))}"
        raise StudyError(f"{file}: {place} = {match[1]!r} is not possible ({hint})")
    if match := re.match(r"Expected `(.*)`, got `(.*)`", problem):
        raise StudyError(f"{file}: {place or 'the file'} must be of type {match[1]}, not {match[2]}")
    raise StudyError(f"{file}: {prefix}{problem}")


def _choices(root: type[Struct], place: str) -> list[str]:
    """The words that a key takes, given its dotted path, with the number of the entry where it is a list."""
    table, _, key = place.rpartition(".")
    key, in_list, _ = key.partition("[")
    kind = _fields(root, table).get(key)
    return list(typing.get_args(typing.get_args(kind)[0] if in_list else kind))


def _fields(root: type[Struct], place: str) -> dict[str, Any]:
    """Key -> type, of a table given its dotted path; nothing for a key with dots or back-ticks in its own name."""
    table: Any = root
    for part in filter(None, re.sub(r"\[\d+\]", "", place).split(".")):
        found = {f.encode_name: _entry(f.type) for f in msgspec.structs.fields(table)}
        if found.get(part) is None:
            return {}
        table = found[part]
    return {f.encode_name: f.type for f in msgspec.structs.fields(table)}


def _entry(kind: Any) -> type[Struct] | None:
    """The table that a key of this type holds, alone or in a list; None for a plain value."""
    inner = typing.get_args(kind)[0] if typing.get_origin(kind) is list else kind
    return inner if isinstance(inner, type) and issubclass(inner, Struct) else None
