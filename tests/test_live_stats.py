"""The statistics of live studies: what a bet pays is summed exactly where it can be, and simulated with a bound where it cannot."""

import itertools
import math
import random
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch.stats import delays, labels, mismatch, sequences

np = pytest.importorskip("numpy")


def binomial(n: int, p: float) -> list[float]:
    return [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]


# -- two rates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 12), (12, 3), (20, 20)])
@pytest.mark.parametrize("p", [0.02, 0.3, 0.9])
def test_a_bet_on_a_ratio_pays_nothing_on_average_where_it_is_not_there_whatever_the_rate(
    n: int, m: int, p: float
) -> None:
    """The exact mean of what `ratio` says, over all outcomes of one day: at most 1, also where a is worse."""
    for worse in (1.0, 0.7):
        mean = sum(
            chance_y * chance_z * math.exp(sequences.bets(*(np.array([float(x)]) for x in (n, y, m, z))).evidence[0])
            for (y, chance_y), (z, chance_z) in itertools.product(
                enumerate(binomial(n, p * worse)), enumerate(binomial(m, p))
            )
        )
        assert mean <= 1 + 1e-9


def days(rng: Any, count: int, ratio: float) -> tuple[Any, ...]:
    """Of a campaign whose second side gets more and more visitors on better and better days."""
    share = np.linspace(0.2, 0.8, count)
    n = rng.binomial(400, share).astype(float)
    m = 400 - n
    base = np.linspace(0.02, 0.08, count) * rng.choice([0.5, 1.5], count)
    return (
        n,
        rng.binomial(n.astype(int), np.minimum(0.9, base * ratio)).astype(float),
        m,
        rng.binomial(m.astype(int), base).astype(float),
    )


def test_days_that_differ_fool_nobody_at_any_look() -> None:
    """Summed over days the side that is shown on good days looks 20 % better; the comparison within days is not fooled."""
    rng, fooled, naive = np.random.default_rng(1), 0, []
    for _ in range(300):
        table = days(rng, 20, 1.0)
        naive.append((table[1].sum() / table[0].sum()) / (table[3].sum() / table[2].sum()))
        looks = [sequences.bets(*(column[: k + 1] for column in table)).evidence[0] for k in range(1, 20, 2)]
        fooled += max(looks) >= math.log(20)
    assert fmean(naive) > 1.15
    assert fooled <= 22  # at most 5 %, and 2 standard errors


def test_the_interval_of_a_ratio_holds_at_all_looks_and_finds_what_is_there() -> None:
    rng, missed, found = np.random.default_rng(2), 0, 0
    for _ in range(60):
        table = days(rng, 40, 1.5)
        looks = [sequences.ratio(*(column[: k + 1] for column in table)) for k in range(4, 40, 7)]
        missed += any(not look.low <= 1.5 <= look.high for look in looks)
        found += looks[-1].better >= math.log(20)
        assert looks[-1].low <= looks[-1].estimate <= looks[-1].high
    assert missed <= 6
    assert found >= 50


def test_nothing_is_said_of_a_side_that_was_not_shown() -> None:
    none, some = np.zeros(3), np.ones(3)
    for table in ((none, none, some, some), (some, some, none, none)):
        said = sequences.ratio(*table)
        assert math.isnan(said.estimate)
        assert (said.low, said.high, said.better, said.worse) == (0.0, math.inf, 0.0, 0.0)
    assert sequences.ratio(some * 50, none, some * 50, some).low == 0.0


def test_the_difference_of_rates_holds_at_all_looks() -> None:
    rng, missed = np.random.default_rng(3), 0
    for _ in range(200):
        n = np.full(30, 300.0)
        y, z = rng.binomial(300, 0.06, 30).astype(float), rng.binomial(300, 0.05, 30).astype(float)
        looks = [sequences.difference(n[:k], y[:k], n[:k], z[:k]) for k in range(3, 30, 3)]
        missed += any(not look.low <= 0.01 <= look.high for look in looks)
    assert missed <= 16


def test_the_difference_of_rates_is_growthbooks() -> None:
    tests = pytest.importorskip("gbstats.frequentist.tests", reason="gbstats is not installed")
    from gbstats.models.statistics import ProportionStatistic

    config = tests.SequentialConfig(difference_type="absolute")
    sides = (ProportionStatistic(sum=500, n=10_000), ProportionStatistic(sum=570, n=9_000))
    theirs = tests.SequentialTwoSidedTTest(*sides, config)
    ours = sequences.difference(*(np.array([x]) for x in (9_000.0, 570.0, 10_000.0, 500.0)))
    assert [ours.low, ours.high] == pytest.approx(theirs.confidence_interval, rel=1e-2)


# -- one rate ----------------------------------------------------------------------------------------------


def test_the_interval_of_a_rate_is_that_of_another_program() -> None:
    ville = pytest.importorskip("ville", reason="ville is not installed")
    shown = np.array(([1.0] + [0.0] * 19) * 15)
    theirs = ville.BernoulliCS(alpha=0.05, prior=(0.5, 0.5), intersect=False).fit(shown)
    ours = sequences.rate(300, 15)
    assert (ours.low, ours.high) == pytest.approx(theirs.interval(), abs=1e-6)


def test_the_interval_of_a_rate_holds_when_one_stops_as_one_likes() -> None:
    rng, missed = random.Random(4), 0
    for _ in range(150):
        won = 0
        for n in range(1, 601):
            won += rng.random() < 0.05
            if n % 25 == 0:
                found = sequences.rate(n, won)
                if not found.low <= 0.05 <= found.high:
                    missed += 1
                    break
    assert missed <= 12


@pytest.mark.parametrize(
    ("bound", "rate", "above"), [(0.1, 0.1, True), (0.1, 0.06, True), (0.3, 0.3, False), (0.3, 0.5, False)]
)
def test_a_bet_against_a_bound_that_holds_pays_nothing_on_average(bound: float, rate: float, above: bool) -> None:
    mean = sum(chance * math.exp(sequences.hits(25, k, bound, above)) for k, chance in enumerate(binomial(25, rate)))
    assert mean <= 1 + 1e-9


def test_a_bound_that_is_broken_is_found() -> None:
    assert sequences.hits(2000, 30, 0.005) > math.log(100)  # three times the bound
    assert sequences.hits(2000, 10, 0.005) < math.log(20)
    assert sequences.hits(500, 20, 0.1, above=False) > math.log(100)


@given(st.lists(st.floats(-5, 12), min_size=1, max_size=12))
def test_a_family_is_never_stricter_than_bonferroni_and_never_rejects_what_says_less_than_one_alone(
    logs: list[float],
) -> None:
    rejected = sequences.family(logs, 0.05)
    assert {i for i, log in enumerate(logs) if math.exp(log) >= len(logs) / 0.05 * (1 + 1e-9)} <= rejected
    assert all(logs[i] >= math.log(20) - 1e-9 for i in rejected)


def test_benjamini_and_yekutieli_reject_as_in_their_formula() -> None:
    assert sequences.benjamini_yekutieli([0.001, 0.009, 0.2, 0.9], 0.05) == {0, 1}
    assert sequences.benjamini_yekutieli([0.02, 0.02], 0.05) == {0, 1}
    assert sequences.benjamini_yekutieli([], 0.05) == set()


# -- visitors who do not arrive ----------------------------------------------------------------------------


def look_daily(lost: float, seed: int, most: int = 365, visitors: int = 10_000) -> int | None:
    """The day on which an alarm is raised, of a campaign with two halves and a tenth that loses some visitors of one half."""
    rng, share = random.Random(seed), (0.45, 0.45, 0.1)
    sums = [0.0, 0.0, 0.0]
    for day in range(1, most + 1):
        for side, part in enumerate(share):
            due = visitors * part * (1 - lost if side == 0 else 1)
            sums[side] += round(rng.gauss(due, math.sqrt(due * (1 - part))))
        sides = {str(k): [(sums[k], sum(sums), share[k])] for k in range(3)}
        if mismatch.mismatch(sides)[0] >= math.log(100):
            return day
    return None


def test_visitors_who_arrive_as_sent_raise_no_alarm_in_a_year() -> None:
    assert sum(look_daily(0.0, seed) is not None for seed in range(60)) <= 2  # at most 1 %


def test_a_side_that_loses_two_in_a_hundred_is_found_in_weeks_and_one_in_ten_in_days() -> None:
    two, ten = ([look_daily(lost, seed, 120) or 999 for seed in range(8)] for lost in (0.02, 0.1))
    assert sorted(two)[6] <= 45
    assert sorted(ten)[6] <= 4


def test_what_arrives_is_compared_plan_by_plan() -> None:
    """Half of the visitors under each plan came, which is right, though it looks wrong in the sum."""
    right = [(900.0, 1000.0, 0.9), (10.0, 100.0, 0.1)]
    assert mismatch.side(right) < 0
    assert mismatch.side([(800.0, 1000.0, 0.9), (10.0, 100.0, 0.1)]) > math.log(100)
    assert mismatch.multinomial([500, 300, 200], [0.5, 0.3, 0.2]) < 0
    assert mismatch.multinomial([500, 200, 300], [0.5, 0.3, 0.2]) > math.log(100)
    mean = sum(p * math.exp(mismatch.multinomial([k, 8 - k], [0.3, 0.7], 5.0)) for k, p in enumerate(binomial(8, 0.3)))
    assert mean == pytest.approx(1.0)


# -- labels that err ---------------------------------------------------------------------------------------


def test_the_true_rate_is_held_by_its_interval_though_labels_err() -> None:
    rng, held = np.random.default_rng(5), 0
    sensitivity, specificity, rate = 0.85, 0.97, 0.08
    for _ in range(400):
        labelled = int(rng.binomial(3000, rate * sensitivity + (1 - rate) * (1 - specificity)))
        a, d = int(rng.binomial(60, sensitivity)), int(rng.binomial(200, specificity))
        found = labels.true_rate(labelled, 3000, labels.Audit(a, 200 - d, 60 - a, d))
        held += found.low <= rate <= found.high
    assert 0.92 <= held / 400 <= 0.99


def test_an_audit_of_so_many_of_each_label_says_how_labels_err() -> None:
    """500 labelled positive and 500 labelled negative were looked at; 4 % of all are labelled positive."""
    looked_at = [(True, True)] * 400 + [(True, False)] * 100 + [(False, True)] * 5 + [(False, False)] * 495
    known = labels.errors(labels.audited(looked_at), labelled=0.04)
    right, missed = 401 / 502, 6 / 502
    assert known.sensitivity == pytest.approx(0.04 * right / (0.04 * right + 0.96 * missed))
    assert 1 - known.specificity == pytest.approx(0.04 * (1 - right) / (0.04 * (1 - right) + 0.96 * (1 - missed)))
    assert 0 < known.specificity_sd < 0.01 < known.sensitivity_sd
    # Nine in ten of the others never replied, so that only a tenth of what is missed there is missed.
    replied = labels.errors(labels.audited(looked_at), labelled=0.04, others=0.1)
    assert replied.sensitivity == pytest.approx(0.04 * right / (0.04 * right + 0.96 * missed / 10))


def test_labels_that_say_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="say nothing"):
        labels.true_rate(50, 100, labels.Audit(10, 10, 10, 10))


# -- outcomes that come late -------------------------------------------------------------------------------


def test_the_share_that_has_come_by_an_age_is_found_from_young_exposures_too() -> None:
    """Delays are exponential with a mean of a day; half of the exposures are younger than two days."""
    rng = random.Random(6)
    pairs = [(rng.expovariate(1.0), rng.uniform(0, 4)) for _ in range(8000)]
    seen = [(delay, age) for delay, age in pairs if delay <= age]
    found, naive = delays.truncated(seen, 4.0), delays.curve([delay for delay, _ in seen], 4.0)
    for age in (0.25, 1.0, 2.0):
        true = (1 - math.exp(-age)) / (1 - math.exp(-4))
        assert found.share(age) == pytest.approx(true, abs=0.03)
        assert naive.share(age) > true + 0.03
    assert (found.share(-1.0), found.share(4.0), found.share(9.0)) == (0.0, 1.0, 1.0)


def test_before_anything_is_known_an_exposure_counts_by_its_age() -> None:
    assert delays.curve([], 100.0).share(25.0) == pytest.approx(0.25, abs=0.011)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=30))
def test_a_share_never_falls_with_age(seen: list[tuple[float, float]]) -> None:
    found = delays.truncated(seen, 8.0)
    shares = [found.share(age / 4) for age in range(40)]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)
