"""What a command is told: its environment, and the words of its command line. Starts nothing."""

import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from autoresearch.execute.machine import Slot
from autoresearch.execute.sandbox import Backend, Cell
from autoresearch.study import Study
from autoresearch.trial import Run

# What programs need to start and to speak the person's language; nothing that opens a door.
HARMLESS = {"LANG", "LANGUAGE", "TZ", "TERM", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "HOME", "TMPDIR", "USER", "LOGNAME"}
HARMLESS_BEGINNINGS = ("LC_", "CUDA_", "NVIDIA_", "TORCH_", "TORCHINDUCTOR_", "TRITON_", "OMP_", "MKL_", "KMP_", "XLA_")
INSIDE = {"HOME": "/tmp", "TMPDIR": "/tmp", "USER": "candidate", "LOGNAME": "candidate"}
PLACE = "@arguments@"


def environment(slot: Slot, told: Mapping[str, str], passed: Iterable[str] = ()) -> dict[str, str]:
    """
    The environment of a command: what programs need to start, what the study passes on by name, the slot's
    share, and what it is told. Keys and tokens that happen to be in ours are not among it.

    `python` means the active virtual environment's, else the one that runs autoresearch.
    """
    mine = os.environ.get("VIRTUAL_ENV")
    scripts = str(Path(mine) / "bin") if mine else str(Path(sys.executable).parent)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in HARMLESS or name.startswith(HARMLESS_BEGINNINGS) or name in passed
    }
    return inherited | {
        "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONDONTWRITEBYTECODE": "1",  # a run leaves its worktree as it found it
        "PYTHONUNBUFFERED": "1",  # output that is still in a buffer when a run is killed is lost
        "PYTHONNOUSERSITE": "1",  # the person's own site-packages are no part of a study
        **slot.environment(),
        **told,
    }


def write_launcher(path: Path, sandbox: Backend, cell: Cell, env: Mapping[str, str]) -> None:
    """
    A program that runs its arguments as candidate code: the scorer starts what answers it through this.

    It gives its own environment, so that what the scorer knows of held data does not get in there.
    """
    placed = sandbox.wrap([PLACE], cell)
    words = ['"$@"' if word == PLACE else shlex.quote(word) for word in placed]
    names = " ".join(shlex.quote(f"{name}={value}") for name, value in env.items())
    path.write_text(f"#!/bin/sh\ncd {shlex.quote(str(cell.cwd))} && exec env -i {names} {' '.join(words)}\n")
    path.chmod(0o700)


def run_variables(run: Run, study: Study, out: Path) -> dict[str, str]:
    """What a run is told: its seed, its budget, and where its artifacts go."""
    told = {
        "AUTORESEARCH_RUN": str(run.id),
        "AUTORESEARCH_SEED": str(run.seed),
        "AUTORESEARCH_OUT": str(out),
    }
    return told | budget_variables(study)


def budget_variables(study: Study) -> dict[str, str]:
    budget = study.measure.allowance
    if budget is None:
        return {}
    return {"AUTORESEARCH_BUDGET": _plain(budget.amount), "AUTORESEARCH_BUDGET_UNIT": budget.unit}


def data_folders(home: Path, held: bool = False, sealed: bool = False) -> dict[str, str]:
    """Where prepared data lies: one folder that runs may see, one for frozen code, one for a claim alone."""
    folders = {"AUTORESEARCH_DATA": home / "data" / "open"}
    folders |= {"AUTORESEARCH_HELD": home / "data" / "held"} if held else {}
    folders |= {"AUTORESEARCH_SEALED": home / "data" / "sealed"} if sealed else {}
    return {name: str(folder) for name, folder in folders.items()}


def words(command: str | Sequence[str]) -> tuple[str, ...]:
    """A command line as a shell would split it, without a shell; a list of words is taken as it stands."""
    return tuple(shlex.split(command) if isinstance(command, str) else command)


def _plain(amount: float) -> str:
    """A number that any language reads: 150000, not 1.5e+05 or 150000.0."""
    return str(int(amount)) if amount == int(amount) else repr(amount)
