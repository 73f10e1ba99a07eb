"""
How messages get in and out: this process's own pipes, or HTTP (door.py). Ends on Ctrl-C, `kill`, and when the client
goes away.
"""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskStatus
from mcp.server.stdio import stdio_server

from autoresearch.mcp import door
from autoresearch.session import make_home

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

LONGEST_LINE = 16 << 20  # bytes of one message over a pipe
GRACE_S = 2  # for open connections, at the end


def over_pipes(server: "Server[Any]") -> None:
    """Serve one client on standard input and output, until it closes them."""

    async def serve() -> None:
        own = os.dup(0)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)  # what we start must not read the client's messages
        async with stdio_server(stdin=_lines(own)) as (read, write):  # type: ignore[arg-type] # only iterated
            await server.run(read, write, server.create_initialization_options())

    try:
        anyio.run(_until_told, serve)
    except* BrokenPipeError:
        pass  # the client is gone, and an answer to it was on its way


async def _lines(fd: int) -> AsyncIterator[str]:
    """
    Lines as they come. Not a file in a thread, as the SDK has it: a thread that waits in read() cannot be ended, and
    Ctrl-C would do nothing until the client speaks.
    """
    left = b""
    while True:
        with contextlib.suppress(OSError):  # a plain file is always ready, and cannot be waited for
            await anyio.wait_readable(fd)
        chunk = os.read(fd, 1 << 16)
        *whole, left = (left + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
        if not chunk or len(left) > LONGEST_LINE:
            return


def over_http(server: "Server[Any]", folder: Path, port: int, tell: Callable[[str, str, bool], None]) -> None:
    """
    Serve on 127.0.0.1. `tell` is given the address, the token and whether that is new, once clients can come.

    Raises:
        StudyError: as in `door.token` and `door.listen`.
    """
    import uvicorn

    word, new = door.token(make_home(folder))
    with door.listen(port) as listening:
        port = listening.getsockname()[1]
        config = uvicorn.Config(
            door.app(server, port, word),
            log_level="error",
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=GRACE_S,
        )
        web = uvicorn.Server(config)

        async def serve() -> None:
            tell(f"http://{door.HOST}:{port}{door.PATH}", word, new)
            await web.serve(sockets=[listening])

        def stop() -> None:
            web.should_exit = True  # cut off where it is, it would leave requests half answered

        anyio.run(_until_told, serve, stop)


async def _until_told(serve: Callable[[], Awaitable[None]], stop: Callable[[], None] | None = None) -> None:
    """Serve to the end. SIGINT and SIGTERM call `stop`; without one, they end it where it is."""
    async with anyio.create_task_group() as tasks:
        await tasks.start(_wait_for_signals, stop or tasks.cancel_scope.cancel)
        await serve()
        tasks.cancel_scope.cancel()


async def _wait_for_signals(stop: Callable[[], None], *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            stop()
