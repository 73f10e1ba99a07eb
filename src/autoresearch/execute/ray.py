"""
Runs on a Ray cluster: each a task that does what Local does on the node where it lands; see far.py.

A run goes to a node of the study's own tier, takes code and referee along, and brings its measurement, logs and
artifacts back. What becomes of a node is no fault of the candidate's: a lost run is begun once more.
"""

import contextlib
import threading
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

import autoresearch
from autoresearch.errors import AutoresearchError, Stopped, StudyError
from autoresearch.execute import Hopeless, OnProgress
from autoresearch.execute.cluster import Post, connect, imported
from autoresearch.execute.far import Back, Job, Share, Sight, look, measure, try_sandbox
from autoresearch.execute.guarantees import Guarantee
from autoresearch.execute.journey import check_version, packed, packed_referee, received
from autoresearch.execute.parcel import Parcel
from autoresearch.files import remove
from autoresearch.study import Study
from autoresearch.trial import Measurement, Run

TRIES = 2  # of one run, where its node was lost
POLL_S = 0.5  # between two looks at progress and at free nodes
ANSWER_S = 60.0  # a node that says nothing of itself for so long is passed over
NO_NODE_S = 300.0  # without any node of the study's tier, before the study ends
PARCELS = 32  # that are held for nodes to fetch


class Node(Struct, frozen=True):
    """A node of the cluster, and how many runs fit on it at once."""

    id: str
    name: str
    room: int


class OnRay:
    """
    The executor for a Ray cluster. `home` is the study's `.autoresearch` folder.

    Raises:
        MissingExtra, StudyError: no Ray, no cluster at `execute.address`, or no node that a run fits on.
    """

    def __init__(self, home: Path, study: Study, on_progress: OnProgress, say: Callable[[str], None]) -> None:
        self.ray = imported()
        self.home, self.asked, self.on_progress, self.say = home, study.execute, on_progress, say
        self._data, self._referee = "", Parcel(b"")
        self._stopping, self._closed = threading.Event(), threading.Event()
        self._lock, self._placing, self._showing = threading.Lock(), threading.Lock(), threading.Lock()
        self._running: dict[str, tuple[Run, Any]] = {}  # token -> the run and its task
        self._busy: Counter[str] = Counter()  # runs by node
        self._sights: dict[str, Sight | None] = {}
        self._parcels: OrderedDict[str, Any] = OrderedDict()
        self._ours = connect(self.ray, self.asked)
        try:
            self.share = self._share()
            self._look = self.ray.remote(num_cpus=0, max_retries=0)(look)
            self._measure = self.ray.remote(max_retries=0)(_task)
            self._post = self.ray.remote(num_cpus=0, max_restarts=-1)(Post).remote()
            self.machine = self._tier()
        except BaseException:
            self.close()
            raise
        self._listener = threading.Thread(target=self._listen, name="progress", daemon=True)
        self._listener.start()

    @property
    def room(self) -> int:
        """How many runs fit on the cluster at once."""
        return max(1, sum(node.room for node in self._nodes()))

    def prepare(self, study: Study, referee: Path, digest: str, say: Callable[[str], None] = lambda _: None) -> None:
        """The referee goes to every node that a run goes to, which prepares its own data before its first."""
        self._data, self._referee = digest, packed_referee(self.home, referee)

    def tried(self) -> tuple[str, list[Guarantee]]:
        """
        Raises:
            StudyError: no node could try, or has the sandbox that was asked for.
        """
        node = self._nodes()[0]
        attempt = self.ray.remote(num_cpus=0, max_retries=0)(try_sandbox)
        task = attempt.options(scheduling_strategy=self._only_on(node.id)).remote(self.asked)
        try:
            found = self.ray.get(task, timeout=ANSWER_S)
        except self.ray.exceptions.RayError as error:
            raise StudyError(f"on node {node.name}: {' '.join(str(error).split())[-200:]}") from None
        if isinstance(found, str):
            raise StudyError(f"on node {node.name}: {found}")
        name, guarantees = found
        return f"{name} on {node.name}", guarantees

    def drop(self, runs: Iterable[int]) -> None:
        for run in runs:
            remove(self.home / "runs" / str(run) / "out")

    def stop(self) -> None:
        self._stopping.set()
        with self._lock:
            for _, task in self._running.values():
                self._cancel(task)

    def close(self) -> None:
        self.stop()
        self._closed.set()
        if getattr(self, "_listener", None):
            self._listener.join()
        with contextlib.suppress(Exception):  # it may be gone with its node
            self.ray.kill(self._post)
        if self._ours:
            self.ray.shutdown()

    def attach(self, run: Run, study: Study) -> None:
        """Ray ends the runs of a program that was killed."""

    def run(
        self, run: Run, tree: Path, study: Study, usual: Measurement | None = None, hopeless: Hopeless | None = None
    ) -> Measurement:
        job, parcels = self._packed(run, tree, study, usual, hopeless)
        lost = ""
        avoid: set[str] = set()
        try:
            for _ in range(TRIES):
                with self._place(avoid) as node:
                    avoid.add(node.id)
                    back = self._once(run, job, parcels, node)
                if isinstance(back, Back):
                    return received(self.home, run, back, node.name)
                lost = back
            stopped = f"its node was lost, {TRIES} times: {lost}"
        except Stopped as reason:
            stopped = str(reason)
        return Measurement("stopped", None, run.digest, self.machine, why=stopped)

    # -- one run ---------------------------------------------------------------------------------------

    def _once(self, run: Run, job: Job, parcels: dict[str, Any], node: Node) -> Back | str:
        """What came back, or how the run was lost."""
        token = uuid.uuid4().hex
        options = self._options() | {"scheduling_strategy": self._only_on(node.id), "name": f"run-{run.id}"}
        with self._lock:
            if self._stopping.is_set():
                raise Stopped("stopped before it began")
            task = self._measure.options(**options).remote(job, parcels, self._post, token)
            self._running[token] = run, task
        errors = self.ray.exceptions
        try:
            return self.ray.get(task)  # type: ignore[no-any-return]
        except errors.RayTaskError:
            raise  # a defect of ours, with its traceback
        except errors.RayError as error:
            if self._stopping.is_set():
                raise Stopped("ended by the person") from None
            return f"{node.name}: {' '.join(str(error).split())[:200]}"
        finally:
            self._show()
            with self._lock:
                del self._running[token]

    def _packed(
        self, run: Run, tree: Path, study: Study, usual: Measurement | None, hopeless: Hopeless | None
    ) -> tuple[Job, dict[str, Any]]:
        job, carried = packed(self.home, self.share, self._referee, self._data, run, tree, study, usual, hopeless)
        with self._lock:
            for parcel in carried:
                if parcel.key not in self._parcels:
                    self._parcels[parcel.key] = self.ray.put(parcel.data)
                self._parcels.move_to_end(parcel.key)
            while len(self._parcels) > PARCELS:
                self._parcels.popitem(last=False)
            return job, {key: self._parcels[key] for key in (job.tree, job.referee)}

    def _cancel(self, task: Any) -> None:
        with contextlib.suppress(Exception):  # it has ended meanwhile
            self.ray.cancel(task, force=True)

    def _listen(self) -> None:
        while not self._closed.wait(POLL_S):
            self._show()

    def _show(self) -> None:
        """Pass on how far runs are. One thread at a time: a run is not forgotten while another thread holds its points."""
        with self._showing:
            try:
                taken = self.ray.get(self._post.take.remote(), timeout=10 * POLL_S)
            except self.ray.exceptions.RayError:
                return  # it is begun anew elsewhere; what it held is lost, and was for show
            with self._lock:
                runs = {token: run for token, (run, _) in self._running.items()}
            for token, points in taken.items():
                for fraction, loss in points if token in runs else ():
                    self.on_progress(runs[token], fraction, loss)

    # -- nodes -----------------------------------------------------------------------------------------

    def _options(self) -> dict[str, Any]:
        """What a run asks Ray for."""
        resources = {f"accelerator_type:{self.asked.accelerator}": 0.001} if self.asked.accelerator else {}
        memory = {"memory": self.asked.memory_mb << 20} if self.asked.memory_mb else {}
        return {"num_cpus": self.share.cores, "num_gpus": self.share.gpus, "resources": resources} | memory

    def _only_on(self, node: str) -> Any:
        return self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)

    def _alive(self) -> Iterator[tuple[dict[str, Any], dict[str, float]]]:
        """Nodes with the accelerator that was asked for, and what each has."""
        for node in self.ray.nodes():
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

    def _fitting(self) -> list[Node]:
        """Nodes that a run fits on, each asked once who it is."""
        found = [Node(n["NodeID"], n["NodeManagerHostname"], self._room(has)) for n, has in self._alive()]
        found = [node for node in found if node.room]
        new = [node for node in found if node.id not in self._sights]
        glimpse = min(self.share.gpus, 0.01)  # of a GPU, to be told its name
        asked = [
            self._look.options(scheduling_strategy=self._only_on(node.id), num_gpus=glimpse).remote(self.share)
            for node in new
        ]
        if asked:
            self.ray.wait(asked, num_returns=len(asked), timeout=ANSWER_S)
        for node, answer in zip(new, asked, strict=True):
            self._sights[node.id] = self._seen(answer, node.name)
        return found

    def _seen(self, answer: Any, name: str) -> Sight | None:
        errors = self.ray.exceptions
        try:
            sight: Sight = self.ray.get(answer, timeout=1)
        except errors.RayTaskError as error:  # it could not even import us
            raise StudyError(
                f"node {name} of the Ray cluster cannot run autoresearch ({' '.join(str(error).split())[-200:]}): "
                f'pip install "autoresearch[ray]=={autoresearch.__version__}" there'
            ) from None
        except errors.RayError:
            return None  # lost, or too busy to say
        check_version(sight, f"node {name} of the Ray cluster")
        return sight

    def _tier(self) -> Any:
        """The machine that most runs fit on: the study is measured on this kind alone."""
        nodes, rooms, machines = self._fitting(), Counter[str](), {}
        for node in nodes:
            if sight := self._sights.get(node.id):
                rooms[sight.machine.tier] += node.room
                machines[sight.machine.tier] = sight.machine
        if not rooms:
            raise StudyError(
                f"study.toml: no node of the Ray cluster has room for a run with {self.share.cores} cores; "
                "set execute.cores, execute.gpus and execute.memory_mb to what a node has"
            )
        tier = max(sorted(rooms), key=lambda name: rooms[name])
        if others := sorted(set(rooms) - {tier}):
            self.say(
                f"runs go to nodes of one kind only ({tier}); left idle: {', '.join(others)}. Values from different "
                "machines are never compared"
            )
        return machines[tier]

    def _nodes(self) -> list[Node]:
        """Those of the study's tier, as the cluster is now."""
        return [n for n in self._fitting() if (sight := self._sights.get(n.id)) and sight.machine == self.machine]

    @contextlib.contextmanager
    def _place(self, avoid: set[str]) -> Iterator[Node]:
        """
        Room for one run on a node, if there is one that was not just lost. Waits until there is.

        Raises:
            AutoresearchError: no node of the study's tier is left.
        """
        since = time.monotonic()
        while True:
            with self._placing:
                nodes = self._nodes()
                free = [n for n in nodes if n.room > self._busy[n.id]]
                if free:
                    node = min(free, key=lambda n: (n.id in avoid, self._busy[n.id] / n.room, n.id))
                    self._busy[node.id] += 1
                    break
            if nodes:
                since = time.monotonic()
            elif time.monotonic() - since > NO_NODE_S:
                raise AutoresearchError(f"the Ray cluster has no node left of the study's kind ({self.machine.tier})")
            if self._stopping.wait(POLL_S):
                raise Stopped("stopped before it began")
        try:
            yield node
        finally:
            with self._placing:
                self._busy[node.id] -= 1


def _task(job: Job, parcels: dict[str, Any], post: Any, token: str) -> Back:
    """On the node: what far.py does, with what it needs of Ray."""
    import ray

    said: list[Any] = []

    def say(fraction: float, loss: float | None) -> None:
        said[:] = [post.say.remote(token, fraction, loss)]

    back = measure(job, lambda key: ray.get(parcels[key]), say)
    with contextlib.suppress(ray.exceptions.RayError):  # the last word arrives before the end does
        ray.get(said, timeout=10 * POLL_S)
    return back
