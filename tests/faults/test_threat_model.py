"""docs/threat-model.md names what is tried, and nothing that is not."""

import ast
import re
from pathlib import Path

from faults import test_answers, test_doubts, test_escapes, test_limits, test_marks, test_proposals, test_proposer_cell

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "threat-model.md").read_text(encoding="utf-8")


def test_every_test_named_in_the_table_exists() -> None:
    paths = [*HERE.glob("test_*.py"), *HERE.parent.glob("test_*.py")]
    trees = {path.stem: ast.parse(path.read_text()) for path in paths}
    functions = {node.name for tree in trees.values() for node in tree.body if isinstance(node, ast.FunctionDef)}
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named
    assert named <= functions | set(trees), named - functions - set(trees)


def test_every_row_is_in_the_table_and_every_row_of_the_table_is_played() -> None:
    played = {*test_marks.ROWS, *test_marks.BROKEN, *test_escapes.ROWS, *test_limits.ROWS, *test_limits.BROKEN}
    played |= {*test_limits.HOLES, *test_doubts.ROWS}
    played |= {*test_proposals.WRITTEN, *test_proposals.DONE, *test_answers.ROWS, *test_answers.BROKEN}
    played |= {*test_proposer_cell.ROWS, *test_proposer_cell.PLANTED}
    named = set(re.findall(r"^\| `([^`]+)`", PAGE, re.MULTILINE))
    assert named == played
