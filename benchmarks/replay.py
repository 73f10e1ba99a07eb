"""
How long it takes to read a study back: 100,000 events, the mix that a real study writes.

    python -m benchmarks.replay --write
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import msgspec

from autoresearch import log
from autoresearch.events import (
    Event,
    RunFinished,
    RunStarted,
    SessionStarted,
    StudyOpened,
    TrialDecided,
    TrialProposed,
    TrialStarted,
)
from autoresearch.trial import Machine, Measurement, Metric, Run, Verdict
from benchmarks.tables import markdown, report

MACHINE = Machine("a processor, 1 core", 1, "a processor")
REPEATS = 9


def events(n: int) -> list[Event]:
    """A study of about n events: every fifth trial is kept, each has one run."""
    made: list[Event] = [
        StudyOpened(study="s", start=sha(0), start_tree=sha(0), metric=Metric("m"), digest="d" * 16, seed=1),
        SessionStarted(pid=1, version="0", machine=MACHINE, workers=1),
        TrialStarted(trial=0, base=sha(0), base_tree=sha(0), baseline=True),
    ]
    for i in range(n // 5):
        if i:
            made.append(TrialStarted(at=1.0, trial=i, base=sha(i), base_tree=sha(i)))
            idea = f"raise LEARNING_RATE 0.0006 -> {i}: not tried yet"
            memo = {"kind": "one", "set": {"train.py:LEARNING_RATE": [0.0006, i]}}
            made.append(TrialProposed(at=1.0, trial=i, idea=idea, by="search", commit=sha(i), tree=sha(i), memo=memo))
        run = Run(i, i, sha(i), sha(i), 0, 7, "d" * 16, 1.0)
        extras = {"train_loss": 3.0, "tokens": 150000.0, "parameters": 252000.0}
        measured = Measurement("ok", 3.0 + i % 7, "d" * 16, MACHINE, extras, "", 9.0, 8.0, 300.0, 3.0)
        word, kept = ("keep", sha(i)) if i % 5 == 0 else ("discard", None)
        verdict = Verdict(word, "worse by 0.1 +- 0.02 over 1 run", 3.1, 3.0, -0.1, 0.02)  # type: ignore[arg-type]
        made += [
            RunStarted(at=1.0, run=run),
            RunFinished(at=1.0, run=i, measurement=measured),
            TrialDecided(at=1.0, trial=i, verdict=verdict, kept_as=kept),
        ]
    return made


def sha(i: int) -> str:
    return f"{i:040x}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "events.jsonl"
        for n in (1_000, 10_000, 100_000):
            made = events(n)
            path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in made))
            times = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                state = log.read(path)
                times.append(time.perf_counter() - started)
            assert len(state.trials) == n // 5
            size = os.path.getsize(path) / 2**20
            spread = f"{min(times):.3f}-{max(times):.3f}"
            rows.append([f"{len(made):,}", f"{size:.1f}", f"{median(times):.3f}", spread])
    table = markdown(["events", "MiB", "seconds, median", f"seconds, range of {REPEATS}"], rows)
    report("replay", "Reading a study back", table, options.write)


if __name__ == "__main__":
    main()
