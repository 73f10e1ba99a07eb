"""
Runs on a Ray cluster: each a task that does what Local does on the node where it lands; see far.py.

A run goes to a node of the study's own tier, takes code and referee along, and brings its measurement, logs and
artifacts back. What becomes of a node is no fault of the candidate's: a lost run is begun once more. Runs belong to an
actor on the cluster (steward.py), so they outlive this program and are taken up again by the next.
"""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError, LeftRunning, Stopped, StudyError
from autoresearch.execute import Hopeless, OnProgress
from autoresearch.execute.cluster import Pulse, connect, imported
from autoresearch.execute.far import Back, Job, try_sandbox
from autoresearch.execute.guarantees import Guarantee
from autoresearch.execute.journey import packed, packed_referee, received, tried_there
from autoresearch.execute.nodes import ANSWER_S, Node, Nodes
from autoresearch.execute.parcel import Parcel
from autoresearch.execute.steward import Left, engage
from autoresearch.files import remove
from autoresearch.study import Study
from autoresearch.trial import Measurement, Run

TRIES = 2  # of one run, where its worker was lost
MOVES = 5  # of one run, where each time the node itself was lost
POLL_S = 0.5  # between two looks at progress, at the cluster's head, and at whether to go on waiting


class OnRay:
    """
    The executor for a Ray cluster. `home` is the study's `.autoresearch` folder.

    Raises:
        MissingExtra, StudyError: no Ray, no cluster at `execute.address`, or no node that a run fits on.
    """

    def __init__(self, home: Path, study: Study, on_progress: OnProgress) -> None:
        self.ray = imported()
        self.home, self.asked, self.on_progress = home, study.execute, on_progress
        self._data, self._referee = "", Parcel(b"")
        self._stopping, self._leaving, self._closed = threading.Event(), threading.Event(), threading.Event()
        self._lock, self._showing = threading.Lock(), threading.Lock()
        self._running: dict[str, Run] = {}  # by token
        self._taken_up: set[str] = set()  # tokens of runs that an earlier session began and that go on
        self._arrived = threading.local()  # the token of the run that a thread has fetched last
        self._threads: list[threading.Thread] = []
        self._steward: Any = None
        self._ours = connect(self.ray, study.execute)
        try:
            self._pulse = Pulse(self.ray)
            self._steward, hello = engage(self.ray, home, study.name)
            self._left = {left.run.id: left for left in hello.left}
            self._nodes = Nodes(self.ray, study.execute, hello.sights, self._steward.saw.remote)
        except BaseException:
            self.close()
            raise
        self.machine = self._nodes.machine
        for name, body in (("progress", self._listen), ("pulse", self._feel), ("nodes", self._keep_up)):
            self._threads.append(threading.Thread(target=body, name=name, daemon=True))
            self._threads[-1].start()

    @property
    def room(self) -> int:
        """How many runs fit on the cluster at once."""
        return max(1, sum(node.room for node in self._nodes.of()))

    @property
    def others(self) -> dict[str, int]:
        return self._nodes.others

    def prepare(self, study: Study, referee: Path, digest: str, say: Callable[[str], None] = lambda _: None) -> None:
        """The referee goes to every node that a run goes to, which prepares its own data before its first."""
        self._data, self._referee = digest, packed_referee(self.home, referee)

    def tried(self) -> tuple[str, list[Guarantee]]:
        """
        Raises:
            StudyError: no node could try, or has the sandbox that was asked for.
        """
        node = self._nodes.of()[0]
        attempt = self.ray.remote(num_cpus=0, max_retries=0)(try_sandbox)
        task = attempt.options(scheduling_strategy=self._nodes.only(node.id)).remote(self.asked)
        try:
            found = self.ray.get(task, timeout=ANSWER_S)
        except self.ray.exceptions.RayError as error:
            raise StudyError(f"on node {node.name}: {' '.join(str(error).split())[-200:]}") from None
        return tried_there(found, node.name)

    def drop(self, runs: Iterable[int]) -> None:
        for run in runs:
            remove(self.home / "runs" / str(run) / "out")

    def stop(self) -> None:
        self._stopping.set()
        with contextlib.suppress(Exception):  # it may be gone with its node, and its runs with it
            self._steward.stop.remote()

    def close(self) -> None:
        if self._taken_up and not self._stopping.is_set():
            self._leave()
        else:
            self.stop()
        self._closed.set()
        for thread in self._threads:
            thread.join(10 * POLL_S)  # one that asks a head that is gone waits for long
        if self._steward is not None and not self._leaving.is_set():
            with contextlib.suppress(Exception):
                self.ray.get(self._steward.stop.remote(), timeout=10 * POLL_S)
                self.ray.kill(self._steward)
        if self._ours:
            self.ray.shutdown()

    def _leave(self) -> None:
        """End what was begun here, and let nobody wait for what an earlier session began: the steward keeps that."""
        self._leaving.set()
        give_up = time.monotonic() + 10 * POLL_S
        while self._running and time.monotonic() < give_up:
            time.sleep(POLL_S / 5)

    def attach(self, run: Run, study: Study) -> Callable[[], Measurement | None] | None:
        left = self._left.get(run.id)
        if left is None or left.run != run:
            return None
        del self._left[run.id]
        node = self._nodes.named(left.node)
        self._nodes.hold(node)
        self._taken_up.add(left.token)

        def wait() -> Measurement | None:
            try:
                back = self._waited(left, node)
                return received(self.home, run, back, node.name) if isinstance(back, Back) else None
            except Stopped as reason:
                return self._stopped(run, str(reason))
            finally:
                self._taken_up.discard(left.token)
                self._nodes.release(node)

        return wait

    def run(
        self, run: Run, tree: Path, study: Study, usual: Measurement | None = None, hopeless: Hopeless | None = None
    ) -> Measurement:
        self._forget(self._arrived.__dict__.pop("token", None))  # this thread has written down what became of its last
        self._forget_what_is_left()
        share, referee = self._nodes.share, self._referee
        job, packs = packed(self.home, share, referee, self._data, run, tree, study, usual, hopeless)
        parcels = {parcel.key: parcel.data for parcel in packs}
        lost: list[str] = []
        moved = 0
        avoid: set[str] = set()
        try:
            while len(lost) < TRIES and moved < MOVES:
                with self._nodes.place(run.tier, avoid, self._go_on) as node:
                    back = self._waited(self._begun(job, parcels, node), node)
                if isinstance(back, Back):
                    return self._of_its_kind(run, received(self.home, run, back, node.name), node)
                avoid.add(node.id)
                time.sleep(2 * POLL_S)  # until Ray says whether the node is gone
                if self._nodes.lost(node):
                    moved += 1
                else:
                    lost.append(back)
            return self._stopped(run, f"its node was lost, {len(lost) + moved} times: {back}")
        except Stopped as reason:
            return self._stopped(run, str(reason))

    # -- one run ---------------------------------------------------------------------------------------

    def _begun(self, job: Job, parcels: dict[str, bytes], node: Node) -> Left:
        """
        Have a run begun by the steward: asked twice for one token it begins it once, also where its answer was lost.

        Raises:
            Stopped, AutoresearchError: there is no use in asking.
        """
        token = uuid.uuid4().hex
        options = self._nodes.options(node) | {"name": f"run-{job.run.id}"}
        travels: dict[str, bytes] = {}
        give_up = time.monotonic() + ANSWER_S
        while True:
            self._go_on()
            try:
                asked = self._steward.begin.remote(token, job, node.id, options, travels)
                lacking, begun = self.ray.get(asked, timeout=ANSWER_S)
            except (self.ray.exceptions.RayActorError, self.ray.exceptions.GetTimeoutError) as error:
                if time.monotonic() > give_up:
                    raise AutoresearchError(f"the Ray cluster begins no runs: {_short(error)}") from None
                time.sleep(POLL_S)
                with self._lock:  # a new one, where Ray does not begin it anew: it waits for no program for ever
                    self._steward, _ = engage(self.ray, self.home, job.study.name)
                continue
            if not lacking:
                return Left(job.run, token, node.id, begun[0])
            travels = {key: parcels[key] for key in lacking}

    def _waited(self, left: Left, node: Node) -> Back | str:
        """
        What came back, or how the run was lost.

        Raises:
            LeftRunning: it was begun by an earlier session, and this one is over.
        """
        errors = self.ray.exceptions
        with self._lock:
            self._running[left.token] = left.run
        try:
            while True:
                self._go_on()
                if self._leaving.is_set():
                    raise (
                        LeftRunning(str(left.run.id)) if left.token in self._taken_up else Stopped("the session ended")
                    )
                with contextlib.suppress(errors.GetTimeoutError):
                    back: Back = self.ray.get(left.task, timeout=POLL_S)
                    self._arrived.token = left.token
                    return back
                if self._nodes.lost(node):  # behind a cut network Ray itself waits for minutes
                    return f"{node.name}: it does not answer any more"
        except errors.RayTaskError:
            raise  # a defect of ours, with its traceback
        except errors.RayError as error:
            if self._stopping.is_set():
                raise Stopped("ended by the person") from None
            return f"{node.name}: {_short(error)}"
        finally:
            is_left = self._leaving.is_set() and left.token in self._taken_up
            if getattr(self._arrived, "token", None) != left.token and not is_left:
                self._forget(left.token)
            self._show()
            with self._lock:
                del self._running[left.token]

    def _go_on(self) -> None:
        """
        Raises:
            Stopped, AutoresearchError: a wait is of no use any more.
        """
        if self._pulse.gone:
            raise AutoresearchError(self._pulse.gone)
        if self._stopping.is_set():
            raise Stopped("ended by the person")

    def _of_its_kind(self, run: Run, done: Measurement, node: Node) -> Measurement:
        """
        Raises:
            StudyError: on this node one run gets another kind of GPU than the next.
        """
        wanted = run.tier or self.machine.tier
        if done.machine.tier != wanted:
            raise StudyError(
                f"on node {node.name} a run got {done.machine.tier} and not {wanted}, and their values are never compared: have "
                "such a node join Ray once for each kind of GPU, with CUDA_VISIBLE_DEVICES set before each `ray start`"
            )
        return done

    def _forget(self, token: str | None) -> None:
        """Not before it is written down: this program may be killed in between."""
        if token:
            self._steward.forget.remote(token)

    def _forget_what_is_left(self) -> None:
        """End what an earlier session has left and nobody asked for, or forget what became of it."""
        with self._lock:
            left, self._left = self._left, {}
        for one in left.values():
            self._forget(one.token)

    def _stopped(self, run: Run, why: str) -> Measurement:
        return Measurement("stopped", None, run.digest, self.machine, why=why)

    # -- meanwhile -------------------------------------------------------------------------------------

    def _listen(self) -> None:
        while not self._closed.wait(POLL_S):
            self._show()

    def _feel(self) -> None:
        while not self._closed.wait(POLL_S):
            self._pulse.feel()

    def _keep_up(self) -> None:
        self._nodes.keep_up(self._closed)

    def _show(self) -> None:
        """Pass on how far runs are. One thread at a time: a run is not forgotten while another thread holds its points."""
        with self._showing:
            if self._pulse.gone:
                return
            try:
                taken = self.ray.get(self._steward.take.remote(), timeout=10 * POLL_S)
            except self.ray.exceptions.RayError:
                return  # it is begun anew; what it held is lost
            with self._lock:
                running = dict(self._running)
            for token, points in taken.items():
                for fraction, loss in points if token in running else ():
                    self.on_progress(running[token], fraction, loss)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
