"""
Drives one coding agent over the Agent Client Protocol, for one task, and prints what came of it.

A program of its own, started beside the agent (in the sandbox, where there is one):

    python -I acp.py '{"cwd": ..., "may_change": [...], "until": ..., "grace_s": ..., "dollars": ...}' AGENT [ARGUMENT ...]

The task comes on standard input. The agent is allowed to read, and to edit files below `cwd` whose path from there
matches one of the patterns; every other request is refused. It is cancelled `grace_s` before the time `until` (seconds
since 1970), so that it can still say what it cost, and when it says that this is more than `dollars`. Printed are JSON lines (message, dollars, input_tokens, output_tokens, problem)
and lines `PROGRESS ...` for whoever watches. What is refused here is for the agent to know; what holds a hostile one
is the sandbox.

Needs the package agent-client-protocol, and nothing of ours. Source: https://agentclientprotocol.com (version 1).
"""

import asyncio
import contextlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

BUFFER = 16 << 20  # bytes of one line from the agent
MESSAGE_LENGTH = 20_000  # characters of its last message, of which the end counts
NOTES = 12  # lines PROGRESS at most
LOOKING = ("read", "search", "think")
CHANGING = ("edit", "delete", "move")
MISSING = 69  # EX_UNAVAILABLE


class Session:
    """The client's side of one session: what the agent may do, and what is kept of what it says."""

    def __init__(self, cwd: Path, may_change: list[str], dollars: float | None) -> None:
        self.cwd, self.dollars = cwd, dollars
        self.may_change = [re.compile(pattern, re.DOTALL) for pattern in may_change]
        self.message, self.speaking, self.notes = "", False, 0
        self.calls: dict[str, dict[str, Any]] = {}  # what is known of each tool call, from several messages
        self.too_dear = asyncio.Event()

    # -- what the agent asks ---------------------------------------------------------------------------

    async def request_permission(self, session_id: str, tool_call: Any, options: list[Any], **_: Any) -> Any:
        from acp import schema

        call = self.learn(tool_call)
        allowed = self.allows(call)
        self.note(f"{'may' if allowed else 'may not'} {self.described(call)}")
        wanted = ("allow_once", "allow_always") if allowed else ("reject_once", "reject_always")
        for kind in wanted:
            for option in options:
                if option.kind == kind:
                    chosen = schema.AllowedOutcome(outcome="selected", option_id=option.option_id)
                    return schema.RequestPermissionResponse(outcome=chosen)
        return schema.RequestPermissionResponse(outcome=schema.DeniedOutcome(outcome="cancelled"))

    def allows(self, call: dict[str, Any]) -> bool:
        paths = self.paths(call)
        if call.get("kind") in LOOKING:
            return all(self.inside(path) is not None for path in paths)
        return call.get("kind") in CHANGING and bool(paths) and all(map(self.is_asset, paths))

    async def read_text_file(
        self, session_id: str, path: str, line: int | None = None, limit: int | None = None, **_: Any
    ) -> Any:
        from acp import RequestError, schema

        if self.inside(path) is None:
            raise RequestError.invalid_params({"path": "not in the working directory"})
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
        except (OSError, ValueError):
            raise RequestError.resource_not_found(path) from None
        first = max(0, (line or 1) - 1)
        return schema.ReadTextFileResponse(content="".join(lines[first : first + limit if limit else None]))

    async def write_text_file(self, session_id: str, path: str, content: str, **_: Any) -> Any:
        from acp import RequestError, schema

        if not self.is_asset(path):
            self.note(f"may not write {self.short(path)}")
            raise RequestError.invalid_params({"path": "not a file that may change"})
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(content, encoding="utf-8")
        return schema.WriteTextFileResponse()

    # -- what the agent tells --------------------------------------------------------------------------

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        kind = update.session_update
        if kind == "agent_message_chunk":
            text = getattr(update.content, "text", "") or ""
            self.message = (self.message + text if self.speaking else text)[-MESSAGE_LENGTH:]
            self.speaking = True
        elif kind in ("tool_call", "tool_call_update"):
            self.speaking = False
            call = self.learn(update)
            if update.status == "completed" and call.get("kind") in CHANGING and not call.get("noted"):
                call["noted"] = True
                self.note(self.described(call))
        elif kind == "usage_update" and update.cost is not None and update.cost.currency == "USD":
            say(dollars=update.cost.amount)
            if self.dollars is not None and update.cost.amount > self.dollars:
                self.too_dear.set()

    def learn(self, told: Any) -> dict[str, Any]:
        """What is known of a tool call, with what was told just now."""
        call = self.calls.setdefault(told.tool_call_id, {})
        call |= {name: value for name in ("kind", "title") if (value := getattr(told, name, None))}
        found = [place.path for place in getattr(told, "locations", None) or []]
        found += [part.path for part in getattr(told, "content", None) or [] if getattr(part, "path", None)]
        given = getattr(told, "raw_input", None)
        if isinstance(given, dict):
            found += [value for name, value in given.items() if isinstance(value, str) and "path" in name.lower()]
        call["paths"] = list(dict.fromkeys([*call.get("paths", []), *found]))[:50]
        return call

    # -- paths -----------------------------------------------------------------------------------------

    def paths(self, call: dict[str, Any]) -> list[str]:
        return list(call.get("paths", []))

    def inside(self, path: str) -> str | None:
        """A path as seen from the working directory; None if it leads out of it, by a link too."""
        with contextlib.suppress(OSError, ValueError):
            real = (self.cwd / path).resolve()
            if real.is_relative_to(self.cwd.resolve()):
                return real.relative_to(self.cwd.resolve()).as_posix()
        return None

    def is_asset(self, path: str) -> bool:
        name = self.inside(path)
        return name is not None and any(pattern.fullmatch(name) for pattern in self.may_change)

    def short(self, path: str) -> str:
        return self.inside(path) or path

    def described(self, call: dict[str, Any]) -> str:
        what = " ".join(map(self.short, self.paths(call))) or call.get("title") or "use a tool"
        return f"{call.get('kind') or 'use'} {what}"

    def note(self, text: str) -> None:
        self.notes += 1
        if self.notes <= NOTES:
            flat = "".join(c if c.isprintable() else " " for c in text)
            print(f"PROGRESS {flat[:160]}", flush=True)


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def drive(job: dict[str, Any], argv: list[str], task: str) -> None:
    """One task, from the greeting to its end, and ours: exit code 0 if the agent said that it was done."""
    import acp
    from acp import schema

    session = Session(Path(job["cwd"]), job["may_change"], job["dollars"])
    files = schema.FileSystemCapabilities(read_text_file=True, write_text_file=True)
    spawned = acp.spawn_agent_process(
        session,  # type: ignore[arg-type] # terminals are not offered, so nobody asks for them
        *argv,
        env=dict(os.environ),
        cwd=job["cwd"],
        transport_kwargs={"stderr": None, "limit": BUFFER},
    )
    async with spawned as (agent, _):
        await agent.initialize(acp.PROTOCOL_VERSION, schema.ClientCapabilities(fs=files, terminal=False))
        opened = await agent.new_session(cwd=job["cwd"], mcp_servers=[])
        asked = asyncio.ensure_future(agent.prompt(session_id=opened.session_id, prompt=[acp.text_block(task)]))
        dear = asyncio.ensure_future(session.too_dear.wait())
        left_s = job["until"] - job["grace_s"] - time.time()
        await asyncio.wait([asked, dear], timeout=max(0.0, left_s), return_when=asyncio.FIRST_COMPLETED)
        problem = ""
        if not asked.done():
            problem = "it cost more than it may" if dear.done() else "its time was up"
            await agent.cancel(session_id=opened.session_id)
            await asyncio.wait([asked], timeout=job["grace_s"] / 2)
        answer = asked.result() if asked.done() else None
        if answer is not None and not problem and answer.stop_reason != "end_turn":
            problem = f"it stopped: {answer.stop_reason}"
        say(message=session.message, problem=problem, **spent(answer))
        os._exit(1 if problem else 0)  # who keeps us ends the agent and what it started; it need not be waited for


def spent(answer: Any) -> dict[str, int]:
    """Tokens of a session, where its end tells them."""
    usage = getattr(answer, "usage", None)
    if usage is not None:
        cached = (usage.cached_read_tokens or 0) + (usage.cached_write_tokens or 0)
        return {"input_tokens": usage.input_tokens + cached, "output_tokens": usage.output_tokens}
    more = getattr(answer, "field_meta", None) or {}
    with contextlib.suppress(AttributeError, KeyError, TypeError):  # as Gemini CLI tells it
        counted = more["quota"]["token_count"]
        return {"input_tokens": counted["input_tokens"], "output_tokens": counted["output_tokens"]}
    return {}


def main() -> int:
    try:
        import acp
    except ImportError:
        say(problem="the Python that is found in the sandbox lacks the package agent-client-protocol")
        return MISSING
    try:
        asyncio.run(drive(json.loads(sys.argv[1]), sys.argv[2:], sys.stdin.read()))
    except (acp.RequestError, OSError, ValueError) as error:
        said = " ".join(str(error).split())[:300]
        say(problem=f"{type(error).__name__}: {said} {json.dumps(getattr(error, 'data', None))[:300]}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
