"""Edits as an agent states them: applied word for word, or refused in words."""

import pytest
from helpers import contract, toml
from hypothesis import given
from hypothesis import strategies as st

from autoresearch.errors import ProposerError
from autoresearch.mcp.edits import Edit, applied
from autoresearch.study import parse

STUDY = parse(toml(contract(asset=["train.py", "lib/*.py"])))
NAMES = st.one_of(st.text(max_size=20), st.sampled_from(["/etc/passwd", "../x", "lib/../study.toml", ".git/config"]))


def edited(*edits: Edit, **files: str) -> dict[str, bytes]:
    held = {name.replace("_py", ".py"): content.encode() for name, content in files.items()}
    return applied(edits, STUDY, held.get)


def refusal(*edits: Edit, **files: str) -> str:
    with pytest.raises(ProposerError) as error:
        edited(*edits, **files)
    return str(error.value)


@given(before=st.text(), search=st.text(min_size=1), replace=st.text(), after=st.text())
def test_a_text_that_is_there_once_is_replaced_and_nothing_else_is(
    before: str, search: str, replace: str, after: str
) -> None:
    whole = before + search + after
    edit = Edit("train.py", search=search, replace=replace)
    held = whole.encode("utf-8", "replace")
    try:
        found = applied([edit], STUDY, lambda _: held)
    except ProposerError:
        return
    assert held.count(search.encode()) == 1
    crlf = b"\r\n" in held and b"\n" not in held.replace(b"\r\n", b"")
    assert crlf or found == {"train.py": held.replace(search.encode(), replace.encode())}


def test_half_a_character_is_refused() -> None:
    assert "no file can hold" in refusal(Edit("train.py", content="\ud800"))
    assert "no file can hold" in refusal(Edit("train.py", search="a", replace="\ud800"), train_py="a")


@given(name=NAMES)
def test_no_name_leads_anywhere_but_to_a_file_that_may_change(name: str) -> None:
    try:
        found = applied([Edit(name, content="x")], STUDY, lambda _: None)
    except ProposerError:
        return
    assert all(STUDY.may_change(path) and ".." not in path and not path.startswith("/") for path in found)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../train.py", "lib/../train.py", "./train.py", "lib//a.py", "", ".git/hooks/x.py", "a\0b"]
)
def test_a_name_that_is_not_written_from_the_folder_is_refused(name: str) -> None:
    assert "is no name of a file" in refusal(Edit(name, content="x"))


def test_a_frozen_file_is_named_with_what_may_change() -> None:
    assert refusal(Edit("score.py", content="x")) == "'score.py' is frozen; only train.py, lib/*.py may change"


def test_edits_of_one_file_build_on_each_other() -> None:
    first, second = Edit("train.py", search="a", replace="b"), Edit("train.py", search="b", replace="c")
    assert edited(first, second, train_py="a\n") == {"train.py": b"c\n"}


def test_a_new_file_needs_its_whole_content() -> None:
    assert edited(Edit("lib/new.py", content="x = 1\n")) == {"lib/new.py": b"x = 1\n"}
    assert "give its whole `content`" in refusal(Edit("lib/new.py", search="a", replace="b"))


def test_a_text_that_is_not_there_or_there_twice_is_refused() -> None:
    assert "does not stand in train.py" in refusal(Edit("train.py", search="b", replace="c"), train_py="a")
    assert "more than once in train.py" in refusal(Edit("train.py", search="a", replace="c"), train_py="a a")


@pytest.mark.parametrize(
    "edit",
    [
        Edit("train.py"),
        Edit("train.py", search="a"),
        Edit("train.py", replace="a"),
        Edit("train.py", search="a", replace="b", content="c"),
        Edit("train.py", search="a", content="c"),
    ],
)
def test_an_edit_is_one_of_two_kinds(edit: Edit) -> None:
    assert "either `content`, or `search` and `replace`" in refusal(edit, train_py="a")
