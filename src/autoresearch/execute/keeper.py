"""
Keeps one command: starts it, watches it, ends it with everything it started, and says what it used.

A small program of its own, with nothing but the standard library, so that a run can never outlive the
autoresearch process that asked for it, even one that was killed without a chance to clean up:

    autoresearch ── nursery (this file; one per session, single-threaded, so that forking is safe and cheap)
                       └── keeper (forked per command; adopts orphans) ── the command ── its descendants

Each keeper holds one end of a socket. A line on it says what to run; the other end closing (or shutting
down its writing half) means that nobody wants the run any more, and everything below the keeper is killed.

On Linux a keeper is the subreaper of its command: a process that detaches, forks twice or starts a session
of its own is still found. Elsewhere only the command's process group is.
"""

import contextlib
import ctypes
import gc
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from subprocess import PIPE
from typing import Any

TICK_S = 0.2  # how often memory, processes and disk are looked at
GRACE_S = 1.0  # between the polite signal and the other one, after a timeout
HEAD_BYTES = 4 << 20  # of each output stream that reach the disk: this much from the start ...
TAIL_BYTES = 256 << 10  # ... and this much from the end, where results are printed
LINE_BYTES = 4096  # a longer line is not a PROGRESS line
PROGRESS_GAP_S, PROGRESS_BURST_S = 0.1, 10.0  # PROGRESS lines that come faster, and for longer, are passed over
LINUX, LIBC = sys.platform == "linux", ctypes.CDLL(None)
IN_MEMORY = {0x01021994, 0x958458F6}  # linux/magic.h: tmpfs, which memfd files lie on too, and hugetlbfs
KCMP, KCMP_FILES = {"x86_64": 312, "aarch64": 272}.get(os.uname().machine, -1), 2  # kcmp(2), which libc does not wrap


def nursery(requests: socket.socket) -> None:
    """Fork a keeper for every request, until the process that started us is gone."""
    gc.disable()
    gc.freeze()  # a collection would touch, and so copy, every page that keepers share with us
    _adopt_orphans()
    keepers: set[int] = set()
    signal.signal(signal.SIGCHLD, lambda *_: _bury(keepers))
    while True:
        message, fds, _, _ = socket.recv_fds(requests, 1, 1)
        if not message:
            break
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # a keeper is known before it can be buried
        if (keeper := os.fork()) == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            _keep_and_exit(socket.socket(fileno=fds[0]))
        keepers.add(keeper)
        os.close(fds[0])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    while keepers:
        time.sleep(0.01)
        _bury(keepers)


def _bury(keepers: set[int]) -> None:
    """Wait for keepers that ended. What is left of a command whose keeper was killed comes to us: end it."""
    try:
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            keepers.discard(pid)
    except ChildProcessError:
        keepers.clear()
        return
    for orphan in set(_children(os.getpid())) - keepers:
        _signal_group(orphan, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(orphan, signal.SIGKILL)


def _keep_and_exit(asker: socket.socket) -> None:
    try:
        job = json.loads(asker.makefile("rb").readline())
        _say(asker, ended=keep(job, asker))
    except (OSError, ValueError) as error:
        _say(asker, ended={"how": "failed", "why": f"the keeper failed: {error}"})
    finally:
        os._exit(0)


def keep(job: dict[str, Any], asker: socket.socket) -> dict[str, Any]:
    """
    Run a command to its end.

    `job`: argv, cwd, env, stdin (a path), out and err (paths), timeout_s, cores (numbers, may be empty), bounds
    (memory_mb, processes, files, disk_mb, paths, processor_s, wall_s; each may be null).
    Returns: how (exited, timeout, overran: beyond processor_s or wall_s, bounds: beyond another, stopped, failed),
    why, code (negative for a signal), wall_s, processor_s and peak_memory_mb of the command with all its
    descendants, left_behind (processes that were still there when the command had ended).
    """
    _adopt_orphans()
    if job["cores"] and LINUX:
        os.sched_setaffinity(0, job["cores"])
    woken = _wake_on_child_exit()
    started = time.monotonic()
    try:
        sinks = Sink(job["out"], Progress(asker).feed), Sink(job["err"], lambda data: None)
        child = _start(job)
    except OSError as error:
        return {"how": "failed", "why": f"{error.filename or job['argv'][0]}: {error.strerror}"}
    watch = Watch(child, asker, woken, job["bounds"] or {}, *sinks)
    how = watch.until_end(started + job["timeout_s"])
    left_behind = _end(child, polite=how == "timeout")
    wall_s = time.monotonic() - started
    watch.drain()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Linux counts kilobytes, macOS bytes. A floor of ~10 MB is our own image before exec.
    peak_mb = used.ru_maxrss / (1024 if LINUX else 1 << 20)
    return {
        "how": how,
        "why": watch.broken,
        "code": child.returncode,
        "wall_s": round(wall_s, 4),
        "processor_s": round(used.ru_utime + used.ru_stime, 4),
        "peak_memory_mb": round(max(peak_mb, watch.peak_memory_mb), 1),
        "left_behind": left_behind,
    }


def _start(job: dict[str, Any]) -> "subprocess.Popen[bytes]":
    told = {name: job[name] for name in ("cwd", "env")}
    with open(job["stdin"] or os.devnull, "rb") as stdin:
        return subprocess.Popen(job["argv"], **told, stdin=stdin, stdout=PIPE, stderr=PIPE, start_new_session=True)


class Watch:
    """Reads a command's output and its asker's wishes until one of them ends it."""

    def __init__(
        self, child: "subprocess.Popen[bytes]", asker: socket.socket, woken: int, bounds: dict[str, Any], *sinks: "Sink"
    ) -> None:
        self.child, self.asker, self.woken, self.bounds = child, asker, woken, bounds
        self.broken = ""
        self.seen: dict[int, int] = {}  # process -> clock ticks it had used when last looked at
        self.started, self.peak_memory_mb = time.monotonic(), 0.0
        self.sinks = {pipe.fileno(): to for pipe, to in zip((child.stdout, child.stderr), sinks, strict=True) if pipe}
        self.selector = selectors.DefaultSelector()
        for source in (*self.sinks, asker.fileno(), woken):
            self.selector.register(source, selectors.EVENT_READ)

    def until_end(self, deadline: float) -> str:
        """exited, timeout, overran, bounds or stopped."""
        look = time.monotonic() + TICK_S
        while self.child.poll() is None:
            now = time.monotonic()
            if now >= deadline:
                return "timeout"
            if now >= look:
                look = now + TICK_S
                if how := self.look():
                    return how
            for key, _ in self.selector.select(max(0.0, min(deadline, look) - now)):
                if key.fd in self.sinks:
                    self._read(key.fd)
                elif key.fd == self.woken:
                    os.read(self.woken, 512)
                else:
                    return "stopped"
        return "exited"

    def look(self) -> str:
        """bounds or overran when the command and all it started are over one of them, and empty if not."""
        pids = _descendants()
        files = _open_files(pids)  # before the folders: what is deleted meanwhile counts once at most
        memory_mb, held_mb = _unlinked_mb(files[: self.bounds.get("files")])
        if memory_mb:  # what is mapped as well is in the sum below already
            memory_mb = max(0.0, memory_mb - sum(map(_shared_mb, pids)))
        memory_mb += sum(map(_memory_mb, pids))
        self.peak_memory_mb = max(self.peak_memory_mb, memory_mb)
        disk_mb = held_mb + sum(map(_disk_mb, self.bounds["paths"])) if self.bounds.get("disk_mb") else 0.0
        for how, what, amount, bound in (
            ("bounds", "MB of memory", memory_mb, "memory_mb"),
            ("bounds", "processes", len(pids), "processes"),
            ("bounds", "open files", len(files), "files"),
            ("bounds", "MB of disk", disk_mb, "disk_mb"),
            ("overran", "s of processor time", _processor_s(pids, self.seen), "processor_s"),
            ("overran", "s", time.monotonic() - self.started, "wall_s"),
        ):
            if (most := self.bounds.get(bound)) and amount > most:
                self.broken = f"used more than {most:g} {what}"
                return how
        return ""

    def _read(self, source: int) -> bool:
        data = os.read(source, 1 << 16)
        if data:
            self.sinks[source].write(data)
        else:
            self.selector.unregister(source)
        return bool(data)

    def drain(self) -> None:
        """What was still in the pipes when the last process had ended."""
        for source, sink in self.sinks.items():
            os.set_blocking(source, False)
            with contextlib.suppress(BlockingIOError, KeyError):
                while self._read(source):
                    pass
            sink.close()


class Sink:
    """A file that holds the start and the end of a stream, however long the stream is."""

    def __init__(self, path: str, also: Any) -> None:
        self.file = open(path, "wb")  # noqa: SIM115 - lives as long as the run
        self.also, self.room, self.tail, self.cut = also, HEAD_BYTES, bytearray(), 0

    def write(self, data: bytes) -> None:
        self.also(data)
        head, rest = data[: self.room], data[self.room :]
        with contextlib.suppress(OSError):  # a full disk must not end the run; the journal will say so
            self.file.write(head)
            self.file.flush()
        self.room -= len(head)
        self.tail += rest
        if len(self.tail) > 2 * TAIL_BYTES:
            self.cut += len(self.tail) - TAIL_BYTES
            del self.tail[:-TAIL_BYTES]

    def close(self) -> None:
        with contextlib.suppress(OSError), self.file:
            extra = max(0, len(self.tail) - TAIL_BYTES)
            if self.cut + extra:
                self.file.write(b"\n[... %d bytes left out ...]\n" % (self.cut + extra))
            self.file.write(self.tail[extra:])


class Progress:
    """Finds PROGRESS lines in a stream and passes them on; a flood of them at a bearable rate."""

    def __init__(self, asker: socket.socket) -> None:
        self.asker, self.rest, self.due = asker, b"", 0.0

    def feed(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.rest = self.rest[:LINE_BYTES]
        for line in lines:
            early = self.due - (now := time.monotonic())
            if line.startswith(b"PROGRESS ") and len(line) <= LINE_BYTES and early <= PROGRESS_BURST_S:
                self.due = max(self.due, now) + PROGRESS_GAP_S
                _say(self.asker, progress=line[9:].decode(errors="replace").strip())


def _say(asker: socket.socket, **message: Any) -> None:
    with contextlib.suppress(OSError):  # nobody is listening any more: the next look will notice
        asker.sendall(json.dumps(message).encode() + b"\n")


def _wake_on_child_exit() -> int:
    """A file descriptor that becomes readable when a child ends."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if LINUX else os.pipe()
    for end in (read, write):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read


def _adopt_orphans() -> None:
    signal.signal(signal.SIGTERM, lambda *_: None)  # a cluster sends it to all at once; only our socket ends us
    if LINUX:
        PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end(child: "subprocess.Popen[bytes]", polite: bool) -> int:
    """End a command and everything below it; how many processes had outlived the command itself."""
    if child.poll() is None and polite:
        _signal_group(child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
    if child.poll() is None:
        _signal_group(child.pid, signal.SIGKILL)
        child.wait()
    _signal_group(child.pid, signal.SIGKILL)
    found: set[int] = set()
    while not _all_reaped():
        for pid in _descendants():
            found.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)
    return len(found)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _all_reaped() -> bool:
    """With orphans adopted, no child left means no descendant left."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
        return False
    return True


def _descendants() -> list[int]:
    """Every living process below this one (Linux; nothing elsewhere)."""
    found = [os.getpid()]
    for pid in found:  # grows meanwhile
        found += _children(pid)
    return found[1:]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for thread in _numbers(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as children:
            found += map(int, children.read().split())
    return found


def _numbers(folder: str) -> list[int]:
    """What a folder of /proc lists; nothing when the process is gone, or undumpable and we are not root."""
    with contextlib.suppress(OSError):
        return list(map(int, os.listdir(folder)))
    return []


def _memory_mb(pid: int) -> float:
    with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / (1 << 20)
    return 0.0


def _shared_mb(pid: int) -> float:
    """The part of a process's memory that is shared memory: mapped files that lie in memory."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/status") as status:
        return sum(int(line.split()[1]) for line in status if line.startswith("RssShmem:")) / 1024
    return 0.0


def _open_files(pids: list[int]) -> list[str]:
    """A link to every open file: those of each process, and of its threads that do not share them."""
    found: list[str] = []
    for pid in pids:
        for thread in _numbers(f"/proc/{pid}/task"):
            if thread == pid or LIBC.syscall(KCMP, pid, thread, KCMP_FILES, 0, 0) > 0:
                found += [f"/proc/{thread}/fd/{number}" for number in _numbers(f"/proc/{thread}/fd")]
    return found


def _unlinked_mb(links: list[str]) -> tuple[float, float]:
    """What open files without a name take of memory and of disk, each once, however often it is open."""
    files: dict[tuple[int, int], tuple[int, bool]] = {}
    kind = (ctypes.c_long * 32)()  # struct statfs: the type comes first
    for link in links:
        deleted = True  # also where folders nest so deep that the link cannot be read
        with contextlib.suppress(OSError):  # the link first: a stat may wait for a file server that is away
            deleted = os.readlink(link).endswith(" (deleted)")
        with contextlib.suppress(OSError):
            if deleted and (found := os.stat(link)).st_nlink == 0:
                in_memory = LIBC.statfs(link.encode(), kind) == 0 and kind[0] in IN_MEMORY
                files[found.st_dev, found.st_ino] = found.st_blocks, in_memory
    memory, disk = (sum(blocks for blocks, is_ in files.values() if is_ == wanted) for wanted in (True, False))
    return memory * 512 / (1 << 20), disk * 512 / (1 << 20)


def _processor_s(pids: list[int], seen: dict[int, int]) -> float:
    """At least what all that were ever `seen` had used: one that ignores its children's end hides what they used."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{pid}/stat") as stat:
            own, system, *waited_for = map(int, stat.read().rpartition(")")[2].split()[11:15])
            seen[pid] = own + system
            ticks += own + system + sum(waited_for)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    return max(ticks * tick_s + ended.ru_utime + ended.ru_stime, sum(seen.values()) * tick_s)


def _disk_mb(folder: str) -> float:
    """What lies below a folder, in blocks really used."""
    total, waiting = 0, [folder]
    while waiting:  # not os.walk: it recurses, and a candidate may nest folders deeper than the stack
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                total += entry.stat(follow_symlinks=False).st_blocks
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return total * 512 / (1 << 20)


if __name__ == "__main__":
    nursery(socket.socket(fileno=int(sys.argv[1])))
