"""How an agent is started: its command line, what the sandbox shows of it, and what study.toml may say."""

import json
import re
from pathlib import Path

import pytest
from helpers import PYTHON

from autoresearch.agent_table import AgentTable
from autoresearch.errors import StudyError
from autoresearch.execute import sandbox
from autoresearch.hosts import Allow
from autoresearch.propose.agents import AGENTS, PROVIDERS, filled, rules
from autoresearch.propose.cell import PORT
from autoresearch.propose.hire import Errand, Hired, hire
from autoresearch.propose.installed import find
from autoresearch.proposing import Propose
from autoresearch.study import parse

BACKEND = sandbox.backends(None)["bubblewrap"]
ASSET = ("train.py", "src", "**/*.json")


def errand(tmp_path: Path, dollars: float | None = None) -> Errand:
    return Errand(tmp_path / "task.txt", tmp_path, tmp_path, ASSET, ("train.py", "src/a.py"), 600, dollars)


def hired(name: str, propose: Propose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hired:
    for program in {AGENTS[name].program, str((AGENTS[name].acp or ("x",))[0])}:
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return hire(name, propose, sandbox.NONE if propose.sandbox == "none" else BACKEND)


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("wraps", [True, False])
@pytest.mark.parametrize("model", [None, "openai/m-1"])
def test_no_blank_is_left_in_a_command_line(
    name: str, wraps: bool, model: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = AgentTable(name, model, ["--extra", "of the person's"], acp=False)
    allow = [Allow("http://127.0.0.1:9", address="SOME_BASE_URL")] if wraps else []
    propose = Propose(with_=[name], sandbox="auto" if wraps else "none", allow=allow, agents=[table])
    backend = BACKEND if wraps else sandbox.NONE
    start = hired(name, propose, tmp_path, monkeypatch).start(errand(tmp_path, 0.5), backend)
    whole = json.dumps([start.argv, start.env])
    assert not re.search(r"\{(model|bare_model|provider|sdk|address|path|rules|dollars|brief|scratch|file)\}", whole)
    assert "of the person's" in start.argv
    assert ("m-1" in whole) == (model is not None)
    assert (start.env.get("OPENAI_API_KEY") == "none") == (wraps and _provider(name, model) == "openai")


def _provider(name: str, model: str | None) -> str | None:
    return AGENTS[name].provider or (model and model.partition("/")[0])


def test_an_agent_that_has_an_address_of_ours_is_led_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow = [Allow("a.example"), Allow("b.example", "K", "X"), Allow("c.example", "OPENAI_API_KEY", "OPENAI_BASE_URL")]
    for name in ("codex", "aider", "mini", "opencode", "goose"):
        table = AgentTable(name, "openai/m-1", acp=False)
        propose = Propose(with_=[name], allow=allow, agents=[table])
        start = hired(name, propose, tmp_path, monkeypatch).start(errand(tmp_path), BACKEND)
        assert f"http://127.0.0.1:{PORT}/2" in json.dumps([start.argv, start.env]), name


def test_a_tuple_is_left_out_where_one_of_its_blanks_has_no_value() -> None:
    words = ("-p", ("--model", "{model}"), ("--x={key}{model}",), "{dollars}", '{"json":{env:{key}}}')
    values = {"model": None, "key": "K", "dollars": "1"}
    assert filled(words, values) == ["-p", "1", '{"json":{env:K}}']
    with pytest.raises(KeyError):
        filled(("{model}",), values)


def test_what_may_be_edited_is_never_narrower_than_the_asset() -> None:
    assert rules("claude", ["./train.py", "src/"]) == (
        "Read,Glob,Grep,Edit(./train.py),Edit(./train.py/**),Edit(./src),Edit(./src/**)"
    )
    assert rules("claude", ["a, b.py"]) == "Read,Glob,Grep,Edit"
    opencode = json.loads(rules("opencode", ["**/*.py"]))
    assert opencode == {"*": "deny", "**.py": "allow", "**.py/*": "allow"}
    assert json.loads(rules("opencode", ["src"], asks=True)) == {"*": "deny", "*src": "ask", "*src/*": "ask"}


def test_an_agent_that_cannot_be_led_to_a_provider_says_which_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    propose = Propose(with_=["aider"], agents=[AgentTable("aider", "gemini/g")])
    with pytest.raises(StudyError, match="for gemini: take a model of anthropic, openai, openrouter"):
        hired("aider", propose, tmp_path, monkeypatch)


def test_a_program_is_found_with_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "lib" / "node_modules" / "@a" / "b" / "cli.js"
    package.parent.mkdir(parents=True)
    package.write_text("#!/usr/bin/env engine\n")
    package.chmod(0o755)
    for folder in ("bin", "engines", "real"):
        (tmp_path / folder).mkdir()
    (tmp_path / "bin" / "b").symlink_to("../lib/node_modules/@a/b/cli.js")
    (tmp_path / "real" / "engine").write_text("#!/bin/sh\n")
    (tmp_path / "real" / "engine").chmod(0o755)
    (tmp_path / "engines" / "engine").symlink_to(tmp_path / "real" / "engine")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{tmp_path}/engines:/usr/bin:/bin")
    found = find("b")
    assert found is not None
    assert found.program == package
    assert set(found.read) == {tmp_path / "lib" / "node_modules", tmp_path / "real" / "engine"}
    assert found.path == (tmp_path / "real",)
    assert find("nothing-of-that-name") is None


def test_a_virtual_environments_python_keeps_its_name() -> None:
    found = find(PYTHON)
    assert found is not None
    assert str(found.program) == PYTHON


# -- study.toml ----------------------------------------------------------------------------------------

STUDY = 'name = "s"\nasset = ["a"]\n[metric]\nname = "m"\n[measure]\nrun = "a"\n[propose]\n'


@pytest.mark.parametrize(
    ("propose", "says"),
    [
        ('with = ["agent"]', "needs a key `command`"),
        ('with = ["agent"]\ncommand = []', "needs a key `command`"),
        ('[[propose.agents]]\nname = "codex"', "agents names 'codex', which `with` does not"),
        ('with = ["codex"]\nagents = [{name = "codex"}, {name = "codex"}]', "two tables of the same name"),
        ('with = ["codex"]\nagents = [{name = "codex", model = "--yolo"}]', "would be taken for an option"),
        ('with = ["codex"]\nagents = [{name = "codex", args = [""]}]', "args must hold plain words"),
        ('with = ["codex"]\nagents = [{name = "codex", modle = "m"}]', "did you mean 'model'"),
        ('with = ["codex"]\ndollars_each = 0', "dollars_each must be positive"),
    ],
)
def test_a_mistake_about_agents_is_named(propose: str, says: str) -> None:
    with pytest.raises(StudyError, match=says):
        parse(STUDY + propose)


def test_every_provider_has_variables_of_its_own() -> None:
    known = {id(provider): provider for provider in PROVIDERS.values()}.values()
    assert len({provider.key for provider in known}) == len({provider.address for provider in known}) == len(known)
