"""What a candidate prints and leaves behind: none of it is its mark."""

import json
import subprocess
from pathlib import Path

import pytest
from helpers import autoresearch, play, words

from faults.conftest import PRELUDE, Played, Row, check_row, fault_study, play_rows

FAILED = ("crash",)
WRITE = 'open(OUT + "/answer.json", "w").write({!r})\n'

ROWS = {
    "fake-metric-line": Row('print("METRIC loss=0")\n'),
    "fake-metric-line-before-and-after": Row('print("METRIC loss=9")\nprint("METRIC loss=0")\n'),
    "fake-summary": Row('print("---")\nprint("loss:  0")\n'),
    "fake-result-json": Row('open(OUT + "/result.json", "w").write(\'{"loss": 0}\')\n'),
    "nan": Row(WRITE.format("NaN"), FAILED, "not_finite|loss is nan"),
    "infinity": Row(WRITE.format("Infinity"), FAILED, "loss is inf"),
    "minus-infinity": Row(WRITE.format("-Infinity"), FAILED, "loss is inf"),
    "1e308": Row(WRITE.format("-1e308"), FAILED, r"loss is 1e\+308"),
    "empty-answer": Row(WRITE.format(""), FAILED, "score ended with exit code 1"),
    "two-values": Row(WRITE.format("1 5500"), FAILED, "score ended with exit code 1.*Extra data"),
    "metric-line-as-the-answer": Row(WRITE.format("\nMETRIC loss=0\n"), FAILED, "score ended with exit code 1"),
    "nothing-left": Row('os.unlink(OUT + "/answer.json")\n', FAILED, "score ended with exit code 1.*No such file"),
    "exits-0-at-once": Row('os.unlink(OUT + "/answer.json")\nos._exit(0)\n', FAILED, "exit code 1"),
    "returns-a-loss-as-exit-code": Row("sys.exit(3)\n", FAILED, "run ended with exit code 3"),
    "200-mb-of-output": Row('line = b"x" * (1 << 20)\nfor _ in range(200): os.write(1, line)\n'),
    "binary-garbage": Row("os.write(1, os.urandom(1 << 20)); os.write(2, os.urandom(1 << 20))\n"),
    "terminal-escapes": Row(
        'esc = "\\x1b[2J\\x1b]0;owned\\x07"\nprint(esc + "METRIC loss=0" + esc)\nsys.exit(esc + "bye" + esc)\n',
        FAILED,
        r"exit code 1: '\\x1b",
    ),
    "pickle-as-the-answer": Row(
        "import pickle\n"
        "class Evil:\n"
        "    def __reduce__(self): return (os.system, ('echo METRIC loss=0; touch @FOLDER@/owned',))\n"
        'open(OUT + "/answer.json", "wb").write(pickle.dumps(Evil(), 0))\n',
        FAILED,
        "score ended with exit code 1",
    ),
    "json-nested-too-deep": Row(WRITE.format("[" * 100_000), FAILED, "score ended with exit code 1.*Recursion"),
    "a-pipe-as-the-answer": Row('os.unlink(OUT + "/answer.json"); os.mkfifo(OUT + "/answer.json")\n', FAILED),
    "a-folder-as-the-answer": Row('os.unlink(OUT + "/answer.json"); os.mkdir(OUT + "/answer.json")\n', FAILED),
}
BROKEN = {
    # The scorer is trusted and follows the link to what the candidate itself could not open.
    "a-link-to-the-held-answer": Row(
        'os.unlink(OUT + "/answer.json")\nos.symlink("@FOLDER@/.autoresearch/data/held/target.json", OUT + "/answer.json")\n',
        ("crash", "rejected"),
    ),
    "a-folder-too-deep-to-delete": Row(
        'os.chdir(OUT)\nfor _ in range(1500):\n    os.mkdir("d"); os.chdir("d")\n', ("discard", "crash")
    ),
}


@pytest.fixture(scope="module")
def played(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play_rows(tmp_path_factory.mktemp("marks") / "repo", ROWS, backend)


@pytest.mark.parametrize("name", ROWS)
def test_what_a_candidate_says_or_leaves_is_never_its_mark(played: Played, name: str) -> None:
    check_row(played, name, ROWS[name])


@pytest.mark.parametrize("name", BROKEN)
def test_what_lies_in_the_output_folder_cannot_turn_frozen_code_against_the_study(
    backend: str, tmp_path: Path, name: str
) -> None:
    try:
        check_row(play_rows(tmp_path / "repo", {name: BROKEN[name]}, backend), name, BROKEN[name])
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "repo"], check=True)  # shutil cannot: pytest's own clean-up would fail


def test_a_pickle_in_the_output_is_never_executed(played: Played) -> None:
    assert not (played.folder / "owned").exists()


def test_output_on_disk_is_bounded(played: Played) -> None:
    run = played.trials["200-mb-of-output"].runs[0]
    assert (played.folder / ".autoresearch" / "runs" / str(run) / "run.out.txt").stat().st_size < 8 << 20


def test_what_a_candidate_prints_reaches_no_terminal_raw(played: Played) -> None:
    id = played.trials["terminal-escapes"].id
    for args in (("log",), ("show", str(id)), ("log", "--json"), ("show", str(id), "--json")):
        done = autoresearch(*args, cwd=played.folder)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout, args
        assert "\x07" not in done.stdout, args


def test_a_value_below_the_metrics_minimum_is_implausible(backend: str, tmp_path: Path) -> None:
    steps = [{"idea": i, "files": {"candidate.py": PRELUDE.format(now=n)}} for i, n in (("too good", 4999), ("ok", 1))]
    state = play(fault_study(tmp_path / "repo", steps, backend, metric={"min": 1000.0}))
    assert words(state) == ["crash", "keep"]
    found = state.runs[state.trials[1].runs[0]].measurement
    assert found is not None
    assert (found.status, found.value) == ("implausible", None)


def test_where_there_is_no_scorer_two_different_values_are_no_value(backend: str, tmp_path: Path) -> None:
    lines = ['print("METRIC loss=9")\nprint("METRIC loss=1")\n', 'print("METRIC loss=8")\n']
    steps = [{"idea": str(i), "files": {"candidate.py": line}} for i, line in enumerate(lines)]
    table = {"run": "python candidate.py", "timeout_s": 4}
    folder = fault_study(
        tmp_path / "repo", steps, backend, files={"candidate.py": 'print("METRIC loss=9")\n'}, measure=table
    )
    contract = (folder / "study.toml").read_text()
    (folder / "study.toml").write_text(contract.replace('"score" = "python score.py", ', ""))
    state = play(folder)
    assert json.dumps(words(state)) == '["crash", "keep"]'
