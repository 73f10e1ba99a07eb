"""The commands that say how much is real: `front`, `certify`, `audit`. What takes time to import is imported inside."""

from pathlib import Path

import click

from autoresearch.options import folder_option, json_option, make_console, print_json, read_state


@click.command()
@folder_option
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw all measured trials into a file.")
@json_option
def front(folder: Path, plot: Path | None, as_json: bool) -> None:
    """What a gain costs: the trials of which no other gives more value for less code and compute."""
    from autoresearch.report import front as report
    from autoresearch.report import plot as pictures

    state = read_state(folder)
    if plot:
        pictures.front(state, plot)
    if as_json:
        print_json(report.data(state))
    else:
        make_console().print(report.page(state))


@click.command()
@folder_option
@click.option("--runs", type=click.IntRange(3), default=5, show_default=True, help="Fresh seeds for each side.")
@click.option("--shares/--no-shares", default=True, help="Measure what each kept change carries (default), or not.")
@json_option
def certify(folder: Path, runs: int, shares: bool, as_json: bool) -> None:
    """Make the claim: the best against the start on fresh seeds, and what each kept change carries."""
    import msgspec

    from autoresearch import certify as certifying
    from autoresearch.report import claim as pages
    from autoresearch.terminal import JsonLines, Screen

    console = make_console()
    if as_json:
        found = certifying.certify(folder, runs, shares, JsonLines(make_console(stderr=True)))
        print_json(msgspec.to_builtins(found))
        return
    with Screen(console) as screen:
        found = certifying.certify(folder, runs, shares, screen)
    console.print()
    console.print(pages.page(found, read_state(folder).metric), soft_wrap=True)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--noise", type=click.FloatRange(0), help="Standard deviation of one run, where you know it.")
@json_option
def audit(file: Path, noise: float | None, as_json: bool) -> None:
    """Grade any log without running anything: ours, Karpathy's results.tsv, pi-autoresearch's JSONL."""
    from autoresearch.audit import audit, ledger
    from autoresearch.report import audit as report

    found = audit(ledger.load(file), noise)
    if as_json:
        print_json(report.data(found))
    else:
        make_console().print(report.page(found, file.name))
