"""
CSV that people open in a spreadsheet: written so that no cell is computed there, whoever its words are from.
"""

import csv
import io
import itertools
import re
from collections.abc import Iterable
from typing import Any, TextIO

_SIGNS = tuple(
    "=+-@|\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
)
_BLANKS = " \t\r\n\0\N{NO-BREAK SPACE}\N{ZERO WIDTH NO-BREAK SPACE}"
_HARMLESS = re.compile(r"[+-]?[\d\s().,/-]*")  # a number, or one of a telephone


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would compute it. Wide forms of the signs are taken for them, and so is what follows a control character."""
    return text.lstrip(_BLANKS)[:1] in _SIGNS or text[:1] in ("\t", "\r", "\0")


def defused(cell: Any) -> str:
    """
    A cell as it is written: what would be computed begins with an apostrophe. Numbers and telephone numbers stay as they are, and nothing
    is nothing.
    """
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int | float):
        return repr(cell)
    text = one_line_end(str(cell))
    return f"'{text}" if is_formula(text) and not _HARMLESS.fullmatch(text.lstrip(_BLANKS)) else text


def one_line_end(text: str) -> str:
    """A lone carriage return, which csv does not quote, would begin a row of its own, and with it a formula."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def write(file: TextIO, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    for row in itertools.chain([header], rows):
        writer.writerow([defused(cell) for cell in row])


def text(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    file = io.StringIO()
    write(file, header, rows)
    return file.getvalue()
