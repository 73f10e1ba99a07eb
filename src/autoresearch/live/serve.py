"""
The addresses of a live study: the page, what to show, what happened; and the server around them.

Whoever sends DNT: 1 or Sec-GPC: 1 gets the default from each of them, no cookie, and nothing is recorded. A page is counted when
its own script says that it was seen, under the id that the browser kept: what only fetches pages counts nowhere.
"""

import asyncio
import contextlib
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from html import escape
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from autoresearch import ports
from autoresearch.errors import MissingExtra, StudyError
from autoresearch.live import pictures, visitors, wire
from autoresearch.live.desk import Desk, Shown
from autoresearch.live.door import Door, Settings, as_json, caller, folded, say
from autoresearch.live.visitors import COOKIE, COOKIE_DAYS
from autoresearch.live.waiting import Crowded

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
except ImportError:
    raise MissingExtra("starlette and uvicorn", "live", "serving a live study") from None

SCRIPT = "\n".join(
    line.strip()
    for line in (Path(__file__).parent / "static" / "live.js").read_text(encoding="utf-8").splitlines()
    if line.strip() and not line.strip().startswith("//")
).encode()
BODY_S = 10.0  # for a body to arrive
_S = TypeVar("_S", bound=Struct)
_T = TypeVar("_T")


class Refusal(Exception):
    def __init__(self, status: int, reason: str, words: str) -> None:
        super().__init__(words)
        self.status, self.reason, self.words = status, reason, words


class Addresses:
    """What each address answers, from one desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.has_page = desk.material.template is not None and desk.live.channel == "page"
        described = wire.openapi(desk.study, desk.kinds, tuple(desk.hooks), self.has_page)
        self.described = msgspec.json.encode(described)

    def routes(self) -> list[Route]:
        own = [Route("/", self.page)] if self.has_page else []
        below = ("/hooks/{source:str}", "/hooks/{source:str}/{token:str}") if self.desk.hooks else ()
        hooks = [Route(path, self.hook, methods=["POST"]) for path in below]
        return [
            *own,
            *hooks,
            Route("/decide", self.decide, methods=["POST"]),
            Route("/seen", self.seen, methods=["POST"]),
            Route("/event", self.event, methods=["POST"]),
            Route("/script.js", _file(SCRIPT, "text/javascript", "public, max-age=3600")),
            Route("/openapi.json", _file(self.described, "application/json", "no-cache")),
            Route("/health", self.health),
            Route("/metrics", self.metrics),
            Route("/static/{path:path}", self.static),
        ]

    # -- the page --------------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        asker, desk = caller(request), self.desk
        if asker.quiet:
            desk.counts.add("quiet_total", reason=asker.quiet)
            return self._whole(desk.default(), None)
        person = visitors.known(request.cookies)
        new = person is None
        person = person or visitors.new_id()
        try:
            shown = await desk.look(person, self._facts(request), new)
        except Exception:  # whatever the store raised: a page is shown all the same, and nobody counts
            shown = desk.default()
        counts = shown.known or shown.record is not None
        try:
            answer = self._whole(shown, desk.proof(shown) if counts else None)
        except StudyError:  # a cell that cannot be rendered must not cost the page
            desk.counts.add("unshowable_total")
            return self._whole(desk.default(), None)
        if new and counts:
            life = COOKIE_DAYS * 86400
            answer.set_cookie(COOKIE, person, life, path="/", secure=asker.secure, httponly=True, samesite="lax")
        return answer

    def _whole(self, shown: Shown, word: str | None) -> Response:
        """The page with these texts; with a script that says it was seen unless `word` is None."""
        material, nonce = self.desk.material, secrets.token_urlsafe(16)
        assert material.template is not None
        text = material.template.render(shown.texts, shown.cell, nonce)
        if word is not None:
            script = f'<script nonce="{nonce}" src="script.js" data-proof="{escape(word)}" defer></script>\n'
            at = text.rfind("</body>")
            text = text[:at] + script + text[at:] if at >= 0 else text + script
        images = " ".join(pictures.origins(material.variables))
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data: {images}; "
            "font-src 'self'; connect-src 'self'; form-action 'self' https:; base-uri 'none'; frame-ancestors 'none'"
        )
        headers = {"cache-control": "private, no-store", "content-security-policy": policy.replace(" ;", ";")}
        return Response(text, 200, headers, media_type="text/html")

    def _facts(self, request: Request, asked: wire.Asked | None = None) -> dict[str, str]:
        """What visitors differ by: what was said, else what the headers say."""
        asked = asked or wire.Asked()
        headers = request.headers
        query = request.query_params
        medium = asked.medium or f"{query.get('utm_medium', '')} {query.get('utm_source', '')}".strip()[:100]
        on_page = request.method == "GET"
        referrer = headers.get("referer", "") if on_page else asked.referrer
        return {
            "device": asked.device or visitors.device(headers.get("user-agent", "")),
            "source": asked.source or visitors.source(medium, referrer[:300], caller(request).own),
            "language": asked.language or visitors.language(headers.get("accept-language", "")),
            "daytime": asked.daytime or visitors.daytime(self.desk.clock()),
        }

    # -- decisions and outcomes ------------------------------------------------------------------------

    async def decide(self, request: Request) -> Response:
        asked, desk, asker = await self._body(request, wire.Asked), self.desk, caller(request)
        if asker.quiet or desk.plan is None:
            desk.counts.add("quiet_total", reason=asker.quiet or "no plan")
            shown = desk.default()
            return as_json(wire.Decision(None, shown.cell, shown.texts, shown.plan, False))
        person, facts = asked.id or visitors.new_id(), self._facts(request, asked)
        if asked.record:
            shown, recorded = await self._stored(desk.show(person, facts))
            return as_json(wire.Decision(person, shown.cell, shown.texts, shown.plan, recorded))
        shown = await self._stored(desk.look(person, facts, asked.id is None))
        word = desk.proof(shown) or None
        return as_json(wire.Decision(person, shown.cell, shown.texts, shown.plan, shown.known, word))

    async def seen(self, request: Request) -> Response:
        said = await self._body(request, wire.Seen)
        person = self._person(request, said.id)
        if person is None:
            return as_json(wire.Recorded(False))
        recorded = await self._stored(self.desk.seen(person, said.proof))
        if recorded is None:
            raise Refusal(403, "proof", "This proof was not given to this id by this server, or is too old.")
        return as_json(wire.Recorded(recorded))

    async def event(self, request: Request) -> Response:
        said = await self._body(request, wire.Happened)
        if said.kind not in self.desk.kinds:
            raise Refusal(400, "shape", f"kind must be one of: {', '.join(self.desk.kinds)}")
        person = self._person(request, said.id)
        if person is None:
            return as_json(wire.Recorded(False))
        recorded = await self._stored(self.desk.happened(person, said.kind, said.value, said.event))
        return as_json(wire.Recorded(recorded))

    def _person(self, request: Request, said: str | None) -> str | None:
        """Whom this is about; None where nothing is to be recorded."""
        asker = caller(request)
        found = said or visitors.known(request.cookies)
        if asker.quiet or found is None:
            self.desk.counts.add("quiet_total", reason=asker.quiet or "no id")
            return None
        return found

    async def hook(self, request: Request) -> Response:
        source = request.path_params["source"]
        if source not in self.desk.hooks:
            raise Refusal(404, "hook", f"no webhook of this name; there is: {', '.join(self.desk.hooks)}")
        body = await read(request, wire.MOST_HOOK)
        headers, token = folded(request.scope["headers"]), request.path_params.get("token", "")
        answer = await self._stored(self.desk.delivered(source, body, headers, token))
        if isinstance(answer, int):
            return as_json({"records": answer})
        raise Refusal(answer.status, "hook", answer.why)

    # -- how it is -------------------------------------------------------------------------------------

    async def health(self, request: Request) -> Response:
        found = await self.desk.health()
        if not caller(request).near:  # what is wrong with a file is for its owner
            found = msgspec.structs.replace(found, said="")
        return as_json(found, 200 if found.ok else 503)

    async def metrics(self, request: Request) -> Response:
        if not caller(request).near:
            raise Refusal(403, "watcher", "These numbers are for the server's own machine, and for listed watchers.")
        return Response(self.desk.metrics(), headers={"cache-control": "no-store"}, media_type="text/plain")

    async def static(self, request: Request) -> Response:
        found = await asyncio.to_thread(self.desk.material.picture, request.path_params["path"])
        if found is None:
            raise Refusal(404, "static", "no such file")
        content, kind = found
        headers = {"cache-control": "public, max-age=300", "cross-origin-resource-policy": "cross-origin"}
        return Response(content, 200, headers, media_type=kind)

    # -- reading a request -----------------------------------------------------------------------------

    async def _body(self, request: Request, kind: type[_S]) -> _S:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal(415, "shape", "application/json, please")
        body = await read(request, wire.MOST_BODY)
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.ValidationError as error:
            raise Refusal(400, "shape", str(error)) from None
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise Refusal(400, "shape", "this is not JSON") from None

    async def _stored(self, what: Awaitable[_T]) -> _T:
        try:
            return await what
        except Crowded:
            raise Refusal(503, "crowded", "too many wait for the store; come again in a second") from None
        except Exception:  # the database's own, of whichever kind; Desk counted it
            raise Refusal(503, "store", "the store cannot be reached just now; nothing was recorded") from None


async def read(request: Request, most: int) -> bytes:
    """
    A body of at most so many bytes.

    Raises:
        Refusal: it is longer, or does not come.
    """
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > most:
        raise Refusal(413, "size", f"more than {most} bytes")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise Refusal(413, "size", f"more than {most} bytes")
    except TimeoutError:
        raise Refusal(408, "slow", f"the body did not come within {BODY_S:g} s") from None
    return bytes(body)


def application(desk: Desk, settings: Settings | None = None) -> Starlette:
    """The ASGI application of a desk."""
    settings = settings or Settings()

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with desk.open():
            yield

    def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        desk.counts.add("refused_total", reason=error.reason)
        headers = {"connection": "close"} if error.status in (408, 413) else {}
        return say(error.status, error.words, **headers)

    def wrong(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return say(error.status_code, str(error.detail), **dict(error.headers or {}))

    door = Middleware(Door, settings=settings, origins=desk.live.origins, counts=desk.counts)
    made = Starlette(
        routes=Addresses(desk).routes(),
        middleware=[door],
        exception_handlers={Refusal: refused, HTTPException: wrong},
        lifespan=lifespan,
    )
    made.router.redirect_slashes = False  # /decide/ is not an address
    return made


class Serving:
    """A live study that is being served."""

    def __init__(self, address: str, port: int, thread: threading.Thread) -> None:
        self.address, self.port, self._thread = address, port, thread

    def wait(self) -> None:
        """Until Ctrl-C."""
        ports.wait(self._thread)


@contextlib.contextmanager
def serving(desk: Desk, settings: Settings | None = None, search: bool = False) -> Iterator[Serving]:
    """
    Serve a desk until the block is left; what was taken by then is in the store. Port 0 takes any; with `search`, the next free one.

    Raises:
        StudyError: the port is taken, or this machine has no such address.
    """
    settings = settings or Settings()
    app = application(desk, settings)
    listening = ports.bind(settings.port, search, settings.host, backlog=1024)
    port = listening.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    with ports.served(
        app, listening, "the live study", lifespan="on", limit_concurrency=2000, timeout_keep_alive=15
    ) as thread:
        yield Serving(f"http://{host}:{port}/", port, thread)


def _file(content: bytes, kind: str, cache: str) -> Callable[[Request], object]:
    headers = {"cache-control": cache, "cross-origin-resource-policy": "cross-origin"}

    async def answer(_: Request) -> Response:
        return Response(content, 200, headers, media_type=kind)

    return answer
