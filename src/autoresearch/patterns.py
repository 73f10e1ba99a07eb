"""
Asset patterns: which files, relative to the study's folder, may change. Knows no files.
"""

import re
from collections.abc import Iterable


def may_change(patterns: Iterable[str], path: str) -> bool:
    return any(compiled(glob).fullmatch(path) for glob in patterns)


def compiled(glob: str) -> re.Pattern[str]:
    """
    A path pattern: `*` and `?` stay within a folder, `**` crosses folders, and a folder's name means
    everything in it.
    """
    tokens = re.split(r"(\*\*/|\*\*|\*|\?)", glob.removeprefix("./").rstrip("/"))
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meaning.get(token) or re.escape(token) for token in tokens) + "(?:/.*)?", re.DOTALL)
