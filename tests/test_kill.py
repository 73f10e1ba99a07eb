"""Killed at random instants, a study loses nothing and does nothing twice; 2,000 rounds: benchmarks/kill.py."""

import pytest

from benchmarks import kill


@pytest.mark.parametrize("workers", [1, 4])
def test_thirty_kills_lose_nothing_and_repeat_nothing(workers: int) -> None:
    counted = kill.run(rounds=30, seed=workers, workers=workers)
    assert counted["rounds"] >= 30
    assert counted["runs cut by a kill"] > 0, "no kill hit a run, so this proved little"
    assert counted["torn lines"] > 0
