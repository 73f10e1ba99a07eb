"""
Who owns a study's runs on a Ray cluster: an actor there, which outlives the program that asked for them.

Ray ends a task when its owner does. So the program asks this actor, finds it again by its name when it was killed, and
fetches what became of its runs. Runs with Ray's worker processes; imports Ray only there, or is handed it.
"""

import contextlib
import hashlib
import platform
import secrets
import threading
import time
from collections import OrderedDict, deque
from pathlib import Path
from typing import Any

from msgspec import Struct

import autoresearch
from autoresearch.errors import StudyError
from autoresearch.execute.far import Back, Job, Share, Sight, measure
from autoresearch.trial import Run

SPACE = "autoresearch"  # Ray's name for what we name there
HEAD = {"node:__internal_head__": 0.001}  # on the node whose end is the cluster's
KEPT_S = 24 * 3600.0  # for so long runs and what became of them wait for somebody to come
IDLE_S = 600.0  # the same where there is nothing to fetch
ANSWER_S = 60.0  # for the steward to say something at all
PARCELS = 32  # that are held for nodes to fetch
POINTS = 64  # of progress that wait to be shown, for each run


class Left(Struct, frozen=True):
    """A run that is held for whoever asks: `task` is Ray's reference to what becomes of it."""

    run: Run
    token: str
    node: str
    task: Any


class Hello(Struct, frozen=True):
    """What a steward says of itself: what it holds, and the nodes that an earlier program has looked at."""

    version: str
    left: tuple[Left, ...]
    sights: dict[tuple[str, Share], Sight]


class Steward:
    """
    The actor. One program at a time talks to it, the one that has the study's log locked.

    Ends itself, and with it all of its runs, when nobody came for `kept_s`.
    """

    def __init__(self, kept_s: float = KEPT_S) -> None:
        import ray

        self.ray, self.kept_s = ray, kept_s
        self.me = ray.get_runtime_context().current_actor
        self.measure = ray.remote(max_retries=0)(task)
        self.held: dict[str, Left] = {}
        self.parcels: OrderedDict[str, Any] = OrderedDict()
        self.sights: dict[tuple[str, Share], Sight] = {}
        self.points: OrderedDict[str, deque[tuple[float, float | None]]] = OrderedDict()
        self.heard = time.monotonic()
        threading.Thread(target=self._leave, name="leave", daemon=True).start()

    def hello(self) -> Hello:
        self.heard = time.monotonic()
        return Hello(autoresearch.__version__, tuple(self.held.values()), self.sights)

    def saw(self, node: str, share: Share, sight: Sight) -> None:
        """Remember who a node is: one that is busy to the brim could not be asked again."""
        self.sights[node, share] = sight

    def begin(
        self, token: str, job: Job, node: str, options: dict[str, Any], parcels: dict[str, bytes]
    ) -> tuple[tuple[str, ...], list[Any]]:
        """
        Begin a run, once for each token, and give Ray's reference to what becomes of it; or the keys of parcels that
        have to come along for it.
        """
        self.heard = time.monotonic()
        if token in self.held:
            return (), [self.held[token].task]
        for key, data in parcels.items():
            self.parcels[key] = self.ray.put(data)
        lacking = tuple(key for key in (job.tree, job.referee) if key not in self.parcels)
        if lacking:
            return lacking, []
        for key in (job.tree, job.referee):
            self.parcels.move_to_end(key)
        while len(self.parcels) > PARCELS:
            self.parcels.popitem(last=False)
        held = {key: self.parcels[key] for key in (job.tree, job.referee)}
        begun = self.measure.options(**options).remote(job, held, self.me, token)
        self.held[token] = Left(job.run, token, node, begun)
        return (), [begun]

    def forget(self, token: str) -> None:
        """What became of a run has arrived, or nobody needs it: one that goes on is ended."""
        self.points.pop(token, None)
        if left := self.held.pop(token, None):
            self._end(left)

    def stop(self) -> None:
        for left in self.held.values():
            self._end(left)

    def say(self, token: str, fraction: float, loss: float | None) -> None:
        """A run says how far it is. Bounded: what nobody fetches is forgotten."""
        self.points.setdefault(token, deque(maxlen=POINTS)).append((fraction, loss))
        while len(self.points) > 4096:
            self.points.popitem(last=False)

    def take(self) -> dict[str, list[tuple[float, float | None]]]:
        """How far runs are, said once; asked for again and again, which is how the steward knows that somebody is there."""
        self.heard = time.monotonic()
        taken = {token: list(points) for token, points in self.points.items()}
        self.points.clear()
        return taken

    def _end(self, left: Left) -> None:
        ended, _ = self.ray.wait([left.task], timeout=0, fetch_local=False)
        if not ended:
            with contextlib.suppress(Exception):  # it has ended meanwhile
                self.ray.cancel(left.task, force=True)

    def _leave(self) -> None:
        while True:
            time.sleep(min(60.0, self.kept_s / 4))
            if time.monotonic() - self.heard > (self.kept_s if self.held else min(self.kept_s, IDLE_S)):
                self.ray.kill(self.me)  # its runs end with it


def task(job: Job, parcels: dict[str, Any], steward: Any, token: str) -> Back:
    """On the node: what far.py does, with what it needs of Ray."""
    import ray

    said: list[Any] = []

    def say(fraction: float, loss: float | None) -> None:
        said[:] = [steward.say.remote(token, fraction, loss)]

    back = measure(job, lambda key: ray.get(parcels[key]), say)
    with contextlib.suppress(ray.exceptions.RayError):  # the last word arrives before the end does
        ray.get(said, timeout=5)
    return back


def engage(ray: Any, home: Path, study: str) -> tuple[Any, Hello]:
    """
    The steward of the study in this folder: the one that an earlier program has left, else a new one.

    Raises:
        StudyError: the cluster's head cannot run one.
    """
    name = called(home, study)
    with contextlib.suppress(ValueError, ray.exceptions.RayError):  # there is none, or it has just ended
        found = ray.get_actor(name, namespace=SPACE)
        hello: Hello = ray.get(found.hello.remote(), timeout=ANSWER_S)
        if hello.version == autoresearch.__version__:
            return found, hello
    dismiss(ray, name)
    options = {"name": name, "namespace": SPACE, "lifetime": "detached", "num_cpus": 0, "resources": HEAD}
    made = ray.remote(max_restarts=-1)(Steward).options(**options).remote(KEPT_S)
    try:
        return made, ray.get(made.hello.remote(), timeout=ANSWER_S)
    except ray.exceptions.RayError as error:
        with contextlib.suppress(Exception):
            ray.kill(made)
        raise StudyError(
            f"the head of the Ray cluster cannot run autoresearch ({' '.join(str(error).split())[-200:]}): "
            f'pip install "autoresearch[ray]=={autoresearch.__version__}" there'
        ) from None


def dismiss(ray: Any, name: str) -> None:
    """End a steward with all its runs, if there is one, and wait until its name is free."""
    give_up = time.monotonic() + ANSWER_S
    while time.monotonic() < give_up:
        try:
            ray.kill(ray.get_actor(name, namespace=SPACE))
        except ValueError:
            return
        except ray.exceptions.RayError:
            pass  # it is ending
        time.sleep(0.1)


def called(home: Path, study: str) -> str:
    """
    The name of a study's steward: its own for each folder, also for a copy of one, and for the same path on two machines.
    """
    mark = home / "cluster-id"
    with contextlib.suppress(FileExistsError), mark.open("x") as file:
        file.write(secrets.token_hex(16))
    place = f"{mark.read_text()} {platform.node()} {home.resolve()}"
    return f"{study}-{hashlib.sha256(place.encode()).hexdigest()[:16]}"
