"""The records of what is handed on: branches, what each gains, and which cannot go together. As in trial.py."""

from msgspec import Struct

from autoresearch.trial import Beside, HeldSet, Machine


class Branch(Struct, frozen=True, omit_defaults=True):
    """
    One branch. `gain`, with its 95 % interval, is over what it stands on: the start, or the branch named by `on`.

    `gain` is None where it was not measured, or where `why` says that it could not be.
    """

    name: str
    commit: str
    tree: str
    trials: tuple[int, ...]
    idea: str
    on: str = ""
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""


class Clash(Struct, frozen=True, omit_defaults=True):
    """
    Two kept changes that cannot both be taken as they are. `alone`: neither needs the other, and only merging the two
    conflicts; else the later one needs the earlier. `on_top`: it applies on top of the earlier one.
    """

    earlier: int
    later: int
    alone: bool
    on_top: bool


class Final(Struct, frozen=True, omit_defaults=True):
    """
    What was kept, as branches from `start`. `together` holds all of it; with a squash it is the only one.

    `runs` are the fresh seeds of each side, 0 where nothing was measured. `beside` is what the guards hold to the start,
    for all together.
    """

    start: str
    best: str
    held: HeldSet
    runs: int
    digest: str
    machine: Machine
    together: Branch
    branches: tuple[Branch, ...] = ()
    clashes: tuple[Clash, ...] = ()
    left_out: tuple[int, ...] = ()  # trials that carry nothing
    only_together: tuple[int, ...] = ()  # trials without a branch of their own: they need several others
    beside: tuple[Beside, ...] = ()
    notes: tuple[str, ...] = ()
