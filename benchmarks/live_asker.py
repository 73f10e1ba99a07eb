"""
Visitors for a live study's server: so many a second by the clock, whether or not earlier ones were answered.

    python -m benchmarks.live_asker PORT RATE SECONDS AGAIN TO

A process of its own, beside the server. Each visitor's time counts from when it was due, so a server that stalls cannot hide it. One
in ten reports an outcome when it was answered. At the end AGAIN of those who were told that they are recorded ask once more.
"""

import asyncio
import collections
import contextlib
import os
import random
import sys
import time
from pathlib import Path
from typing import cast

import msgspec
from msgspec import Struct

ADDRESSES, CONNECTIONS = 32, 64  # 50 a second from each address are answered
OUTCOMES = 10  # one visitor of so many reports one
KIND = "click"
GRACE_S = 30.0  # for the last answers
SETTLE_S = 1.0  # before the first
DECIDE, EVENT, AGAIN = "/decide", "/event", "/decide again"


class Asked(Struct, frozen=True):
    """
    What was asked and answered. `times` are seconds from when it was due to an answer that says recorded; `cells` what each person was told that
    is recorded, `outcomes` whose outcome was acknowledged; `refused` and `lost` are visitors and outcomes that got another answer, or
    none; `took_s` is from the first request to the last good answer, `silent_s` the longest time without one; of `again` who asked
    once more, `changed` were told another cell.
    """

    asked: int
    times: list[float]
    cells: dict[str, str]
    outcomes: list[str]
    refused: int
    lost: int
    took_s: float
    silent_s: float
    again: int
    changed: int


class Decided(Struct):
    cell: str = ""
    recorded: bool = False


class Request(Struct, frozen=True):
    what: str
    person: str
    due: float

    @property
    def sent(self) -> bytes:
        more = f',"kind":"{KIND}"' if self.what == EVENT else ""
        body = f'{{"id":"{self.person}"{more}}}'.encode()
        path = self.what.partition(" ")[0]
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body


class Line(asyncio.Protocol):
    """One connection: a request at a time."""

    def __init__(self, asker: "Asker", number: int) -> None:
        self.asker, self.number, self.buffer = asker, number, bytearray()
        self.request: Request | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.asker.free.append(self)
        self.asker.send()

    def ask(self, request: Request) -> None:
        self.request = request
        assert self.transport
        self.transport.write(request.sent)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, gap, body = bytes(self.buffer).partition(b"\r\n\r\n")
        at = head.lower().find(b"\r\ncontent-length:")
        if not gap or len(body) < int(head[at + 17 :].partition(b"\r\n")[0]):
            return
        request, self.request = self.request, None
        assert request
        self.asker.told(request, body if head.startswith(b"HTTP/1.1 200") else b"{}")
        self.buffer.clear()
        self.asker.free.append(self)
        self.asker.send()

    def connection_lost(self, _: Exception | None) -> None:
        self.asker.gone(self)


class Asker:
    """Of a server that may be killed meanwhile, and started again on the same port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.free: collections.deque[Line] = (
            collections.deque()
        )  # the longest free first: all addresses have their turn
        self.due: collections.deque[Request] = collections.deque()
        self.times: list[float] = []
        self.cells: dict[str, str] = {}
        self.outcomes: list[str] = []
        self.asked = self.refused = self.lost = self.again = self.changed = 0
        self.last, self.silent = 0.0, 0.0
        self.ending = False
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """How many are not answered yet."""
        done = len(self.times) + len(self.outcomes) + self.refused + self.lost + self.again
        return self.asked - done

    def put(self, what: str, person: str, due: float) -> None:
        self.asked += 1
        self.due.append(Request(what, person, due))
        self.send()

    def send(self) -> None:
        while self.due and self.free:
            self.free.popleft().ask(self.due.popleft())

    def told(self, request: Request, body: bytes) -> None:
        now, said = time.perf_counter(), msgspec.json.decode(body, type=Decided)
        if request.what == AGAIN:
            self.again += 1
            self.changed += said.cell != self.cells[request.person]
        elif not said.recorded:
            self.refused += 1
        elif request.what == EVENT:
            self.outcomes.append(request.person)
        else:
            self.times.append(now - request.due)
            self.cells[request.person] = said.cell
            self.silent, self.last = max(self.silent, now - self.last), now
            if len(self.times) % OUTCOMES == 0:
                self.put(EVENT, request.person, now)

    def gone(self, line: Line) -> None:
        self.lost += line.request is not None
        self.free = collections.deque(other for other in self.free if other is not line)
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

    async def run(self, rate: int, seconds: float, again: int) -> Asked:
        for number in range(CONNECTIONS):
            self.connect(number)
        await asyncio.sleep(SETTLE_S)
        word = os.urandom(6).hex()
        began = self.last = time.perf_counter()
        await self._each([f"{word}-{n}" for n in range(int(rate * seconds))], DECIDE, rate)
        ended = time.perf_counter()
        await self._rest()
        self.silent = max(self.silent, ended - self.last)
        asked, lost, took = self.asked, self.lost + self.open, self.last - began
        known = random.Random(1).sample(sorted(self.cells), min(again, len(self.cells)))
        await self._each(known, AGAIN, rate)
        await self._rest()
        self.ending = True
        told = self.times, self.cells, self.outcomes
        return Asked(asked, *told, self.refused, lost, took, self.silent, self.again, self.changed)

    async def _each(self, people: list[str], what: str, rate: int) -> None:
        began = time.perf_counter()
        for number, person in enumerate(people):
            due = began + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            self.put(what, person, due)

    async def _rest(self) -> None:
        until = time.perf_counter() + GRACE_S
        while self.open and time.perf_counter() < until:
            await asyncio.sleep(0.05)


def main() -> None:
    import uvloop

    port, rate, seconds, again, to = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(Asker(int(port)).run(int(rate), float(seconds), int(again)))
    Path(to).write_bytes(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
