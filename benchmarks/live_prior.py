"""
What it is worth to begin a campaign from what an earlier one found, and what it costs where tastes have turned.

Simulated audiences; a first campaign, whose effects are handed on, and then a second one of the same length: from
nothing, from the first with the same tastes, and from the first with every effect turned round.

    python -m benchmarks.live_prior --write
"""

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np

from autoresearch.live import bandit
from autoresearch.live.belief import Known, Prior, believe, handed_on
from autoresearch.live.counts import THREADS, Counts, joined
from autoresearch.live.settings import Live
from autoresearch.live.unnamed import allowed_for
from benchmarks.live_audience import Audience, audience, shown
from benchmarks.live_lift import covered
from benchmarks.tables import markdown, report

SIZES, BASE, SD = (4, 3, 3), 0.05, 0.2
VISITORS, DAYS, LOOKS = 1000, 30, (7, 14, 30)
LIVE = Live("click")
NAMES = {"none": "nothing", "same": "the first, same tastes", "turned": "the first, opposite tastes"}


class Played(NamedTuple):
    """
    For each day: by how much the expected rate of what is shown is above the defaults', and whether the map's intervals
    hold the truth; and what is handed on in the end.
    """

    captured: list[float]
    held: list[list[bool]]
    prior: Prior


def play(crowd: Audience, days: int, visitors: int, seed: int, prior: Prior | None = None) -> Played:
    levels = {name: set(variable.levels) for name, variable in crowd.variables.variables.items()}
    place = {cell: i for i, cell in enumerate(crowd.cells)}
    rng, counts = np.random.default_rng([seed, 1]), Counts((), (), np.zeros((0, 0)), np.zeros((0, 0)))
    captured, held = list[float](), list[list[bool]]()
    for day in range(days + 1):
        belief = believe(counts, crowd.variables, levels, LIVE, prior)
        plan = bandit.planned(belief, LIVE, day, float(day), day, seed)
        rate = sum(share * crowd.rates[place[cell]] for cell, share in plan.shares[""].items())
        captured.append(float(rate - crowd.rates[crowd.default]))
        wide, _ = allowed_for(belief, counts)
        held.append(list(covered(crowd, wide)))
        if day < days:
            counts = joined([counts, shown(crowd, day, visitors, plan.shares[""], LIVE.holdout, rng, plan.default)])
    return Played(captured, held, handed_on(wide, crowd.variables))


def turned(prior: Prior) -> Prior:
    """The same of an audience with opposite tastes."""
    return Prior(tuple(Known(one.variable, one.text, -one.mean, one.sd, one.level) for one in prior.known))


def second(crowd: Audience, days: int, visitors: int, seed: int, first: Prior) -> dict[str, Played]:
    """The second campaign, by what it begins from."""
    begun = {"none": None, "same": first, "turned": turned(first)}
    return {name: play(crowd, days, visitors, seed, prior) for name, prior in begun.items()}


def both(number: int) -> tuple[dict[str, Played], float]:
    """Of one audience, and the lift that is there."""
    crowd = audience(SIZES, BASE, SD, 0.0, DAYS, np.random.default_rng(number))
    first = play(crowd, DAYS, VISITORS, number).prior
    found = second(crowd, DAYS, VISITORS, number + 100_000, first)
    return found, float(crowd.rates.max() - crowd.rates[crowd.default])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--campaigns", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    with ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(both, range(args.campaigns)))
    there = sum(lift for _, lift in found)
    rows = []
    for name, said in NAMES.items():
        played = [one[name] for one, _ in found]
        week = sum(sum(one.captured[:7]) / 7 for one in played) / there
        later = [sum(one.captured[day] for one in played) / there for day in LOOKS[1:]]
        held = [np.mean([hold for one in played for hold in one.held[day]]) for day in (0, *LOOKS)]
        rows.append([said, *(f"{share:.0%}" for share in (week, *later, *held))])
    header = ["the second begins from", "week 1", *(f"day {day}" for day in LOOKS[1:])]
    header += [f"intervals, day {day}" for day in (0, *LOOKS)]
    text = f"""
{args.campaigns} simulated audiences, three variables with {", ".join(map(str, SIZES))} levels, a base rate of {BASE:.0%}, levels that add
N(0, {SD}^2) to the log odds, {VISITORS:,} visitors a day; a first campaign of {DAYS} days, and a second one. Of the second: the share of the
attainable lift that is in what is shown, and how many of the map's 95 % intervals hold the truth.

{markdown(header, rows)}"""
    report("live_prior", "What an earlier campaign is worth", text, args.write)


if __name__ == "__main__":
    os.environ.setdefault(THREADS, "1")  # for the processes that are begun, which load numpy anew
    main()
