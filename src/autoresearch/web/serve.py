"""
A server around the page: on loopback, in a thread of its own, ended when it is left.
"""

import contextlib
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

from autoresearch import ports
from autoresearch.errors import MissingExtra
from autoresearch.session import make_home
from autoresearch.studies import holds_studies
from autoresearch.study import load
from autoresearch.web import token


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
        ports.wait(self._thread)


@contextlib.contextmanager
def serving(folder: Path, port: int, hosts: tuple[str, ...] = (), search: bool = False) -> Iterator[Serving]:
    """
    Serve the page of this study, or of the studies below a folder that is none itself. Port 0 takes any; with `search`, the next free one from `port` on.

    Raises:
        MissingExtra: the extra `web` is not installed.
        StudyError: there is no study, or its study.toml is wrong; the port is taken.
    """
    try:
        import uvicorn  # noqa: F401 -- ports.served imports it, where it can no longer be said what for

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
    listening = ports.bind(port, search)
    at = listening.getsockname()[1]
    made = app.make(page.routes(), hosts)
    with ports.served(made, listening, "the page", lifespan="off", limit_concurrency=128) as thread:
        threading.Thread(target=page.warm, name="page-reads", daemon=True).start()
        try:
            yield Serving(at, page.secret, thread)
        finally:
            ending.set()
    page.close()
