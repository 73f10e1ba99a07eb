"""
Says what is wrong with a key of a TOML file that was read into records, and what to write instead.

Knows the decoder's messages and the records' fields; nothing of what they mean.
"""

import difflib
import re
import types
import typing
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from autoresearch.errors import StudyError

_NEAR = 0.75  # how alike two words are, from 0 to 1, where one is meant by the other; less where they begin alike: `rey` is `ray`, `time` no `image`
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
        alike = [one for one in choices if one[:1] == match[1][:1]]
        near = difflib.get_close_matches(match[1], choices, 1, _NEAR) or difflib.get_close_matches(match[1], alike, 1)
        meant = _MEANT.get(match[1].lower()) or next(iter(near), None)
        possible = f"it must be {' or '.join(map(repr, choices))}" if choices else "see docs/study.md"
        hint = f"did you mean {meant!r}?" if meant in choices else possible
        raise StudyError(f"{file}: {place} = {match[1]!r} is not possible ({hint})")
    if match := re.match(r"Expected `(.*)`, got `(.*)`", problem):
        raise StudyError(f"{file}: {place or 'the file'} must be of type {match[1]}, not {match[2]}")
    raise StudyError(f"{file}: {prefix}{problem}")


def _choices(root: type[Struct], place: str) -> list[str]:
    """The words that a key takes, given its dotted path, with the number of the entry where it is a list."""
    table, _, key = place.rpartition(".")
    kind = _entry(_fields(root, table).get(key.partition("[")[0]))
    return list(typing.get_args(kind)) if typing.get_origin(kind) is typing.Literal else []


def _fields(root: type[Struct], place: str) -> dict[str, Any]:
    """Key -> type, of a table given its dotted path; nothing for a key with dots or back-ticks in its own name."""
    table: Any = root
    for part in filter(None, re.sub(r"\[\d+\]", "", place).split(".")):
        table = _entry({f.encode_name: f.type for f in msgspec.structs.fields(table)}.get(part))
        if not (isinstance(table, type) and issubclass(table, Struct)):
            return {}
    return {f.encode_name: f.type for f in msgspec.structs.fields(table)}


def _entry(kind: Any) -> Any:
    """What a key of this type holds: the same where it need not be there, and of a list one entry."""
    origin, of = typing.get_origin(kind), [one for one in typing.get_args(kind) if one is not type(None)]
    if origin in (list, typing.Annotated) or (origin in (types.UnionType, typing.Union) and len(of) == 1):
        return _entry(of[0])
    return kind
