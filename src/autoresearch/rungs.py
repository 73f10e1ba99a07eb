"""
The records of transfer: what was measured on each rung of a ladder of other settings, and what is said of it.

As trial.py: frozen, typed, and free of behaviour.
"""

from typing import Literal

from msgspec import Struct

from autoresearch.trial import BudgetUnit, HeldSet, Machine

Each = Literal["alone", "without", "none"]  # a kept change by itself on the start, or the best without it
Carried = Literal[
    "carries",  # at the top of the ladder it gains, and not clearly less than at the bottom
    "shrinks",  # at the top it gains, and clearly less than at the bottom
    "gone",  # at the bottom it gains; at the top clearly less, if anything
    "reverses",  # at the top it makes things worse
    "unclear",  # none of these can be told
    "overridden",  # nothing of it is left at the top: the ladder sets what it changed
    "unmeasured",  # it could not be measured at the bottom or the top
]
Setting = bool | int | float | str


class Effect(Struct, frozen=True, omit_defaults=True):
    """A gain in the metric's unit with its 95 % interval, positive is better; or why there is none."""

    gain: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""


class Rung(Struct, frozen=True, omit_defaults=True):
    """
    One rung of a ladder: the asset's constants set to `settings` on all sides, and what one run may spend.

    `before` and `after` are means of the start and the best, `before_s` and `after_s` what a run of them costs in
    seconds of compute. `changes` are in the order of Transfer.changes; `excess` is the best's gain less their sum.
    """

    settings: dict[str, Setting]
    budget: float | None
    digest: str
    before: float
    after: float
    before_s: float
    after_s: float
    stack: Effect
    changes: tuple[Effect, ...] = ()
    excess: Effect = Effect()


class Passage(Struct, frozen=True, omit_defaults=True):
    """
    What becomes of a kept change up the ladder; of several where they build on each other.

    `overridden` are constants of the ladder that the change itself set.
    """

    trials: tuple[int, ...]
    idea: str
    word: Carried
    overridden: tuple[str, ...] = ()
    why: str = ""


class Crossing(Struct, frozen=True, omit_defaults=True):
    """
    The budget at which a value is reached, between budgets that were measured, with its 95 % interval.

    `word`: reached `between` them, already at the smallest (`below`), or not at the largest (`above`). An end that is
    None lies outside of them. `seconds` of compute at that budget.
    """

    word: Literal["below", "between", "above"]
    budget: float | None = None
    low: float | None = None
    high: float | None = None
    seconds: float | None = None


class Reach(Struct, frozen=True, omit_defaults=True):
    """
    How much budget start and best need for the same value: a target, or what the start reaches with the largest.

    `times` less budget is needed by the best, `low` to `high` is its 95 % interval where it is the start's own value.
    """

    settings: dict[str, Setting]
    value: float
    target: bool
    start: Crossing
    stack: Crossing
    times: float | None = None
    low: float | None = None
    high: float | None = None


class Transfer(Struct, frozen=True, omit_defaults=True):
    """
    Which gains hold on other settings than those they were found on: every side on the same `runs` seeds, which no
    trial and no claim ever has. `bottom` and `top` are the rungs between which the words are.
    """

    start: str
    best: str
    tree: str
    held: HeldSet
    runs: int
    each: Each
    machine: Machine
    rungs: tuple[Rung, ...]
    bottom: int
    top: int
    stack: Carried
    unit: BudgetUnit | None = None
    changes: tuple[Passage, ...] = ()
    reaches: tuple[Reach, ...] = ()
    notes: tuple[str, ...] = ()
