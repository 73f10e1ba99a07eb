"""How far a swarm goes, in small: benchmarks/swarm_scale.py."""

import random
from pathlib import Path

import pytest

from autoresearch.share import leases
from benchmarks import swarm_crowd, swarm_mesh, swarm_scale


def test_forty_peers_in_one_process_come_to_the_same_set() -> None:
    said = swarm_crowd.made_up(40, 10)
    with swarm_crowd.one_process():
        found = swarm_crowd.at_once(said, random.Random(1))
        coming = swarm_crowd.as_they_come(swarm_crowd.made_up(40, 4), random.Random(1), 3, 4)
    assert found.receipts == 400
    assert found.taken == 400 * 40
    assert 1 < found.rounds < 40
    others = sum(len(data) for own in said.receipts for data in own) * 39 // 40
    assert min(came.receipts for came in found.came) > 0.99 * others - max(len(own[0]) for own in said.receipts) * 40
    assert max(came.receipts for came in found.came) < 1.5 * others, "what is known is not sent again"
    assert len(coming.delays) == 120
    shown = swarm_scale.told_of_spread([found]) + swarm_scale.told_of_coming([coming])
    assert shown.count("\n") == 6


def test_one_book_is_measured(tmp_path: Path) -> None:
    found = swarm_scale.one_book(20, 10, tmp_path)
    assert found.receipts == 200
    assert found.file > found.receipts * 1000
    assert swarm_scale.told_of_books([found]).count("\n") == len(found.rows) + 4


def test_real_peers_are_measured(tmp_path: Path) -> None:
    pytest.importorskip("zenoh", reason="eclipse-zenoh is not installed")
    found = swarm_mesh.mesh(tmp_path / "mesh", peers=4, each=2, over_s=0.5, idle_s=0.5)
    assert found.receipts == 8
    assert 0 < found.median_s <= found.all_median_s <= found.most_s
    assert swarm_scale.told_of_mesh([found]).count("\n") == 3


@pytest.mark.parametrize("peers", [1, 10, 11, 100, 300, 1000])
def test_beacons_that_each_hears_stay_few_and_nobody_is_taken_for_gone(peers: int) -> None:
    pace = leases.pace(peers)
    assert pace <= leases.ALIVE_S / 3
    if pace:
        assert peers / pace <= max(leases.HEARD, 3 * peers / leases.ALIVE_S) * 1.001
    assert (pace == 0.0) == (peers <= leases.HEARD)
