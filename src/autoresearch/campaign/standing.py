"""
Where a live study stands, read from its log and its store; how it is told is in report/live.py.

The store is asked for sums that it keeps, so this costs little beside the map. Where it cannot be asked, there are no figures.
"""

import contextlib
from pathlib import Path

from autoresearch.campaign import levels
from autoresearch.errors import AutoresearchError, MissingExtra
from autoresearch.live.settings import Live
from autoresearch.report.live import Figures, Standing
from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.workspace import HOME


def standing(folder: Path, study: Study, state: State) -> Standing:
    """Of the live study in this folder, as it is now."""
    live = study.need_live()
    figures, why = _figures(study.name, live, folder / HOME)
    return Standing(
        live.outcome,
        live.window_hours,
        live.attribution == "hazard",
        len(levels.shown(state)),
        len(levels.waiting(state)),
        figures,
        why,
        begin(live),
    )


def begin(live: Live) -> str:
    """The command that begins a study of this channel: only a page needs a server."""
    return "autoresearch live serve" if live.channel == "page" else "autoresearch run"


def _figures(name: str, live: Live, home: Path) -> tuple[Figures | None, str]:
    """What the store says; or why it says nothing."""
    try:
        from sqlalchemy.exc import DBAPIError

        from autoresearch.campaign import atlas, house
        from autoresearch.campaign.known import people
    except ImportError:
        return None, str(MissingExtra("sqlalchemy", "live", "a study of real traffic"))
    except MissingExtra as error:
        return None, str(error)
    if live.store is None and not (house.folder(home) / house.STORE).exists():
        return None, f"nothing was recorded yet (`{begin(live)}` begins it)"
    try:
        with contextlib.closing(house.store_of(name, live, home)) as store:
            plan = store.plan()
            found = people(store, live, atlas.latest(store, None), store.seen())
            return Figures(*found, plan.number if plan else None), ""
    except AutoresearchError as error:
        return None, str(error)
    except DBAPIError as error:
        return None, f"the store does not answer ({str(error.orig).strip().partition(chr(10))[0][:200]})"
