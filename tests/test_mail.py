"""Letters between peers: sealed, in order, read once, whoever is away."""

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from lossy import finding, hello, identity
from msgspec.structs import replace
from test_swarm import book, peers, run

from autoresearch.cli import main
from autoresearch.errors import StudyError
from autoresearch.mcp.pace import Pace
from autoresearch.share import board, mail, node, sealed, settings
from autoresearch.share.board import fold, read_book
from autoresearch.share.book import Book
from autoresearch.share.identity import Identity, b64, own, unb64
from autoresearch.share.receipt import Ack, Letter
from autoresearch.share.search import search
from autoresearch.share.trust import view
from autoresearch.workspace import HOME

ADA, BOB, EVE = identity(1), identity(2), identity(3)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def known(path: Path | None = None) -> Book:
    """What all three said first."""
    found = Book(path)
    for number, peer in enumerate((ADA, BOB, EVE), start=1):
        found.say(peer, hello(number))
    return found


def send(book: Book, sender: Identity, to: Identity, text: str) -> str:
    return mail.send(book, sender, read_book(book).members[to.peer], text)


def texts_of(book: Book, me: Identity) -> list[str]:
    return [letter.text for letter in mail.post(book, me).letters]


# -- sealing ---------------------------------------------------------------------------------------------


@given(texts)
def test_a_letter_is_opened_by_its_reader_as_from_its_sender_and_by_nobody_else(text: str) -> None:
    made = sealed.seal(text, ADA.peer, BOB.peer, BOB.box_key)
    assert sealed.unseal(made, ADA.peer, BOB) == text
    for sender, reader in ((ADA, EVE), (EVE, BOB), (BOB, BOB), (ADA, ADA)):
        with pytest.raises(ValueError, match=r".+"):
            sealed.unseal(made, sender.peer, reader)


@given(texts, st.integers(0, 10**6), st.integers(1, 255))
def test_no_byte_of_a_sealed_letter_can_be_changed(text: str, at: int, by: int) -> None:
    data = bytearray(unb64(sealed.seal(text, ADA.peer, BOB.peer, BOB.box_key)))
    data[at % len(data)] ^= by
    with pytest.raises(ValueError, match=r".+"):
        sealed.unseal(b64(bytes(data)), ADA.peer, BOB)


@given(st.text(max_size=120) | st.binary(max_size=90).map(b64))
def test_what_was_never_sealed_is_no_letter(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        sealed.unseal(text, ADA.peer, BOB)


# -- letters in a book -----------------------------------------------------------------------------------


def test_letters_come_in_order_until_they_are_acknowledged_also_in_another_process(tmp_path: Path) -> None:
    here = known(tmp_path / "book")
    ids = [send(here, ADA, BOB, text) for text in ("one", "two", "three")]
    send(here, EVE, BOB, "four")
    assert texts_of(here, BOB) == ["one", "two", "three", "four"]
    assert texts_of(here, BOB) == ["one", "two", "three", "four"], "until it is acknowledged"
    assert texts_of(here, ADA) == []
    there = Book(tmp_path / "book")
    assert mail.acknowledge(there, BOB, ids[1][:8]) == (ids[1], True)
    assert mail.acknowledge(there, BOB, ids[1]) == (ids[1], False)
    here.refresh()
    for one in (here, there, Book(tmp_path / "book")):
        assert texts_of(one, BOB) == ["one", "three", "four"]
        assert mail.unanswered(one, ADA.peer) == [(ids[0], BOB.peer), (ids[2], BOB.peer)]
    assert b"three" not in (tmp_path / "book").read_bytes()


def test_what_is_not_for_us_or_not_from_who_signed_it_is_passed_over_and_counted() -> None:
    here = known()
    id = send(here, ADA, BOB, "for bob")
    body = here.entries[id].receipt.body
    assert isinstance(body, Letter)
    here.say(EVE, body)  # another's letter as her own
    here.say(EVE, replace(body, to=ADA.peer))  # ... and sent on
    here.say(EVE, Letter(BOB.peer, "nonsense"))
    here.say(EVE, Letter(BOB.peer, b64(bytes(32) + bytes(20))))  # a key that gives the same secret to everybody
    assert mail.post(here, BOB) == mail.Post((mail.Message(id, ADA.peer, "for bob"),), 0, 3)
    assert mail.post(here, ADA) == mail.Post((), 0, 1)
    here.say(EVE, Ack(id))
    assert texts_of(here, BOB) == ["for bob"], "nobody acknowledges another's letter"
    assert mail.unanswered(here, ADA.peer) == [(id, BOB.peer)]
    for wrong in (id[:7], "f" * 64, ""):
        with pytest.raises(StudyError, match="no letter to this study"):
            mail.acknowledge(here, BOB, wrong)
    with pytest.raises(StudyError, match="no letter to this study"):
        mail.acknowledge(here, ADA, id)


def test_who_writes_many_hides_nobody_elses_and_is_stopped() -> None:
    here = known()
    for number in range(mail.MOST_UNREAD):
        send(here, EVE, BOB, f"{number} " + "x" * 4000)
    with pytest.raises(StudyError, match="32 letters to this peer wait"):
        send(here, EVE, BOB, "one more")
    send(here, ADA, BOB, "short")
    seen: list[str] = []
    while letters := (found := mail.post(here, BOB)).letters:
        assert len(letters) + found.more + len(seen) == mail.MOST_UNREAD + 1
        assert sum(len(one.text) for one in letters) <= mail.PAGE
        assert seen or "short" in [one.text for one in letters]
        for one in letters:
            mail.acknowledge(here, BOB, one.id)
        seen += [one.text.partition(" ")[0] for one in letters]
    assert [one for one in seen if one != "short"] == [str(number) for number in range(mail.MOST_UNREAD)]
    send(here, EVE, BOB, "again")


@pytest.mark.parametrize(
    ("text", "says"), [("", "empty"), (" \n", "empty"), ("é" * 8193, "at most 16 KiB"), ("\ud800", "cannot be sealed")]
)
def test_what_cannot_be_sent_is_said_and_leaves_no_receipt(text: str, says: str) -> None:
    here = known()
    before = here.digest()
    with pytest.raises(StudyError, match=says):
        send(here, ADA, BOB, text)
    here.say(EVE, replace(hello(3), box=b64(bytes(32))))
    with pytest.raises(StudyError, match="cannot be sealed"):
        send(here, ADA, EVE, "to a key that is none")
    assert [entry for entry in here.entries.values() if isinstance(entry.receipt.body, Letter)] == []
    assert before != here.digest(), "her second hello alone"
    with pytest.raises(StudyError, match="nobody knows this study yet"):
        send(here, identity(4), BOB, "who is it?")


def test_a_peer_is_meant_by_its_key_and_never_by_a_name_alone() -> None:
    here = known()
    here.say(identity(4), replace(hello(4), name="peer 2"))  # calls itself like another
    here.say(identity(5), replace(hello(5), name="\u202e\x1b"))
    members = read_book(here).members

    def meant(who: str) -> str:
        return mail.find(members, who, ADA.peer).peer

    key = BOB.peer
    for who in (key, key[:6], f"peer 2 ({key[:6]})", f" peer 2  {key[:9]} ", f"({key})"):
        assert meant(who) == key
    assert meant(board.named(members, identity(5).peer)) == identity(5).peer
    refused = {"peer 2": r"there is peer 2 \(.{6}\), peer 2 \(", f"peer 3 ({key[:6]})": "no peer", key[:5]: "no peer"}
    refused |= {ADA.peer: "this study itself", "": "no peer", "x" * 500: "no peer", "peer 2 (" * 50: "no peer"}
    for who, says in refused.items():
        with pytest.raises(StudyError, match=says) as error:
            meant(who)
        assert len(str(error.value)) < 300


def test_letters_go_at_a_pace() -> None:
    pace = Pace(3, 10.0)
    for _ in range(3):
        assert pace.wait(100.0) == 0.0
        pace.took(100.0)
    assert pace.wait(100.0) == 10.0
    assert pace.wait(110.0) == 0.0
    pace.took(110.0)
    assert pace.wait(111.0) == 9.0
    assert pace.wait(1000.0) == 0.0


# -- from peer to peer -----------------------------------------------------------------------------------

SECRET = "meet me at the third local minimum"


def command(folder: Path, *words: str) -> str:
    done = CliRunner().invoke(main, ["swarm", words[0], "-C", str(folder), *words[1:]])
    assert done.exit_code == 0, done.output
    return done.output


def address(folder: Path, other: Path) -> str:
    """How one study's person writes to another."""
    peer = identity_of(other).peer
    return f"{board.called(read_book(book(folder)).members[peer])} ({peer[:6]})"


def identity_of(folder: Path) -> Identity:
    return own(settings.folder(folder / HOME))


def test_a_letter_arrives_once_where_its_reader_was_away_and_its_writer_is_gone(tmp_path: Path) -> None:
    ada, bob, carl = peers(tmp_path, [], [], [])
    for folder in (bob, carl, ada):
        run(folder, 0)  # so that they know each other
    to = address(ada, bob)
    assert to.startswith("bob 1 (")
    for text in (SECRET, "\x1b[2Jsecond\nline"):  # no session runs
        assert "is written" in command(ada, "send", to, text)
    run(ada, 0)
    run(carl, 0)  # knows of it, and cannot read it
    (ada / HOME).rename(tmp_path / "gone")  # ada never comes back
    assert command(carl, "read") == "0 letters.\n"
    run(bob, 0)
    shown = command(bob, "read")
    assert shown.index(SECRET) < shown.index("  > \ufffd[2Jsecond\n  > line\n")
    assert "2 letters." in command(bob, "read", "--ack"), "reading alone forgets nothing"
    assert command(bob, "read") == "0 letters.\n"
    run(bob, 0)
    assert command(bob, "read") == "0 letters.\n"
    run(carl, 0)
    letters = [entry for entry in book(carl).entries.values() if isinstance(entry.receipt.body, Letter)]
    assert len(letters) == 2, "two receipts, however often they went round"
    assert mail.unanswered(book(carl), letters[0].receipt.peer) == [], "all see that they were read"
    (tmp_path / "gone").rename(ada / HOME)
    for folder in (ada, bob, carl):
        assert SECRET.encode() not in (settings.folder(folder / HOME) / node.BOOK).read_bytes()
    objects = subprocess.run(
        ["git", "-C", str(tmp_path / "bare.git"), "cat-file", "--batch", "--batch-all-objects"],
        capture_output=True,
        check=True,
    ).stdout
    assert letters[0].id.encode() in objects or letters[0].receipt.sign.encode() in objects
    assert SECRET.encode() not in objects


def test_what_is_wrong_with_a_letter_is_said_and_exits_2(tmp_path: Path) -> None:
    (ada,) = peers(tmp_path, [])
    run(ada, 0)
    for words, says in ((["send", "bob", "x"], "no peer is meant by 'bob'"), (["send", own_name(ada), "x"], "itself")):
        done = CliRunner().invoke(main, ["swarm", words[0], "-C", str(ada), *words[1:]])
        assert (done.exit_code, says in done.output) == (2, True), done.output


def own_name(folder: Path) -> str:
    return f"ada ({identity_of(folder).peer[:6]})"


# -- findings --------------------------------------------------------------------------------------------


def test_findings_are_found_by_words_and_ranked_by_trust() -> None:
    here = known()
    bodies = {ADA: finding(1), EVE: replace(finding(2), word="discard", idea="scale inputs by a warm-up")}
    here.say(BOB, finding(3))  # our own
    for peer, body in bodies.items():
        here.say(peer, body)
    here.say(EVE, finding(5, about=here.head(ADA.peer).id))  # a measurement of ada's
    swarm, seen = fold(here.entries.values()), view(read_book(here), BOB.peer)
    found = list(search(swarm, seen, "number of Inputs"))
    assert [(hit.told.peer, hit.score > 0.3) for hit in found] == [(ADA.peer, True), (EVE.peer, False)]
    assert (found[0].replicated, found[0].refuted, found[0].known) == (1, 0, ("He et al. 2015",))
    assert [hit.told.finding.word for hit in search(swarm, seen, "warm")] == ["discard"]
    assert list(search(swarm, seen, "? a ()")) == []
    doubted = replace(seen, claims={ADA.peer: 0.1})
    assert [hit.told.peer for hit in search(swarm, doubted, "scale inputs")] == [EVE.peer, ADA.peer]
