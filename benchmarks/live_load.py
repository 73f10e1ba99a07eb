"""
A live study under load: assignments a second over loopback, how long they take, and what a kill -9 in the middle loses.

    python -m benchmarks.live_load --write

The landing page of the templates, served by `autoresearch live serve` with its store in SQLite, and in PostgreSQL: at the address that
`--postgres` names, or in a server of its own where Debian's package postgresql is installed. Needs the extras `live` and `postgres`. The
visitors are a process of their own (live_asker.py). Where `wrk` is installed it asks too, as fast as it gets answers.
"""

import argparse
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

import msgspec
from msgspec import Struct

from autoresearch import starter
from autoresearch.campaign import house
from autoresearch.git import git
from autoresearch.live.plan import unit
from autoresearch.workspace import HOME
from benchmarks import live_held, postgres
from benchmarks.live_asker import ADDRESSES, CONNECTIONS, OUTCOMES, SETTLE_S, Asked
from benchmarks.tables import markdown, report

AGAIN = 2000  # of those who were told that they are recorded
START_S = 60.0
STORE = "LOAD_STORE"
# Behind a proxy on this machine, visitors of many addresses: each has its own share of answers.
LUA = """
local n, word = 0, tostring({}):sub(8)
function request()
  n = n + 1
  return wrk.format("POST", "/decide", {["content-type"] = "application/json",
    ["x-forwarded-for"] = "10.0." .. n % 200 .. "." .. n % 251}, '{"id":"wrk' .. word .. n .. '"}')
end
"""


class Kept(Struct, frozen=True):
    """What the store holds of those who were acknowledged: exposures and outcomes that are missing, and who was told another cell."""

    missing: int
    without_outcome: int
    other: int


class Study:
    """The landing page, never served so far. `address`: of its store, or "" for a file beside it."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.port = folder / f"load-{os.urandom(4).hex()}", free_port()
        self.store = address or f"sqlite:///{self.folder}.db"
        self.answers, self.said = self.folder.with_suffix(".json"), self.folder.with_suffix(".said")
        starter.make(self.folder, "landing-page", own=True)
        path = self.folder / "study.toml"
        text = path.read_text().replace("[live]\n", f'[live]\nstore = "${STORE}"\n', 1)
        path.write_text(text.replace('name = "landing-page"', f'name = "{self.folder.name}"', 1))
        git(self.folder, "commit", "--quiet", "--all", "--message", "Its own store")

    @contextlib.contextmanager
    def served(self) -> Iterator[subprocess.Popen[bytes]]:
        """By the command that a person types."""
        command = [sys.executable, "-m", "autoresearch", "live", "serve", "-C", str(self.folder)]
        command += ["--port", str(self.port), "--proxy", "127.0.0.1"]
        named = os.environ | {STORE: self.store}
        with self.said.open("ab") as out, subprocess.Popen(command, stdout=out, stderr=out, env=named) as process:
            try:
                until = time.monotonic() + START_S
                while not self._answers():
                    if process.poll() is not None or time.monotonic() > until:
                        raise RuntimeError(f"the server did not start:\n{self.said.read_text()}")
                    time.sleep(0.02)
                yield process
            finally:
                process.kill()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
            return True
        return False

    @contextlib.contextmanager
    def asked(self, rate: int, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
        numbers = [str(self.port), str(rate), str(seconds), str(AGAIN), str(self.answers)]
        with subprocess.Popen([sys.executable, "-m", "benchmarks.live_asker", *numbers]) as process:
            try:
                time.sleep(SETTLE_S)
                yield process
            finally:
                process.kill()

    def kept(self, seen: Asked) -> Kept:
        """The store, opened anew, held against what the visitors were told."""
        salt = (house.folder(self.folder / HOME) / house.SALT).read_bytes()
        firsts = live_held.firsts(self.store, self.folder.name)
        did = {one.unit for one in live_held.outcomes(self.store, self.folder.name)}
        found = [(told, firsts.get(unit(salt, person))) for person, told in seen.cells.items()]
        without = sum(unit(salt, person) not in did for person in seen.outcomes)
        other = sum(first is not None and first.cell != told for told, first in found)
        return Kept(sum(first is None for _, first in found), without, other)


def under(study: Study, rate: int, seconds: float, kill: str, own: postgres.Server | None) -> tuple[Asked, float]:
    """What the visitors saw, and the processor seconds of a server that lived as long. `kill` it, or its database, half-way."""
    spent = 0.0
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(study.served())
        asking = stack.enter_context(study.asked(rate, seconds))
        before = processor_s(server.pid)
        time.sleep(seconds / 2)
        if kill == "the server":
            server.kill()
            server.wait()
            stack.enter_context(study.served())
        elif kill:
            assert own
            own.kill()
            own.start()
        if not kill:
            time.sleep(seconds / 2)
            spent = processor_s(server.pid) - before
        asking.wait()
        server_ended = not kill and server.poll() is not None
    assert not server_ended, study.said.read_text()
    return msgspec.json.decode(study.answers.read_bytes(), type=Asked), spent


def processor_s(pid: int) -> float:
    """Seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


def most(study: Study, seconds: int) -> list[str]:
    """wrk's row: as many as the server answers."""
    script = study.folder.with_suffix(".lua")
    script.write_text(LUA)
    with study.served():
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script)]
        command.append(f"http://127.0.0.1:{study.port}")
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [
        re.search(pattern, told) for pattern in (r"\n\s+50%\s+(\S+)", r"\n\s+99%\s+(\S+)", r"Latency +\S+ +\S+ +(\S+)")
    ]
    rate, wrong = re.search(r"Requests/sec:\s*([\d.]+)", told), re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    assert rate, told
    middle, last, longest = (one[1] if one else "?" for one in found)
    return [f"{float(rate[1]):,.0f}", wrong[1] if wrong else "0", "", middle, last, "", longest, ""]


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.1f} ms"


def steady(seen: Asked, spent: float, seconds: float) -> list[str]:
    cuts = quantiles(seen.times, n=1000)
    times = [milliseconds(time) for time in (cuts[499], cuts[989], cuts[998], max(seen.times))]
    n = len(seen.times)
    refused = f"{seen.refused + seen.lost:,}"
    return [
        f"{n / seen.took_s:,.0f}",
        refused,
        f"{n / round(n + seen.refused + seen.lost):.2%}",
        *times,
        f"{spent / seconds:.0%}",
    ]


def after(seen: Asked, kept: Kept) -> list[str]:
    missing = [f"{kept.missing} of {len(seen.cells):,}", f"{kept.without_outcome} of {len(seen.outcomes):,}"]
    changed = [f"{kept.other} of {len(seen.cells):,}", f"{seen.changed} of {seen.again:,}"]
    return [*missing, *changed, f"{seen.refused:,}", f"{seen.lost:,}", f"{seen.silent_s:.1f} s"]


STEADY = [
    "store",
    "load",
    "recorded a second",
    "not recorded",
    "share recorded",
    "p50",
    "p99",
    "p99.9",
    "longest",
    "server, of a core",
]
AFTER = [
    "store",
    "killed with SIGKILL",
    "exposures missing",
    "outcomes missing",
    "another cell in the store",
    "another cell when asked again",
]
AFTER += ["refused", "cut off", "longest silence"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--postgres", help="address of a database that may be written to")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    calm, torn = list[list[str]](), list[list[str]]()
    for name, own, address in stores(args.postgres, args.only):
        with tempfile.TemporaryDirectory() as folder, own as server:
            for kill in ("", "the server", *(["PostgreSQL"] if server else [])):
                study = Study(Path(folder), server.address if server else address)
                seen, spent = under(study, args.rate, args.seconds, kill, server)
                kept = study.kept(seen)
                torn.append([name, kill or "nothing", *after(seen, kept)])
                print(torn[-1], flush=True)
                if not kill:
                    calm.append([name, f"{args.rate:,} a second", *steady(seen, spent, args.seconds)])
                    print(calm[-1], flush=True)
            if shutil.which("wrk"):
                study = Study(Path(folder), server.address if server else address)
                calm.append([name, "wrk, as fast as it is answered", *most(study, max(2, args.seconds // 6))])
                print(calm[-1], flush=True)
    report("live_load", "Live study under load", told(args.rate, args.seconds, calm, torn), args.write)


def stores(
    named: str | None, only: str | None
) -> Iterator[tuple[str, contextlib.AbstractContextManager[postgres.Server | None], str]]:
    """Each store's name, a server of PostgreSQL that we may kill, if there is one, and the address otherwise."""
    if only != "postgresql":
        yield "SQLite", contextlib.nullcontext(), ""
    if only == "sqlite":
        return
    if named:
        yield "PostgreSQL", contextlib.nullcontext(), named
    elif why := postgres.missing():
        print(f"Without PostgreSQL: {why}.")
    else:
        yield "PostgreSQL", postgres.running(), ""


def told(rate: int, seconds: int, calm: list[list[str]], torn: list[list[str]]) -> str:
    return (
        f"`autoresearch live serve` with the template `landing-page`, and POST /decide for a new visitor each time: {rate:,} a second for {seconds} s, {CONNECTIONS} "
        f"connections from {ADDRESSES} addresses,\nand an outcome of every {OUTCOMES}th of them beside. An answer is sent when the exposure is on the disk; its time "
        f"counts from when the request was due. Visitors and server share\nthe machine.\n\n{markdown(STEADY, calm)}\n"
        "Half-way something was killed, and started again at once. Whatever was acknowledged, before or after, is then looked for in the store, and "
        f"{AGAIN:,} of the visitors ask again,\nwhich the restarted server answers under a new plan. *Cut off* are those who were being answered.\n\n"
        f"{markdown(AFTER, torn)}"
    )


if __name__ == "__main__":
    main()
