"""
Makes a study: a template's files in a folder, as an ordinary git repository.

In a repository that exists already it only adds files that are not there, and says which; the person's files,
index, branches and ignore rules stay as they are.
"""

import platform
import re
import shutil
import sys
import tomllib
from importlib import resources
from pathlib import Path

from msgspec import Struct

from autoresearch.errors import StudyError, WorkspaceError
from autoresearch.execute.machine import visible_gpus
from autoresearch.git import git, text
from autoresearch.propose import knobs

TEMPLATES = ("toy", "gpt", "landing-page", "cold-email", "ad", "blank")
SIZES = ("cpu", "mps", "cuda")
NOT_COPIED = {"__pycache__", "__init__.py"}


class Made(Struct, frozen=True):
    """What was written: the folder, the files, whether they are committed, and the kind of machine they suit."""

    folder: Path
    files: list[str]
    committed: bool
    size: str


def make(folder: Path, template: str, own: bool = False, size: str | None = None) -> Made:
    """
    Write a template's files. `own` makes a repository of its own even inside another one. `size`: one of SIZES, by
    default what this machine is.

    Raises:
        StudyError: the folder holds a study already, or a file of the same name.
    """
    source = resources.files("autoresearch") / "templates" / template
    names = sorted(item.name for item in source.iterdir() if item.name not in NOT_COPIED)
    new_repository = own or not _inside_repository(folder)
    if new_repository and folder.exists() and any(folder.iterdir()):
        raise StudyError(
            f"{folder} is not empty and not a git repository; name a new folder, or `git init` and commit there first"
        )
    if not new_repository:
        names.remove(".gitignore")  # the ignore rules of an existing repository are its owner's
    if taken := [name for name in names if (folder / name).exists()]:
        raise StudyError(f"{folder} has {', '.join(taken)} already; name another folder, and nothing is overwritten")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            with resources.as_file(source / name) as file:
                shutil.copyfile(file, folder / name)
        fit(folder, template, size := size or this_size())
    except OSError as error:
        raise StudyError(f"{folder}: {error.strerror}") from None
    if new_repository:
        git(folder, "init", "--quiet", "--template=", "--initial-branch=main")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--no-verify", "-m", f"Start from the {template} template")
    return Made(folder, names, new_repository, size)


def this_size() -> str:
    """What computes here, as far as can be told without torch."""
    if visible_gpus():
        return "cuda"
    return "mps" if sys.platform == "darwin" and platform.machine() == "arm64" else "cpu"


def fit(folder: Path, template: str, size: str) -> None:
    """Set what sizes.toml says for this kind of machine: constants of files, and where a search may look for them."""
    sizes = tomllib.loads((resources.files("autoresearch") / "templates" / "sizes.toml").read_text())
    for name, values in sizes.get(template, {}).get(size, {}).items():
        hints = values.pop("search", {})
        path = folder / name
        content = knobs.write(name, path.read_bytes(), values)
        for constant, hint in hints.items():
            line = rf"(?m)^({constant} = .*# search: )[^ #\n]+".encode()
            content, found = re.subn(line, rb"\g<1>" + hint.encode(), content)
            assert found == 1, f"sizes.toml: {name} has no hint for {constant}"
        path.write_bytes(content)


def _inside_repository(folder: Path) -> bool:
    existing = next(parent for parent in [folder.absolute(), *folder.absolute().parents] if parent.is_dir())
    try:
        return bool(text(git(existing, "rev-parse", "--show-toplevel")))
    except WorkspaceError:
        return False
