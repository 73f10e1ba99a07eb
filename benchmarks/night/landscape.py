"""
What each setting of the night's language model is worth, on each tier: real runs, one process each, seeds in pairs.

A run is compared with the run of the same seed without the change. The start is settings.py as it is; most changes
are made on the start with scaled initialisation, where a study soon is.

    python -m benchmarks.night.landscape --seeds 12 --write
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from msgspec import Struct
from rich.progress import track

from benchmarks.night import FILES, FOLDER, STEPS
from benchmarks.tables import markdown, report

TITLE = "What the settings of the night's model are worth, tier by tier"
Runs = dict[tuple[str, str], list["Ran"]]  # of a tier and a variant, a run a seed
RATE, MOMENTUM = "`LEARNING_RATE` 0.3 to 1.2", "`MOMENTUM` 0.9 to 0.95"
SCALED = {"INIT": "scaled"}
ON_SCALED: dict[str, dict[str, Any]] = {
    RATE: {"LEARNING_RATE": 1.2},
    "`LEARNING_RATE` 0.3 to 0.6": {"LEARNING_RATE": 0.6},
    MOMENTUM: {"MOMENTUM": 0.95},
    "`WIDTH` 96 to 128": {"WIDTH": 128},
    "`WARMUP` 10 to 30": {"WARMUP": 30},
    "`WEIGHT_DECAY` 0 to 0.0003": {"WEIGHT_DECAY": 3e-4},
    "`SMOOTHING` 0 to 0.02": {"SMOOTHING": 0.02},
}


class Ran(Struct, frozen=True):
    """One run: bits per character on held-out text, None where it diverged, and what the process took in seconds."""

    loss: float | None
    wall_s: float
    processor_s: float


def process(words: Sequence[str], folder: Path, **told: str) -> tuple[str, float, float]:
    """What a process printed, and its seconds: by the clock, and on a processor, its start included."""
    began = time.perf_counter()
    with subprocess.Popen(words, cwd=folder, env={**os.environ, **told}, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(words)} ended with exit code {child.returncode}: {said[-500:]}")
    return said, time.perf_counter() - began, used.ru_utime + used.ru_stime


def run(folder: Path, steps: int, seed: int) -> Ran:
    told = {"NIGHT_STEPS": str(steps), "AUTORESEARCH_SEED": str(seed)}
    said, wall_s, processor_s = process([sys.executable, "train.py"], folder, **told)
    value = float(said.rpartition("METRIC val_loss=")[2])
    return Ran(value if value == value else None, wall_s, processor_s)


def make(folder: Path, change: Mapping[str, Any]) -> Path:
    """A copy of the study with these settings."""
    folder.mkdir()
    for name in FILES:
        shutil.copy(FOLDER / name, folder)
    settings = (folder / "settings.py").read_text()
    for name, value in change.items():
        settings, n_found = re.subn(rf"(?m)^{name} = \S+", f"{name} = {value!r}", settings)
        assert n_found == 1, name
    (folder / "settings.py").write_text(settings)
    return folder


def gain(before: Iterable[Ran], after: Iterable[Ran]) -> str:
    """Mean over pairs and its standard error, in bold where it is four of them from zero; and how many diverged."""
    pairs = [(a.loss, b.loss) for a, b in zip(before, after, strict=True)]
    gains = [a - b for a, b in pairs if a is not None and b is not None]
    lost = f"{len(pairs) - len(gains)} of {len(pairs)} diverged"
    if len(gains) < 2:
        return lost
    error = stdev(gains) / len(gains) ** 0.5
    told = f"{mean(gains):+.3f} ± {error:.3f}"
    return (f"**{told}**" if abs(mean(gains)) > 4 * error else told) + (f" ({lost})" if len(gains) < len(pairs) else "")


def losses(runs: Iterable[Ran]) -> list[float]:
    return [each.loss for each in runs if each.loss is not None]


def tiers(runs: Runs) -> str:
    rows = []
    for tier, steps in STEPS.items():
        start, scaled = (losses(runs[tier, name]) for name in ("the start", "scaled"))
        mine = [each for (where, _), several in runs.items() if where == tier for each in several]
        usual = runs[tier, "the start"] + runs[tier, "scaled"]
        rows.append(
            [
                tier,
                f"{steps:,}",
                f"{mean(start):.3f} ({stdev(start):.3f})",
                f"{mean(scaled):.3f} ({stdev(scaled):.3f})",
                f"{mean(each.processor_s for each in usual):.2f}",
                f"{max(each.processor_s for each in mine):.2f}",
                f"{mean(each.wall_s for each in usual):.2f}",
            ]
        )
    header = ["tier", "steps", "the start", "with scaled `INIT`", "processor s a run", "at most", "wall s a run"]
    return markdown(header, rows)


def changes(runs: Runs) -> str:
    asked = [
        ("as it is", "`INIT` plain to scaled", "the start", "scaled"),
        ("as it is", RATE, "the start", f"start, {RATE}"),
        *(("with scaled `INIT`", name, "scaled", name) for name in ON_SCALED),
        ("and `MOMENTUM` 0.95", RATE, MOMENTUM, "both"),
        ("and `LEARNING_RATE` 1.2", MOMENTUM, RATE, "both"),
    ]
    rows = [
        [base, name, *(gain(runs[tier, before], runs[tier, after]) for tier in STEPS)]
        for base, name, before, after in asked
    ]
    return markdown(["the start", "change", *STEPS], rows)


def starting() -> str:
    """What a process takes that does nothing, and one that only loads numpy; processor seconds."""
    words = {"Python": "pass", "with numpy": "import numpy"}
    one = {"OPENBLAS_NUM_THREADS": "1"}
    took = {
        name: median(process([sys.executable, "-c", code], FOLDER, **one)[2] for _ in range(9))
        for name, code in words.items()
    }
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in took.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--seeds", type=int, default=12, help="runs of each variant on each tier")
    parser.add_argument("--workers", type=int, default=2, help="runs at once")
    parser.add_argument("--write", action="store_true", help="write the tables to benchmarks/results")
    options = parser.parse_args()
    start_up = starting()
    variants = {
        "the start": {},
        "scaled": SCALED,
        f"start, {RATE}": ON_SCALED[RATE],
        "both": SCALED | ON_SCALED[RATE] | ON_SCALED[MOMENTUM],
        **{name: SCALED | change for name, change in ON_SCALED.items()},
    }
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.workers) as pool:
        folders = {each: make(Path(name, str(i)), change) for i, (each, change) in enumerate(variants.items())}
        asked = [(tier, each, seed) for seed in range(options.seeds) for tier in STEPS for each in variants]
        done = pool.map(lambda one: run(folders[one[1]], STEPS[one[0]], one[2]), asked)
        runs: Runs = {}
        for (tier, each, _), ran in zip(asked, track(done, "runs", total=len(asked)), strict=True):
            runs.setdefault((tier, each), []).append(ran)
    about = (
        f"Bits per character on held-out text, {options.seeds} seeds, each run a process. In brackets: the standard deviation "
        f"of a run. Runs {options.workers} at a time, and wall seconds count what else the machine had to do; a process that only starts: {start_up} of processor time."
    )
    gains = (
        "Gain of a change in bits per character, mean over pairs of runs with the same seed and its standard error; above zero "
        "is better. In bold: more than four standard errors from zero."
    )
    report("night_landscape", TITLE, f"{about}\n\n{tiers(runs)}\n{gains}\n\n{changes(runs)}", options.write)


if __name__ == "__main__":
    main()
