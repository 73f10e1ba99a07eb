"""
A simulated audience: people with hidden tastes, who visit a live study's server as others do.

For demonstrations and benchmarks, and always called simulated. What they like is drawn once from a seed; nothing that decides can see it.
"""

import http.client
import json
import math
import random
import threading
import urllib.parse
from collections.abc import Mapping

from msgspec import Struct

from autoresearch.live.variables import Cell, Variables, cell_of

DEVICES = {"phone": 0.6, "desktop": 0.4}
SIZE, PAIR, PERSONAL = (
    0.25,
    0.2,
    0.15,
)  # log odds: of a level, of the pair that helps only together, of a kind of visitor
BOTHERED = 0.02  # chance of what a guardrail bounds, for each kind


class Taste(Struct, frozen=True):
    """Log odds: `base` of the defaults, what each level adds, what a pair of levels adds, and what it is else to kinds of visitors."""

    base: float
    levels: dict[tuple[str, str], float]
    pair: tuple[dict[str, str], float]
    personal: dict[tuple[str, str, str], float]

    def rate(self, cell: Cell, device: str) -> float:
        """The chance that somebody does what is hoped for."""
        odds = self.base + sum(self.levels.get(item, 0.0) for item in cell.items())
        odds += sum(self.personal.get((device, *item), 0.0) for item in cell.items())
        levels, worth = self.pair
        odds += worth if levels.items() <= dict(cell).items() else 0.0
        return 1 / (1 + math.exp(-odds))

    def mean(self, cell: Cell) -> float:
        """Over all kinds of visitors."""
        return sum(share * self.rate(cell, device) for device, share in DEVICES.items())

    def best(self, variables: Variables) -> tuple[dict[str, str], float]:
        """The cell that is truly best for all, and its rate."""
        return max(((cell, self.mean(cell)) for cell in variables.cells()), key=lambda found: found[1])


def taste(variables: Variables, seed: int, base: float = 0.04) -> Taste:
    """Tastes drawn from a seed; `base` is the rate of the defaults, about."""
    rng = random.Random(f"taste {seed}")
    levels: dict[tuple[str, str], float] = {}
    personal: dict[tuple[str, str, str], float] = {}
    others = []
    for name, variable in sorted(variables.variables.items()):
        for level in sorted(variable.levels):
            levels[name, level] = 0.0 if level == variable.default else rng.gauss(0.0, SIZE)
            others += [(name, level)] if level != variable.default else []
            for device in DEVICES:
                personal[device, name, level] = rng.gauss(0.0, PERSONAL) if level != variable.default else 0.0
    one = rng.choice(others)
    two = rng.choice([item for item in others if item[0] != one[0]] or [one])
    return Taste(math.log(base / (1 - base)), levels, (dict([one, two]), PAIR), personal)


class Visitors:
    """People who come to an address, one after another on each of some threads, until `enough` is set."""

    def __init__(
        self,
        address: str,
        taste: Taste,
        outcome: str,
        seed: int = 0,
        threads: int = 8,
        bothers: Mapping[str, float] | None = None,
    ) -> None:
        self.address, self.taste, self.outcome, self.bothers = address, taste, outcome, dict(bothers or {})
        self.enough = threading.Event()
        self.came = self.did = 0
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._come, args=(f"{seed} {i}",), daemon=True) for i in range(threads)
        ]

    def __enter__(self) -> "Visitors":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.enough.set()
        for thread in self._threads:
            thread.join()

    def _come(self, seed: str) -> None:
        rng = random.Random(f"visitors {seed}")
        there = urllib.parse.urlsplit(self.address)
        line = http.client.HTTPConnection(there.hostname or "", there.port, timeout=10)
        number = 0
        try:
            while not self.enough.is_set():
                number += 1
                self._visit(line, rng, f"{seed.replace(' ', '-')}-{number}")
        except (OSError, http.client.HTTPException, ValueError):
            return  # the server is gone, and with it the demonstration
        finally:
            line.close()

    def _visit(self, line: http.client.HTTPConnection, rng: random.Random, person: str) -> None:
        device = rng.choices(list(DEVICES), list(DEVICES.values()))[0]
        shown = _post(line, "/decide", {"id": f"simulated-{person}", "device": device})
        if not shown.get("recorded"):
            self.enough.wait(0.05)  # there is no plan yet
            return
        did = rng.random() < self.taste.rate(cell_of(str(shown["cell"])), device)
        if did:
            _post(line, "/event", {"id": shown["id"], "kind": self.outcome})
        for kind, chance in self.bothers.items():
            if rng.random() < chance:
                _post(line, "/event", {"id": shown["id"], "kind": kind})
        with self._lock:
            self.came += 1
            self.did += did


def _post(line: http.client.HTTPConnection, path: str, said: Mapping[str, object]) -> dict[str, object]:
    line.request("POST", path, json.dumps(said), {"content-type": "application/json"})
    answer = line.getresponse()
    body = answer.read()
    if answer.status == 429:
        return {}
    found = json.loads(body)
    return found if answer.status == 200 and isinstance(found, dict) else {}
