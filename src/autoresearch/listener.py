"""What a session tells whoever watches it. Nothing of it changes the study."""

from autoresearch.events import Event
from autoresearch.state import State
from autoresearch.trial import Purpose, Run


class Listener:
    """Every method is called from worker threads, `event` while the log is locked: return at once, raise nothing."""

    def event(self, event: Event, state: State) -> None:
        """Something was written to the log."""

    def progress(self, run: Run, fraction: float, loss: float | None) -> None:
        """A run said how far it is."""

    def say(self, sentence: str) -> None:
        """Something a person should know."""

    def expect(self, runs: int, purpose: Purpose = "claim") -> None:
        """So many runs come next, of no trial in particular."""

    def ending(self, why: str) -> None:
        """No further trial is going to start."""
