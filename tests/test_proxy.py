"""The proxy of a proposer's cell, asked by real connections; it leads to real servers on this machine's loopback."""

import contextlib
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers import PYTHON, eventually
from hypothesis import example, given
from hypothesis import strategies as st
from upstream import EVENTS, GAP_S, Decoy, Upstream, certificate

from autoresearch.execute import proxy
from autoresearch.execute.proxy import BODY_BYTES, Proxy
from autoresearch.hosts import Allow
from autoresearch.propose.cell import BRIDGE

KEY, STAND_IN = "sk-real-0123456789abcdef", "stand-in-abc"


@dataclass
class Place:
    """A proxy to two hosts: number 0 has a key, number 1 has none. Nothing may ever come to the decoy."""

    keyed: Upstream
    plain: Upstream
    decoy: Decoy
    proxy: Proxy

    def ask(self, head: str, body: bytes = b"") -> bytes:
        """What comes back for these very bytes, until the connection is closed."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.proxy.path))
            connection.sendall(head.encode("utf-8", "surrogateescape") + body)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(ConnectionResetError):  # it closed with some of the request unread
                while data := connection.recv(1 << 16):
                    answer += data
            return answer


def proxy_to(*upstreams: proxy.Upstream) -> Proxy:
    return Proxy(upstreams)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with ExitStack() as stack:
        keyed, plain = stack.enter_context(Upstream()), stack.enter_context(Upstream())
        decoy = stack.enter_context(Decoy())
        ours = (
            proxy.Upstream(Allow(f"http://{keyed.host}").origin, True, "A_KEY", KEY, STAND_IN),
            proxy.Upstream(Allow(f"http://{plain.host}").origin),
        )
        yield Place(keyed, plain, decoy, stack.enter_context(proxy_to(*ours)))
        assert decoy.came == 0


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


def test_the_stand_in_becomes_the_key_on_the_way_out_and_the_key_never_comes_back(place: Place) -> None:
    head = f"POST /0/v1/messages?beta=1 HTTP/1.1\r\nHost: x\r\nX-Api-Key: {STAND_IN}\r\nAuthorization: Bearer {STAND_IN}\r\n"
    answer = place.ask(head + "Accept-Encoding: gzip\r\nContent-Length: 5\r\n\r\n", b"hello")
    method, path, headers, body = place.keyed.asked[-1]
    assert (method, path, body) == ("POST", "/v1/messages?beta=1", b"hello")
    assert headers["x-api-key"] == KEY
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["host"] == place.keyed.host
    assert headers["accept-encoding"] == "identity"
    assert status(answer) == 200
    assert b"X-Your-Key: " + b"*" * len(KEY) in answer
    assert KEY.encode() not in answer


def test_a_key_goes_to_its_own_host_only(place: Place) -> None:
    place.ask(f"GET http://{place.plain.host}/x HTTP/1.1\r\nX-Api-Key: {STAND_IN}\r\n\r\n")
    assert place.plain.asked[-1][2]["x-api-key"] == STAND_IN


def test_what_streams_arrives_as_it_comes(place: Place) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(place.proxy.path))
        connection.sendall(f"GET /0/events HTTP/1.1\r\nx-api-key: {STAND_IN}\r\n\r\n".encode())
        seen: dict[int, float] = {}
        text = b""
        while data := connection.recv(1 << 16):
            text += data
            for number in re.findall(rb"data: (\d)", text):
                seen.setdefault(int(number), time.monotonic())
    assert sorted(seen) == list(range(EVENTS))
    gaps = [seen[i + 1] - seen[i] for i in range(EVENTS - 1)]
    assert min(gaps) > GAP_S / 2, gaps
    assert KEY.encode() not in text
    assert text.count(b"*" * len(KEY)) == EVENTS
    assert text.endswith(b"0\r\n\r\n")


def test_a_redirect_is_passed_on_and_not_followed(place: Place) -> None:
    answer = place.ask("GET /0/elsewhere HTTP/1.1\r\n\r\n")
    assert status(answer) == 302
    assert b"Location: http://127.0.0.1:1/" in answer


def test_a_body_may_come_in_chunks(place: Place) -> None:
    body = b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n"
    assert status(place.ask("POST /0/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", body)) == 200
    assert place.keyed.asked[-1][3] == b"abcdefg"


def test_the_answer_to_head_has_no_body(place: Place) -> None:
    head, _, body = place.ask("HEAD /0/x HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")
    assert status(head) == 200
    assert body == b""


def test_a_tunnel_leads_to_a_host_without_a_key(place: Place) -> None:
    answer = place.ask(f"CONNECT {place.plain.host} HTTP/1.1\r\nHost: x\r\n\r\nGET /in HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert place.plain.asked[-1][1] == "/in"


@pytest.mark.parametrize(
    ("head", "code", "words"),
    [
        ("CONNECT evil.example:443 HTTP/1.1\r\n\r\n", 403, "evil.example:443 is not a host of propose.allow"),
        ("CONNECT {keyed} HTTP/1.1\r\n\r\n", 403, "{keyed} has a key: use the address"),
        ("CONNECT me@{plain} HTTP/1.1\r\n\r\n", 403, "propose.allow"),
        ("CONNECT {plain}0 HTTP/1.1\r\n\r\n", 403, "propose.allow"),
        ("GET http://{keyed}/ HTTP/1.1\r\n\r\n", 403, "{keyed} has a key"),
        ("GET http://{plain}@127.0.0.1:{decoy}/ HTTP/1.1\r\n\r\n", 403, "propose.allow"),
        ("GET http://127.0.0.1:{decoy}/{plain}/ HTTP/1.1\r\n\r\n", 403, "127.0.0.1:{decoy} is not a host"),
        ("GET http://{plain}?x HTTP/1.1\r\n\r\n", 403, "propose.allow"),
        ("GET https://{plain}/ HTTP/1.1\r\n\r\n", 403, "propose.allow"),
        ("GET /1/x HTTP/1.1\r\n\r\n", 403, "propose.allow"),
        ("GET /2/x HTTP/1.1\r\n\r\n", 403, "propose.allow"),
        ("GET /x HTTP/1.1\r\nHost: {keyed}\r\n\r\n", 403, "propose.allow"),
        ("GET / HTTP/1.1\r\n\r\n", 403, "propose.allow"),
        ("BREW /0/x HTTP/1.1\r\n\r\n", 501, "autoresearch:"),
        ("GET /0/x\r\n\r\n", 400, "HTTP/1.1"),
        ("GET /0/x HTTP/9.9\r\n\r\n", 505, "autoresearch:"),
        ("GET /0/x y HTTP/1.1\r\n\r\n", 400, "autoresearch:"),
        ("GET /0/\udcff HTTP/1.1\r\n\r\n", 400, "malformed"),
        ("POST /0/x HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "Content-Length"),
        ("POST /0/x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, "Content-Length"),
        ("POST /0/x HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "either"),
        ("POST /0/x HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400, "either"),
        (f"POST /0/x HTTP/1.1\r\nContent-Length: {BODY_BYTES + 1}\r\n\r\n", 413, str(BODY_BYTES)),
        ("GET /0/" + "x" * 70_000 + " HTTP/1.1\r\n\r\n", 414, "autoresearch:"),
        ("GET /0/x HTTP/1.1\r\nA: " + "x" * 70_000 + "\r\n\r\n", 431, "autoresearch:"),
        ("GET /0/x HTTP/1.1\r\n" + "A: x\r\n" * 200 + "\r\n", 431, "autoresearch:"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_not_allowed_or_malformed_is_refused_in_one_plain_line(
    place: Place, head: str, code: int, words: str
) -> None:
    names = {"keyed": place.keyed.host, "plain": place.plain.host, "decoy": place.decoy.port}
    before = len(place.keyed.asked), len(place.plain.asked)
    answer = place.ask(head.format(**names))
    assert status(answer) == code, answer
    line = answer.partition(b"\r\n\r\n")[2].decode()
    assert words.format(**names) in line
    assert line.count("\n") == 1
    assert (len(place.keyed.asked), len(place.plain.asked)) == before


def test_a_chunk_that_is_too_large_or_malformed_is_not_passed_on(place: Place) -> None:
    head = "POST /0/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    for body in (b"%x\r\n" % (BODY_BYTES + 1), b"zz\r\n", b"-1\r\n", b"5\r\nab", b""):
        assert status(place.ask(head, body)) == 502
    assert place.keyed.asked[-1][1] != "/unheard"


def test_a_host_that_cannot_be_reached_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as was:
        port = was.getsockname()[1]
    ours = proxy.Upstream(Allow(f"http://127.0.0.1:{port}").origin, by_number=True)
    with proxy_to(ours) as made:
        place: Any = Place(None, None, None, made)  # type: ignore[arg-type]
        assert b"502" in place.ask("GET /0/x HTTP/1.1\r\n\r\n")
        assert b"502" in place.ask(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n")


def test_a_host_is_spoken_to_encrypted_and_only_as_the_host_that_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, trusted = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    proxy._trusted.cache_clear()
    with Upstream(tls) as host:
        port = host.server_port
        ours = [
            proxy.Upstream(Allow(f"{name}:{port}").origin, True, "A", KEY, STAND_IN)
            for name in ("127.0.0.1", "localhost")
        ]
        with proxy_to(*ours) as made:
            place = Place(host, host, None, made)  # type: ignore[arg-type]
            assert status(place.ask(f"GET /0/x HTTP/1.1\r\nX-Api-Key: {STAND_IN}\r\n\r\n")) == 200
            assert host.asked[-1][2]["x-api-key"] == KEY
            refused = place.ask(f"GET /1/x HTTP/1.1\r\nX-Api-Key: {STAND_IN}\r\n\r\n")  # the certificate is 127.0.0.1's
        assert status(refused) == 502
        assert b"CERTIFICATE_VERIFY_FAILED" in refused
        assert len(host.asked) == 1
    proxy._trusted.cache_clear()


def test_when_the_proxy_ends_so_does_every_connection(place: Place) -> None:
    ours = proxy.Upstream(Allow(f"http://{place.plain.host}").origin)
    with socket.socket(socket.AF_UNIX) as idle, socket.socket(socket.AF_UNIX) as tunnel:
        with proxy_to(ours) as made:
            idle.connect(str(made.path))
            tunnel.connect(str(made.path))
            tunnel.sendall(f"CONNECT {place.plain.host} HTTP/1.1\r\n\r\n".encode())
            assert b"200" in tunnel.recv(999)
            assert made.path.parent.stat().st_mode & 0o777 == 0o700
            assert len(str(made.path)) < 100
        for connection in (idle, tunnel):
            connection.settimeout(5)
            assert connection.recv(1) == b""
        assert eventually(lambda: not made.path.exists())


def test_connections_at_once_are_bounded(place: Place) -> None:
    with ExitStack() as stack, proxy_to(*place.proxy.upstreams) as made:
        for _ in range(proxy.CONNECTIONS):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(made.path))
        over = stack.enter_context(socket.socket(socket.AF_UNIX))
        over.settimeout(5)
        over.connect(str(made.path))
        assert over.recv(1) == b""


# -- wherever a request would like to go ---------------------------------------------------------------

CONNECTED: list[object] = []
LISTENING = threading.Event()


def _note(event: str, args: tuple[Any, ...]) -> None:
    """Every address that this process connects to or looks up, noted by the interpreter itself."""
    if LISTENING.is_set() and event == "socket.connect" and not isinstance(args[1], str | bytes):
        CONNECTED.append(args[1][:2])
    if LISTENING.is_set() and event == "socket.getaddrinfo":
        CONNECTED.append((str(args[0]), int(args[1])))


sys.addaudithook(_note)

TARGETS = [
    "127.0.0.1:{decoy}",
    "127.0.0.1:{keyed}",
    "127.0.0.1:{plain}",
    "localhost:{plain}",
    "evil.example",
    "[::1]:{plain}",
]
PIECES = [
    *TARGETS,
    "http://",
    "https://",
    "HTTP://",
    "//",
    "/",
    "\\",
    "@",
    "?",
    "#",
    ":",
    "%2f",
    "%40",
    "..",
    "/0/",
    "/1/",
    "/00/",
]
PIECES += ["/0", " ", "\t", "\r", "\u2028", "\udcff", "{stand_in}", "x"]
URLS = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
METHODS = st.sampled_from(["GET", "POST", "CONNECT", "HEAD", "OPTIONS", "get", "TRACE", ""])
FIELDS = ["Host", "X-Forwarded-Host", "Forwarded", "Connection", "Proxy-Connection", "Location", "Transfer-Encoding"]
FIELDS += ["Expect", "Content-Length", "X-Api-Key", "Upgrade", "Via", "", " x"]
NAMES = st.sampled_from(FIELDS)
HEADERS = st.lists(
    st.tuples(NAMES, URLS | st.sampled_from(["chunked", "close", "host", "3", "100-continue"])), max_size=4
)
VERSIONS = st.sampled_from([" HTTP/1.1", " HTTP/1.0", "", " HTTP/0.9", " HTTP/1.1 HTTP/1.1"])


@given(METHODS, URLS, VERSIONS, HEADERS)
@example("GET", "/0/http://127.0.0.1:{decoy}/", " HTTP/1.1", [("Host", "127.0.0.1:{decoy}")])
@example("GET", "/0//127.0.0.1:{decoy}/", " HTTP/1.1", [])
@example("GET", "/0/@127.0.0.1:{decoy}/", " HTTP/1.1", [])
@example("GET", "/0/../1/x", " HTTP/1.1", [])
@example("CONNECT", "127.0.0.1:{plain}@127.0.0.1:{decoy}", " HTTP/1.1", [])
@example("CONNECT", "127.0.0.1:{plain}", " HTTP/1.1", [("Host", "127.0.0.1:{decoy}")])
@example("GET", "http://127.0.0.1:{plain}/", " HTTP/1.1", [("Host", "127.0.0.1:{decoy}")])
@example("GET", "http://127.0.0.1:{plain}@127.0.0.1:{decoy}/", " HTTP/1.1", [])
@example("GET", "http://127.0.0.1:{plain}\\@127.0.0.1:{decoy}/", " HTTP/1.1", [])
def test_no_request_leads_to_a_host_that_is_not_allowed(
    place: Place, method: str, url: str, version: str, headers: list[tuple[str, str]]
) -> None:
    """And none is answered with the key, whatever it says."""
    names = {"decoy": place.decoy.port, "keyed": place.keyed.server_port, "plain": place.plain.server_port}
    head = f"{method} {url}{version}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
    CONNECTED.clear()
    LISTENING.set()
    try:
        answer = place.ask(head.format(**names, stand_in=STAND_IN))
    finally:
        LISTENING.clear()
    keyed, plain = ("127.0.0.1", place.keyed.server_port), ("127.0.0.1", place.plain.server_port)
    assert set(CONNECTED) <= {keyed, plain}
    if keyed in CONNECTED:
        assert "/0" in url
    assert place.decoy.came == 0
    assert KEY.encode() not in answer


# -- the bridge ----------------------------------------------------------------------------------------


def bridged(place: Place, program: str) -> "subprocess.CompletedProcess[str]":
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [PYTHON, "-I", "-S", str(BRIDGE), str(place.proxy.path), str(port), "--"]
    argv = [*words, PYTHON, "-c", program, str(port)] if program else [*words, "no-such-program"]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20, input="given")


def test_the_bridge_leads_from_a_port_to_the_proxy_and_ends_as_its_command_does(place: Place) -> None:
    ask = "from urllib.request import urlopen; print(urlopen(f'http://127.0.0.1:{sys.argv[1]}/0/x').status)"
    done = bridged(place, f"import sys; print(sys.stdin.read()); {ask}; sys.exit(7)")
    assert (done.stdout, done.returncode) == ("given\n200\n", 7), done.stderr


def test_the_bridge_says_how_a_command_was_ended_or_that_there_is_none(place: Place) -> None:
    assert bridged(place, "import os; os.kill(os.getpid(), 9)").returncode == 128 + 9
    none = bridged(place, "")
    assert (none.returncode, none.stderr) == (127, "no-such-program: No such file or directory\n")
