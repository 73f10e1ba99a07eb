"""What the modules of commands share: options, and where their words go."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from autoresearch.state import State

folder_option = click.option(
    "-C",
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    default=".",
    help="The study's folder (default: this one).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def make_console(stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def print_json(data: Any, indent: int | None = 2) -> None:
    click.echo(json.dumps(data, indent=indent, ensure_ascii=False))


def read_state(folder: Path) -> "State":
    """A study as its log tells it now, whoever writes it."""
    from autoresearch import log
    from autoresearch.session import journal
    from autoresearch.study import load

    load(folder)
    return log.read(journal(folder))
