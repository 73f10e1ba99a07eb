"""
What a model answers: ideas, each with the changes that carry it out. The schema it is given, and reading it back.

An answer is data: it is bounded, and nothing of it is followed or executed. Knows no files and no model.
"""

import typing
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from autoresearch.models import ChangeKind
from autoresearch.propose.knobs import Knob
from autoresearch.propose.ranges import Value

LONGEST = 4 << 20  # characters of an answer; whole files of an asset fit, a flood does not
MOST_CHANGES = 100  # of one idea
SENTENCE = 300  # characters of a hypothesis; what reaches a commit's first line
ASKED_CHANGES = 20  # that the schema allows for; of constants, TOGETHER
TOGETHER = 3  # constants, or nobody could tell which of them did it
MOST_NAMES = 100  # files, or constants of a type, that the schema lists by name; OpenAI takes 1000 in all


class Unfit(ValueError):
    """An answer, or a change in it, cannot be used. The message is for the model, which may try again."""


class Unusable(Exception):
    """A model took its time, and there is no answer at all."""


class Set(Struct, frozen=True, tag_field="kind", tag="set"):
    """Give one of the asset's constants another value."""

    constant: str
    value: Value


class Replace(Struct, frozen=True, tag_field="kind", tag="replace"):
    """Put other text in the place of text that stands in the file exactly once."""

    file: str
    search: str
    replace: str


class Write(Struct, frozen=True, tag_field="kind", tag="write"):
    """The whole new content of a file."""

    file: str
    content: str


class Delete(Struct, frozen=True, tag_field="kind", tag="delete"):
    """Remove a file."""

    file: str


Change = Set | Replace | Write | Delete


class Idea(Struct, frozen=True):
    """One hypothesis, how large its effect should be, and the changes that test it."""

    hypothesis: str
    changes: list[Change]
    expected: str = ""


class _Several(Struct, frozen=True):
    ideas: list[Idea]


KINDS: tuple[ChangeKind, ...] = typing.get_args(ChangeKind)


def schema(
    files: Sequence[str], knobs: Sequence[Knob], ideas: int = 1, allowed: Sequence[ChangeKind] = KINDS
) -> dict[str, Any]:
    """
    The JSON schema of an answer about these files and constants, with these kinds of changes.

    Every property is required and nothing else is allowed, as the strict modes of providers ask for. Constants come
    with the type of their value, so that a model whose words are held to the schema cannot set one to nonsense.
    """
    some = _text(enum=list(files)) if 0 < len(files) <= MOST_NAMES else _text()
    edits = {
        "replace": _object(kind=_text(enum=["replace"]), file=some, search=_text(), replace=_text()),
        "write": _object(kind=_text(enum=["write"]), file=_text(), content=_text()),
        "delete": _object(kind=_text(enum=["delete"]), file=some),
    }
    kinds = [edits[kind] for kind in allowed if kind != "set"]
    if "set" in allowed:
        named = {kind: [knob.key for knob in knobs if _type(knob.value) == kind] for kind in _TYPES}
        kinds = [_setting(kind, names) for kind, names in named.items() if names] + kinds
    most = TOGETHER if list(allowed) == ["set"] else ASKED_CHANGES
    idea = _object(
        hypothesis=_text(maxLength=SENTENCE),
        expected=_text(maxLength=SENTENCE),
        changes={"type": "array", "minItems": 1, "maxItems": most, "items": {"anyOf": kinds}},
    )
    return idea if ideas == 1 else _object(ideas={"type": "array", "minItems": 1, "maxItems": ideas, "items": idea})


_TYPES = ("boolean", "integer", "number", "string")


def _type(value: Value) -> str:
    """What JSON calls the type of a constant's value."""
    if isinstance(value, bool):
        return "boolean"
    return "integer" if isinstance(value, int) else "number" if isinstance(value, float) else "string"


def _setting(kind: str, names: list[str]) -> dict[str, Any]:
    constant = _text(enum=names) if len(names) <= MOST_NAMES else _text()
    return _object(kind=_text(enum=["set"]), constant=constant, value={"type": kind})


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _text(**more: Any) -> dict[str, Any]:
    return {"type": "string", **more}


def read(text: str, most: int = 1, allowed: Sequence[ChangeKind] = KINDS) -> list[Idea]:
    """
    The ideas in an answer, at most so many, of these kinds of changes.

    Words around the JSON are passed over: not every server holds its model to a schema.

    Raises:
        Unfit: there is no answer of the right shape in it.
    """
    if len(text) > LONGEST:
        raise Unfit(f"the answer has {len(text):,} characters, and may have {LONGEST:,}")
    problem = "the answer is empty"
    for part in _candidates(text):
        try:
            found = msgspec.json.decode(part.encode(errors="replace"))
        except (msgspec.MsgspecError, RecursionError) as error:
            problem = f"the answer is not valid JSON: {error}"
            continue
        try:
            ideas = _ideas(found, allowed)
        except msgspec.ValidationError as error:
            problem = f"the answer does not have the shape that was asked for: {error}"
            continue
        return ideas[:most]
    raise Unfit(plain(problem, SENTENCE))


def _ideas(found: Any, allowed: Sequence[ChangeKind]) -> list[Idea]:
    several = isinstance(found, dict) and "ideas" in found
    ideas = msgspec.convert(found, _Several).ideas if several else [msgspec.convert(found, Idea)]
    if not ideas:
        raise msgspec.ValidationError("there is no idea in it")
    for idea in ideas:
        if not plain(idea.hypothesis):
            raise msgspec.ValidationError("hypothesis is empty: say in one sentence what you change and why")
        if not 0 < len(idea.changes) <= MOST_CHANGES:
            raise msgspec.ValidationError(f"an idea has 1 to {MOST_CHANGES} changes, not {len(idea.changes)}")
        if other := {str(type(change).__struct_config__.tag) for change in idea.changes} - set(allowed):
            raise msgspec.ValidationError(
                f"a change of kind {min(other)!r}; only {', '.join(allowed)} can be made here"
            )
    return ideas


def _candidates(text: str) -> list[str]:
    """Where the JSON may be: the whole, a fenced block, or from the first brace to the last."""
    fenced = [part.removeprefix("json").strip() for part in text.split("```")[1::2]]
    start, end = text.find("{"), text.rfind("}")
    return [part for part in (text.strip(), *fenced, text[start : end + 1] if 0 <= start < end else "") if part]


def plain(text: str, most: int = SENTENCE) -> str:
    """One bounded line without control characters."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text[: 8 * most]).split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
