"""
This machine: its processors and GPUs, and the slots that it is divided into.

A slot belongs to one run at a time, so that parallel runs do not distort each other. GPUs are named as nvidia-smi names them.
"""

import contextlib
import os
import platform
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

from msgspec import Struct

from autoresearch.trial import Machine

_CARD = re.compile(r"GPU (\d+): (.+?) \(UUID: (\S+)\)")
_PART = re.compile(r"\s+(MIG \S+)\s+Device\s+\d+: \(UUID: (\S+)\)")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Slot(Struct, frozen=True):
    """A share of the machine that belongs to one run at a time."""

    cores: tuple[int, ...] = ()
    gpu: str | None = None

    def environment(self) -> dict[str, str]:
        threads = {name: str(len(self.cores) or 1) for name in THREAD_VARIABLES}
        # Idle OpenMP threads that spin would take the neighbour's core: 5 times slower with two runs at once.
        # CUDA's own order has the fastest card first, nvidia-smi's does not: a number would be another card.
        card = {"CUDA_VISIBLE_DEVICES": self.gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if self.gpu else {}
        return threads | {"OMP_WAIT_POLICY": "PASSIVE"} | card


def slots(cores_each: int | None, workers: int | None) -> list[Slot]:
    """
    Divide this machine into at most `workers` slots that share nothing: one per GPU where there are any, else
    one per `cores_each` cores. Without `cores_each` all cores are shared out evenly among the slots. Of different GPUs, the
    kind that there is most of comes first.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    gpus = _largest_kind_first(visible_gpus())
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
    return [name for name in _cards() if name.isdigit()]


def this_machine(slot: Slot) -> Machine:
    """The tier of a slot: the kind of processor or GPU, and how many cores go with it."""
    return machines([slot])[0]


def machines(slots: list[Slot]) -> list[Machine]:
    """The same of each of several slots; nvidia-smi, which can take a second, is asked once."""
    cards = _cards() if any(slot.gpu is not None for slot in slots) else {}
    return [_machine(slot, _processor_name() if slot.gpu is None else _device(slot.gpu, cards)) for slot in slots]


def _machine(slot: Slot, device: str) -> Machine:
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


def _largest_kind_first(gpus: list[str]) -> list[str]:
    if len(gpus) < 2:
        return gpus
    cards = _cards()
    kinds = Counter(_device(gpu, cards) for gpu in gpus)
    order = [kind for kind, _ in kinds.most_common()]  # of equal size: as they come
    return sorted(gpus, key=lambda gpu: order.index(_device(gpu, cards)))


def _device(gpus: str, cards: dict[str, str]) -> str:
    """What a slot's GPUs are: one kind, or each that is among them."""
    found = [next((kind for name, kind in cards.items() if _means(gpu, name)), "GPU") for gpu in gpus.split(",")]
    return " and ".join(dict.fromkeys(found))


def _means(gpu: str, name: str) -> bool:
    """Whether a word of CUDA_VISIBLE_DEVICES means this one: by its number, or by the beginning of its long name."""
    return gpu == name or (not name.isdigit() and len(gpu) > len("GPU-") and name.startswith(gpu))


def _cards() -> dict[str, str]:
    """Number, and long name, of each GPU or part of one here -> its kind."""
    if shutil.which("nvidia-smi") is None:
        return {}
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    found: dict[str, str] = {}
    whole = ""
    for line in listed.splitlines():
        if card := _CARD.match(line):
            number, whole, name = card.groups()
            found |= {number: whole, name: whole}
        elif part := _PART.match(line):
            found[part[2]] = f"{whole} {part[1]}"
    return found
