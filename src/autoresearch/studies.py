"""
Every study under a folder, and how it stands: for `autoresearch ls` and whoever shows several at once.

The walk is bounded, follows no links, and looks into nothing that only tools fill. A study that cannot be read is a
line with its error. Reads logs without locking them; runs nothing.
"""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from autoresearch import log
from autoresearch.errors import AutoresearchError
from autoresearch.report import text
from autoresearch.report.studies import Found, Listing, Word
from autoresearch.report.text import current
from autoresearch.session import journal
from autoresearch.study import FILE, load
from autoresearch.workspace import HOME

DEPTH, FOLDERS = 8, 20_000  # how deep and how far the walk goes
PASSED_BY = {HOME, ".git", ".hg", "node_modules", "venv", ".venv", "__pycache__", ".tox", ".cache", "site-packages"}


def holds_studies(folder: Path) -> bool:
    """Whether studies lie below a folder that is none itself."""
    return not (folder / FILE).exists() and any(has_study for _, has_study in islice(walk(folder), FOLDERS))


def find(top: Path, look: Callable[[Path, str], Found] | None = None) -> Listing:
    """
    `look(folder, name)` says how a study stands, for whoever remembers what it has seen.

    Raises:
        AutoresearchError: there is no such folder.
    """
    if not top.is_dir():
        raise AutoresearchError(f"{top}: no such folder")
    found: list[Found] = []
    for number, (folder, has_study) in enumerate(walk(top)):
        if number == FOLDERS:
            return Listing(tuple(found), cut=True)
        if has_study:
            found.append((look or stands)(folder, folder.relative_to(top).as_posix()))
    return Listing(tuple(found), cut=False)


def walk(top: Path) -> Iterator[tuple[Path, bool]]:
    """Folders in order, each with whether a study lies in it."""
    waiting = [(top, 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue  # not ours to read
        yield folder, any(entry.name == FILE and entry.is_file() for entry in listed)
        below = [e.name for e in listed if e.name not in PASSED_BY and e.is_dir(follow_symlinks=False)]
        if depth < DEPTH:
            waiting += [(folder / name, depth + 1) for name in reversed(below) if not is_environment(folder / name)]


def is_environment(folder: Path) -> bool:
    """Whether this is a virtual environment, whatever its name."""
    return (folder / "pyvenv.cfg").exists()


def stands(folder: Path, name: str) -> Found:
    """How one study stands."""
    try:
        study = load(folder)
        path = journal(folder)
        state, pid = log.read(path), log.holder(path)
    except (AutoresearchError, OSError, ValueError) as error:
        return Found(name, "broken", error=str(error))
    about = Found(name, "never run", study.name, study.metric.name, study.metric.direction, study.metric.unit, pid)
    if state.opened is None:
        return about
    word: Word = "running" if pid else "not running" if state.session else "ended"
    return Found(
        folder=name,
        state=word,
        study=state.opened.study,
        metric=state.metric.name,
        direction=state.metric.direction,
        unit=state.metric.unit,
        pid=pid,
        trials=state.decided,
        kept=state.counts.get("keep", 0),
        start=text.start_value(state),
        best=text.best_value(state),
        claim=current(state),
        suspect=state.counts.get("suspect", 0),
    )
