"""
Starts commands so that none of them outlives this process. The other end is keeper.py.

Knows sockets and jobs. Does not know what a command is for.
"""

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from autoresearch.errors import Stopped

KEEPER = Path(__file__).with_name("keeper.py")


class Ending(Struct, frozen=True):
    """How a kept command ended; see keeper.keep. `unwanted`: whoever asked for it wanted no more of it."""

    how: str
    code: int | None = None
    why: str = ""
    wall_s: float = 0.0
    processor_s: float = 0.0
    peak_memory_mb: float = 0.0
    left_behind: int = 0


class Bounds(Struct, frozen=True):
    """What a command and all it starts may use together. None: as much as there is."""

    memory_mb: int | None = None
    processes: int | None = None
    disk_mb: int | None = None
    paths: tuple[Path, ...] = ()  # where disk is counted
    processor_s: float | None = None
    wall_s: float | None = None
    files: int | None = 1 << 16  # open at once: to look at so many takes the keeper most of a second


class Keepers:
    """
    Starts commands through the keeper, so that none of them outlives this process.

    Raises (from `run`):
        Stopped: `stop` was called while the command ran, or before.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._requests = ours
        self._lock = threading.Lock()
        self._running: set[socket.socket] = set()
        self._stopped = False
        with theirs:
            # -I -S: neither the user's environment nor site packages have a say in it.
            self._nursery = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in the terminal is for us to hear, not for them
            )

    def run(
        self,
        argv: list[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        out: Path,
        err: Path,
        timeout_s: float,
        cores: tuple[int, ...] = (),
        stdin: Path | None = None,
        bounds: Bounds | None = None,
        on_progress: Callable[[str], object] = lambda text: None,
    ) -> Ending:
        """
        Run a command to its end, and everything it started with it.

        `on_progress` is told what follows the word PROGRESS; a true answer ends the command, as `unwanted`, unless
        it ends by itself first.
        """
        job = {
            "argv": argv,
            "cwd": str(cwd),
            "env": dict(env),
            "stdin": str(stdin or ""),
            "out": str(out),
            "err": str(err),
            "timeout_s": timeout_s,
            "cores": cores,
            "bounds": structs.asdict(bounds) | {"paths": list(map(str, bounds.paths))} if bounds else None,
        }
        ours, theirs = socket.socketpair()
        with ours:
            with theirs, self._lock:
                if self._stopped:
                    raise Stopped("stopped before it began")
                socket.send_fds(self._requests, [b"+"], [theirs.fileno()])
                self._running.add(ours)
            try:
                ours.sendall(json.dumps(job).encode() + b"\n")
                return self._listen(ours, on_progress)
            finally:
                with self._lock:
                    self._running.discard(ours)

    def _listen(self, keeper: socket.socket, on_progress: Callable[[str], object]) -> Ending:
        unwanted = False
        with keeper.makefile("rb") as lines:
            for line in lines:
                message: dict[str, Any] = json.loads(line)
                if "progress" in message:
                    if not unwanted and on_progress(message["progress"]):
                        unwanted = True
                        with contextlib.suppress(OSError):
                            keeper.shutdown(socket.SHUT_WR)
                elif "ended" in message:
                    ending = Ending(**message["ended"])
                    if ending.how == "stopped" and unwanted and not self._stopped:
                        return structs.replace(ending, how="unwanted")
                    if ending.how == "stopped":
                        raise Stopped("ended by the person")
                    return ending
        return Ending("failed", why="the keeper of this run was killed")

    @property
    def stopped(self) -> bool:
        """Whether the person wants everything to end now."""
        return self._stopped

    def stop(self) -> None:
        """End every command now, and start no further one."""
        with self._lock:
            self._stopped = True
            for keeper in self._running:
                with contextlib.suppress(OSError):
                    keeper.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let the nursery go. It ends by itself when this end of the socket closes."""
        self.stop()
        self._requests.close()
        self._nursery.wait()
