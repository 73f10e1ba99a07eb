"""
A word of ours that says what somebody was given to see, so that it can be recorded once it was seen.

Signed with the study's salt and bound to the unit: whoever holds it can change nothing of it, and it is of no use to another.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from autoresearch.live.records import Exposure

SHAPE = r"^[A-Za-z0-9_-]{10,2400}\.[A-Za-z0-9_-]{22}$"
SOURCE = "serve"  # of every record that our own server makes

Proof = Annotated[str, Meta(pattern=SHAPE, description="What /decide or the page said was given to see.")]


class _Given(Struct, frozen=True, array_like=True):
    cell: str
    segment: str
    plan: int
    chance: float
    held: bool
    at: float


def of(salt: bytes, exposure: Exposure) -> str:
    """The word for an exposure that has not happened yet; its `at` says when it was given."""
    given = _Given(exposure.cell, exposure.segment, exposure.plan, exposure.chance, exposure.held, exposure.at)
    body = base64.urlsafe_b64encode(msgspec.msgpack.encode(given)).rstrip(b"=")
    return f"{body.decode()}.{_mark(salt, exposure.unit, body)}"


def exposure(salt: bytes, unit: str, proof: str, at: float, within_s: float | None = None) -> Exposure | None:
    """What the word stands for, seen at `at`; None where it is not ours, is another's, or is older than `within_s`."""
    body, _, mark = proof.partition(".")
    if not hmac.compare_digest(
        mark.encode(errors="replace"), _mark(salt, unit, body.encode(errors="replace")).encode()
    ):
        return None
    try:
        given = msgspec.msgpack.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=_Given)
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        return None
    if within_s is not None and not -within_s <= at - given.at <= within_s:
        return None
    return shown(unit, given.cell, given.segment, given.plan, given.chance, given.held, at)


def shown(unit: str, cell: str, segment: str, plan: int, chance: float, held: bool, at: float) -> Exposure:
    """The record of a first exposure; one unit has one, whoever reports it and however often."""
    return Exposure(
        source=SOURCE, id=unit, at=at, unit=unit, cell=cell, segment=segment, plan=plan, chance=chance, held=held
    )


def _mark(salt: bytes, unit: str, body: bytes) -> str:
    word = hmac.new(salt, b"proof\0" + unit.encode() + b"\0" + body, hashlib.sha256).digest()[:16]
    return base64.urlsafe_b64encode(word).rstrip(b"=").decode()
