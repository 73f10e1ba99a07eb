"""
A live study on a simulated audience, over real HTTP through the real server and store; days go by in seconds.

What it shows is what a person would see of a real one, and, since the audience is simulated, what it truly liked.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from autoresearch import starter
from autoresearch.campaign import house, levels
from autoresearch.campaign.running import run
from autoresearch.git import git
from autoresearch.listener import Listener
from autoresearch.live.audience import Taste, Visitors, taste
from autoresearch.live.door import Settings
from autoresearch.live.serve import Serving
from autoresearch.live.variables import FILE, cell_of, parse
from autoresearch.session import Goal
from autoresearch.state import State
from autoresearch.study import FILE as STUDY
from autoresearch.study import load
from autoresearch.workspace import HOME

SPEED = 6 * 3600.0  # simulated seconds in a second
CHANGES = {  # of the template's study, so that a fortnight of it goes by in a minute
    "every_minutes = 60 ": "every_minutes = 720 ",
    'approve = "human" ': 'simulated = true\napprove = "rules" ',
}
BOTHERED = 0.002


class Shown(Struct, frozen=True):
    """
    True rates, which the study could not see: of the defaults at the start and of those now, of what its latest plan shows on average, and of
    the best there is.
    """

    visitors: int
    days: float
    start: float
    kept: float
    plan: float
    best: float


def simulated(folder: Path, template: str, changes: Mapping[str, str]) -> None:
    """The template's study with another text here and there in its study.toml."""
    starter.make(folder, template, own=True)
    path = folder / STUDY
    text = path.read_text()
    for was, now in changes.items():
        assert was in text, was
        text = text.replace(was, now)
    path.write_text(text)
    git(folder, "commit", "--quiet", "--no-verify", "--all", "-m", "A simulated audience")


def make(folder: Path, template: str, listener: Listener) -> None:
    """The template's study, with a simulated audience's settings, unless an earlier demonstration made it."""
    if (folder / STUDY).exists():
        listener.say(f"going on with the study in {folder}")
        return
    simulated(folder, template, CHANGES)
    listener.say(
        f"made a study in {folder}; its audience is SIMULATED: nobody real is asked, and nothing here says what real people like"
    )


def play(
    folder: Path, minutes: float, listener: Listener, seed: int = 1, clock: Callable[[], float] = time.monotonic
) -> tuple[State, Shown]:
    """The demonstration itself."""
    study = load(folder)
    assert study.live is not None
    variables = parse((folder / FILE).read_text())
    liking = taste(variables, seed)
    begun, there = clock(), time.time()

    def simulated() -> float:
        return there + (clock() - begun) * SPEED

    came: list[Visitors] = []

    def opened(serving: Serving) -> None:
        listener.say(f"serving on {serving.address}; open it in a browser, you count as one visitor more")
        bothers = {guard.name: BOTHERED for guard in study.live.bounds} if study.live else {}
        came.append(Visitors(serving.address, liking, study.live.outcome if study.live else "", seed, bothers=bothers))
        came[0].__enter__()

    door = Settings(port=0, each_second=1e6, burst=1_000_000)
    try:
        state = run(folder, Goal(hours=minutes / 60), listener, door, opened, simulated)
    finally:
        for visitors in came:
            visitors.__exit__()
    days = (simulated() - there) / 86400
    return state, seen(folder, state, liking, came[0].came if came else 0, days)


def seen(folder: Path, state: State, liking: Taste, visitors: int, days: float) -> Shown:
    """What the audience truly liked, held against what the study came to show."""
    assert state.best is not None
    assert state.opened is not None
    start = parse(git(folder, "show", f"{state.opened.start}:{FILE}").decode())
    now = parse(git(folder, "show", f"{state.best.commit}:{FILE}").decode())
    everything = levels.joined(now, levels.shown(state).values())
    _, best = liking.best(everything)
    study = load(folder)
    assert study.live is not None
    store = house.store_of(study.name, study.live, folder / HOME)
    plan = store.plan()
    store.close()
    shares = plan.shares[""] if plan else {}
    mean = sum(share * liking.mean(cell_of(cell)) for cell, share in shares.items()) / (sum(shares.values()) or 1.0)
    return Shown(visitors, days, liking.mean(start.default), liking.mean(now.default), mean, best)
