"""
The gpt template on one CUDA card, beside the project it descends from: how fast, how well used, how good, how soon.

    python -m benchmarks.gpu pack --corpus stdlib --out DATA       (anywhere, beforehand; needs rustbpe)
    benchmarks/gpu.sh --data DATA --peer FOLDER --out OUT          (on the card; FOLDER: a checkout of karpathy/autoresearch)

Both train the same shape on the same rows, each with its own settings otherwise, in turn (gpu_train.py runs one of
them). First once each with an empty compile cache; then `tokens` runs, equally many tokens for both, and `seconds`
runs, equally long training, as many rounds as fit into --minutes. What was measured stands in OUT/gpu.json after each
run; a later call goes on from there (--resume, where OUT itself is gone). --dry-run does all of it in small on a CPU.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.gpu_train import UNCOUNTED_STEPS, WARM_STEPS, Order, Outcome, Shape, card, peak_of
from benchmarks.tables import RESULTS, markdown
from benchmarks.train_cpu import HERE, TEMPLATE, spread, with_constants

PLANNED_S = 300  # our plan is made for a run as long as the original's own budget
GRACE_S = 20  # a run that overstays the deadline by so much is ended

HEADER = [
    "training script", "tokens/s", "ours to it", "utilisation", "first step, s: cold", "warm",
    "val_bpb at equal tokens", "val_bpb after equal time", "tokens in that time", "peak memory, MB",
]  # fmt: skip


SMALL = Shape(2, 32, 32, 128, 8, 4, "SL")  # of a dry run


@dataclass(frozen=True)
class Task:
    """One run: `cold` (a few steps), `tokens` or `seconds`."""

    kind: str
    round: int
    who: str

    @property
    def key(self) -> str:
        return f"{self.kind} {self.round} {self.who}"


# -- data ----------------------------------------------------------------------------------------------------------


def pack(out: Path, corpus: str, tokens: str, row_length: int, held_rows: int, megabytes: float, name: str) -> None:
    """
    Our prepare.py's rows of a corpus, few enough to be carried: train.bin, held.bin, token_bytes.bin, meta.json.

    `corpus`: what CORPUS in prepare.py may be; `name`: in words. Where there are too many rows, some are left out, evenly.
    """
    with tempfile.TemporaryDirectory() as scratch:
        code = Path(scratch, "code")
        shutil.copytree(TEMPLATE, code)
        constants = {
            "CORPUS": repr(corpus), "TOKENS": repr(tokens), "PACKING": '"rows"', "ROW_LENGTH": str(row_length),
            "VALIDATION_ROWS": str(held_rows), "HELD_SHARE": "0.03",
        }  # fmt: skip
        (code / "prepare.py").write_text(with_constants((code / "prepare.py").read_text(), constants))
        folders = {f"AUTORESEARCH_{part.upper()}": str(Path(scratch, part)) for part in ("data", "held", "sealed")}
        subprocess.run([sys.executable, "prepare.py", "data"], cwd=code, env=os.environ | folders, check=True)
        rows = np.fromfile(Path(scratch, "data", "train.bin"), "<u2").reshape(-1, row_length + 1)
        wanted = min(len(rows), int(megabytes * 1e6 / rows[0].nbytes))
        out.mkdir(parents=True, exist_ok=True)
        rows[np.arange(wanted) * len(rows) // wanted].tofile(out / "train.bin")
        shutil.copy(Path(scratch, "held", "validation.bin"), out / "held.bin")
        shutil.copy(Path(scratch, "held", "token_bytes.bin"), out)
        meta = json.loads(Path(scratch, "data", "meta.json").read_text())
        meta = {key: meta[key] for key in ("vocab_size", "bos", "tokens", "packing", "row_length")}
        meta |= {"corpus": name, "splits": {"train": {"shape": [wanted, row_length + 1]}}}
        (out / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")
    n_bytes = sum(path.stat().st_size for path in out.iterdir())
    print(f"{out}: {wanted:,} rows of {row_length + 1} tokens, {n_bytes / 1e6:.1f} MB to carry")


# -- runs ----------------------------------------------------------------------------------------------------------


class Bench:
    """A card (or a CPU, for a dry run), the code and data to run there, and what was measured so far."""

    def __init__(self, options: argparse.Namespace, work: Path, found: dict[str, Any]) -> None:
        self.options, self.work, self.card = options, work, found
        self.shape = SMALL if options.dry_run else Shape()
        self.deadline = time.monotonic() + options.minutes * 60
        self.took_s: dict[tuple[str, str], float] = {}  # kind and who -> the longest of such runs
        self.vocab_size, self.corpus = set_up(work, self.shape, options.data, options.ours)
        self.file = options.out / "gpu.json"
        told = {
            "card": found["name"], "torch": found["torch"], "shape": asdict(self.shape), "vocab_size": self.vocab_size, "corpus": self.corpus,
            "steps": options.steps, "seconds": options.seconds, "ours": options.ours, "original": version(options.peer),
        }  # fmt: skip
        before = options.resume or self.file
        self.state: dict[str, Any] = json.loads(before.read_text()) if before.is_file() else told | {"results": {}}
        if differs := [key for key, value in told.items() if self.state.get(key) != value]:
            sys.exit(f"gpu: {before} was measured with another {' and '.join(differs)}; give another --out")
        self.state["failures"] = {}
        self.results: dict[str, dict[str, Any]] = self.state["results"]

    def tasks(self) -> list[Task]:
        """
        What is left: in turn, and by turns in another order, so that a card that gets slower gets slower for both.
        """
        names = ["ours", *["original"] * bool(self.options.peer)]
        rounds = [(kind, i) for kind in ("tokens", "seconds") for i in range(1, self.options.rounds + 1)]
        tasks = [Task(kind, i, who) for kind, i in rounds for who in (names if i % 2 else names[::-1])]
        waiting = [task for task in tasks if task.key not in self.results]
        # Each call begins without compiled code, so one more cold start comes before what is to be warm.
        n_calls = sum(key.startswith("cold ") and key.endswith(names[-1]) for key in self.results)
        return [*(Task("cold", n_calls, who) for who in names), *waiting] if waiting else []

    def go(self) -> None:
        """Everything that is not measured yet and fits into the time."""
        if not (waiting := self.tasks()):
            return
        try:
            self.plan()
        except subprocess.CalledProcessError as problem:
            self.state["failures"]["plan"] = f"plan.py ended with exit {problem.returncode}, so ours was not run"
            waiting = [task for task in waiting if task.who != "ours"]
        for task in waiting:
            default_s = {"cold": 120, "tokens": 90, "seconds": 50 + self.options.seconds}[task.kind]
            needed_s = self.took_s.get((task.kind, task.who), default_s)
            if time.monotonic() + needed_s > self.deadline:
                print(f"no time left for {task.key}: call again to go on", file=sys.stderr)
                break
            began = time.monotonic()
            try:
                self.results[task.key] = self.run(task)
                print(f"{task.key}: {self.results[task.key]}", file=sys.stderr, flush=True)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as problem:
                last = (problem.stderr or b"").decode(errors="replace").splitlines()[-15:]
                self.state["failures"][task.key] = "\n".join([type(problem).__name__, *last])
                print(f"{task.key} failed: {self.state['failures'][task.key]}", file=sys.stderr, flush=True)
            took_s = time.monotonic() - began
            self.took_s[task.kind, task.who] = max(took_s, self.took_s.get((task.kind, task.who), 0))
            self.save()

    def save(self) -> None:
        self.options.out.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.state, indent=1) + "\n")

    def plan(self) -> None:
        """Our plan.py decides as for a run of PLANNED_S; what it says of compilation then holds for shorter runs too."""
        data = self.work / "data"
        env = os.environ | {
            "AUTORESEARCH_DATA": str(data), "AUTORESEARCH_OUT": str(self.work / "out"),
            "AUTORESEARCH_BUDGET": "1" if self.options.dry_run else str(PLANNED_S),
            "AUTORESEARCH_BUDGET_UNIT": "seconds",
        }  # fmt: skip
        began = time.monotonic()
        code = "import os, pathlib, plan; print(plan.in_words(plan.make_plan(pathlib.Path(os.environ['AUTORESEARCH_DATA']))))"
        said = subprocess.run([sys.executable, "-c", code], cwd=self.work / "code", env=env, stdout=-1, check=True)
        self.state["plan"] = said.stdout.decode().strip()
        print(f"{self.state['plan']} ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
        made = json.loads((data / "plan.json").read_text())
        if compiled := made["compile"]:
            pays = PLANNED_S * (1 - 1 / compiled["speedup"]) >= compiled["kept_s"]
            made["compile"] = compiled | {"new_s": 0.0, "kept_s": 0.0} if pays else None
            (data / "plan.json").write_text(json.dumps(made))

    def run(self, task: Task) -> dict[str, Any]:
        """Raises CalledProcessError, TimeoutExpired."""
        out = self.work / f"{task.key.replace(' ', '-')}.json"
        unit = "seconds" if task.kind == "seconds" else "steps"
        amount = self.options.seconds if unit == "seconds" else self.options.steps
        if task.kind == "cold":
            amount = UNCOUNTED_STEPS + 1  # the original cannot do less
        elif unit == "seconds" and task.who == "original":
            amount = max(1.0, amount - self.uncounted_s())
        order = Order(
            who=task.who, data=str(self.work / "data"), out=str(out), unit=unit, amount=amount, seed=task.round,
            folder=str(self.work / "code" if task.who == "ours" else self.options.peer.resolve()),
            constants=self.shape.original(), batch_rows=self.shape.batch_rows, seq_len=self.shape.seq_len,
            launched=time.time(), is_scored=task.kind != "cold", is_cold=task.kind == "cold",
        )  # fmt: skip
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE / "src")]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if task.who == "original":
            env |= {
                "TORCHINDUCTOR_CACHE_DIR": str(self.work / "cache"),
                "PYTORCH_ALLOC_CONF": "expandable_segments:True",
            }
        argv = [sys.executable, "-m", "benchmarks.gpu_train", json.dumps(asdict(order))]
        left_s = self.deadline - time.monotonic() + GRACE_S
        subprocess.run(argv, env=env, timeout=left_s, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
        found: dict[str, Any] = json.loads(out.read_text())
        return found

    def uncounted_s(self) -> float:
        """What the original's first steps take that its clock leaves out, but for compilation: it pays for them here."""
        speeds = [found["tokens_per_s"] for key, found in self.results.items() if re.match(r"tokens .* original", key)]
        n_tokens = UNCOUNTED_STEPS * self.shape.batch_rows * self.shape.seq_len
        return n_tokens / median(speeds) if speeds else 0.0

    def outcomes(self, kind: str, who: str) -> list[Outcome]:
        """In the order of their rounds, as they are measured so."""
        return [Outcome(**found) for key, found in self.results.items() if re.fullmatch(rf"{kind} \d+ {who}", key)]


def set_up(work: Path, shape: Shape, data: Path, ours: list[str]) -> tuple[int, str]:
    """A copy of our code with its constants, and of the data; returns the vocabulary's size and the corpus in words."""
    shutil.copytree(TEMPLATE, work / "code")
    constants = shape.ours() | dict(setting.split("=", 1) for setting in ours)
    (work / "code" / "train.py").write_text(with_constants((TEMPLATE / "train.py").read_text(), constants))
    shutil.copytree(data, work / "data")
    meta = json.loads((work / "data" / "meta.json").read_text())
    if meta["row_length"] != shape.seq_len:
        sys.exit(f"gpu: the rows of {data} have {meta['row_length']} tokens, not {shape.seq_len}: pack them again")
    n_rows = meta["splits"]["train"]["shape"][0]
    return meta["vocab_size"], f"{meta['corpus']}: {n_rows * shape.seq_len:,} tokens to train on"


def version(folder: Path | None) -> str:
    """Of the original: a hash of the file that is run, as a copy carried along has no history."""
    return sha256((folder / "train.py").read_bytes()).hexdigest()[:12] if folder else "not measured"


# -- the table -----------------------------------------------------------------------------------------------------


def table(bench: Bench) -> str:
    flops, peak = bench.shape.flops_per_token(bench.vocab_size), peak_of(bench.state["card"])
    ours = [outcome.tokens_per_s for outcome in bench.outcomes("tokens", "ours")]
    rows = []
    for who in ("ours", "original"):
        cold, tokens, seconds = (bench.outcomes(kind, who) for kind in ("cold", "tokens", "seconds"))
        speeds = [outcome.tokens_per_s for outcome in tokens]
        ratios = [a / b for a, b in zip(ours, speeds, strict=False)] if who != "ours" else []
        line = [
            shown(speeds),
            shown(ratios, 2) if ratios else "",
            shown([speed * flops / peak * 100 for speed in speeds], 1, " %") if peak else "unknown card",
            shown([outcome.first_step_s for outcome in cold], 1),
            shown([outcome.first_step_s for outcome in tokens], 1),
            shown([outcome.val_bpb for outcome in tokens if outcome.val_bpb is not None], 4),
            shown([outcome.val_bpb for outcome in seconds if outcome.val_bpb is not None], 4),
            shown([float(outcome.tokens) for outcome in seconds]),
            shown([outcome.peak_memory_mb for outcome in tokens if outcome.peak_memory_mb]),
        ]
        missing = who == "original" and not bench.options.peer
        rows.append([who, *(["not measured: no folder given", *[""] * (len(line) - 1)] if missing else line)])
    return markdown(HEADER, rows)


def shown(values: list[float], digits: int = 0, unit: str = "") -> str:
    return spread(values, digits) + unit if values else "none yet"


def page(bench: Bench) -> str:
    """What was found, and all that a reader needs to know to doubt it."""
    shape, options, found = bench.shape, bench.options, bench.card
    batch, peak = shape.batch_rows * shape.seq_len, peak_of(found["name"])
    ours, theirs = ({run.kernel for run in bench.outcomes("tokens", who)} for who in ("ours", "original"))
    n_rounds = {kind: min(len(bench.outcomes(kind, who)) for who in options.who) for kind in ("tokens", "seconds")}
    rate = f"{peak / 1e12:.1f}e12 a second" if peak else "rate, which is not known of this machine"
    product = f"; a bfloat16 product of 8192 x 8192 reaches {found['product_flops'] / 1e12:.0f}e12" * bool(peak)
    notes = [
        (
            f"Utilisation: {shape.flops_per_token(bench.vocab_size):,} operations a token, by the original's formula for both "
            "(6 for each weight that multiplies, 12 for each width and place of a window), over the data sheet's "
            f"{rate}{product}. The original states 39.8 % on an H100, with FlashAttention 3."
        ),
        "First step: seconds from launch until it is done; cold with an empty compile cache, warm with one.",
        (
            f"Attention: ours by {', '.join(ours)}; the original by {', '.join(theirs)}. It would download FlashAttention 3; "
            "where flash_attn_interface is not installed, it is given what ours takes: torch's own kernels."
        ),
        (
            f"The original (train.py {bench.state['original']}) gets rows that are tokenised already, where it would tokenise "
            f"while it trains. Its schedules span the run. Its clock leaves out its first {UNCOUNTED_STEPS} steps; in runs of "
            "equal time they are taken off its budget, without compilation, which neither pays for there."
        ),
        (
            "val_bpb: one function for both, over the same held rows. The original's learning rates were set for this shape, "
            f"ours for a smaller one{'; set here: ' * bool(options.ours)}{', '.join(options.ours)}. Its seed is 42 in every "
            "run, and the order of rows differs; ours has both from the round."
        ),
        f"Peak memory: of tensors in training, by torch.{' Nothing is compiled in a dry run.' * options.dry_run}",
        f"Ours as planned: {bench.state.get('plan', 'not yet')}.",
        *(f"Failed: {key}: {why.splitlines()[-1]}" for key, why in bench.state["failures"].items()),
    ]
    text = [
        "# How the gpt template trains on a card, beside the original",
        "**dry run on a CPU: figures mean nothing**" * options.dry_run,
        (
            f"Both train {shape.depth} layers of width {shape.width} with heads of {shape.head_dim}, windows "
            f"{shape.windows}, rows of {shape.seq_len} tokens, {batch:,} tokens a step, on the same rows "
            f"({bench.state['corpus']}; {bench.vocab_size} tokens in the vocabulary). All else is each one's own default. "
            f"Median (lowest to highest) of {n_rounds['tokens']} rounds of {options.steps} steps "
            f"({options.steps * batch:,} tokens) and {n_rounds['seconds']} of {options.seconds:g} s of training, in turn; "
            f"speed is of the steps after the first {WARM_STEPS}."
        ),
        table(bench),
        "\n".join(f"- {note}" for note in notes),
        (
            f"torch {found['torch']}, Python {sys.version.split()[0]}, {found['name'] or 'no card'} "
            f"({found['memory_mb']:,} MB). Made by `benchmarks/gpu.sh`."
        ),
    ]
    return "\n\n".join(part.strip() for part in text if part) + "\n"


# -- the command line ----------------------------------------------------------------------------------------------


def run(options: argparse.Namespace) -> None:
    if options.dry_run:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        found = card()
    else:  # by a process of its own: what looks at a card keeps some of its memory
        asked = [sys.executable, "-m", "benchmarks.gpu_train", "card"]
        found = json.loads(subprocess.run(asked, stdout=subprocess.PIPE, check=True).stdout)
    if not (found["name"] or options.dry_run):
        sys.exit("gpu: torch sees no CUDA card here; --dry-run shows on a CPU that everything else works")
    options.who = ["ours", *["original"] * bool(options.peer)]
    if options.dry_run:
        options.steps, options.seconds, options.rounds = UNCOUNTED_STEPS + 3, 2.0, 1
    with tempfile.TemporaryDirectory() as work:
        if options.dry_run and not options.data:
            options.data = Path(work, "rows")
            pack(options.data, f"files:{HERE / 'src'}", "bytes", SMALL.seq_len, 16, 1.0, "the code of this project")
        elif not options.data:
            sys.exit(
                "gpu: --data is missing; make it beforehand: python -m benchmarks.gpu pack --corpus stdlib --out DATA"
            )
        bench = Bench(options, Path(work, "work"), found)
        bench.go()
        bench.save()
        text = page(bench)
    (options.out / "gpu.md").write_text(text)
    print(text)
    if options.write:
        for name in ("gpu.md", "gpu.json"):
            shutil.copy(options.out / name, RESULTS / name)
    if bench.state["failures"]:
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    packs = commands.add_parser("pack")
    packs.add_argument("--corpus", default="stdlib", help="stdlib, files:FOLDER, or climbmix, where there is a network")
    packs.add_argument("--name", default="Python's standard library", help="of the corpus, in words, for the table")
    packs.add_argument("--megabytes", type=float, default=36, help="of training tokens at most")
    packs.add_argument("--out", type=Path, required=True)
    runs = commands.add_parser("run")
    runs.add_argument("--data", type=Path, help="what `pack` made")
    runs.add_argument("--peer", type=Path, help="a checkout of karpathy/autoresearch; its train.py is enough")
    runs.add_argument("--minutes", type=float, default=9, help="no run is begun that would not end by then")
    runs.add_argument("--rounds", type=int, default=3)
    runs.add_argument("--steps", type=int, default=60, help=f"of a run of equal tokens, more than {UNCOUNTED_STEPS}")
    runs.add_argument("--seconds", type=float, default=60, help="of a run of equal time")
    runs.add_argument("--ours", nargs="*", default=[], metavar="NAME=VALUE", help="further constants of our train.py")
    runs.add_argument(
        "--out", type=Path, default=Path(os.environ.get("OUT") or f"{tempfile.gettempdir()}/autoresearch-gpu")
    )
    runs.add_argument("--resume", type=Path, help="a gpu.json to go on from")
    runs.add_argument("--dry-run", action="store_true", help="in small on a CPU")
    runs.add_argument("--write", action="store_true", help="into benchmarks/results too")
    options = parser.parse_args()
    if options.command == "pack":
        pack(options.out, options.corpus, "bpe:8192", Shape().seq_len, 256, options.megabytes, options.name)
    else:
        run(options)


if __name__ == "__main__":
    main()
