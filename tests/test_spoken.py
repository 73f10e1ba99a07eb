"""What agents print is read whatever it is: the known shapes exactly, everything else without harm."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in import COST, FORMATS, RECEIVED, SENT

from autoresearch.propose import spoken
from autoresearch.propose.agents import AGENTS

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
# Keys that readers look at, with anything in them.
KNOWN = (
    *(
        "type",
        "message",
        "result",
        "usage",
        "modelUsage",
        "total_cost_usd",
        "item",
        "text",
        "response",
        "stats",
        "part",
    ),
    *("tokens", "cache", "cost", "error", "content", "info", "messages", "model_stats", "instance_cost", "extra"),
    *("input_tokens", "output_tokens", "dollars", "problem", "errors", "is_error", "models", "data", "name", "role"),
)
VALUES = JSON | st.sampled_from(["result", "assistant", "text", "step_finish", "turn.completed", "message", "complete"])
ENTRIES = st.dictionaries(st.sampled_from(KNOWN), VALUES | st.dictionaries(st.sampled_from(KNOWN), VALUES), max_size=5)


# -- readers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", spoken.READERS)
@given(entries=st.lists(ENTRIES | st.text(), max_size=6))
def test_anything_is_read_and_comes_out_bounded(reader: str, entries: list[object]) -> None:
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    said = spoken.READERS[reader]("\n".join([*lines, spoken.MARK, *lines]))
    assert said.dollars is None or 0 <= said.dollars <= spoken.MOST_DOLLARS * 2 * len(entries)
    assert said.input_tokens >= 0
    assert said.output_tokens >= 0
    idea = spoken.idea(said.last)
    assert len(idea) <= spoken.IDEA_LENGTH
    assert idea == "" or idea.isprintable()
    assert len(spoken.last_words(said.last)) <= spoken.QUOTE_LENGTH


@pytest.mark.parametrize("reader", spoken.READERS)
@given(data=st.binary(max_size=300))
def test_bytes_that_are_no_text_are_read(reader: str, data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "printed.txt"
    path.write_bytes(data)
    assert len(spoken.read(reader, path).problem) <= spoken.QUOTE_LENGTH


HOSTILE = {
    "braces": "{\n" * 1_000_000,
    "open-braces": '{"a":' * 500_000,
    "lists": "[" * 2_000_000,
    "digits": "Tokens: " + "1" * 2_000_000,
    "many-digits": ("Tokens: " + "1" * 300 + "\n") * 5_000,
    "spaces": " " * 2_000_000 + "IDEA",
    "lines": "\n" * 2_000_000,
    "stars": "**" * 1_000_000 + "IDEA: x",
    "costs": '"instance_cost": ' * 100_000,
    "huge-number": json.dumps({"type": "result", "total_cost_usd": 10**400}),
    "too-many-digits": '{"type": "result", "total_cost_usd": ' + "9" * 100_000 + "}",
}


@pytest.mark.parametrize("reader", spoken.READERS)
def test_no_text_takes_long_to_read(reader: str) -> None:
    begun = time.process_time()
    for text in HOSTILE.values():
        spoken.idea(spoken.READERS[reader](text).last)
    assert time.process_time() - begun < 10  # about 0.3 s, of processor time


@pytest.mark.parametrize("cost", ["-1", "NaN", "1e300", '"0.1"', "true", "null", "[1]", "Infinity"])
def test_a_cost_that_cannot_be_is_none(cost: str) -> None:
    said = spoken.claude(f'{{"type": "result", "result": "x", "total_cost_usd": {cost}}}')
    assert said.dollars is None


def test_what_claude_code_really_printed_is_read() -> None:
    """A line of 2.1.197 against a scripted model, shortened."""
    text = '{"type":"result","subtype":"error_max_budget_usd","is_error":true,"total_cost_usd":0.00635,"usage":'
    text += '{"input_tokens":0,"output_tokens":0},"modelUsage":{"claude-opus-4-8[1m]":{"inputTokens":1000,"outputTokens":50,'
    text += '"cacheReadInputTokens":200,"costUSD":0.00635}},"errors":["Reached maximum budget ($0.001)"]}'
    said = spoken.claude(text)
    assert (said.dollars, said.input_tokens, said.output_tokens) == (0.00635, 1200, 50)
    assert (said.model, said.problem) == ("claude-opus-4-8[1m]", "Reached maximum budget ($0.001)")


def test_one_that_was_ended_is_read_as_far_as_it_came() -> None:
    message = {"id": "m1", "model": "m", "usage": {"input_tokens": 10, "output_tokens": 5}}
    lines = [{"type": "assistant", "message": message | {"content": [{"type": "text", "text": "so far"}]}}] * 2
    said = spoken.claude("\n".join(map(json.dumps, lines)) + '\n{"type": "resu')
    assert (said.last, said.dollars, said.input_tokens, said.output_tokens) == ("so far", None, 10, 5)


def test_a_trajectory_that_was_cut_still_tells_its_cost() -> None:
    text = f'prose\nIDEA: a thing\n{spoken.MARK}\n{{\n "info": {{"model_stats": {{"instance_cost": 0.25, "api_calls'
    said = spoken.mini(text)
    assert (said.dollars, spoken.idea(said.last)) == (0.25, "a thing")


def test_a_line_separator_within_json_ends_no_line() -> None:
    said = spoken.codex(json.dumps({"item": {"type": "agent_message", "text": "a\u2028b"}}, ensure_ascii=False))
    assert said.last == "a\u2028b"


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_of_the_stand_in_is_read(name: str) -> None:
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in FORMATS[name]("Done.\nIDEA: x", "")]
    said = spoken.READERS[AGENTS[name].reader if name in AGENTS else "plain"]("\n".join(lines))
    if name != "mini":  # the rest is in its trajectory
        assert spoken.idea(said.last) == "x"
        assert (said.input_tokens, said.output_tokens) == (SENT, RECEIVED)
    assert said.dollars in (COST, None)


# -- ideas ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "idea"),
    [
        ("IDEA: one\nmore\nIDEA: two", "two"),
        ("Done.\n\n**IDEA:** raise the rate", "raise the rate"),
        ("> **Idea**: `raise` it**", "raise` it"),
        ("- idea: lower-case", "lower-case"),
        ("I have an idea: none", "I have an idea: none"),
        ("I raised it. It should help.", "I raised it."),
        ("\n\nFirst line\nsecond", "First line"),
        ("IDEA:", "IDEA:"),
        ("IDEA: \x1b[31mred\x07 " + "x" * 400, "[31mred " + "x" * 291 + "…"),
        ("", ""),
    ],
    ids=range(10),
)
def test_the_idea_is_the_last_line_that_says_so_else_the_first_sentence(last: str, idea: str) -> None:
    assert spoken.idea(last) == idea
