"""
The tables of a study as files: CSV, SQLite, Parquet. Each file is written beside its place and then put there, so
exporting again gives the same, and nobody sees half of one.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoresearch import spreadsheet
from autoresearch.errors import AutoresearchError, MissingExtra
from autoresearch.export.tables import KINDS, Row, tables
from autoresearch.state import State

SQL = {int: "INTEGER", float: "REAL", str: "TEXT", bool: "INTEGER"}


@contextlib.contextmanager
def in_place_of(path: Path) -> Iterator[Path]:
    """
    A file to write, which takes this one's place once it is whole.

    Raises:
        AutoresearchError: the folder is not there or not writable.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        yield new
        os.replace(new, path)
    except OSError as error:
        raise AutoresearchError(f"{path}: {error.strerror or error}; --out names another place") from None
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)


def to_csv(state: State, out: Path) -> None:
    """trials.csv, runs.csv and curves.csv in a folder. A text that a spreadsheet would run begins with a quote."""
    for name, rows in tables(state).items():
        with in_place_of(out / f"{name}.csv") as path, path.open("w", encoding="utf-8", newline="") as file:
            spreadsheet.write(file, KINDS[name], ([row[key] for key in KINDS[name]] for row in rows))


def to_sqlite(state: State, out: Path) -> None:
    """One database with the tables trials, runs and curves."""
    with in_place_of(out) as path, contextlib.closing(sqlite3.connect(path)) as database, database:
        for name, rows in tables(state).items():
            kinds = KINDS[name]
            columns = ", ".join(
                f'"{key}" {SQL[kind]}' + (" PRIMARY KEY" if key == name.removesuffix("s") else "")
                for key, kind in kinds.items()
            )
            database.execute(f'CREATE TABLE "{name}" ({columns})')
            marks = ", ".join("?" * len(kinds))
            database.executemany(f'INSERT INTO "{name}" VALUES ({marks})', (_values(kinds, row) for row in rows))


def _values(kinds: dict[str, type], row: Row) -> list[Any]:
    # SQLite's integers have 64 bits; Python's have any number.
    return [float(v) if isinstance(v := row[key], int) and abs(v) >= 1 << 63 else v for key in kinds]


def to_parquet(state: State, out: Path) -> None:
    """
    trials.parquet, runs.parquet and curves.parquet in a folder.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("pyarrow", "parquet", "exporting to Parquet") from None
    types = {int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string(), bool: pyarrow.bool_()}
    for name, rows in tables(state).items():
        schema = pyarrow.schema([(key, types[kind]) for key, kind in KINDS[name].items()])
        with in_place_of(out / f"{name}.parquet") as path:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), path)
