"""A study whose ideas come from a model: a server on loopback answers as providers do, well and badly."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import Recorder, make_study, play, state_of, why, words

from autoresearch.events import SessionEnded
from modelserver import NAME, ModelServer, idea, replace, says, serving, step, write


def study(folder: Path, server: ModelServer, trials: int = 1, **changes: Any) -> Path:
    """The usual study of tests, with a model for its ideas."""
    asked = {"with": ["llm"], "model": NAME, "address": server.address} | changes.pop("propose", {})
    return make_study(folder, propose=asked, **{"budget": {"trials": trials}, **changes})


def test_a_model_s_idea_is_tried_measured_and_charged(tmp_path: Path) -> None:
    answer = step(9, hypothesis="nine is less than ten", expected="1 off the loss")
    with serving(says(answer, tokens=(1200, 80))) as server:
        folder = study(tmp_path / "s", server, propose={"price": {"input": 1.0, "output": 10.0}})
        play(folder)

    state = state_of(folder)
    trial = state.trials[1]
    assert (trial.word, trial.idea, trial.by) == ("keep", "nine is less than ten", "llm")
    assert trial.memo == {"model": NAME, "expected": "1 off the loss", "repairs": 0, "asked_for": 1}
    spent = state.charged["llm"]
    assert (spent.calls, spent.input_tokens, spent.output_tokens) == (1, 1200, 80)
    assert spent.dollars == pytest.approx((1200 + 800) / 1e6)
    assert spent.wall_s > 0
    assert json.dumps(server.requests[0].body["response_format"]["json_schema"]["schema"])
    assert "Make it small." in server.requests[0].words
    assert "echo METRIC loss=10" in server.requests[0].words
