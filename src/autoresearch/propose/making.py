"""
Makes the proposer that study.toml names.

A built-in one is made by its module's `make`, which is given everything of the study that a proposer may need; the
module is imported only when it is named, so the extras of the others need not be there.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from autoresearch.errors import StudyError
from autoresearch.events import Charged, TrialAsked
from autoresearch.execute.keepers import Keepers
from autoresearch.propose import Proposer
from autoresearch.propose.agents import AGENTS
from autoresearch.propose.portfolio import Portfolio
from autoresearch.state import State
from autoresearch.study import Study

BUILT_IN = {name: f"autoresearch.propose.{name}:make" for name in ("search", "llm", "command", "script", "agent")}
BUILT_IN |= dict.fromkeys(AGENTS, BUILT_IN["agent"])


class Given(Struct, frozen=True):
    """
    What a proposer may be made from. `home` is our folder in the study's; `keepers` start and end processes;
    `charge` writes down what a call to a model cost; `tell` says a sentence to the person; `stopping` is whether no
    further trial is to begin, so that nobody goes on waiting for one; `note` writes down who of several was asked for a
    trial. `named` is which of `propose.with` is to be made, for modules that stand behind several names.
    """

    study: Study
    folder: Path
    home: Path
    keepers: Keepers
    state: State
    charge: Callable[[Charged], None]
    tell: Callable[[str], None]
    stopping: Callable[[], bool] = lambda: False
    note: Callable[[TrialAsked], None] = lambda asked: None
    named: str = ""


def make(given: Given) -> Proposer:
    """
    The one proposer that study.toml names, or all of them as one.

    Raises:
        StudyError: study.toml names a proposer that does not exist, or one that lacks a key, a file or an extra.
    """
    made = {name: _made(replace(given, named=name)) for name in given.study.propose.with_}
    return Portfolio(made, given.state, given.note, given.tell) if len(made) > 1 else next(iter(made.values()))


def _made(given: Given) -> Proposer:
    name = given.named
    made: Proposer = _found(BUILT_IN[name])(given) if name in BUILT_IN else _found(name)()
    return made


class Tried(Struct, frozen=True):
    """Whether a proposer can work here, and in a sentence what it was seen doing or what is missing."""

    name: str
    works: bool
    says: str


def try_out(given: Given) -> list[Tried]:
    """
    Each proposer that study.toml names, tried: by its module's `try_out` where it has one, else by making it.

    Raises:
        StudyError: as in `make`.
    """
    found = [_tried(replace(given, named=name)) for name in given.study.propose.with_]
    for one in found:
        if one.works:
            _made(replace(given, named=one.name))
    return found


def _tried(given: Given) -> Tried:
    name = given.named
    trying: Callable[[Given], Tried] | None = None
    if name in BUILT_IN:
        module = importlib.import_module(BUILT_IN[name].partition(":")[0])
        trying = getattr(module, "try_out", None)
    return trying(given) if trying else Tried(name, True, "ready")


def _found(path: str) -> Callable[..., Any]:
    """What a dotted path "pkg.mod:name" leads to."""
    module, _, name = path.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise StudyError(
            f"study.toml: propose.with = {path!r} is neither one of {', '.join(BUILT_IN)} nor a dotted path "
            f'like "pkg.mod:Class" ({error})'
        ) from None
    return found
