"""
How busy this machine is: load and memory from /proc, GPUs by nvidia-smi. What a system does not say is None.

Nobody waits for nvidia-smi: it may take seconds, or hang with its driver. It is asked in a thread, seldom, and what it
said last is told meanwhile.
"""

import contextlib
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

# The name comes last: it alone may hold a comma.
ASK_GPUS = ("--query-gpu=utilization.gpu,memory.used,memory.total,name", "--format=csv,noheader,nounits")
GPUS_EVERY_S = 4.0  # between two questions
GPUS_AGAIN_S = 60.0  # after one without an answer
GPUS_WITHIN_S = 5.0  # or it is ended
FIRST_S = 1.0  # that the first reader waits, so that nothing on the page moves when the answer comes
MOST_GPUS = 16


def load() -> dict[str, Any]:
    """Load of the last minute, cores, memory in MiB: used and in all; and the GPUs, as `gpus` gives them."""
    used, total = _memory()
    busy = None
    with contextlib.suppress(OSError):
        busy = os.getloadavg()[0]
    return {"load": busy, "cores": os.cpu_count(), "memory_used_mb": used, "memory_mb": total, "gpus": _gpus.known()}


def _memory() -> tuple[int | None, int | None]:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        said = {name: int(value.split()[0]) // 1024 for name, _, value in (line.partition(":") for line in lines)}
        return said["MemTotal"] - said["MemAvailable"], said["MemTotal"]
    except (OSError, ValueError, KeyError, IndexError):
        return None, None


class Gpus:
    """What nvidia-smi said last. Thread-safe; never raises."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: list[dict[str, Any]] = []
        self._next = 0.0
        self._asking: threading.Thread | None = None

    def known(self) -> list[dict[str, Any]]:
        """The GPUs as of a few seconds ago; none where there is no nvidia-smi, or it does not answer."""
        with self._lock:
            first = self._asking is None
            if not self.asking and time.monotonic() >= self._next:
                self._asking = threading.Thread(target=self._ask, name="gpus", daemon=True)
                self._asking.start()
        if first and self._asking:
            self._asking.join(FIRST_S)
        return self._said

    @property
    def asking(self) -> bool:
        return self._asking is not None and self._asking.is_alive()

    def _ask(self) -> None:
        self._said = gpus()
        self._next = time.monotonic() + (GPUS_EVERY_S if self._said else GPUS_AGAIN_S)


_gpus = Gpus()


def gpus() -> list[dict[str, Any]]:
    """Each GPU of this machine: name, `busy` from 0 to 1, memory in MiB, used and in all. Takes up to 5 seconds."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, *ASK_GPUS],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=GPUS_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = done.stdout.decode(errors="replace").splitlines() if done.returncode == 0 else []
    return [found for found in map(_gpu, lines[:MOST_GPUS]) if found]


def _gpu(line: str) -> dict[str, Any] | None:
    """A line of the answer; a number that this GPU does not say is None (`[N/A]`); None for one that says nothing."""
    cells = [cell.strip() for cell in line.split(",", 3)]
    if len(cells) < 4:
        return None
    percent, used, total = (int(cell) if cell.isascii() and cell.isdecimal() else None for cell in cells[:3])
    if percent is None and not total:
        return None
    busy = None if percent is None else min(percent, 100) / 100
    return {"name": cells[3][:80], "busy": busy, "memory_used_mb": used, "memory_mb": total}
