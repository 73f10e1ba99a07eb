"""
How fast the gpt template trains on a CPU, beside the two projects it descends from, at equal model and equal data.

    git clone the GitHub repositories karpathy/nanochat and miolini/autoresearch-macos into two folders, then
    python -m benchmarks.train_cpu --nanochat FOLDER --fork FOLDER --write

Each contender is a process that executes its own training script (train_peers.py says how the peers' are started) on
one tokenizer, one set of rows, one shape of model and one batch. All print a line for a step; when the line arrives, we
read the processor time of the process and its children. Contenders take turns, so that a machine that gets slower gets
slower for all of them, and processor time is compared, so that a machine that others use as well matters less.

First each trains once for longer, with an empty compile cache: that gives the loss curves and the cold start. Then
short runs in turn, with the cache it left: speed after the first steps, and the warm start. `--profile` adds where our
own time goes. Linux only: it reads /proc. The peers need torch, numpy, filelock, pyyaml and jinja2; we need rustbpe.
"""

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import mean, median

import autoresearch
from benchmarks.tables import markdown, report
from benchmarks.train_peers import ASPECT_RATIO, BATCH_ROWS, BATCH_TOKENS, DEPTH, HEAD_DIM, SEQ_LEN, VOCAB_SIZE

TEMPLATE = Path(autoresearch.__file__).parent / "templates" / "gpt"
HERE = Path(__file__).parent.parent
PREPARE = {"CORPUS": '"stdlib"', "TOKENS": f'"bpe:{VOCAB_SIZE}"', "PACKING": '"rows"', "ROW_LENGTH": str(SEQ_LEN)}
OURS = {  # what differs in train.py from its own settings, for a model of the peers' shape
    "DEPTH": str(DEPTH),
    "WIDTH_PER_LAYER": str(ASPECT_RATIO),
    "HEAD_DIM": str(HEAD_DIM),
    "SEQ_LEN": str(SEQ_LEN),
    "BATCH_ROWS": str(BATCH_ROWS),
    "PROGRESS_LINES": "1000",
}
COMPILED: dict[str, object] = {"compile": {"speedup": 2.0, "new_s": 0.0, "kept_s": 0.0}}  # in these short runs too
WARM_STEPS = 3  # a peer traces again in its second step, allocators settle in the third
CURVE_POINTS = 5


@dataclass(frozen=True)
class Contender:
    """Who is measured: a command to run, and what its lines mean. `plan`: of ours, what differs from plan.json."""

    name: str
    argv: list[str]
    read: Callable[["Reader", str], None]
    env: dict[str, str] = field(default_factory=dict)
    plan: dict[str, object] | None = None


@dataclass(frozen=True)
class Stamp:
    """The clocks when so many steps were done."""

    step: int
    wall_s: float
    processor_s: float


@dataclass
class Reader:
    """What a run's output tells: when how many steps were done, and the mean training loss up to there."""

    n_steps: int
    clocks: Callable[[], tuple[float, float]]
    stamps: list[Stamp] = field(default_factory=list)
    losses: list[tuple[int, float]] = field(default_factory=list)  # steps done, nats a token since the last entry
    smooth: float = 0.0
    n_parameters: int = 0

    def progress(self, line: str) -> None:
        """Ours: the fraction is of the steps done before the one whose line this is."""
        if match := re.match(r"PROGRESS (\S+) loss=(\S+)", line):
            self.add(round(float(match[1]) * self.n_steps) + 1, float(match[2]))
        elif match := re.match(r"METRIC parameters=(\d+)", line):
            self.n_parameters = int(match[1])

    def smoothed(self, line: str) -> None:
        """Both peers: a moving average with 0.9 and without bias, from which the step's own loss is worked out."""
        if match := re.match(r"step (\d+)\S* .*?loss: (\S+)", line):
            step = int(match[1]) + 1
            before, self.smooth = self.smooth, float(match[2]) * (1 - 0.9**step)
            self.add(step, (self.smooth - 0.9 * before) / 0.1)
        elif match := re.match(r"\s*total\s*: ([\d,]+)\s*$", line):
            self.n_parameters = int(match[1].replace(",", ""))

    def add(self, step: int, loss: float) -> None:
        self.stamps.append(Stamp(step, *self.clocks()))
        self.losses.append((step, loss))


@dataclass(frozen=True)
class Result:
    """What one run showed."""

    first_step_s: float
    tokens_per_processor_s: float
    tokens_per_wall_s: float
    curve: list[float]
    n_parameters: int
    others_cores: float  # how many cores were busy with something else meanwhile


Runs = dict[tuple[str, int], list[Result]]  # of a contender with so many threads


def tree_processor_s(pid: int) -> float:
    """Of a process, its living children, and those it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = [
            child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
        ]
    except FileNotFoundError:  # it has just ended; who waited for it counts it
        return 0.0
    # utime, stime, cutime, cstime: fields 14 to 17 of proc(5), the third being the first after the name.
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + sum(tree_processor_s(int(c)) for c in children)


def machine_processor_s() -> float:
    """What all processes used since start-up, and what the host took away (steal)."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Bench:
    """A folder with data, our code with its settings, and a compile cache for each contender and thread count."""

    folder: Path
    cores: list[int]

    def set_up(self) -> None:
        """Build the tokenizer and the rows, and a copy of train.py with its constants set."""
        code = self.folder / "code"
        shutil.copytree(TEMPLATE, code)
        for name, constants in (("prepare.py", PREPARE), ("train.py", OURS)):
            (code / name).write_text(with_constants((code / name).read_text(), constants))
        held = {"AUTORESEARCH_HELD": str(self.folder / "held"), "AUTORESEARCH_SEALED": str(self.folder / "sealed")}
        subprocess.run([sys.executable, "prepare.py"], cwd=code, env=self.environment("", 1, 0, 0) | held, check=True)
        (self.folder / "open" / "plan.json").rename(self.folder / "plan.json")

    def lay_plan(self, contender: Contender, threads: int) -> None:
        """For ours: what plan.py measured here, but for threads and compilation, which this benchmark decides."""
        plan = json.loads((self.folder / "plan.json").read_text()) | {"threads": threads} | (contender.plan or {})
        (self.folder / "open" / "plan.json").write_text(json.dumps(plan))

    def keep_code(self, contender: Contender, threads: int) -> None:
        """What prepare.py does for a study of long runs: its start's code is compiled once for all of them."""
        if contender.plan:
            self.lay_plan(contender, threads)
            argv = self.command(["train.py", "compile"], threads, 0)
            env = self.environment("", threads, 0, 0)
            subprocess.run(argv, cwd=self.folder / "code", env=env, check=True, stdout=subprocess.DEVNULL)

    def environment(self, name: str, threads: int, n_steps: int, seed: int) -> dict[str, str]:
        cache = self.folder / "cache" / f"{name}-{threads}".replace(" ", "-")
        return os.environ | {
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": str(threads),
            "TORCHINDUCTOR_CACHE_DIR": str(cache),
            "AUTORESEARCH_DATA": str(self.folder / "open"),
            "AUTORESEARCH_OUT": str(self.folder / "out"),
            "AUTORESEARCH_SEED": str(seed),
            "AUTORESEARCH_BUDGET": str(n_steps * BATCH_TOKENS),
            "AUTORESEARCH_BUDGET_UNIT": "tokens",
        }

    def command(self, argv: list[str], threads: int, n_steps: int) -> list[str]:
        pinned = ["taskset", "-c", ",".join(map(str, self.cores[:threads]))]
        return [*pinned, sys.executable, *(part.replace("STEPS", str(n_steps)) for part in argv)]

    def run(self, contender: Contender, threads: int, n_steps: int, seed: int) -> Result:
        """Train, and read the clocks at each line."""
        if contender.plan is not None:
            self.lay_plan(contender, threads)
        env = self.environment(contender.name, threads, n_steps, seed) | contender.env
        argv = self.command(contender.argv, threads, n_steps)
        began, busy_s = time.perf_counter(), machine_processor_s()
        with (
            (self.folder / "err.txt").open("w+") as err,
            subprocess.Popen(argv, cwd=self.folder / "code", env=env, stdout=subprocess.PIPE, stderr=err) as process,
        ):
            reader = Reader(n_steps, lambda: (time.perf_counter() - began, tree_processor_s(process.pid)))
            assert process.stdout
            # A line is what was written at once: the fork begins lines with a carriage return and does not end them.
            while chunk := os.read(process.stdout.fileno(), 2**16):
                for line in filter(None, re.split(r"[\r\n]", chunk.decode())):
                    contender.read(reader, line)
            err.seek(0)
            # Before it is waited for: the processor time of a process goes when it does.
            busy_s = machine_processor_s() - busy_s - reader.clocks()[1]
            others_cores = max(0.0, busy_s / (time.perf_counter() - began))
            assert process.wait() == 0, err.read()
        return measured(reader, others_cores)

    def profile(self) -> str:
        """Operators by their own time in training of ours, on one thread."""
        self.lay_plan(contenders(None, None)[0], 1)
        argv = self.command(["-m", "benchmarks.train_profile", "train.py"], 1, 0)
        env = self.environment("profile", 1, n_steps=30, seed=0)
        said = subprocess.run(argv, cwd=self.folder / "code", env=env, stdout=subprocess.PIPE, text=True, check=True)
        rows = [
            [f"`{name}`" if calls else name, f"{calls:,.1f}" if calls else "", f"{ms:.1f}", f"{share:.1%}"]
            for name, calls, ms, share in json.loads(said.stdout)
        ]
        return markdown(["operator", "calls a step", "own ms a step", "share"], rows)


def measured(reader: Reader, others_cores: float) -> Result:
    first = reader.stamps[0]
    begin = next(stamp for stamp in reader.stamps if stamp.step >= WARM_STEPS)
    end = reader.stamps[-1]
    tokens = (end.step - begin.step) * BATCH_TOKENS
    wall_s = end.wall_s - begin.wall_s
    # The first line may tell of more than one step.
    first_step_s = first.wall_s - (first.step - 1) * wall_s / (end.step - begin.step)
    return Result(
        first_step_s,
        tokens / (end.processor_s - begin.processor_s),
        tokens / wall_s,
        curve(reader.losses, reader.n_steps),
        reader.n_parameters,
        others_cores,
    )


def curve(losses: list[tuple[int, float]], n_steps: int) -> list[float]:
    """Mean training loss over each fifth of the steps."""
    windows: list[list[float]] = [[] for _ in range(CURVE_POINTS)]
    for step, loss in losses:
        windows[min(CURVE_POINTS - 1, (step - 1) * CURVE_POINTS // n_steps)].append(loss)
    return [mean(window) if window else math.nan for window in windows]


def with_constants(text: str, constants: dict[str, str]) -> str:
    """A script with some of its constants set; the comment behind a value stays."""
    for name, value in constants.items():
        text, n_found = re.subn(rf"(?m)^{name} = .*?(?=  #|$)", f"{name} = {value}", text)
        assert n_found == 1, f"{name} is no constant of the script"
    return text


def contenders(nanochat: Path | None, fork: Path | None) -> list[Contender]:
    """Ours first; of the peers those whose folder was given."""
    found = [
        Contender("ours", ["train.py"], Reader.progress, plan=COMPILED),
        Contender("ours, not compiled", ["train.py"], Reader.progress, plan={}),
    ]
    peer = ["-m", "benchmarks.train_peers"]
    if fork:
        found.append(Contender("macOS fork", [*peer, "fork", str(fork.resolve()), "STEPS"], Reader.smoothed))
    if nanochat:
        argv = [*peer, "nanochat", str(nanochat.resolve()), "STEPS"]
        found.append(Contender("nanochat", argv, Reader.smoothed))
        found.append(Contender("nanochat bfloat16", argv, Reader.smoothed, {"NANOCHAT_DTYPE": "bfloat16"}))
    return found


def spread(values: list[float], digits: int = 0) -> str:
    """Median, and from where to where."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def speed_table(runs: Runs, cold: Runs, missing: list[str]) -> str:
    """A line for each contender and thread count; ratios are within rounds, ours over theirs."""
    rows = []
    for (name, threads), results in sorted(runs.items(), key=lambda item: item[0][1]):
        speeds = [result.tokens_per_processor_s for result in results]
        ours = [result.tokens_per_processor_s for result in runs.get(("ours", threads), [])]
        ratios = [a / b for a, b in zip(ours, speeds, strict=False)] if name != "ours" else []
        rows.append(
            [
                name,
                str(threads),
                spread(speeds),
                spread(ratios, 2) if ratios else "",
                spread([result.tokens_per_wall_s for result in results]),
                f"{cold[name, threads][0].first_step_s:.0f}",
                spread([result.first_step_s for result in results], 1),
            ]
        )
    rows += [[name, "", "not measured: no folder given", "", "", "", ""] for name in missing]
    header = ["training script", "threads", "tokens per processor-second", "ours to it"]
    return markdown([*header, "tokens per wall second", "first step, s: cold", "warm"], rows)


def curve_table(cold: Runs, n_steps: int) -> str:
    """Mean training loss up to five token counts, each since the one before; of the long run, each one's first."""
    tokens = [n_steps * BATCH_TOKENS * (i + 1) // CURVE_POINTS for i in range(CURVE_POINTS)]
    header = ["training script", "parameters", *(f"to {n:,} tokens" for n in tokens)]
    longest = {name: results[0] for (name, threads), results in reversed(cold.items())}
    rows = [
        [name, f"{result.n_parameters:,}", *(f"{loss:.3f}" for loss in result.curve)]
        for name, result in longest.items()
    ]
    return markdown(header, rows[::-1])


def version(folder: Path | None) -> str:
    """The commit of a peer, so that the figures can be made again."""
    if folder is None:
        return "not measured"
    command = ["git", f"--git-dir={folder / '.git'}", "log", "-1", "--format=commit %h of %cs"]
    said = subprocess.run(command, check=False, capture_output=True, text=True)
    return said.stdout.strip() or "version unknown"


def page(options: argparse.Namespace, runs: Runs, cold: Runs, profile: str) -> str:
    """What was found, and all that a reader needs to know to doubt it."""
    timed = options.steps - WARM_STEPS
    missing = [name for name, folder in (("macOS fork", options.fork), ("nanochat", options.nanochat)) if not folder]
    others = [result.others_cores for results in runs.values() for result in results]
    text = [
        (
            f"Everybody trains {DEPTH} layers of width {DEPTH * ASPECT_RATIO} with heads of {HEAD_DIM}, full windows, on the "
            f"same tokens (Python's standard library, {VOCAB_SIZE} byte pairs), {BATCH_ROWS} rows of {SEQ_LEN} tokens a "
            f"step. {options.rounds} rounds in turn; median (lowest to highest). Timed are {timed} steps after the first "
            f"{WARM_STEPS}; processor time is that of the process and its children, read when a step's line arrives. "
            f"Ratios are of processor-seconds, within a round. Other programs kept {spread(others, 2)} cores busy meanwhile."
        ),
        speed_table(runs, cold, missing),
        (
            "A first step is done so many seconds after launch: cold with an empty compile cache (once), warm with the one "
            "that was left (ours: with what prepare.py keeps for a study of long runs; short ones are not compiled). The peers would also load packages and a tokenizer that they are spared here."
        ),
        f"Mean training loss, nats a token, in one run of {options.curve_steps} steps, over each fifth of it:",
        curve_table(cold, options.curve_steps),
        (
            f"- nanochat ({version(options.nanochat)}): `scripts/base_train.py` with its flags for this shape; float32, its "
            "choice on a CPU, and once more with NANOCHAT_DTYPE=bfloat16. Learning rates and weight decay are what it "
            "works out for this batch, after 40 steps of warm-up, so that its loss falls late in so short a run.\n"
            f"- macOS fork ({version(options.fork)}): `train.py` with its constants for this shape, without the line that "
            "refuses to run anywhere but on macOS; on a CPU it takes bfloat16 autocast and compiles its optimizer. Its "
            "clock counts steps, so that its schedule, made for seconds, spans the run.\n"
            "- Both get rows that are tokenised already, where they would tokenise while they train. Model, optimizer, "
            "schedules and loop are theirs, unchanged. Each sees rows in a random order; ours is not theirs."
        ),
        profile and f"Where ours spends its time (torch.profiler, one thread):\n\n{profile}",
        f"torch {metadata.version('torch')}.",
    ]
    return "\n\n".join(part.strip() for part in text if part)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nanochat", type=Path, help="a checkout of karpathy/nanochat")
    parser.add_argument("--fork", type=Path, help="a checkout of miolini/autoresearch-macos")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=11, help=f"of a timed run; the first {WARM_STEPS} are not timed")
    parser.add_argument("--curve-steps", type=int, default=100, help="of the run that the loss curve comes from")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cores", type=int, nargs="+", default=sorted(os.sched_getaffinity(0)), help="to use, in turn")
    parser.add_argument("--only", nargs="+", help="names of the contenders to run, as in the table")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    field = [c for c in contenders(options.nanochat, options.fork) if not options.only or c.name in options.only]
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), options.cores)
        bench.set_up()
        cold, runs = compare(bench, field, options)
        profile = bench.profile() if options.profile else ""
    report("train_cpu", "How fast the gpt template trains on a CPU", page(options, runs, cold, profile), options.write)


def compare(bench: Bench, field: list[Contender], options: argparse.Namespace) -> tuple[Runs, Runs]:
    """One run of each with an empty cache, the first a long one; then rounds in which all take turns."""
    cold, runs = Runs(), Runs()
    for round_number in range(options.rounds + 1):
        for threads in options.threads:
            is_long = round_number == 0 and threads == options.threads[0]
            for contender in field:
                n_steps = options.curve_steps if is_long else options.steps
                result = bench.run(contender, threads, n_steps, seed=round_number)
                print(
                    f"round {round_number}, {threads} threads, {contender.name}: {result}", file=sys.stderr, flush=True
                )
                (runs if round_number else cold).setdefault((contender.name, threads), []).append(result)
                if not round_number:
                    bench.keep_code(contender, threads)
    return cold, runs


if __name__ == "__main__":
    main()
