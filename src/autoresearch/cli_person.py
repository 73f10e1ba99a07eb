"""The commands `try` and `steer`. As in cli.py, what takes time to import is imported inside."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoresearch.errors import AutoresearchError
from autoresearch.options import folder_option, json_option, make_console, print_json

if TYPE_CHECKING:
    from autoresearch.session import Listener
    from autoresearch.trial import Trial

MOST_FILES = 20  # that an editor is started with; beyond that it gets the folder


@click.command("try")
@click.argument("idea")
@folder_option
@click.option(
    "--patch", type=click.Path(allow_dash=True), help="A unified diff, as `git diff` prints it; - reads standard input."
)
@click.option("--edit", is_flag=True, help="Edit the best in a worktree of its own, with $VISUAL or $EDITOR.")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Take the asset's files from this folder.",
)
@click.option(
    "--wait/--no-wait", default=True, help="Wait for the verdict (default), or leave the idea with the study."
)
@json_option
def try_(
    idea: str, folder: Path, patch: str | None, edit: bool, source: Path | None, wait: bool, as_json: bool
) -> None:
    """Put an idea of yours through the loop: the same checks, runs and policy as any other."""
    from autoresearch import person
    from autoresearch.terminal import JsonLines, Screen

    if sum((patch is not None, edit, source is not None)) != 1:
        raise AutoresearchError("say where the change is: --patch FILE, --edit, or --from DIR; one of them")
    if edit:
        key = _edited(folder, idea)
    else:
        key = person.ask(folder, idea, _read(patch) if patch is not None else person.changes(folder, source or Path()))
        if source is not None and source.resolve() in person.lent(folder):
            person.take_back(folder, source)
    if not wait:
        click.echo("The idea stays with the study: it is tried before the proposer's next one.", err=as_json)
        return
    if as_json:
        _tell(folder, _settled(folder, key, JsonLines(make_console(stderr=True))), as_json)
        return
    with Screen(make_console()) as screen:
        trial = _settled(folder, key, screen)
    _tell(folder, trial, as_json)


def _read(patch: str) -> bytes:
    try:
        with click.open_file(patch, "rb") as file:
            return bytes(file.read())
    except OSError as error:
        raise AutoresearchError(
            f"{patch}: {error.strerror}; --patch names a unified diff, - reads standard input"
        ) from None


def _edited(folder: Path, idea: str) -> str:
    """Lend a worktree of the best, let the person edit it, and leave what they made of it with the study."""
    from autoresearch import person

    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "")
    if not command:
        raise AutoresearchError("--edit needs an editor: `export EDITOR=nano`, or use --patch or --from")
    lent = person.lend(folder)
    kept = f"what you edited is still in {lent.path}: `autoresearch try IDEA --from {lent.path}` goes on with it"
    files = lent.files if len(lent.files) <= MOST_FILES else ["."]
    try:
        ended = subprocess.run([*command, *files], cwd=lent.path, check=False)
    except OSError as error:
        person.take_back(folder, lent.path)
        raise AutoresearchError(f"{command[0]}: {error.strerror}; set EDITOR to a program that is there") from None
    patch = person.changes(folder, lent.path)
    if ended.returncode and patch:
        raise AutoresearchError(f"{command[0]} ended with exit code {ended.returncode}, so nothing is tried; {kept}")
    if not patch:
        person.take_back(folder, lent.path)
        raise AutoresearchError("nothing was edited, so nothing is tried")
    try:
        key = person.ask(folder, idea, patch)
    except AutoresearchError as error:
        raise AutoresearchError(f"{error}. Besides, {kept}") from None
    person.take_back(folder, lent.path)
    return key


def _settled(folder: Path, key: str, listener: "Listener") -> "Trial | None":
    from autoresearch import person

    try:
        return person.settle(folder, key, listener)
    except KeyboardInterrupt:
        return None


def _tell(folder: Path, trial: "Trial | None", as_json: bool) -> None:
    """The verdict with its numbers, or that there is none yet."""
    from autoresearch.log import read
    from autoresearch.report import text
    from autoresearch.session import journal

    if trial is None:
        click.echo("Not decided yet. The idea stays with the study: `autoresearch status` shows it.", err=as_json)
        if as_json:
            print_json(None)
    elif as_json:
        print_json(text.row_data(trial))
    else:
        make_console().print(text.verdict(read(journal(folder)), trial), soft_wrap=True)


@click.command()
@click.argument("note", required=False)
@folder_option
@click.option("--list", "listed", is_flag=True, help="Show the notes that hold.")
@click.option("--drop", type=click.IntRange(1), metavar="N", help="Tell note N to nobody any more.")
@json_option
def steer(note: str | None, folder: Path, listed: bool, drop: int | None, as_json: bool) -> None:
    """Leave a note that reaches every proposer's next brief, also while the study runs."""
    from autoresearch import person
    from autoresearch.report import text

    if sum((note is not None, listed, drop is not None)) != 1:
        raise AutoresearchError('say one of: autoresearch steer "look at the data order", steer --list, steer --drop N')
    if drop is not None:
        person.drop(folder, drop)
        data: list[dict[str, object]] = [{"number": drop, "dropped": True}]
        said = f"Note {drop} is told to nobody any more."
    elif note is not None:
        made = person.steer(folder, note)
        when = (
            "It is in every brief from now on."
            if made.taken_up
            else "The running study takes it up before its next trial."
        )
        said, data = f"Note {made.number}. {when}", [_note(made)]
    else:
        notes = person.notes(folder)
        said = "\n".join(
            f"{one.number:>3}  {text.clean(one.text)}{'' if one.taken_up else '  (not taken up yet)'}" for one in notes
        )
        said, data = said or "no notes", [_note(one) for one in notes]
    if as_json:
        print_json(data if listed else data[0])
    else:
        click.echo(said)


def _note(note: object) -> dict[str, object]:
    import msgspec

    found: dict[str, object] = msgspec.to_builtins(note)
    return found
