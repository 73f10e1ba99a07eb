"""
Sharing over any git remote: no server of ours, no open port, works wherever one can push.

Each peer has one ref, refs/autoresearch-swarm/<study>/<peer>. Its commit holds the peer's own receipts, a line each, in files
of at most 256 (receipts/000001.jsonl), its beacon, and under relay/<peer>/ the receipts of others that the remote holds
nowhere else: of peers that are reached over another way, or whose ref is gone. These are the same files with the same
content, so git keeps them once.

Whoever may push can overwrite or delete any ref: what is known here stays known, and our own ref is put right in the next
turn. Receipts go on top of whatever stands there, so nothing is forced; a beacon takes the place of the one before, which is
(our own ref, and only what we saw there), or a night of beacons would be a history of thousands of commits.
"""

import hashlib
import re
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from autoresearch.errors import StudyError, WorkspaceError
from autoresearch.share import receipt
from autoresearch.share.bare import LIMIT_S, SHORT_S, Bare, Blob, blob_id
from autoresearch.share.exchange import MOST_BEACON, Beacon, Exchange
from autoresearch.share.receipt import PEER, Entry, Refused

SHARD = 256  # receipts
MOST_SHARD = 4 << 20  # bytes
MOST_READ = 64 << 20  # bytes of shards in one turn; the others come in the next
MOST_PEERS = 64  # in one fetch, where all at once did not go
BEACON_S = 40.0  # after which a beacon is pushed for its own sake: less than half of leases.ALIVE_S; each costs everybody a fetch
PACE = 10.0  # times as long as a turn took we leave the remote alone, unless we have something to say
MOST_PAUSE_S = 120.0
MISSED = 3  # turns in a row that the remote lacks what we know of somebody, before one of us brings it
LATEST = 64  # turns, at most, after which a shard that did not count is looked at again

_PATH = re.compile(rf"(?:receipts|relay/({PEER.pattern}))/(\d{{6}})\.jsonl")


class Shard(Struct):
    """A file of receipts as it was read last: how much of it counts here, and when to look again."""

    blob: str
    author: str
    first: int = 0  # numbers of the receipts at its beginning that are in our book, byte for byte
    last: int = 0
    length: int = 0  # bytes of these
    digest: str = ""
    whole: bool = False
    at: int = 0  # turn in which it is read again where it is not
    vain: int = 0


class OverGit:
    """
    A `Share` over the git remote at an address (bare.address). `folder` is for a bare repository of our own; the person's is never
    touched. Several processes may have the same folder: one at a time has its turn.

    Raises:
        StudyError: the address is none.
    """

    name = "git"

    def __init__(
        self,
        exchange: Exchange,
        folder: Path,
        remote: str,
        study: str,
        limit_s: float = LIMIT_S,
        pace: float = PACE,
        beacon_s: float = BEACON_S,
    ) -> None:
        if remote.startswith("-") or not remote:
            raise StudyError(f"swarm: {remote!r} is no address of a git remote")
        self.exchange, self.remote = exchange, remote
        self.space = f"refs/autoresearch-swarm/{study[:16]}"
        self.bare = Bare(folder, limit_s)
        self._lock = threading.Lock()
        self._beacon = b""
        self._pace, self._beacon_s = pace, beacon_s
        self._next = self._due = (
            0.0  # by time.monotonic: when the remote is looked at again, when a beacon is pushed again
        )
        self._spoke = -1  # our last number when we looked last
        self._pushed = b""  # the beacon that stands there
        self._mine = self._under = ""  # our last commit, and the parent of its receipts
        self._replace = True
        self._turn = 0
        self._seen: dict[str, str] = {}  # peer -> its commit that was read in full
        self._files: dict[str, list[Blob]] = {}  # peer -> what its commit holds
        self._shards: dict[tuple[str, str], Shard] = {}  # (peer, path)
        self._beacons: dict[str, str] = {}  # peer -> id of its beacon
        self._tries: dict[str, tuple[str, int]] = {}  # peer -> commit that could not be fetched, how often
        self._missed: dict[str, int] = {}  # peer -> turns in a row
        self._relayed: set[str] = set()
        self._made: dict[tuple[str, int], tuple[str, str]] = {}  # (peer, shard) -> (id of its last receipt, blob)

    def show(self, data: bytes) -> None:
        """It is in the book; the next turn pushes it."""

    def beat(self, beacon: bytes) -> None:
        with self._lock:
            self._beacon = beacon

    def close(self) -> None:
        self.bare.close()

    def turn(self) -> str:
        start, spoke = time.monotonic(), self.exchange.book.head(self.exchange.me.peer).seq
        if start < self._next and spoke == self._spoke:
            return ""
        self._spoke = spoke
        problem = self._look()
        now = time.monotonic()
        self._next = now + min(MOST_PAUSE_S, self._pace * (now - start))
        return problem

    def _look(self) -> str:
        try:
            with self.bare.held() as held:
                if not held:
                    return ""
                self._turn += 1
                peers = self._fetched()
                for peer, commit in peers.items():
                    self._list(peer, commit)
                for peer in self._files.keys() - peers.keys():
                    self._forget(peer)
                self._read()
                self._push(peers.get(self.exchange.me.peer, ""))
        except (WorkspaceError, StudyError, OSError) as error:
            self.bare.doubt()
            self._made.clear()
            return "" if self.bare.closed else f"sharing over git: {error}"
        return ""

    # -- what others said ----------------------------------------------------------------------------------

    def _fetched(self) -> dict[str, str]:
        """Peer -> the commit of its ref, which is here. A ref that cannot be fetched keeps back no other."""
        try:
            self.bare.fetch(self.remote, [f"+{self.space}/*:refs/peers/*"], prune=True)
        except WorkspaceError:
            listed = self.bare.run("ls-remote", "--refs", "--", self.remote, f"{self.space}/*", limit_s=SHORT_S)
            lines = (line.partition("\t") for line in listed.decode(errors="replace").splitlines())
            there = {name: id for id, _, name in lines}
            here = self.bare.refs("refs/peers/")
            named = _named(there, f"{self.space}/")
            wanted = {peer: id for peer, id in named.items() if here.get(f"refs/peers/{peer}") != id}
            gone = [name for name in here if f"{self.space}/{name.removeprefix('refs/peers/')}" not in there]
            for name in gone:
                self.bare.run("update-ref", "-d", name)
            self._fetch_some(
                [peer for peer, id in wanted.items() if self._tries.get(peer, ("", 0)) < (id, MISSED)], wanted
            )
        return _named(self.bare.refs("refs/peers/"), "refs/peers/")

    def _fetch_some(self, peers: Sequence[str], wanted: dict[str, str]) -> None:
        """Many at once, and where that fails, in halves, until it is known which one it is."""
        for start in range(0, len(peers), MOST_PEERS):
            some = peers[start : start + MOST_PEERS]
            try:
                self.bare.fetch(self.remote, [f"+{self.space}/{peer}:refs/peers/{peer}" for peer in some])
            except WorkspaceError:
                if len(some) == 1:
                    id, tries = self._tries.get(some[0], ("", 0))
                    self._tries[some[0]] = wanted[some[0]], tries + 1 if id == wanted[some[0]] else 1
                    self.exchange.refused(f"the ref of {some[0][:8]} cannot be fetched")
                else:
                    self._fetch_some(some[: len(some) // 2], wanted)
                    self._fetch_some(some[len(some) // 2 :], wanted)

    def _list(self, peer: str, commit: str) -> None:
        if self._seen.get(peer) == commit:
            return
        try:
            files = self.bare.files(commit)
        except WorkspaceError as error:
            self.exchange.refused(f"what {peer[:8]} pushed cannot be read ({error})")
            files = []
        self._seen[peer] = commit
        self._files[peer] = sorted(files, key=lambda blob: blob.path)
        paths = {blob.path for blob in files}
        for key in [key for key in self._shards if key[0] == peer and key[1] not in paths]:
            del self._shards[key]

    def _forget(self, peer: str) -> None:
        for table in (self._seen, self._files, self._beacons):
            table.pop(peer, None)
        for key in [key for key in self._shards if key[0] == peer]:
            del self._shards[key]

    def _read(self) -> None:
        """Read what is new, as far as one turn goes, and take it."""
        wanted: dict[str, Blob] = {}
        places: dict[str, list[tuple[str, str]]] = {}
        room = MOST_READ
        for peer, files in self._files.items():
            for blob in files:
                shard = _PATH.fullmatch(blob.path)
                if blob.size > (MOST_SHARD if shard else MOST_BEACON):
                    if shard and self._shards.get((peer, blob.path), Shard("", "")).blob != blob.id:
                        self._shards[peer, blob.path] = Shard(blob.id, "", at=1 << 62)
                        self.exchange.refused(f"a file of {peer[:8]} is larger than {MOST_SHARD >> 20} MiB")
                    continue
                new = (
                    self._is_new(peer, blob) if shard else blob.path == "beacon" and self._beacons.get(peer) != blob.id
                )
                if new and (blob.id in wanted or room >= blob.size):
                    room -= 0 if blob.id in wanted else blob.size
                    wanted[blob.id] = blob
                    places.setdefault(blob.id, []).append((peer, blob.path))
        for blob, data in self.bare.read(list(wanted.values())):
            for peer, path in places[blob.id]:
                if path == "beacon":
                    self._hear(peer, blob.id, data)
                else:
                    self._take(peer, path, blob.id, data)

    def _is_new(self, peer: str, blob: Blob) -> bool:
        known = self._shards.get((peer, blob.path))
        return known is None or known.blob != blob.id or (not known.whole and known.at <= self._turn)

    def _hear(self, peer: str, id: str, data: bytes) -> None:
        """A beacon is a sign of life where it is another than the one that was there first: that one may be a year old."""
        if peer in self._beacons:
            self.exchange.hear(data)
        self._beacons[peer] = id

    def _take(self, peer: str, path: str, id: str, data: bytes) -> None:
        """The receipts of a file, from where it was read last time, as far as it still begins like that."""
        found = _PATH.fullmatch(path)
        author = (found and found[1]) or peer
        old = self._shards.get((peer, path))
        now = Shard(id, author)
        if old and old.length and _sha(data[: old.length]) == old.digest:
            now.first, now.last, now.length = old.first, old.last, old.length
        counted = True
        for line in data[now.length :].split(b"\n", SHARD)[:-1]:
            entry = self._entry(line)
            if entry is None:
                self.exchange.take(line)
                entry = self._entry(line)
            seq = entry.receipt.seq if entry is not None and entry.receipt.peer == author else 0
            counted = counted and seq > 0 and now.last + 1 in (1, seq)
            if counted:
                now.first, now.last, now.length = now.first or seq, seq, now.length + len(line) + 1
        head = self.exchange.book.head(author)
        now.whole = (
            now.length == len(data) or 0 < head.caught == head.seq + 1
        )  # whoever was caught has no more that counts
        now.digest = _sha(data[: now.length])
        if not now.whole:  # it waits for others, or it is not worth anything
            now.vain = old.vain + 1 if old and old.blob == id else 0
            now.at = self._turn + min(LATEST, 1 << min(now.vain, 10))
        self._shards[peer, path] = now

    def _entry(self, line: bytes) -> Entry | None:
        """The receipt in our book that is written like this, byte for byte."""
        try:
            found = receipt.read(line, ours=True)
        except Refused:
            return None
        known = self.exchange.book.entries.get(found.id)
        if known is None or known.stub != found.stub:
            return None
        r = known.receipt
        tail = f',"peer":"{r.peer}","prev":"{r.prev}","seq":{r.seq},"sign":"{r.sign}","v":{r.v}}}'
        return known if line.startswith(b'{"body":') and line.endswith(tail.encode()) else None

    # -- what we say ---------------------------------------------------------------------------------------

    def _reach(self) -> dict[tuple[str, str], int]:
        """(peer, author) -> how far this peer's ref holds this author's receipts without a gap."""
        reach: dict[tuple[str, str], int] = {}
        for (peer, _), shard in sorted(self._shards.items()):
            known = reach.get((peer, shard.author), 0)
            if shard.last and shard.first <= known + 1:
                reach[peer, shard.author] = max(known, shard.last)
        return reach

    def _to_relay(self) -> list[str]:
        """
        Whose receipts we bring because nobody else does. Who begins is drawn, so that not all do at once; and if he does not, the
        next one does a turn later. Whom we brought once we go on bringing, until its own ref does.
        """
        me, reach = self.exchange.me.peer, self._reach()
        others: dict[str, int] = {}
        for (peer, author), last in reach.items():
            if peer == me and self._turn == 1:
                self._relayed.add(author)
            elif peer != me:
                others[author] = max(others.get(author, 0), last)
        for author, head in self.exchange.book.heads().items():
            if reach.get((author, author), 0) >= head.seq:
                self._relayed.discard(author)
            if others.get(author, 0) >= head.seq:
                self._missed.pop(author, None)
                continue
            self._missed[author] = self._missed.get(author, 0) + 1
            ranked = sorted({*self._files, me}, key=lambda peer: hashlib.sha256(f"{author} {peer}".encode()).digest())
            if self._missed[author] > MISSED + ranked.index(me):
                self._relayed.add(author)
        return sorted(self._relayed - {me})

    def _shards_of(self, author: str, folder: str, files: dict[str, str], new: dict[str, bytes]) -> None:
        """Add the files of a peer's receipts. Their bounds follow from the receipts alone: whoever writes them writes the same."""
        book = self.exchange.book
        with book.lock:
            entries = [book.entries[id] for id in book.chains.get(author, ())]
        number = 0
        while entries:
            number += 1
            path, last = f"{folder}/{number:06d}.jsonl", entries[:SHARD][-1].id
            known = self._made.get((author, number))
            if known is not None and known[0] == last:
                files[path] = known[1]
                entries = entries[SHARD:]
                continue
            lines, size = [], 0
            for entry in entries[:SHARD]:
                line = receipt.canonical(entry.receipt) + b"\n"
                if size + len(line) > MOST_SHARD:
                    break
                lines.append(line)
                size += len(line)
            data = b"".join(lines)
            files[path] = blob_id(data)
            new[files[path]] = data
            if len(lines) == len(entries[:SHARD]):
                self._made[author, number] = last, files[path]
            entries = entries[len(lines) :]

    def _push(self, there: str) -> None:
        """Put our ref right, where it is not: `there` is the commit at which it is, "" for none that we could fetch."""
        files: dict[str, str] = {}
        new: dict[str, bytes] = {}
        me = self.exchange.me.peer
        self._shards_of(me, "receipts", files, new)
        for author in self._to_relay():
            self._shards_of(author, f"relay/{author}", files, new)
        with self._lock:
            beacon = self._beacon
        same = {blob.path: blob.id for blob in self._files.get(me, ()) if blob.path != "beacon"} == files
        due = time.monotonic() >= self._due and beacon != self._pushed
        if not files or (same and not due and _leases(beacon) == _leases(self._pushed)):
            return
        if beacon:
            files["beacon"] = blob_id(beacon)
            new[files["beacon"]] = beacon
        if same and self._replace and there == self._mine != "":
            try:
                self._put(there, self._under, files, new)
            except WorkspaceError:  # the remote may not let us, or may not be there
                self._put(there, there, files, new)
                self._replace = False
        else:
            self._put(there, there, files, new)
        self._pushed, self._due = beacon, time.monotonic() + self._beacon_s

    def _put(self, there: str, parent: str, files: dict[str, str], new: dict[str, bytes]) -> None:
        """Our ref, now at `there`, goes to a commit of these files on this parent."""
        try:
            self.bare.commit("refs/ours", parent, files, new)
        except WorkspaceError:  # what stands there is spoiled
            parent = ""
            self.bare.commit("refs/ours", parent, files, new)
        ref = f"{self.space}/{self.exchange.me.peer}"
        # By force only over what we saw; where that is no commit, or could not be fetched, over anything.
        force = [] if parent == there != "" else [f"--force-with-lease={ref}:{there}"] if there else ["--force"]
        self.bare.run("push", "--quiet", "--no-verify", *force, "--", self.remote, f"refs/ours:{ref}")
        self._mine, self._under = self.bare.refs("refs/ours")["refs/ours"], parent


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _named(refs: dict[str, str], prefix: str) -> dict[str, str]:
    """Peer -> what its ref is at."""
    return {name.removeprefix(prefix): id for name, id in refs.items() if PEER.fullmatch(name.removeprefix(prefix))}


def _leases(beacon: bytes) -> Iterable[str]:
    return msgspec.json.decode(beacon, type=Beacon).leases if beacon else ()
