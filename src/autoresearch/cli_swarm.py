"""
The commands `swarm ...`: take part in a swarm, see what it found, and leave. As in cli.py, what takes time to import is
imported inside.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoresearch.errors import AutoresearchError
from autoresearch.options import folder_option, json_option, make_console, print_json, write_file

if TYPE_CHECKING:
    from autoresearch.share.board import Swarm
    from autoresearch.share.book import Book
    from autoresearch.share.membership import Invitation
    from autoresearch.share.settings import Settings
    from autoresearch.share.tables import Tables

name_option = click.option("--name", help="What others see you called (default: two words made of your key).")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def swarm() -> None:
    """Share findings with others who work on the same study, and try theirs; docs/swarm.md."""


@swarm.command("init")
@folder_option
@name_option
@click.option(
    "--git", "remote", default="", metavar="REMOTE", help="Share over a git remote: its name here, or its address."
)
@click.option("--listen", default="", metavar="ENDPOINT", help="Share live; be reached at, say, tcp/192.168.0.7:7447.")
@click.option("--open", "anybody", is_flag=True, help="Let anybody join who can reach it, without an invitation.")
@yes_option
def init(folder: Path, name: str | None, remote: str, listen: str, anybody: bool, yes: bool) -> None:
    """Begin a swarm of your own, after showing what would leave this machine; prints its invitation."""
    from autoresearch.share import membership, settings

    home = _home(folder)
    _refuse_second(home)
    if not (remote or listen):
        raise AutoresearchError("say how others are reached: --git REMOTE, --listen ENDPOINT, or both")
    there = (listen,) if listen else ()
    invitation = membership.Invitation("", remote, there) if anybody else membership.new(remote, there)
    chosen = _take_part(folder, invitation, name, yes, git=remote, listen=listen)
    settings.keep_secret(home, "invitation", str(invitation))
    click.echo(f"You are {chosen.name}. Others join with this line{'' if anybody else ', which is a secret'}:\n")
    click.echo(f"autoresearch swarm join {invitation}\n")
    click.echo("`autoresearch run` shares from now on; `autoresearch swarm leave` ends it.")


@swarm.command("join")
@folder_option
@name_option
@click.argument("invitation")
@click.option(
    "--git",
    "remote",
    default="",
    metavar="REMOTE",
    help="The git remote as it is called here, if not as in the invitation.",
)
@click.option("--listen", default="", metavar="ENDPOINT", help="Be reached by others too, at this endpoint.")
@yes_option
def join(folder: Path, name: str | None, invitation: str, remote: str, listen: str, yes: bool) -> None:
    """Join a swarm that you were invited to, after showing what would leave this machine."""
    from autoresearch.share import membership

    _refuse_second(_home(folder))
    invited = membership.read(invitation)
    chosen = _take_part(folder, invited, name, yes, git=remote or invited.git, listen=listen, connect=invited.connect)
    click.echo(f"You are {chosen.name}. `autoresearch run` shares from now on; `autoresearch swarm leave` ends it.")


@swarm.command("status")
@folder_option
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Who is known, how many receipts there are, and what they come to."""
    from autoresearch.share.board import read_book
    from autoresearch.share.tables import tables

    chosen, book = _opened(folder)
    found = tables(read_book(book), book.digest())
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins({"name": chosen.name, **msgspec.to_builtins(found)}))
        return
    from autoresearch.report import swarm as pages

    console = make_console()
    console.print(pages.ways(chosen))
    console.print(pages.peers(found))


@swarm.command("board")
@folder_option
@json_option
@click.option(
    "--svg",
    "drawn",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the map: who took up what.",
)
def board(folder: Path, as_json: bool, drawn: Path | None) -> None:
    """The best of each peer, for each kind of machine and budget; and how far findings carry from one to another."""
    import msgspec

    from autoresearch.report import swarm as pages
    from autoresearch.share.board import read_book
    from autoresearch.share.tables import tables

    _, book = _opened(folder)
    swarm = read_book(book)
    found = tables(swarm, book.digest())
    if drawn:
        _draw(swarm, found, drawn)
        return
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    console = make_console()
    for shown in pages.boards(found):
        console.print(shown)


def _draw(swarm: "Swarm", found: "Tables", path: Path) -> None:
    from autoresearch.report import adoption
    from autoresearch.share.tables import findings, taken

    shown = adoption.drawing(found, taken(swarm), findings(swarm))
    write_file(path, adoption.svg(shown))
    click.echo(f"{path}: {len(shown.steps)} adoptions among {len(found.peers)} peers")


@swarm.command("findings")
@folder_option
@json_option
@click.option("--of", "tier", default="", help="Only from this kind of machine.")
def findings(folder: Path, as_json: bool, tier: str) -> None:
    """What was found, by whom, and whether it held where others measured it."""
    import msgspec

    from autoresearch.report import swarm as pages
    from autoresearch.share.board import read_book
    from autoresearch.share.tables import findings as listed

    _, book = _opened(folder)
    found = [one for one in listed(read_book(book)) if tier in ("", one.tier)]
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    make_console().print(pages.findings(found))


@swarm.command("verify")
@folder_option
@json_option
@click.argument("shown", required=False, type=click.Path(path_type=Path, dir_okay=False))
def verify(folder: Path, as_json: bool, shown: Path | None) -> None:
    """
    Recompute every number from the receipts alone; with a file that `swarm board --json` printed, hold that against them.
    Exit code 1 where anything differs.
    """
    import msgspec

    from autoresearch.share import node, settings
    from autoresearch.share import verify as verifying

    home = _home(folder)
    _settings(home)
    found, wrong = verifying.differences(settings.folder(home) / node.BOOK, shown)
    if as_json:
        print_json({"differences": wrong, "tables": msgspec.to_builtins(found)})
    else:
        for line in wrong:
            click.echo(line)
        receipts = sum(peer.receipts for peer in found.peers)
        click.echo(
            f"{len(wrong)} differences in {receipts} receipts of {len(found.peers)} peers, {found.runs} runs"
            if wrong
            else f"all is as it says: {receipts} receipts of {len(found.peers)} peers, {found.runs} runs"
        )
    if wrong:
        raise SystemExit(1)


@swarm.command("send")
@folder_option
@click.argument("to")
@click.argument("text")
def send(folder: Path, to: str, text: str) -> None:
    """
    Write a letter that only one peer can read; TO is its name with the beginning of its key, as `swarm status` shows them. It goes
    out with the session that runs now, or with the next.
    """
    from autoresearch.share import identity, mail, settings
    from autoresearch.share.board import named, read_book

    _, book = _opened(folder)
    me = identity.own(settings.folder(_home(folder)))
    members = read_book(book).members
    peer = mail.find(members, to, me.peer)
    id = mail.send(book, me, peer, text)
    click.echo(f"Letter {id[:12]} to {named(members, peer.peer)} is written; it goes out while a session runs.")


@swarm.command("read")
@folder_option
@json_option
@click.option("--ack", is_flag=True, help="And do not show them again; their senders learn that they were read.")
def read(folder: Path, as_json: bool, ack: bool) -> None:
    """Letters to you that were not acknowledged. They came with the last session, or come with the one that runs."""
    import msgspec

    from autoresearch.report.text import clean
    from autoresearch.share import identity, mail, settings
    from autoresearch.share.board import named, read_book

    _, book = _opened(folder)
    me = identity.own(settings.folder(_home(folder)))
    found, members = mail.post(book, me), read_book(book).members
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        for letter in found.letters:
            quoted = "\n".join(f"  > {line}" for line in clean(letter.text).split("\n"))
            click.echo(f"{letter.id[:12]} from {named(members, letter.sender)}:\n{quoted}\n")
        rest = [f"{found.more} more wait"] if found.more else []
        rest += [f"{found.closed} cannot be opened"] if found.closed else []
        click.echo("; ".join([f"{len(found.letters)} letters", *rest]) + ".")
    for letter in found.letters if ack else ():
        mail.acknowledge(book, me, letter.id)


@swarm.command("leave")
@folder_option
@click.option(
    "--forget", is_flag=True, help="Remove your key and all receipts here too; who joins again is somebody new."
)
def leave(folder: Path, forget: bool) -> None:
    """Share nothing more. What others have stays theirs; your key and what is known stay here."""
    from autoresearch.share import settings

    home = _home(folder)
    _settings(home)
    (settings.folder(home) / settings.FILE).unlink()
    if forget:
        shutil.rmtree(settings.folder(home))
    click.echo("Left. What you told others stays with them; receipts cannot be taken back.")


def _take_part(folder: Path, invitation: "Invitation", name: str | None, yes: bool, **ways: Any) -> "Settings":
    """Show what would leave, ask, and write down how this study takes part."""
    from autoresearch.share import identity, settings

    _say_what_leaves(folder)
    if not yes:
        click.confirm("Take part?", abort=True)
    home = _home(folder)
    me = identity.own(settings.folder(home)).peer
    chosen = settings.Settings(name or settings.pet_name(me), invitation.swarm, invitation.ticket(me), **ways)
    settings.save(home, chosen)
    return chosen


def _home(folder: Path) -> Path:
    from autoresearch.session import make_home
    from autoresearch.study import load

    load(folder)
    return make_home(folder)


def _settings(home: Path) -> "Settings":
    from autoresearch.share import settings

    chosen = settings.load(home)
    if chosen is None:
        raise AutoresearchError("this study takes part in no swarm; `autoresearch swarm init` or `join`")
    return chosen


def _refuse_second(home: Path) -> None:
    from autoresearch.share import settings

    if settings.load(home) is not None:
        raise AutoresearchError("this study takes part in a swarm already; `autoresearch swarm leave` first")


def _opened(folder: Path) -> "tuple[Settings, Book]":
    from autoresearch.share import node, settings
    from autoresearch.share.book import Book

    home = _home(folder)
    chosen = _settings(home)
    return chosen, Book(settings.folder(home) / node.BOOK)


def _say_what_leaves(folder: Path) -> None:
    """Everything that others will be told, before anybody is told anything."""
    from autoresearch.study import load

    study = load(folder)
    click.echo("Others will be told, signed with a key that is made for this folder:")
    for line in (
        f"of each trial: the idea in one sentence, and its patch to {', '.join(study.asset)}",
        f"what its runs and those of its base came to ({study.metric.name}), their seeds, the verdict, what a run cost",
        "your name in the swarm, and the kind of your machine (its processor or card, and how many cores)",
        "a digest of what is measured and how, which shows nothing of it",
    ):
        click.echo(f"  - {line}")
    click.echo(
        "They will not be told: program.md, other files, paths, the names of this machine and of its users, times."
    )
    click.echo("What they are told cannot be taken back. An idea that quotes a secret tells it.")
    if study.execute.sandbox == "none":
        click.echo('execute.sandbox is "none": others\' findings are listed, and never run here.')
