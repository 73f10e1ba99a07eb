"""
Whose findings are worth a run here, and which comes next. Pure functions of what is known.

Trust in a peer is what its claims turned out to be worth when others measured them, as seen from here: what was measured
here counts in full; what others say, as far as they agreed with what was measured here; and of a finding that was measured
here, nobody else's word counts. Peers who praise each other gain nothing by it: who measures a claim first is drawn by
hash, and until most of those who were drawn have spoken for it, nobody else spends a run on it.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from autoresearch.share.board import Place, Swarm, Told, measured, standing

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
            held, lost = _spoken(told, heard, None)
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


def _spoken(told: Told, words: Mapping[str, float], among: Collection[str] | None) -> tuple[float, float]:
    """How much was said for a claim and against it, by those who measured it where its values compare."""
    held = lost = 0.0
    for peer, again in told.again.items():
        if again.place == told.place and (among is None or peer in among):
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


def drawn(told: Told, peers: Iterable[str], strong: bool) -> list[str]:
    """Who measures a claim first: nobody can choose them, and whoever knows the same peers comes to the same."""
    others = (peer for peer in peers if peer != told.peer)
    ranked = sorted(others, key=lambda peer: hashlib.sha256(f"{told.id} {peer}".encode()).digest())
    return ranked[: MORE if strong else VERIFIERS]


class Candidate(Struct, frozen=True):
    """A finding that is worth a run here: what it is expected to gain, and why it comes now."""

    told: Told
    expected: float
    why: str


def candidates(
    swarm: Swarm, seen: View, place: Place, alive: Collection[str], known: Collection[str]
) -> list[Candidate]:
    """
    The claims of others that are worth a run on this place, the best first: by what they are expected to gain here for what a
    run costs. Those that nobody confirmed yet are only for who was drawn to measure them.

    `alive` are the peers that were heard lately, ourselves among them; `known` are keys of what was tried here already.
    """
    study, tier, budget = place
    held = [
        gain for told in swarm.findings.values() if told.adopted and (gain := measured(told.finding).gain) is not None
    ]
    most = max(held, default=0.0)
    found: dict[str, Candidate] = {}
    for told in swarm.findings.values():
        finding = told.finding
        if not told.claims or told.peer == seen.me or finding.study != study or finding.budget != budget:
            continue
        if not finding.patch or seen.me in told.again or finding.key in known or swarm.members[told.peer].caught:
            continue
        one = _candidate(told, seen, tier, alive, most)
        if one is not None and (finding.key not in found or found[finding.key].expected < one.expected):
            found[finding.key] = one
    return sorted(found.values(), key=lambda one: (-one.expected, one.told.id))


def _candidate(told: Told, seen: View, tier: str, alive: Collection[str], most: float) -> Candidate | None:
    gain = measured(told.finding).gain
    if gain is None or gain <= 0:
        return None
    strong = bool(most) and gain > STRONG * most
    first = drawn(told, alive, strong)
    held, lost = _spoken(told, seen.words, None)
    by_drawn = _spoken(told, seen.words, first)
    spoken = sum(by_drawn) > 0
    doubted = strong or seen.trust(told.peer) < STRANGER
    enough = by_drawn[0] > by_drawn[1] and (not doubted or sum(peer in told.again for peer in first) > len(first) / 2)
    if lost > held and spoken:
        return None  # refuted where it was found; elsewhere it may still be tried by whoever finds it himself
    if seen.me not in first and not enough:
        return None
    there = [(measured(a.finding).gain or 0.0, seen.word(p)) for p, a in told.again.items() if a.finding.tier == tier]
    if there:  # what was seen on this kind of machine is what it is worth here, as far as it was seen
        weight = sum(word for _, word in there)
        likely = seen.trust(told.peer) * seen.carry(told.finding.tier, tier)
        expected = (gain * likely + sum(g * word for g, word in there)) / (1 + weight)
    else:
        expected = (
            gain * seen.carry(told.finding.tier, tier) * (seen.trust(told.peer) if not held else held / (held + lost))
        )
    if expected <= 0:
        return None
    cost = max(1.0, told.finding.cost or 1.0)
    return Candidate(
        told, expected / cost, "drawn to measure it" if seen.me in first and not held else "measured by others"
    )
