"""
What every request passes: by which name it came, who asks, how often, from which page; and what every answer says of itself.

Knows HTTP and no study.
"""

import time
from collections.abc import Iterable

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autoresearch.errors import StudyError
from autoresearch.live import limits
from autoresearch.live.metrics import Counts
from autoresearch.live.visitors import Quiet, quiet
from autoresearch.live.wire import Said

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
CORS = frozenset({"/decide", "/seen", "/event"})  # asked for from pages elsewhere
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cross-origin-opener-policy": "same-origin",
}
CLOSED = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
PREFLIGHT_S = 7200  # the longest that a browser keeps an answer for
HOOK_BURST = 20  # times as many requests from a tool's one address


class Settings(Struct, frozen=True):
    """
    Where the server listens, and whom it believes. `names` are host names beside loopback's, `proxies` those whose X-Forwarded-For counts,
    `watchers` who beside this machine may read /metrics, `each_second` and `burst` bound each address.
    """

    host: str = "127.0.0.1"
    port: int = 8486
    names: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    watchers: tuple[str, ...] = ()
    each_second: float = 50.0
    burst: int = 300

    @property
    def public(self) -> bool:
        return self.host not in LOOPBACK and not limits.is_loopback(self.host)

    def __post_init__(self) -> None:
        limits.networks((*self.proxies, *self.watchers))
        if self.each_second <= 0 or self.burst < 1:
            raise StudyError("the rate and the burst of an address must be positive")


class Caller(Struct, frozen=True):
    """`near`: of this machine, or one that may watch. `own`: the host name that was asked for."""

    secure: bool
    near: bool
    own: str
    quiet: Quiet


def caller(request: Request) -> Caller:
    found = request.scope["caller"]
    assert isinstance(found, Caller)
    return found


class Door:
    def __init__(self, app: ASGIApp, settings: Settings, origins: Iterable[str], counts: Counts) -> None:
        self.app, self.settings, self.counts = app, settings, counts
        self.origins = frozenset(origin.lower() for origin in origins)
        self.proxies, self.watchers = limits.networks(settings.proxies), limits.networks(settings.watchers)
        self.names = LOOPBACK | {name.lower() for name in settings.names}
        self.any_name = settings.public and not settings.names
        self.rates = limits.Rates(settings.each_second, settings.burst)
        self.hook_rates = limits.Rates(settings.each_second * HOOK_BURST, settings.burst * HOOK_BURST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, path, method = time.perf_counter(), scope["path"], scope["method"]
        headers = folded(scope["headers"])
        origin = headers.get("origin", "").lower() if path in CORS else ""
        listed = origin in self.origins

        async def out(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = dict(message.get("headers", []))
                for name, value in HEADERS.items():
                    told.setdefault(name.encode(), value.encode())
                told.setdefault(b"content-security-policy", CLOSED.encode())
                if path in CORS:
                    told[b"vary"] = b"Origin"
                if listed:
                    told[b"access-control-allow-origin"] = origin.encode()
                cookies = [pair for pair in message.get("headers", []) if pair[0] == b"set-cookie"]
                message["headers"] = [pair for pair in told.items() if pair[0] != b"set-cookie"] + cookies
            await send(message)

        peer = (scope.get("client") or ("", 0))[0]
        address, believed = limits.client(peer, headers, self.proxies)
        own = _host(headers.get("host", ""))
        refusal = self._refused(path, method, headers, address, own, origin, listed)
        if refusal is not None:
            await refusal(scope, receive, out)
        else:
            near = believed and own in LOOPBACK and limits.is_loopback(address)
            near = near or (believed and limits.within(address, self.watchers))
            secure = limits.secure(scope["scheme"], peer, headers, self.proxies)
            scope["caller"] = Caller(secure, near, own, quiet(method, headers))
            await self.app(scope, receive, out)
        self.counts.time(_route(path), time.perf_counter() - began)

    def _refused(
        self, path: str, method: str, headers: dict[str, str], address: str, own: str, origin: str, listed: bool
    ) -> Response | None:
        """The answer to what goes no further."""
        if not own or (own not in self.names and not self.any_name):
            return self._say(
                421, "name", "This server answers to localhost alone; --allow-host gives it further names."
            )
        rates = self.hook_rates if path.startswith("/hooks/") else self.rates
        if not rates.allow(address):
            return self._say(
                429, "rate", "Too many requests from this address; come again in a second.", retry_after="1"
            )
        if not origin:
            return None
        here = listed or _host(origin.partition("://")[2]) == own
        if method == "OPTIONS" and "access-control-request-method" in headers:
            if not here:
                return self._say(403, "origin", "The study does not list this origin.")
            allowed = {
                "access-control-allow-methods": "POST",
                "access-control-allow-headers": "content-type",
                "access-control-max-age": str(PREFLIGHT_S),
            }
            return Response(status_code=204, headers=allowed)
        if method == "POST" and not here:
            return self._say(403, "origin", "The study does not list this origin; live.origins does that.")
        return None

    def _say(self, status: int, reason: str, words: str, **headers: str) -> Response:
        self.counts.add("refused_total", reason=reason)
        return say(status, words, **headers)


def say(status: int, words: str, **headers: str) -> Response:
    """Why not, in plain words; at most so many of them."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return as_json(Said(words[:500]), status, **told)


def as_json(what: Struct | dict[str, object], status: int = 200, **headers: str) -> Response:
    told = {"cache-control": "no-store", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Response(msgspec.json.encode(what), status, told, media_type="application/json")


def folded(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """A request's headers by their names in lower case; what was sent several times, with commas."""
    found: dict[str, str] = {}
    for name, value in raw:
        word, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[word] = f"{found[word]}, {text}" if word in found else text
    return found


def _host(netloc: str) -> str:
    """The host of `host:port`; of [::1]:80 too. "" where it is none."""
    netloc = netloc.strip().lower()
    if netloc.startswith("["):
        return netloc[1:].partition("]")[0]
    return netloc.partition(":")[0]


def _route(path: str) -> str:
    """A path as one of few words."""
    first = path.strip("/").partition("/")[0]
    known = ("decide", "seen", "event", "health", "metrics", "script.js", "openapi.json", "static", "hooks")
    return first if first in known else "other" if first else "page"
