"""
How many trials a portfolio of search and a model takes to a target, against the better one of the two alone.

The loop, the log, the state, the policy, Search and Portfolio are the real ones; files lie in plain folders instead of
git worktrees, and a measurement is a function that takes no time. The "model" is scripted: with a given chance it makes
a change that truly helps, else one that does not. Sometimes it is the better of the two, sometimes search is, and the
portfolio is not told.

    TMPDIR=/dev/shm python -m benchmarks.portfolio --studies 60 --write
"""

import argparse
import ast
import contextlib
import functools
import gzip
import hashlib
import math
import multiprocessing
import random
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
from rich.progress import Progress

from autoresearch import policy
from autoresearch.change import Change
from autoresearch.events import AnyEvent, SessionStarted, StudyOpened
from autoresearch.execute import Hopeless
from autoresearch.inbox import Inbox
from autoresearch.lab import Lab
from autoresearch.log import Log
from autoresearch.loop import work
from autoresearch.places import Places
from autoresearch.propose import Proposer, Tree, knobs
from autoresearch.propose.portfolio import Portfolio
from autoresearch.propose.search import Search
from autoresearch.report.brief import Brief
from autoresearch.shape import shape, together
from autoresearch.state import State
from autoresearch.study import Study, parse
from autoresearch.trial import Best, Limits, Machine, Measurement, Metric, Proposal, Run, Trial, Verdict
from autoresearch.workspace import Workspace
from benchmarks.kmodule import MODULES, Desk, Files
from benchmarks.tables import markdown, report

TITLE = "How many trials a portfolio takes, against the better one of its two proposers alone"
ABOUT = (
    "Trials to the target, on average over {studies} studies a line; a study that is not there after {limit} counts as "
    "that long. The portfolio is not told the hit rate, nor whose it is."
)
HERE = Machine("simulated", 1)
RUN_S = 60.0
TOY_STEPS, TOY_TARGET, STARTS = 200, -4.5, 32
MANY = {
    b"min(1.0, CLIP / length) if length > 0 else 1.0": b"np.minimum(1.0, CLIP / (length + 1e-300))",
    b":.4g}": b"}",
}
RECORD = Path(__file__).parent / "records" / "BoldOrNudge.jsonl.gz"
RIDGE = 0.02  # leaving one out, it explains 94 % of the variance of log(bits per byte)
GPT_TARGET = 2.2
GPT = b"""\
DEPTH = 2  # search: 1|2|3|4
WIDTH = 96  # search: 64|96|128|160|192
HEAD_DIM = 32  # search: 16|32|64
MLP_RATIO = 4  # search: 2|3|4|6
SEQ_LEN = 64  # search: 32|64|128|256
ROTARY = False  # search: False|True
QK_NORM = False  # search: False|True
SQUARED_RELU = False  # search: False|True
TIE_EMBEDDINGS = True  # search: False|True
INIT_STD = 0.02  # search: 0.005..0.1 log
BATCH_ROWS = 8  # search: 2|4|8|16|32
LEARNING_RATE = 6e-4  # search: 1e-4..3e-2 log
BETA1 = 0.9  # search: 0.8..0.98
BETA2 = 0.999  # search: 0.9|0.95|0.98|0.99|0.999
WEIGHT_DECAY = 0.1  # search: 0.0..0.5
GRAD_CLIP = 1.0  # search: 0.1..10.0 log
WARMUP_FRACTION = 0.1  # search: 0.0..0.3
WARMDOWN_FRACTION = 0.3  # search: 0.0..1.0
FINAL_LR_FRACTION = 0.1  # search: 0.0..0.3
"""


# -- landscapes ----------------------------------------------------------------------------------------


class Landscape(NamedTuple):
    """
    What is to be improved. `value(files, seed)` is what a run shows, None for a crash; `true(files)` what it shows on
    average, which only the scripted model and the end of the study look at. Lower is better; a study ends at `target`.
    """

    name: str
    files: Files
    value: Callable[[Files, int], float | None]
    true: Callable[[Files], float]
    target: float
    policy: str = "climb"


def constants(files: Files) -> dict[str, Any]:
    """The values of all knobs, by name."""
    return {knob.name: knob.value for file, source in files.items() for knob in knobs.read(file, source)}


def toy(number: int) -> Landscape:
    """
    The descent of the toy template as it stands in the asset, without its last lines, which write a file, and written so
    that numpy descends from many starts at once. A run is the mean over `STARTS` of them and not one alone: else luck
    decides how long a study takes.
    """
    path = Path(__file__).parents[1] / "src/autoresearch/templates/toy/descent.py"
    source = path.read_bytes().partition(b"if __name__")[0]
    for scalar, of_many in MANY.items():
        assert scalar in source
        source = source.replace(scalar, of_many)
    files = {"descent.py": source}

    def value(files: Files, seed: int) -> float | None:
        return _descents(files["descent.py"], seed, STARTS)

    def true(files: Files) -> float:
        found = _descents(files["descent.py"], -1, 8 * STARTS)
        return math.inf if found is None else found

    return Landscape("toy", elsewhere(files, true, number), value, true, TOY_TARGET)


@functools.lru_cache(maxsize=50_000)
def _descents(source: bytes, seed: int, starts: int) -> float | None:
    import numpy as np

    names: dict[str, Any] = {"__name__": "descent", "print": lambda *_: None, "np": np}
    rng = random.Random(seed)
    x = np.array([rng.uniform(-1.5, -0.5) for _ in range(starts)])
    y = np.array([rng.uniform(0.5, 1.5) for _ in range(starts)])
    try:
        with np.errstate(all="ignore"):
            exec(_compiled(source), names)
            x, y = names["descend"](x, y, TOY_STEPS)
            height = float(np.mean(np.log10((1 - x) ** 2 + 100 * (y - x * x) ** 2 + 1e-12)))
        return height if math.isfinite(height) else None
    except Exception:  # whatever a candidate does is a crash
        return None


@functools.lru_cache(maxsize=256)
def _compiled(source: bytes) -> Any:
    return compile(source, "asset", "exec")


def kmodule(number: int, pipelines: int = 6) -> Landscape:
    """
    Modules that are not the right ones, of six pipelines with six modules each, in one file. The rule is that of
    benchmarks/kmodule.py: better is kept.
    """
    rng = random.Random(f"kmodule {number}")
    modules = {f"{name}_{i}": MODULES[name] for i in range(pipelines) for name in MODULES}
    wanted = {name: options[rng.randrange(1, 5)] for name, options in modules.items()}
    lines = [f'{name} = "{options[0]}"  # search: {"|".join(options)}\n' for name, options in modules.items()]

    def wrong(files: Files) -> float:
        found = constants(files)
        return float(sum(found.get(name) != option for name, option in wanted.items()))

    files = {"pipeline.py": "".join(lines).encode()}
    return Landscape("k-module", files, lambda f, _: wrong(f), wrong, 0.0, "greedy")


def kmodule6(number: int) -> Landscape:
    return kmodule(number, 1)


def gpt(number: int) -> Landscape:
    """
    Bits per byte of the gpt template of the time when benchmarks/records was made, as a function of its 19 constants:
    log(bits per byte) is a sum of a parabola for each (a step for a switch), fitted to the real runs of that record.
    """
    weights, sd = _fitted()

    def true(files: Files) -> float:
        return math.exp(float(features(constants(files)) @ weights))

    def value(files: Files, seed: int) -> float:
        luck, rest = random.Random(seed), random.Random(f"{seed} {sorted(constants(files).items())}")
        return true(files) + sd * (math.sqrt(0.7) * luck.gauss(0, 1) + math.sqrt(0.3) * rest.gauss(0, 1))

    return Landscape("gpt knobs", elsewhere({"train.py": GPT}, true, number), value, true, GPT_TARGET)


def features(values: Mapping[str, Any]) -> Any:
    """Of a configuration of the record's train.py: each constant's place in its range, and the square of it."""
    import numpy as np

    row = [1.0]
    for knob in knobs.read("train.py", GPT):
        value, options = values[knob.name], knob.range.values
        if isinstance(value, bool):
            row.append(float(value))
            continue
        low, high = (0, len(options) - 1) if options else knob.range.box(knob.value)
        place = ((options.index(value) if options else knob.range.coordinate(value)) - low) / (high - low)
        row += [place, place * place]
    return np.array(row)


@functools.cache
def _fitted() -> tuple[Any, float]:
    """Weights, and the standard deviation of one run in bits per byte, from the record."""
    import numpy as np

    start = constants({"train.py": GPT})
    settings: dict[str, dict[str, Any]] = {}  # tree -> its constants
    state = State()
    for line in gzip.decompress(RECORD.read_bytes()).splitlines():
        with contextlib.suppress(msgspec.DecodeError):  # the last line
            state.apply(msgspec.json.decode(line, type=AnyEvent))
    for trial in state.trials.values():
        changes = (part.split(" -> ") for part in trial.idea.split(", ") if " -> " in part)
        known = settings.get(trial.base_tree, start)
        settings[trial.tree or ""] = {**known, **{name: ast.literal_eval(text) for name, text in changes}}
    measured = {tree: values for tree in settings if (values := state.values(tree))}
    rows = np.array([features(settings[tree]) for tree in measured])
    logs = np.log([statistics.fmean(values.values()) for values in measured.values()])
    pull = RIDGE * np.eye(rows.shape[1])
    pull[0, 0] = 0.0
    assert state.noise is not None
    return np.linalg.solve(rows.T @ rows + pull, rows.T @ logs), state.noise.sd


def elsewhere(files: Files, true: Callable[[Files], float], number: int) -> Files:
    """
    Another start for each study, else all would go one lucky or unlucky way: half of the constants anywhere in their
    ranges, no better than the usual start and not hopeless.
    """
    rng = random.Random(f"start {number}")
    [(file, source)] = files.items()
    usual = true(files)
    while True:
        some = [knob for knob in knobs.read(file, source) if rng.random() < 0.5]
        moved = {file: knobs.write(file, source, {knob.name: anywhere(knob, rng) for knob in some})}
        if usual <= true(moved) <= 1.5 * usual:
            return moved


def anywhere(knob: knobs.Knob, rng: random.Random) -> Any:
    """A value of a constant, at random within its range."""
    options = knob.range.values
    return rng.choice(options) if options else knob.range.at(rng.uniform(*knob.range.box(knob.value)), knob.value)


# -- a study without git and processes -----------------------------------------------------------------


class Bench:
    """What the loop needs of a workspace and an executor, with files in folders and a function that measures."""

    machine = HERE

    def __init__(self, folder: Path, landscape: Landscape) -> None:
        self.folder, self.landscape = folder, landscape
        self.contents: dict[str, Files] = {}
        self.shapes = self.sketches = self
        self.start = self.store(landscape.files)

    def store(self, files: Files) -> str:
        digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
        self.contents[digest] = files
        return digest

    # a workspace; a commit is the name of its content

    @contextlib.contextmanager
    def open(self, trial: Trial) -> Iterator["Sheet"]:
        folder = self.folder / "tree"
        folder.mkdir(exist_ok=True)
        sheet = Sheet(folder, self, trial.base_tree)
        sheet.lay(self.contents[trial.tree or trial.base_tree])
        yield sheet

    def of(self, commit: str) -> str:
        return together({path: shape(path, content) for path, content in self.contents[commit].items()})

    def near(self, patch: str, back: Iterable[Trial]) -> int | None:
        return None

    def learn(self, commit: str, patch: str) -> None:
        pass

    def commit(self, tree: Tree, change: Change, trial: Trial, proposal: Proposal) -> str:
        return change.tree

    def problem(self, change: Change) -> str | None:
        return "it changes nothing that runs" if change.shape == change.base_shape else None

    def keep(self, trial: Trial, verdict: Verdict) -> str:
        assert trial.tree is not None
        return trial.tree

    def move_best(self, best: Best, ours: set[str]) -> str | None:
        return None

    def restore_referee(self, commit: str) -> list[Path]:
        return []

    # an executor

    def run(
        self, run: Run, tree: Path, study: Study, usual: Measurement | None = None, hopeless: Hopeless | None = None
    ) -> Measurement:
        value = self.landscape.value(self.contents[run.tree], run.seed)
        return Measurement("crash" if value is None else "ok", value, run.digest, HERE, wall_s=RUN_S)

    def drop(self, runs: Iterable[int]) -> None: ...


class Sheet(Desk):
    """A folder in the place of a worktree."""

    def __init__(self, path: Path, bench: Bench, base: str) -> None:
        super().__init__(path)
        self.bench, self.base = bench, base

    def snapshot(self) -> str:
        return self.bench.store(self.read())

    def change(self) -> Change:
        tree = self.snapshot()
        return Change(tree, {}, "", self.bench.of(tree), self.bench.of(self.base))

    def reset(self, tree: str) -> None:
        self.lay(self.bench.contents[tree])


STUDY = 'name = "bench"\nasset = ["*.py"]\nmetric = {name = "m", max_step = inf}\nmeasure = {run = "none"}\n'


def play(landscape: Landscape, make: Callable[[State, Log], Proposer], seed: int, limit: int) -> tuple[int, State]:
    """Trials until best is at the target, at most `limit`, and the study's state at the end."""
    study = parse(STUDY + f'decide = {{policy = "{landscape.policy}", race = false}}\n')
    with tempfile.TemporaryDirectory() as folder, Log(Path(folder) / "events.jsonl") as log:
        bench = Bench(Path(folder), landscape)
        opened = {
            "study": "bench",
            "start": bench.start,
            "start_tree": bench.start,
            "metric": Metric("m"),
            "digest": "d",
        }
        log.append(StudyOpened(**opened, seed=seed))  # type: ignore[arg-type]
        log.append(SessionStarted(pid=0, version="", machine=HERE, workers=1))

        def may_start(state: State, _: int) -> bool:
            best = state.best
            there = best is not None and landscape.true(bench.contents[best.tree]) <= landscape.target + 1e-9
            return not there and state.decided < limit

        lab = Lab(
            study=study,
            program="",
            log=log,
            workspace=cast(Workspace, bench),
            proposer=make(log.state, log),
            policy=policy.make(study),
            executor=cast(Any, bench),
            may_start=may_start,
            inbox=Inbox(Path(folder)),
            places=Places(1),
            tell=lambda sentence: None,
        )
        work(lab)
        best = log.state.best
        assert best is not None
        there = landscape.true(bench.contents[best.tree]) <= landscape.target + 1e-9
        return (log.state.decided if there else limit), log.state


# -- the model -----------------------------------------------------------------------------------------


class Model:
    """
    Makes, with a given chance, a change that truly helps, else one that does not: one or two constants at random, drawn
    again until it is so.
    """

    def __init__(self, landscape: Landscape, chance: float, seed: int) -> None:
        self.landscape, self.chance, self.seed = landscape, chance, seed

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        rng = random.Random(f"model {self.seed} {limits.trial}")
        before = cast(Sheet, tree).read()
        hit = rng.random() < self.chance
        level = self.landscape.true(before)
        least = HIT * (self.landscape.true(self.landscape.files) - self.landscape.target)
        best: tuple[float, Files] | None = None
        for _ in range(100):
            files = mutated(before, rng)
            gain = level - self.landscape.true(files)
            if (gain >= least) if hit else (gain <= 0):
                best = gain, files
                break
            if best is None or (gain > best[0]) == hit:
                best = gain, files
        assert best is not None
        cast(Sheet, tree).lay(best[1])
        return Proposal(f"model {limits.trial}", "model")


HIT = 0.02  # of the way from start to target, at least: what a change that helps gains


def mutated(files: Files, rng: random.Random) -> Files:
    [(file, source)] = files.items()
    found = knobs.read(file, source)
    values = {}
    for knob in rng.sample(found, rng.choice((1, 1, 2))):
        while (value := anywhere(knob, rng)) == knob.value:
            pass
        values[knob.name] = value
    with contextlib.suppress(knobs.EditRefused):
        return {file: knobs.write(file, source, values)}
    return files


# -- the comparison ------------------------------------------------------------------------------------

LANDSCAPES = {"toy": toy, "k-module": kmodule, "gpt knobs": gpt}
CHANCES = (0.05, 0.2, 0.5)
LIMIT = 400  # trials, after which a study is counted as that long
WHO = ("search", "model", "portfolio")


def trials_of(job: tuple[str, float, str, int]) -> int:
    """Trials to the target, of one study."""
    name, chance, who, seed = job
    landscape = LANDSCAPES[name](seed)

    def make(state: State, log: Log) -> Proposer:
        both: dict[str, Proposer] = {"search": Search(seed), "model": Model(landscape, chance, seed)}
        return both[who] if who in both else Portfolio(both, state, log.append, lambda sentence: None)

    return play(landscape, make, seed, LIMIT)[0]


def ratio(counts: Mapping[str, Sequence[int]]) -> float:
    """Trials of the portfolio, of those of the better one alone, each on average."""
    return statistics.fmean(counts["portfolio"]) / min(statistics.fmean(counts[who]) for who in ("search", "model"))


def spread(counts: Mapping[str, Sequence[int]], draws: int = 2000) -> tuple[float, float]:
    """A 95 % bootstrap interval of the ratio; a draw takes a study of all three together."""
    rng, n = random.Random(0), len(counts["search"])
    found = []
    for _ in range(draws):
        places = rng.choices(range(n), k=n)
        found.append(ratio({who: [numbers[place] for place in places] for who, numbers in counts.items()}))
    found.sort()
    return found[int(0.025 * draws)], found[int(0.975 * draws) - 1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--landscapes", nargs="+", choices=list(LANDSCAPES), default=list(LANDSCAPES))
    parser.add_argument("--chances", nargs="+", type=float, default=list(CHANCES))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    jobs = [
        (name, chance, who, seed)
        for name in options.landscapes
        for who in WHO
        for chance in (options.chances if who != "search" else options.chances[:1])
        for seed in range(options.studies)
    ]
    with multiprocessing.Pool(options.processes) as pool:
        found = dict(zip(jobs, progress(pool.imap(trials_of, jobs, chunksize=2), len(jobs)), strict=True))
    rows = []
    for name in options.landscapes:
        for chance in options.chances:
            counts = {
                who: [
                    found[name, options.chances[0] if who == "search" else chance, who, seed]
                    for seed in range(options.studies)
                ]
                for who in WHO
            }
            low, high = spread(counts)
            means = [f"{statistics.fmean(counts[who]):.1f}" for who in WHO]
            rows.append([name, f"{chance:g}", *means, f"{ratio(counts):.2f}", f"{low:.2f} to {high:.2f}"])
    header = ["landscape", "hit rate", "search", "model", "portfolio", "by the better one's", "95 %"]
    report(
        "portfolio",
        TITLE,
        f"{ABOUT.format(studies=options.studies, limit=LIMIT)}\n\n{markdown(header, rows)}",
        options.write,
    )


def progress(found: Iterator[int], total: int) -> Iterator[int]:
    with Progress(transient=True) as bar:
        yield from bar.track(found, total=total, description="studies")


if __name__ == "__main__":
    main()
