"""
How often a rule calls something better that is not, where nothing is: ours, looked at every day, and rules that people
use.

Simulated campaigns under no effect: every cell has the same rate, which differs by day and is lower on weekends. A
campaign has a false winner if a rule names one at any of its daily looks.

    python -m benchmarks.live_false --write          (GrowthBook's rules: pip install gbstats)
"""

import argparse
import importlib.util
import math
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from autoresearch.live import bandit
from autoresearch.live.belief import believe
from autoresearch.live.comparing import comparisons, shown_better
from autoresearch.live.counts import THREADS, Counts, joined
from autoresearch.live.settings import Live
from benchmarks.live_audience import audience, shown
from benchmarks.tables import markdown, report

BASE, VISITORS, LOOKS = 0.02, 1000, (14, 30)
WEEKEND, DAYS_SD, PERSONAS = 0.8, 0.1, 5
NEVER = 10**9
ONE, NINE, FACTORIAL, FOURTH = (2,), (10,), (4, 4, 4), (4, 4, 4, 4)
THREE = "9, three in each of 3 variables"
LARGE = 0.4  # standard deviation of the log odds that the levels of a variable add

First = int  # look at which a winner was named, from 1; NEVER
Tally = NDArray[np.int64]


def ours(sizes: tuple[int, ...], winner: bool, a_day: int, beside: float, days: int, number: int) -> First:
    """
    The bandit decides who is shown what, so many times a day; winners as decide() names them. `beside` is the standard
    deviation of what the levels of the first variable do, in log odds: then only winners of the others are false, and
    the plan moves for a reason.
    """
    rng = np.random.default_rng([number, 11])
    crowd = audience(sizes, BASE, (beside, *[0.0] * (len(sizes) - 1)), 0.0, days, rng)
    live = Live("click", decide="winner" if winner else "factorial")
    levels = {name: set(variable.levels) for name, variable in crowd.variables.variables.items()}
    counts = Counts((), (), np.zeros((0, 0)), np.zeros((0, 0)))
    belief = believe(counts, crowd.variables, levels, live)
    for look in range(1, days + 1):
        for part in range(a_day):
            plan = bandit.planned(belief, live, look * a_day + part, 0.0, 0, number)
            today = shown(crowd, look - 1, VISITORS // a_day, plan.shares[""], live.holdout, rng)
            counts = joined([counts, today])
            belief = believe(counts, crowd.variables, levels, live)
        named = shown_better(comparisons(counts, belief), live.false_winner)
        if any(not beside or one.variable != "v0" for one in named):
            return look
    return NEVER


def split(challengers: int, days: int, number: int) -> tuple[Tally, Tally]:
    """Visitors and outcomes up to each day of each side, all alike; the first is the default."""
    rng = np.random.default_rng([number, 12])
    week = np.where(np.arange(days) % 7 < 5, 1.0, WEEKEND)
    rate = BASE * week / week.mean() * np.exp(rng.normal(0, DAYS_SD, days))
    n = rng.multinomial(VISITORS, np.full(challengers + 1, 1 / (challengers + 1)), days)
    won = rng.binomial(n, rate[:, None])
    return n.cumsum(axis=0), won.cumsum(axis=0)


def p_below(challengers: int, days: int, number: int) -> First:
    """Named as soon as a challenger's rate is the higher one and p < 0.05 in a two-sided test of two rates."""
    n, won = split(challengers, days, number)
    rate, pooled = won / n, (won[:, 1:] + won[:, :1]) / (n[:, 1:] + n[:, :1])
    error = np.sqrt(np.maximum(1e-12, pooled * (1 - pooled) * (1 / n[:, 1:] + 1 / n[:, :1])))
    found = ((rate[:, 1:] - rate[:, :1]) / error > 1.959964).any(axis=1)
    return int(found.argmax()) + 1 if found.any() else NEVER


def p_below_any(challengers: int, days: int, number: int) -> First:
    """The same, where p < 0.05 names whichever is the higher, the default too."""
    n, won = split(challengers, days, number)
    rate, pooled = won / n, (won[:, 1:] + won[:, :1]) / (n[:, 1:] + n[:, :1])
    error = np.sqrt(np.maximum(1e-12, pooled * (1 - pooled) * (1 / n[:, 1:] + 1 / n[:, :1])))
    found = (np.abs(rate[:, 1:] - rate[:, :1]) / error > 1.959964).any(axis=1)
    return int(found.argmax()) + 1 if found.any() else NEVER


def personas(challengers: int, _days: int, number: int) -> First:
    """
    Language models in the parts of customers score each copy once and the best mean wins. They see no visitor, so
    scores are chance.
    """
    rng = np.random.default_rng([number, 13])
    return 1 if rng.normal(size=(PERSONAS, challengers + 1)).mean(axis=0).argmax() else NEVER


def growthbook(bayesian: bool, challengers: int, days: int, number: int) -> First:
    """
    gbstats 0.8: the sequential test at 5 % over the challengers (Bonferroni), or a chance to beat the default above 95
    % as its Bayesian engine says it, both looked at daily.
    """
    from gbstats.bayesian.tests import EffectBayesianABTest
    from gbstats.frequentist.tests import SequentialConfig, SequentialTwoSidedTTest
    from gbstats.models.statistics import ProportionStatistic

    n, won = split(challengers, days, number)
    alpha = 0.05 / challengers
    for look in range(days):
        base = ProportionStatistic(sum=won[look, 0], n=n[look, 0])
        for i in range(1, challengers + 1):
            if won[look, i] * n[look, 0] <= won[look, 0] * n[look, i] or not won[look, 0]:
                continue
            other = ProportionStatistic(sum=won[look, i], n=n[look, i])
            if bayesian:
                if EffectBayesianABTest(base, other).compute_result().chance_to_win > 0.95:
                    return look + 1
            elif SequentialTwoSidedTTest(base, other, SequentialConfig(alpha=alpha)).p_value < alpha:
                return look + 1
    return NEVER


Rule = tuple[str, str, Callable[[int, int], First], int, int]  # name, challengers, rule(days, number), looks, campaigns


def rules(campaigns: int, often: int) -> list[Rule]:
    most = LOOKS[-1]
    found: list[Rule] = [
        ("ours, whole cells (winner)", "1", partial(ours, ONE, True, 1, 0.0), most, campaigns),
        ("ours, whole cells (winner)", "9", partial(ours, NINE, True, 1, 0.0), most, campaigns),
        ("ours, factorial", THREE, partial(ours, FACTORIAL, False, 1, 0.0), most, campaigns),
        (
            "ours, factorial, a fourth variable does a lot",
            THREE,
            partial(ours, FOURTH, False, 1, LARGE),
            most,
            campaigns // 2,
        ),
        ("the same, 12 plans a day", THREE, partial(ours, FOURTH, False, 12, LARGE), LOOKS[0], often),
        ("p < 0.05, looked at daily", "1", partial(p_below, 1), most, campaigns),
        ("p < 0.05, looked at daily", "9", partial(p_below, 9), most, campaigns),
        ("p < 0.05 either way, looked at daily", "1", partial(p_below_any, 1), most, campaigns),
        ("p < 0.05 either way, looked at daily", "9", partial(p_below_any, 9), most, campaigns),
        ("language-model personas score the copy", "1", partial(personas, 1), most, campaigns),
        ("language-model personas score the copy", "9", partial(personas, 9), most, campaigns),
    ]
    if importlib.util.find_spec("gbstats"):
        for challengers in (1, 9):
            found += [
                (
                    "GrowthBook, sequential test",
                    str(challengers),
                    partial(growthbook, False, challengers),
                    most,
                    campaigns,
                ),
                (
                    "GrowthBook, chance to win > 95 %",
                    str(challengers),
                    partial(growthbook, True, challengers),
                    most,
                    campaigns,
                ),
            ]
    return found


def share(firsts: list[First], looks: int, most: int) -> str:
    if looks > most:
        return "-"
    p = sum(first <= looks for first in firsts) / len(firsts)
    return f"{100 * p:.1f} +- {100 * math.sqrt(max(p * (1 - p), 1e-9) / len(firsts)):.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--campaigns", type=int, default=1000)
    parser.add_argument("--often", type=int, default=200, help="campaigns with 12 plans a day, which take longer")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    rows = []
    with ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn")) as pool:
        for name, challengers, rule, days, campaigns in rules(args.campaigns, args.often):
            firsts = list(pool.map(partial(rule, days), range(campaigns), chunksize=10))
            rows.append([name, challengers, f"{campaigns:,}", *(share(firsts, looks, days) for looks in LOOKS)])
            print(*rows[-1], flush=True)
    text = f"""
{args.campaigns:,} simulated campaigns a line under no effect, {VISITORS:,} visitors a day, a rate of {BASE:.0%} for every cell, lower on weekends and different
by day. A campaign counts if a winner was named at any of so many daily looks; +- one standard error. Ours: the bandit itself decides who is
shown what, with its holdout, so the sides are never alike, and false_winner = 0.05. Others: visitors are split alike.

{markdown(["rule", "challengers", "campaigns", *(f"winner within {looks} daily looks" for looks in LOOKS)], rows)}
Where a fourth variable does a lot (its levels add N(0, 0.4^2) to the log odds), plans move towards its best levels, and only winners of the
three that do nothing are counted. With 12 plans a day outcomes are known at once, so that a day's outcomes change that day's plans, which the proof does not allow for (see
`ratio` in stats/sequences.py). Personas see no traffic: with equal copies their choice is chance, and some challenger is named in k of k + 1
campaigns; the line checks no more than that.
"""
    report("live_false", "Winners where there is nothing to win", text, args.write)


if __name__ == "__main__":
    os.environ.setdefault(THREADS, "1")  # for the processes that are begun, which load numpy anew
    main()
