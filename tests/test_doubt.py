"""What is held until a person has looked, what is flagged, and what proposers are not told."""

import random
from pathlib import Path

import pytest
from helpers import (
    Recorder,
    autoresearch,
    eventually,
    git,
    last,
    make_study,
    play,
    says,
    started,
    state_of,
    step,
    why,
    words,
)

from autoresearch import log, session
from autoresearch.events import SealedOpened, TrialAccepted
from autoresearch.inbox import Inbox
from autoresearch.policy import doubt
from autoresearch.report import text
from autoresearch.report.brief import brief
from autoresearch.state import State
from autoresearch.study import parse
from autoresearch.trial import Best, Machine, Measurement, Trial

SCATTERS = "echo METRIC loss=$((1000 + AUTORESEARCH_SEED % 7)).5\n"
FLAT = "echo METRIC loss={value}\n"


def flags(trial: Trial) -> tuple[str, ...]:
    assert trial.verdict is not None
    return trial.verdict.flags


def call_accept(folder: Path, trial: int) -> str:
    done = autoresearch("accept", str(trial), cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- gains that are hard to believe --------------------------------------------------------------------


def test_a_gain_far_outside_anything_seen_is_held_and_the_loop_goes_on(tmp_path: Path) -> None:
    recorder = Recorder()
    state = play(make_study(tmp_path, says(9.9), says(1), says(9.8)), recorder)
    assert words(state) == ["keep", "suspect", "keep"]
    assert state.best is not None
    assert state.best.trial == 3
    assert state.mean(state.best.tree) == 9.8
    assert any("trial 2 is suspect: a gain of 8.9 is far outside anything seen" in said for said in recorder.said)
    assert "Trial 2 is suspect and waiting for you" in text.held(state)


def test_what_is_held_was_measured_again_beside_its_base_with_a_seed_of_its_own(tmp_path: Path) -> None:
    state = play(make_study(tmp_path, says(1)))
    trial = last(state)
    runs = [state.runs[i] for i in trial.runs]
    assert [(run.tree == trial.tree, run.careful, run.seed_index) for run in runs] == [
        (True, False, 0),
        (False, True, 1),
        (True, True, 1),
    ]
    assert "measured again in a clean room with a fresh seed, the gain is 9" in why(state)


def test_a_gain_that_is_gone_in_the_clean_room_is_said_to_be(tmp_path: Path) -> None:
    once = f"test -e {tmp_path}/was && echo METRIC loss=10 || {{ touch {tmp_path}/was; echo METRIC loss=1; }}\n"
    state = play(make_study(tmp_path / "repo", step(once)))
    assert words(state) == ["suspect"]
    assert "a gain of 9 is far outside" in why(state)
    assert "with a fresh seed, the gain is 0" in why(state)
    assert state.best is not None
    assert state.best.trial == 0


def test_a_crash_in_the_clean_room_is_no_number(tmp_path: Path) -> None:
    once = f"test -e {tmp_path}/was && exit 3; touch {tmp_path}/was; echo METRIC loss=1\n"
    state = play(make_study(tmp_path / "repo", step(once), says(9)))
    assert words(state) == ["suspect", "keep"]
    assert "it has no value (crash)" in why_of(state, 1)


def why_of(state: State, trial: int) -> str:
    verdict = state.trials[trial].verdict
    assert verdict is not None
    return verdict.why


def test_the_person_says_how_large_a_step_can_be(tmp_path: Path) -> None:
    assert words(play(make_study(tmp_path / "wide", says(1), metric={"max_step": 20.0}))) == ["keep"]
    state = play(make_study(tmp_path / "narrow", says(9.9), says(9.2), says(9.7), metric={"max_step": 0.5}))
    assert words(state) == ["keep", "suspect", "keep"]
    assert "metric.max_step = 0.5" in why_of(state, 2)


def test_steps_like_those_before_are_believed(tmp_path: Path) -> None:
    values = [100 - 2 * i for i in range(30)]
    state = play(make_study(tmp_path, *map(says, values[1:]), start="echo METRIC loss=100\n"))
    assert words(state) == ["keep"] * 29


def test_after_many_small_steps_a_large_one_is_held(tmp_path: Path) -> None:
    many = [says(100 - i / 10) for i in range(1, 22)]
    state = play(make_study(tmp_path, *many, says(60), start="echo METRIC loss=100\n"))
    assert words(state) == ["keep"] * 21 + ["suspect"]


def test_an_accepted_trial_becomes_best_and_survives_a_replay(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(1))
    play(folder)
    assert "Trial 1 is the best now" in call_accept(folder, 1)
    state = state_of(folder)
    assert state.best is not None
    assert (state.best.trial, state.counts) == (1, {"keep": 1})
    assert git(folder, "rev-parse", "refs/heads/autoresearch/s") == state.best.commit
    assert git(folder, "rev-parse", f"{state.best.commit}^{{tree}}") == state.best.tree
    assert "accepted by the person" in why_of(state, 1)
    assert text.held(state) == ""
    done = autoresearch("accept", "1", cwd=folder)
    assert (done.returncode, "trial 1 is keep, not suspect" in done.stderr) == (2, True)


def test_where_best_moved_an_accepted_patch_is_tried_again_and_believed_there(tmp_path: Path) -> None:
    start = "echo METRIC loss=$(cat a)\n"
    big = {"idea": "big", "files": {"b": "1\n", "step.sh": start.replace("cat a", "cat a b | sort -n | head -1")}}
    small = {"idea": "small", "files": {"a": "9.9\n"}}
    files = {"a": "10\n", "b": "50\n"}
    folder = make_study(tmp_path, big, small, start=start, files=files, asset=["step.sh", "a", "b"])
    assert words(play(folder)) == ["suspect", "keep"]
    assert "tried again on the new best" in call_accept(folder, 1)
    state = play(folder)
    assert words(state) == ["stale", "keep", "keep"]
    assert state.best is not None
    assert state.mean(state.best.tree) == 1
    assert last(state).again == 1


def test_a_running_study_takes_up_an_acceptance_before_its_next_trial(tmp_path: Path) -> None:
    wait = f"while ! test -e {tmp_path}/go; do sleep 0.05; done; echo METRIC loss=11\n"
    folder = make_study(tmp_path / "repo", says(1), step(wait), says(0.9))
    with started("run", cwd=folder) as process:
        assert eventually(lambda: "suspect" in words(state_of(folder)))
        assert eventually(lambda: len(state_of(folder).trials) == 3)
        assert "takes this up before its next trial" in call_accept(folder, 1)
        (tmp_path / "go").touch()
        process.communicate(timeout=30)
    state = state_of(folder)
    assert state.trials[1].accepted
    assert list((folder / ".autoresearch" / "inbox").iterdir()) == []
    assert words(state) == ["keep", "discard", "keep"]
    assert state.best is not None
    assert state.mean(state.best.tree) == 0.9


@pytest.mark.parametrize("running", [False, True])
def test_who_accepts_is_told_where_the_branch_had_to_be_left_alone(tmp_path: Path, running: bool) -> None:
    folder, recorder = make_study(tmp_path, says(1)), Recorder()
    play(folder)
    git(folder, "checkout", "--quiet", "autoresearch/s")
    if running:
        Inbox(folder / ".autoresearch").ask_to_accept(1)
        play(folder, recorder)
    said = "\n".join(recorder.said) if running else call_accept(folder, 1)
    assert "branch autoresearch/s is checked out in" in said
    assert words(state_of(folder)) == ["keep"]


def test_what_is_no_wish_in_the_inbox_is_passed_over(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9))
    (folder / ".autoresearch" / "inbox").mkdir(parents=True)
    for name in ("accept-1", "accept-99", "accept-x", "accept-1.txt", "reject-1"):
        (folder / ".autoresearch" / "inbox" / name).write_text("accept-1 {}")
    assert words(play(folder)) == ["keep"]


# -- seeds ---------------------------------------------------------------------------------------------


def test_a_candidate_that_ignores_its_seed_is_held(tmp_path: Path) -> None:
    decide = {"calibrate": 5, "repeats": 3}
    state = play(make_study(tmp_path, step(FLAT.format(value=998)), start=SCATTERS, decide=decide))
    runs = [state.runs[i] for i in last(state).runs if not state.runs[i].careful]
    if len(runs) > 1:  # by its first run alone nobody can tell
        assert words(state) == ["suspect"]
        assert flags(last(state))[0].startswith("ignores its seed")


def test_a_seed_written_into_the_code_is_flagged(tmp_path: Path) -> None:
    code = "SEED=137\necho METRIC loss=9\n"
    trial = last(play(make_study(tmp_path, step(code))))
    assert trial.word == "keep"
    assert flags(trial) == ("fixes a seed: SEED=137",)


# -- what a run says of itself -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extras", "said"),
    [
        ({"training_seconds": 300.0}, "states training_seconds = 300, but ran 12.0 s"),
        ({"total_seconds": 2.0}, "states total_seconds = 2, but ran 12.0 s"),
        ({"tokens": 600_000.0}, "states tokens = 600000, but the budget is 150000"),
        ({"training_seconds": 9.0, "total_seconds": 12.3, "tokens": 149_504.0, "loss": 1e9}, None),
    ],
)
def test_a_claim_that_was_measured_otherwise_is_flagged(extras: dict[str, float], said: str | None) -> None:
    contract = 'name="s"\nasset=["a"]\nmetric.name="loss"\nmeasure={run="x", budget="150_000 tokens"}\n'
    result = Measurement("ok", 1.0, "d", Machine("m", 1), extras, wall_s=12.0)
    assert list(doubt.false_claims(parse(contract), result)) == ([said] if said else [])


def test_a_gain_bought_with_compute_is_shown_as_such(tmp_path: Path) -> None:
    burn = "python -c 'import time\nwhile time.process_time() < {s}: pass'\necho METRIC loss={value}\n"
    folder = make_study(tmp_path, step(burn.format(s=0.6, value=9)), start=burn.format(s=0.2, value=10))
    state = play(folder)
    trial = last(state)
    assert trial.verdict is not None
    assert trial.verdict.cost is not None
    assert 1.5 < trial.verdict.cost < 5
    assert any(flag.startswith("bought with compute: a run costs ") for flag in flags(trial))
    assert "times the compute" in text.summary(state)
    shown = autoresearch("show", "1", cwd=folder).stdout
    assert "gain per second of compute" in shown
    assert "! marks what to read" in text.notes(state)


# -- guards --------------------------------------------------------------------------------------------


def test_a_run_that_breaks_a_guard_has_no_value(tmp_path: Path) -> None:
    both = "echo METRIC loss={loss}\necho METRIC latency_ms={latency}\n"
    steps = (step(both.format(loss=1, latency=31)), step(both.format(loss=9, latency=20)), says(2))
    start = both.format(loss=10, latency=10)
    state = play(make_study(tmp_path, *steps, start=start, metric={"guards": ["latency_ms <= 20"]}))
    assert words(state) == ["discard", "keep", "discard"]
    assert why_of(state, 1) == "latency_ms = 31 breaks the guard latency_ms <= 20"
    assert "nobody stated latency_ms" in why_of(state, 3)


def test_a_floor_on_wall_time_and_what_is_measured_goes_before_what_is_stated(tmp_path: Path) -> None:
    slow = "sleep 0.4; echo METRIC loss=10\n"
    lies = step("echo METRIC loss=9; echo METRIC wall_s=5\n")
    state = play(make_study(tmp_path, lies, start=slow, metric={"guards": ["wall_s >= 0.3"]}))
    assert words(state) == ["discard"]
    assert why(state).endswith("breaks the guard wall_s >= 0.3")


def test_with_a_scorer_a_candidate_cannot_state_what_a_guard_bounds(tmp_path: Path) -> None:
    score = "echo METRIC loss=$(cat $AUTORESEARCH_OUT/x); echo METRIC tests=$(cat $AUTORESEARCH_OUT/x)\n"
    start = "echo 10 > $AUTORESEARCH_OUT/x\n"
    lies = step("echo 3 > $AUTORESEARCH_OUT/x; echo METRIC tests=99\n")
    measure = {"score": "sh score.sh"}
    files = {"score.sh": score}
    state = play(make_study(tmp_path, lies, start=start, files=files, measure=measure, metric={"guards": ["tests>=5"]}))
    assert words(state) == ["discard"]


# -- sets and what proposers are told ------------------------------------------------------------------

SETS_SCORE = """
printf '%s %s %s\\n' "$AUTORESEARCH_SET" "${AUTORESEARCH_SEALED:-closed}" "${AUTORESEARCH_CAREFUL:-}" >> SEEN
echo METRIC loss=$(cat $AUTORESEARCH_OUT/x)
echo METRIC items=ITEMS
"""


def test_the_sealed_folder_is_named_to_no_run_of_the_search(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    files = {
        "score.sh": SETS_SCORE.replace("SEEN", str(seen)).replace("ITEMS", "50000"),
        "prepare.sh": "echo secret > $AUTORESEARCH_SEALED/x\n",
    }
    measure = {"score": "sh score.sh", "prepare": "sh prepare.sh", "sets": ["search", "sealed"]}
    steps = [step(f"echo {value} > $AUTORESEARCH_OUT/x\n") for value in (9.9, 1)]
    folder = make_study(
        tmp_path / "repo", *steps, start="echo 10 > $AUTORESEARCH_OUT/x\n", files=files, measure=measure
    )
    assert words(play(folder)) == ["keep", "suspect"]
    assert sorted(set(seen.read_text().splitlines())) == ["search closed ", "search closed 1"]
    assert (folder / ".autoresearch" / "data" / "sealed" / "x").read_text() == "secret\n"


def test_each_opening_of_the_sealed_set_is_counted_and_shown(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9))
    play(folder)
    assert "never opened" in autoresearch("status", cwd=folder).stdout
    with log.Log(session.journal(folder)) as journal:
        journal.append(SealedOpened(why="a claim"))
    assert "opened 1 time, last for a claim" in autoresearch("status", cwd=folder).stdout


def told(state: State, ladder: bool | None) -> tuple[Trial, ...]:
    return brief("s", "", ("a",), state.best or Best("", "", 0), state, ladder).trials


def test_with_the_ladder_proposers_learn_no_more_than_who_won(tmp_path: Path) -> None:
    state = play(make_study(tmp_path, says(9), says(9.3), says(12), step("exit 3\n")))
    trials = told(state, True)
    shown = [trial.verdict for trial in trials if trial.verdict]
    assert [verdict.word for verdict in shown] == ["keep", "keep", "discard", "discard", "crash"]
    assert shown[2] == shown[3]
    assert (shown[2].why, shown[2].gain, shown[2].value) == ("it did not win", None, None)
    assert "exit code 3" in shown[4].why
    assert told(state, False) == tuple(state.trials.values())
    assert told(state, None) == tuple(state.trials.values())  # nobody said how large the search set is


@pytest.mark.parametrize(("items", "small"), [(512, True), (50_000, False)])
def test_the_ladder_is_on_by_default_where_the_search_set_is_small(tmp_path: Path, items: int, small: bool) -> None:
    items_line = f"echo METRIC items={items}\n"
    state = play(make_study(tmp_path, says(12), start="echo METRIC loss=10\n" + items_line))
    assert (told(state, None)[-1].verdict == told(state, True)[-1].verdict) == small


def test_with_the_ladder_an_adaptive_search_overfits_less() -> None:
    """
    A proposer that learns a random set by heart, bit by bit, as Blum and Hardt describe: with every value told it
    gets far ahead of chance on the search set; told only of wins above the noise, it does not.
    """
    chance = random.Random(1)
    items, tries = 200, 300
    answers = [chance.random() < 0.5 for _ in range(items)]

    def score(guess: list[bool]) -> float:
        return sum(a == b for a, b in zip(answers, guess, strict=True)) / items

    def attack(step: float) -> float:
        """Majority vote over the guesses that were told to be above a half; the Ladder tells steps above its best."""
        votes, best = [0] * items, 0.5
        for _ in range(tries):
            guess = [chance.random() < 0.5 for _ in range(items)]
            value = score(guess)
            if step:
                helpful = value >= best + step
                best = value if helpful else best
            else:
                helpful = value > 0.5
            if helpful:
                votes = [v + (1 if g else -1) for v, g in zip(votes, guess, strict=True)]
        return score([v > 0 for v in votes])

    assert attack(step=0.0) > 0.75
    assert attack(step=items**-0.5) < 0.65


def test_an_event_of_acceptance_is_folded_alike_whenever_it_is_read(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(1))
    live = play(folder)
    with log.Log(session.journal(folder)) as journal:
        journal.append(TrialAccepted(trial=1))
        live.apply(TrialAccepted(trial=1))
        assert journal.state.stale == live.stale == {1: None}
        assert journal.state.counts == live.counts == {"stale": 1}
