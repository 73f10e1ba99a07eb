"""
What `autoresearch run` and `watch` look like in a real terminal: tmux shows them, and docs/terminal.md keeps the pictures.

    python -m benchmarks.terminal --write
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autoresearch import starter

PAGE = Path(__file__).parent.parent / "docs" / "terminal.md"
SIZES = ((80, 24), (200, 50))
SECONDS = 75.0  # of a study before its picture is taken


class Terminal:
    """A terminal of this size, of its own tmux server, with a command in it. `close` ends what runs there."""

    def __init__(self, command: list[str], folder: Path, width: int, height: int, env: dict[str, str]) -> None:
        self.name = f"autoresearch-{uuid.uuid4().hex[:12]}"
        told = [f"{name}={value}" for name, value in env.items()]
        line = shlex.join(["env", "-C", str(folder), *told, *command])
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), f"{line}; sleep 600")

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(["tmux", "-L", self.name, *words], capture_output=True, text=True, check=True)
        return done.stdout

    def screen(self, colours: bool = False) -> list[str]:
        """What it shows, row by row."""
        return self._tmux("capture-pane", "-p", *(["-e"] if colours else []), "-t", "0").rstrip("\n").split("\n")

    def all(self) -> list[str]:
        """That, and what has scrolled away."""
        return self._tmux("capture-pane", "-p", "-S", "-", "-t", "0").rstrip("\n").split("\n")

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def wait_for(self, holds: Callable[[list[str]], bool], within_s: float = 90.0) -> list[str]:
        """
        The screen as soon as it is as asked.

        Raises:
            TimeoutError: it never was; the message shows it.
        """
        deadline = time.monotonic() + within_s
        while not holds(rows := self.screen()):
            if time.monotonic() > deadline:
                raise TimeoutError("\n".join(rows))
            time.sleep(0.05)
        return rows

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self.name, "kill-server"], capture_output=True, check=False)


@contextmanager
def terminal(command: list[str], folder: Path, width: int, height: int, **env: str) -> Iterator[Terminal]:
    shown = Terminal(command, folder, width, height, env)
    try:
        yield shown
    finally:
        shown.close()


def here() -> bool:
    """Whether there is a tmux."""
    return shutil.which("tmux") is not None


def slow_study(folder: Path, pause_s: float) -> None:
    """The toy study, with a pause at each of its 200 steps, so that there is something to see."""
    starter.make(folder, "toy")
    path = folder / "descent.py"
    code = path.read_text()
    code = code.replace("import random\n", "import random\nimport time\n", 1)
    code = code.replace(
        "        if step % 50 == 0:\n", f"        time.sleep({pause_s})\n        if step % 5 == 0:\n", 1
    )
    path.write_text(code.replace(':.4g}")', ':.4g}", flush=True)', 1))
    subprocess.run(["git", "commit", "--quiet", "--all", "-m", "slower"], cwd=folder, check=True)


def picture(width: int, height: int) -> str:
    """The terminal of a study that has run for a while."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "toy"
        slow_study(folder, 0.006)
        command = [sys.executable, "-m", "autoresearch", "run", "--hours", "8"]
        with terminal(command, folder, width, height) as shown:
            time.sleep(SECONDS)
            rows = shown.wait_for(lambda rows: sum(bool(re.search(r"run \d", row)) for row in rows) == 2)
            for _ in range(2):
                shown.press("C-c")
                time.sleep(1)
    return "\n".join(rows).rstrip() + "\n"


def put(page: str, width: int, height: int, rows: str) -> str:
    """The page with this picture in place of the one of the same size."""
    block = f"<!-- {width}x{height} -->\n```text\n{rows}```\n"
    found, n = re.subn(rf"<!-- {width}x{height} -->\n```text\n.*?^```\n", lambda _: block, page, flags=re.M | re.S)
    if n != 1:
        raise ValueError(f"{PAGE} has no place for {width}x{height}")
    return found


def shown_at(page: str, width: int, height: int) -> list[str]:
    """The rows of the picture of this size."""
    found = re.search(rf"<!-- {width}x{height} -->\n```text\n(.*?)^```\n", page, flags=re.M | re.S)
    return found[1].rstrip("\n").split("\n") if found else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the pictures into docs/terminal.md")
    write = parser.parse_args().write
    for width, height in SIZES:
        rows = picture(width, height)
        print(rows)
        if write:
            PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), width, height, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
