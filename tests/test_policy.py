"""What holds for every built-in policy, whatever the runs say."""

import itertools
from typing import Any

import pytest
from helpers import History, contract, histories, toml
from hypothesis import given
from hypothesis import strategies as st

from autoresearch.events import Event
from autoresearch.policy import BUILT_IN, Policy, make
from autoresearch.policy.strict import TIMES_REPEATS
from autoresearch.state import fold
from autoresearch.study import parse

FINITE = st.floats(-100, 100)


def policy(name: str, repeats: int = 3, **metric: Any) -> Policy:
    decide = {"policy": name, "calibrate": 3, "repeats": repeats}
    return make(parse(toml(contract(decide=decide, metric=metric, measure={"budget": "1 steps"}))))


@pytest.mark.parametrize("kind", ["repeats", "timing"])
@pytest.mark.parametrize("name", BUILT_IN)
@given(st.lists(FINITE, min_size=1, max_size=4), st.lists(FINITE | st.none(), min_size=1), st.integers(1, 4))
def test_a_trial_is_decided_after_a_bounded_number_of_runs_none_of_which_was_asked_for_twice(
    name: str, kind: str, before: list[float], said: list[float | None], repeats: int
) -> None:
    past, rule, answers = History(), policy(name, repeats, kind=kind), itertools.cycle(said)
    past.baseline(*before)
    for _ in range(4):  # what is kept is the base of those after it
        trial = past.tried()
        asked = set()
        while (wanted := rule.next_run(past.state, past.state.trials[trial])) is not None:
            assert wanted not in asked
            asked.add(wanted)
            past.answer(trial, wanted, next(answers))
        assert len(asked) <= 2 * TIMES_REPEATS * repeats
        found = rule.judge(past.state, past.state.trials[trial])
        assert rule.judge(past.state, past.state.trials[trial]) == found, (
            "asked again after a crash, it answers the same"
        )
        past.decide(trial, found.word, found.value, gain=found.gain, base_value=found.base_value)


@pytest.mark.parametrize("name", ["climb", "strict"])
@given(histories())
def test_no_history_leaves_the_policy_without_an_answer(name: str, past: list[Event]) -> None:
    state, rule = fold(past), policy(name)
    for id in state.unfinished:
        trial = state.trials[id]
        if trial.tree is not None and (trial.is_baseline or state.values(trial.base_tree)):
            wanted = rule.next_run(state, trial)
            assert wanted is None or wanted.index >= 0
            if wanted is None:
                rule.judge(state, trial)
