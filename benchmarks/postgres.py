"""
A PostgreSQL server of one's own, from the programs that Debian packages as `postgresql`, in one folder and on a socket there: for
tests and benchmarks.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("initdb", "pg_isready", "postgres")
STARTED_S = 60.0
LATEST = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)


def program(name: str) -> str | None:
    return shutil.which(name) or next((str(path / name) for path in LATEST if (path / name).exists()), None)


def missing() -> str:
    """Why there can be no server here; empty if there can."""
    lacking = [name for name in PROGRAMS if program(name) is None]
    if lacking:
        return f"{', '.join(lacking)} of Debian's package postgresql are not installed"
    return "" if shutil.which("setpriv") else "there is no setpriv, with which a server ends when its test does"


class Server:
    """`home` must be short enough for a socket; it is given to the user that the server runs as."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._as = ["setpriv", "--pdeathsig", "QUIT"]
        if os.getuid() == 0:  # as whom it does not run
            self._as += ["--reuid=65534", "--regid=65534", "--clear-groups"]
            shutil.chown(home, 65534, 65534)
        self._running: subprocess.Popen[bytes] | None = None
        made = self._begin("initdb", "--auth=trust", "--username=us", "--encoding=UTF8", "--locale=C", "--no-sync")
        assert made.wait() == 0, (home / "log").read_text()

    @property
    def address(self) -> str:
        return f"postgresql://us@/postgres?host={self.home}"

    @property
    def pid(self) -> int:
        """The first of its processes."""
        assert self._running
        return self._running.pid

    def start(self) -> None:
        """
        Until it answers. What a killed one left, its last processes and its memory, is waited for.

        Raises:
            TimeoutError: it does not; with what it said.
        """
        until = time.monotonic() + STARTED_S
        ready = [str(program("pg_isready")), "--quiet", "--host", str(self.home)]
        self._running = self._begin("postgres", "-k", str(self.home), "-h", "")
        while subprocess.run(ready, check=False).returncode:
            if time.monotonic() > until:
                raise TimeoutError((self.home / "log").read_text())
            if self._running.poll() is not None:
                self._running = self._begin("postgres", "-k", str(self.home), "-h", "")
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, as if the power failed."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """SIGKILL to its first process; the others end when they see it."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        assert self._running
        self._running.send_signal(how)
        self._running.wait()

    def _begin(self, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [*self._as, str(program(name)), *arguments, "-D", str(self.home / "data")]
        with (self.home / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@contextmanager
def running() -> Iterator[Server]:
    """One that ends with the block."""
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as home:
        made = Server(Path(home))
        made.start()
        try:
            yield made
        finally:
            made.stop()
