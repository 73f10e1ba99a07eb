"""
Whoever has the ideas.

A proposer is given a worktree and a brief, edits the asset in place, and returns its idea in one sentence.
It never states a value: what it changed is measured by the loop.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from autoresearch.report.brief import Brief
from autoresearch.trial import Limits, Proposal


class Tree(Protocol):
    """The part of a worktree that a proposer needs."""

    path: Path  # the study's folder inside the worktree: the working directory of a proposer

    def asset_files(self) -> list[Path]:
        """Files that may change, as they stand on the base, relative to `path`, sorted."""
        ...

    def snapshot(self) -> str:
        """The identity of what the worktree holds now: equal content, equal id (about 5 ms)."""
        ...

    def fit(self, patch: str, line_for_line: str | None) -> bool:
        """Apply a patch, or else its bare lines; False where neither fits, and nothing was changed."""
        ...


class Proposer(Protocol):
    """
    Workers of one study share a proposer, each on a thread of its own.

    Raises (from `propose`):
        ProposerError: no change could be made this time; the trial is rejected and the loop goes on.
        NothingLeft: there will be no further idea; the study ends when running trials are done.
    """

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        """Edit the asset under `tree.path` and say what was done, in one sentence."""
        ...


ProposerFactory = Callable[..., Proposer]
