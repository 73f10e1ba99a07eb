"""Runs that go on where they are when the program that began them is gone: counted once, and never done again."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Recorder, eventually, make_study, says, state_of, words

from autoresearch import session
from autoresearch.certify import certify
from autoresearch.errors import LeftRunning
from autoresearch.events import RunFinished
from autoresearch.execute import Hopeless
from autoresearch.execute.local import Local
from autoresearch.session import Goal
from autoresearch.study import Study
from autoresearch.trial import Measurement, Run


class Gone(BaseException):
    """The end of the program, as its workers see it."""


class World:
    """What goes on beside programs: `left` is what became of runs, `begun` those that were begun."""

    def __init__(self) -> None:
        self.last = -1  # the run in which the program ends
        self.left: dict[int, Measurement] = {}
        self.begun: list[int] = []
        self.go_on = threading.Event()
        self.closed = threading.Event()


class Elsewhere(Local):
    world: World

    def run(
        self, run: Run, tree: Path, study: Study, usual: Measurement | None = None, hopeless: Hopeless | None = None
    ) -> Measurement:
        self.world.begun.append(run.id)
        result = super().run(run, tree, study, usual, hopeless)
        if run.id == self.world.last:
            self.world.left[run.id] = result
            raise Gone
        return result

    def attach(self, run: Run, study: Study) -> Callable[[], Measurement] | None:  # type: ignore[override]
        def wait() -> Measurement:
            while not self.world.go_on.wait(0.02):
                if self.world.closed.is_set():
                    raise LeftRunning(str(run.id))
            return self.world.left[run.id]

        return wait if run.id in self.world.left else None

    def close(self) -> None:
        super().close()
        self.world.closed.set()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    def placed(here: Local, *_: object) -> Local:
        world.closed.clear()
        there = Elsewhere.__new__(Elsewhere)
        vars(there).update(vars(here), world=world)
        return there

    monkeypatch.setattr(session, "placed", placed)
    return world


@pytest.mark.parametrize("last", [0, 1, 2])
def test_a_run_that_went_on_is_waited_for_and_not_done_again(world: World, tmp_path: Path, last: int) -> None:
    folder = make_study(tmp_path / "study", *[says(value) for value in (9, 11, 8)])
    world.last = last
    with pytest.raises(Gone):
        session.run(folder, Goal(), Recorder())
    assert list(state_of(folder).open_runs) == [last]
    recorder = Recorder()
    threading.Timer(0.5, world.go_on.set).start()
    state = session.run(folder, Goal(), recorder)
    assert words(state) == ["keep", "discard", "keep"]
    assert state.runs[last].measurement == world.left[last]
    assert "1 run went on meanwhile, and will count" in recorder.said
    assert world.begun == sorted(state.runs), "each run was begun once"
    assert [event.run for event in recorder.events if isinstance(event, RunFinished)].count(last) == 1


def test_a_run_that_is_lost_is_stopped_and_done_again(world: World, tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study", says(9))
    world.last = 1
    with pytest.raises(Gone):
        session.run(folder, Goal(), Recorder())
    world.left.clear()
    state = session.run(folder, Goal(), Recorder())
    assert words(state) == ["keep"]
    assert (lost := state.runs[1].measurement) is not None
    assert (lost.status, lost.why) == ("stopped", "the program was ended during this run")
    assert not state.open_runs


def test_a_session_for_something_else_ends_without_waiting(world: World, tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study", says(9))
    world.last = 1
    with pytest.raises(Gone):
        session.run(folder, Goal(), Recorder())
    with session.opened(folder, Goal(), Recorder()) as lab:
        assert list(lab.log.state.open_runs) == [1]
        world.go_on.set()
        assert eventually(lambda: not lab.log.state.open_runs)
    assert state_of(folder).runs[1].measurement == world.left[1]


def test_a_claim_leaves_a_run_that_goes_on_to_the_next_session(world: World, tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study", *[says(value) for value in (9, 8)])
    world.last = 2
    with pytest.raises(Gone):
        session.run(folder, Goal(), Recorder())
    world.last = -1
    assert certify(folder, 2, True, Recorder()).gain == 1.0
    state = state_of(folder)
    assert list(state.open_runs) == [2]
    assert state.session is None
    world.go_on.set()
    recorder = Recorder()
    state = session.run(folder, Goal(), recorder)
    assert "1 run went on meanwhile, and will count" in recorder.said
    assert words(state) == ["keep", "keep"]
    assert state.runs[2].measurement == world.left[2]
    assert world.begun == sorted(state.runs), "each run was begun once"
