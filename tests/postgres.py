"""A PostgreSQL server of one's own, from the programs that Debian packages as `postgresql`, in one folder and on a socket there."""

import os
import shutil
import subprocess
from pathlib import Path

PROGRAMS = ("initdb", "pg_ctl", "postgres")
LATEST = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)


def program(name: str) -> str | None:
    return shutil.which(name) or next((str(path / name) for path in LATEST if (path / name).exists()), None)


def missing() -> str:
    """Why there can be no server here; empty if there can."""
    lacking = [name for name in PROGRAMS if program(name) is None]
    if lacking:
        return f"{', '.join(lacking)} of Debian's package postgresql are not installed"
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL does not run as root, and there is no setpriv"
    return ""


class Server:
    """`home` must be short enough for a socket; it is given to the user that the server runs as."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._as = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
        if self._as:
            shutil.chown(home, 65534, 65534)
        self._run("initdb", "--auth=trust", "--username=us", "--encoding=UTF8", "--locale=C", "--no-sync")

    @property
    def address(self) -> str:
        return f"postgresql://us@/postgres?host={self.home}"

    def start(self) -> None:
        self._run("pg_ctl", "--wait", "--log", str(self.home / "log"), "--options", f"-k {self.home} -h ''", "start")

    def stop(self, how: str = "immediate") -> None:
        """`immediate`: as if the power failed."""
        self._run("pg_ctl", "--wait", "--mode", how, "stop")

    def _run(self, name: str, *arguments: str) -> None:
        found = program(name)
        assert found
        command = [*self._as, found, "--pgdata", str(self.home / "data"), *arguments]
        done = subprocess.run(command, cwd=self.home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
        assert done.returncode == 0, f"{name} {arguments} ended with {done.returncode}"
