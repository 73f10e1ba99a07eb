"""All that may go wrong in a night at once, on both transports: nothing that was said is lost, and all know the same in the end."""

from pathlib import Path

import pytest
from swarm_node import faults


@pytest.mark.parametrize("way", ["zenoh", "git"])
def test_a_partition_kills_a_late_joiner_and_a_bad_network_lose_nothing(tmp_path: Path, way: str) -> None:
    receipts, _ = faults(tmp_path, way, peers=6, each=8, killed=3)
    assert receipts >= 7 + 6 * 4 + 7 * 2  # a greeting of each, what was said before somebody was killed, and after
