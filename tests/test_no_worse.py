"""Guards that hold a trial to the start: read, judged over pairs of runs, and said with every claim."""

import math
import random
import re
from pathlib import Path
from typing import Any

import pytest
from helpers import (
    History,
    Recorder,
    autoresearch,
    contract,
    make_study,
    play,
    runs_for,
    says,
    state_of,
    toml,
    why,
    words,
)
from hypothesis import given
from hypothesis import strategies as st

from autoresearch.errors import StudyError
from autoresearch.guard import METRIC_NAME, Guard, NoWorse, read
from autoresearch.policy import Ask, no_worse
from autoresearch.policy.climb import Climb
from autoresearch.report.front import front
from autoresearch.state import State
from autoresearch.study import parse
from autoresearch.trial import Verdict

# Size is what the asset says, the same in each run. Its value scatters by some 0.05 from seed to seed, which is the same
# for all content, and by 0.002 of its own. Seeds are chosen by chance; to be the same each time, the scatter follows from
# the order in which they were first seen.
MEASURE = """
import os, random
size, harm = open("model.txt").read().split()
with open("../../../seeds", "a+") as file:
    file.seek(0)
    seeds = file.read().split()
    if os.environ["AUTORESEARCH_SEED"] not in seeds:
        print(os.environ["AUTORESEARCH_SEED"], file=file)
    nth = str((seeds + [os.environ["AUTORESEARCH_SEED"]]).index(os.environ["AUTORESEARCH_SEED"]))
value = 2 + float(harm) + random.Random(nth).gauss(0, 0.05) + random.Random(nth + "/" + size).gauss(0, 0.002)
print("METRIC size=" + size)
print("METRIC val=%r" % value)
"""


def model(size: float, harm: float = 0.0) -> dict[str, Any]:
    return {"idea": f"{size} at {harm:+}", "files": {"model.txt": f"{size} {harm}\n"}}


def small(folder: Path, *steps: dict[str, Any], guard: str = "val <= baseline + 0.01", **changes: Any) -> Path:
    """A study that looks for the smallest model at no worse value."""
    metric = {"name": "size", "unit": "bytes", "guards": [guard], "max_step": float("inf")}
    decide = {"calibrate": 5} | changes.pop("decide", {})
    return make_study(
        folder,
        *steps,
        files={"model.txt": "100 0\n", "measure.py": changes.pop("code", MEASURE)},
        asset=changes.pop("asset", ["model.txt"]),
        metric=metric | changes.pop("metric", {}),
        measure={"run": "python measure.py"},
        decide=decide,
        **changes,
    )


def why_of(state: State, trial: int) -> str:
    verdict = state.trials[trial].verdict
    assert verdict is not None
    return verdict.why


# -- reading -------------------------------------------------------------------------------------------

NAMES = st.from_regex(METRIC_NAME, fullmatch=True)
MARGINS = st.floats(0, 1e300)


@given(st.builds(Guard, NAMES, st.sampled_from(["<=", "<", ">=", ">"]), st.floats(-1e300, 1e300)))
def test_a_bound_reads_as_it_is_written(guard: Guard) -> None:
    assert read(str(guard)) == guard


@given(st.builds(NoWorse, NAMES, st.sampled_from(["<=", ">="]), MARGINS | st.none()), st.sampled_from(["", " ", "  "]))
def test_a_margin_to_the_start_reads_as_it_is_written(guard: NoWorse, space: str) -> None:
    assert read(str(guard)) == guard
    assert read(space + re.sub(" ", space, str(guard)) + space) == guard


@given(NAMES, st.sampled_from(["<", "<=", ">", ">="]), st.sampled_from("+-"), st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_guard_against_the_start_only_ever_allows_a_loss(
    name: str, sense: str, sign: str, margin: float, loss: float
) -> None:
    try:
        guard = read(f"{name} {sense} baseline {sign} {margin!r}")
    except ValueError as error:
        meant = re.search(r"write '(.*)'", str(error))
        assert meant
        guard = read(meant[1])
    assert isinstance(guard, NoWorse)
    assert guard.margin == margin
    lower_is_better = sense[0] == "<"
    assert guard.worse(0.0, loss if lower_is_better else -loss) == loss


@given(st.text(max_size=30) | st.from_regex(r"[a-c .<>=+\-0-9]*baseline[ +\-0-9.e]*", fullmatch=True))
def test_what_is_no_guard_is_a_sentence(text: str) -> None:
    try:
        found = read(text)
    except ValueError as error:
        said = str(error)
    else:
        said = f"guards: {text!r} is {read(str(found))}"
    assert said.startswith("guards: ")


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"metric": {"guards": ["val <= baseline - 0.1"]}}, "write 'val <= baseline + 0.1'"),
        ({"metric": {"guards": ["val >= baseline + 0.1"]}}, "write 'val >= baseline - 0.1'"),
        ({"metric": {"guards": ["val < baseline"]}}, "write 'val <= baseline'"),
        ({"metric": {"guards": ["val <= baseline + 1e999"]}}, "leave it out"),
        ({"metric": {"guards": ["loss <= baseline"]}}, "the metric itself"),
        ({"metric": {"guards": ["val <= baseline"]}, "decide": {"calibrate": 1}}, "'val <= baseline + 0.01'"),
        ({"metric": {"guards": ["val <= baseline"]}, "decide": {"calibrate": 5, "policy": "greedy"}}, "needs a margin"),
    ],
)
def test_a_guard_that_cannot_be_held_names_the_remedy(changes: dict[str, Any], remedy: str) -> None:
    with pytest.raises(StudyError, match=r"metric.guards|the file") as found:
        parse(toml(contract(**changes)))
    assert remedy in str(found.value)


# -- deciding ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State, Recorder]:
    """Half the size at equal value; a tenth with harm; a quarter with a harm that one run hides; a third."""
    steps = [model(10, 1.0), model(25, 0.04), model(50), model(60), model(33)]
    folder = small(tmp_path_factory.mktemp("small") / "repo", *steps)
    recorder = Recorder()
    return folder, play(folder, recorder), recorder


def test_the_smallest_at_no_worse_value_is_kept_and_no_smaller_one(planted: tuple[Path, State, Recorder]) -> None:
    _, state, _ = planted
    assert words(state) == ["discard", "discard", "keep", "discard", "keep"]
    assert state.best is not None
    assert state.best.trial == 5


def test_what_harms_the_value_is_told_so_in_numbers(planted: tuple[Path, State, Recorder]) -> None:
    _, state, _ = planted
    told = re.fullmatch(
        r"better by 90 over 1 run, but val is worse than the start's by \+(0\.99|1\.0)\d* \+- 0\.\d+ over 1 pair of runs: "
        r"0\.01 is allowed",
        why_of(state, 1),
    )
    assert told, why_of(state, 1)
    assert len(state.trials[1].runs) == 1, "nobody runs again what is worse by more than any seed could do"


def test_a_harm_that_one_run_would_hide_is_found_by_another(planted: tuple[Path, State, Recorder]) -> None:
    _, state, _ = planted
    assert state.baseline is not None
    numbers = state.values(state.baseline.tree or "", name="val")
    [one, *_] = (state.runs[run].number("val") for run in state.trials[2].runs)
    assert one is not None
    assert one < max(numbers.values()) + 0.01, "one run alone lies among those of the start"
    assert len(state.trials[2].runs) == 2
    assert re.search(r"but val is worse than the start's by \+0\.0[34]\d* \+- 0\.0\d+ over 2 pairs", why_of(state, 2))


def test_what_is_kept_is_told_with_its_guard(planted: tuple[Path, State, Recorder]) -> None:
    _, state, recorder = planted
    assert re.search(
        r"better by 50 over \d runs; val no worse: [+-]0\.00\d* \+- .* pairs of runs, within 0\.01$", why_of(state, 3)
    )
    [said] = [said for said in recorder.said if said.startswith("val scatters by 0.0")]
    assert said.endswith(" from run to run; no worse than the start means: by no more than 0.01.")


def test_runs_that_tell_nothing_are_not_made(planted: tuple[Path, State, Recorder]) -> None:
    """Sizes do not scatter: what is larger is dropped after one run, and more runs are for the guard alone."""
    _, state, _ = planted
    assert why_of(state, 4) == "worse by 10 over 1 run"
    assert all(2 <= len(state.trials[kept].runs) <= 5 for kept in (3, 5))


def test_a_broken_guard_is_no_gain_for_whoever_learns_from_gains(planted: tuple[Path, State, Recorder]) -> None:
    _, state, _ = planted
    verdict = state.trials[1].verdict
    assert verdict is not None
    assert (verdict.value, verdict.gain) == (None, None)
    found = front(state)
    assert not {1, 2} & {point.trial for point in (*found.members, *found.others)}


@pytest.mark.parametrize("policy", ["strict", "greedy"])
def test_guards_hold_beside_any_policy(tmp_path: Path, policy: str) -> None:
    state = play(small(tmp_path, model(10, 1.0), model(50), decide={"policy": policy}))
    assert words(state) == ["discard", "keep"]


def test_a_timing_is_guarded_over_whole_turns(tmp_path: Path) -> None:
    state = play(small(tmp_path, model(10, 1.0), model(50), metric={"unit": "s"}))
    assert words(state) == ["discard", "keep"], why_of(state, 2)
    runs = [state.runs[run] for run in state.trials[2].runs]
    assert len({run.seed_index for run in runs}) == len(runs) / 2, "each seed once for the trial, once for its base"


def test_what_scatters_too_much_to_tell_is_inconclusive_and_says_what_is_missing() -> None:
    past, study = History(), parse(toml(contract(metric={"guards": ["val <= baseline"]}, decide={"calibrate": 3})))
    start = past.start(baseline=True)
    for index, number in enumerate((2.0, 2.1, 1.9)):
        past.end_run(past.begin_run(start, index, "record"), 10.0, extras={"val": number})
    past.decide(start, "keep", 10.0)
    state, trial = past.state, past.start()
    past.propose(trial)
    for index, number in enumerate((2.09, 1.99, 2.0)):
        judged = Verdict("keep", "better by 5", 5.0, 10.0, 5.0)
        assert no_worse.ask(state, study, state.trials[trial], judged) == Ask(index)
        past.end_run(past.begin_run(trial, index), 5.0, extras={"val": number})
    assert no_worse.ask(state, study, state.trials[trial], judged) is None, "the start was run with no more seeds"
    found = no_worse.examined(state, study, state.trials[trial], judged)
    assert (found.word, found.gain) == ("inconclusive", 5.0)
    why = "better by 5, but val is not shown to be no worse than the start's: +0.02667 +- 0.2 over 3 pairs of runs"
    assert found.why == f"{why}, where 0.1 is allowed"


def test_many_small_losses_do_not_add_up_to_a_large_one(tmp_path: Path) -> None:
    state = play(small(tmp_path, model(90, 0.003), model(80, 0.009), model(70, 0.015)))
    assert words(state)[0] == "keep"
    assert words(state)[2] == "discard"
    assert "val is worse than the start's by +0.01" in why_of(state, 3)


def test_a_number_that_does_not_scatter_is_decided_by_one_run(tmp_path: Path) -> None:
    steps = [("5", "7"), ("6", "8"), ("4", "7"), ("3", "9")]
    files = [says(loss)["files"]["step.sh"] + f"echo METRIC ms={ms}\n" for loss, ms in steps]
    proposals = [{"idea": "x", "files": {"step.sh": file}} for file in files]
    folder = make_study(
        tmp_path,
        *proposals,
        start="echo METRIC loss=10\necho METRIC ms=7\n",
        metric={"guards": ["ms <= baseline"], "max_step": float("inf")},
        decide={"calibrate": 3},
    )
    state = play(folder)
    assert words(state) == ["keep", "discard", "keep", "discard"]
    assert all(len(trial.runs) == 1 for trial in state.trials.values() if not trial.is_baseline)
    assert why_of(state, 1) == "better by 5 over 1 run; ms no worse: +0 over 1 pair of runs, within 0"
    assert (
        why_of(state, 4)
        == "better by 1 over 1 run, but ms is worse than the start's by +2 over 1 pair of runs: 0 is allowed"
    )


def test_a_number_that_nobody_states_is_no_baseline(tmp_path: Path) -> None:
    folder = small(tmp_path, model(50), guard="speed >= baseline - 1")
    done = autoresearch("run", cwd=folder)
    assert done.returncode != 0
    assert "nobody stated speed, which metric.guards bounds (speed >= baseline - 1)" in done.stderr


def test_a_patch_that_pins_what_is_guarded_to_a_lucky_value_is_suspect(tmp_path: Path) -> None:
    lucky = (
        MEASURE.replace('"%r" % value', '"1.8"').replace("METRIC val=%r", "METRIC val=").replace("% value", "+ '1.8'")
    )
    steps = {"idea": "pin it", "files": {"measure.py": lucky, "model.txt": "50 0\n"}}
    folder = small(tmp_path, steps, asset=["model.txt", "measure.py"])
    state = play(folder)
    assert words(state) == ["suspect"], why(state)
    assert "ignores its seed" in why(state)


def share_kept(worse: float, correlation: float, studies: int = 300) -> float:
    """The share of studies that keep a change which is smaller, and worse by so many standard deviations of a run."""
    chance, kept = random.Random(1), 0
    metric = {"guards": ["val <= baseline + 2"]}
    study = parse(toml(contract(metric=metric, decide={"calibrate": 5})))
    policy = Climb(study)
    for _ in range(studies):
        seeds = [chance.gauss(0, 1) for _ in range(9)]

        def val(truth: float, index: int, seeds: list[float] = seeds) -> float:
            return truth + math.sqrt(correlation) * seeds[index] + math.sqrt(1 - correlation) * chance.gauss(0, 1)

        past = History()
        start = past.start(baseline=True)
        for index in range(5):
            past.end_run(past.begin_run(start, index, "record"), 10.0, extras={"val": val(0.0, index)})
        past.decide(start, "keep", 10.0)
        state, trial = past.state, past.start()
        past.propose(trial)
        while True:
            now = state.trials[trial]
            ask = policy.next_run(state, now) or no_worse.ask(state, study, now, policy.judge(state, now))
            if ask is None:
                break
            past.end_run(past.begin_run(trial, ask.index), 5.0, extras={"val": val(worse, ask.index)})
        verdict = policy.judge(state, state.trials[trial])
        kept += no_worse.examined(state, study, state.trials[trial], verdict).word == "keep"
    return kept / studies


@pytest.mark.parametrize("correlation", [0.0, 0.7, 0.95])
def test_what_is_worse_by_the_margin_passes_one_time_in_eight_and_by_more_hardly_ever(correlation: float) -> None:
    """In theory 5 % a look, and there are four. What is no worse passes, as far as five runs can show it."""
    assert share_kept(2.0, correlation) < 0.125 + 3 * (0.125 * 0.875 / 300) ** 0.5
    assert share_kept(4.0, correlation) < 0.02
    assert share_kept(0.0, correlation) > 0.8


# -- the claim -----------------------------------------------------------------------------------------


def test_a_claim_says_what_it_did_not_cost(planted: tuple[Path, State, Recorder]) -> None:
    pytest.importorskip("scipy", reason="certify needs the extra `stats`")
    folder, _, _ = planted
    done = autoresearch("certify", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"size in bytes: claimed while climbing 67, certified 67 \[67, 67\] on the search set \(100 to 33, 5 fresh paired "
        r"seeds\), 5 tries; val no worse: [+-]0\.00\d* \[-0\.00\d*, 0\.00\d*\] within 0\.01\.",
        done.stdout,
    ), done.stdout
    claim = state_of(folder).claims[-1]
    assert [one.shown for one in claim.beside] == [True]
    assert [share.proven for share in claim.shares] == [True, True]
    assert "val no worse" in " ".join(autoresearch("status", cwd=folder).stdout.split())
    seeds = {run.seed_index for run in runs_for(folder, "claim")}
    assert len(seeds) == 2 + 5, "the shares of what does not scatter need no more runs; the guard does"


def test_a_claim_says_so_where_a_guard_is_not_shown(tmp_path: Path) -> None:
    """What passed by luck while climbing, here by a file that is gone when the claim is made."""
    pytest.importorskip("scipy", reason="certify needs the extra `stats`")
    lucky = MEASURE.replace(
        'print("METRIC size', 'value -= 0.5 * os.path.exists("../../../luck") * (size != "100")\nprint("METRIC size'
    )
    folder = small(tmp_path / "repo", model(50, 0.5), code=lucky)
    (folder / "luck").touch()
    assert words(play(folder)) == ["keep"]
    (folder / "luck").unlink()
    done = autoresearch("certify", "--runs", "3", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Not shown to be no worse than the start: val." in done.stdout
    assert re.search(r"; val not shown to be no worse: \+0\.[45]\d* \[.*\] where the guard allows 0\.01\.", done.stdout)
    assert [one.shown for one in state_of(folder).claims[-1].beside] == [False]
    assert "val not shown to be no worse" in " ".join(autoresearch("status", cwd=folder).stdout.split())
