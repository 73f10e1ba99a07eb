"""
The lines that tell an agent's program of this server. They are printed for a person to type; nothing is written.

Tried with Claude Code 2.1.197, Codex 0.169.0 and Gemini CLI 0.61.0.
"""

import importlib.util
import json
import shlex
import shutil
import sys
from pathlib import Path

NAME = "autoresearch"
KEY = "MCP_TOKEN"  # the variable of the person's in which Codex looks for the token


def command(folder: Path) -> list[str]:
    """What starts the server for a study. With whole paths: a client starts it elsewhere and with another PATH."""
    beside = Path(sys.executable).with_name("autoresearch")
    program = str(beside) if beside.exists() else shutil.which("autoresearch") or "autoresearch"
    return [program, "mcp", str(folder)]


def lines(folder: Path) -> list[str]:
    """One line for each of the common clients, which starts the server itself and speaks over its pipes."""
    words = command(folder)
    generic = {"mcpServers": {NAME: {"command": words[0], "args": words[1:]}}}
    return [
        f"claude mcp add {NAME} -- {shlex.join(words)}",
        f"codex mcp add {NAME} -- {shlex.join(words)}",
        f"gemini mcp add --scope user {NAME} {shlex.join(words)}",
        json.dumps(generic, ensure_ascii=False),
    ]


def hint(folder: Path) -> str:
    """What `init` says of it."""
    needs = "" if importlib.util.find_spec("mcp") else " (needs pip install 'autoresearch[mcp]')"
    told = [f"For a coding agent that is to drive{needs}, type the line of yours, once:", *lines(folder)]
    return "\n  ".join(told)


def http_lines(address: str, token: str) -> list[str]:
    """The same for a server that runs already, at an address and with a token."""
    header = shlex.quote(f"Authorization: Bearer {token}")
    generic = {"mcpServers": {NAME: {"url": address, "headers": {"Authorization": f"Bearer {token}"}}}}
    return [
        f"claude mcp add --transport http {NAME} {address} --header {header}",
        f"export {KEY}={token} && codex mcp add {NAME} --url {address} --bearer-token-env-var {KEY}",
        f"gemini mcp add --scope user --transport http --header {header} {NAME} {address}",
        json.dumps(generic, ensure_ascii=False),
    ]
