"""
The value on record: bits per byte of the trained model, on rows whose answers the candidate never sees. Beside it what
the model costs, measured from outside: its bytes, and the processor time of its predictions.

Knows the held rows. Never imports the candidate's code: it runs `python train.py predict` in the candidate's
tree, sends tokens, gets logits, and does the softmax itself, so what is scored is a probability.
Frozen. Numpy only, because it starts once a run. What it costs: benchmarks/results/scorer.md of autoresearch.

Exit 1: no value, and a sentence on stderr says why. Exit 2: the scorer itself was called wrongly.
"""

import contextlib
import errno
import json
import math
import os
import select
import struct
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import numpy as np

REPLY_BYTES = 8 * 256 * 257 * 4  # of logits, 2 MB; from four times that on the cache is too small: 5 to 15 % slower
MOST_ROWS = 8  # of a request
PROBED_ROWS = 32  # who looks ahead at one place in ten is caught 97 times in 100 (1 - 0.9^32)
CAREFUL_PROBED_ROWS = 128  # at one place in fifty: 92 times in 100
PROBED_TOKENS = 512  # of a larger vocabulary, and the one that comes next: whose logits a probe compares
PATIENCE_S = 10  # with a reply that began and does not go on
# An honest model gets the same shapes and repeats itself almost to the bit; a leak this small gains 0.015 bits.
CAUSAL_TOLERANCE = 0.01  # nats
SETS = {"search": "validation", "confirm": "confirm", "sealed": "sealed"}
# The last is told for a claim alone.
FOLDERS = {"search": "AUTORESEARCH_HELD", "confirm": "AUTORESEARCH_HELD", "sealed": "AUTORESEARCH_SEALED"}
# Beside its content a file can hold a little in its name, its times and its rights.
FILE_BYTES = 64
OURS = (*FOLDERS.values(), "AUTORESEARCH_SET", "AUTORESEARCH_CAREFUL")  # not for the candidate to see


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
            env={k: v for k, v in os.environ.items() if k not in OURS},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
        )
        self.n_tokens = 0  # asked about after the first
        self.start_s = self.seconds = None  # of processor time: until the first reply, and since
        # Kept from reply to reply: new memory for each costs more than the arithmetic on it.
        self.reply = np.empty(0, "<f4")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def check_vocabulary(self, token: int):
        """Ask about one token: so short a reply comes at once, so a wrong size is told and not waited for."""
        self.ask(np.array([[token]]))
        pipe, wanted = self.process.stdout.fileno(), 4 * self.vocab_size
        n_bytes = last = len(os.read(pipe, 1 << 18))
        # From 16,384 tokens on it may come in several: a pipe holds 64 kB.
        while last and n_bytes < wanted and wanted > 1 << 16 and select.select([pipe], [], [], PATIENCE_S)[0]:
            n_bytes += (last := len(os.read(pipe, 1 << 18)))
        if n_bytes == 0:
            raise NoScore(self.epitaph(0, wanted))
        if n_bytes != wanted:
            raise NoScore(f"wrong shape: {n_bytes} bytes for one token, not {self.vocab_size} float32")
        self.start_s = processor_s(self.process.pid)

    def ask(self, tokens: np.ndarray):
        """Send rows (R, T). A dead candidate is noticed where its reply is read."""
        self.n_tokens += tokens.size if self.start_s is not None else 0
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(struct.pack("<II", *tokens.shape) + tokens.astype("<u2").tobytes())
            self.process.stdin.flush()

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """
        Tokens (R, T) -> natural logarithms of probabilities (R, T, V), float32, normalised here.

        The array is the one every call returns: copy what must outlive the next question.
        """
        self.ask(tokens)
        if self.reply.shape[:2] != tokens.shape:
            self.reply = np.empty((*tokens.shape, self.vocab_size), "<f4")
            self.exponentials = np.empty_like(self.reply)
        reply = self.reply
        n_bytes = self.process.stdout.readinto(reply.data.cast("B"))
        if n_bytes < reply.nbytes:
            raise NoScore(self.epitaph(n_bytes, reply.nbytes))
        with np.errstate(invalid="ignore", over="ignore"):
            # The maximum goes first: beside logits of 1e9 the logarithm of the sum would round to nothing.
            reply -= reply.max(axis=-1, keepdims=True)
        # One look at what is left finds NaN, both infinities, and logits too far apart for float32.
        if not np.isfinite(reply.min()):
            bad = np.count_nonzero(~np.isfinite(reply))
            raise NoScore(f"not finite: {bad} of {reply.size} logits are NaN, infinite or 3e38 below the highest")
        reply -= np.log(np.exp(reply, out=self.exponentials).sum(axis=-1, keepdims=True))
        return reply

    def close(self):
        """End it in good order. More output than was asked for means that logits and places did not match."""
        if self.start_s is not None:
            # Before it ends: what a sandbox used is not passed on to whoever waits for it.
            self.seconds = processor_s(self.process.pid) - self.start_s
        self.ask(np.empty((0, 0)))
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        if rest := self.process.stdout.read(1 << 16):
            raise NoScore(f"wrong shape: {len(rest)} bytes or more beyond {self.vocab_size} float32 a token")
        # Waited for, not killed: what a killed sandbox used is lost to the keeper, who bounds later runs by it.
        self.process.wait()

    def epitaph(self, n_bytes: int, wanted: int) -> str:
        """Why the reply is short, with the candidate's last words, indented so that no line reads as ours."""
        code = self.process.wait()
        self.stderr.seek(0)
        last = self.stderr.read().decode(errors="replace").splitlines()[-15:]
        said = "".join(f"\n  | {line}" for line in last)
        return f"`train.py predict` ended (exit {code}) after {n_bytes} of {wanted} bytes of a reply{said}"


def main():
    try:
        wanted = os.environ.get("AUTORESEARCH_SET") or "search"
        rows, token_bytes = load(Path(os.environ[FOLDERS[wanted]]), SETS[wanted])
    except (KeyError, OSError, ValueError) as problem:
        print(f"score.py: cannot load the held rows ({type(problem).__name__}: {problem})", file=sys.stderr)
        raise SystemExit(2) from None
    try:
        size = model_bytes()
        value, cost = bits_per_byte(rows, token_bytes, careful=os.environ.get("AUTORESEARCH_CAREFUL") == "1")
    except NoScore as problem:
        print(problem, file=sys.stderr)
        raise SystemExit(1) from None
    print(f"METRIC val_bpb={value:.6f}")
    costs = {"model_bytes": size, **cost}
    for name in (name for name in costs if costs[name] is not None):
        print(f"METRIC {name}={costs[name]:.6g}" if name != "model_bytes" else f"METRIC {name}={size}")


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


def bits_per_byte(rows: np.ndarray, token_bytes: np.ndarray, careful: bool) -> tuple[float, dict]:
    """
    Bits per byte over all targets that stand for bytes; BOS carries none and is neither charged nor counted. And what
    predicting cost: see `cost_of`.

    Scored requests are the same every time, so the same weights give the same value. Which rows are probed,
    where, and when between the scored ones, is chance that the candidate cannot foresee.
    """
    chance = np.random.default_rng()
    inputs, targets = rows[:, :-1], rows[:, 1:].astype(np.int64)
    # Whole rows: one of 256 places is 4 MB at 4,096 tokens and 67 MB at 65,536, and cannot be less.
    n_rows = max(1, min(MOST_ROWS, REPLY_BYTES // (4 * inputs.shape[1] * len(token_bytes))))
    n_probes = (CAREFUL_PROBED_ROWS if careful else PROBED_ROWS) // n_rows
    probes = [Probe(rows, n_rows, len(token_bytes), chance) for _ in range(n_probes)]
    requests = [slice(i, i + n_rows) for i in range(0, len(rows), n_rows)]
    for probe in [] if careful else probes:
        requests.insert(chance.integers(len(requests) + 1), probe)
    nats = 0.0
    with Predictor(len(token_bytes)) as predictor:
        predictor.check_vocabulary(int(rows[0, 0]))
        for request in requests:
            if isinstance(request, Probe):
                request.ask(predictor)
                continue
            scored = predictor.log_probabilities(inputs[request])
            target_nats = -np.take_along_axis(scored, targets[request][..., None], axis=-1)[..., 0]
            nats += float(target_nats[token_bytes[targets[request]] > 0].sum(dtype=np.float64))
            for probe in probes:
                probe.note(request, scored)
        predictor.close()
    if careful:
        with Predictor(len(token_bytes)) as fresh:
            fresh.check_vocabulary(int(rows[0, 0]))
            for probe in probes:
                probe.ask(fresh)
            fresh.close()
    for probe in probes:
        probe.check()
    n_bytes = int(token_bytes[targets].sum(dtype=np.int64))
    return nats / (math.log(2) * n_bytes), cost_of(predictor, n_bytes / targets.size)


# -- what the model costs -------------------------------------------------------------------------------


def cost_of(predictor: Predictor, bytes_per_token: float) -> dict:
    """
    Processor seconds until the first reply, and after it for a million bytes of text; None where nobody can tell.

    Apart, because starting takes as long as predicting a megabyte, and the same for every model: together they would
    hide what differs. Probes are asked like all rows and counted like them.
    """
    if predictor.seconds is None:
        return {"predict_start_s": None, "predict_s_per_mb": None}
    n_megabytes = predictor.n_tokens * bytes_per_token / 1e6
    return {"predict_start_s": predictor.start_s, "predict_s_per_mb": predictor.seconds / n_megabytes}


def processor_s(process: int) -> float | None:
    """
    Processor seconds of a process and all below it, to 0.01 s. None where there is no /proc.

    From there and not from what the system tells of an ended child: a sandbox ends before what runs in it was waited
    for, and that would then count for nothing.
    """
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile; whoever waited for it has its time
            # Behind the name, which may hold anything: state, parent, and from the twelfth on user and system time,
            # its own and that of the children it waited for.
            fields = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
            ticks[int(path.parent.name)] = sum(map(int, fields[11:15]))
    if process not in ticks:
        return None
    total, waiting = 0, [process]
    while waiting:
        one = waiting.pop()
        total += ticks[one]
        waiting += [child for child, parent in parents.items() if parent == one]
    return total / os.sysconf("SC_CLK_TCK")


def model_bytes() -> int | None:
    """
    What predicting can read of the candidate's: all that the run left behind, and what its code has grown by.

    Weights can be written into code as well as into a file, so code that is longer than the start's counts by what it is
    longer. Shorter code is no smaller model. None when called by hand, without $AUTORESEARCH_OUT.
    """
    if not (out := os.environ.get("AUTORESEARCH_OUT")):
        return None
    tree = os.environ.get("AUTORESEARCH_TREE") or "."
    return weigh(out) + max(0, weigh(tree, but=".git") - weigh(".", but=".git"))


def weigh(folder: str, but: str = "") -> int:
    """
    Bytes of all files below a folder, of their names and attributes, and FILE_BYTES for each; `but`: an entry of the
    folder itself that is left out. What cannot be looked at may hold anything, so it is no answer.
    """
    total, waiting = 0, [folder]
    try:
        while waiting:
            for entry in os.scandir(here := waiting.pop()):
                if here == folder and entry.name == but:
                    continue
                total += FILE_BYTES + len(os.fsencode(entry.name)) + attribute_bytes(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    except OSError as problem:
        raise NoScore(f"the model cannot be weighed: {problem}") from None
    return total


def attribute_bytes(path: str) -> int:
    """Of extended attributes, which can hold 64 kB a file."""
    if not hasattr(os, "listxattr"):
        return 0
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as problem:
        if problem.errno == errno.ENOTSUP:
            return 0
        raise
    return sum(len(os.fsencode(name)) + len(os.getxattr(path, name, follow_symlinks=False)) for name in names)


# -- looking ahead --------------------------------------------------------------------------------------


class Probe:
    """
    A request of random rows, every token from a random place on replaced: earlier predictions may not change.

    A candidate that remembers what it answered can answer the same again, so asked in the same process this
    finds only a candidate that looks ahead and keeps no record. AUTORESEARCH_CAREFUL=1 asks a second, fresh
    process, which has nothing to remember; that is another start of torch, so it is not done in every run.
    """

    def __init__(self, rows: np.ndarray, n_rows: int, vocab_size: int, chance: np.random.Generator):
        inputs, n_rows = rows[:, :-1], min(n_rows, len(rows))
        length = inputs.shape[1]
        self.rows = chance.choice(len(inputs), n_rows, replace=False)
        self.next = rows[self.rows, 1:, None].astype(np.int64)
        self.some = slice(None)
        if vocab_size > PROBED_TOKENS:
            self.some = chance.choice(vocab_size, PROBED_TOKENS, replace=False)
        self.cuts = chance.integers(1, length, n_rows)
        self.after = np.arange(length) >= self.cuts[:, None]
        # Plus one to V - 1, modulo V: certainly another token.
        other = (inputs[self.rows] + chance.integers(1, vocab_size, (n_rows, length))) % vocab_size
        self.tokens = np.where(self.after, other, inputs[self.rows]).astype(inputs.dtype)
        self.scored = np.empty((n_rows, length, min(vocab_size, PROBED_TOKENS) + 1), np.float32)

    def compared(self, scored: np.ndarray, next_tokens: np.ndarray) -> np.ndarray:
        """
        Of (..., V): what is kept of a prediction until its twin is there, (..., 513) or, of a small V, (..., V + 1).

        Whoever looks ahead gains at the token that comes next, so that is never left out.
        """
        return np.concatenate((scored[..., self.some], np.take_along_axis(scored, next_tokens, axis=-1)), axis=-1)

    def note(self, request: slice, scored: np.ndarray):
        """Keep what was predicted for this probe's rows when they were scored."""
        for i in np.flatnonzero((self.rows >= request.start) & (self.rows < request.stop)):
            self.scored[i] = self.compared(scored[self.rows[i] - request.start], self.next[i])

    def ask(self, predictor: Predictor):
        self.probed = self.compared(predictor.log_probabilities(self.tokens), self.next)

    def check(self):
        change = np.where(self.after, 0, np.abs(self.scored - self.probed).max(axis=-1))
        row, place = np.unravel_index(change.argmax(), change.shape)
        if not change[row, place] <= CAUSAL_TOLERANCE:
            raise NoScore(
                f"not causal: the prediction after token {place} moved by {change[row, place]:.4f} nats when "
                f"tokens {self.cuts[row]} and later were replaced; it may depend on tokens 0 to {place} alone"
            )


if __name__ == "__main__":
    main()
