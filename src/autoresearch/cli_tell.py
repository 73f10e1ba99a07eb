"""The command `tell`. As in cli.py, what takes time to import is imported inside."""

from pathlib import Path

import click

from autoresearch.errors import AutoresearchError
from autoresearch.options import folder_option


@click.command()
@folder_option
def tell(folder: Path) -> None:
    """Send a test message to the addresses of [tell], and say which of them took it."""
    from autoresearch.study import load
    from autoresearch.tell.listening import Sender
    from autoresearch.tell.words import Message

    study = load(folder)
    if not study.tell.to:
        raise AutoresearchError('study.toml: tell.to names nobody yet; write [tell] to = ["$PHONE"], for example')
    took = Sender(study.tell).send(
        Message("finished", f"{study.name}: a test", "Messages from autoresearch arrive here.")
    )
    for place, took_it in enumerate(took, start=1):
        click.echo(f"entry {place}: {'sent' if took_it else 'not taken'}")
    if not all(took):
        raise AutoresearchError("not every entry of tell.to took the message; see docs/notify.md")
