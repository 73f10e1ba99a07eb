"""
HTTP on this machine alone: one address on 127.0.0.1, and a token that whoever comes in must have.

A web page in the person's browser can send requests to 127.0.0.1 too. It has no token; and the names that a request
comes under (Host) or from (Origin) are checked, so that a page whose own name was made to lead here gets nowhere.
"""

import hmac
import os
import secrets
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoresearch.errors import StudyError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "127.0.0.1"
PATH = "/mcp"
TOKEN_FILE = "mcp-token"
LARGEST_BODY = 4 << 20  # bytes; edits may have a quarter of it, answers.py and edits.py bound the rest
SESSIONS = 64


def token(home: Path) -> tuple[str, bool]:
    """
    The token of a study, and whether it was made just now. It stays the same until its file is removed, so that a
    client need be told once.

    Raises:
        StudyError: the file cannot be read or written, or others can read it.
    """
    path = home / TOKEN_FILE
    try:
        made = secrets.token_urlsafe(32)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return _read(path), False
        with os.fdopen(fd, "w") as file:
            file.write(f"{made}\n")
        return made, True
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}; make the folder writable, or remove the file") from None


def _read(path: Path) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(fd) as file:
        status = os.fstat(fd)
        found = file.read(1000).strip()
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077 or status.st_uid != os.geteuid() or len(found) < 20:
        raise StudyError(f"{path}: others may know this token, or it is none; remove the file, and a new one is made")
    return found


def listen(port: int) -> socket.socket:
    """
    A socket on this machine alone; port 0: one that is free.

    Raises:
        StudyError: the port is taken.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise StudyError(f"port {port} on {HOST}: {error.strerror}; choose another with --port") from None
    return listening


class Door:
    """Lets in who has the token. Nobody else gets as far as having a body read."""

    def __init__(self, app: "ASGIApp", token: str) -> None:
        self.app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "lifespan" and not self._is_known(scope):
            await _refuse(scope, send)
            return
        await self.app(scope, receive, send)

    def _is_known(self, scope: "Scope") -> bool:
        given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        # compare_digest takes as long for a near miss as for a far one.
        return scope["type"] == "http" and len(given) == 1 and hmac.compare_digest(given[0], self._expected)


async def _refuse(scope: "Scope", send: "Send") -> None:
    if scope["type"] != "http":
        await send({"type": "websocket.close", "code": 1008})
        return
    why = f"a header `Authorization: Bearer TOKEN` is needed; the token is in .autoresearch/{TOKEN_FILE}\n".encode()
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", b"%d" % len(why)),
        (b"www-authenticate", b"Bearer"),
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": why})


def app(server: Any, port: int, token: str) -> "Door":
    """The web application around an MCP server (of the SDK)."""
    from mcp.server.transport_security import TransportSecuritySettings

    names = [f"{name}:{port}" for name in (HOST, "localhost")]
    inside = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=LARGEST_BODY,
        max_sessions=SESSIONS,
        transport_security=TransportSecuritySettings(
            allowed_hosts=names, allowed_origins=[f"http://{name}" for name in names]
        ),
    )
    return Door(inside, token)
