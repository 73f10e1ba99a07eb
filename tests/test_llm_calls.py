"""Calls to models that fail, wait, fall back, cost money and are stopped: a real server and the whole loop."""

import gzip
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import PYTHON, Recorder, autoresearch, eventually, make_study, play, started, state_of, words
from modelserver import CLAUDE, NAME, Answer, ModelServer, Request, fails, says, serving, step
from test_llm import GREEDY, calls, ended, study, why

from autoresearch import check
from autoresearch.errors import StudyError
from autoresearch.events import SessionEnded
from autoresearch.propose.calls import pause_s, span
from autoresearch.propose.making import Tried
from autoresearch.propose.model import CallFailed, Model, Question

CALL = {"call": 0.10}
CLAUDE_SAYS = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


# -- what can go wrong between here and there ------------------------------------------------------------

# What the server does, and whether it may have cost money.
FAULTS: dict[str, tuple[Answer, bool]] = {
    "500": (fails(500), False),
    "503 with a page in HTML": (Answer(status=503, raw=b"<html>Service Unavailable</html>"), False),
    "overloaded": (Answer(status=529, error=CLAUDE_SAYS), False),
    "429 with a time": (fails(429, "slow down", "rate_limit_exceeded", Retry_After="1"), False),
    "cut off in the middle": (says(step(3), only=200), True),
    "cut off before the first byte": (says(step(3), only=0), True),
    "no JSON around the answer": (Answer(raw=b'{"id": "chatcmpl-1", "choi'), True),
    "JSON that is something else": (Answer(raw=b'{"hello": "world"}'), True),
    "a page in HTML": (Answer(raw=b"<html>Log in to this network</html>"), True),
    "50 MB of words": (says("x" * (50 << 20)), True),
    "64 MB, packed": (Answer(raw=gzip.compress(bytes(64 << 20)), headers={"Content-Encoding": "gzip"}), True),
}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_loop_goes_on_whatever_a_server_does(tmp_path: Path, workers: int) -> None:
    """Each row in one study; a good answer comes after it, and what may have cost money is charged."""
    lines: list[Answer] = []
    for number, (fault, _) in enumerate(FAULTS.values()):
        lines += [fault, says(step(11 + number))]
    with serving(*lines) as server:
        folder = study(
            tmp_path / "s",
            server,
            trials=len(FAULTS),
            execute={"workers": workers},
            propose={"price": CALL, "repairs": 20},  # a worker may meet all of them
        )
        play(folder)

    state = state_of(folder)
    assert words(state) == ["discard"] * len(FAULTS)
    assert len(server.requests) == len(lines)
    charged = calls(folder)
    assert len(charged) == len(FAULTS) + sum(is_charged for _, is_charged in FAULTS.values())
    assert state.dollars == pytest.approx(0.10 * len(charged))
    assert state.tokens > 0


def test_a_model_that_takes_too_long_is_charged_and_asked_again(tmp_path: Path) -> None:
    with serving(says(step(3), after_s=60.0), says(step(9))) as server:
        folder = study(tmp_path / "s", server, propose={"timeout_s": 3, "price": CALL, "repairs": 20})
        play(folder)

    state = state_of(folder)
    assert words(state) == ["keep"]
    assert state.trials[1].memo["repairs"] >= 1
    assert state.dollars == pytest.approx(0.10 * len(server.requests))
    assert calls(folder)[0]["wall_s"] >= 3


ENDS: dict[str, tuple[Answer, str]] = {
    "a key that is refused": (fails(401, "Incorrect API key provided", "invalid_api_key"), "it does not take the key"),
    "a model that does not exist": (fails(404, "no model stub-1", "model_not_found"), "there is no such model"),
    "no credit": (fails(429, "You exceeded your quota", "insufficient_quota"), "no credit left"),
    "a wait beyond patience": (fails(429, "slow down", Retry_After="7200"), "not waited for longer than 1 h"),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_model_that_cannot_be_had_ends_the_session_with_the_reason(tmp_path: Path, name: str) -> None:
    answer, reason = ENDS[name]
    with serving(answer) as server:
        folder = study(tmp_path / "s", server, propose={"patience_hours": 1})
        recorder = Recorder()
        play(folder, recorder)

    assert reason in ended(recorder)
    assert ended(recorder).startswith(f"{NAME} at {server.address}: ")
    assert words(state_of(folder)) == []
    assert calls(folder) == []
    assert len(server.requests) == 1


def test_a_question_that_is_not_taken_costs_a_trial(tmp_path: Path) -> None:
    too_long = fails(400, "maximum context length is 8192 tokens", "context_length_exceeded")
    with serving(too_long, says(step(9))) as server:
        folder = study(tmp_path / "s", server, trials=2)
        play(folder)

    state = state_of(folder)
    assert words(state) == ["rejected", "keep"]
    assert "it does not take the question: " in why(state, 1)
    assert "8192" in why(state, 1)


def test_a_server_that_knows_no_schemas_is_told_in_words(tmp_path: Path) -> None:
    def answer(request: Request) -> Answer:
        if "response_format" in request.body or "tools" in request.body:
            return fails(400, "unknown field: response_format")
        return says("Here you are:\n```json\n" + json.dumps(step(8 - len(server.requests))) + "\n```\nGood luck!")

    with serving(answer) as server:
        folder = study(tmp_path / "s", server, trials=2)
        play(folder)

    assert words(state_of(folder)) == ["keep", "keep"]
    assert len(server.requests) == 3, "it is not asked for a schema a second time"
    assert "additionalProperties" in json.dumps(server.requests[1].body["messages"])


@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")  # no model is sold for ever
def test_anthropic_s_format_is_spoken_and_priced_by_the_table(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("MY_KEY", "sk-ant-of-the-person")
    limited = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    lines = [
        Answer(status=429, error=limited, headers={"retry-after": "1"}),
        Answer(status=529, error=CLAUDE_SAYS),
        says(step(3), only=200),
        says("I cannot.", tokens=(1000, 1000)),
        says(step(9), tokens=(1_000_000, 1000)),
    ]
    with serving(*lines) as server:
        folder = study(tmp_path / "s", server, propose={"model": CLAUDE, "address": server.root, "key": "MY_KEY"})
        play(folder)

    state = state_of(folder)
    assert words(state) == ["keep"]
    assert state.trials[1].memo["repairs"] == 1
    assert {request.path for request in server.requests} == {"/v1/messages"}
    assert "sk-ant-of-the-person" in json.dumps(server.requests[0].headers)
    cut, refusal, answer = calls(folder)
    assert (answer["input_tokens"], answer["output_tokens"]) == (1_000_000, 1000)
    assert answer["dollars"] > 1 > refusal["dollars"] > 0, "a million tokens of this model cost some dollars"
    assert cut["dollars"] > 0


def test_a_model_whose_server_tells_no_usage_is_charged_by_length(tmp_path: Path) -> None:
    with serving(says(step(9), tokens=None)) as server:
        folder = study(tmp_path / "s", server, propose={"price": {"input": 1000.0}})
        play(folder)

    spent = state_of(folder).charged["llm"]
    assert spent.input_tokens > 100
    assert spent.output_tokens > 10
    assert spent.dollars == pytest.approx(spent.input_tokens / 1000)


def test_pauses_double_and_a_server_is_believed_a_few_times() -> None:
    assert [pause_s("trouble", tries, None) for tries in (1, 2, 3, 9, 10, 10**6)] == [1, 2, 4, 256, 300, 300]
    assert [pause_s("limited", tries, None) for tries in (1, 2, 8, 9)] == [5, 10, 640, 900]
    assert [pause_s("limited", tries, 1.5) for tries in (1, 5, 6)] == [1.5, 1.5, 160]
    assert pause_s("limited", 9, 3000.0) == 3000
    assert {pause_s("limited", 1, told) for told in (float("nan"), float("inf"), -1.0)} == {5}
    assert [span(seconds) for seconds in (1.5, 90, 7200)] == ["1.5 s", "1.5 min", "2 h"]


# -- others ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [fails(401), fails(404), fails(429, Retry_After="3000"), fails(400, "too long")])
def test_another_model_is_asked_where_the_first_cannot_be_had(tmp_path: Path, monkeypatch: Any, first: Answer) -> None:
    with serving(first) as server, serving(says(step(9)), says(step(8))) as other:
        monkeypatch.setenv("OLLAMA_BASE_URL", other.address)
        folder = study(tmp_path / "s", server, trials=2, propose={"fallback": ["ollama:small"]})
        recorder = Recorder()
        play(folder, recorder)

    state = state_of(folder)
    assert words(state) == ["keep", "keep"]
    assert {trial.memo["model"] for trial in list(state.trials.values())[1:]} == {"ollama:small"}
    assert {call["model"] for call in calls(folder)} == {"ollama:small"}
    waits = first.status == 429
    assert len(server.requests) == (2 if first.status == 400 else 1)
    assert any("Asking again at" in said if waits else "Asking another model" in said for said in recorder.said) or (
        first.status == 400
    )


# -- what it may cost ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
def test_ten_calls_at_ten_cents_are_all_that_one_dollar_buys(tmp_path: Path, workers: int) -> None:
    with serving(lambda request: says(step(100 + len(server.requests)), after_s=0.05)) as server:
        folder = study(
            tmp_path / "s",
            server,
            budget={"dollars": 1.00, "trials": 50},
            propose={"price": CALL},
            execute={"workers": workers},
        )
        recorder = Recorder()
        play(folder, recorder)
        play(folder, recorder)

    state = state_of(folder)
    assert len(server.requests) == len(calls(folder)) == 10
    assert state.dollars == pytest.approx(1.00)
    assert words(state) == ["discard"] * 10, "what runs is finished"
    reason = "the cap of $1.00 (budget.dollars) is reached: 10 calls cost $1.00"
    assert [e.why for e in recorder.events if isinstance(e, SessionEnded)] == [reason, reason]
    assert f"Ended: {reason}." in recorder.said


def test_repairs_count_towards_the_cap(tmp_path: Path) -> None:
    with serving(says("no")) as server:
        folder = study(tmp_path / "s", server, budget={"dollars": 0.35, "trials": 9}, propose={"price": CALL})
        recorder = Recorder()
        play(folder, recorder)

    state = state_of(folder)
    assert len(server.requests) == 3
    assert words(state) == ["rejected"]
    assert ended(recorder) == (
        "the cap of $0.35 (budget.dollars) leaves no room for another call: 3 calls cost $0.30, and one costs about $0.10"
    )


def test_a_cap_in_the_middle_of_repairs_costs_the_trial_and_ends_the_session(tmp_path: Path) -> None:
    with serving(says("no")) as server:
        folder = study(tmp_path / "s", server, budget={"dollars": 0.20, "trials": 9}, propose={"price": CALL})
        recorder = Recorder()
        play(folder, recorder)

    state = state_of(folder)
    assert len(server.requests) == 2
    assert "it was not asked again: the cap of $0.20 (budget.dollars) is reached" in why(state, 1)
    assert ended(recorder) == "the cap of $0.20 (budget.dollars) is reached: 2 calls cost $0.20"


@pytest.mark.parametrize("workers", [1, 3])
def test_a_cap_in_tokens_is_kept_to(tmp_path: Path, workers: int) -> None:
    with serving(lambda request: says(step(100 + len(server.requests)), tokens=(900, 100), after_s=0.05)) as server:
        folder = study(tmp_path / "s", server, budget={"tokens": 5000, "trials": 50}, execute={"workers": workers})
        recorder = Recorder()
        play(folder, recorder)

    state = state_of(folder)
    assert 2 <= len(server.requests) <= 5
    assert state.tokens == 1000 * len(server.requests)
    assert "of 5,000 tokens (budget.tokens)" in ended(recorder)


def test_a_cap_needs_a_price(tmp_path: Path) -> None:
    with serving(says(step(9))) as server:
        folder = study(tmp_path / "s", server, budget={"dollars": 1.0, "trials": 1})
        with pytest.raises(StudyError, match=r"nobody knows the price of openai-chat:stub-1: add `price = "):
            play(folder)
    assert server.requests == []


# -- stopping --------------------------------------------------------------------------------------------


def test_a_wait_ends_with_the_hours_of_the_session(tmp_path: Path) -> None:
    with serving(fails(429, "slow down", Retry_After="3000")) as server:
        folder = study(tmp_path / "s", server, budget={"hours": 2 / 3600})
        recorder = Recorder()
        play(folder, recorder)

    assert ended(recorder) == "the budget is spent"
    assert sum("Asking again at" in said for said in recorder.said) == 1
    assert words(state_of(folder)) == []


@pytest.mark.parametrize(("line", "signals"), [(fails(429, Retry_After="3000"), 1), (says(step(9), after_s=60), 2)])
def test_ctrl_c_does_not_wait_for_a_model(tmp_path: Path, line: Answer, signals: int) -> None:
    """Once is enough where it waits to ask again; twice where it has asked. The call is charged, and nothing is lost."""
    with serving(line) as server:
        folder = study(tmp_path / "s", server, propose={"price": CALL})
        with started("run", "--json", cwd=folder) as process:
            assert eventually(lambda: len(server.requests) == 1, within_s=60)
            time.sleep(0.5)
            for _ in range(signals):
                process.send_signal(signal.SIGINT)
                time.sleep(0.3)
            process.wait(timeout=30)

    assert process.returncode == 0
    assert len(calls(folder)) == signals - 1
    state = state_of(folder)
    assert words(state) == []
    assert state.session is None, "it ended of its own accord"


# -- keys ------------------------------------------------------------------------------------------------


def test_a_key_is_sent_to_its_model_and_never_written_down(tmp_path: Path, monkeypatch: Any) -> None:
    secret = "sk-of-the-person-1234567890"
    monkeypatch.setenv("MODEL_KEY", secret)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-somebody-else")

    def answer(request: Request) -> Answer:
        said = f"Incorrect API key provided: {request.headers['authorization']}. Also {'sk-for-somebody-else'}"
        return fails(401, said, "invalid_api_key")

    with serving(answer) as server:
        folder = study(tmp_path / "s", server, propose={"key": "MODEL_KEY"})
        recorder = Recorder()
        play(folder, recorder)

    assert server.requests[0].headers["authorization"] == f"Bearer {secret}"
    assert "Incorrect API key provided: Bearer ***. Also ***" in ended(recorder)
    written = [path.read_bytes() for path in (folder / ".autoresearch").rglob("*") if path.is_file()]
    assert not any(b"sk-" in content for content in written)


@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")
def test_the_usual_key_of_a_provider_goes_to_no_other_address(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-somebody-else")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-for-somebody-else")
    with serving(says(step(9))) as server:
        play(study(tmp_path / "a", server))
        play(study(tmp_path / "b", server, propose={"model": CLAUDE, "address": server.root}))

    assert len(server.requests) == 2
    assert all("somebody-else" not in json.dumps(request.headers) for request in server.requests)


# -- check -----------------------------------------------------------------------------------------------


def tried(folder: Path) -> Tried:
    [found] = check.check(folder, Recorder(), most=1).proposers
    return found


def test_check_asks_a_model_once_and_says_how_fast_and_at_what_price(tmp_path: Path) -> None:
    with serving(says({"ready": True}, tokens=(40, 10))) as server:
        folder = study(tmp_path / "s", server, propose={"price": {"input": 100.0, "output": 100.0}})
        found = tried(folder)

    assert (found.name, found.works) == ("llm", True)
    assert f"{NAME} at {server.address} answered in 0." in found.says
    assert found.says.endswith(" s, 50 tokens, for $0.0050")
    assert len(server.requests) == 1


def test_check_says_what_a_model_needs(tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with serving(fails(404, "no model stub-1")) as server:
        asked: dict[str, tuple[dict[str, Any], str]] = {
            "no model": ({"model": NAME}, "AUTORESEARCH_MODEL"),
            "no key": ({"model": CLAUDE}, "export ANTHROPIC_API_KEY=..."),
            "no key, named": ({"model": NAME, "key": "NOT_SET"}, "propose.key names NOT_SET"),
            "no provider": ({"model": "nobody:x"}, "nobody"),
            "no such model": ({"model": NAME, "address": server.address}, "there is no such model"),
            "no server": ({"model": NAME, "address": "http://127.0.0.1:9/v1"}, "it cannot be reached"),
            "no package": ({"model": "groq:x"}, "groq"),
        }
        for name, (propose, expected) in asked.items():
            table = {"with": ["llm"]} | (propose if name != "no model" else {})
            folder = make_study(tmp_path / name.replace(" ", "-"), propose=table, decide=GREEDY)
            found = tried(folder)
            assert (found.works, expected in found.says) == (False, True), found.says


def test_a_model_may_be_named_by_the_environment(tmp_path: Path) -> None:
    with serving(says(step(9))) as server:
        folder = make_study(tmp_path / "s", propose={"with": ["llm"], "address": server.address}, decide=GREEDY)
        done = autoresearch("run", "--trials", "1", cwd=folder, env={"AUTORESEARCH_MODEL": NAME})
    assert done.returncode == 0, done.stderr
    assert state_of(folder).trials[1].memo["model"] == NAME


def test_without_the_extra_it_is_said_what_to_type(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "s", propose={"with": ["llm"], "model": NAME})
    code = "import sys; sys.modules['pydantic_ai'] = None; from autoresearch.cli import main; main(['run'])"
    done = subprocess.run([PYTHON, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'autoresearch[llm]'" in done.stderr


def test_a_script_that_fails_is_a_test_that_fails() -> None:
    server = ModelServer([lambda request: says(str(1 / 0))])
    with pytest.raises(CallFailed):
        Model(NAME, server.address).ask(Question("", ("x",), {"type": "object"}, 10), 5)
    server.close()
    assert isinstance(server.problem, ZeroDivisionError)
