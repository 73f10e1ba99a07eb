"""Where a study wants its runs: on this machine, or on a cluster. Clusters are imported only when asked for."""

from collections.abc import Callable
from pathlib import Path

from autoresearch.execute import Executor, OnProgress
from autoresearch.execute.local import Local
from autoresearch.execute.machine import slots
from autoresearch.execute.sandbox import NONE, choose
from autoresearch.study import Study


def local(study: Study, home: Path, workers: int | None, on_progress: OnProgress) -> Local:
    """
    This machine. Where runs happen elsewhere, it only starts what proposes: no candidate's code runs here then.

    Raises:
        SandboxError: the sandbox that was asked for does not work here.
    """
    sandbox = choose(study.execute.sandbox, study.execute.image) if study.execute.on == "local" else NONE
    return Local(home, slots(study.execute.cores, workers), sandbox, on_progress)


def placed(here: Local, study: Study, say: Callable[[str], None]) -> Executor:
    """
    The executor that the study asks for.

    Raises:
        AutoresearchError: it cannot be had; the message says what to do.
    """
    if study.execute.on == "local":
        return here
    if study.execute.on == "slurm":
        from autoresearch.execute.slurm import OnSlurm

        return OnSlurm(here.home, study, here.on_progress, say)
    from autoresearch.execute.ray import OnRay

    return OnRay(here.home, study, here.on_progress)
