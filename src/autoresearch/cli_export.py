"""The command `export`. As in cli.py, what takes time to import is imported inside."""

from pathlib import Path

import click

from autoresearch.errors import AutoresearchError
from autoresearch.options import folder_option, write_file

TEXTS = ("tsv", "jsonl")
FORMS = (
    "csv",
    "sqlite",
    "parquet",
    "tensorboard",
    "mlflow",
    "wandb",
    "optuna",
)  # as in export; a test holds them equal


@click.command()
@folder_option
@click.option("--to", "form", type=click.Choice([*TEXTS, *FORMS]), required=True, help="The format, or the program.")
@click.option(
    "-o",
    "--output",
    "--out",
    type=click.Path(),
    help="A file or folder (default: standard output for tsv and jsonl, else a place named after the study, here).",
)
def export(folder: Path, form: str, output: str | None) -> None:
    """Write the trials in another program's format."""
    from autoresearch import log
    from autoresearch.session import journal
    from autoresearch.study import load

    load(folder)
    state = log.read(journal(folder))
    if state.opened is None or state.best is None:
        raise AutoresearchError("this study has not been run yet: `autoresearch run`")
    if form not in TEXTS:
        from autoresearch.export import export as write

        click.echo(f"Written: {write(form, state, output)}", err=True)
        return
    from autoresearch import interchange

    content = interchange.to_tsv(state) if form == "tsv" else interchange.to_jsonl(state)
    if not output:
        click.echo(content, nl=False)
        return
    write_file(Path(output), content)
