"""
The real programs, where they are installed: their versions, a refusal without a key, and a whole trial against a
scripted model on loopback, in the sandbox and out of it. No account and no network is needed; one that is not on
PATH is a skip that says so.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers import autoresearch, git, last, make_study, play, why
from models import IDEA, LAST, RECEIVED, SENT, TREE, Models, Step

from autoresearch.errors import StudyError
from autoresearch.execute import sandbox
from autoresearch.propose.agents import AGENTS, PROVIDERS

# name -> model, and the provider whose wire format is spoken
REAL = {
    "claude": ("opus", "anthropic"),
    "codex": ("gpt-5-codex", "openai"),
    "gemini": ("gemini-2.5-pro", "gemini"),
    "opencode": ("openai/scripted", "openai"),
    "aider": ("openai/gpt-4o", "openai"),
    "mini": ("openai/gpt-4o", "openai"),
}
# Tools with which a model could do more than edit, where an agent lets us take them away.
SHELLS = {"claude": "Bash", "gemini": "run_shell_command", "opencode": "bash"}
GOAL = "Make it small.\n" + "".join(
    f"This is line {i} of a goal that is told at length.\n" for i in range(800)
)  # 40 kB
TELLS_DOLLARS = ("claude", "opencode", "aider", "mini")
TIMEOUT_S = 400


@pytest.fixture(params=REAL)
def name(request: pytest.FixtureRequest) -> str:
    program = AGENTS[request.param].program
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not on PATH: {AGENTS[request.param].install}")
    return str(request.param)


@pytest.fixture(params=["auto", "none"])
def kept_in(request: pytest.FixtureRequest) -> str:
    if request.param == "auto" and all(
        sandbox.why_not(sandbox.backends(None)[backend], None) for backend in ("bubblewrap", "namespaces")
    ):
        pytest.skip("no sandbox works here")
    return str(request.param)


def study(
    tmp_path: Path,
    name: str,
    models: Models | None,
    kept_in: str,
    acp: bool | None = False,
    more: dict[str, str] | None = None,
    **changes: Any,
) -> Path:
    model, provider = REAL[name]
    propose: dict[str, Any] = {"with": [name], "sandbox": kept_in, "timeout_s": TIMEOUT_S, "dollars_each": 2.0}
    propose["agents"] = [{"name": name, "model": model} | ({} if acp is None else {"acp": acp})]
    if models is not None and kept_in != "none":
        known = PROVIDERS[provider]
        propose["allow"] = [{"host": models.url, "key": known.key, "address": known.address}]
    files = {"program.md": GOAL} | (more or {})
    return make_study(tmp_path / "repo", files=files, propose=propose, budget={"dollars": 5.0}, **changes)


def as_the_person(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person who has no account has set, to use a model of their own with an agent."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))  # Codex has no sandbox of its own where its home is temporary
    (tmp_path / "tmp").mkdir()
    (tmp_path / "home" / ".codex").mkdir(parents=True)
    (tmp_path / "home" / ".gemini").mkdir()
    (tmp_path / "home" / ".config" / "opencode").mkdir(parents=True)
    for variable in ("ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.setenv(variable, models.url)
    monkeypatch.setenv("OPENAI_API_BASE", f"{models.url}/v1")
    ours = f'name = "ours"\nbase_url = "{models.url}/v1"\nenv_key = "OPENAI_API_KEY"\nwire_api = "responses"\n'
    (tmp_path / "home/.codex/config.toml").write_text(f'model_provider = "ours"\n[model_providers.ours]\n{ours}')
    (tmp_path / "home/.gemini/settings.json").write_text('{"security":{"auth":{"selectedType":"gemini-api-key"}}}')
    options = f'"options":{{"baseURL":"{models.url}/v1"}},"models":{{"scripted":{{}}}}'
    config = f'{{"provider":{{"openai":{{{options}}}}},"small_model":"openai/scripted"}}'
    (tmp_path / "home/.config/opencode/opencode.json").write_text(config)


def test_check_says_its_version_or_what_is_missing(
    name: str, kept_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = PROVIDERS[REAL[name][1]].key
    monkeypatch.delenv(key, raising=False)
    folder = study(tmp_path, name, None, kept_in)

    done = autoresearch("check", cwd=folder)
    if kept_in == "none":
        assert f"ideas       {name}: {AGENTS[name].program} says" in done.stdout, done.stdout + done.stderr
        assert f"{key} is not set" in done.stdout
    else:
        assert f"ideas       {name}: CANNOT WORK" in done.stdout
        assert f"{name} needs {key}, the key for {PROVIDERS[REAL[name][1]].host}" in done.stdout
        with pytest.raises(StudyError, match=f"`export {key}="):
            play(folder, trials=1)
        monkeypatch.setenv(key, "a-key-of-no-account")
        done = autoresearch("check", cwd=folder)
        assert f"ideas       {name}: {AGENTS[name].program} says" in done.stdout, done.stdout + done.stderr
        assert f"{key} stays outside" in done.stdout


def test_a_whole_trial_against_a_scripted_model(
    name: str, kept_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "a-key-of-no-account"
    with Models() as models:
        monkeypatch.setenv(PROVIDERS[REAL[name][1]].key, key)
        folder = study(tmp_path, name, models, kept_in)
        if kept_in == "none":
            as_the_person(models, tmp_path, monkeypatch)
        state = play(folder, trials=1)

    assert (last(state).word, last(state).idea, last(state).by) == ("keep", IDEA, name), why(state)
    spent = state.charged[name]
    assert spent.input_tokens >= SENT
    assert spent.output_tokens >= RECEIVED
    assert (spent.dollars > 0) == (name in TELLS_DOLLARS and not REAL[name][0].endswith("scripted"))
    assert models.asked
    assert any(key in value for _, headers, _ in models.asked for value in headers.values())
    asked = json.dumps([body for _, _, body in models.asked])
    assert "line 799 of a goal" in asked, "the whole brief arrives"
    assert "IDEA: <one sentence>" in asked
    assert f'"{SHELLS.get(name, "no such tool")}"' not in asked


def strays(tools: list[str], asked: str) -> list[Step]:
    """A model that tries to edit the goal, and a file of its own making, before it does what it should."""
    tree = TREE.search(asked)
    here = tree[0] if tree else "."
    if "Edit" in tools:
        goal, new, step = (f"{here}/{name}" for name in ("program.md", "src/new.py", "step.sh"))
        return [
            ("Read", {"file_path": goal}),
            ("Edit", {"file_path": goal, "old_string": "Make it small.", "new_string": "Anything goes."}),
            ("Write", {"file_path": f"{here}/other.py", "content": "x = 1\n"}),
            ("Write", {"file_path": new, "content": "x = 1\n"}),
            ("Read", {"file_path": step}),
            ("Edit", {"file_path": step, "old_string": "10", "new_string": "7"}),
            LAST,
        ]
    if "edit" in tools:
        goal, new, step = (f"{here}/{name}" for name in ("program.md", "src/new.py", "step.sh"))
        return [
            ("read", {"filePath": goal}),
            ("edit", {"filePath": goal, "oldString": "Make it small.", "newString": "Anything goes."}),
            ("write", {"filePath": f"{here}/other.py", "content": "x = 1\n"}),
            ("write", {"filePath": new, "content": "x = 1\n"}),
            ("read", {"filePath": step}),
            ("edit", {"filePath": step, "oldString": "10", "newString": "7"}),
            LAST,
        ]
    return ["a title"]


@pytest.mark.parametrize(("name", "acp"), [("claude", False), ("opencode", False), ("opencode", None)])
def test_what_is_not_of_the_asset_is_refused_at_once_and_it_goes_on(
    name: str, acp: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not on PATH: {AGENTS[name].install}")
    with Models(strays) as models:
        monkeypatch.setenv(PROVIDERS[REAL[name][1]].key, "a-key-of-no-account")
        folder = study(tmp_path, name, models, "auto", acp, asset=["step.sh", "src"], more={"src/old.py": "x = 0\n"})
        state = play(folder, trials=1)

    assert (last(state).word, last(state).idea) == ("keep", IDEA), why(state)
    changed = git(folder, "diff", "--name-only", last(state).base, str(last(state).commit)).splitlines()
    assert changed == ["src/new.py", "step.sh"]


@pytest.mark.parametrize("kept_in", ["auto", "none"])
def test_opencode_over_the_agent_client_protocol(kept_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("acp")
    if shutil.which("opencode") is None:
        pytest.skip("opencode is not on PATH: npm install -g opencode-ai")
    with Models() as models:
        monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-no-account")
        folder = study(tmp_path, "opencode", models, kept_in, acp=None)
        if kept_in == "none":
            as_the_person(models, tmp_path, monkeypatch)
        state = play(folder, trials=1)

    assert (last(state).word, last(state).idea) == ("keep", IDEA), why(state)
    assert state.charged["opencode"].input_tokens >= SENT


def test_a_real_agent_refused_by_its_host_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("claude") is None:
        pytest.skip("claude is not on PATH: npm install -g @anthropic-ai/claude-code")
    for variable in [name for name in os.environ if name.startswith(("ANTHROPIC_", "CLAUDE"))]:
        monkeypatch.delenv(variable)
    state = play(study(tmp_path, "claude", None, "none"), trials=1)
    assert (last(state).word, "Not logged in" in why(state)) == ("rejected", True), why(state)
