"""Who is told of what, and that telling can never harm a study. Messages go to a real web server on loopback."""

import contextlib
import datetime
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import PYTHON, History, Recorder, autoresearch, make_study, play, says, words
from hypothesis import given
from hypothesis import strategies as st

from autoresearch import events as ev
from autoresearch.errors import MissingExtra, StudyError
from autoresearch.study import Stop, parse
from autoresearch.tell import listening
from autoresearch.tell.settings import Tell
from autoresearch.tell.words import Watch, failed
from autoresearch.tell.worker import Worker

needs_apprise = pytest.mark.usefixtures("apprise")


@pytest.fixture
def apprise() -> None:
    pytest.importorskip("apprise", reason="apprise is not installed: the extra notify")


class Post(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(json.loads(data))  # type: ignore[attr-defined]
        self.send_response(self.server.answer)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@contextlib.contextmanager
def webhook(answer: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its Apprise address, and what it got so far."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Post)
    server.got, server.answer = [], answer  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"json://127.0.0.1:{server.server_port}/hidden-token", server.got  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


# -- a study that tells ----------------------------------------------------------------------------------


@needs_apprise
def test_a_webhook_hears_of_each_best_and_of_the_end(tmp_path: Path) -> None:
    with webhook() as (address, got):
        os.environ["NIGHT_HOOK"] = address
        try:
            idea = "better \x1b[31m" + "x" * 900
            folder = make_study(
                tmp_path, says(9, idea), says(11), says(12), tell={"to": ["$NIGHT_HOOK"], "stuck_after": 2}
            )
            play(folder)
        finally:
            del os.environ["NIGHT_HOOK"]
    titles = [message["title"] for message in got]
    assert titles == [
        "s: new best loss 9, 1 better",
        "s: no keep in 2 trials",
        "s ended: the script has no further proposal",
    ]
    assert len(got[0]["message"]) < 250
    assert got[0]["message"].isprintable()
    assert "loss went from 10 to 9" in got[2]["message"]
    for path in (folder / ".autoresearch").rglob("*"):
        assert not path.is_file() or b"hidden-token" not in path.read_bytes(), path


@needs_apprise
def test_only_what_was_asked_for_is_told_and_an_error_is(tmp_path: Path) -> None:
    with webhook() as (address, got):
        folder = make_study(tmp_path, says(9), start="exit 3\n", tell={"to": [address], "on": ["error"]})
        with pytest.raises(Exception, match="cannot be measured"):
            play(folder)
    assert [message["title"] for message in got] == ["s stopped with an error"]
    assert "the unchanged code cannot be measured" in got[0]["message"]


@needs_apprise
def test_an_address_that_fails_is_said_once_by_its_place_and_stops_nothing(tmp_path: Path) -> None:
    with webhook(500) as (address, got), webhook() as (good, told):
        folder = make_study(tmp_path, says(9), says(8), tell={"to": [good, address]})
        done = autoresearch("run", cwd=folder)
    assert done.returncode == 0
    assert len(told) == len(got) == 3
    everything = done.stdout + done.stderr
    assert everything.count("notifications: entry 2 of tell.to did not take a message") == 1
    assert "hidden-token" not in everything


@needs_apprise
def test_nobody_is_told_across_the_screen_where_an_address_is_gone(tmp_path: Path) -> None:
    with webhook() as (address, _):
        pass
    folder = make_study(tmp_path, says(9), tell={"to": [address]})
    recorder = Recorder()
    assert words(play(folder, recorder)) == ["keep"]
    assert sum("entry 1 of tell.to" in sentence for sentence in recorder.said) == 1


@needs_apprise
def test_the_test_message_says_who_took_it(tmp_path: Path) -> None:
    with webhook() as (good, told), webhook(403) as (bad, _):
        folder = make_study(tmp_path, tell={"to": [good, "$NIGHT_HOOK"]})
        done = autoresearch("tell", cwd=folder, env={"NIGHT_HOOK": bad})
    assert (done.returncode, done.stdout) == (2, "entry 1: sent\nentry 2: not taken\n")
    assert told[0]["title"] == "s: a test"
    assert "hidden-token" not in done.stderr
    assert "tell.to names $NIGHT_HOOK, which is not set" in autoresearch("tell", cwd=folder).stderr


@needs_apprise
def test_an_address_that_is_none_is_named_by_its_place_before_anything_runs(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), tell={"to": ["nonsense://secret-word"]})
    with pytest.raises(StudyError, match=r"entry 1 of tell\.to") as caught:
        play(folder)
    assert "secret-word" not in str(caught.value)
    assert not (folder / ".autoresearch").exists()


def test_without_apprise_the_line_to_type_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    with pytest.raises(MissingExtra, match=r"pip install 'autoresearch\[notify\]'"):
        listening.Sender(Tell(to=["json://localhost"]))


# -- quiet hours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quiet", "hour", "is_quiet"),
    [
        ("22:00-07:00", 23, True),
        ("22:00-07:00", 3, True),
        ("22:00-07:00", 7, False),
        ("22:00-07:00", 12, False),
        ("09:30-17:00", 9, False),
        ("09:30-17:00", 16, True),
        ("09:30-17:00", 17, False),
        (None, 3, False),
    ],
)
def test_quiet_hours_may_go_over_midnight(quiet: str | None, hour: int, is_quiet: bool) -> None:
    assert Tell(quiet=quiet).is_quiet(datetime.datetime(2026, 1, 1, hour, 0)) is is_quiet  # noqa: DTZ001


@needs_apprise
def test_what_is_held_back_in_quiet_hours_comes_as_one(tmp_path: Path) -> None:
    with webhook() as (address, got):
        all_day = [f"{(datetime.datetime.now().hour + add) % 24:02d}:00" for add in (0, 2)]  # noqa: DTZ005
        folder = make_study(tmp_path, says(9), says(8), tell={"to": [address], "quiet": "-".join(all_day)})
        play(folder)
    assert [message["title"] for message in got] == ["3 messages of the quiet hours"]
    lines = got[0]["message"].splitlines()
    assert lines[0].startswith("s ended: ")
    assert lines[1].startswith("s: new best loss 8")


# -- what is worth saying --------------------------------------------------------------------------------


def said(past: History, tell: Tell, budget: Stop | None = None) -> list[str]:
    """The titles and bodies that come of a history's events, one after the other."""
    watch, found, state = Watch(tell, budget or Stop()), [], type(past.state)()
    for event in past.events:
        state.apply(event)
        found += [f"{message.on}: {message.body}" for message in watch.see(event, state)]
    return found


def test_stuck_is_said_again_after_as_many_more_and_a_keep_begins_anew() -> None:
    past = History()
    past.baseline(10.0)
    for word in "ddddkddd":
        trial = past.tried(9.0)
        past.decide(trial, "keep" if word == "k" else "discard", 9.0)
    kinds = [line.partition(":")[0] for line in said(past, Tell(stuck_after=2))]
    assert kinds == ["stuck", "stuck", "best", "stuck"]


def test_a_budget_is_said_once_when_nine_tenths_are_spent() -> None:
    past = History()
    past.baseline(10.0)
    for i in range(20):
        past.happen(ev.Charged(trial=i, by="llm", dollars=0.25, input_tokens=10))
        past.decide(past.tried(11.0), "discard", 11.0)
    found = said(past, Tell(stuck_after=99), Stop(trials=20, dollars=2.5, tokens=1000))
    assert found == ["budget: 2.25 of 2.5 dollars", "budget: 18 of 20 trials"]


def test_an_error_is_bounded_and_plain() -> None:
    message = failed(History().state, "\x1b[2J" + "long\n" * 500)
    assert message.body.isprintable()
    assert len(message.body) <= 300


# -- the worker ------------------------------------------------------------------------------------------


def test_a_worker_says_each_failure_once_and_goes_on() -> None:
    heard: list[str] = []
    worker = Worker("w", heard.append)
    for _ in range(3):
        worker.do(lambda: str(1 / 0))
        worker.do(lambda: "a")
    done = threading.Event()
    worker.do(lambda: done.set() or "")  # type: ignore[func-returns-value]
    worker.close()
    assert done.is_set()
    assert heard == ["w: failed (ZeroDivisionError); the study goes on", "a"]


def test_a_worker_that_hangs_holds_up_nobody_and_is_given_up_on() -> None:
    heard: list[str] = []
    worker, go = Worker("w", heard.append), threading.Event()
    worker.do(lambda: "" if go.wait(60) else "never")
    for _ in range(1500):
        worker.do(lambda: "")
    worker.close(within_s=0.1)
    assert heard == ["w: too slow; some of it was left out", "w: gave up after 0 s; the rest was left out"]
    go.set()


# -- a mirror --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mlflow", "wandb"])
def test_a_mirror_holds_what_an_export_would(tmp_path: Path, kind: str) -> None:
    pytest.importorskip(kind, reason=f"{kind} is not installed: the extra {kind}")
    folder = make_study(tmp_path / "s", says(9, "first"), says(8, "second"), tell={"mirror": f"{kind}:../there"})
    for trials in ("1", "9"):
        done = subprocess.run(
            [PYTHON, "-m", "autoresearch", "run", "--trials", trials],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "mirror" not in done.stdout
        assert done.stderr == ""
    look = MLFLOW if kind == "mlflow" else WANDB
    done = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", look, str(tmp_path / "there")], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["keep keep keep"], done.stderr


MLFLOW = """
import sys
from mlflow.tracking import MlflowClient
client = MlflowClient(tracking_uri=f"sqlite:///{sys.argv[1]}")
(experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
runs = client.search_runs([experiment.experiment_id])
print(*(run.data.tags["verdict"] for run in runs))
"""
WANDB = f"""
import json, pathlib, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_export import wandb_records
from wandb.proto.wandb_internal_pb2 import Record
(path,) = pathlib.Path(sys.argv[1]).glob("wandb/offline-run-*/*.wandb")
words = []
for data in wandb_records(path.read_bytes()):
    record = Record()
    record.ParseFromString(data)
    words += [json.loads(i.value_json) for i in record.history.item if (i.key or i.nested_key[0]) == "verdict"]
print(*words)
"""


def test_a_mirror_that_is_gone_is_said_once_and_the_study_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: the extra wandb")
    folder = make_study(tmp_path / "s", says(9), tell={"mirror": "wandb:study.toml/x"})
    recorder = Recorder()
    assert words(play(folder, recorder)) == ["keep"]
    assert sum("mirror to wandb: failed" in sentence for sentence in recorder.said) == 1


# -- the table in study.toml -----------------------------------------------------------------------------

PART = 'name = "s"\nasset = ["a"]\n[metric]\nname = "m"\n[measure]\nrun = "a"\n[tell]\n'


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('quiet = "22-7"', "two times of the day"),
        ('to = ["my phone secret"]', "no address"),
        ('to = ["$my phone secret"]', "no name of a variable"),
        ("stuck_after = 0", "stuck_after must be positive"),
        ('on = ["never"]', "tell.on"),
        ('mirror = "aim:x"', "mlflow:ADDRESS"),
        ('quite = "22:00-07:00"', "did you mean 'quiet'"),
    ],
)
def test_a_mistake_is_named_without_the_secret(line: str, problem: str) -> None:
    with pytest.raises(StudyError, match=problem) as caught:
        parse(PART + line)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=20))
def test_any_text_for_quiet_is_hours_or_an_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        Tell(quiet=text).is_quiet(datetime.datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_study_that_tells_nobody_needs_no_listener_beside(tmp_path: Path) -> None:
    recorder = Recorder()
    with listening.told(tmp_path, Tell(), Stop(), None, recorder) as listener:
        assert listener is recorder
