"""
What benchmarks/gpu.py has trained, and one run of it: a process that runs our train.py or the original's, and times it.

    python -m benchmarks.gpu_train '{"who": "ours", ...}'    (all keys: Order)
    python -m benchmarks.gpu_train card                      (what computes here)

Each script is executed line by line, in memory, from its own folder. Where a step ends, a clock is read: of ours after
its optimizer, of the original where it prints its line. What else differs from a run by hand, for the original: rows
come tokenised, where its loader would tokenise while it trains; FlashAttention 3, which it would download, is the
kernel that ours uses too; and it is scored by `bits_per_byte` below instead of its own function, as is ours. On a CPU,
for a dry run, its words for a card are taken out too. Nothing of it is kept in this repository.
"""

import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch

WARM_STEPS = 5  # not timed: compilation, a second trace, memory that settles
UNCOUNTED_STEPS = 11  # of the original's: so many pass before its clock counts
SCORED_ROWS = 8  # at once
GATE_WIDTH = 32  # of the value embeddings' gates, in both

# Dense bfloat16 with float32 sums, operations a second: the makers' data sheets. The first name that fits counts.
PEAKS = {
    "B200": 2250e12, "H100 PCIe": 756e12, "H100 NVL": 835.5e12, "H100": 989.5e12, "GH200": 989.5e12, "H200": 989.5e12,
    "A100": 312e12, "L40S": 362e12, "L40": 181e12, "L4": 121e12, "RTX 4090": 165.2e12,
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """The model and the batch that both train; by default the original's own."""

    depth: int = 8
    width_per_layer: int = 64
    head_dim: int = 128
    seq_len: int = 2048
    batch_rows: int = 256
    part_rows: int = 128  # of a batch at once, in the original; ours takes what its plan says
    windows: str = "SSSL"  # S: half a row

    @property
    def width(self) -> int:
        return -(-self.depth * self.width_per_layer // self.head_dim) * self.head_dim

    def ours(self) -> dict[str, str]:
        return {
            "DEPTH": str(self.depth), "WIDTH_PER_LAYER": str(self.width_per_layer), "HEAD_DIM": str(self.head_dim),
            "SEQ_LEN": str(self.seq_len), "BATCH_ROWS": str(self.batch_rows), "WINDOWS": f'"{self.windows}"',
            "SHORT_WINDOW": "0.5", "VALUE_EVERY": "2", "VALUE_GATE_WIDTH": str(GATE_WIDTH), "MLP_RATIO": "4",
        }  # fmt: skip

    def original(self) -> dict[str, str]:
        return {
            "DEPTH": str(self.depth), "ASPECT_RATIO": str(self.width_per_layer), "HEAD_DIM": str(self.head_dim),
            "DEVICE_BATCH_SIZE": str(self.part_rows), "TOTAL_BATCH_SIZE": str(self.batch_rows * self.seq_len),
            "WINDOW_PATTERN": f'"{self.windows}"',
        }  # fmt: skip

    def flops_per_token(self, vocab_size: int) -> int:
        """
        The original's formula: 6 for each weight that multiplies, and in attention 12 for each width and place of a
        window, as if none of it were hidden. (train.py of ours counts half of that for its budgets.)
        """
        letters = [*(self.windows * self.depth)[: self.depth - 1], "L"]
        places = sum(self.seq_len // (1 if letter == "L" else 2) for letter in letters)
        gates = -(-self.depth // 2) * GATE_WIDTH * (self.width // self.head_dim)
        weights = 12 * self.depth * self.width**2 + gates + vocab_size * self.width
        return 6 * weights + 12 * self.width * places


@dataclass(frozen=True)
class Order:
    """What to run: the folder of the script, its data, constants to set, how long, and where the outcome goes."""

    who: str  # "ours" or "original"
    folder: str
    data: str  # train.bin, held.bin, token_bytes.bin, meta.json, plan.json
    out: str  # a file
    constants: dict[str, str]
    batch_rows: int
    seq_len: int
    unit: str  # "steps" or "seconds"
    amount: float
    seed: int
    launched: float  # time.time() before the process was asked for
    is_scored: bool
    is_cold: bool  # with an empty compile cache


@dataclass
class Outcome:
    """What a run showed; None: not measured in such a run."""

    steps: int
    tokens: int
    first_step_s: float  # from launch
    training_s: float  # from the end of the first step to that of the last
    tokens_per_s: float  # after WARM_STEPS
    peak_memory_mb: float | None = None  # of tensors, in training
    score_s: float | None = None
    val_bpb: float | None = None
    kernel: str = ""


@dataclass
class Steps:
    """When which step was done."""

    order: Order
    n_steps: int | None  # None: nobody knows beforehand
    times: list[float] = field(default_factory=list)

    def note(self) -> None:
        """After a step. Not every one is waited for: that would slow down a script that does not wait itself."""
        if self.n_steps is None or len(self.times) < WARM_STEPS or len(self.times) == self.n_steps - 1:
            wait()
        self.times.append(time.time())

    def outcome(self) -> Outcome:
        """To be asked for when training is over, before anything else is computed."""
        wait()
        times, n_tokens = self.times, self.order.batch_rows * self.order.seq_len
        n_warm = min(WARM_STEPS, len(times) - 1)
        return Outcome(
            steps=len(times),
            tokens=len(times) * n_tokens,
            first_step_s=times[0] - self.order.launched,
            training_s=times[-1] - times[0],
            tokens_per_s=(len(times) - n_warm) * n_tokens / (times[-1] - times[n_warm - 1]),
            peak_memory_mb=torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None,
        )


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# -- ours ----------------------------------------------------------------------------------------------------------


def run_ours(order: Order) -> Outcome:
    """train.py in order.folder, its constants set there already, with the environment of a run."""
    out = Path(order.out).with_suffix("")
    amount = order.amount * (order.batch_rows * order.seq_len if order.unit == "steps" else 1)
    os.environ |= {
        "AUTORESEARCH_DATA": order.data,
        "AUTORESEARCH_OUT": str(out),
        "AUTORESEARCH_SEED": str(order.seed),
        "AUTORESEARCH_BUDGET": str(amount),
        "AUTORESEARCH_BUDGET_UNIT": "tokens" if order.unit == "steps" else "seconds",
    }
    os.chdir(order.folder)
    sys.path.insert(0, order.folder)
    train = script("__main__", Path(order.folder, "train.py"))
    steps = Steps(order, int(order.amount) if order.unit == "steps" else None)
    step = train.MuonAdam.step

    def noted(optimizer: Any, spent: float) -> None:
        step(optimizer, spent)
        steps.note()

    train.MuonAdam.step = noted
    plain = {name: getattr(train, name) for name in train.HOT_PATHS}  # as they are before they are compiled
    if order.is_cold:
        train.machine.kept_code = lambda *_: Path(order.data, "nothing")
    train.machine.set_up()
    train.train()
    outcome = steps.outcome()
    outcome.kernel = train.PLAN["attention"]
    if order.is_scored:
        vars(train).update(plain)
        model = train.GPT().to(train.DEVICE).eval()
        model.load_state_dict(torch.load(out / "model.pt", map_location=train.DEVICE))
        score(outcome, order, model.logits, train.DEVICE)
    return outcome


def script(name: str, path: Path) -> Any:
    """A script as the module `name`, without what it does when it is run; found by `inspect` as if it were run."""
    text, n_found = re.subn(r'(?m)^if __name__ == "__main__":\n    main\(\)$', "", path.read_text())
    assert n_found == 1
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    exec(compile(text, str(path), "exec"), vars(module))
    return module


# -- the original --------------------------------------------------------------------------------------------------


def run_original(order: Order) -> Outcome:
    """train.py of karpathy/autoresearch, with other constants and with modules that stand in for its own."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    text = Path(order.folder, "train.py").read_text()
    for name, value in order.constants.items():
        text = replace_once(rf"(?m)^{name} = [^#\n]*", f"{name} = {value} ", text)
    parts = order.batch_rows // int(order.constants["DEVICE_BATCH_SIZE"])  # of a batch
    rows, steps, found = Rows(order, parts), Steps(order, None), list[Outcome]()
    kernel = best_kernel(order, device)
    names: dict[str, Any] = {"__name__": "__main__"}

    def noted(*said: Any, **how: Any) -> None:
        """Its `print`: it prints a line after each step, when it has waited for the card."""
        print(*said, **how | {"file": sys.stderr})
        if said and str(said[0]).startswith("\rstep "):
            steps.note()

    def scored(model: Any, *_: Any) -> float:
        outcome = steps.outcome()
        outcome.kernel = kernel.__name__.removeprefix("attend_")
        if order.is_scored:
            plain = getattr(model, "_orig_mod", model)  # compiled, it would be compiled once more
            score(outcome, order, plain, device)
        found.append(outcome)
        return outcome.val_bpb or math.nan

    if order.unit == "steps":
        # Its schedules follow a clock: on this one a step takes 1, so that they span the steps.
        text = replace_once(r"(?m)^import time$", "", text)
        names["time"] = SimpleNamespace(time=lambda: rows.drawn / parts)
    if device == "cpu":
        text = text.replace('torch.device("cuda")', 'torch.device("cpu")').replace('type="cuda"', 'type="cpu"')
        pretend_a_card()
    budget = order.amount - UNCOUNTED_STEPS if order.unit == "steps" else order.amount
    meta = json.loads(Path(order.data, "meta.json").read_text())
    tokenizer = SimpleNamespace(get_vocab_size=lambda: meta["vocab_size"])
    fa3 = stand_in("flash_attn_interface_here", flash_attn_func=kernel)
    stand_in("kernels", get_kernel=lambda _: SimpleNamespace(flash_attn_interface=fa3))
    stand_in(
        "prepare", MAX_SEQ_LEN=order.seq_len, TIME_BUDGET=budget, evaluate_bpb=scored,
        Tokenizer=SimpleNamespace(from_directory=lambda: tokenizer), make_dataloader=lambda *_: iter(rows),
    )  # fmt: skip
    exec(compile(text, str(Path(order.folder, "train.py")), "exec"), names | {"print": noted})
    return found[0]


class Rows:
    """train.bin in batches, each row once before any comes again; counts what was drawn."""

    def __init__(self, order: Order, parts: int) -> None:
        self.rows = np.fromfile(Path(order.data, "train.bin"), "<u2").reshape(-1, order.seq_len + 1)
        self.n_rows, self.seed, self.drawn = order.batch_rows // parts, order.seed, 0

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
        """Inputs and targets (rows, T), and the epoch. Through pinned memory, as the original's own loader does it."""
        chance, waiting, epoch, on_card = (
            np.random.default_rng(self.seed),
            np.empty(0, int),
            0,
            torch.cuda.is_available(),
        )
        while True:
            while len(waiting) < self.n_rows:
                waiting, epoch = np.concatenate((waiting, chance.permutation(len(self.rows)))), epoch + 1
            rows = torch.from_numpy(self.rows[waiting[: self.n_rows]].astype(np.int64))
            waiting = waiting[self.n_rows :]
            rows = rows.pin_memory().to("cuda", non_blocking=True) if on_card else rows
            self.drawn += 1
            yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous(), epoch


def best_kernel(order: Order, device: str) -> Callable[..., torch.Tensor]:
    """In the place of FlashAttention 3: that if it is installed, else what ours takes, chosen by our plan's own rule."""
    if device == "cuda":
        try:
            from flash_attn_interface import flash_attn_func  # type: ignore[import-not-found] # where it is installed

            def attend_flash3(*qkv: torch.Tensor, **how: Any) -> Any:
                return flash_attn_func(*(x.bfloat16() for x in qkv), **how)

            return attend_flash3
        except ImportError:
            if json.loads(Path(order.data, "plan.json").read_text())["attention"] == "flash2":
                return attend_flash2
    return attend_sdpa


def attend_flash2(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool, window_size: tuple[int, int]) -> Any:
    """(R, T, H, D), in place of FlashAttention 3: torch's own kernel with a window, and sdpa where there is none."""
    rows, length = q.shape[:2]
    if not 0 <= window_size[0] < length - 1:
        return attend_sdpa(q, k, v, causal, window_size)
    from torch.nn.attention.varlen import varlen_attn

    ends = torch.arange(rows + 1, dtype=torch.int32, device=q.device) * length
    # From torch 2.12 on, autocast makes float32 of what a norm returns; this kernel takes 16 bits alone.
    q, k, v = (x.flatten(0, 1).bfloat16() for x in (q, k, v))
    y: Any = varlen_attn(q, k, v, ends, ends, length, length, window_size=window_size)
    return y.view(rows, length, *q.shape[1:])


def attend_sdpa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool, window_size: tuple[int, int]) -> Any:
    """(R, T, H, D), in place of FlashAttention 3: by a mask where there is a window, which is slow."""
    assert causal
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    place, mask = torch.arange(q.shape[2], device=q.device), None
    if 0 <= window_size[0] < q.shape[2] - 1:
        distance = place[:, None] - place
        mask = (distance >= 0) & (distance <= window_size[0])
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    return y.transpose(1, 2)


def pretend_a_card() -> None:
    """For a dry run: what the original asks of torch for a card, and compilation, which would take longest, do nothing."""
    cuda: Any = torch.cuda
    cuda.get_device_capability, cuda.synchronize = lambda *_: (9, 0), lambda *_: None
    torch.compile = lambda f=None, **_: f if f is not None else lambda g: g  # type: ignore[assignment]


def stand_in(name: str, **contents: Any) -> ModuleType:
    """What `import name` finds from now on."""
    module = sys.modules[name] = ModuleType(name)
    vars(module).update(contents)
    return module


def replace_once(pattern: str, value: str, text: str) -> str:
    text, n_found = re.subn(pattern, lambda _: value, text)
    if n_found != 1:
        sys.exit(f"gpu_train: {pattern} occurs {n_found} times in this version of the original; once was expected")
    return text


# -- the score, for both -------------------------------------------------------------------------------------------


def score(outcome: Outcome, order: Order, logits: Callable[[torch.Tensor], torch.Tensor], device: str) -> None:
    began = time.time()
    rows = np.fromfile(Path(order.data, "held.bin"), "<u2").reshape(-1, order.seq_len + 1)
    token_bytes = np.fromfile(Path(order.data, "token_bytes.bin"), np.uint8)
    outcome.val_bpb = bits_per_byte(logits, rows, token_bytes, device)
    outcome.score_s = time.time() - began


@torch.inference_mode()
def bits_per_byte(
    logits: Callable[[torch.Tensor], torch.Tensor], rows: np.ndarray, token_bytes: np.ndarray, device: str
) -> float:
    """Of held rows (n, T + 1), over all targets that stand for bytes; `logits`: (R, T) -> (R, T, V)."""
    n_bytes, nats = torch.from_numpy(token_bytes.astype(np.int64)).to(device), torch.zeros((), dtype=torch.float64)
    for start in range(0, len(rows), SCORED_ROWS):
        some = torch.from_numpy(rows[start : start + SCORED_ROWS].astype(np.int64)).to(device)
        targets = some[:, 1:].flatten()
        loss = torch.nn.functional.cross_entropy(logits(some[:, :-1]).float().flatten(0, 1), targets, reduction="none")
        nats += (loss * (n_bytes[targets] > 0)).sum(dtype=torch.float64).cpu()
    return float(nats) / (math.log(2) * int(token_bytes[rows[:, 1:]].sum(dtype=np.int64)))


# -- the card -----------------------------------------------------------------------------------------------------


def card() -> dict[str, Any]:
    """What computes here, and how fast it multiplies: the rate that a product of 8192 x 8192 matrices reaches."""
    found: dict[str, Any] = {"name": "", "torch": torch.__version__, "memory_mb": 0, "product_flops": 0.0}
    if torch.cuda.is_available():
        found |= {"name": torch.cuda.get_device_name(), "memory_mb": torch.cuda.mem_get_info()[1] >> 20}
        a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        times = []
        for _ in range(8):
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in "ab")  # type: ignore[no-untyped-call]
            began.record()
            a @ b
            ended.record()
            torch.cuda.synchronize()
            times.append(began.elapsed_time(ended) / 1e3)
        found["product_flops"] = 2 * 8192**3 / median(times[3:])
    return found


def peak_of(name: str) -> float | None:
    return next((peak for card_name, peak in PEAKS.items() if re.search(rf"\b{card_name}\b", name)), None)


def main() -> None:
    if sys.argv[1] == "card":
        print(json.dumps(card()))
        return
    order = Order(**json.loads(sys.argv[1]))
    outcome = {"ours": run_ours, "original": run_original}[order.who](order)
    Path(order.out).write_text(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
