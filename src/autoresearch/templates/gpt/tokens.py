"""
What a token stands for: one byte, or bytes that often come together, learnt from the training text.

Knows no corpus, no splits and no files. Frozen, like prepare.py, which alone calls it.
"""

import sys
from functools import cached_property

import numpy as np

# What no token crosses: letters with the character before them, one or two digits, other signs, line ends, blanks.
# 3.17 bytes a token on held stdlib text at 4096 tokens, as GPT-4's longer pattern, and 20 % faster to learn.
# Each is bounded, because looking for pairs takes the square of a length: 16,000 blanks as one took 1.7 s. So no token
# has more than 255 bytes.
WORDS = (
    r"[^\p{L}\p{N}\r\n]?\p{L}{1,40}|\p{N}{1,2}| ?[^\s\p{L}\p{N}]{1,40}[\r\n]{0,8}"
    r"|\s{0,40}[\r\n]{1,40}|\s{1,40}(?!\S)|\s{1,40}"
)
TOKENIZER_BYTES = 200_000_000  # of training text are enough to learn tokens from: 20 s on one core


class Unmet(Exception):
    """A setting of prepare.py cannot be met; the message says which and what to do."""


def bpe_size(tokens: str) -> int | None:
    """The vocabulary that TOKENS asks for; None for bytes."""
    if tokens == "bytes":
        return None
    kind, _, size = tokens.partition(":")
    if kind != "bpe" or not size.isdecimal() or not 258 <= int(size) <= 65_536:
        raise Unmet(f"TOKENS is {tokens!r}: write 'bytes', or 'bpe:4096' with 258 to 65536 tokens")
    need("rustbpe", f"TOKENS = {tokens!r}")
    return int(size)


class Bytes:
    """256 tokens, one for each byte. `bos`, which opens every document, comes after the others."""

    pattern = None

    def __init__(self):
        self.tokens = [bytes([i]) for i in range(256)]

    @property
    def bos(self) -> int:
        return len(self.tokens)

    @cached_property
    def token_bytes(self) -> np.ndarray:
        """How many raw bytes each token stands for (V,); BOS stands for none."""
        return np.array([*map(len, self.tokens), 0])

    def encode(self, documents: list[bytes]) -> list[np.ndarray]:
        return [np.frombuffer(raw, np.uint8).astype("<u2") for raw in documents]


class Bpe(Bytes):
    """
    Byte pairs merged by how often they occur. Source: Sennrich et al. 2016, on bytes as GPT-2.

    `tokens[i]` is what token i stands for, in bytes: it need not be whole characters, so it is never made into text.
    """

    pattern = WORDS

    def __init__(self, vocab_size: int, documents):
        self.merges = need("rustbpe", f"a vocabulary of {vocab_size}").Tokenizer()
        enough = (raw.decode() for raw in up_to(TOKENIZER_BYTES, documents))
        self.merges.train_from_iterator(enough, vocab_size - 1, pattern=WORDS)
        ranks = sorted(self.merges.get_mergeable_ranks(), key=lambda pair: pair[1])
        self.tokens = [bytes(token) for token, _ in ranks]
        if self.bos != vocab_size - 1:
            raise Unmet(f"the train split is too small for {vocab_size} tokens, it has {self.bos + 1}: lower TOKENS")

    def encode(self, documents: list[bytes]) -> list[np.ndarray]:
        return [np.array(ids, "<u2") for ids in self.merges.batch_encode([raw.decode() for raw in documents])]


def up_to(n_bytes: int, documents):
    for raw in documents:
        if n_bytes <= 0:
            return
        n_bytes -= len(raw)
        yield raw


def need(module: str, what_for: str):
    """A package that only some settings need."""
    try:
        return __import__(module, fromlist=["_"])
    except ImportError:
        package = module.partition(".")[0]
        raise Unmet(f"{what_for} needs {package}: {sys.executable} -m pip install {package}") from None
