"""Candidate code that answers the scorer: the same sandbox, but what bounds a run must bound it too."""

from pathlib import Path

import pytest

from faults.conftest import Played, Row, check_row, play_rows

SCORE = """
import json, os, subprocess
with open(os.environ["AUTORESEARCH_HELD"] + "/target.json") as file:
    target = json.load(file)
argv = [os.environ["AUTORESEARCH_INSIDE"], "python", "candidate.py", "answer"]
answer = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
print(f"METRIC loss={abs(answer - target)}")
"""
# While it runs it does nothing; asked, it says what the best so far says, then attacks, and says more if that works.
ANSWERING = "import os, sys, time, signal\nif sys.argv[1:] != ['answer']: sys.exit()\nwon = lambda: (print(3000), os._exit(0))\n"
OWN = "\nprint({now})\n"
ROWS = {
    "answers-with-a-metric-line": Row("print('METRIC loss=0')\n", ("crash",), "score ended with exit code 1"),
    "answers-with-the-held-data": Row(
        "if 'AUTORESEARCH_HELD' in os.environ or os.path.exists('@FOLDER@/.autoresearch/data/held'): won()\n"
    ),
    "answers-by-writing-where-it-ran": Row(
        "try: open(os.environ['AUTORESEARCH_OUT'] + '/x', 'w'); won()\nexcept OSError: pass\n"
    ),
    "never-answers": Row("signal.signal(15, signal.SIG_IGN); time.sleep(60)\n", ("timeout",), "score was ended after"),
}
BROKEN = {
    "forks-many-while-it-answers": Row(
        "for _ in range(100):\n    try:\n        if os.fork() == 0: os.close(1); time.sleep(2); os._exit(0)\n"
        "    except OSError: sys.exit(1)\ntime.sleep(0.7)\nwon()\n",
        ("crash", "timeout"),
    ),
    "trains-while-it-answers": Row("while time.process_time() < 2: pass\nwon()\n", ("crash", "timeout")),
}


def answering(folder: Path, rows: dict[str, Row], backend: str) -> Played:
    return play_rows(folder, rows, backend, frame=(ANSWERING, OWN), files={"score.py": SCORE})


@pytest.fixture(scope="module")
def played(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Played:
    return answering(tmp_path_factory.mktemp("answers") / "repo", ROWS, backend)


@pytest.mark.parametrize("name", ROWS)
def test_code_that_answers_the_scorer_gets_no_more_than_a_run(played: Played, name: str) -> None:
    check_row(played, name, ROWS[name])


@pytest.mark.parametrize("name", BROKEN)
def test_code_that_answers_the_scorer_is_bounded_as_a_run_is(backend: str, tmp_path: Path, name: str) -> None:
    check_row(answering(tmp_path / "repo", {name: BROKEN[name]}, backend), name, BROKEN[name])
