"""
Where a live study stands, read from its log and its store; how it is told is in report/live.py.

The store is asked for sums that it keeps, so this costs little beside the map; but for all that it has, which is counted anew. Where it
cannot be asked, there are no figures.
"""

import contextlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

from autoresearch.campaign import levels
from autoresearch.errors import AutoresearchError, MissingExtra
from autoresearch.live.settings import Live
from autoresearch.report.live import Figures, Kept, Standing
from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.workspace import HOME

if TYPE_CHECKING:
    from autoresearch.live.store import Store


def standing(folder: Path, study: Study, state: State, whole: bool = False) -> Standing:
    """Of the live study in this folder, as it is now; `whole`: with all that its store has."""
    live = study.need_live()
    figures, kept, why = _asked(study.name, live, folder / HOME, whole)
    return Standing(
        live.outcome,
        live.window_hours,
        live.attribution == "hazard",
        len(levels.shown(state)),
        len(levels.waiting(state)),
        figures,
        why,
        live.begins,
        kept,
    )


def _asked(name: str, live: Live, home: Path, whole: bool) -> tuple[Figures | None, Kept | None, str]:
    """What the store says, and what it has; or why it says nothing."""
    try:
        from sqlalchemy.exc import DBAPIError

        from autoresearch.campaign import atlas, house
        from autoresearch.campaign.known import people
    except ImportError:
        return None, None, str(MissingExtra("sqlalchemy", "live", "a study of real traffic"))
    except MissingExtra as error:
        return None, None, str(error)
    if live.store is None and not (house.folder(home) / house.STORE).exists():
        return None, None, f"nothing was recorded yet (`{live.begins}` begins it)"
    try:
        with contextlib.closing(house.store_of(name, live, home)) as store:
            plan = store.plan()
            found = people(store, live, atlas.latest(store, None), store.seen())
            return Figures(*found, plan.number if plan else None), _kept(store) if whole else None, ""
    except AutoresearchError as error:
        return None, None, str(error)
    except DBAPIError as error:
        return None, None, f"the store does not answer ({str(error.orig).strip().partition(chr(10))[0][:200]})"


def _kept(store: "Store") -> Kept:
    found = store.summary()
    ignored: dict[str, dict[str, int]] = {}
    for (source, kind), n in store.ignored().items():
        ignored.setdefault(source, {})[kind] = n
    return Kept(
        found.exposures,
        found.outcomes,
        found.orphans,
        math.fsum(store.costs(math.inf).values()),
        found.suppressed,
        ignored,
    )
