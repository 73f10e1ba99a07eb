"""
Something to propose: constants to set, or a cut, and the sentence that says why.

Knows the text of files; no history and no strategy.
"""

from collections.abc import Mapping

from msgspec import Struct

from autoresearch.propose import setting
from autoresearch.propose.history import Change, Key, Wave, cut_key
from autoresearch.propose.knobs import EditRefused, Knob
from autoresearch.propose.ranges import Value
from autoresearch.propose.simplify import Cut, compiles


class Move(Struct, frozen=True):
    """Something to propose: constants to set, or a cut, and the sentence that says why."""

    kind: str
    idea: str
    changes: dict[str, Change] = {}
    cut: Cut | None = None
    file: str = ""
    wave: Wave | None = None  # that it is a run of

    @property
    def memo(self) -> dict[str, object]:
        if self.cut:
            return {"kind": self.kind, "cut": self.cut.key}
        memo = {"kind": self.kind, "set": {knob: list(change) for knob, change in self.changes.items()}}
        return memo | ({"of": [list(factor) for factor in self.wave.factors]} if self.wave else {})

    def key(self, base_tree: str) -> Key:
        if self.cut:
            return cut_key(self.cut.key)
        return base_tree, frozenset((knob, new) for knob, (_, new) in self.changes.items())

    def edit(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """
        The files that change, as they are after it.

        Raises:
            EditRefused: it cannot be made.
        """
        if self.cut is None:
            return setting.edited(files, {key: new for key, (_, new) in self.changes.items()})
        result = self.cut.apply(files[self.file])
        if not compiles(result):
            raise EditRefused(f"{self.file}: does not compile without {self.cut.words}")
        return {self.file: result}


def one(knob: Knob, value: Value, why: str, verb: str = "") -> Move:
    return Move("one", f"{verb or _verb(knob, value)} {_arrow(knob, value)}: {why}", {knob.key: (knob.value, value)})


def several(kind: str, knobs: Mapping[str, Knob], values: Mapping[str, Value], why: str) -> Move:
    """To set constants, by key, to these; those that have that value already are left out."""
    changed = {key: value for key, value in values.items() if knobs[key].value != value}
    arrows = [_arrow(knobs[key], value) for key, value in changed.items()]
    shown = arrows if len(arrows) <= 4 else [*arrows[:3], f"{len(arrows) - 3} more"]
    verb = "combine" if kind in ("pair", "couple", "fitted") else "set"
    changes = {key: (knobs[key].value, value) for key, value in changed.items()}
    return Move(kind if len(changes) > 1 or kind == "wave" else "one", f"{verb} {' with '.join(shown)}: {why}", changes)


def _verb(knob: Knob, value: Value) -> str:
    if isinstance(value, str | bool) or isinstance(knob.value, str | bool):
        return "set"
    return "raise" if value > knob.value else "lower"


def _arrow(knob: Knob, value: Value) -> str:
    return f"{knob} {_shown(knob.value)} -> {_shown(value)}"


def _shown(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
