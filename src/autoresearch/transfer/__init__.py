"""
Do the gains hold elsewhere: the start, the best and each kept change on a ladder of other settings.

A rung sets constants of the asset to the same values on all sides, and may change what a run may spend. Everything is
measured as trials are, and nothing of it enters what the study knows of its trials, its noise or its best.
"""

import importlib.util
from pathlib import Path

from msgspec import Struct

from autoresearch.certify import choosing_set, ends
from autoresearch.errors import AutoresearchError, MissingExtra
from autoresearch.events import SessionEnded, Transferred
from autoresearch.lab import Lab
from autoresearch.rungs import Each, Rung, Transfer
from autoresearch.session import Goal, Listener, begin, opened, stoppable
from autoresearch.transfer import sides as making
from autoresearch.transfer.conclude import Table, ends_of
from autoresearch.transfer.ladder import Step
from autoresearch.transfer.measuring import measure, on_budget


class Plan(Struct, frozen=True):
    """What was asked for: the rungs, seeds of each side, single changes how, a value to reach, seconds a run may take."""

    steps: list[Step]
    runs: int = 5
    each: Each = "alone"
    target: float | None = None
    timeout_s: float | None = None


def transfer(folder: Path, plan: Plan, listener: Listener) -> Transfer:
    """
    Measure the ladder, write the result down, and return it. Cut off, it goes on where it stopped.

    Raises:
        AutoresearchError: nothing was kept, the ladder cannot be set, or a rung cannot be measured.
    """
    if importlib.util.find_spec("scipy") is None:
        raise MissingExtra("scipy", "stats", "transfer")
    with opened(folder, Goal(), listener) as lab, stoppable(lab):
        if lab.study.metric.is_proportion:
            raise AutoresearchError(
                "study.toml: metric.kind is proportion, and transfer compares seed by seed, which proportions of the "
                "same items do not scatter by; `autoresearch certify` has the interval for them"
            )
        for step in plan.steps:
            on_budget(lab.study, step.budget)
        begin(lab)
        found = conclude(lab, plan, listener)
        lab.log.append(Transferred(transfer=found))
        lab.log.append(SessionEnded(why="the ladder is measured"))
        return found


def conclude(lab: Lab, plan: Plan, listener: Listener) -> Transfer:
    """Measure rung by rung, saying what came of each, and put it together."""
    sides, settings = making.make(lab, plan.steps, plan.each)
    rungs: list[Rung] = []
    benches = []
    for number, bench in enumerate(measure(lab, plan.steps, sides, plan.runs, plan.timeout_s, listener)):
        benches.append(bench)
        rungs.append(Table(lab.study.metric, plan.each, sides, benches).rung(number, settings[number]))
        gain = rungs[-1].stack
        listener.say(f"{bench.step.name}: the best gains {gain.gain:.4g} [{gain.low:.4g}, {gain.high:.4g}]")
    table = Table(lab.study.metric, plan.each, sides, benches)
    bottom, top = ends_of(plan.steps)
    reaches, notes = table.reaches(rungs, plan.target)
    budget = lab.study.measure.allowance
    state = lab.log.state
    assert state.best is not None
    start = ends(state)[0]
    return Transfer(
        start=start.commit,
        best=state.best.commit,
        tree=state.best.tree,
        held=choosing_set(lab.study),
        runs=plan.runs,
        each=plan.each,
        machine=lab.executor.machine,
        rungs=tuple(rungs),
        bottom=bottom,
        top=top,
        stack=table.passage(sides[1], bottom, top).word,
        unit=budget.unit if budget else None,
        changes=tuple(table.passage(side, bottom, top) for side in table.changes),
        reaches=tuple(reaches),
        notes=tuple(notes),
    )
