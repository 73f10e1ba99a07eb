"""Thirty-five peers on a bad network come to the same set, whatever is lost, parted, killed or lied about."""

from collections.abc import Iterable
from pathlib import Path

from lossy import Net, Node, finding, hello, identity, turns_until_equal

from autoresearch.share import receipt
from autoresearch.share.book import Head
from autoresearch.share.receipt import Caught

PEERS = 35


def turn(nodes: Iterable[Node]) -> None:
    for node in nodes:
        node.turn()


def test_loss_doubles_disorder_a_partition_killed_nodes_and_a_late_joiner(tmp_path: Path) -> None:
    net = Net(seed=5)
    nodes = [Node(net, number, tmp_path) for number in range(1, PEERS + 1)]
    said = [data for node in nodes for data in node.book.missing({}, 1 << 20)]

    def say(number: int) -> None:
        said.append(nodes[number].say(finding(number)))

    for number in range(0, PEERS, 2):
        say(number)
    turn(nodes)
    north = {node.me.peer for node in nodes[:18]}
    net.passes = lambda one, other: (one in north) == (other in north)
    for _ in range(4):
        for number in range(0, PEERS, 5):
            say(number)
        turn(nodes)
    assert len({node.book.digest() for node in nodes}) > 1
    for number in range(3, 8):  # what they said last is in their files, and perhaps nowhere else
        say(number)
        nodes[number].killed()
    turn(node for node in nodes if node.share.me in net.boxes)
    for number in range(3, 8):
        nodes[number] = nodes[number].restarted()
        say(number)
    net.passes = lambda one, other: True
    turn(nodes)
    late = Node(net, PEERS + 1, tmp_path)
    said.append(receipt.canonical(late.book.entries[late.book.chains[late.me.peer][0]].receipt))
    turns_until_equal([*nodes, late])

    ids = {receipt.read(data).id for data in said}
    assert len(ids) > 2 * PEERS
    for node in [*nodes, late]:
        assert node.book.entries.keys() == ids
        assert not node.refused
        assert node.book.question() == receipt.canonical(node.book.heads())
        assert node.book.digest() == receipt.sha256(node.book.question())
        node.killed()


def test_a_liar_who_tells_each_half_another_story_is_known_to_all() -> None:
    net = Net(seed=7)
    nodes = [Node(net, number) for number in range(1, 13)]
    turns_until_equal(nodes)
    liar = identity(99)
    chain = [liar.receipt(1, "", hello(99))]
    for k in range(2, 5):
        chain.append(liar.receipt(k, receipt.read(chain[-1]).id, finding(k)))
    other = [*chain[:2]]
    for k in range(3, 5):
        other.append(liar.receipt(k, receipt.read(other[-1]).id, finding(10 * k)))
    for one in chain:
        nodes[0].exchange.take(one)
    for one in other:
        nodes[-1].exchange.take(one)
    nodes[7].say(finding(1))
    turns_until_equal(nodes)
    for node in nodes:
        assert node.book.head(liar.peer) == Head(2, receipt.read(chain[1]).id, 3)
        shown = [e.receipt.body for e in node.book.entries.values() if isinstance(e.receipt.body, Caught)]
        assert {body.peer for body in shown} == {liar.peer}
        assert node.book.question() == receipt.canonical(node.book.heads())
        assert not node.refused


def test_who_knows_less_is_not_asked() -> None:
    net = Net(seed=3, lossy=False)
    ada, bob = (Node(net, number) for number in (1, 2))
    turns_until_equal([ada, bob])
    before = bob.exchange.beacon()
    assert ada.exchange.hear(before) == ""
    ada.say(finding(1))
    assert ada.exchange.hear(bob.exchange.beacon()) == "", "what bob knows, ada knew before"
    assert bob.exchange.hear(ada.exchange.beacon()) == ada.me.peer
    bob.say(finding(2))
    assert ada.exchange.hear(bob.exchange.beacon()) == bob.me.peer


def test_nobody_asks_for_ever_whose_answers_bring_nothing() -> None:
    """A peer whose digest is made up costs a question now and then, and keeps nobody from the others."""
    net = Net(seed=3, lossy=False)
    nodes = [Node(net, number) for number in range(1, 5)]
    turns_until_equal(nodes)
    liar = Node(net, 50)
    turns_until_equal([*nodes, liar])
    asked = []
    answer = liar.exchange.answer
    liar.exchange.answer = lambda question: asked.append(question) or answer(question)  # type: ignore[func-returns-value,method-assign]
    liar.book.digest = lambda: "0" * 64  # type: ignore[method-assign]
    for _ in range(100):
        turn([*nodes, liar])
    assert len(asked) < 100
    nodes[0].say(finding(1))
    turns_until_equal(nodes)
