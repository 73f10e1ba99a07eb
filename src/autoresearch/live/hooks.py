"""
The door for webhooks: who may knock, and what a delivery says. A pure function of a request and the time.

A source proves itself in one of three ways, as far as its program can:

- `stamped`: X-Timestamp (seconds since 1970) and X-Signature, the HMAC-SHA256 of timestamp, a full stop and the raw body, in hex. An
  old request is refused. What we ask of whoever can choose.
- `signed`: HMAC-SHA256 of the raw body alone, in hex after "sha256=", in X-Smartlead-Signature (or X-Signature).
- `token`: a secret word in the header X-Token or Authorization ("Bearer ..."), or, for programs that can set no header, as the last part of
  the address. For Instantly, which signs nothing. Whoever reads the word can lie, so it is worth a secret of its own.

All are compared in constant time. A delivery that comes twice is harmless, since its records are known by source and id; nothing
is kept of one that is refused. Answer 2xx only after `Store.add` has returned, and the source will try again otherwise.
"""

import hashlib
import hmac
from collections import Counter
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from autoresearch.live import settings
from autoresearch.live.mappings import SHAPES, SKEW_S, Event, UnitOf, too_early
from autoresearch.live.records import AnyRecord

LARGEST = 1 << 20  # bytes of a body
MOST_EVENTS = 1000  # in one delivery


class Source(settings.Hook, frozen=True):
    """Somebody who may tell us events, with the secret itself: `name` is also what their records are known by."""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.check_secret(self.secret)  # the word itself by now, whatever it begins with

    def __repr__(self) -> str:
        return f"Source({self.name!r}, shape={self.shape!r}, proof={self.proof!r})"


class Refusal(Struct, frozen=True):
    """A status of HTTP, and why, in words that may be sent back."""

    status: int
    why: str


class Delivery(Struct, frozen=True):
    """What a delivery says, and how many events of which kinds were ignored."""

    records: tuple[AnyRecord, ...] = ()
    ignored: dict[str, int] = {}


def receive(
    body: bytes, headers: Mapping[str, str], now: float, source: Source, unit_of: UnitOf, token: str = ""
) -> Delivery | Refusal:
    """
    `headers`: names in lower case. `token`: what the address ends with, where it has such a part. `unit_of`: the study's `plan.unit` with
    its salt.
    """
    if len(body) > LARGEST:
        return Refusal(413, f"a delivery has {LARGEST:,} bytes at most")
    if refusal := _stranger(body, headers, now, source, token):
        return refusal
    try:
        events = _events(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Refusal(400, "the body is not JSON")
    except ValueError as error:
        return Refusal(422, str(error))
    records: list[AnyRecord] = []
    ignored: Counter[str] = Counter()
    for number, event in enumerate(events):
        try:
            mapped = SHAPES[source.shape](event, source.name, unit_of)
        except ValueError as error:
            return Refusal(422, f"event {number}: {error}")
        if why := too_early(mapped.records, now):
            return Refusal(422, f"event {number}: {why}")
        records += mapped.records
        if mapped.ignored:
            ignored[mapped.ignored] += 1
    return Delivery(tuple(records), dict(ignored))


def sign(secret: str, body: bytes, at: float) -> dict[str, str]:
    """The headers that a stamped source sends."""
    stamp = str(int(at))
    return {"x-timestamp": stamp, "x-signature": f"sha256={_hmac(secret, stamp.encode() + b'.' + body)}"}


def _stranger(body: bytes, headers: Mapping[str, str], now: float, source: Source, token: str) -> Refusal | None:
    """Why this is not the source, or not now; None where it is."""
    if source.proof == "token":
        told = headers.get("x-token") or headers.get("authorization", "").removeprefix("Bearer ") or token
        return None if _same(told, source.secret) else Refusal(401, "the token is wrong or missing")
    if source.proof == "signed":
        told = headers.get("x-smartlead-signature") or headers.get("x-signature", "")
        expected = _hmac(source.secret, body)
        return (
            None if _same(told.removeprefix("sha256="), expected) else Refusal(401, "the signature is wrong or missing")
        )
    stamp = headers.get("x-timestamp", "")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        return Refusal(401, "X-Timestamp is missing or not in seconds since 1970")
    told = headers.get("x-signature", "").removeprefix("sha256=")
    if not _same(told, _hmac(source.secret, stamp.encode() + b"." + body)):
        return Refusal(401, "the signature is wrong or missing")
    if abs(now - int(stamp)) > SKEW_S:
        return Refusal(401, f"X-Timestamp is more than {SKEW_S:.0f} s from now: too old, or a clock is wrong")
    return None


def _events(body: bytes) -> list[Event]:
    found = msgspec.json.decode(body)
    if isinstance(found, dict) and isinstance(found.get("events"), list):
        found = found["events"]
    events = found if isinstance(found, list) else [found]
    if len(events) > MOST_EVENTS:
        raise ValueError(f"a delivery has {MOST_EVENTS} events at most")
    if not all(isinstance(event, dict) for event in events):
        raise ValueError('an event is an object, like {"event": "click", ...}')
    return events


def _hmac(secret: str, content: bytes) -> str:
    return hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


def _same(told: str, expected: str) -> bool:
    return hmac.compare_digest(told.encode("utf-8", "replace"), expected.encode())
