"""
The secret that steering takes: made once per study, kept beside its log, readable by its owner alone.
"""

import contextlib
import hmac
import os
import re
import secrets
import stat
from pathlib import Path

from autoresearch import files
from autoresearch.errors import StudyError

FILE = "web-token"
_SHAPE = re.compile(r"[A-Za-z0-9_-]{43}")


def get(home: Path) -> str:
    """
    The study's token; a new one where there is none, or where others could read or have written the old one.

    Raises:
        StudyError: the folder cannot be written to.
    """
    path = home / FILE
    known = _read(path)
    if known:
        return known
    made = secrets.token_urlsafe(32)
    try:
        files.put(path, made.encode(), 0o600)
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}; the study's folder must be writable") from None
    return made


def _read(path: Path) -> str | None:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with open(fd) as file:
            status = os.fstat(file.fileno())
            ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
            words = file.read(64)
        return words if ours and _SHAPE.fullmatch(words) else None
    return None


def matches(given: str, token: str) -> bool:
    """Compared in a time that does not tell how much of it was right."""
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())
