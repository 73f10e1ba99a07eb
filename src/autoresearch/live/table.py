"""
Tables that people open in a spreadsheet: written so that no cell becomes a formula there, and read with bounds.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

LARGEST = 64 << 20  # bytes of a file
MOST_ROWS = 500_000
MOST_COLUMNS = 200
LONGEST_CELL = 5000  # characters
Rows = Iterator[tuple[int, list[str]]]  # each with the number of its last line
_FORMULA = ("=", "+", "-", "@", "\t", "\n")  # what a spreadsheet may begin to compute at


class Problem(Struct, frozen=True, order=True):
    """What is wrong at a line of a file, counted from 1 with the header, in a column; "" for the whole line."""

    line: int
    column: str
    why: str

    def __str__(self) -> str:
        return f"line {self.line}{f', column {self.column}' if self.column else ''}: {self.why}"


class Unreadable(ValueError):
    """A file that is no table; the message says what to do."""


def defused(cell: Any) -> str:
    """A cell as it is written: words that a spreadsheet would compute begin with an apostrophe."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int | float):
        return repr(cell)
    # csv does not quote a lone carriage return, which begins a row of its own in a spreadsheet.
    text = str(cell).replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(_FORMULA) else text


def write(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A CSV file."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([defused(cell) for cell in row])
    return file.getvalue()


def read(content: bytes) -> tuple[list[str], Rows]:
    """
    The names of the columns, and each row that is not empty. Commas, semicolons or tabs.

    Raises:
        Unreadable: it is no such file; also while rows are read.
    """
    if len(content) > LARGEST:
        raise Unreadable(f"the file has {len(content):,} bytes, and {LARGEST:,} is the most: divide it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"line {line}: not UTF-8; save the file as 'CSV UTF-8' in your spreadsheet") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    rows = _rows(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    _, header = next(rows, (0, []))
    names = [name.strip() for name in header]
    if not any(names):
        raise Unreadable("the file is empty; its first line must name the columns")
    return names, rows


def _rows(reader: Any) -> Rows:
    n = 0
    try:
        for row in reader:
            if len(row) > MOST_COLUMNS or any(len(cell) > LONGEST_CELL for cell in row):
                raise Unreadable(
                    f"line {reader.line_num}: more than {MOST_COLUMNS} columns, or {LONGEST_CELL} characters in one; is a quotation "
                    "mark not closed?"
                )
            if not any(cell.strip() for cell in row):
                continue
            n += 1
            if n > MOST_ROWS + 1:
                raise Unreadable(f"line {reader.line_num}: {MOST_ROWS:,} rows is the most: divide the file")
            yield reader.line_num, row
    except csv.Error as error:
        raise Unreadable(f"line {reader.line_num}: not CSV: {error}") from None
