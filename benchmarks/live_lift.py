"""
How much of the lift that is there a rule captures, day by day, and whether the map's intervals hold it: ours and rules
from the field.

Five variables with 5, 4, 4, 3 and 3 levels (720 cells), a base rate of 2 %, a simulated audience. The attainable lift
is the best cell's rate less the defaults'; captured is the expected rate of what is shown on a day, less the defaults',
by that. All rules meet the same audience in the same daily batches.

    python -m benchmarks.live_lift --write          (rules from the field: pip install mabwiser gbstats)
"""

import argparse
import importlib.util
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoresearch.live import bandit, effects
from autoresearch.live.belief import Belief, believe
from autoresearch.live.comparing import comparisons, shown_better
from autoresearch.live.counts import THREADS, Counts, joined
from autoresearch.live.deciding import leader
from autoresearch.live.settings import Live
from autoresearch.live.unnamed import allowed_for
from autoresearch.live.variables import Variable, Variables, key
from benchmarks.live_audience import Audience, audience, shown
from benchmarks.tables import markdown, report

SIZES, BASE, SD, PAIR_SD = (5, 4, 4, 3, 3), 0.02, 0.15, 0.04
TRAFFIC = (300, 1000, 10_000)
DAYS = (30, 90, 180, 365)
ASKED = 20  # times a day that a rule from the field is asked for a cell; each answer is shown to as many visitors
LIVE = Live("click")
Numbers = NDArray[np.float64]


class Run(NamedTuple):
    """
    For each of `DAYS`: expected rate of what is shown; of ours, how many of the map's intervals hold the truth, and how
    many there are, and how many levels were kept by then.
    """

    rates: list[float]
    held: list[int]
    intervals: int = 0
    took: float = 0.0
    keeps: list[int] = []  # noqa: RUF012


def ours(crowd: Audience, visitors: int, seed: int, keeping: bool = True) -> Run:
    """
    The factorial bandit, with its holdout. The rate is that of everybody else. Once a week what is shown to be better
    is kept: it becomes the default, as it does when a person says yes.
    """
    levels = {name: set(variable.levels) for name, variable in crowd.variables.variables.items()}
    place = {cell: i for i, cell in enumerate(crowd.cells)}
    rng, variables = np.random.default_rng([seed, 1]), crowd.variables
    counts = Counts((), (), np.zeros((0, 0)), np.zeros((0, 0)))
    rates, held, intervals, took, kept = list[float](), list[int](), 0, 0.0, list[int]()
    moves = 0
    for day in range(max(DAYS) + 1):
        start = time.process_time()
        belief = believe(counts, variables, levels, LIVE)
        plan = bandit.planned(belief, LIVE, day, float(day), day, seed)
        took += time.process_time() - start
        if day in DAYS:
            rates.append(sum(share * crowd.rates[place[cell]] for cell, share in plan.shares[""].items()))
            found = list(covered(crowd, allowed_for(belief, counts)[0]))
            held.append(sum(found))
            kept.append(moves)
            intervals = len(found)
        if day < max(DAYS):
            counts = joined([counts, shown(crowd, day, visitors, plan.shares[""], LIVE.holdout, rng, plan.default)])
        if keeping and day % 7 == 6:
            for reading in better(counts, believe(counts, variables, levels, LIVE)):
                variables, moves = moved(variables, *reading), moves + 1
    return Run(rates, held, intervals, took / (max(DAYS) + 1), kept)


def better(counts: Counts, belief: Belief) -> list[tuple[str, str]]:
    """The level of each variable that is kept, as decide() says it."""
    found = shown_better(comparisons(counts, belief), LIVE.false_winner)
    names = sorted({one.variable for one in found})
    leaders = {name: leader(belief, [one.level for one in found if one.variable == name], name) for name in names}
    return [(name, level) for name, level in leaders.items() if level]


def moved(variables: Variables, name: str, level: str) -> Variables:
    own = variables.variables[name]
    return Variables({**variables.variables, name: Variable(default=level, levels=own.levels)}, variables.forbid)


def covered(crowd: Audience, belief: Belief) -> Iterator[bool]:
    """For each level but the defaults, whether the interval of its effect holds the true one."""
    base = crowd.rates[crowd.cells.index(key(belief.default))]
    for block in belief.blocks:
        for name in block.variables:
            for level in crowd.variables.variables[name].levels:
                if level != belief.default[name]:
                    _, low, high = effects.relative(belief, effects.contrast(belief, block, name, level, None), None)
                    odds = math.exp(crowd.effects[name, level] - crowd.effects[name, belief.default[name]])
                    true = odds / (1 - base + base * odds) - 1
                    yield low <= true <= high


def uniform(crowd: Audience, _visitors: int, _seed: int) -> Run:
    """All cells alike, for ever."""
    return Run([float(crowd.rates.mean())] * len(DAYS), [])


def picked(crowd: Audience, visitors: int, seed: int) -> Run:
    """All cells alike until that day, and then the one with the best rate."""
    rng = np.random.default_rng([seed, 2])
    shown_, won, rates = np.zeros(len(crowd.cells)), np.zeros(len(crowd.cells)), list[float]()
    for day in range(max(DAYS) + 1):
        if day in DAYS:
            rates.append(float(crowd.rates[np.argmax((won + 0.02) / (shown_ + 1))]))
        if day < max(DAYS):
            n = rng.multinomial(visitors, np.full(len(crowd.cells), 1 / len(crowd.cells)))
            won += rng.binomial(n, crowd.on(day, range(len(crowd.cells))))
            shown_ += n
    return Run(rates, [])


def mabwiser(policy: str, crowd: Audience, visitors: int, seed: int) -> Run:
    """A rule of mabwiser 2.7 over whole cells, as it comes."""
    from mabwiser.mab import MAB, LearningPolicy

    rule = LearningPolicy.ThompsonSampling() if policy == "thompson" else LearningPolicy.EpsilonGreedy(0.1)
    rng = np.random.default_rng([seed, 3])
    arms = MAB(list(range(len(crowd.cells))), rule, seed=seed)
    each, rates = visitors // ASKED, list[float]()
    asked = rng.integers(0, len(crowd.cells), ASKED)  # the first day
    for day in range(max(DAYS) + 1):
        if day:
            asked = np.array([arms.predict() for _ in range(ASKED)])
        if day in DAYS:
            rates.append(float(crowd.rates[asked].mean()))
        if day < max(DAYS):
            won = rng.binomial(each, crowd.on(day, asked.tolist()))
            decisions = np.repeat(asked, each)
            rewards = np.concatenate([np.arange(each) < k for k in won]).astype(int)
            arms.partial_fit(decisions, rewards)
    return Run(rates, [])


def growthbook(crowd: Audience, visitors: int, seed: int) -> Run:
    """
    What a careful team does: one variable at a time, its levels alike, looked at daily with GrowthBook's sequential
    test (gbstats 0.8, alpha 5 % over the levels), the best of those that win is shipped; after a fifth of the year
    without one the next variable's turn comes.
    """
    from gbstats.frequentist.tests import SequentialConfig, SequentialTwoSidedTTest
    from gbstats.models.statistics import ProportionStatistic

    rng = np.random.default_rng([seed, 4])
    place = {cell: i for i, cell in enumerate(crowd.cells)}
    now, rates, turn = dict(crowd.variables.default), list[float](), 0
    names = sorted(crowd.variables.variables)
    n = won = np.zeros(0)
    since = 0
    for day in range(max(DAYS) + 1):
        name = names[turn] if turn < len(names) else None
        levels = sorted(crowd.variables.variables[name].levels) if name else [now[names[0]]]
        varied = name or names[0]
        at = [place[key({**now, varied: level})] for level in levels]
        if len(n) != len(levels) or since == 0:
            n, won = np.zeros(len(levels)), np.zeros(len(levels))
        if day in DAYS:
            rates.append(float(crowd.rates[at].mean()))
        today = rng.multinomial(visitors, np.full(len(levels), 1 / len(levels)))
        if day < max(DAYS):
            won = won + rng.binomial(today, crowd.on(day, at))
            n, since = n + today, since + 1
        if name is None:
            continue
        base = levels.index(now[name])
        winners = []
        for i in range(len(levels)):
            if i == base or not won[i] or not won[base]:
                continue
            test = SequentialTwoSidedTTest(
                ProportionStatistic(sum=won[base], n=n[base]),
                ProportionStatistic(sum=won[i], n=n[i]),
                SequentialConfig(alpha=0.05 / (len(levels) - 1)),
            )
            if won[i] / n[i] > won[base] / n[base] and test.p_value < 0.05 / (len(levels) - 1):
                winners.append(i)
        if winners or since >= max(DAYS) // len(names):
            if winners:
                now[name] = levels[max(winners, key=lambda i: won[i] / n[i])]
            turn, since = turn + 1, 0
    return Run(rates, [])


RULES: dict[str, Callable[[Audience, int, int], Run]] = {
    "ours": ours,
    "uniform A/B over cells": uniform,
    "uniform A/B, then the best-looking cell": picked,
}
FIELD: dict[str, tuple[str, Callable[[Audience, int, int], Run]]] = {
    "epsilon-greedy 0.1 over cells (mabwiser)": ("mabwiser", partial(mabwiser, "greedy")),
    "Thompson over cells (mabwiser)": ("mabwiser", partial(mabwiser, "thompson")),
    "one variable at a time (GrowthBook's sequential test)": ("gbstats", growthbook),
}


def campaign(job: tuple[str, int, int, float]) -> tuple[Run, float, float]:
    name, visitors, number, pair_sd = job
    crowd = audience(SIZES, BASE, SD, pair_sd, max(DAYS) + 1, np.random.default_rng([number, 7]))
    rule = RULES.get(name) or FIELD[name][1]
    return rule(crowd, visitors, number), float(crowd.rates[crowd.default]), float(crowd.rates.max())


def line(name: str, visitors: int, found: list[tuple[Run, float, float]]) -> list[str]:
    attainable = sum(best - base for _, base, best in found)
    cells = []
    for k in range(len(DAYS)):
        captured = [run.rates[k] - base for run, base, _ in found]
        r = sum(captured) / attainable
        rest = [c - r * (best - base) for c, (_, base, best) in zip(captured, found, strict=True)]
        error = math.sqrt(sum(x * x for x in rest) / max(1, len(rest) - 1) * len(rest)) / attainable
        cells.append(f"{100 * r:.0f} +- {100 * error:.0f} %")
    held = (
        [sum(run.held[k] for run, _, _ in found) / sum(run.intervals for run, _, _ in found) for k in range(len(DAYS))]
        if found[0][0].held
        else []
    )
    return [f"{visitors:,}", name, *cells, ", ".join(f"{100 * share:.1f} %" for share in held) or "-"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--campaigns", type=int, default=30)
    parser.add_argument("--field", type=int, default=8, help="campaigns of mabwiser's rules, which take longer")
    parser.add_argument("--rule", action="append", default=None)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    names = [*RULES, *(name for name, (package, _) in FIELD.items() if importlib.util.find_spec(package))]
    names = [name for name in names if args.rule is None or name in args.rule]
    rows, pair_rows, took = [], [], []
    with ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn")) as pool:
        for visitors in TRAFFIC:
            for name in names:
                count = args.field if "mabwiser" in name else args.campaigns
                found = list(pool.map(campaign, [(name, visitors, number, 0.0) for number in range(count)]))
                rows.append(line(name, visitors, found))
                print(*rows[-1], flush=True)
                took += [run.took for run, _, _ in found if run.took]
        for visitors in TRAFFIC:
            found = list(pool.map(campaign, [("ours", visitors, number, PAIR_SD) for number in range(args.campaigns)]))
            pair_rows.append(line("ours", visitors, found))
    best = [best / base - 1 for _, base, best in found]
    header = ["visitors a day", "rule", *(f"day {day}" for day in DAYS), "coverage of the map, on these days"]
    text = f"""
{args.campaigns} simulated campaigns a line ({args.field} of mabwiser's) over a year, five variables with {", ".join(map(str, SIZES))} levels ({math.prod(SIZES)} cells);
the defaults have a rate of {BASE:.0%}, each level adds N(0, {SD}^2) to the log odds, weekends are worse and days differ. The best cell is
on average {np.mean(best):.0%} above the defaults; which default stands first is chance. Captured: the expected rate of what is shown on that day less the defaults',
by the best cell's less the defaults', summed over campaigns, +- one standard error. Ours shows the defaults to a holdout of {LIVE.holdout:.0%} besides, which
is not in its figure (with it, take a tenth off); nor has any other rule one. All are given outcomes once a day. Coverage: how many of the map's 95 % intervals hold the true
effect of their level, of {sum(SIZES) - len(SIZES)} in each campaign; they allow for pairs that nobody named (stats/misfit.py).

{markdown(header, rows)}
Where every pair of levels of two variables also does something of its own, N(0, {PAIR_SD}^2) in log odds, which the model has no term for:

{markdown(header, pair_rows)}
A plan takes ours {1000 * float(np.mean(took)):.0f} ms of processor time on average, over a year's counts by day and cell.
"""
    report("live_lift", "Lift captured against time", text, args.write)


if __name__ == "__main__":
    os.environ.setdefault(THREADS, "1")  # for the processes that are begun, which load numpy anew
    main()
