"""A program that was measured is not measured again, however it is written; what comes near to one is marked."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers import History, Recorder, commit, git, make_study, write
from hypothesis import given
from hypothesis import strategies as st

from autoresearch import log, session
from autoresearch.change import Shapes
from autoresearch.cli import main
from autoresearch.near import are_near, sketch
from autoresearch.session import Goal
from autoresearch.state import State
from autoresearch.study import load
from autoresearch.trial import Trial
from autoresearch.workspace import Workspace

START = 'RATE = 1e-3\nSTEPS = 64 * 1024\nprint(f"METRIC loss={10 - RATE * STEPS / 100}")\n'


def study(folder: Path, *contents: str, more: dict[str, str] | None = None, **changes: Any) -> Path:
    """A study of a Python program, with a script of what it becomes, one after another."""
    steps: list[dict[str, Any]] = [{"idea": f"idea {i}", "files": {"step.py": c}} for i, c in enumerate(contents, 1)]
    table = {"asset": ["step.py", "more.txt"], "measure": {"run": "python step.py"}} | changes
    return make_study(folder, *steps, files={"step.py": START} | (more or {}), **table)


def run(folder: Path) -> State:
    return session.run(folder, Goal(), Recorder())


def words(state: State) -> list[str]:
    return [trial.word for trial in state.trials.values()]


def why(state: State, trial: int) -> str:
    verdict = state.trials[trial].verdict
    return verdict.why if verdict else ""


# -- the same program ------------------------------------------------------------------------------------


def test_a_program_written_differently_costs_no_run(tmp_path: Path) -> None:
    slower = START.replace("1e-3", "5e-4")
    again = '"""Slower."""\n' + slower.replace("5e-4", "0.0005  # half").replace("64 * 1024", "65_536")
    state = run(study(tmp_path, slower, again, START.replace("1e-3", "0.0005").replace("64", "32")))

    assert words(state) == ["keep", "discard", "rejected", "discard"]
    assert why(state, 2) == "the same program as trial 1, written differently"
    assert not state.trials[2].runs
    assert state.trials[1].shape == state.trials[2].shape != state.trials[3].shape


def test_a_change_of_comments_and_layout_alone_changes_nothing_that_runs(tmp_path: Path) -> None:
    state = run(study(tmp_path, f"# a comment\n\n{START}", START.replace("1e-3", "(1e-3)").replace("64 * ", "2**6 * ")))

    assert words(state) == ["keep", "rejected", "rejected"]
    assert why(state, 1) == why(state, 2) == "it changes nothing that runs"


def test_code_can_still_be_left_out(tmp_path: Path) -> None:
    start = f"import os\n{START}os.getpid()\n"
    folder = study(tmp_path, START, more={"step.py": start})
    assert words(run(folder)) == ["keep", "keep"]  # equal, and simpler


def test_the_baseline_written_differently_is_known_after_best_has_moved(tmp_path: Path) -> None:
    state = run(study(tmp_path, START.replace("1e-3", "2e-3"), START.replace("1e-3", "0.001")))

    assert words(state) == ["keep", "keep", "rejected"]
    assert why(state, 2) == "the same program as trial 0, written differently"


def test_a_trial_that_could_not_be_run_stands_in_nobodys_way(tmp_path: Path) -> None:
    better = START.replace("1e-3", "2e-3")
    folder = study(tmp_path, more={"frozen.py": "A = 1\n"})
    steps = [{"idea": "too much", "files": {"step.py": better, "frozen.py": "A = 2\n"}}]
    steps.append({"idea": "put right", "files": {"step.py": better}})
    write(folder, {"steps.jsonl": "".join(json.dumps(step) + "\n" for step in steps)})
    commit(folder)

    assert words(run(folder)) == ["keep", "rejected", "keep"]


def test_shapes_are_forgotten_with_the_referee_but_for_the_best() -> None:
    past = History()
    past.baseline(1.0)
    tried = past.tried(2.0, shape="s1")
    past.decide(tried, "discard", 2.0)
    kept = past.tried(0.5, shape="s2")
    past.decide(kept, "keep", 0.5)
    assert past.state.shapes == {"s1": tried, "s2": kept}
    past.reopen("d1")
    assert past.state.shapes == {}
    baseline = past.baseline(0.5)
    assert past.state.shapes == {"s2": baseline}


def test_a_log_without_shapes_can_be_read() -> None:
    past = History()
    past.baseline(1.0)
    past.tried(2.0)
    assert past.state.shapes == {}
    assert past.state.trials[1].near is None


def test_the_shape_of_an_asset_is_the_same_from_a_worktree_and_from_git(tmp_path: Path) -> None:
    folder = study(tmp_path, more={"more.txt": "text  \n"})
    workspace = Workspace(folder, load(folder))
    start, tree = workspace.head()
    with workspace.open(Trial(1, start, tree)) as opened:
        (opened.path / "step.py").write_text(f"# why\n{START}")
        (opened.path / "more.txt").unlink()
        changed = opened.change()
    assert changed.base_shape == workspace.shapes.of(start) != changed.shape
    git(folder, "rm", "--quiet", "more.txt")
    write(folder, {"step.py": f"{START}\n# why not\n"})
    after = commit(folder)
    assert Shapes(folder, Workspace(folder, load(folder)).shapes.asset).of(after) == changed.shape


def test_a_large_file_is_its_bytes_and_is_not_read(tmp_path: Path) -> None:
    large = "A = 1\n" * 100_000
    folder = study(tmp_path, more={"step.py": large})
    workspace = Workspace(folder, load(folder))
    start, tree = workspace.head()
    with workspace.open(Trial(1, start, tree)) as opened:
        (opened.path / "step.py").write_text(f"# why\n{large}")
        changed = opened.change()
    assert changed.shape != changed.base_shape


# -- near to one -----------------------------------------------------------------------------------------


def patch(before: str, after: str) -> str:
    lines = [f"-{line}" for line in before.splitlines()] + [f"+{line}" for line in after.splitlines()]
    return "\n".join(["diff --git a/f.py b/f.py", "--- a/f.py", "+++ b/f.py", "@@ -1 +1 @@", *lines, ""])


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ((1.0, 2.0), (1.0, 2.1), True),
        ((1.0, 2.0), (1.0, 3.0), False),
        ((1.0, 2.0), (1.0, 0.5), False),
        ((1.0, 2.0), (1.2, 2.1), True),  # from another base
        ((1e-3, 3e-3), (1e-3, 2.9e-3), True),
        ((-1, -2), (-1, 2), False),
    ],
)
def test_near_is_the_same_number_set_the_same_way_to_a_close_value(
    one: tuple[float, float], other: tuple[float, float], near: bool
) -> None:
    sketches = [sketch(patch(f"LR = {a}  # rate", f"LR = {b}  # rate")) for a, b in (one, other)]
    assert are_near(*sketches) is near
    elsewhere = sketch(patch(f"WD = {other[0]}", f"WD = {other[1]}"))
    assert not are_near(sketches[0], elsewhere)


def test_near_is_a_diff_of_mostly_the_same_lines() -> None:
    lines = [f"layer_{i} = make({i})" for i in range(8)]
    one = sketch(patch("", "\n".join(lines)))
    assert are_near(one, sketch(patch("", "\n".join([*lines[:7], "another()"]))))
    assert are_near(one, sketch(patch("", "\n".join(f"    {line}" for line in lines))))
    assert not are_near(one, sketch(patch("", "\n".join([*lines[:4], "a()", "b()", "c()", "d()"]))))
    assert not are_near(one, sketch(patch("\n".join(lines), "")))
    assert not are_near(sketch(patch("", "a = 1")), sketch(patch("", "a = 1\nb = f()")))


def test_lines_that_look_like_headers_are_lines() -> None:
    one = sketch(patch("-- x\n++ y", "-- z\n++ w"))
    assert one.lines == {"- f.py -- x", "- f.py ++ y", "+ f.py -- z", "+ f.py ++ w"}


@given(st.text(max_size=300))
def test_any_text_can_be_sketched(text: str) -> None:
    for whole in (text, f"@@\n{text}", patch(text, text[::-1])):
        one = sketch(whole)
        assert not one.numbers or are_near(one, one) or any(a == b for a, b in one.numbers.values())


def test_a_trial_that_comes_near_to_one_that_did_not_help_is_marked_and_run(tmp_path: Path) -> None:
    contents = [START.replace("1e-3", value) for value in ("5e-4", "5.1e-4", "2e-3", "2e-4")]
    folder = study(tmp_path, *contents)
    state = run(folder)

    assert words(state) == ["keep", "discard", "discard", "keep", "discard"]
    assert [trial.near for trial in state.trials.values()] == [None, None, 1, None, None]
    assert [trial.near for trial in log.read(session.journal(folder)).trials.values()][2] == 1
    shown = CliRunner().invoke(main, ["show", "2", "-C", str(folder)]).output
    assert "near      trial 1, which did not help" in shown
    lines = CliRunner().invoke(main, ["log", "--json", "-C", str(folder)]).output.splitlines()
    assert json.loads(lines[2])["near"] == 1


def test_what_it_comes_near_to_is_the_same_after_a_restart(tmp_path: Path) -> None:
    contents = [START.replace("1e-3", value) for value in ("5e-4", "2e-4", "5.1e-4")]
    folder = study(tmp_path, *contents)
    session.run(folder, Goal(trials=2), Recorder())
    assert session.run(folder, Goal(trials=1), Recorder()).trials[3].near == 1
