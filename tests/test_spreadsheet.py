"""CSV that is opened in a spreadsheet: no cell is computed there, and what was written is read back."""

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch import spreadsheet

SIGNS = [
    "=",
    "+",
    "-",
    "@",
    "|",
    "\t=",
    "\r+",
    " =",
    "\n-",
    "\0@",
    "\N{FULLWIDTH EQUALS SIGN}",
    "\N{NO-BREAK SPACE}=",
    "",
]


def back(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.sampled_from(SIGNS))
def test_no_words_are_taken_for_a_formula(text: str, sign: str) -> None:
    made = spreadsheet.defused(sign + text)
    assert made.removeprefix("'") == spreadsheet.one_line_end(sign + text).removeprefix("'")
    letters = any(letter.isalpha() for letter in text)
    assert not (spreadsheet.is_formula(made) and letters)


@given(st.lists(st.lists(st.text("=+-@\t\r\n'\"ab,", max_size=6), min_size=2, max_size=2), max_size=5))
def test_what_is_written_is_read_back_row_by_row(rows: list[list[str]]) -> None:
    made = spreadsheet.text(["a", "b"], rows)
    assert "\r" not in made
    assert back(made) == [["a", "b"], *([spreadsheet.defused(cell) for cell in row] for row in rows)]
    assert not [cell for row in back(made) for cell in row if cell.strip().startswith(("=", "@"))]


def test_numbers_are_written_as_numbers() -> None:
    rows: list[list[object]] = [[-1.5, True, 7], [None, "-1.5", "+49 (170) 12/3-4"], ["-1+A1", "+x", "@b"]]
    assert spreadsheet.text(["n", "m", "o"], rows) == "n,m,o\n-1.5,true,7\n,-1.5,+49 (170) 12/3-4\n'-1+A1,'+x,'@b\n"
