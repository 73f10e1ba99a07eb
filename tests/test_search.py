"""The built-in proposer finds what can be found, never tries a tree twice, and forgets nothing that matters."""

import math
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from autoresearch.errors import NothingLeft, StudyError
from autoresearch.events import TrialDecided, TrialProposed, TrialStarted
from autoresearch.propose import choices, sampler
from autoresearch.propose.history import WINDOW, History
from autoresearch.propose.knobs import read
from autoresearch.propose.search import Search
from autoresearch.propose.simplify import compiles, cuts
from autoresearch.report.brief import Brief, brief
from autoresearch.state import State
from autoresearch.trial import Metric, Verdict
from benchmarks.kmodule import Bench, Files, one_at_a_time, search, targets

MODEL = b"""\
LEARNING_RATE = 3e-4
WEIGHT_DECAY = 0.1
BETAS = (0.9, 0.95)
BATCH_ROWS = 32
DEPTH = 6
DROPOUT = 0.0
EPS = 1e-8
USE_BIAS = True
ACTIVATION = "relu"  # search: relu|gelu|silu
"""
BEST_RATE = 2e-3


def constants(files: Files) -> dict[str, object]:
    return {knob.name: knob.value for knob in read("train.py", files["train.py"])}


def hill(noise: float, seed: int) -> Callable[[Files], float]:
    """A quadratic in the logarithm of the rate, with a little from two more constants, and noise."""
    rng = random.Random(seed)

    def measure(files: Files) -> float:
        return truth(files) + rng.gauss(0, noise)

    return measure


def truth(files: Files) -> float:
    now = constants(files)
    rate, rows = now["LEARNING_RATE"], now["BATCH_ROWS"]
    assert isinstance(rate, float)
    assert isinstance(rows, int)
    loss = math.log2(rate / BEST_RATE) ** 2 / 10 + math.log2(rows / 8) ** 2 / 40
    return loss + 0.05 * (now["ACTIVATION"] != "silu")


def play(bench: Bench, proposer: Search, trials: int) -> list[str]:
    """Propose and decide, one after another, with no tree seen twice; the ideas."""
    ideas, seen = [], {bench.state.trials[0].tree}
    for _ in range(trials):
        trial = bench.decide(bench.propose(proposer))
        assert trial.tree not in seen
        seen.add(trial.tree)
        ideas.append(trial.idea)
    return ideas


def best(bench: Bench) -> Files:
    assert bench.state.best is not None
    return bench.files[bench.state.best.trial]


@pytest.mark.parametrize("seed", range(4))
def test_nine_tenths_of_the_gain_is_found_in_forty_noisy_trials(tmp_path: Path, seed: int) -> None:
    start = {"train.py": MODEL}
    bench = Bench(tmp_path, start, hill(0.02, seed), "minimize", error=0.03)
    play(bench, Search(seed), 40)
    assert truth(best(bench)) < 0.1 * truth(start)


def test_ideas_give_their_reason(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"train.py": MODEL.replace(b"relu|gelu|silu", b"fixed")}, _only_rate, "minimize")
    ideas = play(bench, Search(), 3)
    assert ideas == [
        "raise LEARNING_RATE 0.0003 -> 0.0006: not tried yet",
        "again LEARNING_RATE 0.0006 -> 0.0012: the last step this way gained 0.447",
        "again LEARNING_RATE 0.0012 -> 0.0024: the last step this way gained 0.247",
    ]
    assert bench.state.trials[1].memo == {"kind": "one", "set": {"train.py:LEARNING_RATE": [0.0003, 0.0006]}}


def _only_rate(files: Files) -> float:
    rate = constants(files)["LEARNING_RATE"]
    assert isinstance(rate, float)
    return math.log2(rate / BEST_RATE) ** 2 / 10


def test_what_helped_a_little_by_itself_is_combined(tmp_path: Path) -> None:
    source = b"A = 4.0  # search: 4|8\nB = 4.0  # search: 4|8\nC = 4.0  # search: 4|8\n"
    bench = Bench(tmp_path, {"a.py": source}, lambda f: f["a.py"].count(b"8.0") * 0.8, error=1.0)
    ideas = play(bench, Search(), 4)
    assert ideas[3].startswith("combine A 4 -> 8 with B 4 -> 8 with C 4 -> 8: each looked better by itself")
    assert bench.state.trials[4].word == "keep"


def test_a_constant_that_hurts_one_way_is_tried_the_other_way_next(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a.py": b"lr = 0.1\nother = 3.0\n"}, lambda f: -constants({"train.py": f["a.py"]})["lr"])  # type: ignore[operator]
    assert play(bench, Search(), 2) == [
        "raise lr 0.1 -> 0.2: not tried yet",
        "lower lr 0.1 -> 0.05: the other way lost 0.1",
    ]


def test_every_format_is_searched_and_other_files_are_left_alone(tmp_path: Path) -> None:
    files = {"a.toml": b"x = 0.5\n", "b.json": b'{"y": 0.5}', "c.yaml": b"z: 0.5\n", "d.txt": b"w = 0.5\n"}
    bench = Bench(tmp_path, files, lambda f: -sum(map(len, f.values())))
    play(bench, Search(), 40)
    changed = {key for trial in bench.state.trials.values() for key in trial.memo.get("set", {})}
    assert changed == {"a.toml:x", "b.json:y", "c.yaml:z"}
    assert all(files["d.txt"] == b"w = 0.5\n" for files in bench.files.values())


def test_a_small_space_is_searched_whole_and_then_nothing_is_left(tmp_path: Path) -> None:
    source = b'A = "x"  # search: x|y|z\nB = "x"  # search: x|y\nC = True\nN = 2  # search: 1..3\n'
    bench = Bench(tmp_path, {"a.py": source}, lambda _: 1.0)
    play(bench, Search(), 3 * 2 * 2 * 3 - 1)
    with pytest.raises(NothingLeft, match="Widen"):
        bench.propose(Search())


def test_an_asset_without_constants_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NothingLeft, match="Give names to the numbers"):
        Bench(tmp_path, {"a.txt": b"hello"}, lambda _: 1.0).propose(Search())
    with pytest.raises(StudyError, match=r"a\.py:1"):
        Bench(tmp_path / "start", {"a.py": b"A = 1  # search: ..\n"}, lambda _: 1.0).propose(Search())


def test_a_link_in_the_asset_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_bytes(b"SECRET_SIZE = 4\n")
    (tmp_path / "bench" / "desk").mkdir(parents=True)
    (tmp_path / "bench" / "desk" / "b.py").symlink_to(outside)
    bench = Bench(tmp_path / "bench", {"a.py": b"ON = True\n"}, lambda _: 1.0)
    bench.decide(bench.propose(Search()))
    with pytest.raises(NothingLeft):
        bench.propose(Search())
    assert outside.read_bytes() == b"SECRET_SIZE = 4\n"


# -- surviving the night -------------------------------------------------------------------------------


def test_a_process_that_starts_over_proposes_what_the_first_would_have(tmp_path: Path) -> None:
    def ideas(name: str, fresh: bool) -> list[str]:
        (tmp_path / name).mkdir()
        bench = Bench(tmp_path / name, {"train.py": MODEL}, hill(0.02, 1), "minimize", error=0.03)
        proposer, found = Search(3), []
        for _ in range(60):
            proposer = Search(3) if fresh else proposer
            found += play_one(bench, proposer)
        return found

    def play_one(bench: Bench, proposer: Search) -> list[str]:
        return [bench.decide(bench.propose(proposer)).idea]

    assert ideas("once", fresh=False) == ideas("often", fresh=True)


def test_four_workers_never_propose_the_same(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"train.py": MODEL}, hill(0.02, 1), "minimize", error=0.03)
    proposer, failures = Search(), []

    def work(name: str) -> None:
        try:
            for _ in range(20):
                bench.decide(bench.propose(proposer, name))
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(f"desk{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    trees = [trial.tree for trial in bench.state.trials.values()]
    assert len(set(trees)) == len(trees) == 81


def test_knowledge_folded_bit_by_bit_equals_knowledge_folded_at_once(tmp_path: Path) -> None:
    """Trials overlap and are decided in any order, and some are crashes."""
    for seed in range(5):
        rng, folder = random.Random(seed), tmp_path / str(seed)
        folder.mkdir()
        measure = _sometimes_crashing(random.Random(seed))
        bench = Bench(folder, {"train.py": MODEL}, measure, "minimize", error=0.03)
        proposer = Search(seed)
        open_: list[int] = []
        for _ in range(60):
            if open_ and rng.random() < 0.5:
                bench.decide(open_.pop(rng.randrange(len(open_))))
            else:
                open_.append(bench.propose(proposer))
        now = _brief(bench.state)
        proposer.history.update(now)
        whole = History()
        whole.update(now)
        assert proposer.history.facts() == whole.facts()


def _sometimes_crashing(rng: random.Random) -> Callable[[Files], float | None]:
    calls = iter(range(10**6))
    return lambda files: None if next(calls) and rng.random() < 0.2 else truth(files)


def _brief(state: State) -> Brief:
    assert state.best is not None
    return brief("s", "", ("train.py",), state.best, state)


def test_ten_thousand_trials_later_a_proposal_costs_the_same(tmp_path: Path) -> None:
    """Counted in trials looked at and in what is remembered of them, not in time."""
    bench = Bench(tmp_path, {"train.py": MODEL}, lambda _: 0.0, "minimize")
    proposer = Search()
    rng = random.Random(0)
    looked = {}
    for size in (100, 10_000):
        while bench.state.next_trial < size:
            _sampled(bench.state, rng)
        bench.decide(bench.propose(proposer))
        before = proposer.history.visited
        bench.decide(bench.propose(proposer))
        looked[size] = proposer.history.visited - before
        assert len(proposer.history.window) <= WINDOW
        assert not proposer.history.pending
    assert looked[100] == looked[10_000] == 2  # the one decided since, and the one that just began


def _sampled(state: State, rng: random.Random) -> None:
    """A discarded draw of the sampler, as the log would hold it."""
    assert state.best is not None
    id, value = state.next_trial, rng.lognormvariate(0, 1)
    memo = {"kind": "sample", "set": {"train.py:LEARNING_RATE": [3e-4, value], "train.py:WEIGHT_DECAY": [0.1, value]}}
    state.apply(TrialStarted(trial=id, base=state.best.commit, base_tree=state.best.tree))
    state.apply(TrialProposed(trial=id, idea="", by="search", commit=f"c{id}", tree=f"t{id}", memo=memo))
    state.apply(TrialDecided(trial=id, verdict=Verdict("discard", "", value, 0.0, -value, 0.1)))


def test_earlier_configurations_are_read_from_the_changes_since(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"train.py": MODEL}, hill(0.0, 1), "minimize")
    proposer = Search()
    play(bench, proposer, 50)
    proposer.history.update(_brief(bench.state))
    now = {knob.key: knob.value for knob in read("train.py", best(bench)["train.py"])}
    for configuration, outcome in proposer.history.configurations(now):
        assert configuration == {k.key: k.value for k in read("train.py", bench.files[outcome.trial]["train.py"])}


# -- the sampler ---------------------------------------------------------------------------------------


def test_the_sampler_learns_where_the_good_values_are(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    knobs = read("a.py", b"LR = 1e-2  # search: 1e-5..1e-1 log\nWD = 0.1\nON = True\n")
    proposer, rng = History(), random.Random(1)
    bench = Bench(tmp_path, {"a.py": b"LR = 1e-2\n"}, lambda _: 1.0)
    assert bench.state.best is not None
    for _ in range(60):
        drawn = sampler.nearby(knobs, rng) | {"a.py:LR": knobs[0].range.at(rng.uniform(-16, -4))}
        id, loss = bench.state.next_trial, abs(math.log2(drawn["a.py:LR"] / 1e-4))  # type: ignore[operator]
        changes = {knob.key: [knob.value, drawn[knob.key]] for knob in knobs}
        bench.state.apply(TrialStarted(trial=id, base="c", base_tree=bench.state.best.tree))
        memo = {"kind": "sample", "set": changes}
        bench.state.apply(TrialProposed(trial=id, idea="", by="search", commit=f"c{id}", tree=f"t{id}", memo=memo))
        bench.state.apply(TrialDecided(trial=id, verdict=Verdict("discard", "", loss, 0.0, -loss)))
    proposer.update(_brief(bench.state))
    seen = proposer.configurations({knob.key: knob.value for knob in knobs})
    draws = [sampler.tpe(knobs, seen, Metric("m", "minimize"), random.Random(s)) for s in range(10)]
    near = [abs(math.log2(draw["a.py:LR"] / 1e-4)) < 2 for draw in draws if draw]  # type: ignore[operator]
    assert len(near) == 10
    assert sum(near) >= 8


def test_without_optuna_the_search_goes_on(tmp_path: Path) -> None:
    """A process in which optuna cannot be imported, as where the extra is not installed."""
    program = (
        "import sys; sys.modules['optuna'] = None\n"
        "import random\n"
        "from pathlib import Path\n"
        "from autoresearch.propose.search import Search\n"
        "from benchmarks.kmodule import Bench\n"
        f"bench = Bench(Path({str(tmp_path)!r}), {{'a.py': b'A = 2.0\\nB = 3.0\\n'}}, lambda f: -abs(len(f['a.py']) - 20))\n"
        "search = Search()\n"
        "for _ in range(40): bench.decide(bench.propose(search))\n"
        "assert any(t.memo['kind'] == 'sample' for t in list(bench.state.trials.values())[1:])\n"
    )
    folder = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={"PYTHONPATH": "src:."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr


# -- several choices at once ---------------------------------------------------------------------------


def test_the_k_module_problem_takes_clearly_fewer_evaluations_than_one_at_a_time() -> None:
    ours = [search(score, 4, rng) for score, rng in targets(4, 15, seed=5)]
    theirs = [one_at_a_time(score, 4, rng) for score, rng in targets(4, 200, seed=5)]
    assert sum(theirs) / 200 == pytest.approx(11, abs=0.6)
    assert sum(ours) / 15 < 8


def test_options_that_lowered_the_score_are_believed_to_be_wrong() -> None:
    spaces = [("a", "b", "c"), ("x", "y")]
    lost = choices.Seen(((0, "a", "b"),), -1.0, 0.0)
    tied = choices.Seen(((1, "x", "y"),), 0.0, 0.0)
    weights = choices.weigh(spaces, [lost, tied])
    assert sum(weights.values()) == pytest.approx(1)
    assert sum(weight for (first, _), weight in weights.items() if first == "a") > 0.9
    noisy = choices.weigh(spaces, [choices.Seen(((0, "a", "b"),), -1.0, 100.0)])
    assert max(noisy.values()) < 0.3


# -- leaving things out --------------------------------------------------------------------------------

TRAINING = b"""\
import math
RATE = 0.1

class Net:
    @staticmethod
    def norm(x):
        return x / abs(x)

    def forward(self, x):
        x = self.norm(x)
        return x * 2.0 + math.sin(x)

@cache(size=2)
def train(net, steps=3):
    opt = Adam(net, lr=RATE, decay=0.1)
    for step in range(steps):
        loss = net.forward(step)
        loss = loss + 0.1 * (loss ** 2)
        loss.backward()
        clip_gradients(net, 1.0)  # habit
        if step < 2:
            warm = step
        opt.step()
        print("PROGRESS", step)
    return loss
"""


def test_every_cut_compiles_and_leaves_what_others_need() -> None:
    found = cuts("train.py", TRAINING)
    words = {cut.words for cut in found}
    assert {"`clip_gradients(net, 1.0)`", "`x = self.norm(x)`", "the term `math.sin(x)`"} <= words
    assert {"the option `decay=0.1`", "the decorator `cache(size=2)`", "`if step < 2: warm = step`"} <= words
    for cut in found:
        left = cut.apply(TRAINING)
        assert compiles(left)
        assert len(left) < len(TRAINING)
        assert all(need in left for need in (b"import math", b"RATE = 0.1", b"def norm", b"opt = Adam(", b"return"))
        assert all(need in left for need in (b"backward()", b"opt.step()", b"print(", b"@staticmethod"))


def test_a_line_that_is_of_no_use_is_removed(tmp_path: Path) -> None:
    """Equal and shorter is better here, as it is to a policy that likes simple code."""
    source = b"RATE = 0.1  # search: fixed\n\n\ndef train(x):\n    x = x + 1\n    log_to_nowhere(x)\n    return x\n"
    bench = Bench(tmp_path, {"a.py": source}, lambda f: (b"x + 1" in f["a.py"]) * 1e3 - len(f["a.py"]))
    play(bench, Search(), 4)
    assert b"log_to_nowhere" not in best(bench)["a.py"]
    assert b"x = x + 1" in best(bench)["a.py"]


def test_simplifications_come_between_once_every_constant_had_its_look(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        {"train.py": MODEL + TRAINING.replace(b"RATE", b"LEARNING_RATE").partition(b"\n\n")[2]},
        lambda f: -len(f["train.py"]),
        error=1000,
    )
    ideas = play(bench, Search(), 60)
    first = next(i for i, idea in enumerate(ideas) if idea.startswith("remove"))
    assert not any("not tried yet" in idea for idea in ideas[first:])
    removals = [idea for idea in ideas[first:] if idea.startswith("remove")]
    assert len(removals) == len(set(removals)) >= (60 - first) // 8
    assert all(idea.endswith("is anything lost?") for idea in removals)
