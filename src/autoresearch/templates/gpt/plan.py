"""
Finds out how this machine trains fastest, and writes plan.json into the data folder, where every run reads it.

It measures rather than guesses, because what is right for a large card is wrong for a small one: which numbers multiply
fastest, which attention, how many threads, how fast train.py then is, and what its compilation costs and brings. What
changes what a model learns is no part of it: that stands in train.py. Frozen; prepare.py calls it once a study.
"""

import importlib.util
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tokens import Unmet, need

torch = need("torch", "train.py")
linear = torch.nn.functional.linear

CACHE_BYTES = 16 << 20  # of float32 logits at once on a CPU: more leaves its cache, from 32 MB on also glibc's heap
MEMORY_SHARE = 1 / 16  # of a card's memory for logits, which leaves room for what the layers keep
LONG_RUN_S = 20  # a shorter run gains less from compiled code than its loading costs, 3 s on one core
FASTER = 1.1  # what is not the plain choice has to be so much faster


def make_plan(data: Path) -> dict:
    """
    Write `data`/plan.json and return it. train.py lies beside this file; its data is in `data` already.

    Raises:
        Unmet: train.py does not run here; the message holds its last words.
    """
    vocab_size = json.loads((data / "meta.json").read_text())["vocab_size"]
    n_threads = torch.get_num_threads()  # as many as a run has; the probes below change it
    device = pick_device()
    dtype = fastest_dtype(device)
    plan = {
        "device": device,
        "machine": describe(device),
        "torch": torch.__version__,
        "dtype": dtype,
        "attention": fastest_attention(device, dtype),
        "threads": 1,
        "tokens_at_once": tokens_at_once(device, vocab_size),
        "compile": None,
    }
    speed = first_speed(data, plan)
    if device == "cpu" and n_threads > 1:  # two threads that wait for each other at every step are often slower
        both = ask_train(data, plan | {"threads": n_threads}, "speed")
        if both["tokens_per_s"] > speed["tokens_per_s"] * FASTER:
            plan["threads"], speed = n_threads, both
    plan["tokens_per_s"] = speed["tokens_per_s"]
    if can_compile(device) and expected_seconds(plan["tokens_per_s"]) >= LONG_RUN_S:
        new = ask_train(data, plan, "compile")
        plan["compile"] = {"speedup": 1.0, "new_s": new["start_s"] - speed["start_s"], "kept_s": 0.0}
        kept = ask_train(data, plan, "speed")
        plan["compile"]["kept_s"] = max(0.0, kept["start_s"] - speed["start_s"])
        plan["compile"]["speedup"] = kept["tokens_per_s"] / speed["tokens_per_s"]
    write(data, plan)
    return plan


def in_words(plan: dict) -> str:
    compiled = "not compiled"
    if plan["compile"]:
        compiled = "compiled {speedup:.2f} times as fast ({new_s:.0f} s once, {kept_s:.1f} s a run)".format(
            **plan["compile"]
        )
    return (
        f"plan for {plan['machine']}: {plan['device']}, {plan['dtype']}, {plan['threads']} thread(s), attention by "
        f"{plan['attention']}, {plan['tokens_at_once']} tokens at once, {plan['tokens_per_s']:,.0f} tokens/s, {compiled}"
    )


# -- what there is -------------------------------------------------------------------------------------------------


def pick_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def describe(device: str) -> str:
    """The model of what computes; "CPU" and the width of its vectors where no more is known."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return "Apple GPU" if device == "mps" else f"CPU ({torch.backends.cpu.get_cpu_capability()})"


def tokens_at_once(device: str, vocab_size: int) -> int:
    """A power of two: so many tokens go through the model before the next, gradients add up."""
    n_bytes = float(CACHE_BYTES)
    if device == "cuda":
        n_bytes = torch.cuda.get_device_properties(0).total_memory * MEMORY_SHARE
    elif device == "mps":
        n_bytes = torch.mps.recommended_max_memory() * MEMORY_SHARE
    n_tokens = min(n_bytes / (4 * vocab_size), 2048 if device == "cpu" else math.inf)
    return 2 ** max(7, int(math.log2(n_tokens)))


def can_compile(device: str) -> bool:
    """On a CPU it takes a C++ compiler; on a Mac's GPU it is not reliable yet (torch 2.13)."""
    if device != "cpu":
        return device == "cuda"
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


def expected_seconds(tokens_per_s: float) -> float:
    """How long a run trains, by the budget that prepare is told; of steps and flops nothing is known here."""
    amount, unit = float(os.environ.get("AUTORESEARCH_BUDGET") or 0), os.environ.get("AUTORESEARCH_BUDGET_UNIT")
    return {"tokens": amount / tokens_per_s, "seconds": amount, "processor_seconds": amount}.get(unit or "", 0.0)


# -- what is fastest -----------------------------------------------------------------------------------------------


def seconds_of(work: Callable[[], object], device: str) -> float:
    """The least of five, after one to warm up. By processor time on a CPU: other programs do not count."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    taken = []
    for _ in range(6):
        began = clock()
        work()
        if device != "cpu":
            getattr(torch, device).synchronize()
        taken.append(clock() - began)
    return min(taken[1:])


def fastest_dtype(device: str) -> str:
    """bfloat16 where its products are faster: on a CPU without instructions for them they are slower."""
    seconds = {}
    torch.set_num_threads(1)
    for name in ("float32", "bfloat16"):
        x, weight = (torch.randn(shape, device=device).to(getattr(torch, name)) for shape in ((2048, 512), (1024, 512)))
        seconds[name] = seconds_of(lambda x=x, weight=weight: linear(x, weight), device)
    return "bfloat16" if seconds["bfloat16"] * FASTER < seconds["float32"] else "float32"


def fastest_attention(device: str, dtype: str) -> str:
    """One of train.py's names for it. On a card by what is there, on a CPU by the clock."""
    if device == "cuda":
        if torch.cuda.get_device_capability() == (9, 0) and importlib.util.find_spec("flash_attn_interface"):
            return "flash3"
        return "flash2" if has_flash2(dtype) else "sdpa"
    if device == "mps":
        return "sdpa"
    torch.set_num_threads(1)
    q, k, v = (torch.randn(4, 4, 256, 64).to(getattr(torch, dtype)).requires_grad_() for _ in range(3))
    hidden = torch.full((256, 256), -math.inf).triu(1).to(q.dtype)
    plain = seconds_of(lambda: (torch.softmax(q @ k.mT + hidden, -1) @ v).sum().backward(), device)
    fused = seconds_of(
        lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward(), device
    )
    return "sdpa" if fused * FASTER < plain else "blocks"


def has_flash2(dtype: str) -> bool:
    """Whether torch's own kernel with a window runs here: it takes torch 2.11, 16 bits and a card of 2020 or newer."""
    try:
        from torch.nn.attention.varlen import varlen_attn

        q = torch.randn(64, 2, 64, device="cuda", dtype=getattr(torch, dtype), requires_grad=True)
        ends = torch.tensor([0, 64], dtype=torch.int32, device="cuda")
        varlen_attn(q, q, q, ends, ends, 64, 64, window_size=(15, 0)).sum().backward()
    except (ImportError, RuntimeError, TypeError):
        return False
    return True


# -- train.py itself -----------------------------------------------------------------------------------------------


def ask_train(data: Path, plan: dict, what: str) -> dict:
    """`python train.py speed` or `compile` under `plan`: its {"start_s": ..., "tokens_per_s": ...}."""
    write(data, plan)
    command = [sys.executable, "train.py", what]
    done = subprocess.run(command, check=False, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=1800)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = "".join(f"\n  | {line}" for line in done.stderr.splitlines()[-15:])
        raise Unmet(f"`train.py {what}` failed here (exit {done.returncode}){last}") from None


def first_speed(data: Path, plan: dict) -> dict:
    """As `ask_train`; half as many tokens at once as long as a card's memory is too small: models differ."""
    while True:
        try:
            return ask_train(data, plan, "speed")
        except Unmet as problem:
            if "OutOfMemoryError" not in str(problem) or plan["tokens_at_once"] <= 128:
                raise
            plan["tokens_at_once"] //= 2


def write(data: Path, plan: dict):
    (data / "plan.json").write_text(json.dumps(plan, indent=2) + "\n")
