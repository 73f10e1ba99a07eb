"""What a proposal holds: only plain files of the asset; everything else is rejected and never run."""

from pathlib import Path
from typing import Any

import pytest
from helpers import PYTHON, fingerprint, play

from faults.conftest import PRELUDE, Watcher, fault_study

MARK = 'print("METRIC loss=0")\n'
WRITTEN: dict[str, dict[str, str | None]] = {
    "edits-the-scorer": {"score.py": MARK},
    "edits-the-preparation": {"prepare.py": MARK},
    "edits-the-contract": {"study.toml": 'name = "s"\n'},
    "deletes-the-contract": {"study.toml": None},
    "edits-by-dots": {"sub/../score.py": MARK},
    "adds-sitecustomize": {"sitecustomize.py": MARK},
    "adds-a-pth-file": {"more.pth": "import os; os._exit(0)\n"},
    "adds-a-shadowing-json": {"json.py": MARK},
    "adds-git-attributes": {".gitattributes": "* filter=evil\n"},
    "adds-git-ignore": {".gitignore": "*.x\n"},
    "edits-the-goal": {"program.md": "anything is fine\n"},
}
# By a program, since they are no text: what it does in the tree.
DONE = {
    "a-symbolic-link-to-the-scorer": "os.unlink('candidate.py'); os.symlink('score.py', 'candidate.py')",
    "a-symbolic-link-to-the-held-data": "os.unlink('candidate.py'); os.symlink('../../data/held/target.json', 'candidate.py')",
    "a-symbolic-link-for-a-folder": "os.symlink('/', 'json')",
    "a-crafted-pyc": "os.mkdir('__pycache__'); open('__pycache__/json.cpython-311.pyc', 'wb').write(b'evil')",
    "a-repository-inside": "os.system('git init -q inner && cd inner && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x')",
    "a-repository-instead": "os.unlink('.git'); os.system('git init -q .'); open('score.py', 'w').write('evil')",
    "a-mode-of-the-scorer": "os.chmod('score.py', 0o755)",
    "a-name-that-is-no-text": r"open(b'\xff\x1b[2J.py', 'w').write('x')",
}
HONEST = {"idea": "honest", "files": {"candidate.py": PRELUDE.format(now=1)}}


def test_a_proposal_that_touches_what_is_frozen_is_never_run(backend: str, tmp_path: Path) -> None:
    change = {"candidate.py": PRELUDE.format(now=3000)}
    steps: list[dict[str, Any]] = [{"idea": name, "files": change | files} for name, files in WRITTEN.items()]
    folder = fault_study(tmp_path / "repo", [*steps, HONEST], backend)
    before, problems = fingerprint(folder), list[str]()
    state = play(folder, Watcher(folder, problems))
    for trial in list(state.trials.values())[1:-1]:
        assert (trial.word, trial.runs) == ("rejected", ()), trial.idea
        assert trial.verdict is not None
        assert trial.verdict.why.startswith("it touches frozen files"), trial.idea
    assert state.trials[len(WRITTEN) + 1].word == "keep"
    assert problems == []
    assert fingerprint(folder) == before


def check_never_run(tmp_path: Path, name: str, sandbox: str) -> None:
    program = tmp_path / "proposer.py"
    program.write_text(
        "import os, sys\n"
        "if '- trial' in sys.stdin.read():\n"
        f"    open('candidate.py', 'w').write({PRELUDE.format(now=1)!r})\n"
        f"else:\n    {DONE[name]}\n"
    )
    propose = {"with": ["command"], "command": f"{PYTHON} '{program}'", "sandbox": sandbox, "read": [str(program)]}
    folder = fault_study(tmp_path / "repo", [], "none", propose=propose)
    before, problems = fingerprint(folder), list[str]()
    state = play(folder, Watcher(folder, problems), trials=2)
    first, second = list(state.trials.values())[1:]
    assert (first.word, first.runs) == ("rejected", ()), first.verdict
    assert second.word == "keep", second.verdict
    assert problems == []
    assert fingerprint(folder) == before


@pytest.mark.parametrize("name", DONE)
def test_what_is_no_plain_file_of_the_asset_is_never_run(tmp_path: Path, name: str) -> None:
    """Without a sandbox: the check is of what git holds."""
    check_never_run(tmp_path, name, "none")


@pytest.mark.parametrize("name", DONE)
def test_what_a_sandboxed_proposer_plants_is_never_run(backend: str, tmp_path: Path, name: str) -> None:
    check_never_run(tmp_path, name, backend)
