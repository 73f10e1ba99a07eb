"""
Runs on a Slurm cluster: each a job that does what Local does on the node where it lands; see far.py.

What travels lies in a folder that all nodes share, the study's own. A job is named after its run, and its folder keeps what
came of it, so a run is found again by whoever continues the study. A job that Slurm starts anew begins its run anew, unless
another was submitted in its place: of the jobs of one run, one counts.
"""

import contextlib
import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

import autoresearch
from autoresearch import files
from autoresearch.errors import LeftRunning, Stopped, StudyError
from autoresearch.execute import Hopeless, OnProgress
from autoresearch.execute.batch import Batch, NoAnswer, check_it_can_start, look_anew, minutes
from autoresearch.execute.far import Back, Share, Sight, look, try_sandbox
from autoresearch.execute.guarantees import Guarantee
from autoresearch.execute.journey import check_version, packed, packed_referee, received, tried_there
from autoresearch.execute.parcel import Parcel
from autoresearch.execute.slurm_folder import BACK, DONE, JOB, gave_up, give_up, last_node, points, tag
from autoresearch.execute.slurm_job import TRIES, answer, work
from autoresearch.files import remove
from autoresearch.study import Study
from autoresearch.trial import Machine, Measurement, Run

LOOK_MINUTES = 10  # that a small job may take
PATIENCE_S = 600.0  # with a Slurm that does not say whether it took a job


class Pace(Struct, frozen=True):
    """Seconds between two looks at files and at the queue, and how late a file may be seen on a shared disk."""

    files_s: float = 0.5
    queue_s: float = 10.0
    late_s: float = 20.0


class Going(Struct):
    """A run that has a job, and how much of its progress was passed on. `taken_up`: an earlier session began it."""

    run: Run
    folder: Path
    minutes: int
    job: str = ""
    read: int = 0
    taken_up: bool = False


class OnSlurm:
    """
    The executor for a Slurm cluster. `home` is the study's `.autoresearch` folder, on a disk that all nodes share.

    Raises:
        MissingExtra, StudyError: no submitit, no Slurm here, or no node that can do the runs.
    """

    def __init__(
        self, home: Path, study: Study, on_progress: OnProgress, say: Callable[[str], None], pace: Pace | None = None
    ) -> None:
        self.home, self.asked, self.on_progress, self.say = home.resolve(), study.execute, on_progress, say
        self.pace = pace or Pace()
        self.share = Share(self.asked.cores or 1, self.asked.gpus or 0.0)
        self.room = self.asked.workers or 1
        self.others: dict[str, int] = {}  # jobs land where the person says, on one kind
        self.batch = Batch(self.asked, self.share, self.pace.queue_s)
        self.folder = self.home / "slurm"
        (self.folder / "runs").mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)  # jobs carry what execute.env names
        self._name = f"{study.name}-{tag(self.folder)}"
        self._data, self._referee = "", Parcel(b"")
        self._stopping, self._closed = threading.Event(), threading.Event()
        self._lock, self._showing = threading.Lock(), threading.Lock()
        self._going: dict[int, Going] = {}
        self._swept = False
        self.machine = self._tier()
        self._listener = threading.Thread(target=self._listen, name="progress", daemon=True)
        self._listener.start()

    def prepare(self, study: Study, referee: Path, digest: str, say: Callable[[str], None] = lambda _: None) -> None:
        """The referee goes to every node that a run goes to, which prepares its own data before its first."""
        self._data, self._referee = digest, packed_referee(self.home, referee)

    def tried(self) -> tuple[str, list[Guarantee]]:
        """
        Raises:
            StudyError: the node that was asked lacks the sandbox.
        """
        node, found = self._ask_a_node(try_sandbox, self.asked)
        return tried_there(found, node)

    def drop(self, runs: Iterable[int]) -> None:
        for run in runs:
            remove(self.home / "runs" / str(run) / "out")
            remove(self._folder(run))

    def stop(self) -> None:
        self._stopping.set()
        with self._lock:
            self.batch.cancel([going.job for going in self._going.values() if going.job])

    def close(self) -> None:
        with self._lock:
            mine = [going.job for going in self._going.values() if going.job and not going.taken_up]
        self._closed.set()
        self.batch.cancel(mine)
        self._listener.join()

    def attach(self, run: Run, study: Study) -> Callable[[], Measurement] | None:
        """
        Raises:
            StudyError: Slurm does not say which jobs there are.
        """
        going = Going(run, self._folder(run.id), minutes(study), taken_up=True)
        with contextlib.suppress(OSError, msgspec.DecodeError):
            done = msgspec.json.decode((going.folder / DONE).read_bytes(), type=Measurement)
            return lambda: done  # it had come back, and was not written down
        if not (going.folder / JOB).exists():
            return None
        going.job = self._found(going) or ""  # first: a job that is over meanwhile has left its result
        if not going.job and not (going.folder / BACK).exists():
            return None
        with self._lock:
            self._going[run.id] = going
        return lambda: self._see_through(going)

    def run(
        self, run: Run, tree: Path, study: Study, usual: Measurement | None = None, hopeless: Hopeless | None = None
    ) -> Measurement:
        if self._stopping.is_set():
            return self._stopped(run, "stopped before it began")
        job, parcels = packed(self.home, self.share, self._referee, self._data, run, tree, study, usual, hopeless)
        going = Going(run, self._folder(run.id), minutes(study))
        with self._lock:
            self._sweep()
            self._going[run.id] = going
        remove(going.folder)
        going.folder.mkdir()
        for parcel in parcels:
            (going.folder / parcel.key).write_bytes(parcel.data)
        files.put(going.folder / JOB, self.batch.pickled(job))
        return self._see_through(going)

    # -- one run ---------------------------------------------------------------------------------------

    def _see_through(self, going: Going) -> Measurement:
        """A run to its end: submitted where it has no job, and once more where that was lost."""
        tries = 1 if going.job or (going.folder / BACK).exists() else 0
        lost = ""
        try:
            while True:
                if tries and (back := self._until_over(going)):
                    break
                if tries:
                    lost = self._how_lost(going)
                    tries -= self.batch.made_room(going.job)
                    self._give_up(going, going.job)
                if tries >= TRIES:
                    return self._stopped(going.run, f"its job was lost, {TRIES} times: {lost}")
                tries += 1
                self._submit(going)
        except (Stopped, StudyError) as reason:
            self.batch.cancel({going.job, *self._twins(going)} - {""})
            if isinstance(reason, StudyError):
                raise
            return self._stopped(going.run, str(reason))
        finally:
            self._show()
            with self._lock:
                self._going.pop(going.run.id, None)
        node = last_node(going.folder)
        if back.measurement is None:
            remove(going.folder)  # told once: the next session must not find it when it was put right
        result = received(self.home, going.run, back, node)
        files.put(going.folder / DONE, msgspec.json.encode(result))
        for path in going.folder.iterdir():
            if path.name != DONE:
                path.unlink(missing_ok=True)
        return result

    def _stopped(self, run: Run, why: str) -> Measurement:
        return Measurement("stopped", None, run.digest, self.machine, why=why)

    def _submit(self, going: Going) -> None:
        """
        Give a run a job. Where Slurm does not say whether it took one, look before it is asked again.

        Raises:
            Stopped: before a job began.
            StudyError: Slurm refused, or said nothing for PATIENCE_S.
        """
        since = time.monotonic()
        while True:
            if self._stopping.is_set() or self._closed.is_set():
                raise Stopped("stopped before it began")
            try:
                going.job = self.batch.submit(
                    going.folder, self._job_name(going.run.id), going.minutes, work, *self._told(going)
                )
                return
            except NoAnswer as error:
                why = str(error)
            with contextlib.suppress(StudyError):
                if found := self._found(going):
                    going.job = found
                    return
            if time.monotonic() - since > PATIENCE_S:
                raise StudyError(f"Slurm takes no jobs ({why})") from None
            self._stopping.wait(self.pace.queue_s)

    def _until_over(self, going: Going) -> Back | None:
        """
        What came back; None where the job is over and nothing came.

        Raises:
            Stopped: somebody ended it.
            LeftRunning: it was begun by an earlier session, and this one is over.
        """
        over_since: float | None = None
        while True:
            if over_since:
                look_anew(going.folder)
            if (going.folder / BACK).exists():
                return msgspec.msgpack.decode((going.folder / BACK).read_bytes(), type=Back)
            if self._stopping.is_set():
                raise Stopped("ended by the person")
            if self._closed.is_set():
                raise LeftRunning(str(going.run.id)) if going.taken_up else Stopped("the session ended")
            seen = self.batch.seen(going.job)
            for twin in self._twins(going):
                self._give_up(going, twin)
            if seen is None or not seen.is_over:
                over_since = None
                check_it_can_start(seen)
            elif over_since is None:
                over_since = time.monotonic()
            # Where all went well there is a result, however late it is seen.
            elif time.monotonic() - over_since > self.pace.late_s * (6 if seen.state == "COMPLETED" else 1):
                if seen.state == "CANCELLED":
                    raise Stopped(f"job {going.job} was cancelled in Slurm")
                return None
            self._stopping.wait(self.pace.files_s)

    def _give_up(self, going: Going, job: str) -> None:
        """Another job does this run, and this one shall not, also where it is requeued later."""
        give_up(going.folder, job)
        self.batch.cancel([job])

    def _how_lost(self, going: Going) -> str:
        """
        Why a job ended without a result.

        Raises:
            RuntimeError: through a defect of ours; with the traceback from there.
        """
        reply = self.batch.answer(going.folder, going.job)
        if reply and reply[0] == "error":
            raise RuntimeError(f"job {going.job}: {reply[1]}")
        seen = self.batch.seen(going.job)
        said = self.batch.last_words(going.folder, going.job)
        return f"job {going.job}, {seen.state if seen else 'GONE'}{f' ({said})' if said else ''}"

    def _found(self, going: Going) -> str | None:
        """The job of a run, as Slurm knows it."""
        try:
            jobs = self.batch.named(self._job_name(going.run.id))
        except NoAnswer as error:
            raise StudyError(f"Slurm does not say which jobs there are ({error})") from None
        for number, job in jobs.items():
            if job.name == self._job_name(going.run.id) and not gave_up(going.folder, number):
                self.batch.adopt(going.folder, number, work, *self._told(going))
                return number
        return None

    def _twins(self, going: Going) -> list[str]:
        """Further jobs of a run: one was requeued that was thought lost, or Slurm took one and did not say so in time."""
        return self.batch.twins(going.job, self._job_name(going.run.id))

    def _told(self, going: Going) -> tuple[str, str, str]:
        return str(going.folder), autoresearch.__version__, self.machine.tier

    def _job_name(self, run: int) -> str:
        return f"{self._name}-run-{run}"

    def _folder(self, run: int) -> Path:
        return self.folder / "runs" / str(run)

    def _sweep(self) -> None:
        """Once, after all runs that go on were attached: what else an earlier session left is of no use to anybody."""
        if self._swept:
            return
        self._swept = True
        mine = {going.job for going in self._going.values()}
        with contextlib.suppress(NoAnswer):
            self.batch.cancel(set(self.batch.named(f"{self._name}-")) - mine)
        for folder in (self.folder / "runs").iterdir():
            if folder.name not in map(str, self._going):
                remove(folder)

    # -- progress --------------------------------------------------------------------------------------

    def _listen(self) -> None:
        while not self._closed.wait(self.pace.files_s):
            self._show()

    def _show(self) -> None:
        """Pass on how far runs are. One thread at a time: a run is not forgotten while another thread holds its points."""
        with self._showing:
            with self._lock:
                going = list(self._going.values())
            for one in going:
                said, one.read = points(one.folder, one.read)
                for fraction, loss in said:
                    self.on_progress(one.run, fraction, loss)

    # -- nodes -----------------------------------------------------------------------------------------

    def _tier(self) -> Machine:
        """What machine a job gets here: asked once, and of each run again."""
        asked = [self.asked.partition, self.asked.constraint, self.asked.accelerator, self.share]
        question = hashlib.sha256(msgspec.json.encode(asked)).hexdigest()[:16]
        known = self.folder / f"machine-{question}.json"
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(known.read_bytes(), type=Machine)
        node, sight = self._ask_a_node(look, self.share)
        assert isinstance(sight, Sight)
        check_version(sight, f"node {node}")
        files.put(known, msgspec.json.encode(sight.machine))
        return sight.machine

    def _ask_a_node(self, question: Callable[..., Any], *args: object) -> tuple[str, Any]:
        """
        The name of a node, and what it answers.

        Raises:
            StudyError: no node can, with what it said; or no job would ever start.
        """
        folder = self.folder / f"look-{uuid.uuid4().hex[:8]}"
        job = ""
        try:
            folder.mkdir()
            try:
                job = self.batch.submit(folder, f"{self._name}-look", LOOK_MINUTES, answer, question, *args)
            except NoAnswer as error:
                raise StudyError(f"Slurm takes no jobs ({error})") from None
            return self._answered(folder, job)
        except BaseException:
            self.batch.cancel([job] if job else [])
            raise
        finally:
            remove(folder)

    def _answered(self, folder: Path, job: str) -> tuple[str, Any]:
        over_since = told = None
        while True:
            if over_since:
                look_anew(folder)
            if reply := self.batch.answer(folder, job):
                if reply[0] == "error":
                    raise StudyError(f"a node of the Slurm cluster cannot run autoresearch: {reply[1].strip()[-300:]}")
                node, found = reply[1]
                return node, found
            seen = self.batch.seen(job)
            check_it_can_start(seen)
            if seen and seen.is_over:
                over_since = over_since or time.monotonic()
                if time.monotonic() - over_since > self.pace.late_s:
                    said = self.batch.last_words(folder, job) or "nothing was printed: does it share this disk?"
                    raise StudyError(
                        f"a node of the Slurm cluster cannot run autoresearch (job {job}, {seen.state}: {said}). The Python "
                        f"environment and {self.home} must be there under the same paths"
                    )
            elif seen and seen.state == "PENDING" and not told:
                told = True
                self.say(f"waiting for Slurm to start a small job, to see what machine runs get ({job}: {seen.reason})")
            if self._stopping.wait(self.pace.files_s):
                raise Stopped("stopped before it began")
