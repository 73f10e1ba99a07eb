"""
A host of models on this machine's loopback that answers from a script, in the wire formats of four providers.

It plays one idea: look at step.sh, say 7 where it says 10, and report. Each answer follows from how many tool results
the request holds, so nothing is remembered between requests. Which tools there are is taken from the request, as a
model would; so is the working directory.
"""

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

IDEA = "say 7, since lower is better"
LAST = f"I lowered the number.\n\nIDEA: {IDEA}"
SENT, RECEIVED = 1000, 50  # tokens of each call
TREE = re.compile(r"/[^\s\"'<>`\\]*?/\.autoresearch/trees/\d+(?=[\s\"'<>`\\/]|$)")
Step = str | tuple[str, dict[str, Any]]
PROSE = f"""Lower is better.

step.sh
```
<<<<<<< SEARCH
echo METRIC loss=10
=======
echo METRIC loss=7
>>>>>>> REPLACE
```

IDEA: {IDEA}"""


def play(tools: list[str], asked: str) -> list[Step]:
    """What the model does with these tools, step by step."""
    tree = TREE.search(asked)
    path = f"{tree[0] if tree else '.'}/step.sh"
    if edits := next(
        (tool for tool in tools if tool == "Edit" or tool.endswith("__Edit")), None
    ):  # Claude Code, and its adapter
        reads = edits.replace("Edit", "Read")
        return [
            (reads, {"file_path": path}),
            (edits, {"file_path": path, "old_string": "10", "new_string": "7"}),
            LAST,
        ]
    if "edit" in tools:  # OpenCode
        return [
            ("read", {"filePath": path}),
            ("edit", {"filePath": path, "oldString": "10", "newString": "7"}),
            LAST,
        ]
    if "write_file" in tools:  # Gemini CLI
        return [("write_file", {"file_path": path, "content": "echo METRIC loss=7\n"}), LAST]
    if "exec_command" in tools:  # Codex
        return [("exec_command", {"cmd": "sed -i s/10/7/ step.sh"}), LAST]
    if "bash" in tools:  # mini-swe-agent
        submit = f"echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo 'IDEA: {IDEA}'"
        return [("bash", {"command": "sed -i s/10/7/ step.sh"}), ("bash", {"command": submit})]
    return [PROSE]  # aider; and whoever asks for a title


class Models(ThreadingHTTPServer):
    """Serves while it is entered. `asked` are path, headers (names in lower case) and body of each request."""

    daemon_threads = True

    def __init__(self, script: Callable[[list[str], str], list[Step]] = play) -> None:
        super().__init__(("127.0.0.1", 0), _Model)
        self.script = script
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is ended in the middle of its request is part of what is tried."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Model(BaseHTTPRequestHandler):
    server: Models
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    def do_POST(self) -> None:
        body = self.body()
        asked = json.loads(body or b"{}")
        path = self.path.partition("?")[0]
        self.server.asked.append((path, {k.lower(): v for k, v in self.headers.items()}, asked))
        if path.endswith("/messages"):
            self.anthropic(asked)
        elif path.endswith("/chat/completions"):
            self.chat(asked)
        elif path.endswith("/responses"):
            self.openai(asked)
        elif "enerateContent" in path:
            self.google(asked)
        else:
            self.answer({"input_tokens": 10, "totalTokens": 10})  # who counts tokens before it asks

    def step(self, asked: dict[str, Any], tools: list[str], done: int) -> Step:
        steps = self.server.script(tools, json.dumps(asked))
        return steps[min(done, len(steps) - 1)]

    # -- wire formats ----------------------------------------------------------------------------------

    def anthropic(self, asked: dict[str, Any]) -> None:
        parts = [p for m in asked["messages"] if isinstance(m["content"], list) for p in m["content"]]
        done = sum(part.get("type") == "tool_result" for part in parts)
        step = self.step(asked, [tool.get("name", "") for tool in asked.get("tools", [])], done)
        usage = {"input_tokens": SENT, "output_tokens": RECEIVED}
        if isinstance(step, str):
            part: dict[str, Any] = {"type": "text", "text": step}
            empty, delta, stop = part | {"text": ""}, {"type": "text_delta", "text": step}, "end_turn"
        else:
            part = {"type": "tool_use", "id": f"call_{done}", "name": step[0], "input": step[1]}
            empty, stop = part | {"input": {}}, "tool_use"
            delta = {"type": "input_json_delta", "partial_json": json.dumps(step[1])}
        message = {
            "id": f"m{done}",
            "type": "message",
            "role": "assistant",
            "model": asked.get("model"),
            "usage": usage,
        }
        message |= {"content": [part], "stop_reason": stop, "stop_sequence": None}
        if not asked.get("stream"):
            self.answer(message)
            return
        self.stream(
            {"type": "message_start", "message": message | {"content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": empty},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage},
            {"type": "message_stop"},
        )

    def chat(self, asked: dict[str, Any]) -> None:
        tools = [tool.get("function", {}).get("name", "") for tool in asked.get("tools", [])]
        done = sum(message["role"] == "tool" for message in asked["messages"])
        step = self.step(asked, tools, done)
        message: dict[str, Any] = {"role": "assistant", "content": step if isinstance(step, str) else None}
        if not isinstance(step, str):
            function = {"name": step[0], "arguments": json.dumps(step[1])}
            message["tool_calls"] = [{"index": 0, "id": f"call_{done}", "type": "function", "function": function}]
        head = {"id": "c", "created": 1, "model": asked.get("model")}
        end = {"index": 0, "finish_reason": "stop" if isinstance(step, str) else "tool_calls"}
        usage = {"prompt_tokens": SENT, "completion_tokens": RECEIVED, "total_tokens": SENT + RECEIVED}
        if not asked.get("stream"):
            self.answer(head | {"object": "chat.completion", "choices": [end | {"message": message}], "usage": usage})
            return
        chunk = head | {"object": "chat.completion.chunk"}
        self.stream(
            chunk | {"choices": [{"index": 0, "delta": message, "finish_reason": None}]},
            chunk | {"choices": [end | {"delta": {}}]},
            chunk | {"choices": [], "usage": usage},
            "[DONE]",
        )

    def openai(self, asked: dict[str, Any]) -> None:
        given = [item for item in asked.get("input", []) if isinstance(item, dict)]
        done = sum(item.get("type") == "function_call_output" for item in given)
        step = self.step(asked, [tool.get("name", "") for tool in asked.get("tools", [])], done)
        if isinstance(step, str):
            text = {"type": "output_text", "text": step, "annotations": []}
            item: dict[str, Any] = {"type": "message", "id": "m", "role": "assistant", "content": [text]}
        else:
            item = {"type": "function_call", "id": f"f{done}", "call_id": f"call_{done}", "name": step[0]}
            item["arguments"] = json.dumps(step[1])
        item["status"] = "completed"
        usage = {"input_tokens": SENT, "output_tokens": RECEIVED, "total_tokens": SENT + RECEIVED}
        usage_details: dict[str, Any] = {"input_tokens_details": {"cached_tokens": 0}}
        usage_details["output_tokens_details"] = {"reasoning_tokens": 0}
        whole = {"id": "r", "object": "response", "created_at": 1, "model": asked.get("model")}
        whole |= {"status": "completed", "output": [item], "usage": usage | usage_details}
        self.stream(
            {"type": "response.created", "response": whole | {"status": "in_progress", "output": []}},
            {
                "type": "response.output_item.added",
                "output_index": 0,
                "item": item | ({"content": []} if isinstance(step, str) else {}),
            },
            *(
                [
                    {
                        "type": "response.output_text.delta",
                        "item_id": "m",
                        "output_index": 0,
                        "content_index": 0,
                        "delta": step,
                    }
                ]
                if isinstance(step, str)
                else []
            ),
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": whole},
        )

    def google(self, asked: dict[str, Any]) -> None:
        parts = [part for content in asked.get("contents", []) for part in content.get("parts", [])]
        done = sum("functionResponse" in part for part in parts)
        declared = [f for tool in asked.get("tools", []) for f in tool.get("functionDeclarations", [])]
        step = self.step(asked, [function["name"] for function in declared], done)
        part = {"text": step} if isinstance(step, str) else {"functionCall": {"name": step[0], "args": step[1]}}
        usage = {"promptTokenCount": SENT, "candidatesTokenCount": RECEIVED, "totalTokenCount": SENT + RECEIVED}
        content = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
        whole = {"candidates": [content], "usageMetadata": usage, "modelVersion": "scripted"}
        if "stream" in self.path:
            self.stream(whole)
        else:
            self.answer(whole)

    # -- HTTP ------------------------------------------------------------------------------------------

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def stream(self, *events: dict[str, Any] | str) -> None:
        lines = []
        for event in events:
            named = f"event: {event['type']}\n" if isinstance(event, dict) and "type" in event else ""
            lines.append(f"{named}data: {event if isinstance(event, str) else json.dumps(event)}\n\n")
        self.send("text/event-stream", "".join(lines))

    def answer(self, whole: dict[str, Any]) -> None:
        self.send("application/json", json.dumps(whole))

    def send(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text.encode())
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass
