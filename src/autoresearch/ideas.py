"""
Ideas that come from outside the loop, as content and commits: from a patch, a folder, or a worktree that was lent.

Knows git. Touches nothing of the person's: what an idea leads to is put together in an index of its own, so that it
needs no checkout, and a lent worktree lies under `.autoresearch/lent/`.
"""

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from msgspec import Struct

from autoresearch.errors import StudyError, WorkspaceError
from autoresearch.git import git, text
from autoresearch.workspace import HOME, Workspace

LARGEST = 64 << 20  # bytes of a patch
MOST_FILES = 100_000  # in a folder that is looked through
MOST_LENT = 64
_LENT = re.compile(r"([0-9a-f]{40,64})-[0-9a-f]{8}")


def content(workspace: Workspace, base: str, patch: bytes) -> str:
    """
    The content that a patch makes of a commit. The patch names files from the repository's top, as `git diff` does,
    or from the study's folder.

    Raises:
        StudyError: it is none, does not apply, or changes nothing.
    """
    if len(patch) > LARGEST:
        raise StudyError(f"the patch is larger than {LARGEST >> 20} MiB; a change of code is not")
    if not patch.strip():
        raise StudyError("the patch is empty: nothing would be tried")
    top = _top(workspace)
    with _index(workspace, base) as index:
        try:
            options = _options(workspace, patch)
            git(top, "apply", "--cached", "--3way", *options, "-", input=patch, index=index)
            made = text(git(top, "write-tree", index=index))
        except WorkspaceError as error:
            said = str(error).partition(": ")[2] or str(error)
            made = _unless_there(workspace, base, patch, said.removeprefix("error: "))
    if made == text(git(top, "rev-parse", f"{base}^{{tree}}")):
        raise StudyError("it changes nothing: the best holds all of it already, so nothing would be tried")
    return made


def _unless_there(workspace: Workspace, base: str, patch: bytes, said: str) -> str:
    """The content of a commit that a patch does not apply to, where it holds the change already."""
    with _index(workspace, base) as index, contextlib.suppress(WorkspaceError):
        reversed_ = ["apply", "--cached", "--reverse", "--check", *_options(workspace, patch), "-"]
        git(_top(workspace), *reversed_, input=patch, index=index)
        return text(git(_top(workspace), "write-tree", index=index))
    if said.startswith("U "):
        said = f"in {said[2:]} it changes what a change that was kept has changed, too"
    raise StudyError(
        f"the patch does not apply to the best, {base[:12]}: {said}. It must be a unified diff against it, or against a "
        "commit of this repository that it can be carried over from. Nothing was tried. To edit the best itself: "
        "`autoresearch try IDEA --edit`"
    )


def changes(workspace: Workspace, path: Path, best: str) -> bytes:
    """
    The patch that leads to what lies in a folder: in a lent worktree everything, elsewhere files of the asset alone.

    In a checkout of this repository the patch is against the commit at which it left the best; elsewhere, files
    replace those of the best. What a folder lacks is not deleted.

    Raises:
        StudyError: there is no such folder, or nothing of the asset in it.
    """
    top = _top(workspace)
    if lent := _lent(workspace, path):
        place, base = lent
        with _index(workspace, base) as index:
            where = (f"--git-dir={_git_dir(workspace)}", f"--work-tree={place}")
            git(place, *where, "add", "--all", index=index)
            made = text(git(top, "write-tree", index=index))
    else:
        base = _left_best_at(workspace, path, best)
        with _index(workspace, base) as index:
            entries = [f"{mode} {blob}\t{workspace.prefix}{name}" for name, mode, blob in _asset_files(workspace, path)]
            listed = "".join(f"{entry}\0" for entry in entries).encode(errors="surrogateescape")
            git(top, "update-index", "-z", "--index-info", input=listed, index=index)
            made = text(git(top, "write-tree", index=index))
    return workspace.diff(base, made)


class Lent(Struct, frozen=True):
    """A worktree for somebody to edit: the study's folder in it, the files there that may change, and its commit."""

    path: Path
    files: list[Path]
    base: str


def lend(workspace: Workspace, base: str) -> Lent:
    """
    A worktree at this commit for somebody to edit, until it is taken back.

    Raises:
        StudyError: too many are lent already.
    """
    lent = sorted((workspace.home / "lent").glob("*"))
    if len(lent) >= MOST_LENT:
        raise StudyError(
            f"{len(lent)} worktrees are lent already, in {workspace.home / 'lent'}: remove those that nobody edits "
            "any more, each with `git worktree remove --force FOLDER`"
        )
    top = workspace.home / "lent" / f"{base}-{secrets.token_hex(4)}"
    workspace.add_worktree(top, base)
    return Lent(top / workspace.prefix, workspace.asset_files(base), base)


def lent(workspace: Workspace) -> list[Path]:
    """What is lent now; the study's folder in each."""
    return [top / workspace.prefix for top in sorted((workspace.home / "lent").glob("*")) if _LENT.fullmatch(top.name)]


def take_back(workspace: Workspace, path: Path) -> None:
    """
    Remove a lent worktree, whatever it holds.

    Raises:
        StudyError: it is not a lent one.
    """
    found = _lent(workspace, path)
    if found is None:
        raise StudyError(f"{path}: not a worktree that was lent by this study")
    workspace.remove_worktree(found[0])


def _lent(workspace: Workspace, path: Path) -> tuple[Path, str] | None:
    """The root of the lent worktree that a path lies in, and the commit it was lent at."""
    with contextlib.suppress(ValueError, OSError):
        place = workspace.home / "lent"
        top = place / path.resolve().relative_to(place).parts[0]
        if (match := _LENT.fullmatch(top.name)) and top.is_dir():
            return top, match[1]
    return None


def _top(workspace: Workspace) -> Path:
    """The root of the person's checkout: where a patch's paths begin."""
    return (
        workspace.folder.parents[len(PurePosixPath(workspace.prefix).parts) - 1]
        if workspace.prefix
        else workspace.folder
    )


def _git_dir(workspace: Workspace) -> str:
    return text(git(workspace.folder, "rev-parse", "--absolute-git-dir"))


@contextlib.contextmanager
def _index(workspace: Workspace, base: str) -> Iterator[Path]:
    """An index of its own that holds a commit's content."""
    with tempfile.TemporaryDirectory(prefix="autoresearch-") as folder:
        index = Path(folder) / "index"
        git(_top(workspace), "read-tree", base, index=index)
        yield index


def _options(workspace: Workspace, patch: bytes) -> list[str]:
    """How many leading folders of the patch's paths do not count, and the folder they begin at."""
    prefix, problem = workspace.prefix, WorkspaceError("it is no patch")
    for strip in ("-p1", "-p0"):
        try:
            listed = git(_top(workspace), "apply", "--numstat", "-z", strip, "-", input=patch)
        except WorkspaceError as error:
            problem = error if strip == "-p1" else problem
            continue
        paths = [entry.split(b"\t", 2)[-1].decode(errors="replace") for entry in listed.split(b"\0") if entry]
        at_top = not prefix or any(path.startswith(prefix) for path in paths)
        return [strip] if at_top else [strip, f"--directory={prefix}"]
    raise problem


def _left_best_at(workspace: Workspace, path: Path, best: str) -> str:
    """Where a checkout of this repository left the line of the best; the best for any other folder."""
    with contextlib.suppress(WorkspaceError):
        theirs = (path / text(git(path, "rev-parse", "--git-common-dir"))).resolve()
        ours = (workspace.folder / text(git(workspace.folder, "rev-parse", "--git-common-dir"))).resolve()
        if theirs == ours and text(git(path, "rev-parse", "--show-prefix")) == workspace.prefix:
            return text(git(path, "merge-base", "HEAD", best))
    return best


def _asset_files(workspace: Workspace, path: Path) -> Iterator[tuple[str, str, str]]:
    """Name from the study's folder, mode and blob of each file in a folder that may change."""
    if not path.is_dir():
        raise StudyError(f"{path}: no such folder")
    seen, found = 0, False
    for where, folders, names in os.walk(path):
        folders[:] = [name for name in folders if name not in {".git", HOME}]
        seen += len(names) + len(folders)
        if seen > MOST_FILES:
            raise StudyError(
                f"{path}: more than {MOST_FILES:,} files; name a folder that holds the asset and little else"
            )
        for name in names:
            file = Path(where) / name
            relative = file.relative_to(path).as_posix()
            if not workspace.study.may_change(relative):
                continue
            if file.is_symlink() or not file.is_file():
                raise StudyError(f"{file}: not a plain file; put a copy in its place")
            as_path = f"--path={workspace.prefix}{relative}"  # what .gitattributes say of it holds as in `git add`
            blob = text(git(_top(workspace), "hash-object", "-w", as_path, "--", str(file)))
            found = True
            yield relative, "100755" if os.access(file, os.X_OK) else "100644", blob
    if not found:
        raise StudyError(f"{path}: none of {', '.join(workspace.study.asset)} is there, so nothing would be tried")
