"""Search goes with all constants at once to where the trials of each say that it is best."""

import heapq
import math
import random
from pathlib import Path

import pytest

from autoresearch.propose import leap
from autoresearch.propose.history import CLEAR, History
from autoresearch.propose.knobs import Knob, read
from autoresearch.propose.search import Search
from autoresearch.report.brief import Around, Brief, brief
from autoresearch.trial import Best
from benchmarks.kmodule import Bench, Files

NAMES = [f"K{i}" for i in range(12)]
SOURCE = "".join(f"{name} = 1.0\n" for name in NAMES).encode()
BEST = {name: (-1) ** i * (0.4 + 0.2 * i) for i, name in enumerate(NAMES[:10])}  # octaves; the last two do nothing
NOISE = 0.01


def truth(files: Files) -> float:
    octaves = {knob.name: math.log2(float(knob.value)) for knob in read("a.py", files["a.py"])}
    return sum((0.05 * (octaves[name] - best) ** 2 for name, best in BEST.items()), 0.0)


def bench_of(folder: Path, seed: int = 0) -> Bench:
    rng = random.Random(seed)
    return Bench(
        folder, {"a.py": SOURCE}, lambda files: truth(files) + rng.gauss(0, NOISE), "minimize", error=NOISE * 1.4
    )


def played(bench: Bench, trials: int, seed: int = 0) -> list[str]:
    search = Search(seed)
    return [str(bench.decide(bench.propose(search)).memo["kind"]) for _ in range(trials)]


def seen(bench: Bench) -> tuple[dict[str, Knob], History, Brief]:
    best = bench.state.best
    assert best is not None
    told = brief("s", "", ("a.py",), Best(best.commit, best.tree, best.trial), bench.state, None, Around())
    history = History()
    history.update(told)
    return {knob.key: knob for knob in read("a.py", bench.files[best.trial]["a.py"])}, history, told


@pytest.mark.parametrize("seed", range(3))
def test_with_many_slots_a_leap_takes_what_single_steps_have_to_share(tmp_path: Path, seed: int) -> None:
    bench, search, rng = bench_of(tmp_path, seed), Search(seed), random.Random(seed)
    going = [(rng.random(), bench.propose(search)) for _ in range(16)]
    heapq.heapify(going)
    while len(bench.values) < 80:
        at, number = heapq.heappop(going)
        bench.decide(number)
        heapq.heappush(going, (at + rng.uniform(0.9, 1.1), bench.propose(search)))
    best = bench.state.best
    assert best is not None
    assert truth(bench.files[best.trial]) < 0.5 * truth({"a.py": SOURCE})  # without leaps: 0.59 to 0.65
    assert any(trial.memo.get("kind") == "leap" and trial.word == "keep" for trial in bench.state.trials.values())


def test_a_slope_is_what_its_trials_say_with_its_error(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    played(bench, 30)
    knobs, history, told = seen(bench)
    found = leap.slopes(knobs.values(), history, told.base.tree)
    assert len(found) >= 6
    off = 0
    for name, best in BEST.items():
        one, here = found[f"a.py:{name}"], math.log2(float(knobs[f"a.py:{name}"].value))
        for u in (one.low / 2, one.high / 2):
            gain, error = one.gain(u)
            true = 0.05 * ((here - best) ** 2 - (here + u - best) ** 2)
            off += abs(gain - true) > 3 * error + 0.005
    assert off <= 1


def test_what_is_foreseen_to_lose_is_looked_at_last(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    played(bench, 40)
    knobs, history, told = seen(bench)
    found = leap.slopes(knobs.values(), history, told.base.tree)
    worse = [
        (knob, value)
        for knob in knobs.values()
        for value, _ in knob.range.steps(knob.value, "far")
        if leap.hopeless(knob, value, found)
    ]
    for knob, value in worse:
        gain, error = found[knob.key].gain(math.log2(float(value)) - math.log2(float(knob.value)))
        assert gain < -CLEAR * error
    assert not leap.hopeless(knobs["a.py:K11"], float(knobs["a.py:K11"].value) * 2, {})


def test_nothing_is_foreseen_beyond_what_crashed_nor_of_options(tmp_path: Path) -> None:
    rng = random.Random(1)

    def crashes(files: Files) -> float | None:
        value = float(read("a.py", files["a.py"])[0].value)
        return None if value > 1.5 else -(math.log2(value) ** 2) + rng.gauss(0, NOISE)

    bench = Bench(tmp_path, {"a.py": b'A = 1.0\nB = "x"  # search: x|y|z\n'}, crashes, error=NOISE)
    played(bench, 8)
    knobs, history, told = seen(bench)
    found = leap.slopes(knobs.values(), history, told.base.tree)
    assert "a.py:B" not in found
    assert "a.py:A" not in found or found["a.py:A"].high < 1.0


def test_the_same_leap_is_not_made_twice(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    kinds = played(bench, 60)
    made = [
        frozenset((knob, new) for knob, (_, new) in trial.memo["set"].items())
        for trial in bench.state.trials.values()
        if trial.memo.get("kind") == "leap"
    ]
    assert len(set(made)) == len(made) == kinds.count("leap")
