"""
Any program that edits files: it gets the brief on standard input and a worktree as its working directory.

What it prints is data. A line `IDEA ...` is taken as its idea, else its first line.
"""

import itertools
import shutil
from pathlib import Path

from autoresearch.errors import ProposerError
from autoresearch.execute.environment import words
from autoresearch.propose import Tree
from autoresearch.propose.cell import ProposerCell
from autoresearch.propose.making import Given, Tried
from autoresearch.report.brief import Brief
from autoresearch.trial import Limits, Proposal

OUTPUT_BYTES = 1 << 20


def make(given: Given) -> "Command":
    """The program that `propose.command` names, in its cell."""
    cell = ProposerCell(given.study, given.folder, given.home, given.keepers)
    return Command(given.study.propose.command or "", cell)


def try_out(given: Given) -> Tried:
    """Whether there is such a program; it is not started, since it may cost money."""
    program = words(given.study.propose.command or "")[0]
    if not shutil.which(program):
        return Tried("command", False, f"propose.command: {program} is not on PATH")
    if given.study.propose.sandbox == "none":
        return Tried(
            "command", True, f"propose.sandbox is none: {program} runs as you, with your keys and all you have"
        )
    return Tried("command", True, f"{program} is there")


class Command:
    def __init__(self, command: str | list[str], cell: ProposerCell) -> None:
        self.argv = list(words(command))
        self.cell = cell
        self.folder = cell.home / "proposals"
        self._numbers = itertools.count()

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = self.folder / f"{tree.path.name}-{next(self._numbers)}"
        given, out, err = (stem.with_name(f"{stem.name}.{kind}.txt") for kind in ("brief", "out", "err"))
        given.write_text(brief.text(), encoding="utf-8")
        ending = self.cell.run(self.argv, tree.path, given, out, err, limits.timeout_s)
        if ending.how == "timeout":
            raise ProposerError(f"{self.argv[0]} was ended after {limits.timeout_s:g} s (propose.timeout_s)")
        if ending.how == "bounds":
            raise ProposerError(f"{self.argv[0]} {ending.why} and was ended")
        if ending.how == "failed" or ending.code:
            why = ending.why or f"exit code {ending.code}"
            raise ProposerError(f"{self.argv[0]} failed: {why}; its output is in {err}")
        return Proposal(_idea(out) or f"an edit by {self.argv[0]}", "command")


def _idea(output: Path) -> str:
    with output.open("rb") as file:
        lines = file.read(OUTPUT_BYTES).decode(errors="replace").splitlines()
    stated = [line[4:].strip(" :") for line in lines if line.startswith(("IDEA ", "IDEA:"))]
    return next(iter(stated + [line.strip() for line in lines if line.strip()]), "")
