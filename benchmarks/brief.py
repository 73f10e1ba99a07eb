"""
What a brief costs, and how long it is, as the history grows: the records that every proposer gets each trial, and the
text that is put together for those that read it. Every idea, reason and number is as long as it may be.

    python -m benchmarks.brief --write
"""

import argparse
import random
import time
from collections.abc import Callable
from functools import partial
from statistics import median

from autoresearch.events import (
    RunFinished,
    RunStarted,
    SessionStarted,
    Steered,
    StudyOpened,
    TrialDecided,
    TrialProposed,
    TrialsImported,
    TrialStarted,
)
from autoresearch.report.brief import LONGEST, Around, Brief, brief
from autoresearch.state import State
from autoresearch.trial import Imported, Machine, Measurement, Metric, Run, Verdict, Word
from benchmarks.tables import markdown, report

MACHINE = Machine("a processor, 1 core", 1, "a processor")
REPEATS = 9
IDEA = "trial {}: raise LEARNING_RATE 0.0006 -> 0.0012: a longer warm-up should let the larger rate settle before it decays again "
WORDS: tuple[Word, ...] = ("discard", "discard", "inconclusive", "crash", "rejected", "discard", "timeout", "discard")
CURVE = tuple((i / 50, 4.0 - i / 50) for i in range(51))
EXTRAS = {f"number_{i}": float(i) for i in range(64)}


def history(trials: int) -> State:
    """A study with so many trials after the baseline: one of a hundred is kept, all wrote as much as they may."""
    state, chance = State(), random.Random(1)
    state.apply(StudyOpened(study="s", start="c0", start_tree="t0", metric=Metric("m"), digest="d", seed=1))
    state.apply(SessionStarted(pid=1, version="0", machine=MACHINE, workers=1))
    for i in range(trials + 1):
        assert state.best is not None
        state.apply(TrialStarted(trial=i, base=state.best.commit, base_tree=state.best.tree, baseline=not i))
        if i:
            state.apply(TrialProposed(trial=i, idea=IDEA.format(i), by="search", commit=f"c{i}", tree=f"t{i}"))
        for k in range(2 if i % 100 == 0 else 1):
            number = state.next_run
            state.apply(RunStarted(run=Run(number, i, f"t{i}", f"c{i}", k, k, "d")))
            value = chance.gauss(3.0, 0.1)
            state.apply(
                RunFinished(run=number, measurement=Measurement("ok", value, "d", MACHINE, EXTRAS, curve=CURVE))
            )
        word: Word = "keep" if i % 100 == 0 else WORDS[i % len(WORDS)]
        gain = None if word in {"crash", "rejected", "timeout"} else chance.gauss(0.0, 0.1)
        verdict = Verdict(word, f"ended {i}: " + "no reason " * 40, None if gain is None else 3.0, 3.1, gain, 0.02)
        state.apply(TrialDecided(trial=i, verdict=verdict, kept_as=f"k{i}" if word == "keep" else None))
    state.apply(TrialsImported(source="x", trials=tuple(Imported(IDEA, "keep", 1.0) for _ in range(1000))))
    for n in range(1, 101):
        state.apply(Steered(note=n, text="look at the data order " * 20, by="person", key=str(n)))
    return state


def made(state: State, ladder: bool = False) -> Brief:
    assert state.best is not None
    files = {"train.py": b"x = 1  # a line of code that says what it does\n" * 1000}
    return brief("s", "goal\n" * 10_000, ("train.py",), state.best, state, ladder, Around(contents=lambda _: files))


def milliseconds(work: Callable[[], object]) -> tuple[float, float, float]:
    """Of processor time: median, least and most. Other programs run beside."""
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        times.append(1000 * (time.process_time() - started))
    return median(times), min(times), max(times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = []
    for n in (0, 100, 1_000, 10_000):
        state = history(n)
        now = made(state)
        length = len(now.text())
        assert length <= LONGEST
        columns = [milliseconds(partial(made, state)), milliseconds(partial(made, state, True)), milliseconds(now.text)]
        rows.append([f"{n:,}", *(f"{mid:.2f} ({low:.2f}-{high:.2f})" for mid, low, high in columns), f"{length:,}"])
    table = markdown(["trials", "records, ms", "with the Ladder, ms", "text, ms", "characters"], rows)
    about = f"Processor time, median of {REPEATS}, range in brackets. The text is bounded at {LONGEST:,} characters. Reading the asset's files from git is not in it."
    report("brief", "What a brief costs", f"{table}\n{about}", options.write)


if __name__ == "__main__":
    main()
