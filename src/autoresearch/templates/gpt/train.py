"""
A small GPT in the modern recipe, trained until the budget is spent. The only file of this study that may change.

`python train.py` trains and leaves the weights in $AUTORESEARCH_OUT/model.pt. `python train.py predict` loads them and
answers the scorer: tokens in, logits out. plan.py, once a study, asks `python train.py speed` and `compile`.
Knows the train split; has never seen the held rows, and does not compute the value on record (score.py does).

Letters in shapes: R rows, T places in a row, C = WIDTH, H heads of D = HEAD_DIM, V tokens in the vocabulary.
"""

import gc
import json
import math
import os
import struct
import sys
import time
from pathlib import Path

import machine
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its name wherever torch is used)
from machine import DATA, PLAN
from torch import nn

# The comment behind a number says where a search may look. Every one of them may be changed alone.

# The model. DEPTH is the dial: width, heads and (through the width) learning rates follow from it.
DEPTH = 4  # search: 2|3|4|5|6|8
WIDTH_PER_LAYER = 32  # search: 16|24|32|48|64 # the width is DEPTH times this, rounded up to whole heads
HEAD_DIM = 32  # search: 16|32|64|128
MLP_RATIO = 4  # search: 2|3|4|6|8
SEQ_LEN = 128  # search: 32|64|128
WINDOWS = "L"  # search: "L"|"SL"|"SSL"|"SSSL" # one letter a layer, again and again: Short or Long; the last is Long
SHORT_WINDOW = 0.25  # search: 0.125|0.25|0.5 # of SEQ_LEN
ROTARY_BASE = 10_000.0  # search: 100.0..200000.0 log
SOFTCAP = 15.0  # search: 5.0..50.0 log # logits stay within plus and minus this
VALUE_EVERY = 2  # search: 1|2|3|100 # a value embedding in every so many layers, counted from the last
VALUE_GATE_WIDTH = 32  # search: 8|16|32
EMBEDDING_STD = 1.0  # search: 0.01..2.0 log
HEAD_STD = 0.001  # search: 0.0001..0.1 log
MATRIX_SCALE = 1.0  # search: 0.2..2.0 log # 1: products keep the size of what goes in
INPUT_SCALE = 0.1  # search: 0.0..0.5 # how much of the embedding joins again before each layer, at the start

# The optimizer: Muon for the matrices of the layers, Adam for all else. Adam's rates are for WIDTH 256.
BATCH_ROWS = 8  # search: 4|8|16|32|64
MATRIX_LR = 0.03  # search: 0.003..0.1 log
EMBEDDING_LR = 0.3  # search: 0.01..2.0 log
UNEMBEDDING_LR = 0.008  # search: 0.0005..0.1 log
SCALAR_LR = 0.05  # search: 0.001..1.0 log
ADAM_BETA1 = 0.8  # search: 0.6..0.95
ADAM_BETA2 = 0.95  # search: 0.9|0.95|0.98|0.99
MOMENTUM = 0.95  # search: 0.8..0.98
MOMENTUM_START = 0.85  # search: 0.6..0.95
MOMENTUM_STEPS = 100  # search: 1..300 log # in so many steps from MOMENTUM_START to MOMENTUM
MATRIX_BETA2 = 0.95  # search: 0.8..0.99
WEIGHT_DECAY = 0.1  # search: 0.0..0.5 # of matrices, falls to nothing with the budget
WARMUP_FRACTION = 0.0  # search: 0.0..0.2
WARMDOWN_FRACTION = 0.5  # search: 0.1..1.0
FINAL_LR_FRACTION = 0.0  # search: 0.0..0.2

PROGRESS_LINES = 50  # search: fixed

META = json.loads((DATA / "meta.json").read_text())  # what prepare.py made
VOCAB_SIZE = META["vocab_size"]
DEVICE, DTYPE = PLAN["device"], getattr(torch, PLAN["dtype"])
N_HEADS = -(-DEPTH * WIDTH_PER_LAYER // HEAD_DIM)
WIDTH = N_HEADS * HEAD_DIM
LETTERS = [*(WINDOWS * DEPTH)[: DEPTH - 1], "L"]
SPANS = [SEQ_LEN if letter == "L" else max(1, int(SHORT_WINDOW * SEQ_LEN)) for letter in LETTERS]  # each layer's window


# -- the model -----------------------------------------------------------------------------------------------------


class GPT(nn.Module):
    """
    Tokens (R, T) -> the last layer's output (R, T, C); `logits` and `mean_loss` go on from there. T is SEQ_LEN at most.

    No biases, no learnt norms, no learnt positions. The embedding joins again before each layer, by a learnt share.
    Weights are float32; products take place in DTYPE.
    """

    def __init__(self):
        super().__init__()
        gets_values = [(DEPTH - 1 - i) % VALUE_EVERY == 0 for i in range(DEPTH)]
        self.embed = nn.Embedding(VOCAB_SIZE, WIDTH)
        self.value_embeds = nn.ModuleList(nn.Embedding(VOCAB_SIZE, WIDTH) if gets else None for gets in gets_values)
        self.blocks = nn.ModuleList(Block(span, gets) for span, gets in zip(SPANS, gets_values, strict=True))
        self.head = nn.Parameter(torch.empty(VOCAB_SIZE, WIDTH))
        self.stream_scales = nn.Parameter(torch.ones(DEPTH))
        self.input_scales = nn.Parameter(torch.full((DEPTH,), INPUT_SCALE))
        cos, sin = rotary_angles()
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    @torch.no_grad()
    def init_weights(self):
        """Uniform matrices that keep the size of their input; those that write to the stream start at zero."""
        nn.init.normal_(self.embed.weight, std=EMBEDDING_STD)
        nn.init.normal_(self.head, std=HEAD_STD)
        bound = MATRIX_SCALE * math.sqrt(3 / WIDTH)
        for embed in filter(None, self.value_embeds):
            nn.init.uniform_(embed.weight, -bound, bound)
        for block in self.blocks:
            nn.init.uniform_(block.qkv, -bound, bound)
            nn.init.uniform_(block.mlp_in, -bound, bound)
            for weight in (block.attention_out, block.mlp_out, block.value_gate):
                nn.init.zeros_(weight)
        return self

    def forward(self, tokens):
        start = norm(self.embed(tokens).to(DTYPE))
        x = start.view_as(start)  # were it the same object, the compiler would take the first layer for a special one
        cos, sin = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]
        for i, block in enumerate(self.blocks):
            values = self.value_embeds[i](tokens).to(DTYPE) if self.value_embeds[i] else None  # (R, T, C)
            x = layer(block, x, start, values, cos, sin, self.stream_scales[i], self.input_scales[i])
        return x

    def logits(self, tokens):
        """(R, T, V) in float32."""
        return logits_of(self.forward(tokens), self.head)

    def mean_loss(self, rows):
        """Rows (R, T + 1) -> mean nats a token."""
        return mean_loss(self.forward(rows[:, :-1]), self.head, rows[:, 1:])


class Block(nn.Module):
    """
    (R, T, C) -> (R, T, C): attention, then an MLP with squared ReLU (So et al. 2021), each on a normalised copy of the
    stream; both add to it. `values`: the value embedding of each token (R, T, C), or None.
    """

    def __init__(self, window, gets_values):
        super().__init__()
        self.window = window
        self.qkv = nn.Parameter(torch.empty(3, WIDTH, WIDTH))
        self.attention_out = nn.Parameter(torch.empty(WIDTH, WIDTH))
        self.mlp_in = nn.Parameter(torch.empty(MLP_RATIO * WIDTH, WIDTH))
        self.mlp_out = nn.Parameter(torch.empty(WIDTH, MLP_RATIO * WIDTH))
        self.value_gate = nn.Parameter(torch.empty(N_HEADS if gets_values else 0, min(VALUE_GATE_WIDTH, WIDTH)))

    def forward(self, x, start, values, cos, sin, stream_scale, input_scale):
        x = stream_scale.to(DTYPE) * x + input_scale.to(DTYPE) * start
        x = x + self.attend(norm(x), values, cos, sin)
        return x + product(F.relu(product(norm(x), self.mlp_in)).square(), self.mlp_out)

    def attend(self, x, values, cos, sin):
        rows, length, _ = x.shape
        q, k, v = product(x, self.qkv.flatten(0, 1)).view(rows, length, 3, N_HEADS, HEAD_DIM).unbind(2)
        if values is not None:
            # Each token brings a learnt value of its own; a gate a head, 1 at the start. Source: Zhou et al. 2024.
            gate = 2 * torch.sigmoid(product(x[..., : self.value_gate.shape[1]], self.value_gate))
            v = v + gate[..., None] * values.view_as(v)
        q, k = norm(rotate(q, cos, sin)), norm(rotate(k, cos, sin))  # (R, T, H, D); normed: Henry et al. 2020
        y = attention(q, k, v, self.window)
        return product(y.reshape(rows, length, WIDTH), self.attention_out)


def layer(block, *inputs):
    """One block. This is what the compiler is given, so that one more layer needs no new compilation."""
    return Block.forward(block, *inputs)


def logits_of(x, head):
    """(..., C) -> (..., V) in float32, softly capped. Source: Gemma Team 2024."""
    logits = product(norm(x), head).float()
    return SOFTCAP * torch.tanh(logits / SOFTCAP)


def mean_loss(x, head, targets):
    return F.cross_entropy(logits_of(x, head).flatten(0, 1), targets.flatten())


class Norm(torch.autograd.Function):
    """
    Divide by the root mean square of the last dimension. Source: Zhang & Sennrich 2019.

    Written out because it takes two thirds of the time of torch's own on a CPU.
    """

    @staticmethod
    def forward(ctx, x):
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = (size.square() / x.shape[-1] + 1e-6).rsqrt().to(x.dtype)
        y = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx, gradient):
        y, scale = ctx.saved_tensors
        along = (gradient * y).mean(dim=-1, keepdim=True)
        return torch.addcmul(gradient, y, along, value=-1).mul_(scale)


def norm(x):
    return Norm.apply(x)


def product(x, weight):
    """(..., in) and (out, in) -> (..., out), in the type of x."""
    return F.linear(x, weight.to(x.dtype))


def rotary_angles():
    """Cosine and sine, each (SEQ_LEN, 1, D / 2). Source: Su et al. 2021."""
    frequency = ROTARY_BASE ** -torch.linspace(0, 1, HEAD_DIM // 2)
    angle = torch.outer(torch.arange(SEQ_LEN), frequency)[:, None]
    return angle.cos().to(DTYPE), angle.sin().to(DTYPE)


def rotate(x, cos, sin):
    """Turn each pair (x1, x2) by its place's angle, so that q.k depends on distance alone."""
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1)


# -- attention: q, k, v (R, T, H, D) -> (R, T, H, D); a place sees itself and the window - 1 places before it ----------


def attend_blocks(q, k, v, window):
    """
    By plain products, BLOCK places at a time, without those that none of them sees.

    On a CPU 1.6 times as fast as torch's fused kernel forwards, 2.5 times backwards (T 256, bfloat16, AVX512).
    """
    q, k, v = (part.transpose(1, 2) for part in (q * HEAD_DIM**-0.5, k, v))
    length, pieces = q.shape[2], []
    hidden = torch.where(visible(length, window, q.device), 0.0, -math.inf).to(q.dtype)
    for start in range(0, length, BLOCK):
        seen = slice(max(0, start - window + 1) // BLOCK * BLOCK, min(start + BLOCK, length))
        scores = q[:, :, start : seen.stop] @ k[:, :, seen].mT + hidden[start : seen.stop, seen]
        pieces.append(torch.softmax(scores, dim=-1) @ v[:, :, seen])
    return torch.cat(pieces, dim=2).transpose(1, 2)


BLOCK = 128  # search: fixed


def visible(length, window, device):
    """(T, T), true where the place of a row sees that of a column."""
    place = torch.arange(length, device=device)
    distance = place[:, None] - place
    return (distance >= 0) & (distance < window)


def attend_sdpa(q, k, v, window):
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    if window >= q.shape[2]:
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    else:
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=visible(q.shape[2], window, q.device))
    return y.transpose(1, 2)


def attend_flash2(q, k, v, window):
    """On a card, the kernel in torch that takes a window as it is: with a mask, all that is hidden is computed too."""
    if window >= q.shape[1]:
        return attend_sdpa(q, k, v, window)
    from torch.nn.attention.varlen import varlen_attn

    rows, length = q.shape[:2]
    ends = torch.arange(rows + 1, dtype=torch.int32, device=q.device) * length
    y = varlen_attn(*(x.flatten(0, 1) for x in (q, k, v)), ends, ends, length, length, window_size=(window - 1, 0))
    return y.view_as(q)


def attend_flash3(q, k, v, window):
    """Hopper's own kernel, where its package is installed; takes a window as it is."""
    from flash_attn_interface import flash_attn_func

    return flash_attn_func(q, k, v, causal=True, window_size=(window - 1, 0))


KERNELS = {"blocks": attend_blocks, "sdpa": attend_sdpa, "flash2": attend_flash2, "flash3": attend_flash3}
attention = KERNELS[PLAN["attention"]]


# -- the optimizer -------------------------------------------------------------------------------------------------


class MuonAdam:
    """
    Muon for the matrices of the layers, Adam for the rest.

    Written out because the first step of torch.optim imports the compiler, which takes a second of each run.
    """

    def __init__(self, model):
        to_width = (WIDTH / 256) ** -0.5
        embeddings = [embed.weight for embed in (model.embed, *model.value_embeds) if embed]
        self.adams = [
            Adam(embeddings, EMBEDDING_LR * to_width),
            Adam([model.head], UNEMBEDDING_LR * to_width),
            Adam([model.stream_scales], SCALAR_LR * 0.01),  # what multiplies the stream multiplies at every layer
            Adam([model.input_scales], SCALAR_LR),
        ]
        by_shape = {}
        for weight in model.blocks.parameters():
            if weight.numel():
                by_shape.setdefault(weight.shape[-2:], []).append(weight)
        self.muons = [Muon(weights) for weights in by_shape.values()]
        self.n_steps = 0

    @torch.no_grad()
    def step(self, spent):
        """`spent`: the fraction of the budget."""
        self.n_steps += 1
        rate = rate_at(spent)
        momentum = MOMENTUM_START + (MOMENTUM - MOMENTUM_START) * min(1.0, self.n_steps / MOMENTUM_STEPS)
        for adam in self.adams:
            adam.step(rate, self.n_steps)
        for muon in self.muons:
            muon.step(MATRIX_LR * rate, momentum, WEIGHT_DECAY * (1 - spent))


class Adam:
    """Source: Kingma & Ba 2015."""

    def __init__(self, weights, learning_rate):
        self.weights, self.learning_rate = weights, learning_rate
        self.mean = [torch.zeros_like(weight) for weight in weights]
        self.square = [torch.zeros_like(weight) for weight in weights]

    def step(self, rate, n_steps):
        mean_bias, square_bias = 1 - ADAM_BETA1**n_steps, 1 - ADAM_BETA2**n_steps
        for weight, mean, square in zip(self.weights, self.mean, self.square, strict=True):
            mean.lerp_(weight.grad, 1 - ADAM_BETA1)
            square.mul_(ADAM_BETA2).addcmul_(weight.grad, weight.grad, value=1 - ADAM_BETA2)
            scale = (square / square_bias).sqrt_().add_(1e-10)
            weight.addcdiv_(mean, scale, value=-self.learning_rate * rate / mean_bias)
            weight.grad = None


class Muon:
    """
    Momentum whose every matrix is replaced by the nearest (semi-)orthogonal one before the step, all of one shape at
    once. Each row, or column of a wide matrix, is then scaled by its own running size, the whole kept as large as it
    was; weights decay where that agrees with the step. Sources: Jordan et al. 2024; Li et al. 2025 (NorMuon); Chen et
    al. 2025 (cautious decay).
    """

    def __init__(self, weights):
        self.weights = weights
        stacked = self.stack(weights)
        self.n_rows, self.n_columns = stacked.shape[-2:]
        self.scaled = -1 if self.n_rows >= self.n_columns else -2  # the dimension that one running size is for
        self.mean = torch.zeros_like(stacked)
        self.square = torch.zeros_like(stacked.mean(dim=self.scaled, keepdim=True))

    def stack(self, tensors):
        """(n, rows, columns), of weights (rows, columns) or (k, rows, columns)."""
        return torch.cat([tensor.reshape(-1, *tensor.shape[-2:]) for tensor in tensors])

    def step(self, learning_rate, momentum, weight_decay):
        gradients = self.stack([weight.grad for weight in self.weights])
        self.mean.lerp_(gradients, 1 - momentum)
        update = orthogonalised(gradients.lerp_(self.mean, momentum)).float()  # Nesterov's look ahead
        square = update.square().mean(dim=self.scaled, keepdim=True)
        self.square.lerp_(square, 1 - MATRIX_BETA2)
        scale = self.square.clamp_min(1e-10).rsqrt()
        # Of the same Frobenius norm as before: both sums are over squares of whole matrices, up to one factor.
        before, after = square.sum((-1, -2), True), (square * scale.square()).sum((-1, -2), True)
        update *= scale * (before / after.clamp_min(1e-20)).sqrt()
        learning_rate *= max(1.0, self.n_rows / self.n_columns) ** 0.5
        counts = [weight.numel() // (self.n_rows * self.n_columns) for weight in self.weights]
        for weight, part in zip(self.weights, update.split(counts), strict=True):
            part = part.view_as(weight)
            decay = weight * ((part * weight) > 0) * weight_decay
            weight.sub_(part.add_(decay), alpha=learning_rate)
            weight.grad = None


def orthogonalised(matrices):
    """(n, rows, columns) -> U V^T of each one's U S V^T, roughly, in five steps. Source: Amsel et al. 2025."""
    x = matrices.to(DTYPE)
    x = x / (x.norm(dim=(-1, -2), keepdim=True) * 1.02 + 1e-6)
    is_tall = x.shape[-2] > x.shape[-1]
    x = x.mT if is_tall else x
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x


POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),  # search: fixed
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),  # search: fixed
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),  # search: fixed
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),  # search: fixed
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),  # search: fixed
)


def rate_at(spent):
    """Linear warm-up, flat, linear warm-down to FINAL_LR_FRACTION; `spent` is the fraction of the budget."""
    up = min(1.0, (spent + 0.005) / max(WARMUP_FRACTION, 1e-9))  # + 0.005: the very first step moves too
    down = min(1.0, (1 - spent) / max(WARMDOWN_FRACTION, 1e-9))
    return min(up, FINAL_LR_FRACTION + (1 - FINAL_LR_FRACTION) * down)


# -- training ------------------------------------------------------------------------------------------------------


def train():
    """Spend the budget, then save the weights. Exit 1: the loss is no longer a number."""
    seed = int(os.environ.get("AUTORESEARCH_SEED", "0"))
    torch.manual_seed(seed)
    model = GPT().init_weights().to(DEVICE)
    optimizer = MuonAdam(model)
    source = batches(seed)
    if machine.compile_if_worthwhile(*hot_code()) or DEVICE != "cpu":
        warm_up(model)
    gc.freeze()  # what is there stays: to look through it again and again makes a fast card wait
    budget = start_budget(flops_per_token(model))
    step, losses, next_line = 0, [], 1 / PROGRESS_LINES
    while (spent := budget(step)) < 1:
        losses.append(accumulate(model, next(source)))
        optimizer.step(spent)
        step += 1
        if spent >= next_line:  # not every step: reading the loss makes a GPU wait
            # The mean since the last line: one batch's loss is noisy, and what is behind shows in the mean sooner.
            loss = torch.stack(losses).mean().item()
            print(f"PROGRESS {spent:.3f} loss={loss:.4f}", flush=True)
            losses, next_line = [], next_line + 1 / PROGRESS_LINES
            stop_if_lost(loss, step)
    if losses:
        loss = torch.stack(losses).mean().item()
        stop_if_lost(loss, step)

    out = Path(os.environ["AUTORESEARCH_OUT"])
    out.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), out / "model.pt")
    print(f"METRIC train_loss={loss:.6f}")  # nats a token, over the last steps
    print(f"METRIC parameters={sum(weight.numel() for weight in model.parameters())}")
    print(f"METRIC tokens={step * BATCH_ROWS * SEQ_LEN}")
    if DEVICE == "cuda":
        print(f"METRIC peak_memory_mb={torch.cuda.max_memory_allocated() / 2**20:.0f}")


def rows_at_once():
    return max(1, PLAN["tokens_at_once"] // SEQ_LEN)


def stop_if_lost(loss, step):
    if not math.isfinite(loss):
        sys.exit(f"train.py: the loss is {loss} after {step} steps")


def accumulate(model, batch):
    """Gradients of a batch (BATCH_ROWS, T + 1), a few rows at a time; returns its mean loss, on the device."""
    total = 0.0
    for rows in batch.split(rows_at_once()):
        loss = model.mean_loss(rows) * (len(rows) / len(batch))
        loss.backward()
        total += loss.detach()
    return total


HOT_PATHS = ("layer", "mean_loss")  # search: fixed # what is compiled, where that pays


def hot_code():
    """What compiled code is known by: functions of this file, and the shapes that they work on."""
    return globals(), HOT_PATHS, (BATCH_ROWS, SEQ_LEN, set(SPANS))


def warm_up(model):
    """One batch before the clock starts: it does not count compilation, nor how a card loads code; leaves no trace."""
    accumulate(model, torch.zeros(BATCH_ROWS, SEQ_LEN + 1, dtype=torch.int64, device=DEVICE))
    for weight in model.parameters():
        weight.grad = None


def start_budget(flops_per_token):
    """
    The clock starts here: returns f(steps done) -> fraction of the budget that is spent.

    Tokens, steps and flops are never overdrawn: only whole steps that fit are taken.
    """
    amount, unit = float(os.environ["AUTORESEARCH_BUDGET"]), os.environ["AUTORESEARCH_BUDGET_UNIT"]
    n_tokens = BATCH_ROWS * SEQ_LEN
    cost = {"steps": 1, "tokens": n_tokens, "flops": flops_per_token * n_tokens}.get(unit)
    if cost:
        n_steps = int(amount // cost)
        if n_steps < 1:
            sys.exit(f"train.py: the budget of {amount:g} {unit} is less than one step ({cost:g})")
        return lambda step: step / n_steps
    clock = {"seconds": time.perf_counter, "processor_seconds": time.process_time}[unit]
    began = clock()

    def spent(_step):
        getattr(torch, DEVICE).synchronize()  # what was only asked of a card is not done
        return (clock() - began) / amount

    return spent


def flops_per_token(model):
    """6 for each weight that multiplies, 12 for each place that attention sees on average."""
    multiplied = sum(w.numel() for w in (*model.blocks.parameters(), model.head))
    return 6 * multiplied + 6 * sum(SPANS) * WIDTH  # half of a span on average


def batches(seed):
    """Endless int64 (BATCH_ROWS, SEQ_LEN + 1) on DEVICE; inputs are all but the last column."""
    tokens = np.memmap(DATA / "train.bin", "<u2", mode="r")
    chance = np.random.default_rng(seed)
    starts = row_starts(chance) if META["packing"] == "rows" else random_starts(chance, len(tokens))
    columns = np.arange(SEQ_LEN + 1)
    while True:
        rows = tokens[np.array([next(starts) for _ in range(BATCH_ROWS)])[:, None] + columns]
        batch = torch.from_numpy(rows.astype(np.int64))
        # From other memory a copy makes this process wait until the card has done all that it was asked.
        yield batch.pin_memory().to(DEVICE, non_blocking=True) if DEVICE == "cuda" else batch.to(DEVICE)


def random_starts(chance, n_tokens):
    while True:
        yield from chance.integers(0, n_tokens - SEQ_LEN, BATCH_ROWS)


def row_starts(chance):
    """Each packed row once before any comes again; of a row longer than SEQ_LEN, a part from a random place on."""
    n_rows, length = META["splits"]["train"]["shape"]
    if length <= SEQ_LEN:
        sys.exit(f"train.py: SEQ_LEN is {SEQ_LEN}, the packed rows have {length - 1}: lower it")
    while True:
        yield from chance.permutation(n_rows) * length + chance.integers(0, length - SEQ_LEN, n_rows)


# -- answering what plan.py asks ------------------------------------------------------------------------------------


def speed(compiles):
    """Prints the seconds until the first step is done, and tokens a second. What is compiled is kept."""
    if compiles or PLAN["compile"]:
        machine.use_compiler(globals(), HOT_PATHS, machine.kept_code(*hot_code()))
    model = GPT().init_weights().to(DEVICE)
    optimizer, source, times = MuonAdam(model), batches(0), [machine.work_clock()]
    while len(times) < 4 or times[-1] - times[1] < 1.0:
        accumulate(model, next(source)).item()
        optimizer.step(0.0)
        times.append(machine.work_clock())
    n_tokens = (len(times) - 2) * BATCH_ROWS * SEQ_LEN
    print(json.dumps({"start_s": times[1] - times[0], "tokens_per_s": n_tokens / (times[-1] - times[1])}))


# -- answering the scorer ------------------------------------------------------------------------------------------


def predict():
    """
    Serve logits over stdin and stdout until a request of no rows.

    Request: two little-endian uint32, rows R and length T, then R * T uint16 tokens.
    Reply: R * T * V float32; each place predicts the next token from the tokens up to there.
    """
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not end up between two replies
    model = GPT().to(DEVICE).eval()
    model.load_state_dict(torch.load(Path(os.environ["AUTORESEARCH_OUT"], "model.pt"), map_location=DEVICE))
    while len(header := sys.stdin.buffer.read(8)) == 8:
        n_rows, length = struct.unpack("<II", header)
        if n_rows == 0:
            os._exit(0)  # at once: shutting torch down takes 0.3 s of each run
        tokens = np.frombuffer(sys.stdin.buffer.read(2 * n_rows * length), "<u2").astype(np.int64)
        rows = torch.from_numpy(tokens).view(n_rows, length).to(DEVICE)
        with torch.inference_mode():
            logits = torch.cat([predict_rows(model, some) for some in rows.split(rows_at_once())])
        replies.write(logits.float().cpu().contiguous().numpy())
        replies.flush()


def predict_rows(model, tokens):
    """Logits for rows of any length: windows of SEQ_LEN that overlap by half, each place seen once."""
    logits = [model.logits(tokens[:, :SEQ_LEN])]
    half = SEQ_LEN // 2
    for start in range(SEQ_LEN, tokens.shape[1], half):
        window = tokens[:, start - (SEQ_LEN - half) : start + half]
        logits.append(model.logits(window)[:, SEQ_LEN - half :])
    return torch.cat(logits, dim=1)


def main():
    machine.set_up()
    if sys.argv[1:] == ["predict"]:
        predict()
    elif sys.argv[1:] in (["speed"], ["compile"]):
        speed(compiles=sys.argv[1] == "compile")
    else:
        train()


if __name__ == "__main__":
    main()
