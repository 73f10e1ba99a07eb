"""
Files that are there whole or not at all; and folders that a candidate could write to: how to look through and remove them without being
led astray.

Links are never followed, and depth costs no stack: a candidate may nest folders as deep as the disk allows.
"""

import contextlib
import os
import secrets
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder, folders before what they hold; what cannot be read is passed over."""
    waiting = [str(folder)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as found:
            for entry in found:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


def keep_plain(folder: Path) -> None:
    """
    Remove all that is neither a regular file nor a folder. What reads the folder next, the scorer for one, would
    follow a link to where the candidate could not go, and wait for ever at a pipe.
    """
    for entry in entries(folder):
        with contextlib.suppress(OSError):
            mode = entry.stat(follow_symlinks=False).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                os.unlink(entry.path)


def traces(paths: Iterable[Path]) -> dict[Path, tuple[int, int, int] | None]:
    """
    Inode, size and time of the last change of each file, None where there is none. Equal traces mean equal content:
    unlike the time of the last writing, the kernel lets nobody set this one.
    """
    found: dict[Path, tuple[int, int, int] | None] = {}
    for path in paths:
        try:
            status = path.lstat()
            found[path] = (status.st_ino, status.st_size, status.st_ctime_ns)
        except OSError:
            found[path] = None
    return found


def put(path: Path, data: bytes, mode: int = 0o644) -> None:
    """
    A file that is there whole or not at all, whoever looks meanwhile; on the disk when this returns. Its folder is made where there is
    none.

    Raises:
        OSError: the disk refused; what was there is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove(folder: Path) -> None:
    """Remove a folder and all it holds."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        subprocess.run(["rm", "-rf", "--", str(folder)], check=False)
