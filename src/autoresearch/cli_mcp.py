"""The command `mcp`. As in cli.py, what takes time to import is imported inside."""

import sys
from pathlib import Path

import click

from autoresearch.errors import AutoresearchError, MissingExtra


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, resolve_path=True), default=".")
@click.option("--http", is_flag=True, help="HTTP on 127.0.0.1 with a token, instead of standard input and output.")
@click.option("--port", type=click.IntRange(0, 65535), help="With --http: the port (default: one that is free).")
@click.option("--register", is_flag=True, help="Print the lines that tell common clients of it, and end.")
def mcp(folder: Path, http: bool, port: int | None, register: bool) -> None:
    """Let an agent drive: the loop as MCP tools. The agent has the ideas and can never state a score."""
    from autoresearch.mcp import register as lines
    from autoresearch.mcp.desk import Desk

    if port is not None and not http:
        raise AutoresearchError("--port is for --http; standard input and output have none")
    if register:
        click.echo("\n".join(lines.lines(folder)))
        return

    def tell(address: str, token: str, new: bool) -> None:
        click.echo(f"autoresearch mcp: {address} (Ctrl-C ends it)")
        if new:
            click.echo(f"Its token, printed this once and kept in {folder}/.autoresearch/mcp-token: {token}")
            click.echo("\n".join(lines.http_lines(address, token)))

    with Desk(folder) as desk:  # which says so where there is no study
        try:
            from autoresearch.mcp import server, transports
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("autoresearch"):
                raise
            raise MissingExtra(error.name, "mcp", "`autoresearch mcp`") from None
        made = server.make(desk)
        if http:
            transports.over_http(made, folder, port or 0, tell)
        else:
            if sys.stdin.isatty():
                click.echo("An agent's program starts this and speaks first; `autoresearch mcp --register`", err=True)
            transports.over_pipes(made)
