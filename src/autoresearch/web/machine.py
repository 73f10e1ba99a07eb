"""How busy this machine is, from /proc; what a system does not say is None."""

import contextlib
import os
from pathlib import Path
from typing import Any


def load() -> dict[str, Any]:
    """Load of the last minute, cores, and memory in MiB: used and in all."""
    used, total = _memory()
    busy = None
    with contextlib.suppress(OSError):
        busy = os.getloadavg()[0]
    return {"load": busy, "cores": os.cpu_count(), "memory_used_mb": used, "memory_mb": total}


def _memory() -> tuple[int | None, int | None]:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        said = {name: int(value.split()[0]) // 1024 for name, _, value in (line.partition(":") for line in lines)}
        return said["MemTotal"] - said["MemAvailable"], said["MemTotal"]
    except (OSError, ValueError, KeyError, IndexError):
        return None, None
