"""
Text of unknown origin, as data: whatever a run, a model or a peer wrote, so that it cannot pose as anything else.

Pure functions. Two shapes: one bounded line in quotation marks, and a block whose every line begins with a bar. In
neither can a line begin with what somebody else wrote, so no heading, no fence, no list and no end of the quotation
can come out of it; control characters, terminal escapes and invisible ones among them, are spelled out.
"""

import re

BAR = "| "
LINE = 800  # characters of a line in a block
_SWAPS = str.maketrans({'"': "'", "`": "'", "<": "\u2039"})
_ODD = re.compile(r"[^\w./%+-]")


def quote(text: str, most: int) -> str:
    """One line in quotation marks, at most `most` characters with them. What looks like markup is broken."""
    flat = " ".join(text[: 4 * most].split())
    shown = plain(flat.translate(_SWAPS).replace("](", "] ("))
    cut = len(shown) > most - 2 or len(text) > 4 * most
    return f'"{shown[: most - 3]}…"' if cut else f'"{shown}"'


def word(text: str, most: int = 40) -> str:
    """A name: of a proposer, of a number that a run stated. Anything but letters, digits and `_./%+-` becomes `?`."""
    return _ODD.sub("?", text[:most]) or "?"


def block(lines: list[str], most: int) -> list[str]:
    """
    Lines of a file, each behind a bar, as many as fit into `most` characters, line ends counted; those that do not
    are left out from the middle, and it is said how many.
    """
    shown = [BAR + _line(line) for line in lines]
    if sum(len(line) + 1 for line in shown) <= most:
        return shown
    room = most - len(_gap(len(lines))) - 1
    head, tail = _fitting(shown, room * 3 // 4), _fitting(shown[::-1], room // 4)
    return [*shown[:head], _gap(len(lines) - head - tail), *(shown[-tail:] if tail else [])]


def _gap(lines: int) -> str:
    return f"(… {lines:,} lines are left out here; the file in your worktree has them)"


def _fitting(lines: list[str], room: int) -> int:
    """How many of the first lines fit."""
    for n, line in enumerate(lines):
        room -= len(line) + 1
        if room < 0:
            return n
    return len(lines)


def _line(line: str) -> str:
    shown = plain(line[:LINE], keep="\t")
    more = len(line) - LINE
    return shown[:LINE] + (f" (… {more:,} more characters)" if more > 0 else "")


def plain(text: str, keep: str = "") -> str:
    """Every character that cannot be seen, spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _spelled(c) for c in text)


def _spelled(char: str) -> str:
    number = ord(char)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
