"""What a person does with a live study in an order that nobody planned: a salt that is lost, a list after the session, a slip of the pen."""

import contextlib
import csv
import json
import random
import shutil
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner, Result
from helpers import Recorder, git
from test_campaign import Days, make

pytest.importorskip("sqlalchemy")
pytest.importorskip("numpy")

from autoresearch import session
from autoresearch.campaign import house, queue
from autoresearch.campaign.turns import Campaign, machine
from autoresearch.cli import main
from autoresearch.errors import StudyError
from autoresearch.live import deciding
from autoresearch.live.records import Tally
from autoresearch.live.settings import Live
from autoresearch.live.variables import Variable, Variables, parse
from autoresearch.options import read_state
from autoresearch.session import Goal
from autoresearch.study import load
from autoresearch.workspace import HOME

MAIL = 'channel = "mail"\ntemplate = "mail.txt"\napprove = "rules"\n'
LIST = "email,name\nanna@example.org,Anna\nben@example.org,Ben\n"


def live(folder: Path, *args: object) -> Result:
    return CliRunner().invoke(main, ["live", str(args[0]), "-C", str(folder), *map(str, args[1:])])


def played(folder: Path, days: int = 0) -> Recorder:
    """A session from its beginning to its end."""
    heard = Recorder()
    with session.opened(folder, Goal(), heard) as lab:
        own = load(folder).live
        assert own is not None
        session.begin(lab, machine(own))
        with contextlib.closing(house.store_of("s", own, folder / HOME)) as store:
            campaign = Days(Campaign(lab, folder / HOME, store), {"plain": 0.05, "bold": 0.15, "dull": 0.01}, {})
            campaign.turn()
            for _ in range(days):
                campaign.day(300)
    return heard


def rewritten(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-q", "-m", "words")


@pytest.fixture
def mailed(tmp_path: Path) -> Path:
    """A mail's study, whose session is over."""
    folder = make(tmp_path / "s", MAIL)
    rewritten(folder, "mail.txt", "Subject: {{ headline }}\n\n{{ button }}\n")
    played(folder)
    (tmp_path / "people.csv").write_text(LIST)
    return folder


def test_a_list_is_made_when_no_session_is_there_any_more(mailed: Path, tmp_path: Path) -> None:
    assert not (mailed / HOME / "trees").exists() or not any((mailed / HOME / "trees").iterdir())
    done = live(mailed, "export", tmp_path / "people.csv", "--out", tmp_path / "ready.csv")
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader((tmp_path / "ready.csv").read_text().splitlines(keepends=True)))
    assert [row["email"] for row in rows] == ["anna@example.org", "ben@example.org"]
    assert all(row["ar_subject_line"] and row["ar_body"] for row in rows)
    again = live(mailed, "export", tmp_path / "people.csv", "--out", tmp_path / "ready.csv")
    assert (again.exit_code, "nothing is overwritten" in again.output) == (2, True)


def test_a_salt_that_is_lost_stops_what_would_need_it(mailed: Path, tmp_path: Path) -> None:
    """A new one would make strangers of all: who was forgotten would be written to again, and a deletion would delete nothing."""
    assert live(mailed, "export", tmp_path / "people.csv", "--out", tmp_path / "ready.csv").exit_code == 0
    assert live(mailed, "sent", tmp_path / "ready.csv").exit_code == 0
    salt = mailed / HOME / house.FOLDER / house.SALT
    shutil.move(salt, tmp_path / "salt")
    for args in (
        ("export", tmp_path / "people.csv", "--out", tmp_path / "other.csv"),
        ("forget", "anna@example.org"),
        ("sent", tmp_path / "ready.csv"),
    ):
        done = live(mailed, *args)
        assert (done.exit_code, "put it back from a backup" in done.output) == (2, True), done.output
    assert not salt.exists()
    assert not (tmp_path / "other.csv").exists()
    shutil.move(tmp_path / "salt", salt)
    done = live(mailed, "forget", "anna@example.org")
    assert (done.exit_code, "1 record" in done.output) == (0, True), done.output


def test_a_place_that_no_variable_fills_is_told_before_anybody_sees_it(tmp_path: Path) -> None:
    folder = make(tmp_path / "s")
    rewritten(folder, "page.html", "<h1>{{ headlin }}</h1><a data-outcome=click>{{ button }}</a>")
    with pytest.raises(StudyError, match=r"page\.html: \{\{ headlin \}\} is no variable .* did you mean headline\?"):
        played(folder)
    rewritten(folder, "page.html", "<h1>{{ headline }}</h1>")
    said = played(folder).said
    assert any("button is not in page.html, so that nobody would see a difference" in line for line in said)
    rewritten(folder, "study.toml", (folder / "study.toml").read_text() + '\ntemplate = ""\n')
    assert not any("page.html" in line for line in played(folder).said)
    waiting = queue.waits(read_state(folder), parse((folder / "variables.toml").read_text()), None, None)
    assert waiting[0].seen.splitlines() == ["The calendar that <b>rings</b>", "Go"]


def test_a_map_is_json_for_any_program_and_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    folder = make(tmp_path / "s", 'approve = "rules"\n')
    played(folder)

    def none(constant: str) -> NoReturn:
        raise AssertionError(constant)

    done = live(folder, "map", "--json")
    assert json.loads(done.output, parse_constant=none)["lift"] == [None, -1.0, None]
    for args in (("--svg",), ("--prior",), ("--over-time", "--svg")):
        done = live(folder, "map", *args, tmp_path / "none" / "x")
        assert done.exit_code == 2, done.output
        assert "x: No such file or directory; name a file in a folder that is there" in done.output
    told = live(folder, "map", "--at", "5")
    assert (told.exit_code, "when the latest plan until then was made, 2023-11-14 22:13:20 UTC" in told.output) == (
        0,
        True,
    )


def test_visitors_of_no_kind_are_among_all_and_have_no_readings_of_their_own() -> None:
    variables = Variables({"tone": Variable(default="a", levels={c: f"text {c}" for c in "ab"})})
    rng = random.Random(4)
    tallies = [
        Tally(day, segment, f"tone={level}", 50.0, rng.randint(1, 5))
        for day in range(4)
        for segment in ("", "phone")
        for level in "ab"
    ]
    found = deciding.decide(tallies, variables, {"tone": {"a", "b"}}, Live("click"))
    at = [(one.variable, one.level, one.segment) for one in found.readings]
    assert sorted(at) == sorted(set(at))
    assert {segment for *_, segment in at} == {"", "phone"}
    everybody = next(one for one in found.readings if (one.level, one.segment) == ("b", ""))
    assert everybody.shown == 400
