"""
Worktrees, whose entries in the repository are made and removed without asking git.

`git worktree add` reads the entries of all worktrees, one command at a time: with 1,000 of them open no more than twenty
could be made in a second (benchmarks/crowd.py). The files are those of gitrepository-layout(5), which git reads, lists and
removes like its own. An entry comes and goes in one step, so that no git meets half of one.
"""

import contextlib
import itertools
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from autoresearch.errors import WorkspaceError
from autoresearch.files import remove
from autoresearch.git import git

ASIDE = "autoresearch-worktree-"  # begins the name of an entry before git sees it, and after
LEFT_S = 60.0  # making one takes a millisecond
MOST_OF_A_NAME = 1000  # entries of one name: others' worktrees may be called like ours


class Worktrees:
    """Those of a study; shared by all workers. `folder` lies in the repository, `common` is where git keeps its own."""

    def __init__(self, folder: Path, common: Path) -> None:
        self.folder, self.common = folder, common
        self._asking = threading.Lock()

    def add(self, top: Path, commit: str) -> None:
        """
        A fresh worktree of a commit, in place of what was there.

        Raises:
            WorkspaceError: git or the disk refuses.
        """
        self.remove(top)
        if (self.common / "reftable").exists():  # this repository keeps refs in no files, as an entry here does
            self.ask("worktree", "add", "--quiet", "--force", "--detach", str(top), commit)
            return
        try:
            entry = enter(self.common, top, commit)
        except OSError as error:
            raise WorkspaceError(f"{error.filename}: {error.strerror}; the repository must be writable") from None
        words = (f"--git-dir={entry}", f"--work-tree={top}", "read-tree", "--reset", "-u", "--no-recurse-submodules")
        git(top, *words, commit)

    def remove(self, top: Path) -> None:
        """With all that it holds, if it is there."""
        if not leave(self.common, top) and top.exists():
            with contextlib.suppress(WorkspaceError):
                self.ask("worktree", "remove", "--force", "--force", str(top))
        remove(top)  # with files that git would not remove

    def clean(self, home: Path) -> None:
        """Remove those in a folder, which a killed session left, and what it left of entries that it was just at."""
        for top in sorted(home.glob("*")):
            self.remove(top)
        for left in self.common.glob(f"{ASIDE}*"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > LEFT_S:  # else another study may be at it
                    remove(left)

    def ask(self, *args: str) -> bytes:
        """
        A git command that looks through all worktrees. It fails on one that is just being made: by another
        worker, or by a git that outlived a killed session for some milliseconds.
        """
        with self._asking:
            for pause_s in (0.05, 0.2, 0.8):
                try:
                    return git(self.folder, *args)
                except WorkspaceError:
                    time.sleep(pause_s)
            return git(self.folder, *args)


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
    return common / f"{ASIDE}{secrets.token_hex(8)}"
