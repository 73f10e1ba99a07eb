"""
The commands of `live` that are about data: lists for the tool that sends, files with results, tools that are asked, and persons who want to
be forgotten. As in cli.py, what takes time to import is imported inside.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from autoresearch.errors import AutoresearchError
from autoresearch.options import folder_option

if TYPE_CHECKING:
    from autoresearch.live.settings import Live
    from autoresearch.live.store import Store

file_argument = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
column_option = click.option("--column", default="email", show_default=True, help="The column with the addresses.")


class Desk(NamedTuple):
    """What such a command works with."""

    name: str
    live: "Live"
    store: "Store"
    salt: bytes
    folder: Path


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[Desk]:
    from autoresearch.campaign import house
    from autoresearch.study import load
    from autoresearch.workspace import HOME

    study = load(folder)
    live = study.need_live()
    store = house.store_of(study.name, live, folder / HOME)
    try:
        yield Desk(study.name, live, store, house.salt(folder / HOME), folder)
    finally:
        store.close()


@click.command("export")
@folder_option
@file_argument
@column_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The list to give to the sending tool.",
)
def export(folder: Path, file: Path, column: str, out: Path) -> None:
    """Say for each address of a list which words it gets; nothing is recorded before `live sent`."""
    from autoresearch.campaign import house
    from autoresearch.live import exporting
    from autoresearch.study import load
    from autoresearch.workspace import HOME, Workspace

    with _opened(folder) as desk:
        shown = house.material(folder / HOME, house.frozen(Workspace(folder, load(folder))), desk.live)
        made = exporting.addresses(
            _text(file),
            desk.name,
            desk.live,
            desk.salt,
            desk.store,
            shown.variables,
            shown.template,
            shown.rules,
            column,
        )
    if out.exists():
        raise AutoresearchError(f"{out} is there already; name another file, and nothing is overwritten")
    out.write_text(made.text, encoding="utf-8", newline="")
    click.echo(f"{made.rows:,} addresses in {out}, {made.known:,} of which were written to before.")
    for why, count in made.left_out.items():
        click.echo(f"Left out, {why}: {count:,} (the first in line {made.first_lines[why]}).")
    click.echo(f"When it was sent: autoresearch live sent {out}")


@click.command("sent")
@folder_option
@file_argument
@column_option
def sent(folder: Path, file: Path, column: str) -> None:
    """Record that an exported list was sent: these are exposures from now on."""
    from autoresearch.live import exporting

    with _opened(folder) as desk:
        records, without = exporting.sent(_text(file), desk.salt, time.time(), column)
        new = desk.store.add(records)
    click.echo(
        f"{new:,} exposures recorded; {len(records) - new:,} were known"
        + (f"; {without:,} rows have no proof." if without else ".")
    )


@click.command("import")
@folder_option
@file_argument
@click.option("--source", default="file", show_default=True, help="Who says so; ids of events are told apart by it.")
@click.option("--event", default="", help="What every row is, where no column says it: reply, click, suppression.")
@click.option(
    "--map", "columns", multiple=True, metavar="KEY=COLUMN", help="Which column says what, like person=Email."
)
@click.option("--dry-run", is_flag=True, help="Say what would be added and what is wrong, and add nothing.")
def import_(folder: Path, file: Path, source: str, event: str, columns: tuple[str, ...], dry_run: bool) -> None:
    """Add what a CSV of results says; the same file twice adds nothing."""
    from autoresearch.campaign import tools
    from autoresearch.live import importing

    if wrong := [pair for pair in columns if "=" not in pair]:
        raise AutoresearchError(f"--map {wrong[0]} must be a key and a column, like person=Email")
    named = dict(pair.split("=", 1) for pair in columns)
    with _opened(folder) as desk:
        found = importing.read(_bytes(file), source, tools.unit_of(desk.salt), time.time(), named, event)
        click.echo(
            f"{found.rows:,} rows: "
            + (", ".join(f"{count:,} {kind}" for kind, count in found.kinds.items()) or "nothing")
        )
        for problem in found.problems:
            click.echo(f"{file}: {problem}", err=True)
        if found.problems:
            raise AutoresearchError(f"{file}: nothing was added; correct it, or name its columns with --map")
        result = importing.look(desk.store, found) if dry_run else importing.bring_in(desk.store, found)
    click.echo(
        f"{result.new:,} {'would be' if dry_run else 'are'} new, {result.known:,} {'are' if dry_run else 'were'} known."
    )


@click.command("poll")
@folder_option
def poll(folder: Path) -> None:
    """Ask the tools of live.feeds for what is new."""
    from autoresearch.campaign import tools
    from autoresearch.live import polling

    failed = []
    with _opened(folder) as desk:
        feeds = tools.asked(desk.live)
        if not feeds:
            raise AutoresearchError("study.toml: live.feeds names no tool to ask; docs/live-data.md shows how")
        for feed in feeds:
            try:
                told = polling.poll(feed, desk.store, tools.unit_of(desk.salt), time.time())
            except polling.PollError as error:
                failed.append(f"{feed.name}: {error}")
                continue
            click.echo(
                f"{feed.name}: {told.new:,} new, {told.known:,} known"
                + ("" if told.done else "; there is more: type it again")
            )
            for wrong in told.wrong:
                click.echo(f"  not taken: {wrong}", err=True)
    if failed:
        raise AutoresearchError("; ".join(failed))


@click.command("audit")
@folder_option
@click.argument("person")
@click.option("--said", type=click.Choice(["yes", "no"]), required=True, help="Whether the tool called it positive.")
@click.option("--truly", type=click.Choice(["yes", "no"]), required=True, help="Whether it was, as you read it.")
def audit(folder: Path, person: str, said: str, truly: str) -> None:
    """Tell what you found when you read somebody's reply: rates are corrected by how labels err."""
    from autoresearch.campaign import known, tools
    from autoresearch.live.tallying import Audit

    with _opened(folder) as desk:
        desk.store.add_audits([Audit(tools.unit_of(desk.salt)(person), said == "yes", truly == "yes")])
        count = len(desk.store.audits())
    left = known.LEAST_AUDITED - count
    click.echo(
        f"{count} replies read"
        + (f"; rates are corrected from {known.LEAST_AUDITED} on." if left > 0 else "; rates are corrected by them.")
    )


@click.command("forget")
@folder_option
@click.argument("person")
def forget(folder: Path, person: str) -> None:
    """Delete all that is kept of a person, by address or id, and refuse what may still come."""
    from autoresearch.campaign import tools

    with _opened(folder) as desk:
        removed = desk.store.forget(tools.unit_of(desk.salt)(person))
    click.echo(f"{removed:,} records removed. What is told of them from now on is refused.")


COMMANDS = (export, sent, import_, poll, audit, forget)


def _text(file: Path) -> str:
    try:
        return _bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AutoresearchError(f"{file}: is not in UTF-8 ({error.reason}); save it as CSV UTF-8") from None


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise AutoresearchError(f"{file}: {error.strerror}; name a CSV file") from None
