"""The screen of a running study: as rows from a state, and in a real terminal of two sizes."""

import fcntl
import io
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import History, eventually, git, histories, journal_lines, make_study, play, says, started, state_of, step
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from autoresearch import events as ev
from autoresearch import log, session
from autoresearch.events import Event
from autoresearch.follow import Follower
from autoresearch.pinned import Pinned
from autoresearch.report import plain, screen
from autoresearch.session import Goal
from autoresearch.state import fold
from autoresearch.study import Stop
from autoresearch.terminal import Screen
from autoresearch.trial import Claim
from benchmarks import terminal as real
from benchmarks.terminal import Terminal, terminal

RUN = [sys.executable, "-m", "autoresearch", "run"]
WATCH = [sys.executable, "-m", "autoresearch", "watch"]
LABELS = ["── ", "best", "", "stairs", "trials", "cost"]
HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07red \x1b[31m\x9b31m漢字 👩‍🚀"
    + "e\u0301\u0302\u0303\u0304\u0305" * 9
    + "\nnext\u202e line" * 99
)
needs_tmux = pytest.mark.skipif(not real.here(), reason="no tmux here: apt install tmux")


def night() -> History:
    """Some kept, some not, two running; a claim of the best; a model that was paid."""
    past = History()
    past.baseline(10.0, 10.2)
    past.decide(past.tried(9.0), "keep", 9.0, gain=1.1, error=0.1)
    past.decide(past.tried(9.5), "discard", 9.5)
    past.decide(past.tried(), "crash")
    past.happen(ev.Charged(trial=4, by="llm", input_tokens=10_000, output_tokens=2_345, dollars=0.5))
    for _ in range(2):
        trial = past.start()
        past.propose(trial)
        past.begin_run(trial)
    return past


def shown(past: History, width: int = 80, height: int = 24, **more: object) -> list[str]:
    rows = screen.rows(screen.standing(past.state), {}, 1000.0, width, height, **more)  # type: ignore[arg-type]
    return [row.plain for row in rows]


# -- rows ------------------------------------------------------------------------------------------------


def test_the_screen_in_full() -> None:
    past = night()
    runs = list(past.state.open_runs)
    said = {runs[0]: screen.Said(0.25, [8.0, 4.0, 2.0])}
    rows = screen.rows(screen.standing(past.state), said, 60.0, 80, 24, screen.Plan(trials=100, ends_at=3660.0))
    assert [row.plain.rstrip() for row in rows] == [
        "── s · loss, lower is better ────────────────────── running 1:00, ends in 1 h 00",
        "best     9, 1.1 better than the start: trial 1 by script",
        "         not certified",
        "stairs   10.1 █▁▁▁ 9",
        "trials   3 of 100, 180 an hour · 1 kept · 1 discarded · 1 crashed",
        "cost     0:00 of machine time · $0.50 · 12.3 k tokens",
        "    4    idea 4 (script)",
        "         ━━━━──────────── run 1   3:00 left  █▃▁ 2",
        "    5    idea 5 (script)",
        "         ╶──────────────╴ run 1        1:00",
        "next     a new idea on trial 1's code",
    ]


def test_a_wide_terminal_has_one_row_for_each_running_trial() -> None:
    rows = shown(night(), 200, 50)
    assert [row[:LABEL].strip() for row in rows] == [
        "── s · lo",
        "best",
        "",
        "stairs",
        "trials",
        "cost",
        "4",
        "5",
        "next",
    ]


LABEL = screen.LABEL


@settings(max_examples=25)
@given(histories(), st.integers(1, 220), st.integers(1, 60))
def test_whatever_happened_the_rows_fit(happened: list[Event], width: int, height: int) -> None:
    state = fold(happened)
    said = {run: screen.Said(0.5, [1.0, float(run)]) for run in state.open_runs}
    rows = screen.rows(screen.standing(state), said, 1e9, width, height)
    assert 1 <= len(rows) <= max(1, height)
    assert all(row.cell_len <= max(screen.NARROWEST, width) for row in rows)
    assert not any("\n" in row.plain for row in rows)


@given(st.text(max_size=900), st.integers(0, 300))
def test_a_line_of_unknown_origin_fits_and_holds_no_control_character(text: str, cells: int) -> None:
    found = plain.line(text, cells)
    assert cell_len(found) <= cells
    assert all(c.isprintable() for c in found)


def test_a_hostile_idea_is_one_bounded_row_of_text() -> None:
    past = night()
    trial = past.start()
    past.happen(ev.TrialProposed(trial=trial, idea=HOSTILE, by=HOSTILE, commit="c", tree="t"))
    past.begin_run(trial)
    for width in (80, 200):
        rows = shown(past, width)
        assert all(cell_len(row) <= width and row.isprintable() for row in rows)
        assert any("red �[31m" in row and "漢字" in row for row in rows)
    marks = re.findall("[\u0300-\u036f]+", plain.line("a" + "\u0302" * 50))
    assert [len(found) for found in marks] == [2], "one became part of its letter, and two more are enough"


def test_more_running_trials_than_rows_are_counted() -> None:
    past = night()
    for _ in range(30):
        past.propose(past.start())
    rows = shown(past, 80, 24)
    assert len(rows) == 24
    assert rows[-2].strip() == "and 16 more"
    assert rows[-1].startswith("next")


def test_what_is_certified_is_said_with_its_interval_until_best_moves() -> None:
    past = night()
    best = past.state.best
    assert best is not None
    numbers = (5, 10.1, 9.1, 1.0, 0.8, 1.2, 1.1, 3, None)
    past.happen(ev.Claimed(claim=Claim("c0", best.commit, best.tree, "sealed", *numbers, "d0", past.machine)))
    assert shown(past)[2].strip() == "certified on the sealed set: 1 [0.8, 1.2]"
    past.decide(past.tried(8.0), "keep", 8.0)
    assert shown(past)[2].strip() == "not certified: best has moved since the claim"


def test_it_says_what_comes_next() -> None:
    past = History()
    assert shown(past)[-1].endswith("measure the code as it stands: how far do its runs scatter?")
    past.baseline(10.0)
    assert shown(past)[-1].endswith("a new idea on trial 0's code")
    past.decide(past.tried(9.0), "stale", 9.0)
    assert shown(past)[-1].endswith("trial 1's patch again, on the new best")
    past.start()
    assert shown(past, plan=screen.Plan(trials=1))[-1].endswith("finish what runs, and end: that makes 1 trials")
    assert shown(past, note="stopping")[-1].endswith("finish what runs, and stop")
    rows = shown(past, note=screen.IDLE)
    assert rows[0].endswith("nobody is running it")
    assert rows[-2].strip() == "1 unfinished trial goes on at the next `autoresearch run`"


@pytest.mark.parametrize(
    ("seconds", "said"), [(-1, "0:00"), (59.9, "0:59"), (3599, "59:59"), (3600, "1 h 00"), (4e6, "1,111 h 06")]
)
def test_a_length_of_time_is_short(seconds: float, said: str) -> None:
    assert screen.span(seconds) == said


def test_a_curve_keeps_its_ends_however_long_it_gets() -> None:
    said = screen.Said()
    for i in range(1000):
        said.add(i / 1000, float(i))
    assert len(said.losses) <= screen.POINTS + 1
    assert said.losses[0] == 0.0
    assert said.losses[-1] == 999.0


# -- the listener ----------------------------------------------------------------------------------------


def test_where_the_output_is_no_terminal_there_are_plain_lines() -> None:
    out = io.StringIO()
    past = night()
    with Screen(Console(file=out)) as listener:
        listener.say("a sentence")
        for event in past.events:
            listener.event(event, past.state)
    lines = out.getvalue().splitlines()
    assert lines[0] == "a sentence"
    assert [line.split()[:2] for line in lines if line[:5].strip().isdigit()] == [
        ["0", "keep"],
        ["1", "keep"],
        ["2", "discard"],
        ["3", "crash"],
    ]
    assert "\x1b" not in out.getvalue()


def test_without_colour_no_colour_is_written() -> None:
    written = {}
    for no_color in (False, True):
        out = io.StringIO()
        console = Console(file=out, force_terminal=True, width=100, height=30, color_system="256", no_color=no_color)
        rows = screen.rows(screen.standing(night().state), {}, 60.0, 99, 29)
        Pinned(console).draw(rows[:1], rows)
        written[no_color] = out.getvalue()
    colour = re.compile(r"\x1b\[(?:\d+;)*3\d")
    assert colour.search(written[False])
    assert not colour.search(written[True])


def test_only_the_rows_that_changed_are_written() -> None:
    out = io.StringIO()
    pinned = Pinned(Console(file=out, force_terminal=True, width=80, height=24, color_system=None))
    rows = screen.rows(screen.standing(night().state), {}, 60.0, 79, 23)
    pinned.draw([], rows)
    out.seek(0)
    out.truncate()
    pinned.draw([], rows)
    assert out.getvalue() == ""
    pinned.draw([], [*rows[:-1], rows[0]])
    assert "best" not in out.getvalue()
    assert "s · loss" in out.getvalue()


def test_an_end_that_was_asked_for_is_shown_with_the_plan() -> None:
    past = night()
    listener = Screen(Console(file=io.StringIO()), Stop(trials=200, hours=8), Goal(trials=5))
    listener.event(ev.SessionStarted(pid=1, version="0", machine=past.machine, workers=1, at=100.0), past.state)
    assert listener._planned(past.state, 100.0) == screen.Plan(trials=8, ends_at=100.0 + 8 * 3600)


def test_runs_of_a_claim_are_counted_in_one_row() -> None:
    out = io.StringIO()
    past = night()
    with Screen(Console(file=out, force_terminal=True, width=60, height=20, color_system=None)) as listener:
        listener.expect(4)
        run = past.begin_look(1, 9, purpose="claim")
        past.end_run(run, 9.0)
        for event in past.events[-2:]:
            listener.event(event, past.state)
        assert [row.plain.rstrip() for row in listener._rows(60.0, 79, 20)] == [
            "claim    ━━━━━━────────────────── 1 of 4 runs  this one 1:00"
        ]
    assert out.getvalue().endswith("\x1b[?25h"), "the cursor is given back"


# -- the reader ------------------------------------------------------------------------------------------


def test_a_reader_that_comes_at_any_time_sees_what_the_log_says(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), says(11), says(8))
    play(folder)
    data = session.journal(folder).read_bytes()
    copy = tmp_path / "copy.jsonl"
    follower = Follower(copy)
    assert list(follower.events()) == []
    seen = 0
    for size in [*range(0, len(data), 701), len(data)]:
        copy.write_bytes(data[:size])
        seen += len(list(follower.events()))
    assert seen == data.count(b"\n")
    assert follower.state.trials == state_of(folder).trials


def test_a_torn_line_that_is_cut_and_a_new_study_are_both_followed(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), says(11))
    play(folder)
    data = session.journal(folder).read_bytes()
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(data + b'{"event": "run_fin')
    follower = Follower(copy)
    before = len(list(follower.events()))
    copy.write_bytes(data)
    assert list(follower.events()) == []
    assert before == data.count(b"\n")
    other = make_study(tmp_path / "other", says(9), says(11), says(8), says(7))
    play(other)
    copy.write_bytes(session.journal(other).read_bytes())
    assert len(list(follower.events())) == len(journal_lines(other))
    assert follower.state.trials == state_of(other).trials


def test_what_open_runs_print_is_read_and_a_pipe_in_their_place_is_not_waited_for(tmp_path: Path) -> None:
    past = night()
    first, second = past.state.open_runs
    follower = Follower(tmp_path / "events.jsonl")
    follower.state = past.state
    for run in (first, second):
        (tmp_path / "runs" / str(run)).mkdir(parents=True)
    output = tmp_path / "runs" / str(first) / "run.out.txt"
    os.mkfifo(tmp_path / "runs" / str(second) / "run.out.txt")
    output.write_text("PROGRESS 0.25 loss=4\nhello\nPROGRESS 0.5 lo")
    assert list(follower.said()) == [(first, 0.25, 4.0)]
    with output.open("a") as file:
        file.write("ss=2\nPROGRESS nan\n")
    assert list(follower.said()) == [(first, 0.5, 2.0)]
    assert list(follower.said()) == []


def test_who_looks_whether_a_study_runs_never_stops_it_from_starting(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9))
    play(folder)
    with (session.journal(folder).with_name("lock")).open("r") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.02, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
        with log.Log(session.journal(folder)):
            pass


# -- a real terminal -------------------------------------------------------------------------------------


def waiting_study(folder: Path) -> Path:
    """Its trial prints how far it is, and goes on when the file `go` is there."""
    code = (
        "for i in 1 2 3 4; do echo PROGRESS 0.$i loss=$((9 - i)); done\n"
        f"while [ ! -e {folder}/go ]; do sleep 0.05; done\necho METRIC loss=9\n"
    )
    steps = (says(9.5, "first"), step(code, HOSTILE[:300]), says(8, "last 漢字漢字"))
    return make_study(folder, *steps, measure={"timeout_s": 90})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield waiting_study(tmp_path / "s")
    (tmp_path / "s" / "go").touch()  # whatever a failed test left running ends


def is_up(rows: list[str]) -> bool:
    """The screen is there, with the curve of the run that waits."""
    return any("left" in row and "█▆▃▁" in row for row in rows) and any(row.startswith("next") for row in rows)


def labels(rows: list[str]) -> list[str]:
    """The screen's rows by their label, from the title on."""
    start = next(i for i, row in enumerate(rows) if row.startswith("── "))
    return [row[:LABEL].strip() if not row.startswith("── ") else "── " for row in rows[start:] if row.strip()]


@needs_tmux
@pytest.mark.parametrize(("width", "height"), real.SIZES)
def test_a_study_in_a_real_terminal(folder: Path, width: int, height: int) -> None:
    with terminal(RUN, folder, width, height) as shown:
        rows = shown.wait_for(is_up)
        bars = ["2", ""] if width < screen.WIDE else ["2"]
        assert labels(rows) == [*LABELS[:2], "", *LABELS[3:], *bars, "next"], "\n".join(rows)
        assert sum(row.startswith("── ") for row in rows) == 1
        assert any("first" in row for row in rows[:4]), "a finished trial stands above"
        assert any("red" in row and "漢字" in row for row in rows)
        (folder / "go").touch()
        rows = shown.wait_for(lambda rows: any(row.startswith("loss went from") for row in rows))
        assert any("Ended: " in row for row in rows)
        assert not any(row.startswith("── ") for row in rows), "the screen is gone; what was said stays"
        assert any("last 漢字漢字" in row for row in rows)


@needs_tmux
def test_after_a_resize_there_is_one_screen_that_fits(folder: Path) -> None:
    with terminal(RUN, folder, 200, 50) as shown:
        shown.wait_for(is_up)
        for width, height in ((90, 20), (150, 40), (70, 14)):
            shown.resize(width, height)
            two = width < screen.WIDE
            rows = shown.wait_for(
                lambda rows, w=width, two=two: (
                    is_up(rows)  # type: ignore[misc]
                    and max(map(cell_len, rows)) == w - 1
                    and len(labels(rows)) == (9 if two else 8)
                )
            )
            assert sum(row.startswith("── ") for row in rows) == 1, "nothing of the old one is left in view"
            assert labels(rows)[-1] == "next"
        (folder / "go").touch()
        shown.wait_for(lambda rows: any("Ended: " in row for row in rows))


@needs_tmux
def test_watch_shows_a_running_study_and_leaves_it_alone(folder: Path) -> None:
    with started("run", cwd=folder) as process:
        with terminal([*WATCH, str(folder)], Path("/"), 80, 24) as shown:
            rows = shown.wait_for(is_up)
            assert labels(rows)[-3:] == ["2", "", "next"]
            assert any("first" in row for row in rows[:4])
            before = (folder / ".autoresearch" / "events.jsonl").read_bytes()
            shown.press("C-c")
            shown.wait_for(lambda rows: any(row.startswith("loss went from") for row in rows))
            assert process.poll() is None
        assert (folder / ".autoresearch" / "events.jsonl").read_bytes() == before
        with terminal([*WATCH, str(folder)], Path("/"), 80, 24) as shown:
            shown.wait_for(is_up)
            (folder / "go").touch()
            rows = shown.wait_for(lambda rows: any("nobody is running it" in row for row in rows))
            assert process.wait(60) == 0
            assert any("last 漢字漢字" in row for row in rows)
            assert rows[-1].startswith("next     nothing, until somebody types")


def test_watch_in_a_pipe_prints_what_finishes_and_ends_with_the_study(folder: Path) -> None:
    with started("run", cwd=folder):
        assert eventually(lambda: (folder / ".autoresearch").exists() and is_waiting(folder), 60)
        with started("watch", cwd=folder) as plain_, started("watch", "--json", cwd=folder) as json_:
            (folder / "go").touch()
            assert plain_.communicate(timeout=90)[0].splitlines()[-2].startswith("Nobody is running this study")
            out = json_.communicate(timeout=90)[0].splitlines()
    assert [journal_lines(folder)[-1]["event"]] == ["session_ended"]
    assert len(out) == len(journal_lines(folder))


def is_waiting(folder: Path) -> bool:
    return len(state_of(folder).open_runs) == 1 and state_of(folder).next_trial == 3


def test_watch_of_a_study_that_nobody_runs_says_so(folder: Path) -> None:
    with started("watch", cwd=folder) as process:
        assert "Nobody is running this study" in process.communicate(timeout=90)[0]
        assert process.returncode == 0
    assert not git(folder, "status", "--porcelain").replace("?? steps.jsonl", "")


def test_the_pictures_in_the_docs_have_the_shape_of_the_screen() -> None:
    page = real.PAGE.read_text(encoding="utf-8")
    for width, height in real.SIZES:
        rows = real.shown_at(page, width, height)
        assert 10 < len(rows) <= height
        assert max(map(cell_len, rows)) == width - 1
        bars = labels(rows)[len(LABELS) : -1]
        assert [label for label in labels(rows) if label and not label.isdigit()] == [*filter(None, LABELS), "next"]
        assert sum(label.isdigit() for label in bars) == 2
        assert len(bars) == (4 if width < screen.WIDE else 2)


@needs_tmux
def test_ctrl_c_once_says_what_it_waits_for(folder: Path) -> None:
    with terminal(RUN, folder, 100, 24) as shown:
        shown.wait_for(is_up)
        shown.press("C-c")
        rows = shown.wait_for(lambda rows: any("finish what runs, and stop" in row for row in rows))
        assert any("Ctrl-C again to stop now" in row for row in rows)
        (folder / "go").touch()
        shown.wait_for(lambda rows: any("Ended: stopped by the person" in row for row in rows))


def test_a_terminal_is_ended_by_its_name() -> None:
    if not real.here():
        pytest.skip("no tmux here: apt install tmux")
    shown = Terminal(["sleep", "60"], Path("/"), 40, 5, {})
    assert len(shown.screen()) <= 5
    shown.close()
