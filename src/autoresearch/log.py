"""
The journal: what happened in a study, one JSON object a line, in order.

One process writes it, under a lock; anybody may read it. A line counts once it is complete and synced to
disk: a torn last line is cut when the journal is opened, and a damaged line anywhere else is an error that
names it, because guessing what it said would be worse. Lines of a kind this version does not know are
skipped, so an older program can still read a newer study.

`Log` is the writer: the journal, the state that follows from it, and the claims of the workers.
"""

import contextlib
import fcntl
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from autoresearch import carrying
from autoresearch.errors import Busy, LogError, Stopped
from autoresearch.events import AnyEvent, Event, RunFinished, TrialStarted, TrialWithdrawn
from autoresearch.state import State, fold
from autoresearch.trial import Best, Machine, Measurement, Trial

_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(AnyEvent)
_encoder = msgspec.json.Encoder()


class _AnyLine(msgspec.Struct):
    event: str


_KNOWN = {cls.__struct_config__.tag for cls in Event.__subclasses__()}
PART = 4 << 20  # bytes that are decoded at once


def decode(data: bytes, name: str = "events.jsonl") -> Iterator[Event]:
    """
    The events in these complete lines.

    Raises:
        LogError: a line is damaged; the message names it.
    """
    begin = before = 0
    while begin < len(data):  # a part at a time: all events at once would take three times the memory of the state
        end = data.find(b"\n", begin + PART) + 1 or len(data)
        part = data[begin:end]
        begin = end
        try:
            yield from _decoder.decode_lines(part)
        except (msgspec.MsgspecError, UnicodeDecodeError):  # an unknown kind or a damaged line: one by one
            for number, line in enumerate(part.split(b"\n"), start=before + 1):
                if line and (event := _decode_line(line, f"{name}, line {number}")):
                    yield event
        before += part.count(b"\n")


def _decode_line(line: bytes, where: str) -> Event | None:
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            if msgspec.json.decode(line, type=_AnyLine).event not in _KNOWN:
                return None
        raise LogError(
            f"{where}: damaged ({error}). Nothing was changed. Restore the file from a backup, or move the "
            "lines before this one to a new events.jsonl to go on from there"
        ) from None


def complete_part(data: bytes) -> int:
    """How many leading bytes are whole lines; a last line that is no JSON object is torn too."""
    end = data.rfind(b"\n") + 1
    start = data.rfind(b"\n", 0, max(0, end - 1)) + 1
    try:
        msgspec.json.decode(data[start:end] or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return start
    return end


def read(path: Path) -> State:
    """The state as the journal tells it now, without locking; a line being written does not count yet."""
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise LogError(f"{path}: {error.strerror}; make it readable, or run as the one who owns it") from None
    return _fold_lines(data[: complete_part(data)], path)


def _fold_lines(data: bytes, path: Path) -> State:
    # Nothing becomes garbage here, and looking for it doubles the time; 100,000 events: benchmarks/replay.py.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return fold(decode(data, path.name))
    except KeyError as error:
        raise LogError(
            f"{path.name}: a line is missing: something numbered {error} goes on that never began. Nothing was "
            "changed; restore the file from a backup"
        ) from None
    finally:
        if collecting:
            gc.enable()


class Log:
    """
    The journal opened for writing, with the state that follows from it.

    `lock` guards both: hold it to read-then-append as one step. Opening cuts a torn last line that a killed process left.

    Raises:
        Busy: another process holds the journal; the message gives its pid.
        LogError: it is damaged, or the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Condition(threading.RLock())
        self.listener: Callable[[Event], None] = lambda event: None
        self.on_stop: Callable[[str], None] = lambda why: None
        self.stopping: str | None = None  # why no further trial is to be claimed
        self.exhausted: str | None = None  # why no new idea is to be expected
        self.paused = False  # whether workers wait before they claim
        self._held: set[int] = set()  # trials that a worker of this process is at
        self._syncing = threading.Lock()  # may be asked for by who holds `lock`, and never the other way
        self._broken = False  # the disk refused a line: write nothing more
        # Why nothing is safe since: asked again, the disk might say that all is well.
        self._unsynced: OSError | None = None
        with contextlib.ExitStack() as opening:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._lock_file = _acquire(path.with_name("lock"))
                opening.callback(os.close, self._lock_file)
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
                opening.callback(os.close, self._file)
                data = path.read_bytes()
            except OSError as error:
                raise LogError(f"{path}: {error.strerror}; the study's folder must be writable") from error
            self._size = self._synced = complete_part(data)
            self.state = _fold_lines(data[: self._size], path)
            if self._size < len(data):
                os.ftruncate(self._file, self._size)
            opening.pop_all()  # from here on, close() does it

    def append(self, event: Event) -> None:
        """
        Write an event, fold it in, and sync it.

        Raises:
            LogError: the disk refused; what was written before is intact.
        """
        self.add(event)
        self.sync()

    def add(self, event: Event) -> None:
        """
        The same without waiting for the disk, for who holds `lock`: to be followed by `sync` once it is given up, and
        before anything is done that the event is to be older than. Errors as in `append`.
        """
        with self.lock:
            event = msgspec.structs.replace(event, at=event.at or round(time.time(), 3))
            line = _encoder.encode(event) + b"\n"
            try:
                if os.write(self._file, line) != len(line):
                    raise OSError(28, "No space left on device")
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, self._size)
                raise self._refused(error) from error
            self._size += len(line)
            self.state.apply(event)
            self.lock.notify_all()
            self.listener(event)

    def sync(self) -> None:
        """
        Wait until all that was added so far is on disk. One sync does for all who wait: lines go there in their order, so
        no line is ever there without those that it follows from.

        Raises:
            LogError: the disk refused.
        """
        wanted = self._size
        with self._syncing:
            if self._synced < wanted and self._unsynced is None:
                upto = self._size
                try:
                    os.fsync(self._file)
                    self._synced = upto
                except OSError as error:
                    self._unsynced = error
            refused = self._unsynced if self._synced < wanted else None
        if refused is not None:
            raise self._refused(refused) from refused

    def _refused(self, error: OSError) -> LogError:
        self._broken = True
        self.stop(f"the journal could not be written: {error.strerror}")
        return LogError(
            f"{self.path}: {error.strerror}. Everything before is safe; make room (or the folder writable) and type "
            "`autoresearch run` again"
        )

    def lose(self, number: int) -> None:
        """Record a run that nobody will hear of again as stopped."""
        lost = self.state.runs[number]
        # Up to the last sign of it: nobody knows when it ended, and it may have been days ago.
        held_s = round(self.state.ledger.last_sign(lost, _last_output(self.path.parent / "runs" / str(number))), 3)
        why = "the program was ended during this run"
        stopped = Measurement("stopped", None, lost.digest, Machine("", 0), why=why, slot_s=held_s)
        self.append(RunFinished(run=number, measurement=stopped))

    # -- claims ----------------------------------------------------------------------------------------

    def claim(
        self,
        may_start: Callable[[State, int], bool],
        base: Callable[[State], Best],
        only: str | None = None,
        beside: int = 0,
    ) -> Trial | None:
        """
        The next trial for a worker: the baseline where there is no value to beat, else an unfinished one, then an idea
        that was asked for, then a stale one's patch on the new best, then a new one. None when the budget is spent or
        the study is stopping. Waits while `paused`, and for the baseline, beside which, once it has a value, so many
        may begin.

        `may_start(state, running)` says whether the budget allows one more; `base` where it starts from; `only` is
        the key of an idea, where the session is about nothing else.
        """
        with self.lock:
            found = self._claim(may_start, base, only, beside)
        self.sync()
        return found

    def _claim(
        self, may_start: Callable[[State, int], bool], base: Callable[[State], Best], only: str | None, beside: int
    ) -> Trial | None:
        while not self.stopping:
            if self.paused:
                self.lock.wait()
                continue
            state = self.state
            waiting = [state.trials[i] for i in sorted(state.unfinished.keys() - self._held)]
            early = bool(self._held) and len(self._held) <= beside and self._has_value()
            if not state.ready and state.best is not None and not early:
                if self._held:
                    self.lock.wait()  # another worker is measuring the value to beat
                    continue
                begun = next((trial for trial in waiting if trial.is_baseline), None)
                return self._hold(begun.id) if begun else self._start(state.best, baseline=True)
            begun = next((trial for trial in waiting if only in (None, trial.wish)), None)
            if begun:
                return self._hold(begun.id)
            wish = next((idea.key for idea in state.wishes.pending if only in (None, idea.key)), "")
            stale = () if wish else carrying.next_up(state, only)
            nothing = not wish and not stale and (self.exhausted or only is not None)
            if nothing or not may_start(state, len(self._held)):
                return None
            return self._start(base(state), stale, wish=wish)
        return None

    def _has_value(self) -> bool:
        """Whether the baseline works: it was run once at least."""
        return self.state.best is not None and bool(self.state.values(self.state.best.tree))

    def _start(self, base: Best, stale: tuple[int, ...] = (), baseline: bool = False, wish: str = "") -> Trial:
        id = self.state.next_trial
        one = stale[0] if len(stale) == 1 else None
        carries: dict[str, Any] = {
            "again": one,
            "stack": () if one is not None else stale,
            "baseline": baseline,
            "wish": wish,
        }
        self.add(TrialStarted(trial=id, base=base.commit, base_tree=base.tree, **carries))
        return self._hold(id)

    def _hold(self, id: int) -> Trial:
        self._held.add(id)
        return self.state.trials[id]

    def settle(self, trial: Trial) -> None:
        """Wait until no run of a trial is under way: an earlier session may have begun some that go on elsewhere."""
        with self.lock:
            while any(run in self.state.open_runs for run in self.state.trials[trial.id].runs):
                self.lock.wait()

    def calibrated(self) -> None:
        """
        Wait until there is a value to beat, by which a trial can be judged.

        Raises:
            Stopped: there will be none.
        """
        with self.lock:
            while not self.state.ready:
                if self.stopping:
                    raise Stopped(self.stopping)
                self.lock.wait()

    def release(self, trial: Trial, why: str = "") -> None:
        """A worker is done with a trial. Undecided and without a proposal, it is given back as if it never was."""
        with self.lock:
            left = self.state.trials.get(trial.id)
            if left is not None and left.verdict is None and left.commit is None and not self._broken:
                self.append(TrialWithdrawn(trial=trial.id, why=why))
            self._held.discard(trial.id)
            self.lock.notify_all()

    def stop(self, why: str) -> None:
        """Let no further trial be claimed; the first reason given is the one that counts."""
        with self.lock:
            if self.stopping is None:
                self.stopping = why
                self.on_stop(why)
            self.lock.notify_all()

    def pause(self, paused: bool) -> None:
        """Let no trial be claimed for now; those that are under way go on."""
        with self.lock:
            self.paused = paused
            self.lock.notify_all()

    def close(self) -> None:
        """Give the journal up for other processes."""
        os.close(self._file)
        os.close(self._lock_file)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _last_output(folder: Path) -> float:
    """When a run last printed something, in seconds since 1970; 0 where it never did. Never in the future."""
    with contextlib.suppress(OSError):
        printed = [entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(folder) if entry.is_file()]
        return min(max(printed, default=0.0), time.time())
    return 0.0


def _acquire(path: Path) -> int:
    """Lock the file for as long as this process lives, and leave our pid in it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if not _locked(fd):
        pid = os.read(fd, 32).decode(errors="replace").strip()
        os.close(fd)
        raise Busy(
            f"this study is already running, in process {pid}. Look in with `autoresearch watch`, or stop "
            f"it with Ctrl-C in its terminal (or `kill -INT {pid}`)"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _locked(fd: int) -> bool:
    """Take the lock. Who only looks whether it is held (`holder`) has it for a moment, and is waited for."""
    for last in (False, False, False, True):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if not last:
            time.sleep(0.02)
    return False


def holder(path: Path) -> int | None:
    """The process that is running this study now, if one is."""
    lock = path.with_name("lock")
    if not lock.exists():
        return None
    fd = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return int(os.read(fd, 32) or b"0")
    finally:
        os.close(fd)
