"""The commands for the morning: `report`, `finalize`, `ls`. As in cli.py, what takes time to import is imported inside."""

from pathlib import Path

import click

from autoresearch.errors import AutoresearchError
from autoresearch.options import make_console, print_json

_folder = click.argument("folder", type=click.Path(path_type=Path, file_okay=False, resolve_path=True), default=".")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


@click.command()
@_folder
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="One file: .html, .md, .png, .svg or .pdf."
)
@click.option("--md", "as_text", is_flag=True, help="Print Markdown, as a pull request carries it.")
@click.option("--commit-message", is_flag=True, help="Print a commit message: the claim, and what was kept.")
@_json
def report(folder: Path, out: Path | None, as_text: bool, commit_message: bool, as_json: bool) -> None:
    """What came of it, to read in the morning: one HTML file that needs no network, Markdown, and the picture."""
    import msgspec

    from autoresearch import morning
    from autoresearch.report import markdown

    if (out is not None) + as_text + commit_message + as_json > 1:
        raise AutoresearchError("--out, --md, --commit-message and --json each say what to make; name one of them")
    if out is not None:
        morning.write_one(folder, out)
        click.echo(f"Written: {out}")
        return
    if not (as_text or commit_message or as_json):
        click.echo(f"Written: {morning.short(morning.write(folder), Path.cwd())}")
        return
    _, found = morning.gather(folder)
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        click.echo(markdown.message(found) if commit_message else markdown.body(found), nl=False)


@click.command()
@_folder
@click.option("--squash", is_flag=True, help="One branch with one commit, instead of one for each change.")
@click.option("--runs", type=click.IntRange(3), default=5, show_default=True, help="Fresh seeds for each side.")
@click.option("--measure/--no-measure", default=True, help="Measure each alone and all together (default), or not.")
@click.option("--replace", is_flag=True, help="Move branches of these names that are not as we left them.")
@_json
def finalize(folder: Path, squash: bool, runs: int, measure: bool, replace: bool, as_json: bool) -> None:
    """Hand on: a branch from your start for each kept change that carries its weight, measured alone and together."""
    import msgspec

    from autoresearch import finalize as finalizing
    from autoresearch.report import final as pages
    from autoresearch.terminal import JsonLines, Screen

    console = make_console()
    plan = finalizing.Plan(runs if measure else 0, squash, replace)
    if as_json:
        found, lines = finalizing.finalize(folder, plan, JsonLines(make_console(stderr=True)))
        print_json(msgspec.to_builtins(found) | {"commands": lines})
        return
    with Screen(console) as screen:
        found, lines = finalizing.finalize(folder, plan, screen)
    console.print()
    console.print(pages.page(found, lines), soft_wrap=True)


@click.command("ls")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, resolve_path=True), default=".")
@_json
def ls(folder: Path, as_json: bool) -> None:
    """The studies under a folder: best, claim and state of each."""
    import msgspec

    from autoresearch import studies
    from autoresearch.report import studies as pages

    found = studies.find(folder)
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        make_console().print(pages.page(found))
