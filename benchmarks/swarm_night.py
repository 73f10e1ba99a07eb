"""
A night of 35 researchers who check each other: 333 real training runs, on two cores, in one command.

    python -m benchmarks.swarm_night --write

Each node is a process of its own with a clone, an identity, a log and a kind of machine: 2 large, 3 medium, 30 small, by how many
steps of training each has time for (benchmarks/night). They reach each other over Zenoh on loopback. One small node has the idea of
a scaled initialisation, the large ones that of a high learning rate; all have some of the many ideas that do little. What a node keeps,
it measured. The last node joins when the others are done, and makes the runs up to 333. All that is reported is worked out from
signed receipts by `autoresearch swarm verify`, and held against what the nodes' own logs say.
"""

import argparse
import contextlib
import fcntl
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace
from rich.progress import Progress

from autoresearch import log, session
from autoresearch.company import in_company
from autoresearch.events import Event, TrialDecided
from autoresearch.execute import Executor, Hopeless
from autoresearch.git import git
from autoresearch.listener import Listener
from autoresearch.session import Goal
from autoresearch.share import identity, membership, node, settings, verify
from autoresearch.share.board import Told, read_book
from autoresearch.share.book import Book
from autoresearch.share.settings import Settings
from autoresearch.share.tables import Tables
from autoresearch.state import State, fold
from autoresearch.study import Study
from autoresearch.trial import Machine, Measurement, Run
from autoresearch.workspace import HOME
from benchmarks.night import FILES, FOLDER, STEPS
from benchmarks.night.ideas import Ideas
from benchmarks.tables import markdown, report

TITLE = "A night of 35 researchers"
LARGE, MEDIUM, SMALL = 2, 3, 30
NODES, RUNS = LARGE + MEDIUM + SMALL, 333
FINDER = LARGE + MEDIUM + 11  # the small node that has the idea
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
MOST = 5  # runs that a trial may take: two of its own, one of its base, and one of each in the clean room
CALIBRATE, LATE = 2, 6  # runs of the start on each node; and those that are left to the last
FAREWELL_S = 3.0
CHANGES = {  # of the study, for a night in which 35 nodes share two cores
    'policy = "climb"': f'policy = "climb"\ncalibrate = {CALIBRATE}\nrepeats = 2',
    "timeout_s = 120": "timeout_s = 600",
}


def tier_of(number: int) -> str:
    return "large" if number < LARGE else "medium" if number < LARGE + MEDIUM else "small"


def ideas_of(number: int) -> list[tuple[str, str]]:
    """What a node would try by itself, in its order."""
    rng = random.Random(number)
    own = rng.sample(OTHERS, len(OTHERS))
    first = {FINDER: [INIT]} | {large: [RATE] for large in range(LARGE)}
    return [*first.get(number, []), *own]


# -- one node -------------------------------------------------------------------------------------------------------


class Permits:
    """
    Runs that are left for all nodes together, in a file. A trial takes as many as it may need before it begins, and gives back what it
    did not; who asks while others still hold some waits for what they give back.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def _open(self) -> Iterator[dict[str, int]]:
        with self.path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            told = json.loads(file.read())
            yield told
            file.seek(0)
            file.truncate()
            file.write(json.dumps(told))

    def take(self, n: int) -> bool:
        while True:
            with self._open() as told:
                if told["left"] >= n:
                    told["left"] -= n
                    told["held"] += n
                    return True
                if not told["held"]:
                    return False
            time.sleep(0.2)

    def is_over(self) -> bool:
        """Whether all runs were made, the last node's too."""
        with self._open() as told:
            return bool(told["late"]) and not told["left"] and not told["held"]

    def admit(self, n: int) -> bool:
        """So many more for the last node, once the others have come to their end."""
        with self._open() as told:
            if told["held"] or told["left"] >= MOST or told["late"]:
                return False
            told["left"] += n
            told["late"] = True
            return True

    def left(self) -> int:
        with self._open() as told:
            return told["left"]

    def give(self, back: int, used: int) -> None:
        with self._open() as told:
            told["left"] += back
            told["held"] -= back + used


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


class Ears(Listener):
    """Gives back what a trial did not need."""

    def __init__(self, permits: Permits) -> None:
        self.permits, self.holds, self.before = permits, 0, 0
        self.executor: Tiered | None = None

    def event(self, event: Event, state: State) -> None:
        if isinstance(event, TrialDecided) and self.holds and self.executor is not None:
            used = self.executor.runs - self.before
            self.permits.give(self.holds - used, used)
            self.holds = 0

    def ask(self, n: int) -> bool:
        if self.permits.take(n):
            self.holds, self.before = n, self.executor.runs if self.executor else 0
            return True
        return False


def work(folder: Path, number: int, permits: Path) -> None:
    """One node, to the end of the night."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[number % len(cores)]})  # runs are pinned to what their node may use
    ears = Ears(Permits(permits))
    late = number == NODES - 1
    # The last makes each trial with one run, so that it can end with the last that is left.
    most, start = (1, 1) if late else (MOST, CALIBRATE)
    with session.opened(folder, Goal(hours=1), ears, Ideas(ideas_of(number))) as alone:
        ears.executor = executor = Tiered(alone.executor, tier_of(number))
        if not ears.ask(start):
            return
        lab = replace(alone, executor=executor, may_start=lambda state, running: ears.ask(most))
        with in_company(folder, lab) as company, session.stoppable(company):
            session.see_through(company, "the night is over")
            while not ears.permits.is_over():  # others still tell, and the last has to hear from somebody
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
        if number == NODES - 1:
            own = one / "study.toml"
            own.write_text(own.read_text().replace('policy = "climb"', 'policy = "greedy"'))
        home = session.make_home(one)
        me = identity.own(settings.folder(home))
        chosen = Settings(settings.pet_name(me.peer), invitation.swarm, invitation.ticket(me.peer))
        way = {"listen": where} if number == 0 else {"connect": (where,)}
        settings.save(home, replace(chosen, **way))
        nodes.append(one)
    return nodes


def begin(one: Path, number: int, permits: Path) -> "subprocess.Popen[bytes]":
    """A node's process."""
    env = {**os.environ, "NIGHT_STEPS": str(STEPS[tier_of(number)])}
    command = [sys.executable, "-m", "benchmarks.swarm_night", "--node", str(one), str(number), str(permits)]
    return subprocess.Popen(
        command, env=env, stdout=(one.parent / f"{number:02}.log").open("wb"), stderr=subprocess.STDOUT
    )


def night(nodes: list[Path], path: Path, progress: Progress) -> float:
    """All nodes but the last at once, then the last beside them; how long it took, in seconds."""
    began, permits = time.monotonic(), Permits(path)
    path.write_text(json.dumps({"left": RUNS - LATE, "held": 0, "late": False}))
    shown = progress.add_task("runs", total=RUNS)
    going = [begin(one, number, path) for number, one in enumerate(nodes[:-1])]
    try:
        while any(process.poll() is None for process in going):
            if permits.admit(LATE):
                going.append(begin(nodes[-1], NODES - 1, path))
            progress.update(shown, completed=RUNS - permits.left() - LATE * (len(going) < NODES))
            time.sleep(0.2)
            for number, process in enumerate(going):
                if process.poll():
                    raise SystemExit(f"node {number}: {(path.parent / f'{number:02}.log').read_text()[-2000:]}")
    finally:
        for process in going:
            if process.poll() is None:
                process.terminate()
    return time.monotonic() - began


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
    tables = found[0][0]
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
    return Seen(tables, len({one.digest for one, _ in found}), wrong, logged, adopters, refused)


def told_of(one: Path) -> list[Told]:
    return list(read_book(Book(settings.folder(one / HOME) / node.BOOK)).findings.values())


def page(seen: Seen, took_s: float) -> str:
    tables = seen.tables
    by_tier = {tier: [peer for peer in tables.peers if peer.tier == tier] for tier in STEPS}
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
        f"{tables.runs} runs by {len(tables.peers)} peers in {took_s:.0f} s; the nodes' own logs hold {seen.logged}. "
        f"{seen.digests} digest{'s' if seen.digests > 1 else ''} among {len(tables.peers)} nodes; `swarm verify` on each found "
        f"{len(seen.wrong)} differences.\n\n"
    )
    text += markdown(["tier", "nodes", "runs", "claims"], people)
    text += "\nWho measured somebody else's finding, and then adopted it / did not:\n\n"
    return text + markdown(["finding", *STEPS], spread)


def _many(by_tier: dict[str, set[str]]) -> int:
    return len(set().union(*by_tier.values())) if by_tier else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the nodes are to be kept")
    parser.add_argument("--write", action="store_true", help="write the table and the pictures to benchmarks/results")
    parser.add_argument("--node", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node:
        folder, number, permits = options.node
        work(Path(folder), int(number), Path(permits))
        return
    with tempfile.TemporaryDirectory() as name, Progress() as progress:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        nodes = prepare(folder)
        took_s = night(nodes, folder / "permits", progress)
        seen = looked_at(nodes)
    for line in seen.wrong[:20]:
        print(line)
    report("swarm_night", TITLE, page(seen, took_s), options.write)


if __name__ == "__main__":
    main()
