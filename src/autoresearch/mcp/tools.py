"""
The tools: what each takes, what it does, in which words it is told to an agent.

No tool takes a value. An agent says what to change and why; what it is worth is measured. Arguments that a tool does
not know are refused, and so is a file that may not change, before anything runs.

Knows nothing of MCP; server.py speaks it.
"""

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from autoresearch import person
from autoresearch.errors import AutoresearchError
from autoresearch.mcp import answers, changes
from autoresearch.mcp.desk import Desk, Ticket
from autoresearch.mcp.edits import Edit

LONGEST_IDEA = 300  # characters, as a commit's first line has them
LARGEST = 1 << 20  # characters of all that one idea brings along
MOST_EDITS = 100
FILES = 200  # that are named
_SCORES = re.compile(r"score|value|gain|metric|verdict|result|loss|bpb|keep", re.IGNORECASE)

TRY_IDEA = """\
Have one idea measured and judged: a sentence, and the change as `edits`, as a `patch`, or in a `worktree` that was lent.
Gives the verdict (keep, discard, inconclusive, crash, timeout, rejected, suspect) with the numbers. You cannot state a
score. It takes as long as the runs do; if your client gives up on long calls, use wait=false and ask with `show`."""


class BadCall(AutoresearchError):
    """A tool was called with something it does not take."""


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No arguments."""


class Page(Struct, frozen=True, forbid_unknown_fields=True):
    before: Annotated[int | None, Meta(description="Only trials with a smaller number (default: the newest).")] = None
    limit: Annotated[int, Meta(ge=1, le=answers.PAGE, description="So many trials at most.")] = 30
    verdict: Annotated[
        Literal["keep", "discard", "crash", "timeout", "rejected", "stale", "inconclusive", "suspect", "running"]
        | None,
        Meta(description="Only trials that ended so."),
    ] = None


class One(Struct, frozen=True, forbid_unknown_fields=True):
    trial: Annotated[int | None, Meta(description="A trial's number.")] = None
    idea: Annotated[str, Meta(max_length=100, description="Or what `try_idea` gave for an idea that waits.")] = ""


class OneOrBest(Struct, frozen=True, forbid_unknown_fields=True):
    trial: Annotated[
        int | None, Meta(description="A trial's number (default: everything that was kept, against the start).")
    ] = None


class Idea(Struct, frozen=True, forbid_unknown_fields=True):
    idea: Annotated[
        str,
        Meta(min_length=1, max_length=LONGEST_IDEA, description="What changes and why it should help, in a sentence."),
    ]
    edits: Annotated[
        list[Edit], Meta(max_length=MOST_EDITS, description="Made in order, on the best as it is now.")
    ] = []
    patch: Annotated[str, Meta(max_length=LARGEST, description="Or a unified diff against the best.")] = ""
    worktree: Annotated[str, Meta(max_length=4096, description="Or the path that `lend` gave.")] = ""
    wait: Annotated[bool, Meta(description="Until there is a verdict (default), or not.")] = True


class Lend(Struct, frozen=True, forbid_unknown_fields=True):
    give_back: Annotated[str, Meta(max_length=4096, description="One that you do not need any more.")] = ""


class Steer(Struct, frozen=True, forbid_unknown_fields=True):
    note: Annotated[str, Meta(max_length=person.NOTE_LENGTH, description="What the next briefs are to say.")] = ""
    drop: Annotated[int | None, Meta(description="The number of a note of yours that no longer holds.")] = None


class Tool(Struct, frozen=True):
    """`answer` gives text, data, or a ticket for an idea that is being tried."""

    name: str
    says: str
    takes: type[Struct]
    answer: Callable[[Desk, Any], str | dict[str, Any] | Ticket]
    reads: bool = True  # and changes nothing
    swarm: bool = False  # is listed only where the study takes part in one


def read(tool: Tool, given: dict[str, Any]) -> Any:
    """
    The arguments of a call, as the tool takes them.

    Raises:
        BadCall: they are not what it takes; the message says what is wrong and what there is.
    """
    fields = {field.name: field.type for field in msgspec.structs.fields(tool.takes)}
    if unknown := [name for name in given if name not in fields]:
        raise BadCall(_unknown(tool, unknown[0], list(fields)))
    try:
        # Some clients send lists and objects as a text that holds JSON.
        unpacked = {name: _unpacked(value, fields[name]) for name, value in given.items()}
        return msgspec.convert(unpacked, tool.takes, strict=False)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$")
        raise BadCall(f"{tool.name}: {where.rstrip('`').lstrip('.') or 'arguments'}: {problem}") from None


def _unknown(tool: Tool, name: str, known: list[str]) -> str:
    shown = answers.sentence(name, 60)
    if _SCORES.search(name) and tool.name in ("try_idea", "publish_finding"):
        return f"{tool.name} takes no {shown!r}: nobody can state what a change is worth; it is measured here. Leave it out"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known) or 'nothing'}"
    return f"{tool.name} takes no {shown!r} ({hint})"


def _unpacked(value: Any, kind: Any) -> Any:
    if not isinstance(value, str) or "list" not in str(kind):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, RecursionError):
        return value


def schema(takes: type[Struct]) -> dict[str, Any]:
    """JSON Schema of a tool's arguments, written out in one piece: some clients do not follow references."""
    (root,), parts = msgspec.json.schema_components([takes], ref_template="{name}")

    def whole(part: Any) -> Any:
        if isinstance(part, list):
            return [whole(item) for item in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return whole(parts[part["$ref"]])
        return {name: whole(inner) for name, inner in part.items() if name != "title" or not isinstance(inner, str)}

    found: dict[str, Any] = whole(root)
    return found


def _brief(desk: Desk, _: Nothing) -> str:
    return desk.look().brief.text()


def _status(desk: Desk, _: Nothing) -> dict[str, Any]:
    look = desk.look()
    return answers.status(look.study, look.state, look.brief, desk.holder())


def _history(desk: Desk, page: Page) -> dict[str, Any]:
    return answers.history(desk.look().brief, page.before, page.limit, page.verdict)


def _findings(desk: Desk, _: Nothing) -> dict[str, Any]:
    return answers.findings(desk.look().brief)


def _show(desk: Desk, one: One) -> dict[str, Any]:
    if bool(one.idea) == (one.trial is not None):
        raise BadCall("show takes a trial's number, or an idea that waits")
    look = desk.look()
    number = desk.carrier(one.idea) if one.trial is None else one.trial
    if number is None:
        return {"verdict": "waiting", "idea": one.idea}
    return answers.show(look.state, look.trial(number), desk.patch(look, number), desk.printed(look, number))


def _diff(desk: Desk, one: OneOrBest) -> str:
    return answers.block(desk.patch(desk.look(), one.trial), answers.PATCH) or "Nothing was changed.\n"


def _try_idea(desk: Desk, asked: Idea) -> Ticket:
    while True:
        look = desk.look()
        try:
            patch = changes.patch(desk, look, asked.edits, asked.patch, asked.worktree)
            changes.check(look, patch)
            return desk.attempt(asked.idea, patch, Path(asked.worktree) if asked.worktree else None)
        except AutoresearchError:
            if not asked.edits or desk.look().brief.base == look.brief.base:
                raise
            # Best has moved since we looked: the edits are made again, on the new one.


def _lend(desk: Desk, lend: Lend) -> dict[str, Any]:
    if lend.give_back:
        person.take_back(desk.folder, changes.lent(desk, lend.give_back))
    lent = person.lend(desk.folder)
    return {
        "worktree": str(lent.path),
        "holds": f"the best, {lent.base[:12]}",
        "may_change": list(desk.look().study.asset),
        "files": [str(name) for name in lent.files[:FILES]],
        "next": "edit the files there, then call try_idea with this path as worktree",
    }


def _steer(desk: Desk, steer: Steer) -> dict[str, Any]:
    if steer.note:
        person.steer(desk.folder, steer.note, by="mcp")
    if steer.drop is not None:
        note = next((note for note in person.notes(desk.folder) if note.number == steer.drop), None)
        if note is not None and note.by != "mcp":
            raise BadCall(
                f"note {steer.drop} is the person's; they drop it with `autoresearch steer --drop {steer.drop}`"
            )
        person.drop(desk.folder, steer.drop)
    return {"notes": [{"number": note.number, "note": note.text, "by": note.by} for note in person.notes(desk.folder)]}


ALL = [
    Tool("brief", "What to know before having an idea: goal, rules, the best so far, what was tried.", Nothing, _brief),
    Tool("try_idea", TRY_IDEA, Idea, _try_idea, reads=False),
    Tool("lend", "A folder that holds the best, for you to edit; `try_idea` takes its path.", Lend, _lend, reads=False),
    Tool("status", "Where the study stands: best, noise, counts, what runs now, what is left.", Nothing, _status),
    Tool(
        "findings", "What helped, hurt, came close and failed, with numbers, the strongest first.", Nothing, _findings
    ),
    Tool("history", "The trials with verdicts and numbers, the newest first, page by page.", Page, _history),
    Tool("show", "One trial in full: verdict, runs, patch, and what a failed run printed last.", One, _show),
    Tool("diff", "A patch: the best against the start, or one trial against its base.", OneOrBest, _diff),
    Tool(
        "steer", "Leave a note for every proposer's next brief, or drop one of yours; lists them.", Steer, _steer, False
    ),
]
