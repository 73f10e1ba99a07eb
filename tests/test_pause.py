"""Pause, resume and stop: what a person asks of a running study from another terminal, and what a kill does to it."""

import json
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers import Recorder, alive, eventually, make_study, play, says, started, state_of, step, words

from autoresearch import session
from autoresearch.cli import main
from autoresearch.inbox import Inbox
from autoresearch.session import Goal
from autoresearch.workspace import HOME

WAIT_S = 20.0


def gated(folder: Path, value: object) -> dict[str, object]:
    """A step whose run goes on once the file of its name is there."""
    gate = f"{folder.parent}/go-{value}"
    return step(f"while [ ! -e {gate} ]; do sleep 0.02; done\necho METRIC loss={value}\n", f"wait for {value}")


def let(folder: Path, value: object) -> None:
    (folder.parent / f"go-{value}").touch()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "study"
    return make_study(made, gated(made, 9), gated(made, 8), gated(made, 7))


def call(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def runs_trial(folder: Path, number: int) -> bool:
    state = state_of(folder)
    return any(state.runs[i].trial == number for i in state.open_runs)


def test_a_paused_study_finishes_what_runs_and_starts_nothing_until_it_is_resumed(folder: Path) -> None:
    with started("run", cwd=folder) as process:
        assert eventually(lambda: runs_trial(folder, 1), WAIT_S)
        assert "no new trial is started (running trials are finished)" in call("pause", "-C", folder).output
        let(folder, 9)
        let(folder, 8)
        assert eventually(lambda: words(state_of(folder)) == ["keep"], WAIT_S)
        assert not eventually(lambda: len(state_of(folder).trials) > 2, 1.5)

        assert call("resume", "-C", folder).output == "Resumed.\n"
        assert eventually(lambda: words(state_of(folder))[:2] == ["keep", "keep"], WAIT_S)
        let(folder, 7)
        assert process.wait(WAIT_S) == 0
        assert "paused: no new trial until" in (process.stdout.read() if process.stdout else "")
    assert words(state_of(folder)) == ["keep", "keep", "keep"]


def test_a_kill_keeps_the_pause(folder: Path) -> None:
    call("pause", "-C", folder)
    for number in (8, 9, 7):
        let(folder, number)
    with started("run", cwd=folder) as process:
        assert eventually(lambda: state_of(folder).session is not None, WAIT_S)
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT_S)
    with started("run", cwd=folder) as process:
        assert not eventually(lambda: bool(state_of(folder).trials), 1.5)
        call("resume", "-C", folder)
        assert process.wait(WAIT_S) == 0
    assert words(state_of(folder)) == ["keep", "keep", "keep"]


def test_stop_is_as_one_interrupt_also_while_paused(folder: Path) -> None:
    with started("run", cwd=folder) as process:
        assert eventually(lambda: runs_trial(folder, 1), WAIT_S)
        assert f"Process {process.pid} stops when the running trials are done" in call("stop", "-C", folder).output
        assert not eventually(lambda: not alive(process.pid), 1.0)
        let(folder, 9)
        assert process.wait(WAIT_S) == 0
    assert words(state_of(folder)) == ["keep"]
    call("pause", "-C", folder)
    with started("run", cwd=folder) as process:
        assert eventually(lambda: state_of(folder).session is not None, WAIT_S)
        call("stop", "-C", folder)
        assert process.wait(WAIT_S) == 0
    assert len(words(state_of(folder))) == 1


def test_a_wish_to_stop_that_nobody_heard_ends_no_later_session(folder: Path) -> None:
    for number in (8, 9, 7):
        let(folder, number)
    Inbox(folder / HOME).ask_to_stop()
    assert words(play(folder)) == ["keep", "keep", "keep"]


def test_an_idea_of_ones_own_is_tried_while_the_study_is_paused(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study", says(9))
    play(folder)
    Inbox(folder / HOME).pause()
    patch = "--- a/step.sh\n+++ b/step.sh\n@@ -1 +1 @@\n-echo METRIC loss=9\n+echo METRIC loss=3\n"
    done = CliRunner().invoke(main, ["try", "three", "--patch", "-", "-C", str(folder)], input=patch)
    assert done.exit_code == 0, done.output
    assert words(state_of(folder)) == ["keep", "keep"]
    assert Inbox(folder / HOME).paused


class Resuming(Recorder):
    """Resumes as soon as it hears of the pause."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def say(self, sentence: str) -> None:
        super().say(sentence)
        Inbox(self.folder / HOME).resume()


def test_a_paused_session_says_so(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study", says(9))
    Inbox(session.make_home(folder)).pause()
    recorder = Resuming(folder)
    session.run(folder, Goal(), recorder)
    assert recorder.said[0].startswith("paused: no new trial until")
    assert "resumed" in recorder.said


def test_status_tells_of_a_pause(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study", says(9))
    play(folder)
    assert "paused" not in call("status", "-C", folder).output
    call("pause", "-C", folder)
    assert "not running, paused: `autoresearch resume`" in call("status", "-C", folder).output
    assert json.loads(call("status", "-C", folder, "--json").output)["paused"] is True


@pytest.mark.parametrize(("command", "words"), [("resume", "the study is not paused"), ("stop", "nothing to stop")])
def test_what_there_is_nothing_to_do_about_is_an_error(tmp_path: Path, command: str, words: str) -> None:
    done = call(command, "-C", make_study(tmp_path / "study"))
    assert done.exit_code == 2
    assert words in done.output
