"""
What ending runs early is worth with many slots: nothing ended, racing, successive halving, and both, for the same compute.

Studies of nothing but numbers, on a clock of their own. Proposals have true effects and curves, slots work side by side,
and the real policy, racing and halving decide on the real state; only git, processes and proposers are missing. The
unit of value, loss and gain is the standard deviation of one run; lower is better. All contenders meet the same
proposals in the same order.

    python -m benchmarks.halving --studies 30 --write
"""

import argparse
import heapq
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from statistics import fmean, stdev

from msgspec import Struct

from autoresearch import carrying
from autoresearch.events import (
    RunFinished,
    RunStarted,
    SessionStarted,
    StudyOpened,
    TrialDecided,
    TrialProposed,
    TrialStarted,
)
from autoresearch.policy import Ask, halving, race
from autoresearch.policy.climb import Climb
from autoresearch.state import State
from autoresearch.study import parse
from autoresearch.trial import Machine, Measurement, Metric, Run, RunStatus, Trial
from benchmarks.tables import markdown, report

STUDY = 'name = "simulated"\nasset = ["a"]\nmetric = {name = "m"}\nmeasure = {run = "none"}\n'
MACHINE = Machine("simulated", 1)
POINTS = 50  # of a curve
HELPFUL, NOTHING = 0.15, 0.30  # shares of the proposals; the rest does harm, of three times the size
LATEST = 1.5  # an effect shows as the fraction of the budget to a power, which is anywhere from 0 to this
SEED = 0.5  # share of the variance of a run that comes with its seed
BATCH, OWN = 4.0, 1.0  # sd of a point of a curve: of the batches, the same for all runs of a seed, and of the run's own
CATCHES_UP = 0.6  # of the budget; until then a change that is slow at first is behind


class World(Struct, frozen=True):
    """Effects of proposals: gains are exponential with mean `ratio`; this share of them is `slow` at first."""

    name: str
    ratio: float
    slow: float = 0.0


WORLDS = [
    World("curves tell early", 0.5),
    World("curves tell early", 2.0),
    World("curves tell early", 8.0),
    World("half of the gains are slow at first", 2.0, 0.5),
    World("all gains are slow at first", 2.0, 1.0),
]


class Contender(Struct, frozen=True):
    name: str
    race: bool = False
    eta: int = 0


NONE = Contender("none")
CONTENDERS = [
    NONE,
    Contender("race", race=True),
    Contender("halving 2", eta=2),
    Contender("halving 3", eta=3),
    Contender("halving 4", eta=4),
    Contender("both, 3", race=True, eta=3),
]


class Recipe(Struct, frozen=True):
    """Code as it is in truth: its loss at each point of the curve beyond what all have, and at the end."""

    level: float
    above: tuple[float, ...]


def changed(base: Recipe, world: World, key: str) -> Recipe:
    chance = random.Random(key)
    kind, size, late = chance.random(), chance.expovariate(1.0) * world.ratio, chance.uniform(0, LATEST)
    is_slow, behind = chance.random() < world.slow, chance.uniform(1, 3)
    gain = size if kind < HELPFUL else 0.0 if kind < HELPFUL + NOTHING else -3 * size
    if gain <= 0 or not is_slow:
        behind = 0.0
    effect = (behind * gain * max(0.0, 1 - f / CATCHES_UP) - gain * f**late for f in FRACTIONS)
    return Recipe(base.level - gain, tuple(a + d for a, d in zip(base.above, effect, strict=True)))


FRACTIONS = [(i + 0.5) / POINTS for i in range(POINTS)]
START = Recipe(0.0, (0.0,) * POINTS)


Stop = Callable[[Sequence[tuple[float, float]]], str]


class Outcome(Struct, frozen=True):
    """True gain; compute, in whole runs; ideas, and compute of their first runs; how many were stopped of how many."""

    gain: float
    spent: float
    tried: int
    used: float
    better: tuple[int, int]
    rest: tuple[int, int]


class Night:
    """One study: slots that work side by side until the compute of so many runs is spent, or no idea is left."""

    def __init__(self, world: World, contender: Contender, number: int, slots: int, runs: float, ideas: float) -> None:
        self.world, self.contender, self.number, self.slots = world, contender, number, slots
        self.runs, self.ideas = runs, ideas
        self.state, self.policy, self.board = State(), Climb(parse(STUDY)), halving.Board()
        self.recipes = {"t": START}
        self.chance = random.Random(f"{number} {world} own")
        self.keys: dict[int, tuple[str, ...]] = {}  # trial -> what was changed, of which a stack carries several
        self.next_idea = 0
        self.spent = self.used = 0.0
        self.seen = {True: [0, 0], False: [0, 0]}  # truly better or not: stopped, and all
        metric = Metric("m", "minimize")
        self.state.apply(StudyOpened(study="s", start="c", start_tree="t", metric=metric, digest="d", seed=number))
        self.state.apply(SessionStarted(pid=0, version="", machine=MACHINE, workers=slots))

    def play(self) -> Outcome:
        self.state.apply(TrialStarted(trial=0, base="c", base_tree="t", baseline=True))
        for _ in self.see_through(0):
            pass
        queue = [(0.0, number, self.work()) for number in range(self.slots)]
        while not self.is_over():
            now, number, worker = heapq.heappop(queue)
            heapq.heappush(queue, (now + next(worker), number, worker))
        (b, n), (r, m) = self.seen[True], self.seen[False]
        return Outcome(self.gain(), self.spent, n + m, self.used, (b, n), (r, m))

    def is_over(self) -> bool:
        no_more = self.next_idea >= self.ideas and not self.state.unfinished and not carrying.next_up(self.state)
        return self.spent >= self.runs or no_more

    def gain(self) -> float:
        assert self.state.best is not None
        return -self.recipes[self.state.best.tree].level

    def work(self) -> Iterator[float]:
        """A slot: trial after trial; yields the time until it next does something."""
        yield self.chance.random() / POINTS  # slots do not march in step
        while True:
            id = self.start()
            if id is None:
                yield 1 / POINTS
            else:
                yield from self.see_through(id)

    def start(self) -> int | None:
        state, carried = self.state, carrying.next_up(self.state)
        again, stack = (carried[0], ()) if len(carried) == 1 else (None, carried)
        if not carried and self.next_idea >= self.ideas:
            return None
        best, id = self.policy.base(state), state.next_trial
        keys = tuple(key for one in carried for key in self.keys[one]) or (f"{self.number} {self.next_idea}",)
        self.next_idea += not carried
        recipe = self.recipes[best.tree]
        for key in keys:
            recipe = changed(recipe, self.world, key)
        self.recipes[f"t{id}"], self.keys[id] = recipe, keys
        state.apply(TrialStarted(trial=id, base=best.commit, base_tree=best.tree, again=again, stack=stack))
        state.apply(TrialProposed(trial=id, idea="", by="", commit=f"c{id}", tree=f"t{id}"))
        return id

    def see_through(self, id: int) -> Iterator[float]:
        state = self.state
        while ask := self.policy.next_run(state, state.trials[id]):
            yield from self.run(state.trials[id], ask)
        if state.trials[id].verdict is None:
            verdict = self.policy.judge(state, state.trials[id])
            kept_as = f"k{id}" if verdict.word == "keep" else None
            state.apply(TrialDecided(trial=id, verdict=verdict, kept_as=kept_as))

    def run(self, trial: Trial, ask: Ask) -> Iterator[float]:
        state, tree = self.state, trial.base_tree if ask.base else trial.tree
        assert tree is not None
        is_first = not (ask.base or trial.is_baseline or trial.carries or state.values(tree))
        run = Run(state.next_run, trial.id, tree, "c", ask.index, ask.index, "d", purpose=ask.purpose)
        stops = self.watch(trial, run)
        state.apply(RunStarted(run=run))
        curve, value = self.draw(self.recipes[tree], ask.index)
        why, n = "", 0
        while n < POINTS and not why:
            yield 1 / POINTS
            n += 1
            self.spent += 1 / POINTS
            why = next((found for at, stop in stops if n - 1 in at and (found := stop(curve[:n]))), "")
        if is_first:
            better = self.recipes[tree].level < self.recipes[trial.base_tree].level
            counts = self.seen[better]
            counts[0] += bool(why)
            counts[1] += 1
            self.used += n / POINTS
        status: RunStatus = "hopeless" if why else "ok"
        measured = Measurement(status, None if why else value, "d", MACHINE, why=why, curve=curve[:n])
        state.apply(RunFinished(run=run.id, measurement=measured))

    def watch(self, trial: Trial, run: Run) -> list[tuple[tuple[int, ...], Stop]]:
        """What may stop the run, each with the places on its curve at which it has anything to say."""
        eta = self.contender.eta
        found = list[tuple[tuple[int, ...], Stop]]()
        if eta and (asks := halving.watch(self.state, trial, run, eta, self.board)):
            found.append((halving.places(eta), asks))
        if self.contender.race and (limit := race.watch(self.state, trial, run)):
            found.append((race.LOOKS, limit))
        return found

    def draw(self, recipe: Recipe, seed: int) -> tuple[tuple[tuple[float, float], ...], float]:
        """A run's curve and value."""
        of_seed = random.Random(f"{self.number} seed {seed}")
        luck = math.sqrt(SEED) * of_seed.gauss(0, 1) + math.sqrt(1 - SEED) * self.chance.gauss(0, 1)
        batches = (of_seed.gauss(0, BATCH) + self.chance.gauss(0, OWN) for _ in FRACTIONS)
        shown = zip(FRACTIONS, recipe.above, batches, strict=True)
        curve = tuple((f, 300 * (1 + POINTS * f) ** -0.5 + above + luck * f + batch) for f, above, batch in shown)
        return curve, recipe.level + luck


# -- the table -----------------------------------------------------------------------------------------


class Job(Struct, frozen=True):
    world: World
    contender: Contender
    slots: int
    runs: float = math.inf
    ideas: float = math.inf


def nights(job: Job, count: int) -> list[Outcome]:
    return [Night(job.world, job.contender, number, job.slots, job.runs, job.ideas).play() for number in range(count)]


def row(job: Job, found: list[Outcome], none: list[Outcome]) -> list[str]:
    by = fmean(o.gain for o in none)
    ratio = fmean(o.gain for o in found) / by
    rests = [a.gain - ratio * b.gain for a, b in zip(found, none, strict=True)]
    root, gains = math.sqrt(len(found)), [o.gain for o in found]
    tried, used = sum(o.tried for o in found), sum(o.used for o in found)
    stopped = ([o.better for o in found], [o.rest for o in found])
    return [
        f"{job.world.name}, {job.world.ratio:g}",
        str(job.slots),
        job.contender.name,
        f"{fmean(gains):.1f} +- {stdev(gains) / root:.1f}",
        f"{ratio:.2f} +- {stdev(rests) / root / by:.2f}",
        f"{fmean(o.spent for o in found):.0f}",
        f"{tried / len(found):.0f}",
        f"{used / tried:.0%}",
        *(f"{sum(n for n, _ in pairs) / max(1, sum(m for _, m in pairs)):.1%}" for pairs in stopped),
    ]


HEAD = ["proposals, gain to noise", "slots", "ended early by", "true gain", "of none's", "compute", "ideas", "of a run"]
HEAD += ["better stopped", "others stopped"]

TEXT = """
The true gain of a study in standard deviations of one run, on slots that work side by side; compute in whole runs,
calibration and repeats included (policy climb); means over {studies} studies +- one standard error. What is drawn and how:
the docstring and the constants of benchmarks/halving.py. `gain to noise`: the mean gain of a proposal that helps, in
standard deviations of a run; {helpful:.0%} help. `slow at first`: behind until {catches:.0%} of the budget, by one to three times the
gain at the beginning. `of none's`: the gain by that of the first line, paired: the same proposals in the same order.
`of a run`: how much of its budget the first run of an idea used. `better stopped`: of the ideas that are truly better than
their base.

## As much compute: ideas cost nothing and never run out

{compute}
## As many ideas: the study ends when all have been tried

{ideas}
Took {took:.0f} s on {workers} cores.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--studies", type=int, default=30)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--ideas", type=int, default=120)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    pairs = [(world, contender) for world in WORLDS for contender in CONTENDERS[:-1]]
    pairs.append((WORLDS[1], CONTENDERS[-1]))
    compute = [Job(*pair, options.slots, runs=options.runs) for pair in pairs]
    some = (NONE, CONTENDERS[1], CONTENDERS[3])
    compute += [Job(WORLDS[1], one, slots, runs=options.runs) for slots in (1, 64) for one in some]
    ideas = [Job(*pair, options.slots, ideas=options.ideas) for pair in pairs]
    with ProcessPoolExecutor(options.workers) as pool:
        waiting = {job: pool.submit(nights, job, options.studies) for job in (*compute, *ideas)}
        found = {job: future.result() for job, future in waiting.items()}

    def table(jobs: list[Job]) -> str:
        none = {job: Job(job.world, NONE, job.slots, job.runs, job.ideas) for job in jobs}
        return markdown(HEAD, [row(job, found[job], found[none[job]]) for job in jobs])

    text = TEXT.format(
        studies=options.studies,
        helpful=HELPFUL,
        catches=CATCHES_UP,
        compute=table(compute),
        ideas=table(ideas),
        took=time.monotonic() - began,
        workers=options.workers,
    )
    report("halving", "What ending runs early is worth with many slots", text, options.write)


if __name__ == "__main__":
    main()
