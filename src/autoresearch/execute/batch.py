"""
Slurm itself, as slurm.py needs it: jobs are submitted (through submitit), looked for and cancelled.

Imported only when asked for. Asks squeue alone, which every cluster has, and not sacct, which needs a data base. Knows no runs.
"""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct

from autoresearch.errors import AutoresearchError, MissingExtra, StudyError
from autoresearch.execute.environment import HARMLESS, HARMLESS_BEGINNINGS
from autoresearch.execute.far import Share
from autoresearch.study import Execute, Study

STARTING_S = 300.0  # of a job's time limit, for all that is not the study's own: unpacking, packing, a slow disk
OURS_MB = 512  # of memory, beside what the run may have
WARNING_S = 60  # that Slurm warns before the time limit
ANSWER_S = 60.0  # for one command of Slurm's
OVER = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
OVER |= {"REVOKED", "TIMEOUT", "GONE"}
BUSY = ("contact slurm controller", "timed out", "Connection refused", "temporarily", "communication", "try again")
NEVER = {"BadConstraints", "InvalidAccount", "InvalidQOS", "PartitionNodeLimit", "PartitionTimeLimit"}  # for waiting


class Seen(Struct, frozen=True):
    """What Slurm says of a job."""

    state: str
    node: str = ""
    reason: str = ""
    name: str = ""

    @property
    def is_over(self) -> bool:
        return self.state in OVER


class NoAnswer(AutoresearchError):
    """Slurm did not say whether it took a job."""


def imported() -> tuple[Any, Any]:
    """
    Raises:
        MissingExtra: submitit is not installed.
    """
    try:
        import cloudpickle
        import submitit
        import submitit.core.utils
    except ImportError:
        raise MissingExtra("submitit", "slurm", 'execute.on = "slurm"') from None
    return submitit, cloudpickle


class Batch:
    """
    Slurm's queue, as it was within the last `queue_s` seconds: clusters ask not to be asked often.

    Raises:
        MissingExtra, StudyError: no submitit, no Slurm, or nobody answers.
    """

    def __init__(self, asked: Execute, share: Share, queue_s: float) -> None:
        self.submitit, self.cloudpickle = imported()
        self.asked, self.share, self.queue_s = asked, share, queue_s
        self._lock = threading.Lock()
        self._jobs: dict[str, Seen] = {}
        self._numbers: dict[str, list[str]] = {}  # of the jobs of each name
        self._looked, self._submitted, self._cancelled = float("-inf"), dict[str, float](), dict[str, float]()
        if problem := self._look():
            raise StudyError(
                f"study.toml: execute.on: no Slurm answers here ({problem}); a study on Slurm is run where sbatch is"
            )

    # -- jobs ------------------------------------------------------------------------------------------

    def submit(self, folder: Path, name: str, minutes: int, task: Callable[..., object], *told: object) -> str:
        """
        The number of a new job. What it writes of its own goes into `folder`.

        Raises:
            NoAnswer: Slurm may or may not have taken the job.
            StudyError: it refused.
        """
        utils = self.submitit.core.utils
        executor = self.submitit.SlurmExecutor(folder)
        executor.update_parameters(**self._asked_for(folder, name, minutes))
        try:
            job: str = executor.submit(task, *told).job_id
        except (utils.FailedJobError, utils.FailedSubmissionError) as error:
            why = _short(str(error))
            if any(sign.lower() in why.lower() for sign in BUSY) or not why:
                raise NoAnswer(why) from None
            raise StudyError(
                f"Slurm refused a run ({why}); set execute.partition, account, constraint, cores, gpus and memory_mb to "
                "what your cluster has (`sinfo` lists it)"
            ) from None
        with self._lock:
            self._submitted[job] = time.monotonic()
        return job

    def adopt(self, folder: Path, job: str, task: Callable[..., object], *told: object) -> None:
        """A job of which we were not told, or that an earlier session left: it waits for what it is to do."""
        paths = self.submitit.core.utils.JobPaths(folder, job_id=job)
        if not paths.submitted_pickle.exists():
            delayed = self.submitit.core.utils.DelayedSubmission(task, *told)
            delayed.set_timeout(0, 0)
            part = folder / f"{job}.part"
            delayed.dump(part)
            part.replace(paths.submitted_pickle)

    def seen(self, job: str) -> Seen | None:
        """What became of a job; None where nobody knows yet."""
        with self._lock:
            if time.monotonic() - self._looked > self.queue_s:
                self._look()
            if self._looked < self._submitted.get(job, float("-inf")):
                return None
            return self._jobs.get(job, Seen("GONE"))

    def made_room(self, job: str) -> bool:
        """Whether it had to end for a job that goes before it, and was not requeued: nothing was wrong with it or its node."""
        seen = self.seen(job)
        return seen is not None and seen.state == "PREEMPTED"

    def named(self, beginning: str) -> dict[str, Seen]:
        """
        Jobs of ours that are not over, by number, as of now.

        Raises:
            NoAnswer: Slurm does not say.
        """
        with self._lock:
            if problem := self._look():
                raise NoAnswer(problem)
            return {n: job for n, job in self._jobs.items() if job.name.startswith(beginning) and not job.is_over}

    def twins(self, job: str, name: str) -> list[str]:
        """Other jobs of this name that were not over when the queue was last seen, and were not cancelled since."""
        with self._lock:
            return [
                number
                for number in self._numbers.get(name, [])
                if number != job
                and not self._jobs[number].is_over
                and self._cancelled.get(number, float("-inf")) < self._looked
            ]

    def cancel(self, jobs: Iterable[str]) -> None:
        if numbers := list(jobs):
            with self._lock:
                self._cancelled |= dict.fromkeys(numbers, time.monotonic())
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run(["scancel", *numbers], capture_output=True, timeout=ANSWER_S, check=False)

    def pickled(self, what: object) -> bytes:
        """As submitit would: also what was defined on the fly."""
        data: bytes = self.cloudpickle.dumps(what)
        return data

    def answer(self, folder: Path, job: str) -> tuple[str, Any] | None:
        """What a job's task gave back: `success` and its value, or `error` and a traceback; None: not yet."""
        path = self.submitit.core.utils.JobPaths(folder, job_id=job).result_pickle
        if not path.exists():
            return None
        found: tuple[str, Any] = self.submitit.core.utils.pickle_load(path)
        return found

    def last_words(self, folder: Path, job: str) -> str:
        """The end of what a job printed, which Slurm and Python wrote when it could not even begin."""
        with contextlib.suppress(OSError):
            text = self.submitit.core.utils.JobPaths(folder, job_id=job).stderr.read_bytes()[-2000:]
            return _short(text.decode(errors="replace"))
        return ""

    # -- commands --------------------------------------------------------------------------------------

    def _look(self) -> str:
        """Ask for all jobs of this person's; why there is no answer, or empty."""
        began = time.monotonic()
        command = ["squeue", "--noheader", f"--user={os.getuid()}", "--states=all", "--format=%i|%T|%N|%r|%j"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=False)
        except OSError as error:
            return f"{command[0]}: {error.strerror}"
        except subprocess.TimeoutExpired:
            return f"squeue said nothing for {ANSWER_S:g} s"
        if done.returncode:
            self._looked = max(self._looked, began - self.queue_s / 2)  # not again at once; what was seen still stands
            return _short(done.stderr)
        rows = [line.split("|", 4) for line in done.stdout.splitlines()]
        self._jobs = {row[0]: Seen(row[1], row[2], row[3], row[4]) for row in rows if len(row) == 5}
        self._numbers = {}
        for number, job in self._jobs.items():
            self._numbers.setdefault(job.name, []).append(number)
        self._looked = began
        return ""

    def _asked_for(self, folder: Path, name: str, minutes: int) -> dict[str, Any]:
        """A run's share of a node, in the words of sbatch."""
        asked, gpus = self.asked, int(self.share.gpus)
        kind = f"gpu:{asked.accelerator}" if asked.accelerator else "gpu"
        wanted = {
            "partition": asked.partition,
            "account": asked.account,
            "constraint": asked.constraint,
            "mem": f"{asked.memory_mb + OURS_MB}M" if asked.memory_mb else None,
            "gres": f"{kind}:{gpus}" if gpus else None,
        }
        return {name: value for name, value in wanted.items() if value} | {
            "job_name": name,
            "time": minutes,
            "nodes": 1,
            "ntasks_per_node": 1,
            "cpus_per_task": self.share.cores,
            "signal_delay_s": WARNING_S,
            # A shell ends by these at once, and Slurm then kills what our Python is still putting away.
            "setup": ["trap : TERM USR2"],
            "use_srun": False,  # a step of srun's would have to be given the cores again
            "additional_parameters": {"requeue": True, "chdir": str(folder), "export": ",".join(_passed_on())},
        }


def check_it_can_start(seen: Seen | None) -> None:
    """
    Raises:
        StudyError: a job would wait for ever.
    """
    if seen and seen.state == "PENDING" and seen.reason in NEVER:
        raise StudyError(
            f"study.toml: execute: Slurm would never start a run ({seen.reason}); set partition, account, constraint, "
            "cores, gpus and memory_mb, or measure.timeout_s, which the time limit follows from, to what your cluster allows"
        )


def look_anew(folder: Path) -> None:
    """What lies in a folder now: a network file system may answer with what it saw before, until the folder changes."""
    with contextlib.suppress(OSError):
        folder.chmod(folder.stat().st_mode)


def minutes(study: Study) -> int:
    """How long a run's job may take: all that the study allows its commands, and what is ours."""
    measure = study.measure
    seconds = measure.timeout_s + STARTING_S + WARNING_S
    seconds += measure.score_timeout_s if measure.score else 0.0
    seconds += measure.prepare_timeout_s if measure.prepare else 0.0
    return int(seconds / 60) + 1


def _passed_on() -> list[str]:
    """Variables that a job is started with: what our own Python needs there. Slurm would send all, with every key in it."""
    ours = HARMLESS | {"PATH", "PYTHONPATH"}
    return sorted(
        name
        for name in os.environ
        if name in ours or (name.startswith(HARMLESS_BEGINNINGS) and name != "CUDA_VISIBLE_DEVICES")
    )


def _short(text: str) -> str:
    return " ".join(text.split())[-300:]
