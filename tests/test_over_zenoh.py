"""Sharing over Zenoh: real sessions on loopback, some of them in processes that are killed, and strangers among them."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zenoh
from helpers import PYTHON
from lossy import STUDY, finding, hello, identity
from swarm_node import Running, until, until_equal

from autoresearch.errors import StudyError
from autoresearch.share import over_zenoh
from autoresearch.share.book import Book
from autoresearch.share.exchange import Exchange
from autoresearch.share.over_zenoh import OverZenoh
from autoresearch.share.receipt import MOST_BYTES

ROOT = f"autoresearch/{STUDY}"


class Peer:
    def __init__(self, number: int, *connect: str) -> None:
        self.me, self.book, self.refused = identity(number), Book(), list[str]()
        self.exchange = Exchange(self.book, self.me, 1, lambda: 0.0, self.refused.append)
        self.share = OverZenoh(self.exchange, STUDY, connect=connect)
        self.first = self.book.say(self.me, hello(number))

    def turn(self) -> str:
        said = self.share.turn()
        self.share.beat(self.exchange.beacon())
        return said

    def knows(self, other: "Peer") -> bool:
        return other.me.peer in self.book.chains


Meet = Callable[..., Peer]


@pytest.fixture
def meet() -> Iterator[Meet]:
    """A peer on loopback, closed in the end."""
    met: list[Peer] = []

    def one(number: int, *connect: str) -> Peer:
        met.append(Peer(number, *connect))
        return met[-1]

    yield one
    for peer in met:
        peer.share.close()


def test_nobody_is_woken_for_ever_who_is_alone() -> None:
    peer, woken = Peer(1), list[int]()
    peer.share = OverZenoh(peer.exchange, STUDY, wake=lambda: woken.append(1))
    for _ in range(20):
        peer.share.turn()
        time.sleep(0.02)
    peer.share.close()
    assert not woken


def turn_until(true: Callable[[], bool], *peers: Peer) -> None:
    def turned() -> bool:
        for peer in peers:
            peer.turn()
        return true()

    until(turned, "so")


def equal(*peers: Peer) -> Callable[[], bool]:
    return lambda: len({peer.book.digest() for peer in peers}) == 1 and len(peers[0].book.chains) == len(peers)


def test_eight_processes_who_lose_a_fifth_five_of_them_killed_and_one_late(tmp_path: Path) -> None:
    nodes = [Running(tmp_path, 1, "zenoh")]
    try:
        until(lambda: bool(nodes[0].endpoint), "open")
        nodes += [Running(tmp_path, n, "zenoh", nodes[0].endpoint) for n in range(2, 8)]
        until(lambda: all(node.receipts >= 7 for node in nodes), "met", nodes)  # who knows only a dead peer is alone
        for node in nodes:
            node.say(20)
        until(lambda: all(len(node.said) >= 10 for node in nodes), "said", nodes)
        for node in nodes[:5]:
            node.kill()
        nodes.append(Running(tmp_path, 8, "zenoh", nodes[6].endpoint))
        for node in nodes[:5]:
            node.restart(nodes[5].endpoint)
        for node in nodes:
            node.say(5)
        until(lambda: all(len(node.said) >= (5 if node.args[1] == 8 else 15) for node in nodes), "said", nodes)
        until_equal(nodes)
    finally:
        for node in nodes:
            node.kill()


def test_a_finding_is_there_at_once_and_who_comes_late_asks_for_the_rest(meet: Meet) -> None:
    one = meet(1)
    assert one.turn() == ""
    two = meet(2, one.share.endpoint)
    turn_until(equal(one, two), one, two)
    one.share.show(one.book.say(one.me, finding(1)))
    until(lambda: two.share.turn() == "" and two.book.head(one.me.peer).seq == 2, "told without being asked")
    for k in range(200):
        one.book.say(one.me, finding(k))
    late = meet(3, two.share.endpoint)
    turn_until(equal(one, two, late), one, two, late)
    assert len(late.book.entries) == 204
    assert not [*one.refused, *two.refused, *late.refused]


def test_a_network_that_is_not_there_is_a_sentence_and_nothing_waits_for_it(meet: Meet) -> None:
    lonely = meet(1, "tcp/127.0.0.1:9")
    lonely.share.show(lonely.first)
    lonely.share.beat(lonely.exchange.beacon())
    assert lonely.share.turn() == "sharing over zenoh: nobody is reached at tcp/127.0.0.1:9"
    lonely.share.show(lonely.first)
    assert "nobody" in lonely.share.turn()
    taken = meet(2)
    taken.share.listen = lonely.share.endpoint
    assert taken.turn().startswith("sharing over zenoh: ")
    taken.share.listen = over_zenoh.LOOPBACK
    assert taken.turn() == ""
    lonely.share.close()
    lonely.share.close()


def test_who_was_not_there_yet_or_was_away_is_found_when_he_comes(meet: Meet) -> None:
    endpoint = over_zenoh._with_port(over_zenoh.LOOPBACK)
    early = meet(1, endpoint)
    assert "nobody" in early.turn()
    for number in (2, 3):
        founder = meet(number)
        founder.share.listen = endpoint
        turn_until(lambda founder=founder: early.knows(founder) and founder.knows(early), early, founder)  # type: ignore[misc]
        founder.share.close()


@pytest.mark.parametrize(("listen", "connect"), [("nonsense", []), (over_zenoh.LOOPBACK, ["7447"])])
def test_an_endpoint_that_is_none_is_told_at_once(listen: str, connect: list[str]) -> None:
    exchange = Exchange(Book(), identity(1), 1, lambda: 0.0)
    with pytest.raises(StudyError, match="endpoints"):
        OverZenoh(exchange, STUDY, listen, connect)


def a_stranger(endpoint: str) -> zenoh.Session:
    config = zenoh.Config()
    config.insert_json5("connect/endpoints", f'["{endpoint}"]')
    config.insert_json5("listen/endpoints", "[]")
    config.insert_json5("scouting/multicast/enabled", "false")
    session = zenoh.open(config)
    until(lambda: bool(session.info.peers_zid()), "connected")
    return session


def test_what_a_stranger_pushes_is_bounded_before_it_is_read(meet: Meet) -> None:
    one, two = meet(1), meet(2)
    one.turn()
    with a_stranger(one.share.endpoint) as stranger:
        time.sleep(0.2)  # his side learns of our keys
        seen: list[bytes] = []
        take = one.exchange.take
        one.exchange.take = lambda data: bool(seen.append(data)) or take(data)  # type: ignore[func-returns-value,method-assign]
        block = zenoh.CongestionControl.BLOCK
        for data in (b"x" * (MOST_BYTES + 1), *([b"x"] * 500)):
            stranger.put(f"{ROOT}/r/{two.me.peer}", data, congestion_control=block)
        stranger.put(f"{ROOT}/r/nobody", b"x", congestion_control=block)
        stranger.put(f"{ROOT}/b/{two.me.peer}", b"{" * 100_000, congestion_control=block)
        stranger.put(f"{ROOT}/r/{identity(3).peer}", two.first, congestion_control=block)
        until(lambda: bool(one.share._came) and one.share._came[-1][2] == two.first, "come")
        assert len(one.share._came) == over_zenoh.OF_ONE["r"] + 1
        assert one.turn() == ""
        assert seen.count(b"x") == over_zenoh.OF_ONE["r"]
        assert one.book.head(two.me.peer).seq == 1  # whoever brings it
        for number in range(40):
            for _ in range(over_zenoh.OF_ONE["r"]):
                stranger.put(f"{ROOT}/r/{identity(100 + number).peer}", b"y", congestion_control=block)
        until(lambda: len(one.share._came) == over_zenoh.QUEUED, "full")
        until(lambda: one.turn() == "" and not one.share._came, "empty")


def test_questions_of_strangers_and_answers_in_anothers_place_do_no_harm(meet: Meet) -> None:
    one = meet(1)
    one.turn()
    with a_stranger(one.share.endpoint) as stranger:

        def answer(query: zenoh.Query) -> None:
            query.reply(str(query.key_expr), b"\xff\n{}\n" + b"z" * 1000)

        stranger.declare_queryable(f"{ROOT}/q/*", zenoh.handlers.Callback(answer))
        stranger.declare_queryable(f"{ROOT}/b/*", zenoh.handlers.Callback(answer))
        time.sleep(0.2)
        got: list[bytes] = []
        done: list[bool] = []
        for data in (b"{}", b"no question", b"x" * ((2 << 20) + 1), b""):
            handler: zenoh.handlers.Callback[zenoh.Reply] = zenoh.handlers.Callback(
                lambda reply: got.append(reply.ok.payload.to_bytes() if reply.ok else b""), lambda: done.append(True)
            )
            stranger.get(f"{ROOT}/q/{one.me.peer}", handler, payload=data, timeout=20)
        until(lambda: one.turn() == "" and len(done) == 4, "answered")
        assert one.first in got
        assert one.refused.count("a question is malformed") == 1
        two = meet(2, one.share.endpoint)
        turn_until(equal(one, two), one, two)


def test_without_zenoh_the_extra_is_named() -> None:
    for missing, what in (("zenoh", "over_zenoh"), ("rfc8785", "book"), ("cryptography", "receipt")):
        code = (
            f"import sys; sys.modules[{missing!r}] = None\n"
            "from autoresearch.errors import MissingExtra\n"
            f"try:\n    from autoresearch.share import {what}\n"
            f"    {what}.OverZenoh(type('E', (), {{'me': type('M', (), {{'peer': 'x'}})}}), 'a' * 16)\n"
            "except MissingExtra as error: print(error)"
        )
        done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False)
        assert "pip install 'autoresearch[swarm]'" in done.stdout, done.stderr
    assert sys.modules["zenoh"]
