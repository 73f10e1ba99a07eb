"""
A run's folder on the disk that all nodes of a Slurm cluster share: what its jobs and the program that submits them tell
one another.

Knows files, and no Slurm. See slurm_job.py, which writes here on a node, and slurm.py.
"""

import contextlib
import hashlib
import json
import os
import secrets
from pathlib import Path

from autoresearch import files

JOB, BACK, BEGUN, PROGRESS = "job.pickle", "back", "begun", "progress"  # files in a run's folder
DONE = "measurement.json"  # of a run that came back


def has_its_answer(folder: Path) -> bool:
    return (folder / BACK).exists() or (folder / DONE).exists()


def give_up(folder: Path, job: str) -> None:
    """From now on this job has no word in the run, also where Slurm has requeued it or somebody will."""
    files.put(folder / f"given-up-{job}", b"")


def gave_up(folder: Path, job: str) -> bool:
    return (folder / f"given-up-{job}").exists()


def last_node(folder: Path) -> str:
    """Where a run was begun last."""
    nodes = [line.removeprefix("begun ") for line in lines(folder / BEGUN) if line.startswith("begun ")]
    return nodes[-1] if nodes else "unknown"


def points(folder: Path, since: int) -> tuple[list[tuple[float, float | None]], int]:
    """What a run has said of its progress from this byte on, and up to which byte that is."""
    try:
        with (folder / PROGRESS).open("rb") as file:
            file.seek(since)
            said = file.read()
    except OSError:
        return [], since
    whole = said[: said.rfind(b"\n") + 1]
    found = []
    for line in whole.splitlines():
        with contextlib.suppress(ValueError):
            fraction, loss = json.loads(line)
            found.append((fraction, loss))
    return found, since + len(whole)


def tag(folder: Path) -> str:
    """What tells this study's jobs from those of another study of its name, also of a copy of this folder."""
    path = folder / "name"
    if not path.exists():
        files.put(path, secrets.token_hex(8).encode())
    return hashlib.sha256(path.read_bytes() + os.fsencode(folder)).hexdigest()[:8]


def note(path: Path, line: str) -> None:
    with path.open("a") as file:
        print(line, file=file)


def lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text().splitlines()
    return []
