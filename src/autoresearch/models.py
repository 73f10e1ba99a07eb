"""
Models as the contract names them: "provider:name", where it is asked, which variable holds the key, and its price.

Knows no network and no secret: a key is named here, not held.
"""

import re
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

ChangeKind = Literal["set", "replace", "write", "delete"]  # what a model may do: see propose/answers.py

_ADDRESS = re.compile(r"https?://[^\s/@?#]+(/[^\s@?#]*)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Price(Struct, frozen=True, forbid_unknown_fields=True):
    """What a model costs in dollars: a million tokens sent (`input`) and received (`output`), and each `call`."""

    input: float = 0.0
    output: float = 0.0
    call: float = 0.0

    def __post_init__(self) -> None:
        if not all(0 <= dollars < float("inf") for dollars in (self.input, self.output, self.call)):
            raise ValueError("input, output and call must be 0 or more dollars")

    def dollars(self, input_tokens: float, output_tokens: float) -> float:
        """What one call costs."""
        return self.call + (self.input * input_tokens + self.output * output_tokens) / 1e6


def check(names: Iterable[str], address: str | None, key: str | None) -> None:
    """
    Raises:
        ValueError: one of them cannot be meant; the message says what would be right.
    """
    for name in names:
        if not all(part.strip() == part != "" for part in name.partition(":")):
            raise ValueError(f"model {name!r} must be a provider and a name, like 'anthropic:claude-sonnet-5'")
    if address is not None and not _ADDRESS.fullmatch(address):
        raise ValueError(f"address {address!r} must be like 'http://127.0.0.1:8080/v1', without a name and a password")
    if key is not None and not _VARIABLE.fullmatch(key):
        raise ValueError("key must be the name of the variable that holds the key, like EXAMPLE_API_KEY: not the key")
