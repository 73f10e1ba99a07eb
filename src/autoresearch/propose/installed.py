"""
Where a program is installed, and what a sandbox has to show of it so that it starts: its package, its interpreter.

Looks at files; starts nothing.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from autoresearch.execute.environment import environment
from autoresearch.execute.machine import Slot

LINKS = 20  # followed, one to the next
HEAD = 256  # bytes in which a script names its interpreter


class Installed(Struct, frozen=True):
    """A program, what has to be seen of the machine for it, and folders in which its interpreter is looked for."""

    program: Path
    read: tuple[Path, ...]
    path: tuple[Path, ...] = ()


def find(name: str) -> Installed | None:
    """A program by name, as it is found on the PATH that programs are given; None if it is not there."""
    search = environment(Slot(), {})["PATH"]
    found = shutil.which(name, path=search)
    if found is None:
        return None
    program = _followed(Path(found))
    read, path = [*_around(program)], []
    if interpreter := _interpreter(program, search):
        read += _around(interpreter)
        path.append(interpreter.parent)
    return Installed(program, tuple(dict.fromkeys(read)), tuple(path))


def _followed(path: Path) -> Path:
    """
    What a link leads to, link by link: a package's file lies among what it needs. A virtual environment's own link
    to its Python is left as it is, since by any other name it would not find the environment.
    """
    path = path.absolute()
    for _ in range(LINKS):
        if not path.is_symlink() or (path.parent.parent / "pyvenv.cfg").exists():
            break
        path = Path(os.path.normpath(path.parent.resolve() / path.readlink()))
    return path


def _around(program: Path) -> Iterator[Path]:
    """The package that a program belongs to, as npm, venv and pipx lay it out; else the file by itself."""
    packages = [parent for parent in program.parents if parent.name == "node_modules"]
    if packages:
        yield packages[-1]
        return
    environment_of = program.parent.parent
    if (environment_of / "pyvenv.cfg").is_file():
        yield environment_of
        python = (program.parent / "python").resolve()
        if python.exists() and len(python.parents) > 2:  # a Python at the root has its library below /usr
            yield python.parent.parent
        return
    yield program


def _interpreter(program: Path, search: str) -> Path | None:
    """What a script starts with, as its first line says: `#!/usr/bin/env node`."""
    try:
        with program.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return None
    if not head.startswith(b"#!"):
        return None
    words = head[2:].partition(b"\n")[0].decode(errors="replace").split()
    if len(words) > 1 and Path(words[0]).name == "env":
        found = shutil.which(words[2] if words[1] == "-S" and len(words) > 2 else words[1], path=search)
        return _followed(Path(found)) if found else None
    return _followed(Path(words[0])) if words and Path(words[0]).exists() else None
