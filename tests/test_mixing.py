"""Many constants changed at once show which two of them do more together than alone."""

import heapq
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from msgspec import structs

from autoresearch import carrying
from autoresearch.propose import mixing
from autoresearch.propose.history import History, Outcome, Way, pairs, way
from autoresearch.propose.knobs import Knob, read
from autoresearch.propose.search import Search
from autoresearch.report.brief import Around, Brief, brief
from autoresearch.trial import Trial, Verdict
from benchmarks.kmodule import Bench, Files

NAMES = [f"K{i}" for i in range(14)]
SOURCE = "".join(f"{name} = 1.0\n" for name in NAMES).encode()
BEST = {name: (-1) ** i * (0.5 + 0.3 * i) for i, name in enumerate(NAMES[:6])}  # octaves
TOGETHER, ALONE = 0.3, 0.05  # what K8 and K12 bring when both are raised, and what each costs
NOISE = 0.01


def octaves(files: Files) -> dict[str, float]:
    return {knob.name: math.log2(float(knob.value)) for knob in read("a.py", files["a.py"])}


def both(files: Files) -> bool:
    return min(octaves(files)["K8"], octaves(files)["K12"]) >= 0.5


def truth(files: Files) -> float:
    at = octaves(files)
    loss = sum(0.05 * (at[name] - best) ** 2 for name, best in BEST.items())
    return float(loss + ALONE * (at["K8"] ** 2 + at["K12"] ** 2) - TOGETHER * both(files))


def played(folder: Path, trials: int, seed: int, slots: int = 16, noise: float = NOISE) -> Bench:
    """Sixteen trials at a time, of a search that is told of so many `slots`; until the pair is in what is best."""
    folder.mkdir()
    rng, search = random.Random(seed), Search(seed)
    error = max(noise * 1.4, 1e-6)
    bench = Bench(
        folder, {"a.py": SOURCE}, lambda f: truth(f) + rng.gauss(0, noise), "minimize", error=error, slots=slots
    )
    going = [(rng.random(), bench.propose(search)) for _ in range(16)]
    heapq.heapify(going)
    while len(bench.values) < trials and not both(best_of(bench)):
        at, number = heapq.heappop(going)
        bench.decide(number)
        heapq.heappush(going, (at + rng.uniform(0.9, 1.1), bench.propose(search)))
    return bench


def best_of(bench: Bench) -> Files:
    assert bench.state.best is not None
    return bench.files[bench.state.best.trial]


def known(bench: Bench) -> tuple[dict[str, Knob], History]:
    assert bench.state.best is not None
    history = History()
    history.update(brief("s", "", ("a.py",), bench.state.best, bench.state, None, Around()))
    return {knob.key: knob for knob in read("a.py", best_of(bench)["a.py"])}, history


def kinds(bench: Bench) -> list[object]:
    return [trial.memo.get("kind") for trial in bench.state.trials.values()]


def test_a_pair_that_helps_only_together_is_found_sooner_with_mixes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = [len(played(tmp_path / f"mixed {seed}", 160, seed).values) for seed in range(4)]
    monkeypatch.setattr(mixing, "mix", lambda *_: {})
    without = [len(played(tmp_path / f"without {seed}", 160, seed).values) for seed in range(4)]
    assert max(mixed) < 120, mixed
    assert sum(mixed) < 0.6 * sum(without), (mixed, without)


def test_mixes_go_on_until_each_two_levels_have_met() -> None:
    levels = [(knob, value) for knob in read("a.py", SOURCE) for value in (0.5, 2.0)]
    rng, met, mixes = random.Random(1), set[mixing.Pair](), 0

    def strange(pair: mixing.Pair) -> float:
        return float(pair not in met)

    while chosen := mixing.strangers(levels, strange, lambda _: 1, rng):
        assert len({knob.key for knob, _ in chosen}) == len(chosen) <= mixing.MOST
        met |= pairs(way(knob.key, 1.0, value) for knob, value in chosen)
        mixes += 1
    all_pairs = math.comb(len(NAMES), 2) * 4
    assert len(met) == all_pairs
    assert mixes < 2.5 * all_pairs / math.comb(mixing.MOST, 2)


def test_what_stands_out_is_tried_by_itself_and_only_what_can_gain(tmp_path: Path) -> None:
    bench = played(tmp_path / "s", 60, seed=4, noise=0.0)
    knobs, history = known(bench)
    told = mixing.couples(knobs, history)
    for couple in told:
        assert couple.gain > 0
        assert couple.more >= mixing.SURE * couple.error
    tried = [trial for trial in bench.state.trials.values() if trial.memo.get("kind") == "couple"]
    assert tried
    assert all(len(trial.memo["set"]) <= 2 for trial in tried)
    assert tried[0].idea.startswith("combine K")
    assert "beyond what each did by itself" in tried[0].idea


def test_a_couple_that_was_lost_when_best_moved_is_tried_again(tmp_path: Path) -> None:
    bench = played(tmp_path / "s", 60, seed=4)
    couple = next(trial for trial in bench.state.trials.values() if trial.memo.get("kind") == "couple")
    knobs, history = known(bench)
    one = history.window[couple.id]
    stale = structs.replace(one, word="stale", gain=1.0)
    history.window[couple.id], history.couples = stale, dict.fromkeys(pairs(_ways(stale)), couple.id)
    elsewhere = {key: structs.replace(knob, value=8.0) for key, knob in knobs.items()}
    assert {key: new for key, (_, new) in one.changes.items()} in [c.values for c in mixing.couples(elsewhere, history)]
    history.window[couple.id] = structs.replace(stale, gain=-1.0)
    assert one.changes.keys() not in [c.values.keys() for c in mixing.couples(elsewhere, history)]


def _ways(outcome: Outcome) -> list[Way]:
    return [way(key, *change) for key, change in outcome.changes.items()]


@pytest.mark.parametrize("slots", [1, 3])
def test_few_slots_mix_nothing(tmp_path: Path, slots: int) -> None:
    bench = played(tmp_path / "s", 50, seed=0, slots=slots)
    assert not {"mix", "couple"}.intersection(map(str, kinds(bench)))


def test_tries_that_come_to_nothing_make_it_harder_to_be_believed(tmp_path: Path) -> None:
    bench = played(tmp_path / "s", 60, seed=4)
    knobs, history = known(bench)
    history.couples.clear()
    before = len(mixing.couples(knobs, history))
    mix = next(one for one in history.window.values() if one.kind == "mix")
    failed = structs.replace(mix, kind="couple", gain=-1.0, error=0.01, word="discard")
    history.window |= {10_000 + number: structs.replace(failed, trial=10_000 + number) for number in range(200)}
    assert history.couples_failed >= 200
    assert len(mixing.couples(knobs, history)) < before


def test_a_stack_of_many_constants_is_no_mix() -> None:
    sets = {f"a.py:{name}": [1.0, 2.0] for name in NAMES[:6]}
    stack = Trial(
        1, "b", "t", tree="t1", by=carrying.BY, memo={carrying.CONSTANTS: sets}, verdict=Verdict("keep", "", gain=1.0)
    )
    history = History()
    history.update(cast(Brief, SimpleNamespace(trials=(stack,))))
    assert not history.mixed
    assert history.strangeness(next(iter(pairs(("a.py:" + name, True) for name in NAMES[:2])))) == 1.0
