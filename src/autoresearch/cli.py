"""
The commands. Each reads its words, calls one thing, and prints what came of it.

Whatever takes time to import is imported inside the command that needs it, so that --help stays instant.
"""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import autoresearch
from autoresearch.cli_claim import audit, certify, front
from autoresearch.cli_export import export
from autoresearch.cli_live import live
from autoresearch.cli_live_data import COMMANDS as LIVE_DATA
from autoresearch.cli_mcp import mcp
from autoresearch.cli_morning import finalize, ls, report
from autoresearch.cli_person import steer, try_
from autoresearch.cli_swarm import swarm
from autoresearch.cli_tell import tell
from autoresearch.cli_transfer import transfer
from autoresearch.cli_watch import watch
from autoresearch.cli_web import beside, pause, resume, stop, web, web_option
from autoresearch.errors import AutoresearchError
from autoresearch.options import folder_option, in_short, json_option, read_state
from autoresearch.options import make_console as _console
from autoresearch.options import print_json as _print_json

if TYPE_CHECKING:
    from autoresearch.state import State
    from autoresearch.trial import Trial

TEMPLATES = ("toy", "gpt", "landing-page", "cold-email", "ad", "blank")  # as in starter.py; a test holds them equal
SIZES = ("cpu", "mps", "cuda")


class Commands(click.Group):
    """Commands in the order in which a person meets them; errors of ours in plain words, exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AutoresearchError as error:
            click.echo(f"autoresearch: {error}", err=True)
            ctx.exit(2)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `autoresearch log | head` is fine
            ctx.exit(0)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(autoresearch.__version__, prog_name="autoresearch")
def main() -> None:
    """Propose a change, measure it, keep it or not, all night; and claim only what survives re-measurement."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, resolve_path=True), default=".")
@click.option("--template", type=click.Choice(TEMPLATES), default="toy", show_default=True)
@click.option("--size", type=click.Choice(SIZES), help="What it will run on. By default what this machine has.")
def init(folder: Path, template: str, size: str | None) -> None:
    """Write a study: a git repository of its own, or new files in an existing one."""
    from autoresearch import starter
    from autoresearch.mcp import register
    from autoresearch.study import load

    made = starter.make(folder, template, size=size)
    click.echo(f"{_short(folder)}: {', '.join(made.files)}")
    if template == "gpt":
        click.echo(f"Model, data and budget are for {made.size}; --size chooses another of {', '.join(SIZES)}.")
    of_people = load(folder).live
    if of_people is None:
        click.echo(register.hint(folder))
    go = "" if folder == Path.cwd() else f"cd {_short(folder)} && "
    if made.committed:
        click.echo(f"Committed. Next: {go}{of_people.begins if of_people else 'autoresearch run'}")
    else:
        click.echo(
            f"Nothing else was touched. A study starts from a commit: {go}git add {' '.join(made.files)} && git commit"
        )


@main.command()
@folder_option
@json_option
def check(folder: Path, as_json: bool) -> None:
    """Say what is frozen and what may change, run the baseline with a few seeds, and try the sandbox."""
    import msgspec

    from autoresearch import check as checking
    from autoresearch.study import load
    from autoresearch.terminal import JsonLines, Screen

    if load(folder).live is not None:
        from autoresearch.campaign import checking as living

        seen = living.check(folder)
        words = f"{living.page(seen)}\nReady: {seen.begins}"
        click.echo(msgspec.json.encode(seen).decode() if as_json else words)
        return
    console = _console(stderr=as_json)
    listener = JsonLines(console) if as_json else Screen(console)
    found = checking.check(folder, listener)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    click.echo(checking.page(found))
    ready = all(one.works for one in found.proposers)
    click.echo("Ready: autoresearch run" if ready else "Not ready: a proposer cannot work, as said above")


@main.command()
@folder_option
@click.option("--trials", type=click.IntRange(1), help="Stop after this many more trials.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="Stop after this many hours.")
@click.option("--workers", type=click.IntRange(1), help="Trials at once (default: one per slot of the machine).")
@web_option
@json_option
def run(folder: Path, trials: int | None, hours: float | None, workers: int | None, page: bool, as_json: bool) -> None:
    """Start the study, or go on where it stopped. Ctrl-C once: finish what runs; twice: stop now."""
    from autoresearch import session
    from autoresearch.report import text
    from autoresearch.study import load
    from autoresearch.terminal import JsonLines, Screen

    console, study = _console(), load(folder)
    goal = session.Goal(trials, hours, workers)
    if as_json:
        with beside(folder, page, err=True):
            session.run(folder, goal, JsonLines(console))
        return
    with beside(folder, page, err=False), Screen(console, study.budget, goal) as screen:
        state = session.run(folder, goal, screen)
    console.print()
    console.print(in_short(folder, study, state), soft_wrap=True)
    console.print(text.notes(state), soft_wrap=True, style="yellow", end="")
    console.print("autoresearch log | show TRIAL | diff", style="dim")


main.add_command(watch)
main.add_command(swarm)
main.add_command(live)
for command in LIVE_DATA:
    live.add_command(command)


@main.command()
@folder_option
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Where the study stands; works while it runs."""
    from autoresearch import log, person
    from autoresearch.inbox import Inbox
    from autoresearch.propose.portfolio import shares
    from autoresearch.purse import left_outside
    from autoresearch.report import text
    from autoresearch.session import journal
    from autoresearch.study import load

    state = person.foreseen(folder)
    pid, paused = log.holder(journal(folder)), Inbox(journal(folder).parent).paused
    study = load(folder)
    odds, left = shares(state, study.propose.with_), left_outside(study, state, pid is not None, time.time())
    told = text.status_data(state, pid, paused, odds, left)
    if study.live is None:
        shown = text.status(state, pid, paused, odds, left)
    else:
        from autoresearch.campaign.standing import standing
        from autoresearch.report import live as living

        now = standing(folder, study, state, whole=True)
        told |= {"summary": living.summary(now), "live": living.data(now)}
        shown = living.status(state, now, pid, paused, odds, left)
    if as_json:
        _print_json(told | {"lent": list(map(str, person.lent(folder)))})
    else:
        _console().print(shown, soft_wrap=True)
        for place in person.lent(folder):
            click.echo(f"lent      {place}  (`autoresearch try IDEA --from` it)")


@main.command("log")
@folder_option
@click.option("--last", type=click.IntRange(1), help="Only the last so many.")
@json_option
def log_(folder: Path, last: int | None, as_json: bool) -> None:
    """The table of trials."""
    from autoresearch.report import live as living
    from autoresearch.report import text
    from autoresearch.study import load

    state = read_state(folder)
    if as_json:
        trials = list(state.trials.values())
        for trial in trials[-last:] if last else trials:
            _print_json(text.row_data(trial), indent=None)
        return
    console, study = _console(), load(folder) if state.opened else None
    console.print((living if study and study.live else text).table(state, last))
    if study:
        console.print(in_short(folder, study, state), soft_wrap=True)
        console.print(text.notes(state), soft_wrap=True, style="yellow", end="")


@main.command()
@click.argument("trial", type=int)
@folder_option
@json_option
def show(trial: int, folder: Path, as_json: bool) -> None:
    """One trial: idea, diff, runs, verdict and why."""
    import msgspec

    from autoresearch.report import text

    state = read_state(folder)
    found = _trial(state, trial)
    changed = found.commit and not found.is_baseline
    patch = _workspace(folder).diff(found.base, found.commit).decode(errors="replace") if changed else ""
    if as_json:
        runs = [msgspec.to_builtins(state.runs[i]) for i in found.runs]
        _print_json(text.row_data(found) | {"runs": runs, "patch": patch})
    else:
        _console().print(text.show(state, found, patch))


@main.command()
@click.argument("trial", type=int, required=False)
@folder_option
def diff(trial: int | None, folder: Path) -> None:
    """The best against the start, or one trial against its base; pipe it to `git apply`."""
    from autoresearch.report import text

    state = read_state(folder)
    if trial is not None:
        found = _trial(state, trial)
        before, after = found.base, found.commit or found.base
    else:
        before, after = _bounds(state)
    patch = _workspace(folder).diff(before, after)
    console = _console()
    if console.is_terminal:
        console.print(text.diff(patch.decode(errors="replace")))
    else:
        click.echo(patch, nl=False)


for command in (front, certify, transfer, report, finalize, try_, steer, pause, resume, stop, web, mcp, tell, ls):
    main.add_command(command)


@main.command()
@click.argument("trial", type=int)
@folder_option
def accept(trial: int, folder: Path) -> None:
    """Take a suspect trial's gain as real: you have looked at it, and it becomes the best."""
    from autoresearch import session

    found = _trial(read_state(folder), trial)
    if found.word != "suspect":
        raise AutoresearchError(f"trial {trial} is {found.word}, not suspect; `autoresearch log` shows which are")
    if session.accept_trial(folder, trial, click.echo):
        now = _trial(read_state(folder), trial)
        again = "its patch is tried again on the new best at the next `autoresearch run`"
        click.echo(f"Trial {trial} is the best now." if now.word == "keep" else f"Best has moved since: {again}.")
    else:
        click.echo("The study is running; it takes this up before its next trial.")


main.add_command(export)


@main.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@folder_option
def import_(file: Path, folder: Path) -> None:
    """Read results.tsv or pi-autoresearch's JSONL as hints for proposers; its values are never compared with ours."""
    from autoresearch import interchange
    from autoresearch.events import TrialsImported
    from autoresearch.log import Log
    from autoresearch.session import journal, make_home
    from autoresearch.study import load

    load(folder)
    trials = interchange.read(file)
    make_home(folder)
    with Log(journal(folder)) as journal_:
        if file.name in journal_.state.sources:
            raise AutoresearchError(f"{file.name} was imported already; rename it if it is another one")
        journal_.append(TrialsImported(source=file.name, trials=tuple(trials)))
    kept = sum(trial.status == "keep" for trial in trials)
    click.echo(
        f"{len(trials)} trials read, {kept} of them kept there. They are hints here: nothing of them was measured."
    )


main.add_command(audit)


@main.command()
@click.argument(
    "folder", type=click.Path(path_type=Path, file_okay=False, resolve_path=True), default="autoresearch-demo"
)
@click.option("--minutes", type=click.FloatRange(0.1), default=5.0, show_default=True, help="Length of the night.")
@click.option("--workers", type=click.IntRange(1), help="Trials at once (default: one per core).")
@click.option(
    "--template",
    type=click.Choice(["gpt", "landing-page", "cold-email", "ad"]),
    default="gpt",
    show_default=True,
    help="A small language model, or words shown to a simulated audience.",
)
def demo(folder: Path, minutes: float, workers: int | None, template: str) -> None:
    """A short night on a small language model, or of a live study on a simulated audience: no key, no GPU, no network."""
    if template != "gpt":
        from autoresearch.cli_live import demonstrate

        demonstrate(folder, template, minutes)
        return
    from autoresearch import demo as night
    from autoresearch.report import text
    from autoresearch.terminal import Screen

    console = _console()
    with Screen(console) as screen:
        night.make(folder, minutes, screen)
        state = night.run(folder, minutes, workers, screen)
    console.print()
    console.print(text.table(state))
    console.print()
    console.print(text.summary(state), soft_wrap=True, style="bold")
    console.print(text.notes(state), soft_wrap=True, style="yellow", end="")
    console.print(
        f"Picture: {_short(folder) / night.PICTURE}. More: cd {_short(folder)} && autoresearch log | show TRIAL | diff | run",
        soft_wrap=True,
    )


def _short(folder: Path) -> Path:
    """A folder as one would type it from here."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _workspace(folder: Path) -> Any:
    from autoresearch.study import load
    from autoresearch.workspace import Workspace

    return Workspace(folder, load(folder))


def _trial(state: "State", number: int) -> "Trial":
    if number not in state.trials:
        known = f"there are 0 to {state.next_trial - 1}" if state.trials else "none was tried yet: `autoresearch run`"
        raise AutoresearchError(f"no trial {number}; {known}")
    return state.trials[number]


def _bounds(state: "State") -> tuple[str, str]:
    if state.opened is None or state.best is None:
        raise AutoresearchError("this study has not been run yet: `autoresearch run`")
    return state.opened.start, state.best.commit
