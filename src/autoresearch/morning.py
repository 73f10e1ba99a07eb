"""
The report of a study: what git knows of its trials is looked up, the content made, and the files written.

Reads the log without locking it, so it works while the study runs. Runs nothing.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from autoresearch import log
from autoresearch.errors import AutoresearchError, WorkspaceError
from autoresearch.git import changed_files
from autoresearch.report import html, markdown, plot
from autoresearch.report.morning import KEPT, Morning, Seen, changes, morning
from autoresearch.session import journal
from autoresearch.state import State
from autoresearch.study import load
from autoresearch.trial import Trial
from autoresearch.workspace import Workspace

PAGE, TEXT, PICTURES = "report.html", "report.md", ("progress.png", "progress.svg")
HEAD = 400  # characters of a file in which its mark stands
ENDINGS = {".html", ".htm", ".md", ".png", ".svg", ".pdf"}


def gather(folder: Path) -> tuple[State, Morning]:
    """
    Raises:
        AutoresearchError: no study here, or one that was not run yet.
    """
    study = load(folder)
    state = log.read(journal(folder))
    if state.opened is None:
        raise AutoresearchError("this study has not been run yet: `autoresearch run`")
    workspace = Workspace(folder, study)
    patches = {trial.id: _patch(workspace, trial) for trial in changes(state)[-KEPT:]}
    return state, morning(state, Seen(_files(workspace, state), patches))


def _patch(workspace: Workspace, trial: Trial) -> str:
    try:
        return workspace.diff(trial.base, trial.commit or trial.base).decode(errors="replace")
    except WorkspaceError:
        return ""  # its commit is not here: the log was copied without the repository


def _files(workspace: Workspace, state: State) -> dict[int, tuple[str, ...]]:
    """Trial -> the files that it changed; empty where git does not have the commits."""
    tried = [t for t in state.trials.values() if t.commit and not t.is_baseline and "set" not in t.memo]
    try:
        found = changed_files(workspace.folder, [(trial.base, trial.commit or trial.base) for trial in tried])
    except (WorkspaceError, ValueError):
        return {}  # as above
    prefix = workspace.prefix
    return {t.id: tuple(name.removeprefix(prefix) for name in names) for t, names in zip(tried, found, strict=True)}


def write(folder: Path) -> list[Path]:
    """
    Write the page, the text and, where matplotlib is installed, the pictures into the study's folder; what was written.

    Raises:
        AutoresearchError: a file of that name is there and not of our making, or cannot be written.
    """
    state, found = gather(folder)
    for name, mark in ((PAGE, html.MARK), (TEXT, markdown.MARK)):
        _check_ours(folder / name, mark)
    drawn = [folder / name for name in PICTURES] if importlib.util.find_spec("matplotlib") else []
    for path in drawn:
        plot.progress(state, path)
    _write(folder / PAGE, html.page(found))
    _write(folder / TEXT, markdown.page(found, PICTURES[0] if drawn else None))
    return [folder / PAGE, folder / TEXT, *drawn]


def write_one(folder: Path, path: Path) -> None:
    """
    Write the one file that was named; its ending says which: page, text or picture.

    Raises:
        AutoresearchError: an ending that is none of these, or the file cannot be written.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise AutoresearchError(f"{path}: name a file that ends in {', '.join(sorted(ENDINGS))}")
    state, found = gather(folder)
    if ending in (".html", ".htm"):
        _write(path, html.page(found))
    elif ending == ".md":
        _write(path, markdown.page(found))
    else:
        plot.progress(state, path)


def _check_ours(path: Path, mark: str) -> None:
    """A file of the person's is never written over."""
    try:
        head = path.read_bytes()[:HEAD].decode(errors="replace") if path.exists() else mark
    except OSError as error:
        raise AutoresearchError(f"{path}: {error.strerror}; name another with --out") from None
    if mark not in head:
        raise AutoresearchError(f"{path} is there already and was not made by autoresearch; name another with --out")


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8", errors="replace")
    except OSError as error:
        raise AutoresearchError(f"{path}: {error.strerror}; name a file in a folder that exists") from None


def short(paths: Sequence[Path], folder: Path) -> str:
    return ", ".join(str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path) for path in paths)
