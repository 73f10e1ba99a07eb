"""
What a live study keeps beside its log: a store, a salt, and what may be shown.

All of it lies in .autoresearch/live, but for a store that study.toml names.
"""

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from autoresearch import files
from autoresearch.errors import StudyError, WorkspaceError
from autoresearch.git import git
from autoresearch.live import brand
from autoresearch.live.desk import Material
from autoresearch.live.render import Template, read
from autoresearch.live.settings import Live
from autoresearch.live.store import Store, open_store
from autoresearch.live.variables import Variables
from autoresearch.workspace import REFEREE, Workspace

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


def frozen(workspace: Workspace) -> Path:
    """Where the study's own files lie as they were committed, once the study was begun."""
    return workspace.home / "trees" / REFEREE / workspace.prefix


def committed(workspace: Workspace, start: str, name: str) -> bytes | None:
    """One of the study's own files as it was when the study began; None where it was not there."""
    try:
        return git(workspace.folder, "cat-file", "blob", f"{start}:{workspace.prefix}{name}")
    except WorkspaceError:
        return None


def prior(workspace: Workspace, start: str, live: Live) -> "Prior | None":
    """
    What the study begins from, as it was committed at `start`; None where study.toml names nothing.

    Raises:
        StudyError: the file was not there, or is no such file, or is of another outcome.
    """
    if live.prior is None:
        return None
    from autoresearch.live import prior as handed

    name = live.prior
    if (found := committed(workspace, start, name)) is None:
        raise StudyError(
            f"study.toml: live.prior names {name}, which is not in the commit that the study began from ({start[:10]}): `git add` and "
            "commit it before the study begins, or take the key out"
        )
    if len(found) > handed.LARGEST:
        raise StudyError(f"{name}: has {len(found):,} bytes, and {handed.LARGEST:,} is the most; take effects out")
    try:
        return handed.accepted(found.decode(), name, live)
    except UnicodeDecodeError:
        raise StudyError(f"{name}: is no text; write it with `autoresearch live map --prior {name}`") from None


def template(frozen: Path, live: Live) -> Template | None:
    """
    The page, mail or ad; None where study.toml says that there is none.

    Raises:
        StudyError: see render.read.
    """
    return read(frozen, live.template) if live.template else None


def publish(home: Path, variables: Variables) -> None:
    """What the server may show, whole or not at all."""
    path, told = folder(home) / SHOWN, msgspec.json.encode(variables)
    with contextlib.suppress(OSError):
        if path.read_bytes() == told:
            return
    files.put(path, told)


def material(home: Path, frozen: Path, live: Live) -> Material:
    """
    The same, as the server reads it; `frozen` is where the study's own files lie as they were committed.

    Raises:
        StudyError: nothing was published yet, or the template cannot be used.
    """
    rules = frozen / brand.FILE
    own = brand.parse(rules.read_text()) if rules.exists() else None
    return Material(published(home), template(frozen, live), own)


def words(workspace: Workspace, start: str, live: Live) -> tuple[Template | None, brand.Brand | None]:
    """
    The template and the brand's rules as they were when the study began: while no session runs it, they lie nowhere else.

    Raises:
        StudyError: the template was not there, or one of them cannot be used.
    """
    text, rules = (
        committed(workspace, start, live.template) if live.template else None,
        committed(workspace, start, brand.FILE),
    )
    if live.template and text is None:
        raise StudyError(f"{live.template} was not committed when the study began; live.template names it")
    made = Template(text.decode(errors="replace"), live.template) if text is not None else None
    return made, brand.parse(rules.decode(errors="replace")) if rules is not None else None


def material_of(workspace: Workspace, start: str, live: Live) -> Material:
    """As `material`, for whom no session keeps files; errors as there and in `words`."""
    return Material(published(workspace.home), *words(workspace, start, live))


def published(home: Path) -> Variables:
    """
    The variables with every level that was ever approved.

    Raises:
        StudyError: nothing was published yet.
    """
    path = folder(home) / SHOWN
    try:
        return msgspec.json.decode(path.read_bytes(), type=Variables)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        raise StudyError(
            f"{path}: nothing may be shown yet: `autoresearch live serve` or `autoresearch run` begins the study"
        ) from None
