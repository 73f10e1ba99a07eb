"""A planted stack on a ladder: what carries, what reverses, what does nothing; cut off, gone on with, harmless."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from helpers import (
    autoresearch,
    eventually,
    git,
    journal_lines,
    make_study,
    play,
    runs_for,
    says,
    script,
    started,
    state_of,
)

from autoresearch import log, session
from autoresearch.errors import AutoresearchError
from autoresearch.events import StudyOpened
from autoresearch.report import transfer_plot
from autoresearch.report.transfer import page, sentence
from autoresearch.rungs import Transfer
from autoresearch.session import Listener
from autoresearch.transfer import Plan, ladder, transfer
from autoresearch.transfer.conclude import ends_of, word
from autoresearch.transfer.reach import crossing
from autoresearch.trial import Metric

pytest.importorskip("scipy", reason="transfer needs the extra `stats`")

# The first change gains 1 at every depth; the second 0.4 for each layer below six, so it hurts above; the third does
# something only while a file named luck lies in the study's folder, which is while the study climbs. A doubled budget
# gains 0.5. Noise of 0.05 follows from the seed alone and cancels; noise of 0.02 does not.
TRAIN = """
import os, random

DEPTH = {depth}
STEADY = {steady}
TURNS = {turns}
IDLE = {idle}

seed = os.environ["AUTORESEARCH_SEED"]
budget = float(os.environ.get("AUTORESEARCH_BUDGET", 100))
gain = STEADY + TURNS * 0.4 * (6 - DEPTH) + (IDLE if os.path.exists("../../../luck") else 0.0)
loss = 20 - 0.1 * DEPTH - 0.5 * (budget / 100 - 1) ** 0.5 - gain
shared, own = random.Random(seed), random.Random(f"{{seed}} {{DEPTH}} {{STEADY}} {{TURNS}} {{IDLE}} {{budget}}")
print("METRIC loss=%r" % (loss + shared.gauss(0, 0.05) + own.gauss(0, 0.02)))
"""


def train(depth: int = 4, steady: float = 0.0, turns: float = 0.0, idle: float = 0.0) -> str:
    return TRAIN.format(depth=depth, steady=steady, turns=turns, idle=idle)


STEPS = [
    {"idea": "steady", "files": {"train.py": train(steady=1.0)}},
    {"idea": "turns", "files": {"train.py": train(steady=1.0, turns=1.0)}},
    {"idea": "idle", "files": {"train.py": train(steady=1.0, turns=1.0, idle=1.0)}},
]


def stack(folder: Path, steps: list[dict[str, Any]] = STEPS, start: str = "", **changes: Any) -> Path:
    """A study all of whose changes were kept; its seeds are the same whenever the test runs."""
    measure = {"run": "python train.py", "budget": "100 steps"} | changes.pop("measure", {})
    metric = {"max_step": 100.0} | changes.pop("metric", {})
    make_study(
        folder,
        *steps,
        files={"train.py": start or train()},
        asset=["train.py"],
        metric=metric,
        measure=measure,
        decide={"policy": "greedy"},
        **changes,
    )
    head, tree = git(folder, "rev-parse", "HEAD", "HEAD^{tree}").split()
    session.make_home(folder)
    with log.Log(session.journal(folder)) as journal:
        journal.append(
            StudyOpened(study="s", start=head, start_tree=tree, metric=Metric("loss"), digest="", seed=20_261_122)
        )
    (folder / "luck").touch()
    assert play(folder).counts == {"keep": len(steps)}
    (folder / "luck").unlink()
    return folder


def plan(*words: str, budgets: str | None = None, **changes: Any) -> Plan:
    return Plan(ladder.read(words, budgets), **changes)


def text_of(found: Transfer) -> str:
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as shown:
        console.print(page(found, Metric("loss")), soft_wrap=True)
    return shown.get()


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stack(tmp_path_factory.mktemp("transfer") / "repo")


@pytest.fixture(scope="module")
def measured(planted: Path) -> Transfer:
    return transfer(planted, plan("DEPTH=4,6,8"), Listener())


# -- what it says ----------------------------------------------------------------------------------------


def test_of_a_planted_stack_it_says_what_carries_what_reverses_and_what_does_nothing(measured: Transfer) -> None:
    assert [(change.idea, change.word) for change in measured.changes] == [
        ("steady", "carries"),
        ("turns", "reverses"),
        ("idle", "unclear"),
    ]
    assert measured.stack == "shrinks"  # from 1.8 to 0.2


def test_the_intervals_hold_the_truth_at_every_rung(measured: Transfer) -> None:
    truth = {4: (1.0, 0.8, 0.0), 6: (1.0, 0.0, 0.0), 8: (1.0, -0.8, 0.0)}
    assert [rung.settings for rung in measured.rungs] == [{"DEPTH": 4}, {"DEPTH": 6}, {"DEPTH": 8}]
    hits = 0
    for rung, gains in zip(measured.rungs, truth.values(), strict=True):
        for effect, gain in zip((*rung.changes, rung.stack), (*gains, sum(gains)), strict=True):
            assert effect.low is not None
            assert effect.high is not None
            hits += effect.low <= gain <= effect.high
            assert effect.gain == pytest.approx(gain, abs=0.05)
            assert 0 < effect.high - effect.low < 0.2
        assert rung.excess.gain == pytest.approx(0.0, abs=0.05)  # these gains add
    assert hits >= 10  # of 12 at 95 %; fewer by chance in 2 of 100 roots of the seeds, and the root is fixed


def test_it_is_said_on_the_screen_and_drawn(measured: Transfer, tmp_path: Path) -> None:
    said = text_of(measured)
    assert "The best's gain in loss shrinks" in said
    assert "Kept changes: carries 1, reverses 1, unclear 1." in said
    assert said.count("as much as they add up to") >= 2  # of 3 at 95 %
    assert "It is not said how much less budget" in said
    pytest.importorskip("matplotlib", reason="the picture needs the extra `plot`")
    transfer_plot.draw(measured, Metric("loss"), tmp_path / "ladder.png")
    assert (tmp_path / "ladder.png").stat().st_size > 10_000


def test_every_side_has_the_same_fresh_seeds_in_turn(planted: Path, measured: Transfer) -> None:
    state = state_of(planted)
    digests = {rung.digest for rung in measured.rungs}
    runs = [run for run in runs_for(planted, "transfer") if run.digest in digests]
    assert len(runs) == 3 * 5 * 5
    others = {run.seed_index for run in state.runs.values() if run.purpose != "transfer"}
    assert not {run.seed_index for run in runs} & others
    orders = [[run.tree for run in runs[i : i + 5]] for i in range(0, 25, 5)]
    assert orders[0] == orders[1][::-1] == orders[2]
    assert {len({run.seed for run in runs[i : i + 5]}) for i in range(0, 75, 5)} == {1}


def test_taken_out_of_the_best_the_changes_say_the_same(planted: Path, measured: Transfer) -> None:
    found = transfer(planted, plan("DEPTH=4,8", each="without"), Listener())
    assert [change.word for change in found.changes] == ["carries", "reverses", "unclear"]
    assert found.rungs[0].changes[0].gain == pytest.approx(1.0, abs=0.1)
    assert found.rungs[0].stack == measured.rungs[0].stack  # from the log: nothing of it was measured again


# -- the log and the study -------------------------------------------------------------------------------


def test_the_result_is_in_the_log_and_nothing_measured_enters_the_study(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo")
    before = state_of(folder)
    found = transfer(folder, plan("DEPTH=4", budgets="100,200", runs=3), Listener())
    after = state_of(folder)
    assert after.transfers == [found]
    assert [line["event"] for line in journal_lines(folder)][-2:] == ["transferred", "session_ended"]
    assert (before.noise, before.best, before.kept, before.counts) == (
        after.noise,
        after.best,
        after.kept,
        after.counts,
    )
    assert before.best is not None
    for tree in (
        before.best.tree,
        git(folder, "rev-parse", "HEAD^{tree}"),
    ):  # at DEPTH=4 the rung is the study's own code
        assert before.runs_on(tree) == after.runs_on(tree)
    assert before.trials == after.trials
    assert json.loads(autoresearch("status", "--json", cwd=folder).stdout)["transfer"]["runs"] == 3

    steps = [*STEPS, {"idea": "more", "files": {"train.py": train(steady=3.0, turns=1.0)}}]
    (folder / "steps.jsonl").write_text(script(*steps))
    state = play(folder)
    assert state.counts["keep"] == 4
    assert max(run.seed_index for run in state.runs.values() if run.purpose != "transfer") < 100
    done = autoresearch("certify", "--runs", "3", "--no-shares", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    claims = [run.seed_index for run in runs_for(folder, "claim")]
    assert max(claims) < 100


def test_killed_in_the_middle_it_goes_on_and_measures_nothing_twice(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", STEPS[:2])
    words = ("transfer", "--ladder", "DEPTH=4,8", "--runs", "4")
    with started(*words, cwd=folder) as process:
        assert eventually(lambda: len(runs_for(folder, "transfer")) > 9, within_s=30)
        process.kill()
        process.communicate()
    had = {run.id for run in runs_for(folder, "transfer") if run.value is not None}
    assert 8 < len(had) < 32
    assert state_of(folder).transfers == []

    done = autoresearch(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    state = state_of(folder)
    runs = runs_for(folder, "transfer")
    good = [run for run in runs if run.value is not None]
    assert len(good) == 2 * 4 * 4
    assert len({(run.tree, run.digest, run.seed_index) for run in good}) == 32
    assert f"{len(had)} of 32 runs are in the log already" in done.stdout
    assert [change.word for change in state.transfers[0].changes] == ["carries", "reverses"]

    again = autoresearch(*words[:-1], "3", "--json", cwd=folder)
    assert json.loads(again.stdout)["stack"] == "shrinks"
    assert len(runs_for(folder, "transfer")) == len(runs)  # fewer seeds: all of them are there


def test_another_budget_has_another_digest_and_is_told_to_the_run(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", STEPS[:1])
    found = transfer(folder, plan(budgets="200,100,400", each="none", target=18.5, runs=4), Listener())
    assert [rung.budget for rung in found.rungs] == [100, 200, 400]
    assert len({rung.digest for rung in found.rungs}) == 3
    assert found.rungs[0].digest == state_of(folder).digest
    values = [rung.before for rung in found.rungs]
    assert values == pytest.approx([19.6, 19.1, 19.6 - 0.5 * 3**0.5], abs=0.1)

    own, target = found.reaches
    assert own.stack.word == "below"  # the best gains more than four times the budget does
    assert own.low is not None
    assert own.low >= 4
    assert (target.start.word, target.stack.word) == ("above", "between")
    assert target.stack.budget == pytest.approx(101.5, rel=0.1)  # a straight line from 18.6 to 18.1 in the logarithm
    said = text_of(found)
    assert "at least 4 times less, 95 %" in said
    assert "Target loss 18.5: the start does not get there with any budget that was measured" in said


# -- what cannot be measured -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ladder", "DETPH=4,6"], "--ladder DETPH: train.py has no constant DETPH"),
        (["--ladder", "DEPTH=4,x"], "--ladder DEPTH=x: in train.py it is 4, so it must be a whole number"),
        (["--ladder", "DEPTH"], "write a constant and its values, like DEPTH=4,6,8"),
        (["--ladder", "DEPTH=4,6", "--ladder", "STEADY=1,2,3"], "2 of DEPTH, 3 of STEADY values"),
        (["--ladder", "DEPTH=4,6,4"], "the rung DEPTH=4 is there twice"),
        (["--ladder", "other.py:DEPTH=4"], "other.py is not a file of the asset"),
        (["--ladder", "DEPTH=4", "--budgets", "1e5,many"], "'many' is no budget"),
        (["--ladder", "DEPTH=4", "--plot", "nowhere/x.png"], "no such folder"),
        ([], "--ladder is missing"),
    ],
)
def test_a_bad_ladder_is_an_error_that_says_what_to_write(planted: Path, words: list[str], message: str) -> None:
    done = autoresearch("transfer", *words, cwd=planted)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_a_constant_that_is_set_twice_or_is_gone_is_an_error_that_names_file_and_side(tmp_path: Path) -> None:
    later = train(steady=1.0).replace("TURNS = 0.0\n", "TURNS = 0.0\nif DEPTH > 9:\n    TURNS = 2.0\n")
    gone = later.replace("IDLE = 0.0", "IDLE = float(0)").replace("{IDLE}", "")
    folder = stack(tmp_path / "repo", [{"idea": "x", "files": {"train.py": gone}}])
    for key, message in (
        ("TURNS", "train.py of the best: TURNS is set in 2 places"),
        ("IDLE", "train.py of the best: no constant IDLE with a plain value"),
    ):
        with pytest.raises(AutoresearchError, match=message):
            transfer(folder, plan(f"{key}=1,2"), Listener())
    assert runs_for(folder, "transfer") == []


def test_a_change_that_set_the_constant_itself_is_said_to_be_overridden(tmp_path: Path) -> None:
    deeper = [{"idea": "deeper", "files": {"train.py": train(depth=5)}}, STEPS[0]]
    deeper[1] = {"idea": "steady", "files": {"train.py": train(depth=5, steady=1.0)}}
    folder = stack(tmp_path / "repo", deeper)
    found = transfer(folder, plan("DEPTH=4,8", runs=3), Listener())
    assert [(change.word, change.overridden) for change in found.changes] == [
        ("overridden", ("DEPTH",)),
        ("carries", ()),
    ]
    assert "it set DEPTH itself, and the ladder overrides that" in text_of(found)
    assert len(runs_for(folder, "transfer")) == 2 * 2 * 3  # two contents a rung: the start, and the start with `steady`


def test_what_does_not_apply_alone_and_what_crashes_higher_up_is_said_and_the_rest_is_measured(tmp_path: Path) -> None:
    fragile = (
        train(steady=1.0).replace("loss = 20", "loss = 19.9").replace("gain = STEADY", "gain = STEADY / (DEPTH < 8)")
    )
    steps = [
        {"idea": "steady", "files": {"train.py": train(steady=1.0)}},
        {"idea": "fragile", "files": {"train.py": fragile}},
        {"idea": "on top", "files": {"train.py": fragile.replace("STEADY = 1.0", "STEADY = 2.0")}},
    ]
    folder = make_study(tmp_path / "none", says(9))  # a study that was never run has no stack
    assert "autoresearch run` first" in autoresearch("transfer", "--ladder", "A=1", cwd=folder).stderr

    folder = stack(tmp_path / "repo", steps)
    found = transfer(folder, plan("DEPTH=4,6", runs=3), Listener())
    assert [change.word for change in found.changes] == ["carries", "carries", "unmeasured"]
    assert "does not apply to the start by itself; --each without" in found.changes[2].why
    assert found.rungs[0].excess.why == "not every change could be measured by itself, so their gains cannot be added"
    with pytest.raises(
        AutoresearchError, match=r"the best could not be measured at DEPTH=8 .crash: .*what was measured"
    ):
        transfer(folder, plan("DEPTH=8", runs=3), Listener())


def test_a_single_change_that_crashes_on_a_rung_does_not_stop_the_others(tmp_path: Path) -> None:
    tied = train(steady=1.0, turns=1.0).replace("gain = STEADY", "gain = 0 / (STEADY or DEPTH < 8) + STEADY")
    steps = [STEPS[0], {"idea": "tied", "files": {"train.py": tied}}]
    folder = stack(tmp_path / "repo", steps)
    found = transfer(folder, plan("DEPTH=4,8", runs=3), Listener())
    assert [change.word for change in found.changes] == ["carries", "unmeasured"]
    assert "ZeroDivisionError" in found.changes[1].why
    assert found.rungs[0].changes[1].gain == pytest.approx(0.8, abs=0.1)


def test_a_change_that_costs_far_more_than_the_start_on_its_rung_is_ended(tmp_path: Path) -> None:
    dear = train(idle=1.0).replace("seed = os", "while IDLE and DEPTH > 4 and not STEADY:\n    pass\nseed = os")
    folder = stack(
        tmp_path / "repo",
        [STEPS[0], {"idea": "dear", "files": {"train.py": dear.replace("STEADY = 0.0", "STEADY = 1.0")}}],
    )
    found = transfer(folder, plan("DEPTH=4,8", runs=3), Listener())
    assert "more than measure.overrun allows" in found.rungs[1].changes[1].why
    assert found.rungs[1].changes[0].gain is not None
    assert len([run for run in runs_for(folder, "transfer") if run.value is None]) == 1  # once is enough


def test_times_are_compared_only_with_what_was_run_beside_them(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", STEPS[:2], metric={"kind": "timing"})
    transfer(folder, plan("DEPTH=8", runs=3, each="none"), Listener())
    assert len(runs_for(folder, "transfer")) == 2 * 3
    transfer(folder, plan("DEPTH=8", runs=3, each="alone"), Listener())
    assert len(runs_for(folder, "transfer")) == 2 * 3 + 4 * 3  # start and best again, beside the single changes
    transfer(folder, plan("DEPTH=8", runs=4, each="alone"), Listener())
    assert len(runs_for(folder, "transfer")) == 2 * 3 + 4 * 4  # seeds of which all sides are there are used again


def test_proportions_are_refused_with_the_way_out(tmp_path: Path) -> None:
    start = 'print("METRIC items=10")\nprint("METRIC loss=0.5")\nDEPTH = 4\n'
    measure = {"run": "python train.py"}
    folder = make_study(
        tmp_path, files={"train.py": start}, asset=["train.py"], metric={"kind": "proportion"}, measure=measure
    )
    with pytest.raises(AutoresearchError, match=r"metric.kind is proportion.*autoresearch certify"):
        transfer(folder, plan("DEPTH=4"), Listener())


# -- parts -----------------------------------------------------------------------------------------------


def test_a_ladder_is_read_rung_by_rung_and_crossed_with_budgets() -> None:
    together = ladder.read(["DEPTH=4,6 WIDTH=64,96", "LR=0.1"])
    assert [step.settings for step in together] == [
        {"DEPTH": "4", "WIDTH": "64", "LR": "0.1"},
        {"DEPTH": "6", "WIDTH": "96", "LR": "0.1"},
    ]
    crossed = ladder.read(["DEPTH=4,6"], "300_000,150_000")
    assert [(s.settings["DEPTH"], s.budget) for s in crossed] == [("4", 15e4), ("4", 3e5), ("6", 15e4), ("6", 3e5)]
    assert ends_of(crossed) == (1, 3)
    growing = ladder.read(["DEPTH=4,6,8 budget=1e5,2e5,4e5"])
    assert [step.budget for step in growing] == [1e5, 2e5, 4e5]
    assert ends_of(growing) == (0, 2)


def test_the_words_follow_from_the_intervals() -> None:
    def around(gain: float) -> list[float]:
        return [gain - 0.1, gain, gain + 0.1, gain + 0.05, gain - 0.05]

    def other(gain: float) -> list[float]:
        return [gain + 0.1, gain - 0.1, gain - 0.05, gain, gain + 0.05]

    assert word(around(1), other(1)) == "carries"
    assert word(around(1), other(3)) == "carries"
    assert word(around(1), other(0.5)) == "shrinks"
    assert word(around(1), other(0)) == "gone"
    assert word(around(1), other(-1)) == "reverses"
    assert word(around(0), other(0)) == "unclear"
    assert word(around(0.1), other(0)) == "unclear"
    assert word(around(1), None) == "unmeasured"
    assert word([1.0, 1.0, 1.0], [1.0 - 1e-15] * 3) == "carries"


def test_a_change_that_does_nothing_gets_a_word_as_seldom_as_it_says() -> None:
    chance, words = random.Random(5), []
    for _ in range(400):
        words.append(word(*([chance.gauss(0, 1) for _ in range(5)] for _ in range(2))))
    wrong = 1 - words.count("unclear") / len(words)
    assert wrong < 0.06 + 3 * (0.06 * 0.94 / 400) ** 0.5  # 5 % at the top, and the few that are `gone`


def test_where_a_value_is_reached_is_read_between_budgets_and_nowhere_else() -> None:
    cost_s = {1.0: 2.0, 4.0: 8.0}
    found = crossing({1.0: [-1.1, -0.9, -1.0], 4.0: [1.0, 1.1, 0.9]}, cost_s)
    assert found.word == "between"
    assert found.budget == pytest.approx(2.0, rel=0.01)
    assert found.seconds == pytest.approx(4.0, rel=0.01)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 2.0 < found.high
    assert crossing({1.0: [0.1, 0.2, 0.3], 4.0: [1.0, 1.1, 1.2]}, cost_s).word == "below"
    above = crossing({1.0: [-2.0, -2.1, -2.2], 4.0: [-1.0, -1.1, -1.2]}, cost_s)
    assert (above.word, above.budget, above.low, above.high) == ("above", None, 4.0, None)


def test_the_interval_of_a_budget_holds_the_truth_as_often_as_it_says() -> None:
    """The value is reached at a budget of 2; noise of 0.3 in a margin that rises by 1 from 1 to 4."""
    chance, hits, studies = random.Random(7), 0, 150
    for _ in range(studies):
        found = crossing(
            {b: [m + chance.gauss(0, 0.3) for _ in range(5)] for b, m in ((1.0, -0.5), (4.0, 0.5))}, {1.0: 1, 4.0: 1}
        )
        hits += (found.low or 0.0) <= 2.0 <= (found.high or 9.0)
    assert hits / studies > 0.95 - 3 * (0.95 * 0.05 / studies) ** 0.5


def test_a_sentence_is_one_sentence(measured: Transfer) -> None:
    assert "\n" not in sentence(measured, Metric("loss"))
