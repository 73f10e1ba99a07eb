"""
Entries of worktrees in a repository, made and removed without asking git.

`git worktree add` reads the entries of all worktrees, one command at a time: with 1,000 of them open no more than twenty
could be made in a second (benchmarks/crowd.py). The files are those of gitrepository-layout(5), which git reads, lists and
removes like its own. An entry comes and goes in one step, so that no git meets half of one.
"""

import contextlib
import itertools
import secrets
from collections.abc import Iterator
from pathlib import Path

from autoresearch.files import remove

MOST_OF_A_NAME = 1000  # entries of one name: others' worktrees may be called like ours


def can_enter(common: Path) -> bool:
    """Whether this repository keeps its refs in files, as `enter` does."""
    return not (common / "reftable").exists()


def enter(common: Path, top: Path, commit: str) -> Path:
    """
    Make a new folder a worktree at a commit, detached, with nothing checked out yet; its entry.

    Raises:
        OSError: the disk refuses.
    """
    top.mkdir(parents=True)
    draft = _aside(common)
    draft.mkdir()
    (draft / "HEAD").write_text(f"{commit}\n")
    (draft / "commondir").write_text("../..\n")
    (draft / "gitdir").write_text(f"{top}/.git\n")
    entry = _place(common, top, draft)
    (top / ".git").write_text(f"gitdir: {entry}\n")
    return entry


def _place(common: Path, top: Path, draft: Path) -> Path:
    """Under the folder's own name, or, like git, that with a number."""
    for entry in _places(common, top):
        with contextlib.suppress(FileExistsError):
            entry.parent.mkdir()  # whoever removes the last entry removes it
        with contextlib.suppress(OSError):
            return draft.rename(entry)
    remove(draft)
    raise FileExistsError(17, "no name is left for its worktree", str(top))


def leave(common: Path, top: Path) -> bool:
    """Remove the entry of a worktree, whatever its own files say by now; False where there is none."""
    for entry in itertools.takewhile(Path.exists, _places(common, top)):
        with contextlib.suppress(OSError):
            if (entry / "gitdir").read_text() == f"{top}/.git\n":
                remove(entry.rename(_aside(common)))
                with contextlib.suppress(OSError):
                    entry.parent.rmdir()  # as git does after the last one
                return True
    return False


def _places(common: Path, top: Path) -> Iterator[Path]:
    return (common / "worktrees" / f"{top.name}{number or ''}" for number in range(MOST_OF_A_NAME))


def _aside(common: Path) -> Path:
    return common / f"autoresearch-{secrets.token_hex(8)}"
