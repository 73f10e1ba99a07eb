"""A model's changes, on contents of files: exact, unique, inside the asset, or refused with words that help."""

import json
import os
from pathlib import Path, PurePosixPath

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autoresearch.patterns import may_change
from autoresearch.propose import knobs
from autoresearch.propose.answers import Change, Delete, Idea, Replace, Set, Unfit, Write, read, schema
from autoresearch.propose.edits import LARGEST, applied, constants, like, put, replaced, syntax
from autoresearch.propose.edits import read as read_files
from autoresearch.propose.ranges import Value

CODE = b"""RATE = 0.5  # a fraction
STEPS = 64
FAST = False
KIND = "a"  # search: a|b


def run():
    return RATE * STEPS
"""
FILES = {"a.py": CODE, "sub/b.toml": b"depth = 4\n", "c.txt": b"one\r\ntwo\r\n", "d.bin": b"\xff\xfe"}


def ok(path: str) -> bool:
    return may_change(["*.py", "sub", "*.txt", "*.bin", "*.json"], path)


def why(*changes: Change, files: dict[str, bytes] = FILES) -> str:
    with pytest.raises(Unfit) as caught:
        applied(changes, files, ok)
    return str(caught.value)


# -- search and replace ----------------------------------------------------------------------------------

LINES = st.lists(st.text("ab \t=\n", max_size=6), max_size=8).map("\n".join)


@given(LINES, LINES, LINES)
def test_what_stands_once_is_replaced_and_all_else_stays(before: str, search: str, after: str) -> None:
    text = before + search + after
    assume(search)
    assume(sum(text.startswith(search, i) for i in range(len(text))) == 1)
    done = replaced("a", text.encode(), search, "<new>")
    assert done.decode() == f"{before}<new>{after}"


@given(LINES, st.text("ab \t=\n", min_size=1, max_size=4))
def test_what_stands_never_or_more_than_once_is_refused(text: str, search: str) -> None:
    times = sum(text.startswith(search, i) for i in range(len(text)))
    assume(times != 1)
    with pytest.raises(Unfit, match="more than once" if times else "does not stand"):
        replaced("a", text.encode(), search, "x")


@given(st.text(max_size=60), st.text(max_size=30), st.text(max_size=30))
def test_a_replacement_never_fails_otherwise_than_in_words(text: str, search: str, replacement: str) -> None:
    source = text.encode(errors="replace")
    try:
        done = replaced("a", source, search, replacement)
    except Unfit:
        return
    else:
        assert len(done) - len(source) == len(replacement.encode()) - len(search.encode())


def test_line_ends_are_the_file_s_own() -> None:
    assert replaced("c.txt", FILES["c.txt"], "one\ntwo", "1\n2\n3") == b"1\r\n2\r\n3\r\n"
    assert replaced("a", b"one\ntwo\r\n", "one\n", "1\n") == b"1\ntwo\r\n"


def test_a_model_is_shown_the_lines_it_may_have_meant() -> None:
    assert "  7| def run():\n  8|     return RATE * STEPS" in why(Replace("a.py", "def run(self):\n  return RATE", "x"))
    assert "at lines 1, 8" in why(Replace("a.py", "RATE", "LR"))
    assert "Nothing like it stands there." in why(Replace("a.py", "@@@@@@@@", "x"))
    assert "is not text" in why(Replace("d.bin", "a", "b"))


# -- constants -------------------------------------------------------------------------------------------


def test_a_constant_is_set_in_the_type_that_it_has() -> None:
    done = applied([Set("a.py:STEPS", 128.0), Set("RATE", 1), Set("FAST", True), Set("KIND", "b")], FILES, ok)
    expected = CODE.replace(b"0.5", b"1.0").replace(b"64", b"128").replace(b"False", b"True").replace(b'"a"', b'"b"')
    assert done == {"a.py": expected}
    assert applied([Set("sub/b.toml:depth", 6)], FILES, ok) == {"sub/b.toml": b"depth = 6\n"}


def test_a_constant_cannot_be_set_to_what_it_is_not() -> None:
    assert "STEPS is a whole number: 0.5 is not" in why(Set("a.py:STEPS", 0.5))
    assert "'64' is not of its kind" in why(Set("a.py:STEPS", "64"))
    assert "is not of its kind" in why(Set("a.py:FAST", 1))
    assert "one short line" in why(Set("a.py:KIND", 'a"\nimport os'))
    assert "no constant 'RTE' to set; there are a.py:RATE" in why(Set("RTE", 1))


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63))
def test_whatever_number_a_constant_is_set_to_is_what_the_file_then_says(value: float) -> None:
    try:
        done = applied([Set("a.py:RATE", value)], FILES, ok)["a.py"]
    except Unfit:
        assert float(value) == 0.5 or abs(value) > 2**63
    else:
        assert done is not None
        assert {k.name: k.value for k in knobs.read("a.py", done)}["RATE"] == float(value)


@given(st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text())
@pytest.mark.parametrize("present", [True, 3, 0.5, "a"])
def test_a_value_takes_the_type_of_the_present_one_or_is_refused(present: Value, value: Value) -> None:
    try:
        found = like(value, present, "x")
    except Unfit:
        return
    assert type(found) is type(present)
    assert found == type(present)(value)


# -- files -----------------------------------------------------------------------------------------------

ESCAPES = ["../a.py", "/etc/passwd", "sub/../../a.py", "~/a.py", "sub//b", "./../a.py", "sub/./b", "", ".", "sub/"]
ESCAPES += [
    "study.toml",
    "score.py/../a.py",
    "a.py\0",
    "sub/\x1b[2J",
    "sub\\b",
    "sub/.git/config",
    "sub/.GIT/x",
    "\ud800",
]
ESCAPES += ["sub/" + "x" * 300, "sub/" * 300 + "x", "b/a.py", "a.py/x"]


@pytest.mark.parametrize("path", ESCAPES)
def test_no_path_leads_out_of_the_asset(path: str) -> None:
    assert why(Write(path, "x"))
    assert why(Delete(path))


@given(st.text("abc./~\\\0 -", max_size=12))
def test_what_is_written_lies_in_the_asset_whatever_is_asked_for(path: str) -> None:
    try:
        done = applied([Write(path, "x")], FILES, ok)
    except Unfit:
        return
    for name in done:
        assert ok(name)
        assert not PurePosixPath(name).is_absolute()
        assert ".." not in PurePosixPath(name).parts
        assert str(PurePosixPath(name)) == name


def test_changes_are_made_one_after_the_other_and_all_that_is_wrong_is_said() -> None:
    done = applied([Write("e.py", "X = 1\n"), Replace("e.py", "1", "2"), Delete("c.txt")], FILES, ok)
    assert done == {"e.py": b"X = 2\n", "c.txt": None}
    assert applied([Delete("c.txt"), Write("c.txt", "new")], FILES, ok) == {"c.txt": b"new"}
    said = why(Write("/x", "x"), Set("RATE", 0.6), Replace("a.py", "@", ""))
    assert said.splitlines()[0].startswith("change 1: '/x' must be a path relative")
    assert "change 3: " in said
    assert "change 2" not in said
    assert "no file" in why(Delete("c.txt"), Replace("c.txt", "one", "two"))


def test_what_changes_nothing_is_refused() -> None:
    assert "the same after these changes" in why(Write("a.py", CODE.decode()))
    assert "the same after these changes" in why(Set("RATE", 0.6), Set("RATE", 0.5))
    assert f"may have {LARGEST:,}" in why(Write("a.py", "#" * (LARGEST + 1)))


def test_a_file_that_parsed_must_parse_and_one_that_did_not_need_not() -> None:
    assert "a.py does not parse after the changes: invalid syntax, line 1: RATE := 0.5" in why(
        Replace("a.py", "RATE = 0.5  # a fraction", "RATE := 0.5")
    )
    assert "sub/b.toml does not parse" in why(Write("sub/b.toml", "depth ="))
    assert "e.json does not parse" in why(Write("e.json", "{"))
    assert "the hint for X cannot be used" in why(Write("e.py", "X = 1.0  # search: lots\n"))
    old = {"a.py": b"print 'Python 2'\n"}
    assert applied([Replace("a.py", "2", "3")], old, ok) == {"a.py": b"print 'Python 3'\n"}


def test_parsing_hostile_text_ends_in_words() -> None:
    deep = "(" * 100_000
    for name, text in {"a.py": deep, "a.json": "[" * 100_000, "a.toml": "a = " + "[" * 100_000}.items():
        assert syntax(name, text.encode())
    assert syntax("a.py", b"x = " + b"-" * 200_000 + b"1")
    assert syntax("a.py", b"\0")
    pytest.importorskip("yaml")
    assert syntax("a.yaml", b"a: [1")
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))
    assert syntax("a.yaml", bomb.encode()) == ""


def test_a_file_with_an_unreadable_hint_offers_no_constants_and_stops_nothing() -> None:
    files = {"a.py": b"A = 1.0  # search: lots\n", "b.py": b"B = 1.0\n"}
    assert [knob.key for knob in constants(files)] == ["b.py:B"]


# -- a folder --------------------------------------------------------------------------------------------


def test_files_are_written_and_put_back(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(CODE)
    (tmp_path / "c.txt").write_bytes(b"c")
    before = put(tmp_path, {"a.py": b"new", "sub/deep/e.py": b"e", "c.txt": None})
    assert (tmp_path / "sub/deep/e.py").read_bytes() == b"e"
    assert not (tmp_path / "c.txt").exists()
    put(tmp_path, before)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == {
        "a.py": CODE,
        "c.txt": b"c",
    }
    assert not (tmp_path / "sub/deep/e.py").exists()


@pytest.mark.parametrize("name", ["link", "linked/x", "pipe"])
def test_nothing_is_written_through_a_link_or_into_a_pipe(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("s")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(outside / "secret")
    (tree / "linked").symlink_to(outside)
    os.mkfifo(tree / "pipe")
    with pytest.raises(Unfit, match="is not a"):
        put(tree, {name: b"x"})
    assert (outside / "secret").read_text() == "s"
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert read_files(tree, [Path("link"), Path("pipe"), Path("linked")]) == {}


# -- answers ---------------------------------------------------------------------------------------------

CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(Set, st.text(max_size=9), st.booleans() | st.integers(-99, 99) | st.text(max_size=9)),
    st.builds(Replace, st.text(max_size=9), st.text(max_size=9), st.text(max_size=9)),
    st.builds(Write, st.text(max_size=9), st.text(max_size=9)),
    st.builds(Delete, st.text(max_size=9)),
)
IDEAS = st.builds(Idea, st.text("abc \n", min_size=1).filter(str.strip), st.lists(CHANGES, min_size=1, max_size=4))


@given(IDEAS, st.sampled_from(["{}", "```json\n{}\n```", "Sure:\n{}\nDone.", " {} "]))
def test_an_idea_is_read_back_as_it_was_written_also_between_words(idea: Idea, around: str) -> None:
    written = msgspec.json.encode(idea).decode()
    assume("```" not in written)
    assert read(around.replace("{}", written)) == [idea]
    assert read(msgspec.json.encode({"ideas": [idea, idea, idea]}).decode(), most=2) == [idea, idea]


@given(st.text(max_size=200) | st.recursive(st.none() | st.text("ab") | st.integers(), st.lists).map(json.dumps))
def test_whatever_is_answered_is_ideas_or_a_reason(text: str) -> None:
    reason = ""
    try:
        assert read(text)
    except Unfit as error:
        reason = str(error)
    assert len(reason) <= 300
    assert reason.isprintable()


@given(IDEAS)
def test_any_idea_is_made_or_refused_and_never_an_error(idea: Idea) -> None:
    try:
        done = applied(idea.changes, FILES, ok)
    except Unfit:
        return
    assert done


def test_a_flood_is_not_read() -> None:
    with pytest.raises(Unfit, match="may have 4,194,304"):
        read("x" * (5 << 20))
    with pytest.raises(Unfit):
        read("[" * 100_000)
    with pytest.raises(Unfit, match="1 to 100 changes, not 101"):
        read(json.dumps({"hypothesis": "x", "changes": [{"kind": "delete", "file": "a"}] * 101}))


def test_a_schema_holds_for_strict_modes_and_names_constants_by_type() -> None:
    made = schema(["a.py"], constants(FILES), ideas=3)
    waiting, objects = [made], 0
    while waiting:
        node = waiting.pop()
        if node.get("type") == "object":
            objects += 1
            assert node["required"] == list(node["properties"])
            assert node["additionalProperties"] is False
            waiting += node["properties"].values()
        waiting += [node["items"]] if "items" in node else node.get("anyOf", [])
    assert objects == 2 + 4 + 3
    kinds = made["properties"]["ideas"]["items"]["properties"]["changes"]["items"]["anyOf"]
    named = {k["properties"]["value"]["type"]: k["properties"]["constant"]["enum"] for k in kinds[:4]}
    assert named == {
        "boolean": ["a.py:FAST"],
        "integer": ["a.py:STEPS", "sub/b.toml:depth"],
        "number": ["a.py:RATE"],
        "string": ["a.py:KIND"],
    }
    assert schema([], [], allowed=["delete"])["properties"]["changes"]["items"]["anyOf"] == [
        kinds[-1] | {"properties": {"kind": {"type": "string", "enum": ["delete"]}, "file": {"type": "string"}}}
    ]


def test_hostile_answers_are_refused_in_linear_time() -> None:
    """Each of these would take hours if it took the square of its length."""
    for text in ("```" + "\n" * (4 << 20 >> 1), "{" * (1 << 20), "```\n" * (1 << 18), '{"a":' * 1000, "}{" * (1 << 20)):
        with pytest.raises(Unfit):
            read(text)
    lines = "\n".join("a" * (i % 180) + "b" + "a" * 150 for i in range(100_000)).encode()[:LARGEST]
    with pytest.raises(Unfit, match="does not stand"):
        replaced("a.txt", lines, "a" * 100 + "c" + "a" * 99 + "\n" * 10_000, "x")
