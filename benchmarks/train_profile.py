"""
Where a training script of ours spends its time: runs it, and prints operators by their own time in a few of its steps.

    python -m benchmarks.train_profile FOLDER/train.py    (started by benchmarks/train_cpu.py --profile)

Steps are told apart by the script's PROGRESS lines, one a step. Compiled kernels are told apart by asking the compiler
to mark each; that changes the code it writes, so this run has a compile cache of its own.
"""

import builtins
import json
import os
import runpy
import sys
import time
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

SKIPPED_STEPS, N_STEPS, N_OPERATORS = 6, 10, 15


class Profiler:
    """Stands in for `print`: after so many PROGRESS lines it starts to look, and after so many more it ends the run."""

    def __init__(self) -> None:
        self.say = builtins.print
        self.profile = profile(activities=[ProfilerActivity.CPU])
        self.began = 0.0
        self.n_lines = 0

    def __call__(self, *words: Any, **settings: Any) -> None:
        if not words or not str(words[0]).startswith("PROGRESS"):
            return
        self.n_lines += 1
        if self.n_lines == SKIPPED_STEPS:
            self.profile.start()
            self.began = time.perf_counter()
        if self.n_lines == SKIPPED_STEPS + N_STEPS:
            wall_s = time.perf_counter() - self.began
            self.profile.stop()
            self.tell(wall_s)

    def tell(self, wall_s: float) -> None:
        """One line of JSON: rows of name, calls a step, milliseconds a step, share; then leave at once."""
        events = sorted(self.profile.key_averages(), key=lambda event: -event.self_cpu_time_total)
        spent = [(event.key, event.count, event.self_cpu_time_total / 1e6) for event in events]
        rest = spent[N_OPERATORS:]
        rows = [
            *spent[:N_OPERATORS],
            (f"{len(rest)} other operators", sum(count for _, count, _ in rest), sum(s for _, _, s in rest)),
            ("outside operators", 0, wall_s - sum(s for _, _, s in spent)),
        ]
        table = [(name, count / N_STEPS, s * 1e3 / N_STEPS, s / wall_s) for name, count, s in rows]
        self.say(json.dumps(table), flush=True)
        os._exit(0)


def main() -> None:
    torch._inductor.config.cpp.enable_kernel_profile = True
    path = sys.argv[1]
    sys.argv = [path]
    builtins.print = Profiler()
    runpy.run_path(path, run_name="__main__")


if __name__ == "__main__":
    main()
