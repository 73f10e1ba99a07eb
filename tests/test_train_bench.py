"""The benchmark of training reads its contenders' lines and clocks rightly; the figures: benchmarks/train_cpu.py."""

import sys
from pathlib import Path

import pytest

from benchmarks.train_cpu import Bench, Contender, Reader, curve, with_constants
from benchmarks.train_peers import BATCH_TOKENS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and pins with taskset")

# Each step waits a while and works a while, half of it in a child, and then says its loss.
WORKER = """
import subprocess, sys, time
WORK = "import time\\nwhile time.process_time() < {}: pass"
for step in range(8):
    time.sleep(0.1)
    began = time.process_time()
    while time.process_time() - began < 0.15: pass
    subprocess.run([sys.executable, "-S", "-c", WORK.format(0.15)])
    print(f"\\rstep {step:05d} | loss: {8 - step:.6f} |", end="", flush=True)
"""


def test_steps_are_timed_in_processor_seconds_of_the_whole_tree(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "worker.py").write_text(WORKER)
    result = Bench(tmp_path, [0]).run(Contender("worker", ["worker.py"], Reader.smoothed), 1, n_steps=8, seed=0)
    assert BATCH_TOKENS / result.tokens_per_processor_s == pytest.approx(0.3, rel=0.3)
    assert BATCH_TOKENS / result.tokens_per_wall_s > 0.35


def test_a_step_s_own_loss_is_found_in_a_peer_s_moving_average() -> None:
    reader, smooth = Reader(5, lambda: (0.0, 0.0)), 0.0
    losses = [8.0, 7.5, 7.7, 6.0, 5.0]
    for step, loss in enumerate(losses):
        smooth = 0.9 * smooth + 0.1 * loss
        reader.smoothed(f"step {step:05d}/00005 (0.00%) | loss: {smooth / (1 - 0.9 ** (step + 1)):.6f} | lrm: 1.00")
    assert [loss for _, loss in reader.losses] == pytest.approx(losses, abs=1e-4)
    assert curve(reader.losses, 5) == pytest.approx(losses, abs=1e-4)


def test_a_constant_that_a_script_does_not_have_is_refused() -> None:
    assert with_constants("DEPTH = 2  # search: 1|2\n", {"DEPTH": "4"}) == "DEPTH = 4  # search: 1|2\n"
    with pytest.raises(AssertionError, match="WIDTH is no constant"):
        with_constants("DEPTH = 2\n", {"WIDTH": "4"})
