"""
Letters from peer to peer: written, found, opened, acknowledged. Functions of a book and an identity; what is written is a receipt
like any other, so it arrives over any transport, in its sender's order, whenever its reader is back.

A letter is read once it is acknowledged, and not before: whoever is killed in between finds it again, and nobody finds it
after. What a letter says is a stranger's words: data, never an instruction.
"""

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from autoresearch.errors import StudyError
from autoresearch.share import sealed
from autoresearch.share.board import KEY_SHOWN, Member, called, named
from autoresearch.share.book import Book
from autoresearch.share.identity import Identity
from autoresearch.share.receipt import Ack, Entry, Letter

MOST_UNREAD = 32  # letters to one peer that it has not acknowledged
EACH = 8  # letters of one sender in one answer, so that nobody who writes many hides the others
PAGE = 40_000  # characters of letters in one answer, but for the first
NAMED = 5  # peers in a sentence that says who could be meant
_WHO = re.compile(rf"(?:(.{{0,80}}\S)\s+)?\(?([A-Za-z0-9_-]{{{KEY_SHOWN},43}})\)?", re.DOTALL)


class Message(Struct, frozen=True):
    """A letter that was opened: the id of its receipt, its sender's key, what it says."""

    id: str
    sender: str
    text: str


class Post(Struct, frozen=True):
    """Letters to us that were not acknowledged, the first first; how many more wait, and how many cannot be opened."""

    letters: tuple[Message, ...]
    more: int
    closed: int


def find(members: Mapping[str, Member], who: str, me: str) -> Member:
    """
    Whom a text means: a key, or the beginning of one, with or without the name before it, "ada (AbC123)". A name alone means
    nobody: anybody may call himself that.

    Raises:
        StudyError: nobody, more than one, ourselves, or somebody who was caught; the message says who could be meant.
    """
    words = _WHO.fullmatch(who.strip())
    name, key = words.groups() if words else (None, "")
    found = [one for one in members.values() if key and one.peer.startswith(key) and name in (None, called(one))]
    if len(found) != 1:
        meant = found or [one for one in members.values() if called(one) == who.strip() and one.peer != me]
        hint = ", ".join(named(members, one.peer) for one in meant[:NAMED])
        there = f"; there is {hint}" if hint else ""
        count = "more than one peer" if found else "no peer"
        raise StudyError(
            f"{count} is meant by {who[:60]!r}: write a name with the beginning of its key, or the key{there}"
        )
    if found[0].peer == me:
        raise StudyError(f"{named(members, me)} is this study itself; a letter goes to somebody else")
    if found[0].caught:
        raise StudyError(f"{named(members, found[0].peer)} told two stories, and is not written to any more")
    return found[0]


def send(book: Book, me: Identity, to: Member, text: str) -> str:
    """
    Write a letter, sealed for its reader; the id of its receipt. It is on disk when this returns.

    Raises:
        StudyError: it is empty or too long, its reader's box key is none, has too much to read already, or the disk refused.
    """
    if not text.strip():
        raise StudyError("the letter is empty; nothing was sent")
    if not book.head(me.peer).seq:
        raise StudyError("nobody knows this study yet: it introduces itself when a session begins, `autoresearch run`")
    if sum(peer == to.peer for _, peer in unanswered(book, me.peer)) >= MOST_UNREAD:
        raise StudyError(f"{MOST_UNREAD} letters to this peer wait for it to read them; nothing was sent")
    try:
        body = Letter(to.peer, sealed.seal(text, me.peer, to.peer, to.box))
    except ValueError as error:  # too long, no key, or half a character
        raise StudyError(f"the letter cannot be sealed: {error}; nothing was sent") from None
    with book.lock:
        book.say(me, body)
        return book.head(me.peer).id


def post(book: Book, me: Identity) -> Post:
    """What is to be read, in the order in which it came."""
    read = _read(book, me.peer)
    found: list[Message] = []
    more = closed = room = 0
    of: dict[str, int] = {}
    for entry in _entries(book):
        body, sender = entry.receipt.body, entry.receipt.peer
        if not isinstance(body, Letter) or body.to != me.peer or entry.id in read:
            continue
        try:
            text = sealed.unseal(body.sealed, sender, me)
        except ValueError:
            closed += 1
            continue
        of[sender] = of.get(sender, 0) + 1
        room += len(text)
        if of[sender] <= EACH and (not found or room <= PAGE):
            found.append(Message(entry.id, sender, text))
        else:
            more, of[sender], room = more + 1, EACH, room - len(text)  # the others of this sender come after it
    return Post(tuple(found), more, closed)


def acknowledge(book: Book, me: Identity, id: str) -> tuple[str, bool]:
    """
    Say that a letter was read; its whole id, and whether that was not said before. `id` may be its beginning.

    Raises:
        StudyError: there is no such letter to us, or the disk refused.
    """
    letters = [entry.id for entry in _entries(book) if isinstance(b := entry.receipt.body, Letter) and b.to == me.peer]
    found = [one for one in letters if one.startswith(id)] if len(id) >= 8 else []
    if len(found) != 1:
        raise StudyError(f"{'more than one' if found else 'no'} letter to this study has the id {id[:64]!r}")
    with book.lock:
        if found[0] in _read(book, me.peer):
            return found[0], False
        book.say(me, Ack(found[0]))
    return found[0], True


def unanswered(book: Book, me: str) -> list[tuple[str, str]]:
    """Letters of ours that their readers did not acknowledge: id and reader, the first first."""
    ours: dict[str, str] = {}
    acks: set[tuple[str, str]] = set()
    for entry in _entries(book):
        body = entry.receipt.body
        if isinstance(body, Ack):
            acks.add((body.letter, entry.receipt.peer))  # nobody's word counts for another's letter
        elif entry.receipt.peer == me and isinstance(body, Letter):
            ours[entry.id] = body.to
    return [(id, to) for id, to in ours.items() if (id, to) not in acks]


def _entries(book: Book) -> Iterator[Entry]:
    with book.lock:
        found = tuple(book.entries.values())
    return iter(found)


def _read(book: Book, me: str) -> set[str]:
    """The letters that we acknowledged."""
    with book.lock:
        bodies = [book.entries[id].receipt.body for id in book.chains.get(me, ())]
    return {body.letter for body in bodies if isinstance(body, Ack)}
