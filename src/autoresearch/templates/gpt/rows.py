"""
How documents of tokens become one line of them, or full rows, each opened by BOS; and which rows are held.

Knows no text, no splits and no files. Frozen, like prepare.py, which alone calls it.
"""

import itertools
from bisect import bisect, insort

import numpy as np

WAITING = 10_000  # pieces that `pack` chooses from: loses 2.8 % of web-like lengths in rows of 1024; 1,000: 4.5 %


def stream(documents, bos: int):
    """All documents in one line of tokens, each opened by BOS, in pieces of any length."""
    for tokens in documents:
        yield np.concatenate((np.array([bos], "<u2"), tokens))


def pack(documents, bos: int, row_length: int):
    """
    Full rows (row_length + 1,) without padding, each opened by BOS, that hold documents as whole as can be.

    A document longer than a row is cut into rows, each part opened by BOS, so that a row never begins without one.
    Gaps are filled with the longest waiting piece that fits (best fit). Where none fits, the shortest is cropped: its
    end is lost, and so is what waits at the very end and fills no row. A gap of one place gets a BOS and loses nothing.
    What is lost of the train split: "text_bytes" less "bytes" in meta.json. Idea of cropping to fill: nanochat.
    """
    width, waiting = row_length + 1, []  # waiting: (length, minus age, piece), ordered, so that bisection finds the fit
    row, room = [], width
    for number, piece in enumerate(itertools.chain(cut(documents, bos, row_length), itertools.repeat(None))):
        if piece is not None and len(piece) == width:
            yield piece
            continue
        if piece is not None:
            insort(waiting, (len(piece), -number, piece))
        while waiting and (piece is None or len(waiting) >= WAITING):
            row.append(take_fitting(waiting, room, bos))
            room -= len(row[-1])
            if room == 0:
                yield np.concatenate(row)
                row, room = [], width
        if piece is None:
            return


def cut(documents, bos: int, row_length: int):
    """Pieces of `row_length` tokens of one document, or what is left of it, each behind a BOS."""
    for tokens in documents:
        for start in range(0, len(tokens), row_length):
            yield np.concatenate((np.array([bos], "<u2"), tokens[start : start + row_length]))


def take_fitting(waiting: list, room: int, bos: int) -> np.ndarray:
    """Take from `waiting` what goes into a gap of `room` places: the longest that fits, else the shortest cropped."""
    fits = bisect(waiting, (room + 1,))
    if fits:
        return waiting.pop(fits - 1)[2]
    return waiting.pop(0)[2][:room] if room > 1 else np.array([bos], "<u2")


def pick_rows(tokens: np.ndarray, wanted: int, row_length: int, packed: bool) -> np.ndarray:
    """
    `wanted` rows (n, row_length + 1) spread evenly over what `stream` gave, or `pack`; fewer where that is short. There
    must be tokens for one.

    Rows never overlap: otherwise the input of one would hold the targets of another.
    """
    width = row_length + 1
    n = min(wanted, len(tokens) // width)
    if packed:
        return tokens.reshape(-1, width)[np.arange(n) * (len(tokens) // width) // n]
    starts = np.arange(n) * (len(tokens) - width) // max(n - 1, 1)
    return tokens[starts[:, None] + np.arange(width)]
