"""
Patches from strangers: read as data, refused unless they are plain changes to files that may change, and written anew.

What git is given is never what a stranger wrote, but what was understood of it: whole lines in whole files, no links, no
modes, no renames, no binary files, no path that leads out.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from autoresearch.share.receipt import Refused

_FILE = re.compile(r"diff --git a/(\S+) b/(\S+)")
_INDEX = re.compile(r"index [0-9a-f]{7,64}\.\.[0-9a-f]{7,64}(?: (100644|100755))?")
_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@.*", re.DOTALL)
_PATH = re.compile(r"[\w.+@=-]+(?:/[\w.+@=-]+)*", re.ASCII)
MODES = ("100644", "100755")
MOST_FILES, MOST_LINES = 64, 20_000
CUT = "\\ No newline at end of file"


class Hunk(Struct, frozen=True):
    """Where it begins before and after, and its lines, each with its sign; a line that ends no file's last line is CUT."""

    before: int
    after: int
    lines: tuple[str, ...]


class File(Struct, frozen=True):
    """What happens to one file: `mode` where it is made or taken away."""

    path: str
    hunks: tuple[Hunk, ...]
    made: str = ""
    gone: str = ""


def read(patch: str, may_change: Callable[[str], bool]) -> list[File]:
    """
    A patch as `git diff` writes it, relative to the study's folder.

    Raises:
        Refused: anything in it is not a plain change to a file that may change.
    """
    lines = patch.split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    if len(lines) > MOST_LINES:
        raise Refused(f"its patch has more than {MOST_LINES} lines")
    found, place = [], 0
    while place < len(lines):
        one, place = _file(lines, place)
        path = one.path
        if not _PATH.fullmatch(path) or any(part in ("..", ".", ".git") for part in path.split("/")):
            raise Refused("its patch names a path that none of ours would be")
        if not may_change(path):
            raise Refused(f"its patch touches {path!r}, which may not change")
        found.append(one)
    if not found or len(found) > MOST_FILES or len({one.path for one in found}) < len(found):
        raise Refused("its patch is empty, or names too many files, or one twice")
    return found


def _file(lines: Sequence[str], place: int) -> tuple[File, int]:
    head = _FILE.fullmatch(lines[place])
    if not head or head[1] != head[2]:
        raise Refused("its patch is none that git writes of plain files")
    path, made, gone = head[1], "", ""
    place += 1
    if place < len(lines) and (mode := lines[place].removeprefix("new file mode ")) in MODES:
        made, place = mode, place + 1
    elif place < len(lines) and (mode := lines[place].removeprefix("deleted file mode ")) in MODES:
        gone, place = mode, place + 1
    if place < len(lines) and _INDEX.fullmatch(lines[place]):
        place += 1
    names = ("--- /dev/null" if made else f"--- a/{path}", "+++ /dev/null" if gone else f"+++ b/{path}")
    if tuple(lines[place : place + 2]) != names:
        if not (made or gone):
            raise Refused("its patch changes no lines")
        return File(path, (), made, gone), place  # an empty file
    place += 2
    hunks = []
    while place < len(lines) and (head := _HUNK.fullmatch(lines[place])):
        hunk, place = _hunk(lines, place + 1, *(1 if n is None else int(n) for n in head.groups()))
        hunks.append(hunk)
    if not hunks:
        raise Refused("its patch changes no lines")
    return File(path, tuple(hunks), made, gone), place


def _hunk(lines: Sequence[str], place: int, at: int, old: int, now: int, new: int) -> tuple[Hunk, int]:
    taken: list[str] = []
    while old or new or (place < len(lines) and lines[place] == CUT and taken and taken[-1] != CUT):
        line = lines[place] if place < len(lines) else ""
        sign = line[:1]
        if line != CUT:
            if sign not in (" ", "+", "-"):
                raise Refused("its patch has a hunk that is no hunk")
            old -= sign in " -"
            new -= sign in " +"
            if old < 0 or new < 0:
                raise Refused("its patch has a hunk that is no hunk")
        taken.append(line)
        place += 1
    return Hunk(at, now, tuple(taken)), place


def write(files: Sequence[File]) -> str:
    """The same patch, as we write it."""
    return "".join(_written(one, one.hunks) for one in files)


def line_for_line(files: Sequence[File]) -> str | None:
    """
    The same without the lines around the changes, for where those have changed: constants stand in adjacent lines. None where
    that would put lines in place of none: nothing says where they belong.
    """
    if any(one.made or one.gone or CUT in hunk.lines for one in files for hunk in one.hunks or ()):
        return None
    narrow = [(one, tuple(hunk for wide in one.hunks for hunk in _narrow(wide))) for one in files]
    if any(not any(line[0] == "-" for line in hunk.lines) for _, hunks in narrow for hunk in hunks):
        return None
    return "".join(_written(one, hunks) for one, hunks in narrow)


def _narrow(hunk: Hunk) -> Iterator[Hunk]:
    before, after = hunk.before, hunk.after
    taken: list[str] = []
    begin = before, after
    for line in (*hunk.lines, " "):
        if line[0] == " ":
            if taken:
                yield Hunk(*begin, tuple(taken))
            taken = []
            before, after = before + 1, after + 1
            begin = before, after
            continue
        taken.append(line)
        before += line[0] == "-"
        after += line[0] == "+"


def _written(one: File, hunks: Sequence[Hunk]) -> str:
    head = [f"diff --git a/{one.path} b/{one.path}"]
    head += [f"new file mode {one.made}"] if one.made else [f"deleted file mode {one.gone}"] if one.gone else []
    if hunks:
        head += [
            "--- /dev/null" if one.made else f"--- a/{one.path}",
            "+++ /dev/null" if one.gone else f"+++ b/{one.path}",
        ]
    for hunk in hunks:
        old = sum(line[0] in " -" for line in hunk.lines if line != CUT)
        new = sum(line[0] in " +" for line in hunk.lines if line != CUT)
        head += [f"@@ -{hunk.before},{old} +{hunk.after},{new} @@", *hunk.lines]
    return "\n".join([*head, ""])
