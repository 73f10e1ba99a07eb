"""
Not twice: what others are measuring now, by content.

A lease is a key in its holder's beacon, which is signed. It ends when the holder's next beacon no longer has it, or when
the holder is not heard of any more, by the clock of whoever waits: nobody has to believe anybody's time. Two that began
the same at once find out by each other's beacons; the one whose claim sorts first goes on.
"""

import hashlib
from collections.abc import Mapping

from autoresearch.share.exchange import Heard

ALIVE_S = 90.0  # without a beacon, after which a peer counts as gone; over git, three times what a turn takes there
HEARD = 10.0  # beacons a second that a peer is to hear, however many there are: each takes it about half a millisecond


def pace(peers: int) -> float:
    """Seconds from one beacon to the next that says no other leases; as often as one likes among few."""
    return min(ALIVE_S / 3, peers / HEARD) if peers > HEARD else 0.0


def key(study: str, shape: str) -> str:
    """What a candidate is, whoever had the idea and however it is written."""
    return hashlib.sha256(f"{study} {shape}".encode()).hexdigest()[:32]


def alive(heard: Mapping[str, Heard], now: float, within_s: float = ALIVE_S) -> set[str]:
    """Whose beacons still come."""
    return {peer for peer, one in heard.items() if now - one.at <= within_s}


def holder(key: str, heard: Mapping[str, Heard], now: float, within_s: float = ALIVE_S) -> str:
    """Who measures this now, the one with the better right where there are several; "" where nobody does."""
    holding = [peer for peer in alive(heard, now, within_s) if key in heard[peer].beacon.leases]
    return min(holding, key=lambda peer: right(key, peer), default="")


def right(key: str, peer: str) -> bytes:
    """Of two that began at once, the smaller goes on: for each key another, so that nobody always gives way."""
    return hashlib.sha256(f"{key} {peer}".encode()).digest()
