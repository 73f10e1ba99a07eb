"""
Looking at a study that another process runs, or that nobody does. Nothing of it changes the study.

Knows the screen and the reader; takes no lock but for the moment that it takes to see whether somebody holds it.
"""

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from autoresearch import log
from autoresearch.follow import Follower
from autoresearch.session import journal
from autoresearch.study import Stop, load
from autoresearch.terminal import JsonLines, Screen

LOOK_S = 0.25
ROWS_OF_THE_SCREEN = 12  # what is left of the terminal shows the last trials


def watch(folder: Path, console: Console) -> bool:
    """
    Show the study until Ctrl-C; where the output is no terminal, until nobody runs it. False: nobody did.

    Raises:
        AutoresearchError: there is no study, or its log cannot be read.
    """
    budget = load(folder).budget
    follower = Follower(journal(folder))
    catch_up(follower)
    # Its trials and hours may have been set on the command line of the other process.
    with Screen(console, Stop(dollars=budget.dollars, tokens=budget.tokens)) as screen:
        screen.attach(follower.state, screen.height - ROWS_OF_THE_SCREEN if screen.live else 0)

        def look() -> None:
            for event in follower.events():
                screen.event(event, follower.state)
            for number, fraction, loss in follower.said():
                screen.progress(follower.state.runs[number], fraction, loss)

        return _follow(folder, look, screen.idle, forever=screen.live)


def watch_json(folder: Path, console: Console) -> bool:
    """Every event as a line of JSON, those before first, until nobody runs the study. False: nobody did."""
    load(folder)
    follower = Follower(journal(folder))
    lines = JsonLines(console)

    def look() -> None:
        for event in follower.events():
            lines.event(event, follower.state)

    return _follow(folder, look, lambda is_idle: None, forever=False)


def catch_up(follower: Follower) -> None:
    """Read all that was written before."""
    for _ in follower.events():
        pass


def _follow(folder: Path, look: Callable[[], None], idle: Callable[[bool], None], *, forever: bool) -> bool:
    ran = False
    while True:
        held = log.holder(journal(folder)) is not None
        ran = ran or held
        idle(not held)
        for _ in range(4):
            look()
            if not held and not forever:
                return ran
            time.sleep(LOOK_S)
