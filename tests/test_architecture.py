"""The shape of DESIGN.md, section 3: who may import whom, and how long a thing may be."""

import ast
import inspect
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import PYTHON

import autoresearch
from autoresearch import loop

SOURCE = Path(autoresearch.__file__).parent
MODULES = {
    path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
    if "templates" not in path.parts
}
COMMANDS = {name for name in MODULES if name == "cli" or name.startswith("cli_")}
LONGEST_FILE, LONGEST_LOOP = 400, 60  # lines

# Each may import those after it, and what stands for itself needs nothing of ours.
ALLOWED = {
    "errors": set[str](),
    "seeds": set[str](),
    "execute.bridge": set[str](),
    "execute.jail": set[str](),
    "execute.keeper": set[str](),
    "propose.acp": set[str](),
    "propose.spoken": set[str](),
    "trial": {"errors"},
    "rungs": {"trial"},
    "final": {"trial"},
    "events": {"final", "rungs", "trial"},
    "wishes": {"events", "trial"},
    "inbox": {"errors", "events", "files", "wishes"},
    "scatter": {"stats"},
    "ledger": {"events", "trial"},
    "state": {"events", "final", "ledger", "rungs", "scatter", "trial", "wishes"},
    "carrying": {"state", "trial"},
    "log": {"carrying", "errors", "events", "state", "trial"},
    "listener": {"events", "state", "trial"},
    "pinned": set[str](),
    "follow": {"errors", "events", "log", "measure", "state"},
    "interchange": {"errors", "state", "trial"},
    "hosts": set[str](),
    "models": set[str](),
    "agent_table": set[str](),
    "values": set[str](),
    "proposing": {"agent_table", "hosts", "models", "values"},
    "guard": set[str](),
    "patterns": set[str](),
    "keys": {"errors"},
    "live.settings": {"guard"},
    "study": {"errors", "guard", "keys", "live.settings", "patterns", "proposing", "tell.settings", "trial", "values"},
    "measure": {"trial"},
    "files": set[str](),
    "patch": set[str](),
    "git": {"errors"},
    "shape": set[str](),
    "spreadsheet": set[str](),
    "wording": set[str](),
    "change": {"git", "shape"},
    "near": {"git", "trial"},
    "worktrees": {"errors", "files", "git"},
    "workspace": {"change", "errors", "files", "git", "near", "study", "trial", "worktrees"},
    "asset": {"git", "workspace"},
    "rules": {"study"},
    "purse": {"propose.account", "report.brief", "state", "study"},
    "ideas": {"errors", "git", "workspace"},
}
# Folders: what their modules may see beside each other.
ALLOWED_IN = {
    "stats": set[str](),
    "audit": {"errors", "events", "scatter", "state", "interchange", "log", "stats", "trial"},
    "tell": {"errors", "events", "export", "listener", "report", "state", "study", "trial"},
    "export": {"errors", "report", "spreadsheet", "state", "trial"},
    "live": {"errors", "guard", "keys", "ports", "spreadsheet", "stats"},
    "policy": {"carrying", "errors", "guard", "scatter", "state", "stats", "study", "trial"},
    "report": {
        "audit",
        "carrying",
        "errors",
        "final",
        "ledger",
        "rungs",
        "scatter",
        "share",
        "state",
        "stats",
        "trial",
        "wording",
    },
    "propose": {
        "agent_table",
        "carrying",
        "errors",
        "events",
        "execute",
        "files",
        "hosts",
        "models",
        "patterns",
        "proposing",
    }
    | {"report", "scatter", "shape", "share", "state", "stats", "study", "trial"},
    "execute": {"errors", "files", "hosts", "measure", "study", "trial"},
    "share": {"errors", "events", "files", "git", "listener", "state", "stats", "study", "trial"},
}


def imported(path: Path) -> Iterator[str]:
    """Our modules that a file imports, anywhere in it: `log`, `report.brief`, ..."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            known = {name for name in whole if name.removeprefix("autoresearch.") in MODULES}
            names = sorted(known) or [node.module or ""]
        else:
            assert not isinstance(node, ast.ImportFrom), f"{path}: a relative import hides where it leads"
            continue
        yield from (name.removeprefix("autoresearch.") for name in names if name.startswith("autoresearch."))


def test_every_file_is_seen() -> None:
    assert {"cli", "loop", "policy", "policy.climb", "execute.local", "report.brief"} <= set(MODULES)
    assert set(imported(MODULES["log"])) == {"carrying", "errors", "events", "state", "trial"}


@pytest.mark.parametrize("name", [name for name in ALLOWED if name in MODULES])
def test_a_layer_imports_only_those_below(name: str) -> None:
    assert set(imported(MODULES[name])) <= ALLOWED[name]


@pytest.mark.parametrize("folder", ALLOWED_IN)
def test_a_folder_imports_only_what_its_modules_may_see(folder: str) -> None:
    inside = [name for name in MODULES if name == folder or name.startswith(f"{folder}.")]
    assert inside
    for name in inside:
        tops = {used.partition(".")[0] for used in imported(MODULES[name])}
        assert tops <= ALLOWED_IN[folder] | {folder}, name


def test_nothing_imports_the_command_line() -> None:
    users = {name for name, path in MODULES.items() if COMMANDS & set(imported(path))}
    assert users <= {"__main__", "cli"}


def test_only_the_terminal_and_the_commands_know_how_things_look() -> None:
    users = {name for name, path in MODULES.items() if "terminal" in set(imported(path))}
    assert users <= COMMANDS | {"watch"}


def test_nobody_below_the_loop_knows_it() -> None:
    above = COMMANDS | {
        "__main__",
        "campaign",
        "certify",
        "check",
        "demo",
        "finalize",
        "loop",
        "mcp",
        "morning",
        "options",
        "person",
        "session",
        "studies",
        "terminal",
        "transfer",
        "watch",
        "web",
    }
    for name, path in MODULES.items():
        if name.partition(".")[0] not in above:
            assert not set(imported(path)) & {"loop", "session", "check", "demo"}, name


@pytest.mark.parametrize("name", MODULES)
def test_a_file_can_be_read_in_one_sitting(name: str) -> None:
    assert len(MODULES[name].read_text().splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("name", MODULES)
def test_a_module_opens_by_saying_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[name].read_text()))


def test_the_loop_fits_a_screen() -> None:
    assert len(inspect.getsource(loop.work).splitlines()) < LONGEST_LOOP


@pytest.mark.parametrize("name", ["bridge", "jail", "keeper"])
def test_a_program_of_its_own_needs_nothing_but_the_standard_library(name: str) -> None:
    done = subprocess.run(
        [PYTHON, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(SOURCE / 'execute')!r}); import {name}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import json, sys\nfrom autoresearch.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & {"torch", "optuna", "matplotlib", "numpy", "yaml", "rich", "msgspec"}
    assert {name for name in loaded if name.startswith("autoresearch")} == {
        "autoresearch",
        "autoresearch.errors",
        "autoresearch.options",
        "autoresearch.wording",
        *(f"autoresearch.{name}" for name in COMMANDS),
    }


def test_the_core_depends_on_little() -> None:
    code = (
        "import json, sys\nfor blocked in ('torch', 'optuna', 'matplotlib', 'numpy', 'yaml'): sys.modules[blocked] = None\n"
        "import autoresearch.cli, autoresearch.session, autoresearch.loop, autoresearch.check, autoresearch.terminal\n"
        "import autoresearch.interchange, autoresearch.demo, autoresearch.report.plot, autoresearch.propose.command\n"
    )
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
