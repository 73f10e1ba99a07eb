"""
The receipts that a peer knows: a set that only grows, in one file, a line each.

What comes in is checked before it counts: its form, its signature, and that it follows on its peer's last one. A gap is
waited for. Two receipts of one peer with one number are proof that it told two stories: from that number on nothing of
it counts, for anybody, and the proof goes round as a receipt itself. Which of two came first here, and when, decides
nothing: whoever knows the same receipts has the same book.
"""

import bisect
import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from msgspec import Struct

from autoresearch.errors import StudyError
from autoresearch.share import identity, receipt
from autoresearch.share.identity import Identity
from autoresearch.share.receipt import Body, Caught, Entry, Hello, MaybeId, Number, Refused, Stub

AHEAD = 64  # receipts of one peer that wait for those before them
AT_ONCE = 16 << 20  # bytes of the file that are read in one go
MOST_OF_ONE = 64 << 20  # bytes of one peer: a stranger must not fill the disk

Outcome = Literal[
    "new",
    "known",
    "waits",  # for those before it
    "split",  # it follows on another receipt than the one that is known: ask for its peer's from the first
    "caught",  # it proves of somebody that two stories were told, which was not known
]


class Head(Struct, frozen=True, array_like=True):
    """
    How far a peer's receipts are known: the last number that counts and that receipt's id, which stands for all before it;
    and the number at which it told two stories, 0 where it was not caught.
    """

    seq: Number
    id: MaybeId
    caught: Number = 0


NOTHING = Head(0, "")  # of a peer's is known


class Book:
    """
    `path` is the file, made where there is none; None keeps nothing. `may_join` says of a peer's first receipt why it is
    not let in, "" where it is. `told` hears of each receipt that is new, on the thread that brought it.

    Several processes may write one book, and any number of threads; whoever iterates takes a tuple first.

    Raises:
        StudyError: the file cannot be read or written, or is damaged.
    """

    def __init__(
        self,
        path: Path | None = None,
        may_join: Callable[[str, Hello], str] = lambda peer, hello: "",
        told: Callable[[Entry], None] = lambda entry: None,
    ) -> None:
        self.path, self.told, self._may_join = path, told, may_join
        self.lock = threading.RLock()
        self.entries: dict[str, Entry] = {}  # id -> receipt, in the order in which they came to count here
        self.chains: dict[str, list[str]] = {}  # peer -> ids, from its number 1 on
        self.caught: dict[str, tuple[Stub, Stub]] = {}  # peer -> the proof with the lowest number
        self._proofs: dict[str, tuple[str, int]] = {}  # id of a receipt that shows a proof -> (peer, number)
        self._changed: set[str] = set()  # peers whose line in what follows is of before
        self._lines: dict[str, bytes] = {}  # peer -> its head, as a question has it
        self._sorted: list[str] = []  # peers of these lines
        self._question, self._digest = b"", ""  # worked out when they are asked for
        self._waiting: dict[str, dict[int, bytes]] = {}
        self._bytes: dict[str, int] = {}
        self._file: int | None = None
        self._held = 0  # how often this thread holds the file: who is told of a receipt may say one
        self._read = 0  # bytes of the file that are in here
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            except OSError as error:
                raise StudyError(f"{path}: {error.strerror}; the study's folder must be writable") from None
            try:
                self.refresh()
            except StudyError:
                self.close()
                raise

    # -- reading -------------------------------------------------------------------------------------------

    def heads(self) -> dict[str, Head]:
        """Peer -> how far it is known."""
        with self.lock:
            return {peer: self.head(peer) for peer in {*self.chains, *self.caught}}

    def head(self, peer: str) -> Head:
        with self.lock:
            chain, caught = self.chains.get(peer, ()), self.caught.get(peer)
            return Head(len(chain), chain[-1] if chain else "", caught[0].seq if caught else 0)

    def caught_at(self) -> list[tuple[str, int]]:
        """Who told two stories, and at which number."""
        with self.lock:
            return [(peer, one.seq) for peer, (one, _) in self.caught.items()]

    def question(self) -> bytes:
        """The heads as canonical JSON. Of many peers one changes at a time, so each has its line."""
        with self.lock:
            for peer in self._changed:
                if peer not in self._lines:
                    bisect.insort(self._sorted, peer)
                head = self.head(peer)
                self._lines[peer] = f'"{peer}":[{head.seq},"{head.id}",{head.caught}]'.encode()
            if self._changed or not self._question:
                self._changed.clear()
                self._question = b"{%b}" % b",".join(map(self._lines.__getitem__, self._sorted))
            return self._question

    def digest(self) -> str:
        """Equal where the same is known."""
        with self.lock:
            self._digest = self._digest or receipt.sha256(self.question())
            return self._digest

    def unshown(self) -> list[Caught]:
        """Proofs that no receipt shows which counts: who was told of them by a liar that was caught since, say."""
        with self.lock:
            shown = set(self._proofs.values())
            return [Caught(peer, *proof) for peer, proof in self.caught.items() if (peer, proof[0].seq) not in shown]

    def missing(self, theirs: Mapping[str, Head], most_bytes: int) -> list[bytes]:
        """
        Receipts that somebody with these heads lacks, each peer's in order; all of a peer's where its stories differ.
        """
        found: list[bytes] = []
        with self.lock:
            for peer, chain in sorted(self.chains.items()):
                known = theirs.get(peer, NOTHING)
                if known.seq == len(chain) and chain and known.id == chain[-1] and not known.caught:
                    continue  # as most are, where one asks often
                for id in self._missing(peer, known):
                    data = receipt.canonical(self.entries[id].receipt)
                    most_bytes -= len(data)
                    if most_bytes < 0:
                        return found
                    found.append(data)
        return found

    def _missing(self, peer: str, known: Head) -> list[str]:
        chain = self.chains[peer]
        if known.seq > len(chain):
            # One of them shows whether the stories differ; if so, they ask again, knowing less.
            start = max(0, len(chain) - 1)
        else:
            start = known.seq if not known.seq or chain[known.seq - 1] == known.id else 0
        if not known.caught:
            return chain[start:]
        # Beyond, nothing counts for them any more, but proof counts by itself.
        return chain[start : known.caught - 1] + [
            id for id in chain[max(start, known.caught - 1) :] if id in self._proofs
        ]

    # -- growing -------------------------------------------------------------------------------------------

    def say(self, me: Identity, body: Body) -> bytes:
        """
        Sign a receipt of one's own and write it down; on disk when this returns, so that no other can have its number.

        Raises:
            ValueError: it is too large, or holds a number that is none; or it is the first and introduces nobody.
            StudyError: the disk refused, or nobody would count it any more.
        """
        with self._writing():
            chain = self.chains.get(me.peer, ())
            if not chain and not isinstance(body, Hello):
                raise ValueError("a peer introduces itself first")
            if me.peer in self.caught:
                raise StudyError(
                    f"{self.path or me.peer}: two receipts with number {self.caught[me.peer][0].seq} were signed with your key: it was "
                    "used on two machines, or an old copy of the folder was. Move the folder away and join as somebody new"
                )
            data = me.receipt(len(chain) + 1, chain[-1] if chain else "", body)
            if self._bytes.get(me.peer, 0) + len(data) > MOST_OF_ONE:
                raise StudyError(
                    f"{self.path or me.peer}: you said {MOST_OF_ONE >> 20} MiB, and others take no more of one"
                )
            self._write(data)
            self._count(receipt.read(data), len(data))
            if self._file is not None:
                os.fsync(self._file)
        return data

    def take(self, data: bytes) -> Outcome:
        """
        Check a receipt that came from anywhere, and let it count; then those that waited for it.

        Raises:
            Refused: it does not count, whoever brought it. Nothing was changed.
            StudyError: the disk refused.
        """
        entry = receipt.read(data)
        with self._writing():
            outcome, peer = self._take(entry, data), entry.receipt.peer
            while outcome == "new" and (later := self._waiting.get(peer, {}).pop(len(self.chains[peer]) + 1, None)):
                with contextlib.suppress(Refused):
                    if self._take(receipt.read(later), later) == "split":
                        outcome = "split"
        return outcome

    def _take(self, entry: Entry, data: bytes) -> Outcome:
        peer, seq = entry.receipt.peer, entry.receipt.seq
        chain, caught = self.chains.get(peer, []), self.caught.get(peer)
        if entry.id in self.entries:
            return "known"
        if caught and seq >= caught[0].seq:
            return self._learn(entry)
        identity.check(peer, entry.stub)
        if seq <= len(chain):
            self._catch(peer, self.entries[chain[seq - 1]].stub, entry.stub)
            return "caught"
        if seq > len(chain) + 1:
            return self._wait(peer, seq, data)
        if entry.receipt.prev != (chain[-1] if chain else ""):
            return "split"
        self._admit(entry, len(data))
        self._write(data)
        self._count(entry, len(data))
        return "new"

    def _learn(self, entry: Entry) -> Outcome:
        """
        A receipt that no longer counts may still show proof, which does. Else two liars, each of whom shows the other's second
        story, would have one half of the peers believe the one and the other half the other.
        """
        body = entry.receipt.body
        known = self.caught.get(body.peer) if isinstance(body, Caught) else None
        if not isinstance(body, Caught) or (known and known[0].seq <= body.one.seq):
            return "known"
        check_proof(body)
        self._catch(body.peer, body.one, body.other)
        return "caught"

    def _admit(self, entry: Entry, size: int) -> None:
        peer, body = entry.receipt.peer, entry.receipt.body
        if entry.receipt.seq == 1:
            if not isinstance(body, Hello):
                raise Refused("its peer did not introduce itself")
            if why := self._may_join(peer, body):
                raise Refused(why)
        elif isinstance(body, Hello) and self._may_join(peer, body):
            raise Refused("it is not what its peer was let in with")
        if isinstance(body, Caught):
            check_proof(body)
        if self._bytes.get(peer, 0) + size > MOST_OF_ONE:
            raise Refused(f"its peer said more than {MOST_OF_ONE >> 20} MiB")

    def _wait(self, peer: str, seq: int, data: bytes) -> Outcome:
        """Only of peers that introduced themselves: else anybody could fill the memory under ever new names."""
        waiting = self._waiting.setdefault(peer, {}) if peer in self.chains else {}
        if len(waiting) < AHEAD:
            waiting[seq] = data
        return "waits"

    def _count(self, entry: Entry, size: int) -> None:
        peer, body = entry.receipt.peer, entry.receipt.body
        self.entries[entry.id] = entry
        self.chains.setdefault(peer, []).append(entry.id)
        self._bytes[peer] = self._bytes.get(peer, 0) + size
        self._change(peer)
        if isinstance(body, Caught):
            self._proofs[entry.id] = body.peer, body.one.seq
            self._catch(body.peer, body.one, body.other)
        self.told(entry)

    def _change(self, peer: str) -> None:
        self._changed.add(peer)
        self._digest = ""

    def _catch(self, peer: str, one: Stub, other: Stub) -> None:
        """From this number on, nothing of this peer counts."""
        known = self.caught.get(peer)
        if known is None or one.seq < known[0].seq:
            self.caught[peer] = one, other
            self._change(peer)
            chain = self.chains.get(peer, [])
            for id in chain[one.seq - 1 :]:
                del self.entries[id]
                self._proofs.pop(id, None)
            del chain[one.seq - 1 :]
            self._waiting.pop(peer, None)

    # -- the file ------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take in what other processes wrote."""
        with self.lock:
            if self._file is None:
                return
            while whole := _lines(os.pread(self._file, AT_ONCE, self._read)):
                self._read += len(whole)
                for line in whole.splitlines():
                    self._replay(line)

    def _replay(self, line: bytes) -> None:
        try:
            entry = receipt.read(line, ours=True)
        except Refused as error:
            raise StudyError(
                f"{self.path}: a line is damaged: {error}. Restore the file from a backup; or move the folder away and join "
                "as somebody new, since a number that was used must not be used again"
            ) from None
        peer, seq = entry.receipt.peer, entry.receipt.seq
        chain, caught = self.chains.get(peer, ()), self.caught.get(peer)
        if caught and seq >= caught[0].seq:
            return
        if (seq, entry.receipt.prev) == (len(chain) + 1, chain[-1] if chain else ""):
            self._count(entry, len(line))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone with the file, and up to date."""
        with self.lock:
            if self._file is None or self._held:
                yield
                return
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._held += 1
            try:
                self.refresh()
                if os.fstat(self._file).st_size > self._read:
                    os.ftruncate(self._file, self._read)  # a line that a killed process left half-written
                yield
            finally:
                self._held -= 1
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _write(self, data: bytes) -> None:
        if self._file is None:
            return
        line = data + b"\n"
        try:
            if os.write(self._file, line) != len(line):
                raise OSError(28, "No space left on device")
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._read)
            raise StudyError(f"{self.path}: {error.strerror}. Everything before is safe; make room") from None
        self._read += len(line)

    def close(self) -> None:
        with self.lock:
            if self._file is not None:
                os.close(self._file)
            self._file = None


def _lines(data: bytes) -> bytes:
    """As much of it as ends with a line's end."""
    return data[: data.rfind(b"\n") + 1]


def check_proof(found: Caught) -> None:
    """
    Raises:
        Refused: these are not two receipts of one peer with one number.
    """
    if found.one.seq != found.other.seq or found.one == found.other:
        raise Refused("its proof proves nothing")
    if (found.one.prev, found.one.body) == (found.other.prev, found.other.body):
        raise Refused("its proof proves nothing")  # the same, signed twice
    for stub in (found.one, found.other):
        identity.check(found.peer, stub)
