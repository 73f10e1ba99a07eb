"""
Work that must never slow or stop a study: done one after the other by a thread of its own, from a queue that is bounded,
with each kind of failure said once.

Knows neither messages nor trackers.
"""

import queue
import threading
from collections.abc import Callable

WAITING = 1000  # jobs that wait at most; what comes beyond is left out
IDLE_S = 20.0  # between two times that it looks by itself
FAREWELL_S = 20.0  # that the end of a session waits for what is still to be done


class Worker:
    """
    `say` is told in a sentence what failed, once for each sentence. A job returns what failed, or "". What it raises
    is named by its type alone: the text of a client's error may hold an address. `idle` is done when nothing else is.
    """

    def __init__(self, name: str, say: Callable[[str], None], idle: Callable[[], str] = lambda: "") -> None:
        self.name, self._say, self._idle = name, say, idle
        self._said: set[str] = set()
        self._jobs: queue.Queue[Callable[[], str] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def do(self, job: Callable[[], str]) -> None:
        """Leave a job, and go on at once."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self.fail(f"{self.name}: too slow; some of it was left out")

    def close(self, within_s: float = FAREWELL_S) -> None:
        """Let it finish what waits, for so long at most."""
        try:
            self._jobs.put(None, timeout=within_s)
        except queue.Full:
            pass
        self._thread.join(within_s)
        if self._thread.is_alive():
            self.fail(f"{self.name}: gave up after {within_s:.0f} s; the rest was left out")

    def fail(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self._say(sentence)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                problem = job()
            except Exception as error:  # nothing that happens here may reach the study
                problem = f"{self.name}: failed ({type(error).__name__}); the study goes on"
            if problem:
                self.fail(problem)

    def _next(self) -> Callable[[], str] | None:
        try:
            return self._jobs.get(timeout=IDLE_S)
        except queue.Empty:
            return self._idle
