"""
Ray itself, as ray.py needs it: imported only when asked for, joined or started, and an actor that runs report to.

Knows no runs.
"""

import os
import warnings
from collections import OrderedDict, deque
from typing import Any

from autoresearch.errors import MissingExtra, StudyError
from autoresearch.study import Execute

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a run that asks for no GPU gets none from far.py
STORE_BYTES = 200 << 20  # of shared memory, for a local Ray that we start
POINTS = 64  # of progress that wait to be shown, for each run


class Post:
    """An actor where runs leave how far they are. Bounded: what nobody fetches is forgotten."""

    def __init__(self) -> None:
        self.points: OrderedDict[str, deque[tuple[float, float | None]]] = OrderedDict()

    def say(self, token: str, fraction: float, loss: float | None) -> None:
        self.points.setdefault(token, deque(maxlen=POINTS)).append((fraction, loss))
        while len(self.points) > 4096:
            self.points.popitem(last=False)

    def take(self) -> dict[str, list[tuple[float, float | None]]]:
        taken = {token: list(points) for token, points in self.points.items()}
        self.points.clear()
        return taken


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
        StudyError: nothing answers there.
    """
    if ray.is_initialized():
        return False
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if asked.address is None:
        # Workers at the person's own priority: Ray's are 15 below it, and would lose to everything else here.
        options |= {"object_store_memory": STORE_BYTES, "include_dashboard": False, "address": "local"}
        os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about settings of the machine's, which are no business of a study's
            ray.init(**({"address": asked.address} | options))
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        where = asked.address or "this machine"
        raise StudyError(
            f"study.toml: execute.address: no Ray at {where} ({' '.join(str(error).split())[:200]}); start one with "
            "`ray start --head`, or leave the key out"
        ) from None
    return True
