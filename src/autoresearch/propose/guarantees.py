"""
What a proposer's cell guarantees on this machine, found out by trying, as execute/guarantees.py does for a candidate's.

Tried with the study's own grants, hosts and keys, on a made-up study in a temporary folder.
"""

import os
import secrets
import socket
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

from autoresearch.execute.guarantees import SUCCEEDED, TIMEOUT_S, Guarantee
from autoresearch.propose.cell import PORT, ProposerCell

# Shown to us, not searched in there: what is looked for must not be in there to begin with.
SHOW = "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; find . /tmp -type f -size -256k -exec cat {} +"
MADE_UP = {
    "mine.txt": "a file of your checkout\n",
    ".git/refs/heads/main": "0" * 40 + "\n",
    ".autoresearch/events.jsonl": "what happened\n",
    ".autoresearch/data/held/answers.txt": "the answers\n",
    ".autoresearch/trees/0/.git": "gitdir: nowhere\n",
}


CLOSED = {
    "the log": ".autoresearch/events.jsonl",
    "held data": ".autoresearch/data/held/answers.txt",
    "the repository's refs": ".git/refs/heads/main",
    "your checkout": "mine.txt",
}


def tried(cell: ProposerCell) -> list[Guarantee]:
    """Try every guarantee of this cell, here and now. Takes about a tenth of a second a row."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autoresearch-check-")))
        listener = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        for name, content in MADE_UP.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(content)
        os.environ["PROBE_TOKEN"] = token = secrets.token_hex(8)
        stack.callback(os.environ.pop, "PROBE_TOKEN", None)
        starts = SUCCEEDED in _run(f"touch new && echo {SUCCEEDED}", cell, place)
        reached = SUCCEEDED in _run(f'python3 -I -c "{_reach(listener.getsockname()[1])}"', cell, place)
        shown = _run(SHOW, cell, place)
        hidden = "PATH=" in shown and not any(secret in shown for secret in (token, *cell.keys.values()))
        return [
            Guarantee("a proposer starts, and can edit its own worktree", starts),
            Guarantee("a proposer reaches no address but those of propose.allow", not reached),
            Guarantee("your keys are in no environment, file or argument list that a proposer can read", hidden),
            *(
                Guarantee(f"a proposer cannot read or write {what}", _closed(place / CLOSED[what], cell, place))
                for what in CLOSED
            ),
        ]


def _reach(port: int) -> str:
    """A program that looks for a way to a port of this machine: directly, and by asking the proxy, if there is one."""
    asks = f"b'CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\n\\r\\n'"
    return (
        "import socket, contextlib as c\n"
        f"with c.suppress(OSError): socket.create_connection(('127.0.0.1', {port}), 3); print('{SUCCEEDED}')\n"
        "with c.suppress(OSError):\n"
        f"    s = socket.create_connection(('127.0.0.1', {PORT}), 3); s.sendall({asks})\n"
        f"    if b' 200 ' in s.recv(99): print('{SUCCEEDED}')\n"
    )


def _closed(path: Path, cell: ProposerCell, place: Path) -> bool:
    before = path.read_bytes()
    printed = _run(f"cat {path} && echo {SUCCEEDED}; echo more >> {path}; rm -f {path}", cell, place)
    return SUCCEEDED not in printed and path.exists() and path.read_bytes() == before


def _run(script: str, cell: ProposerCell, place: Path) -> str:
    """What a script printed that ran as a proposing program would."""
    home, out = place / ".autoresearch", place / "printed.txt"
    argv = ["sh", "-c", script]
    cell.elsewhere(home).run(argv, home / "trees" / "0", Path(os.devnull), out, place / "errors.txt", TIMEOUT_S)
    return out.read_text(errors="replace")
