"""
The smallest store that keeps its word: what the server's tests and its load run write to where only the server is looked at.

One table, one connection, one sync of the disk for each call of `add`.
"""

import sqlite3
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from autoresearch.live.records import AnyRecord, Exposure, Plan, Suppression

_T = TypeVar("_T", bound=AnyRecord)
TABLES = """
CREATE TABLE IF NOT EXISTS records (
    seen INTEGER PRIMARY KEY, source TEXT, id TEXT, what TEXT, unit TEXT, body BLOB, UNIQUE (source, id));
CREATE INDEX IF NOT EXISTS units ON records (unit, what);
CREATE TABLE IF NOT EXISTS plans (number INTEGER PRIMARY KEY, body BLOB);
"""


class Store:
    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self._ignored = Counter[tuple[str, str]]()
        self.made = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.made.execute("PRAGMA journal_mode = WAL")
        self.made.execute("PRAGMA synchronous = FULL")
        self.made.executescript(TABLES)

    def add(self, records: Sequence[AnyRecord]) -> int:
        rows = [
            (
                record.source,
                record.id,
                type(record).__name__,
                getattr(record, "unit", None),
                msgspec.json.encode(record),
            )
            for record in records
        ]
        with self.lock:
            before = self.made.total_changes
            self.made.execute("BEGIN IMMEDIATE")
            try:
                self.made.executemany(
                    "INSERT OR IGNORE INTO records (source, id, what, unit, body) VALUES (?, ?, ?, ?, ?)", rows
                )
            except BaseException:
                self.made.execute("ROLLBACK")
                raise
            self.made.execute("COMMIT")
            return self.made.total_changes - before

    def firsts(self, units: Sequence[str]) -> dict[str, Exposure]:
        found: dict[str, Exposure] = {}
        for record in self.of(Exposure, units):
            if record.unit not in found or record.at < found[record.unit].at:
                found[record.unit] = record
        return found

    def suppressed(self, units: Sequence[str]) -> set[str]:
        return {record.unit for record in self.of(Suppression, units)}

    def of(self, kind: type[_T], units: Sequence[str] | None = None) -> list[_T]:
        """All records of a kind, or those of these units."""
        query = "SELECT body FROM records WHERE what = ?"
        rows: list[tuple[bytes]] = []
        with self.lock:
            if units is None:
                rows = self.made.execute(query, (kind.__name__,)).fetchall()
            for at in range(0, len(units or ()), 500):
                some = list((units or ())[at : at + 500])
                marks = ",".join("?" * len(some))
                rows += self.made.execute(f"{query} AND unit IN ({marks})", (kind.__name__, *some)).fetchall()
        return [msgspec.json.decode(body, type=kind) for (body,) in rows]

    def plan(self) -> Plan | None:
        with self.lock:
            row = self.made.execute("SELECT body FROM plans ORDER BY number DESC LIMIT 1").fetchone()
        return msgspec.json.decode(row[0], type=Plan) if row else None

    def add_plan(self, plan: Plan) -> None:
        with self.lock:
            self.made.execute("INSERT INTO plans VALUES (?, ?)", (plan.number, msgspec.json.encode(plan)))

    def ignore(self, source: str, kinds: Mapping[str, int]) -> None:
        for kind, count in kinds.items():
            self._ignored[source, kind] += count

    def ignored(self) -> dict[tuple[str, str], int]:
        return dict(self._ignored)

    def check(self) -> str:
        try:
            with self.lock:
                self.made.execute("BEGIN IMMEDIATE")
                self.made.execute("ROLLBACK")
        except sqlite3.Error as error:
            return str(error)
        return ""

    def close(self) -> None:
        self.made.close()
