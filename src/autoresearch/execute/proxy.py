"""
The one way out of a proposer's sandbox: a proxy that talks to allow-listed hosts only and alone holds their keys.

It listens on a Unix socket in a private folder. Two services:

    /<n>/PATH                     the n-th host, at PATH; the stand-in for its key becomes the key on the way out
    CONNECT HOST:PORT, http://    hosts that need no key, as any HTTP proxy does

Whoever connects is hostile. Where a connection leads is taken from the contract, never from what was sent: a request
can only name one of the contract's hosts, by number or letter for letter. Redirects are passed on, not followed.
"""

import contextlib
import functools
import http.client
import re
import select
import shutil
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from types import TracebackType
from typing import Any, Self

from autoresearch.hosts import Origin

BLOCK = 1 << 16
BODY_BYTES = 64 << 20
CONNECTIONS = 64  # at once; one more is closed unread
REQUEST_S = 60.0  # without a byte of the request's head
CONNECT_S = 30.0
IDLE_S = 900.0  # without a byte in either direction: models that do not stream think for minutes
POLL_S = 0.05
NO_BODY = (204, 304)
HOP_BY_HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"}
HOP_BY_HOP |= {"trailer", "transfer-encoding", "upgrade"}
OURS = HOP_BY_HOP | {"host", "content-length", "expect"}
BY_NUMBER = re.compile(r"/([0-9]{1,3})(?:(/.*)|(\?.*))?", re.DOTALL)


@dataclass(frozen=True)
class Upstream:
    """A host of the contract. `name` is its key's variable; it, `key` and `stand_in` are None where it needs none."""

    origin: Origin
    by_number: bool = False
    name: str | None = None
    key: str | None = field(default=None, repr=False)  # no traceback of ours may show it
    stand_in: str | None = None

    @property
    def tunnels(self) -> bool:
        return self.key is None


class Refused(Exception):
    """A request that goes nowhere: status and one line of why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class Proxy:
    """Serves while it is entered; `path` is its socket."""

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self.upstreams = upstreams

    def __enter__(self) -> Self:
        # Not below the study: the path of a Unix socket may have 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="ar-", dir="/tmp"))  # mode 0700
        self.path = self._folder / "proxy"
        self._server = _Server(str(self.path), self.upstreams)
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        shutil.rmtree(self._folder, ignore_errors=True)


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, path: str, upstreams: Sequence[Upstream]) -> None:
        super().__init__(path, _Handler)
        self.upstreams = upstreams
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closed = False

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except RuntimeError:  # no more threads
                self._room.release()
                self.shutdown_request(request)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            with self.known(request):
                super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing that a hostile client does is worth a line on the person's screen."""

    @contextlib.contextmanager
    def known(self, connection: socket.socket) -> Iterator[None]:
        """A connection that is ended when the proxy is."""
        with self._lock:
            self._open.add(connection)
            if self._closed:
                _end(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)

    def hang_up(self) -> None:
        with self._lock:
            self._closed = True
            for connection in self._open:
                _end(connection)


class _Handler(BaseHTTPRequestHandler):
    """One request; the connection ends with it."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = REQUEST_S
    rbufsize = 0  # what follows a CONNECT belongs to the tunnel, so nothing may be read ahead

    def handle(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.handle_one_request()

    def do_GET(self) -> None:
        self.close_connection = True
        try:
            if self.request_version not in ("HTTP/1.0", "HTTP/1.1"):
                raise Refused(400, "HTTP/1.1 is spoken here")
            self.forward(*self.whither())
        except Refused as refused:
            self.send_error(refused.status, refused.why)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 - http.server's names

    def whither(self) -> tuple[Upstream, str]:
        """Which host is meant, and the path at it."""
        if self.path.lower().startswith("http://"):
            authority, slash, rest = self.path[len("http://") :].partition("/")
            for host in self.server.upstreams:
                origin = host.origin
                if (
                    host.tunnels
                    and origin.scheme == "http"
                    and authority.lower() in (origin.authority, origin.as_header)
                ):
                    return host, slash + rest or "/"
            raise self.not_allowed(authority)
        if match := BY_NUMBER.fullmatch(self.path):
            number = int(match[1])
            if number < len(self.server.upstreams) and self.server.upstreams[number].by_number:
                return self.server.upstreams[number], match[2] or "/" + (match[3] or "")
        raise self.not_allowed(self.path)

    def not_allowed(self, asked: str) -> Refused:
        for host in self.server.upstreams:
            if not host.tunnels and asked.lower() in (host.origin.authority, host.origin.as_header):
                return Refused(403, f"{asked} has a key: use the address in the variable that propose.allow names")
        return Refused(403, f"{asked} is not a host of propose.allow in study.toml")

    # -- requests ---------------------------------------------------------------------------------------

    def forward(self, host: Upstream, target: str) -> None:
        self.connection.settimeout(IDLE_S)
        body, length = self.body()
        far = _connection(host.origin)
        try:
            far.connect()
            with self.server.known(far.sock):
                far.sock.settimeout(IDLE_S)
                self.send_on(far, host, target, body, length)
                self.send_back(far.getresponse(), host)
        except ssl.SSLError as error:  # a ValueError too, where the certificate is wrong
            raise Refused(502, f"{host.origin.authority}: {error.reason or 'no encrypted connection'}") from None
        except (ValueError, http.client.InvalidURL):  # its message may quote a header, so it is not passed on
            raise Refused(400, "a path or a header of the request is malformed") from None
        except (OSError, http.client.HTTPException) as error:
            raise Refused(502, f"{host.origin.authority}: {type(error).__name__}") from None
        finally:
            far.close()

    def body(self) -> tuple[Iterator[bytes] | None, int | None]:
        """The request's body, and its length; None if it comes in chunks."""
        lengths, codings = self.headers.get_all("Content-Length", []), self.headers.get_all("Transfer-Encoding", [])
        if codings:
            if lengths or [coding.strip().lower() for coding in codings] != ["chunked"]:
                raise Refused(400, "a request has either a Content-Length or comes in chunks")
            return self.chunks(), None
        if not lengths:
            return None, 0
        if len(lengths) > 1 or not re.fullmatch(r"[0-9]{1,12}", lengths[0].strip()):
            raise Refused(400, "Content-Length is not one number")
        if (length := int(lengths[0])) > BODY_BYTES:
            raise Refused(413, f"a body may have {BODY_BYTES} bytes")
        return self.exactly(length), length

    def exactly(self, n: int) -> Iterator[bytes]:
        while n:
            data = self.rfile.read(min(n, BLOCK))
            if not data:
                raise ConnectionError("the body ended early")
            n -= len(data)
            yield data

    def chunks(self) -> Iterator[bytes]:
        room = BODY_BYTES
        while True:
            size = self.rfile.readline(32).partition(b";")[0].strip()
            if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size) or int(size, 16) > room:
                raise ConnectionError("a chunk is malformed, or one too many")
            if int(size, 16) == 0:
                return  # what may follow is left unread: the connection ends
            room -= int(size, 16)
            yield from self.exactly(int(size, 16))
            self.rfile.readline(3)

    def send_on(
        self, far: http.client.HTTPConnection, host: Upstream, target: str, body: Iterator[bytes] | None, n: int | None
    ) -> None:
        far.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
        far.putheader("Host", host.origin.as_header)
        dropped = OURS | _listed(self.headers.get_all("Connection", []))
        if host.key is not None:
            dropped |= {"accept-encoding"}
            far.putheader("Accept-Encoding", "identity")  # a key that is sent back could not be seen in a packed body
        for name, value in self.headers.items():
            if name.lower() not in dropped:
                far.putheader(name, _with_key(_unfolded(value), host))
        if body is not None:
            far.putheader(*(("Transfer-Encoding", "chunked") if n is None else ("Content-Length", str(n))))
        far.endheaders(body, encode_chunked=body is not None and n is None)

    # -- responses --------------------------------------------------------------------------------------

    def send_back(self, answer: http.client.HTTPResponse, host: Upstream) -> None:
        """Pass a response on as it comes. From here on nothing can be refused: the head is out."""
        if answer.status < 200:
            raise Refused(502, f"{host.origin.authority} wants another protocol")
        has_body = self.command != "HEAD" and answer.status not in NO_BODY
        dropped = HOP_BY_HOP | _listed(answer.headers.get_all("Connection", []))
        lines = [(name, value) for name, value in answer.headers.items() if name.lower() not in dropped]
        if answer.chunked or len(answer.headers.get_all("Content-Length", [])) > 1:
            lines = [(name, value) for name, value in lines if name.lower() != "content-length"]
        in_chunks = has_body and self.request_version == "HTTP/1.1" and not _has(lines, "content-length")
        self.send_response_only(answer.status)
        for name, value in lines:
            self.send_header(_masked(name, host), _masked(_unfolded(value), host))
        if in_chunks:
            self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        try:
            self.end_headers()
            for data in _without_key(answer, host) if has_body else ():
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if in_chunks else data)
            if in_chunks:
                self.wfile.write(b"0\r\n\r\n")
        except (OSError, http.client.HTTPException):
            _end(self.connection)  # cut short: a body without its end says so

    # -- tunnels ----------------------------------------------------------------------------------------

    def do_CONNECT(self) -> None:
        self.close_connection = True
        asked = self.path.lower()
        for host in self.server.upstreams:
            if host.tunnels and asked == host.origin.authority:
                self.tunnel(host.origin)
                return
        refused = self.not_allowed(asked)
        self.send_error(refused.status, refused.why)

    def tunnel(self, origin: Origin) -> None:
        try:
            far = socket.create_connection((origin.host.strip("[]"), origin.port), CONNECT_S)
        except OSError as error:
            self.send_error(502, f"{origin.authority}: {type(error).__name__}")
            return
        with far, self.server.known(far):
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _splice(self.connection, far)

    # -- what http.server would say ---------------------------------------------------------------------

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """One plain line, for a program or a person to read."""
        self.close_connection = True
        said = "".join(c if c.isprintable() else "?" for c in (message or self.responses.get(code, ("?",))[0])[:300])
        line = f"autoresearch: {said}\n".encode(errors="replace")
        head = f"HTTP/1.1 {int(code)} {self.responses.get(code, ('Refused',))[0]}\r\nContent-Type: text/plain; "
        head += f"charset=utf-8\r\nContent-Length: {len(line)}\r\nConnection: close\r\n\r\n"
        self.wfile.write(head.encode() + line)

    def log_message(self, format: str, *args: Any) -> None:
        """What a proposer asks for is not the terminal's business."""


# -- helpers -------------------------------------------------------------------------------------------


def _unfolded(value: str) -> str:
    """A header's value on one line."""
    return re.sub(r"[\r\n]+\s*", " ", value)


def _with_key(value: str, host: Upstream) -> str:
    """A header's value on its way to this host: the key where the stand-in was."""
    return value.replace(host.stand_in, host.key) if host.key is not None and host.stand_in else value


def _masked(text: str, host: Upstream) -> str:
    return text.replace(host.key, "*" * len(host.key)) if host.key is not None else text


def _without_key(answer: http.client.HTTPResponse, host: Upstream) -> Iterator[bytes]:
    """A body as it comes; where it repeats the key, stars, as many. Only what could be a key's start waits."""
    key = (host.key or "").encode()
    kept = b""
    while data := answer.read1(BLOCK):
        data = (kept + data).replace(key, b"*" * len(key)) if key else data
        held = next((n for n in range(min(len(key) - 1, len(data)), 0, -1) if key.startswith(data[-n:])), 0)
        data, kept = data[: len(data) - held], data[len(data) - held :]
        if data:
            yield data
    if kept:
        yield kept


def _connection(origin: Origin) -> http.client.HTTPConnection:
    host = origin.host.strip("[]")
    if origin.scheme == "http":
        return http.client.HTTPConnection(host, origin.port, CONNECT_S)
    return http.client.HTTPSConnection(host, origin.port, timeout=CONNECT_S, context=_trusted())


@functools.cache
def _trusted() -> ssl.SSLContext:
    return ssl.create_default_context()


def _splice(near: socket.socket, far: socket.socket) -> None:
    """Bytes both ways, until both sides have ended or neither says anything for long."""
    other = {near: far, far: near}
    for end in other:
        end.settimeout(IDLE_S)
    with contextlib.suppress(OSError):
        while other and (ready := select.select(list(other), [], [], IDLE_S)[0]):
            for end in ready:
                if data := end.recv(BLOCK):
                    other[end].sendall(data)
                else:
                    other.pop(end).shutdown(socket.SHUT_WR)


def _listed(values: Sequence[str]) -> set[str]:
    return {word.strip().lower() for value in values for word in value.split(",")}


def _has(lines: Sequence[tuple[str, str]], wanted: str) -> bool:
    return any(name.lower() == wanted for name, _ in lines)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
