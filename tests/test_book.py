"""The book: what counts and what does not, whatever is sent, whoever writes the file, wherever it is cut."""

import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import permutations
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lossy import finding, hello, identity

from autoresearch.errors import StudyError
from autoresearch.share import book as books
from autoresearch.share import receipt
from autoresearch.share.book import Book, Head
from autoresearch.share.exchange import Exchange
from autoresearch.share.identity import Identity
from autoresearch.share.receipt import Body, Caught, Entry, Refused

LIAR, ONE, OTHER = identity(66), identity(1), identity(2)


def story(me: Identity, *bodies: Body, after: Iterable[bytes] = ()) -> list[bytes]:
    """A peer's receipts, each on the one before; `after` are those that it begins with."""
    told = list(after)
    for body in bodies:
        prev = receipt.read(told[-1]).id if told else ""
        told.append(me.receipt(len(told) + 1, prev, body))
    return told


def a_peer(me: Identity, number: int, path: Path | None = None) -> Exchange:
    book = Book(path)
    book.say(me, hello(number))
    return Exchange(book, me, 1, lambda: 0.0)


def told(book: Book, data: Iterable[bytes]) -> list[str]:
    def take(one: bytes) -> str:
        try:
            return book.take(one)
        except Refused as error:
            return f"refused: {error}"

    return [take(one) for one in data]


HONEST = story(LIAR, hello(66), finding(1), finding(2), finding(3))
FORKED = story(LIAR, finding(12), finding(13), after=HONEST[:2])


def test_a_receipt_counts_once_and_only_after_those_before_it() -> None:
    book = Book()
    assert told(book, HONEST[:1] * 2) == ["new", "known"]
    assert told(book, [HONEST[3], HONEST[2]]) == ["waits", "waits"]
    assert book.head(LIAR.peer).seq == 1
    assert book.take(HONEST[1]) == "new"
    assert book.head(LIAR.peer) == Head(4, receipt.read(HONEST[3]).id)
    assert told(book, HONEST) == ["known"] * 4


def test_order_doubles_and_gaps_make_no_difference() -> None:
    digests = set()
    for order in permutations(HONEST):
        book = Book()
        told(book, [*order, *order, *order, *order])
        digests.add(book.digest())
    assert len(digests) == 1


def tampered(data: bytes) -> bytes:
    return data.replace(b"1.25", b"1.24") if b"1.25" in data else data.replace(b"peer 66", b"peer 67")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(tampered(HONEST[0]), "signature", id="a word was changed"),
        pytest.param(
            HONEST[1].replace(HONEST[1][-100:-60], HONEST[0][-100:-60]), "signature|malformed", id="another's signature"
        ),
        pytest.param(story(LIAR, finding(1))[0], "introduce", id="who does not introduce himself"),
        pytest.param(b"{" + b" " * receipt.MOST_BYTES, "larger", id="too large"),
        pytest.param(b"\xff\xfe", "malformed", id="no JSON"),
        pytest.param(HONEST[0].replace(b'"v":1', b'"v": 1'), "canonical", id="written in another way"),
    ],
)
def test_what_does_not_count_changes_nothing(data: bytes, why: str, tmp_path: Path) -> None:
    book = Book(tmp_path / "book")
    empty = book.digest()
    with pytest.raises(Refused, match=why):
        book.take(data)
    assert book.digest() == empty
    assert (tmp_path / "book").read_bytes() == b""
    book.close()


def test_a_receipt_that_follows_on_nothing_known_does_not_count() -> None:
    book = Book()
    told(book, HONEST[:2])
    assert book.take(LIAR.receipt(3, "5" * 64, finding(9))) == "split"
    assert book.head(LIAR.peer) == Head(2, receipt.read(HONEST[1]).id)


def test_a_split_that_had_waited_is_told() -> None:
    book = Book()
    assert told(book, [HONEST[0], FORKED[3], FORKED[2]]) == ["new", "waits", "waits"]
    other = story(LIAR, finding(99), after=HONEST[:1])
    assert book.take(other[1]) == "split"  # FORKED[2] follows on another second one


def test_waiting_receipts_are_bounded_and_strangers_have_none() -> None:
    book = Book()
    far = [LIAR.receipt(number, "5" * 64, finding(1)) for number in range(3, 3 + books.AHEAD + 5)]
    assert set(told(book, far)) == {"waits"}
    assert not book._waiting
    told(book, HONEST[:1])
    told(book, far)
    assert len(book._waiting[LIAR.peer]) == books.AHEAD


def test_who_is_not_let_in_does_not_count_nor_what_he_says_later() -> None:
    book = Book(may_join=lambda peer, said: "" if said.name == "peer 1" else "it has no invitation")
    with pytest.raises(Refused, match="invitation"):
        book.take(HONEST[0])
    assert book.take(HONEST[1]) == "waits"
    assert not book.heads()


# -- two stories ---------------------------------------------------------------------------------------


def exchanged(peers: list[Exchange]) -> None:
    """Everybody asks everybody until nothing changes any more; it must not take for ever."""
    for _ in range(12):
        before = [peer.book.digest() for peer in peers]
        for asker in peers:
            for other in peers:
                if asker is not other:
                    for data in other.answer(asker.question()):
                        asker.take(data)
        if before == [peer.book.digest() for peer in peers]:
            break


def proofs(peer: Exchange) -> set[tuple[str, int]]:
    bodies = [entry.receipt.body for entry in peer.book.entries.values()]
    return {(body.peer, body.one.seq) for body in bodies if isinstance(body, Caught)}


def test_two_halves_of_a_lie_make_the_proof_wherever_they_meet() -> None:
    peers = [a_peer(identity(n), n) for n in range(1, 6)]
    for data in HONEST:
        peers[0].take(data)
    for data in FORKED:
        peers[1].take(data)
    exchanged(peers)
    assert len({peer.book.digest() for peer in peers}) == 1
    for peer in peers:
        assert peer.book.head(LIAR.peer) == Head(2, receipt.read(HONEST[1]).id, 3)
        assert (LIAR.peer, 3) in proofs(peer)
        assert not any(told(peer.book, [*HONEST[2:], *FORKED[2:]]).count(word) for word in ("new", "caught", "split"))


@pytest.mark.parametrize("most", [2, 3, 4])
def test_it_makes_no_difference_how_much_of_either_story_somebody_has(most: int) -> None:
    for long in (HONEST, FORKED):
        short = (FORKED if long is HONEST else HONEST)[:most]
        peers = [a_peer(identity(n), n) for n in range(1, 4)]
        for data in long:
            peers[0].take(data)
        for data in short:
            peers[1].take(data)
        exchanged(peers)
        assert len({peer.book.digest() for peer in peers}) == 1
        assert peers[2].book.head(LIAR.peer).caught == (3 if most > 2 else 0)


def test_two_introductions_are_two_stories() -> None:
    peers = [a_peer(identity(n), n) for n in range(1, 4)]
    peers[0].take(story(LIAR, hello(66))[0])
    peers[1].take(story(LIAR, hello(67))[0])
    exchanged(peers)
    assert len({peer.book.digest() for peer in peers}) == 1
    assert all(peer.book.head(LIAR.peer) == Head(0, "", 1) for peer in peers)


def caught(body: list[bytes], other: list[bytes]) -> Caught:
    return Caught(LIAR.peer, receipt.read(body[2]).stub, receipt.read(other[2]).stub)


def test_a_proof_that_was_made_up_is_refused() -> None:
    true = caught(HONEST, FORKED)
    made_up = [
        Caught(ONE.peer, true.one, true.other),
        Caught(LIAR.peer, true.one, true.one),
        Caught(LIAR.peer, true.one, receipt.read(FORKED[3]).stub),
        Caught(LIAR.peer, true.one, msgspec.structs.replace(true.other, body="0" * 64)),
        Caught(LIAR.peer, true.one, msgspec.structs.replace(true.one, sign=true.other.sign)),
    ]
    for body in made_up:
        book = Book()
        lie = story(OTHER, hello(2), body)
        assert book.take(lie[0]) == "new"
        with pytest.raises(Refused, match=r"proof|signature"):
            book.take(lie[1])
        assert not book.caught


def test_proof_counts_though_who_showed_it_was_caught_himself() -> None:
    """Two liars show each other's second story, where it no longer counts: else half would believe the one, half the other."""
    a, b = identity(70), identity(71)
    a1, b1 = story(a, hello(70), finding(1)), story(b, hello(71), finding(1))
    a2 = story(a, finding(2), after=a1[:1])
    b2 = story(b, finding(2), after=b1[:1])

    def proof(me: Identity, one: list[bytes], other: list[bytes]) -> Caught:
        return Caught(me.peer, receipt.read(one[1]).stub, receipt.read(other[1]).stub)

    by_a = story(a, proof(b, b1, b2), after=a1)
    by_b = story(b, proof(a, a1, a2), after=b1)
    peers = [a_peer(identity(n), n) for n in range(1, 5)]
    for data in (*by_a, *b1[:1]):
        peers[0].take(data)  # knows that b told two stories
    for data in (*by_b, *a1[:1]):
        peers[1].take(data)  # knows that a did
    exchanged(peers)
    assert len({peer.book.digest() for peer in peers}) == 1
    assert all({(a.peer, 2), (b.peer, 2)} <= proofs(peer) for peer in peers)


def test_a_proof_that_only_a_liar_showed_is_shown_again() -> None:
    true = caught(HONEST, FORKED)
    sly = identity(70)
    first = story(sly, hello(70), true)
    peers = [a_peer(identity(n), n) for n in range(1, 5)]
    for data in (*HONEST, *first):
        peers[0].take(data)
    for data in story(sly, finding(4), after=first[:1]):
        peers[1].take(data)  # the second story of him who showed it: his receipt with the proof is gone everywhere
    exchanged(peers)
    assert len({peer.book.digest() for peer in peers}) == 1
    assert all({(LIAR.peer, 3), (sly.peer, 2)} <= proofs(peer) for peer in peers)


def test_proof_is_shown_only_by_those_who_introduced_themselves() -> None:
    book = Book()
    looker = Exchange(book, ONE, 1, lambda: 0.0)
    for data in (*HONEST, FORKED[2]):
        looker.take(data)
    assert book.caught
    assert ONE.peer not in book.chains
    book.say(ONE, hello(1))
    looker.take(story(OTHER, hello(2))[0])
    assert proofs(looker) == {(LIAR.peer, 3)}


def test_a_key_that_was_used_twice_says_nothing_more() -> None:
    book = Book()
    for body in (hello(66), finding(1), finding(2)):
        book.say(LIAR, body)
    told(book, story(LIAR, finding(7), after=HONEST[:2]))
    with pytest.raises(StudyError, match="two machines"):
        book.say(LIAR, finding(3))
    with pytest.raises(ValueError, match="introduces"):
        Book().say(ONE, finding(1))


bodies = st.lists(st.integers(0, 2), min_size=1, max_size=4)


@given(st.lists(bodies, min_size=2, max_size=4), st.randoms(use_true_random=False), st.integers(2, 4))
def test_whoever_heard_the_same_stories_in_any_order_comes_to_the_same(
    stories: list[list[int]], random: Random, n: int
) -> None:
    """A peer that tells up to four stories, which part ways anywhere; each listener hears some of it, in another order."""
    peers = [a_peer(identity(k), k) for k in range(1, n + 1)]
    said = sorted({data for one in stories for data in story(LIAR, hello(66), *(finding(k) for k in one))})
    for data in said:
        some = random.sample(peers, random.randint(1, n))
        for peer in some:
            peer.take(data)
    for peer in peers:
        for data in random.sample(said, len(said)):
            if random.random() < 0.5:
                peer.take(data)
    exchanged(peers)
    assert len({peer.book.digest() for peer in peers}) == 1
    assert len({frozenset(proofs(peer)) for peer in peers}) == 1


# -- questions from anybody ----------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.sampled_from([LIAR.peer, ONE.peer]),
        st.tuples(st.integers(-3, 9), st.sampled_from(["", "0" * 64]), st.integers(-3, 9)),
    )
)
def test_no_question_is_an_error(question: dict[str, tuple[int, str, int]]) -> None:
    peer = a_peer(ONE, 1)
    for data in HONEST:
        peer.take(data)
    assert all(isinstance(data, bytes) for data in peer.answer(msgspec.json.encode(question)))


@given(st.binary(max_size=200))
def test_no_bytes_in_the_place_of_a_beacon_or_a_question_are_an_error(data: bytes) -> None:
    peer = a_peer(ONE, 1)
    assert peer.hear(data) == ""
    assert peer.answer(data) == []


def test_who_is_behind_sends_little_and_who_lacks_a_proof_is_sent_it() -> None:
    ahead, behind = a_peer(ONE, 1), a_peer(OTHER, 2)
    for data in HONEST:
        ahead.take(data)
    for data in HONEST[:2]:
        behind.take(data)
    assert [data for data in behind.answer(ahead.question()) if data in HONEST] == HONEST[1:2]
    assert [data for data in ahead.answer(behind.question()) if data in HONEST] == HONEST[2:]


def test_made_up_names_do_not_keep_a_newcomer_from_being_heard() -> None:
    peer = a_peer(ONE, 1)
    for n in range(100, 300):
        Exchange(Book(), identity(n), 1, lambda: 0.0)
        peer.hear(Exchange(Book(), identity(n), 1, lambda: 0.0).beacon())
    newcomer = a_peer(OTHER, 2)
    first = newcomer.beacon()
    assert peer.hear(first) == OTHER.peer
    assert peer.hear(first) == ""  # replayed
    assert len(peer.heard) < 100


# -- the file ------------------------------------------------------------------------------------------


def test_the_file_is_all_that_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "book"
    peer = a_peer(ONE, 1, path)
    for data in (*HONEST, *FORKED):
        peer.take(data)
    again = Book(path)
    assert again.digest() == peer.book.digest()
    assert again.caught.keys() == {LIAR.peer}
    again.close()
    peer.book.close()


@pytest.mark.parametrize("cut", [1, 40, 500])
def test_a_line_that_was_half_written_is_cut_off(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "book"
    book = Book(path)
    told(book, HONEST)
    book.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    again = Book(path)
    assert again.head(LIAR.peer).seq == 3
    assert again.take(HONEST[3]) == "new"
    assert path.read_bytes() == whole
    again.close()


@pytest.mark.parametrize("harm", [lambda data: data.replace(b'"seq":2', b'"seq": 2'), lambda data: b"?" + data[1:]])
def test_a_damaged_line_is_told_with_a_remedy(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "book"
    path.write_bytes(harm(b"\n".join(HONEST) + b"\n").replace(b',"peer"', b', "peer"'))
    with pytest.raises(StudyError, match="damaged"):
        Book(path)


def test_whoever_is_told_of_a_receipt_may_say_one(tmp_path: Path) -> None:
    path = tmp_path / "book"
    book = Book(path)
    book.say(ONE, hello(1))

    def answer(entry: Entry) -> None:
        if entry.receipt.peer != ONE.peer:
            book.say(ONE, finding(entry.receipt.seq))

    book.told = answer
    told(book, [HONEST[0], HONEST[2], HONEST[1]])
    assert book._held == 0
    again = Book(path)
    assert again.digest() == book.digest()
    assert (again.head(LIAR.peer).seq, again.head(ONE.peer).seq) == (3, 4)
    again.close()
    book.close()


WRITER = """
import sys
from pathlib import Path
from lossy import finding, hello, identity
from autoresearch.share.book import Book
path, number, mine = Path(sys.argv[1]), int(sys.argv[2]), identity(int(sys.argv[2]))
book = Book(path)
for k in range(60):
    if number == 9 or k % 2:
        book.say(mine, finding(k)) if book.head(mine.peer).seq else book.say(mine, hello(number))
    else:
        peer, seq = identity(100 + number), book.head(identity(100 + number).peer)
        book.take(peer.receipt(seq.seq + 1, seq.id, finding(k) if seq.seq else hello(1)))
"""


def test_several_processes_write_one_book(tmp_path: Path) -> None:
    """Two of them are the same peer: no number is used twice."""
    path = tmp_path / "book"
    words = [sys.executable, "-c", WRITER, str(path)]
    here = Path(__file__).parent
    running = [subprocess.Popen([*words, str(number)], cwd=here) for number in (9, 9, 8)]
    assert [process.wait() for process in running] == [0, 0, 0]
    book = Book(path)
    assert {peer: head.seq for peer, head in book.heads().items()} == {
        identity(9).peer: 120,
        identity(8).peer: 30,
        identity(108).peer: 30,
    }
    assert not book.caught
    assert len(path.read_bytes().splitlines()) == 180
    book.close()


def test_a_file_that_is_read_in_several_goes_is_read_whole(tmp_path: Path) -> None:
    patch, path = "x" * receipt.MOST_PATCH, tmp_path / "1.jsonl"
    bodies = (msgspec.structs.replace(finding(k), patch=patch) for k in range(books.AT_ONCE // len(patch) + 1))
    lines = story(ONE, hello(1), *bodies)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    assert path.stat().st_size > books.AT_ONCE
    book = Book(path)
    assert book.head(ONE.peer) == Head(len(lines), receipt.read(lines[-1]).id)
    book.close()
