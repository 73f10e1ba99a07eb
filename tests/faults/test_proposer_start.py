"""What is said of a proposing program's grants, keys and hosts before it is started."""

from pathlib import Path
from typing import Any

import pytest
from helpers import autoresearch, play

from autoresearch.errors import StudyError
from faults.conftest import fault_study
from faults.test_proposer_cell import KEY


@pytest.mark.parametrize(
    ("propose", "execute", "says"),
    [
        (
            {"allow": [{"host": "a.example", "key": "NOT_SET", "address": "A"}]},
            {},
            "NOT_SET.*is not set.*export NOT_SET",
        ),
        ({"allow": [{"host": "a.example", "key": "TWO_LINES", "address": "A"}]}, {}, "TWO_LINES.*more than one line"),
        (
            {"allow": [{"host": "a.example", "key": "MODEL_KEY", "address": "A"}]},
            {"env": ["MODEL_KEY"]},
            "MODEL_KEY is a key.*remove it from execute.env",
        ),
        ({"read": ["nowhere"]}, {}, "propose.read names 'nowhere', which does not exist"),
        ({"read": ["."]}, {}, r"propose.read names '\.', which would open .*autoresearch"),
        ({"write": [".git/refs"]}, {}, r"propose.write names '\.git/refs', which would open .*\.git"),
        ({"write": ["/"]}, {}, "propose.write names '/', which would open"),
        ({"read": [".autoresearch/data"]}, {}, "propose.read names .* which would open .*autoresearch"),
    ],
    ids=str,
)
def test_a_grant_that_cannot_be_or_gives_too_much_is_an_error_at_the_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    propose: dict[str, Any],
    execute: dict[str, Any],
    says: str,
) -> None:
    monkeypatch.setenv("MODEL_KEY", KEY)
    monkeypatch.setenv("TWO_LINES", "a\nb")
    table = {"with": ["command"], "command": "true", "sandbox": "auto"} | propose
    folder = fault_study(tmp_path / "repo", [], "none", propose=table, execute=execute)
    (folder / ".autoresearch" / "data").mkdir(parents=True)
    with pytest.raises(StudyError, match=says):
        play(folder, trials=1)


def test_check_tries_what_a_proposers_cell_guarantees(backend: str, tmp_path: Path) -> None:
    allow = [{"host": "api.example.com", "key": "MODEL_KEY", "address": "MODEL_BASE"}]
    propose = {"with": ["command"], "command": "true", "sandbox": backend, "allow": allow}
    folder = fault_study(tmp_path / "repo", [], backend, propose=propose)
    done = autoresearch("check", cwd=folder, env={"MODEL_KEY": KEY})
    assert done.returncode == 0, done.stderr
    assert "BROKEN" not in done.stdout
    assert "holds     a proposer reaches no address but those of propose.allow" in done.stdout
    assert "holds     your keys are in no environment, file or argument list that a proposer can read" in done.stdout
    assert KEY not in done.stdout + done.stderr


def test_check_says_what_a_proposer_without_a_sandbox_may_do(tmp_path: Path) -> None:
    folder = fault_study(tmp_path / "repo", [], "none", propose={"with": ["command"], "command": "true"})
    done = autoresearch("check", cwd=folder)
    assert "propose.sandbox is none: true runs as you" in done.stdout
    assert "a proposer" not in done.stdout
