"""
Whose request it is, and how many of theirs are answered.

An address is kept in memory, as long as its owner keeps asking, and is never written down.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from autoresearch.errors import StudyError

MOST_ADDRESSES = 50_000
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(words: Iterable[str]) -> tuple[Network, ...]:
    """
    Raises:
        StudyError: one is neither an address nor a network.
    """
    found = []
    for word in words:
        try:
            found.append(ipaddress.ip_network(word.strip(), strict=False))
        except ValueError:
            raise StudyError(
                f"proxy {word!r} is neither an address nor a network, like 10.0.0.7 or 10.0.0.0/24"
            ) from None
    return tuple(found)


def client(peer: str, headers: Mapping[str, str], proxies: tuple[Network, ...]) -> tuple[str, bool]:
    """
    The address that asks, and whether it can be believed. X-Forwarded-For is read from its end, as far as proxies of ours wrote
    it; where somebody else sent it the peer's own address counts, and is not believed to be the asker's.
    """
    forwarded = [word.strip() for word in headers.get("x-forwarded-for", "").split(",") if word.strip()]
    forwarded = forwarded[-20:]
    if not within(peer, proxies):
        return peer, not forwarded and "forwarded" not in headers
    at = peer
    while forwarded:
        at = forwarded.pop()
        if _address(at) is None:
            return peer, False
        if not within(at, proxies):
            break
    return at, True


def secure(scheme: str, peer: str, headers: Mapping[str, str], proxies: tuple[Network, ...]) -> bool:
    """Whether the visitor's own connection is https."""
    told = headers.get("x-forwarded-proto", "").strip().lower()
    return told == "https" if told and within(peer, proxies) else scheme == "https"


def is_loopback(address: str) -> bool:
    found = _address(address)
    return found is not None and found.is_loopback


@lru_cache(4096)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


def within(text: str, proxies: tuple[Network, ...]) -> bool:
    found = _address(text) if proxies else None
    return found is not None and any(found in network for network in proxies)


class Rates:
    """So many requests a second from each address, and a burst of them at once. An IPv6 household is one address."""

    def __init__(self, each_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.each_second, self.burst, self._clock = each_second, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, address: str) -> bool:
        found = _address(address) if ":" in address else None
        if isinstance(found, ipaddress.IPv6Address):
            address = str(ipaddress.ip_network((found, 64), strict=False))
        now = self._clock()
        left, at = self._left.pop(address, (float(self.burst), now))
        left = min(float(self.burst), left + (now - at) * self.each_second)
        self._left[address] = (max(0.0, left - 1) if left >= 1 else left, now)
        while len(self._left) > MOST_ADDRESSES:
            self._left.popitem(last=False)
        return left >= 1
