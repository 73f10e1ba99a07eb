"""What a run may cost follows what best takes, and what is kept does not follow it upwards."""

import pytest
from helpers import History, contract, toml

from autoresearch.policy import dearer
from autoresearch.study import Study, parse
from autoresearch.trial import Verdict

KEEP = Verdict("keep", "better by 1")


def study(budget: str = "100 steps") -> Study:
    measure = contract()["measure"] | {"budget": budget}
    return parse(toml(contract(measure=measure)))


def past(kept_costs: list[float], *costs: float) -> tuple[History, int]:
    """A start that takes 10 s, a kept change, and a trial on it whose runs took so long."""
    found = History()
    first = found.start(baseline=True)
    found.end_run(found.begin_run(first), 10.0, processor_s=10.0, wall_s=12.0)
    found.decide(first, "keep", 10.0)
    kept = found.tried()
    for cost in kept_costs:
        found.end_run(found.begin_run(kept), 9.0, processor_s=cost, wall_s=cost)
    found.decide(kept, "keep", 9.0)
    trial = found.tried()
    for cost in costs:
        found.end_run(found.begin_run(trial), 8.0, processor_s=cost, wall_s=cost)
    return found, trial


def limit(found: History, trial: int) -> float:
    """Processor seconds at which a run of this trial is ended, before the second that starting up may take."""
    usual = dearer.usual(found.state, study(), found.state.trials[trial])
    assert usual is not None
    return usual.processor_s * study().measure.overrun


def test_where_best_takes_what_the_start_took_the_start_is_the_measure() -> None:
    found, trial = past([10.0, 11.0])
    assert limit(found, trial) == pytest.approx(20.0)


def test_where_best_takes_nearly_all_that_is_allowed_a_run_may_take_a_quarter_more_than_it() -> None:
    found, trial = past([19.0, 20.0])
    assert limit(found, trial) == pytest.approx(1.25 * 20.0)


@pytest.mark.parametrize(
    ("costs", "budget", "word"),
    [
        ([20.0], "100 steps", "keep"),
        ([24.0], "100 steps", "discard"),
        ([24.0, 17.0], "100 steps", "keep"),  # on average
        ([24.0], "100 seconds", "keep"),  # of wall time, of which the start took 12
        ([26.0], "100 seconds", "discard"),
    ],
)
def test_what_takes_more_than_is_allowed_is_not_kept(costs: list[float], budget: str, word: str) -> None:
    found, trial = past([19.0], *costs)
    verdict = dearer.examined(found.state, study(budget), found.state.trials[trial], KEEP)
    assert verdict.word == word
    assert ("more than measure.overrun allows" in verdict.why) == (word == "discard")


def test_without_a_budget_nothing_is_too_dear() -> None:
    found, trial = past([19.0], 100.0)
    assert dearer.examined(found.state, parse(toml(contract())), found.state.trials[trial], KEEP) == KEEP


def test_best_cannot_grow_dearer_step_by_step() -> None:
    """Each change takes as much as it may and helps: what is kept stays within what is allowed over the start."""
    found, _ = past([10.0])
    kept = []
    for _ in range(12):
        trial = found.tried()
        cost = limit(found, trial)
        found.end_run(found.begin_run(trial), 1.0, processor_s=cost, wall_s=cost)
        verdict = dearer.examined(found.state, study(), found.state.trials[trial], KEEP)
        found.decide(trial, verdict.word, 1.0)
        kept += [cost] if verdict.word == "keep" else []
    assert kept == [20.0]
