"""
What a live study's store says until a time, in the shapes that plans and decisions are made of.

One place for it, so that a plan, a decision and the map never differ in what they count.
"""

from msgspec import Struct

from autoresearch.live.records import Plan, Tally
from autoresearch.live.settings import Live
from autoresearch.live.store import Store
from autoresearch.live.tallying import Shown
from autoresearch.stats import delays, labels

LEAST_AUDITED = 20  # replies that a person read, before labels are corrected by them


class Known(Struct, frozen=True):
    """`seen`: the number of the last record; `rates`: tallies of each outcome that a guardrail bounds."""

    until: float
    seen: int
    tallies: tuple[Tally, ...]
    rates: dict[str, tuple[Tally, ...]]
    plans: tuple[Plan, ...]
    arrived: tuple[Shown, ...]
    labels: labels.Errors | None


def known(store: Store, live: Live, until: float, plan: Plan | None = None) -> Known:
    """At a time; or, with a `plan` of then, what was known when it was made. Audits have no time: they are those of now."""
    until, seen = (until, store.seen()) if plan is None else (plan.at, plan.seen)
    return Known(
        until,
        seen,
        tallied(store, live, until, seen),
        {guard.name: store.rates(guard.name, until, seen, live) for guard in live.bounds},
        tuple(one for one in store.plans() if plan is None or one.number <= plan.number),
        store.shown(until, seen),
        audited(store),
    )


def tallied(store: Store, live: Live, until: float, seen: int) -> tuple[Tally, ...]:
    came = delays.curve(store.delays(until, seen, live), live.window_s).share if live.attribution == "hazard" else None
    return store.tallies(until, seen, live, came=came)


def audited(store: Store) -> labels.Errors | None:
    """How the labels of replies err, as persons found who read some of them; None while they read few."""
    audits = store.audits()
    if len(audits) < LEAST_AUDITED:
        return None
    return labels.errors(labels.audited((one.said, one.truly) for one in audits))
