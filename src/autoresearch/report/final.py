"""What is handed on, as a table for a terminal. Pure functions; what proposers wrote is cleaned."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from autoresearch.final import Branch, Final
from autoresearch.report import evidence
from autoresearch.report.text import clean


def page(found: Final, commands: Sequence[str]) -> RenderableType:
    """The branches with what they gain, what cannot go together, and the lines to type."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("trial", "right"), ("gain", "right"), ("95 %", "left"), ("on", "left")):
        shown.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    shown.add_column(f"branch, under {found.together.name.rpartition('/')[0]}/", overflow="fold", ratio=1)
    trials = {branch.name: str(branch.trials[0]) for branch in found.branches}
    for branch in (*found.branches, found.together):
        shown.add_row(*_row(branch, trials))
    lines = [evidence.clash(pair) for pair in found.clashes]
    if found.left_out:
        lines.append(f"Left out, because they carry nothing: trial {', '.join(map(str, found.left_out))}.")
    if found.only_together:
        which = ", ".join(map(str, found.only_together))
        lines.append(f"No branch of its own, because it needs several others: trial {which}. It is in the whole.")
    lines += found.notes
    how = "Nothing of yours was touched, and nothing sent. To open pull requests:"
    parts: list[RenderableType] = [shown, Text("")]
    parts += [Text(line, "yellow") for line in lines]
    return Group(*parts, *([Text("")] if lines else []), Text(how), *(Text(f"  {line}") for line in commands))


def _row(branch: Branch, trials: dict[str, str]) -> tuple[RenderableType, ...]:
    trial = str(branch.trials[0]) if len(branch.trials) == 1 else "all"
    gain = "-" if branch.gain is None else f"{branch.gain:+.4g}"
    ends = "" if branch.low is None or branch.high is None else f"[{branch.low:.4g}, {branch.high:.4g}]"
    name = Text(branch.name.rpartition("/")[2], "bold").append(f"  {clean(branch.why)}" if branch.why else "", "yellow")
    return trial, gain, Text(ends), f"trial {trials[branch.on]}" if branch.on else "start", name
