"""
What a rule for keeping finds of what there is to find, and what it says it found: ours and rules from the field.

Studies of nothing but numbers. Proposals have true effects, a run shows the level with noise, and the real policies
decide on the real state; only git, processes and proposers are missing, and the second look at gains that are hard to
believe (policy/doubt.py). The unit of everything is the standard deviation of one run, and higher is better. All
rules meet the same proposals in the same order and have the same number of runs to spend, calibration included; a
trial that is not decided when they are spent is lost.

    python -m benchmarks.policies --studies 300 --write
"""

import argparse
import functools
import itertools
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from statistics import fmean, stdev
from typing import Literal

from msgspec import Struct

from autoresearch import stats
from autoresearch.events import (
    RunFinished,
    RunStarted,
    SessionStarted,
    StudyOpened,
    TrialDecided,
    TrialProposed,
    TrialStarted,
)
from autoresearch.policy import Ask, Policy
from autoresearch.policy.climb import Climb
from autoresearch.policy.greedy import Greedy
from autoresearch.policy.strict import Strict
from autoresearch.state import State
from autoresearch.study import Study, parse
from autoresearch.trial import Machine, Measurement, Metric, Run, Trial, Verdict
from benchmarks.rules import (
    Bootstrap,
    ConfirmTwice,
    HillClimbAnything,
    Labloop,
    LabloopDeviation,
    MadBadge,
    MinDelta,
    Rule,
    TwoSigma,
)
from benchmarks.tables import markdown, report

STUDY = 'name = "simulated"\nasset = ["a"]\nmetric = {name = "m", direction = "maximize"}\nmeasure = {run = "none"}\n'
MACHINE = Machine("simulated", 1)
# What racing does with a trial's first run, as benchmarks/results/race.md has it: a run is stopped with the first chance
# whose harm (in sd, or more) it does, and then costs 0.4 of a run; of what is truly better 2 % are stopped.
RACED = ((10.0, 1.0), (5.0, 0.6), (2.5, 0.17), (1.0, 0.08))
RACED_BETTER = 0.02
RACE_COST = 0.4
FRESH = 8  # runs on each side that a certified gain rests on, beyond the budget

Drift = Literal[-1, 0, 1]


class Mix(Struct, frozen=True):
    """
    What is proposed, and how runs scatter. Harmful effects are 0.1 plus an exponential of mean 2, helpful ones
    log-uniform from 0.25 to `largest`; the rest does nothing.

    `rho` is the share of the variance that comes with the seed; the rest is normal, or Student t with 3 degrees of
    freedom. Over the study the machine's level moves by `drift`.
    """

    name: str
    harmful: float
    helpful: float
    largest: float = 4.0
    rho: float = 0.0
    heavy: bool = False
    drift: Drift = 0


def with_and_without_seeds(mix: Mix) -> list[Mix]:
    return [Mix(mix.name, mix.harmful, mix.helpful, mix.largest, rho, mix.heavy, mix.drift) for rho in (0.0, 0.8)]


CLIMBS = [
    *with_and_without_seeds(Mix("small gains", 0.65, 0.13, 1.5)),
    *with_and_without_seeds(Mix("wide gains", 0.65, 0.13, 4.0)),
    *with_and_without_seeds(Mix("rare gains", 0.70, 0.05, 4.0)),
    *with_and_without_seeds(Mix("many gains", 0.60, 0.20, 2.0)),
    *with_and_without_seeds(Mix("small gains, t(3)", 0.65, 0.13, 1.5, heavy=True)),
    Mix("small gains, drift up", 0.65, 0.13, 1.5, drift=1),
    Mix("small gains, drift down", 0.65, 0.13, 1.5, drift=-1),
]
NULLS = [
    *with_and_without_seeds(Mix("no gains", 0.75, 0.0)),
    *with_and_without_seeds(Mix("no effects", 0.0, 0.0)),
    Mix("no effects, t(3)", 0.0, 0.0, heavy=True),
    Mix("no effects, drift up", 0.0, 0.0, drift=1),
]


class Contender(Struct, frozen=True):
    name: str
    policy: Callable[[Study], Policy]
    racing: bool = False


CONTENDERS = [
    Contender("greedy", Greedy),
    Contender("climb", Climb),
    Contender("climb, racing", Climb, racing=True),
    Contender("strict", Strict),
    Contender("min-delta", MinDelta),
    Contender("confirm twice", ConfirmTwice),
    Contender("two sigma", TwoSigma),
    Contender("bootstrap of 3", Bootstrap),
    Contender("MAD badge", MadBadge),
    Contender("labloop, spread", Labloop),
    Contender("labloop, sd", LabloopDeviation),
    Contender("hillclimbanything", HillClimbAnything),
]


# -- a study without git and processes -----------------------------------------------------------------


class World:
    """What is true: the effects of proposals, the luck of seeds, the noise of runs, the level of the machine."""

    def __init__(self, mix: Mix, key: int | str) -> None:
        self.mix = mix
        # Streams of their own, so that all policies meet the same proposals and seeds however many runs each makes.
        self._ideas, self._races, self._seeds, self._noise = (random.Random(f"{key} {what}") for what in "irsn")
        self._luck: list[float] = []

    def effect(self) -> float:
        mix, u, size = self.mix, self._ideas.random(), self._ideas.random()
        if u < mix.harmful:
            return -0.1 + 2 * math.log(1 - size)
        return 0.25 * (mix.largest / 0.25) ** size if u < mix.harmful + mix.helpful else 0.0

    def raced(self, effect: float) -> bool:
        chance = next((chance for harm, chance in RACED if -effect >= harm), RACED_BETTER if effect > 0 else 0.0)
        return self._races.random() < chance

    def value(self, level: float, seed_index: int, elapsed: float = 0.0) -> float:
        """What a run shows after this share of the study."""
        while len(self._luck) <= seed_index:
            self._luck.append(self._seeds.gauss(0, 1))
        rest = self._noise.gauss(0, 1)
        if self.mix.heavy:
            rest /= math.sqrt(self._noise.gammavariate(1.5, 2.0))  # chi squared (3); the sd of t(3) is sqrt(3)
        rho = self.mix.rho
        return level + math.sqrt(rho) * self._luck[seed_index] + math.sqrt(1 - rho) * rest + self.mix.drift * elapsed


class Outcome(Struct, frozen=True):
    """What a study found, in standard deviations of a run; `certified` is None where nothing was kept."""

    true: float
    reported: float
    keeps: int
    false_keeps: int  # of changes that do nothing or harm
    tried: int
    certified: stats.Interval | None


class Bench:
    """The real state and a real policy, with a World in the place of everything that runs."""

    def __init__(self, mix: Mix, contender: Contender, number: int, runs: int) -> None:
        self.world, self.runs, self.racing = World(mix, number), runs, contender.racing
        study = parse(STUDY)
        self.policy = contender.policy(study)
        self.state = State()
        self.levels = {"t": 0.0}  # tree -> its true level
        self.spent = 0.0
        self.tried = 0
        self.state.apply(
            StudyOpened(study="s", start="c", start_tree="t", metric=Metric("m", "maximize"), digest="d", seed=number)
        )
        self.state.apply(SessionStarted(pid=0, version="", machine=MACHINE, workers=1))

    def play(self) -> State:
        self.state.apply(TrialStarted(trial=0, base="c", base_tree="t", baseline=True))
        while self.measure(0):
            effect, id = self.world.effect(), self.state.next_trial
            best = self.policy.base(self.state)
            self.levels[f"t{id}"] = self.levels[best.tree] + effect
            self.state.apply(TrialStarted(trial=id, base=best.commit, base_tree=best.tree))
            self.state.apply(TrialProposed(trial=id, idea="", by="", commit=f"c{id}", tree=f"t{id}"))
            if self.racing and self.world.raced(effect):
                self.race(id)
            elif not self.measure(id):
                break
            self.tried += 1
        return self.state

    def measure(self, id: int) -> bool:
        """Run and decide a trial as the loop does, also the baseline; False once the budget is spent."""
        state = self.state
        while ask := self.policy.next_run(state, state.trials[id]):
            if self.spent + 1 > self.runs:
                return False
            self.run(state.trials[id], ask)
        if state.trials[id].verdict is None:
            verdict = self.policy.judge(state, state.trials[id])
            kept_as = None if verdict.word != "keep" else f"k{id}"
            state.apply(TrialDecided(trial=id, verdict=verdict, kept_as=kept_as))
        return True

    def run(self, trial: Trial, ask: Ask) -> None:
        tree = trial.base_tree if ask.base else trial.tree
        assert tree is not None
        number = self.state.next_run
        run = Run(number, trial.id, tree, "c", ask.index, ask.index, "d", purpose=ask.purpose)
        self.state.apply(RunStarted(run=run))
        value = self.world.value(self.levels[tree], ask.index, self.spent / self.runs)
        self.state.apply(RunFinished(run=number, measurement=Measurement("ok", value, "d", MACHINE)))
        self.spent += 1

    def race(self, id: int) -> None:
        self.spent += RACE_COST
        self.state.apply(TrialDecided(trial=id, verdict=Verdict("discard", "stopped in the race")))


def play(mix: Mix, contender: Contender, number: int, runs: int) -> Outcome:
    bench = Bench(mix, contender, number, runs)
    state = bench.play()
    assert state.best is not None
    kept = [i for i in state.kept if not state.trials[i].is_baseline]
    false = sum(bench.levels[f"t{i}"] <= bench.levels[state.trials[i].base_tree] for i in kept)
    level = bench.policy.level if isinstance(bench.policy, Rule) else State.mean
    after, before = level(state, state.best.tree), level(state, "t")
    assert after is not None
    assert before is not None
    true = bench.levels[state.best.tree]
    certified = certify(mix, contender.name, number, true) if kept else None
    return Outcome(true, after - before, len(kept), false, bench.tried, certified)


def certify(mix: Mix, rule: str, number: int, true: float) -> stats.Interval:
    """
    A fresh look: best and start with seeds that nothing was chosen by, in pairs, with Student's interval.

    In a world of its own for every line of the tables: lines that share noise would be wrong together.
    """
    world = World(mix, f"certify {number} {rule} {mix.name} {mix.rho:g}")
    return stats.paired([world.value(true, seed) - world.value(0.0, seed) for seed in range(FRESH)])


# -- tables --------------------------------------------------------------------------------------------


def studies(job: tuple[Mix, Contender], count: int, runs: int) -> list[Outcome]:
    return [play(*job, number, runs) for number in range(count)]


def ratio(found: list[Outcome], rival: list[Outcome]) -> tuple[float, float]:
    """True gain by the rival's, and its standard error: studies of one number are alike, so they are paired."""
    by = fmean(o.true for o in rival)
    r = fmean(o.true for o in found) / by
    rests = [a.true - r * b.true for a, b in zip(found, rival, strict=True)]
    return r, stdev(rests) / math.sqrt(len(rests)) / abs(by)


def share(found: Iterator[bool] | list[bool]) -> str:
    told = list(found)
    return f"{100 * fmean(told):.1f} %" if told else "-"


def climb_row(mix: Mix, name: str, found: list[Outcome], greedy: list[Outcome]) -> list[str]:
    r, error = ratio(found, greedy)
    figures = [f"{fmean(o.true for o in found):.2f}", f"{r:.2f} +- {error:.2f}"]
    figures += [f"{fmean(o.reported for o in found):.2f}"]
    figures += [f"{fmean(get(o) for o in found):.1f}" for get in (_keeps, _false_keeps, _tried)]
    covered = share([o.certified.low <= o.true <= o.certified.high for o in found if o.certified])
    return [mix.name, f"{mix.rho:g}", name, *figures, covered]


def null_row(mix: Mix, name: str, found: list[Outcome]) -> list[str]:
    figures = [f"{fmean(o.reported for o in found):.2f}", f"{fmean(o.true for o in found):.2f}"]
    figures += [share([o.reported > 0 for o in found]), share([o.reported > 2 for o in found])]
    certified = share([o.certified is not None and o.certified.low > 0 for o in found])
    return [mix.name, f"{mix.rho:g}", name, *figures, f"{fmean(o.keeps for o in found):.1f}", certified]


def _keeps(o: Outcome) -> int:
    return o.keeps


def _false_keeps(o: Outcome) -> int:
    return o.false_keeps


def _tried(o: Outcome) -> int:
    return o.tried


TEXT = """
The true and the reported gain of a study, in standard deviations of one run (sd), for the same {runs} runs of compute,
calibration included; means over {studies} studies a line, and the same proposals for every rule. How a proposal's
effect and a run's value are drawn: the docstrings of benchmarks/policies.py. `rho` is the share of the variance that
comes with the seed. The last three rules are those of two projects, labloop 1.0.5 and hillclimbanything 0.2.0, as
benchmarks/rules.py states them and the settings they need.

`climb, racing` stops the first run of {raced} (what racing did on the gpt template, race.md), and of {better:.0%} of
what is truly better, at {cost:g} of a run; what is stopped is a discard. Reported is what the program
shows: fresh runs of the best where there are some, less the mean of the start; for rules from the field, what they go
by. Ratio: true gain by greedy's, +- one standard error. Covered: share of studies whose true gain lies in the 95 %
interval of a certified gain, {fresh} fresh runs on each side in pairs, beyond the budget. False keeps are of changes
that do nothing or harm.

{climbs}
With nothing to find, the best that a rule can do is nothing. Certified: share of studies with a certified gain whose
lower end is above 0 (a study that kept nothing has none). Drift moves the machine's level by 1 sd over the study.

{nulls}
Took {took:.0f} s on {workers} cores.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--runs", type=int, default=150)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    jobs = list(itertools.product(CLIMBS + NULLS, CONTENDERS))
    with ProcessPoolExecutor(options.workers) as pool:
        found = list(pool.map(functools.partial(studies, count=options.studies, runs=options.runs), jobs))
    by = {(mix, contender.name): outcomes for (mix, contender), outcomes in zip(jobs, found, strict=True)}
    climbs = [climb_row(mix, c.name, by[mix, c.name], by[mix, "greedy"]) for mix in CLIMBS for c in CONTENDERS]
    nulls = [null_row(mix, c.name, by[mix, c.name]) for mix in NULLS for c in CONTENDERS]
    head = ["mix", "rho", "rule"]
    columns = ["true gain", "ratio to greedy", "reported", "keeps", "false keeps", "tried", "covered"]
    null_columns = ["reported", "true gain", "report a gain", "report > 2 sd", "keeps", "certified"]
    text = TEXT.format(
        runs=options.runs,
        studies=options.studies,
        raced=", ".join(f"{chance:.0%} of what does harm of {harm:g} sd or more" for harm, chance in RACED),
        cost=RACE_COST,
        better=RACED_BETTER,
        fresh=FRESH,
        climbs=markdown(head + columns, climbs),
        nulls=markdown(head + null_columns, nulls),
        took=time.monotonic() - began,
        workers=options.workers,
    )
    report("policies", "Rules for keeping", text, options.write)


if __name__ == "__main__":
    main()
