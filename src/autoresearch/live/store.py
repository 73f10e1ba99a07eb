"""
What happened, kept: records, the plans that were made from them, and what persons found who read the replies.

A record is known by its source and id, and the second of the same changes nothing. `add` returns when what it was given is on the
disk; many threads that add at once share one transaction, and with it one wait for the disk. What is said of cells is a
function of the records alone (tallying.py), whatever the order in which they came.

Raises, on import:
    MissingExtra: the extra `live` is not installed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from autoresearch.live import writing
from autoresearch.live.arriving import Side
from autoresearch.live.checking import checked
from autoresearch.live.counts import Counts
from autoresearch.live.ledger import Ledger
from autoresearch.live.plans import Plans
from autoresearch.live.questions import ArrivedAs, Tallied, Waited
from autoresearch.live.records import AnyRecord, Exposure, Fate, Plan, Tally
from autoresearch.live.rows import Words, chunks, read
from autoresearch.live.schema import (
    AUDITS,
    COST,
    CURSORS,
    EXPOSURE,
    IGNORED,
    OUTCOME,
    RECORDS,
    STUDIES,
    SUPPRESSION,
    Database,
    insert,
)
from autoresearch.live.settings import Live
from autoresearch.live.tallying import Audit, Came, every
from autoresearch.live.together import Together

FIRST_LOOK = 1000  # records, after which a database sees how large its tables are; then whenever they are twice as many
MOST_KINDS = 100  # of ignored events that are told apart, for each source
LONGEST_KIND = 120  # characters of one
OTHERS = "(others)"


class Summary(Struct, frozen=True):
    """
    How much there is. `orphans` are outcomes of units that were never exposed, such as an address that is written otherwise elsewhere; `suppressed`
    are units, but for those that were forgotten.
    """

    exposures: int
    units: int
    outcomes: dict[str, int]  # by kind
    suppressed: int
    orphans: int
    last: int  # number of the last record


class Store:
    """One study's store, from `open_store`. All methods may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._study = database.study
        self._words = Words(database.study)
        self._plans = Plans(self._words)
        self._ledger = Ledger(database, self._words)
        self._added, self._looked_at = 0, FIRST_LOOK  # records since we are here; when the database is to look again
        self._together = Together(self._commit, fatal=(OperationalError, InterfaceError))

    def close(self) -> None:
        self._database.engine.dispose()

    # -- records ---------------------------------------------------------------------------------------------

    def add(self, records: Iterable[AnyRecord]) -> int:
        """
        Add what is not there yet; how many records that were. When it returns, they are on the disk.

        Records of units that were forgotten are left out. If it raises, some or none may be there: adding them again is harmless.

        Raises:
            ValueError: a record cannot be kept; none of this call's were.
            sqlalchemy.exc.DBAPIError: the database refused, or is gone.
        """
        return sum(fate is Fate.NEW for fate in self.enter(records))

    def enter(self, records: Iterable[AnyRecord]) -> Sequence[Fate]:
        """As `add`; what became of each of these."""
        told = [checked(record) for record in records]
        return self._together.add(told) if told else ()

    def fates(self, records: Iterable[AnyRecord]) -> Sequence[Fate]:
        """What would become of each of these, if they were added now."""
        with self._database.reading() as connection:
            return writing.fates(connection, self._study, [checked(record) for record in records])

    def first(self, unit: str) -> Exposure | None:
        """What a unit was shown first, and is shown for ever."""
        raw = bytes.fromhex(unit)
        with self._database.reading() as connection:
            found = read(connection, self._words, (RECORDS.c.unit == raw) & (RECORDS.c.first == 1))
        return next((record for record in found if isinstance(record, Exposure)), None)

    def firsts(self, units: Iterable[str]) -> dict[str, Exposure]:
        """The first exposure of each of these units that has one."""
        raw = [bytes.fromhex(unit) for unit in units]
        with self._database.reading() as connection:
            found = read(connection, self._words, RECORDS.c.unit.in_(raw) & (RECORDS.c.first == 1))
        return {record.unit: record for record in found if isinstance(record, Exposure)}

    def exposed(self, units: Iterable[str]) -> frozenset[str]:
        """Which of these were ever shown anything."""
        c, found = RECORDS.c, set[str]()
        asked = select(c.unit).where(c.study == self._study, c.first == 1)
        with self._database.reading() as connection:
            for some in chunks(bytes.fromhex(unit) for unit in set(units)):
                found.update(raw.hex() for raw in connection.execute(asked.where(c.unit.in_(some))).scalars())
        return frozenset(found)

    def did(self, unit: str) -> tuple[int, dict[str, int]]:
        """How many records there are of a unit; and of its outcomes, how many of each kind."""
        c = RECORDS.c
        asked = select(c.kind, func.count()).where(c.study == self._study, c.unit == bytes.fromhex(unit))
        with self._database.reading() as connection:
            rows = connection.execute(asked.group_by(c.kind)).all()
            texts = self._words.texts(connection, {kind for kind, _ in rows if kind is not None})
        kinds = {texts[kind]: count for kind, count in rows if kind is not None}
        return sum(count for _, count in rows), kinds

    def check(self) -> str:
        """Why nothing can be written just now, in words; "" where it can. Leaves nothing behind."""
        try:
            with self._database.writing():
                return ""
        except DBAPIError as error:
            return str(error.orig)[:200]

    def seen(self) -> int:
        """The number of the last record, for `Plan.seen`."""
        with self._database.reading() as connection:
            return int(connection.execute(select(STUDIES.c.last).where(STUDIES.c.id == self._study)).scalar_one())

    def suppressed(self, units: Iterable[str]) -> frozenset[str]:
        """Which of these are not to be written to: because they said so, bounced, or asked to be forgotten."""
        with self._database.reading() as connection:
            return writing.suppressed(connection, self._study, set(units))

    def forget(self, unit: str) -> int:
        """
        Honour a request for deletion: remove every record of a unit, and refuse those that may still come. How many records that were.

        What stays is a hash that says "this one is not wanted". Tallies are from now on what they are without the unit, also where
        they are asked for as of an earlier time.
        """
        with self._database.writing() as connection:
            removed = writing.forget(connection, self._study, unit)
        if self._database.engine.dialect.name == "sqlite":
            with self._database.engine.connect() as connection:  # what was deleted is still in the file of the log
                connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return removed

    # -- what they say -----------------------------------------------------------------------------------------

    def tallies(
        self, until: float, seen: int | None, live: Live, *, kind: str | None = None, came: Came | None = None
    ) -> tuple[Tally, ...]:
        """
        What is known of each cell, segment and day at `until`, from records up to number `seen` (None: all). See tallying.py.

        `kind`: of another outcome than the study's. `came`: what share of outcomes come by an age in seconds, with which exposures whose
        window is open count in part; without it they do not count. The mature part costs nothing anew.
        """
        answers = self._ledger.ask(Tallied(kind or live.outcome, live.window_s, came), until, seen)
        return tuple(one for answer in answers for one in answer)

    def rates(self, kind: str, until: float, seen: int | None, live: Live) -> Counts:
        """For a guardrail: all days as one, of another kind of outcome, with every unit counted from its exposure on."""
        return self._ledger.columns(Tallied(kind, live.window_s, every), until, seen)

    def counts(
        self, until: float, seen: int | None, live: Live, *, kind: str | None = None, came: Came | None = None
    ) -> Counts:
        """As `tallies`, as tables; the mature days are put into them once."""
        return self._ledger.counts(Tallied(kind or live.outcome, live.window_s, came), until, seen)

    def arrived(self, until: float, seen: int | None) -> tuple[Side, ...]:
        """For sample ratios: what came to each level and to the holdout, and what plans gave it, of all first exposures."""
        return self._ledger.arrived(ArrivedAs(self._plans), until, seen)

    def delays(
        self, until: float, seen: int | None, live: Live, *, kind: str | None = None, most: int = 5000
    ) -> tuple[float, ...]:
        """
        Seconds from exposure to the first outcome that counts, of the latest exposures whose windows are closed: ascending within a
        day, days in order. None is cut short by a window that is still open.
        """
        days = self._ledger.ask(Waited(kind or live.outcome, live.window_s), until, seen)
        found, n = list[tuple[float, ...]](), 0
        while days and n < most:
            found.append(days.pop())
            n += len(found[-1])
        return tuple(wait for day in reversed(found) for wait in day)[-most:]

    def costs(self, until: float, seen: int | None = None) -> dict[str, float]:
        """Cell -> what showing it cost until then."""
        c = RECORDS.c
        where = [c.study == self._study, c.unit.is_(None), c.what == COST, c.at <= until]  # by the index of units
        if seen is not None:
            where.append(c.number <= seen)
        with self._database.reading() as connection:
            rows = connection.execute(select(c.cell, func.sum(c.value)).where(*where).group_by(c.cell)).all()
            texts = self._words.texts(connection, {cell for cell, _ in rows})
        return {texts[cell]: amount for cell, amount in sorted(rows, key=lambda row: texts[row[0]])}

    def summary(self) -> Summary:
        c, o = RECORDS.c, RECORDS.alias("o").c
        exposed = select(c.key).where(c.study == o.study, c.unit == o.unit, c.first == 1).exists()
        orphans = select(func.count()).where(o.study == self._study, o.kind.is_not(None), ~exposed)
        ended = select(func.count(c.unit.distinct())).where(c.study == self._study, c.what == SUPPRESSION)
        asked = select(c.what, c.kind, func.count(), func.sum(c.first)).where(c.study == self._study)
        with self._database.reading() as connection:
            rows = connection.execute(asked.group_by(c.what, c.kind)).all()
            texts = self._words.texts(connection, {kind for _, kind, _, _ in rows if kind is not None})
            lost = connection.execute(orphans).scalar_one()
            stopped = connection.execute(ended).scalar_one()
            last = connection.execute(select(STUDIES.c.last).where(STUDIES.c.id == self._study)).scalar_one()
        n = {what: (count, first or 0) for what, _, count, first in rows if what != OUTCOME}
        outcomes = {texts[kind]: count for what, kind, count, _ in rows if what == OUTCOME}
        return Summary(
            *n.get(EXPOSURE, (0, 0)),
            dict(sorted(outcomes.items())),
            stopped,
            lost,
            last,
        )

    # -- plans, audits, sources ----------------------------------------------------------------------------------

    def add_plan(self, plan: Plan) -> bool:
        """Keep a plan for ever; False where one of this number is there, which then holds, whoever made it."""
        with self._database.writing() as connection:
            new, numbers = self._plans.add(connection, plan)
        self._words.keep(numbers)
        return new

    def plan(self, number: int | None = None) -> Plan | None:
        """The plan of this number, or the latest."""
        with self._database.reading() as connection:
            if number is None:
                return self._plans.last(connection)
            return next(iter(self._plans.some(connection, [number])), None)

    def plans(self, since: int = 0) -> tuple[Plan, ...]:
        """Those from number `since` on, in order."""
        with self._database.reading() as connection:
            return tuple(self._plans.since(connection, since))

    def add_audits(self, audits: Iterable[Audit]) -> None:
        """Keep what a person found; the last word on a unit holds."""
        values = [
            {"study": self._study, "unit": bytes.fromhex(one.unit), "said": int(one.said), "truly": int(one.truly)}
            for one in audits
        ]
        if not values:
            return
        with self._database.writing() as connection:
            made = insert(connection, AUDITS)
            what = {"said": made.excluded.said, "truly": made.excluded.truly}
            connection.execute(made.on_conflict_do_update(index_elements=["study", "unit"], set_=what), values)

    def audits(self) -> tuple[Audit, ...]:
        """Ordered by unit."""
        c = AUDITS.c
        asked = select(c.unit, c.said, c.truly).where(c.study == self._study).order_by(c.unit)
        with self._database.reading() as connection:
            rows = connection.execute(asked).all()
        return tuple(Audit(unit.hex(), bool(said), bool(truly)) for unit, said, truly in rows)

    def cursor(self, source: str) -> str | None:
        """How far a source was polled, as polling.py writes it."""
        asked = select(CURSORS.c.cursor).where(CURSORS.c.study == self._study, CURSORS.c.source == source)
        with self._database.reading() as connection:
            return connection.execute(asked).scalar_one_or_none()

    def set_cursor(self, source: str, cursor: str) -> None:
        with self._database.writing() as connection:
            made = insert(connection, CURSORS).values(study=self._study, source=source, cursor=cursor)
            what = {"cursor": made.excluded.cursor}
            connection.execute(made.on_conflict_do_update(index_elements=["study", "source"], set_=what))

    def ignore(self, source: str, kinds: Mapping[str, int]) -> None:
        """Count events that mean nothing here; a delivery that is repeated counts again."""
        if not kinds:
            return
        c = IGNORED.c
        with self._database.writing() as connection:
            there = set(connection.execute(select(c.kind).where(c.study == self._study, c.source == source)).scalars())
            counted: Counter[str] = Counter()
            for told, n in sorted(kinds.items()):
                kind = "".join(letter if letter.isprintable() else "?" for letter in told)[:LONGEST_KIND]
                name = kind if kind in there or len(there) < MOST_KINDS else OTHERS
                there.add(name)
                counted[name] += n
            made = insert(connection, IGNORED)
            values = [{"study": self._study, "source": source, "kind": kind, "n": n} for kind, n in counted.items()]
            what = {"n": c.n + made.excluded.n}
            connection.execute(
                made.on_conflict_do_update(index_elements=["study", "source", "kind"], set_=what), values
            )

    def ignored(self) -> dict[tuple[str, str], int]:
        """(source, kind of event) -> how many came that mean nothing here."""
        asked = select(IGNORED.c.source, IGNORED.c.kind, IGNORED.c.n).where(IGNORED.c.study == self._study)
        with self._database.reading() as connection:
            rows = connection.execute(asked.order_by(IGNORED.c.source, IGNORED.c.kind)).all()
        return {(source, kind): n for source, kind, n in rows}

    def _commit(self, calls: Sequence[Sequence[AnyRecord]]) -> list[list[Fate]]:
        with self._database.writing() as connection:
            fates, numbers = writing.enter(connection, self._words, [record for call in calls for record in call])
        self._words.keep(numbers)
        self._added += fates.count(Fate.NEW)
        if self._added >= self._looked_at:
            self._database.look()
            self._looked_at = 2 * self._added
        told = iter(fates)
        return [[next(told) for _ in call] for call in calls]


def open_store(address: str | Path, study: str) -> Store:
    """
    The store of a study. `address`: a file of SQLite, an address of PostgreSQL or SQLite as SQLAlchemy writes it, or $VARIABLE that
    holds one. Several processes may have it open.

    Raises:
        StudyError: the address is none, or the database does not answer.
        MissingExtra: the extra `postgres` is not installed.
    """
    return Store(Database(address, study))
