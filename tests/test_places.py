"""Ideas that are had while places are taken: in time, not too many, not on a best that moved, and none lost."""

import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from asking import cards
from helpers import Recorder, make_study
from hypothesis import given
from hypothesis import strategies as st

from autoresearch import places, session
from autoresearch.errors import Stopped
from autoresearch.events import Event, RunFinished, RunStarted, SessionStarted, TrialDecided, TrialProposed
from autoresearch.places import Places
from autoresearch.session import Goal
from autoresearch.state import State
from autoresearch.trial import Trial

PARTS = {f"part/{i}": "0\n" for i in range(10)}
SUM = "sleep 1; echo METRIC loss=$(cat part/* | awk '{s += $1} END {print 100 - s}')\n"


def thinking(folder: Path) -> Path:
    return make_study(
        folder,
        start=SUM,
        files=PARTS,
        asset=["part/*"],
        propose={"with": ["ideas:Thinker"], "sandbox": "none"},
        decide={"calibrate": 1, "policy": "greedy"},
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "SHORT_S", 0.1)


@pytest.mark.usefixtures("quick")
def test_ideas_are_had_while_the_place_is_taken_and_one_run_is_at_a_time(tmp_path: Path) -> None:
    recorder = Recorder()
    state = session.run(thinking(tmp_path), Goal(trials=8, workers=1), recorder)
    running: set[int] = set()
    during = 0
    for event in recorder.events:
        match event:
            case RunStarted():
                assert not running
                running.add(event.run.id)
            case RunFinished():
                running.remove(event.run)
            case TrialProposed() if state.trials[event.trial].again is None:
                during += bool(running)
    own = [t for t in state.trials.values() if t.again is None and not t.is_baseline]
    assert len(own) == 8
    assert during >= 4, "the first is had alone, and its run shows how long runs take"


@pytest.mark.usefixtures("quick")
def test_an_idea_whose_base_was_replaced_meanwhile_is_measured_on_the_new_best(tmp_path: Path) -> None:
    state = session.run(thinking(tmp_path), Goal(trials=8, workers=1), Recorder())
    moved = [t for t in state.trials.values() if t.word == "stale"]
    assert moved
    for trial in moved:
        assert not trial.runs
        assert trial.verdict is not None
        assert "became best before this one ran" in trial.verdict.why
        (again,) = (t for t in state.trials.values() if t.again == trial.id)
        assert again.verdict is not None
    assert state.best is not None
    kept = sum(t.word == "keep" and not t.is_baseline for t in state.trials.values())
    assert kept >= 3
    assert state.mean(state.best.tree) == 100 - kept


@pytest.mark.usefixtures("quick")
def test_what_waits_when_the_study_is_stopped_goes_on_in_the_next_session(tmp_path: Path) -> None:
    class Stopping(Recorder):
        def event(self, event: Event, state: State) -> None:
            if isinstance(event, TrialProposed) and state.open_runs:
                lab.log.stop("enough")

    with session.opened(thinking(tmp_path), Goal(trials=8, workers=1), Stopping()) as lab:
        session.see_through(lab, "done")
        state = lab.log.state
    (waiting,) = state.unfinished
    assert state.trials[waiting].commit is not None
    assert not state.trials[waiting].runs
    assert not state.open_runs
    state = session.run(tmp_path, Goal(trials=1, workers=1), Recorder())
    assert state.trials[waiting].verdict is not None


# -- the rule ------------------------------------------------------------------------------------------


class Desk:
    """Places with a clock that is set by hand, whose workers are threads that wait until they are let go."""

    def __init__(self, room: int) -> None:
        self.now = 0.0
        self.places = Places(room, clock=lambda: self.now)
        self.threads: list[threading.Thread] = []

    def measured(self, thought_s: float, took_s: float) -> None:
        """A trial from idea to verdict."""
        trial = Trial(1, "b", "t", propose_s=thought_s)
        self.places.turn()
        with self.places.taken(trial):
            self.now += took_s
        self.places.leave()

    def begin(self, release: threading.Event, at: threading.Event) -> None:
        """A trial that holds its place until it is released."""

        def hold() -> None:
            self.places.turn()
            with self.places.taken(Trial(2, "b", "t")):
                at.set()
                release.wait()
            self.places.leave()

        thread = threading.Thread(target=hold)
        self.threads.append(thread)
        thread.start()
        assert at.wait(10)


def early_s(room: int, thought_s: float, took_s: float, since_s: float) -> float:
    """For how long it is too early to have the next idea, `since_s` after the last free place was taken."""
    desk, release = Desk(room), threading.Event()
    desk.measured(thought_s, took_s)
    try:
        for _ in range(room):
            desk.begin(release, threading.Event())
        desk.now += since_s
        return desk.places._early_s()
    finally:
        release.set()
        for thread in desk.threads:
            thread.join()


@pytest.mark.parametrize(
    ("room", "thought_s", "took_s", "since_s", "expected"),
    [
        (1, 60.0, 300.0, 0.0, 300 - 78),
        (1, 60.0, 300.0, 222.0, 0.0),
        (1, 60.0, 300.0, 500.0, -78.0),  # longer than any other: it may end at once
        (1, 0.1, 300.0, 290.0, float("inf")),  # nothing to gain
        (1, 2.0, 4.0, 3.0, float("inf")),  # knowing the result is worth more
        (4, 60.0, 300.0, 0.0, 300 - 78),
    ],
)
def test_the_next_idea_is_had_when_a_place_is_about_to_become_free(
    room: int, thought_s: float, took_s: float, since_s: float, expected: float
) -> None:
    assert early_s(room, thought_s, took_s, since_s) == pytest.approx(expected)


def test_what_earlier_sessions_took_is_known_at_the_start(tmp_path: Path) -> None:
    state = session.run(thinking(tmp_path), Goal(trials=3, workers=1), Recorder())
    found = session.lately(state)
    assert len(found) == 3
    assert all(0.5 <= thought < 5 and took >= 1 for thought, took in found)
    held = Places(1)
    held.learn([(60.0, 300.0)])
    assert held._most() == 1


@given(room=st.integers(1, 200), thought_s=st.floats(0, 1e4), took_s=st.floats(0, 1e4))
def test_few_are_ahead_and_none_where_it_gains_nothing(room: int, thought_s: float, took_s: float) -> None:
    desk = Desk(room)
    desk.measured(thought_s, took_s)
    most = desk.places._most()
    assert 0 <= most <= max(1, room // 2, 1)
    assert desk.places.workers == room + max(1, min(room // 2, places.MOST_AHEAD))
    if took_s < places.SHORT_S or thought_s < 0.001 * took_s:
        assert most == 0
    if took_s >= places.SHORT_S and thought_s >= took_s:
        assert most == desk.places.workers - room


def test_who_asked_first_gets_the_place_first() -> None:
    desk, order = Desk(1), []
    with ExitStack() as stack:
        stack.enter_context(desk.places.taken(Trial(0, "b", "t")))

        def ask(number: int) -> None:
            with desk.places.taken(Trial(number, "b", "t")):
                order.append(number)

        for number in (1, 2, 3):
            desk.threads.append(threading.Thread(target=ask, args=(number,)))
            desk.threads[-1].start()
            while len(desk.places._order) < number:
                threading.Event().wait(0.01)
    for thread in desk.threads:
        thread.join()
    assert order == [1, 2, 3]


def test_nobody_waits_for_a_place_in_a_study_that_stops_but_a_free_one_is_taken() -> None:
    stopping = threading.Event()
    held = Places(1, stopping=stopping.is_set)
    stopping.set()
    assert held.turn()
    with held.taken(Trial(1, "b", "t")), pytest.raises(Stopped), held.taken(Trial(2, "b", "t")):
        raise AssertionError("there was no place")


def test_nobody_begins_between_an_error_and_the_end_of_the_study() -> None:
    stopping = threading.Event()
    held, begun = Places(1, stopping=stopping.is_set), threading.Event()

    def next_one() -> None:
        held.turn()
        begun.set()

    with pytest.raises(ValueError, match="broken"), held.taken(Trial(1, "b", "t")):
        raise ValueError("broken")
    thread = threading.Thread(target=next_one)
    thread.start()
    assert not begun.wait(0.2)
    stopping.set()
    thread.join()
    with pytest.raises(Stopped), held.taken(Trial(2, "b", "t")):
        raise AssertionError("there was no place")


def test_of_many_who_wait_nobody_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LOOK_S", 60.0)  # whoever is not woken is not seen to be there
    monkeypatch.setattr(places, "SHORT_S", 0.0)
    held, most, done = 0, 0, 0
    lock = threading.Lock()
    found = Places(3)
    found.learn([(60.0, 60.0)])  # ideas are had ahead

    def work() -> None:
        nonlocal held, most, done
        for number in range(5):
            found.turn()
            with found.taken(Trial(number, "b", "t", propose_s=60.0)):
                with lock:
                    held += 1
                    most = max(most, held)
                time.sleep(0.001)
                with lock:
                    held -= 1
                    done += 1
        found.leave()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert done == 150
    assert most == 3


def test_an_idea_that_came_to_nothing_lets_the_next_begin_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LOOK_S", 60.0)
    found, failed, begun = Places(1), threading.Event(), threading.Event()

    def first() -> None:
        found.turn()
        failed.wait()
        found.turn()  # its idea came to nothing, so it begins with another, behind who waits already
        found.leave()

    def second() -> None:
        found.turn()
        begun.set()
        found.leave()

    threads = [threading.Thread(target=work, daemon=True) for work in (first, second)]
    threads[0].start()
    while not found._ahead:
        time.sleep(0.01)
    threads[1].start()
    assert not begun.wait(0.2)
    failed.set()
    assert begun.wait(10)
    for thread in threads:
        thread.join(10)


def test_the_baseline_takes_all_places_and_trials_begin_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cards(tmp_path / "smi", 4).items():
        monkeypatch.setenv(name, value)
    folder = make_study(
        tmp_path / "s",
        start=SUM,
        files=PARTS,
        asset=["part/*"],
        propose={"with": ["ideas:Gains"], "sandbox": "none"},
        execute={"sandbox": "none", "workers": 4},
        decide={"calibrate": 3},
    )
    recorder = Recorder()
    state = session.run(folder, Goal(trials=2), recorder)
    first, *others = state.trials.values()
    judged = next(i for i, e in enumerate(recorder.events) if isinstance(e, TrialDecided))
    before = [event.run.trial for event in recorder.events[:judged] if isinstance(event, RunStarted)]
    assert sorted(before) == [0, 0, 0, 1]
    assert sorted(state.runs[run].seed_index for run in first.runs) == [0, 1, 2]
    assert recorder.events[judged].trial == 0  # type: ignore[attr-defined]
    assert all(trial.verdict for trial in others)
    under_way = 0
    most = 0
    for event in recorder.events[:judged]:
        under_way += isinstance(event, RunStarted) - isinstance(event, RunFinished)
        most = max(most, under_way)
    assert most == 3


def test_more_workers_than_there_is_room_for_are_told_of_and_not_heeded(tmp_path: Path) -> None:
    recorder = Recorder()
    state = session.run(thinking(tmp_path), Goal(trials=1, workers=1000), recorder)
    assert sum("1000 workers were asked for, and this machine has room for" in said for said in recorder.said) == 1
    started = next(event for event in recorder.events if isinstance(event, SessionStarted))
    assert started.workers <= (os.cpu_count() or 1)
    assert state.decided == 1
