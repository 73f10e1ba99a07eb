"""
Follows the log, and knows what changed since a reader last looked.

Nothing is kept per reader: a reader says how far it is (its mark), and gets the rows that changed since. A slow one
misses nothing and costs nothing. A mark is the log's own count of events, so it outlives this process.
"""

import hashlib
import threading
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from autoresearch.events import (
    Event,
    RunFinished,
    RunStarted,
    TrialAccepted,
    TrialApproved,
    TrialDecided,
    TrialProposed,
    TrialStarted,
    TrialWithdrawn,
)
from autoresearch.follow import Follower
from autoresearch.state import State
from autoresearch.web import rows

FIRST_LINE = 4096  # bytes of the log that tell it from another


class Mark(NamedTuple):
    """How far a reader is: in which log, after how many events."""

    log: str
    events: int

    def __str__(self) -> str:
        return f"{self.log}-{self.events}"

    @classmethod
    def read(cls, words: str) -> "Mark | None":
        log, _, events = words[:64].partition("-")
        return cls(log, int(events)) if log and events.isascii() and events.isdecimal() and len(events) < 16 else None


class News(NamedTuple):
    """What a reader missed: the rows that changed, as JSON; `all`: forget what was known, these are all there are."""

    mark: Mark
    rows: bytes
    all: bool


class Feed:
    """Thread-safe. `path` is the journal."""

    def __init__(self, path: Path, live: bool = False) -> None:
        self._live = live
        self._follower = Follower(path)
        self._path = path
        self.lock = threading.RLock()  # hold it to read `state`
        self._begin()

    @property
    def state(self) -> State:
        return self._follower.state

    def _begin(self) -> None:
        self._known = self._follower.state
        self._log = ""
        self._events = 0
        self._rows: dict[int, bytes] = {}
        self._changed: dict[int, int] = {}  # trial -> the event that changed it last, latest last
        self._kept_as: dict[str, int] = {}  # commit -> the trial that made it
        self._head: tuple[int, bytes] | None = None

    def poll(self) -> Mark:
        """
        Take in what was written since.

        Raises:
            LogError: it is damaged or cannot be read.
        """
        with self.lock:
            events = list(self._follower.events())
            if self._follower.state is not self._known:
                self._begin()  # another journal than before
            if events and not self._log:
                with self._path.open("rb") as file:
                    self._log = hashlib.sha256(file.readline(FIRST_LINE)).hexdigest()[:12]
            touched: dict[int, int] = {}
            for event in events:
                self._events += 1
                number = _about(event, self.state)
                if number is not None:
                    touched.pop(number, None)
                    touched[number] = self._events
                if isinstance(event, TrialDecided | TrialAccepted) and event.kept_as:
                    self._kept_as.setdefault(event.kept_as, event.trial)
            for number, at in touched.items():
                self._changed.pop(number, None)
                self._changed[number] = at
                self._rows.pop(number, None)
            return Mark(self._log, self._events)

    def _row(self, number: int) -> bytes:
        known = self._rows.get(number)
        if known is None:
            trial = self.state.trials.get(number)
            if trial is None:
                return msgspec.json.encode([number])  # withdrawn: it never was
            parent = self._kept_as.get(trial.base)
            known = msgspec.json.encode(rows.row(trial, None if parent == number else parent))
            self._rows[number] = known
        return known

    def news(self, since: Mark | None) -> News:
        """What changed since a mark; everything, where there is none or it is of another log."""
        with self.lock:
            now = Mark(self._log, self._events)
            if since is None or since.log != now.log or since.events > now.events:
                return News(now, b"[" + b",".join(map(self._row, self.state.trials)) + b"]", True)
            missed = []
            for number in reversed(self._changed):
                if self._changed[number] <= since.events:
                    break
                missed.append(number)
            return News(now, b"[" + b",".join(self._row(n) for n in reversed(missed)) + b"]", False)

    def head(self) -> tuple[int, bytes]:
        """The head as JSON, and the number of events it was made after."""
        with self.lock:
            if self._head is None or self._head[0] != self._events:
                self._head = self._events, msgspec.json.encode(rows.head(self.state, self._live))
            return self._head


def _about(event: Event, state: State) -> int | None:
    """The trial whose row an event changes."""
    match event:
        case RunStarted(run=run):
            return run.trial if run.purpose != "transfer" else None
        case RunFinished(run=number):
            run = state.runs[number]
            return run.trial if run.purpose != "transfer" else None
        case TrialStarted() | TrialProposed() | TrialDecided() | TrialAccepted() | TrialApproved() | TrialWithdrawn():
            return event.trial
    return None


def running(state: State, home: Path) -> list[dict[str, Any]]:
    """What is under way: trials without a verdict, with how far the run of each is by its own word."""
    from autoresearch.web.detail import progress

    found = []
    now = {state.runs[i].trial: state.runs[i] for i in tuple(state.open_runs) if i in state.runs}
    for number in tuple(state.unfinished)[:64]:
        trial = state.trials.get(number)
        if trial is None:
            continue
        run = now.get(number)
        curve = progress(home, run.id) if run else []
        found.append(
            {
                "id": number,
                "idea": rows.clean(trial.idea, rows.IDEA_LENGTH),
                "by": rows.clean(trial.by, 40),
                "run": len(trial.runs),
                "phase": "run" if run else "thinking" if trial.commit is None else "between runs",
                "since": run.started_at if run else trial.started_at,
                "curve": curve,
            }
        )
    return found
