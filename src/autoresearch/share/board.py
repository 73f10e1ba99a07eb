"""
What a set of receipts says: who found what, and what it came to where others measured it again. Pure functions.

Nothing here believes a word: a gain is worked out from the runs that a receipt lists, a replication from those of whoever
measured the finding again, and a run is counted once, however many receipts it is in. Values are compared within one
study, one tier and one budget, and nowhere else.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean
from typing import Literal

from msgspec import Struct, field

from autoresearch.share.book import Book
from autoresearch.share.receipt import Entry, Finding, Hello, Ran

HALF = 0.5  # of a claimed gain: winners are lucky, so the half of it, found again, holds
SURE = 2.0  # standard errors by which what is found has to miss that half before it refutes
KEY_SHOWN = 6  # characters of a key beside a name: 36 bits
NOBODY = "somebody"

Standing = Literal["holds", "refuted", "open"]
Place = tuple[str, str, str]  # study, tier, budget: where values compare


class Measured(Struct, frozen=True, gc=False):
    """
    What a finding's own runs say: mean values, gain over its base (positive is better) with the standard error that its
    author's noise gives, None where that is not known, and whether it did not run at all.
    """

    value: float | None
    base_value: float | None
    gain: float | None
    error: float | None
    failed: bool


def measured(finding: Finding) -> Measured:
    """Seed by seed where there are pairs, else from the means."""
    mine, base = _values(finding.runs), _values(finding.base_runs)
    sign = 1.0 if finding.direction == "maximize" else -1.0
    pairs = [sign * (mine[seed] - base[seed]) for seed in sorted(mine.keys() & base.keys())]
    value, before = _mean(mine.values()), _mean(base.values())
    gain = _mean(pairs)
    if gain is None and value is not None and before is not None:
        gain = sign * (value - before)
    known = finding.noise is not None and gain is not None
    n, m = (len(pairs), len(pairs)) if pairs else (len(mine), len(base))
    error = (finding.noise or 0.0) * math.sqrt(1 / n + 1 / m) if known else None
    return Measured(value, before, gain, error, bool(finding.runs) and value is None)


def _values(runs: Iterable[Ran]) -> dict[int, float]:
    return {run.seed: run.value for run in runs if run.value is not None}


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return fmean(found) if found else None


class Told(Struct):
    """
    A finding, what its runs come to, and the findings of those who measured it again, by peer: the first of each.

    All that is worked out from a finding begins with its runs, so what they come to is worked out once.
    """

    entry: Entry
    finding: Finding
    numbers: Measured
    again: dict[str, "Told"] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.entry.id

    @property
    def peer(self) -> str:
        return self.entry.receipt.peer

    @property
    def place(self) -> Place:
        return self.finding.study, self.finding.tier, self.finding.budget

    @property
    def claims(self) -> bool:
        """Whether it says that something helps, and is nobody else's. The start, which is kept too, is held against nothing."""
        return self.finding.word == "keep" and not self.finding.about and bool(self.finding.base_runs)

    @property
    def adopted(self) -> bool:
        """Whether it is somebody else's finding, kept here after it was measured here."""
        return self.finding.word == "keep" and bool(self.finding.about)


class Member(Struct):
    """A peer: what it calls itself and its machine, its runs by number, and the number at which it was caught, or 0."""

    peer: str
    name: str = ""
    tier: str = ""
    box: str = ""
    receipts: int = 0
    runs: dict[tuple[str, int], float | None] = field(default_factory=dict)  # (study, number) -> value
    caught: int = 0


class Swarm(Struct):
    """All of it: findings by id in the order in which they came to be known here, and who is in it."""

    findings: dict[str, Told] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    keys: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # (study, key) -> findings
    waiting: dict[str, list[Told]] = field(default_factory=dict)  # measured again what is not known here yet

    def add(self, entry: Entry) -> None:
        """Take in one receipt more. The same receipts in any order give the same, but for the order of findings."""
        peer, body = entry.receipt.peer, entry.receipt.body
        member = self.members.setdefault(peer, Member(peer))
        member.receipts += 1
        match body:
            case Hello():
                member.name, member.tier, member.box = body.name, body.tier, body.box
            case Finding():
                self._find(member, Told(entry, body, measured(body)))

    def _find(self, member: Member, told: Told) -> None:
        finding = told.finding
        member.runs |= {(finding.study, run.run): run.value for run in (*finding.runs, *finding.base_runs)}
        self.findings[told.id] = told
        self.keys.setdefault((finding.study, finding.key), []).append(told.id)
        for later in self.waiting.pop(told.id, ()):
            _measured_again(told, later)
        if finding.about:
            about = self.findings.get(finding.about)
            if about is None:
                self.waiting.setdefault(finding.about, []).append(told)
            else:
                _measured_again(about, told)

    def tell_apart(self, heads: Iterable[tuple[str, int]]) -> None:
        """Note who was caught, and at which number."""
        for peer, number in heads:
            self.members.setdefault(peer, Member(peer)).caught = number


def named(members: Mapping[str, Member], peer: str) -> str:
    """What a peer calls itself, with the beginning of its key, since names are free."""
    member = members.get(peer)
    return f"{called(member) if member else NOBODY} ({peer[:KEY_SHOWN]})"


def called(member: Member) -> str:
    """A name that can be shown: it is a stranger's text."""
    return "".join(c for c in member.name if c.isprintable()).strip() or NOBODY


def _measured_again(about: Told, later: Told) -> None:
    """Nobody replicates himself, and nobody counts twice; of several, the one with the lowest number counts."""
    known = about.again.get(later.peer)
    if later.peer == about.peer or later.finding.study != about.finding.study:
        return
    if known is None or later.entry.receipt.seq < known.entry.receipt.seq:
        about.again[later.peer] = later


def fold(entries: Iterable[Entry]) -> Swarm:
    found = Swarm()
    for entry in entries:
        found.add(entry)
    return found


def read_book(book: Book) -> Swarm:
    """All that a book says."""
    found = fold(tuple(book.entries.values()))
    found.tell_apart(book.caught_at())
    return found


def standing(about: Told, again: Told) -> Standing:
    """
    What measuring a finding again came to, by the numbers. On the same kind of machine, a gain that is clearly less than half
    of what was claimed refutes; on another it says how far the finding carries.
    """
    claimed, found = about.numbers, again.numbers
    if found.failed:
        return "refuted"
    if claimed.gain is None or found.gain is None or claimed.gain <= 0:
        return "open"
    if again.finding.word == "keep" and found.gain > 0:
        return "holds"
    if found.gain + SURE * (found.error or 0.0) < HALF * claimed.gain:
        return "refuted"
    return "holds" if found.gain >= HALF * claimed.gain else "open"


def here(told: Told) -> Iterator[Told]:
    """Who measured a finding again where its values compare."""
    return (again for again in told.again.values() if again.place == told.place)


def evidence(told: Told) -> tuple[int, int]:
    """By how many peers a finding was replicated, and by how many refuted, on its own kind of machine."""
    found = [standing(told, again) for again in here(told)]
    return found.count("holds"), found.count("refuted")
