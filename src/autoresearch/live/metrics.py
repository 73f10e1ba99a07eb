"""
What a server has done since it was started, as Prometheus reads it.

Numbers only: no id, no address, no unit.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # seconds
HELP = {
    "exposures_total": "Exposures that were stored: the first of each visitor, and those that webhooks told.",
    "outcomes_total": "Outcomes that were stored, by kind.",
    "quiet_total": "Requests of which nothing was recorded, by reason.",
    "refused_total": "Requests that were refused, by reason.",
    "hooks_total": "Deliveries of a webhook, by source and by what was answered.",
    "unshowable_total": "Visitors who saw the default because their cell cannot be shown any more.",
    "store_failures_total": "Times that the store could not be read or written.",
}


class Counts:
    """Counted in one thread, the server's."""

    def __init__(self) -> None:
        self.told: dict[str, Counter[tuple[tuple[str, str], ...]]] = {name: Counter() for name in HELP}
        self.took: dict[str, list[int]] = {}
        self.sums: dict[str, float] = {}

    def add(self, name: str, count: int = 1, **labels: str) -> None:
        if count:
            self.told[name][tuple(sorted(labels.items()))] += count

    def time(self, route: str, took_s: float) -> None:
        found = self.took.setdefault(route, [0] * (len(BUCKETS) + 1))
        found[bisect_left(BUCKETS, took_s)] += 1
        self.sums[route] = self.sums.get(route, 0.0) + took_s

    def of(self, name: str, **labels: str) -> int:
        return self.told[name][tuple(sorted(labels.items()))]

    def kinds(self, name: str) -> int:
        """How many are told apart under this name."""
        return len(self.told[name])

    def text(self, gauges: dict[str, tuple[str, float]]) -> str:
        """`gauges`: name -> what it says, and its value now."""
        return "\n".join(self._lines(gauges)) + "\n"

    def _lines(self, gauges: dict[str, tuple[str, float]]) -> Iterator[str]:
        for name, about in HELP.items():
            yield from (f"# HELP autoresearch_live_{name} {about}", f"# TYPE autoresearch_live_{name} counter")
            for labels, count in sorted(self.told[name].items()) or [((), 0)]:
                yield f"autoresearch_live_{name}{_labels(labels)} {count}"
        for name, (about, value) in gauges.items():
            yield from (f"# HELP autoresearch_live_{name} {about}", f"# TYPE autoresearch_live_{name} gauge")
            yield f"autoresearch_live_{name} {value:g}"
        if not self.took:
            return
        name = "autoresearch_live_latency_seconds"
        yield from (f"# HELP {name} How long answers took, by route.", f"# TYPE {name} histogram")
        for route, found in sorted(self.took.items()):
            so_far = 0
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), found, strict=True):
                so_far += count
                yield f"{name}_bucket{_labels((('route', route), ('le', bound)))} {so_far}"
            yield f"{name}_sum{_labels((('route', route),))} {self.sums[route]:.6f}"
            yield f"{name}_count{_labels((('route', route),))} {so_far}"


def _labels(pairs: tuple[tuple[str, str], ...]) -> str:
    escaped = ((name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for name, value in pairs)
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}" if pairs else ""
