"""
What a live study keeps beside its log: a store, a salt, and what may be shown.

All of it lies in .autoresearch/live, but for a store that study.toml names.
"""

import contextlib
import functools
import os
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from autoresearch import files
from autoresearch.campaign.own import Own
from autoresearch.errors import StudyError
from autoresearch.live.desk import Material
from autoresearch.live.settings import Live
from autoresearch.live.store import Store, open_store
from autoresearch.live.variables import FILE, Variables, parse
from autoresearch.workspace import HOME, Workspace

if TYPE_CHECKING:
    from autoresearch.live.belief import Prior

FOLDER, STORE, SALT, SHOWN = "live", "events.db", "salt", "variables.json"
LONGEST_SALT = 64


def folder(home: Path) -> Path:
    """`home` is the study's .autoresearch."""
    return home / FOLDER


def store_of(study: str, live: Live, home: Path) -> Store:
    """
    Raises:
        StudyError: the database cannot be used.
        MissingExtra: what it needs is not installed.
    """
    folder(home).mkdir(parents=True, exist_ok=True)
    return open_store(live.store or folder(home) / STORE, study)


def salt(home: Path, store: Store) -> bytes:
    """
    What makes of an id or an address a unit; made the first time. Without it, no record can be brought together with a person again.

    Raises:
        StudyError: it cannot be read or made, or is gone from under a store that has records.
    """
    path = folder(home) / SALT
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() and (known := store.seen()):
            raise StudyError(
                f"{path}: is gone, and {known:,} records were made with it: put it back from a backup, or from the machine that has "
                "it. Without it nobody is recognised, and those who are not to be written to would be. To begin anew without them, name another live.store"
            )
        with (
            contextlib.suppress(FileExistsError),
            open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
        ):
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        found = path.read_bytes()
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}; the study's folder must be readable and writable") from None
    if not 16 <= len(found) <= LONGEST_SALT:
        raise StudyError(f"{path}: is damaged: restore it from a backup; without it nobody is recognised again")
    return found


def prior(own: Own) -> "Prior | None":
    """
    What the study begins from, as it was committed when it did; None where study.toml names nothing.

    Raises:
        StudyError: the file was not there, or is no such file, or is of another outcome.
    """
    if own.live.prior is None:
        return None
    from autoresearch.live import prior as handed

    name = own.live.prior
    if (found := own.text(name, handed.LARGEST)) is None:
        raise StudyError(
            f"study.toml: live.prior names {name}, which is not in the commit that the study began from ({own.start[:10]}): `git add` and "
            "commit it before the study begins, or take the key out"
        )
    return handed.accepted(found, name, own.live)


class Published(Struct, frozen=True):
    """What may be shown: the study's own files of the commit `start`, and the variables with every level of the file, or that was ever approved."""

    start: str
    variables: Variables


def publish(home: Path, start: str, variables: Variables) -> None:
    """For servers, whole or not at all."""
    path, told = folder(home) / SHOWN, msgspec.json.encode(Published(start, variables))
    with contextlib.suppress(OSError):
        if path.read_bytes() == told:
            return
    files.put(path, told)


def published(home: Path) -> Published:
    """
    Raises:
        StudyError: nothing was published yet.
    """
    path = folder(home) / SHOWN
    try:
        return msgspec.json.decode(path.read_bytes(), type=Published)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        raise StudyError(
            f"{path}: nothing may be shown yet: `autoresearch live serve` or `autoresearch run` begins the study"
        ) from None


def ever_had(folder: Path) -> Variables | None:
    """With every level that there ever was: before the study began, those of the file; None where there is none that can be read."""
    try:
        return published(folder / HOME).variables
    except StudyError:
        with contextlib.suppress(OSError, UnicodeDecodeError, StudyError):
            return parse((folder / FILE).read_text(encoding="utf-8"))
    return None


def shown(workspace: Workspace, live: Live) -> Callable[[], Material]:
    """
    What may be shown, as it is whenever it is asked for; whether a session is there or not.

    Raises, when it is asked:
        StudyError: nothing was published yet, or a file of the study cannot be used.
    """
    own = functools.lru_cache(maxsize=1)(partial(Own, workspace, live=live))

    def read() -> Material:
        found = published(workspace.home)
        files_of = own(found.start)
        return Material(found.variables, files_of.template, files_of.rules, files_of.picture)

    return read
