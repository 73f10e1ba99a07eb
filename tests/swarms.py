"""A swarm in one process, for tests: peers with made-up measurements, whose receipts everybody knows at once."""

import random
from collections.abc import Iterable
from pathlib import Path

from autoresearch.share import node, settings, trust
from autoresearch.share.board import Swarm, fold
from autoresearch.share.book import Book
from autoresearch.share.identity import Identity
from autoresearch.share.receipt import Finding, Hello, Ran, canonical

STUDY, BUDGET, BASE = "0" * 16, "100 steps", "a" * 40
NOISE = 0.01


class Crowd:
    """Peers by number; `tiers` are theirs. What a change is truly worth on a tier is in `truth[key][tier]`."""

    def __init__(self, tiers: Iterable[str], seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.tiers = list(tiers)
        self.book = Book()
        self.peers = [
            Identity(bytes([seed % 256, number % 256, number // 256]) + bytes(29)) for number in range(len(self.tiers))
        ]
        self.number = {peer.peer: number for number, peer in enumerate(self.peers)}
        self.truth: dict[str, dict[str, float]] = {}
        self.runs = [0] * len(self.peers)
        self.tried: list[list[str]] = [[] for _ in self.peers]  # of each peer, the findings that it measured, in order
        for number, (peer, tier) in enumerate(zip(self.peers, self.tiers, strict=True)):
            self.book.say(peer, Hello(f"peer {number}", tier, peer.box_key))

    def say(self, number: int, key: str, gain: float, about: str = "", word: str | None = None, idea: str = "") -> str:
        """A receipt of a measurement that came to this; its id."""
        self.runs[number] += 2
        run = self.runs[number]
        finding = Finding(
            study=STUDY,
            tier=self.tiers[number],
            direction="minimize",
            budget=BUDGET,
            base=BASE,
            key=key,
            word=word or ("keep" if gain > 3 * NOISE else "discard"),  # type: ignore[arg-type]
            idea=idea or f"change {key}",
            trial=run,
            runs=(Ran(run, 7, 1.0 - gain),),
            base_runs=(Ran(run - 1, 7, 1.0),),
            patch="diff",
            noise=NOISE,
            about=about,
        )
        self.book.say(self.peers[number], finding)
        return self.book.chains[self.peers[number].peer][-1]

    def measure(self, number: int, key: str, about: str = "") -> str:
        """A peer measures a change for real."""
        gain = self.truth[key][self.tiers[number]] + self.rng.gauss(0, NOISE)
        if about:
            self.tried[number].append(about)
        return self.say(number, key, gain, about)

    def lines(self) -> list[bytes]:
        """All receipts, as a file of them has them."""
        return [canonical(entry.receipt) + b"\n" for entry in self.book.entries.values()]

    def swarm(self) -> Swarm:
        return fold(self.book.entries.values())

    def wants(self, number: int) -> list[trust.Candidate]:
        """What a peer would measure next, the best first."""
        swarm, me = self.swarm(), self.peers[number].peer
        known = {told.finding.key for told in swarm.findings.values() if told.peer == me}
        place = STUDY, self.tiers[number], BUDGET
        return list(trust.candidates(swarm, trust.view(swarm, me), place, set(self.number), known))


def joined(home: Path, crowd: Crowd) -> Path:
    """Have a study take part, and know all that this crowd told; the file of receipts. `home` is its .autoresearch."""
    settings.save(home, settings.Settings("ada"))
    path = settings.folder(home) / node.BOOK
    path.write_bytes(b"".join(crowd.lines()))
    return path


def night(seed: int = 0) -> Crowd:
    """
    35 peers on three kinds of machine: a small one finds the initialisation and 23 others take it up, a large one finds a high rate
    that holds on the large and medium ones alone, and one makes a claim that is refuted.
    """
    crowd = Crowd(["large"] * 2 + ["medium"] * 3 + ["small"] * 30, seed)
    for number in range(35):
        crowd.say(number, f"{number:08x}", -0.02)
    init = crowd.say(11, "a" * 8, 0.2, idea="scale the initialisation by fan-in (Kaiming)")
    rate = crowd.say(0, "b" * 8, 0.15, idea="a learning rate of 0.02 with warm-up")
    false = crowd.say(20, "c" * 8, 0.5, idea="no gradient clipping at all")
    norm = crowd.say(28, "d" * 8, 0.06, idea="RMSNorm before each block")
    for number in (22, 7, 33):
        crowd.say(number, "c" * 8, -0.1 + crowd.rng.gauss(0, NOISE), false)
    takers = crowd.rng.sample([number for number in range(35) if number != 11], 23)
    for place, number in enumerate(takers):
        crowd.say(number, "a" * 8, (0.2 if number > 4 else 0.05) + crowd.rng.gauss(0, NOISE), init, "keep")
        if place in (3, 6, 9, 12):
            crowd.say((place // 3) % 5 or 4, "b" * 8, 0.12 + crowd.rng.gauss(0, NOISE), rate, "keep")
        if place > 8:
            crowd.say(5 + (place * 7) % 30, "d" * 8, 0.06 + crowd.rng.gauss(0, NOISE / 3), norm)
        if place in (10, 15, 20):
            crowd.say(place + 9, "b" * 8, -0.2, rate)
    return crowd
