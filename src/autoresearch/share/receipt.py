"""
A receipt: what one peer measured or said, signed, as bytes that are the same wherever they are written.

The bytes are canonical JSON (RFC 8785). The id is the SHA-256 of a line with its peer, its number, the id of that
peer's receipt before, and the SHA-256 of its body; the signature is Ed25519 (RFC 8032) over that line. Each peer numbers
its receipts 1, 2, 3, so nothing can be left out, put in between, or told in two ways without proof: two lines and their
signatures. Fields, one by one: docs/receipts.md.

Knows bytes and bounds. Whoever made a receipt is a stranger: text in it is data, and nothing in it is believed.
"""

import hashlib
import re
from typing import Annotated, Literal

import msgspec
import rfc8785
from msgspec import Meta, Struct

from autoresearch.trial import Direction

VERSION: Literal[1] = 1
MOST_BYTES = 64 << 10  # of a receipt
MOST_PATCH = 40 << 10  # characters: in JSON each line's end takes two bytes, and so does each quote
MOST_RUNS = 256
LARGEST = 2**53 - 1  # whole numbers beyond are not the same in every JSON
PLAIN = 1e-4  # floats from here on, but for whole ones, are written alike by msgspec and in RFC 8785; tests/test_receipts.py

PEER = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 bytes in base64url
ID = re.compile(r"[0-9a-f]{64}")

Peer = Annotated[str, Meta(pattern=f"^{PEER.pattern}\\Z")]
Id = Annotated[str, Meta(pattern=f"^{ID.pattern}\\Z")]
MaybeId = Annotated[str, Meta(pattern=f"^({ID.pattern})?\\Z")]
Tree = Annotated[str, Meta(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})\Z")]  # git's id of a folder's content
Short = Annotated[str, Meta(max_length=120)]
Line = Annotated[str, Meta(max_length=500)]
Number = Annotated[int, Meta(ge=0, le=LARGEST)]
Word = Literal["keep", "discard", "inconclusive", "crash", "timeout", "stale", "suspect"]


class Refused(Exception):
    """A receipt is not taken: why, in a clause. Nothing was changed."""


# gc=False: none of these can hold itself, and where there are 100,000 Python looks through all of them again and again, which was
# half of the time that a book took to be opened.
class Ran(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One run: its number in its author's study, the seed's number, and its value where it gave one."""

    run: Number
    seed: Number
    value: float | None = None


class Hello(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag="hello", tag_field="kind"):
    """
    Who joins: a name to be called by, what its machine is, and where sealed messages go (an X25519 key). `ticket` is the
    swarm's signature over the peer's key, where one needs an invitation. Said again where name or machine have changed.
    """

    name: Annotated[str, Meta(min_length=1, max_length=40)]
    tier: Short
    box: Peer
    ticket: Annotated[str, Meta(max_length=86)] = ""


class Finding(
    Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag="finding", tag_field="kind", gc=False
):
    """
    What became of one change on one machine, measured beside what it was made on. Whoever measures another's finding
    again says so in `about`: whether it was replicated or refuted follows from these numbers, not from a word.

    `study` says what is optimised, by which referee, with which budget; only within it, and on one `tier`, do values
    compare. `base` is the content that the change was made on, `key` its identity as far as it runs, whoever had it.
    `runs` and `base_runs` are all that it rests on. `noise` is the standard deviation of one run, `cost` what a run took
    in multiples of the base's. `on` are the findings of others that its base holds.
    """

    study: Annotated[str, Meta(pattern=r"^[0-9a-f]{16,64}\Z")]
    tier: Short
    direction: Direction
    budget: Short
    base: Tree
    key: Annotated[str, Meta(pattern=r"^[0-9a-f]{8,64}\Z")]
    word: Word
    idea: Line
    trial: Number
    runs: Annotated[tuple[Ran, ...], Meta(max_length=MOST_RUNS)]
    base_runs: Annotated[tuple[Ran, ...], Meta(max_length=MOST_RUNS)] = ()
    patch: Annotated[str, Meta(max_length=MOST_PATCH)] = ""
    noise: float | None = None
    gain: float | None = None
    error: float | None = None
    cost: float | None = None
    about: MaybeId = ""
    on: Annotated[tuple[Id, ...], Meta(max_length=64)] = ()


class Letter(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag="letter", tag_field="kind"):
    """A message that only `to` can read: sealed.py."""

    to: Peer
    sealed: Annotated[str, Meta(max_length=24 << 10)]


class Ack(Struct, frozen=True, forbid_unknown_fields=True, tag="ack", tag_field="kind"):
    """That a letter was read."""

    letter: Id


class Stub(Struct, frozen=True, forbid_unknown_fields=True):
    """As much of a receipt as its signature is over: `body` is the SHA-256 of its body."""

    seq: Annotated[int, Meta(ge=1, le=LARGEST)]
    prev: MaybeId
    body: Id
    sign: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{86}\Z")]


class Caught(Struct, frozen=True, forbid_unknown_fields=True, tag="caught", tag_field="kind"):
    """Two receipts of one peer with one number: proof that it told two stories."""

    peer: Peer
    one: Stub
    other: Stub


Body = Hello | Finding | Letter | Ack | Caught


class Receipt(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Numbered by its peer from 1 on; `prev` is the id of the one before, `sign` base64url of 64 bytes."""

    v: Literal[1]
    peer: Peer
    seq: Annotated[int, Meta(ge=1, le=LARGEST)]
    prev: MaybeId
    body: Body
    sign: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{86}\Z")]


class Entry(Struct, frozen=True, gc=False):
    """A receipt with its id and that of its body."""

    receipt: Receipt
    id: str
    body_id: str

    @property
    def stub(self) -> Stub:
        return Stub(self.receipt.seq, self.receipt.prev, self.body_id, self.receipt.sign)


_decoder = msgspec.json.Decoder(Receipt)
_encoder = msgspec.json.Encoder(order="sorted")


def canonical(record: object) -> bytes:
    """
    The one way to write a record as JSON.

    Raises:
        ValueError: it holds a number that JSON has no way to write.
    """
    body = record.body if isinstance(record, Receipt) else record
    if isinstance(body, Finding) and _is_plain(body):
        return _encoder.encode(record)  # 2 us in place of 60, which is what a receipt took to be read
    try:
        return rfc8785.dumps(msgspec.to_builtins(record))
    except rfc8785.CanonicalizationError as error:
        raise ValueError(str(error)) from None


def _is_plain(finding: Finding) -> bool:
    """Whether msgspec writes its numbers as RFC 8785 does: it adds .0 to whole ones, and tiny ones get another exponent."""
    runs = (*finding.runs, *finding.base_runs)
    if max((finding.trial, *(max(run.run, run.seed) for run in runs))) > LARGEST:
        return False
    floats = (finding.noise, finding.gain, finding.error, finding.cost, *(run.value for run in runs))
    return all(each is None or (PLAIN <= abs(each) < LARGEST and each % 1 != 0) for each in floats)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def signed(peer: str, seq: int, prev: str, body_id: str) -> bytes:
    """The line that a signature is over. No other thing that is signed begins like it."""
    return f"autoresearch receipt {VERSION} {peer} {seq} {prev or '-'} {body_id}".encode()


def read(data: bytes, *, ours: bool = False) -> Entry:
    """
    A receipt, as far as bytes can show it; the signature is for identity.py to look at. `ours` is a file of our own, which was
    looked at when it was written.

    Raises:
        Refused: too large, malformed, of a later version, or written in another way than the one.
    """
    if len(data) > MOST_BYTES:
        raise Refused(f"it is larger than {MOST_BYTES >> 10} KiB")
    try:
        found = _decoder.decode(data)
        if not ours and canonical(found) != data:
            raise Refused("it is not canonical JSON")
        # Sorted by name, the body comes first, and no name after it holds a text that its peer may choose freely.
        body_id = sha256(data[len('{"body":') : data.rindex(b',"peer":"')])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused(f"it is malformed ({_short(error)})") from None
    if (found.seq == 1) != (not found.prev):
        raise Refused("its number and the receipt before it do not fit")
    return Entry(found, sha256(signed(found.peer, found.seq, found.prev, body_id)), body_id)


def _short(error: Exception) -> str:
    """What is wrong and where, without what the stranger wrote."""
    if not isinstance(error, msgspec.ValidationError):
        return type(error).__name__
    what, at, where = str(error).rpartition(" - at ")
    return f"{what[:80]}{at}{where[:60]}"
