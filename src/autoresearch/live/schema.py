"""
The tables that records are kept in, and how a database is opened: a file of SQLite, or PostgreSQL by its address.

Everything is durable when its transaction ends: SQLite syncs its log at every commit, PostgreSQL is told to. Whoever writes first
locks the study's own row, so numbers are given in the order in which transactions end, and what is numbered n or less never grows.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoresearch.errors import MissingExtra, StudyError

try:
    from sqlalchemy import (
        BigInteger,
        Column,
        Connection,
        Double,
        Engine,
        Index,
        Integer,
        LargeBinary,
        MetaData,
        SmallInteger,
        String,
        Table,
        Text,
        UniqueConstraint,
        create_engine,
        event,
        select,
    )
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
except ImportError:
    raise MissingExtra("sqlalchemy", "live", "a study of real traffic") from None

WAIT_S = 30  # for somebody else's transaction
EXPOSURE, OUTCOME, COST, SUPPRESSION = range(4)  # records.what

_KEPT = MetaData()
STUDIES = Table(
    "ar_studies",
    _KEPT,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("last", BigInteger, nullable=False),  # number of the last record
    Column("changes", BigInteger, nullable=False),  # goes up with every transaction that could change a tally
)
# What is said often is kept once: cells, segments, kinds, sources.
WORDS = Table(
    "ar_words",
    _KEPT,
    Column("id", Integer, primary_key=True),
    Column("study", Integer, nullable=False),
    Column("mark", LargeBinary(16), nullable=False),
    Column("text", Text, nullable=False),
    UniqueConstraint("study", "mark"),
)
RECORDS = Table(
    "ar_records",
    _KEPT,
    Column("study", Integer, primary_key=True),
    Column("key", LargeBinary(16), primary_key=True),  # of its source and id
    Column("number", BigInteger, nullable=False),  # 1, 2, 3 in the order of arrival
    Column("source", Integer, nullable=False),
    Column("id", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("what", SmallInteger, nullable=False),
    Column("day", Integer),  # of exposures
    Column("first", SmallInteger),  # of exposures: 1 if it is its unit's first
    Column("unit", LargeBinary(16)),
    Column("cell", Integer),
    Column("segment", Integer),
    Column("plan", Integer),
    Column("chance", Double),
    Column("held", SmallInteger),
    Column("kind", Integer),
    Column("value", Double),  # of an outcome; the amount of a cost
    Column("why", Text),
)
# An index that matches more columns is what SQLite takes, which has no statistics: a unit before a day.
Index("ar_records_unit", RECORDS.c.study, RECORDS.c.unit, RECORDS.c.first)
for _name, _columns, _where in (
    ("ar_records_day", (RECORDS.c.study, RECORDS.c.day), RECORDS.c.day.is_not(None)),
    ("ar_records_kind", (RECORDS.c.study, RECORDS.c.kind, RECORDS.c.at), RECORDS.c.kind.is_not(None)),
):
    Index(_name, *_columns, sqlite_where=_where, postgresql_where=_where)
# A day of first exposures: the last record that touched it, and the last change.
DAYS = Table(
    "ar_days",
    _KEPT,
    Column("study", Integer, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("touched", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False, index=True),
)
ROLLUPS = Table(
    "ar_rollups",
    _KEPT,
    Column("study", Integer, primary_key=True),
    Column("question", String(200), primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("changed", BigInteger, nullable=False),
    Column("answer", LargeBinary, nullable=False),
)
PLANS = Table(
    "ar_plans",
    _KEPT,
    Column("study", Integer, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)
AUDITS = Table(
    "ar_audits",
    _KEPT,
    Column("study", Integer, primary_key=True),
    Column("unit", LargeBinary(16), primary_key=True),
    Column("said", SmallInteger, nullable=False),
    Column("truly", SmallInteger, nullable=False),
)
FORGOTTEN = Table(
    "ar_forgotten",
    _KEPT,
    Column("study", Integer, primary_key=True),
    Column("mark", LargeBinary(16), primary_key=True),
)
CURSORS = Table(
    "ar_cursors",
    _KEPT,
    Column("study", Integer, primary_key=True),
    Column("source", String(200), primary_key=True),
    Column("cursor", Text, nullable=False),
)
IGNORED = Table(
    "ar_ignored",
    _KEPT,
    Column("study", Integer, primary_key=True),
    Column("source", String(200), primary_key=True),
    Column("kind", String(200), primary_key=True),
    Column("n", BigInteger, nullable=False),
)


def mark(*words: str | bytes) -> bytes:
    """16 bytes that stand for these words."""
    told = (word.encode() if isinstance(word, str) else word for word in words)
    return hashlib.sha256(b"\0".join(told)).digest()[:16]


def insert(connection: Connection, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT, as both databases write it."""
    return (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)


class Database:
    """One study's tables. `study` is its number in them."""

    def __init__(self, address: str | Path, study: str) -> None:
        self.engine = _engine(address)
        try:
            self.study = self._enter(study)
        except DBAPIError as error:
            self.engine.dispose()
            raise StudyError(_refused(self.engine.url, error)) from None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """What was there at one instant, and nothing that comes while it is read."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that nobody else writes beside; durable when it ends without an error."""
        with self._transaction() as connection:
            connection.execute(select(STUDIES.c.id).where(STUDIES.c.id == self.study).with_for_update())
            yield connection

    def look(self) -> None:
        """
        Have PostgreSQL see what its tables hold: before it does, which may take it minutes, it takes half of all records to be a few
        units', and reads them all to find one.
        """
        if self.engine.dialect.name == "postgresql":
            with self.engine.connect() as connection, connection.begin():
                connection.exec_driver_sql(f"ANALYZE {RECORDS.name}")

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        # PostgreSQL: what somebody else wrote while we waited for their lock is to be seen.
        level = {"isolation_level": "READ COMMITTED"} if self.engine.dialect.name == "postgresql" else {}
        with self.engine.connect().execution_options(ar_writes=True, **level) as connection, connection.begin():
            yield connection

    def _enter(self, name: str) -> int:
        with self._transaction() as connection:
            if connection.dialect.name == "postgresql":  # two who make the same table at once hinder each other
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7241130559)")
            _KEPT.create_all(connection)
            made = insert(connection, STUDIES).values(name=name, last=0, changes=0).on_conflict_do_nothing()
            connection.execute(made)
            return int(connection.execute(select(STUDIES.c.id).where(STUDIES.c.name == name)).scalar_one())


def _engine(address: str | Path) -> Engine:
    url = URL.create("sqlite", database=str(address)) if isinstance(address, Path) else _url(address)
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite(url)
        return _postgresql(url)
    except ModuleNotFoundError:
        raise MissingExtra("psycopg", "postgres", "a store in PostgreSQL") from None


def _url(address: str) -> URL:
    if address.startswith("$"):
        found = os.environ.get(address[1:])
        if not found:
            raise StudyError(f"study.toml: live.store = {address!r}, and no variable {address[1:]} is set")
        address = found
    try:
        url = make_url(re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", address))
        name = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        name = ""
    if name not in ("sqlite", "postgresql"):
        raise StudyError(
            "study.toml: live.store must be an address of PostgreSQL or SQLite, like postgresql://localhost/campaign or sqlite:///live.db"
        )
    return url


def _sqlite(url: URL) -> Engine:
    if url.database in (None, "", ":memory:"):
        raise StudyError("study.toml: live.store is a SQLite address without a file, like sqlite:///live.db")
    engine = create_engine(url, connect_args={"timeout": WAIT_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "cache_size = -16000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # IMMEDIATE: one who reads first and then writes could not wait for another writer.
        writes = connection.get_execution_options().get("ar_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL) -> Engine:
    options = f"-c synchronous_commit=on -c lock_timeout={WAIT_S}s -c idle_in_transaction_session_timeout={2 * WAIT_S}s"
    # A plan that is kept was made for a table of a few rows, and reads all of it when it has millions.
    options += " -c plan_cache_mode=force_custom_plan"
    arguments = {"connect_timeout": 10, "options": options}
    return create_engine(url, isolation_level="REPEATABLE READ", pool_pre_ping=True, connect_args=arguments)


def _refused(url: URL, error: DBAPIError) -> str:
    said = str(error.orig).strip().partition("\n")[0][:300]
    return f"study.toml: live.store: {url.render_as_string(hide_password=True)} cannot be used: {said}"
