"""
The tools of a study that takes part in a swarm: letters to other peers' agents, changes that are held so that nobody does
them twice, what others found. They are listed while it does; elsewhere each says how to join.

What they do is in mailroom.py, which needs the extra `swarm`.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from autoresearch.company import joined
from autoresearch.errors import StudyError
from autoresearch.mcp.desk import Desk
from autoresearch.mcp.edits import Edit
from autoresearch.mcp.tools import LARGEST, MOST_EDITS, Nothing, Tool

if TYPE_CHECKING:
    from autoresearch.mcp.mailroom import Mailroom

HOW_TO_JOIN = (
    "this study takes part in no swarm: the person begins one with `autoresearch swarm init`, or joins one they were "
    "invited to with `autoresearch swarm join INVITATION`"
)

SEND = """\
Write a letter to one peer; only it can read it. `to` is a name with the beginning of its key, as `peers` gives them, or the
key. It arrives once, also where the peer is away now, when it is back."""

CLAIM = """\
Tell all peers that you are at a change, so that nobody does it twice: the change as for `try_idea`, or the `key` of one. Says who
is at it where somebody is. It ends when its trial is decided, with `release`, ten minutes after you claimed it last, or with
this session."""

PUBLISH = """\
See to it that other peers know of a trial of yours that was decided, now, and get its receipt's id. It is told as it was
measured here; you cannot state a number."""


class Send(Struct, frozen=True, forbid_unknown_fields=True):
    to: Annotated[str, Meta(min_length=1, max_length=200, description="Like 'ada (AbC123)', or a key.")]
    text: Annotated[str, Meta(min_length=1, max_length=16 << 10, description="What it says; 16 KiB at most.")]


class OneLetter(Struct, frozen=True, forbid_unknown_fields=True):
    id: Annotated[str, Meta(min_length=8, max_length=64, description="As `read` gave it.")]


class Claim(Struct, frozen=True, forbid_unknown_fields=True):
    key: Annotated[str, Meta(pattern="^([0-9a-f]{8,64})?$", description="Of a finding, or of an earlier claim.")] = ""
    edits: Annotated[list[Edit], Meta(max_length=MOST_EDITS, description="Or the change, on the best.")] = []
    patch: Annotated[str, Meta(max_length=LARGEST, description="Or a unified diff against the best.")] = ""
    worktree: Annotated[str, Meta(max_length=4096, description="Or the path that `lend` gave.")] = ""


class Release(Struct, frozen=True, forbid_unknown_fields=True):
    key: Annotated[str, Meta(max_length=64, description="As `claim` gave it (default: all that you hold).")] = ""


class OneTrial(Struct, frozen=True, forbid_unknown_fields=True):
    trial: Annotated[int, Meta(description="Its number.")]


class Query(Struct, frozen=True, forbid_unknown_fields=True):
    text: Annotated[str, Meta(min_length=1, max_length=300, description="Words, say 'warmup learning rate'.")]
    limit: Annotated[int, Meta(ge=1, le=50, description="So many at most.")] = 10


def tools() -> list[Tool]:
    """For one server: they share what is remembered between calls."""
    rooms: list[Mailroom] = []

    def in_room(method: str, desk: Desk, asked: Any) -> dict[str, Any]:
        if not joined(desk.home):
            raise StudyError(HOW_TO_JOIN)
        from autoresearch.mcp.mailroom import Mailroom

        if not rooms:
            rooms.append(Mailroom(desk))
        found: dict[str, Any] = getattr(rooms[0], method)(asked)
        return found

    def tool(name: str, says: str, takes: type[Struct], reads: bool = False) -> Tool:
        answer: Callable[[Desk, Any], dict[str, Any]] = partial(in_room, name)
        return Tool(name, says, takes, answer, reads, swarm=True)

    return [
        tool("peers", "Who is in the swarm: alive or not, machine, and what their claims are worth.", Nothing, True),
        tool("send", SEND, Send),
        tool("read", "Letters to you that you have not acknowledged, the first first.", Nothing, True),
        tool("ack", "Say that you have read a letter; `read` does not show it again.", OneLetter),
        tool("claim", CLAIM, Claim),
        tool("release", "Hold a change no longer.", Release),
        tool("publish_finding", PUBLISH, OneTrial),
        tool("search_findings", "What other peers found to help or not to, by words, with evidence.", Query, True),
    ]
