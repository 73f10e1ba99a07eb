"""
The addresses of the live page, and who may ask for what.

Everybody who can reach loopback may read; to steer, drop a note, pause, resume or stop takes the token, in a header,
from a page of this very origin. A request that names another host is refused whatever it wants: a page elsewhere that points its own
name at 127.0.0.1 gets nothing. What a run or a model wrote leaves as JSON alone, and the page's policy runs no script
but its own.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autoresearch import log, person
from autoresearch.errors import AutoresearchError
from autoresearch.inbox import Inbox
from autoresearch.report import adoption
from autoresearch.study import load
from autoresearch.web import detail, machine, rows, token
from autoresearch.web.answers import as_json, file, same_site, say
from autoresearch.web.campaign import Campaign, live_study
from autoresearch.web.feed import Feed, Mark, running
from autoresearch.web.peers import Peers
from autoresearch.web.shown import Shown
from autoresearch.workspace import HOME, Workspace

HOME_PAGE = ("index.html", "text/html")
FILES = {
    "/page.css": ("page.css", "text/css"),
    "/uplot.css": ("uplot/uPlot.min.css", "text/css"),
    "/uplot.js": ("uplot/uPlot.iife.min.js", "text/javascript"),
    "/main.js": ("main.js", "text/javascript"),
    "/parts.js": ("parts.js", "text/javascript"),
    "/staircase.js": ("staircase.js", "text/javascript"),
    "/table.js": ("table.js", "text/javascript"),
    "/trial.js": ("trial.js", "text/javascript"),
    "/panels.js": ("panels.js", "text/javascript"),
    "/peers.js": ("peers.js", "text/javascript"),
    "/map.css": (str(adoption.STYLE), "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/live.js": ("live.js", "text/javascript"),
    "/queue.js": ("queue.js", "text/javascript"),
    "/live.css": ("live.css", "text/css"),
}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
FRAMES = {"content-security-policy": HEADERS["content-security-policy"] + "; frame-src 'self'"}
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(\[[0-9a-f:]{2,39}\]|[a-z0-9][a-z0-9.-]{0,252})(:[0-9]{1,5})?")
WISHES = ("steer", "drop", "pause", "resume", "stop")
WORDS = ("approve", "refuse")  # of a live study
MOST_BODY = 8192  # bytes
MOST_STREAMS = 32  # readers at once
TICK_S = 0.5  # between two looks at the log
PULSE = 4  # ticks between two words on the machine and what is running


class Guard:
    """Refuses other hosts, and puts the headers on every answer."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        self.app = app
        self.hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                its = {name.lower() for name, _ in message.get("headers", [])}
                named = ((name.encode(), value.encode()) for name, value in HEADERS.items())
                ours = [(name, value) for name, value in named if name not in its]
                message["headers"] = [*message.get("headers", []), *ours]
            await send(message)

        named = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        match = _HOST.fullmatch(named[0]) if len(named) == 1 else None
        if match is None or match[1] not in self.hosts:
            refusal = Response(
                "This page answers to localhost alone; see --allow-host.\n", 421, media_type="text/plain"
            )
            await refusal(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)


class Page:
    """What the addresses answer from. `closing()` says that the server is about to end."""

    def __init__(self, folder: Path, secret: str, closing: Callable[[], bool]) -> None:
        self.folder, self.secret, self.closing = folder, secret, closing
        self.home = folder / HOME
        self.journal = self.home / "events.jsonl"
        self.feed = Feed(self.journal, live_study(folder) is not None)
        self.inbox = Inbox(self.home)
        self.peers = Peers(self.home)
        self.campaign = Campaign(folder, secret, self.feed)
        self.streams = 0
        self._workspace: Workspace | None = None

    def routes(self) -> list[Route]:
        """Where a study's own addresses lead, from the page on."""
        return [
            Route("/", file(*HOME_PAGE, FRAMES if self.campaign.live else None)),
            Route("/api/study", self.study),
            Route("/api/trial/{number:int}", self.trial),
            Route("/api/events", self.events),
            Route("/api/peers", self.swarm),
            *(Shown(self.campaign, self.refuse_others).routes() if self.campaign.live else ()),
            Route("/api/{wish:str}", self.ask, methods=["POST"]),
        ]

    def warm(self) -> None:
        """Read the log before anybody asks; what is wrong with it is told to whoever does."""
        with contextlib.suppress(AutoresearchError):
            self.feed.poll()
            self.feed.news(None)
            self.feed.head()

    def close(self) -> None:
        self.campaign.close()

    # -- reading -------------------------------------------------------------------------------------

    def study(self, request: Request) -> Response:
        same_site(request)
        self.feed.poll()
        news = self.feed.news(None)
        columns, pulse = msgspec.json.encode(rows.COLUMNS), msgspec.json.encode(self.pulse())
        _, head = self.feed.head()
        body = b'{"mark":"%s","columns":%s,"head":%s,"pulse":%s,"rows":%s}'
        return as_json(body % (str(news.mark).encode(), columns, head, pulse, news.rows))

    def trial(self, request: Request) -> Response:
        same_site(request)
        self.feed.poll()
        with self.feed.lock:
            state, number = self.feed.state, request.path_params["number"]
            found = state.trials.get(number)
            if found is None:
                return say(404, f"no trial {number}")
            facts = detail.facts(state, found, self.home)
        return as_json(msgspec.json.encode(facts | detail.files(found, self.home, self._diff)))

    def swarm(self, request: Request) -> Response:
        same_site(request)
        found = self.peers.told()
        return as_json(found) if found else say(404, "this study takes part in no swarm")

    def _diff(self, before: str, after: str) -> bytes:
        if self._workspace is None:
            self._workspace = Workspace(self.folder, load(self.folder))
        return self._workspace.diff(before, after)

    def pulse(self) -> dict[str, Any]:
        """What no line of the log says: who runs the study, what was asked of it, how far runs and peers are, the load."""
        with self.feed.lock:
            now = running(self.feed.state, self.home)
        pid = log.holder(self.journal)
        asked = {"paused": self.inbox.paused, "dropping": self.inbox.dropping}
        beside = {"machine": machine.load(), "peers": self.peers.mark()}
        live = {"live": self.campaign.mark()} if self.campaign.live else {}
        return {"pid": pid, **asked, "running": now if pid else [], **beside, **live}

    async def events(self, request: Request) -> Response:
        same_site(request)
        if self.streams >= MOST_STREAMS:
            return say(503, "too many readers")
        since = Mark.read(request.headers.get("last-event-id") or request.query_params.get("since", ""))
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._stream(since), media_type="text/event-stream", headers=headers)

    async def _stream(self, since: Mark | None) -> AsyncIterator[bytes]:
        self.streams += 1
        try:
            told, tick = -1, 0
            while True:
                last = self.closing()  # the end of a study is told, though the server ends with it
                since, told, words = await run_in_threadpool(self._tell, since, told, tick % PULSE == 0)
                if words:
                    yield words
                if since is None or last:
                    return  # the reader begins anew
                tick += 1
                await asyncio.sleep(TICK_S)
        finally:
            self.streams -= 1

    def _tell(self, since: Mark | None, told: int, pulse: bool) -> tuple[Mark | None, int, bytes]:
        """What to send to a reader who is so far and was told the head of then; how far it is afterwards."""
        try:
            self.feed.poll()
        except AutoresearchError as error:
            return since, told, _event("trouble", msgspec.json.encode(rows.clean(str(error), 500)))
        news = self.feed.news(since)
        if news.all and news.mark.log:
            return None, told, _event("reset", b"{}")
        words = b"" if news.rows == b"[]" else _event("rows", news.rows, news.mark)
        at, head = self.feed.head()
        words += _event("head", head, news.mark) if at != told else b""
        words += _event("pulse", msgspec.json.encode(self.pulse())) if pulse or words else b""
        return news.mark, at, words

    # -- asking --------------------------------------------------------------------------------------

    def refuse_others(self, request: Request) -> Response | None:
        """What to answer whoever may not steer; None who may."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token.matches(given.strip(), self.secret):
            return say(401, "this takes the token: open the address that the program printed")
        return None

    async def ask(self, request: Request) -> Response:
        """Steer, drop, pause, resume or stop: what is left in the inbox, whoever runs the study takes up."""
        wish, known = request.path_params["wish"], (*WISHES, *(WORDS if self.campaign.live else ()))
        if wish not in known:
            return say(404, "this can be asked for: " + ", ".join(known))
        host, origin = request.headers["host"].lower(), request.headers.get("origin", "").lower()
        if origin not in (f"http://{host}", f"https://{host}"):
            return say(403, "asked from another origin")
        if (refusal := self.refuse_others(request)) is not None:
            return refusal
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return say(415, "application/json, please")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BODY:
                return say(413, f"more than {MOST_BODY} bytes")
        try:
            return await run_in_threadpool(self._do, wish, bytes(body))
        except AutoresearchError as error:
            return say(409, str(error))

    def _do(self, wish: str, body: bytes) -> Response:
        if wish in WORDS:
            try:
                return say(200, self.campaign.decide(wish == "approve", body))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                return say(400, 'a word is {"trial": 1, "why": "..."}')
        if wish == "steer":
            try:
                words = msgspec.json.decode(body, type=dict[str, str]).get("text", "")
            except (msgspec.MsgspecError, UnicodeDecodeError):
                return say(400, 'a note is {"text": "..."}')
            note = person.steer(self.folder, words)
            return say(200, f"Note {note.number} is told to every proposer from its next brief on.")
        if wish == "drop":
            try:
                number = msgspec.json.decode(body, type=dict[str, int])["note"]
            except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
                return say(400, 'a note to drop is {"note": 1}')
            person.drop(self.folder, number)
            return say(200, f"Note {number} is told to nobody from the next brief on.")
        if wish == "pause":
            self.inbox.pause()
            return say(200, "Paused: no new trial is started; running ones are finished.")
        if wish == "resume":
            self.inbox.resume()
            return say(200, "Resumed.")
        if log.holder(self.journal) is None:
            return say(409, "The study does not run, so there is nothing to stop.")
        self.inbox.ask_to_stop()
        return say(200, "Stopping when the running trials are done.")


def _event(name: str, data: bytes, mark: Mark | None = None) -> bytes:
    """One server-sent event; JSON holds no line break."""
    at = f"id: {mark}\n".encode() if mark and mark.log else b""
    return b"event: " + name.encode() + b"\n" + at + b"data: " + data + b"\n\n"


def make(own: Sequence[BaseRoute], hosts: tuple[str, ...] = ()) -> Starlette:
    """The application: the files that every page loads, and `own`; `hosts` are names beside loopback's."""
    routes = [*(Route(path, file(*found)) for path, found in FILES.items()), *own]
    allowed = (*LOOPBACK, *(host.lower() for host in hosts))
    failed = {AutoresearchError: lambda request, error: say(500, str(error))}
    return Starlette(routes=routes, middleware=[Middleware(Guard, hosts=allowed)], exception_handlers=failed)
