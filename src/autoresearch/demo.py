"""
The main job on an embedded default: a short night of research on a small language model.

Makes a study from the gpt template, sizes its budget to this machine, runs it, and shows what came of it.
"""

import importlib.util
from pathlib import Path

from autoresearch import check, session, starter
from autoresearch.errors import MissingExtra, StudyError
from autoresearch.git import git
from autoresearch.report import plot
from autoresearch.session import Goal, Listener
from autoresearch.state import State
from autoresearch.study import FILE, load

PICTURE = "progress.png"
RUNS_PER_NIGHT = 24  # that a worker should get done, so that a night holds more than a handful of ideas
SHORTEST_S = 6.0  # of a run: below, starting Python and scoring are most of it


def make(folder: Path, minutes: float, listener: Listener) -> None:
    """
    Make the study, unless an earlier demo made it, and fit a run's budget to this machine.

    Raises:
        MissingExtra: torch or matplotlib is not installed.
    """
    for package in ("torch", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "demo", "the demo")
    if (folder / FILE).exists():
        listener.say(f"going on with the study in {folder}")
        return
    starter.make(folder, "gpt", own=True, size="cpu")  # small enough for any machine, and needs no download
    listener.say(f"made a study in {folder}; measuring once how fast this machine is")
    found = check.check(folder, listener, most=1).measurements[0]
    want_s = max(SHORTEST_S, minutes * 60 / RUNS_PER_NIGHT)
    # Starting up and scoring cost the same whatever the budget; about a third at the template's own size.
    factor = max(0.2, min(20.0, want_s / (found.wall_s + found.score_s)))
    _set_budget(folder, factor)
    listener.say(
        f"one run of {load(folder).measure.budget} should take about {want_s:.0f} s here "
        f"({found.machine.tier}); the baseline came to {found.value:.4f} in {found.wall_s + found.score_s:.0f} s"
    )


def _set_budget(folder: Path, factor: float) -> None:
    study = load(folder)
    allowance = study.measure.allowance
    if allowance is None:
        raise StudyError(f"{FILE}: the gpt template has a budget")
    tokens = max(10_000, round(allowance.amount * factor, -4))
    path = folder / FILE
    path.write_text(path.read_text().replace(f'"{study.measure.budget}"', f'"{int(tokens):_} {allowance.unit}"'))
    git(folder, "commit", "--quiet", "--no-verify", "--all", "-m", "Fit the budget to this machine")


def run(folder: Path, minutes: float, workers: int | None, listener: Listener) -> State:
    """The night itself; writes the picture."""
    state = session.run(folder, Goal(hours=minutes / 60, workers=workers), listener)
    plot.progress(state, folder / PICTURE)
    return state
