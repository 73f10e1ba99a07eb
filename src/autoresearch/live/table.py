"""
Tables that people give us, read with bounds. Those for people are written by spreadsheet.py.
"""

import csv
import io
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

LARGEST = 64 << 20  # bytes of a file
MOST_ROWS = 500_000
MOST_COLUMNS = 200
LONGEST_CELL = 5000  # characters
Rows = Iterator[tuple[int, list[str]]]  # each with the number of the line that it begins at


class Problem(Struct, frozen=True, order=True):
    """What is wrong at a line of a file, counted from 1 with the header, in a column; "" for the whole line."""

    line: int
    column: str
    why: str

    def __str__(self) -> str:
        return f"line {self.line}{f', column {self.column}' if self.column else ''}: {self.why}"


class Unreadable(ValueError):
    """A file that is no table; the message says what to do, and `line` where."""

    def __init__(self, why: str, line: int = 1) -> None:
        super().__init__(why)
        self.line = line


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
        raise Unreadable("not UTF-8; save the file as 'CSV UTF-8' in your spreadsheet", line) from None
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
        for line, row in numbered(reader):
            if len(row) > MOST_COLUMNS or any(len(cell) > LONGEST_CELL for cell in row):
                raise Unreadable(
                    f"more than {MOST_COLUMNS} columns, or {LONGEST_CELL} characters in one; is a quotation mark not closed?",
                    line,
                )
            if not any(cell.strip() for cell in row):
                continue
            n += 1
            if n > MOST_ROWS + 1:
                raise Unreadable(f"{MOST_ROWS:,} rows is the most: divide the file", line)
            yield line, row
    except Broken as error:
        raise Unreadable(str(error), error.line) from None


class Broken(ValueError):
    """A record that is no CSV: why, and the line that it begins at."""

    def __init__(self, why: str, line: int) -> None:
        super().__init__(why)
        self.line = line


def numbered(reader: Any) -> Rows:
    """
    What a `csv.reader` has left, each record with the line that it begins at: one in which a field has line breaks ends further down.

    Raises:
        Broken: a record is no CSV.
    """
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            what = "a field is too long" if "field larger" in str(error) else str(error)
            raise Broken(f"not CSV: {what}; is a quotation mark that opens a text not closed?", line) from None
        if row is None:
            return
        yield line, row
