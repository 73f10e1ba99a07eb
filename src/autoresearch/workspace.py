"""
git: one worktree per trial, a ref per trial, and the best branch.

Knows repositories. Never touches the person's checkout, index, branches or untracked files: everything of
ours is in worktrees under `.autoresearch/trees/`, in refs under `refs/autoresearch/<study>/`, and on the
branch `autoresearch/<study>`.
"""

import contextlib
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from autoresearch.change import AS_CHANGE, Change, Shapes
from autoresearch.errors import ProposerError, WorkspaceError
from autoresearch.files import traces
from autoresearch.git import PLAIN_DIFF, git, git_commit, git_in_turn, text
from autoresearch.near import Sketches
from autoresearch.study import FILE, Study
from autoresearch.trial import Best, Proposal, Trial, Verdict
from autoresearch.worktrees import Worktrees

HOME = ".autoresearch"
REFEREE = "referee"  # the worktree of the study's own commit, where frozen code runs
IDEA_LENGTH = 300  # characters that reach a commit's first line
PLAIN_FILES = {"100644", "100755", "000000"}  # modes: no links, no nested repositories

# The head of a hunk that only adds lines, and of one that does when it is taken back.
_INSERTS = re.compile(rb"^@@ -\d+,0 ", re.MULTILINE), re.compile(rb"^@@ -\S+ \+\d+,0 ", re.MULTILINE)
_AS_PATCH = ["--binary", "--full-index", *PLAIN_DIFF]


class Tree:
    """
    A worktree of one trial. `top` is its root; `path` the study's folder in it.

    git is told where everything is: left to look for itself, in a worktree whose `.git` a candidate removed, it
    would find the person's own repository around it.
    """

    def __init__(self, workspace: "Workspace", top: Path, base: str) -> None:
        self.workspace, self.top, self.base = workspace, top, base
        self.path = top / workspace.prefix
        git_dir = (top / ".git").read_text().removeprefix("gitdir: ").strip()
        self.here = [f"--git-dir={git_dir}", f"--work-tree={top}"]  # whatever its own .git says later

    def git(self, *args: str, input: bytes | None = None) -> bytes:
        return git(self.top, *self.here, *args, input=input)

    def asset_files(self) -> list[Path]:
        """Files that may change, as they stand on the base, relative to `path`, sorted."""
        return self.workspace.asset_files(self.base)

    def snapshot(self) -> str:
        """The identity of what the worktree holds now; errors as in `change`."""
        return text(self._stored())

    def change(self) -> Change:
        """
        What was changed since the base, new files included and ignored ones not.

        Raises:
            ProposerError: the worktree holds something that git cannot store, such as a repository of its own.
        """
        content, _, listed = self._stored(["diff", "--cached", *AS_CHANGE, self.base]).partition(b"\n")
        return self.workspace.shapes.change(text(content), self.base, listed)

    def _stored(self, *more: list[str]) -> bytes:
        """Put the worktree's content into the repository; its identity, then what `more` prints."""
        commands = (["add", "--all"], ["write-tree"], *more)
        try:
            return git_in_turn(self.top, *([*self.here, *words] for words in commands))
        except WorkspaceError as error:
            raise ProposerError(f"what was left in the worktree cannot be committed: {error}") from None

    def carry(self, before: str, after: str, what: str) -> None:
        """
        Apply what leads from one commit to another.

        Raises:
            ProposerError: it does not fit here, and what is here is as it was.
        """
        if not self._apply(before, after):
            raise ProposerError(f"{what} does not fit on the new best")

    def take_out(self, kept: Trial) -> bool:
        """Undo the patch of a kept trial; False where later changes build on it."""
        assert kept.commit is not None
        return self._apply(kept.base, kept.commit, "-R")

    def _apply(self, before: str, after: str, *reverse: str) -> bool:
        """
        By git's three-way merge, or, where only the lines around it have changed, line for line: constants stand in
        adjacent lines. Not where that would put lines in place of none: nothing says where they belong.
        """
        if self._fits(self.git("diff", *_AS_PATCH, "-U3", before, after), "--3way", *reverse):
            return True
        patch = self.git("diff", *_AS_PATCH, "-U0", before, after)
        return not _INSERTS[bool(reverse)].search(patch) and self._fits(patch, "--unidiff-zero", *reverse)

    def fit(self, patch: str, line_for_line: str | None) -> bool:
        """
        Apply a patch that is relative to `path`, or else its lines without those around them; False where neither fits, and
        what is here is as it was.
        """
        there = [f"--directory={self.workspace.prefix}"] if self.workspace.prefix else []
        forms: list[tuple[str | None, list[str]]] = [(patch, []), (line_for_line, ["--unidiff-zero"])]
        return any(self._fits(form.encode(), *how, *there) for form, how in forms if form)

    def _fits(self, patch: bytes, *how: str) -> bool:
        now = self.snapshot()
        with contextlib.suppress(WorkspaceError):
            self.git("apply", "--index", *how, "-", input=patch)
            return True
        self.reset(now)
        return False

    def reset(self, tree: str) -> None:
        """Make the worktree hold exactly this content again, whatever a run or a proposer left in it."""
        self.git("read-tree", "--reset", "-u", tree)
        self.git("clean", "-ffdxq")


class Workspace:
    """
    The repository a study lives in. `folder` is where study.toml lies: the root or any subfolder.

    Raises:
        WorkspaceError: not a git repository, or one without a commit.
    """

    def __init__(self, folder: Path, study: Study) -> None:
        folder = folder.resolve()
        self.folder, self.study = folder, study
        self.home = folder / HOME
        try:
            self.prefix, _, common = text(git(folder, "rev-parse", "--show-prefix", "--git-common-dir")).rpartition(
                "\n"
            )
        except WorkspaceError as error:
            raise WorkspaceError(
                f"{folder} is not inside a git repository ({error}); make one with `git init && git add -A && "
                "git commit -m start`"
            ) from None
        self.worktrees = Worktrees(folder, (folder / common).resolve())
        self.refs = f"refs/autoresearch/{study.name}"
        self.branch = f"refs/heads/autoresearch/{study.name}"
        self.sketches = Sketches(folder)
        self.shapes = Shapes(folder, lambda commit: self._asset(commit).values())
        self._assets: dict[str, list[Path]] = {}
        self._restoring = threading.Lock()
        self._referee: dict[Path, tuple[int, int, int] | None] = {}  # files of the referee's worktree, as checked out

    # -- the study's own commit ------------------------------------------------------------------------

    def head(self) -> tuple[str, str]:
        """The commit that is checked out, and its tree."""
        try:
            commit, tree = text(git(self.folder, "rev-parse", "HEAD^{commit}", "HEAD^{tree}")).splitlines()
        except WorkspaceError:
            raise WorkspaceError(
                f"the repository of {self.folder} has no commit yet; a study starts from one: "
                "`git add -A && git commit -m start`"
            ) from None
        return commit, tree

    def uncommitted(self) -> list[str]:
        """Tracked files with changes that no commit holds: a study would silently start without them."""
        words = ("status", "--porcelain", "-z", "--untracked-files=no", "--no-renames", "--", ".")
        listed = git(self.folder, *words, as_the_person=True)
        paths = (entry[3:] for entry in listed.decode(errors="surrogateescape").split("\0") if entry)
        inside = [path.removeprefix(self.prefix) for path in paths]
        return [path for path in inside if path != FILE and not path.startswith(HOME)]

    def taken(self) -> str | None:
        """Why the best branch's name cannot be used, if a branch of the person's is in the way."""
        ours = self.branch
        listed = text(git(self.folder, "for-each-ref", "--format=%(refname)", "refs/heads/autoresearch")).splitlines()
        in_the_way = [ref for ref in listed if f"{ours}/".startswith(f"{ref}/") or ref.startswith(f"{ours}/")]
        if not in_the_way:
            return None
        name = in_the_way[0].removeprefix("refs/heads/")
        return f"a branch {name} exists already, where the study's would be; rename it, or the study (`name` in {FILE})"

    def untracked(self, names: Iterable[str]) -> list[str]:
        """Which of these names are files here that no commit holds, so that no worktree will have them."""
        paths = [os.path.normpath(name) for name in names]
        files = [p for p in paths if not os.path.isabs(p) and not p.startswith("..") and (self.folder / p).is_file()]
        if not files:
            return []
        tracked = git(self.folder, "ls-files", "-z", "--", *files).decode(errors="surrogateescape").split("\0")
        return [name for name in files if name not in tracked]

    def frozen(self, commit: str) -> list[str]:
        """
        A line of mode, content and path for each file that no candidate may change. study.toml itself is left
        out: what it says about measuring is part of the digest word by word.
        """
        files = self.files(commit)
        return [line for line, path in files if path is None or not (path == FILE or self.study.may_change(path))]

    def asset_files(self, commit: str) -> list[Path]:
        """Files of a commit that may change, relative to the study's folder, sorted."""
        if commit not in self._assets:
            if len(self._assets) > 8:
                self._assets.clear()
            self._assets[commit] = sorted(Path(path) for path in self._asset(commit))
        return self._assets[commit]

    def _asset(self, commit: str) -> dict[str, str]:
        """The same from the study's folder, each with git's line for it."""
        files = ((path, line) for line, path in self.files(commit) if path is not None)
        return {path: line for path, line in files if self.study.may_change(path)}

    def files(self, commit: str) -> Iterator[tuple[str, str | None]]:
        """Every file of a commit: its line, and its path from the study's folder (None outside it)."""
        listed = git(self.folder, "ls-tree", "-r", "-z", "--full-tree", commit).decode(errors="surrogateescape")
        for line in filter(None, listed.split("\0")):
            path = line.partition("\t")[2]
            yield line, path.removeprefix(self.prefix) if path.startswith(self.prefix) else None

    # -- worktrees -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def open(self, trial: Trial) -> Iterator[Tree]:
        """A fresh worktree at the trial's commit, or at its base when it has none yet; gone afterwards."""
        with self.at(str(trial.id), trial.commit or trial.base, trial.base) as tree:
            yield tree

    @contextlib.contextmanager
    def at(self, name: str, commit: str, base: str) -> Iterator[Tree]:
        """A fresh worktree of any commit, under a name of its own; gone afterwards."""
        top = self.home / "trees" / name
        self.add_worktree(top, commit)
        try:
            yield Tree(self, top, base)
        finally:
            self.remove_worktree(top)

    def referee(self, commit: str) -> Path:
        """The study's folder in a worktree of the study's own commit: where frozen code runs from."""
        top = self.home / "trees" / REFEREE
        self.add_worktree(top, commit)
        self._referee = traces(top / line.partition("\t")[2] for line, _ in self.files(commit))
        return top / self.prefix

    def restore_referee(self, commit: str) -> list[Path]:
        """Make frozen code what it was committed as, before each run of it; the files that were not."""
        with self._restoring:
            now = traces(self._referee)
            changed = [path for path, trace in self._referee.items() if now[path] != trace]
            if changed:
                self.referee(commit)
        return changed

    def add_worktree(self, top: Path, commit: str) -> None:
        """In place of what was there."""
        self.worktrees.add(top, commit)

    def remove_worktree(self, top: Path) -> None:
        self.worktrees.remove(top)

    def clean(self) -> None:
        """Remove the worktrees that a killed session left."""
        self.worktrees.clean(self.home / "trees")

    # -- commits and refs ------------------------------------------------------------------------------

    def problem(self, change: Change) -> str | None:
        """Why a change may not be tried, in a sentence; None if it may."""
        if not change.modes:
            return "it changes nothing"
        outside = [
            path
            for path in change.modes
            if not (path.startswith(self.prefix) and self.study.may_change(path.removeprefix(self.prefix)))
        ]
        if outside:
            more = f" and {len(outside) - 3} more" if len(outside) > 3 else ""
            allowed = ", ".join(self.study.asset)
            return f"it touches frozen files: {', '.join(map(repr, outside[:3]))}{more}; only {allowed} may change"
        odd = [path for path, mode in change.modes.items() if mode not in PLAIN_FILES]
        if odd:
            return f"it adds something that is not a plain file: {odd[0]!r}"
        return "it changes nothing that runs" if change.shape == change.base_shape else None

    def commit(self, tree: Tree, change: Change, trial: Trial, proposal: Proposal) -> str:
        """Commit a change under the trial's own ref, and leave exactly its content in the worktree."""
        said = message(
            proposal.idea,
            {"Study": self.study.name, "Trial": trial.id, "Proposed-by": proposal.by, "Memo": _json(proposal.memo)},
        )
        made = ["commit-tree", change.tree, "-p", trial.base, "-F", "-"]
        clean = ["clean", "-ffdxq"]  # ignored files are no part of the commit, so none of the run either
        ref = f"{self.refs}/trials/{trial.id}"
        return git_commit(tree.top, tree.here, made, ref, clean, said.encode(errors="surrogateescape"))

    def recover(self, trial: Trial) -> tuple[Proposal, Change, str] | None:
        """What was proposed for a trial, if its commit was made just before the program was killed."""
        ref = f"{self.refs}/trials/{trial.id}"
        with contextlib.suppress(WorkspaceError, ValueError, KeyError):
            shown = text(git(self.folder, "show", "-s", "--format=%H%n%T%n%P%n%B", ref))
            commit, tree, parent, *message = shown.splitlines()
            trailers = dict(line.split(": ", 1) for line in message[1:] if ": " in line)
            if parent == trial.base and trailers["Trial"] == str(trial.id):
                memo = msgspec.json.decode(trailers["Memo"], type=dict[str, Any])
                return Proposal(message[0], trailers["Proposed-by"], memo), self.change(parent, tree), commit
        return None

    def change(self, before: str, tree: str) -> Change:
        """What leads from a commit to other content."""
        return self.shapes.change(tree, before, git(self.folder, "diff", *AS_CHANGE, before, tree))

    def keep(self, trial: Trial, verdict: Verdict) -> str:
        """The commit that a kept trial becomes on the best branch: its content, with its numbers."""
        assert trial.tree is not None
        if trial.is_baseline:
            return trial.base
        unit = f" {self.study.metric.unit}".rstrip()
        before, after = verdict.base_value, verdict.value
        numbers = f"{self.study.metric.name} {before:.6g} -> {after:.6g}{unit}. {verdict.why}"
        trailers = {
            "Study": self.study.name,
            "Trial": trial.id,
            "Proposed-by": trial.by,
            "Value-before": repr(before),
            "Value-after": repr(after),
        }
        return self.commit_tree(trial.tree, trial.base, message(trial.idea, trailers, body=numbers))

    def commit_without(self, best: Best, removed: Sequence[Trial], name: str) -> tuple[str, str] | None:
        """Commit and content of the best without some kept changes; None where others build on them."""
        with self.at(f"without-{name}", best.commit, best.commit) as tree:
            if not all(tree.take_out(trial) for trial in reversed(removed)):
                return None
            content = tree.change().tree
        numbers = ", ".join(str(trial.id) for trial in removed)
        return self.store(content, best.commit, f"the best without trial {numbers}", f"without/{name}"), content

    def store(self, content: str, parent: str, idea: str, name: str) -> str:
        """A commit of any content, under a ref of its own."""
        commit = self.commit_tree(content, parent, message(idea, {}))
        git(self.folder, "update-ref", f"{self.refs}/{name}", commit)
        return commit

    def commit_tree(self, tree: str, parent: str, message: str) -> str:
        """A commit of any content that no ref leads to yet."""
        data = message.encode(errors="surrogateescape")
        return text(git(self.folder, "commit-tree", tree, "-p", parent, "-F", "-", input=data))

    def move_best(self, best: Best, ours: set[str]) -> str | None:
        """
        Point our refs at the best commit. `ours` are all commits that were best so far.

        The branch is left alone while it is checked out somewhere or carries commits that are not ours; then
        the reason is returned, and `refs/autoresearch/<study>/best` still says what is best.
        """
        moves = [f"update {self.refs}/best {best.commit}"]
        shown = text(self.worktrees.ask("for-each-ref", "--format=%(objectname) %(worktreepath)", self.branch))
        tip, _, checked_out = shown.partition(" ")
        problem = None
        if tip and tip not in ours:
            problem = "carries commits of your own"
        elif checked_out and tip != best.commit:
            problem = f"is checked out in {checked_out}"
        elif tip != best.commit:
            moves.append(f"update {self.branch} {best.commit}")
        git(self.folder, "update-ref", "--stdin", input="\n".join([*moves, ""]).encode())
        name = self.branch.removeprefix("refs/heads/")
        return f"branch {name} {problem}, so it was not moved; the best is at {self.refs}/best" if problem else None

    def relative_patch(self, before: str, after: str) -> str:
        """The same as text, relative to the study's folder; nothing of what lies outside it."""
        return git(self.folder, "diff", "--relative", *PLAIN_DIFF, before, after).decode(errors="replace")

    def diff(self, before: str, after: str) -> bytes:
        """The patch from one commit to another, as `git apply` takes it."""
        return git(self.folder, "diff", *_AS_PATCH, before, after)


def message(idea: str, trailers: dict[str, object], body: str = "") -> str:
    """A commit message: the idea on one line, the numbers, and trailers that git and people can read."""
    lines = "\n".join(f"{name}: {' '.join(str(value).split(chr(10)))}" for name, value in trailers.items())
    return "\n\n".join(filter(None, [one_line(idea), body, lines])) + "\n"


def one_line(idea: str) -> str:
    """A sentence that fits a commit's first line, without control characters."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in idea).split())
    return (flat if len(flat) <= IDEA_LENGTH else flat[: IDEA_LENGTH - 1] + "…") or "(no idea given)"


def _json(memo: dict[str, Any]) -> str:
    return msgspec.json.encode(memo).decode()
