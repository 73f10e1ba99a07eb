"""
The page of a live study in a real Chromium: what is approved there is shown to visitors, what is refused is not, and what a model wrote is
text wherever it stands.

Skipped, with the reason, where there is no Chromium or no playwright to drive it; `make test` installs both where it may.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import eventually, started, state_of

for needed in ("starlette", "uvicorn", "sqlalchemy", "numpy", "jinja2"):
    pytest.importorskip(needed, reason="the extras `web` and `live` are not installed")

from live_page import NASTY, begun, make  # noqa: E402 -- once the extras are known to be there
from live_study import BROWSER  # noqa: E402

from autoresearch.inbox import Inbox  # noqa: E402
from autoresearch.web import serve  # noqa: E402
from autoresearch.workspace import HOME  # noqa: E402

WAIT_MS = 60_000
VISITORS = 60  # in a row who see the other level: one in 10^13
REASON = NASTY.format("reason")
LEVEL = NASTY.format("level")


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """The page of somebody who looks on; it remembers what went wrong and whom it asked."""
    context = browser.new_context(viewport={"width": 1280, "height": 1600})
    context.set_default_timeout(WAIT_MS)
    made = context.new_page()
    made.problems, made.asked = [], []
    made.on("pageerror", lambda error: made.problems.append(str(error)))
    made.on("console", lambda said: made.problems.append(said.text) if said.type in ("error", "warning") else None)
    made.on("request", lambda request: made.asked.append(request.url))
    yield made
    context.close()


def until(tab: Any, holds: str) -> bool:
    """Not the driver's own waiting: that evaluates text in the page, which the page's policy forbids."""
    return eventually(lambda: bool(tab.evaluate(holds)), WAIT_MS / 1000)


def waiting(tab: Any) -> list[str]:
    found: list[str] = tab.eval_on_selector_all("#waiting .said", "all => all.map(one => one.textContent)")
    return found


def sees(browser: Any, address: str) -> str:
    """The headline that a new visitor is shown."""
    context = browser.new_context(user_agent=BROWSER)
    seen = context.new_page()
    seen.goto(address)
    text: str = seen.text_content("h1")
    assert seen.evaluate("window.hacked") is None
    context.close()
    return text


def test_what_is_approved_on_the_page_is_shown_to_visitors_and_what_is_refused_is_not(
    browser: Any, tab: Any, tmp_path: Path
) -> None:
    folder = make(tmp_path / "study")
    with started("live", "serve", "--port", "0", cwd=folder) as process:
        assert process.stdout
        address = next(line for line in process.stdout if "Serving on" in line).split()[2].removesuffix(".")
        assert {sees(browser, address) for _ in range(3)} == {"A calendar"}, "nothing new before a person said yes"
        with serve.serving(folder, 0) as page:
            tab.goto(page.address)
            assert until(tab, "document.querySelector('#places tbody') !== null")
            assert not tab.is_visible("#queue"), "without the token there is no queue"
            tab.goto("about:blank")
            tab.goto(page.link)
            tab.wait_for_selector("#waiting li")
            tab.evaluate("window.same = true")
            assert waiting(tab) == [LEVEL, "Calendar, with a 14-day trial", "Wait"]
            assert tab.text_content("#h-queue") == "Waits for your word: 3"

            tab.focus("[data-trial='2'] .no")  # by keyboard alone
            tab.keyboard.press("Enter")
            tab.keyboard.type(REASON)
            tab.keyboard.press("Escape")
            assert tab.is_hidden("#why-2")
            tab.keyboard.press("Enter")
            tab.keyboard.press("Tab")
            tab.keyboard.press("Enter")
            assert until(tab, "document.querySelectorAll('#waiting li').length === 2")
            assert tab.evaluate("document.activeElement.textContent") == "Wait", "at words, and not at a button"
            tab.click("[data-trial='1'] .yes")
            assert until(tab, "document.querySelectorAll('#waiting li').length === 1")
            assert until(tab, "document.querySelectorAll('#now tbody:last-of-type .text').length === 2"), (
                "the next plan"
            )
            assert LEVEL in tab.text_content("#now")
            assert until(tab, "document.querySelector('#h-queue').textContent.endsWith(': 1')")
            assert tab.evaluate("window.same"), "all of it without reload"
            assert any(eventually(lambda: sees(browser, address) == LEVEL, 0.1) for _ in range(VISITORS))

            tab.click("#row-2")
            tab.wait_for_selector("dialog[open] section:nth-of-type(2)")
            assert f"a person said no: {REASON}" in tab.text_content("dialog")
            assert tab.evaluate("window.hacked") is None
        refused = state_of(folder).trials[2]
        assert refused.verdict is not None
        assert (refused.word, refused.verdict.why) == ("rejected", f"a person said no: {REASON}")
    assert all(url.startswith(("http://127.0.0.1:", "about:")) for url in tab.asked)
    assert [one for one in tab.problems if "INCOMPLETE" not in one and "ERR_CONNECTION" not in one] == []


def test_what_a_model_wrote_is_text_in_the_queue_in_how_it_would_look_and_in_the_map(tab: Any, tmp_path: Path) -> None:
    folder = make(tmp_path / "study")
    with begun(folder), serve.serving(folder, 0) as page:
        tab.goto(page.link)
        tab.wait_for_selector("#waiting li")
        assert waiting(tab)[0] == LEVEL
        assert NASTY.format("about").replace('"', "'") in tab.text_content("[data-trial='1'] dl")
        frame = tab.query_selector("[data-trial='1'] iframe")
        assert frame.get_attribute("sandbox") == ""
        look = frame.content_frame()
        look.wait_for_selector("#own")
        assert look.text_content("h1") == LEVEL
        assert look.query_selector("h1 img, script") is None
        assert look.eval_on_selector("h1", "one => getComputedStyle(one).color") == "rgb(1, 2, 3)"
        assert eventually(lambda: look.eval_on_selector("#own", "one => one.naturalWidth") == 7), "its own picture"
        assert look.evaluate("self.origin") == "null"
        tab.click("[data-trial='1'] .size")
        assert frame.bounding_box()["width"] > 700
        assert tab.get_attribute("[data-trial='1'] .size", "aria-expanded") == "true"
        tab.click("[data-trial='1'] .yes")
        assert until(tab, "document.querySelectorAll('#waiting li').length === 2")
        Inbox(folder / HOME).approve(2, False)  # as `autoresearch live refuse` does in a terminal
        assert until(tab, "document.querySelectorAll('#waiting li').length === 1")
        assert until(tab, "document.querySelector('#drawn').naturalWidth > 700"), "the picture of the map"

    with begun(folder), serve.serving(folder, 0) as page:  # the word is taken up, and the level has a place on the map
        tab.goto("about:blank")
        tab.goto(page.link)
        assert until(tab, "document.querySelectorAll('#places tbody').length === 2")
        assert LEVEL in tab.text_content("#places")
        assert LEVEL in tab.text_content("#now")
        assert tab.eval_on_selector_all(
            "#places thead th, #now thead th", "all => all.every(one => one.scope === 'col')"
        )
        assert tab.evaluate("window.hacked") is None
        assert tab.eval_on_selector_all("main img", "all => all.map(one => one.id)") == ["drawn"]
    assert all(url.startswith(("http://127.0.0.1:", "about:")) for url in tab.asked)
    assert [one for one in tab.problems if "INCOMPLETE" not in one and "ERR_CONNECTION" not in one] == []
