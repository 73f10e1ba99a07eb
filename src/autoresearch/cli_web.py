"""The commands `web`, `pause`, `resume` and `stop`. As in cli.py, what takes time to import is imported inside."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click

from autoresearch.errors import AutoresearchError
from autoresearch.options import folder_option

PORT = 8484

web_option = click.option("--web", "page", is_flag=True, help="Serve the live page meanwhile, as `autoresearch web`.")


@click.command()
@click.argument("path", metavar="[DIR]", default=".", type=click.Path(path_type=Path, file_okay=False))
@folder_option
@click.option("--port", type=click.IntRange(0, 65535), help=f"Default: {PORT}, or the next that is free; 0 takes any.")
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    help="A further name under which a tunnel or proxy of yours reaches it (repeatable).",
)
def web(path: Path, folder: Path, port: int | None, hosts: tuple[str, ...]) -> None:
    """
    Serve the live page of this study on loopback, until Ctrl-C; for a folder of several studies, a list that leads to
    the page of each. Needs the extra `web`.
    """
    from autoresearch.web import serve

    with serve.serving(folder / path, PORT if port is None else port, hosts, search=port is None) as page:
        click.echo(page.told)
        page.wait()


@contextlib.contextmanager
def beside(folder: Path, wanted: bool, err: bool) -> Iterator[None]:
    """The live page for as long as a study runs, where it is wanted; its address goes to the terminal alone."""
    if not wanted:
        yield
        return
    from autoresearch.web import serve

    with serve.serving(folder, PORT, search=True) as page:
        click.echo(page.told, err=err)
        yield


@click.command()
@folder_option
def pause(folder: Path) -> None:
    """Start no new trial until `resume`; running ones are finished. Holds when the program is ended, too."""
    from autoresearch.inbox import Inbox
    from autoresearch.log import holder
    from autoresearch.session import journal, make_home
    from autoresearch.study import load

    load(folder)
    Inbox(make_home(folder)).pause()
    now = "running trials are finished" if holder(journal(folder)) else "it does not run now"
    click.echo(f"Paused: no new trial is started ({now}). Go on with: autoresearch resume")


@click.command()
@folder_option
def resume(folder: Path) -> None:
    """Take a `pause` back."""
    from autoresearch.inbox import Inbox
    from autoresearch.log import holder
    from autoresearch.session import journal, make_home
    from autoresearch.study import load

    load(folder)
    inbox = Inbox(make_home(folder))
    if not inbox.paused:
        raise AutoresearchError("the study is not paused")
    inbox.resume()
    click.echo("Resumed." if holder(journal(folder)) else "Resumed. It does not run now: autoresearch run")


@click.command()
@folder_option
def stop(folder: Path) -> None:
    """End the session that runs now, as one Ctrl-C in its terminal: running trials are finished."""
    from autoresearch.inbox import Inbox
    from autoresearch.log import holder
    from autoresearch.session import journal
    from autoresearch.study import load
    from autoresearch.workspace import HOME

    load(folder)
    pid = holder(journal(folder))
    if pid is None:
        raise AutoresearchError("the study does not run, so there is nothing to stop")
    Inbox(folder / HOME).ask_to_stop()
    click.echo(f"Process {pid} stops when the running trials are done. At once: kill -TERM {pid} (nothing is lost)")
