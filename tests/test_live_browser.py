"""
A live study in a real Chromium: visitors who are not each other, a page elsewhere that asks for its words, and those who ask not to be
followed.

Skipped, with the reason, where there is no Chromium or no playwright to drive it; `make test` installs both where it may.
"""

import http.server
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers import eventually

pytest.importorskip("starlette", reason="the extra `live` is not installed")
pytest.importorskip("uvicorn", reason="the extra `live` is not installed")
pytest.importorskip("jinja2", reason="the extra `live` is not installed")

from live_study import BROWSER, Study, plan, running

from autoresearch.live.door import Settings
from autoresearch.live.serve import serving
from autoresearch.live.settings import Live
from autoresearch.live.variables import cell_of, parse

VISITORS = 8
NASTY = "<img src=x onerror=\"window.hacked='level'\"><script>window.hacked='level'</script>"
ELSEWHERE = """<!doctype html><html><head><title>A shop</title><link rel="icon" href="data:,"></head><body>
<h1 data-ar="headline">The shop's own headline</h1><p data-ar="reason">The shop's own reason</p>
<a id="buy" href="#bought" data-outcome="click"><span data-ar="action">The shop's own button</span></a>
<script src="{address}script.js" data-ms="{ms}" defer></script></body></html>"""


@contextmanager
def visitor(browser: Any, dnt: bool = False, gpc: bool = False) -> Iterator[Any]:
    """Somebody new, with storage of his own; the page remembers what went wrong, and whom it asked."""
    headers = {name: "1" for name, told in (("DNT", dnt), ("Sec-GPC", gpc)) if told}
    context = browser.new_context(user_agent=BROWSER, extra_http_headers=headers)
    context.set_default_timeout(60_000)
    for name, value, told in (("doNotTrack", "'1'", dnt), ("globalPrivacyControl", "true", gpc)):
        if told:
            context.add_init_script(f"Object.defineProperty(navigator, '{name}', {{ value: {value} }})")
    tab = context.new_page()
    tab.problems, tab.asked = [], []
    tab.on("pageerror", lambda error: tab.problems.append(str(error)))
    tab.on("console", lambda said: tab.problems.append(said.text) if said.type in ("error", "warning") else None)
    tab.on("request", lambda request: tab.asked.append(f"{request.method} {request.url}"))
    yield tab
    context.close()


@contextmanager
def elsewhere(address: str, ms: int = 20_000) -> Iterator[str]:
    """A site of somebody else's, whose page loads the script, and waits so long for it: usual would be 300 ms."""

    class Shop(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = ELSEWHERE.format(address=address, ms=ms).encode()
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop) as shop:
        threading.Thread(target=shop.serve_forever, daemon=True).start()
        yield f"http://localhost:{shop.server_port}"  # another name and another port: another origin, and another site
        shop.shutdown()


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


def listed(origin: str) -> Live:
    return Live("click", origins=[origin])


def shown(tab: Any) -> str:
    text: str = tab.text_content("h1")
    return text


def test_each_visitor_keeps_his_cell_and_one_click_of_his_counts(browser: Any, tmp_path: Path) -> None:
    with running(tmp_path) as (study, served):
        clicked = 0
        for number in range(VISITORS):
            with visitor(browser) as tab:
                tab.goto(served.address)
                assert eventually(lambda n=number: len(study.exposures) == n + 1)  # type: ignore[misc]
                mine = study.exposures[-1]
                texts = study.variables.texts(cell_of(mine.cell))
                assert shown(tab) == texts["headline"]
                assert tab.text_content(".button") == texts["action"]
                cookie = next(one for one in tab.context.cookies() if one["name"] == "ar_id")
                assert cookie["httpOnly"]
                assert cookie["sameSite"] == "Lax"
                assert mine.unit == study.unit(cookie["value"]), "the store has a hash, and the browser what it is of"
                if number % 4 == 0:
                    clicked += 1
                    tab.click(".button")
                    tab.click(".button")
                    assert eventually(lambda n=clicked: len(study.outcomes) == n)  # type: ignore[misc]
                if number == 0:  # a new plan changes nothing for who was here before
                    study.store.add_plan(plan(study.variables, 2, at=study.now, headline="question"))
                    assert eventually(lambda: served_plan(tab, served.address) == 2)
                    tab.goto(served.address)
                    assert shown(tab) == texts["headline"]
                    assert [one["value"] for one in tab.context.cookies()] == [cookie["value"]]
                assert tab.problems == []
                assert all(served.address in url for url in tab.asked)
        by_cell = Counter(one.cell for one in study.exposures)
        assert len({one.unit for one in study.exposures}) == len(study.exposures) == VISITORS
        assert len(by_cell) > 3, "not everybody sees the same"
        assert {one.unit for one in study.outcomes} <= {one.unit for one in study.exposures}
        assert len(study.outcomes) == clicked


def served_plan(tab: Any, address: str) -> int:
    number: int = tab.request.get(f"{address}health").json()["plan"]
    return number


def test_a_page_elsewhere_shows_what_is_decided_as_text_and_reports_what_came_of_it(
    browser: Any, tmp_path: Path
) -> None:
    port = free_port()
    with elsewhere(f"http://127.0.0.1:{port}/") as shop:
        study = nasty(tmp_path, listed(shop))
        with serving_at(study, port), visitor(browser) as tab:
            tab.goto(f"{shop}/?utm_medium=cpc")
            assert eventually(lambda: len(study.exposures) == 1), tab.problems
            mine = study.exposures[0]
            texts = study.variables.texts(cell_of(mine.cell))
            assert shown(tab) == texts["headline"] == NASTY
            assert tab.text_content("#buy span") == texts["action"]
            assert tab.evaluate("window.hacked") is None
            person = tab.evaluate("localStorage.getItem('ar_id')")
            assert mine.unit == study.unit(person)
            tab.click("#buy")
            assert eventually(lambda: [one.unit for one in study.outcomes] == [mine.unit])

            tab.goto(shop)  # comes back
            assert eventually(lambda: shown(tab) == NASTY)
            assert not eventually(lambda: len(study.exposures) > 1, 0.5)
            assert tab.problems == []
            assert tab.context.cookies() == [], "the server sets no cookie on a page elsewhere"


def nasty(folder: Path, live: Live) -> Study:
    study = Study(folder, live)
    study.variables = parse(
        f"[headline]\ndefault = \"a\"\n[headline.levels]\na = '''{NASTY}'''\n"
        '[action]\ndefault = "a"\n[action.levels]\na = "Buy"\nb = "Have"\n'
    )
    study.store.add_plan(plan(study.variables, 9))
    return study


@contextmanager
def serving_at(study: Study, port: int) -> Iterator[None]:
    study.template = None  # decisions only
    with serving(study.desk(), Settings(port=port)):
        yield


def test_a_page_elsewhere_keeps_its_own_words_when_the_answer_is_late_or_never_comes(
    browser: Any, tmp_path: Path
) -> None:
    port = free_port()
    with elsewhere(f"http://127.0.0.1:{port}/", ms=100) as shop, visitor(browser) as tab:
        tab.goto(shop)  # no server at all
        assert shown(tab) == "The shop's own headline"
        assert tab.is_visible("h1")
        with serving_at(nasty(tmp_path / "other", listed("http://other.example")), port):
            tab.goto(shop)  # from an origin that the study does not list
            assert eventually(lambda: tab.is_visible("h1"))
            assert shown(tab) == "The shop's own headline"

        def late(route: Any) -> None:
            tab.wait_for_timeout(500)
            route.continue_()

        study = nasty(tmp_path / "late", listed(shop))
        with serving_at(study, port):
            tab.route("**/decide", late)
            tab.goto(shop)
            assert eventually(lambda: tab.evaluate("localStorage.getItem('ar_id')") is not None)
            assert shown(tab) == "The shop's own headline"
            assert tab.is_visible("h1")
            tab.click("#buy")
            tab.wait_for_timeout(500)
            assert not study.exposures, "what was not seen is not counted"
            assert not study.outcomes


@pytest.mark.parametrize("signal", ["dnt", "gpc"])
def test_of_who_asks_not_to_be_followed_nothing_is_stored_anywhere(browser: Any, tmp_path: Path, signal: str) -> None:
    port = free_port()
    with (
        elsewhere(f"http://127.0.0.1:{port}/") as shop,
        running(tmp_path, listed(shop), port=port) as (study, served),
        visitor(browser, **{signal: True}) as tab,
    ):
        tab.goto(served.address)
        assert shown(tab) == study.variables.variables["headline"].levels["plain"]
        tab.click(".button")
        tab.goto(shop)
        assert shown(tab) == "The shop's own headline"
        tab.click("#buy")
        tab.wait_for_timeout(300)
        assert [one for one in tab.asked if one.startswith("POST")] == []
        assert tab.context.cookies() == []
        assert tab.evaluate("localStorage.length") == 0
        assert study.exposures == []
        assert study.outcomes == []
        assert tab.problems == []
