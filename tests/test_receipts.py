"""Receipts: one way to write each, and nothing else is taken, whoever sends it."""

import json
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from lossy import finding, hello, identity
from msgspec import structs

from autoresearch.share import receipt
from autoresearch.share.identity import check, verify
from autoresearch.share.receipt import Body, Caught, Entry, Finding, Ran, Receipt, Refused, Stub

ME = identity(1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
numbers = st.integers(0, receipt.LARGEST)
floats = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6).map(lambda n: n / 10**4)
hexes = st.text("0123456789abcdef", min_size=64, max_size=64)
runs = st.lists(st.builds(Ran, numbers, numbers, st.none() | floats), max_size=4).map(tuple)
findings = st.builds(
    Finding,
    study=hexes,
    tier=texts,
    direction=st.sampled_from(["minimize", "maximize"]),
    budget=texts,
    base=hexes,
    key=hexes,
    word=st.sampled_from(["keep", "discard", "crash"]),
    idea=texts,
    trial=numbers,
    runs=runs,
    base_runs=runs,
    patch=texts,
    noise=st.none() | floats,
    gain=st.none() | floats,
    error=st.none() | floats,
    cost=st.none() | floats,
    about=st.just("") | hexes,
    on=st.lists(hexes, max_size=3).map(tuple),
)


def read(data: bytes) -> Entry | None:
    try:
        return receipt.read(data)
    except Refused:
        return None


@given(findings)
def test_any_finding_comes_back_from_its_bytes_with_the_same_id(body: Finding) -> None:
    data = ME.receipt(2, "0" * 64, body)
    entry = receipt.read(data)
    assert entry.receipt.body == body
    assert receipt.canonical(entry.receipt) == data
    check(ME.peer, entry.stub)
    assert receipt.read(receipt.canonical(entry.receipt)).id == entry.id
    assert receipt.read(data, ours=True) == entry


@given(findings)
def test_the_quick_way_to_write_a_finding_is_the_same_as_the_standards(body: Finding) -> None:
    assert receipt.canonical(body) == rfc8785.dumps(msgspec.to_builtins(body))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_cannot_be_written(value: float) -> None:
    with pytest.raises(ValueError, match=r"float|finite|nan|inf"):
        receipt.canonical(structs.replace(finding(1), gain=value))


@given(st.binary(max_size=300) | texts.map(str.encode))
def test_any_bytes_are_a_receipt_or_refused_and_nothing_else(data: bytes) -> None:
    read(data)
    for ours in (True, False):
        try:
            receipt.read(data, ours=ours)
        except Refused:
            pass


json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(["v", "peer", "seq", "prev", "body", "sign", "body.study", "body.runs", "body.kind"]), json_values
)
def test_a_receipt_with_any_value_in_the_place_of_another_is_a_receipt_or_refused(where: str, value: object) -> None:
    made: dict[str, Any] = json.loads(ME.receipt(1, "", finding(1)))
    at = made["body"] if "." in where else made
    at[where.rpartition(".")[2]] = value
    read(json.dumps(made, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass"))


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_byte_can_be_changed(at: int, by: int) -> None:
    data = bytearray(ME.receipt(1, "", finding(1)))
    whole = receipt.read(bytes(data))
    data[at % len(data)] ^= by
    entry = read(bytes(data))
    if entry is None:
        return
    assert (entry.id, entry.stub) != (whole.id, whole.stub)
    with pytest.raises(Refused, match="signature"):
        check(entry.receipt.peer, entry.stub)


def written(**changes: object) -> bytes:
    made: dict[str, Any] = json.loads(ME.receipt(1, "", hello(1)))
    return json.dumps(made | changes, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(written() + b" ", id="a space after it"),
        pytest.param(b" " + written(), id="a space before it"),
        pytest.param(written().replace(b":", b": ", 1), id="a space in it"),
        pytest.param(written().replace(b'"name"', b'"\\u006eame"'), id="a letter that is escaped"),
        pytest.param(written().replace(b'"seq":1', b'"seq":1.0'), id="a number written longer"),
        pytest.param(written().replace(b'"seq":1', b'"seq":1,"seq":1'), id="a name twice"),
        pytest.param(written(more=1), id="a name that is none"),
        pytest.param(written(v=2), id="of a later version"),
        pytest.param(written(seq=2), id="the second without a first"),
        pytest.param(written(seq=0), id="number 0"),
        pytest.param(written(prev="0" * 64), id="the first with one before it"),
        pytest.param(written(peer=ME.peer + "\n"), id="a peer with a line break"),
        pytest.param(json.dumps(json.loads(written())).encode(), id="JSON as others write it"),
        pytest.param(b'{"body":' * 5000, id="too deep"),
        pytest.param(b"[" * (receipt.MOST_BYTES + 1), id="too large"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_written_in_another_way_is_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        receipt.read(data)
    try:
        receipt.read(data, ours=True)  # never another error
    except Refused:
        pass


def test_what_is_too_large_cannot_be_said() -> None:
    large = msgspec.structs.replace(finding(1), patch='"' * receipt.MOST_PATCH)
    with pytest.raises(ValueError, match="larger"):
        ME.receipt(1, "", large)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r".+"):
            ME.receipt(1, "", msgspec.structs.replace(finding(1), noise=bad))


@pytest.mark.parametrize(
    "body", [finding(1), hello(1), Caught(ME.peer, Stub(1, "", "0" * 64, "A" * 86), Stub(1, "", "1" * 64, "A" * 86))]
)
def test_a_signature_is_for_one_peer_one_number_and_one_place(body: Body) -> None:
    r = receipt.read(ME.receipt(3, "1" * 64, body)).receipt
    others = [
        Receipt(1, identity(2).peer, r.seq, r.prev, r.body, r.sign),
        Receipt(1, r.peer, 4, r.prev, r.body, r.sign),
        Receipt(1, r.peer, r.seq, "2" * 64, r.body, r.sign),
        Receipt(1, r.peer, r.seq, r.prev, finding(2), r.sign),
    ]
    for other in others:
        entry = receipt.read(receipt.canonical(other))
        with pytest.raises(Refused, match="signature"):
            check(other.peer, entry.stub)


@given(st.text(max_size=90), st.text(max_size=90))
def test_no_text_in_the_place_of_a_key_or_a_signature_breaks_the_check(peer: str, sign: str) -> None:
    assert not verify(peer, b"said", sign)
    assert not verify(ME.peer, b"said", sign)
