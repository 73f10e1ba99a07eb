"""
Runs git, the same way whatever the person has configured, and without being cut short.

Knows processes; does not know what a study is.
"""

import functools
import os
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from autoresearch.errors import WorkspaceError

# Hooks, signing and background maintenance are the person's, not ours.
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.autocrlf": "false",  # what is measured is what is committed, byte for byte
    "commit.gpgSign": "false",
    "gc.auto": "0",
    "apply.whitespace": "nowarn",
}
_OPTIONS = ["--no-optional-locks", *(word for item in _SETTINGS.items() for word in ("-c", "=".join(item)))]
PLAIN_DIFF = ["--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/", "--no-renames"]
_IDENTITY = {
    "GIT_AUTHOR_NAME": "autoresearch",
    "GIT_AUTHOR_EMAIL": "autoresearch@localhost",
    "GIT_COMMITTER_NAME": "autoresearch",
    "GIT_COMMITTER_EMAIL": "autoresearch@localhost",
}


def git(
    folder: Path, *args: str, input: bytes | None = None, as_the_person: bool = False, index: Path | None = None
) -> bytes:
    """
    Run git in a folder and return what it printed; with the person's own settings only to read their checkout. `index`
    is a file that takes the place of the index.

    Raises:
        WorkspaceError: git said no; the message carries its last words.
    """
    options = ["--no-optional-locks"] if as_the_person else _OPTIONS
    return _run(_git(), ["git", "-C", str(folder), *options, *args], folder, args[0], input, index)


def git_in_turn(folder: Path, *commands: list[str]) -> bytes:
    """
    Several git commands, each if the one before went well, and what they printed; errors as `git`.

    For what happens every trial: one process started by us, whatever their number (benchmarks/overhead.py).
    """
    lines = [_line(folder, words) for words in commands]
    return _run("/bin/sh", ["sh", "-c", " && ".join(lines)], folder, commands[0][-1])


def git_commit(folder: Path, here: list[str], made: list[str], ref: str, then: list[str], message: bytes) -> str:
    """
    What a git command that reads a message makes of it, put under a ref; then another. One process, as above. `here` are
    options that name the repository: what a folder says of itself may be a candidate's word.
    """
    first, keep, last = (_line(folder, [*here, *words]) for words in (made, ["update-ref", ref], then))
    script = f'made=$({first}) && {keep} "$made" && {last} && echo "$made"'
    return text(_run("/bin/sh", ["sh", "-c", script], folder, made[0], message))


def _line(folder: Path, words: list[str]) -> str:
    return shlex.join([_git(), "-C", str(folder), *_OPTIONS, *words])


def prepared(folder: Path, *args: str) -> tuple[list[str], dict[str, str]]:
    """The words and the environment in which git runs here, for whoever has to start, bound and end it himself."""
    return [_git(), "-C", str(folder), *_OPTIONS, *args], _environment()


def _run(
    program: str, argv: list[str], folder: Path, what: str, input: bytes | None = None, index: Path | None = None
) -> bytes:
    env = _environment() | ({"GIT_INDEX_FILE": str(index)} if index else {})
    with _scratch_file() as given, _scratch_file() as errors:
        given.write(input or b"")
        given.seek(0)
        output, status = _spawn(program, argv, given.fileno(), errors.fileno(), env)
        if status != 0:
            if not folder.is_dir():
                raise WorkspaceError(f"{folder} is gone; type `autoresearch run` again, and it is made anew")
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise WorkspaceError(f"git {what} failed in {folder}: {said[-1]}")
    return output


def _scratch_file() -> IO[bytes]:
    """A file without a name; in memory where the system can."""
    return open(os.memfd_create("git"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()


def _spawn(program: str, argv: list[str], stdin: int, stderr: int, env: dict[str, str]) -> tuple[bytes, int]:
    """
    Run a program to its end; its standard output and exit code.

    Not subprocess.run: git is started five times a trial, and this costs a third of the processor time
    (benchmarks/overhead.py). In a process group of its own, so that Ctrl-C does not cut it short.
    """
    read, write = os.pipe()
    try:
        wiring = [(os.POSIX_SPAWN_DUP2, mine, theirs) for mine, theirs in ((stdin, 0), (write, 1), (stderr, 2))]
        pid = os.posix_spawn(program, argv, env, file_actions=wiring, setpgroup=0)
    finally:
        os.close(write)
    with open(read, "rb") as output:
        printed = output.read()
    return printed, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@functools.cache
def _git() -> str:
    found = shutil.which("git")
    if found is None:
        raise WorkspaceError("git is not installed (or not on PATH); install it and try again")
    return found


@functools.cache
def _environment() -> dict[str, str]:
    # Started from a hook, GIT_DIR and its like would point every command at the wrong repository.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return ours | _IDENTITY | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}


def text(output: bytes) -> str:
    return output.decode(errors="surrogateescape").rstrip("\n")


def changed_files(folder: Path, pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Which files, from the repository's root, differ between the commits of each pair; two calls of git in all."""
    if not pairs:
        return []
    asked = "".join(f"{before}^{{tree}}\n{after}^{{tree}}\n" for before, after in pairs)
    trees = text(git(folder, "cat-file", "--batch-check=%(objectname)", input=asked.encode())).split("\n")
    given = [f"{before} {after}" for before, after in zip(trees[::2], trees[1::2], strict=True)]
    known = set(given)
    words = ("diff-tree", "-r", "-z", "--stdin", "--name-only", "--no-renames")
    listed = git(folder, *words, input="".join(f"{line}\n" for line in given).encode())
    found: dict[str, list[str]] = {}
    here: list[str] = []
    for part in listed.decode(errors="surrogateescape").split("\0"):
        head, _, name = part.partition("\n")
        while head in known:  # a pair stands on a line of its own before its files
            here = found.setdefault(head, [])
            part = name
            head, _, name = part.partition("\n")
        here += [part] if part else []
    return [found.get(line, []) for line in given]
