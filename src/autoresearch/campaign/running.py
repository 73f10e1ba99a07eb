"""
One process at a live study: the campaign, and the server beside it where one is wanted.

The parts are a session's, as every study has them; what is done with them is in turns.py.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from autoresearch import session
from autoresearch.campaign import house, tools
from autoresearch.campaign.turns import Campaign, machine
from autoresearch.events import SessionEnded
from autoresearch.live.settings import Live
from autoresearch.loop import heed
from autoresearch.state import State
from autoresearch.study import load
from autoresearch.tell.listening import told
from autoresearch.workspace import Workspace

if TYPE_CHECKING:
    from autoresearch.live.desk import Desk
    from autoresearch.live.door import Settings
    from autoresearch.live.serve import Serving
    from autoresearch.live.store import Store

LOOK_S = 1.0  # between two turns


def run(
    folder: Path,
    goal: session.Goal,
    listener: session.Listener,
    door: "Settings | None" = None,
    opened: "Callable[[Serving], None]" = lambda serving: None,
    clock: Callable[[], float] = time.time,
) -> State:
    """
    Work on a live study until it is stopped, or its budget is spent. With a `door` visitors are served; `opened` is told where.

    Raises:
        AutoresearchError: something is missing or wrong; the message says what to do.
    """
    study = load(folder)
    assert study.live is not None
    with (
        told(folder.resolve(), study.tell, study.budget, goal.hours or study.budget.hours, listener) as listener,
        session.opened(folder, goal, listener) as lab,
        session.stoppable(lab),
        contextlib.ExitStack() as stack,
    ):
        home = lab.workspace.home
        store = house.store_of(study.name, study.live, home)
        stack.callback(store.close)
        session.begin(lab, machine(study.live))
        campaign = Campaign(lab, home, store, clock)
        campaign.turn()
        if door is not None:
            from autoresearch.live.serve import serving

            served = house.store_of(study.name, study.live, home)
            stack.callback(served.close)
            opened(stack.enter_context(serving(desk_of(lab.workspace, study.live, served, clock), door)))
        else:
            page = " No page is served: `autoresearch live serve` does both." if study.live.channel == "page" else ""
            listener.say(
                f"Deciding who sees what, every {study.live.every_minutes:g} minutes. Ctrl-C ends it; nothing is lost.{page}"
            )
        away = False
        while lab.log.stopping is None:
            heed(lab)
            away = _turn(campaign, away)
            hours = lab.around.left(lab.log.state).hours
            if hours is not None and hours <= 0:
                lab.log.stop("the time is over")
            with lab.log.lock:
                if lab.log.stopping is None:
                    lab.log.lock.wait(LOOK_S)
        why = lab.log.stopping
        lab.log.append(SessionEnded(why=why))
        listener.say(f"Ended: {why}.")
        return lab.log.state


def _turn(campaign: Campaign, away: bool) -> bool:
    """
    Everything that is due now; whether the store is away, and was before. Visitors see the last plan while it is, and what was not done
    is due again.
    """
    from sqlalchemy.exc import InterfaceError, OperationalError

    lab = campaign.lab
    try:
        campaign.turn()
    except (InterfaceError, OperationalError) as error:
        if lab.log.stopping:  # nobody comes after us who would write down what is shown now
            raise
        if not away:
            said = str(error.orig).strip().partition("\n")[0][:200]
            lab.tell(f"the store cannot be used just now, and is asked again every second: {said}")
        return True
    if away:
        lab.tell("the store answers again")
    return False


def desk_of(workspace: Workspace, live: Live, store: "Store", clock: Callable[[], float] = time.time) -> "Desk":
    """What a server works at."""
    from autoresearch.live.desk import Desk

    salt = house.salt(workspace.home, store)
    return Desk(workspace.study.name, live, salt, store, house.shown(workspace, live), tools.called(live, salt), clock)
