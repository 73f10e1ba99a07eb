"""Who is shown what next: the same plan from the same tallies, whatever their order; every level by chance; better ones more often."""

import random
from collections import Counter

import pytest
from helpers_live import LEVELS, VARIABLES, campaign, levels_of, variables_of

from autoresearch.errors import MissingExtra, StudyError
from autoresearch.live import bandit, counts
from autoresearch.live.belief import Prior, believe, handed_on
from autoresearch.live.records import Plan, Tally
from autoresearch.live.settings import Live
from autoresearch.live.variables import Variable, Variables, cell_of, key
from autoresearch.stats import labels, logistic

np = pytest.importorskip("numpy", reason="numpy is not installed")
LIVE = Live("click")


def plan(
    tallies: "list[Tally] | counts.Counts", live: Live = LIVE, variables: Variables = VARIABLES, seed: int = 1
) -> Plan:
    return bandit.make(tallies, variables, levels_of(variables), live, 3, 100.0, 7, seed)


def marginal(shares: dict[str, float], name: str) -> Counter[str]:
    found = Counter[str]()
    for cell, share in shares.items():
        found[cell_of(cell)[name]] += share  # type: ignore[assignment]
    return found


def test_the_order_of_tallies_and_how_they_are_cut_change_nothing() -> None:
    tallies = campaign({("tone", "warm"): 0.5}, days=8)
    cut = [
        Tally(t.day, t.segment, t.cell, part, k, t.held)
        for t in tallies
        for part, k in ((t.n / 4, 0), (t.n - t.n / 4, t.successes))
    ]
    random.Random(1).shuffle(cut)
    by_day = [counts.counted(t for t in tallies if t.day == day) for day in reversed(range(8))]

    assert plan(tallies) == plan(list(reversed(tallies))) == plan(counts.joined(by_day))
    assert plan(tallies).shares[""] == pytest.approx(plan(cut).shares[""])
    assert plan(tallies) != plan(tallies, seed=2)


def test_before_anything_is_seen_all_levels_are_shown_alike() -> None:
    found = plan([])
    assert found == Plan(3, 100.0, 7, 1, key(VARIABLES.default), 0.1, found.shares)
    assert sum(found.shares[""].values()) == pytest.approx(1, abs=1e-3)
    for name, levels in LEVELS.items():
        assert all(0.7 < share * len(levels) < 1.3 for share in marginal(found.shares[""], name).values())


def test_a_better_level_is_shown_more_and_none_is_forgotten() -> None:
    shares = plan(campaign({("tone", "warm"): 1.0}, days=60)).shares[""]
    assert marginal(shares, "tone")["warm"] > 0.8
    for name, levels in LEVELS.items():
        for level in levels:
            least = bandit.DEFAULT_FLOOR if level == VARIABLES.default[name] else bandit.FLOOR
            assert marginal(shares, name)[level] >= least - 1e-4


def test_a_level_meets_the_others_by_the_same_chances_as_its_rivals() -> None:
    """Without ties a plan is a product, so that levels compare as in a randomised trial."""
    shares = plan(campaign({("tone", "warm"): 1.0, ("cta", "go"): 0.5}, days=20)).shares[""]
    tone, cta, headline = (marginal(shares, name) for name in ("tone", "cta", "headline"))
    for cell, share in shares.items():
        of = cell_of(cell)
        assert share == pytest.approx(tone[of["tone"]] * cta[of["cta"]] * headline[of["headline"]], abs=1e-4)


def test_forbidden_pairs_and_levels_that_are_not_approved_are_never_shown() -> None:
    variables = Variables(VARIABLES.variables, ({"headline": "bold", "tone": "warm"},))
    levels = {**levels_of(variables), "cta": {"buy"}}
    tallies = campaign({("cta", "go"): 2.0}, days=5)  # it was shown before, and did well
    shares = bandit.make(tallies, variables, levels, LIVE, 1, 0.0, 0, 1).shares[""]
    assert all(variables.allowed(cell_of(cell)) for cell in shares)
    assert {cell_of(cell)["cta"] for cell in shares} == {"buy"}
    assert min(marginal(shares, "tone").values()) >= bandit.FLOOR - 1e-4


def test_a_plan_of_many_cells_lists_some_in_which_all_levels_have_their_share() -> None:
    variables = variables_of([5] * 5)
    found = bandit.make([], variables, levels_of(variables), LIVE, 1, 0.0, 0, 1).shares[""]
    assert len(found) <= bandit.MOST_LISTED
    assert sum(found.values()) == pytest.approx(1, abs=1e-3)
    for name in variables.variables:
        assert all(0.15 < share < 0.3 for share in marginal(found, name).values())
        # and by chance: a level does not come with the same levels of another variable
        other = next(n for n in variables.variables if n != name)
        pairs = Counter((cell_of(cell)[name], cell_of(cell)[other]) for cell in found)
        assert len(pairs) == 25


def test_segments_that_differ_are_shown_what_each_likes() -> None:
    tallies = campaign({("tone", "warm"): 0.8}, days=60, segment="phone") + campaign(
        {("tone", "warm"): -0.8}, days=60, segment="desk", seed=2
    )
    found = plan(tallies)
    assert set(found.shares) == {"", "phone", "desk"}
    warm = {segment: marginal(shares, "tone")["warm"] for segment, shares in found.shares.items()}
    assert warm["phone"] > 0.6 > 0.2 > warm["desk"]


def test_a_pair_that_helps_only_together_is_found_where_it_is_asked_for() -> None:
    def together(cell: dict[str, str]) -> float:
        return 1.0 if (cell["headline"], cell["tone"]) == ("bold", "warm") else 0.0

    live = Live("click", interactions=[["headline", "tone"]])
    shares = plan(campaign({}, days=80, beside=together), live).shares[""]
    assert sum(share for cell, share in shares.items() if together(cell_of(cell))) > 0.6


def test_whole_cells_compete_where_a_winner_is_asked_for_and_too_many_are_refused() -> None:
    live = Live("click", decide="winner")
    best = {"headline": "bold", "tone": "warm", "cta": "go"}
    shares = plan(campaign({}, days=60, beside=lambda cell: 1.2 * (cell == best)), live).shares[""]
    assert max(shares, key=shares.__getitem__) == key(best)
    with pytest.raises(StudyError, match="compares whole cells"):
        plan([], live, variables_of([7, 6, 5]))


# -- what is handed on ---------------------------------------------------------------------------------------


def test_the_next_campaign_starts_from_what_this_one_found() -> None:
    found = believe(counts.counted(campaign({("tone", "warm"): 0.8}, days=40)), VARIABLES, levels_of(VARIABLES), LIVE)
    prior = handed_on(found, VARIABLES)
    tone = VARIABLES.variables["tone"]
    renamed = Variable(default="plain", levels={"plain": tone.levels["plain"], "x": tone.levels["warm"], "new": "Oh."})
    variables = Variables({**VARIABLES.variables, "tone": renamed})
    shares = bandit.make([], variables, levels_of(variables), LIVE, 1, 0.0, 0, 1, prior).shares[""]
    assert marginal(shares, "tone")["x"] > 0.6  # known by its text, under another name
    assert marginal(shares, "cta")["go"] < 0.7
    blank = bandit.make([], variables, levels_of(variables), LIVE, 1, 0.0, 0, 1, Prior()).shares[""]
    assert marginal(blank, "tone")["x"] < 0.5


# -- the model -----------------------------------------------------------------------------------------------


def test_intervals_of_effects_hold_though_days_differ_and_shares_follow_them() -> None:
    """A level is shown three times as often on weekends, whose rate is half: the model takes the days out."""
    held, naive, number = 0, [], 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        effects = rng.normal(0, 0.2, 4)
        tallies = []
        for day in range(30):
            weekend = day % 7 >= 5
            weight = np.array([1.0, 1.0, 1.0, 3.0 if weekend else 1.0])
            for i, n in enumerate(rng.multinomial(800, weight / weight.sum())):
                rate = 0.06 * (0.5 if weekend else 1.0) * np.exp(effects[i])
                tallies.append(Tally(day, "", f"tone={'abcd'[i]}", int(n), int(rng.binomial(n, rate))))
        variables = Variables({"tone": Variable(default="a", levels={c: f"text {c}" for c in "abcd"})})
        found = believe(counts.counted(tallies), variables, levels_of(variables), LIVE)
        rows = found.rows(["tone"], [[c] for c in "abcd"])
        for i in range(1, 4):
            mean, sd = found.posterior.contrast(rows[i] - rows[0])
            held += abs(mean - (effects[i] - effects[0])) < 1.96 * sd
            number += 1
        sums = {
            c: [sum(getattr(t, what) for t in tallies if t.cell == f"tone={c}") for what in ("n", "successes")]
            for c in "ad"
        }
        naive.append(np.log(sums["d"][1] / sums["d"][0] * sums["a"][0] / sums["a"][1]) - (effects[3] - effects[0]))
    assert held / number >= 0.86  # 95 % less three standard errors
    assert np.mean(naive) < -0.05


def test_an_effect_is_not_flattened_by_labels_that_err() -> None:
    known = labels.errors(labels.Audit(800, 100, 200, 9900))  # finds 80 %, and calls 1 % of the others positive
    rng, tallies = np.random.default_rng(4), []
    for day in range(20):
        for level, rate in (("plain", 0.02), ("warm", 0.04)):
            n = 3000
            said = known.sensitivity * rate + (1 - known.specificity) * (1 - rate)
            tallies.append(Tally(day, "", f"cta=buy;headline=calm;tone={level}", n, int(rng.binomial(n, said))))
    table, levels = counts.counted(tallies), levels_of(VARIABLES)
    row = [believe(table, VARIABLES, levels, LIVE, labels=each) for each in (None, known)]
    flat, found = (b.posterior.contrast(np.subtract(*b.rows(["tone"], [["warm"], ["plain"]]))) for b in row)
    assert flat[0] < 0.55 < 0.6 < found[0] < 0.8  # log odds; the truth is 0.71, and the prior draws it to 0
    assert found[1] > flat[1]
    with pytest.raises(StudyError, match="such labels say nothing"):
        believe(table, VARIABLES, levels, LIVE, labels=labels.errors(labels.Audit(5, 5, 5, 5)))


def test_kinds_of_visitors_are_the_same_model_as_columns_of_their_own() -> None:
    rng = np.random.default_rng(0)
    base = np.column_stack([np.ones(12), rng.integers(0, 2, (12, 3))]).astype(float)
    kinds = np.arange(12) % 2
    design = logistic.Design(base, kinds, 3, 2)
    plain = np.column_stack([base, base[:, :3] * (kinds == 0)[:, None], base[:, :3] * (kinds == 1)[:, None]])
    beta, weight = rng.normal(size=design.size), rng.random(12)
    assert design.times(beta) == pytest.approx(plain @ beta)
    assert design.back(weight) == pytest.approx(plain.T @ weight)
    assert design.gram(weight) == pytest.approx((plain.T * weight) @ plain)


def test_numpy_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    with pytest.raises(MissingExtra, match=r"autoresearch\[live\]"):
        counts.counted([])


def test_a_fit_that_begins_near_ends_where_one_from_nothing_does() -> None:
    tallies = [
        tally
        for segment in ("device=phone", "device=desktop")
        for tally in campaign({("tone", "warm"): 0.4, ("headline", "bold"): -0.3}, days=20, segment=segment)
    ]
    whole = counts.counted(tallies)
    settled = believe(whole.without({18, 19}), VARIABLES, {**LEVELS, "cta": {"buy"}}, LIVE)
    afresh, near = (believe(whole, VARIABLES, LEVELS, LIVE, near=one) for one in (None, settled))
    sd = np.sqrt(np.diag(afresh.posterior.covariance))
    assert np.abs((near.posterior.mean - afresh.posterior.mean) / sd).max() < 0.15
    assert np.abs(near.posterior.spreads / np.array(afresh.posterior.spreads) - 1).max() < 0.15
    assert np.abs(np.sqrt(np.diag(near.posterior.covariance)) / sd - 1).max() < 0.1
