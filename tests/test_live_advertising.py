"""Which advertisements to run: few stand for a plan, every level is in one, and what came of them can be brought in again."""

import contextlib
import csv
import io
import itertools
import math
import random
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import git
from hypothesis import given
from hypothesis import strategies as st
from live_page import begun, make

pytest.importorskip("sqlalchemy", reason="the extra live is not installed")
pytest.importorskip("jinja2", reason="the extra live is not installed")

from autoresearch.campaign import house
from autoresearch.cli import main
from autoresearch.errors import StudyError
from autoresearch.live import advertising
from autoresearch.live.counts import parts
from autoresearch.live.records import Plan
from autoresearch.live.render import Template
from autoresearch.live.variables import parse
from autoresearch.study import load
from autoresearch.workspace import HOME

WORDS = """\
[headline]
default = "plain"
[headline.levels]
plain = "A calendar"
bold = "The calendar"
[button]
default = "go"
[button.levels]
go = "Go"
wait = "Wait"
"""
SHARES = {f"button={a};headline={b}": share for (a, b), share in {
    ("go", "plain"): 0.5, ("go", "bold"): 0.3, ("wait", "plain"): 0.15, ("wait", "bold"): 0.05,
}.items()}  # fmt: skip


def plan(shares: dict[str, dict[str, float]]) -> Plan:
    return Plan(7, 1e9, 0, 1, "button=go;headline=plain", 0.1, shares)


@given(
    st.dictionaries(st.tuples(*(st.integers(0, 3) for _ in range(3))), st.floats(0.001, 1), min_size=1, max_size=40),
    st.integers(1, 30),
)
def test_few_cells_stand_for_many_and_no_level_is_left_out(cells: dict[tuple[int, int, int], float], most: int) -> None:
    shares = {f"a={a};b={b};c={c}": share for (a, b, c), share in cells.items()}
    found = advertising.few(shares, most)
    levels = {level for cell in shares for level in parts(cell).items()}
    assert {level for cell in found for level in parts(cell).items()} == levels
    assert found.keys() <= shares.keys()
    assert len(found) <= most + len(levels)
    assert sum(found.values()) == pytest.approx(1)
    assert list(found.values()) == sorted(found.values(), reverse=True)


@pytest.mark.parametrize("seed", range(20))
def test_each_level_has_about_the_share_that_the_plan_gives_it(seed: int) -> None:
    r = random.Random(seed)
    liked = {(name, level): r.uniform(0.2, 3) for name in "abcd" for level in range(4)}
    cells = itertools.product(range(4), repeat=4)
    named = [dict(zip("abcd", cell, strict=True)) for cell in cells]
    shares = {
        ";".join(f"{name}={level}" for name, level in cell.items()): math.prod(liked[at] for at in cell.items())
        * r.random()
        for cell in named
    }
    found = advertising.few(shares, 20)
    for name, level in liked:
        of = [sum(one for cell, one in some.items() if parts(cell)[name] == str(level)) for some in (shares, found)]
        assert of[1] == pytest.approx(of[0] / sum(shares.values()), abs=0.05)


def test_each_row_has_its_words_and_its_share_and_the_holdout_has_the_defaults() -> None:
    template = Template("{{ headline }}\n[{{ button }}]\n", "ad.txt")
    found = advertising.advertisements(plan({"": SHARES}), parse(WORDS), template, most=3)
    rows = list(csv.DictReader(io.StringIO(found.text)))
    assert (found.ads, found.cells, len(rows)) == (3, 4, 4)
    assert (rows[0]["ar_held"], rows[0]["share"], rows[0]["ar_cell"]) == ("true", "0.1", "button=go;headline=plain")
    assert {row["ar_held"] for row in rows[1:]} == {"false"}
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=0.001)
    assert {level for row in rows for level in parts(row["ar_cell"]).items()} == {
        level for cell in SHARES for level in parts(cell).items()
    }
    [bold] = [row for row in rows if row["ar_cell"] == "button=go;headline=bold"]
    assert (bold["ar_headline"], bold["ar_button"], bold["ar_text"]) == ("The calendar", "Go", "The calendar\n[Go]\n")


def test_kinds_of_people_have_their_own_and_a_level_that_is_gone_is_left_out() -> None:
    shares = {"": SHARES, "list=old": {"button=gone;headline=plain": 0.5, "button=go;headline=bold": 0.5}}
    rows = list(csv.DictReader(io.StringIO(advertising.advertisements(plan(shares), parse(WORDS)).text)))
    old = [(row["ar_cell"], row["ar_held"], row["share"]) for row in rows if row["ar_segment"] == "list=old"]
    assert old == [("button=go;headline=plain", "true", "0.1"), ("button=go;headline=bold", "false", "0.9")]


def test_without_a_plan_or_with_a_formula_there_is_none() -> None:
    with pytest.raises(StudyError, match="no plan yet"):
        advertising.advertisements(None, parse(WORDS))
    with pytest.raises(StudyError, match="begins like a formula"):
        advertising.advertisements(plan({"": SHARES}), parse(WORDS.replace('"Go"', '"=1+1"')))


def call(*args: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["live", *map(str, args)])
    return done.exit_code, done.output


def test_what_is_listed_is_run_counted_and_brought_in_again(tmp_path: Path) -> None:
    folder = make(tmp_path / "s", mail=True)
    (folder / "mail.txt").write_text("{{ headline }}\n[{{ button }}]\n")
    toml = folder / "study.toml"
    toml.write_text(toml.read_text().replace('channel = "mail"', 'channel = "ad"') + 'approve = "rules"\n')
    git(folder, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-qam", "ad")
    out, results = tmp_path / "ads.csv", tmp_path / "results.csv"
    code, said = call("export", "-C", folder, "--out", out)
    assert (code, "nothing may be shown yet" in said, out.exists()) == (2, True, False), said
    with begun(folder):
        pass
    code, said = call("export", "-C", folder, "--out", out)
    assert (code, "live import" in said) == (0, True), said
    rows = list(csv.DictReader(out.read_text().splitlines(keepends=True)))
    assert rows[0]["ar_text"] == "A calendar\n[Go]\n"
    assert call("export", "-C", folder, "--out", out)[0] == 2, "and nothing is overwritten"
    with results.open("w", newline="") as file:
        write = csv.writer(file)
        write.writerow(["Day", "Ad name", "Impressions", "Clicks"])
        write.writerows(["2026-03-01", row["name"], 100, 3] for row in rows)
    code, said = call("import", "-C", folder, results, "--event", "click", "--map", "ar_cell=Ad name")
    assert (code, f"{103 * len(rows)} records are new" in said) == (0, True), said
    with contextlib.closing(house.store_of("s", load(folder).need_live(), folder / HOME)) as store:
        held = [column.held for column in store.counts(1e10, None, load(folder).need_live()).columns]
    assert sorted(held) == [False] * (len(rows) - 1) + [True]
    page = make(tmp_path / "page")
    with begun(page):
        pass
    code, said = call("export", "-C", page, "--out", tmp_path / "no.csv")
    assert (code, "name the list of addresses" in said, (tmp_path / "no.csv").exists()) == (2, True, False), said


def test_a_plan_of_other_words_than_there_are_is_not_listed() -> None:
    for shares in ({"": {"button=gone;headline=plain": 1.0}}, {"": SHARES}):
        words = WORDS if "button=gone;headline=plain" in shares[""] else WORDS.replace("go", "start")
        with pytest.raises(StudyError, match="of other words"):
            advertising.advertisements(plan(shares), parse(words))
