"""Coding agents: a program that stands in for each of them drives real studies, in the sandbox and out of it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from helpers import (
    PYTHON,
    Recorder,
    autoresearch,
    eventually,
    last,
    make_study,
    play,
    started,
    state_of,
    why,
    words,
)
from stand_in import COST, RECEIVED, SENT

from autoresearch.errors import StudyError
from autoresearch.execute import sandbox
from autoresearch.execute.keepers import Keepers
from autoresearch.propose import spoken
from autoresearch.propose.agents import AGENTS, PROVIDERS
from autoresearch.propose.hire import CLIENT
from autoresearch.state import State
from benchmarks.kill import survivors

SOURCE = (Path(__file__).parent / "stand_in.py").read_text().partition("# -- the head ends here --\n")[2]
NAMES = ("claude", "codex", "gemini", "opencode", "aider", "goose", "mini")
MODELS = {"opencode": "openai/m", "aider": "openai/m", "goose": "anthropic/m", "mini": "openai/m"}
TELLS_NO_DOLLARS = ("codex", "gemini")


@pytest.fixture(params=["bubblewrap", "none"])
def kept_in(request: pytest.FixtureRequest) -> str:
    if request.param != "none" and (problem := sandbox.why_not(sandbox.backends(None)[request.param], None)):
        pytest.skip(f"{request.param} does not work here: {problem}")
    return str(request.param)


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in PROVIDERS.values():
        monkeypatch.setenv(provider.key, "a-key-of-no-account")


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str, *names: str, program: str = "") -> Path:
    """Programs that stand in for these agents, found before the real ones."""
    folder.mkdir(exist_ok=True)
    for name in names:
        path = folder / (program or AGENTS[name].program)
        path.write_text(f"#!{PYTHON}\nNAME, MODE = {name!r}, {mode!r}\n{SOURCE}")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def study(tmp_path: Path, name: str, kept_in: str, acp: bool | None = False, **more: Any) -> Path:
    table: dict[str, Any] = {"name": name} | ({"model": MODELS[name]} if name in MODELS else {})
    table |= {} if acp is None else {"acp": acp}
    propose = {"with": [name], "sandbox": kept_in, "timeout_s": 120, "agents": [table]} | more.pop("propose", {})
    return make_study(tmp_path / "repo", propose=propose, **more)


def one_trial(folder: Path, recorder: Recorder | None = None) -> State:
    state = play(folder, recorder, trials=1)
    assert survivors(folder) == []
    return state


# -- by name -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_agent_by_name_proposes_is_charged_and_drives_the_loop(
    name: str, kept_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch, "good", name)
    state = one_trial(study(tmp_path, name, kept_in))
    assert (last(state).word, last(state).idea, last(state).by) == ("keep", "say 9", name), why(state)
    spent = state.charged[name]
    assert spent.calls == 1
    assert spent.dollars == (0 if name in TELLS_NO_DOLLARS else pytest.approx(COST))
    assert (spent.input_tokens, spent.output_tokens) == (SENT, RECEIVED)


def test_any_other_program_is_an_agent_too(kept_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put_on_path(tmp_path / "bin", monkeypatch, "good", "agent", program="my-agent")
    command = [str(folder / "my-agent"), "--brief", "a word with spaces"]
    state = one_trial(study(tmp_path, "agent", kept_in, propose={"command": command}))
    assert (last(state).word, last(state).idea, last(state).by) == ("keep", "say 9", "agent"), why(state)
    assert state.dollars == pytest.approx(COST)


def test_each_trial_starts_an_agent_afresh_until_the_budget_in_dollars_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch, "good", "claude")
    folder = study(tmp_path, "claude", "none", budget={"dollars": 3.5 * COST})
    state = play(folder)
    assert [trial.idea for trial in state.trials.values() if not trial.is_baseline] == [
        "say 9",
        "say 8",
        "say 7",
        "say 6",
    ]
    assert state.dollars == pytest.approx(4 * COST)
    assert len(list((folder / ".autoresearch" / "proposals").glob("*.brief.txt"))) == 4


# -- what goes wrong -----------------------------------------------------------------------------------


def test_what_it_changed_outside_the_asset_is_refused_by_name_and_charged(
    kept_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch, "frozen", "claude")
    state = one_trial(study(tmp_path, "claude", kept_in))
    assert (last(state).word, last(state).runs) == ("rejected", ())
    assert "program.md" in why(state)
    assert "notes.txt" in why(state)
    assert state.dollars == pytest.approx(COST)


def test_one_that_hangs_ends_with_all_it_started_and_is_charged_what_it_might_have_spent(
    kept_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch, "hangs", "claude")
    folder = study(tmp_path, "claude", kept_in, propose={"timeout_s": 1.0, "dollars_each": 0.25})
    state = one_trial(folder)
    assert (last(state).word, why(state)) == ("rejected", "claude was ended after 1 s (propose.timeout_s)")
    assert state.dollars == 0.25


def test_one_that_the_person_stops_ends_with_all_it_started_and_the_next_session_asks_anew(
    kept_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = put_on_path(tmp_path / "bin", monkeypatch, "hangs", "claude") / "claude"
    folder = study(tmp_path, "claude", kept_in)
    edited = folder / ".autoresearch" / "trees" / "1" / "step.sh"
    with started("run", "--trials", "1", cwd=folder) as process:
        assert eventually(lambda: edited.exists() and "loss=9" in edited.read_text(), 60)
        process.terminate()
        process.wait(60)
    assert eventually(lambda: survivors(folder) == [])
    assert state_of(folder).charged["claude"].calls == 1
    program.write_text(program.read_text().replace("'hangs'", "'good'"))
    state = one_trial(folder)
    assert (last(state).word, last(state).idea) == ("keep", "say 9")


def test_a_fork_bomb_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sandbox.why_not(sandbox.backends(None)["bubblewrap"], None):
        pytest.skip("without a sandbox an agent is as unbounded as the person")
    put_on_path(tmp_path / "bin", monkeypatch, "bomb", "codex")
    state = one_trial(study(tmp_path, "codex", "bubblewrap", execute={"processes": 32}))
    assert (last(state).word, "32 processes and was ended" in why(state)) == ("rejected", True), why(state)


def test_a_hundred_megabytes_of_output_cost_the_disk_five_and_the_idea_is_still_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch, "flood", "claude")
    folder = study(tmp_path, "claude", "none")
    state = one_trial(folder)
    assert (last(state).word, last(state).idea) == ("keep", "say 9"), why(state)
    assert sum(path.stat().st_size for path in (folder / ".autoresearch/proposals").iterdir()) < 5 << 20
    assert state.dollars == pytest.approx(COST)


def test_one_that_changes_nothing_is_quoted_on_one_line(
    kept_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch, "lazy", "gemini")
    state = one_trial(study(tmp_path, "gemini", kept_in))
    expected = "gemini changed nothing; its last words: 'I thought about it. It is perfect as it is; [31mleave it.'"
    assert (last(state).word, why(state)) == ("rejected", expected)


@pytest.mark.parametrize("name", NAMES)
def test_one_that_fails_says_why(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path / "bin", monkeypatch, "fails", name)
    state = one_trial(study(tmp_path, name, "none"))
    assert last(state).word == "rejected"
    assert why(state).startswith(f"{name} failed: exit code 1: "), why(state)
    assert "Credit balance is too low; see .autoresearch/proposals/1-0.*.txt" in why(state), why(state)


def test_an_agent_that_fails_every_time_ends_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path / "bin", monkeypatch, "fails", "claude")
    recorder = Recorder()
    state = play(study(tmp_path, "claude", "none"), recorder)
    assert words(state) == ["rejected"] * 10
    assert "failed 10 times in a row" in recorder.said[-1]


# -- the Agent Client Protocol -------------------------------------------------------------------------


def test_over_acp_it_may_edit_the_asset_and_nothing_else(
    kept_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("acp")
    put_on_path(tmp_path / "bin", monkeypatch, "asks", "opencode")
    recorder = Recorder()
    folder = study(tmp_path, "opencode", kept_in, acp=None)
    state = one_trial(folder, recorder)
    printed = next((folder / ".autoresearch" / "proposals").glob("*.out.txt")).read_text()
    assert (last(state).word, last(state).idea) == ("keep", "say 9"), (why(state), printed)
    assert "allowed: may edit, may look, may write by the client" in printed
    assert state.dollars == pytest.approx(COST)
    assert state.charged["opencode"].tokens == SENT + RECEIVED
    told = [sentence for sentence in recorder.said if sentence.startswith("opencode, trial 1:")]
    assert "opencode, trial 1: may edit step.sh" in told
    assert "opencode, trial 1: may not edit program.md" in told
    assert "opencode, trial 1: may not execute execute something" in told


def test_over_acp_one_that_is_out_of_time_is_cancelled_and_says_what_it_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keepers: Keepers
) -> None:
    pytest.importorskip("acp")
    program = put_on_path(tmp_path / "bin", monkeypatch, "hangs", "opencode") / "opencode"
    (tmp_path / "step.sh").write_text("echo METRIC loss=10\n")
    task, out, err = (tmp_path / name for name in ("task.txt", "out.txt", "err.txt"))
    task.write_text("IDEA: <one sentence>")
    job = {"cwd": str(tmp_path), "may_change": [r"step\.sh"], "until": 0.0, "grace_s": 60.0, "dollars": None}
    argv = [PYTHON, "-I", str(CLIENT), json.dumps(job), str(program), "acp"]
    ending = keepers.run(argv, cwd=tmp_path, env=dict(os.environ), out=out, err=err, timeout_s=60, stdin=task)
    assert (ending.how, ending.code) == ("exited", 1), err.read_text()
    assert ending.left_behind >= 1
    said = spoken.read("acp", out)
    assert (said.problem, said.dollars, said.input_tokens) == ("its time was up", COST, SENT)


def test_over_acp_one_that_costs_more_than_it_may_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("acp")
    put_on_path(tmp_path / "bin", monkeypatch, "hangs", "opencode")
    state = one_trial(study(tmp_path, "opencode", "none", acp=True, propose={"dollars_each": 0.02}))
    assert (last(state).word, "it cost more than it may" in why(state)) == ("rejected", True), why(state)


def test_an_agent_that_does_not_speak_acp_is_not_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("acp")
    put_on_path(tmp_path / "bin", monkeypatch, "good", "aider")
    with pytest.raises(StudyError, match=r"propose\.agents\.acp: aider does not speak the Agent Client Protocol"):
        play(study(tmp_path, "aider", "none", acp=True), trials=1)


# -- before it begins ----------------------------------------------------------------------------------


def test_one_that_is_not_installed_is_an_error_that_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr("autoresearch.propose.installed.environment", lambda *_: {"PATH": "/nowhere"})
    with pytest.raises(StudyError, match="codex is not on PATH: `npm install -g @openai/codex`"):
        play(study(tmp_path, "codex", "none"), trials=1)


def test_one_without_its_key_says_which_and_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path / "bin", monkeypatch, "good", "claude")
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(StudyError, match=r"claude needs ANTHROPIC_API_KEY.*`export ANTHROPIC_API_KEY=\.\.\.`"):
        play(study(tmp_path, "claude", "auto"), trials=1)


def test_one_for_many_models_needs_the_name_of_its_model_in_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch, "good", "aider")
    folder = study(tmp_path, "aider", "auto", propose={"agents": []})
    with pytest.raises(StudyError, match=r"aider works with many models.*anthropic/\.\.\., openai/\.\.\."):
        play(folder, trials=1)


def test_check_tries_the_agent_and_the_guarantees_of_its_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sandbox.why_not(sandbox.backends(None)["bubblewrap"], None):
        pytest.skip("bubblewrap does not work here")
    put_on_path(tmp_path / "bin", monkeypatch, "good", "claude")
    done = autoresearch("check", cwd=study(tmp_path, "claude", "bubblewrap", execute={"sandbox": "bubblewrap"}))
    assert "ideas       claude: claude says 'claude 0.0.1 (stands in)'; asked by its command line" in done.stdout
    assert "reaches api.anthropic.com; ANTHROPIC_API_KEY stays outside" in done.stdout
    assert "holds     a proposer reaches no address but those of propose.allow" in done.stdout
    assert "BROKEN" not in done.stdout


def test_check_says_what_keeps_an_agent_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sandbox.why_not(sandbox.backends(None)["bubblewrap"], None):
        pytest.skip("bubblewrap does not work here")
    program = put_on_path(tmp_path / "bin", monkeypatch, "good", "claude") / "claude"
    program.write_text(f"#!/bin/sh\nexec {tmp_path}/elsewhere/claude\n")
    done = autoresearch("check", cwd=study(tmp_path, "claude", "bubblewrap"))
    assert "ideas       claude: CANNOT WORK" in done.stdout
    assert "elsewhere/claude: not found" in done.stdout
    assert "Not ready: a proposer cannot work" in done.stdout
