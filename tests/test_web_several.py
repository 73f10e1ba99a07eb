"""Several studies on one server: the list says what `ls` says, and each study's page is as safe as one alone."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from asking import ask, wish
from click.testing import CliRunner
from helpers import make_study, play, says, state_of

from autoresearch import studies
from autoresearch.cli import main
from autoresearch.inbox import Inbox
from autoresearch.log import Log
from autoresearch.report.studies import Found
from autoresearch.session import journal
from autoresearch.workspace import HOME

pytest.importorskip("starlette", reason="the extra `web` is not installed")
pytest.importorskip("uvicorn", reason="the extra `web` is not installed")

from autoresearch.web import serve, several
from autoresearch.web.several import Several, address

LIST_FILES = ("/", "/studies.css", "/studies.js", "/page.css", "/parts.js", "/icon.svg")
NASTY = "<img src=x onerror=alert(1)>\u202e"


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("several")
    play(make_study(top / "night", says(9), says(11)))
    make_study(top / "deep" / NASTY / "night", metric={"name": "loss", "unit": NASTY})
    (make_study(top / "broken") / "study.toml").write_text("nme = 1\n")
    return top


@pytest.fixture(scope="module")
def page(top: Path) -> Iterator[serve.Serving]:
    with serve.serving(top, 0) as served:
        yield served


def test_the_list_says_how_every_study_stands_and_where_its_page_is(page: serve.Serving, top: Path) -> None:
    found = ask(page, "/api/studies")[2]
    assert (found["folder"], found["cut"]) == (top.name, False)
    shown = {one["folder"]: one for one in found["studies"]}
    assert list(shown) == ["broken", f"deep/{NASTY[:-1]}\ufffd/night", "night"]
    night = shown["night"]
    wanted = {"state": "ended", "trials": 2, "kept": 1, "start": 10.0, "best": 9.0, "claim": "not certified yet"}
    assert night | wanted == night
    assert shown["broken"]["state"] == "broken"
    assert "did you mean" in shown["broken"]["error"]
    assert shown["broken"]["at"] is None
    places = [one["at"] for one in found["studies"] if one["at"]]
    assert len(set(places)) == 2, "two folders of one name have two pages"
    for at in places:
        assert ask(page, f"/{at}")[2].startswith(b"<!doctype html>")
    assert ask(page, f"/{night['at']}api/study")[2]["head"]["best"] == 9.0
    assert "+echo METRIC loss=9" in ask(page, f"/{night['at']}api/trial/1")[2]["diff"]


def test_an_address_leads_to_what_was_found_and_to_nothing_else(page: serve.Serving, top: Path) -> None:
    at = f"/s/{address('night')}"
    assert ask(page, at)[0] == 307
    assert ask(page, f"{at}/api/study")[0] == 200
    for path in ("/s/night/", "/s/../", "/s/%2e%2e/", f"/s/{address('..')}/", f"/s/{address('.')}/", "/s//api/study"):
        assert ask(page, path)[0] == 404, path
    assert ask(page, f"{at}/..%2fapi/study")[0] == 404
    assert not (top / HOME).exists(), "nothing is written beside the studies"


def test_the_pages_of_several_are_guarded_as_one_is(page: serve.Serving, top: Path) -> None:
    at = f"/s/{address('night')}/"
    for path in (*LIST_FILES, "/api/studies", at, f"{at}api/study", f"{at}api/trial/1", "/s/nothing/"):
        _, headers, _ = ask(page, path)
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'"), path
        assert ask(page, path, host="evil.example")[0] == 421
    for path in ("/api/studies", f"{at}api/study"):
        assert ask(page, path, sec_fetch_site="cross-site")[0] == 403
    for name in ("steer", "drop", "pause", "resume", "stop"):
        assert wish(page, name, below=at, authorization="")[0] == 401
        assert wish(page, name, below=at, origin="http://evil.example")[0] == 403
        assert wish(page, name)[0] == 404, "the list itself takes no wishes"
    assert not Inbox(top / "night" / HOME).paused


def test_one_token_steers_the_study_that_is_meant(tmp_path: Path) -> None:
    for name in ("a", "b"):
        play(make_study(tmp_path / name, says(9)))
    with serve.serving(tmp_path, 0) as page:
        assert wish(page, "pause", below=f"/s/{address('b')}/")[0] == 200
        assert wish(page, "steer", b'{"text": "on"}', below=f"/s/{address('b')}/")[0] == 200
    assert [Inbox(tmp_path / name / HOME).paused for name in ("a", "b")] == [False, True]
    assert [len(state_of(tmp_path / name).wishes.notes) for name in ("a", "b")] == [0, 1]


def test_the_list_is_small_and_asks_nobody_else(page: serve.Serving) -> None:
    contents = {path: ask(page, path)[2] for path in LIST_FILES}
    assert all(contents.values())
    assert sum(map(len, contents.values())) < 30_000
    ours = b"".join(contents[path] for path in LIST_FILES[:3])
    assert b"//" not in ours.replace(b"// ", b"")
    for word in (b"innerHTML", b"insertAdjacentHTML", b"document.write", b"eval(", b"<style", b" style=", b" onclick="):
        assert word not in ours


def test_a_log_is_read_again_only_when_something_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(several, "EVERY_S", 0.0)
    monkeypatch.setattr(several, "SHARE", 0)
    read: list[str] = []
    stands = studies.stands

    def counted(folder: Path, name: str) -> Found:
        read.append(name)
        return stands(folder, name)

    monkeypatch.setattr(studies, "stands", counted)
    for name in ("a", "b"):
        play(make_study(tmp_path / name, says(9), says(8)), trials=1)
    shown = Several(tmp_path, "", lambda: False)
    assert [one.best for one in shown.listing().studies] == [9.0, 9.0]
    assert shown.listing().studies[0].best == 9.0
    assert read == ["a", "b"]
    play(tmp_path / "b")
    assert [one.best for one in shown.listing().studies] == [9.0, 8.0]
    assert read == ["a", "b", "b"]
    with Log(journal(tmp_path / "a")):  # the log is as it was, but somebody runs the study now
        assert shown.listing().studies[0].state == "running"
    make_study(tmp_path / "c")
    assert [one.folder for one in shown.listing().studies] == ["a", "b", "c"]


def test_of_many_studies_few_are_followed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(several, "MOST_PAGES", 2)
    monkeypatch.setattr(several, "MOST_LISTED", 2)
    for name in "abc":
        make_study(tmp_path / name)
    with serve.serving(tmp_path, 0) as page:
        for name in "abcabc":
            assert ask(page, f"/s/{address(name)}/api/study")[0] == 200
        found = ask(page, "/api/studies")[2]
        assert (len(found["studies"]), found["cut"]) == (2, True)


def test_a_name_in_an_address_is_plain_whatever_the_folder_is_called() -> None:
    for folder in (NASTY, "a/" + NASTY, "..", "ä", "x" * 300, os.fsdecode(b"\xff")):
        assert set(address(folder)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert 12 <= len(address(folder)) <= 53
    assert address("a/night") != address("b/night")
    assert address("night").startswith("night-")


def test_a_folder_that_holds_no_study_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        done = CliRunner().invoke(main, ["web", str(path), "--port", "0"])
        assert done.exit_code == 2
        assert "no study.toml in" in done.output


def test_a_study_is_served_alone_though_others_lie_below_it(tmp_path: Path) -> None:
    make_study(tmp_path / "study")
    make_study(tmp_path / "study" / "below")
    with serve.serving(tmp_path / "study", 0) as page:
        assert ask(page, "/api/study")[0] == 200
        assert ask(page, "/api/studies")[0] in (404, 405)
