"""
A program that stands in for a coding agent: it takes the options of the real one, reads its task where that one does,
really edits files, and prints what that one prints.

Copied by `hire` with a head that sets NAME (which agent) and MODE (what it does). Standard library only.
"""

NAME, MODE = "claude", "good"
# -- the head ends here --
import json  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

COST, SENT, RECEIVED = 0.1, 1000, 50
STUBBORN = "import signal, time\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(600)"


def main() -> int:
    if sys.argv[1:] in (["--version"], ["--help"]):
        print(f"{NAME} 0.0.1 (stands in)")
        return 0
    if "acp" in sys.argv or NAME == "speaks-acp":
        return Server().serve()
    task = read_task()
    assert "IDEA: <one sentence>" in task, task[-300:]
    assert "Only these may change: step.sh" in task
    return {
        "good": good,
        "frozen": frozen,
        "hangs": hangs,
        "bomb": bomb,
        "flood": flood,
        "lazy": lazy,
        "fails": fails,
    }[MODE]()


def read_task() -> str:
    """Where the real one is told to look for it."""
    if NAME == "aider":
        with open(sys.argv[sys.argv.index("--message-file") + 1]) as file:
            return file.read()
    if NAME == "mini":
        path = next(word for word in sys.argv if ".brief." in word)
        with open(path) as file:
            return str(json.load(file)["run"]["task"])
    return sys.stdin.read()


def edit() -> str:
    with open("step.sh") as file:
        before = file.read()
    number = int(before.rpartition("=")[2])
    with open("step.sh", "w") as file:
        file.write(f"echo METRIC loss={number - 1}\n")
    return f"I looked around.\n\nIDEA: say {number - 1}"


def good() -> int:
    say(edit())
    return 0


def frozen() -> int:
    with open("program.md", "a") as file:
        file.write("anything goes\n")
    with open("notes.txt", "w") as file:
        file.write("mine\n")
    say(edit())
    return 0


def hangs() -> int:
    """With a child that has left its group and hears no signal."""
    subprocess.Popen([sys.executable, "-c", STUBBORN], start_new_session=True)
    subprocess.Popen([sys.executable, "-c", STUBBORN])
    edit()
    time.sleep(600)
    return 0


def bomb() -> int:
    children = []
    for _ in range(200):  # bounded, should nobody else bound it
        try:
            children.append(subprocess.Popen(["sleep", "60"]))
        except OSError:
            break
    time.sleep(30)
    return 0


def flood() -> int:
    block = ("spam " * 200 + "\n").encode() * 100
    for _ in range(1000):
        sys.stdout.buffer.write(block)
    sys.stdout.flush()
    say(edit())
    return 0


def lazy() -> int:
    say("I thought about it.\n\nIt is perfect as it is; \x1b[31mleave it.")
    return 0


def fails() -> int:
    edit()
    say("half of it", problem="Credit balance is too low")
    return 1


# -- what each prints ----------------------------------------------------------------------------------


def say(message: str, problem: str = "") -> None:
    lines(*FORMATS[NAME](message, problem))
    if NAME == "mini":
        path = sys.argv[sys.argv.index("--output") + 1]
        stats = {"instance_cost": COST, "api_calls": 1}
        ended = problem or "Submitted"
        usage = {"prompt_tokens": SENT, "completion_tokens": RECEIVED}
        whole = {"info": {"model_stats": stats, "exit_status": ended, "submission": message}}
        whole["messages"] = [{"role": "assistant", "extra": {"response": {"usage": usage}}}]  # type: ignore[assignment]
        with open(path, "w") as file:
            json.dump(whole, file, indent=2)


def lines(*entries: object) -> None:
    for entry in entries:
        print(entry if isinstance(entry, str) else json.dumps(entry), flush=True)


def claude(message: str, problem: str) -> list[object]:
    tokens = {"inputTokens": SENT, "outputTokens": RECEIVED, "costUSD": COST}
    result = {"type": "result", "is_error": bool(problem), "result": problem or message, "total_cost_usd": COST}
    return [{"type": "system"}, {"type": "assistant"}, result | {"modelUsage": {"a-model": tokens}}]


def codex(message: str, problem: str) -> list[object]:
    usage = {"input_tokens": SENT, "cached_input_tokens": 9, "output_tokens": RECEIVED}
    said = {"type": "item.completed", "item": {"type": "agent_message", "text": message}}
    failed = [{"type": "turn.failed", "error": {"message": problem}}] if problem else []
    return ["warning: not JSON", said, {"type": "turn.completed", "usage": usage}, *failed]


def gemini(message: str, problem: str) -> list[object]:
    tokens = {"prompt": SENT, "candidates": RECEIVED - 10, "thoughts": 10}
    whole = {"response": message, "stats": {"models": {"a-model": {"tokens": tokens}}}}
    failed = {"error": {"message": problem}} if problem else {}
    return ["Loaded cached credentials.", json.dumps(whole | failed, indent=2)]


def opencode(message: str, problem: str) -> list[object]:
    tokens = {"input": SENT // 2, "output": RECEIVED // 2, "reasoning": 0, "cache": {"read": 0, "write": 0}}
    step = {"type": "step_finish", "part": {"tokens": tokens, "cost": COST / 2}}
    failed = [{"type": "error", "error": {"name": "APIError", "data": {"message": problem}}}] if problem else []
    return [step, {"type": "text", "part": {"text": message}}, step, *failed]


def aider(message: str, problem: str) -> list[object]:
    failed = [f"litellm.BadRequestError: {problem}"] if problem else []
    spent = f"Tokens: {SENT / 1000:.1f}k sent, {RECEIVED} received. Cost: ${COST} message, ${COST} session."
    return ["Aider v0\nAdded step.sh to the chat.\n", *failed, message, *([] if problem else [spent])]


def goose(message: str, problem: str) -> list[object]:
    half = len(message) // 2
    pieces = [[{"type": "text", "text": text}] for text in (message[:half], message[half:])]
    said = [{"type": "message", "message": {"role": "assistant", "content": piece}} for piece in pieces]
    end = {"type": "error", "error": problem} if problem else {"type": "complete", "cost_usd": COST}
    return [*said, end | {"input_tokens": SENT, "output_tokens": RECEIVED}]


def mini(message: str, problem: str) -> list[object]:
    return [f"mini-swe-agent (step 1, ${COST}):", message[:9], problem]


def agent(message: str, problem: str) -> list[object]:
    return [message, problem, {"dollars": COST, "input_tokens": SENT, "output_tokens": RECEIVED}]


FORMATS = {
    "claude": claude,
    "codex": codex,
    "gemini": gemini,
    "opencode": opencode,
    "aider": aider,
    "goose": goose,
    "mini": mini,
    "agent": agent,
}


# -- the Agent Client Protocol -------------------------------------------------------------------------


class Server:
    """Line by line, one request at a time. In mode `asks` it asks for what it may do and for what it may not."""

    def serve(self) -> int:
        for line in sys.stdin:
            asked = json.loads(line)
            if asked.get("method") == "initialize":
                self.answer(asked, {"protocolVersion": 1, "agentCapabilities": {}})
            elif asked.get("method") == "session/new":
                self.answer(asked, {"sessionId": "s1"})
            elif asked.get("method") == "session/prompt":
                assert "IDEA: <one sentence>" in asked["params"]["prompt"][0]["text"]
                self.answer(asked, {"stopReason": self.work(), "usage": self.usage()})
        return 0

    def usage(self) -> dict[str, int]:
        return {"totalTokens": SENT + RECEIVED, "inputTokens": SENT, "outputTokens": RECEIVED}

    def work(self) -> str:
        self.costs(COST / 2)
        if MODE == "hangs":
            edit()
            subprocess.Popen([sys.executable, "-c", STUBBORN], start_new_session=True)
            while json.loads(sys.stdin.readline()).get("method") != "session/cancel":
                pass
            self.costs(COST)
            return "cancelled"
        here = os.getcwd()
        allowed = {
            "may edit": self.may("edit", f"{here}/step.sh"),
            "may look": self.may("read", f"{here}/program.md"),
            "may edit the goal": self.may("edit", f"{here}/program.md"),
            "may edit outside": self.may("edit", "/tmp/elsewhere"),
            "may run": self.may("execute", None),
            "may write by the client": self.writes(f"{here}/step.sh", "echo METRIC loss=10\n"),
            "may write the goal by the client": self.writes(f"{here}/program.md", "anything goes\n"),
            "may write outside": self.writes("/tmp/elsewhere", "x"),
        }
        message = edit() if allowed["may edit"] else "I was not allowed to"
        for piece in (message[:9], message[9:], "\nallowed: " + ", ".join(k for k, v in allowed.items() if v)):
            content = {"type": "text", "text": piece}
            self.update({"sessionUpdate": "agent_message_chunk", "content": content})
        self.costs(COST)
        return "end_turn"

    def costs(self, dollars: float) -> None:
        cost = {"amount": dollars, "currency": "USD"}
        self.update({"sessionUpdate": "usage_update", "used": 1, "size": 2, "cost": cost})

    def may(self, kind: str, path: str | None) -> bool:
        call = {"toolCallId": f"{kind}-{path}", "title": f"{kind} something", "kind": kind}
        call["rawInput"] = {"file_path": path} if path else {"command": "python train.py"}  # type: ignore[assignment]
        self.update({"sessionUpdate": "tool_call"} | call)
        kinds = ("reject_once", "allow_always", "allow_once")
        options = [{"optionId": f"o-{kind}", "name": kind, "kind": kind} for kind in kinds]
        # As adapters do: the request itself has but the call's number; what it is was told before.
        asked = {"sessionId": "s1", "toolCall": {"toolCallId": call["toolCallId"]}, "options": options}
        chosen = self.ask("session/request_permission", asked)["result"]["outcome"]
        return bool(chosen.get("optionId") == "o-allow_once")

    def writes(self, path: str, content: str) -> bool:
        answer = self.ask("fs/write_text_file", {"sessionId": "s1", "path": path, "content": content})
        return "error" not in answer

    def ask(self, method: str, params: object) -> "dict[str, dict[str, dict[str, str]]]":
        print(json.dumps({"jsonrpc": "2.0", "id": 77, "method": method, "params": params}), flush=True)
        for line in sys.stdin:
            answer = json.loads(line)
            if answer.get("id") == 77:
                return dict(answer)
        raise SystemExit(3)

    def update(self, what: object) -> None:
        params = {"sessionId": "s1", "update": what}
        print(json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params}), flush=True)

    def answer(self, asked: "dict[str, object]", result: object) -> None:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
