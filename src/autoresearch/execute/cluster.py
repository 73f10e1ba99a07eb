"""
Ray itself, as ray.py needs it: imported only when asked for, joined or started, and whether its head is still there.

Knows no runs.
"""

import os
import socket
import time
import warnings
from typing import Any

from autoresearch.errors import MissingExtra, StudyError
from autoresearch.study import Execute

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a run that asks for no GPU gets none from far.py
STORE_BYTES = 200 << 20  # of shared memory, for a local Ray that we start
GONE_S = 30.0  # without the head, before the session ends; Ray ends the whole process after 60
PULSE_S = 3.0  # that the head has to accept a connection


def imported() -> Any:
    """
    Raises:
        MissingExtra: Ray is not installed.
    """
    try:
        import ray
        import ray.exceptions
        import ray.util.scheduling_strategies
    except ImportError:
        raise MissingExtra("ray", "ray", 'execute.on = "ray"') from None
    return ray


def connect(ray: Any, asked: Execute) -> bool:
    """
    Join the cluster at `execute.address`, or start a local one. Whether we did, and so have to leave it again.

    Raises:
        StudyError: nothing answers there, or only Ray's client could talk to it.
    """
    if asked.address and asked.address.startswith("ray://"):
        raise StudyError(
            f"study.toml: execute.address = {asked.address!r} goes through Ray's client, which runs cannot outlive: type "
            '"auto" on a machine of the cluster, or HOST:6379 from one that has joined it'
        )
    if ray.is_initialized():
        return False
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if asked.address is None:
        # Workers at the person's own priority: Ray's are 15 below it, and would lose to everything else here.
        options |= {"object_store_memory": STORE_BYTES, "include_dashboard": False, "address": "local"}
        os.environ.setdefault("RAY_worker_niceness", "0")
        # A full memory is the kernel's business, as on this machine without Ray: it ends the candidate, and Ray would end
        # the worker around it, which looks like a node that was lost.
        os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about settings of the machine's, which are no business of a study's
            ray.init(**({"address": asked.address} | options))
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
        raise StudyError(f"study.toml: execute.address: {_why_not(error, asked.address or 'this machine')}") from None
    return True


def _why_not(error: BaseException, where: str) -> str:
    """What to do where a cluster cannot be joined. Ray says only in the cause of the cause that it was for its token."""
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    if any("AuthenticationError" in f"{type(one).__name__} {one}" for one in chain):
        return (
            f"the Ray cluster at {where} asks for its token: `export RAY_AUTH_MODE=token` here, and have the same "
            "~/.ray/auth_token as its first machine has"
        )
    return f"no Ray at {where} ({' '.join(str(error).split())[:200]}); start one with `ray start --head`, or leave the key out"


class Pulse:
    """Whether the head of the cluster is there. Without it Ray waits for it, then ends this process without a word."""

    def __init__(self, ray: Any) -> None:
        self.address = str(ray.get_runtime_context().gcs_address)
        self.seen = time.monotonic()
        self.gone = ""  # what to tell, once it has been away for too long

    def feel(self) -> None:
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), PULSE_S).close()
            self.seen = time.monotonic()
        except OSError as error:
            if time.monotonic() - self.seen > GONE_S:
                self.gone = (
                    f"the head of the Ray cluster at {self.address} has not answered for {GONE_S:.0f} s ({error}). What "
                    "was measured is safe; start Ray again and type `autoresearch run` to go on"
                )
