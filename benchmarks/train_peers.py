"""
Runs another project's training script on our rows: a process that benchmarks/train_cpu.py starts and times.

    python -m benchmarks.train_peers nanochat FOLDER    (a checkout of karpathy/nanochat)
    python -m benchmarks.train_peers fork FOLDER        (a checkout of miolini/autoresearch-macos)

The peer's own training script is executed: its model, optimizer, schedules, compilation and loop, line by line.
What differs from a run by hand: rows come tokenised from our train.bin in place of the peer's loader, which would
download shards and tokenise while it trains (so the peer does less than it would); packages that it imports and then
does not need here are empty modules; settings are its own flags or constants; of the fork, which refuses to run on
anything but macOS, one line is left out, and its clock counts steps, so that schedules that follow it span the tokens
of everybody else. Nothing of a peer is kept in this repository.
"""

import os
import re
import runpy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch

DEPTH, HEAD_DIM, ASPECT_RATIO = 4, 64, 64  # width = depth * aspect ratio = 256
BATCH_ROWS, SEQ_LEN, VOCAB_SIZE = 32, 256, 4096
BATCH_TOKENS = BATCH_ROWS * SEQ_LEN
UNUSED = ("wandb", "requests", "rustbpe", "tiktoken", "pyarrow", "pyarrow.parquet")  # imported, not called here


class Rows:
    """Our train.bin in batches, in an order of its own for each seed; counts what was drawn."""

    def __init__(self) -> None:
        path = Path(os.environ["AUTORESEARCH_DATA"], "train.bin")
        self.rows = np.fromfile(path, "<u2").reshape(-1, SEQ_LEN + 1)
        self.drawn = 0

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Endless inputs and targets, each int64 (BATCH_ROWS, SEQ_LEN)."""
        chance = np.random.default_rng(int(os.environ["AUTORESEARCH_SEED"]))
        while True:
            order = chance.permutation(len(self.rows))
            for start in range(0, len(order) - BATCH_ROWS + 1, BATCH_ROWS):
                rows = torch.from_numpy(self.rows[order[start : start + BATCH_ROWS]].astype(np.int64))
                self.drawn += 1
                yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


class Vocabulary:
    """All that the training scripts ask of a tokenizer."""

    def get_vocab_size(self) -> int:
        return VOCAB_SIZE

    def get_bos_token_id(self) -> int:
        return VOCAB_SIZE - 1


def stand_in(name: str, **contents: Any) -> None:
    """What `import name` finds from now on."""
    module = ModuleType(name)
    vars(module).update(contents)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def run_nanochat(folder: Path, n_steps: int) -> None:
    """scripts/base_train.py as a module, with its own flags; compute is what it picks, or NANOCHAT_DTYPE."""
    sys.path.insert(0, str(folder))
    from nanochat import dataloader, tokenizer  # type: ignore[import-not-found] # of the folder

    def rows(*_: Any, **__: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor, dict[str, int]]]:
        for inputs, targets in Rows():
            yield inputs, targets, {"pq_idx": 0, "rg_idx": 0, "epoch": 1}

    dataloader.tokenizing_distributed_data_loader_with_state_bos_bestfit = rows
    tokenizer.get_tokenizer = Vocabulary
    tokenizer.get_token_bytes = lambda device: torch.ones(VOCAB_SIZE, dtype=torch.int32)
    flags = {
        "device-type": "cpu", "depth": DEPTH, "aspect-ratio": ASPECT_RATIO, "head-dim": HEAD_DIM,
        "max-seq-len": SEQ_LEN, "window-pattern": "L", "device-batch-size": BATCH_ROWS,
        "total-batch-size": BATCH_TOKENS, "num-iterations": n_steps,
        "eval-every": -1, "core-metric-every": -1, "sample-every": -1, "save-every": -1,
    }  # fmt: skip
    sys.argv = ["base_train", *(f"--{name}={value}" for name, value in flags.items())]
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["NANOCHAT_BASE_DIR"] = scratch  # it saves its weights at the end
        runpy.run_module("scripts.base_train", run_name="__main__")


def run_fork(folder: Path, n_steps: int) -> None:
    """train.py with its constants set in memory; its `prepare` is ours."""
    rows = Rows()

    def loader(*_: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
        for inputs, targets in rows:
            yield inputs, targets, 1

    class Tokenizer(Vocabulary):
        from_directory = classmethod(lambda cls: cls())

    stand_in(
        "prepare", MAX_SEQ_LEN=SEQ_LEN, TIME_BUDGET=n_steps - 11,  # it does not count its first 11 steps
        Tokenizer=Tokenizer, make_dataloader=loader, evaluate_bpb=lambda *args: float("nan"),
    )  # fmt: skip
    constants = {
        "DEPTH": DEPTH, "ASPECT_RATIO": ASPECT_RATIO, "HEAD_DIM": HEAD_DIM, "WINDOW_PATTERN": '"L"',
        "DEVICE_BATCH_SIZE": BATCH_ROWS, "TOTAL_BATCH_SIZE": BATCH_TOKENS,
    }  # fmt: skip
    text = (folder / "train.py").read_text()
    for name, value in constants.items():
        text = replace_once(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
    text = replace_once(r"(?m)^verify_macos_env\(\)$", "", text)
    text = replace_once(r"(?m)^import time$", "", text)
    # A batch is drawn in every step, so a step takes 1 on this clock.
    clock = SimpleNamespace(time=lambda: float(rows.drawn))
    exec(compile(text, str(folder / "train.py"), "exec"), {"__name__": "__main__", "time": clock})


def replace_once(pattern: str, value: str, text: str) -> str:
    text, n_found = re.subn(pattern, value, text)
    if n_found != 1:
        sys.exit(f"train_peers: {pattern} occurs {n_found} times in this version of the peer; once was expected")
    return text


def main() -> None:
    peer, folder, n_steps = sys.argv[1], Path(sys.argv[2]).resolve(), int(sys.argv[3])
    for name in UNUSED:
        stand_in(name)
    {"nanochat": run_nanochat, "fork": run_fork}[peer](folder, n_steps)


if __name__ == "__main__":
    main()
