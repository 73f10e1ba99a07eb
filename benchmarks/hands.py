"""
Sixteen slots of two kinds against one: how much sooner, how idle, at what cost in the head, and is the comparison fair.

    python -m benchmarks.hands --write             # all of it: some 70 minutes
    python -m benchmarks.hands --sixteen --write   # how idle and at what cost alone: 7 minutes
    python -m benchmarks.hands --singly 3 --write  # one constant at a time, three studies at once: 8 minutes

Real studies by the built-in search under the default policy, with real processes for runs, which wait where a card would
train (hands_train.py). The machine says that it has cards, 13 of one kind and 3 of a faster one. Several studies on one slot each
go on all the time beside the others, so that what the machine does to one it does to all:

- 13 + 3 slots, as they are;
- the same without mixes and factorial waves;
- the same with all cards called by one name, so that kinds are confounded;
- the first two again and again, two at a time: how much sooner, and how often each finds the pair that helps only together.
"""

import argparse
import ast
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct
from rich.progress import Progress

from autoresearch import log, session
from autoresearch.events import Event, RunFinished, RunStarted, SessionStarted
from autoresearch.git import git
from autoresearch.listener import Listener
from autoresearch.propose import search, waves
from autoresearch.session import Goal
from autoresearch.state import State, fold
from benchmarks import hands_train as train
from benchmarks.ahead import idle
from benchmarks.tables import markdown, report

TITLE = "Sixteen slots against one"
SLOW, FAST = 13, 3
STUDY = """\
name = "hands"
asset = ["settings.py"]
[metric]
name = "loss"
[measure]
run = "python -I -S train.py"
[execute]
sandbox = "none"
"""
NO_WAVES, WAVES, SINGLY = (
    0,
    1,
    2,
)  # how search makes its ideas; singly: one constant at a time, but for winners together
KINDS = {"told": ("Card", "Fast card"), "mixed": ("Card", "Card")}


class Night(Struct, frozen=True):
    """What a session left. `path` are the seconds at which best became what, by its true loss, and whether it has the pair."""

    began: float
    runs: int
    trials: int
    kept: int
    false: int  # kept though it is truly worse than what it replaced by more than half a run's noise
    screened: int
    idle: float
    idle_all: float
    head: float
    lasted: float  # seconds
    path: list[tuple[float, float, bool]]


class Head(Struct, frozen=True):
    own_s: float  # processor seconds
    wall_s: float
    told_at: float  # to stop, in seconds since 1970; there is nothing for slots to do from then on


# -- a session, in a process of its own -------------------------------------------------------------------


class Enough(Listener):
    """Stops the study after so many runs."""

    def __init__(self, runs: int) -> None:
        self.runs, self.told_at = runs, math.inf
        self.stop: Callable[[], None] = lambda: None

    def event(self, event: Event, state: State) -> None:
        if isinstance(event, RunStarted) and event.run.id >= self.runs:
            self.told_at = min(self.told_at, event.at)
            self.stop()


def work(folder: Path, runs: int, hours: float, how: int) -> None:
    """The study in this folder until so many runs were begun or the time is over; then, what the head took."""
    if how != WAVES:
        waves.FEWEST = 10**9
    if how == SINGLY:
        for several in ("leap", "group", "combine", "sample", "every"):
            setattr(search.Plan, several, lambda plan: iter(()))
    ears = Enough(runs)
    with session.opened(folder, Goal(hours=hours), ears) as lab, session.stoppable(lab):
        ears.stop = lambda: lab.log.stop("enough runs")
        before, began = time.process_time(), time.monotonic()
        session.see_through(lab, "done")
        took = Head(time.process_time() - before, time.monotonic() - began, min(ears.told_at, time.time()))
    (folder / "head.json").write_bytes(msgspec.json.encode(took))


def make(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "settings.py").write_text("".join(f"{name} = 1.0\n" for name in train.NAMES))
    (folder / "train.py").write_text(Path(train.__file__).read_text().replace("RUN_S = 8.0", f"RUN_S = {train.RUN_S}"))
    (folder / "study.toml").write_text(STUDY)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=b", "-c", "user.email=b@localhost", "commit", "-q", "-m", "start")


def begin(folder: Path, cards: int, names: tuple[str, str], *words: object) -> subprocess.Popen[bytes]:
    """A session on a machine that says it has so many cards, the last three of them of the second kind."""
    make(folder)
    listed = "\\n".join(f"GPU {i}: {names[i >= SLOW]} (UUID: GPU-{i})" for i in range(cards))
    smi = folder.parent / f"smi-{folder.name}"
    smi.mkdir()
    (smi / "nvidia-smi").write_text(f'#!/bin/sh\nprintf "{listed}\\n"\n')
    (smi / "nvidia-smi").chmod(0o755)
    command = [sys.executable, "-m", "benchmarks.hands", "--one", str(folder), *map(str, words)]
    return subprocess.Popen(command, env=machine(folder), stdout=(folder.parent / f"{folder.name}.log").open("wb"))


def machine(folder: Path) -> dict[str, str]:
    """The environment in which nvidia-smi says what it said for this study."""
    env = {**os.environ, "PATH": f"{folder.parent / f'smi-{folder.name}'}:{os.environ['PATH']}"}
    env.pop("CUDA_VISIBLE_DEVICES", None)
    return env


# -- what it left ---------------------------------------------------------------------------------------------


def looked_at(folder: Path, slots: int) -> Night:
    events = list(log.decode(session.journal(folder).read_bytes()))
    state, settings = fold(events), {}
    began = next(event.at for event in events if isinstance(event, SessionStarted))
    path, false = [], 0
    for number in state.kept:
        trial = state.trials[number]
        settings[trial.kept_as] = now = at(folder, trial.kept_as or "")
        path.append(((trial.decided_at or 0.0) - began, train.truth(now), train.both(now)))
        false += not trial.is_baseline and train.truth(now) > train.truth(settings[trial.base]) + train.NOISE / 2
    head = msgspec.json.decode((folder / "head.json").read_bytes(), type=Head)
    decided = [trial for trial in state.trials.values() if trial.runs and not trial.is_baseline]
    return Night(
        began=began,
        runs=len(state.runs),
        trials=len(decided),
        kept=len(state.kept) - 1,
        false=false,
        screened=sum(any(state.runs[run].tier for run in trial.runs) for trial in decided),
        idle=idle(events, slots, last=head.told_at),
        idle_all=idle(events, slots, began, head.told_at),
        head=head.own_s / head.wall_s,
        lasted=head.wall_s,
        path=path,
    )


def at(folder: Path, commit: str) -> dict[str, float]:
    body = ast.parse(git(folder, "show", f"{commit}:settings.py")).body
    return {node.targets[0].id: ast.literal_eval(node.value) for node in body if isinstance(node, ast.Assign)}  # type: ignore[attr-defined]


def certified(folder: Path, seeds: int) -> tuple[float, float, float]:
    """The best's gain over the start on fresh seeds, with its 95 % interval."""
    command = [sys.executable, "-m", "autoresearch", "certify", "--runs", str(seeds), "--no-shares"]
    done = subprocess.run(command, check=False, cwd=folder, env=machine(folder), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"certify in {folder.name}: {done.stderr[-2000:]}")
    claim = fold(log.decode(session.journal(folder).read_bytes())).claims[-1]
    return claim.gain, claim.low, claim.high


def reached(night: Night, loss: float) -> float:
    """Seconds until best was truly this good; endless where it never was."""
    return next((seconds for seconds, value, _ in night.path if value <= loss), math.inf)


def had_pair(night: Night) -> float:
    """Seconds until best had the pair; endless where it never had."""
    return next((seconds for seconds, _, both in night.path if both), math.inf)


# -- the whole ----------------------------------------------------------------------------------------------------


Nights = dict[str, list[Night]]  # kind of study -> those that were made


def together(folder: Path, runs: int, alone_hours: float, times: int, ones: int) -> Nights:
    """So many on one slot each beside the others, which come one after another; and those again, two at a time."""
    alone = {
        f"one {number}": begin(folder / f"one {number}", 1, KINDS["told"], 10**9, alone_hours, 1)
        for number in range(ones)
    }
    nights: Nights = {"one": []}
    try:
        for name, kinds, words in (
            ("sixteen", "told", (runs, 24.0, 1)),
            ("no waves", "told", (runs, 24.0, 0)),
            ("mixed", "mixed", (runs // 2, 24.0, 1)),
        ):
            finish(folder, {f"{name} 0": begin(folder / f"{name} 0", SLOW + FAST, KINDS[kinds], *words)})
            nights[name] = [looked_at(folder / f"{name} 0", SLOW + FAST)]
        for number in range(1, times + 1):
            ways = {f"sixteen {number}": WAVES, f"no waves {number}": NO_WAVES}
            finish(
                folder,
                {name: begin(folder / name, SLOW + FAST, KINDS["told"], runs, 24.0, way) for name, way in ways.items()},
            )
            for name in ways:
                nights[name.rpartition(" ")[0]].append(looked_at(folder / name, SLOW + FAST))
        finish(folder, alone)
    finally:
        for process in alone.values():
            process.terminate()
    nights["one"] = [looked_at(folder / name, 1) for name in alone]
    return nights


def finish(folder: Path, going: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Wait for these studies."""
    codes = {name: process.wait() for name, process in going.items()}
    for name in (name for name, code in codes.items() if code):
        raise SystemExit(f"{name} failed: {(folder / f'{name}.log').read_text()[-2000:]}")


def table(nights: Nights, claims: Mapping[str, tuple[float, float, float]]) -> str:
    rows = []
    for kind, made in nights.items():
        for number, night in enumerate(made):
            gain, low, high = claims[f"{kind} {number}"]
            rows.append(
                [
                    NAMES[kind],
                    f"{night.runs}",
                    f"{night.trials} ({night.screened})",
                    f"{night.kept} ({night.false})",
                    f"{gain:.3f} [{low:.3f}, {high:.3f}]",
                    f"{night.path[0][1] - night.path[-1][1]:.3f}",
                    seconds(had_pair(night)),
                    f"{night.idle:.2%}",
                    f"{night.idle_all:.2%}",
                    f"{night.head:.1%}",
                ]
            )
    header = [
        "",
        "runs",
        "trials (screened on the fast kind)",
        "kept (of them truly worse)",
        "certified gain",
        "true gain",
    ]
    header += ["A and B found after", "slots idle", "with the first run", "head, of a core"]
    return markdown(header, rows)


def seconds(value: float) -> str:
    return "never" if value == math.inf else f"{value:.0f} s"


def singly(folder: Path, runs: int, times: int) -> str:
    """Studies in which no idea changes two constants."""
    names = [f"singly {number}" for number in range(times)]
    going = [begin(folder / name, SLOW + FAST, KINDS["told"], runs, 24.0, SINGLY) for name in names]
    codes = [process.wait() for process in going]
    if any(codes):
        raise SystemExit("a study failed")
    seen = [looked_at(folder / name, SLOW + FAST) for name in names]
    rows = [
        [
            str(night.runs),
            f"{night.lasted:.0f} s",
            f"{night.path[0][1] - night.path[-1][1]:.3f}",
            "yes" if night.path[-1][2] else "no",
        ]
        for night in seen
    ]
    about = f"{times} studies at once on {SLOW} + {FAST} slots; no idea of search changes two constants, but winners are measured together."
    return f"{about}\n\n{markdown(['runs', 'in', 'true gain', 'A and B found'], rows)}"


def by_minutes(folder: Path, slots: int) -> str:
    """Slots' time without a run, minute by minute, from the end of the first run."""
    events = list(log.decode(session.journal(folder).read_bytes()))
    head = msgspec.json.decode((folder / "head.json").read_bytes(), type=Head)
    first = next(event.at for event in events if isinstance(event, RunFinished))
    rows: list[list[str]] = []
    while first < head.told_at:
        rows.append([f"{len(rows) + 1}", f"{idle(events, slots, first, min(first + 60, head.told_at)):.2%}"])
        first += 60
    return markdown(["minute", "slots idle"], rows)


def sooner(nights: Nights, certified: float, alone: float) -> str:
    """
    When studies of each kind had got so far on the way to what those on sixteen slots certified, and to what those on one did: the
    median, the first and the last.
    """
    start, rows = nights["one"][0].path[0][1], list[list[str]]()
    gains = {f"{share:.0%} ({share * certified:.3f})": share * certified for share in (0.25, 0.5, 0.75, 0.9, 0.95, 1.0)}
    for label, gain in {**gains, f"what one slot certified at least ({alone:.3f})": alone}.items():
        cells, middles = [label], {}
        for kind in ("sixteen", "no waves", "one"):
            took = sorted(reached(night, start - gain) for night in nights[kind])
            middles[kind] = median(took)
            most = min(night.lasted for night in nights[kind])
            shown = [
                f"{value:.0f}" if value < math.inf else f"not in {most:.0f}"
                for value in (middles[kind], took[0], took[-1])
            ]
            cells.append(f"{shown[0]} ({shown[1]} to {shown[2]})")
        if middles["sixteen"] == math.inf:
            cells.append("")
        elif middles["one"] == math.inf:
            cells.append(f"more than {min(night.lasted for night in nights['one']) / middles['sixteen']:.1f}")
        else:
            cells.append(f"{middles['one'] / middles['sixteen']:.1f}")
        rows.append(cells)
    header = ["of the certified gain", "13 + 3 slots, s", "without mixes and waves, s", "one slot, s", "times sooner"]
    return markdown(header, rows)


NAMES = {
    "one": "one slot",
    "sixteen": "13 + 3 slots",
    "no waves": "13 + 3 slots, no mixes nor waves",
    "mixed": "13 + 3 slots by one name",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--runs", type=int, default=910, help="of each study on sixteen slots")
    parser.add_argument("--run-s", type=float, default=8.0, help="what a run takes")
    parser.add_argument("--alone-minutes", type=float, default=40.0, help="for the studies on one slot")
    parser.add_argument(
        "--again", type=int, default=3, help="more studies with mixes and waves and without, two at a time"
    )
    parser.add_argument("--ones", type=int, default=6, help="studies on one slot")
    parser.add_argument("--seeds", type=int, default=5, help="of each certificate")
    parser.add_argument(
        "--singly", type=int, default=0, help="so many studies in which one constant is changed at a time"
    )
    parser.add_argument("--sixteen", action="store_true", help="13 + 3 slots alone, for how idle they are")
    parser.add_argument("--folder", type=Path, help="where the studies are to be kept")
    parser.add_argument("--write", action="store_true", help="write the tables to benchmarks/results")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        folder, runs, hours, how = options.one
        work(Path(folder), int(runs), float(hours), int(how))
        return
    train.RUN_S = options.run_s
    if options.singly:
        with tempfile.TemporaryDirectory() as name:
            text = singly(options.folder or Path(name), options.runs, options.singly)
        report("hands_singly", "One constant at a time", text, options.write)
        return
    if options.sixteen:
        with tempfile.TemporaryDirectory() as name:
            sixteen = (options.folder or Path(name)) / "sixteen"
            if begin(sixteen, SLOW + FAST, KINDS["told"], options.runs, 24.0, 1).wait():
                raise SystemExit(f"it failed: {sixteen.with_suffix('.log').read_text()[-2000:]}")
            seen = looked_at(sixteen, SLOW + FAST)
            text = (
                f"{seen.runs} runs of {options.run_s:g} s at most on {SLOW} + {FAST} slots in {seen.lasted:.0f} s: slots idle "
                f"{seen.idle:.2%} from the end of the first run until the study was told to stop; the head used {seen.head:.1%} of a "
                f"core.\n\n{by_minutes(sixteen, SLOW + FAST)}"
            )
        report("hands_sixteen", "How idle sixteen slots are", text, options.write)
        return
    with tempfile.TemporaryDirectory() as name, Progress() as progress:
        folder = options.folder or Path(name)
        shown = progress.add_task("four studies", total=None)
        nights = together(folder, options.runs, options.alone_minutes / 60, options.again, options.ones)
        progress.update(shown, description="certificates")
        names = [f"{kind} {number}" for kind, made in nights.items() for number in range(len(made))]
        claims = {name: certified(folder / name, options.seeds) for name in names}
    middle = median(claims[f"sixteen {number}"][0] for number in range(len(nights["sixteen"])))
    alone = median(claims[f"one {number}"][1] for number in range(len(nights["one"])))
    about = (
        f"Runs of {options.run_s:g} s, {SLOW} + {FAST} slots; on the fast kind each loss is better by {train.HEAD_START}, and a run "
        f"scatters by {train.NOISE} besides what its seed shares. A and B bring {train.TOGETHER} together and cost {train.ALONE} "
        "each alone. *Slots idle*: of the slots' time from the end of the first run until the study was told to stop, the share "
        "in which no run was under way. Truly worse: by more than half a run's noise. The first study of each kind had the machine to "
        "itself but for those on one slot; the others went two at a time."
    )
    how_soon = (
        f"Seconds until best was truly so good, of {len(nights['sixteen'])} studies on {SLOW} + {FAST} slots and {len(nights['one'])} on one: the "
        f"median, and the first and the last. All of it is what the certificates on {SLOW} + {FAST} slots say, their median; the last line is the "
        "lower end of those on one slot, their median."
    )
    report(
        "hands",
        TITLE,
        f"{about}\n\n{table(nights, claims)}\n\n{how_soon}\n\n{sooner(nights, middle, alone)}",
        options.write,
    )


if __name__ == "__main__":
    main()
