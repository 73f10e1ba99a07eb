"""
What a page shows beside words: files under the study's folder `static`, and pictures that lie elsewhere.
"""

import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

from autoresearch.live.variables import Variables

MOST = 8_000_000  # bytes of a file
KINDS = {
    ".avif": "image/avif",
    ".css": "text/css",
    ".gif": "image/gif",
    ".ico": "image/x-icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}


def read(root: Path, name: str) -> tuple[bytes, str] | None:
    """
    A file's bytes and kind. None for what is not there, lies elsewhere (by .. or by a link), begins with a dot anywhere, is too large or
    of no kind that a page needs.
    """
    parts = name.split("/")
    kind = KINDS.get(os.path.splitext(name)[1].lower())
    if kind is None or "\0" in name or any(not part or part.startswith(".") for part in parts):
        return None
    try:
        path = root.joinpath(*parts).resolve(strict=True)
        if not path.is_relative_to(root.resolve(strict=True)):
            return None
        # Not waiting: a pipe that nobody writes to would be waited for for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
        with open(fd, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > MOST:
                return None
            return file.read(MOST), kind
    except (OSError, ValueError, RuntimeError):
        return None


def origins(variables: Variables) -> tuple[str, ...]:
    """The sites from which pictures come, as a page's policy names them."""
    found = set()
    for variable in variables.variables.values():
        for text in variable.levels.values() if variable.kind == "image" else ():
            host = urlsplit(text).netloc if text.startswith("https://") else ""
            if host and not set(host) & set(" ;,'\"@"):
                found.add(f"https://{host}")
    return tuple(sorted(found))
