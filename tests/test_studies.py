"""The studies under a folder: one line each, whatever state it is in."""

import json
import os
from pathlib import Path

import pytest
from helpers import autoresearch, eventually, make_study, play, says, started, step

from autoresearch import studies
from autoresearch.errors import AutoresearchError
from autoresearch.log import Log
from autoresearch.session import journal


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("studies")
    play(make_study(top / "ended", says(9), says(11)))
    make_study(top / "deep" / "er" / "never")
    make_study(top / "broken")
    (top / "broken" / "study.toml").write_text('nme = "x"\n')
    play(make_study(top / "damaged", says(9)))
    lines = journal(top / "damaged").read_text().splitlines(keepends=True)
    journal(top / "damaged").write_text("".join([*lines[:2], "no JSON\n", *lines[2:]]))
    for name in ("node_modules/a", ".git/b", ".autoresearch/c", "env/lib/d"):
        make_study(top / name)
    (top / "env" / "pyvenv.cfg").touch()
    os.symlink(top, top / "deep" / "round")
    return top


def test_every_study_is_a_line_and_a_broken_one_says_why(top: Path) -> None:
    found = {one.folder: one for one in studies.find(top).studies}
    assert list(found) == ["broken", "damaged", "deep/er/never", "ended"]
    ended = found["ended"]
    assert (ended.state, ended.trials, ended.kept, ended.start, ended.best) == ("ended", 2, 1, 10.0, 9.0)
    assert (found["deep/er/never"].state, found["deep/er/never"].study) == ("never run", "s")
    assert found["broken"].state == found["damaged"].state == "broken"
    assert "did you mean" in found["broken"].error
    assert "line 3: damaged" in found["damaged"].error


def test_the_table_and_json_say_the_same(top: Path) -> None:
    data = json.loads(autoresearch("ls", str(top), "--json", cwd=top).stdout)
    assert [one["folder"] for one in data["studies"]] == ["broken", "damaged", "deep/er/never", "ended"]
    assert data["cut"] is False
    shown = autoresearch("ls", str(top), cwd=top, env={"COLUMNS": "160"})
    assert shown.returncode == 0
    lines = [line for line in shown.stdout.splitlines() if not line.startswith(" ")]  # a long error goes on below
    assert [line.split()[0] for line in lines] == ["folder", "broken", "damaged", "deep/er/never", "ended"]
    assert "9 loss" in lines[4]
    assert "not certified yet" in lines[4]


def test_a_running_study_and_a_killed_one_are_told_apart(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "a", step("sleep 30; echo METRIC loss=9\n"))
    with started("run", cwd=folder) as process:
        assert eventually(lambda: journal(folder).exists() and "trial_proposed" in journal(folder).read_text(), 20)
        [one] = studies.find(tmp_path).studies
        assert (one.state, one.pid) == ("running", process.pid)
        process.kill()
        process.communicate()
    [one] = studies.find(tmp_path).studies
    assert (one.state, one.pid) == ("not running", None)
    with Log(journal(folder)):
        assert studies.find(tmp_path).studies[0].state == "running"


def test_the_walk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path.joinpath(*"abcdefghij")
    make_study(deep)
    assert studies.find(tmp_path).studies == (), "deeper than it looks"
    monkeypatch.setattr(studies, "FOLDERS", 3)
    assert studies.find(tmp_path).cut


def test_no_folder_and_no_study_are_told(tmp_path: Path) -> None:
    with pytest.raises(AutoresearchError, match="no such folder"):
        studies.find(tmp_path / "nowhere")
    assert "No study here" in autoresearch("ls", cwd=tmp_path).stdout
