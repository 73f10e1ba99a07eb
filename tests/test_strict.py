"""The policy that counts its errors: what it asks for, and how often it is wrong."""

import random

from helpers import History, contract, toml

from autoresearch.policy.strict import ALPHA, Strict
from autoresearch.study import parse


def strict(repeats: int = 3, trials: int | None = None) -> Strict:
    tables = contract(decide={"policy": "strict", "calibrate": 3, "repeats": repeats})
    return Strict(parse(toml(tables | ({"budget": {"trials": trials}} if trials else {}))))


def measure(past: History, policy: Strict, trial: int, effect: float, base: float, chance: random.Random) -> str:
    """Give a trial every run that the policy wants; seeds and content have no say in the noise."""
    best = past.state.best
    assert best is not None
    while wanted := policy.next_run(past.state, past.state.trials[trial]):
        if wanted.base:
            past.look(best.trial, wanted.index, base + chance.gauss(0, 1))
        else:
            past.end_run(past.begin_run(trial, wanted.index), base - effect + chance.gauss(0, 1))
    found = policy.judge(past.state, past.state.trials[trial])
    more = {"gain": found.gain, "base_value": found.base_value}
    past.decide(trial, found.word, found.value, **(more if found.word == "keep" else {}))
    return found.word


def baseline(past: History, chance: random.Random) -> None:
    trial = past.start(baseline=True)
    for index in range(3):
        past.look(trial, index, 10 + chance.gauss(0, 1))
    past.decide(trial, "keep", 10.0)


def test_a_trial_is_run_with_the_fresh_seeds_of_its_base_which_gets_more_as_needed() -> None:
    past, policy = History(), strict()
    baseline(past, random.Random(1))
    trial = past.tried()
    asked = []
    for _ in range(7):
        wanted = policy.next_run(past.state, past.state.trials[trial])
        assert wanted is not None
        asked.append((wanted.base, wanted.index))
        if wanted.base:
            past.look(0, wanted.index, 10.0 + wanted.index / 7)
        else:
            past.end_run(past.begin_run(trial, wanted.index), 9.9)
    assert asked == [(False, 0), (False, 1), (False, 2), (True, 3), (False, 3), (True, 4), (False, 4)]


def test_what_is_worse_is_dropped_early_and_what_is_far_better_is_kept() -> None:
    chance = random.Random(2)
    past, policy = History(), strict()
    baseline(past, chance)
    worse, better = past.start(), None
    past.propose(worse)
    assert measure(past, policy, worse, -4.0, 10.0, chance) == "discard"
    assert len(past.state.trials[worse].runs) <= 4
    better = past.tried()
    assert measure(past, policy, better, 6.0, 10.0, chance) == "keep"


def test_of_what_it_keeps_at_most_a_share_alpha_is_false() -> None:
    """Studies of 40 trials of which a tenth helps: the false discovery proportion, on average over studies."""
    studies, trials = 40, 40
    proportions, found, real = [], 0, 0
    for number in range(studies):
        chance = random.Random(number)
        past, policy, level = History(), strict(trials=trials), 10.0
        baseline(past, chance)
        true = false = 0
        for _ in range(trials):
            helps = chance.random() < 0.1
            effect = 4.0 if helps else 0.0
            trial = past.tried()
            kept = measure(past, policy, trial, effect, level, chance) == "keep"
            level -= effect * kept
            real, true, false = real + helps, true + (kept and helps), false + (kept and not helps)
        found += true
        proportions.append(false / max(1, true + false))
    assert sum(proportions) / studies <= ALPHA + 2 * (ALPHA * (1 - ALPHA) / studies) ** 0.5
    assert found > real / 2, f"{found} of {real} real gains of four standard deviations were found"


def test_more_trials_than_were_said_are_never_kept() -> None:
    chance = random.Random(3)
    past, policy = History(), strict(trials=1)
    baseline(past, chance)
    words: list[str] = []
    for _ in range(2):
        trial = past.tried()
        words.append(measure(past, policy, trial, 50.0, 10.0 if not words else -40.0, chance))
    assert words == ["keep", "inconclusive"]
