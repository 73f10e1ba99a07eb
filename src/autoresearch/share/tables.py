"""
What people look at: boards, who adopted what, and how far findings carry. Pure functions of a swarm, in plain records.

A board is of one study, one tier and one budget; no table puts two of them side by side in one column.
"""

import math
from collections.abc import Iterator
from statistics import fmean, stdev

from msgspec import Struct

from autoresearch.share import prior_art
from autoresearch.share.board import Member, Place, Swarm, Told, evidence, standing
from autoresearch.stats.evidence import t_quantile


class Peer(Struct, frozen=True):
    """A peer and what it did: runs are counted once each, whatever receipts they are in."""

    peer: str
    name: str
    tier: str
    receipts: int
    runs: int
    findings: int
    replicated: int  # findings of others that held where it measured them again
    refuted: int  # ... and that did not
    caught: int


class Row(Struct, frozen=True):
    """A peer's best on a board: its mean value, and by how many its finding was replicated and refuted there."""

    peer: str
    name: str
    value: float
    runs: int
    finding: str
    idea: str
    known: tuple[str, ...]
    replicated: int
    refuted: int


class Board(Struct, frozen=True):
    study: str
    tier: str
    budget: str
    direction: str
    rows: tuple[Row, ...]


class Adoption(Struct, frozen=True):
    """Who took up whose finding, after measuring it; `order` is the taker's own number of that receipt."""

    finding: str
    of: str
    by: str
    tier: str
    gain: float | None
    order: int


class Carried(Struct, frozen=True):
    """
    A finding on one tier: mean gain of all who measured it there with a 95 % interval, which is infinite for one alone whose
    noise is not known; and how many they are.
    """

    finding: str
    tier: str
    n: int
    gain: float
    low: float
    high: float


class Listed(Struct, frozen=True):
    """A claim, and what became of it: `word` is what most of those say who measured it on the same kind of machine."""

    finding: str
    peer: str
    name: str
    tier: str
    study: str
    gain: float | None
    word: str  # holds, refuted or open
    replicated: int
    refuted: int
    idea: str
    known: tuple[str, ...]


class Tables(Struct, frozen=True):
    """All that can be worked out from receipts alone."""

    digest: str
    peers: tuple[Peer, ...]
    runs: int
    boards: tuple[Board, ...]
    adoptions: tuple[Adoption, ...]
    carried: tuple[Carried, ...]


def tables(swarm: Swarm, digest: str) -> Tables:
    """Everything, in an order that does not hang on the order in which receipts came."""
    peers = tuple(_peers(swarm))
    return Tables(
        digest,
        peers,
        sum(peer.runs for peer in peers),
        tuple(boards(swarm)),
        tuple(adoptions(swarm)),
        tuple(carried(swarm)),
    )


def _peers(swarm: Swarm) -> Iterator[Peer]:
    did: dict[str, list[Told]] = {}
    for told in swarm.findings.values():
        did.setdefault(told.peer, []).append(told)
    outcomes: dict[str, list[str]] = {}
    for told in swarm.findings.values():
        for peer, again in told.again.items():
            if again.place == told.place:
                outcomes.setdefault(peer, []).append(standing(told, again))
    for id, member in sorted(swarm.members.items()):
        found = outcomes.get(id, [])
        own = [told for told in did.get(id, ()) if told.claims]
        yield Peer(
            id,
            member.name,
            member.tier,
            member.receipts,
            len(member.runs),
            len(own),
            found.count("holds"),
            found.count("refuted"),
            member.caught,
        )


def boards(swarm: Swarm) -> Iterator[Board]:
    """By study, tier and budget; on each, every peer with its best, the best first."""
    places: dict[Place, dict[str, Told]] = {}
    for told in swarm.findings.values():
        if told.finding.word != "keep" or told.numbers.value is None:
            continue
        best = places.setdefault(told.place, {})
        known = best.get(told.peer)
        if known is None or _order(told) < _order(known):
            best[told.peer] = told
    for place in sorted(places):
        ranked = sorted(places[place].values(), key=_order)
        rows = tuple(_row(swarm.members[told.peer], told) for told in ranked)
        yield Board(*place, ranked[0].finding.direction, rows)


def _order(told: Told) -> tuple[float, str]:
    value = told.numbers.value or 0.0
    return (value if told.finding.direction == "minimize" else -value), told.id


def _row(member: Member, told: Told) -> Row:
    found = told.numbers
    assert found.value is not None
    held, lost = evidence(told)
    labels = prior_art.known(told.finding.idea, told.finding.patch)
    n = len(told.finding.runs)
    return Row(member.peer, member.name, found.value, n, told.id, told.finding.idea, labels, held, lost)


def adoptions(swarm: Swarm) -> Iterator[Adoption]:
    """Each finding that somebody else kept after measuring it."""
    for told in sorted(swarm.findings.values(), key=lambda told: told.id):
        for peer, again in sorted(told.again.items()):
            if again.adopted:
                gain, order = again.numbers.gain, again.entry.receipt.seq
                yield Adoption(told.id, told.peer, peer, again.finding.tier, gain, order)


def taken(swarm: Swarm) -> list[Adoption]:
    """The same adoptions in the order in which they came to be known here: all there is of a time, and no two peers' need agree."""
    known = {told.id: place for place, told in enumerate(swarm.findings.values())}
    at = {(one.finding, one.by): known[swarm.findings[one.finding].again[one.by].id] for one in adoptions(swarm)}
    return sorted(adoptions(swarm), key=lambda one: at[one.finding, one.by])


def carried(swarm: Swarm) -> Iterator[Carried]:
    """For each claim that somebody measured again, each tier that it was measured on, its author's too."""
    for told in sorted(swarm.findings.values(), key=lambda told: told.id):
        if not told.claims or not told.again:
            continue
        seen: dict[str, list[tuple[float, float | None]]] = {}
        for one in (told, *(again for _, again in sorted(told.again.items()))):
            found = one.numbers
            if found.gain is not None:
                seen.setdefault(one.finding.tier, []).append((found.gain, found.error))
        for tier, gains in sorted(seen.items()):
            yield Carried(told.id, tier, len(gains), *_interval(gains))


def findings(swarm: Swarm) -> list[Listed]:
    """Every claim, the one that came last to be known here first."""
    found = []
    for told in reversed(swarm.findings.values()):
        if not told.claims:
            continue
        held, lost = evidence(told)
        member, finding = swarm.members[told.peer], told.finding
        word = "holds" if held > lost else "refuted" if lost > held else "open"
        known = prior_art.known(finding.idea, finding.patch)
        gain = told.numbers.gain
        place = (told.id, told.peer, member.name, finding.tier, finding.study)
        found.append(Listed(*place, gain, word, held, lost, finding.idea, known))
    return found


def _interval(gains: list[tuple[float, float | None]]) -> tuple[float, float, float]:
    """Student's over peers; of one alone, by its own noise."""
    values = [gain for gain, _ in gains]
    middle = fmean(values)
    if len(values) > 1:
        width = t_quantile(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    else:
        error = gains[0][1]
        width = math.inf if error is None else 1.96 * error
    return middle, middle - width, middle + width
