"""
Trains a small language model and says how well it predicts text that it has not seen. Frozen: settings.py may change.

A character is predicted from the ones before it: their embeddings, side by side, go through layers of rectified units
to a softmax (Bengio et al. 2003, deeper). Trained by stochastic gradient descent with momentum, on one core.

NIGHT_STEPS says how many steps there is time for: that is what a slow machine has less of than a fast one, and all that
tells the tiers apart. Seeds choose the weights to begin with and the text that is seen; the text that is held out is
always the same.
"""

import os

os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import ast
import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = list[NDArray[np.float32]]  # the embedding, then a matrix and a bias for each layer
Characters = NDArray[np.intp]
Settings = Mapping[str, Any]

CONTEXT, EMBEDDING, LAYERS = 8, 16, 5
LEAK = np.float32(0.1)  # slope of a unit below zero: none dies for good
PLAIN = 0.065  # standard deviation of every layer under INIT = "plain"; each of them then halves what comes in
BATCH = 32  # more of them would be more text in as many steps: another budget
HALVING = 25  # steps after which the rate is half
CLIP = 1.0  # longest gradient that is followed as it is
BLOCK, HELD = 2000, 10  # characters; of each so many blocks, one is held out
APART = 10  # characters between the places where held text is predicted
BIT = math.log(2)


def read(path: str) -> dict[str, Any]:
    """The settings as plain values. Anything in the file that is none is an error: it is read, never run."""
    settings = {}
    for line in ast.parse(Path(path).read_text()).body:
        match line:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                settings[name] = ast.literal_eval(value)
            case ast.Expr(value=ast.Constant()):
                pass  # its docstring
            case _:
                raise SystemExit(f"{path}, line {line.lineno}: only NAME = value may stand here")
    return settings


def text(path: str) -> tuple[Characters, Characters, int]:
    """Blocks to train on and blocks held out (n, BLOCK), as numbers of characters; and how many there are."""
    known, characters = np.unique(np.frombuffer(Path(path).read_bytes(), np.uint8), return_inverse=True)
    blocks = characters[: len(characters) // BLOCK * BLOCK].reshape(-1, BLOCK)
    held = np.arange(len(blocks)) % HELD == HELD // 2
    return blocks[~held], blocks[held], len(known)


def begin(settings: Settings, n_characters: int, random: np.random.Generator) -> Weights:
    """
    The weights before the first step. "scaled" gives each layer the standard deviation sqrt(2 / fan-in), under which
    signals keep their size through rectified layers (He et al. 2015); "plain" gives all the same. Embeddings have 1.
    """
    scaled = {"plain": False, "scaled": True}[settings["INIT"]]
    widths = [CONTEXT * EMBEDDING, *[settings["WIDTH"]] * LAYERS, n_characters]
    weights = [random.standard_normal((n_characters, EMBEDDING), np.float32)]
    for n_in, n_out in itertools.pairwise(widths):
        deviation = math.sqrt(2 / n_in) if scaled else PLAIN
        weights += [
            random.standard_normal((n_in, n_out), np.float32) * np.float32(deviation),
            np.zeros(n_out, np.float32),
        ]
    return weights


def forward(weights: Weights, seen: Characters) -> tuple[Weights, NDArray[np.float32]]:
    """What each layer is given, first (n, CONTEXT * EMBEDDING), and the logits (n, characters)."""
    inputs = [weights[0][seen].reshape(len(seen), -1)]
    for layer in range(1, len(weights) - 2, 2):
        sums = inputs[-1] @ weights[layer] + weights[layer + 1]
        inputs.append(np.maximum(sums, LEAK * sums))
    return inputs, inputs[-1] @ weights[-2] + weights[-1]


def loss(logits: NDArray[np.float32], wanted: Characters) -> tuple[float, NDArray[np.float32]]:
    """Cross-entropy in nats, mean over (n, characters), and the probabilities."""
    logits = logits - logits.max(1, keepdims=True)
    likely = np.exp(logits)
    total = likely.sum(1, keepdims=True)
    nats = np.log(total[:, 0]) - logits[np.arange(len(wanted)), wanted]
    return float(nats.mean()), likely / total


def gradient(weights: Weights, rows: Characters, smoothing: float) -> tuple[float, Weights]:
    """Of the loss on rows (n, CONTEXT + 1), with respect to each of the weights."""
    seen, wanted = rows[:, :-1], rows[:, -1]
    inputs, logits = forward(weights, seen)
    nats, error = loss(logits, wanted)
    one_hot = np.eye(len(weights[0]), dtype=np.float32)
    error -= (1 - smoothing) * one_hot[wanted] + np.float32(smoothing / len(one_hot))
    error /= np.float32(len(rows))
    slopes: Weights = []
    for layer in range(len(inputs) - 1, -1, -1):
        slopes += [error.sum(0), inputs[layer].T @ error]
        error = error @ weights[1 + 2 * layer].T
        if layer:
            error *= np.where(inputs[layer] > 0, np.float32(1), LEAK)
    slopes.append(one_hot[seen.ravel()].T @ error.reshape(-1, EMBEDDING))
    return nats, slopes[::-1]


def rate(settings: Settings, step: int) -> float:
    """The learning rate of a step: up in a line, then down as 1 / (1 + step / HALVING), as Robbins and Monro (1951) ask."""
    return float(settings["LEARNING_RATE"] * min(1, (step + 1) / settings["WARMUP"]) / (1 + step / HALVING))


def train(settings: Settings, blocks: Characters, n_characters: int, steps: int, seed: int) -> Weights:
    random = np.random.default_rng(seed)
    weights = begin(settings, n_characters, random)
    velocity = [np.zeros_like(each) for each in weights]
    shape = (steps, BATCH)
    places = random.integers(len(blocks), size=shape) * BLOCK + random.integers(BLOCK - CONTEXT, size=shape)
    stream, lately = blocks.ravel(), []
    for step in range(steps):
        nats, slopes = gradient(weights, stream[places[step, :, None] + np.arange(CONTEXT + 1)], settings["SMOOTHING"])
        length = float(np.sqrt(sum(float(np.vdot(slope, slope)) for slope in slopes)))
        clipped, now = min(1.0, CLIP / length), rate(settings, step)
        for weight, speed, slope in zip(weights, velocity, slopes, strict=True):
            speed *= settings["MOMENTUM"]
            speed += clipped * slope + settings["WEIGHT_DECAY"] * weight
            weight -= now * speed
        lately.append(nats / BIT)
        if (step + 1) * 10 // steps > step * 10 // steps:
            print(f"PROGRESS {(step + 1) / steps:.2f} loss={np.mean(lately):.4f}", flush=True)
            lately.clear()
    return weights


def held_out(weights: Weights, blocks: Characters) -> float:
    """Bits per character on text that was not trained on."""
    places = np.arange(len(blocks))[:, None] * BLOCK + np.arange(0, BLOCK - CONTEXT, APART)
    rows = blocks.ravel()[places.ravel()[:, None] + np.arange(CONTEXT + 1)]
    nats, _ = loss(forward(weights, rows[:, :-1])[1], rows[:, -1])
    return nats / BIT


def main() -> None:
    np.seterr(all="ignore")  # what diverges ends as nan, and says so
    blocks, held, n_characters = text("text.txt")
    steps, seed = int(os.environ["NIGHT_STEPS"]), int(os.environ["AUTORESEARCH_SEED"])
    weights = train(read("settings.py"), blocks, n_characters, steps, seed)
    print(f"METRIC val_loss={held_out(weights, held):.6f}")


if __name__ == "__main__":
    main()
