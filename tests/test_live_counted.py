"""Results that name nobody: an advertising account's counts by day are taken up once, however often they are told."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from autoresearch.live import importing
from autoresearch.live.importing import Import, Result
from autoresearch.live.records import Cost, Exposure, Tally
from autoresearch.live.settings import Live
from autoresearch.live.store import open_store

NOW = 1.8e9
DAYS = {"2026-03-01": 20513, "2026-03-02": 20514}
FILE = """\
Day,Ad,ar_cell,Impressions,Clicks,Status,Cost
2026-03-01,one,headline=bold,200,9,active,3.10
2026-03-01,two,headline=plain,100,2,active,1.20
2026-03-01,again,headline=plain,50,1,active,0.60
2026-03-02,one,headline=bold,0,0,active,0
"""


def read(text: str, event: str = "click", **more: Any) -> Import:
    return importing.read(text.encode(), "ads", lambda person: "f" * 32, NOW, {"at": "Day", **more}, event)


def test_counts_are_taken_up_once_and_again_only_as_far_as_they_grew(tmp_path: Path) -> None:
    live = Live("click", window_hours=24)
    first = read(FILE)
    assert first.problems == ()
    assert (first.rows, first.kinds) == (4, {"exposure": 350, "click": 12})
    assert set(first.unused) == {"Ad", "Status", "Cost"}
    with contextlib.closing(open_store(tmp_path / "e.db", "s")) as store:
        assert importing.look(store, first) == importing.bring_in(store, first) == Result(362, 0)
        assert importing.bring_in(store, first).new == 0
        day = DAYS["2026-03-01"]
        bold, plain = Tally(day, "", "headline=bold", 200, 9), Tally(day, "", "headline=plain", 150, 3)
        assert store.tallies(NOW, None, live) == (bold, plain)
        # The account counts on; rows are in another order, and one advertisement was split in two.
        grown = FILE.splitlines()
        grown[1] = "2026-03-01,one,headline=bold,230,11,active,3.60"
        later = read("\n".join([grown[0], *grown[:0:-1]]))
        assert importing.bring_in(store, later) == Result(32, 362)
        assert store.tallies(NOW, None, live)[0] == Tally(day, "", "headline=bold", 230, 11)
        assert store.tallies(NOW, None, live)[1] == plain


@pytest.mark.parametrize(
    ("was", "now", "event", "why"),
    [
        ("200,9", "9,200", "click", "line 2, column Clicks: won = 200 is more than shown = 9"),
        ("200,9", '"1,200",9', "click", "line 2, column Impressions: shown = '1,200' is no whole number"),
        ("200,9", "-1,0", "click", "column Impressions"),
        ("200,9", "600000,0", "click", "column Impressions"),
        ("headline=bold,200", ",200", "click", "ar_cell is missing"),
        ("ar_cell", "cells", "click", "no column says what was shown"),
        ("200,9", "200,9", "", "say which outcome"),
        ("2026-03-01,one", "2076-03-01,one", "click", "column Day"),
        ("200,9", "200,9", "signup", "counts Impressions and Clicks, and no column counts signup: say which one does"),
        ("Clicks", "Link clicks", "click", "counts Impressions, and no column counts click"),
    ],
)
def test_a_count_that_is_none_is_named_by_line_and_column(was: str, now: str, event: str, why: str) -> None:
    found = read(FILE.replace(was, now), event)
    assert found.problems
    assert why in "; ".join(map(str, found.problems))


MIXED = "Day,ar_cell,Impressions,Clicks,Sign-ups,Conversions,Cost\n2026-03-01,headline=bold,200,9,4,2,12.40\n"


@pytest.mark.parametrize(
    ("event", "kinds"),
    [
        ("click", {"exposure": 200, "click": 9}),
        ("conversion", {"exposure": 200, "conversion": 2}),
        ("sign-up", {"exposure": 200, "sign-up": 4}),
        ("cost", {"cost": 1}),
    ],
)
def test_an_accounts_whole_table_is_read_for_what_is_asked_of_it(event: str, kinds: dict[str, int]) -> None:
    found = read(MIXED, event)
    assert (found.problems, found.kinds) == ((), kinds)
    if event == "cost":
        assert [one.amount for one in found.records if isinstance(one, Cost)] == [12.4]


def test_what_an_account_calls_its_columns_is_nothing_of_ours_when_costs_are_asked_for() -> None:
    head, row = "Day,ar_cell,Impressions,Clicks,Cost,ID,Status,Revenue\n", "headline=bold,200,9,{},17,Enabled,55\n"
    found = read(f"{head}2026-03-01,{row.format(12.4)}2026-03-02,{row.format(15.4)}", "cost")
    assert found.problems == ()
    assert sorted(one.amount for one in found.records if isinstance(one, Cost)) == [12.4, 15.4]
    assert len({one.id for one in found.records}) == 2
    assert "a cost has a cell and an amount" in str(read(f"{head}2026-03-01,{row.format('')}", "cost").problems)


def test_a_holdout_is_known_by_its_name() -> None:
    found = read(
        "Day,Ad name,Impressions,Clicks\n2026-03-01,headline=plain (holdout),1,0\n2026-03-01,headline=plain,1,0\n",
        ar_cell="Ad name",
    )
    assert [(one.cell, one.held) for one in found.records if isinstance(one, Exposure)] == [
        ("headline=plain", True),
        ("headline=plain", False),
    ]


def test_a_column_is_named_by_our_word_or_by_the_usual_one() -> None:
    for key in ("won", "clicks"):
        found = read(MIXED, "reply", **{key: "Sign-ups"})
        assert (found.problems, found.kinds) == ((), {"exposure": 200, "reply": 4})
    assert "no row below them" in str(read(MIXED.splitlines()[0] + "\n").problems)
    assert "is below 0" in str(read(MIXED.replace("12.40", "-1"), "cost").problems)
    assert "write it like 1240.50" in str(read(MIXED.replace("12.40", '"12,40"'), "cost").problems)


def test_a_file_of_persons_that_has_such_columns_too_is_one_of_persons() -> None:
    found = read("Day,email,clicks,impressions\n2026-03-01,a@example.org,3,7\n")
    assert found.problems == ()
    assert found.kinds == {"click": 1}
    assert set(found.unused) == {"clicks", "impressions"}


def test_a_file_that_counts_too_much_is_to_be_cut() -> None:
    rows = "".join(f"2026-03-01,{i},headline=bold,400000,1,a,0\n" for i in range(2))
    found = read(FILE.splitlines()[0] + "\n" + rows)
    assert "cut it into several" in str(found.problems[0])
