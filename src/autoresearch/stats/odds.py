"""
Who is asked next, of several that have ideas: the one with the best odds of progress per unit of cost.

A trial of proposer i is kept with a chance p, and then gains something of mean size m; it costs c on average. What is
known of p and m is a Beta and a Gamma distribution; one draw from each gives p * m / c, and the proposer with the
largest is asked, so that each is asked as often as it is likely to be the best (Thompson, Biometrika 1933; with costs:
Xia et al., IJCAI 2015). Evidence fades with every trial, since whoever helped at first may have run dry (discounted
Thompson sampling: Raj and Kalyani, arXiv 1707.09727; the discount: Garivier and Moulines, ALT 2011). What is still
running counts as a miss until it is known, so that workers who ask at once spread out (the constant liar of Ginsbourger
et al. 2010). Nobody's share falls below a floor; on a plateau the floor is high.
"""

import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

FADE = 0.98  # of the weight of evidence is left after each trial: half after 34
# A draw takes evidence for so many times what it is: a study is short, and looking twice costs a trial each time.
SHARP = 3.0
PRIOR_HITS = PRIOR_MISSES = 1.0  # every chance of a keep is as likely as any other
PRIOR_GAINS = 4.0  # keeps of the size that is usual in this study
LARGEST = 5.0  # times the usual gain
PRIOR_COSTS = 1.0  # trials of the cost that is usual in this study
FLOOR = 20  # trials; each is asked once in so many at least
PLATEAU = 3.0  # so many times the usual number of trials from keep to keep, without one
USUAL_KEEPS = 0.1  # of trials, before the study shows it


class Outcome(NamedTuple):
    """
    What became of a trial: whether it was kept (None: that is left open, and another trial will show it), the size of
    its gain, and its cost, each in any unit that compares. A running one is not kept yet, and has no cost.
    """

    by: str
    kept: bool | None = False
    gain: float = 0.0
    cost: float | None = None


class Record(NamedTuple):
    """What one proposer did, old evidence faded."""

    hits: float
    misses: float
    gains: float  # sum over its hits
    costs: float  # sum over `paid` trials
    paid: float


def records(past: Sequence[Outcome], names: Iterable[str]) -> dict[str, Record]:
    """Of trials in their order, the newest last."""
    sums = {name: [0.0] * 5 for name in names}
    weight = 1.0
    for by, kept, gain, cost in reversed(past):
        if by in sums:
            row = sums[by]
            row[0] += weight * (kept is True)
            row[1] += weight * (kept is False)
            row[2] += weight * gain * (kept is True)
            row[3] += weight * (cost or 0.0)
            row[4] += weight * (cost is not None)
        weight *= FADE
    return {name: Record(*row) for name, row in sums.items()}


def draw(known: Mapping[str, Record], rng: random.Random) -> dict[str, float]:
    """Progress per unit of cost, for each proposer one draw of what it may be."""
    hits, costs = sum(r.hits for r in known.values()), sum(r.paid for r in known.values())
    usual_gain = sum(r.gains for r in known.values()) / hits if hits else 1.0
    usual_cost = sum(r.costs for r in known.values()) / costs if costs else 1.0
    drawn = {}
    for name, r in known.items():
        chance = rng.betavariate(PRIOR_HITS + SHARP * r.hits, PRIOR_MISSES + SHARP * r.misses)
        # Sizes are taken as exponential; their rate is Gamma.
        rate = rng.gammavariate(
            1 + PRIOR_GAINS + SHARP * r.hits, 1 / (PRIOR_GAINS * usual_gain + SHARP * r.gains or 1.0)
        )
        cost = (PRIOR_COSTS * usual_cost + r.costs) / (PRIOR_COSTS + r.paid)
        drawn[name] = chance / (rate * (cost or 1.0))
    return drawn


def on_plateau(past: Sequence[Outcome]) -> bool:
    """Whether there was no keep for so long that it would be odd if things were as they were (1 in 20)."""
    done = [bool(outcome.kept) for outcome in past if outcome.cost is not None]
    last = max((i for i, kept in enumerate(done) if kept), default=-1)
    keeps = sum(done)
    usual = (len(done) + 1 / USUAL_KEEPS) / (keeps + 1)
    return len(done) - 1 - last >= PLATEAU * usual


def overdue(past: Sequence[Outcome], names: Sequence[str]) -> str | None:
    """Who has to be asked now so that each gets its share; the one that waited longest."""
    floor = 2 * len(names) if on_plateau(past) else max(FLOOR, 2 * len(names))
    waited = {
        name: 1 + next((i for i, outcome in enumerate(reversed(past)) if outcome.by == name), len(past))
        for name in names
    }
    longest = max(names, key=lambda name: waited[name])
    return longest if waited[longest] >= floor else None


def choose(past: Sequence[Outcome], names: Sequence[str], rng: random.Random) -> str:
    """One of `names`, given all trials so far in their order, running ones included."""
    if late := overdue(past, names):
        return late
    drawn = draw(records(past, names), rng)
    return max(names, key=lambda name: drawn[name])


def shares(past: Sequence[Outcome], names: Sequence[str], rng: random.Random, draws: int = 1000) -> dict[str, float]:
    """How likely each is to be asked next."""
    known = records(past, names)
    counts = dict.fromkeys(names, 0)
    for _ in range(draws):
        drawn = draw(known, rng)
        counts[max(names, key=lambda name: drawn[name])] += 1
    return {name: count / draws for name, count in counts.items()}


def sizes(gains: Sequence[float]) -> list[float]:
    """Of gains: none is less than nothing, and none more than `LARGEST` times the usual one, which it would bury."""
    positive = [gain for gain in gains if gain > 0]
    most = LARGEST * statistics.median(positive) if positive else 0.0
    return [min(max(gain, 0.0), most) for gain in gains]
