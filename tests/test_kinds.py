"""Tests of three kinds, chosen by the metric: repeats (test_climb.py), timings by turns, and proportions."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
from helpers import History, contract, make_study, play, says, step, toml, words

from autoresearch.certify import certify
from autoresearch.errors import StudyError
from autoresearch.policy import Policy, timing
from autoresearch.policy.climb import Climb
from autoresearch.policy.strict import Strict
from autoresearch.session import Listener
from autoresearch.study import Study, parse

SECONDS = {"name": "loss", "unit": "s"}
RATE = {"name": "loss", "kind": "proportion", "direction": "maximize"}


def study(metric: dict[str, Any], **decide: Any) -> Study:
    return parse(toml(contract(metric=metric, decide={"calibrate": 3} | decide, measure={"budget": "1 steps"})))


def at_most(n: int, share: float) -> float:
    """So many of n, and three standard errors of the count."""
    return n * share + 3 * math.sqrt(n * share * (1 - share))


# -- timings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "timed"),
    [
        ({"unit": "s"}, True),
        ({"unit": "Seconds"}, True),
        ({"unit": "bits per byte"}, False),
        ({"unit": "s", "kind": "repeats"}, False),
        ({"kind": "timing"}, True),
    ],
)
def test_what_has_a_unit_of_time_is_timed_by_turns_unless_the_study_says_otherwise(
    metric: dict[str, Any], timed: bool
) -> None:
    assert study({"name": "loss"} | metric).metric.is_timing == timed


def drive(policy: Policy, past: History, trial: int, took: Any) -> str:
    """Run what the policy asks for, write A for each run of the base and B for each of the trial, and decide."""
    order = ""
    while (wanted := policy.next_run(past.state, past.state.trials[trial])) is not None:
        past.answer(trial, wanted, took(wanted.base))
        order += "A" if wanted.base else "B"
    return order


def test_a_trial_and_its_base_are_run_by_turns_each_pair_with_one_seed() -> None:
    past, policy = History(), Climb(study(SECONDS))
    past.baseline(10.0, 11.0, 10.5)
    trial = past.tried()
    assert drive(policy, past, trial, lambda base: 10.0 if base else 5.0) == "ABBA"
    seeds = [past.state.runs[i].seed_index for i in past.state.trials[trial].runs]
    assert seeds == [0, 0, 1, 1]
    found = policy.judge(past.state, past.state.trials[trial])
    assert (found.word, found.value, found.base_value, found.gain) == ("keep", 5.0, 10.0, 5.0)
    assert past.state.values("t0") == {0: 10.0, 1: 11.0, 2: 10.5}, "what was run beside a trial is no record"


def test_what_is_slower_costs_one_pair() -> None:
    past, policy = History(), Climb(study(SECONDS))
    past.baseline(10.0, 11.0, 10.5)
    trial = past.tried()
    assert drive(policy, past, trial, lambda base: 10.0 if base else 12.0) == "AB"
    assert policy.judge(past.state, past.state.trials[trial]).word == "discard"


@pytest.mark.parametrize("rule", [Climb, Strict])
def test_a_machine_that_slows_down_evenly_makes_no_gain_and_hides_none(rule: type) -> None:
    for gain, expected in ((0.0, {"discard", "inconclusive"}), (3.0, {"keep"})):
        past, policy, clock, chance = History(), rule(study(SECONDS, repeats=4)), [10.0], random.Random(1)
        past.baseline(10.0, 10.01, 9.99)
        trial = past.tried()

        def took(base: bool, gain: float = gain, clock: list[float] = clock, chance: random.Random = chance) -> float:
            clock[0] += 0.5
            return clock[0] - (0.0 if base else gain) + chance.gauss(0, 0.01)

        drive(policy, past, trial, took)
        assert policy.judge(past.state, past.state.trials[trial]).word in expected


def test_on_a_machine_that_wanders_turns_find_what_repeats_cannot() -> None:
    """A level that wanders by ten times what a pair scatters by: a fifth of it is found by turns, and not by repeats."""
    right = {}
    for kind in ("timing", "repeats"):
        chance, level = random.Random(3), [10.0]

        def took(gain: float, level: list[float] = level, chance: random.Random = chance) -> float:
            level[0] += chance.gauss(0, 0.1)
            return level[0] - gain + chance.gauss(0, 0.05)

        past, policy, hits = History(), Climb(study(SECONDS | {"kind": kind}, repeats=4)), 0
        past.baseline(*(took(0.0) for _ in range(5)))
        for number in range(200):
            gain = 0.4 if number % 2 else -0.4
            trial = past.tried()
            drive(policy, past, trial, lambda base, took=took, gain=gain: took(0.0 if base else gain))
            verdict = policy.judge(past.state, past.state.trials[trial])
            hits += (verdict.word == "keep") == (gain > 0)
            past.decide(trial, "discard", verdict.value)
        right[kind] = hits
    assert right["timing"] > 190
    assert right["repeats"] < 160


def test_few_changes_that_do_nothing_are_kept_while_the_machine_wanders() -> None:
    chance, level, kept = random.Random(5), 10.0, 0
    past, policy = History(), Strict(study(SECONDS, repeats=3))
    past.baseline(10.0, 10.1, 9.9, 10.05, 9.95)
    for _ in range(200):
        trial = past.tried()

        def took(base: bool) -> float:  # noqa: ARG001 (neither is faster)
            nonlocal level
            level = 10 + 0.98 * (level - 10) + chance.gauss(0, 0.1)
            return level + chance.gauss(0, 0.05)

        drive(policy, past, trial, took)
        kept += policy.judge(past.state, past.state.trials[trial]).word == "keep"
        past.decide(trial, "discard")
    assert kept <= at_most(200, 0.01)


@pytest.mark.parametrize("policy", [Climb(study(SECONDS)), Strict(study(SECONDS)), Strict(study({"name": "loss"}))])
def test_a_base_that_fails_every_time_does_not_keep_a_trial_running(policy: Policy) -> None:
    past = History()
    past.baseline(10.0, 10.1)
    trial = past.tried()
    assert len(drive(policy, past, trial, lambda base: None if base else 9.0)) <= 24
    assert policy.judge(past.state, past.state.trials[trial]).word


def test_a_run_that_was_stopped_takes_no_turn() -> None:
    past, policy = History(), Climb(study(SECONDS))
    past.baseline(10.0, 10.1)
    trial = past.tried()
    first = policy.next_run(past.state, past.state.trials[trial])
    assert first is not None
    past.end_run(past.begin_look(0, first.index, by=trial, purpose="control"), None, "stopped")
    assert policy.next_run(past.state, past.state.trials[trial]) == first


def test_in_a_real_study_the_base_is_run_beside_each_trial(tmp_path: Path) -> None:
    scattered = 'echo METRIC loss=$(python3 -c "import os, random; print({} + random.Random(os.getpid()).random())")\n'
    folder = make_study(
        tmp_path,
        step(scattered.format(5), "faster"),
        step(scattered.format(9), "slower"),
        start=scattered.format(10),
        metric={"unit": "s", "max_step": 100},
        decide={"calibrate": 3},
    )
    state = play(folder)
    assert words(state) == ["keep", "discard"]
    order = {
        t.id: "".join("A" if state.runs[i].tree == t.base_tree else "B" for i in t.runs) for t in state.trials.values()
    }
    assert order == {0: "AAA", 1: "ABBA", 2: "AB"}
    again = timing.pairs(state, state.trials[1])
    assert len(again) == 2
    assert all(base > mine for base, mine in again)


# -- proportions ---------------------------------------------------------------------------------------


def answered(past: History, trial: int, rate: float, items: int, purpose: Any = "trial") -> None:
    past.end_run(past.begin_run(trial, purpose=purpose), rate, extras={"items": float(items)})


@pytest.mark.parametrize(
    ("rate", "items", "word"),
    [
        (0.63, 100, "inconclusive"),
        (0.7, 100, "keep"),
        (0.63, 10_000, "keep"),
        (0.62, 100, "discard"),
        (0.5, 100, "discard"),
    ],
)
def test_one_item_more_is_no_gain_unless_there_are_many(rate: float, items: int, word: str) -> None:
    """The same items each time, so that runs do not scatter at all: what scatters is which items were chosen."""
    past, policy = History("maximize"), Climb(study(RATE, calibrate=1))
    first = past.start(baseline=True)
    answered(past, first, 0.62, items, "record")
    past.decide(first, "keep", 0.62)
    trial = past.tried()
    while policy.next_run(past.state, past.state.trials[trial]) is not None:
        answered(past, trial, rate, items)
    assert policy.judge(past.state, past.state.trials[trial]).word == word


def test_other_items_in_each_run_add_up_and_the_same_items_do_not() -> None:
    errors = []
    for rates in ((0.6, 0.62, 0.61), (0.6, 0.6, 0.6)):
        past, policy = History("maximize"), Climb(study(RATE))
        first = past.start(baseline=True)
        for rate in rates:
            answered(past, first, rate, 100, "record")
        past.decide(first, "keep", 0.6)
        trial = past.tried()
        answered(past, trial, 0.7, 100)
        found = policy.compare(past.state, past.state.trials[trial])
        assert found.error is not None
        errors.append(found.error)
    p, q = (0.61 * 300 + 70) / 400, (60 + 70) / 200
    assert errors[0] == pytest.approx(math.sqrt(p * (1 - p) * (1 / 300 + 1 / 100)))
    assert errors[1] == pytest.approx(math.sqrt(q * (1 - q) * (1 / 100 + 1 / 100)))


def test_a_proportion_says_of_how_many_items_and_lies_between_nought_and_one(tmp_path: Path) -> None:
    def of(value: str) -> dict[str, Any]:
        return step(f"echo METRIC loss={value}; echo METRIC items=200\n", f"say {value}")

    folder = make_study(
        tmp_path,
        says(0.9),
        of("1.5"),
        of("0.7"),
        start="echo METRIC loss=0.5; echo METRIC items=200\n",
        metric={"kind": "proportion", "direction": "maximize"},
    )
    state = play(folder)
    assert words(state) == ["crash", "crash", "keep"]
    why = [trial.verdict.why for trial in state.trials.values() if trial.verdict]
    assert "no line `METRIC items=...`" in why[1]
    assert "is no proportion" in why[2]


def test_the_claim_of_a_proportion_rests_on_items_and_not_on_repeats_of_the_same(tmp_path: Path) -> None:
    folder = make_study(
        tmp_path,
        step("echo METRIC loss=0.8; echo METRIC items=50\n", "better"),
        start="echo METRIC loss=0.6; echo METRIC items=50\n",
        metric={"kind": "proportion", "direction": "maximize"},
    )
    assert words(play(folder)) == ["keep"]
    claim = certify(folder, 4, True, Listener())
    assert claim.gain == pytest.approx(0.2)
    # Newcombe's interval for 40 of 50 against 30 of 50; four runs that looked at the same items are no four looks
    assert claim.low == pytest.approx(0.019, abs=0.002)
    assert claim.high == pytest.approx(0.364, abs=0.002)


def test_the_strict_policy_says_that_it_cannot_weigh_proportions() -> None:
    with pytest.raises(StudyError, match=r"metric\.kind"):
        Strict(study(RATE))
