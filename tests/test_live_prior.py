"""What a campaign hands on is a file that a person can read, and a beginning that the next campaign's own visitors may contradict."""

from datetime import date

import pytest
from helpers_live import LEVELS, VARIABLES, campaign
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch.errors import StudyError
from autoresearch.live import deciding
from autoresearch.live.belief import HANDED_ON, Known, Prior, Term, believe
from autoresearch.live.counts import counted
from autoresearch.live.prior import Effect, Handed, accepted, parse, written
from autoresearch.live.settings import Live
from autoresearch.live.variables import Variable, Variables
from benchmarks import live_prior
from benchmarks.live_audience import audience
from benchmarks.live_prior import Played

np = pytest.importorskip("numpy", reason="numpy is not installed")
LIVE = Live("click")
NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,10}", fullmatch=True)
EFFECTS = st.builds(
    Effect,
    variable=NAMES,
    level=NAMES,
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    mean=st.floats(-10, 10),
    sd=st.floats(1e-9, 10),
    people=st.floats(0, 1e12),
)


# -- the file ------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    effects=st.lists(EFFECTS, max_size=6, unique_by=(lambda e: (e.variable, e.level), lambda e: (e.variable, e.text))),
    study=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    until=st.dates(),
    simulated=st.booleans(),
)
def test_what_is_written_is_what_is_read(effects: list[Effect], study: str, until: date, simulated: bool) -> None:
    handed = Handed(1, study, "click", until, effects, 3.0, simulated)
    assert parse(written(handed), "p.toml") == handed


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.integers(0, 400), st.text(max_size=3))
def test_a_file_that_is_damaged_is_refused_in_words_that_name_it(junk: str, at: int, put: str) -> None:
    good = written(Handed(1, "s", "click", date(2026, 3, 1), [Effect("tone", "warm", "Hm", 0.1, 0.1)]))
    said = list[str]()
    for text in (junk, good[:at] + put + good[at:]):
        try:
            parse(text, "p.toml")
        except StudyError as error:
            said.append(str(error))
    assert all(one.startswith("p.toml: ") for one in said)
    assert said  # the junk at least is no such file


@pytest.mark.parametrize(
    ("was", "now", "why"),
    [
        ("sd = 0.1", "sd = nan", "effects"),
        ("sd = 0.1", "sd = 0.0", "effects"),
        ("sd = 0.1", "st = 0.1", "did you mean 'sd'"),
        ('level = "warm"', 'level = "Warm one"', "level"),
        ("until = 2026-03-01", 'until = "soon"', "until"),
        ('outcome = "click"', 'outcome = "reply"', "live.outcome is 'click'"),
        (
            "people = 0.0\n",
            'people = 0.0\n[[effects]]\nvariable="tone"\nlevel="x"\ntext="Hm"\nmean=0.0\nsd=1.0\n',
            "second time",
        ),
    ],
)
def test_a_wrong_entry_is_named(was: str, now: str, why: str) -> None:
    good = written(Handed(1, "s", "click", date(2026, 3, 1), [Effect("tone", "warm", "Hm", 0.1, 0.1)]))
    assert was in good
    with pytest.raises(StudyError, match=rf"p\.toml.*{why}"):
        accepted(good[::-1].replace(was[::-1], now[::-1], 1)[::-1], "p.toml", LIVE)


# -- what it is worth ----------------------------------------------------------------------------------------


def test_an_earlier_campaign_is_worth_less_than_own_data_and_another_wording_less_again() -> None:
    prior = Prior((Known("tone", "You will like it.", 0.4, 0.02, "warm"),))
    reworded = Variable(default="plain", levels={"plain": "It works.", "warm": "You will love it."})
    other = Variables({**VARIABLES.variables, "tone": reworded})
    found = []
    for variables in (VARIABLES, other):
        belief = believe(counted([]), variables, LEVELS, LIVE, prior)
        at = belief.terms[Term(("tone",), ("warm",))]
        found.append((belief.posterior.mean[at], belief.posterior.covariance[at, at] ** 0.5))
    (same, same_sd), (renamed, renamed_sd) = found
    assert same == pytest.approx(0.4, abs=0.01)
    assert 0.9 * HANDED_ON < same_sd < 0.15
    assert 0.15 < renamed < 0.25
    assert renamed_sd > same_sd


def test_verdicts_are_the_same_whatever_a_campaign_began_from() -> None:
    means = {"bold": -0.3, "odd": 0.3}
    sure = Prior(
        tuple(
            Known(name, text, means.get(level, 0.0), 0.02, level)
            for name, variable in VARIABLES.variables.items()
            for level, text in variable.levels.items()
        )
    )

    def verdicts(found: deciding.Decision) -> list[tuple[object, ...]]:
        return [(r.variable, r.level, r.word, r.surely_low, r.surely_high, r.better, r.told) for r in found.readings]

    words = set()
    early = campaign({("headline", "bold"): -0.3, ("headline", "odd"): 0.3}, days=4)
    for tallies in (campaign({("tone", "warm"): 0.5, ("headline", "odd"): -0.7}, days=25), early):
        plain, begun = (deciding.decide(tallies, VARIABLES, LEVELS, LIVE, prior=prior) for prior in (None, sure))
        assert verdicts(plain) == verdicts(begun)
        assert [r.effect for r in plain.readings] != [r.effect for r in begun.readings]
        words |= {r.word for r in plain.readings}
    assert words == {"default", "keep", "discard", "not yet"}
    # With the earlier campaign's word the model gives up on a level, which its own visitors do not bear out yet.
    assert [r.word for r in begun.readings if r.level == "bold" and r.p_best < deciding.HOPELESS] == ["not yet"]


def test_the_same_audience_is_served_well_from_the_first_day_and_another_one_soon() -> None:
    """In small; benchmarks/results/live_prior.md has it in large."""
    begun, there = {name: list[Played]() for name in live_prior.NAMES}, 0.0
    for seed in range(8):
        crowd = audience((4, 3, 3), 0.05, 0.2, 0.0, 30, np.random.default_rng(seed))
        there += float(crowd.rates.max() - crowd.rates[crowd.default])
        first = live_prior.play(crowd, 12, 2000, seed).prior
        for name, played in live_prior.second(crowd, 16, 2000, seed + 100, first).items():
            begun[name].append(played)

    def share(name: str, first: int, last: int) -> float:
        return sum(float(np.mean(one.captured[first:last])) for one in begun[name]) / there

    assert share("same", 0, 4) > share("none", 0, 4) + 0.15
    assert share("turned", 0, 4) < share("none", 0, 4)
    assert share("turned", 14, 17) > share("none", 14, 17) - 0.12
    held = {name: [hold for one in played for hold in one.held[-1]] for name, played in begun.items()}
    assert all(np.mean(found) >= 0.86 for found in held.values())  # 56 intervals: 95 % less three standard errors
