"""
A thousand peers in one process, for benchmarks/swarm_scale.py: what they say, and rounds in which they tell each other.

The exchange, the asking, the books, the receipts and their signatures are those of autoresearch.share. Two things are shared
between the books of this one process, or a hundred million receipts would need terabytes and days: the record that a
receipt's bytes are read as, and that its signature was found right. What each costs is measured on its own.
"""

import contextlib
import gc
import random
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from msgspec import Struct, field

from autoresearch.share import identity, receipt
from autoresearch.share.asking import Asking
from autoresearch.share.book import Book
from autoresearch.share.exchange import Exchange
from autoresearch.share.identity import Identity
from autoresearch.share.receipt import Body, Entry, Finding, Hello, Ran, Stub

STUDY, BUDGET, NOISE = "5ca1e000" * 2, "300 s", 0.01
TIERS = {"H100, 26 cores": 0.05, "RTX 4090, 16 cores": 0.15, "2 cores": 0.8}  # and which part of the peers has it
AGAIN, CLAIMS = 0.35, 0.15  # of all findings: measured again what another claimed; of one's own: claims to help
FALSE = 0.1  # of claims
LATEST = 300  # claims among which somebody chooses what to measure again
IDEAS = (
    "scale the initialisation of layer {} by its fan-in, as He et al. do",
    "RMSNorm before block {} in place of LayerNorm",
    "warm the learning rate up over {} steps",
    "clip gradients at {}",
    "weight decay of {} on matrices alone",
)
PATCH = "--- a/train.py\n+++ b/train.py\n@@ -{0},5 +{0},5 @@\n def block(x):\n" + "".join(
    f"-    scale_{n} = 0.02\n+    scale_{n} = {{1}} * math.sqrt(2 / fan_in)\n" for n in range(4)
)
HEARD = 3  # beacons that a peer hears in a round
MOST_ROUNDS = 5000


class Said(Struct):
    """Peers and all that they ever say: of each its receipts, in order."""

    peers: list[Identity]
    receipts: list[list[bytes]]

    def lines(self) -> list[bytes]:
        """As one peer's file has them that heard of them in turn."""
        most = max(map(len, self.receipts))
        return [own[k] for k in range(most) for own in self.receipts if k < len(own)]


def made_up(peers: int, each: int, seed: int = 1) -> Said:
    """
    So many peers on three kinds of machine, and so many receipts of each, signed: an introduction, trials that came to little,
    claims of which one in ten is false, and what became of others' claims where they were measured again.
    """
    rng = random.Random(seed)
    people = [Identity(rng.randbytes(32)) for _ in range(peers)]
    tiers = rng.choices(list(TIERS), list(TIERS.values()), k=peers)
    said: list[list[bytes]] = [[] for _ in people]
    before = [""] * peers
    claims: list[tuple[str, Finding, float]] = []  # id, what it says, what it truly gains

    def say(number: int, body: Body) -> None:
        data = people[number].receipt(len(said[number]) + 1, before[number], body)
        said[number].append(data)
        before[number] = receipt.read(data).id

    for number, one in enumerate(people):
        say(number, Hello(f"peer {number}", tiers[number], one.box_key))
    for trial in range(1, each):
        for number in rng.sample(range(peers), peers):
            if claims and rng.random() < AGAIN:
                about, found, gain = rng.choice(claims[-LATEST:])
                truly = gain * rng.choice((1.0, 1.0, 0.6, 0.0)) if tiers[number] != found.tier else gain
                say(number, measured(rng, tiers[number], trial, found.key, found.idea, truly, about=about))
                continue
            claim = rng.random() < CLAIMS
            gain = abs(rng.gauss(0.05, 0.03)) if claim else rng.gauss(-0.02, 0.01)
            idea = rng.choice(IDEAS).format(rng.randint(1, 40))
            body = measured(rng, tiers[number], trial, f"{rng.getrandbits(64):016x}", idea, gain)
            say(number, body)
            if claim:
                claims.append((before[number], body, 0.0 if rng.random() < FALSE else gain))
    return Said(people, said)


def measured(rng: random.Random, tier: str, trial: int, key: str, idea: str, truly: float, about: str = "") -> Finding:
    """What a peer finds that measures a change which truly gains so much, with its noise."""
    seeds = (11, 23, 37)
    base = [1.2 + rng.gauss(0, NOISE) for _ in seeds]
    value = [one - truly + rng.gauss(0, NOISE) for one in base]
    gain = sum(one - other for one, other in zip(base, value, strict=True)) / len(seeds)
    return Finding(
        study=STUDY,
        tier=tier,
        direction="minimize",
        budget=BUDGET,
        base=f"{trial // 10 + 1:040x}",
        key=key,
        word="keep" if gain > 2 * NOISE else "discard",
        idea=idea,
        trial=trial,
        runs=tuple(Ran(8 * trial + k, seed, value[k]) for k, seed in enumerate(seeds)),
        base_runs=tuple(Ran(8 * (trial // 10) + 4 + k, seed, base[k]) for k, seed in enumerate(seeds)),
        patch=PATCH.format(rng.randint(1, 400), f"{rng.random():.4f}"),
        noise=NOISE,
        gain=gain,
        error=NOISE * (2 / len(seeds)) ** 0.5,
        cost=1 + rng.random() / 10,
        about=about,
    )


# -- many books in one process ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def one_process() -> Iterator[None]:
    """Each receipt is read once, written once and its signature looked at once, however many books of this process take it."""
    read, canonical, check = receipt.read, receipt.canonical, identity.check
    entries: dict[bytes, Entry] = {}
    written: dict[int, bytes] = {}
    right: set[tuple[str, Stub]] = set()

    def read_once(data: bytes, *, ours: bool = False) -> Entry:
        known = entries.get(data)
        if known is None:
            known = entries[data] = read(data, ours=ours)
            written[id(known.receipt)] = data  # which is kept, so that its id stays its own
        return known

    def write_once(record: object) -> bytes:
        return written.get(id(record)) or canonical(record)

    def check_once(peer: str, stub: Stub) -> None:
        if (peer, stub) not in right:
            check(peer, stub)
            right.add((peer, stub))

    with (
        mock.patch.object(receipt, "read", read_once),
        mock.patch.object(receipt, "canonical", write_once),
        mock.patch.object(identity, "check", check_once),
    ):
        gc.disable()  # nothing here is garbage, and looking for some among so many records takes longer than all else
        try:
            yield
        finally:
            gc.enable()


class Bytes(Struct):
    """What a peer sent or was sent."""

    receipts: int = 0
    questions: int = 0
    beacons: int = 0

    @property
    def all(self) -> int:
        return self.receipts + self.questions + self.beacons


class Peer:
    """One of them, with a book of its own in memory."""

    def __init__(self, me: Identity) -> None:
        self.book = Book(told=self._told)
        self.exchange = Exchange(self.book, me, 1, lambda: 0.0, self._refused)
        self.asking = Asking(self.exchange)
        self.sent, self.came = Bytes(), Bytes()
        self.asked = self.in_vain = 0
        self.heard_of: Callable[[Entry], None] = lambda entry: None

    def _told(self, entry: Entry) -> None:
        self.heard_of(entry)

    def _refused(self, why: str) -> None:
        raise AssertionError(f"an honest peer was refused: {why}")

    def take(self, data: bytes, of: "Peer") -> None:
        self.came.receipts += len(data)
        of.sent.receipts += len(data)
        self.exchange.take(data)

    def hear(self, beacon: bytes, of: "Peer") -> None:
        self.came.beacons += len(beacon)
        of.sent.beacons += len(beacon)
        self.asking.hear(beacon)

    def ask(self, peers: dict[str, "Peer"]) -> None:
        """One question to whoever is next, and its answer."""
        name = self.asking.next()
        if not name:
            return
        other, question = peers[name], self.exchange.question()
        answer = other.exchange.answer(question)
        size = sum(map(len, answer)) + max(0, len(answer) - 1)  # with a line's end between each two
        self.sent.questions += len(question)
        other.came.questions += len(question)
        self.came.receipts += size
        other.sent.receipts += size
        self.asked += 1
        before = len(self.book.entries)
        self.asking.answered(answer)
        self.in_vain += len(self.book.entries) == before


class Spread(Struct):
    """How it went: rounds and seconds until all books were equal, and what the peers sent and were sent."""

    peers: int
    receipts: int
    shown: int
    rounds: int
    took_s: float  # of the processor, for all peers
    taken: int  # receipts that were new to whoever took them
    sent: list[Bytes]
    came: list[Bytes]
    asked: int
    in_vain: int
    memory: float  # MiB, of all books together
    delays: list[int] = field(
        default_factory=list
    )  # rounds until a receipt was with each, of each that was said on the way
    bytes: int = 0  # of all receipts


def at_once(said: Said, rng: random.Random, watch: Callable[[int, float], None] = lambda round, known: None) -> Spread:
    """Each knows what it said itself, and nothing of the others: so two halves of a net meet again, or many who worked alone."""
    peers = _begin(said, len(said.receipts[0]))
    return _rounds(said, peers, rng, lambda round: False, 0, watch)


def as_they_come(said: Said, rng: random.Random, every: int, shown: int) -> Spread:
    """Each says one receipt every so many rounds, and shows it to so many others; the rest is asked for."""
    peers = _begin(said, 1)
    in_turn = list(peers.values())
    own = list(zip(in_turn, said.receipts, strict=True))
    most = max(map(len, said.receipts))
    begun: dict[str, int] = {}
    left: dict[str, int] = {}
    delays: list[int] = []
    now = 0

    def heard_of(entry: Entry) -> None:
        if entry.id in left:
            left[entry.id] -= 1
            if not left[entry.id]:
                delays.append(now - begun[entry.id])

    for one in in_turn:
        one.heard_of = heard_of

    def say(round: int) -> bool:
        nonlocal now
        now = round
        for number, (one, receipts) in enumerate(own):
            k, rest = divmod(round - number % every, every)
            if rest or not 0 < k < len(receipts):
                continue
            id = receipt.read(receipts[k]).id
            begun[id], left[id] = round, len(in_turn)
            one.book.take(receipts[k])
            for other in rng.sample(in_turn, min(shown, len(in_turn))):
                if other is not one:
                    other.take(receipts[k], one)
        return round < most * every

    found = _rounds(said, peers, rng, say, shown)
    found.delays = delays
    return found


def _begin(said: Said, knows: int) -> dict[str, Peer]:
    peers = {me.peer: Peer(me) for me in said.peers}
    for one, receipts in zip(peers.values(), said.receipts, strict=True):
        for data in receipts[:knows]:
            one.book.take(data)
    return peers


def _rounds(
    said: Said,
    peers: dict[str, Peer],
    rng: random.Random,
    say: Callable[[int], bool],
    shown: int,
    watch: Callable[[int, float], None] = lambda round, known: None,
) -> Spread:
    """
    In each round everybody sends a beacon, hears those of `HEARD` others, drawn anew, and asks one question. `say` is whether
    there is more to come.
    """
    in_turn, began, memory_before = list(peers.values()), time.process_time(), memory()
    all_of_it = sum(map(len, said.receipts))
    for round in range(MOST_ROUNDS):
        more = say(round)
        if not more and len({one.book.digest() for one in in_turn}) == 1:
            break
        beacons = [one.exchange.beacon() for one in in_turn]
        for one in in_turn:
            for other in rng.sample(range(len(in_turn)), min(HEARD, len(in_turn))):
                one.hear(beacons[other], in_turn[other])
        for one in rng.sample(in_turn, len(in_turn)):
            one.ask(peers)
        watch(round, sum(len(one.book.entries) for one in in_turn) / len(in_turn) / all_of_it)
    else:
        raise AssertionError(f"not equal after {MOST_ROUNDS} rounds")
    assert {len(one.book.entries) for one in in_turn} == {all_of_it}
    return Spread(
        len(in_turn),
        all_of_it,
        shown,
        round,
        time.process_time() - began,
        sum(len(one.book.entries) for one in in_turn),
        [one.sent for one in in_turn],
        [one.came for one in in_turn],
        sum(one.asked for one in in_turn),
        sum(one.in_vain for one in in_turn),
        memory() - memory_before,
        bytes=sum(len(data) for own in said.receipts for data in own),
    )


def memory() -> float:
    """MiB of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
