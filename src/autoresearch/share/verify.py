"""
Recomputes everything that a swarm says from receipts alone, and names every difference.

Each receipt's form, id, signature and place in its peer's chain; each proof; each number that a finding states beside the
runs that it states it from; and, given tables that somebody shows, every entry of those.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from autoresearch.errors import StudyError
from autoresearch.share import identity, receipt
from autoresearch.share.board import measured, read_book
from autoresearch.share.book import Book, check_proof
from autoresearch.share.receipt import Caught, Finding, Refused
from autoresearch.share.tables import Tables, tables

SAME = 1e-9  # relative: sums in another order


def differences(path: Path, shown: Path | None = None) -> tuple[Tables, list[str]]:
    """
    What the receipts in this file come to, and what is not so.

    Raises:
        StudyError: a file cannot be read.
    """
    found = list(_receipts(path))
    book = Book(path)
    swarm = read_book(book)
    worked_out = tables(swarm, book.digest())
    for told in swarm.findings.values():
        found += _numbers(told.id, told.finding)
    if shown is not None:
        found += _apart("", _read(shown), msgspec.json.decode(msgspec.json.encode(worked_out)))
    book.close()
    return worked_out, found


def _receipts(path: Path) -> Iterator[str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}; there are no receipts to verify") from None
    last: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            entry = receipt.read(line)
            identity.check(entry.receipt.peer, entry.stub)
            if isinstance(entry.receipt.body, Caught):
                check_proof(entry.receipt.body)
        except Refused as error:
            yield f"line {number}: {error}"
            continue
        peer, (seq, before) = entry.receipt.peer, last.get(entry.receipt.peer, (0, ""))
        if (entry.receipt.seq, entry.receipt.prev) != (seq + 1, before):
            yield f"line {number}: it does not follow on receipt {seq} of {peer[:6]}"
        last[peer] = entry.receipt.seq, entry.id


def _numbers(id: str, finding: Finding) -> Iterator[str]:
    found = measured(finding)
    for name, stated, worked_out in (("gain", finding.gain, found.gain), ("error", finding.error, found.error)):
        if not _same(stated, worked_out):
            yield f"finding {id[:10]}: it states {name} {stated}, and its runs come to {worked_out}"
    if finding.word == "keep" and found.gain is not None and found.gain < 0 and not finding.patch:
        yield f"finding {id[:10]}: kept, though its runs come to a loss of {-found.gain:.4g}"


def _same(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return a == b or math.isclose(a, b, rel_tol=SAME, abs_tol=SAME)


def _read(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: no tables as `autoresearch swarm board --json` prints them: {error}") from None


def _apart(where: str, shown: Any, ours: Any) -> Iterator[str]:
    """Every place where two JSON values differ."""
    if isinstance(shown, dict) and isinstance(ours, dict):
        for key in sorted({*shown, *ours}):
            yield from _apart(f"{where}.{key}" if where else str(key), shown.get(key), ours.get(key))
    elif isinstance(shown, list) and isinstance(ours, list):
        if len(shown) != len(ours):
            yield f"{where}: {len(shown)} entries are shown, and there are {len(ours)}"
        for place, (one, other) in enumerate(zip(shown, ours, strict=False)):
            yield from _apart(f"{where}[{place}]", one, other)
    elif shown != ours and not (
        isinstance(shown, float | int) and isinstance(ours, float | int) and _same(shown, ours)
    ):
        yield f"{where}: {str(shown)[:80]!r} is shown, and it is {str(ours)[:80]!r}"
