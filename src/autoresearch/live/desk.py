"""
Decides what each visitor is shown, and sees that it is recorded: all of the server but HTTP.

A visitor's first exposure in the store says for ever what he is shown; before there is one, the plan does. Whoever asks not to be
followed is shown the default, under no id.
"""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec
from msgspec import Struct

from autoresearch.errors import AutoresearchError
from autoresearch.live import proof, visitors
from autoresearch.live.brand import Brand
from autoresearch.live.metrics import Counts
from autoresearch.live.plan import Draw, unit
from autoresearch.live.records import AnyRecord, Exposure, Outcome, Plan
from autoresearch.live.render import Template, forbidden, shown
from autoresearch.live.settings import Live
from autoresearch.live.variables import MOST_CELLS, Variables, cell_of, key
from autoresearch.live.waiting import Crowded, Job, Store, Waiting
from autoresearch.live.wire import Health

REFRESH_S = 5.0  # between two looks at the plan and the files
PROOF_S = 6 * 3600.0  # a page that lay open longer is not counted
MOST_KINDS, OTHERS = 100, "(others)"  # of outcomes that are counted apart


@runtime_checkable
class Refused(Protocol):
    """What a webhook's reader says of a delivery that it does not take: a status of HTTP, and words that may be sent back."""

    @property
    def status(self) -> int: ...
    @property
    def why(self) -> str: ...


class Delivered(Protocol):
    """What a delivery says, and how many events of which kinds mean nothing here."""

    @property
    def records(self) -> Sequence[AnyRecord]: ...
    @property
    def ignored(self) -> Mapping[str, int]: ...


# Raw body, headers by their names in lower case, seconds since 1970, and what the address ends with, or "".
Hook = Callable[[bytes, Mapping[str, str], float, str], Delivered | Refused]


class Material(Struct, frozen=True):
    """
    What can be shown: the study's files as they are now. Without a template there is no page, only decisions. A cell that the rules forbid
    is not shown, whatever the plan says; the defaults are the person's own. `picture`: a name under static/ -> the file and its kind.
    """

    variables: Variables
    template: Template | None = None
    rules: Brand | None = None
    picture: Callable[[str], tuple[bytes, str] | None] = lambda name: None


class Shown(Struct, frozen=True):
    """
    What a visitor is shown. `record`: it was not recorded before, and is to be once it was seen. `known`: a first exposure of theirs is in the
    store.
    """

    cell: str
    texts: dict[str, str]
    plan: int
    record: Exposure | None = None
    known: bool = False


class Desk:
    """
    One study's. `material` reads its files and is asked again every few seconds; while it raises, what was read last is shown.

    Raises:
        AutoresearchError: what `material` raises the first time.
    """

    def __init__(
        self,
        study: str,
        live: Live,
        salt: bytes,
        store: Store,
        material: Callable[[], Material],
        hooks: Mapping[str, Hook] | None = None,
        clock: Callable[[], float] = time.time,
        refresh_s: float = REFRESH_S,
    ) -> None:
        self.study, self.live, self.salt, self.store, self.clock = study, live, salt, store, clock
        self.hooks = dict(hooks or {})
        self.kinds = tuple(dict.fromkeys((live.outcome, *(guard.name for guard in live.bounds))))
        self.counts = Counts()
        self.material, self._read = material(), material
        self.refresh_s, self.trouble = refresh_s, ""
        self.held_back, self._checked = "", (float("-inf"), "")
        self._draw: Draw | None = None
        self._texts: dict[str, dict[str, str] | None] = {}
        self._waiting: Waiting | None = None

    # -- as long as the server runs --------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """With the tasks that the server needs; the store is left with all written that was taken."""
        self._waiting = Waiting(self.store)
        await self.refresh()
        tasks = [asyncio.create_task(self._waiting.run()), asyncio.create_task(self._follow())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._waiting.close()

    @property
    def plan(self) -> Plan | None:
        return self._draw.plan if self._draw else None

    @property
    def waiting(self) -> Waiting:
        assert self._waiting is not None, "the server's lifespan opens the desk"
        return self._waiting

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self.refresh_s)
            await self.refresh()

    async def refresh(self) -> None:
        """Look at the plan and the files again."""
        try:
            found = await self.waiting.ask(self.store.plan)
            if found != self.plan:
                self._draw = Draw(found) if found else None
        except Exception:  # the database's own, of whichever kind: visitors go on seeing the plan that was read last
            self.counts.add("store_failures_total")
        try:
            material, self.trouble = await asyncio.to_thread(self._read), ""
            if (material.variables, material.rules) != (self.material.variables, self.material.rules):
                self._texts, self.held_back = {}, ""
            self.material = material
        except AutoresearchError as error:
            self.trouble = str(error)

    # -- what is shown ---------------------------------------------------------------------------------

    def default(self) -> Shown:
        """What those see of whom nothing is recorded."""
        variables = self.material.variables
        return Shown(key(variables.default), shown(variables, variables.default), self.plan.number if self.plan else 0)

    def _text(self, cell: str) -> dict[str, str] | None:
        """A cell's texts; None where a level or a variable is not there any more, or the rules forbid it."""
        if cell not in self._texts:
            if len(self._texts) > MOST_CELLS:
                self._texts = {}
            self._texts[cell] = self._make(cell)
        return self._texts[cell]

    def _make(self, cell: str) -> dict[str, str] | None:
        variables, template, rules = self.material.variables, self.material.template, self.material.rules
        try:
            levels = cell_of(cell)
            if levels.keys() != variables.variables.keys():
                return None
            texts = shown(variables, levels)
            wrong = forbidden(variables, levels, template, rules) if rules is not None else ()
        except (KeyError, ValueError, AutoresearchError):
            return None
        if wrong and levels != variables.default:
            self.held_back = wrong[0]
            return None
        return texts

    def give(self, person: str, facts: Mapping[str, str], first: Exposure | None, at: float) -> Shown:
        """
        What to show to somebody whose first exposure this is. Where the cell cannot be shown any more it is the default, and nothing is to be
        recorded.
        """
        if first is not None:
            texts = self._text(first.cell)
            if texts is not None:
                return Shown(first.cell, texts, first.plan, known=True)
            self.counts.add("unshowable_total")
            return msgspec.structs.replace(self.default(), known=True)
        draw = self._draw
        if draw is None:
            return self.default()
        who, segment = unit(self.salt, person), visitors.segment(self.live.segments, facts)
        given = draw.assign(self.study, who, segment)
        texts = self._text(given.cell)
        if texts is None:
            self.counts.add("unshowable_total")
            return self.default()
        record = proof.shown(who, given.cell, segment, draw.plan.number, given.chance, given.held, at)
        return Shown(given.cell, texts, draw.plan.number, record)

    async def look(self, person: str, facts: Mapping[str, str], new: bool = False) -> Shown:
        """What to show to somebody, recording nothing. `new`: the id was made just now, so nobody is asked about it."""
        job = Job(None if new else unit(self.salt, person), lambda first: ())
        if not new:
            await self._do(job)
        return self.give(person, facts, job.first, self.clock())

    def proof(self, shown: Shown) -> str:
        """The word that a visitor brings back when this was seen; "" where nothing is to be recorded of it."""
        return proof.of(self.salt, shown.record) if shown.record else ""

    async def show(self, person: str, facts: Mapping[str, str]) -> tuple[Shown, bool]:
        """What somebody is shown for certain, and whether their exposure is on the disk."""
        found: list[Shown] = []

        def make(first: Exposure | None) -> Sequence[AnyRecord]:
            found.append(self.give(person, facts, first, self.clock()))
            return [found[0].record] if found[0].record else []

        job = await self._do(Job(unit(self.salt, person), make))
        self._count(job.new)
        return found[0], job.first is not None

    async def seen(self, person: str, word: str) -> bool | None:
        """Record what the proof says that was given to see, and tell whether it is on the disk; None where the proof is not good."""
        who = unit(self.salt, person)
        exposure = proof.exposure(self.salt, who, word, self.clock(), PROOF_S)
        if exposure is None:
            return None
        job = await self._do(Job(who, lambda first: [] if first else [exposure]))
        self._count(job.new)
        return job.first is not None

    # -- what is recorded ------------------------------------------------------------------------------

    async def happened(self, person: str, kind: str, value: float, event: str | None) -> bool:
        """Record an outcome; the second of a kind, or of an event's id, changes nothing. Whether it is on the disk."""
        who = unit(self.salt, person)
        word = hashlib.sha256(f"{who}\0{kind}\0{event or ''}".encode()).hexdigest()[:32]
        outcome = Outcome(source=proof.SOURCE, id=f"{kind}:{word}", at=self.clock(), unit=who, kind=kind, value=value)
        job = await self._do(Job(None, lambda first: [outcome]))
        self._count(job.new)
        return not job.refused

    async def delivered(self, source: str, body: bytes, headers: Mapping[str, str], token: str) -> int | Refused:
        """Record what a sending tool reports; how many records it was, once they are on the disk."""
        found = await asyncio.to_thread(self.hooks[source], body, headers, self.clock(), token)
        if isinstance(found, Refused):
            self.counts.add("hooks_total", source=source, answer=str(found.status))
            return found
        if found.records:
            self._count((await self._do(Job(None, lambda first: found.records))).new)
        if found.ignored:
            await self.waiting.ask(lambda: self.store.ignore(source, found.ignored))
        self.counts.add("hooks_total", source=source, answer="stored")
        return len(found.records)

    def _count(self, new: Sequence[AnyRecord]) -> None:
        """Count what was stored. A source may name kinds of outcomes without end, and a counter for each would be too many."""
        for record in new:
            if isinstance(record, Exposure):
                self.counts.add("exposures_total")
            elif isinstance(record, Outcome):
                known = (
                    self.counts.of("outcomes_total", kind=record.kind)
                    or self.counts.kinds("outcomes_total") < MOST_KINDS
                )
                self.counts.add("outcomes_total", kind=record.kind if known or record.kind in self.kinds else OTHERS)

    async def _do(self, job: Job) -> Job:
        try:
            return await self.waiting.do(job)
        except Crowded:
            raise
        except Exception:
            self.counts.add("store_failures_total")
            raise

    # -- how it is -------------------------------------------------------------------------------------

    async def health(self) -> Health:
        """How the store is, asked for once a second at most; how old the plan is, and what is wrong with what is to be shown."""
        now = time.monotonic()
        if now - self._checked[0] > 1:
            try:
                word = await asyncio.wait_for(self.waiting.ask(self.store.check), 5)
            except Exception as error:  # the database's own, of whichever kind
                word = type(error).__name__
            self._checked = (now, word)
        store, plan = self._checked[1], self.plan
        age = self.clock() - plan.at if plan else None
        said = self.trouble or self.held_back
        if age is None:
            said = said or "there is no plan yet: everybody sees the default, and nobody counts"
        elif age > 2 * 60 * self.live.every_minutes:
            said = said or "the plan is old: the process that makes plans is gone, or busy"
        return Health(not store and not self.trouble, store or "writable", plan.number if plan else None, age, said)

    def metrics(self) -> str:
        plan = self.plan
        return self.counts.text(
            {
                "plan_number": ("The plan in use.", plan.number if plan else 0),
                "plan_age_seconds": ("How old it is.", self.clock() - plan.at if plan else float("nan")),
            }
        )
