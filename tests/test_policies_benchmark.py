"""The simulator of policies, in small: what it draws is what it says, and the default policy loses nothing silly."""

import math
from statistics import fmean, variance

import pytest

from autoresearch import stats
from benchmarks.policies import CLIMBS, CONTENDERS, NULLS, Bench, Contender, Mix, Outcome, World, play, ratio

BY_NAME = {contender.name: contender for contender in CONTENDERS}
CLIMB, GREEDY = BY_NAME["climb"], BY_NAME["greedy"]
EASY = next(mix for mix in CLIMBS if mix.name == "wide gains" and not mix.rho)
NULL = next(mix for mix in NULLS if mix.name == "no effects" and not mix.rho)


def played(mix: Mix, contender: Contender, studies: int, runs: int = 100) -> list[Outcome]:
    return [play(mix, contender, number, runs) for number in range(studies)]


def test_climb_finds_most_of_what_greedy_finds_where_gains_are_large() -> None:
    found, _ = ratio(played(EASY, CLIMB, 60, 60), played(EASY, GREEDY, 60, 60))
    assert found >= 0.8


def test_a_certified_gain_of_a_study_with_nothing_to_find_is_rarely_above_zero() -> None:
    studies = 60
    certified = [o.certified for o in played(NULL, CLIMB, studies, 40) if o.certified]
    claims = sum(interval.low > 0 for interval in certified)
    assert len(certified) > studies / 2  # it kept something, so there was something to certify
    # 5 % two-sided, plus three standard deviations of a binomial
    assert claims <= 0.05 * studies + 3 * math.sqrt(studies * 0.05 * 0.95)


def test_no_rule_spends_more_than_its_runs() -> None:
    for contender in CONTENDERS:
        bench = Bench(EASY, contender, 1, 30)
        state = bench.play()
        assert len(state.runs) <= bench.spent + 1e-9 or contender.racing
        assert 29 < bench.spent <= 30 + (contender.racing and 0.4)


def test_every_rule_meets_the_same_proposals() -> None:
    effects = []
    for contender in CONTENDERS:
        bench = Bench(EASY, contender, 7, 80)
        trials = list(bench.play().trials.values())[1:20]
        effects.append([bench.levels[trial.tree or ""] - bench.levels[trial.base_tree] for trial in trials])
    for own in effects[1:]:
        assert own == pytest.approx(effects[0])


def test_noise_has_the_standard_deviation_that_is_the_unit_of_effects() -> None:
    for mix in CLIMBS[:2]:
        world = World(mix, 3)
        assert 0.85 < variance(world.value(0.0, seed) for seed in range(4000)) < 1.15


def test_runs_with_one_seed_move_together_as_far_as_the_mix_says() -> None:
    for mix in CLIMBS[:2]:
        world = World(mix, 5)
        groups = [{seed: world.value(0.0, seed) for seed in range(500)} for _ in range(4)]
        found, _ = stats.seed_correlation(groups, 1.0)
        assert abs(found - mix.rho) < 0.1


def test_racing_makes_trials_cheaper_and_is_rarely_wrong() -> None:
    raced = played(EASY, BY_NAME["climb, racing"], 8, 40)
    assert fmean(o.tried for o in raced) > fmean(o.tried for o in played(EASY, CLIMB, 8, 40))
