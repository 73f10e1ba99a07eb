"""
A server in a thread of its own, on a port that is ours before it starts. Knows no page.

Uvicorn, because it serves a few readers without a process or a configuration of its own.
"""

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from autoresearch.errors import StudyError

TRIED = 20  # ports, where the usual one is taken
START_S = 60.0  # on a machine whose cores are all taken
LOOPBACK = "127.0.0.1"


def bind(port: int, search: bool = False, host: str = LOOPBACK, backlog: int = 64) -> socket.socket:
    """
    A listening socket. Port 0 takes any; with `search`, the next free one from `port` on.

    Raises:
        StudyError: the port is taken, or this machine has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for tried in range(port, port + (TRIED if search else 1)):
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host, tried))
            made.listen(backlog)
            return made
        except OSError as error:
            made.close()
            if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
                raise StudyError(f"this machine has no address {host!r} to listen on") from None
            if error.errno != errno.EADDRINUSE:
                raise StudyError(f"port {tried}: {error.strerror}; --port 0 takes any free one") from None
    raise StudyError(f"port {port} is taken; --port 0 takes any free one")


@contextlib.contextmanager
def served(app: Any, listening: socket.socket, what: str, **config: Any) -> Iterator[threading.Thread]:
    """
    Serve this ASGI application until the block is left; `what` names it where that fails.

    Raises:
        StudyError: it did not start.
    """
    import uvicorn

    usual: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "ws": "none",
        "proxy_headers": False,  # a header that anybody can send must not say who asks
        "server_header": False,
        "timeout_graceful_shutdown": 2,
    }
    server = uvicorn.Server(uvicorn.Config(app, **usual | config))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name=what, daemon=True)
    with contextlib.closing(listening):
        thread.start()
        until = time.monotonic() + START_S
        while not server.started and thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)
        if not server.started:
            raise StudyError(f"{what} could not be served; is loopback up?")
        try:
            yield thread
        finally:
            server.should_exit = True
            thread.join(5)


def wait(thread: threading.Thread) -> None:
    """Until Ctrl-C, or until the server ends."""
    with contextlib.suppress(KeyboardInterrupt):
        while thread.is_alive():
            thread.join(0.5)
