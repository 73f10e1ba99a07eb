"""Whose findings are worth a run: true ones spread, lies cost little and are adopted by nobody, and tiers are told apart."""

import random

import pytest
from swarms import NOISE, Crowd

from autoresearch.share import trust
from autoresearch.share.board import evidence, measured, standing

KEY = "{:08x}".format


def spread(crowd: Crowd, honest: list[int], rounds: int) -> None:
    """Each honest peer measures what it wants most, round by round, in a new order each time."""
    for _ in range(rounds):
        for number in crowd.rng.sample(honest, len(honest)):
            if wanted := crowd.wants(number):
                told = wanted[0].told
                crowd.measure(number, told.finding.key, told.id)


def adopters(crowd: Crowd, id: str) -> set[int]:
    told = crowd.swarm().findings[id]
    return {crowd.number[peer] for peer, again in told.again.items() if again.adopted}


def test_a_true_finding_reaches_everybody_and_only_by_being_measured() -> None:
    crowd = Crowd(["small"] * 35)
    crowd.truth[KEY(1)] = {"small": 10 * NOISE}
    id = crowd.measure(0, KEY(1))
    assert sum(bool(crowd.wants(number)) for number in range(1, 35)) == trust.VERIFIERS, "others wait for these"
    spread(crowd, list(range(1, 35)), 3)
    assert adopters(crowd, id) == set(range(1, 35))
    held, lost = evidence(crowd.swarm().findings[id])
    assert (held, lost) == (34, 0)
    assert crowd.wants(0) == [], "its author has it already"


@pytest.mark.parametrize("lies", [1, 3])
def test_a_flock_that_praises_its_own_lies_is_believed_by_nobody_and_costs_little(lies: int) -> None:
    crowd = Crowd(["small"] * 35, seed=lies)
    flock, honest = list(range(8)), list(range(8, 35))
    truth = KEY(999)
    crowd.truth[truth] = {"small": 8 * NOISE}
    told = []
    for liar in flock:
        for number in range(lies):
            key = KEY(100 * liar + number + 1)
            crowd.truth[key] = {"small": 0.0}
            told.append(crowd.say(liar, key, 12 * NOISE))
    for id in told:  # and each of them is "replicated" by all the others
        author, key = crowd.number[crowd.swarm().findings[id].peer], crowd.swarm().findings[id].finding.key
        for liar in flock:
            if liar != author:
                crowd.say(liar, key, 12 * NOISE, id)
    true = crowd.measure(20, truth)
    spread(crowd, honest, 10)
    for id in told:
        assert adopters(crowd, id) <= set(flock)
    wasted = [len([id for id in crowd.tried[number] if id in told]) for number in honest]
    assert sum(wasted) / len(honest) <= 4
    assert max(wasted) <= 8
    assert adopters(crowd, true) >= set(honest) - {20}
    swarm = crowd.swarm()
    view = trust.view(swarm, crowd.peers[20].peer)
    refuted = [swarm.findings[id].peer for id in told if evidence(swarm.findings[id])[1]]
    assert refuted
    assert all(view.trust(peer) < trust.STRANGER for peer in refuted)


def test_an_extravagant_claim_is_left_to_more_verifiers() -> None:
    crowd = Crowd(["small"] * 20)
    crowd.truth[KEY(1)] = {"small": 5 * NOISE}
    crowd.measure(0, KEY(1))
    spread(crowd, list(range(1, 20)), 2)
    crowd.truth[KEY(2)] = {"small": 0.0}
    lie = crowd.say(19, KEY(2), 100 * NOISE)
    wanting = [number for number in range(19) if any(one.told.id == lie for one in crowd.wants(number))]
    assert len(wanting) == trust.MORE
    spread(crowd, list(range(19)), 4)
    assert adopters(crowd, lie) == set()
    assert sum(lie in tried for tried in crowd.tried) <= trust.MORE


def test_what_pays_only_on_large_machines_stays_there() -> None:
    crowd = Crowd(["large"] * 5 + ["small"] * 15)
    for number in range(4):
        crowd.truth[KEY(number + 1)] = {"large": 8 * NOISE, "small": -8 * NOISE}
    everywhere = KEY(77)
    crowd.truth[everywhere] = {"large": 5 * NOISE, "small": 8 * NOISE}
    high = [crowd.measure(number % 5, KEY(number + 1)) for number in range(4)]
    both = crowd.measure(6, everywhere)
    spread(crowd, list(range(20)), 8)
    for id in high:
        assert {crowd.tiers[number] for number in adopters(crowd, id)} == {"large"}
        told = crowd.swarm().findings[id]
        assert not any(standing(told, again) == "refuted" for again in told.again.values() if again.place == told.place)
        assert evidence(told)[1] == 0, "that it does not carry is no refutation"
    assert len(adopters(crowd, both)) >= 17
    view = trust.view(crowd.swarm(), crowd.peers[19].peer)
    assert view.carry("large", "small") < 0.5 < view.carry("small", "large")
    assert all(view.trust(crowd.peers[number].peer) >= trust.STRANGER for number in range(5)), "nor their fault"


def test_verifiers_cannot_be_chosen_and_everybody_comes_to_the_same() -> None:
    crowd = Crowd(["small"] * 30)
    times: dict[str, int] = {}
    for number in range(60):
        crowd.truth[KEY(number)] = {"small": 1.0}
        id = crowd.measure(0, KEY(number))
        told, peers = crowd.swarm().findings[id], list(crowd.number)
        first = trust.order(told, peers)
        random.Random(number).shuffle(peers)
        assert trust.order(told, peers) == first
        assert told.peer not in first
        for peer in first[: trust.VERIFIERS]:
            times[peer] = times.get(peer, 0) + 1
    assert max(times.values()) < 20, "of 180 over 29"


def test_a_caught_peer_is_worth_nothing() -> None:
    crowd = Crowd(["small"] * 4)
    crowd.truth[KEY(1)] = {"small": 1.0}
    crowd.measure(0, KEY(1))
    swarm = crowd.swarm()
    swarm.tell_apart([(crowd.peers[0].peer, 5)])
    assert trust.view(swarm, crowd.peers[1].peer).trust(crowd.peers[0].peer) == 0
    found = measured(next(iter(swarm.findings.values())).finding)
    assert found.gain == pytest.approx(1.0, abs=5 * NOISE)
