"""What a run may print: a value is on record when it was stated once, as a finite number, and not otherwise."""

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch.measure import MAX_EXTRAS, OUTPUT_BYTES, Reading, progress, read


def reading(tmp_path: Path, output: bytes | str, result: bytes | str | None = None, metric: str = "loss") -> Reading:
    """What is read from this output and this result.json."""
    out, json_file = tmp_path / "out.txt", tmp_path / "result.json"
    out.write_bytes(output.encode() if isinstance(output, str) else output)
    if result is not None:
        json_file.write_bytes(result.encode() if isinstance(result, str) else result)
    return read(metric, out, json_file)


@pytest.mark.parametrize(
    ("output", "result"),
    [
        ("METRIC loss=0.25\n", None),
        ("warming up\n  METRIC loss=0.25  \nbye\n", None),
        ("METRIC loss=0.25", None),
        ("METRIC   loss=2.5e-1\r\n", None),
        ("---\nloss: 0.25\nepochs: 3\n", None),
        ("some log\n---\nepochs:       3\nloss:         0.250000\n", None),
        ("", '{"loss": 0.25}'),
        ("nothing here\n", '{"loss": 0.25, "note": "text", "deep": {"loss": 1}}'),
    ],
)
def test_each_of_the_three_shapes_gives_the_value(tmp_path: Path, output: str, result: str | None) -> None:
    found = reading(tmp_path, output, result)
    assert (found.status, found.value, found.why) == ("ok", 0.25, "")


def test_a_summary_counts_only_after_its_line_of_dashes(tmp_path: Path) -> None:
    assert reading(tmp_path, "loss: 3\n").status == "absent"
    assert reading(tmp_path, "loss: 3\n---\nloss: 2\n").value == 2


def test_everything_else_that_was_stated_is_kept_beside_the_value(tmp_path: Path) -> None:
    found = reading(tmp_path, "METRIC loss=1\nMETRIC acc=0.5\n---\nsteps: 7\nname: x\nbad: nan\n", '{"mfu": 0.4}')
    assert found.extras == {"acc": 0.5, "steps": 7.0, "mfu": 0.4}


def test_extras_are_bounded(tmp_path: Path) -> None:
    found = reading(tmp_path, "".join(f"METRIC m{i}=1\n" for i in range(1000)) + "METRIC loss=1\n")
    assert found.value == 1
    assert len(found.extras) == MAX_EXTRAS


def test_a_value_that_was_never_stated_is_absent_and_the_names_that_were_are_given(tmp_path: Path) -> None:
    found = reading(tmp_path, "METRIC los=1\nMETRIC acc=2\nMETRIC loss = 3\nxMETRIC loss=3\nmetric loss=3\n")
    assert (found.status, found.value) == ("absent", None)
    assert "METRIC loss=" in found.why
    assert "acc, los" in found.why


@pytest.mark.parametrize("output", ["METRIC loss=1\nMETRIC loss=2\n", "METRIC loss=1\n---\nloss: 2\n"])
def test_two_values_have_no_winner(tmp_path: Path, output: str) -> None:
    found = reading(tmp_path, output)
    assert (found.status, found.value) == ("repeated", None)
    assert "2 times" in found.why


def test_output_and_result_that_disagree_have_no_winner(tmp_path: Path) -> None:
    assert reading(tmp_path, "METRIC loss=1\n", '{"loss": 2}').status == "repeated"


def test_the_same_value_twice_is_one_value(tmp_path: Path) -> None:
    found = reading(tmp_path, "METRIC loss=0.50\nMETRIC loss=0.5\n", '{"loss": 5e-1}')
    assert (found.status, found.value) == ("ok", 0.5)


@pytest.mark.parametrize("text", ["low", "", "0,5", "1 2", "0x10", "1e", "--1", "1;2", "\x1b[31m1\x1b[0m", "1\0"])
def test_a_value_that_is_no_number_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    found = reading(tmp_path, f"METRIC loss={text}\n")
    assert (found.status, found.value) == ("unparsable", None)
    assert "not a number" in found.why
    assert found.why.isprintable()


def test_one_good_statement_does_not_hide_a_bad_one(tmp_path: Path) -> None:
    assert reading(tmp_path, "METRIC loss=1\nMETRIC loss=low\n").status == "unparsable"
    assert reading(tmp_path, "METRIC loss=1\nMETRIC loss=nan\n").status == "not_finite"


@pytest.mark.parametrize("text", ["nan", "NaN", "-nan", "inf", "Infinity", "-inf", "1e999", "-1e999"])
def test_nan_and_infinity_are_no_values_whatever_their_spelling(tmp_path: Path, text: str) -> None:
    found = reading(tmp_path, f"METRIC loss={text}\n")
    assert (found.status, found.value) == ("not_finite", None)
    assert text in found.why


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
def test_nan_and_infinity_in_a_result_are_no_values(tmp_path: Path, text: str) -> None:
    assert reading(tmp_path, "", f'{{"loss": {text}}}').status == "not_finite"


def test_what_is_not_finite_is_named_even_when_it_was_not_said_first(tmp_path: Path) -> None:
    assert "inf" in reading(tmp_path, "METRIC loss=1\nMETRIC loss=inf\n").why


@pytest.mark.parametrize(
    "result",
    [
        *["", "{", "[]", "null", '"loss"', "1", '{"loss": "1"}', '{"loss": true}', '{"loss": null}', '{"loss": [1]}'],
        *["[" * 100_000, '{"a":' * 100_000, b"\xff\xfe", b"\0" * 10, '{"loss": ' + "9" * 5000 + "}"],
    ],
    ids=lambda result: repr(result[:12]),
)
def test_a_result_that_is_no_object_of_numbers_says_nothing(tmp_path: Path, result: bytes | str) -> None:
    assert reading(tmp_path, "", result).status == "absent"
    assert reading(tmp_path, "METRIC loss=1", result).value == 1


def test_a_result_beyond_its_bound_says_nothing(tmp_path: Path) -> None:
    padded = json.dumps({"pad": "x" * (2 << 20), "loss": 1})
    assert reading(tmp_path, "", padded).status == "absent"


def test_a_link_a_pipe_or_a_folder_in_the_place_of_a_result_says_nothing(tmp_path: Path) -> None:
    out, result = tmp_path / "out.txt", tmp_path / "result.json"
    out.write_text("METRIC acc=1\n")
    (tmp_path / "elsewhere.json").write_text('{"loss": 1}')
    result.symlink_to(tmp_path / "elsewhere.json")
    assert read("loss", out, result).status == "absent"
    result.unlink()
    os.mkfifo(result)
    assert read("loss", out, result).status == "absent"  # and does not wait for a writer
    result.unlink()
    result.mkdir()
    assert read("loss", out, result).status == "absent"
    assert read("loss", tmp_path / "missing.txt", result).status == "absent"


def test_a_link_or_a_pipe_in_the_place_of_the_output_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("METRIC loss=1\n")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    assert read("loss", tmp_path / "link.txt").status == "absent"
    assert read("loss", tmp_path / "pipe.txt").status == "absent"


def test_binary_garbage_around_a_value_does_not_hide_it(tmp_path: Path) -> None:
    assert reading(tmp_path, b"\x00\xff\xfe\x80" * 100 + b"\nMETRIC loss=1\n\xf0\x28\x8c").value == 1


def test_a_very_long_output_is_read_within_its_bound(tmp_path: Path) -> None:
    noise = b"x" * OUTPUT_BYTES
    assert reading(tmp_path, b"METRIC loss=1\n" + noise + b"\nMETRIC loss=2\n").value == 1


@given(st.binary(max_size=300), st.none() | st.binary(max_size=200))
def test_no_bytes_ever_raise_or_give_a_value_that_is_not_finite(
    tmp_path_factory: pytest.TempPathFactory, output: bytes, result: bytes | None
) -> None:
    found = reading(tmp_path_factory.mktemp("any"), output, result)
    assert (found.status == "ok") == (found.value is not None)
    assert found.value is None or math.isfinite(found.value)


LINES = st.sampled_from(
    ["METRIC ", "loss", "=", ": ", "---\n", "\n", "nan", "1e999", "-0", "0.5", "\u0661", "1_0", " ", "\x1b"]
)
VALUES = st.sampled_from(["1", "NaN", "-Infinity", "1e400", '"a"', "true", "null", "[]", "0.5", "10" * 300])


@given(st.lists(LINES, max_size=20).map("".join), st.none() | VALUES)
def test_nothing_shaped_almost_like_a_value_becomes_one_that_is_not_finite(
    tmp_path_factory: pytest.TempPathFactory, output: str, result: str | None
) -> None:
    stated = None if result is None else f'{{"loss": {result}, "other": {result}}}'
    found = reading(tmp_path_factory.mktemp("near"), output, stated)
    assert (found.status == "ok") == (found.value is not None)
    assert found.value is None or math.isfinite(found.value)
    assert all(map(math.isfinite, found.extras.values()))


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("0.42", (0.42, None)),
        ("0.42 loss=3.21", (0.42, 3.21)),
        ("7", (1.0, None)),
        ("-1", (0.0, None)),
        ("0.5 loss=x", (0.5, None)),
        ("1e-3 loss=1e2 more words", (0.001, 100.0)),
        ("nan", None),
        ("half", None),
        ("", None),
        ("1e", None),
    ],
)
def test_progress_is_a_fraction_and_perhaps_a_loss(text: str, point: tuple[float, float | None] | None) -> None:
    assert progress(text) == point


@given(st.text(max_size=40) | st.from_regex(r"[0-9.eE+-]{1,9}( loss=[0-9.eE+-]{1,9})?"))
def test_no_progress_line_ever_raises_or_leaves_its_range(text: str) -> None:
    point = progress(text)
    assert point is None or 0 <= point[0] <= 1
