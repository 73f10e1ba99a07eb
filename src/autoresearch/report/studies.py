"""Several studies: how each stands, as records and as a table. Pure; what files say is cleaned."""

from typing import Literal

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from autoresearch.report.text import amount, clean, number
from autoresearch.report.themes import one_line
from autoresearch.trial import Claim

COLORS = {"running": "bold blue", "never run": "dim", "broken": "bold red"}
ERROR = 200  # characters

Word = Literal["running", "ended", "not running", "never run", "broken"]


class Found(Struct, frozen=True, omit_defaults=True):
    """
    One study. `folder` is relative to where the walk began. `state`: `ended` is of its own accord, `not running` was
    stopped or killed. `error` says why it is `broken`.
    """

    folder: str
    state: Word
    study: str = ""
    metric: str = ""
    direction: str = ""
    unit: str = ""
    pid: int | None = None
    trials: int = 0
    kept: int = 0
    start: float | None = None
    best: float | None = None
    claim: Claim | None = None  # about the present best
    suspect: int = 0  # trials that wait for a person
    error: str = ""


class Listing(Struct, frozen=True):
    """What the walk found, by folder; `cut` says that it ended before it had seen everything."""

    studies: tuple[Found, ...]
    cut: bool


def page(found: Listing) -> RenderableType:
    """A line for each study."""
    more = Text("There is more below than was looked through: name a smaller folder." if found.cut else "", "yellow")
    if not found.studies:
        none = "No study here: a study is a folder with a study.toml. `autoresearch init` makes one."
        return Text(f"{none} {more}".strip())
    shown = Table(box=None, pad_edge=False, header_style="bold")
    heads = (("folder", "left"), ("state", "left"), ("trials", "right"), ("kept", "right"), ("best", "right"))
    for name, justify in heads:
        shown.add_column(name, justify=justify, no_wrap=name != "folder")  # type: ignore[arg-type]
    shown.add_column("claim", overflow="fold", ratio=1)
    for study in found.studies:
        shown.add_row(*_row(study))
    return Group(shown, *([more] if found.cut else []))


def _row(one: Found) -> tuple[RenderableType, ...]:
    state = f"running, {one.pid}" if one.pid else one.state
    word = Text(state, COLORS.get(one.state, ""))
    if one.error:
        return Text(clean(one.folder)), word, "", "", "", Text(one_line(one.error, ERROR), "red")
    best = f"{number(one.best)} {one.metric}" if one.best is not None else ""
    counts = (str(one.trials), str(one.kept)) if one.state != "never run" else ("", "")
    return Text(clean(one.folder)), word, *counts, Text(clean(best)), Text(claim(one))


def claim(one: Found) -> str:
    """What may be said of a study's gain, in a few words."""
    waiting = f"; {one.suspect} suspect, waiting for you" if one.suspect else ""
    if one.claim is not None:
        unit = f" {clean(one.unit)}" if one.unit else ""
        ends = f"[{amount(one.claim.low)}, {amount(one.claim.high)}]"
        return f"better by {amount(one.claim.gain)}{unit} {ends}, {one.claim.held} set{waiting}"
    return f"not certified yet{waiting}" if one.kept else waiting.removeprefix("; ")
