"""The shape of a file stays whatever its layout, changes with every value, and cannot be made to hang or to fail."""

import ast
import json
import string
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import PYTHON
from hypothesis import assume, given
from hypothesis import strategies as st

import autoresearch
from autoresearch.shape import LARGEST, shape, together

SOURCES = sorted(Path(autoresearch.__file__).parent.rglob("*.py"))


def same(one: str, other: str, suffix: str = ".py") -> bool:
    return shape(f"a{suffix}", one.encode()) == shape(f"b{suffix}", other.encode())


# -- Python ----------------------------------------------------------------------------------------------

NUMBERS = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.none() | st.booleans() | NUMBERS | st.text(max_size=8) | st.binary(max_size=4)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=6).map("v_".__add__)
COMMENTS = st.text(
    string.printable.replace("\n", "").replace("\r", "").replace("\f", "").replace("\v", ""), max_size=12
)


@st.composite
def spelt(draw: st.DrawFn, value: Any) -> str:
    """A literal of this value, in one of the ways to write it."""
    match value:
        case bool() | None:
            text = repr(value)
        case int():
            ways: list[Callable[[int], str]] = [repr, hex, lambda v: f"{v:_}", lambda v: f"{v - 7} + 7"]
            text = f"({draw(st.sampled_from(ways))(value)})"
        case float():
            text = draw(st.sampled_from([repr(value), f"{value:.17e}", f"({value!r})"]))
        case str():
            escaped = "".join(f"\\U{ord(c):08x}" for c in value)
            triple = '"""' + escaped + '"""'
            text = draw(st.sampled_from([repr(value), f"'{escaped}'", triple, f"'' {value!r}"]))
        case bytes():
            text = repr(value)
        case list():
            parts = ", ".join(draw(spelt(part)) for part in value)
            text = draw(st.sampled_from([f"[{parts}]", f"[\n  {parts}  # list\n ]"]))
        case _:
            pairs = ", ".join(f"{draw(spelt(key))}: {draw(spelt(part))}" for key, part in value.items())
            text = draw(st.sampled_from([f"{{{pairs}}}", f"{{\n{pairs}\n}}", f"({{{pairs}}})"]))
    return str(text)


@st.composite
def written(draw: st.DrawFn, program: list[tuple[str, Any]]) -> str:
    """A program that sets these names, at the top, in a function and in a class, with what runs not strewn in."""
    lines: list[str] = []
    for name, value in program:
        if draw(st.booleans()):
            lines.append(draw(st.sampled_from(["", "   ", "pass", '"a text on its own"', "..."])))
        lines.append(f"{name} = {draw(spelt(value))}  #{draw(COMMENTS)}")
    body = textwrap.indent("\n".join(lines) or "pass", draw(st.sampled_from([" ", "    ", "\t"])))
    docstring = draw(st.sampled_from(["", " '''Says what it does.'''\n"]))
    if docstring:
        body = textwrap.indent("\n".join([docstring.strip(), *(lines or ["pass"])]), " ")
    return f"#{draw(COMMENTS)}\ndef f():\n{body}\nclass C:\n{body}\nif C:\n{body}\n"


PROGRAMS = st.lists(st.tuples(NAMES, VALUES), max_size=4)


@given(PROGRAMS.flatmap(lambda program: st.tuples(written(program), written(program))))
def test_the_same_program_written_differently_has_one_shape(pair: tuple[str, str]) -> None:
    ast.parse(pair[0])  # else two texts would be compared
    assert same(*pair)


@given(VALUES, VALUES, st.data())
def test_another_value_is_another_shape(one: Any, other: Any, data: st.DataObject) -> None:
    assume(repr(one) != repr(other))
    assert not same(f"x = {data.draw(spelt(one))}\n", f"x = {data.draw(spelt(other))}\n")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("LR = 1e-3", "LR = 0.001  # slower"),
        ("N = 64 * 1024", "N = 65536"),
        ("N = 2**16", "N = 0x1_0000"),
        ("N = -(3)", "N = -3"),
        ("X = 1 / 4 + 0.5", "X = .75"),
        ("def f(a):\n    '''Doc.'''\n    return a", "def f(a): return (a)"),
        ("def f():\n    '''Doc.'''", "def f():\n    pass"),
        ("x = ('a'\n     'b')", 'x = "ab"'),
        ("if a:\n    b\nelse:\n    if c:\n        d", "if a: b\nelif c: d"),
        ("f(a, b,)", "f(a,\n  b)"),
    ],
)
def test_ways_to_write_the_same(one: str, other: str) -> None:
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("N = 1", "N = 1.0"),
        ("N = 1", "N = True"),
        ("N = 0.0", "N = -0.0"),
        ("N = 'a'", "N = b'a'"),
        ("N = 'a'", "N = a"),
        ("a = b - c", "a = c - b"),
        ("f(a)", "f(*a)"),
        ("{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}"),
        ("x = {**a}", "x = {None: a}"),
        ("for a in b:\n    c()\nd()", "for a in b:\n    c()\n    d()"),
        ("for a in b: c()\nelse: d()", "for a in b: c()\nd()"),
        ("N = 7 // 2", "N = 7 / 2"),
        ("N = 1 / 0", "N = 2 / 0"),
        ("N = 2 ** 10_000_000", "N = 2 ** 10_000_001"),
        ("x = a[:1]", "x = a[1:]"),
        ("f'{a}'", "f'{a!r}'"),
        ("async def f(): pass", "def f(): pass"),
    ],
)
def test_what_runs_differently_has_another_shape(one: str, other: str) -> None:
    assert not same(one, other)


@pytest.mark.parametrize("path", SOURCES[::14], ids=lambda path: path.name)
def test_real_source_keeps_its_shape_when_it_is_printed_anew_and_loses_it_with_any_literal(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)
    assert same(source, ast.unparse(tree))
    numbers = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) in (int, float)]
    for node in numbers[:: max(1, len(numbers) // 5)]:
        before, node.value = node.value, node.value * 2 + 1  # type: ignore[operator]
        assert not same(source, ast.unparse(tree))
        node.value = before


# -- data ------------------------------------------------------------------------------------------------

LETTERS = st.text(string.ascii_letters + ' #"é', max_size=5)
DATA = st.dictionaries(
    st.text(string.ascii_letters, min_size=1, max_size=4),
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | LETTERS
    | st.lists(st.integers(0, 9), max_size=3),
    max_size=4,
)  # fmt: skip


def as_toml(data: dict[str, Any], layout: str = "") -> str:
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}{layout}\n" for key, value in data.items())


@given(DATA, st.integers(0, 4))
def test_the_layout_of_data_does_not_matter(data: dict[str, Any], indent: int) -> None:
    turned = dict(reversed(data.items()))
    assert same(json.dumps(data), json.dumps(turned, indent=indent) + "\n", ".json")
    assert same(as_toml(data), f"# settings\n{as_toml(turned, '  # as before')}", ".toml")


@given(DATA, DATA)
def test_another_value_in_data_is_another_shape(one: dict[str, Any], other: dict[str, Any]) -> None:
    assume(json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True))
    assert not same(json.dumps(one), json.dumps(other), ".json")
    assert not same(as_toml(one), as_toml(other), ".toml")


def test_yaml_is_compared_as_what_it_says() -> None:
    pytest.importorskip("yaml")
    one = "lr: 0.001\nlayers: [1, 2]\nname: a  # why\n"
    assert same(one, "# settings\nname: 'a'\nlr: 1.0e-3\nlayers:\n  - 1\n  - 2\n", ".yaml")
    assert not same(one, one.replace("0.001", "0.002"), ".yaml")
    assert not same("a: 1\n", "a: '1'\n", ".yml")
    assert not same("a: 010\n", "a: 10\n", ".yml")  # eight


def test_a_text_is_its_bytes_without_trailing_blanks() -> None:
    assert same("echo 1  \necho 2\n\n\n", "echo 1\necho 2", ".sh")
    assert not same("echo 1\n\necho 2\n", "echo 1\necho 2\n", ".sh")
    assert not same("echo \\\n2\n", "echo \\ \n2\n", ".sh")
    assert shape("a.bin", b"a \0\n") != shape("a.bin", b"a\0\n")


def test_what_cannot_be_read_as_its_suffix_says_is_a_text() -> None:
    for suffix in (".py", ".toml", ".json", ".yaml"):
        assert same("a = = (", "a = = (  \n", suffix)
        assert not same("a = = (", "a = = [", suffix)
    large = "x = 1\n" * (LARGEST // 6 + 1)
    assert not same(large, f"# a comment\n{large}")


def test_the_shape_of_several_files_hangs_on_their_paths() -> None:
    assert together({"a": "1", "b": "2"}) == together({"b": "2", "a": "1"})
    assert together({"a": "1", "b": "2"}) != together({"a": "2", "b": "1"})
    assert together({"a": "1"}) != together({"c": "1"})


@given(st.binary(max_size=200), st.sampled_from([".py", ".toml", ".json", ".yaml", ".sh"]))
def test_anything_has_a_shape(content: bytes, suffix: str) -> None:
    assert shape(f"a{suffix}", content) == shape(f"b{suffix}", content)


HOSTILE = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from autoresearch.shape import LARGEST, LARGEST_YAML, shape

doubled = "\\n".join(f"b{i}: &b{i} [*b{i - 1}, *b{i - 1}]" for i in range(1, 300))
merged = "\\n".join(f"b{i}: &b{i} {{<<: [*b{i - 1}, *b{i - 1}]}}" for i in range(1, 300))
for path, text in {
    "minus.py": "-" * LARGEST + "1",
    "round.py": "(" * LARGEST,
    "sum.py": "1" + "+1" * (LARGEST // 2 - 1),
    "power.py": "9**9**9**9**9",
    "shift.py": "x = " + "*".join(["0x" + "f" * 60_000] * 4),
    "index.py": "a" + "[0]" * (LARGEST // 3 - 1),
    "attribute.py": "a" + ".b" * (LARGEST // 2 - 1),
    "lambda.py": "lambda:" * (LARGEST // 7) + "1",
    "elif.py": "if a:\\n pass\\n" + "elif a:\\n pass\\n" * 15_000,
    "digits.py": "x = " + "9" * (LARGEST - 4),
    "nul.py": "\\0" * LARGEST,
    "deep.json": "[" * LARGEST,
    "deep.toml": "a=" + "[" * (LARGEST - 2),
    "dots.toml": "a" + ".a" * (LARGEST // 2 - 2) + "=1",
    "deep.yaml": "[" * LARGEST_YAML,
    "laughs.yaml": "b0: &b0 [1, 1]\\n" + doubled,
    "merges.yaml": "b0: &b0 {a: 1}\\n" + merged,
    "itself.yaml": "&a [*a, *a]",
    "huge.py": "x = 1\\n" * 2_000_000,
}.items():
    assert len(shape(path, text.encode())) == 24, path
    print(path, "has a shape")
"""


def test_nothing_makes_it_hang_fail_or_fill_the_memory() -> None:
    done = subprocess.run([PYTHON, "-c", HOSTILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("has a shape") == 19
