"""Constants are found where they stand, and an edit changes exactly what it says."""

import ast
import json
import tomllib
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autoresearch.errors import StudyError
from autoresearch.propose.knobs import EditRefused, Knob, read, write
from autoresearch.propose.ranges import Range, Value, infer, parse_hint

PYTHON = '''\
"""An asset. é and 漢 come before the constants, so that bytes and characters differ."""
import math

LEARNING_RATE = 3e-4   # search: 1e-5..1e-1 log
WEIGHT_DECAY: float = 0.1
BETAS = (0.9, 0.95)
ROWS, LENGTH = 8, 2**10
TOKENS = 64 * 1024
STEPS = 1_000_000
NAME = "é"; ACTIVATION = 'relu'  # search: relu|gelu|silu
FAST = True
SEED = 3
_PRIVATE = 4
SHIFT = -0.5
TWICE = 1
TWICE = 2
TABLE = {"lr": 0.02, "inner": {"dropout": 0.0}, 3: 4}
LONG = [1, 2, 3, 4, 5, 6, 7, 8, 9]
COMPUTED = math.pi * 2


class Config:
    depth: int = 6
    eps = 1E-8
    rate: float = field(default=0.5)


def train():
    inside = 5
'''
TOML = """\
a = 1
"q k" = 2.5 # search: 1..4
[opt]
lr = 1e-3
betas = [0.9, 0.99]
text = '''
lr = 5
'''
list = [
  1, 2,
]
name.x = 'a' # search: a|b
on = true
when = 2020-01-01
[[runs]]
lr = 4
[[runs]]
lr = 5
"""
JSON = '{"a": 1,\n "b": {"lr": 1e-3, "l": [0.9, true, null, {"x": -2.5}]}, "s": "é, 1", "n": 0.25}\n'
YAML = """\
# é
lr: 1e-4   # search: 1e-5..1e-2 log
wd: 1.0e-4
p: 0.00012
opt: {depth: 3,
      name: adam}  # search: adam|sgd
list: [1, 2]
one: &one 5
two: *one
flag: yes
"""


def found(file: str, text: str) -> dict[str, Knob]:
    return {knob.name: knob for knob in read(file, text.encode())}


def parsed(file: str, source: bytes) -> Any:
    """What the format's own parser reads."""
    match file.rpartition(".")[2]:
        case "toml":
            return tomllib.loads(source.decode())
        case "json":
            return json.loads(source)
        case "yaml":
            data = yaml.safe_load(source)
            return data | {"lr": float(data["lr"])}  # PyYAML takes 1e-4 for text
        case _:
            names: dict[str, object] = {"field": lambda default: default, "math": __import__("math")}
            exec(source, names)  # our own text above
            shown = {k: repr(v) for k, v in names.items() if k.isupper()}
            return shown | {k: repr(v) for k, v in vars(names["Config"]).items() if not k.startswith("__")}


def test_python_constants_are_found_with_their_values() -> None:
    values = {name: knob.value for name, knob in found("train.py", PYTHON).items()}
    assert values == {
        "LEARNING_RATE": 3e-4,
        "WEIGHT_DECAY": 0.1,
        "BETAS[0]": 0.9,
        "BETAS[1]": 0.95,
        "ROWS": 8,
        "LENGTH": 1024,
        "TOKENS": 65536,
        "STEPS": 1_000_000,
        "ACTIVATION": "relu",
        "FAST": True,
        "SHIFT": -0.5,
        "TABLE.lr": 0.02,
        "TABLE.inner.dropout": 0.0,
        "Config.depth": 6,
        "Config.eps": 1e-8,
        "Config.rate": 0.5,
    }


def test_toml_json_and_yaml_constants_are_found_with_their_paths() -> None:
    toml = {name: knob.value for name, knob in found("c.toml", TOML).items()}
    assert toml == {
        "a": 1,
        "q k": 2.5,
        "opt.lr": 1e-3,
        "opt.betas[0]": 0.9,
        "opt.betas[1]": 0.99,
        "opt.name.x": "a",
    } | {
        "opt.on": True,
        "runs[0].lr": 4,
        "runs[1].lr": 5,
    }
    values = {name: knob.value for name, knob in found("c.json", JSON).items()}
    assert values == {"a": 1, "b.lr": 1e-3, "b.l[0]": 0.9, "b.l[1]": True, "b.l[3].x": -2.5, "n": 0.25}
    values = {name: knob.value for name, knob in found("c.yaml", YAML).items()}
    assert values == {"lr": 1e-4, "wd": 1e-4, "p": 0.00012, "opt.depth": 3, "opt.name": "adam", "flag": True} | {
        "list[0]": 1,
        "list[1]": 2,
    }


@pytest.mark.parametrize(("file", "text"), [("train.py", PYTHON), ("c.toml", TOML), ("c.json", JSON), ("c.yaml", YAML)])
def test_every_step_of_every_constant_changes_its_bytes_and_nothing_else(file: str, text: str) -> None:
    for line_end in ("\n", "\r\n"):
        source = text.replace("\n", line_end).encode()
        for knob in read(file, source):
            for size in ("far", "step", "fine"):
                for value, _ in knob.range.steps(knob.value, size):
                    edited = write(file, source, {knob.name: value})
                    assert edited[: knob.start] == source[: knob.start]
                    assert edited.endswith(source[knob.end :])
                    assert parsed(file, edited) != parsed(file, source)
                    again = {k.name: k for k in read(file, edited)}[knob.name]
                    assert again.value == value
                    assert parsed(file, write(file, edited, {knob.name: knob.value})) == parsed(file, source)


@given(
    st.floats(allow_nan=False, allow_infinity=False, width=64), st.sampled_from(["3e-4", "0.1", "-2.5", "1E5", "7."])
)
def test_any_float_can_be_written_and_edited_back(value: float, old: str) -> None:
    source = f"A = 1\nLR = {old}  # why\nB = 2\n".encode()
    edited = write("a.py", source, {"LR": value})
    assert ast.literal_eval(ast.parse(edited).body[1].value) == value  # type: ignore[attr-defined]
    before = ast.literal_eval(old)
    back = write("a.py", edited, {"LR": before})
    assert found("a.py", back.decode())["LR"].value == before
    assert back.endswith(b"  # why\nB = 2\n")


@given(
    st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=5),
    st.sampled_from(["8", "1_000", "2**10", "64 * 1024", "-3"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=9),
)
def test_any_whole_numbers_can_be_written_together(values: list[int], old: str, comment: str) -> None:
    source = "".join(f"N{i} = {old}  #{comment}\n" for i in range(len(values))).encode()
    edited = write("a.py", source, {f"N{i}": value for i, value in enumerate(values)})
    names: dict[str, int] = {}
    exec(edited, names)  # integers and comments
    assert [names[f"N{i}"] for i in range(len(values))] == values
    assert edited.count(f"  #{comment}\n".encode()) == len(values)


@pytest.mark.parametrize(
    ("old", "new", "literal"),
    [
        ("3e-4", 6e-4, "6e-4"),
        ("1E-8", 2e-8, "2E-8"),
        ("0.1", 0.05, "0.05"),
        ("0.0003", 0.00015, "0.00015"),
        ("1.0", 2.0, "2.0"),
        ("2**17", 2**18, "2**18"),
        ("64 * 1024", 128 * 1024, "128 * 1024"),
        ("1_000_000", 1_500_000, "1_500_000"),
        ("True", False, "False"),
    ],
)
def test_a_new_literal_is_written_like_the_old_one(old: str, new: Value, literal: str) -> None:
    assert write("a.py", f"X = {old}\n".encode(), {"X": new}) == f"X = {literal}\n".encode()


def test_an_edit_that_would_change_more_is_refused() -> None:
    with pytest.raises(EditRefused, match="no constant B"):
        write("a.py", b"A = 1\n", {"B": 2})
    with pytest.raises(EditRefused):
        write("a.yaml", b"a: x\n", {"a": "1"})  # unquoted, it would become a number


def test_files_that_do_not_parse_have_no_constants() -> None:
    for file in ("a.py", "a.toml", "a.json", "a.yaml"):
        assert read(file, b"a = = {[\n") == ()
        assert read(file, b"\xff\xfe") == ()
    assert read("a.txt", b"A = 1\n") == ()


# -- ranges --------------------------------------------------------------------------------------------


def test_hints_say_what_values_may_be() -> None:
    assert parse_hint("1e-4..1e-1 log", 0.01) == Range("log", 1e-4, 0.1, hinted=True)
    assert parse_hint("1..16", 4) == Range("integer", 1, 16, hinted=True)
    assert parse_hint("128|64|256", 64) == Range("options", options=(64, 128, 256), hinted=True)
    assert parse_hint("fixed # really", 64).scale == "fixed"
    assert parse_hint("0..0.5", 0) == Range("linear", 0, 0.5, hinted=True)
    assert read("a.py", b"A = 2.5  # search: fixed\n") == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("LR = 0.1  # search: 1..", "none of"),
        ("LR = 0.1  # search: 1e-1..1e-4 log", "backwards"),
        ("LR = 0.1  # search: 0..1 log", "above zero"),
        ("LR = 0.1  # search: a|b", "numbers"),
        ("LR = 0.1  # search: 1|1", "different"),
        ('ACT = "a"  # search: 1..2', "only a number"),
        ("FAST = True  # search: 1|2", r"true\|false"),
    ],
)
def test_a_bad_hint_names_file_line_and_remedy(line: str, problem: str) -> None:
    with pytest.raises(StudyError, match=rf"src/a\.py:2: .*{problem}"):
        read("src/a.py", f"X = 1\n{line}\n".encode())


@pytest.mark.parametrize(
    ("name", "value", "up", "down"),
    [
        ("LEARNING_RATE", 6e-4, 1.2e-3, 3e-4),
        ("ADAM_BETAS[1]", 0.95, 0.975, 0.9),
        ("WARMUP_FRACTION", 0.1, 0.2, 0.05),
        ("BATCH_ROWS", 8, 16, 4),
        ("DEPTH", 8, 12, 5),
        ("layers", 2, 3, 1),
        ("epochs", 0, 1, None),
        ("dropout", 0.0, 0.1, None),
        ("softcap", 15.0, 30.0, 7.5),
    ],
)
def test_a_step_suits_the_constant(name: str, value: Value, up: Value, down: Value | None) -> None:
    steps = {way: new for new, way in infer(name, value).steps(value)}
    assert steps.get(1) == up
    assert steps.get(-1) == down


def test_some_constants_are_not_for_tuning() -> None:
    for name in ("SEED", "data.seed", "VOCAB_SIZE", "_HIDDEN", "log_every", "SCHEMA_VERSION"):
        assert infer(name, 4).scale == "fixed"


@given(
    st.sampled_from(["lr", "dropout", "beta1", "rows", "weight_decay", "shift", "eps"]),
    st.one_of(
        st.floats(1e-9, 1e9), st.floats(-1e3, 1), st.integers(-1000, 10**9), st.just(0), st.just(0.0), st.just(1.0)
    ),
    st.sampled_from(["far", "step", "fine"]),
)
def test_steps_keep_type_sign_and_bounds(name: str, value: int | float, size: Any) -> None:
    span = infer(name, value)
    for new, way in span.steps(value, size):
        assert not isinstance(new, str)
        assert type(new) is type(value)
        assert new * value >= 0
        assert way == 0 or (abs(new) > abs(value)) == (way > 0) or value < 0
        if span.scale == "fraction":
            assert 0 <= new <= 1
        if span.scale == "power of two":
            assert isinstance(new, int)
            assert new & (new - 1) == 0


@given(st.sampled_from(["1e-5..1e-1 log", "0..2", "3..900"]), st.integers(1, 800), st.floats(-40, 40))
def test_a_hinted_range_is_never_left(hint: str, value: int, coordinate: float) -> None:
    span = parse_hint(hint, value if hint == "3..900" else float(value))
    for new in [span.at(coordinate, value), *(v for v, _ in span.steps(value, "far"))]:
        assert span.low is not None
        assert span.high is not None
        assert not isinstance(new, str)
        assert span.low <= new <= span.high
    low, high = span.box(value)
    assert low < high


@given(st.sampled_from(["lr", "dropout", "rows", "width"]), st.floats(0.001, 0.999) | st.integers(1, 4096))
def test_a_value_survives_its_coordinate(name: str, value: int | float) -> None:
    span = infer(name, value)
    back = span.at(span.coordinate(value), value)
    assert not isinstance(back, str)
    assert back == pytest.approx(value, rel=0.01, abs=0.001)
