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
from autoresearch.options import folder_option, write_file
from autoresearch.wording import listed, many, shown

if TYPE_CHECKING:
    from autoresearch.live.importing import Import, Result
    from autoresearch.live.settings import Live
    from autoresearch.live.store import Store
    from autoresearch.live.variables import Variables
    from autoresearch.study import Study

file_argument = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
NO_REPLIES = {"open", "click", "bounce", "unsubscribe", "complaint"}  # outcomes with nothing to read
column_option = click.option("--column", default="email", show_default=True, help="The column with the addresses.")


class Desk(NamedTuple):
    """What such a command works with."""

    study: "Study"
    live: "Live"
    store: "Store"
    salt: bytes
    folder: Path


@contextlib.contextmanager
def _read(folder: Path) -> Iterator[tuple["Study", "Live", "Store"]]:
    """For what needs no salt."""
    from autoresearch.campaign import house
    from autoresearch.study import load
    from autoresearch.workspace import HOME

    study = load(folder)
    live = study.need_live()
    with contextlib.closing(house.store_of(study.name, live, folder / HOME)) as store:
        yield study, live, store


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[Desk]:
    from autoresearch.campaign import house
    from autoresearch.workspace import HOME

    with _read(folder) as (study, live, store):
        yield Desk(study, live, store, house.salt(folder / HOME, store), folder)


@click.command("export")
@folder_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@column_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The list to give to the sending tool.",
)
def export(folder: Path, file: Path | None, column: str, out: Path) -> None:
    """
    Say for each address of a list which words it gets; nothing is recorded before `live sent`. Of advertisements, without a list: which to run, and
    how much of each.
    """
    from autoresearch.campaign import house
    from autoresearch.live import advertising, exporting
    from autoresearch.workspace import Workspace

    if out.exists():
        raise AutoresearchError(f"{out} is there already; name another file, and nothing is overwritten")
    with _opened(folder) as desk:
        material = house.shown(Workspace(folder, desk.study), desk.live)()
        if file is None and desk.live.channel == "ad":
            booked = advertising.advertisements(
                desk.store.plan(), material.variables, material.template, material.rules
            )
            write_file(out, booked.text, new=True)
            click.echo(
                f"{many(booked.ads, 'advertisement')} in {out}, for the {booked.cells:,} of the plan; and the holdout."
            )
            click.echo(
                "Run each with its share of what is shown, called by its name. What came of them: autoresearch live import"
            )
            return
        if file is None:
            raise AutoresearchError(
                "name the list of addresses, as a CSV file: autoresearch live export people.csv --out ..."
            )
        made = exporting.addresses(
            _text(file),
            desk.study.name,
            desk.live,
            desk.salt,
            desk.store,
            material.variables,
            material.template,
            material.rules,
            column,
        )
    write_file(out, made.text, new=True)
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
    from autoresearch.live.records import Fate

    with _opened(folder) as desk:
        records, without = exporting.sent(_text(file), desk.salt, time.time(), column)
        fates = list(desk.store.enter(records))
    refused = fates.count(Fate.REFUSED)
    click.echo(
        f"{many(fates.count(Fate.NEW), 'exposure')} recorded, {fates.count(Fate.KNOWN):,} known before"
        + (f", {refused:,} refused, of people who asked to be forgotten" if refused else "")
        + (f"; no proof in {many(without, 'row')}." if without else ".")
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
    from autoresearch.campaign import house, tools
    from autoresearch.live import importing
    from autoresearch.live.mappings import LONGEST as LONGEST_WORD

    if wrong := [pair for pair in columns if "=" not in pair]:
        raise AutoresearchError(f"--map {wrong[0]} must be a key and a column, like person=Email")
    if not 0 < len(source.strip()) <= LONGEST_WORD:
        raise AutoresearchError(f"--source must be a word of {LONGEST_WORD} characters at most, like crm")
    named = dict(pair.split("=", 1) for pair in columns)
    with _opened(folder) as desk:
        known = house.ever_had(folder)
        unit_of = tools.unit_of(desk.salt)
        found = importing.read(_bytes(file), source.strip(), unit_of, time.time(), named, event, known)
        for line in (*_which(found, event), *(() if found.problems else _said(found, desk.live, known))):
            click.echo(line)
        for problem in found.problems:
            click.echo(f"{file}: {shown(str(problem), len(str(problem)))}", err=True)
        if found.problems:
            raise AutoresearchError(f"{file}: nothing was added; correct it, or name its columns with --map")
        result = importing.look(desk.store, found) if dry_run else importing.bring_in(desk.store, found)
    for line in _came(result, dry_run):
        click.echo(line)


def _which(found: "Import", event: str) -> Iterator[str]:
    """Where file and command say what happened, and not the same."""
    column = found.columns.get("event")
    if event and column and found.kinds.keys() != {event}:
        yield (
            f"The column {shown(column)} says what happened, so --event {shown(event)} is not used; where that column says "
            "something else: --map event="
        )


def _said(found: "Import", live: "Live", known: "Variables | None") -> Iterator[str]:
    """What a file says, before anything is added."""
    from autoresearch.live import importing

    yield f"{many(found.rows, 'row')}: {listed(f'{n:,} {kind}' for kind, n in found.kinds.items()) or 'nothing'}"
    if found.unused:
        yield f"Columns that are not used: {listed(found.unused)}"
    if stopped := importing.stopped(found):
        yield f"Not to be written to any more: {many(stopped, 'person', 'people')}"
    if strange := importing.uncounted(found, live):
        yield f"Not counted by this study: {listed(f'{kind} ({n:,})' for kind, n in strange.items())}"
    missing, cells = importing.partial(found, known) if known else ({}, 0)
    if missing:
        told = listed(name if n == cells else f"{name} ({n:,} of {cells:,})" for name, n in missing.items())
        yield f"Not named in the cell, so taken to be as the default: {told}"


def _came(result: "Result", dry_run: bool) -> Iterator[str]:
    """What became of it, or would."""
    if result.orphans:
        yield (
            f"{many(result.orphans, 'outcome belongs', 'outcomes belong')} to nobody: no exposure of those people is known. Was `live sent` "
            "typed, and does the tool write addresses as the list does?"
        )
    yield (
        f"{many(result.new, 'record')} {'would be' if dry_run else 'is' if result.new == 1 else 'are'} new, {result.known:,} known before"
        + (f", {result.refused:,} refused, of people who asked to be forgotten." if result.refused else ".")
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
                + (f", {told.refused:,} refused, of people who asked to be forgotten" if told.refused else "")
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
        who = tools.unit_of(desk.salt)(_named(person))
        if not desk.store.did(who)[1].keys() - (NO_REPLIES - {desk.live.outcome}):
            raise AutoresearchError(
                "no reply of this person is known here: check how the address or id is written, or import the reply first"
            )
        desk.store.add_audits([Audit(who, said == "yes", truly == "yes")])
        count = len(desk.store.audits())
    left = known.LEAST_AUDITED - count
    click.echo(
        f"{many(count, 'reply', 'replies')} read"
        + (f"; rates are corrected from {known.LEAST_AUDITED} on." if left > 0 else "; rates are corrected by them.")
    )


@click.command("forget")
@folder_option
@click.argument("person")
@click.option("--unseen", is_flag=True, help="Refuse what may come of somebody of whom nothing is known yet.")
def forget(folder: Path, person: str, unseen: bool) -> None:
    """Delete all that is kept of a person, by address or id, and refuse what may still come."""
    from autoresearch.campaign import tools

    with _opened(folder) as desk:
        who = tools.unit_of(desk.salt)(_named(person))
        if not unseen and not desk.store.did(who)[0] and not desk.store.suppressed([who]):
            raise AutoresearchError(
                "nothing is known of this person, so nothing was done: check how the address or id is written. To refuse what may come of "
                "them all the same, which cannot be undone: --unseen"
            )
        removed = desk.store.forget(who)
    click.echo(f"{many(removed, 'record')} removed. What is told of them from now on is refused.")


@click.command("figures")
@folder_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write them into this file.")
def figures(folder: Path, out: Path | None) -> None:
    """Figures for others, as CSV: days, segments, cells and counts, and nothing of any person."""
    from autoresearch.campaign import atlas, known
    from autoresearch.live import figures as telling
    from autoresearch.report.live import windows

    with _read(folder) as (_, live, store):
        until, seen = atlas.latest(store, None), store.seen()
        counts = known.counted(store, live, until, seen)
        waiting = known.people(store, live, until, seen).waiting
    text = telling.figures(counts.tallies())
    if out is None:
        click.echo(text, nl=False)
    else:
        write_file(out, text, new=True)
        click.echo(f"Written: {out}")
    if waiting:
        click.echo(f"{windows(waiting, live.window_hours, live.attribution == 'hazard')}.", err=True)


COMMANDS = (export, sent, import_, poll, audit, forget, figures)


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


def _named(person: str) -> str:
    if not person.strip():
        raise AutoresearchError("the person is empty: give the address, or the id, by which they are known here")
    return person
