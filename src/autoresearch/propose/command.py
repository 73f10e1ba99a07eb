"""
Any program that edits files: it gets the brief on standard input and a worktree as its working directory.

What it prints is data. A line `IDEA ...` is taken as its idea, else its first line.
"""

import itertools
import os
from pathlib import Path

from autoresearch.errors import ProposerError
from autoresearch.execute.keepers import Keepers
from autoresearch.execute.local import environment, words
from autoresearch.execute.machine import Slot
from autoresearch.propose import Tree
from autoresearch.report.brief import Brief
from autoresearch.trial import Limits, Proposal

OUTPUT_BYTES = 1 << 20


class Command:
    def __init__(self, command: str, keepers: Keepers, home: Path) -> None:
        self.argv = list(words(command))
        self.keepers = keepers
        self.folder = home / "proposals"
        self._numbers = itertools.count()

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = self.folder / f"{tree.path.name}-{next(self._numbers)}"
        given, out, err = (stem.with_name(f"{stem.name}.{kind}.txt") for kind in ("brief", "out", "err"))
        given.write_text(brief.text(), encoding="utf-8")
        ending = self.keepers.run(
            self.argv,
            cwd=tree.path,
            # The person's own program, with the person's keys: it may have to ask a model.
            env=environment(Slot(), {}, [name for name in os.environ if not name.startswith("AUTORESEARCH_")]),
            out=out,
            err=err,
            timeout_s=limits.timeout_s,
            stdin=given,
        )
        if ending.how == "timeout":
            raise ProposerError(f"{self.argv[0]} was ended after {limits.timeout_s:g} s (propose.timeout_s)")
        if ending.how == "failed" or ending.code:
            why = ending.why or f"exit code {ending.code}"
            raise ProposerError(f"{self.argv[0]} failed: {why}; its output is in {err}")
        return Proposal(_idea(out) or f"an edit by {self.argv[0]}", "command")


def _idea(output: Path) -> str:
    with output.open("rb") as file:
        lines = file.read(OUTPUT_BYTES).decode(errors="replace").splitlines()
    stated = [line[4:].strip(" :") for line in lines if line.startswith(("IDEA ", "IDEA:"))]
    return next(iter(stated + [line.strip() for line in lines if line.strip()]), "")
