"""
A Slurm job, on its node: the run in a folder on the shared disk, begun by Slurm once or more often, done once.

Called through submitit; see slurm.py, which reads what is left in the folder, and says there which jobs it gave up: those do
nothing more, whenever and as often as Slurm begins them.
"""

import contextlib
import json
import os
import pickle
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec

import autoresearch
from autoresearch import files
from autoresearch.execute.far import Back, Job, look, measure
from autoresearch.execute.slurm_folder import BACK, BEGUN, JOB, PROGRESS, gave_up, has_its_answer, lines, note
from autoresearch.trial import Measurement

TRIES = 2  # of one run, where its node was lost
TOLD = (signal.SIGTERM, signal.SIGUSR2)  # what Slurm sends before it kills
TOLD_S = 1.0  # a failure is believed when nobody has ended the job itself within this time


class Ended(BaseException):
    """Slurm told this job to end: it was cancelled, or makes room for another, or its time is over."""


def answer(question: Callable[..., Any], *args: object) -> tuple[str, Any]:
    return _here(), question(*args)


def work(where: str, version: str, tier: str) -> None:
    """
    Do the run in this folder, and leave there what came of it: once, however often Slurm begins.

    A beginning that was not told to end is one of its TRIES: its node was lost.
    """
    folder, job = Path(where), os.environ["SLURM_JOB_ID"]
    if has_its_answer(folder) or gave_up(folder, job):
        return
    begun = lines(folder / BEGUN)
    lost = sum(line.startswith("begun ") for line in begun) - begun.count("told to end")
    note(folder / BEGUN, f"begun {_here()}")

    def told_to_end(_: int, __: object) -> NoReturn:
        _pass_over_signals()  # once is enough
        note(folder / BEGUN, "told to end")  # first: Slurm waits as long as its KillWait says, and not for us
        raise Ended

    for number in TOLD:  # submitit would pass over the one and requeue for the other
        signal.signal(number, told_to_end)
    try:
        back = _done(folder, version, tier, lost)
        if back.measurement is None or back.measurement.status != "ok":
            time.sleep(TOLD_S)  # what ends a job ends its processes in any order
        _pass_over_signals()  # what is measured is told
    except Ended:
        raise SystemExit(143) from None
    if has_its_answer(folder) or gave_up(folder, job):
        return
    files.put(folder / f"{BACK}.ready", msgspec.msgpack.encode(back))
    with contextlib.suppress(FileExistsError):  # a node that was thought lost had the first word
        os.link(folder / f"{BACK}.ready", folder / BACK)


def _done(folder: Path, version: str, tier: str, lost: int) -> Back:
    """The run itself, where it may be done here."""
    if version != autoresearch.__version__:
        return Back(problem=f"autoresearch {autoresearch.__version__} is there, and {version} where the study is run")
    job: Job = pickle.loads((folder / JOB).read_bytes())
    machine = look(job.share).machine
    if machine.tier != tier:
        return Back(
            problem=f"it is another kind of machine ({machine.tier}) than the study's ({tier}), and their values are never "
            "compared: name nodes of one kind by execute.partition or execute.constraint"
        )
    if lost >= TRIES:
        return Back(Measurement("stopped", None, job.run.digest, machine, why=f"its node was lost, {TRIES} times"))
    with (folder / PROGRESS).open("a") as said:

        def say(fraction: float, loss: float | None) -> None:
            print(json.dumps([fraction, loss]), file=said, flush=True)

        return measure(job, lambda key: (folder / key).read_bytes(), say)


def _pass_over_signals() -> None:
    for number in TOLD:
        signal.signal(number, signal.SIG_IGN)


def _here() -> str:
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()
