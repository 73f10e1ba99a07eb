"""
Whose findings are worth a run here, and which comes next. Pure functions of what is known.

Trust in a peer is what its claims turned out to be worth when others measured them, as seen from here: what was measured
here counts in full; what others say, as far as they agreed with what was measured here; and of a finding that was measured
here, nobody else's word counts. Peers who praise each other gain nothing by it: who measures a claim first is drawn by
hash, and until most of those who were drawn have spoken for it, nobody else spends a run on it.
"""

import hashlib
import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from autoresearch.share.board import Place, Swarm, Told, standing

VERIFIERS = 3  # of a claim
STRONG, MORE = 3.0, 5  # times the largest gain that held anywhere: so many measure a claim like this first
STRANGER = 0.5  # what somebody's word is worth of whom nothing is known; a coin's
DISAGREED = 3.0  # times: one finding that did not hold weighs more than one that did
LISTENED = 1.0  # findings: what others say of one finding weighs no more than if it had been measured here once
CARRIES = (1.0, 1.0)  # Beta prior of how likely a finding holds on another kind of machine


class Tally(Struct):
    """Findings that held and that did not, in weights."""

    held: float = 0.0
    lost: float = 0.0

    @property
    def trust(self) -> float:
        """The mean of a Beta posterior; of nothing known, a stranger's."""
        return (STRANGER + self.held) / (1 + self.held + DISAGREED * self.lost)


class View(Struct, frozen=True):
    """
    The swarm as one peer sees it: what each other's word and each other's claims are worth to it, and how likely findings carry
    from one tier to another.
    """

    me: str
    words: Mapping[str, float]
    claims: Mapping[str, float]
    carries: Mapping[tuple[str, str], float]

    def word(self, peer: str) -> float:
        return 1.0 if peer == self.me else self.words.get(peer, STRANGER)

    def trust(self, peer: str) -> float:
        return 1.0 if peer == self.me else self.claims.get(peer, STRANGER)

    def carry(self, tier: str, to: str) -> float:
        return 1.0 if tier == to else self.carries.get((tier, to), CARRIES[0] / sum(CARRIES))


def view(swarm: Swarm, me: str) -> View:
    """What is known, from where `me` stands. One pass over all findings, and a second that weighs what others say."""
    words: dict[str, Tally] = {}
    claims: dict[str, Tally] = {}
    mine: set[str] = set()
    for told in swarm.findings.values():
        own = told.again.get(me)
        if own is None or own.place != told.place or (found := standing(told, own)) == "open":
            continue
        mine.add(told.id)
        _count(claims.setdefault(told.peer, Tally()), found == "holds", 1.0)
        for peer, again in told.again.items():
            said = standing(told, again) if peer != me and again.place == told.place else "open"
            if said != "open":
                _count(words.setdefault(peer, Tally()), said == found, 1.0)
    heard = {peer: tally.trust for peer, tally in words.items()}
    for told in swarm.findings.values():
        if told.id not in mine and told.claims and told.peer != me:
            held, lost = _spoken(told, heard)
            weight = min(1.0, LISTENED / (held + lost)) if held + lost else 0.0
            _count(claims.setdefault(told.peer, Tally()), True, held * weight)
            _count(claims[told.peer], False, lost * weight)
    trusted = {peer: tally.trust for peer, tally in claims.items()}
    for peer, member in swarm.members.items():
        if member.caught:
            heard[peer] = trusted[peer] = 0.0
    return View(me, heard, trusted, _carries(swarm, heard))


def _count(tally: Tally, held: bool, weight: float) -> None:
    if held:
        tally.held += weight
    else:
        tally.lost += weight


def _spoken(told: Told, words: Mapping[str, float]) -> tuple[float, float]:
    """How much was said for a claim and against it, by those who measured it where its values compare."""
    held = lost = 0.0
    for peer, again in told.again.items():
        if again.place == told.place:
            said, weight = standing(told, again), words.get(peer, STRANGER)
            held += weight * (said == "holds")
            lost += weight * (said == "refuted")
    return held, lost


def _carries(swarm: Swarm, words: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """(from, to) -> how likely a claim from one tier holds on another, by those that were measured there."""
    seen: dict[tuple[str, str], Tally] = {}
    for told in swarm.findings.values():
        if not told.claims:
            continue
        for peer, again in told.again.items():
            found = standing(told, again)
            if again.finding.tier != told.finding.tier and found != "open":
                tally = seen.setdefault((told.finding.tier, again.finding.tier), Tally())
                _count(tally, found == "holds", words.get(peer, STRANGER))
    yes, no = CARRIES
    return {way: (yes + t.held) / (yes + no + t.held + t.lost) for way, t in seen.items()}


def order(told: Told, peers: Iterable[str]) -> list[str]:
    """Who measures a claim first: nobody can choose, and whoever knows the same peers comes to the same."""
    others = {peer for peer in peers if peer != told.peer}
    return sorted(others, key=lambda peer: hashlib.sha256(f"{told.id} {peer}".encode()).digest())


class Candidate(Struct, frozen=True):
    """A finding that is worth a run here, and what it is expected to gain."""

    told: Told
    expected: float


def candidates(
    swarm: Swarm, seen: View, place: Place, alive: Collection[str], known: Collection[str]
) -> Iterator[Candidate]:
    """
    The claims of others that are worth a run on this place, the best first: by what they are expected to gain here for what a
    run costs. What nobody confirmed yet is only for who was drawn to measure it: first among machines of its author's kind,
    then among those of each other kind.

    `alive` are the peers that were heard lately, ourselves among them; `known` are keys of what was tried here already.
    """
    study, tier, budget = place
    gains = (told.numbers.gain for told in swarm.findings.values() if told.adopted)
    most = max((gain for gain in gains if gain is not None), default=0.0)
    kinds: dict[str, list[str]] = {}
    for peer in alive:
        kinds.setdefault(
            tier if peer == seen.me else swarm.members[peer].tier if peer in swarm.members else "", []
        ).append(peer)
    found: list[Candidate] = []
    for told in swarm.findings.values():
        finding = told.finding
        if not told.claims or told.peer == seen.me or finding.study != study or finding.budget != budget:
            continue
        if not finding.patch or seen.me in told.again or finding.key in known or swarm.members[told.peer].caught:
            continue
        gain = told.numbers.gain or 0.0
        if gain <= 0:
            continue
        one = Candidate(told, _expected(told, gain, seen, tier) / max(1.0, finding.cost or 1.0))
        if one.expected > 0:
            found.append(one)
    found.sort(key=lambda one: (-one.expected, one.told.id))
    return _in_turn(found, seen, tier, kinds, STRONG * most if most else math.inf)


def _in_turn(
    found: Iterable[Candidate], seen: View, tier: str, kinds: Mapping[str, Sequence[str]], strong: float
) -> Iterator[Candidate]:
    """
    Those that this peer may try now, one of each key. Who was drawn takes a hash of each peer that is there, so it is asked of
    one after the other, as long as whoever reads this wants more.
    """
    keys: set[str] = set()
    for one in found:
        key, gain = one.told.finding.key, one.told.numbers.gain or 0.0
        if key not in keys and _may_try(one.told, seen, tier, kinds, gain > strong):
            keys.add(key)
            yield one


def _may_try(told: Told, seen: View, tier: str, kinds: Mapping[str, Sequence[str]], strong: bool) -> bool:
    """
    Whether it is this peer's turn to measure a claim: those who are drawn first, then twice as many, and so on, as long as it held
    with most of those before. A lie is so found out by the first few, and the truth is everywhere after a few steps.
    """
    doubted = strong or seen.trust(told.peer) < STRANGER
    first = MORE if strong else VERIFIERS
    home = order(told, kinds.get(told.finding.tier, ())) or order(told, itertools.chain(*kinds.values()))
    if seen.me in home:
        return _is_turn(told, seen, home, first, doubted)
    there = order(told, kinds.get(tier, ()))
    return _is_confirmed(told, seen, home[:first], doubted) and _is_turn(told, seen, there, first, False)


def _is_turn(told: Told, seen: View, among: Sequence[str], first: int, doubted: bool) -> bool:
    before, size, rank = 0, first, among.index(seen.me)
    while before + size <= rank:
        before, size = before + size, 2 * size
    return not before or _is_confirmed(told, seen, among[:before], doubted)


def _is_confirmed(told: Told, seen: View, among: Sequence[str], doubted: bool) -> bool:
    """Whether more of these say that it holds than that it does not, by what their word is worth; if doubted, most of them."""
    said = {peer: standing(told, told.again[peer]) for peer in among if peer in told.again}
    held = sum(seen.word(peer) for peer, word in said.items() if word == "holds")
    lost = sum(seen.word(peer) for peer, word in said.items() if word == "refuted")
    return held > lost and (not doubted or len(said) > len(among) / 2)


def _expected(told: Told, gain: float, seen: View, tier: str) -> float:
    """What a claim gains here: what it says, as far as that is likely, weighed as one run beside those that were made here."""
    held, lost = _spoken(told, seen.words)
    likely = (held / (held + lost) if held + lost else seen.trust(told.peer)) * seen.carry(told.finding.tier, tier)
    there = [
        (again.numbers.gain or 0.0, seen.word(peer)) for peer, again in told.again.items() if again.finding.tier == tier
    ]
    weight = sum(word for _, word in there)
    return (gain * likely + sum(one * word for one, word in there)) / (1 + weight)
