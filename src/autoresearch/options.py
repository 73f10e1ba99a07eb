"""What the modules of commands share: options, and where their words go."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoresearch.errors import AutoresearchError

if TYPE_CHECKING:
    from rich.console import Console

    from autoresearch.state import State
    from autoresearch.study import Study

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
    """For any program that reads JSON: a number that is none is null."""
    click.echo(json.dumps(_finite(data), indent=indent, ensure_ascii=False, allow_nan=False))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def write_file(path: Path, text: str, new: bool = False) -> None:
    """
    Raises:
        AutoresearchError: its folder is not there, or it cannot be written; or it is there, where a `new` one is wanted.
    """
    try:
        with path.open("x" if new else "w", encoding="utf-8", newline="") as file:
            file.write(text)
    except FileExistsError:
        raise AutoresearchError(f"{path} is there already; name another file, and nothing is overwritten") from None
    except OSError as error:
        raise AutoresearchError(f"{path}: {error.strerror or error}; name a file in a folder that is there") from None


def in_short(folder: Path, study: "Study", state: "State") -> str:
    """The sentence that says where a study stands."""
    if study.live is None:
        from autoresearch.report import text

        return text.summary(state)
    from autoresearch.campaign.standing import standing
    from autoresearch.report import live

    return live.summary(standing(folder, study, state))


def read_state(folder: Path) -> "State":
    """A study as its log tells it now, whoever writes it."""
    from autoresearch import log
    from autoresearch.session import journal
    from autoresearch.study import load

    load(folder)
    return log.read(journal(folder))
