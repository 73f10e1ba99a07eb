"""
The nodes of a Ray cluster: which are of the study's kind, how many runs fit on each, and which takes the next one.

Ray's own list is asked for on a thread of its own: without the cluster's head it answers never. Knows no runs.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

import autoresearch
from autoresearch.errors import AutoresearchError, Stopped, StudyError
from autoresearch.execute.far import Share, Sight, look
from autoresearch.execute.journey import check_version
from autoresearch.study import Execute
from autoresearch.trial import Machine

ANSWER_S = 60.0  # that nodes have to say who they are before the study begins
NO_NODE_S = 300.0  # without any node of the study's tier, before the study ends
LOOK_S = 0.5  # between two looks at what nodes there are


class Node(Struct, frozen=True):
    """A node of the cluster, and how many runs fit on it at once."""

    id: str
    name: str
    room: int


class Nodes:
    """
    `machine` is the kind that most runs fit on, the study's tier. `sights` says who nodes are, where that is known already; `saw` is told of others.

    Raises:
        StudyError: there is no node that a run fits on.
    """

    def __init__(
        self,
        ray: Any,
        asked: Execute,
        sights: dict[tuple[str, Share], Sight],
        saw: Callable[[str, Share, Sight], object],
    ) -> None:
        self.ray, self.asked, self.saw = ray, asked, saw
        self.busy: Counter[str] = Counter()  # runs by node
        self._look = ray.remote(num_cpus=0, max_retries=0)(look)
        self._placing = threading.Lock()
        self._there: set[str] = set()  # ids of all nodes that are alive
        self._problem: AutoresearchError | None = None
        self.share = self._share()
        self._sights: dict[str, Sight | None] = {node: s for (node, share), s in sights.items() if share == self.share}
        self._asking: dict[str, Any] = {}
        self._found = self._fitting(ANSWER_S)
        self.machine = self._tier()

    def of(self, tier: str = "") -> list[Node]:
        """Those of a tier, as the cluster was a moment ago; of the study's own if none is named."""
        wanted = tier or self.machine.tier
        return [n for n in self._found if (sight := self._sights.get(n.id)) and sight.machine.tier == wanted]

    @property
    def others(self) -> dict[str, int]:
        """Tiers beside the study's own, and how many runs fit on each."""
        rooms = Counter[str]()
        for node in self._found:
            if (sight := self._sights.get(node.id)) and sight.machine.tier != self.machine.tier:
                rooms[sight.machine.tier] += node.room
        return dict(sorted(rooms.items()))

    def keep_up(self, closed: threading.Event) -> None:
        """Look again and again which nodes there are, until closed."""
        while not closed.wait(LOOK_S):
            try:
                self._found = self._fitting()
            except AutoresearchError as error:
                self._problem = error
            except Exception:  # whatever Ray says of being shut down meanwhile
                if not closed.is_set():
                    raise

    def named(self, id: str) -> Node:
        """A node by its id, also when it is gone."""
        return next((node for node in self._found if node.id == id), Node(id, id[:8], 1))

    def lost(self, node: Node) -> bool:
        """Whether Ray has given a node up, for good: one that comes back has another id."""
        return node.id not in self._there

    def only(self, node: str) -> Any:
        return self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)

    def options(self, node: Node) -> dict[str, Any]:
        """What a run asks Ray for."""
        resources = {f"accelerator_type:{self.asked.accelerator}": 0.001} if self.asked.accelerator else {}
        memory = {"memory": self.asked.memory_mb << 20} if self.asked.memory_mb else {}
        asks = {"num_cpus": self.share.cores, "num_gpus": self.share.gpus, "resources": resources}
        return asks | memory | {"scheduling_strategy": self.only(node.id)}

    @contextlib.contextmanager
    def place(self, tier: str, avoid: set[str], check: Callable[[], None]) -> Iterator[Node]:
        """
        Room for one run on a node of a tier, if there is one that was not just lost. Waits until there is; `check` raises where
        waiting is of no use.

        Raises:
            AutoresearchError: no node of the study's own tier is left.
            Stopped: the same, of another tier.
        """
        since = time.monotonic()
        while True:
            check()
            if self._problem:
                raise self._problem
            with self._placing:
                nodes = self.of(tier)
                free = [n for n in nodes if n.room > self.busy[n.id]]
                if free:
                    node = min(free, key=lambda n: (n.id in avoid, self.busy[n.id] / n.room, n.id))
                    self.busy[node.id] += 1
                    break
            if nodes:
                since = time.monotonic()
            elif time.monotonic() - since > NO_NODE_S:
                why = f"the Ray cluster has no node left of the kind {tier or self.machine.tier}"
                raise Stopped(why) if tier else AutoresearchError(why)
            time.sleep(LOOK_S)
        try:
            yield node
        finally:
            self.release(node)

    def hold(self, node: Node) -> None:
        """Count a run that is there already."""
        with self._placing:
            self.busy[node.id] += 1

    def release(self, node: Node) -> None:
        with self._placing:
            self.busy[node.id] -= 1

    def _alive(self) -> Iterator[tuple[dict[str, Any], dict[str, float]]]:
        """Nodes with the accelerator that was asked for, and what each has."""
        nodes = self.ray.nodes()
        self._there = {node["NodeID"] for node in nodes if node.get("Alive")}
        for node in nodes:
            has = node.get("Resources", {})
            wanted = self.asked.accelerator
            if node.get("Alive") and has.get("CPU") and (not wanted or f"accelerator_type:{wanted}" in has):
                yield node, has

    def _share(self) -> Share:
        """What each run gets: as asked, else a whole node, or its part for each GPU."""
        gpus = self.asked.gpus or 0.0
        nodes = [has for _, has in self._alive() if has.get("GPU", 0) >= gpus]
        if not nodes:
            wanted = f" with accelerator {self.asked.accelerator!r}" if self.asked.accelerator else ""
            raise StudyError(
                f"study.toml: execute asks for {gpus:g} GPUs{wanted}, and no node of the Ray cluster has them"
            )
        each = min(int(has["CPU"] / max(1.0, has.get("GPU", 0) / gpus if gpus else 1.0)) for has in nodes)
        return Share(self.asked.cores or max(1, each), gpus)

    def _room(self, has: dict[str, float]) -> int:
        parts = [has["CPU"] / self.share.cores]
        parts += [has.get("GPU", 0) / self.share.gpus] if self.share.gpus else []
        parts += [has.get("memory", 0) / (self.asked.memory_mb << 20)] if self.asked.memory_mb else []
        return int(min(parts) + 1e-6)

    def _fitting(self, patience_s: float = 0.0) -> list[Node]:
        """Nodes that a run fits on, each asked once who it is. One that is slow to answer is used when it has."""
        found = [Node(n["NodeID"], n["NodeManagerHostname"], self._room(has)) for n, has in self._alive()]
        found = [node for node in found if node.room]
        glimpse = min(self.share.gpus, 0.01)  # of a GPU, to be told its name
        for node in found:
            if node.id not in self._sights and node.id not in self._asking:
                options = {"scheduling_strategy": self.only(node.id), "num_gpus": glimpse}
                self._asking[node.id] = self._look.options(**options).remote(self.share)
        if self._asking:
            asking = list(self._asking.values())
            ready, _ = self.ray.wait(asking, num_returns=len(asking), timeout=patience_s)
            for node in found:
                if self._asking.get(node.id) in ready:
                    self._sights[node.id] = sight = self._seen(self._asking.pop(node.id), node.name)
                    if sight:
                        self.saw(node.id, self.share, sight)
        return found

    def _seen(self, answer: Any, name: str) -> Sight | None:
        errors = self.ray.exceptions
        try:
            sight: Sight = self.ray.get(answer)
        except errors.RayTaskError as error:  # it could not even import us
            raise StudyError(
                f"node {name} of the Ray cluster cannot run autoresearch ({' '.join(str(error).split())[-200:]}): "
                f'pip install "autoresearch[ray]=={autoresearch.__version__}" there'
            ) from None
        except errors.RayError:
            return None  # lost, or too busy to say
        check_version(sight, f"node {name} of the Ray cluster")
        return sight

    def _tier(self) -> Machine:
        """The machine that most runs fit on: what counts is measured on this kind alone."""
        rooms, machines = Counter[str](), dict[str, Machine]()
        for node in self._found:
            if sight := self._sights.get(node.id):
                rooms[sight.machine.tier] += node.room
                machines[sight.machine.tier] = sight.machine
        if not rooms:
            raise StudyError(
                f"study.toml: no node of the Ray cluster has room for a run with {self.share.cores} cores; "
                "set execute.cores, execute.gpus and execute.memory_mb to what a node has"
            )
        tier = max(sorted(rooms), key=lambda name: rooms[name])
        return machines[tier]
