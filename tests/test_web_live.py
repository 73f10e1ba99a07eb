"""The page of a live study: who sees what waits and may decide it, how a level would look, and the map that is read without its picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import ask, wish
from click.testing import CliRunner
from helpers import make_study, play, says, state_of

for needed in ("starlette", "uvicorn", "sqlalchemy", "numpy", "jinja2"):
    pytest.importorskip(needed, reason="the extras `web` and `live` are not installed")

from live_page import NASTY, begun, make  # noqa: E402 -- once the extras are known to be there

from autoresearch.campaign import levels  # noqa: E402
from autoresearch.cli import main  # noqa: E402
from autoresearch.inbox import Inbox  # noqa: E402
from autoresearch.log import Log  # noqa: E402
from autoresearch.session import journal  # noqa: E402
from autoresearch.web import serve  # noqa: E402
from autoresearch.workspace import HOME  # noqa: E402

BOLD, DULL, WAIT = 1, 2, 3  # trials: two headlines and a button


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make(tmp_path_factory.mktemp("live") / "study")
    with begun(made):
        pass
    return made


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[serve.Serving]:
    with serve.serving(folder, 0) as served:
        yield served


def queue(page: serve.Serving, **headers: str) -> tuple[int, Any]:
    status, _, said = ask(page, "/api/queue", "GET", None, **({"authorization": f"Bearer {page.secret}"} | headers))
    return status, said


def words_left(folder: Path) -> list[tuple[int, bool, str]]:
    return [(number, word.yes, word.why) for number, word in Inbox(folder / HOME).approvals()]


def test_what_waits_is_told_with_all_that_it_takes_to_decide_it(page: serve.Serving) -> None:
    status, found = queue(page)
    assert status == 200
    assert found["n"] == 3
    bold, dull, wait = found["rows"]
    assert [one["trial"] for one in (bold, dull, wait)] == [BOLD, DULL, WAIT]
    assert (bold["variable"], bold["text"], bold["beside"], bold["by"]) == (
        "headline",
        NASTY.format("level"),
        "A calendar",
        "person",
    )
    assert dull["claims"] == ["14-day trial"]
    assert dull["breaks"] == bold["claims"] == wait["claims"] == []
    assert wait["beside"] == "Go"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": ""}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"host": "evil.example"}, 421),
    ],
)
def test_whoever_may_not_steer_does_not_see_the_queue(
    page: serve.Serving, headers: dict[str, str], status: int
) -> None:
    assert queue(page, **headers)[0] == status


@pytest.mark.parametrize("name", ["approve", "refuse"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": ""}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": ""}, 403),
        ({"content_type": "text/plain"}, 415),
    ],
)
def test_nobody_decides_without_the_token_from_the_page_itself(
    page: serve.Serving, folder: Path, name: str, headers: dict[str, str], status: int
) -> None:
    assert wish(page, name, b'{"trial": 1}', **headers)[0] == status
    assert ask(page, f"/api/{name}", authorization=f"Bearer {page.secret}")[0] == 405
    assert words_left(folder) == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"trial": "1"}', b'{"trial": true}', b'{"trial": 1, "x": 2}', b"\xff"]
)
def test_a_word_that_is_none_is_refused(page: serve.Serving, folder: Path, body: bytes) -> None:
    assert wish(page, "refuse", body)[0] == 400
    assert words_left(folder) == []


def test_a_word_on_what_does_not_wait_and_a_reason_without_end_are_refused(page: serve.Serving, folder: Path) -> None:
    for number in (0, 99, -1):
        status, said = wish(page, "approve", b'{"trial": %d}' % number)
        assert (status, "does not wait" in said["said"]) == (409, True)
    assert wish(page, "refuse", b'{"trial": 1, "why": "%s"}' % (b"x" * 501))[0] == 409
    assert CliRunner().invoke(main, ["live", "approve", "-C", str(folder), "1", "99"]).exit_code == 2, "all or none"
    assert words_left(folder) == []


def test_a_word_is_left_for_who_runs_the_study_and_what_is_decided_waits_no_more(tmp_path: Path) -> None:
    folder = make(tmp_path / "study")
    with begun(folder) as campaign, serve.serving(folder, 0) as page:
        assert wish(page, "approve", b'{"trial": 1}')[0] == 200
        assert wish(page, "refuse", b'{"trial": 2, "why": " <b>no\\u0007</b> "}')[0] == 200
        assert wish(page, "approve", b'{"trial": 2}')[0] == 409, "a refusal counts"
        assert words_left(folder) == [(1, True, ""), (2, False, "<b>no </b>")]
        found = queue(page)[1]
        assert ([one["trial"] for one in found["rows"]], found["approved"], found["refused"]) == ([WAIT], 1, 1)
        before = ask(page, "/api/study")[2]["pulse"]["live"]
        assert "resonates" in ask(page, "/api/study")[2]["head"]["summary"]
        campaign.turn()
        after = ask(page, "/api/study")[2]["pulse"]["live"]
        assert before["queue"] != after["queue"]
        assert before["map"] != after["map"]
        assert list(levels.shown(state_of(folder))) == [BOLD]
        assert state_of(folder).trials[DULL].word == "rejected"
        assert queue(page)[1] | {"n": 1, "approved": 0, "refused": 0} == queue(page)[1]


def test_how_a_level_would_look_is_a_document_that_may_do_nothing(page: serve.Serving) -> None:
    bold, dull, _ = queue(page)[1]["rows"]
    status, headers, body = ask(page, f"/{bold['look']}")
    policy = headers["content-security-policy"]
    assert status == 200
    assert b"&lt;script&gt;window.hacked" in body
    assert b"<script" not in body
    assert policy.startswith("default-src 'none'; style-src 'self' 'nonce-")
    assert policy.endswith("frame-ancestors 'self'; sandbox")
    assert "script-src" not in policy
    assert "img-src 'self' data:;" in policy
    assert headers["x-frame-options"] == "SAMEORIGIN"
    _, _, beside = ask(page, f"/{dull['look']}")
    assert b"Wait" in beside, "the button that may not stand beside it gives way"
    _, headers, picture = ask(page, f"/{bold['look']}static/own.svg")
    assert (headers["content-type"], b"<svg" in picture) == ("image/svg+xml", True)
    for name in ("../study.toml", "..%2fstudy.toml", ".hidden.svg", "none.svg", "own.txt"):
        assert ask(page, f"/{bold['look']}static/{name}")[0] == 404


def test_the_address_of_a_look_opens_that_look_alone(page: serve.Serving) -> None:
    bold, dull, _ = queue(page)[1]["rows"]
    given = bold["look"].split("/")[3]
    assert page.secret not in bold["look"]
    for at in (f"/api/look/{DULL}/{given}/", f"/api/look/{BOLD}/{'0' * 32}/", f"/api/look/99/{given}/"):
        assert ask(page, at)[0] == 404
    assert ask(page, "/api/queue", authorization=f"Bearer {given}")[0] == 401
    assert bold["look"] != dull["look"]


def test_a_mail_is_looked_at_as_text(tmp_path: Path) -> None:
    folder = make(tmp_path / "study", mail=True)
    with begun(folder), serve.serving(folder, 0) as page:
        bold = queue(page)[1]["rows"][0]
        assert bold["look"] is None
        assert bold["seen"] == f"Subject: {NASTY.format('level')}\n\nDear all,\nGo\n"


def test_the_map_is_told_in_words_and_to_be_had_as_files(page: serve.Serving) -> None:
    found = ask(page, "/api/live")[2]
    assert found["plan"]["number"] == 1
    assert [(one["variable"], one["level"], one["share"]) for one in found["now"]] == [
        ("button", "go", 1.0),
        ("headline", "plain", 1.0),
    ]
    assert {one["level"]: one["word"] for one in found["rows"]}["plain"] == "default"
    assert found["today"] == 0
    kinds = {"svg": b"<svg", "csv": b"variable,level,segment,text", "json": b""}
    for kind, start in kinds.items():
        status, _, body = ask(page, f"/api/map.{kind}")
        assert status == 200
        assert kind == "json" or body.startswith(start)
    assert ask(page, "/api/map.exe")[0] == 404
    assert ask(page, "/api/live", sec_fetch_site="cross-site")[0] == 403
    assert ask(page, "/api/map.csv", sec_fetch_site="cross-site")[0] == 403


def test_one_of_several_studies_has_its_queue_too(tmp_path: Path) -> None:
    with begun(make(tmp_path / "page")):
        pass
    play(make_study(tmp_path / "night", says(9)))
    with serve.serving(tmp_path, 0) as page:
        found = {one["folder"]: one["at"] for one in ask(page, "/api/studies")[2]["studies"]}
        status, _, said = ask(page, f"/{found['page']}api/queue", authorization=f"Bearer {page.secret}")
        assert (status, said["n"]) == (200, 3)
        assert ask(page, f"/{found['page']}{said['rows'][0]['look']}")[0] == 200
        assert wish(page, "approve", b'{"trial": 1}', below=f"/{found['page']}")[0] == 200
        assert words_left(tmp_path / "page") == [(1, True, "")]
        assert ask(page, f"/{found['night']}api/queue", authorization=f"Bearer {page.secret}")[0] in (404, 405)


def test_a_study_that_is_not_live_has_nothing_of_this(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study", says(9))
    play(folder)
    with serve.serving(folder, 0) as page:
        for path in ("queue", "live", "map.csv", "look/1/x/"):
            assert ask(page, f"/api/{path}", authorization=f"Bearer {page.secret}")[0] in (404, 405)
        assert wish(page, "approve", b'{"trial": 1}')[0] == 404
        assert "live" not in ask(page, "/api/study")[2]["pulse"]
        assert "frame-src" not in ask(page, "/")[1]["content-security-policy"]


def test_a_live_study_that_was_never_run_has_a_page(tmp_path: Path) -> None:
    folder = make(tmp_path / "study")
    with serve.serving(folder, 0) as page:
        assert ask(page, "/api/study")[2]["pulse"]["live"] is None
        assert queue(page)[0] == 409
        assert "was not run yet" in ask(page, "/api/live")[2]["said"]


def test_a_database_that_is_gone_is_told_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "study")
    with begun(folder):
        pass
    with Log(journal(folder)):
        text = (folder / "study.toml").read_text().replace('outcome = "click"', 'outcome = "click"\nstore = "$NOT_SET"')
        (folder / "study.toml").write_text(text)
    monkeypatch.delenv("NOT_SET", raising=False)
    with serve.serving(folder, 0) as page:
        assert ask(page, "/api/study")[2]["pulse"]["live"]["map"]
        assert "NOT_SET" in ask(page, "/api/live")[2]["said"]
        assert queue(page)[0] == 200
        assert ask(page, "/api/map.csv")[0] == 409
