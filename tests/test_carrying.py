"""Winners that raced each other: together first, and each by itself where that was no gain."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from asking import cards
from helpers import History, Recorder, commit, git, histories, make_study, write
from hypothesis import given

from autoresearch import again, carrying, session
from autoresearch.errors import ProposerError
from autoresearch.events import Event
from autoresearch.policy import unless_moved
from autoresearch.session import Goal
from autoresearch.state import State
from autoresearch.study import load
from autoresearch.trial import Trial, Verdict, Word
from autoresearch.workspace import Tree, Workspace

# All three begin before the first ends, or wait for its slot; which of them ends first is chance.
WAIT = "sleep $(cat part/* | awk '{s += $1 * (NR == 2 ? 1 : 2)} END {print s < 3 ? s : 0}'); "


def race(folder: Path, monkeypatch: pytest.MonkeyPatch, loss: str) -> State:
    """Three trials at once on the start, each a gain by itself."""
    for name, value in cards(folder.parent / "smi", 3).items():
        monkeypatch.setenv(name, value)
    make_study(
        folder,
        start=f"{WAIT}n=$(cat part/* | awk '{{s += $1}} END {{print s}}'); echo METRIC loss=$(({loss}))\n",
        files={f"part/{i}": "0\n" for i in range(4)},
        asset=["part/*"],
        propose={"with": ["ideas:Racers"], "sandbox": "none"},
        decide={"calibrate": 1, "policy": "greedy"},
    )
    return session.run(folder, Goal(workers=3), Recorder())


def stale(trials: Sequence[Trial]) -> list[int]:
    return [trial.id for trial in trials if trial.word == "stale"]


def test_winners_of_one_race_are_measured_together_and_kept_in_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = race(tmp_path / "s", monkeypatch, "100 - n")
    start, *racers, together = state.trials.values()
    assert (start.word, *sorted(trial.word for trial in racers), together.word) == (
        "keep",
        "keep",
        "stale",
        "stale",
        "keep",
    )
    a, b = together.stack
    assert (sorted([a, b]), together.by, together.again) == (stale(racers), carrying.BY, None)
    assert together.idea == f"trials {a} and {b} together: part {a}; part {b}"
    assert len(together.runs) == 1
    assert state.best is not None
    assert state.mean(state.best.tree) == 97
    assert not state.stale


def test_winners_that_spoil_each_other_are_tried_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = race(tmp_path / "s", monkeypatch, "100 - n + 9 * (n > 2)")
    start, *trials = state.trials.values()
    racers, (stack, *alone) = trials[:3], trials[3:]
    assert (start.word, *sorted(trial.word for trial in racers)) == ("keep", "keep", "stale", "stale")
    assert [trial.word for trial in (stack, *alone)] == ["discard", "keep", "rejected"]  # the stack once more
    assert sorted(stack.stack) == stale(racers)
    assert [trial.again for trial in alone] == list(stack.stack)
    assert state.best is not None
    assert state.mean(state.best.tree) == 98


def test_winners_wait_for_others_that_run_on_the_same_base() -> None:
    past = History()
    past.baseline(10.0)
    first, second, third = past.start(), past.start(), past.start()
    for trial in (first, second, third):
        past.propose(trial)
        past.begin_run(trial)
    outcomes: list[tuple[int, float, Word]] = [(first, 9.0, "keep"), (second, 8.0, "stale")]
    for trial, value, word in outcomes:
        past.end_run(past.state.trials[trial].runs[-1], value)
        past.decide(trial, word, value, gain=10 - value)
    assert carrying.next_up(past.state) == ()
    past.end_run(past.state.trials[third].runs[-1], 7.0)
    assert carrying.next_up(past.state) == ()
    past.decide(third, "stale", 7.0, gain=3.0)
    assert carrying.next_up(past.state) == (third, second)
    stack = past.start(stack=(third, second))
    assert carrying.next_up(past.state) == ()
    past.propose(stack)
    past.decide(stack, "stale", 7.0)  # best moved again, and it was better than its base: nothing is known of it
    assert carrying.next_up(past.state) == (third, second)
    stack = past.start(stack=(third, second))
    past.propose(stack)
    past.decide(stack, "crash")
    assert carrying.next_up(past.state) == (third,)


def test_winners_do_not_wait_for_the_last_run_on_their_base_nor_are_they_overtaken() -> None:
    past = History()
    past.baseline(10.0)
    racers = [past.start() for _ in range(5)]
    for trial in racers:
        past.propose(trial)
        past.begin_run(trial)

    def end(trial: int, word: Word) -> None:
        past.end_run(past.state.trials[trial].runs[-1], 8.0)
        past.decide(trial, word, 8.0, gain=2.0)

    end(racers[0], "keep")
    end(racers[1], "stale")
    end(racers[2], "stale")
    assert carrying.next_up(past.state) == ()  # two may yet come
    end(racers[3], "stale")
    assert carrying.next_up(past.state) == tuple(racers[1:4])
    stack, beside = past.start(stack=tuple(racers[1:4])), past.start()
    for trial in (stack, beside):
        past.propose(trial)
        past.begin_run(trial)
    end(racers[4], "stale")
    assert carrying.next_up(past.state) == ()  # the next stack comes after this one
    gain, ours, theirs = Verdict("keep", "", 7.0, 8.0, 1.0), past.state.trials[beside], past.state.trials[stack]
    held = unless_moved(gain, past.state, ours)
    assert (held.word, f"beside trial {stack}" in held.why) == ("stale", True)
    assert unless_moved(gain, past.state, theirs).word == "keep"
    more = Verdict("keep", "", 5.0, 8.0, 3.0)  # than any of those that are carried
    assert unless_moved(more, past.state, ours).word == "keep"


def test_winners_that_set_the_same_constants_come_after_those_that_go_with_the_best() -> None:
    past = History()
    past.baseline(10.0)
    sets = [{"a": 1}, {"a": 2, "b": 1}, {"c": 1}, {"b": 2}]
    trials = [past.start() for _ in sets]
    for trial, values, gain in zip(trials, sets, (3.0, 2.5, 2.0, 1.0), strict=True):
        known = {carrying.CONSTANTS: {name: [0, new] for name, new in values.items()}}
        past.propose(trial, memo=known)
        past.end_run(past.begin_run(trial), 10.0 - gain)
        past.decide(trial, "stale", 10.0 - gain, gain=gain)
    assert carrying.next_up(past.state) == (trials[0], trials[2], trials[1], trials[3])


@given(histories())
def test_what_is_carried_was_stale_and_comes_back_unless_it_was_kept(past: list[Event]) -> None:
    state = State()
    for event in past:
        state.apply(event)
        up = carrying.next_up(state)
        assert set(up) <= set(state.stale)
        assert len(up) < 2 or not state.apart & set(up)
        under_way = {stale for i in state.unfinished for stale in state.trials[i].carries}
        assert not under_way & set(state.stale)
        for trial in state.trials.values():
            if trial.word == "stale" and not trial.stack:
                carried = [t for t in state.trials.values() if trial.id in t.carries and t.verdict]
                done = any(not t.stack or t.word == "keep" for t in carried)
                assert done or trial.id in state.stale or trial.id in under_way


@pytest.fixture
def moved(tmp_path: Path) -> Callable[[str, str, str], str]:
    """What a change of a file, from one text to the next, makes of a third."""

    def carried(before: str, after: str, best: str) -> str:
        folder = make_study(tmp_path / "repo", start=before)
        one = git(folder, "rev-parse", "HEAD").strip()
        write(folder, {"step.sh": after})
        other = commit(folder)
        write(folder, {"step.sh": best})
        here = commit(folder)
        with Workspace(folder, load(folder)).at("x", here, here) as tree:
            tree.carry(one, other, "the change")
            return (tree.path / "step.sh").read_text()

    return carried


def test_a_change_of_a_line_fits_where_its_neighbours_changed(moved: Callable[[str, str, str], str]) -> None:
    assert moved("A=1\nB=1\nC=1\n", "A=1\nB=2\nC=1\n", "A=5\nB=1\nC=5\n") == "A=5\nB=2\nC=5\n"


@pytest.mark.parametrize(
    ("before", "after", "best"),
    [
        ("A=1\nB=1\nC=1\n", "A=1\nB=2\nC=1\n", "A=5\nB=3\nC=5\n"),  # the line itself
        ("A=1\nB=1\nC=1\n", "A=1\nB=1\nmore\nC=1\n", "A=1\nB=5\nC=5\n"),  # nothing says where it belongs
    ],
)
def test_a_change_that_does_not_fit_leaves_all_as_it_was(
    tmp_path: Path, moved: Callable[[str, str, str], str], before: str, after: str, best: str
) -> None:
    with pytest.raises(ProposerError, match="the change does not fit on the new best"):
        moved(before, after, best)
    assert not list((tmp_path / "repo" / ".autoresearch" / "trees").glob("*"))


def test_of_several_changes_those_that_fit_are_made() -> None:
    made = []

    class Fitting(Tree):
        def __init__(self) -> None:
            pass

        def carry(self, before: str, after: str, what: str) -> None:
            if before == "odd":
                raise ProposerError(f"{what} does not fit on the new best")
            made.append(after)

    state = State()
    for n in range(1, 5):
        state.trials[n] = Trial(n, "odd" if n % 2 else "even", "t", commit=f"c{n}")
    stack = Trial(5, "b", "t", stack=(1, 2, 3, 4))
    assert [trial.id for trial in again.carried(Fitting(), state, stack)] == [2, 4]
    assert made == ["c2", "c4"]
    with pytest.raises(ProposerError, match="trial 3 does not fit"):
        again.carried(Fitting(), state, Trial(6, "b", "t", again=3))


def rivals(folder: Path, monkeypatch: pytest.MonkeyPatch, who: str, slots: int) -> State:
    """So many trials at once on the start, that change the same line; the better one takes longer."""
    for name, value in cards(folder.parent / "smi", slots).items():
        monkeypatch.setenv(name, value)
    make_study(
        folder,
        start="eval $(tr -d ' ' < settings.py); sleep $((A - 1)); echo METRIC loss=$((100 - A - B - C))\n",
        files={"settings.py": "A = 1\nB = 1\nC = 1\n"},
        asset=["settings.py"],
        propose={"with": [f"ideas:{who}"], "sandbox": "none"},
        decide={"calibrate": 1, "policy": "greedy"},
    )
    return session.run(folder, Goal(workers=slots), Recorder())


def test_the_better_of_two_changes_of_one_line_wins_although_the_other_was_there_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = rivals(tmp_path / "s", monkeypatch, "Rivals", 3)
    assert state.best is not None
    assert state.mean(state.best.tree) == 94
    assert [trial.word for trial in state.trials.values()][:4] == ["keep", "keep", "stale", "stale"]
    assert state.trials[state.best.trial].carries
    assert len(state.runs) == 4  # what is the same code is not run again
    assert not state.stale


def test_constants_that_were_set_together_are_set_again_where_one_of_them_changed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = rivals(tmp_path / "s", monkeypatch, "Setters", 2)
    assert state.best is not None
    assert state.mean(state.best.tree) == 100 - 3 - 3 - 2
    assert git(tmp_path / "s", "show", f"{state.best.commit}:settings.py") == "A = 3\nB = 3\nC = 2"


def test_what_a_stack_of_constants_sets_is_known() -> None:
    one = Trial(1, "b", "t", by="search", idea="a", memo={"kind": "one", "set": {"a.py:A": [1, 2]}})
    other = Trial(2, "b", "t", by="llm", idea="b", memo={"constants": {"a.py:B": [3, 4]}})
    assert carrying.proposal([one, other]).memo == {"constants": {"a.py:A": [1, 2], "a.py:B": [3, 4]}}
    assert carrying.proposal([one, Trial(3, "b", "t", by="llm", idea="c")]).memo == {}
    for odd in ({"set": 5}, {"constants": 5}, {"constants": {"A": 1}}, {"constants": {"A": [1, 2, 3]}}):
        assert carrying.constants(Trial(4, "b", "t", by="mine", memo=odd)) == {}
