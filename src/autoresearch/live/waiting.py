"""
Requests that wait for the store wait together: what came in while one commit was made goes into the next one.

The store is used by one thread, in order, so that two requests of one visitor see each other; and one sync of the disk serves
all who wait for it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from autoresearch.live.records import AnyRecord, Exposure, Fate, Plan

MOST_AT_ONCE = 512  # requests in a commit
MOST_WAITING = 4096  # requests; more are told to come again


_T = TypeVar("_T")


class Store(Protocol):
    """What the server needs of a store; its methods are called from one thread."""

    def enter(self, records: Sequence[AnyRecord], /) -> Sequence[Fate]:
        """
        Record these, in one transaction, and return what became of each; those whose source and id are known change nothing. What was returned from is
        on the disk.

        Raises:
            ValueError: a record cannot be kept; none of these were.
        """
        ...

    def firsts(self, units: Sequence[str], /) -> Mapping[str, Exposure]:
        """The first exposure of each of these units that has one."""
        ...

    def plan(self) -> Plan | None:
        """The newest plan; None before there is one."""
        ...

    def suppressed(self, units: Sequence[str], /) -> Set[str]:
        """Those of these units that are not to be written to."""
        ...

    def ignore(self, source: str, kinds: Mapping[str, int], /) -> None:
        """Count events that mean nothing here."""
        ...

    def check(self) -> str:
        """Why nothing can be written just now, in words; "" where it can. Leaves nothing behind."""
        ...


class Crowded(Exception):
    """More requests wait for the store than will be answered in time."""


class Job:
    """
    One request's business: `make` is told the first exposure of `unit` and returns what to record. It is called in the
    store's thread. Afterwards `first` is the exposure that is in the store, `new` what was recorded of what was `told`, and `refused` whether any
    of it was not taken, since its unit asked to be forgotten.
    """

    def __init__(self, unit: str | None, make: Callable[[Exposure | None], Sequence[AnyRecord]]) -> None:
        self.unit, self.make = unit, make
        self.first: Exposure | None = None
        self.told: Sequence[AnyRecord] = ()
        self.new: Sequence[AnyRecord] = ()
        self.refused = False
        self.error: ValueError | None = None

    def end(self, fates: Sequence[Fate]) -> None:
        """Note what became of what it told."""
        self.new = [record for record, fate in zip(self.told, fates, strict=True) if fate is Fate.NEW]
        self.refused = Fate.REFUSED in fates


def settle(store: Store, jobs: Sequence[Job]) -> None:
    """
    Do these in order, with one read and one write; each is left knowing its unit's first exposure and what it recorded. Where a record
    cannot be kept each is written alone, so that nobody spoils it for the rest.
    """
    units = list({job.unit: None for job in jobs if job.unit is not None})
    firsts = dict(store.firsts(units)) if units else {}
    records: list[AnyRecord] = []
    for job in jobs:
        job.first = firsts.get(job.unit) if job.unit else None
        job.told = job.make(job.first)
        for record in job.told:
            if isinstance(record, Exposure) and record.unit not in firsts:
                firsts[record.unit] = record
        records += job.told
        job.first = job.first or (firsts.get(job.unit) if job.unit else None)
    try:
        fates = iter(store.enter(records) if records else ())
        for job in jobs:
            job.end([next(fates) for _ in job.told])
    except ValueError:
        for job in jobs:
            try:
                job.end(store.enter(job.told) if job.told else ())
            except ValueError as error:
                job.error = error
    if any(job.refused for job in jobs):
        refused = {record.unit for job in jobs if job.refused for record in job.told if isinstance(record, Exposure)}
        for job in jobs:
            if job.first is not None and job.first.unit in refused:
                job.first = None


class Waiting:
    """The requests that wait for one store. `run` is a task that lasts as long as the server."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._waiting: list[tuple[Job, asyncio.Future[None]]] = []
        self._more = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    async def do(self, job: Job) -> Job:
        """
        Wait until this is durable.

        Raises:
            Crowded: too many wait.
            Exception: whatever the store raised; nothing was acknowledged.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise Crowded
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((job, done))
        self._more.set()
        await done
        return job

    async def ask(self, what: Callable[[], _T]) -> _T:
        """Something else of the store, in its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, what)

    async def run(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            await self.drain()

    async def drain(self) -> None:
        """Until nobody waits."""
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            failed: Exception | None = None
            try:
                await self.ask(lambda jobs=[job for job, _ in batch]: settle(self.store, jobs))  # type: ignore[misc]
            except Exception as error:  # the store's own; told to each who waits for it
                failed = error
            for job, done in batch:
                if done.done():  # whoever asked has gone
                    continue
                wrong = failed or job.error
                done.set_exception(wrong) if wrong else done.set_result(None)

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            await self.drain()
        self._thread.shutdown(wait=True)
