"""
A server around the page: on loopback, in a thread of its own, ended when it is left.

Uvicorn, because it serves one page to a few readers without a process or a configuration of its own.
"""

import contextlib
import errno
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from autoresearch.errors import MissingExtra, StudyError
from autoresearch.session import make_home
from autoresearch.studies import holds_studies
from autoresearch.study import load
from autoresearch.web import token

TRIED = 20  # ports, where the usual one is taken
START_S = 60.0  # on a machine whose cores are all taken


class Serving:
    """A page that is being served. `told` is for the person alone: whoever has that address may steer."""

    def __init__(self, port: int, secret: str, thread: threading.Thread) -> None:
        self.port, self.secret = port, secret
        self.address = f"http://127.0.0.1:{port}/"
        self.link = f"{self.address}#token={secret}"
        self.told = f"The page: {self.link}"
        self._thread = thread

    def wait(self) -> None:
        """Until Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):
            while self._thread.is_alive():
                self._thread.join(0.5)


@contextlib.contextmanager
def serving(folder: Path, port: int, hosts: tuple[str, ...] = (), search: bool = False) -> Iterator[Serving]:
    """
    Serve the page of this study, or of the studies below a folder that is none itself. Port 0 takes any; with `search`, the next free one from `port` on.

    Raises:
        MissingExtra: the extra `web` is not installed.
        StudyError: there is no study, or its study.toml is wrong; the port is taken.
    """
    try:
        import uvicorn

        from autoresearch.web import app, several
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "anyio", "h11"):
            raise
        raise MissingExtra("starlette and uvicorn", "web", "the live page") from None
    folder = folder.resolve()
    ending = threading.Event()
    page: app.Page | several.Several
    if holds_studies(folder):
        page = several.Several(folder, secrets.token_urlsafe(32), ending.is_set)
    else:
        load(folder)
        page = app.Page(folder, token.get(make_home(folder)), ending.is_set)
    listening = _bind(port, search)
    config = uvicorn.Config(
        app.make(page.routes(), hosts),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,  # a header that anybody can send must not say who asks
        server_header=False,
        limit_concurrency=128,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="page", daemon=True)
    with contextlib.closing(listening):
        thread.start()
        until = time.monotonic() + START_S
        while not server.started and thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)
        if not server.started:
            raise StudyError("the page could not be served; is loopback up?")
        threading.Thread(target=page.warm, name="page-reads", daemon=True).start()
        try:
            yield Serving(listening.getsockname()[1], page.secret, thread)
        finally:
            ending.set()
            server.should_exit = True
            thread.join(5)


def _bind(port: int, search: bool) -> socket.socket:
    for tried in range(port, port + (TRIED if search else 1)):
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(("127.0.0.1", tried))
            made.listen(64)
            return made
        except OSError as error:
            made.close()
            if error.errno != errno.EADDRINUSE:
                raise StudyError(f"port {tried}: {error.strerror}; --port 0 takes any free one") from None
    raise StudyError(f"port {port} is taken; --port 0 takes any free one")
