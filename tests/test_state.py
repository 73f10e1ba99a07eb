"""State follows from the events alone, and each of its numbers equals the same one worked out directly."""

import math
from collections import Counter

import pytest
from helpers import MACHINE, History, histories
from hypothesis import example, given

from autoresearch.events import (
    Charged,
    Event,
    RunFinished,
    StudyOpened,
    TrialDecided,
    TrialProposed,
    TrialStarted,
    TrialWithdrawn,
)
from autoresearch.state import Spent, State, fold
from autoresearch.trial import Machine, Verdict


@given(histories())
def test_back_is_every_trial_from_the_latest(past: list[Event]) -> None:
    state = fold(past)
    assert list(state.back()) == list(reversed(state.trials.values()))


@given(histories())
def test_every_trial_is_unfinished_or_decided_and_never_both(past: list[Event]) -> None:
    state = fold(past)
    decided = [e.trial for e in past if isinstance(e, TrialDecided)]
    withdrawn = {e.trial for e in past if isinstance(e, TrialWithdrawn)}
    begun = [e.trial for e in past if isinstance(e, TrialStarted)]
    assert len(set(begun)) == len(begun)
    assert set(state.unfinished) | set(decided) | withdrawn == set(begun)
    assert not set(state.unfinished) & set(decided)
    assert set(state.trials) == set(begun) - withdrawn
    assert all((trial.verdict is None) == (id in state.unfinished) for id, trial in state.trials.items())
    assert state.next_trial == len(begun)


@given(histories())
def test_counts_are_of_verdicts_without_baselines(past: list[Event]) -> None:
    state = fold(past)
    verdicts = Counter(t.word for t in state.trials.values() if t.verdict and not t.is_baseline)
    assert state.counts == dict(verdicts)
    assert state.decided == sum(verdicts.values())


@given(histories())
def test_how_runs_scatter_is_the_same_whether_it_was_asked_before_or_not(past: list[Event]) -> None:
    asked = State()
    for number, event in enumerate(past, 1):
        asked.apply(event)
        fresh = fold(past[:number])
        assert (asked.noise, asked.pairing) == (fresh.noise, fresh.pairing)


@given(histories())
def test_best_is_the_last_that_was_kept(past: list[Event]) -> None:
    state = fold(past)
    kept = [e for e in past if isinstance(e, TrialDecided) and e.verdict.word == "keep"]
    assert state.kept == [e.trial for e in kept]
    assert state.best is not None
    if kept:
        assert (state.best.commit, state.best.trial) == (kept[-1].kept_as, kept[-1].trial)
        assert state.best.tree == state.trials[kept[-1].trial].tree
    else:
        assert state.best.commit == "c0"


@given(histories())
def test_a_run_is_open_until_it_has_a_measurement(past: list[Event]) -> None:
    state = fold(past)
    finished = {e.run for e in past if isinstance(e, RunFinished)}
    assert set(state.open_runs) == set(state.runs) - finished
    assert all((run.measurement is None) == (id in state.open_runs) for id, run in state.runs.items())
    assert {i for trial in state.trials.values() for i in trial.runs} == set(state.runs)
    spent = sum(m.wall_s + m.score_s for m in (run.measurement for run in state.runs.values()) if m)
    assert state.spent_s == pytest.approx(spent, abs=1e-6)


def directly(state: State) -> tuple[float, int] | None:
    """Pooled standard deviation and degrees of freedom, from the runs themselves."""
    groups: dict[str, list[float]] = {}
    best_once = {state.trials[i].tree for i in state.kept} | ({state.best.tree} if state.best else set())
    for run in state.runs.values():
        if run.tree not in best_once:
            continue
        here = run.measurement is not None and run.measurement.machine.tier == state.tier
        if run.digest == state.digest and here and run.value is not None:
            groups.setdefault(run.tree, []).append(run.value)
    dof = sum(len(values) - 1 for values in groups.values())
    means = {tree: math.fsum(values) / len(values) for tree, values in groups.items()}
    squares = math.fsum((v - means[tree]) ** 2 for tree, values in groups.items() for v in values)
    return (math.sqrt(squares / dof), dof) if dof else None


@given(histories())
@example(History().events)
def test_noise_is_pooled_over_all_that_was_ever_best_under_the_current_referee(past: list[Event]) -> None:
    state = State()
    for event in past:
        state.apply(event)
        expected = directly(state)
        assert (state.noise is None) == (expected is None)
        if state.noise and expected:
            assert state.noise.dof == expected[1]
            assert state.noise.sd == pytest.approx(expected[0], rel=1e-6, abs=1e-3)


def test_noise_of_a_known_case() -> None:
    past = History()
    past.baseline(1.0, 3.0)  # squares 2, one degree of freedom
    tried = past.tried(5.0, 5.0, 8.0)  # squares 6, two; they count once it is best
    assert past.state.noise is not None
    assert past.state.noise.dof == 1
    assert past.state.noise.sd == pytest.approx(math.sqrt(2))
    past.decide(tried, "keep", 6.0)
    assert past.state.noise is not None
    assert past.state.noise.dof == 3
    assert past.state.noise.sd == pytest.approx(math.sqrt(8 / 3))


@given(histories())
def test_values_never_come_from_another_referee_another_machine_or_a_stopped_run(past: list[Event]) -> None:
    state = fold(past)
    for tree in {run.tree for run in state.runs.values()}:
        counted = state.runs_on(tree)
        assert all(run.digest == state.digest for run in counted)
        measured = [run.measurement for run in counted if run.measurement]
        assert len(measured) == len(counted)
        assert all(m.status != "stopped" and m.machine.tier == state.tier for m in measured)
        values = [run.value for run in counted if run.value is not None]
        assert sorted(state.values(tree).values()) == sorted(
            {r.seed_index: r.value for r in counted if r.value is not None}.values()
        )
        assert (state.mean(tree) is None) == (not values)


def test_a_new_referee_starts_from_nothing_but_keeps_the_best_code() -> None:
    past = History()
    past.baseline(10.0, 12.0)
    trial = past.tried(5.0)
    past.decide(trial, "keep", 5.0)
    best = past.state.best
    past.reopen("d1")
    state = past.state
    assert state.best == best
    assert not state.ready
    assert (state.trees, state.noise, state.baseline) == ({}, None, None)
    assert state.values("t0") == state.values(f"t{trial}") == {}
    assert state.decided == 1
    past.baseline(7.0)
    assert state.ready
    assert state.mean(f"t{trial}") == 7.0
    assert state.baseline is not None
    assert state.baseline.tree == f"t{trial}"


def test_going_back_to_an_earlier_referee_brings_its_values_back() -> None:
    past = History()
    past.baseline(10.0, 12.0)
    past.reopen("d1")
    past.baseline(1.0)
    past.reopen("d0")
    assert past.state.values("t0") == {0: 10.0, 1: 12.0}
    assert past.state.noise is not None
    assert past.state.noise.dof == 1


def test_another_kind_of_machine_starts_from_nothing_and_the_same_kind_goes_on() -> None:
    past = History()
    past.baseline(10.0, 12.0)
    past.session(MACHINE)
    assert past.state.ready
    assert past.state.values("t0") == {0: 10.0, 1: 12.0}
    past.session(Machine("another, 1 core", 1))
    assert not past.state.ready
    assert (past.state.values("t0"), past.state.noise, past.state.trees) == ({}, None, {})
    past.baseline(3.0)
    assert past.state.values("t0") == {0: 3.0}
    past.session(MACHINE)
    assert past.state.values("t0") == {0: 10.0, 1: 12.0}


def test_a_study_that_kept_nothing_yet_begins_where_it_is_opened_again() -> None:
    past = History()
    past.decide(past.start(baseline=True), "crash")
    past.happen(StudyOpened(study="s", start="c1", start_tree="t1", metric=past.metric, digest="d0", seed=1))
    assert past.state.best is not None
    assert (past.state.best.commit, past.state.best.tree) == ("c1", "t1")


def test_a_stale_trial_waits_until_its_patch_is_tried_again() -> None:
    past = History()
    past.baseline(10.0)
    trial = past.tried(5.0)
    past.decide(trial, "stale", 5.0)
    assert list(past.state.stale) == [trial]
    again = past.start(again=trial)
    assert not past.state.stale
    assert past.state.trials[again].idea == f"idea {trial}"
    past.happen(TrialWithdrawn(trial=again, why="stopped"))
    assert list(past.state.stale) == [trial]
    assert again not in past.state.trials
    assert past.start(again=trial) == again + 1


def test_a_stopped_run_counts_for_nothing() -> None:
    past = History()
    trial = past.start(baseline=True)
    past.end_run(past.begin_run(trial), None, "stopped")
    assert past.state.runs_on("t0") == []
    run = past.begin_run(trial)
    assert past.state.runs[run].seed_index == 0


def test_a_rejected_trial_without_a_commit_is_decided_like_any_other() -> None:
    past = History()
    past.baseline(10.0)
    trial = past.start()
    past.decide(trial, "rejected")
    assert past.state.counts == {"rejected": 1}
    assert not past.state.unfinished


@given(histories())
def test_the_same_events_always_give_the_same_state(past: list[Event]) -> None:
    assert vars(fold(past)) == vars(fold(past))


def test_nothing_but_opening_is_needed_to_begin() -> None:
    state = fold([])
    assert (state.opened, state.best, state.decided, state.noise, state.digest) == (None, None, 0, None, "")
    past = History()
    assert isinstance(past.events[0], StudyOpened)
    assert past.state.best is not None
    assert past.state.best.commit == "c0"


def test_what_calls_to_models_cost_adds_up_by_proposer() -> None:
    state = fold(
        [
            Charged(trial=1, by="llm", model="m", input_tokens=10, output_tokens=2, dollars=0.25, wall_s=1.5),
            Charged(trial=1, by="llm", model="m", input_tokens=5, output_tokens=1, dollars=0.5),
            Charged(trial=2, by="agent", dollars=1.0),
        ]
    )
    assert state.charged["llm"] == Spent(calls=2, input_tokens=15, output_tokens=3, dollars=0.75, wall_s=1.5)
    assert (state.dollars, state.tokens) == (1.75, 18)


def test_what_was_never_run_does_not_stand_in_the_way_of_the_same_code() -> None:
    past = History()
    past.baseline(10.0)
    first = past.start()
    past.state.apply(
        TrialProposed(trial=first, idea="a", by="p", commit="c9", tree="t9", problem="somebody measures it")
    )
    past.state.apply(TrialDecided(trial=first, verdict=Verdict("rejected", "somebody measures it")))
    assert "t9" not in past.state.trees
    second = past.start()
    past.state.apply(TrialProposed(trial=second, idea="a", by="q", commit="c9", tree="t9"))
    assert past.state.trees["t9"] == second
