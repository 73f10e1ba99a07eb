"""
A live study under load: assignments a second over loopback, how long they take, and what a kill -9 in the middle loses.

    python -m benchmarks.live_load --write

Needs the extra `live`. The server is a process of its own and so is what asks it. Requests leave by the clock, from 32 addresses and
whether or not earlier ones were answered; each one's time counts from when it was due, so a server that stalls cannot hide it. Where `wrk`
is installed it asks too, as fast as it gets answers, which is the most that the server does.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

from msgspec import Struct

from autoresearch.live.desk import Desk, Material
from autoresearch.live.door import Settings
from autoresearch.live.plan import unit
from autoresearch.live.records import Exposure, Plan
from autoresearch.live.settings import Live
from autoresearch.live.variables import key, parse
from benchmarks.live_stand_in import Store
from benchmarks.tables import markdown, report

SALT = b"load"
ADDRESSES, CONNECTIONS = 32, 64
GRACE_S = 5.0  # for the last answers
VARIABLES = "\n".join(
    f'[v{n}]\ndefault = "a"\n[v{n}.levels]\n'
    + "".join(f'{level} = "Words {level} of variable v{n}"\n' for level in "abcd")
    for n in range(4)
)
LUA = """
local n, word = 0, tostring({}):sub(8)
function request()
  n = n + 1
  return wrk.format("POST", "/decide", {["content-type"] = "application/json"}, '{"id":"wrk' .. word .. n .. '"}')
end
"""


class Load(Struct, frozen=True):
    """What was asked and answered; `times` in seconds, of answers that say recorded."""

    asked: int
    times: list[float]
    refused: int
    lost: int
    acknowledged: list[str]


# -- the server ------------------------------------------------------------------------------------------


def serve(folder: Path, port: int, each_second: float) -> None:
    from autoresearch.live.serve import serving

    variables = parse(VARIABLES)
    store = Store(folder / "load.db")
    if store.plan() is None:
        cells = {key(cell): 1 / 256 for cell in variables.cells()}
        store.add_plan(Plan(1, time.time(), 0, 1, key(variables.default), 0.1, {"": cells}))
    desk = Desk("load", Live("click", segments=["device"]), SALT, store, lambda: Material(variables))
    with serving(desk, Settings(port=port, each_second=each_second, burst=int(each_second * 6))) as served:
        print(served.port, flush=True)
        served.wait()


@contextlib.contextmanager
def server(folder: Path, port: int = 0, each_second: float = 50.0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "benchmarks.live_load", "--serve", str(folder), str(port), str(each_second)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        assert line, "the server did not start"
        try:
            yield process, int(line)
        finally:
            process.kill()


# -- who asks --------------------------------------------------------------------------------------------


class Line(asyncio.Protocol):
    """One connection: a request at a time; what is answered goes to `told`."""

    def __init__(self, asker: "Asker", number: int) -> None:
        self.asker, self.number, self.buffer = asker, number, bytearray()
        self.person, self.due = "", 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.asker.free.append(self)
        self.asker.send()

    def ask(self, person: str, due: float) -> None:
        self.person, self.due = person, due
        body = b'{"id":"%s"}' % person.encode()
        head = (
            b"POST /decide HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        )
        assert self.transport
        self.transport.write(head % len(body) + body)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, gap, body = self.buffer.partition(b"\r\n\r\n")
        if not gap:
            return
        found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if found is None or len(body) < int(found[1]):
            return
        self.asker.told(self, head.startswith(b"HTTP/1.1 200") and b'"recorded":true' in body)
        self.buffer.clear()
        self.person = ""
        self.asker.free.append(self)
        self.asker.send()

    def connection_lost(self, _: Exception | None) -> None:
        self.asker.gone(self)


class Asker:
    """Asks `rate` times a second for so long, of a server that may be killed meanwhile."""

    def __init__(self, port: int, rate: int, seconds: float) -> None:
        self.port, self.rate, self.count = port, rate, int(rate * seconds)
        self.free: list[Line] = []
        self.due: collections.deque[tuple[str, float]] = collections.deque()
        self.times: list[float] = []
        self.acknowledged: list[str] = []
        self.refused = self.lost = 0
        self.ending = False
        self.tasks: set[asyncio.Task[None]] = set()

    def send(self) -> None:
        while self.due and self.free:
            self.free.pop().ask(*self.due.popleft())

    def told(self, line: Line, well: bool) -> None:
        if well:
            self.times.append(time.perf_counter() - line.due)
            self.acknowledged.append(line.person)
        else:
            self.refused += 1

    def gone(self, line: Line) -> None:
        self.lost += bool(line.person)
        self.free = [other for other in self.free if other is not line]
        if not self.ending:
            self.connect(line.number)

    def connect(self, number: int) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(number))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _connect(self, number: int) -> None:
        address = (f"127.0.0.{2 + number % ADDRESSES}", 0)
        while not self.ending:
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().create_connection(
                    lambda: Line(self, number), "127.0.0.1", self.port, local_addr=address
                )
                return
            await asyncio.sleep(0.05)

    async def run(self) -> Load:
        for number in range(CONNECTIONS):
            self.connect(number)
        await asyncio.sleep(0.5)
        began, word = time.perf_counter(), os.urandom(6).hex()
        for number in range(self.count):
            due = began + number / self.rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            self.due.append((f"{word}-{number}", due))
            self.send()
        until = time.perf_counter() + GRACE_S
        while len(self.times) + self.refused + self.lost < self.count and time.perf_counter() < until:
            await asyncio.sleep(0.05)
        self.ending = True
        unsent = self.count - len(self.times) - self.refused
        return Load(self.count, self.times, self.refused, unsent, self.acknowledged)


def asked(port: int, rate: int, seconds: float, to: Path) -> None:
    import msgspec

    to.write_bytes(msgspec.json.encode(asyncio.run(Asker(port, rate, seconds).run())))


def load(folder: Path, rate: int, seconds: float, kill_at: float | None) -> tuple[Load, int, int]:
    """What the asker saw; how many of the acknowledged are not in the store; how many records it holds."""
    import msgspec

    to, port = folder / "asked.json", free_port()
    command = [sys.executable, "-m", "benchmarks.live_load", "--ask", str(port), str(rate), str(seconds), str(to)]
    with server(folder, port) as (process, _), subprocess.Popen(command) as asking:
        if kill_at is None:
            asking.wait()
        else:
            time.sleep(kill_at)
            process.send_signal(signal.SIGKILL)
            process.wait()
            with server(folder, port):
                asking.wait()
    seen = msgspec.json.decode(to.read_bytes(), type=Load)
    store = Store(folder / "load.db")
    held = {exposure.unit for exposure in store.of(Exposure)}
    missing = sum(unit(SALT, person) not in held for person in seen.acknowledged)
    return seen, missing, len(held)


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


def most(folder: Path, seconds: int) -> list[str] | None:
    """wrk's row: as many as the server answers."""
    if not shutil.which("wrk"):
        return None
    (folder / "ask.lua").write_text(LUA)
    with server(folder, each_second=1e6) as (_, port):
        address = f"http://127.0.0.1:{port}"
        command = ["wrk", "-t1", "-c32", f"-d{seconds}s", "--latency", "-s", str(folder / "ask.lua"), address]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s*([\d.]+)", told)
    middle, last = (re.search(rf"{at}%\s+([\d.]+\w+)", told) for at in (50, 99))
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    assert rate
    assert middle
    assert last
    return [
        "wrk, closed loop",
        f"{float(rate[1]):,.0f} a second",
        middle[1],
        last[1],
        "-",
        wrong[1] if wrong else "0",
        "-",
    ]


def row(name: str, seen: Load, missing: int, seconds: float) -> list[str]:
    cuts = quantiles(seen.times, n=1000)
    figures = [f"{cuts[at] * 1000:.1f} ms" for at in (499, 989)] + [f"{max(seen.times) * 1000:.0f} ms"]
    rate = f"{len(seen.times) / seconds:,.0f} a second"
    return [name, rate, *figures, f"{seen.refused + seen.lost}", f"{missing} of {len(seen.acknowledged):,}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", nargs=3, metavar=("FOLDER", "PORT", "EACH_SECOND"))
    parser.add_argument("--ask", nargs=4, metavar=("PORT", "RATE", "SECONDS", "TO"))
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    if args.serve:
        return serve(Path(args.serve[0]), int(args.serve[1]), float(args.serve[2]))
    if args.ask:
        return asked(int(args.ask[0]), int(args.ask[1]), float(args.ask[2]), Path(args.ask[3]))
    rows = []
    for name, kill_at in (("steady", None), ("kill -9 in the middle", args.seconds / 2)):
        with tempfile.TemporaryDirectory() as folder:
            seen, missing, held = load(Path(folder), args.rate, args.seconds, kill_at)
            rows.append(row(name, seen, missing, args.seconds))
            print(json.dumps(rows[-1]), f"{held:,} exposures in the store", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows += [found] if (found := most(Path(folder), max(2, args.seconds // 6))) else []
    header = ["load", "answered", "p50", "p99", "longest", "not answered", "acknowledged and not in the store"]
    about = (
        f"POST /decide for a new visitor each time, {args.rate:,} a second for {args.seconds} s, {CONNECTIONS} connections from "
        f"{ADDRESSES} addresses, four variables of four levels. An answer is sent when the exposure is on the disk; its time counts from when "
        "the request was due. The server was killed with SIGKILL half-way in the second row, and started again on the same store.\n\n"
    )
    report("live_load", "Live study under load", about + markdown(header, rows), args.write)
    return None


if __name__ == "__main__":
    main()
