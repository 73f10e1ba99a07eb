"""
Edits as an agent states them: a whole file, or a text to find and what to put in its place.

Pure: what the files hold is asked for, and what they are to hold is returned. Nothing is guessed: a text that is not
there word for word, or more than once, is an error that says so.
"""

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Annotated

from msgspec import Meta, Struct

from autoresearch.errors import ProposerError
from autoresearch.propose.answers import Unfit
from autoresearch.propose.edits import encoded, replaced
from autoresearch.study import FILE, Study

LONGEST_NAME = 500  # characters
SHOWN = 80  # characters of a name


class Edit(Struct, frozen=True, forbid_unknown_fields=True):
    """One edit: `content`, or `search` with `replace`."""

    file: Annotated[str, Meta(max_length=LONGEST_NAME, description="From the study's folder, with '/'.")]
    search: Annotated[str | None, Meta(description="Text that stands in the file exactly once.")] = None
    replace: Annotated[str | None, Meta(description="What stands there afterwards; empty takes it out.")] = None
    content: Annotated[str | None, Meta(description="The whole file; one that is not there is made.")] = None

    @property
    def size(self) -> int:
        return sum(len(text or "") for text in (self.file, self.search, self.replace, self.content))


def applied(edits: Iterable[Edit], study: Study, content: Callable[[str], bytes | None]) -> dict[str, bytes]:
    """
    What each edited file is to hold. `content` gives what one holds now, None where there is none; edits of one file
    build on each other.

    Raises:
        ProposerError: an edit cannot be made, or its file may not change.
    """
    found: dict[str, bytes] = {}
    for edit in edits:
        check_name(edit.file, study)
        was = found.get(edit.file)
        found[edit.file] = _edited(edit, content(edit.file) if was is None else was)
    return found


def check_name(name: str, study: Study) -> None:
    """
    Raises:
        ProposerError: no file of the study goes by this name, or one that may not change.
    """
    path = PurePosixPath(name)
    inside = name and not path.is_absolute() and str(path) == name and ".." not in path.parts and name.isprintable()
    if not inside or "\\" in name or path.parts[0] in (".git", ".autoresearch"):
        raise ProposerError(
            f"file {name[:SHOWN]!r} is no name of a file in the study's folder; write it from there, like {study.asset[0]!r}"
        )
    if name == FILE or not study.may_change(name):
        raise ProposerError(f"{name[:SHOWN]!r} is frozen; only {', '.join(study.asset)} may change")


def _edited(edit: Edit, was: bytes | None) -> bytes:
    whole, part = edit.content is not None, edit.search is not None and edit.replace is not None
    if whole == part or (whole and (edit.search, edit.replace) != (None, None)):
        raise ProposerError(f"{edit.file}: an edit has either `content`, or `search` and `replace`")
    try:
        if edit.content is not None:
            return encoded(edit.content)
        if was is None:
            raise ProposerError(f"{edit.file} does not exist yet; give its whole `content`")
        return replaced(edit.file, was, edit.search or "", edit.replace or "")
    except Unfit as error:
        raise ProposerError(f"{edit.file}: {error}") from None
