"""
The commands `live ...`: serve a page, approve what is shown, and see what was learnt. As in cli.py, what takes time to import is
imported inside.
"""

import gc
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoresearch.errors import AutoresearchError, Busy
from autoresearch.options import folder_option, json_option, make_console, print_json, write_file

if TYPE_CHECKING:
    from rich.console import Group

    from autoresearch.live.serve import Serving
    from autoresearch.study import Study

TURN_S = 0.0005  # for which one of Python's threads goes on while another waits


@click.group()
def live() -> None:
    """Pages, mails and advertisements, measured on real people; docs/live.md."""


def _study(folder: Path) -> "Study":
    from autoresearch.study import load

    study = load(folder)
    study.need_live()
    return study


@live.command("serve")
@folder_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; 0.0.0.0: everywhere.")
@click.option("--port", type=click.IntRange(0, 65535), default=8486, show_default=True, help="0: any free one.")
@click.option("--allow-host", "names", multiple=True, help="A host name that visitors ask for, like www.example.com.")
@click.option("--proxy", "proxies", multiple=True, help="A reverse proxy whose X-Forwarded-For counts.")
@click.option("--watcher", "watchers", multiple=True, help="An address beside this machine that may read /metrics.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="For so long (default: until Ctrl-C).")
def serve(
    folder: Path,
    host: str,
    port: int,
    names: tuple[str, ...],
    proxies: tuple[str, ...],
    watchers: tuple[str, ...],
    hours: float | None,
) -> None:
    """Show the page to visitors, record what they do, and decide who sees what."""
    from autoresearch.campaign import house, running
    from autoresearch.live.door import Settings
    from autoresearch.live.serve import serving
    from autoresearch.session import Goal
    from autoresearch.terminal import Screen
    from autoresearch.workspace import HOME, Workspace

    study = _study(folder)
    assert study.live is not None
    door = Settings(host=host, port=port, names=names, proxies=proxies, watchers=watchers)
    console = make_console()

    def opened(there: "Serving") -> None:
        # The thread that writes waits for its turn after every statement, behind one that is never idle under load.
        sys.setswitchinterval(TURN_S)
        gc.freeze()  # what is there by now stays: looked through in the midst of answers, it holds up all who wait
        console.print(f"Serving on {there.address}. Ctrl-C ends it; nothing is lost.")

    try:
        with Screen(console) as screen:
            running.run(folder, Goal(hours=hours), screen, door, opened)
    except Busy as busy:
        console.print(f"{busy}. That process decides who sees what; this one serves.", soft_wrap=True)
        store = house.store_of(study.name, study.live, folder / HOME)
        with serving(running.desk_of(Workspace(folder, study), study.live, store), door) as there:
            opened(there)
            there.wait()


@live.command("approve")
@folder_option
@click.argument("trials", nargs=-1, type=click.IntRange(0))
@click.option("--all", "everything", is_flag=True, help="All that wait.")
def approve(folder: Path, trials: tuple[int, ...], everything: bool) -> None:
    """Say that what trials would show may be shown; with no number, list those that wait for your word."""
    _say(folder, trials, everything, True, "")


@live.command("refuse")
@folder_option
@click.argument("trials", nargs=-1, type=click.IntRange(0), required=True)
@click.option("--why", default="", help="Told to whoever has the next idea.")
def refuse(folder: Path, trials: tuple[int, ...], why: str) -> None:
    """Say that what trials would show may not be shown."""
    _say(folder, trials, False, False, why)


def _say(folder: Path, trials: tuple[int, ...], everything: bool, yes: bool, why: str) -> None:
    from autoresearch import log
    from autoresearch.campaign import levels, queue
    from autoresearch.inbox import Inbox
    from autoresearch.options import read_state
    from autoresearch.session import journal
    from autoresearch.workspace import HOME

    study = _study(folder)
    state = read_state(folder)
    if state.opened is None:
        assert study.live is not None
        raise AutoresearchError(
            f"this study was not begun yet, so nothing waits for your word: `{study.live.begins}` begins it, and then its levels do"
        )
    said, nobody = dict(Inbox(folder / HOME).approvals()), log.holder(journal(folder)) is None
    waiting = {number: level for number, level in levels.waiting(state).items() if number not in said}
    if yes and not trials and not everything:
        for number, level in waiting.items():
            click.echo(f"{number}  {level.variable} = {level.name}: {level.text}")
        if not waiting:
            click.echo("Nothing waits for your word.")
        return
    if not trials and not waiting:
        click.echo("Nothing waits for your word.")
        return
    queue.say(folder / HOME, state, trials or waiting, yes, why)
    assert study.live is not None
    if not yes:
        click.echo("Refused; they are not shown.")
    elif nobody:
        click.echo(f"Approved. Nobody runs the study just now: they are shown once `{study.live.begins}` does.")
    else:
        click.echo("Approved. They are shown with the next plan, which is made within seconds.")


@live.command("map")
@folder_option
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for a spreadsheet.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Draw it into this file.")
@click.option(
    "--prior", type=click.Path(path_type=Path, dir_okay=False), help="Write what the next campaign may start from."
)
@click.option(
    "--at", "when", metavar="TIME", help="As it was then: a day of the study like 3, a date, a date and time."
)
@click.option("--over-time", is_flag=True, help="How it came to be known, day by day or week by week.")
def map_(
    folder: Path, as_json: bool, as_csv: bool, svg: Path | None, prior: Path | None, when: str | None, over_time: bool
) -> None:
    """What resonates, with whom, and how surely."""
    from autoresearch.campaign import atlas, drawing, history, timelines

    _study(folder)
    if prior is not None:
        from autoresearch.live.prior import written

        handed = history.for_the_next(folder)
        write_file(prior, written(handed))
        click.echo(
            f'{len(handed.effects)} effects are in {prior}. In the next campaign: `prior = "{prior.name}"` in [live] of study.toml, '
            f"and `git add {prior.name}`."
        )
        return
    if when and over_time:
        raise AutoresearchError("--at and --over-time exclude each other: one is a moment, the other all of them")
    if over_time:
        told = history.over_time(folder)
        _print_map(
            as_json,
            as_csv,
            svg,
            lambda: timelines.data(told),
            lambda: timelines.as_csv(told),
            lambda: timelines.svg(told),
            lambda: timelines.table(told),
        )
        return
    found = history.replayed(folder, when) if when else atlas.learnt(folder)
    if when:
        then = datetime.fromtimestamp(found.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        click.echo(f"As it was known when the latest plan until then was made, {then} UTC.", err=True)
    _print_map(
        as_json,
        as_csv,
        svg,
        lambda: drawing.as_data(found),
        lambda: drawing.as_csv(found),
        lambda: drawing.svg(found),
        lambda: drawing.table(found),
    )


def _print_map(
    as_json: bool,
    as_csv: bool,
    svg: Path | None,
    data: Callable[[], object],
    csv: Callable[[], str],
    drawn: Callable[[], str],
    table: Callable[[], "Group"],
) -> None:
    if svg is not None:
        write_file(svg, drawn())
        click.echo(f"Drawn: {svg}")
    elif as_json:
        print_json(data())
    elif as_csv:
        click.echo(csv(), nl=False)
    else:
        make_console().print(table())


def demonstrate(folder: Path, template: str, minutes: float) -> None:
    """`autoresearch demo --template landing-page`."""
    from autoresearch.campaign import drawing, showing
    from autoresearch.campaign.atlas import learnt
    from autoresearch.report import live as living
    from autoresearch.terminal import Screen

    console = make_console()
    if folder.name == "autoresearch-demo":
        folder = folder.with_name(f"autoresearch-demo-{template}")
    with Screen(console) as screen:
        showing.make(folder, template, screen)
        state, found = showing.play(folder, minutes, screen)
    console.print()
    console.print(living.table(state))
    console.print()
    seen = learnt(folder)
    console.print(drawing.table(seen))
    console.print()
    gains = (f"{rate:.2%} ({rate / found.start - 1:+.0%})" for rate in (found.kept, found.plan, found.best))
    console.print(
        f"{found.visitors:,} simulated visitors in {found.days:.0f} simulated days. What they truly like, which the study could not see: the "
        "defaults at the start {:.2%}, the defaults now {}, what is shown now on average {}, the best there is {}.".format(
            found.start, *gains
        ),
        soft_wrap=True,
        style="bold",
    )
    write_file(folder / "map.svg", drawing.svg(seen))
    console.print(
        f"Picture: {folder / 'map.svg'}. More: cd {folder} && autoresearch live map | web | log", soft_wrap=True
    )
