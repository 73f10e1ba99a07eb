"""
The ladder: which constants are set to what on each rung, and the asset's files with them set so.

Knows what was typed and what stands in files; no git, no runs.
"""

import ast
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from autoresearch.errors import AutoresearchError
from autoresearch.propose import literals
from autoresearch.propose.knobs import EditRefused, language, write
from autoresearch.rungs import Setting

BUDGET = "budget"  # in a ladder: what one run may spend, rung by rung, as if it were a constant


class Step(Struct, frozen=True):
    """A rung as it was typed: constants with the text of their values, and a run's budget where it is given."""

    settings: dict[str, str]
    budget: float | None = None

    @property
    def name(self) -> str:
        shown = [f"{key}={value}" for key, value in self.settings.items()]
        return ", ".join(shown + ([f"{BUDGET}={self.budget:g}"] if self.budget else []))


class Spot(NamedTuple):
    """Where a constant of the ladder stands: the key as typed, the file within the study, the name within it."""

    key: str
    file: str
    name: str


def read(ladder: Iterable[str], budgets: str | None = None) -> list[Step]:
    """
    The rungs that were asked for, in the order typed: `DEPTH=4,6 WIDTH=64,96` are two. Each is taken with each of the
    `budgets`, from the smallest to the largest.

    Raises:
        AutoresearchError: it is no ladder; the message says what one looks like.
    """
    columns = _columns(word for text in ladder for word in text.split())
    if not columns and budgets is None:
        raise AutoresearchError("--ladder is missing: name a constant of the asset and its values, like DEPTH=4,6,8")
    lengths = {key: len(values) for key, values in columns.items() if len(values) > 1}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{n} of {key}" for key, n in lengths.items())
        raise AutoresearchError(f"--ladder: constants change together, rung by rung, but there are {shown} values")
    rungs = max(lengths.values(), default=1)
    steps = []
    for i in range(rungs):
        settings = {key: values[i if len(values) > 1 else 0] for key, values in columns.items()}
        own = settings.pop(BUDGET, None)
        steps.append(Step(settings, _amount("--ladder", own) if own else None))
    if budgets is not None:
        if BUDGET in columns:
            raise AutoresearchError("--ladder names the budget, and so does --budgets: leave one of them out")
        amounts = sorted(_amount("--budgets", part.strip()) for part in budgets.split(","))
        steps = [Step(step.settings, amount) for step in steps for amount in amounts]
    if twice := [step.name for i, step in enumerate(steps) if step in steps[:i]]:
        raise AutoresearchError(f"--ladder: the rung {twice[0]} is there twice; write each once")
    return steps


def _columns(words: Iterable[str]) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    for word in words:
        key, _, listed = word.partition("=")
        values = [value.strip() for value in listed.split(",")]
        if not key or not all(values):
            raise AutoresearchError(f"--ladder {word!r}: write a constant and its values, like DEPTH=4,6,8")
        if key in columns:
            raise AutoresearchError(f"--ladder names {key} twice: write all its values behind one name")
        columns[key] = values
    return columns


def _amount(option: str, text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 < amount < math.inf:
        raise AutoresearchError(f"{option}: {text!r} is no budget: write a number, like 150_000, without its unit")
    return amount


# -- in the asset's files ------------------------------------------------------------------------------


def locate(key: str, files: Mapping[str, bytes]) -> Spot:
    """
    Where a constant stands among the asset's files: `DEPTH`, or `train.py:DEPTH` where several have one.

    Raises:
        AutoresearchError: nowhere, or in more than one place.
    """
    chosen, _, name = key.rpartition(":")
    if chosen and chosen not in files:
        known = ", ".join(sorted(files)) or "no file with constants"
        raise AutoresearchError(f"--ladder {key}: {chosen} is not a file of the asset that has constants ({known})")
    found = [file for file, source in files.items() if (not chosen or file == chosen) and _count(file, source, name)]
    if len(found) > 1:
        raise AutoresearchError(
            f"--ladder {key}: {' and '.join(sorted(found))} each have a constant {name}; say which, like {found[0]}:{name}"
        )
    if not found:
        names = sorted({literal.name for file in files for literal in _literals(file, files[file])})
        known = f"constants there: {', '.join(names[:12])}" if names else "there are none"
        raise AutoresearchError(
            f"--ladder {key}: {chosen or ', '.join(sorted(files)) or 'the asset'} has no constant {name}, a name at the "
            f"top of a file with a plain value, like {name} = 4 ({known})"
        )
    return Spot(key, found[0], name)


def value(spot: Spot, source: bytes) -> Setting | None:
    """What the constant is in this file; None where it has no single plain value."""
    return next((literal.value for literal in _literals(spot.file, source) if literal.name == spot.name), None)


def asked(spot: Spot, step: Step, source: bytes) -> Setting:
    """What a rung sets a constant to."""
    now = value(spot, source)
    return step.settings[spot.key] if now is None else typed(spot, step.settings[spot.key], now)


def place(file: str, source: bytes, spots: Sequence[Spot], step: Step, where: str) -> bytes:
    """
    A file with its constants set as a rung says. `where` names what is being changed, for the message.

    Raises:
        AutoresearchError: a constant is not there, or more than once, or cannot take that value.
    """
    changes: dict[str, Setting] = {}
    for spot in (spot for spot in spots if spot.file == file):
        times, now = _count(file, source, spot.name), value(spot, source)
        if times > 1:
            raise AutoresearchError(
                f"{file} of {where}: {spot.name} is set in {times} places, so setting one of them would say little; "
                f"give it one line `{spot.name} = ...` there, or ladder another constant"
            )
        if now is None:
            raise AutoresearchError(
                f"{file} of {where}: no constant {spot.name} with a plain value, so it cannot be put on the ladder; "
                "ladder another constant, or leave these single changes out with --each without or none"
            )
        changes[spot.name] = typed(spot, step.settings[spot.key], now)
    try:
        return write(file, source, changes)
    except EditRefused as error:
        raise AutoresearchError(f"{where}: {error}; ladder another constant") from None


def typed(spot: Spot, text: str, now: Setting) -> Setting:
    """The text of a value, as the kind of value that the constant has."""
    try:
        match now:
            case bool():
                return {"true": True, "false": False}[text.lower()]
            case int():
                return int(text)
            case float() if math.isfinite(float(text)):
                return float(text)
            case str():
                return text
    except (ValueError, KeyError):
        pass
    kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(now)]
    raise AutoresearchError(f"--ladder {spot.key}={text}: in {spot.file} it is {now!r}, so it must be {kind}")


def _literals(file: str, source: bytes) -> Sequence[literals.Literal]:
    spoken = language(file)
    return literals.find(spoken, source) if spoken else ()


def _count(file: str, source: bytes, name: str) -> int:
    """In how many places a file sets a constant of this name, at least one of them to a plain value."""
    spoken = language(file)
    if spoken is None:
        return 0
    try:
        text = source.decode()
        plain = sum(literal.name == name for literal in literals.SCAN[spoken](text))
    except (ValueError, SyntaxError, RecursionError, ImportError):
        return 0
    return max(plain, _assignments(text, name)) if plain and spoken == "python" else plain


def _assignments(text: str, name: str) -> int:
    """How often a Python module assigns a name at its top, in branches and loops too."""
    waiting: list[ast.AST] = list(ast.parse(text).body)
    found = 0
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        found += isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
        waiting += ast.iter_child_nodes(node)
    return found
