"""A list of addresses gets its words, stays with its owner, and is counted when it was sent."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="the extra `live` is not installed")
pytest.importorskip("starlette", reason="the extra `live` is not installed")

from live_study import SALT, TEMPLATE, plan, words

from autoresearch.errors import StudyError
from autoresearch.live import render, variables
from autoresearch.live.exporting import Exported, addresses, sent
from autoresearch.live.plan import unit
from autoresearch.live.records import Exposure, Suppression
from autoresearch.live.settings import Live
from autoresearch.live.store import Store, open_store
from autoresearch.live.variables import key
from benchmarks import live_held

PEOPLE = "email,name,phone\n" + "".join(f"p{n}@example.org,Name {n},+49 170 {n}\n" for n in range(40))
LIVE = Live("reply", channel="mail", segments=["list"])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store(tmp_path / "live.db", "s")
    made.add_plan(plan(words("cold-email")))
    yield made
    made.close()


def export(store: Store, text: str = PEOPLE, **also: Any) -> Exported:
    template = render.Template((TEMPLATE.parent / "cold-email" / "mail.txt").read_text(), "mail.txt")
    return addresses(text, "s", LIVE, SALT, store, also.pop("words", words("cold-email")), template, **also)


def held(folder: Path) -> list[Exposure]:
    return live_held.exposures(folder / "live.db", "s")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_list_comes_back_with_its_words_and_nothing_is_recorded_before_it_was_sent(
    store: Store, tmp_path: Path
) -> None:
    made = export(store)
    assert (made.rows, made.known, made.left_out) == (40, 0, {})
    assert export(store).text == made.text, "the same list under the same plan"
    assert held(tmp_path) == []
    found, known = rows(made.text), words("cold-email")
    assert [row["email"] for row in found] == [f"p{n}@example.org" for n in range(40)]
    assert found[3]["phone"] == "+49 170 3"
    assert len({row["ar_cell"] for row in found}) > 10
    for row in found:
        texts = known.texts(variables.cell_of(row["ar_cell"]))
        assert row["ar_subject"] == row["ar_subject_line"] == texts["subject"]
        assert texts["opening"] in row["ar_body"]
        assert "{{first_name}}" in row["ar_body"], "the sending tool's own field is left to it"
        assert row["ar_unit"] == unit(SALT, row["email"])

    new, without = sent(made.text, SALT, 2e9)
    assert (store.add(new), without) == (40, 0)
    assert {(one.unit, one.cell, one.plan, one.at) for one in held(tmp_path)} == {
        (row["ar_unit"], row["ar_cell"], 1, 2e9) for row in found
    }
    assert store.add(sent(made.text, SALT, 2.1e9)[0]) == 0, "told twice, sent once"
    assert b"example.org" not in b"".join(path.read_bytes() for path in tmp_path.glob("live.db*"))


def test_who_was_written_to_keeps_his_words_and_a_list_that_waited_says_what_was_sent(
    store: Store, tmp_path: Path
) -> None:
    first = export(store)
    store.add(sent("\n".join(first.text.splitlines()[:1]) + "\n" + part(first.text, range(10)), SALT, 2e9)[0])
    store.add_plan(plan(words("cold-email"), 2, subject="short"))
    second = export(store)
    assert second.known == 10
    before, now = rows(first.text), rows(second.text)
    assert [row["ar_cell"] for row in now[:10]] == [row["ar_cell"] for row in before[:10]]
    assert [row["ar_cell"] for row in now[10:]] != [row["ar_cell"] for row in before[10:]]
    store.add(sent(first.text, SALT, 2.2e9)[0])  # the older list went out after all
    cells = {one.unit: (one.cell, one.plan) for one in held(tmp_path)}
    assert cells == {row["ar_unit"]: (row["ar_cell"], 1) for row in before}


def part(text: str, which: range) -> str:
    kept = rows(text)
    out = io.StringIO()
    write = csv.DictWriter(out, list(kept[0]), lineterminator="\n")
    for number in which:
        write.writerow(kept[number])
    return out.getvalue()


def test_the_suppressed_the_repeated_and_what_is_no_address_are_left_out_and_counted(store: Store) -> None:
    store.add([Suppression(source="t", id="1", at=1.0, unit=unit(SALT, "p3@example.org"))])
    more = PEOPLE + "P4@example.org,again,\nnobody,x,\n,y,\na@b@c,z,\n"
    made = export(store, more)
    assert made.rows == 39
    assert made.left_out == {"suppressed": 1, "twice in the list": 1, "no address": 3}
    assert made.first_lines == {"suppressed": 5, "twice in the list": 42, "no address": 43}
    assert "p3@example.org" not in made.text


def test_a_proof_belongs_to_its_address(store: Store) -> None:
    made = rows(export(store).text)
    made[7]["ar_proof"] = made[8]["ar_proof"]
    out = io.StringIO()
    write = csv.DictWriter(out, list(made[0]), lineterminator="\r\n", delimiter=";")
    write.writeheader()
    write.writerows(made)
    with pytest.raises(StudyError, match=r"line \d+: ar_proof was not given to the address"):
        sent(out.getvalue(), SALT, 2e9)
    with pytest.raises(StudyError, match="no column ar_proof"):
        sent(PEOPLE, SALT, 2e9)


def test_a_cell_that_is_gone_leaves_its_addresses_out(store: Store) -> None:
    known = words("cold-email")
    only = variables.parse('[subject]\ndefault = "plain"\n[subject.levels]\nplain = "Hello"\n')
    made = addresses(PEOPLE, "s", LIVE, SALT, store, only)
    assert (made.rows, made.left_out) == (0, {"their words are not there any more": 40})
    assert key(known.default)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no column 'email'; it has: nothing"),
        ("mail,name\na@b.c,d\n", "no column 'email'; it has: mail, name"),
        ("email,name\na@b.c\n", "line 2: has 1 fields, and the first line has 2"),
        ('email,name\na@b.c,"d\n', "line 2: not CSV.*; is a quotation mark that opens a text not closed?"),
        ('email,name\na@b.c,"two\nlines"\nc@d.e,"two\nlines",x\n', "line 4: has 3 fields"),
        ("email,email\n", "two columns have the same name"),
        ("email,ar_cell\n", "has the column ar_cell already"),
    ],
)
def test_what_is_no_list_is_explained_with_its_line(store: Store, text: str, word: str) -> None:
    with pytest.raises(StudyError, match=word):
        export(store, text)


def test_a_level_that_a_spreadsheet_would_run_is_not_put_into_a_list(store: Store) -> None:
    bad = variables.parse('[subject]\ndefault = "a"\n[subject.levels]\na = "=1+1"\n')
    store.add_plan(plan(bad, 3))
    with pytest.raises(StudyError, match=r"subject\.levels\.a begins like a formula"):
        addresses(PEOPLE, "s", LIVE, SALT, store, bad)
    taken = variables.parse('[cell]\ndefault = "a"\n[cell.levels]\na = "Hello"\n')
    with pytest.raises(StudyError, match="a second column ar_cell"):
        addresses(PEOPLE, "s", LIVE, SALT, store, taken)


def test_the_persons_own_columns_are_defused_and_telephone_numbers_are_left_alone(store: Store) -> None:
    text = 'email,name,phone\na@b.org,"=HYPERLINK(""http://x"",""y"")",+49 (170) 12/3-4\n'
    row = rows(export(store, text).text)[0]
    assert row["name"] == '\'=HYPERLINK("http://x","y")'
    assert row["phone"] == "+49 (170) 12/3-4"


def test_a_lone_carriage_return_begins_no_row_with_a_formula(store: Store) -> None:
    """Python's csv module does not quote it, and a spreadsheet takes it for the end of a row."""
    made = export(store, 'email,name\na@b.org,"Ann\r=HYPERLINK(1)"\n').text
    assert "\r" not in made
    assert rows(made)[0]["name"] == "Ann\n=HYPERLINK(1)"
