"""
What this machine needs to run train.py fast: its plan, memory that is kept, and compiled code that is kept.

Knows nothing of models. Frozen, so that no change to train.py can reach the code that the next run executes.
"""

import ctypes
import hashlib
import inspect
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch

DATA = Path(os.environ["AUTORESEARCH_DATA"])
PLAN = json.loads((DATA / "plan.json").read_text())  # how this machine trains fastest: plan.py measured it
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as in malloc.h


def set_up():
    torch.set_num_threads(min(PLAN["threads"], torch.get_num_threads()))
    torch.set_flush_denormal(True)  # numbers below 1e-38 slow a CPU down a lot and mean nothing here
    keep_freed_memory()


def keep_freed_memory():
    """
    Have glibc keep what tensors gave back, for the next: fresh pages are zeroed by the kernel, a quarter of the time.

    32 MB is the most that it takes from its heap, and the plan's tokens_at_once keeps tensors below that.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def work_clock() -> float:
    """Seconds of work, that of child processes included: where one core does it all, other programs do not count."""
    return sum(os.times()[:4]) if PLAN["device"] == "cpu" and PLAN["threads"] == 1 else time.perf_counter()


# -- compiled code -------------------------------------------------------------------------------------------------


def compile_if_worthwhile(names: dict, paths: tuple[str, ...], shapes: object) -> bool:
    """
    Have functions compiled from here on, if that saves more of this run's budget than it costs; returns whether.

    `names`: the globals of a module; `paths`: names of its functions; `shapes`: what else decides the code, beside the
    source. What prepare.py compiled from the start's code is copied, so that no run can change what the next one
    executes. A graph that is not among it costs much more, and a short run does without.
    """
    kept = kept_code(names, paths, shapes)
    if not PLAN["compile"] or seconds_saved() < PLAN["compile"]["kept_s" if kept.is_dir() else "new_s"]:
        return False
    folder = tempfile.mkdtemp()
    if kept.is_dir():
        shutil.copytree(kept, folder, dirs_exist_ok=True)
    use_compiler(names, paths, folder)
    return True


def seconds_saved() -> float:
    """By compiled steps, over the whole budget; of steps and flops it is not known how long they take."""
    amount, unit = float(os.environ["AUTORESEARCH_BUDGET"]), os.environ["AUTORESEARCH_BUDGET_UNIT"]
    seconds = amount / PLAN["tokens_per_s"] if unit == "tokens" else amount if unit.endswith("seconds") else 0.0
    return seconds * (1 - 1 / PLAN["compile"]["speedup"])


def use_compiler(names: dict, paths: tuple[str, ...], folder: Path | str):
    """Compile each function at its first call; code is taken from `folder`, and goes there."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    for name in paths:
        names[name] = torch.compile(names[name], dynamic=False, fullgraph=True)


def kept_code(names: dict, paths: tuple[str, ...], shapes: object) -> Path:
    """
    The folder of code compiled from these functions. Its name is a hash of their source, of what they call in their
    module and what that calls, of the constants that any of it uses, and of `shapes`.
    """
    reached, waiting = {}, list(paths)
    while waiting:
        name = waiting.pop()
        value = names.get(name)
        if name in reached or value is None or inspect.ismodule(value):
            continue
        reached[name] = value
        if getattr(value, "__module__", None) == names["__name__"]:
            reached[name] = inspect.getsource(value)
            functions = filter(inspect.isroutine, vars(value).values()) if inspect.isclass(value) else [value]
            waiting += [used for function in functions for used in inspect.unwrap(function).__code__.co_names]
    parts = [torch.__version__, PLAN["threads"], shapes, sorted(reached.items())]
    return DATA / "compiled" / hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
