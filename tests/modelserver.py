"""
A stand-in for providers of models: a server on loopback that speaks OpenAI's chat completions and Anthropic's messages.

It answers each request with the next line of its script; the last one is repeated. The shapes are those that the
providers' own servers send, broken ones included.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from msgspec import Struct

NAME = "openai-chat:stub-1"
CLAUDE = "anthropic:claude-sonnet-5"  # one whose price the library knows


class Request(Struct, frozen=True):
    """What came in: path, headers in lower case, and the body."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def words(self) -> str:
        """All that was said to the model."""
        return json.dumps(self.body)

    @property
    def last(self) -> str:
        """The last thing that was said to it."""
        content = self.body["messages"][-1]["content"]
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


class Answer(Struct, frozen=True):
    """
    What goes back: words of the model, or, with a `status`, an error. `raw` is sent in place of either; `only` so many
    bytes of it before the connection is cut; all after `after_s`.
    """

    text: str = ""
    tokens: tuple[int, int] | None = (1000, 100)
    finish: str = "stop"
    status: int = 200
    error: Mapping[str, Any] = {}
    headers: dict[str, str] = {}
    raw: bytes | None = None
    only: int | None = None
    after_s: float = 0.0


Line = Answer | Callable[[Request], Answer]


def says(idea: Any, **more: Any) -> Answer:
    """The model answers with this, as JSON if it is no text."""
    return Answer(idea if isinstance(idea, str) else json.dumps(idea), **more)


def idea(
    *changes: dict[str, Any], hypothesis: str = "a smaller number is better", expected: str = "1"
) -> dict[str, Any]:
    return {"hypothesis": hypothesis, "expected": expected, "changes": list(changes)}


def write(file: str, content: str) -> dict[str, Any]:
    return {"kind": "write", "file": file, "content": content}


def replace(file: str, search: str, replacement: str) -> dict[str, Any]:
    return {"kind": "replace", "file": file, "search": search, "replace": replacement}


def step(value: object, **more: Any) -> dict[str, Any]:
    """An idea after which the usual study of tests states this value."""
    return idea(write("step.sh", f"echo METRIC loss={value}\n"), **more)


def fails(status: int, message: str = "it failed", code: str = "", **headers: str) -> Answer:
    """An error as OpenAI writes it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    error = {"message": message, "type": "error", "param": None, "code": code or None}
    return Answer(status=status, error={"error": error}, headers=named)


class ModelServer:
    """The server; `requests` are those that came in so far."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = list(lines)
        self.requests: list[Request] = []
        self.problem: Exception | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                owner._answer(self)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # the client hung up, which is what some tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def root(self) -> str:
        """The address as Anthropic's client wants it."""
        return self.address.removesuffix("/v1")

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers["Content-Length"])
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.path, headers, json.loads(handler.rfile.read(length)))
        with self._lock:
            line = self.lines[min(len(self.requests), len(self.lines) - 1)]
            self.requests.append(request)
        try:
            answer = line if isinstance(line, Answer) else line(request)
        except Exception as error:  # of the test's own script: the study ends, and `serving` says why
            self.problem = error
            answer = fails(401, f"the script of the test failed: {error!r}")
        if answer.after_s:
            self._ended.wait(answer.after_s)
        body = answer.raw if answer.raw is not None else _body(request, answer)
        handler.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body if answer.only is None else body[: answer.only])
        handler.wfile.flush()
        if answer.only is not None:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)


def _body(request: Request, answer: Answer) -> bytes:
    if answer.status != 200:
        return json.dumps(answer.error).encode()
    shape = _anthropic if request.path.endswith("/messages") else _openai
    return json.dumps(shape(request.body["model"], answer)).encode()


def _openai(model: str, answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
    found: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}],
    }
    if answer.tokens:
        sent, got = answer.tokens
        found["usage"] = {"prompt_tokens": sent, "completion_tokens": got, "total_tokens": sent + got}
    return found


def _anthropic(model: str, answer: Answer) -> dict[str, Any]:
    sent, got = answer.tokens or (0, 0)
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": {"stop": "end_turn", "length": "max_tokens"}[answer.finish],
        "stop_sequence": None,
        "usage": {"input_tokens": sent, "output_tokens": got},
    }


@contextlib.contextmanager
def serving(*lines: Line) -> Iterator[ModelServer]:
    """A server with this script, closed at the end."""
    server = ModelServer(lines)
    try:
        yield server
    finally:
        server.close()
        if server.problem:
            raise server.problem
