"""The recipes of docs/scale.md, as they stand there: what is typed below a heading, and what is set in study.toml."""

import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers import autoresearch, commit, toml

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scale.md"
TYPED_S = 240.0  # for one command: clusters on a loaded machine take their time


def recipe(heading: str, here: Mapping[str, str]) -> list[list[str]]:
    """The five commands below a heading, in words; `here` has other words for what is too large for a test."""
    commands = [shlex.split(line, comments=True) for line in _block(heading, "sh").splitlines()]
    assert len(commands) == 5
    return [[here.get(word, word) for word in words] for words in commands]


def settings(heading: str) -> dict[str, Any]:
    """What is set below a heading under [execute]."""
    (table,) = tomllib.loads(_block(heading, "toml")).items()
    assert table[0] == "execute"
    return dict(table[1])


def type_in(folder: Path, *commands: list[str]) -> Path:
    """Type commands, one after the other; the folder in which that ends. An extra to be installed only has to be one."""
    for program, *words in commands:
        if program == "cd":
            folder /= words[0]
        elif program == "pip":
            extra = re.fullmatch(r"autoresearch\[(\w+)\]", words[-1])
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            assert extra is not None
            assert extra[1] in extras
        else:
            assert program == "autoresearch"
            done = autoresearch(*words, cwd=folder, timeout_s=TYPED_S)
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return folder


def _block(heading: str, language: str) -> str:
    section = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    block = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert block is not None, heading
    return block[1]


def configure(folder: Path, execute: dict[str, Any], trials: int) -> None:
    """Set [execute] in the study.toml of a toy study, end it after so many trials, and commit that."""
    path = folder / "study.toml"
    text = path.read_text()
    found = [text.count("[execute]\ncores = 1\n"), text.count("trials = 200")]
    assert found == [1, 1]
    text = text.replace("[execute]\ncores = 1\n", f"[execute]\n{toml(execute)}")
    path.write_text(text.replace("trials = 200", f"trials = {trials}"))
    commit(folder)
