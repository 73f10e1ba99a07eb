"""
A small GPT, trained until the budget is spent. The only file of this study that may change.

`python train.py` trains and leaves the weights in $AUTORESEARCH_OUT/model.pt. `python train.py predict` loads
them and answers the scorer: tokens in, logits out. Knows the train split; has never seen the validation rows,
and does not compute the value on record (score.py does).
"""

import json
import math
import os
import struct
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its name wherever torch is used)
from torch import nn

# The comment behind a number says where a search may look. Every one of them may be changed alone.
DEPTH = 2  # search: 1|2|3|4
WIDTH = 96  # search: 64|96|128|160|192
HEAD_DIM = 32  # search: 16|32|64
MLP_RATIO = 4  # search: 2|3|4|6
SEQ_LEN = 64  # search: 32|64|128|256
ROTARY = False  # search: False|True
QK_NORM = False  # search: False|True
SQUARED_RELU = False  # search: False|True
TIE_EMBEDDINGS = True  # search: False|True
INIT_STD = 0.02  # search: 0.005..0.1 log

BATCH_ROWS = 8  # search: 2|4|8|16|32
LEARNING_RATE = 6e-4  # search: 1e-4..3e-2 log
BETA1 = 0.9  # search: 0.8..0.98
BETA2 = 0.999  # search: 0.9|0.95|0.98|0.99|0.999
WEIGHT_DECAY = 0.1  # search: 0.0..0.5
GRAD_CLIP = 1.0  # search: 0.1..10.0 log
WARMUP_FRACTION = 0.1  # search: 0.0..0.3
WARMDOWN_FRACTION = 0.3  # search: 0.0..1.0
FINAL_LR_FRACTION = 0.1  # search: 0.0..0.3

PROGRESS_LINES = 50  # search: fixed
META = json.loads(Path(os.environ["AUTORESEARCH_DATA"], "meta.json").read_text())  # what prepare.py made
VOCAB_SIZE, BOS = META["vocab_size"], META["bos"]


class GPT(nn.Module):
    """Tokens (rows, T) -> logits (rows, T, VOCAB_SIZE). T is SEQ_LEN at most; longer rows: `predict_rows`."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB_SIZE, WIDTH)
        self.position = None if ROTARY else nn.Embedding(SEQ_LEN, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, VOCAB_SIZE, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                # As GPT-2: two terms a block join the residual stream, so depth would make it grow.
                scale = 1 / math.sqrt(2 * DEPTH) if name.endswith("out.weight") else 1.0
                nn.init.normal_(weight, std=INIT_STD * scale)
        if TIE_EMBEDDINGS:
            self.head.weight = self.embed.weight
        self.rotation = rotary_angles()

    def forward(self, tokens):
        x = self.embed(tokens)
        if self.position is not None:
            x = x + self.position.weight[: tokens.shape[1]]
        rotation = [part[: tokens.shape[1]].to(x.device) for part in self.rotation]
        for block in self.blocks:
            x = block(x, rotation)
        return self.head(self.norm(x))


class Block(nn.Module):
    """Attention, then an MLP, each on a normalised copy of the residual stream (pre-norm)."""

    def __init__(self):
        super().__init__()
        # Heads follow from the width, and the inner width from the heads: any WIDTH goes with any HEAD_DIM.
        self.n_heads = max(1, WIDTH // HEAD_DIM)
        inner = self.n_heads * HEAD_DIM
        self.attention_norm = nn.LayerNorm(WIDTH, bias=False)
        self.attention_in = nn.Linear(WIDTH, 3 * inner, bias=False)
        self.attention_out = nn.Linear(inner, WIDTH, bias=False)
        self.mlp_norm = nn.LayerNorm(WIDTH, bias=False)
        self.mlp_in = nn.Linear(WIDTH, MLP_RATIO * WIDTH, bias=False)
        self.mlp_out = nn.Linear(MLP_RATIO * WIDTH, WIDTH, bias=False)

    def forward(self, x, rotation):
        x = x + self.attend(self.attention_norm(x), rotation)
        hidden = self.mlp_in(self.mlp_norm(x))
        hidden = F.relu(hidden).square() if SQUARED_RELU else F.gelu(hidden)
        return x + self.mlp_out(hidden)

    def attend(self, x, rotation):
        rows, length, _ = x.shape
        # (rows, T, 3 * inner) -> three of (rows, heads, T, HEAD_DIM)
        q, k, v = self.attention_in(x).view(rows, length, 3, self.n_heads, HEAD_DIM).permute(2, 0, 3, 1, 4)
        if QK_NORM:
            q, k = F.rms_norm(q, (HEAD_DIM,)), F.rms_norm(k, (HEAD_DIM,))
        if ROTARY:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.attention_out(y.transpose(1, 2).reshape(rows, length, -1))


def rotary_angles():
    """Cosine and sine, each (SEQ_LEN, HEAD_DIM / 2). Source: Su et al. 2021, base 10,000."""
    frequency = 10_000.0 ** -torch.linspace(0, 1, HEAD_DIM // 2)
    angle = torch.outer(torch.arange(SEQ_LEN), frequency)
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    """Turn each pair (x1, x2) by its position's angle, so that q.k depends on distance alone."""
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1)


class AdamW:
    """
    Adam with decoupled weight decay on matrices. Source: Loshchilov & Hutter 2019.

    Written out because the first step of torch.optim imports the compiler, which takes a second of each run.
    """

    def __init__(self, parameters):
        self.parameters = list(parameters)
        self.mean = [torch.zeros_like(p) for p in self.parameters]
        self.square = [torch.zeros_like(p) for p in self.parameters]
        self.n_steps = 0

    @torch.no_grad()
    def step(self, learning_rate):
        self.n_steps += 1
        mean_bias = 1 - BETA1**self.n_steps
        square_bias = 1 - BETA2**self.n_steps
        for p, mean, square in zip(self.parameters, self.mean, self.square, strict=True):
            mean.lerp_(p.grad, 1 - BETA1)
            square.mul_(BETA2).addcmul_(p.grad, p.grad, value=1 - BETA2)
            if p.ndim == 2:
                p.mul_(1 - learning_rate * WEIGHT_DECAY)
            p.addcdiv_(mean, (square / square_bias).sqrt_().add_(1e-8), value=-learning_rate / mean_bias)
            p.grad = None


def start_budget(flops_per_step):
    """
    The clock starts here: returns f(steps done) -> fraction of the budget that is spent.

    Tokens, steps and flops are never overdrawn: only whole steps that fit are taken.
    """
    amount, unit = float(os.environ["AUTORESEARCH_BUDGET"]), os.environ["AUTORESEARCH_BUDGET_UNIT"]
    cost = {"steps": 1, "tokens": BATCH_ROWS * SEQ_LEN, "flops": flops_per_step}.get(unit)
    if cost:
        n_steps = int(amount // cost)
        if n_steps < 1:
            sys.exit(f"train.py: the budget of {amount:g} {unit} is less than one step ({cost:g})")
        return lambda step: step / n_steps
    clock = {"seconds": time.perf_counter, "processor_seconds": time.process_time}[unit]
    began = clock()
    return lambda step: (clock() - began) / amount


def learning_rate_at(spent):
    """Linear warm-up, flat, linear warm-down to FINAL_LR_FRACTION; `spent` is the fraction of the budget."""
    up = min(1.0, (spent + 0.005) / max(WARMUP_FRACTION, 1e-9))  # + 0.005: the very first step moves too
    down = min(1.0, (1 - spent) / max(WARMDOWN_FRACTION, 1e-9))
    return LEARNING_RATE * min(up, FINAL_LR_FRACTION + (1 - FINAL_LR_FRACTION) * down)


def batches(tokens, seed):
    """Endless int64 (BATCH_ROWS, SEQ_LEN + 1): crops at random places; inputs are all but the last column."""
    chance = np.random.default_rng(seed)
    columns = np.arange(SEQ_LEN + 1)
    while True:
        starts = chance.integers(0, len(tokens) - SEQ_LEN, BATCH_ROWS)
        yield torch.from_numpy(tokens[starts[:, None] + columns].astype(np.int64))


def train():
    """Spend the budget, then save the weights. Exit 1: the loss is no longer a number."""
    seed, device = int(os.environ.get("AUTORESEARCH_SEED", "0")), pick_device()
    torch.manual_seed(seed)
    model = GPT().to(device)
    optimizer = AdamW(model.parameters())
    source = batches(np.fromfile(Path(os.environ["AUTORESEARCH_DATA"], "train.bin"), "<u2"), seed)

    n_parameters = sum(p.numel() for p in model.parameters())
    # 6 for each weight, and causal attention, half of the square; a bit high, since a look-up multiplies nothing.
    flops_per_token = 6 * (n_parameters + DEPTH * SEQ_LEN * WIDTH)
    budget = start_budget(flops_per_token * BATCH_ROWS * SEQ_LEN)
    step, smooth_loss, losses, next_line = 0, None, [], 1 / PROGRESS_LINES
    while (spent := budget(step)) < 1:
        batch = next(source).to(device, non_blocking=True)
        with mixed_precision(device):
            logits = model(batch[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), GRAD_CLIP)
        optimizer.step(learning_rate_at(spent))
        step += 1
        losses.append(loss.detach())
        smooth_loss = losses[-1] if smooth_loss is None else smooth_loss.lerp(losses[-1], 0.1)
        if spent >= next_line:  # not every step: reading the loss makes a GPU wait
            # The mean since the last line: one batch's loss is noisy, and what is behind shows in the mean sooner.
            mean_loss = torch.stack(losses).mean().item()
            print(f"PROGRESS {spent:.3f} loss={mean_loss:.4f}", flush=True)
            losses, next_line = [], next_line + 1 / PROGRESS_LINES
            if not math.isfinite(mean_loss):
                sys.exit(f"train.py: the loss is {mean_loss} after {step} steps")
    if not math.isfinite(smooth_loss.item()):
        sys.exit(f"train.py: the loss is {smooth_loss.item()} at the end")

    out = Path(os.environ["AUTORESEARCH_OUT"])
    out.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), out / "model.pt")
    print(f"METRIC train_loss={smooth_loss.item():.6f}")  # nats a token, smoothed over the last steps
    print(f"METRIC parameters={n_parameters}")
    print(f"METRIC tokens={step * BATCH_ROWS * SEQ_LEN}")
    if device == "cuda":
        print(f"METRIC peak_memory_mb={torch.cuda.max_memory_allocated() / 2**20:.0f}")


def predict():
    """
    Serve logits over stdin and stdout until a request of no rows.

    Request: two little-endian uint32, rows R and length T, then R * T uint16 tokens.
    Reply: R * T * VOCAB_SIZE float32; each place predicts the next token from the tokens up to there.
    """
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not end up between two replies
    device = pick_device()
    model = GPT().to(device).eval()
    model.load_state_dict(torch.load(Path(os.environ["AUTORESEARCH_OUT"], "model.pt"), map_location=device))
    while len(header := sys.stdin.buffer.read(8)) == 8:
        n_rows, length = struct.unpack("<II", header)
        if n_rows == 0:
            os._exit(0)  # at once: shutting torch down takes 0.3 s of each run
        tokens = np.frombuffer(sys.stdin.buffer.read(2 * n_rows * length), "<u2").astype(np.int64)
        with torch.inference_mode(), mixed_precision(device):
            logits = predict_rows(model, torch.from_numpy(tokens).view(n_rows, length).to(device))
        replies.write(logits.float().cpu().contiguous().numpy())
        replies.flush()


def predict_rows(model, tokens):
    """Logits for rows of any length: windows of SEQ_LEN that overlap by half, each place seen once."""
    logits = [model(tokens[:, :SEQ_LEN])]
    half = SEQ_LEN // 2
    for start in range(SEQ_LEN, tokens.shape[1], half):
        window = tokens[:, start - (SEQ_LEN - half) : start + half]
        logits.append(model(window)[:, SEQ_LEN - half :])
    return torch.cat(logits, dim=1)


def pick_device():
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def mixed_precision(device):
    """bfloat16 products on CUDA. On a CPU the conversions eat what they gain at this size: -10 to +5 %."""
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")


if __name__ == "__main__":
    torch.set_flush_denormal(True)  # numbers below 1e-38 slow a CPU down a lot and mean nothing here
    predict() if sys.argv[1:] == ["predict"] else train()
