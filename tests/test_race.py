"""
Racing: what it stops of made-up studies whose truth is known. Real runs: tests/test_race_runs.py.

The made-up curves are power laws in the learning that was done, which the learning rate's schedule drives: warm-ups,
warm-downs and rates too high or too low make them cross.
"""

import math
import random

import pytest
from helpers import History
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from autoresearch.policy import race
from autoresearch.policy.race import GRID, LOOKS, Limit, behind, margin, on_grid
from autoresearch.trial import Verdict

SCATTER = 0.01  # of the final value, from seed to seed
BATCH = 0.08  # of a single point of the curve: which batches it was, the same for all runs of a seed
OWN = 0.02  # of a single point, by itself
Points = tuple[tuple[float, float], ...]


# -- made-up studies -----------------------------------------------------------------------------------


class Recipe:
    """A training: its loss at every fraction of the budget, but for chance."""

    def __init__(self, **changes: float) -> None:
        self.settings = {"rate": 0.7, "up": 0.1, "down": 0.3, "size": 1.0, "speed": 1.0, "flaw": 0.0} | changes

    def but(self, **changes: float) -> "Recipe":
        return Recipe(**self.settings | changes)

    def losses(self, n: int = 50) -> list[float]:
        s, learnt, found = self.settings, 0.0, []
        for i in range(n):
            f = (i + 1) / n
            rate = s["rate"] * min(1.0, f / max(s["up"], 1e-9), 0.05 + (1 - f) / max(s["down"], 1e-9))
            learnt += rate * math.exp(-rate) * s["speed"] / s["size"] ** 0.5 * 100 / n
            floor = 2.0 / s["size"] ** 0.1 + s["flaw"] + 0.15 * rate**2
            found.append(floor + 3.0 * (learnt + 1) ** -0.6)
        return found

    @property
    def value(self) -> float:
        return self.losses()[-1]


def proposal(chance: random.Random, base: Recipe, early: bool) -> Recipe:
    s = base.settings
    if early and chance.random() < 0.6:  # harm that shows early
        slow = chance.choice([0.1, 6.0])
        return chance.choice([base.but(flaw=s["flaw"] + chance.uniform(0.3, 1.5)), base.but(rate=s["rate"] * slow)])
    kind = chance.choice(["rate", "up", "down", "size", "speed", "flaw", "nothing"])
    return {
        "rate": lambda: base.but(rate=s["rate"] * math.exp(chance.gauss(0, 0.7))),
        "up": lambda: base.but(up=chance.uniform(0.0, 0.5)),
        "down": lambda: base.but(down=chance.uniform(0.0, 1.0)),
        "size": lambda: base.but(size=s["size"] * math.exp(chance.gauss(0, 0.7))),
        "speed": lambda: base.but(speed=s["speed"] * math.exp(chance.gauss(-0.2, 0.3))),
        "flaw": lambda: base.but(flaw=s["flaw"] + chance.choice([-0.02, 0.1])),
        "nothing": lambda: base,
    }[kind]()


def run_of(chance: random.Random, recipe: Recipe, seed: str) -> tuple[Points, float]:
    losses, batches = recipe.losses(), random.Random(seed)
    shown = (loss + batches.gauss(0, BATCH) + chance.gauss(0, OWN) for loss in losses)
    curve = [((i + 0.5) / 50, round(loss, 3)) for i, loss in enumerate(shown)]
    return tuple(curve), losses[-1] + chance.gauss(0, SCATTER)


class Tally:
    def __init__(self) -> None:
        self.good = self.good_stopped = self.bad = self.bad_stopped = self.trials = 0
        self.saved = 0.0

    def __str__(self) -> str:
        return (
            f"{self.good_stopped} of {self.good} better and {self.bad_stopped} of {self.bad} worse were stopped, "
            f"{self.saved / self.trials:.0%} saved"
        )

    def add(self, better: bool, worse: bool, spent: float) -> None:
        self.trials += 1
        self.saved += 1 - spent
        self.good += better
        self.good_stopped += better and spent < 1
        self.bad += worse
        self.bad_stopped += worse and spent < 1


def raced(limit: Limit | None, curve: Points) -> tuple[float, str]:
    """How much of its budget a run spends, and why no more."""
    for i in range(1, len(curve) + 1):
        if limit and (why := limit(curve[:i])):
            return curve[i - 1][0], why
    return 1.0, ""


def study(seed: int, trials: int, tally: Tally, early: bool = True) -> None:
    """A study whose trials are decided by one run each; what was stopped is unknown to it."""
    chance, past, base = random.Random(seed), History(), Recipe()
    first = past.start(baseline=True)
    for index in range(5):
        curve, value = run_of(chance, base, f"{seed} {index}")
        past.end_run(past.begin_run(first), value, curve=curve)
    past.decide(first, "keep")
    for _ in range(trials):
        recipe = proposal(chance, base, early)
        curve, value = run_of(chance, recipe, f"{seed} 0")
        trial = past.tried()
        run = past.begin_run(trial)
        spent, why = raced(race.watch(past.state, past.state.trials[trial], past.state.runs[run]), curve)
        gain = base.value - recipe.value
        tally.add(gain > 0, gain < -SCATTER, spent)
        past.end_run(run, None if why else value, "hopeless" if why else "ok", curve=curve, why=why)
        bar = past.state.mean(past.state.trials[trial].base_tree)
        assert bar is not None
        kept = not why and value < bar - SCATTER
        past.decide(trial, "keep" if kept else "discard", None if why else value)
        base = recipe if kept else base


def allowed(n: int, share: float) -> float:
    """So many of n, and three standard errors of the count."""
    return n * share + 3 * math.sqrt(n * share * (1 - share))


@pytest.mark.parametrize(("early", "saves"), [(True, 0.3), (False, 0.02)])
def test_few_of_the_truly_better_are_stopped_and_much_is_saved_where_harm_shows_early(
    early: bool, saves: float
) -> None:
    tally = Tally()
    for seed in range(8):
        study(100 + seed, 220, tally, early)
    assert tally.bad >= 0.5 * tally.trials
    assert tally.good_stopped <= allowed(tally.good, 0.02), tally
    assert tally.saved >= saves * tally.trials, tally


# -- what is never stopped -----------------------------------------------------------------------------


def line(slope: float, start: float = 5.0) -> Points:
    """A loss that falls evenly."""
    return tuple((i / 50, start - slope * i / 50) for i in range(51))


def hopeless_study(tries: int = 12) -> History:
    """Its trials' curves are either the base's, and they end as it does, or 1 above it, and they end badly."""
    past = History()
    first = past.start(baseline=True)
    for value in (1.0, 1.01, 0.99):
        past.end_run(past.begin_run(first), value, curve=line(4.0, 5 + value / 10))
    past.decide(first, "keep")
    for i in range(tries):
        trial = past.tried()
        bad = i % 2
        past.end_run(past.begin_run(trial), 1.0 + bad, curve=line(4.0, 5.101 + bad))
        past.decide(trial, "discard", 1.0 + bad)
    return past


def watched(past: History, baseline: bool = False) -> Limit | None:
    trial = past.start(baseline=True) if baseline else past.tried()
    run = past.begin_run(trial)
    return race.watch(past.state, past.state.trials[trial], past.state.runs[run])


def test_a_run_as_far_behind_as_those_that_ended_badly_is_hopeless_and_one_beside_the_base_is_not() -> None:
    limit = watched(hopeless_study())
    assert limit is not None
    assert limit(line(4.0, 5.102)) == ""
    why = limit(line(4.0, 6.5)[:12])
    assert why.startswith("stopped at 20 % of its budget: loss 5.98 where the best had 4.58; nothing so far behind has")
    assert limit(line(4.0, 6.5)[:8]) == "", "never before 16 %"


def test_a_run_is_held_against_the_bases_run_with_its_own_seed() -> None:
    past = hopeless_study()
    trial = past.tried()
    run = past.state.runs[past.begin_run(trial)]
    limits = [race.watch(past.state, past.state.trials[trial], replace(run, seed_index=seed)) for seed in (0, 2, 7)]
    assert [limit.base[10] if limit else None for limit in limits] == [pytest.approx(4.3), pytest.approx(4.299), None]


def test_nothing_is_stopped_while_little_is_known() -> None:
    for tries in range(5):
        assert watched(hopeless_study(tries)) is None


@pytest.mark.parametrize("behind_by", [0.25, 0.5, 3.0])
def test_what_was_ended_early_would_have_gained_as_its_curve_says_it_would(behind_by: float) -> None:
    past = hopeless_study()
    trial = past.tried()
    run = past.begin_run(trial)
    past.end_run(run, None, status="hopeless", curve=line(4.0, 5.101 + behind_by)[:14])
    found = past.state.trials[trial]
    verdict = race.examined(past.state, found, Verdict("discard", "hopeless"))
    assert verdict.gain is None
    assert verdict.promise is not None
    gain, error = verdict.promise
    assert gain == pytest.approx(-behind_by, abs=0.02), "a curve that is behind by 1 ended worse by 1"
    assert 0 <= error < 0.05
    few = hopeless_study(2)
    trial = few.tried()
    few.end_run(few.begin_run(trial), None, status="hopeless", curve=line(4.0, 6.0)[:14])
    assert race.examined(few.state, few.state.trials[trial], verdict).foreseen is None


def test_a_run_without_a_curve_is_never_stopped() -> None:
    limit = watched(hopeless_study())
    assert limit is not None
    assert limit(()) == limit(((0.5, 99.0),)) == ""


def test_baselines_and_every_twentieth_trial_go_to_their_end() -> None:
    past = hopeless_study(19)
    assert past.state.next_trial == 20
    assert watched(past) is None
    assert watched(past) is not None
    assert watched(past, baseline=True) is None


def test_only_the_first_run_of_a_trial_is_raced_and_none_in_the_clean_room() -> None:
    past = hopeless_study()
    trial = past.tried()
    run = past.state.runs[past.begin_run(trial)]
    assert race.watch(past.state, past.state.trials[trial], run) is not None
    for purpose in ("record", "careful", "control", "claim"):
        assert race.watch(past.state, past.state.trials[trial], replace(run, purpose=purpose)) is None
    past.end_run(run.id, 1.0)
    again = past.state.runs[past.begin_run(trial)]
    assert race.watch(past.state, past.state.trials[trial], again) is None


def test_one_that_caught_up_from_afar_is_remembered() -> None:
    past = hopeless_study()
    trial = past.tried()
    past.end_run(past.begin_run(trial), 0.9, curve=line(4.0, 6.6))
    past.decide(trial, "discard", 0.9)
    limit = watched(past)
    assert limit is None or limit(line(4.0, 6.6)) == ""


def test_another_referee_or_another_machine_knows_nothing_yet() -> None:
    past = hopeless_study()
    past.reopen("d1")
    assert watched(past) is None


def test_the_margin_keeps_its_promise_for_gaps_with_an_exponential_tail() -> None:
    chance = random.Random(1)
    for n in (3, 8, 30):
        beyond = 0
        for _ in range(4000):
            most = max(chance.expovariate(1.0) for _ in range(n))
            beyond += chance.expovariate(1.0) > margin(n, 0.005) * most
        assert beyond <= allowed(4000, 0.005)
    assert margin(0, 0.005) == math.inf
    assert margin(1000, 0.005) == pytest.approx(1.0)


# -- curves that are rubbish ---------------------------------------------------------------------------

FRACTIONS = st.floats(0, 1)
LOSSES = st.floats(allow_nan=False, allow_infinity=False) | st.floats(0, 10)
CURVES = st.lists(st.tuples(FRACTIONS, LOSSES), max_size=60).map(tuple)


@given(st.lists(CURVES, max_size=12), CURVES, st.integers(0, 99))
def test_any_curves_give_a_decision_and_never_an_error(curves: list[Points], mine: Points, seed: int) -> None:
    chance, past = random.Random(seed), History()
    first = past.start(baseline=True)
    for curve in curves[:3]:
        past.end_run(past.begin_run(first), chance.gauss(1, 0.1), curve=curve)
    past.decide(first, "keep")
    for curve in curves[3:]:
        trial = past.tried()
        past.end_run(past.begin_run(trial), chance.gauss(1.2, 0.3), curve=curve)
        past.decide(trial, "discard")
    limit = watched(past)
    if limit is not None:
        assert isinstance(limit(mine), str)
    assert Limit((0.0,) * len(LOOKS), on_grid(mine))(()) == ""


@given(CURVES)
def test_a_curve_on_the_grid_stays_within_its_points(curve: Points) -> None:
    levels = [level for level in on_grid(curve) if level is not None]
    if levels and all(abs(loss) < 1e100 for _, loss in curve):
        low, high = min(loss for _, loss in curve), max(loss for _, loss in curve)
        slack = 1e-9 * max(abs(low), abs(high))
        assert low - slack <= min(levels) <= max(levels) <= high + slack


@given(st.integers(2, 50), st.floats(0.5, 5))
def test_a_constant_gap_is_the_gap_at_every_look_it_got_to(got_to: int, gap: float) -> None:
    base, mine = line(4.0), line(4.0, 5 + gap)[: got_to + 1]
    assert [None if g is None else pytest.approx(gap) for g in behind(mine, on_grid(base))] == [
        None if look > got_to else g for look, g in zip(LOOKS, behind(mine, on_grid(base)), strict=True)
    ]
    assert len(on_grid(mine)) == GRID + 1


def test_between_points_that_are_far_apart_nothing_is_known() -> None:
    """A loss at the very start, and then one at a third: how the run came there was not said."""
    known = race.on_grid(((0.0, 9.0), (0.34, 3.0), (0.36, 2.9)))
    assert [place for place, value in enumerate(known) if value is not None] == [17, 18]
