"""
The live page in a real Chromium: a study that runs, a new trial without reload, the filter, a diff, steering.

Skipped, with the reason, where there is no Chromium or no playwright to drive it; `make test` installs both where it may.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import nvidia_smi
from helpers import eventually, make_study, play, says, started, state_of, step, words
from swarms import joined, night

from autoresearch import events as ev
from autoresearch import person
from autoresearch.inbox import Inbox
from autoresearch.log import Log
from autoresearch.session import journal
from autoresearch.share.receipt import Hello
from autoresearch.trial import Machine, Measurement, Metric, Run, Verdict
from autoresearch.workspace import HOME

pytest.importorskip("starlette", reason="the extra `web` is not installed")
pytest.importorskip("uvicorn", reason="the extra `web` is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

from autoresearch.web import machine, serve  # noqa: E402 -- once the extra is known to be there

WAIT_MS = 60_000
SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => { for (const one of list.getEntries()) window.shifts.push(one.value); })
  .observe({ type: "layout-shift", buffered: true });
"""
NASTY = "<img src=x onerror=\"window.hacked='{0}'\"><script>window.hacked='{0}'</script>"


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A page that remembers what went wrong and whom it asked."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT_MS)
    context.add_init_script(SHIFTS)
    made = context.new_page()
    made.problems, made.asked = [], []
    made.on("pageerror", lambda error: made.problems.append(str(error)))
    made.on("console", lambda said: made.problems.append(said.text) if said.type in ("error", "warning") else None)
    made.on("request", lambda request: made.asked.append(request.url))
    yield made
    context.close()


def rows(tab: Any) -> list[str]:
    """The numbers of the trials in sight."""
    found: list[str] = tab.eval_on_selector_all(
        "#view .row:not([hidden])", "all => all.map(r => r.cells[0].textContent)"
    )
    return sorted(found, key=int)


def until(tab: Any, holds: str) -> bool:
    """Not the driver's own waiting: that evaluates text in the page, which the page's policy forbids."""
    return eventually(lambda: bool(tab.evaluate(holds)), WAIT_MS / 1000)


def gated(folder: Path, value: object, idea: str) -> dict[str, object]:
    gate = f"{folder.parent}/go-{value}"
    return step(f"while [ ! -e {gate} ]; do sleep 0.02; done\necho METRIC loss={value}\n", idea)


def test_a_person_looks_on_filters_opens_a_diff_steers_pauses_and_resumes(tab: Any, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    make_study(folder, *(gated(folder, value, f"idea {value}") for value in (9, 11, 8, 7)))
    (folder.parent / "go-9").touch()
    with started("run", "--web", cwd=folder) as process:
        assert process.stdout
        link = next(line for line in process.stdout if "#token=" in line).rpartition(" ")[2].strip()
        tab.goto(link)
        tab.wait_for_selector("#row-1 .w-keep")
        assert "token" not in tab.url, "the secret must not stay in the address bar"
        assert tab.text_content("#status") == "running"
        tab.wait_for_selector("#running li b")
        time.sleep(0.5)
        tab.evaluate("window.shifts.length = 0; window.same = true")

        (folder.parent / "go-11").touch()  # a new trial arrives, without reload, and nothing moves
        tab.wait_for_selector("#row-2 .w-discard")
        assert tab.evaluate("window.same")
        assert sum(tab.evaluate("window.shifts")) < 0.001
        assert tab.text_content("#shown") == "4 of 4 trials"

        tab.click("#words [data-word=discard]")
        assert rows(tab) == ["2"]
        tab.click("#words [data-word=discard]")
        tab.fill("#search", "IDEA 9")
        assert rows(tab) == ["1"]
        tab.keyboard.press("Enter")
        tab.keyboard.press("Enter")  # the first marks, the second opens
        tab.wait_for_selector("dialog[open] #diff .add")
        assert "echo METRIC loss=9" in tab.text_content("#diff")
        tab.keyboard.press("Escape")
        tab.fill("#search", "")

        tab.fill("#note", "smaller <b>steps</b>")
        tab.click("#steer button")
        assert until(tab, "document.querySelector('#said').textContent.startsWith('Note 1')")
        tab.click("#pause")
        assert until(tab, "document.querySelector('#status').textContent === 'paused'")
        assert Inbox(folder / HOME).paused
        (folder.parent / "go-8").touch()
        (folder.parent / "go-7").touch()
        tab.wait_for_selector("#row-3 .w-keep")
        assert until(tab, "document.querySelector('#notes').textContent.includes('smaller <b>steps</b>')")
        assert not eventually(lambda: len(state_of(folder).trials) > 4, 1.0)
        tab.click("#pause")  # says Resume now
        tab.wait_for_selector("#row-4 .w-keep")
        assert process.wait(20) == 0
        assert words(state_of(folder)) == ["keep", "discard", "keep", "keep"]
        assert [note.text for note in state_of(folder).wishes.notes.values()] == ["smaller <b>steps</b>"]
    assert all(url.startswith("http://127.0.0.1:") for url in tab.asked)
    assert [one for one in tab.problems if "ERR_CONNECTION_REFUSED" not in one and "INCOMPLETE" not in one] == []


def test_the_page_finds_its_way_back_when_the_server_comes_back(tab: Any, tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study", step("echo METRIC loss=9\n", "one"), step("echo METRIC loss=8\n", "two"))
    play(folder, trials=1)
    with serve.serving(folder, 0) as page:
        port = page.port
        tab.goto(page.address)
        tab.wait_for_selector("#row-1 .w-keep")
        assert not tab.is_visible("#controls")
        assert tab.is_visible("#locked"), "without the token one may only look"
    assert until(tab, "document.querySelector('#status').textContent.includes('trying again')")
    play(folder)
    with serve.serving(folder, port):
        tab.wait_for_selector("#row-2 .w-keep")


def test_a_note_is_dropped_by_its_button(tab: Any, tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study", says(9))
    play(folder)
    for note in ("one", "two"):
        person.steer(folder, note)
    notes = "document.querySelector('#notes').textContent"
    with serve.serving(folder, 0) as page:
        tab.goto(page.address)
        assert until(tab, f"{notes}.includes('note 2')")
        assert tab.query_selector("#notes button") is None, "without the token one may only look"
        tab.goto("about:blank")
        tab.goto(page.link)
        tab.wait_for_selector("#notes button")
        with Log(journal(folder)):  # held, as by a study that runs
            tab.click("[aria-label='Drop note 1']")
            assert until(tab, f"{notes}.includes('one (dropped before the next trial)')")
        tab.click("[aria-label='Drop note 2']")
        assert until(tab, f"{notes} === ''")
    assert not state_of(folder).wishes.notes
    assert tab.problems == []


def test_gpus_are_shown_where_they_can_be_read(tab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = "37, 12345, 81559, NVIDIA H100 80GB HBM3\\n[N/A], 512, 81559, NVIDIA A100-SXM4-80GB MIG\\n"
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path, f"printf '{cards}'\n"))
    monkeypatch.setattr(machine, "_gpus", machine.Gpus())
    folder = make_study(tmp_path / "study")
    with serve.serving(folder, 0) as page:
        tab.goto(page.address)
        assert until(tab, "document.querySelectorAll('#machine .gpu').length === 2")
        assert tab.eval_on_selector_all("#machine .gpu", "all => all.map(one => one.lastChild.textContent)") == [
            "37 % · 12.1 of 80 GiB",
            "0.5 of 80 GiB",
        ]
        assert tab.get_attribute("#machine .gpu", "title") == "NVIDIA H100 80GB HBM3"
        monkeypatch.setattr(machine, "_gpus", machine.Gpus())
        (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
        assert until(tab, "document.querySelectorAll('#machine .gpu').length === 0")
    assert [one for one in tab.problems if "INCOMPLETE" not in one] == []


def test_the_list_of_studies_leads_to_the_page_of_each(tab: Any, tmp_path: Path) -> None:
    name = "<img src=x onerror=\"window.hacked='name'\">"
    play(make_study(tmp_path / name, says(9), metric={"unit": NASTY.format("unit")[:60]}))
    (make_study(tmp_path / "broken") / "study.toml").write_text(f"'{NASTY.format('key').replace(chr(39), '')}' = 1\n")
    with serve.serving(tmp_path, 0) as page:
        tab.goto(page.link)
        tab.wait_for_selector(".study")
        assert "token" not in tab.url
        assert tab.eval_on_selector_all(".study h2", "all => all.map(one => one.textContent)") == [name, "broken"]
        assert "<script>window.hacked=key" in tab.text_content(".study .error")
        assert "start 10" in tab.text_content(".study .best")
        time.sleep(0.5)
        tab.evaluate("window.shifts.length = 0; window.same = true")
        play(make_study(tmp_path / "later", says(8)))  # a study arrives without reload, and nothing above it moves
        assert until(tab, "document.querySelectorAll('.study').length === 3")
        assert tab.evaluate("window.same")
        assert sum(tab.evaluate("window.shifts")) < 0.001
        tab.click(".study:nth-child(3) a")
        tab.wait_for_selector("#row-1 .w-keep")
        assert tab.text_content("#study") == "s"
        tab.click("#pause")  # the token came along
        assert until(tab, "document.querySelector('#status').textContent.startsWith('paused')")
        assert Inbox(tmp_path / "later" / HOME).paused
        tab.click("#row-1")
        tab.wait_for_selector("dialog[open] #diff .add")
        tab.click("#close")
        tab.click("#all")
        tab.wait_for_selector(".study")
        assert tab.evaluate("window.hacked") is None
        assert tab.eval_on_selector_all("img, iframe, script:not([src])", "all => all.length") == 0
    assert all(url.startswith(page.address) for url in tab.asked)
    assert [one for one in tab.problems if "INCOMPLETE" not in one and "ERR_CONNECTION" not in one] == []


def test_peers_are_seen_and_who_took_up_what_step_by_step(tab: Any, tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study")
    crowd, name = night(), "<img src=x onerror='hacked=1'>"
    crowd.book.say(crowd.peers[3], Hello(name, "medium", crowd.peers[3].box_key))
    bad = crowd.say(3, "e" * 8, 0.2, idea=NASTY.format("idea"))
    with serve.serving(folder, 0) as page:
        tab.goto(page.address)
        assert until(tab, "document.querySelector('#machine').textContent !== ''")
        assert not tab.is_visible("#peers")
        told = joined(folder / HOME, crowd)  # joins while the page is open: seen without reload
        assert until(tab, "document.querySelector('#at-step').textContent === '41 of 41'")
        assert tab.text_content("#to-peers") == "35 peers"
        arrows = "all => all.filter(one => one.style.display !== 'none').length"
        assert tab.eval_on_selector_all("#map .arrow", arrows) == 41
        tab.fill("#step", "5")
        assert tab.eval_on_selector_all("#map .arrow", arrows) == 5
        assert "took up" in tab.text_content("#what-step")
        tab.fill("#step", "41")

        crowd.say(4, "e" * 8, 0.19, bad)  # another takes it up while one looks
        with told.open("ab") as file:
            file.write(crowd.lines()[-1])
        assert until(tab, "document.querySelector('#at-step').textContent === '42 of 42'")
        assert tab.eval_on_selector_all("#map .arrow", arrows) == 42

        tab.click("#tab-peer-list")
        assert tab.eval_on_selector_all("#peer-list tbody tr", "all => all.length") == 35
        assert name in tab.text_content("#peer-list")
        tab.click("#tab-peer-boards")
        places = tab.eval_on_selector_all("#peer-boards h3", "all => all.map(one => one.textContent)")
        assert places == [f"{tier}, 100 steps" for tier in ("large", "medium", "small")]
        tab.click("#tab-peer-findings")
        assert "window.hacked='idea'" in tab.text_content("#peer-findings")
        assert "no gradient clipping" in tab.text_content("#peer-findings tr.refuted")
        assert "known: He et al. 2015" in tab.text_content("#peer-findings")
        tab.click("#tab-peer-carried")
        heads = tab.eval_on_selector_all("#peer-carried th", "all => all.map(one => one.textContent)")
        assert heads == ["finding", "it", "idea", "large", "medium", "small"]
        assert "<img src=x" in tab.text_content("#map")
        assert tab.evaluate("window.hacked") is None
        assert tab.eval_on_selector_all("img, iframe, script:not([src])", "all => all.length") == 0
    assert [one for one in tab.problems if "INCOMPLETE" not in one and "ERR_CONNECTION" not in one] == []


@pytest.fixture
def nasty(tmp_path: Path) -> Path:
    """A study in which everything that a run or a model wrote tries to become markup."""
    print_it = f"cat <<'END'\n{NASTY.format('log')}\nEND\necho METRIC loss=9\n"
    folder = make_study(
        tmp_path / "study",
        step(print_it, NASTY.format("idea")),
        metric={"unit": NASTY.format("unit")[:60]},
    )
    play(folder)
    with Log(
        journal(folder)
    ) as log:  # names that our reader of metrics would not take: of a peer's, or a later version
        state = log.state
        assert state.opened
        assert state.best
        log.append(ev.SessionStarted(pid=1, version="0", machine=Machine(NASTY.format("tier"), 1), workers=1))
        log.append(ev.TrialStarted(trial=9, base=state.best.commit, base_tree=state.best.tree))
        by = NASTY.format("by")
        log.append(ev.TrialProposed(trial=9, idea="x", by=by, commit=state.best.commit, tree="t"))
        log.append(ev.RunStarted(run=Run(90, 9, "t", state.best.commit, 0, 1, state.digest)))
        extras = {NASTY.format("extra"): 1.5}
        done = Measurement("crash", None, state.digest, Machine("m", 1), extras, why=NASTY.format("why"))
        log.append(ev.RunFinished(run=90, measurement=done))
        flagged = Verdict("crash", NASTY.format("verdict"), flags=(NASTY.format("flag"),))
        log.append(ev.TrialDecided(trial=9, verdict=flagged))
        log.append(ev.Steered(note=1, text=NASTY.format("note"), by="x", key="k"))
        opened = state.opened
        metric = Metric(NASTY.format("metric"), "minimize", NASTY.format("unit"))
        again = ev.StudyOpened(
            study=NASTY.format("study"),
            start=opened.start,
            start_tree=opened.start_tree,
            metric=metric,
            digest=opened.digest,
            seed=1,
        )
        log.append(again)
    return folder


def test_what_tries_to_become_markup_is_shown_as_text(tab: Any, nasty: Path) -> None:
    dialogs: list[str] = []
    tab.on("dialog", lambda one: dialogs.append(one.message))
    with serve.serving(nasty, 0) as page:
        tab.goto(page.link)
        tab.wait_for_selector("#row-9")
        for number, attempts in ((1, ("idea", "log")), (9, ("by", "why", "verdict", "flag", "extra"))):
            tab.click(f"#row-{number}")
            tab.wait_for_selector("dialog[open] section:nth-of-type(3)")
            shown = tab.text_content("dialog")
            for name in attempts:
                assert f"window.hacked='{name}" in shown, name
            if number == 1:
                assert f"+{NASTY.format('log')}" in tab.text_content("#diff")
            tab.click("#close")
        tab.hover("#plot .u-over")
        tab.click("#tab-tree")
        body = tab.text_content("body")
        for name in ("note", "tier", "idea", "met", "study"):
            assert f"window.hacked='{name}" in body, name
        assert tab.evaluate("window.hacked") is None
        assert tab.eval_on_selector_all("img, iframe, script:not([src])", "all => all.length") == 0
        assert tab.eval_on_selector_all("script", "all => all.map(one => one.getAttribute('src'))") == [
            "/uplot.js",
            "/main.js",
        ]
        assert all(url.startswith(page.address) for url in tab.asked)
    assert dialogs == []
    assert [one for one in tab.problems if "Content Security Policy" in one or "TrustedHTML" in one] == []


def test_markup_that_got_in_would_still_run_nothing(tab: Any, nasty: Path) -> None:
    """The policy holds by itself, if ever a line of ours did not."""
    with serve.serving(nasty, 0) as page:
        tab.goto(page.link)
        tab.wait_for_selector("#row-9")
        put = "const made = document.createElement('div'); made.innerHTML = '<b>x</b>'; document.body.append(made)"
        with pytest.raises(playwright.Error, match="TrustedHTML"):
            tab.evaluate(put)
        tab.evaluate("fetch('http://127.0.0.1:9/').catch(() => { window.refused = true }); 0")
        assert until(tab, "window.refused")
        assert any("Content Security Policy" in one for one in tab.problems)
