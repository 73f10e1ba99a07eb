"""
What a page shows beside words: files under the study's folder `static`, and pictures that lie elsewhere.
"""

import os
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


def kind(name: str) -> str | None:
    """What a file of this name under static/ is; None where it begins with a dot anywhere, or is of no kind that a page needs."""
    if any(not part or part.startswith(".") for part in name.split("/")):
        return None
    return KINDS.get(os.path.splitext(name)[1].lower())


def origins(variables: Variables) -> tuple[str, ...]:
    """The sites from which pictures come, as a page's policy names them."""
    found = set()
    for variable in variables.variables.values():
        for text in variable.levels.values() if variable.kind == "image" else ():
            host = urlsplit(text).netloc if text.startswith("https://") else ""
            if host and not set(host) & set(" ;,'\"@"):
                found.add(f"https://{host}")
    return tuple(sorted(found))
