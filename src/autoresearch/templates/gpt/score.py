"""
The value on record: bits per byte of the trained model, on rows whose answers the candidate never sees.

Knows the held rows. Never imports the candidate's code: it runs `python train.py predict` in the candidate's
tree, sends tokens, gets logits, and does the softmax itself, so what is scored is a probability.
Frozen. Numpy only, because it starts once a run.

Exit 1: no value, and a sentence on stderr says why. Exit 2: the scorer itself was called wrongly.
"""

import contextlib
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import numpy as np

ROWS_PER_REQUEST = 16  # 4 MB of logits a reply
PROBED_REQUESTS = 2  # each costs as much as scoring 16 rows
# An honest model gets the same shapes and repeats itself to the last bits; a leak this small gains 0.015 bits.
CAUSAL_TOLERANCE = 0.01  # nats
SETS = {"search": "validation", "sealed": "sealed"}


class NoScore(Exception):
    """The candidate's predictions cannot be scored; the message is the whole explanation."""


class Predictor:
    """The candidate, behind a pipe. Knows tokens in and logits out, never a target."""

    def __init__(self, vocab_size: int):
        self.vocab_size = vocab_size
        # A file of its own: what the candidate prints here must not look like a METRIC line of ours.
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        self.process = subprocess.Popen(
            # The launcher puts it into the sandbox; without one (by hand) it runs as it is.
            [*filter(None, [os.environ.get("AUTORESEARCH_INSIDE")]), sys.executable, "train.py", "predict"],
            cwd=os.environ.get("AUTORESEARCH_TREE") or None,
            env={k: v for k, v in os.environ.items() if k not in ("AUTORESEARCH_HELD", "AUTORESEARCH_SET")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
        )

    def check_vocabulary(self, token: int):
        """Ask about one token: a reply so short comes in one piece, so a wrong size is told and not waited for."""
        self.ask(np.array([[token]]))
        n_bytes, wanted = len(os.read(self.process.stdout.fileno(), 1 << 16)), 4 * self.vocab_size
        if n_bytes == 0:
            raise NoScore(self.epitaph(0, wanted))
        if n_bytes != wanted:
            raise NoScore(f"wrong shape: {n_bytes} bytes for one token, not {self.vocab_size} float32")

    def ask(self, tokens: np.ndarray):
        """Send rows (R, T). A dead candidate is noticed where its reply is read."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(struct.pack("<II", *tokens.shape) + tokens.astype("<u2").tobytes())
            self.process.stdin.flush()

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens (R, T) -> natural logarithms of probabilities (R, T, V), float32, normalised here."""
        self.ask(tokens)
        reply = np.empty((*tokens.shape, self.vocab_size), "<f4")
        n_bytes = self.process.stdout.readinto(reply.data.cast("B"))
        if n_bytes < reply.nbytes:
            raise NoScore(self.epitaph(n_bytes, reply.nbytes))
        if not np.isfinite(reply).all():
            bad = np.count_nonzero(~np.isfinite(reply))
            raise NoScore(f"not finite: {bad} of {reply.size} logits are NaN or infinite")
        reply -= reply.max(axis=-1, keepdims=True)
        reply -= np.log(np.exp(reply).sum(axis=-1, keepdims=True))
        return reply

    def close(self):
        """End it in good order. More output than was asked for means that logits and places did not match."""
        rest, _ = self.process.communicate(struct.pack("<II", 0, 0))
        if rest:
            raise NoScore(f"wrong shape: {len(rest)} bytes more than {self.vocab_size} float32 a token")

    def epitaph(self, n_bytes: int, wanted: int) -> str:
        """Why the reply is short, with the candidate's last words, indented so that no line reads as ours."""
        code = self.process.wait()
        self.stderr.seek(0)
        last = self.stderr.read().decode(errors="replace").splitlines()[-15:]
        said = "".join(f"\n  | {line}" for line in last)
        return f"`train.py predict` ended (exit {code}) after {n_bytes} of {wanted} bytes of a reply{said}"


def main():
    try:
        split = SETS[os.environ.get("AUTORESEARCH_SET") or "search"]
        rows, token_bytes = load(Path(os.environ["AUTORESEARCH_HELD"]), split)
    except (KeyError, OSError, ValueError) as problem:
        print(f"score.py: cannot load the held rows ({type(problem).__name__}: {problem})", file=sys.stderr)
        raise SystemExit(2) from None
    predictor = Predictor(len(token_bytes))
    try:
        value = bits_per_byte(predictor, rows, token_bytes)
    except NoScore as problem:
        print(problem, file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        predictor.process.kill()
    print(f"METRIC val_bpb={value:.6f}")


def load(held: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, T + 1) of tokens, and how many raw bytes each token of the vocabulary stands for (V,)."""
    meta = json.loads((held / "meta.json").read_text())
    contents = {}
    for name in (f"{split}.bin", "token_bytes.bin"):
        contents[name] = (held / name).read_bytes()
        if sha256(contents[name]).hexdigest() != meta["sha256"][name]:
            raise ValueError(f"{name} is not the file that prepare.py wrote: run it again")
    rows = np.frombuffer(contents[f"{split}.bin"], "<u2").reshape(meta["splits"][split]["shape"])
    return rows, np.frombuffer(contents["token_bytes.bin"], np.uint8)


def bits_per_byte(predictor: Predictor, rows: np.ndarray, token_bytes: np.ndarray) -> float:
    """
    Bits per byte over all targets that stand for bytes; BOS carries none and is neither charged nor counted.

    Scored requests are the same every time, so the same weights give the same value. Which rows are probed,
    where, and whether before or after they are scored, is chance that the candidate cannot foresee.
    """
    chance = np.random.default_rng()
    requests = [rows[i : i + ROWS_PER_REQUEST] for i in range(0, len(rows), ROWS_PER_REQUEST)]
    probed = set(chance.choice(len(requests), min(PROBED_REQUESTS, len(requests)), replace=False))
    predictor.check_vocabulary(int(rows[0, 0]))
    nats, n_bytes = 0.0, 0
    for number, request in enumerate(requests):
        inputs, targets = request[:, :-1], request[:, 1:]
        probe = Probe(inputs, len(token_bytes), chance) if number in probed else None
        before = predictor.log_probabilities(probe.tokens) if probe and chance.random() < 0.5 else None
        scored = predictor.log_probabilities(inputs)
        if probe:
            probe.check(scored, predictor.log_probabilities(probe.tokens) if before is None else before)
        target_nats = -np.take_along_axis(scored, targets[..., None].astype(np.int64), axis=-1)[..., 0]
        nats += float(target_nats[token_bytes[targets] > 0].sum(dtype=np.float64))
        n_bytes += int(token_bytes[targets].sum(dtype=np.int64))
    predictor.close()
    return nats / (math.log(2) * n_bytes)


class Probe:
    """
    The same rows with every token from a random place on replaced: earlier predictions may not change.

    A candidate that remembers earlier requests could answer consistently and still cheat; closing that takes
    a second, fresh process for the probes, which costs another start.
    """

    def __init__(self, inputs: np.ndarray, vocab_size: int, chance: np.random.Generator):
        n_rows, length = inputs.shape
        self.cuts = chance.integers(1, length, n_rows)
        self.after = np.arange(length) >= self.cuts[:, None]
        # Plus one to V - 1, modulo V: certainly another token.
        other = (inputs + chance.integers(1, vocab_size, inputs.shape)) % vocab_size
        self.tokens = np.where(self.after, other, inputs).astype(inputs.dtype)

    def check(self, scored: np.ndarray, probed: np.ndarray):
        change = np.where(self.after, 0, np.abs(scored - probed).max(axis=-1))
        row, place = np.unravel_index(change.argmax(), change.shape)
        if change[row, place] > CAUSAL_TOLERANCE:
            raise NoScore(
                f"not causal: the prediction after token {place} moved by {change[row, place]:.4f} nats when "
                f"tokens {self.cuts[row]} and later were replaced; it may depend on tokens 0 to {place} alone"
            )


if __name__ == "__main__":
    main()
