"""Who is asked next: the better and the cheaper most of the time, nobody never, and never for ever on old merits."""

import random
from collections import Counter
from collections.abc import Callable
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch.stats import odds
from autoresearch.stats.odds import FLOOR, Outcome

NAMES = ("a", "b")
Chance = Callable[[str, int], float]


def play(chance: Chance, trials: int, seed: int, cost: dict[str, float] | None = None) -> list[str]:
    """Who is asked, trial by trial, where a trial of a proposer is kept with this chance."""
    rng, past = random.Random(seed), list[Outcome]()
    for number in range(trials):
        name = odds.choose(past, NAMES, rng)
        kept = rng.random() < chance(name, number)
        past.append(Outcome(name, kept, 1.0 if kept else 0.0, (cost or {}).get(name, 1.0)))
    return [outcome.by for outcome in past]


def share(name: str, asked: list[str]) -> float:
    return asked.count(name) / len(asked)


# -- simulations, each with a bound ----------------------------------------------------------------------


def test_the_better_one_is_asked_most() -> None:
    asked = [play(lambda name, _: 0.3 if name == "b" else 0.05, 100, seed) for seed in range(60)]
    assert fmean(share("b", one) for one in asked) > 0.75


def test_of_two_that_help_as_often_the_cheaper_is_asked_more() -> None:
    asked = [play(lambda *_: 0.2, 100, seed, {"a": 5.0, "b": 1.0}) for seed in range(60)]
    assert fmean(share("b", one) for one in asked) > 0.65


def test_who_has_run_dry_is_left() -> None:
    asked = [play(lambda name, n: 0.15 if name == "b" else 0.5 * (n < 50), 160, seed) for seed in range(60)]
    assert fmean(share("a", one[:50]) for one in asked) > 0.6
    assert fmean(share("b", one[-50:]) for one in asked) > 0.6


def test_of_two_alike_neither_is_preferred() -> None:
    asked = [play(lambda *_: 0.2, 60, seed) for seed in range(100)]
    assert 0.4 < fmean(share("a", one) for one in asked) < 0.6


def test_larger_gains_count_for_more() -> None:
    past = [
        Outcome(name, i % 4 == 0, {"a": 1.0, "b": 3.0}[name] * (i % 4 == 0), 1.0) for i in range(40) for name in NAMES
    ]
    assert odds.shares(past, NAMES, random.Random(1))["b"] > 0.8


# -- what holds always -----------------------------------------------------------------------------------

OUTCOMES = st.builds(
    Outcome,
    by=st.sampled_from(["a", "b", "c", "gone"]),
    kept=st.sampled_from([True, False, False, None]),
    gain=st.floats(0, 100),
    cost=st.none() | st.floats(0, 1e6),
)


@given(st.lists(OUTCOMES, max_size=120), st.lists(st.sampled_from("abc"), min_size=1, unique=True), st.integers())
def test_one_of_those_named_is_chosen_and_the_same_one_again(past: list[Outcome], names: list[str], seed: int) -> None:
    chosen = odds.choose(past, names, random.Random(seed))
    assert chosen in names
    assert chosen == odds.choose(list(past), names, random.Random(seed))
    assert sum(odds.shares(past, names, random.Random(seed), 50).values()) == pytest.approx(1)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 10)), min_size=60, max_size=60), st.integers(0, 99))
def test_each_has_its_floor_whatever_happens(results: list[tuple[bool, float]], seed: int) -> None:
    names, rng, past = ["a", "b", "c"], random.Random(seed), list[Outcome]()
    for kept, gain in results:
        name = odds.choose(past, names, rng)
        past.append(Outcome(name, kept and name == "a", gain, 1.0))  # only one of them ever helps
    asked = [outcome.by for outcome in past]
    for name in names:
        assert all(name in asked[i : i + FLOOR + len(names)] for i in range(len(asked) - FLOOR - len(names) + 1))


def test_one_that_joins_late_is_asked_within_the_floor() -> None:
    past = [Outcome("a", True, 1.0, 1.0) for _ in range(FLOOR)]
    assert odds.choose(past, NAMES, random.Random(1)) == "b"


# -- plateaus --------------------------------------------------------------------------------------------


def kept_every(n: int, trials: int) -> list[Outcome]:
    return [Outcome("a", i % n == 0, 1.0, 1.0) for i in range(trials)]


@pytest.mark.parametrize("every", [1, 2, 5, 10])
def test_a_plateau_is_a_time_without_a_keep_that_is_long_for_this_study(every: int) -> None:
    past = kept_every(every, 40)
    assert not odds.on_plateau(past)
    waits = next(n for n in range(200) if odds.on_plateau([*past, *[Outcome("a", False, 0.0, 1.0)] * n]))
    assert 2 * every < waits < 6 * every + 10
    assert not odds.on_plateau([*past, *[Outcome("a", False, 0.0, None)] * 200])  # still running: nothing is known


def test_on_a_plateau_others_get_more_and_those_who_waited_longest_first() -> None:
    names, rng = ["a", "b", "c"], random.Random(2)
    past = [*kept_every(2, 60), Outcome("b", False, 0.0, 1.0), Outcome("c", False, 0.0, 1.0)]
    before = Counter(odds.choose(past, names, random.Random(seed)) for seed in range(200))
    assert before["a"] > 150
    past += [Outcome("a", False, 0.0, 1.0)] * 30
    assert odds.on_plateau(past)
    asked = []
    for _ in range(18):
        asked.append(odds.choose(past, names, rng))
        past.append(Outcome(asked[-1], False, 0.0, 1.0))
    assert asked[0] == "b"  # it waited longest
    assert all(asked.count(name) >= 3 for name in names)


# -- running trials --------------------------------------------------------------------------------------


def test_workers_that_ask_at_once_spread() -> None:
    alone = [play(lambda *_: 0.0, 1, seed)[0] for seed in range(200)]
    running = [Outcome("a", False, 0.0, None)] * 4
    beside = [odds.choose(running, NAMES, random.Random(seed)) for seed in range(200)]
    assert 0.35 < share("b", alone) < 0.65
    assert share("b", beside) > 0.65


def test_what_another_trial_will_show_counts_for_neither_side() -> None:
    open_ = odds.records([Outcome("a", None, 0.0, 2.0)], NAMES)["a"]
    assert (open_.hits, open_.misses, open_.costs) == (0, 0, 2.0)


def test_one_great_gain_does_not_bury_the_usual_ones() -> None:
    assert odds.sizes([1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    assert odds.sizes([1.0, 1.0, 100.0]) == [1.0, 1.0, odds.LARGEST]
    assert odds.sizes([-1.0, 2.0]) == [0.0, 2.0]
    assert odds.sizes([]) == []
