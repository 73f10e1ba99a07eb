"""
A night of 35 researchers who check each other: 333 real training runs, on two cores, in one command.

    python -m benchmarks.swarm_night --write

Each node is a process of its own with a clone, an identity, a log and a kind of machine: 2 large, 3 medium, 30 small, by how many
steps of training each has time for (benchmarks/night). They reach each other over Zenoh on loopback. One small node has the idea of
a scaled initialisation, the large ones that of a high learning rate; all have some of the many ideas that do little. What a node keeps,
it measured. Three more join when the others are done, and make the runs up to 333. All that is reported is worked out from
signed receipts by `autoresearch swarm verify`, and held against what the nodes' own logs say.
"""

import argparse
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace
from rich.progress import Progress, TaskID

from autoresearch import log, session
from autoresearch.company import in_company
from autoresearch.execute import Executor, Hopeless
from autoresearch.git import git
from autoresearch.listener import Listener
from autoresearch.report.adoption import drawing, svg
from autoresearch.session import Goal
from autoresearch.share import identity, membership, node, settings, verify
from autoresearch.share.board import Told, read_book
from autoresearch.share.book import Book
from autoresearch.share.settings import Settings
from autoresearch.share.tables import Tables, findings, tables, taken
from autoresearch.state import State, fold
from autoresearch.study import Study
from autoresearch.trial import Machine, Measurement, Run
from autoresearch.workspace import HOME
from benchmarks.night import FILES, FOLDER, STEPS
from benchmarks.night.ideas import Ideas
from benchmarks.tables import RESULTS, markdown, report

TITLE = "A night of 35 researchers"
LARGE, MEDIUM, SMALL = 2, 3, 30
NODES, RUNS = LARGE + MEDIUM + SMALL, 333
FINDER = LARGE + MEDIUM  # the small node that has the idea
JOIN_S = 8.0  # one node after another joins; who comes late hears what others found
INIT, RATE = ("INIT", '"scaled"'), ("LEARNING_RATE", "1.2")
OTHERS = (
    ("WIDTH", "64"),
    ("WIDTH", "128"),
    ("WARMUP", "5"),
    ("WARMUP", "20"),
    ("WARMUP", "40"),
    ("WEIGHT_DECAY", "0.0003"),
    ("WEIGHT_DECAY", "0.001"),
    ("SMOOTHING", "0.02"),
    ("SMOOTHING", "0.05"),
    ("LEARNING_RATE", "0.2"),
    ("LEARNING_RATE", "0.25"),
    ("LEARNING_RATE", "0.35"),
    ("MOMENTUM", "0.88"),
    ("MOMENTUM", "0.85"),
)
MOST = 3  # runs that a trial may take: two of its own, one of its base
CALIBRATE, QUOTA, LATE = 2, 10, 3  # runs of the start; of each node; and nodes that come last and make what is left
FAREWELL_S = 3.0
CHANGES = {  # of the study, for a night in which 35 nodes share two cores
    'policy = "climb"': f'policy = "climb"\ncalibrate = {CALIBRATE}\nrepeats = 2',
    "timeout_s = 120": "timeout_s = 600",
    "min = 0.0": "min = 0.0\nmax_step = 4.0",  # nothing is looked at again in a clean room, which would take two runs more
}


def tier_of(number: int) -> str:
    return "large" if number < LARGE else "medium" if number < LARGE + MEDIUM else "small"


def ideas_of(number: int) -> list[tuple[str, str]]:
    """What a node would try by itself, in its order."""
    rng = random.Random(number)
    own = rng.sample(OTHERS, len(OTHERS))
    first = {FINDER: [INIT]} | {large: [RATE] for large in range(LARGE)}
    more = [("WARMUP", str(steps)) for steps in range(11, 40)] if number >= NODES - LATE else []
    return [*first.get(number, []), *own, *more]


# -- one node -------------------------------------------------------------------------------------------------------


class Tiered:
    """An executor on a kind of machine that the benchmark names."""

    def __init__(self, inner: Executor, tier: str) -> None:
        self.inner, self.machine, self.runs = inner, Machine(tier, 1), 0

    def run(
        self, run: Run, tree: Path, study: Study, usual: Measurement | None = None, hopeless: Hopeless | None = None
    ) -> Measurement:
        self.runs += 1
        return replace(self.inner.run(run, tree, study, usual, hopeless), machine=self.machine)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def work(folder: Path, number: int, quota: int) -> None:
    """One node: so many runs, then it stays and passes on what it knows until the night is over."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[number % len(cores)]})  # runs are pinned to what their node may use
    most = MOST if number < NODES - LATE else 1  # the last ones decide by one run, and can end with the very last

    def may_start(state: State, _: int) -> bool:
        open_ = (state.trials[id] for id in state.unfinished)
        promised = sum(max(0, most - len(trial.runs)) for trial in open_)
        return executor.runs + promised + most <= quota

    with session.opened(folder, Goal(hours=1), Listener(), Ideas(ideas_of(number))) as alone:
        executor = Tiered(alone.executor, tier_of(number))
        lab = replace(alone, executor=executor, may_start=may_start)
        with in_company(folder, lab) as company, session.stoppable(company):
            session.see_through(company, "its runs are made")
            (folder.parent / f"{number:02}.done").write_text(str(executor.runs))
            while not (folder.parent / "over").exists():
                time.sleep(0.2)
            time.sleep(FAREWELL_S)


# -- all of them ----------------------------------------------------------------------------------------------------


def prepare(folder: Path) -> list[Path]:
    """The study, a clone of it for each node, and all of them in one swarm."""
    first = folder / "study"
    first.mkdir()
    for name in FILES:
        (first / name).write_bytes((FOLDER / name).read_bytes())
    study = first / "study.toml"
    text = study.read_text()
    for was, now in CHANGES.items():
        assert was in text, was
        text = text.replace(was, now)
    study.write_text(text)
    git(first, "init", "-q", "-b", "main")
    git(first, "add", "-A")
    git(first, "-c", "user.name=b", "-c", "user.email=b@localhost", "commit", "-q", "-m", "start")
    with socket.create_server(("127.0.0.1", 0)) as free:
        where = f"tcp/127.0.0.1:{free.getsockname()[1]}"
    invitation = membership.new(connect=(where,))
    nodes = []
    for number in range(NODES):
        one = folder / f"{number:02}"
        git(folder, "clone", "-q", str(first), str(one))
        if number >= NODES - LATE:
            own = one / "study.toml"
            own.write_text(own.read_text().replace('policy = "climb"', 'policy = "greedy"'))
        home = session.make_home(one)
        me = identity.own(settings.folder(home))
        chosen = Settings(settings.pet_name(me.peer), invitation.swarm, invitation.ticket(me.peer))
        way = {"listen": where} if number == 0 else {"connect": (where,)}
        settings.save(home, replace(chosen, **way))
        nodes.append(one)
    return nodes


def begin(one: Path, number: int, quota: int) -> "subprocess.Popen[bytes]":
    """A node's process."""
    env = {**os.environ, "NIGHT_STEPS": str(STEPS[tier_of(number)])}
    command = [sys.executable, "-m", "benchmarks.swarm_night", "--node", str(one), str(number), str(quota)]
    log_file = (one.parent / f"{number:02}.log").open("wb")
    return subprocess.Popen(command, env=env, stdout=log_file, stderr=subprocess.STDOUT)


def night(nodes: list[Path], progress: Progress) -> float:
    """All nodes but the last few, one after another; then those beside them, with the runs that are left. In seconds."""
    began, folder = time.monotonic(), nodes[0].parent
    shown = progress.add_task("runs", total=RUNS)
    going: list[subprocess.Popen[bytes]] = []
    try:
        for number, one in enumerate(nodes[:-LATE]):
            going.append(begin(one, number, QUOTA))
            time.sleep(JOIN_S)
        made = wait(going, folder, shown, progress)
        for place in range(LATE):
            quota = (RUNS - made) * (place + 1) // LATE - (RUNS - made) * place // LATE
            number = NODES - LATE + place
            going.append(begin(nodes[number], number, quota))
        wait(going, folder, shown, progress)
        (folder / "over").touch()
        for process in going:
            process.wait()
    finally:
        for process in going:
            if process.poll() is None:
                process.terminate()
    return time.monotonic() - began


def wait(going: list["subprocess.Popen[bytes]"], folder: Path, shown: TaskID, progress: Progress) -> int:
    """Until each of these has made its runs: how many those are."""
    while True:
        done = [folder / f"{number:02}.done" for number in range(len(going))]
        made = sum(int(path.read_text() or 0) for path in done if path.exists())
        progress.update(shown, completed=made)
        if all(path.exists() and path.read_text() for path in done):
            return made
        for number, process in enumerate(going):
            if process.poll() is not None:
                raise SystemExit(f"node {number} ended: {(folder / f'{number:02}.log').read_text()[-2000:]}")
        time.sleep(0.2)


# -- what came of it ------------------------------------------------------------------------------------------------


class Seen(Struct, frozen=True):
    """What receipts say, and what the nodes' own logs say that they should."""

    tables: Tables
    digests: int  # different ones among the nodes
    wrong: list[str]  # what `swarm verify` found on any node
    logged: int  # runs in the logs, and trials that nobody was told of
    adopters: dict[str, dict[str, set[str]]]  # idea -> tier -> peers that adopted it after measuring it
    refused: dict[str, dict[str, set[str]]]  # ... and that measured it and did not


def looked_at(nodes: list[Path]) -> Seen:
    found = [verify.differences(settings.folder(one / HOME) / node.BOOK) for one in nodes]
    first = found[0][0]
    logged = 0
    for one in nodes:
        state = fold(log.decode(session.journal(one).read_bytes()))
        logged += sum(
            run.measurement is not None and run.measurement.status != "stopped" for run in state.runs.values()
        )
    adopters: dict[str, dict[str, set[str]]] = {}
    refused: dict[str, dict[str, set[str]]] = {}
    for told in told_of(nodes[0]):
        into = adopters if told.adopted else refused
        about = told.finding.idea.rpartition("found: ")[2]
        if told.finding.about:
            into.setdefault(about, {}).setdefault(told.finding.tier, set()).add(told.peer)
    wrong = [f"node {number}: {line}" for number, (_, lines) in enumerate(found) for line in lines]
    return Seen(first, len({one.digest for one, _ in found}), wrong, logged, adopters, refused)


def told_of(one: Path) -> list[Told]:
    return list(read_book(Book(settings.folder(one / HOME) / node.BOOK)).findings.values())


def page(seen: Seen, took_s: float) -> str:
    told = seen.tables
    by_tier = {tier: [peer for peer in told.peers if peer.tier == tier] for tier in STEPS}
    people = [
        [tier, str(len(peers)), str(sum(peer.runs for peer in peers)), f"{sum(p.findings for p in peers)}"]
        for tier, peers in by_tier.items()
    ]
    ideas = sorted({*seen.adopters, *seen.refused}, key=lambda idea: -_many(seen.adopters.get(idea, {})))
    spread = [
        [
            idea,
            *(
                f"{len(seen.adopters.get(idea, {}).get(tier, ()))} / {len(seen.refused.get(idea, {}).get(tier, ()))}"
                for tier in STEPS
            ),
        ]
        for idea in ideas[:12]
    ]
    text = (
        f"{told.runs} runs by {len(told.peers)} peers in {took_s:.0f} s; the nodes' own logs hold {seen.logged}. "
        f"{seen.digests} digest{'s' if seen.digests > 1 else ''} among {len(told.peers)} nodes; `swarm verify` on each found "
        f"{len(seen.wrong)} differences.\n\n"
    )
    text += markdown(["tier", "nodes", "runs", "claims"], people)
    text += "\nWho measured somebody else's finding, and then adopted it / did not:\n\n"
    text += markdown(["finding", *STEPS], spread)
    parts = ("a quarter", "half", "three quarters", "all")
    shown = "".join(f"![after {part}](swarm_night_{quarter}.svg)\n" for quarter, part in enumerate(parts, 1))
    return f"{text}\nWho took up what from whom, after a quarter of all adoptions, half, three quarters, and all:\n\n{shown}"


def pictures(one: Path) -> None:
    """Who took up what from whom, after a quarter of it, half, three quarters, and all."""
    swarm = read_book(Book(settings.folder(one / HOME) / node.BOOK))
    shown = drawing(tables(swarm, ""), taken(swarm), findings(swarm))
    steps = len(shown.steps)
    for quarter in range(1, 5):
        (RESULTS / f"swarm_night_{quarter}.svg").write_text(svg(shown, steps * quarter // 4))


def _many(by_tier: dict[str, set[str]]) -> int:
    return len(set().union(*by_tier.values())) if by_tier else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the nodes are to be kept")
    parser.add_argument("--write", action="store_true", help="write the table and the pictures to benchmarks/results")
    parser.add_argument("--node", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node:
        folder, number, quota = options.node
        work(Path(folder), int(number), int(quota))
        return
    with tempfile.TemporaryDirectory() as name, Progress() as progress:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        nodes = prepare(folder)
        took_s = night(nodes, progress)
        seen = looked_at(nodes)
        if options.write:
            pictures(nodes[0])
    for line in seen.wrong[:20]:
        print(line)
    report("swarm_night", TITLE, page(seen, took_s), options.write)


if __name__ == "__main__":
    main()
