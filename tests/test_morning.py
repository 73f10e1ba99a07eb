"""The morning's report: the claim and nothing better, the same in HTML and Markdown, and text that stays text."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers import MACHINE, History, autoresearch, fingerprint, git, make_study, play, says, step
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from autoresearch import events as ev
from autoresearch.report import html, markdown
from autoresearch.report.morning import Morning, Seen, morning
from autoresearch.report.staircase import Frame, ticks
from autoresearch.report.themes import theme_of
from autoresearch.trial import Beside, Claim, Metric, Share, Verdict

Say = Callable[[str], str]
HOSTILE = [
    "<script>alert(1)</script>",
    "</td></tr></table><img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>' onclick='x",
    "</style></pre></details><iframe src=//evil>",
    "| a | b |\n| --- | --- |\n# head\n- item\n1. one\n> quote\n```sh\nrm -rf /\n```",
    "`` ` ``` [x](javascript:alert(1)) ![x](http://evil/x.png) <http://evil> **b** _i_ ~~s~~ \\",
    "fixes #3 @everyone GH-7 http://evil\n\nSigned-off-by: Eve <eve@evil>",
    "\x1b[31m\u202egnp.exe\x00 &lt;b&gt; &#60;i&#62;",
    "---\n\n===\n\n[x]: http://evil\n\n<!-- c --> <?php ?> <![CDATA[x]]>",
]


def study(say: Say, certified: bool = True) -> Morning:
    """A night in which everything that can carry foreign text carries what `say` makes of a plain word."""
    past = History()
    past.metric = Metric(say("loss"), "minimize", say("unit"))
    past.reopen("d1")
    past.session(MACHINE)
    past.baseline(10.0, 10.2)
    for value, word in ((9.0, "keep"), (8.0, "keep"), (7.9, "inconclusive"), (11.0, "discard")):
        trial = past.start()
        past.happen(
            ev.TrialProposed(
                trial=trial,
                idea=say("an idea"),
                by=say("search"),
                commit=f"c{trial}",
                tree=f"t{trial}",
                memo={"kind": "step", "set": {say("knob"): [1, 2]}},
            )
        )
        past.end_run(past.begin_run(trial), value, extras={say("extra"): 1.0})
        past.decide(trial, word, value, gain=10 - value, error=0.1, base_value=10.0, flags=(say("a flag"),))  # type: ignore[arg-type]
    for status, word in (("crash", "crash"), (None, "rejected")):
        trial = past.tried(tree=f"x{word}")
        if status:
            past.end_run(past.begin_run(trial), None, "crash", why=say("Traceback"))
        past.decide(trial, word)  # type: ignore[arg-type]
    trial = past.start()
    past.happen(ev.TrialDecided(trial=trial, verdict=Verdict("rejected", say("why not"))))
    past.happen(ev.Charged(trial=trial, by=say("search"), model=say("m"), input_tokens=7, dollars=0.5))
    if certified:
        past.happen(ev.Claimed(claim=claim(past, say)))
    files = {5: (say("a.py"), say("b.py"))}
    head, old, new = (say(word).replace("\n", " ") for word in ("head", "a", "b"))
    patch = f"--- a/x\n+++ b/x\n@@ -1 +1 @@ {head}\n-{old}\n+{new}\n"
    return morning(past.state, Seen(files, {1: patch, 2: patch}))


def claim(past: History, say: Say) -> Claim:
    best = past.state.best
    assert best is not None
    shares = (
        Share((1,), say("an idea"), 0.9, 0.7, 1.1, 40.0, True),
        Share((2,), say("an idea"), why=say("no value without it")),
    )
    beside = (
        Beside(say("guard"), 1.0, 1.1, 0.1, 0.0, 0.2, 0.3, True),
        Beside(say("g2"), 1.0, 2.0, 1.0, 0.9, 1.1, 0.3, False),
    )
    return Claim(
        "c0",
        best.commit,
        best.tree,
        "search",
        5,
        10.0,
        8.5,
        1.5,
        1.2,
        1.8,
        2.0,
        7,
        0.1,
        "d1",
        MACHINE,
        shares,
        beside=beside,
    )


# -- text stays text -----------------------------------------------------------------------------------


class Skeleton(HTMLParser):
    """Every element with its attributes, in order; text left out."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, ...]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *(f"{name}={value}" for name, value in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.found.append((f"/{tag}",))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment",))

    def handle_decl(self, decl: str) -> None:
        self.found.append((decl,))

    def handle_pi(self, data: str) -> None:
        self.found.append((data,))

    def unknown_decl(self, data: str) -> None:
        self.found.append((data,))


def blocks(text: str) -> list[str]:
    """The structure of Markdown: kinds of tokens, with neighbouring text as one."""
    found: list[str] = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        found += [token.type] + [child.type for child in token.children or []]
    plain = ["text" if kind in ("text", "text_special", "softbreak") else kind for kind in found]
    return [kind for n, kind in enumerate(plain) if kind != "text" or plain[n - 1] != "text"]


@pytest.mark.parametrize("certified", [True, False])
@pytest.mark.parametrize("evil", HOSTILE)
def test_no_element_attribute_or_block_arises_from_what_others_wrote(evil: str, certified: bool) -> None:
    hostile, harmless = study(lambda word: f"{word} {evil}", certified), study(lambda word: f"{word} x", certified)
    shown = Skeleton(html.page(hostile))
    assert shown.found == Skeleton(html.page(harmless)).found
    assert blocks(markdown.page(hostile)) == blocks(markdown.page(harmless))
    assert any("an idea" in text for text in shown.text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", html.page(hostile) + markdown.page(hostile))


@given(st.text(max_size=60))
@settings(max_examples=25, deadline=None)
def test_nor_from_any_other_text(text: str) -> None:
    hostile, harmless = study(lambda word: f"{word}{text}"), study(lambda word: f"{word}x")
    assert Skeleton(html.page(hostile)).found == Skeleton(html.page(harmless)).found
    assert blocks(markdown.page(hostile)) == blocks(markdown.page(harmless))


@pytest.mark.parametrize("evil", HOSTILE)
def test_a_commit_message_calls_nobody_closes_nothing_and_has_our_trailers_alone(evil: str, tmp_path: Path) -> None:
    said = markdown.message(study(lambda word: f"{word} {evil}"))
    assert not re.search(r"(^|\W)@\w|#\d|GH-\d|://\w", said)
    git(tmp_path, "init", "--quiet")
    trailers = git(tmp_path, "interpret-trailers", "--parse", input=said).splitlines()
    assert [line.partition(":")[0] for line in trailers] == ["Study", "Start", "Best"]


def test_the_page_refers_to_nothing_outside_and_has_no_script() -> None:
    page = html.page(study(lambda word: word))
    shown = Skeleton(page)
    names = {name.partition("=")[0] for _, *attributes in shown.found for name in attributes}
    assert not names & {"src", "href", "srcset", "action", "data", "poster", "style", "xlink:href"}
    assert not {tag for tag, *_ in shown.found} & {"script", "link", "iframe", "img", "object", "base", "form"}
    assert not re.search(r"url\(|@import|http:|https:", page)
    assert "default-src 'none'" in page.replace("&#x27;", "'")


# -- what is said --------------------------------------------------------------------------------------


def test_what_is_not_certified_is_told_plainly_and_the_climbing_gain_is_not_the_result() -> None:
    found = study(lambda word: word, certified=False)
    assert found.headline.numbers is None
    assert found.headline.word == "Not certified yet"
    assert "2 changes were kept in 7 trials" in found.headline.sentence
    for text in (found.headline.sentence, markdown.message(found)):
        assert not re.search(r"gain of|from 10|\b8\b|2\.\d", text), text
    assert markdown.message(found).splitlines()[0] == "Study s: 2 kept changes, not certified yet"
    assert "Not certified yet" in html.page(found)


def test_a_claim_is_the_result_with_what_each_change_carries() -> None:
    found = study(lambda word: word)
    assert found.headline.certified
    assert found.headline.word == "Certified, but a guard is not shown to hold"
    assert found.headline.numbers == (1.5, 1.2, 1.8)
    assert "certified 1.5 [1.2, 1.8] on the search set" in found.headline.sentence
    assert [(kept.trial, kept.share, kept.word) for kept in found.kept] == [
        (1, (0.9, 0.7, 1.1), "proven"),
        (2, None, "no value without it"),
    ]
    assert markdown.message(found).splitlines()[0] == "Study s: loss 10 to 8.5, certified gain 1.5 [1.2, 1.8]"
    assert any("g2" in warning for warning in found.warnings), "a guard that was not shown to hold"
    assert "+0.9 [0.7, 1.1]" in html.page(found)
    assert "+0.9 [0.7, 1.1]" in markdown.page(found)


def test_a_claim_whose_interval_holds_zero_is_no_proof() -> None:
    past = History()
    past.baseline(10.0, 10.2)
    past.decide(past.tried(9.0), "keep", 9.0, gain=1.0)
    best = past.state.best
    assert best is not None
    past.happen(
        ev.Claimed(
            claim=Claim("c0", best.commit, best.tree, "sealed", 5, 10, 9.9, 0.1, -0.1, 0.3, 1.0, 1, None, "d0", MACHINE)
        )
    )
    found = morning(past.state)
    assert (found.headline.certified, found.headline.proven) == (True, False)
    assert "The interval holds 0: this is no proof of a gain." in found.warnings
    assert "no proof of a gain" in markdown.page(found)


def test_after_a_further_keep_the_claim_is_told_as_an_earlier_ones() -> None:
    past = History()
    past.baseline(10.0, 10.2)
    past.decide(past.tried(9.0), "keep", 9.0, gain=1.0)
    best = past.state.best
    assert best is not None
    past.happen(
        ev.Claimed(
            claim=Claim("c0", best.commit, best.tree, "search", 5, 10, 9, 1, 0.5, 1.5, 1.0, 1, None, "d0", MACHINE)
        )
    )
    past.decide(past.tried(8.0), "keep", 8.0, gain=1.0)
    found = morning(past.state).headline
    assert found.numbers is None
    assert found.word == "Not certified yet"
    assert "An earlier best, k1, was certified" in found.sentence


def test_trials_are_grouped_by_what_they_changed() -> None:
    found = study(lambda word: word)
    assert (found.themes[0].name, found.themes[0].tried, found.themes[0].kept) == ("knob", 4, 2)
    assert "edits to a.py, b.py" in [theme.name for theme in found.themes]
    past = History()
    past.baseline(10.0)
    trial = past.tried(9.0, memo={"kind": "pair", "set": {"a": [1, 2], "b": [1, 2]}})
    assert theme_of(past.state, past.state.trials[trial], {}) == "several constants at once"
    cut = past.tried(9.5, memo={"kind": "cut", "cut": "x"})
    assert theme_of(past.state, past.state.trials[cut], {}) == "leaving something out"
    other = past.tried(9.5)
    assert theme_of(past.state, past.state.trials[other], {}) == "ideas of script"


def test_near_misses_and_failures_are_told_with_their_numbers() -> None:
    found = study(lambda word: word)
    assert [(near.trial, near.word) for near in found.near] == [(3, "inconclusive")]
    assert [(failure.name, failure.count, failure.last) for failure in found.failures] == [
        ("crash", 1, "Traceback"),
        ("rejected: because", 1, "because"),
        ("rejected: why not", 1, "why not"),
    ]
    assert found.spenders[0].dollars == 0.5


def test_at_ten_thousand_trials_the_files_stay_small() -> None:
    past = History()
    past.baseline(1000.0, 1001.0)
    for n in range(10_000):
        keep = n % 40 == 0
        trial = past.tried(
            999.0 - n / 20 if keep else 1000 - n / 25, memo={"kind": "step", "set": {f"KNOB_{n % 500}": [1, n]}}
        )
        past.decide(
            trial, "keep" if keep else "discard", past.state.values(f"t{trial}")[0], gain=0.05 if keep else -1.0
        )
    patch = "+" + "long " * 200 + "\n"
    found = morning(past.state, Seen({}, dict.fromkeys(past.state.kept, patch * 500)))
    assert len(html.page(found)) < 700_000
    assert len(markdown.page(found)) < 40_000
    assert len(markdown.body(found)) < markdown.BODY
    assert len(markdown.message(found)) < 12_000
    assert found.kept_left == 250 - len(found.kept)
    assert "more kept changes are not shown" in markdown.page(found)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_every_kept_change_is_in_the_picture_also_where_its_value_is_worse_than_the_start_s(direction: str) -> None:
    past = History(direction)
    past.baseline(10.0, 10.2)
    for value in (10.5, 9.0, 10.4, 1000.0, -1000.0):
        past.decide(past.tried(value), "keep" if abs(value) < 100 else "discard", value)
    picture = morning(past.state).picture
    frame = Frame(picture, past.metric)
    assert all(frame.holds(dot.value) for dot in picture.dots if dot.kept)
    assert not any(frame.holds(dot.value) for dot in picture.dots if not dot.kept)
    page = html.page(morning(past.state))
    assert page.count('class="kept"') == 1
    assert re.search(r'd="(M[0-9]+ [0-9]+h0){4}" class="kept"', page), "the start and three kept"


def test_the_axis_has_round_numbers() -> None:
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(2.4206, 2.4216) == [2.4206, 2.4208, 2.421, 2.4212, 2.4214, 2.4216]
    assert ticks(-3, 7, 8) == [-2, 0, 2, 4, 6]
    assert ticks(5, 5) == [5]


# -- the command ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    evil = "</pre><script>alert(1)</script>"
    folder = make_study(
        tmp_path_factory.mktemp("morning") / "repo",
        says(9, f"better {evil}"),
        step(f"echo '{evil}' >&2; exit 3\n", "crashes"),
        metric={"max_step": 100.0},
        decide={"policy": "greedy"},
    )
    assert play(folder).counts == {"keep": 1, "crash": 1}
    return folder


def test_report_writes_page_text_and_pictures_and_touches_nothing_else(played: Path) -> None:
    pytest.importorskip("matplotlib", reason="the pictures need the extra `plot`")
    before = fingerprint(played)
    done = autoresearch("report", cwd=played)
    assert (done.returncode, done.stdout) == (0, "Written: report.html, report.md, progress.png, progress.svg\n")
    page = (played / "report.html").read_text()
    assert "alert(1)" in page
    assert "<script" not in page
    assert "+echo METRIC loss=9" in page, "the diff"
    assert "![" in (played / "report.md").read_text()
    assert (played / "progress.svg").read_text().startswith("<?xml")
    made = {"report.html", "report.md", "progress.png", "progress.svg"}
    assert {name: mark for name, mark in fingerprint(played).items() if name not in made} == before
    assert autoresearch("report", cwd=played).returncode == 0, "its own files are written anew"


def test_a_file_of_the_persons_is_not_written_over(played: Path, tmp_path: Path) -> None:
    (played / "report.md").write_text("my notes\n")
    done = autoresearch("report", cwd=played)
    assert (done.returncode, "was not made by autoresearch" in done.stderr) == (2, True)
    assert (played / "report.md").read_text() == "my notes\n"
    (played / "report.md").unlink()
    for name in ("there.html", "there.md"):
        assert autoresearch("report", str(played), "--out", str(tmp_path / name), cwd=tmp_path).returncode == 0
        assert "alert(1)" in (tmp_path / name).read_text()
    done = autoresearch("report", "--out", "x.doc", cwd=played)
    assert (done.returncode, ".html" in done.stderr) == (2, True)


def test_it_is_what_a_commit_and_a_pull_request_carry(played: Path) -> None:
    said = autoresearch("report", "--commit-message", cwd=played).stdout
    git(played, "commit", "--quiet", "--allow-empty", "--no-gpg-sign", "-F", "-", input=said)
    assert git(played, "log", "-1", "--format=%s") == "Study s: 1 kept change, not certified yet"
    assert git(played, "log", "-1", "--format=%(trailers:key=Study,valueonly)").strip() == "s"
    body = autoresearch("report", "--md", cwd=played).stdout
    assert "ended with exit code 3" in body
    data = json.loads(autoresearch("report", "--json", cwd=played).stdout)
    assert data["headline"]["certified"] is False
    done = autoresearch("report", "--md", "--json", cwd=played)
    assert done.returncode == 2


def test_a_study_that_was_never_run_has_nothing_to_report(tmp_path: Path) -> None:
    done = autoresearch("report", cwd=make_study(tmp_path))
    assert (done.returncode, "autoresearch run" in done.stderr) == (2, True)
