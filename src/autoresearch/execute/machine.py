"""
This machine: its processors and GPUs, and the slots that it is divided into.

A slot belongs to one run at a time, so that parallel runs do not distort each other.
"""

import contextlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

from msgspec import Struct

from autoresearch.trial import Machine

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Slot(Struct, frozen=True):
    """A share of the machine that belongs to one run at a time."""

    cores: tuple[int, ...] = ()
    gpu: str | None = None

    def environment(self) -> dict[str, str]:
        threads = {name: str(len(self.cores) or 1) for name in THREAD_VARIABLES}
        # Idle OpenMP threads that spin would take the neighbour's core: 5 times slower with two runs at once.
        return threads | {"OMP_WAIT_POLICY": "PASSIVE"} | ({"CUDA_VISIBLE_DEVICES": self.gpu} if self.gpu else {})


def slots(cores_each: int | None, workers: int | None) -> list[Slot]:
    """
    Divide this machine into at most `workers` slots that share nothing: one per GPU where there are any, else
    one per `cores_each` cores. Without `cores_each` all cores are shared out evenly among the slots.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    gpus = visible_gpus()
    each = min(len(cores), cores_each or max(1, len(cores) // (len(gpus) or workers or 1)))
    room = len(gpus) or len(cores) // each
    n = min(workers or room, room)
    shares = [tuple(cores[(i * each + k) % len(cores)] for k in range(each)) for i in range(n)]
    return [Slot(share, gpus[i] if gpus else None) for i, share in enumerate(shares)]


def visible_gpus() -> list[str]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES would name them. Asks nvidia-smi, not torch."""
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is not None:
        return [name for name in asked.split(",") if name.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return [str(i) for i, line in enumerate(filter(None, listed.stdout.splitlines())) if line.startswith("GPU ")]


def this_machine(slot: Slot) -> Machine:
    """The tier of a slot: the kind of processor or GPU, and how many cores go with it."""
    device = _gpu_name() if slot.gpu is not None else _processor_name()
    cores = len(slot.cores) or 1
    return Machine(
        tier=f"{device}, {cores} core{'s' if cores > 1 else ''}", cores=cores, device=device, gpu=slot.gpu is not None
    )


def _processor_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu_name() -> str:
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    names = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    return names[0].strip() if names else "GPU"
