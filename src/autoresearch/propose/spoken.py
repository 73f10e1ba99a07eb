"""
What a coding agent printed: its last message, what it says it cost, and the idea in it.

All of it is data from a program that may be broken or hostile, so every reader takes any text: what it does not know
it passes over, a number that cannot be is none, and nothing is longer than it may be.
"""

import io
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

BYTES = 5 << 20  # of a file that are read: keepers leave 4.25 MB of a stream
LINES, LINE_LENGTH = 100_000, 400  # of prose, a line that says what was spent is no longer
MESSAGE_LENGTH = 20_000  # characters of a message, of which the end counts
IDEA_LENGTH = 300
QUOTE_LENGTH = 240
MOST_DOLLARS, MOST_TOKENS = 1e4, 10**10  # of one proposal; more was made up
MARK = "=== what it left ==="  # between what an agent printed and a file that it left

Tree = dict[str, Any]


class Said(Struct, frozen=True):
    """`dollars` is None where it told no cost. `problem` is what it says went wrong, `refused` what it may not do."""

    last: str = ""
    dollars: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    model: str = ""
    problem: str = ""


def read(reader: str, printed: Path) -> Said:
    """What an agent of this reader said, from what it printed; see READERS."""
    try:
        with printed.open("rb") as file:
            text = file.read(BYTES).decode(errors="replace")
    except OSError:
        return Said()
    said = READERS[reader](text)
    return msgspec.structs.replace(said, last=said.last[-MESSAGE_LENGTH:], problem=line(said.problem, QUOTE_LENGTH))


# -- each agent's way ----------------------------------------------------------------------------------


def claude(text: str) -> Said:
    """Claude Code, `--output-format json` or `stream-json`: a line of type result at its end."""
    counted: dict[str, tuple[int, int]] = {}
    last = model = ""
    for entry in entries(text):
        if entry.get("type") == "result":
            return _claude_result(entry)
        message = tree(entry, "message")
        if entry.get("type") == "assistant":  # it was ended before it could sum up
            usage = tree(message, "usage")
            counted[str(message.get("id"))] = _claude_input(usage), count(usage.get("output_tokens"))
            last, model = _texts(message.get("content")) or last, name(message.get("model"))
    sent, received = (sum(pair[i] for pair in counted.values()) for i in (0, 1))
    return Said(last, None, sent, received, model)


def _claude_result(entry: Tree) -> Said:
    used = tree(entry, "modelUsage")
    models = [part for part in used.values() if isinstance(part, dict)]
    inputs = ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    sent = sum(count(part.get(kind)) for part in models for kind in inputs)
    received = sum(count(part.get("outputTokens")) for part in models)
    usage = tree(entry, "usage")
    last = string(entry.get("result"))
    failed = bool(entry.get("is_error"))
    errors = "; ".join(filter(None, map(string, listed(entry.get("errors")))))
    return Said(
        last,
        amount(entry.get("total_cost_usd")),
        sent or _claude_input(usage),
        received or count(usage.get("output_tokens")),
        name(next(iter(used), "")),
        (errors or last or name(entry.get("subtype"))) if failed else "",
    )


def _claude_input(usage: Tree) -> int:
    kinds = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return sum(count(usage.get(kind)) for kind in kinds)


def codex(text: str) -> Said:
    """Codex, `exec --json`: items as they complete, tokens at the end of a turn. It tells no cost."""
    last = problem = ""
    sent = received = 0
    for entry in entries(text):
        item, usage = tree(entry, "item"), tree(entry, "usage")
        if item.get("type") == "agent_message":
            last = string(item.get("text")) or last
        if entry.get("type") == "turn.completed":
            sent += count(usage.get("input_tokens"))
            received += count(usage.get("output_tokens"))
        if entry.get("type") in ("error", "turn.failed"):
            problem = string(entry.get("message")) or string(tree(entry, "error").get("message")) or problem
    return Said(last, None, sent, received, problem=problem)


def gemini(text: str) -> Said:
    """Gemini CLI, `--output-format json`: one object. It tells no cost."""
    entry = document(text)
    used = tree(tree(entry, "stats"), "models")
    tokens = [tree(part, "tokens") for part in used.values() if isinstance(part, dict)]
    return Said(
        string(entry.get("response")),
        None,
        sum(count(part.get("prompt")) for part in tokens),
        sum(count(part.get("candidates")) + count(part.get("thoughts")) for part in tokens),
        name(next(iter(used), "")),
        string(tree(entry, "error").get("message")),
    )


def opencode(text: str) -> Said:
    """OpenCode, `run --format json`: parts of messages, and at the end of each step its tokens and cost."""
    last = problem = ""
    sent = received = 0
    dollars: float | None = None
    for entry in entries(text):
        part, error = tree(entry, "part"), tree(entry, "error")
        if entry.get("type") == "text":
            last = string(part.get("text")) or last
        if entry.get("type") == "step_finish":
            tokens = tree(part, "tokens")
            cache = tree(tokens, "cache")
            sent += count(tokens.get("input")) + count(cache.get("read")) + count(cache.get("write"))
            received += count(tokens.get("output")) + count(tokens.get("reasoning"))
            cost = amount(part.get("cost"))
            dollars = dollars if cost is None else (dollars or 0.0) + cost
        if error:
            problem = (
                string(tree(error, "data").get("message")) or string(error.get("message")) or name(error.get("name"))
            )
    return Said(last, dollars, sent, received, problem=problem)


def goose(text: str) -> Said:
    """Goose, `--output-format stream-json`, as its documentation has it: messages in pieces, then totals."""
    last = problem = ""
    end: Tree = {}
    speaking = False
    for entry in entries(text):
        message = tree(entry, "message")
        if entry.get("type") == "message" and message.get("role") == "assistant":
            said = _texts(message.get("content"))
            last = last + said if speaking else said or last
            speaking = bool(said)
        elif entry.get("type") == "message":
            speaking = False
        if entry.get("type") == "complete":
            end = entry
        if entry.get("type") == "error":
            problem = string(entry.get("error")) or problem
        last = last[-MESSAGE_LENGTH:]
    cost = amount(end.get("cost_usd", end.get("cost")))
    return Said(last, cost, count(end.get("input_tokens")), count(end.get("output_tokens")), problem=problem)


_AIDER_SPENT = re.compile(r"Tokens: ([\d.]+)([kM]?) sent,.*?([\d.]+)([kM]?) received\.")
_AIDER_COST = re.compile(r"Cost: \$[\d.]+ message, \$([\d.]+) session")
_SCALE = {"": 1, "k": 1000, "M": 1_000_000}


def aider(text: str) -> Said:
    """aider: a head, an empty line, prose, and a line of tokens and cost behind each message."""
    dollars: float | None = None
    sent = received = 0.0
    problem = ""
    prose: list[str] = []
    for one in lines(text.partition("\n\n")[2] or text):
        spent = _AIDER_SPENT.match(one) if len(one) <= LINE_LENGTH else None
        if spent:
            sent += (decimal(spent[1]) or 0) * _SCALE[spent[2]]
            received += (decimal(spent[3]) or 0) * _SCALE[spent[4]]
            cost = _AIDER_COST.search(one)
            dollars = amount(decimal(cost[1])) if cost else dollars
        elif one.startswith("litellm.") and not problem:
            problem = one
        else:
            prose.append(one)
    return Said("\n".join(prose), dollars, count(sent), count(received), problem="" if sent else problem)


_MINI_COST = re.compile(r'"instance_cost":\s*([\d.eE+-]+)|mini-swe-agent \(step \d+, \$([\d.]+)\)')


def mini(text: str) -> Said:
    """mini-swe-agent: prose, then its trajectory, which may have been cut."""
    prose, _, left = text.partition(MARK)
    entry = document(left)
    info = tree(entry, "info")
    costs = [amount(decimal(a or b)) for a, b in _MINI_COST.findall(text)]
    usages = [
        tree(tree(tree(message, "extra"), "response"), "usage")
        for message in listed(entry.get("messages"))
        if isinstance(message, dict)
    ]
    cost = amount(tree(info, "model_stats").get("instance_cost"))
    ended = name(info.get("exit_status"))
    return Said(
        string(info.get("submission")) or prose,
        cost if cost is not None else next((c for c in reversed(costs) if c is not None), None),
        sum(count(usage.get("prompt_tokens")) for usage in usages),
        sum(count(usage.get("completion_tokens")) for usage in usages),
        problem="" if ended in ("", "Submitted") else ended,
    )


def plain(text: str) -> Said:
    """Any other: prose, and if it likes a last line of JSON with dollars, input_tokens, output_tokens and model."""
    told: Tree = {}
    for entry in entries(text):
        if entry.keys() & {"dollars", "input_tokens", "output_tokens"}:
            told = entry
    sent, received = count(told.get("input_tokens")), count(told.get("output_tokens"))
    prose = "\n".join(one for one in lines(text) if not one.startswith("{"))
    return Said(prose, amount(told.get("dollars")), sent, received, name(told.get("model")))


def over_acp(text: str) -> Said:
    """What our own client of the Agent Client Protocol prints; see acp.py."""
    last = problem = ""
    sent = received = 0
    dollars: float | None = None
    for entry in entries(text):
        if "message" in entry:
            last = string(entry["message"]) or last
        if "dollars" in entry:
            cost = amount(entry["dollars"])
            dollars = dollars if cost is None else cost
        sent = max(sent, count(entry.get("input_tokens")))
        received = max(received, count(entry.get("output_tokens")))
        problem = string(entry.get("problem")) or problem
    return Said(last, dollars, sent, received, problem=problem)


READERS: dict[str, Callable[[str], Said]] = {
    "claude": claude,
    "codex": codex,
    "gemini": gemini,
    "opencode": opencode,
    "goose": goose,
    "aider": aider,
    "mini": mini,
    "plain": plain,
    "acp": over_acp,
}

# -- the idea ------------------------------------------------------------------------------------------

_IDEA = re.compile(r"^[ \t>*_`#-]*idea[ \t*_`]*:[ \t*_`]*(\S.*)$", re.IGNORECASE | re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?])\s")


def idea(last: str) -> str:
    """The last line `IDEA: ...` of a message, else its first sentence, on one bounded line; empty if it is."""
    last = last[-MESSAGE_LENGTH:]
    stated = _IDEA.findall(last)
    if stated:
        return line(stated[-1].strip(" \t*_`"), IDEA_LENGTH)
    first = next((one for one in last.splitlines() if one.strip()), "")
    return line(_SENTENCE.split(first.strip(), maxsplit=1)[0], IDEA_LENGTH)


def last_words(text: str) -> str:
    """The end of a text on one bounded line, to be quoted."""
    flat = line(text[-4 * QUOTE_LENGTH :], 4 * QUOTE_LENGTH)
    return flat if len(flat) <= QUOTE_LENGTH else "…" + flat[1 - QUOTE_LENGTH :]


def line(text: str, length: int) -> str:
    """A text on one line of at most so many characters, all of which can be printed."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * length]).split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"


# -- what may stand in JSON ----------------------------------------------------------------------------


def lines(text: str) -> Iterator[str]:
    """So many lines, ended by a line feed and nothing else: JSON may hold what str.splitlines takes for an end."""
    for one in itertools.islice(io.StringIO(text, newline="\n"), LINES):
        yield one.rstrip("\r\n")


def entries(text: str) -> Iterator[Tree]:
    """Each line that is a JSON object."""
    for one in lines(text):
        if one.startswith("{"):
            try:
                entry = msgspec.json.decode(one)
            except (msgspec.DecodeError, RecursionError):
                continue
            if isinstance(entry, dict):
                yield entry


def document(text: str) -> Tree:
    """The first JSON object that begins a line and may go over many; none is an empty one."""
    decoder = json.JSONDecoder()
    for match in itertools.islice(re.finditer(r"^\{", text, re.MULTILINE), 20):
        try:
            found, _ = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    return {}


def tree(parent: object, key: str) -> Tree:
    found = parent.get(key) if isinstance(parent, dict) else None
    return found if isinstance(found, dict) else {}


def listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def string(value: object) -> str:
    return value if isinstance(value, str) else ""


def name(value: object) -> str:
    return line(string(value), 80)


def amount(value: object) -> float | None:
    """Dollars; None for what cannot be a cost."""
    number = decimal(value) if not isinstance(value, str) else None
    return number if number is not None and 0 <= number <= MOST_DOLLARS else None


def count(value: object) -> int:
    """Tokens; 0 for what cannot be a number of them."""
    number = decimal(value) if not isinstance(value, str) else None
    return int(number) if number is not None and 0 <= number <= MOST_TOKENS else 0


def decimal(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _texts(content: object) -> str:
    """The pieces of text in a message's content."""
    parts = (string(part.get("text")) for part in listed(content) if isinstance(part, dict))
    return "".join(parts) if content is None or isinstance(content, list) else string(content)
