"""
A reader of a study that another process may be working on: new events as they are written, and what open runs said
of themselves. Takes no lock and changes nothing.

Knows the journal and the files of runs. Does not know who looks.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from autoresearch import measure
from autoresearch.errors import LogError
from autoresearch.events import Event
from autoresearch.log import complete_part, decode
from autoresearch.state import State

CHUNK = 64 << 20  # bytes of the journal that are read at once
HEAD = 512  # bytes at its start by which a journal is told from another: they hold its study's seed
SAID_BYTES = 1 << 20  # of a run's new output that are looked at at once


class Follower:
    """`state` follows the journal at `path`, from its beginning; it is another one after the journal was replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = State()
        self._at = 0
        self._head = b""
        self._outputs: dict[int, tuple[int, bytes]] = {}  # run -> bytes read, and the line that was not complete

    def events(self) -> Iterator[Event]:
        """
        What is new, one after the other, each folded into `state` before it is given.

        Raises:
            LogError: the journal is damaged or cannot be read; the message says what to do.
        """
        while data := self._read():
            name = self.path.name
            start = self._at - len(data)
            try:
                for event in decode(data, f"{name} from byte {start:,} on" if start else name):
                    self.state.apply(event)
                    yield event
            except KeyError as error:
                raise LogError(f"{name}: a line is missing: something numbered {error} never began") from None

    def _read(self) -> bytes:
        """The next complete lines."""
        try:
            with self.path.open("rb") as file:
                head = file.read(HEAD)  # not the inode: a new file may get that of one that was removed
                if not head.startswith(self._head) or os.fstat(file.fileno()).st_size < self._at:
                    self._at, self.state, self._outputs = 0, State(), {}
                    self._head = b""
                file.seek(self._at)
                data = file.read(CHUNK)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise LogError(f"{self.path}: {error.strerror}; make it readable, or run as the one who owns it") from None
        data = data[: complete_part(data)]
        if not self._at:
            self._head = data[:HEAD]
        self._at += len(data)
        return data

    def said(self) -> Iterator[tuple[int, float, float | None]]:
        """The run, the fraction of its budget and the loss of each PROGRESS line that open runs printed since."""
        open_runs = tuple(self.state.open_runs)
        for gone in set(self._outputs) - set(open_runs):
            del self._outputs[gone]
        for run in open_runs:
            at, rest = self._outputs.get(run, (0, b""))
            data = _tail(self.path.parent / "runs" / str(run) / "run.out.txt", at)
            *lines, left = (rest + data).split(b"\n")
            self._outputs[run] = (at + len(data), left[:4096])
            for line in lines:
                if line.startswith(b"PROGRESS ") and (point := measure.progress(line[9:].decode(errors="replace"))):
                    yield run, *point


def _tail(path: Path, at: int) -> bytes:
    """What a file holds from there on, bounded. The candidate may have put something else in its place."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return b""
    try:
        return os.pread(file, SAID_BYTES, at) if stat.S_ISREG(os.fstat(file).st_mode) else b""
    finally:
        os.close(file)
