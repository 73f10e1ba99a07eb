"""What several tables of study.toml ask of their values. Each check raises ValueError, in words that follow the table's name."""

import re
import shlex
from typing import Any

PLACES = {"address": ["ray"], "partition": ["slurm"], "account": ["slurm"], "constraint": ["slurm"]}
PLACES |= {"gpus": ["ray", "slurm"], "accelerator": ["ray", "slurm"]}  # key of execute -> where it has a meaning
_SLURM_WORD = re.compile(r"[A-Za-z0-9_.,:&|()\[\]*@+-]+")
SANDBOXES = ("auto", "bubblewrap", "namespaces", "docker", "podman", "none")


def check_command(key: str, command: str | list[str] | None) -> None:
    if command is None:
        return
    try:
        words = shlex.split(command) if isinstance(command, str) else command
    except ValueError as error:
        raise ValueError(f"{key} {command!r} cannot be split into words: {error}") from None
    if not words:
        raise ValueError(f"{key} is empty")


def check_positive(table: Any, *keys: str) -> None:
    for key in keys:
        value = getattr(table, key)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{key} must be positive")


def check_sandbox(name: str) -> None:
    if name not in SANDBOXES:
        raise ValueError(f"sandbox {name!r} must be one of {', '.join(SANDBOXES)}")


def check_place(execute: Any) -> None:
    """Keys of one kind of cluster belong to that kind, and to Slurm some have to be said."""
    for key, places in PLACES.items():
        if getattr(execute, key) is not None and execute.on not in places:
            wanted = " or ".join(f'on = "{place}"' for place in places)
            raise ValueError(f"{key} is for a cluster: write {wanted} beside it, or leave it out")
    if execute.on != "slurm":
        return
    for key in ("partition", "account", "constraint", "accelerator"):
        value = getattr(execute, key)
        if value is not None and not _SLURM_WORD.fullmatch(value):
            raise ValueError(f"{key} {value!r} is no name of Slurm's: `sinfo` lists partitions, features and GPUs")
    if execute.cores is None:
        raise ValueError("cores is missing: say how many cores each run asks Slurm for")
    if execute.gpus is not None and execute.gpus != int(execute.gpus):
        raise ValueError(f"gpus = {execute.gpus:g}: Slurm gives whole GPUs to a run")
    if execute.accelerator is not None and execute.gpus is None:
        raise ValueError("accelerator names a kind of GPU: say with gpus how many each run asks for")
