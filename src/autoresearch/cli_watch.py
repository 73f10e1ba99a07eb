"""The command `watch`. As in cli.py, what takes time to import is imported inside."""

from pathlib import Path

import click

from autoresearch.options import in_short, json_option, make_console


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, resolve_path=True), default=".")
@json_option
def watch(folder: Path, as_json: bool) -> None:
    """Look in on a study that another process runs; Ctrl-C leaves it alone."""
    from autoresearch import log
    from autoresearch import watch as watching
    from autoresearch.session import journal
    from autoresearch.study import load

    console = make_console()
    if as_json:
        watching.watch_json(folder, console)
        return
    try:
        watching.watch(folder, console)
    except KeyboardInterrupt:
        pass  # that is how one leaves
    state = log.read(journal(folder))
    if not log.holder(journal(folder)):
        console.print("Nobody is running this study: `autoresearch run` goes on with it.")
    if state.opened:
        console.print(in_short(folder, load(folder), state), soft_wrap=True)
