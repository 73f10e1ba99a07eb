"""
The branches that are handed on: which may be moved, and moving all of them in one step.

A branch is ours as long as it is where we left it, which a ref under `refs/autoresearch/<study>/final/` remembers. What
is checked out anywhere is never moved, and what is not ours only where the person says so. Knows git, not why.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from autoresearch.errors import WorkspaceError
from autoresearch.git import git, text
from autoresearch.workspace import Workspace

NONE = "0" * 40


class Move(NamedTuple):
    """A branch from where it is now to where it is to be; NONE for not at all. `ours` remembers it."""

    ref: str
    ours: str
    before: str
    after: str
    remembered: str


def moves(workspace: Workspace, top: str, tips: Mapping[str, str], replace_others: bool) -> list[Move]:
    """
    What has to move so that the branches under `top` are these; those of an earlier time that are still ours go.

    Raises:
        WorkspaceError: a branch is in the way: checked out, not ours, or where a folder of branches must be.
    """
    there = _refs(workspace, f"refs/heads/{top}")
    known = _refs(workspace, f"{workspace.refs}/final")
    if f"refs/heads/{top}" in there:
        raise WorkspaceError(
            f"a branch {top} exists, where a folder of branches must be; rename it: git branch -m {top} NEW"
        )
    found = []
    for name in sorted({*tips, *(ref.removeprefix("refs/heads/") for ref in there)}):
        ref, ours = f"refs/heads/{name}", f"{workspace.refs}/final/{name.removeprefix(f'{top}/')}"
        before, checked_out = there.get(ref, (NONE, ""))
        remembered = known.get(ours, (NONE, ""))[0]
        is_ours = before in (NONE, remembered)
        if name not in tips:
            if is_ours and not checked_out:
                found.append(Move(ref, ours, before, NONE, remembered))
            continue
        if checked_out:
            raise WorkspaceError(
                f"branch {name} is checked out in {checked_out}; switch to another there: git switch -"
            )
        if not is_ours and not replace_others:
            raise WorkspaceError(
                f"branch {name} exists and is not as autoresearch left it; rename it (git branch -m {name} NEW), or give "
                "it up with --replace"
            )
        found.append(Move(ref, ours, before, tips[name], remembered))
    return found


def move(workspace: Workspace, wanted: list[Move]) -> None:
    """
    All of them, or none.

    Raises:
        WorkspaceError: somebody moved one meanwhile.
    """
    lines = []
    for one in wanted:
        lines += _line(one.ref, one.after, one.before) + _line(one.ours, one.after, one.remembered)
    git(workspace.folder, "update-ref", "--stdin", input="".join(f"{line}\n" for line in lines).encode())


def _line(ref: str, after: str, before: str) -> list[str]:
    if after == NONE:
        return [f"delete {ref} {before}"] if before != NONE else []
    return [f"update {ref} {after} {before}"]


def of_person(folder: Path) -> str:
    """The branch that the person is on, which a pull request is to be merged into; `main` where they are on none."""
    with contextlib.suppress(WorkspaceError):
        return text(git(folder, "symbolic-ref", "--short", "-q", "HEAD"))
    return "main"


def _refs(workspace: Workspace, under: str) -> dict[str, tuple[str, str]]:
    """Ref -> where it is, and the worktree that has it checked out, if one has."""
    listed = text(git(workspace.folder, "for-each-ref", "--format=%(refname) %(objectname) %(worktreepath)", under))
    parts = (line.split(" ", 2) for line in listed.splitlines())
    return {ref: (commit, path) for ref, commit, path in parts}
