"""The benchmark on a card runs as a whole on a CPU, in small; what it counts is right. Figures: benchmarks/gpu.py."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the gpt template needs torch")
np = pytest.importorskip("numpy", reason="the gpt template needs numpy")

from benchmarks.gpu import HEADER, SMALL, Bench, pack  # noqa: E402 (they need torch)
from benchmarks.gpu_train import Shape, attend_sdpa, bits_per_byte, card, peak_of  # noqa: E402

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu.sh"


def test_a_dry_run_goes_through_all_of_it_and_a_second_one_goes_on(tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    pack(tmp_path / "rows", f"files:{SCRIPT.parent}", "bytes", SMALL.seq_len, 16, 0.5, "the benchmarks' own code")
    command = ["bash", str(SCRIPT), "--dry-run", "--data", str(tmp_path / "rows"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "**dry run on a CPU: figures mean nothing**" in done.stdout
    lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    assert lines[0] == HEADER
    ours = dict(zip(HEADER, lines[2], strict=True))
    assert (ours["training script"], ours["utilisation"]) == ("ours", "unknown card")
    assert "none yet" not in [cell for name, cell in ours.items() if name != "peak memory, MB"]
    assert "not measured" in lines[3][1]
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert list(found["results"]) == ["cold 0 ours", "tokens 1 ours", "seconds 1 ours"]
    run = found["results"]["tokens 1 ours"]
    assert run["tokens"] == run["steps"] * SMALL.batch_rows * SMALL.seq_len
    assert 0 < run["val_bpb"] < 8.1
    options = Namespace(out=tmp_path / "out", data=tmp_path / "rows", dry_run=True, minutes=1, resume=None, peer=None)
    vars(options).update(ours=[], steps=run["steps"], seconds=2.0, rounds=1)
    assert Bench(options, tmp_path / "work", card()).tasks() == []
    options.rounds = 2
    left = [task.key for task in Bench(options, tmp_path / "other", card()).tasks()]
    assert left == ["cold 1 ours", "tokens 2 ours", "seconds 2 ours"]


def test_operations_of_the_original_s_shape_as_counted_by_hand() -> None:
    matrices = 8 * (4 * 512 * 512 + 2 * 4 * 512 * 512)  # q, k, v and out; the two of an MLP
    gates, head = 4 * 32 * 4, 8192 * 512  # four layers with value embeddings have a gate a head
    places = 6 * 1024 + 2 * 2048  # SSSLSSSL
    assert Shape().flops_per_token(8192) == 6 * (matrices + gates + head) + 12 * 512 * places == 239_078_400


def test_a_card_is_known_by_its_name() -> None:
    assert peak_of("NVIDIA H100 80GB HBM3") == peak_of("NVIDIA H200") == 989.5e12
    assert peak_of("NVIDIA H100 PCIe") == 756e12
    assert peak_of("NVIDIA L40S") != peak_of("NVIDIA L4")
    assert peak_of("Some other card") is None


def test_what_knows_nothing_needs_as_many_bits_as_its_vocabulary_has() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (20, 9)).astype("<u2")
    token_bytes = np.array([0] + [2] * 255, np.uint8)  # token 0 stands for no bytes and is not charged
    found = bits_per_byte(lambda tokens: torch.zeros(*tokens.shape, 256), rows, token_bytes, "cpu")
    assert found == pytest.approx(8 / 2)


def test_the_kernel_that_stands_in_sees_its_window_and_no_more() -> None:
    q, k, v = torch.randn(3, 1, 12, 2, 8)
    y = attend_sdpa(q, k, v, causal=True, window_size=(3, 0))
    scores = torch.einsum("rhd,rjhd->rhj", q[:, 9], k[:, 6:10]) / 8**0.5
    assert torch.allclose(y[:, 9], torch.einsum("rhj,rjhd->rhd", scores.softmax(-1), v[:, 6:10]), atol=1e-5)
