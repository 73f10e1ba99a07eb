"""Factorial designs keep apart what they say they do, and the fit believes what is there and little else."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch.stats import factorial

DESIGNS = [(runs, factors) for runs in (4, 8, 16, 32) for factors in range(1, runs // 2 + 1)]


@pytest.mark.parametrize(("runs", "factors"), DESIGNS)
def test_no_main_effect_is_mixed_up_with_another_or_with_a_pair(runs: int, factors: int) -> None:
    rows = factorial.rows(runs, factors)
    assert len(rows) == len(set(rows)) == runs or factors < runs.bit_length() - 1
    assert not any(rows[0])
    signs = [[1 if row[i] else -1 for row in rows] for i in range(factors)]
    pairs = [[a * b for a, b in zip(*both, strict=True)] for both in itertools.combinations(signs, 2)]
    for one, other in itertools.combinations([[1] * runs, *signs], 2):
        assert sum(a * b for a, b in zip(one, other, strict=True)) == 0
    for one, other in itertools.product(signs, pairs):
        assert sum(a * b for a, b in zip(one, other, strict=True)) == 0


def seen(factors: int, truth: dict[factorial.Term, float], noise: float, seed: int) -> tuple[factorial.Seen, ...]:
    """A wave on a base whose own error all gains share, and each factor by itself on another base, as search has them."""
    rng = random.Random(seed)
    rows = factorial.rows(16, factors)[1:]
    alone = [tuple(i == j for i in range(factors)) for j in range(factors)]

    def gain(row: factorial.Row, shared: float) -> float:
        return sum(v for term, v in truth.items() if all(row[i] for i in term)) + shared + rng.gauss(0, noise)

    base = rng.gauss(0, noise)
    here = [(row, gain(row, base), 2 * noise**2) for row in rows]
    return (*here, *((row, gain(row, rng.gauss(0, noise)), 4 * noise**2) for row in alone))


def test_a_pair_that_helps_only_together_is_told_from_those_it_is_mixed_up_with() -> None:
    truth: dict[factorial.Term, float] = {(0,): -0.5, (1,): -0.5, (4,): 2.0, (0, 1): 6.0}
    found = [factorial.fit(8, seen(8, truth, 1.0, seed)) for seed in range(40)]
    assert sum((0, 1) in effects.pairs for effects in found) >= 38
    both = (True, True) + (False,) * 6
    gains = [effects.gain(both)[0] for effects in found]
    assert abs(sum(gains) / 40 - 5.0) < 0.6
    alone = [effects.of((4,))[0] for effects in found]
    assert abs(sum(alone) / 40 - 2.0) < 0.3


def test_where_there_is_nothing_few_pairs_are_believed() -> None:
    found = [factorial.fit(8, seen(8, {}, 1.0, seed)) for seed in range(100)]
    assert sum(bool(effects.pairs) for effects in found) <= 15


def test_the_standard_error_of_a_main_effect_is_what_it_says() -> None:
    truth: dict[factorial.Term, float] = {(0,): 1.0, (2,): -2.0}
    fits = [factorial.fit(4, seen(4, truth, 1.0, seed)).of((0,)) for seed in range(200)]
    within = sum(abs(mean - 1.0) < 2 * error for mean, error in fits)
    assert within >= 180  # 95.4 % of 200 are 191; effects are drawn towards zero


@given(
    st.lists(
        st.tuples(st.tuples(*[st.booleans()] * 4), st.floats(-1e6, 1e6), st.floats(0, 1e6) | st.just(0.0)),
        max_size=20,
    )
)
def test_any_runs_can_be_fitted(runs: list[factorial.Seen]) -> None:
    effects = factorial.fit(4, tuple(runs))
    for row in itertools.product((False, True), repeat=4):
        gain, error = effects.gain(row)
        assert gain == gain  # a number
        assert error >= 0.0
    assert effects.gain((False,) * 4) == (0.0, 0.0)
