"""
Seeds: chosen by the harness, never by the candidate.

The k-th run of every tree in a study has the same k-th seed, so that runs pair.
"""

import hashlib


def seed(root: int, index: int) -> int:
    """The `index`-th seed of a study, a number below 2**31."""
    return int.from_bytes(hashlib.blake2b(f"{root}:{index}".encode(), digest_size=4).digest()) >> 1
