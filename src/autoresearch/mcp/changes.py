"""
From what an agent gives to a patch, and why a patch may not be tried: found out before anything is asked or run.
"""

from collections.abc import Sequence
from pathlib import Path

from autoresearch import ideas, person
from autoresearch.errors import StudyError
from autoresearch.mcp import edits
from autoresearch.mcp.desk import Desk, Look

LARGEST = 1 << 20  # bytes of what all edits of an idea hold


def patch(desk: Desk, look: Look, asked: Sequence[edits.Edit], diff: str, worktree: str) -> bytes:
    """
    The change as a patch against the best.

    Raises:
        StudyError, ProposerError: there is none, or more than one, or it cannot be made; the message says why.
    """
    if sum(map(bool, (asked, diff, worktree))) != 1:
        raise StudyError("give the change in one way: as edits, as a patch, or in a worktree that `lend` gave")
    if worktree:
        return person.changes(desk.folder, lent(desk, worktree))
    if diff:
        return diff.encode(errors="replace") + (b"" if diff.endswith("\n") else b"\n")
    if (size := sum(edit.size for edit in asked)) > LARGEST:
        raise StudyError(
            f"the edits have {size:,} characters; {LARGEST:,} at most. Use `lend` for a change of that size"
        )
    base = look.brief.base.commit
    files = edits.applied(asked, look.study, lambda name: ideas.holds(look.workspace, base, name))
    made = ideas.rewritten(look.workspace, base, files)
    if not made:
        raise StudyError("the edits change nothing: the best holds all of it already. Nothing was tried")
    return made


def lent(desk: Desk, path: str) -> Path:
    """
    Raises:
        StudyError: that folder was not lent: what lies elsewhere is not read.
    """
    try:
        found = Path(path).resolve()
    except (OSError, ValueError):
        found = Path()
    if found not in person.lent(desk.folder):
        raise StudyError("this path is no worktree that was lent; `lend` gives one")
    return found


def check(look: Look, change: bytes) -> None:
    """
    Raises:
        StudyError: the change may not be tried: it touches what is frozen, changes nothing, or was tried already.
    """
    base = look.brief.base.commit
    tree = ideas.content(look.workspace, base, change)
    if problem := look.workspace.problem(look.workspace.change(base, tree)):
        raise StudyError(f"{problem}. Nothing was tried")
    twin = look.state.trees.get(tree)
    known = look.state.trials.get(-1 if twin is None else twin)
    if known is not None and (known.verdict is not None or not known.wish):  # else that idea is gone on with
        raise StudyError(
            f"trial {known.id} had exactly this code, and is {look.trial(known.id).word}: `show` it. Nothing was tried"
        )
