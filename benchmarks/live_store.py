"""
A simulated year in the store of a live study: what a decision costs as it fills, and how many exposures a second it takes.

    python -m benchmarks.live_store --write

In SQLite, and in PostgreSQL: at the address that `--postgres` names, or in a server of its own where Debian's package postgresql is
installed. The extras `live` and `postgres` are needed. The year: 1,000 exposures a day over 36 cells and two segments, 5 % with an outcome, and a decision
(add, then the counts of all days) after every ten of them: 36,500.
"""

import argparse
import contextlib
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from autoresearch.live.records import AnyRecord, Exposure, Outcome
from autoresearch.live.settings import Live
from autoresearch.live.store import Store, open_store
from benchmarks import postgres
from benchmarks.tables import markdown, report

YEAR = 365_000  # exposures
EACH = 10  # exposures to a decision
EVERY_S = 86_400 * 365 / YEAR
BEGIN = 1.7e9
SHOWN = (10_000, 100_000, YEAR)  # exposures after which the costs are told
LAST = 500  # decisions whose median is told
LIVE = Live("reply")
CELLS = [f"cta={a};headline={b};tone={c}" for a in "abc" for b in "abcd" for c in "xyz"]
THREADS, TURNS = 40, 250
YEAR_HEAD = [
    "store",
    "exposures",
    "decisions",
    "add, ms",
    "counts, ms",
    "tallies, ms",
    "rates, ms",
    "as of an hour ago, ms",
]
YEAR_HEAD += ["opened again, ms", "MB on disk", "s in all"]


class Audience:
    """People who come one after another, and answer within days or not at all."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.n = 0
        self.waiting: list[Outcome] = []

    def next(self) -> tuple[float, list[AnyRecord]]:
        """What happened until the next decision, and when that is."""
        records: list[AnyRecord] = []
        for _ in range(EACH):
            at, unit = BEGIN + self.n * EVERY_S, self.chance.randbytes(16).hex()
            self.n += 1
            cell, segment = self.chance.choice(CELLS), self.chance.choice(["mobile", "desktop"])
            known = {"source": "door", "id": f"e{self.n}", "at": at, "unit": unit}
            held = self.chance.random() < 0.1
            plan = self.n // EACH
            records.append(Exposure(**known, cell=cell, segment=segment, plan=plan, chance=0.1, held=held))  # type: ignore[arg-type]
            if self.chance.random() < 0.05:
                later = at + self.chance.expovariate(1 / 86_400)
                self.waiting.append(Outcome(source="door", id=f"o{self.n}", at=later, unit=unit, kind="reply"))
        now = BEGIN + self.n * EVERY_S
        records += [one for one in self.waiting if one.at <= now]
        self.waiting = [one for one in self.waiting if one.at > now]
        return now, records


def ms(begin: float) -> float:
    return 1000 * (time.perf_counter() - begin)


def kind(address: str) -> str:
    return "SQLite" if address.startswith("sqlite") else "PostgreSQL"


def year(address: str, exposures: int) -> list[list[str]]:
    study = f"year {os.getpid()}"
    store, audience, rows = open_store(address, study), Audience(1), []
    added, counted = list[float](), list[float]()
    begun, seen = time.perf_counter(), [0]
    empty = size(address)
    while audience.n < exposures:
        now, records = audience.next()
        begin = time.perf_counter()
        store.add(records)
        added.append(ms(begin))
        begin = time.perf_counter()
        seen.append(store.seen())
        store.counts(now, seen[-1], LIVE)
        counted.append(ms(begin))
        if audience.n in SHOWN or audience.n >= exposures:
            row = [kind(address), f"{audience.n:,}", f"{len(added):,}"]
            row += [f"{median(took[-LAST:]):.1f}" for took in (added, counted)]
            row += costs(store, partial(open_store, address, study), now, seen[-5])
            row += [f"{(size(address) - empty) / 1e6:.0f}", f"{ms(begun) / 1000:.0f}"]
            rows.append(row)
            print(row, flush=True)
    store.close()
    return rows


def size(address: str) -> int:
    """Bytes that a database has on the disk; of PostgreSQL without its log of transactions, which it keeps in bounds."""
    if kind(address) == "SQLite":
        path = Path(address.removeprefix("sqlite:///"))
        return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    import psycopg

    with psycopg.connect(address) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row
    return int(row[0])


def costs(store: Store, again: Callable[[], Store], now: float, before: int) -> list[str]:
    """Of what is asked more seldom."""
    asked: list[Callable[[], object]] = [
        lambda: store.tallies(now, None, LIVE),
        lambda: store.rates("reply", now, None, LIVE),
        lambda: store.counts(now - 4 * EACH * EVERY_S, before, LIVE),
    ]
    told = []
    for ask in asked:
        begin = time.perf_counter()
        ask()
        told.append(f"{ms(begin):.0f}")
    begin = time.perf_counter()
    opened = again()
    opened.counts(now, None, LIVE)
    opened.close()
    return [*told, f"{ms(begin):.0f}"]


def crowd(address: str) -> list[str]:
    """Single exposures from many threads, as a server adds them."""
    store, took = open_store(address, f"crowd {os.getpid()}"), list[float]()

    def work(first: int) -> None:
        for n in range(first, first + TURNS):
            begin = time.perf_counter()
            store.add([Exposure(source="door", id=f"e{n}", at=BEGIN + n, unit=f"{n:032x}", cell="a=b")])
            took.append(ms(begin))

    threads = [threading.Thread(target=work, args=(TURNS * i,)) for i in range(THREADS)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    second = ms(begin) / 1000
    store.close()
    cuts = quantiles(took, n=100)
    return [kind(address), f"{len(took) / second:,.0f}", f"{cuts[49]:.0f}", f"{cuts[98]:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--exposures", type=int, default=YEAR)
    parser.add_argument("--postgres", help="address of a database that may be written to")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory())
        others = stores(stack, options.postgres)
        crowds = [crowd(address) for address in (f"sqlite:///{name}/crowd.db", *others)]
        rows = [row for address in (f"sqlite:///{name}/year.db", *others) for row in year(address, options.exposures)]
    text = (
        f"{options.exposures:,} exposures, 1,000 a day, and a decision after every {EACH}: what came since is added and synced to the disk, and the counts of all\n"
        f"days are asked for. Medians of the last {LAST} decisions; the rest is asked once. *Opened again*: a new process's first counts.\n\n"
        f"{markdown(YEAR_HEAD, rows)}\nExposures that {THREADS} threads add one at a time, each acknowledged when it is on the disk:\n\n"
        f"{markdown(['store', 'a second', 'median, ms', 'p99, ms'], crowds)}"
    )
    report("live_store", "The store of a live study as it fills", text, options.write)


def stores(stack: contextlib.ExitStack, named: str | None) -> list[str]:
    """What there is of PostgreSQL: the address that was named, or a server of our own."""
    if named:
        return [named]
    if why := postgres.missing():
        print(f"Without PostgreSQL: {why}.")
        return []
    return [stack.enter_context(postgres.running()).address]


if __name__ == "__main__":
    main()
