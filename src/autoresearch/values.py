"""What several tables of study.toml ask of their values. Each check raises ValueError, in words that follow the table's name."""

import shlex
from typing import Any

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
