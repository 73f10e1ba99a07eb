"""
Plans as they are kept, for ever: a year of a hundred a day must fit on one machine.

A cell is kept by its number, and a share as a whole number where it is one of a millionth: 1 kB instead of 3 for 400 cells. What a plan gave
each level, which arrivals are held against, is worked out once.
"""

import itertools
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, func, select

from autoresearch.live.arriving import Gave, gave_each
from autoresearch.live.records import Plan
from autoresearch.live.rows import Words, chunks
from autoresearch.live.schema import PLANS, insert

MILLION = 10**6
MOST_KEPT = 2000  # plans whose shares are remembered: some weeks of many, or years of few


class _Shares(Struct, frozen=True, array_like=True):
    """`steps`: from each cell's number to the next one's. `of`: what the shares are to be divided by."""

    steps: list[int]
    of: int
    shares: list[float]


class _Body(Struct, frozen=True, array_like=True):
    at: float
    seen: int
    seed: int
    default: int
    holdout: float
    segments: dict[str, _Shares]


class Plans:
    """Of one study. `read` and `gave` are for one thread at a time."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.latest = -1  # number of the latest, when one was last looked for in vain
        self._given: dict[int, dict[str, Gave]] = {}  # plan -> segment -> what it gives

    def add(self, connection: Connection, plan: Plan) -> tuple[bool, Mapping[str, int]]:
        """Whether there was none of this number; and the words that `Words.keep` may remember."""
        texts = {plan.default, *(cell for shares in plan.shares.values() for cell in shares)}
        numbers = self.words.numbers(connection, texts, make=True)
        segments = {segment: _packed(shares, numbers) for segment, shares in plan.shares.items()}
        body = _Body(plan.at, plan.seen, plan.seed, numbers[plan.default], plan.holdout, segments)
        packed = zlib.compress(msgspec.json.encode(body))
        made = insert(connection, PLANS).values(study=self.words.study, number=plan.number, body=packed)
        made = made.on_conflict_do_nothing().returning(PLANS.c.number)
        return connection.execute(made).first() is not None, numbers

    def last(self, connection: Connection) -> Plan | None:
        c = PLANS.c
        asked = select(c.number, c.body).where(c.study == self.words.study).order_by(c.number.desc()).limit(1)
        return next(iter(self._unpacked(connection, asked)), None)

    def some(self, connection: Connection, numbers: Iterable[int]) -> list[Plan]:
        """Those of these numbers that are there."""
        c = PLANS.c
        asked = select(c.number, c.body).where(c.study == self.words.study)
        return [plan for few in chunks(numbers) for plan in self._unpacked(connection, asked.where(c.number.in_(few)))]

    def since(self, connection: Connection, number: int) -> list[Plan]:
        """In order."""
        c = PLANS.c
        asked = select(c.number, c.body).where(c.study == self.words.study, c.number >= number).order_by(c.number)
        return self._unpacked(connection, asked)

    def read(self, connection: Connection, numbers: set[int]) -> None:
        """So that `gave` knows these."""
        missing = numbers - self._given.keys()
        if not missing:
            return
        self._given |= {plan.number: gave_each(plan) for plan in self.some(connection, missing)}
        if missing - self._given.keys():
            asked = select(func.max(PLANS.c.number)).where(PLANS.c.study == self.words.study)
            there = connection.execute(asked).scalar_one()
            self.latest = self.latest if there is None else max(self.latest, there)
        for old in sorted(self._given.keys() - numbers)[: max(0, len(self._given) - MOST_KEPT)]:
            del self._given[old]

    def gave(self, number: int, segment: str) -> Gave | None:
        """What a plan gave a segment; None of one that is not there."""
        given = self._given.get(number)
        return None if given is None else given.get(segment) or given[""]

    def _unpacked(self, connection: Connection, asked: Any) -> list[Plan]:
        bodies = [(number, _decode(zlib.decompress(body))) for number, body in connection.execute(asked).all()]
        wanted = {body.default for _, body in bodies}
        wanted.update(
            n for _, body in bodies for one in body.segments.values() for n in itertools.accumulate(one.steps)
        )
        texts = self.words.texts(connection, wanted)
        return [
            Plan(
                number,
                body.at,
                body.seen,
                body.seed,
                texts[body.default],
                body.holdout,
                {segment: _read(shares, texts) for segment, shares in body.segments.items()},
            )
            for number, body in bodies
        ]


_decode = msgspec.json.Decoder(_Body).decode


def _packed(shares: Mapping[str, float], numbers: Mapping[str, int]) -> _Shares:
    cells = [numbers[cell] for cell in shares]
    steps = [b - a for a, b in itertools.pairwise((0, *cells))]
    whole = [round(share * MILLION) for share in shares.values()]
    if all(n / MILLION == share for n, share in zip(whole, shares.values(), strict=True)):
        return _Shares(steps, MILLION, whole)  # type: ignore[arg-type]
    return _Shares(steps, 1, list(shares.values()))


def _read(packed: _Shares, texts: Mapping[int, str]) -> dict[str, float]:
    cells = itertools.accumulate(packed.steps)
    return {texts[cell]: share / packed.of for cell, share in zip(cells, packed.shares, strict=True)}
