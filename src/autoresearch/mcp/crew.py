"""
The workers of a session that stays open, and what is heard of their runs.

Knows threads and the loop; which ideas there are is in desk.py.
"""

import sys
import threading

from autoresearch.errors import AutoresearchError
from autoresearch.events import Event, RunFinished
from autoresearch.lab import Lab
from autoresearch.loop import work
from autoresearch.session import Listener
from autoresearch.state import State
from autoresearch.trial import Run


class Crew:
    """As many workers as the session has slots, each for as long as there is something to do."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.failure = ""  # what ended one of them
        self._threads: list[threading.Thread] = []

    @property
    def busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def send(self) -> bool:
        """Have one more look for work; False where no hand is free."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= self.lab.workers:
            return False
        self._threads.append(threading.Thread(target=self._work, name="mcp-worker", daemon=True))
        self._threads[-1].start()
        return True

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            work(self.lab)
        except Exception as error:
            self.failure = str(error) if isinstance(error, AutoresearchError) else f"a defect: {error!r}"
            self.lab.log.stop(self.failure)


class Heard(Listener):
    """How far the runs of this process are. Sentences for a person go to standard error."""

    def __init__(self) -> None:
        self.of: dict[int, tuple[float, float | None]] = {}  # trial -> fraction of its run, and its loss

    def event(self, event: Event, state: State) -> None:
        if isinstance(event, RunFinished):
            self.of.pop(state.runs[event.run].trial, None)

    def progress(self, run: Run, fraction: float, loss: float | None) -> None:
        self.of[run.trial] = fraction, loss

    def say(self, sentence: str) -> None:
        print(f"autoresearch: {sentence}", file=sys.stderr, flush=True)
