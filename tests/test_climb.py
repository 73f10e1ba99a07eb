"""The default policy on made-up histories: what it runs next, and what it decides."""

import math

import pytest
from helpers import History, contract, toml
from hypothesis import given
from hypothesis import strategies as st

from autoresearch.policy.climb import KEEP, LOOK_AGAIN, PAIRED, PROMISING, Climb
from autoresearch.report import text
from autoresearch.scatter import BELIEVED
from autoresearch.study import parse

# Where nothing is known of how seeds pair.
STRETCHED = [math.ceil(after / (1 - BELIEVED) ** 1.5) for after in LOOK_AGAIN]


def climb(calibrate: int = 3, repeats: int = 3, direction: str = "minimize") -> Climb:
    return Climb(
        parse(
            toml(
                contract(
                    decide={"calibrate": calibrate, "repeats": repeats},
                    metric={"direction": direction},
                    measure={"budget": "1 steps"},
                )
            )
        )
    )


def ask(policy: Climb, past: History, trial: int) -> int | None:
    """The seed index of the next run on the trial's own content."""
    wanted = policy.next_run(past.state, past.state.trials[trial])
    assert wanted is None or not wanted.base
    return wanted.index if wanted else None


def verdict(policy: Climb, past: History, trial: int) -> str:
    return policy.judge(past.state, past.state.trials[trial]).word


def test_the_baseline_is_run_as_often_as_calibration_asks_each_time_with_the_next_seed() -> None:
    past, policy = History(), climb(calibrate=3)
    trial = past.start(baseline=True)
    asked = []
    while (index := ask(policy, past, trial)) is not None:
        asked.append(index)
        past.measured(trial, 10.0 + index)
    assert asked == [0, 1, 2]
    found = policy.judge(past.state, past.state.trials[trial])
    assert (found.word, found.value) == ("keep", 11.0)
    assert "from 3 runs; one run scatters by 1" in found.why


def test_a_baseline_that_fails_is_not_run_again_and_is_a_crash() -> None:
    past, policy = History(), climb()
    trial = past.start(baseline=True)
    past.measured(trial, 10.0)
    past.end_run(past.begin_run(trial), None, "crash", why="it broke")
    assert ask(policy, past, trial) is None
    found = policy.judge(past.state, past.state.trials[trial])
    assert (found.word, found.why, found.value) == ("crash", "it broke", None)


def test_an_earlier_failure_of_the_same_code_does_not_decide_a_new_attempt() -> None:
    past, policy = History(), climb(calibrate=1)
    first = past.start(baseline=True)
    past.end_run(past.begin_run(first), None, "crash", why="no GPU")
    past.decide(first, "crash")
    second = past.start(baseline=True)
    assert ask(policy, past, second) == 0
    past.measured(second, 10.0)
    assert verdict(policy, past, second) == "keep"


@pytest.mark.parametrize("status", ["crash", "absent", "repeated", "unparsable", "not_finite"])
def test_a_run_without_a_value_ends_the_trial_at_once(status: str) -> None:
    past, policy = History(), climb()
    past.baseline(10.0, 12.0)
    trial = past.tried()
    past.end_run(past.begin_run(trial), None, status)  # type: ignore[arg-type]
    assert ask(policy, past, trial) is None
    assert verdict(policy, past, trial) == "crash"


def test_a_timeout_keeps_its_own_word() -> None:
    past, policy = History(), climb()
    past.baseline(10.0)
    trial = past.tried()
    past.end_run(past.begin_run(trial), None, "timeout")
    assert verdict(policy, past, trial) == "timeout"


@pytest.mark.parametrize(("value", "word"), [(9.999, "keep"), (10.0, "discard"), (10.001, "discard")])
def test_without_noise_any_gain_is_kept_and_a_tie_is_not(value: float, word: str) -> None:
    for values in ((10.0,), (10.0, 10.0, 10.0)):
        past, policy = History(), climb()
        past.baseline(*values)
        trial = past.tried(value)
        assert ask(policy, past, trial) is None
        assert verdict(policy, past, trial) == word


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_clear_loss_needs_one_run_and_a_gain_two(direction: str) -> None:
    better, worse = (1.0, 19.0) if direction == "minimize" else (19.0, 1.0)
    for value, word in ((better, "keep"), (worse, "discard")):
        past, policy = History(direction), climb(direction=direction)
        past.baseline(10.0, 10.1, 9.9)
        trial = past.tried(value)
        if word == "keep":
            assert ask(policy, past, trial) == 1  # where seeds matter, one seed is not enough
            past.measured(trial, value)
        assert ask(policy, past, trial) is None
        assert verdict(policy, past, trial) == word


def test_where_runs_do_not_scatter_a_gain_needs_one_run() -> None:
    past, policy = History(), climb()
    past.baseline(10.0, 10.0, 10.0)
    trial = past.tried(9.0)
    assert ask(policy, past, trial) is None
    assert verdict(policy, past, trial) == "keep"


def test_the_borderline_get_repeats_up_to_the_limit_and_then_a_word() -> None:
    past, policy = History(), climb(repeats=3)
    past.baseline(10.0, 11.0, 12.0)  # sd 1
    trial = past.tried(9.0)  # gain 1 of error 0.77
    assert ask(policy, past, trial) == 1
    past.measured(trial, 11.7)
    assert ask(policy, past, trial) == 2
    past.measured(trial, 12.0)
    assert ask(policy, past, trial) is None
    found = policy.judge(past.state, past.state.trials[trial])
    assert found.word == "inconclusive"
    assert found.error is not None
    assert found.gain is not None
    assert 0 < found.gain / found.error < KEEP


def test_what_hardly_promises_anything_gets_no_repeats() -> None:
    past, policy = History(), climb(repeats=9)
    past.baseline(10.0, 11.0, 12.0)
    trial = past.tried(9.95)
    assert ask(policy, past, trial) is None
    assert verdict(policy, past, trial) == "inconclusive"


def test_runs_of_the_same_seed_are_compared_with_each_other() -> None:
    past, policy = History(), climb(repeats=1)
    past.baseline(10.0, 20.0, 30.0)
    past.decide(past.tried(9.5, 19.4, 29.6), "discard", 19.5)  # seeds move together
    found = policy.compare(past.state, past.state.trials[past.tried(9.0)])
    assert (found.value, found.before, found.gain, found.runs) == (9.0, 10.0, 1.0, 1)
    assert found.error is not None
    assert found.error < 6.0  # of a noise of 10: two degrees of freedom, and a belief that counts for two more


def test_the_error_is_the_pooled_noise_over_both_sides() -> None:
    past, policy = History(), climb()
    past.baseline(10.0, 12.0)  # sd sqrt(2)
    found = policy.compare(past.state, past.state.trials[past.tried(9.0)])
    assert found.error == pytest.approx(math.sqrt(2) * math.sqrt(2 * (1 - BELIEVED)))  # of runs of one seed


def test_one_trial_that_scatters_wildly_does_not_blind_the_study_for_all_others() -> None:
    past, policy = History(), climb(repeats=3)
    past.baseline(10.0, 10.1, 9.9, 10.05, 9.95)
    wild = past.tried(9.85)  # promising with one seed ...
    past.measured(wild, 1000.0)  # ... and diverged with the next
    past.decide(wild, "discard", 504.9)
    half = past.tried(5.0)
    while ask(policy, past, half) is not None:
        past.measured(half, 5.0)
    assert verdict(policy, past, half) == "keep"


def test_a_gain_on_a_base_that_is_no_longer_best_is_stale() -> None:
    past, policy = History(), climb()
    past.baseline(10.0)
    slow = past.tried(8.0)
    past.decide(past.tried(9.0), "keep", 9.0)
    found = policy.judge(past.state, past.state.trials[slow])
    assert (found.word, found.value, found.gain) == ("stale", 8.0, 2.0)
    worse = History()
    worse.baseline(10.0)
    slow = worse.tried(11.0)
    worse.decide(worse.tried(9.0), "keep", 9.0)
    assert verdict(policy, worse, slow) == "discard"


def test_a_stopped_run_is_run_again_with_the_same_seed() -> None:
    past, policy = History(), climb()
    past.baseline(10.0)
    trial = past.tried()
    past.end_run(past.begin_run(trial), None, "stopped")
    assert ask(policy, past, trial) == 0


def test_after_a_change_of_referee_only_new_runs_count() -> None:
    past, policy = History(), climb(calibrate=2)
    past.baseline(10.0, 10.0)
    trial = past.tried(5.0)
    past.reopen("d1")
    again = past.start(baseline=True)
    assert ask(policy, past, again) == 0
    past.measured(again, 20.0, 20.0)
    past.decide(again, "keep", 20.0)
    assert ask(policy, past, trial) == 0
    past.measured(trial, 19.0)
    assert policy.compare(past.state, past.state.trials[trial]).before == 20.0


@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=5),
    st.lists(st.floats(-100, 100), min_size=1, max_size=5),
    st.integers(1, 5),
)
def test_a_trial_always_ends_within_its_repeats_and_is_kept_only_if_it_gained(
    before: list[float], after: list[float], repeats: int
) -> None:
    past, policy = History(), climb(repeats=repeats)
    past.baseline(*before)
    trial = past.tried()
    values = iter(after * 5)
    runs = 0
    while (index := ask(policy, past, trial)) is not None:
        assert index == runs
        past.measured(trial, next(values))
        runs += 1
    assert 1 <= runs <= repeats
    found = policy.judge(past.state, past.state.trials[trial])
    assert found.word in ("keep", "discard", "inconclusive")
    assert found.gain is not None
    assert (found.gain > 0) == (found.word != "discard")
    if found.error:
        score = found.gain / found.error
        assert (score >= KEEP) == (found.word == "keep")
        assert runs > 1 or repeats == 1 or score < PROMISING
        assert runs == repeats or not PROMISING <= score < KEEP
    assert policy.judge(past.state, past.state.trials[trial]) == found, "asked again after a crash, it answers the same"


# -- one run alone -------------------------------------------------------------------------------------


def whose_seeds_pair() -> History:
    """Trials that moved with their seeds as the baseline does, so that little is left to luck."""
    past = History()
    past.baseline(10.0, 11.0, 12.0)
    for off in (0.5, 0.6, 0.55):
        past.decide(past.tried(10.0 + off, 11.02 + off, 12.01 + off), "discard", 11.5)
    return past


def test_where_seeds_were_seen_to_pair_one_run_that_is_clearly_better_is_enough() -> None:
    past, policy = whose_seeds_pair(), climb()
    assert past.state.pairing.dof >= PAIRED
    trial = past.tried(9.0)
    assert ask(policy, past, trial) is None
    assert verdict(policy, past, trial) == "keep"
    unseen = History()
    unseen.baseline(10.0, 11.0, 12.0)
    assert ask(policy, unseen, unseen.tried(9.0)) == 1


def test_a_patch_that_writes_a_seed_is_never_kept_for_one_run() -> None:
    past, policy = whose_seeds_pair(), climb()
    trial = past.tried(9.0, seeds=("SEED = 137",))
    assert ask(policy, past, trial) == 1


# -- simplicity ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gain", "lines", "word"),
    [
        (0.3, (0, 0), "keep"),
        (0.3, (40, 0), "inconclusive"),  # 40 lines more have to gain 0.8 of a run's standard deviation
        (1.5, (40, 0), "keep"),
        (0.0, (0, 30), "keep"),
        (-0.05, (0, 30), "keep"),
        (-0.3, (0, 30), "discard"),  # however much was taken away
        (-0.3, (0, 9000), "discard"),
        (0.0, (0, 1), "discard"),  # one line is not worth what cannot be told
    ],
)
def test_added_code_has_to_gain_more_and_removed_code_may_gain_nothing(
    gain: float, lines: tuple[int, int], word: str
) -> None:
    past, policy = History(), climb(repeats=3)
    past.baseline(10.0, 11.0, 12.0)  # sd 1
    trial = past.tried(lines=lines)
    for value in (10.0, 11.0, 12.0):
        past.measured(trial, value - gain)
    assert verdict(policy, past, trial) == word


def test_simplicity_is_a_knob_and_at_nought_costs_and_gives_nothing() -> None:
    tables = contract(decide={"calibrate": 3, "simplicity": 0}, measure={"budget": "1 steps"})
    past, policy = History(), Climb(parse(toml(tables)))
    past.baseline(10.0, 11.0, 12.0)
    for gain, lines, word in ((0.3, (400, 0), "keep"), (0.0, (0, 400), "discard")):
        trial = past.tried(lines=lines)
        past.measured(trial, *(value - gain for value in (10.0, 11.0, 12.0)))
        assert verdict(policy, past, trial) == word


def test_without_noise_a_tie_goes_to_the_simpler_code() -> None:
    for lines, word in (((0, 1), "keep"), ((1, 0), "discard"), ((0, 0), "discard")):
        past, policy = History(), climb()
        past.baseline(10.0, 10.0, 10.0)
        assert verdict(policy, past, past.tried(10.0, lines=lines)) == word


def test_fewer_parameters_are_simpler_too() -> None:
    for parameters, word in ((1000.0, "discard"), (1.0, "keep"), (float("-1"), "discard")):
        past, policy = History(), climb()
        past.start(baseline=True)
        for value in (10.0, 11.0, 12.0):
            past.end_run(past.begin_run(0, purpose="record"), value, extras={"parameters": 1000.0})
        past.decide(0, "keep", 11.0)
        trial = past.tried()
        for value in (10.0, 11.0, 12.0):
            past.end_run(past.begin_run(trial), value, extras={"parameters": parameters})
        assert verdict(policy, past, trial) == word


# -- the bar -------------------------------------------------------------------------------------------


def kept(past: History, *values: float, gain: float) -> int:
    trial = past.tried(*values)
    past.decide(trial, "keep", values[0], gain=gain, base_value=values[0] + gain)
    return trial


def test_a_bar_set_by_the_winning_run_alone_is_moved_back_by_the_part_that_is_luck() -> None:
    past, policy = History(), climb()
    past.baseline(10.0, 11.0, 12.0)
    kept(past, 8.0, gain=3.0)
    found = policy.compare(past.state, past.state.trials[past.tried(8.0)])
    assert found.before == pytest.approx(8.0 + 0.2 * 3.0)


def test_the_longer_something_is_best_the_more_often_it_is_looked_at_again_and_then_that_is_the_bar() -> None:
    past, policy = History(), climb()
    past.baseline(10.0, 11.0, 12.0)
    best = kept(past, 8.0, gain=3.0)
    tree = past.state.trials[best].tree
    looks = []
    for number in range(STRETCHED[-1] + 5):
        trial = past.tried()
        wanted = policy.next_run(past.state, past.state.trials[trial])
        while wanted and wanted.base:
            looks.append(number)
            assert (wanted.index, wanted.purpose) == (len(looks), "record")
            past.look(best, wanted.index, 9.0 - len(looks))
            wanted = policy.next_run(past.state, past.state.trials[trial])
        assert wanted is not None
        past.measured(trial, 20.0)
        past.decide(trial, "discard", 20.0)
    assert looks[0] == STRETCHED[0]  # the looks show how seeds pair, and with that when the next is due
    assert sorted(looks) == looks
    assert len(looks) == len(LOOK_AGAIN)
    assert tree is not None
    assert past.state.record(tree) == {1: 8.0, 2: 7.0, 3: 6.0}
    assert past.state.mean(tree) == 7.0
    assert policy.compare(past.state, past.state.trials[past.tried(8.0)]).before == 7.0


def test_two_workers_do_not_look_at_the_best_at_once() -> None:
    past, policy = History(), climb()
    past.baseline(10.0, 11.0, 12.0)
    best = kept(past, 8.0, gain=3.0)
    for _ in range(STRETCHED[0]):
        past.decide(past.tried(20.0), "discard", 20.0)
    one, other = past.start(), past.start()
    for trial in (one, other):
        past.propose(trial)
    wanted = policy.next_run(past.state, past.state.trials[one])
    assert wanted is not None
    assert wanted.base
    past.begin_look(best, wanted.index, by=one)
    assert ask(policy, past, other) == 0


def test_a_trial_is_run_with_the_seeds_of_the_fresh_runs_of_its_base_first() -> None:
    past, policy = History(), climb()
    past.baseline(10.0, 11.0, 12.0)
    best = kept(past, 8.0, gain=3.0)
    past.look(best, 4, 9.0)
    past.look(best, 7, 9.5)
    trial = past.tried()
    assert ask(policy, past, trial) == 4


def test_every_so_many_trials_a_run_of_the_best_is_repeated_where_the_machines_speed_matters() -> None:
    for budget, controls in (("5 seconds", [(25, 0), (51, 1)]), ("5 tokens", [])):
        tables = contract(measure={"run": "x", "budget": budget}, decide={"calibrate": 3})
        past, policy, seen = History(), Climb(parse(toml(tables))), []
        past.baseline(10.0, 11.0, 12.0)
        for number in range(60):
            trial = past.tried()
            wanted = policy.next_run(past.state, past.state.trials[trial])
            if wanted and wanted.purpose == "control":
                assert wanted.base
                seen.append((number, wanted.index))
                past.end_run(past.begin_look(0, wanted.index, by=trial, purpose="control"), 10.5)
            past.measured(trial, 20.0)
            past.decide(trial, "discard", 20.0)
        assert seen == controls
        assert past.state.values("t0") == {0: 10.0, 1: 11.0, 2: 12.0}, "a control is no run of its own"


def test_repeats_that_could_not_be_made_are_not_made_up_for() -> None:
    past, policy = (
        History(),
        Climb(parse(toml(contract(measure={"run": "x", "budget": "5 seconds"}, decide={"calibrate": 2})))),
    )
    past.baseline(10.0, 11.0)  # too few seeds to take turns with
    for _ in range(100):
        past.decide(past.tried(20.0), "discard", 20.0)
    past.look(0, 5, 12.0)
    wanted = []
    for _ in range(3):
        trial = past.tried()
        found = policy.next_run(past.state, past.state.trials[trial])
        assert found is not None
        wanted.append(found.purpose)
        if found.purpose == "control":
            past.end_run(past.begin_look(0, found.index, by=trial, purpose="control"), 10.5)
    assert wanted == ["control", "trial", "trial"]


def test_a_machine_that_got_slower_is_reported() -> None:
    past = History()
    past.baseline(10.0, 11.0, 12.0)
    for seed, value in enumerate((10.4, 11.5, 12.6)):
        assert text.drift(past.state) == ""
        past.end_run(past.begin_look(0, seed, purpose="control"), value)
    said = text.drift(past.state)
    assert "3 runs of the best, repeated with the same seed, came out worse by 0.5 +- 0.06" in said


def test_repeats_that_only_scatter_are_no_drift() -> None:
    past = History()
    past.baseline(10.0, 11.0, 12.0)
    for seed, value in enumerate((10.9, 10.3, 12.4)):
        past.end_run(past.begin_look(0, seed, purpose="control"), value)
    assert text.drift(past.state) == ""
