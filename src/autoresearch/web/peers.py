"""
The swarm on the page: peers, boards, findings, how far they carry, and the map of who took up what.

Read from the file of receipts that the study's own process writes: no lock is taken, and nothing is written. Where the study
takes part in no swarm, or the extra `swarm` is not installed, there is nothing of this on the page.
"""

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from autoresearch.company import SWARM
from autoresearch.errors import MissingExtra, StudyError
from autoresearch.report import adoption
from autoresearch.web.rows import clean

if TYPE_CHECKING:
    from autoresearch.share.board import Swarm
    from autoresearch.share.book import Book
    from autoresearch.share.tables import Board, Carried, Listed, Peer

MOST_PEERS, MOST_BOARDS, MOST_ROWS, MOST_FINDINGS, MOST_TIERS = 200, 24, 40, 100, 12
NAME, TIER, IDEA = 40, 80, 200  # characters
EVERY_S, SHARE = 1.0, 10  # from one reckoning to the next: so many seconds, and so many times what the last one took


class Peers:
    """What is known here of a swarm. `home` is the study's .autoresearch. Thread-safe."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._book: Book | None = None
        self._file = (0, 0)  # which file it is that the book was opened on
        self._said: tuple[str, bytes] | None = None  # for this mark, this
        self._next = 0.0
        self._wrong: tuple[str, StudyError] | None = (
            None  # with this mark they could not be read, and are not tried again
        )

    def mark(self) -> str:
        """Another one whenever there may be something new; "" where the study takes part in no swarm. Looks at two files' dates."""
        paths = _paths(self._home)
        if paths is None:
            return ""
        try:
            joined = paths[0].stat().st_mtime_ns
        except OSError:
            return ""
        try:
            found = paths[1].stat()
        except OSError:
            return f"{joined}"
        return f"{joined}-{found.st_ino}-{found.st_size}"

    def told(self) -> bytes | None:
        """
        All of it, as JSON; as of a moment ago where it takes long to work out. None where there is none.

        Raises:
            StudyError: the receipts cannot be read.
        """
        with self._lock:
            mark = self.mark()
            if not mark:
                return None
            if self._wrong and self._wrong[0] == mark:
                raise self._wrong[1]
            begun = time.monotonic()
            if self._said is None or (self._said[0] != mark and begun >= self._next):
                try:
                    self._said = mark, msgspec.json.encode({"mark": mark, **self._read()})
                except StudyError as error:
                    self._close()
                    self._wrong = mark, error
                    raise
                now = time.monotonic()
                self._next = now + max(EVERY_S, SHARE * (now - begun))
            return self._said[1]

    def _read(self) -> dict[str, Any]:
        from autoresearch.share.board import read_book

        book = self._opened()
        return page(read_book(book), book.digest()) if book else {"peers": [], "n_peers": 0}

    def _opened(self) -> "Book | None":
        from autoresearch.share.book import Book

        paths = _paths(self._home)
        try:
            found = os.stat(paths[1]) if paths else None
        except OSError:
            found = None
        file = (found.st_dev, found.st_ino) if found else (0, 0)
        if self._book and file != self._file:  # left, and joined as somebody new
            self._close()
        if paths and found and self._book is None:
            self._book = Book(paths[1])
        elif self._book:
            self._book.refresh()
        self._file = file
        return self._book

    def _close(self) -> None:
        if self._book:
            self._book.close()
        self._book = None


def _paths(home: Path) -> tuple[Path, Path] | None:
    """The settings and the receipts; None where there are none, or these are not understood here."""
    if not (home / SWARM).is_dir():
        return None
    try:
        from autoresearch.share import node, settings
    except MissingExtra:
        return None
    return settings.folder(home) / settings.FILE, settings.folder(home) / node.BOOK


def page(swarm: "Swarm", digest: str) -> dict[str, Any]:
    """All that is shown, bounded; beside what is cut, how many there are."""
    from autoresearch.share.tables import findings, tables, taken

    found, claims = tables(swarm, digest), findings(swarm)
    tiers = sorted({one.tier for one in found.carried})[:MOST_TIERS]
    peers = sorted(found.peers, key=lambda peer: (-peer.runs, peer.peer))
    return {
        "digest": digest[:12],
        "runs": found.runs,
        "n_peers": len(peers),
        "peers": [_peer(one) for one in peers[:MOST_PEERS]],
        "n_boards": len(found.boards),
        "boards": [_board(one) for one in found.boards[:MOST_BOARDS]],
        "n_findings": len(claims),
        "findings": [_finding(one) for one in claims[:MOST_FINDINGS]],
        "tiers": [clean(tier, TIER) for tier in tiers],
        "carried": _carried(found.carried, tiers, {claim.finding: claim for claim in claims}),
        "map": adoption.drawing(found, taken(swarm), claims),
    }


def _named(name: str, peer: str) -> str:
    return f"{clean(name, NAME) or 'somebody'} ({peer[:6]})"


def _peer(one: "Peer") -> dict[str, Any]:
    numbers = {"runs": one.runs, "claims": one.findings, "held": one.replicated, "refuted": one.refuted}
    return {"name": _named(one.name, one.peer), "tier": clean(one.tier, TIER), **numbers, "caught": one.caught}


def _board(one: "Board") -> dict[str, Any]:
    rows = [
        {
            "name": _named(row.name, row.peer),
            "value": row.value,
            "runs": row.runs,
            "held": row.replicated,
            "refuted": row.refuted,
            "idea": clean(row.idea, IDEA),
            "known": row.known,
        }
        for row in one.rows[:MOST_ROWS]
    ]
    place = {"study": one.study[:8], "tier": clean(one.tier, TIER), "budget": clean(one.budget, TIER)}
    return {**place, "direction": one.direction, "n_rows": len(one.rows), "rows": rows}


def _finding(one: "Listed") -> dict[str, Any]:
    return {
        "finding": one.finding[:8],
        "name": _named(one.name, one.peer),
        "tier": clean(one.tier, TIER),
        "gain": one.gain,
        "word": one.word,
        "held": one.replicated,
        "refuted": one.refuted,
        "idea": clean(one.idea, IDEA),
        "known": one.known,
    }


def _carried(found: "tuple[Carried, ...]", tiers: list[str], claims: "dict[str, Listed]") -> list[dict[str, Any]]:
    """A row for each finding, a cell for each tier: gain, interval (None where it has no bound) and how many measured it."""
    by: dict[str, dict[str, Carried]] = {}
    for one in found:
        by.setdefault(one.finding, {})[one.tier] = one
    most = sorted(by, key=lambda id: (-sum(one.n for one in by[id].values()), id))[:MOST_FINDINGS]
    return [_finding(claims[id]) | {"cells": [_cell(by[id].get(tier)) for tier in tiers]} for id in most]


def _cell(one: "Carried | None") -> tuple[float, float, float, int] | None:
    return None if one is None else (one.gain, one.low, one.high, one.n)
