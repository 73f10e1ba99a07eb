"""
Text of unknown origin on one short line: what a model, a run or a peer wrote, as data. Nothing of ours is imported.

Knows how wide characters are in a terminal; does not know what the text is about.
"""

import unicodedata

from rich.cells import cell_len, set_cell_size

LONGEST = 400  # characters that are looked at
MARKS = 2  # signs of no width in a row: enough for any script, too few to climb into the line above


def line(text: str, cells: int = LONGEST) -> str:
    """
    The text without control characters (terminal escapes among them) or line ends, at most so many cells wide; what
    is left out at the end is marked with an ellipsis.
    """
    bounded = text[:LONGEST]
    seen = " ".join("".join(_visible(unicodedata.normalize("NFC", bounded))).split())
    if len(bounded) == len(text) and cell_len(seen) <= cells:
        return seen
    return set_cell_size(seen, min(cells, cell_len(seen) + 1) - 1).rstrip() + "…" if cells > 0 else ""


def _visible(text: str) -> list[str]:
    found: list[str] = []
    marks = 0
    for c in text:
        if c.isspace():
            found.append(" ")
            continue
        c = c if c.isprintable() else "�"
        marks = marks + 1 if cell_len(c) == 0 else 0
        if marks <= MARKS:
            found.append(c)
    return found
