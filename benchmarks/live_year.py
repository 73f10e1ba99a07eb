"""
A simulated year of a live study at a hundred decisions a day, through the real store and the real campaign: what a
decision costs in its first month and in its last, how large the store becomes, and what the study makes of the audience.

    python -m benchmarks.live_year --no-writer --write  # the template's levels alone
    python -m benchmarks.live_year --write  # with a writer, who has some hundred more

The extra `live` is needed. The template `landing-page`, with its segments and its window of 72 hours; the clock and the visitors are
simulated, and what they like is hidden from whatever decides (autoresearch.live.audience). All else is what `autoresearch
run` does: `campaign.turns.Campaign` on a SQLite file, a git repository and a log, one `turn` for each decision. Whenever
fewer than eight levels are open, a writer has one more idea, of no better taste than the levels that are there.
"""

import argparse
import contextlib
import heapq
import itertools
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from rich.progress import Progress

from autoresearch import session, starter
from autoresearch.campaign import house, levels
from autoresearch.campaign.known import Known
from autoresearch.campaign.turns import Campaign, machine
from autoresearch.git import git
from autoresearch.listener import Listener
from autoresearch.live.audience import DEVICES, Taste, taste
from autoresearch.live.plan import assign
from autoresearch.live.records import AnyRecord, Exposure, Outcome, Plan
from autoresearch.live.settings import Live
from autoresearch.live.variables import FILE, Variable, Variables, cell_of
from autoresearch.report.brief import Brief
from autoresearch.study import load
from autoresearch.trial import Limits, Proposal
from autoresearch.workspace import Tree
from benchmarks.tables import markdown, report

DECISIONS, A_DAY, MONTHS = 36_500, 100, 12
EVERY_S = 86_400 / A_DAY
BEGIN = 1_700_006_400.0  # midnight
LATE_S = 6 * 3600.0  # mean time from a visit to a click
WRITTEN = {"headline": 60, "reason": 170, "action": 24, "price": 70}  # what the writer has ideas for
MOST_WRITTEN = 200  # of a variable
BEST_OF = 6  # levels of each variable, by their own worth, among which the best cell is looked for
WRITER = "benchmarks.live_year:Writer"
SETTINGS = {
    "every_minutes = 60 ": f"every_minutes = {EVERY_S / 60:g} ",
    'approve = "human" ': 'simulated = true\napprove = "rules" ',
}
HEAD = [
    "month",
    "records",
    "store, MB",
    "levels tried",
    "kept",
    "a decision, ms",
    "p99, ms",
    "of it read",
    "decide",
    "plan",
]
HEAD += ["processor, ms", "adding, ms", "lift there is", "captured"]


class Writer:
    """Has one more idea for each variable in turn."""

    def __init__(self) -> None:
        self.number = itertools.count()

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        number = next(self.number)
        name, level = list(WRITTEN)[number % len(WRITTEN)], f"w{number // len(WRITTEN)}"
        path = tree.path / FILE
        mark = f"[{name}.levels]\n"
        text = path.read_text()
        path.write_text(text.replace(mark, f'{mark}{level} = "{said(name, number)}"\n'))
        return Proposal(f"{name}: said another way", "writer")


def said(name: str, number: int) -> str:
    """Words that no rule of the brand minds, and no two alike."""
    letters = "".join(chr(ord("a") + int(digit)) for digit in str(number))
    return f"Said another way: {letters}"[: WRITTEN[name]] if name != "action" else f"Go on, {letters}"


def everything(variables: Variables) -> Variables:
    """With all levels that the writer may ever have."""
    written = {f"w{i}": f"w{i}" for i in range(MOST_WRITTEN)}
    return Variables(
        {
            name: Variable(default=one.default, levels={**one.levels, **(written if name in WRITTEN else {})})
            for name, one in variables.variables.items()
        }
    )


class Timed(Campaign):
    """A campaign whose decisions are timed, by what they do."""

    took: tuple[float, float] = (0.0, 0.0)  # of the last turn: deciding, planning

    def _decide(self, facts: Known, allowed: dict[str, set[str]], plan: Plan | None) -> None:
        begin = time.perf_counter()
        super()._decide(facts, allowed, plan)
        self.took = time.perf_counter() - begin, 0.0

    def _replan(self, facts: Known, before: Plan | None) -> None:
        begin = time.perf_counter()
        super()._replan(facts, before)
        self.took = self.took[0], time.perf_counter() - begin


class Cost(NamedTuple):
    """Of one decision, in milliseconds."""

    whole: float
    decide: float
    plan: float
    processor: float
    add: float


class Crowd:
    """Visitors one after another, of whom some click, some later than others."""

    def __init__(self, liking: Taste, live: Live, study: str) -> None:
        self.liking, self.live, self.study = liking, live, study
        self.chance, self.n = random.Random("a year of visitors"), 0
        self.coming: list[tuple[float, int, Outcome]] = []

    def until(self, now: float, plan: Plan, visitors: int) -> list[AnyRecord]:
        """What happened since the last decision."""
        chance, found = self.chance, list[AnyRecord]()
        for _ in range(visitors):
            self.n += 1
            at, unit = now - chance.random() * EVERY_S, chance.randbytes(16).hex()
            device = chance.choices(list(DEVICES), list(DEVICES.values()))[0]
            segment = f"device={device}"
            given = assign(plan, self.study, unit, segment)
            shown = {"cell": given.cell, "segment": segment, "plan": plan.number, "chance": given.chance}
            found.append(Exposure(source="page", id=unit, at=at, unit=unit, held=given.held, **shown))  # type: ignore[arg-type]
            if chance.random() < self.liking.rate(cell_of(given.cell), device):
                later = at + chance.expovariate(1 / LATE_S)
                click = Outcome(source="page", id=f"c{unit}", at=later, unit=unit, kind=self.live.outcome)
                heapq.heappush(self.coming, (later, self.n, click))
        while self.coming and self.coming[0][0] <= now:
            found.append(heapq.heappop(self.coming)[2])
        return found


class Year:
    """The study, its visitors, and the time that they have."""

    def __init__(self, campaign: Timed, home: Path, visitors: int) -> None:
        self.campaign, self.home, self.visitors = campaign, home, visitors
        self.start = campaign.variables()
        self.liking = taste(everything(self.start), 1)
        self.crowd = Crowd(self.liking, campaign.live, campaign.lab.study.name)
        self.turns, self.records = 0, 0
        campaign.clock = self.now
        campaign.turn()

    def now(self) -> float:
        return BEGIN + self.turns * EVERY_S

    def decide(self) -> Cost:
        """What came, and a decision."""
        plan = self.plan
        self.turns += 1
        came = self.crowd.until(self.now(), plan, self.visitors)
        begin = time.perf_counter()
        self.records += self.campaign.store.add(came)
        added, worked = time.perf_counter(), time.process_time()
        self.campaign.turn()
        whole, worked = time.perf_counter() - added, time.process_time() - worked
        assert self.plan.number > plan.number, "a decision was due"
        return Cost(*(1000 * seconds for seconds in (whole, *self.campaign.took, worked, added - begin)))

    @property
    def plan(self) -> Plan:
        plan = self.campaign.store.plan()
        assert plan is not None
        return plan

    def captured(self) -> tuple[float, float]:
        """Of the best cell of all levels so far, by what share its rate is above the first defaults'; and how much of that is had."""
        liking, plan = self.liking, self.plan
        base = liking.mean(self.start.default)
        ever = levels.ever_approved(self.campaign.lab.log.state, self.start)
        worth = {
            (name, level): liking.levels[name, level]
            + sum(share * liking.personal[device, name, level] for device, share in DEVICES.items())
            for name, one in ever.variables.items()
            for level in one.levels
        }
        few = {
            name: sorted(one.levels, key=lambda level, name=name: worth[name, level])[-BEST_OF:]  # type: ignore[misc]
            for name, one in ever.variables.items()
        }
        pair = liking.pair[0]
        for name, level in pair.items():
            few[name] += [level] if level in ever.variables[name].levels and level not in few[name] else []
        cells = (dict(zip(few, combo, strict=True)) for combo in itertools.product(*few.values()))
        best = max(liking.mean(cell) for cell in cells if ever.allowed(cell))
        rate = 0.0
        for device, weight in DEVICES.items():
            shares = plan.shares.get(f"device={device}") or plan.shares[""]
            total = sum(shares.values())
            rate += weight * sum(n * liking.rate(cell_of(cell), device) for cell, n in shares.items()) / total
        return best / base - 1, (rate - base) / (best - base)

    def row(self, month: int, costs: list[Cost]) -> list[str]:
        state = self.campaign.lab.log.state
        size = sum(file.stat().st_size for file in house.folder(self.home).iterdir()) / 1e6
        whole, decide, plan, worked, add = (median(column) for column in zip(*costs, strict=True))
        there, captured = self.captured()
        return [
            str(month),
            f"{self.records:,}",
            f"{size:.0f}",
            str(len(levels.tried(state))),
            str(len(state.kept)),
            f"{whole:.0f}",
            f"{quantiles([cost.whole for cost in costs], n=100)[98]:.0f}",
            f"{whole - decide - plan:.0f}",
            f"{decide:.0f}",
            f"{plan:.0f}",
            f"{worked:.0f}",
            f"{add:.0f}",
            f"{there:+.0%}",
            f"{captured:.0%}",
        ]


@contextlib.contextmanager
def opened(folder: Path, visitors: int, writer: bool) -> Iterator[Year]:
    """A study from the template, and a year before it."""
    starter.make(folder, "landing-page", own=True)
    path = folder / "study.toml"
    text = path.read_text()
    for was, now in SETTINGS.items():
        assert was in text, was
        text = text.replace(was, now)
    path.write_text(text + (f'\n[propose]\nwith = ["{WRITER}"]\n' if writer else ""))
    git(folder, "commit", "--quiet", "--no-verify", "--all", "-m", "A simulated year")
    study = load(folder)
    assert study.live is not None
    with session.opened(folder, session.Goal(), Listener()) as lab:
        home = lab.workspace.home
        store = house.store_of(study.name, study.live, home)
        try:
            session.begin(lab, machine(study.live))
            yield Year(Timed(lab, home, store), home, visitors)
        finally:
            store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--decisions", type=int, default=DECISIONS)
    parser.add_argument("--visitors", type=int, default=10, help="to each decision")
    parser.add_argument("--no-writer", action="store_true", help="no levels but the template's")
    parser.add_argument("--months", type=int, default=MONTHS, help="rows of the table")
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results")
    options = parser.parse_args()
    rows, costs = list[list[str]](), list[Cost]()
    began = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as name,
        opened(Path(name) / "study", options.visitors, not options.no_writer) as year,
        Progress() as progress,
    ):
        ends = [options.decisions * (i + 1) // options.months for i in range(options.months)]
        for turn in progress.track(range(1, options.decisions + 1), description="a year"):
            costs.append(year.decide())
            if turn == ends[len(rows)]:
                rows.append(year.row(len(rows) + 1, costs))
                costs = []
                # After each month, so that a year that is broken off leaves what it found.
                told(options, rows, turn, time.perf_counter() - began)


def told(options: argparse.Namespace, rows: list[list[str]], decisions: int, took_s: float) -> None:
    """The table as far as it goes."""
    ideas = "" if options.no_writer else " A writer has an idea whenever fewer than eight levels are open."
    text = f"""
{decisions:,} decisions at {A_DAY} a day with {options.visitors} visitors to each, {options.visitors * A_DAY:,} a day, in {took_s / 60:.1f} minutes, the making of visitors
included.{ideas} Medians of each month. *A decision*: one turn of the campaign: levels
taken up, everything *read* that is known, *decide*, and the *plan* made and on the disk; *processor*: what of it was work and not
waiting. *Adding*: what visitors did since the last one, until it is on the disk. *Lift there is*: of the best cell of all levels so
far over the first defaults, shown to all; *captured*: how much of it the plan's visitors have, the holdout aside (more than all of it where
phones and desktops are shown different ones).

{markdown(HEAD, rows)}"""
    name = "live_year_plain" if options.no_writer else "live_year"
    report(name, "A live study's year at a hundred decisions a day", text, options.write)


if __name__ == "__main__":
    main()
