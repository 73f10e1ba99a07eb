"""The night's language model: its gradient is right, its seed decides all, and its settings are read, never run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

np = pytest.importorskip("numpy", reason="the night's model needs numpy")

from benchmarks.night import FILES, FOLDER, train  # noqa: E402 (it needs numpy)
from benchmarks.night.landscape import make, run  # noqa: E402


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    random = np.random.default_rng(1)
    weights = [each.astype(np.float64) for each in train.begin({"INIT": "scaled", "WIDTH": 7}, 11, random)]
    rows = random.integers(11, size=(6, train.CONTEXT + 1))
    _, slopes = train.gradient(weights, rows, smoothing=0.0)
    for weight, slope in zip(weights, slopes, strict=True):
        place = np.unravel_index(np.abs(slope).argmax(), slope.shape)
        was, losses = weight[place], []
        for step in (1e-6, -1e-6):
            weight[place] = was + step
            losses.append(train.loss(train.forward(weights, rows[:, :-1])[1], rows[:, -1])[0])
        weight[place] = was
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(slope[place], rel=1e-4)


def test_a_seed_decides_everything(tmp_path: Path) -> None:
    folder = make(tmp_path / "study", {"INIT": "scaled"})
    first, again, other = (run(folder, 10, seed).loss for seed in (1, 1, 2))
    assert first == again != other


def test_settings_are_read_and_never_run(tmp_path: Path) -> None:
    folder = make(tmp_path / "study", {})
    (folder / "settings.py").write_text("print('METRIC val_loss=0')\nINIT = 'plain'\n")
    env = {**os.environ, "NIGHT_STEPS": "10", "AUTORESEARCH_SEED": "1"}
    done = subprocess.run(
        [sys.executable, "train.py"], check=False, cwd=folder, env=env, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "METRIC" not in done.stdout
    assert "settings.py, line 1" in done.stderr


def test_the_study_is_whole() -> None:
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} - {
        "__init__.py",
        "ideas.py",
        "landscape.py",
    } == set(FILES)
