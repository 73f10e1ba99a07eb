"""
What a person asks of a study while it runs: files in `.autoresearch/inbox`, taken up before the next trial.

One process writes the log, so a command in another terminal leaves its wish here: a suspect trial to accept, an idea
to try, a note to all proposers, a note to drop. A wish is removed once it is in the log, so that neither being ended
loses it nor doing it again doubles it. Two more say how the study is to be run and are no part of its history: `pause`
holds for as long as its file is there, `stop` is meant for the process that runs the study now.
Knows files and what a wish is in the log, decides nothing.
"""

import contextlib
import re
import secrets
import time
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from autoresearch import files
from autoresearch.errors import StudyError
from autoresearch.events import Event, IdeaAsked, NoteDropped, Steered
from autoresearch.wishes import Wishes

_APPROVE = re.compile(r"(approve|refuse)-(\d{1,9})")
_ACCEPT = re.compile(r"accept-(\d{1,9})")
_DROP = re.compile(r"drop-(\d{1,9})")
PAUSE, STOP = "pause", "stop"
Kind = TypeVar("Kind", bound=Struct)
LARGEST = 1 << 16  # bytes of a wish; what is larger is none of ours


class Note(Struct, frozen=True):
    """A note that waits."""

    key: str
    text: str
    by: str


class Drop(Struct, frozen=True):
    """The wish that a note be dropped."""

    note: int


class Word(Struct, frozen=True):
    """Whether something may be shown in public, and why not."""

    yes: bool
    why: str = ""


class Wish(Struct, frozen=True):
    """A wish, and the file that holds it."""

    path: Path
    what: IdeaAsked | Note | Drop

    def event(self, known: Wishes) -> Event | None:
        """What to write into a log that knows so much; None where it has it, or where it means nothing any more."""
        match self.what:
            case Drop(note=number):
                return NoteDropped(note=number) if number in known.notes else None
            case Note(key=key, text=text, by=by) if not known.knows(key):
                return Steered(note=known.next_note, text=text, by=by, key=key)
            case IdeaAsked(key=key) if not known.knows(key):
                return self.what
        return None


def new_key() -> str:
    """A name for a wish, unlike any other; later ones sort behind."""
    return f"{time.time_ns():020d}-{secrets.token_hex(4)}"


class Inbox:
    """`home` is the study's `.autoresearch` folder."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "inbox"

    def ask_to_accept(self, trial: int) -> None:
        """Leave the wish that a suspect trial be accepted."""
        self._leave(f"accept-{trial}")

    def accepted(self) -> list[int]:
        """The trials that a person wants accepted; each is asked for until `done`."""
        return [int(match[1]) for path in self._waiting() if (match := _ACCEPT.fullmatch(path.name))]

    def done(self, trial: int) -> None:
        (self.folder / f"accept-{trial}").unlink(missing_ok=True)

    def approve(self, trial: int, yes: bool, why: str = "") -> None:
        """Leave a person's word on whether what a trial shows may be shown in public."""
        self._leave(f"{'approve' if yes else 'refuse'}-{trial}", msgspec.json.encode(Word(yes, why)))

    def approvals(self) -> list[tuple[int, "Word"]]:
        """Such words that wait, each until `approved`; of two about one trial, a refusal counts."""
        found: dict[int, Word] = {}
        for path in self._waiting():
            if (match := _APPROVE.fullmatch(path.name)) and (said := _read(path, Word)) is not None:
                found[int(match[2])] = said
        return sorted(found.items())

    def approved(self, trial: int) -> None:
        for word in ("approve", "refuse"):
            (self.folder / f"{word}-{trial}").unlink(missing_ok=True)

    def ask_to_try(self, idea: IdeaAsked) -> None:
        """Leave an idea."""
        self._leave(f"idea-{idea.key}", msgspec.json.encode(idea))

    def steer(self, text: str, by: str) -> str:
        """Leave a note; its key."""
        key = new_key()
        self._leave(f"note-{key}", msgspec.json.encode(Note(key, text, by)))
        return key

    def drop(self, note: int) -> None:
        """Leave the wish that a note be told to nobody any more."""
        self._leave(f"drop-{note}")

    @property
    def dropping(self) -> list[int]:
        """The notes that are to be dropped, and are not yet."""
        return [int(match[1]) for path in self._waiting() if (match := _DROP.fullmatch(path.name))]

    def wishes(self) -> list[Wish]:
        """What waits to be written into the log: ideas, then notes, then those to drop, each in order."""
        waiting = self._waiting()
        ideas = [(path, _read(path, IdeaAsked)) for path in waiting if path.name.startswith("idea-")]
        notes = [(path, _read(path, Note)) for path in waiting if path.name.startswith("note-")]
        drops = [(path, Drop(int(match[1]))) for path in waiting if (match := _DROP.fullmatch(path.name))]
        return [Wish(path, what) for path, what in (*ideas, *notes, *drops) if what is not None]

    @property
    def paused(self) -> bool:
        """Whether no new trial is to be started, however often the program is ended and started again."""
        return (self.folder / PAUSE).exists()

    def pause(self) -> None:
        self._leave(PAUSE)

    def resume(self) -> None:
        (self.folder / PAUSE).unlink(missing_ok=True)

    def ask_to_stop(self) -> None:
        """Leave the wish that the session that runs now be ended, as by one Ctrl-C."""
        self._leave(STOP)

    def take_stop(self) -> bool:
        """Whether to stop was asked for since the last call."""
        try:
            (self.folder / STOP).unlink()
        except FileNotFoundError:
            return False
        return True

    def _waiting(self) -> list[Path]:
        return sorted(self.folder.iterdir()) if self.folder.is_dir() else []

    def _leave(self, name: str, content: bytes = b"") -> None:
        """
        Written in full under another name first: whoever looks sees all of it or nothing.

        Raises:
            StudyError: the disk refused.
        """
        try:
            files.put(self.folder / name, content)
        except OSError as error:
            raise StudyError(f"{self.folder}: {error.strerror}; the study's folder must be writable") from None


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    """What a file of the inbox says; None where it is not one of ours."""
    with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        if path.stat().st_size <= LARGEST:
            return msgspec.json.decode(path.read_bytes(), type=kind)
    return None
