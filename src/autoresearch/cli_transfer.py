"""The command `transfer`. As in cli.py, what takes time to import is imported inside."""

from pathlib import Path
from typing import Any

import click

from autoresearch.errors import AutoresearchError
from autoresearch.options import folder_option, json_option, make_console, print_json


@click.command()
@folder_option
@click.option("--ladder", multiple=True, help="Constants and their values, rung by rung: DEPTH=4,6,8 (repeatable).")
@click.option("--budgets", help="Measure each rung with each of these budgets, in the unit of measure.budget.")
@click.option("--runs", type=click.IntRange(3), default=5, show_default=True, help="Fresh seeds for each side.")
@click.option(
    "--each",
    type=click.Choice(["alone", "without", "none"]),
    default="alone",
    show_default=True,
    help="Each kept change: alone on the start, the best without it, or not at all.",
)
@click.option("--target", type=float, help="A value: with how much budget is it reached?")
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), help="Seconds a run may take (default: the study's)."
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Write the picture to this file.")
@json_option
def transfer(
    folder: Path,
    ladder: tuple[str, ...],
    budgets: str | None,
    runs: int,
    each: Any,
    target: float | None,
    timeout: float | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Do the gains hold on larger settings? Measure start, best and each kept change on a ladder of them."""
    import msgspec

    from autoresearch import transfer as transferring
    from autoresearch.report import transfer as pages
    from autoresearch.study import load
    from autoresearch.terminal import JsonLines, Screen
    from autoresearch.transfer import ladder as rungs

    study = load(folder)
    plan = transferring.Plan(rungs.read(ladder, budgets), runs, each, target, timeout)
    if plot and not plot.parent.is_dir():
        raise AutoresearchError(f"{plot}: no such folder; name a file in a folder that exists")
    console = make_console()
    if as_json:
        found = transferring.transfer(folder, plan, JsonLines(make_console(stderr=True)))
    else:
        with Screen(console) as screen:
            found = transferring.transfer(folder, plan, screen)
    if plot:
        from autoresearch.report import transfer_plot

        try:
            transfer_plot.draw(found, study.metric, plot)
        except (OSError, ValueError) as error:
            raise AutoresearchError(
                f"{plot}: the picture could not be written ({error}); --plot ladder.png works"
            ) from None
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        console.print()
        console.print(pages.page(found, study.metric), soft_wrap=True)
