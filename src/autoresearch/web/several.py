"""
Several studies on one server: a list of how each stands, and the page of each.

    /               the list
    /s/<name>/      the page of one study, as for one alone

Only studies that the walk of `autoresearch ls` found are served, under names that we made: no address leads anywhere
else. One token is good for all of them. It is kept in memory alone: the folder above several studies is not ours to
write into.
"""

import contextlib
import hashlib
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import Receive, Scope, Send

from autoresearch import log, studies
from autoresearch.errors import AutoresearchError
from autoresearch.report.studies import Found, Listing, claim
from autoresearch.session import journal
from autoresearch.study import FILE
from autoresearch.web.answers import as_json, file, same_site
from autoresearch.web.app import Page
from autoresearch.web.rows import clean

MOST_LISTED = 500  # studies
MOST_PAGES = 16  # studies that are followed at once; then the one that was asked for longest ago is forgotten
EVERY_S, SHARE = 2.0, 10  # from one walk to the next: so many seconds, and so many times what the last one took
NONE = Listing((), cut=False)


class Several:
    """The studies below a folder. `closing()` says that the server is about to end. Thread-safe."""

    def __init__(self, top: Path, secret: str, closing: Callable[[], bool]) -> None:
        self.top, self.secret, self.closing = top, secret, closing
        self._walking, self._opening = threading.Lock(), threading.Lock()
        self._found: Listing | None = None
        self._next = 0.0
        self._seen: dict[Path, tuple[Any, Found]] = {}  # what a study's files were, and how it stood then
        self._pages: dict[str, tuple[Page, Router]] = {}  # by name, the one that was asked for last at the end

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/", file("studies.html", "text/html")),
            Route("/studies.css", file("studies.css", "text/css")),
            Route("/studies.js", file("studies.js", "text/javascript")),
            Route("/api/studies", self.studies),
            Mount("/s/{name}", self.study),
        ]

    def warm(self) -> None:
        """Walk the folder before anybody asks; what is wrong with it is told to whoever does."""
        with contextlib.suppress(AutoresearchError):
            self.listing()

    def listing(self) -> Listing:
        """As of a few seconds ago. Whoever asks while the folder is being walked gets what was found before."""
        if not self._walking.acquire(blocking=self._found is None):
            return self._found or NONE
        try:
            begun = time.monotonic()
            if self._found is None or begun >= self._next:
                seen: dict[Path, tuple[Any, Found]] = {}
                self._found = studies.find(self.top, lambda folder, name: self._look(folder, name, seen))
                self._seen = seen
                now = time.monotonic()
                self._next = now + max(EVERY_S, SHARE * (now - begun))
            return self._found
        finally:
            self._walking.release()

    def _look(self, folder: Path, name: str, seen: dict[Path, tuple[Any, Found]]) -> Found:
        """How a study stands; its log is read again only where something has changed since."""
        stamp = _stamp(folder)  # before reading: what is written in between is seen the next time
        known = self._seen.get(folder)
        found = known[1] if known and stamp and known[0] == stamp else studies.stands(folder, name)
        seen[folder] = stamp, found
        return found

    def studies(self, request: Request) -> Response:
        same_site(request)
        found = self.listing()
        shown = found.studies[:MOST_LISTED]
        cut = found.cut or len(shown) < len(found.studies)
        return as_json(
            msgspec.json.encode({"folder": clean(self.top.name, 200), "cut": cut, "studies": [*map(row, shown)]})
        )

    async def study(self, scope: Scope, receive: Receive, send: Send) -> None:
        """All addresses of one study's page."""
        router = await run_in_threadpool(self._router, scope["path_params"]["name"])
        await router(scope, receive, send)

    def _router(self, name: str) -> Router:
        folder = next((one.folder for one in self.listing().studies if address(one.folder) == name), None)
        if folder is None:
            raise HTTPException(404)
        with self._opening:
            known = self._pages.pop(name, None)
            if known is None:
                page = Page(self.top / folder, self.secret, self.closing)
                known = page, Router(page.routes())
            self._pages[name] = known
            if len(self._pages) > MOST_PAGES:
                self._pages.pop(next(iter(self._pages)))[0].close()
        return known[1]

    def close(self) -> None:
        with self._opening:
            for page, _ in self._pages.values():
                page.close()


def row(one: Found) -> dict[str, Any]:
    """A study in the list; `at` is the way to its page, None where it is broken."""
    return {
        "at": None if one.state == "broken" else f"s/{address(one.folder)}/",
        "folder": clean(one.folder, 200),
        "state": one.state,
        "study": clean(one.study, 80),
        "metric": clean(one.metric, 80),
        "unit": clean(one.unit, 40),
        "trials": one.trials,
        "kept": one.kept,
        "start": one.start,
        "best": one.best,
        "claim": clean(claim(one), 300),
        "error": clean(one.error, 300),
    }


def address(folder: str) -> str:
    """The name of a study in addresses: of its folder's last part and a digest of the whole, so the same every time."""
    readable = re.sub(r"[^a-z0-9]+", "-", folder.rpartition("/")[2].lower()).strip("-")[:40]
    return f"{readable}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}".lstrip("-")


def _stamp(folder: Path) -> Any:
    """What changes whenever a study may stand otherwise; None where that cannot be said."""
    path = journal(folder)
    try:
        written = (folder / FILE).stat(), path.stat() if path.exists() else None
        return [(one.st_ino, one.st_size, one.st_mtime_ns) for one in written if one], log.holder(path)
    except (OSError, ValueError):
        return None
