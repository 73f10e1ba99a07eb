"""
What a person is told of a study, decided from its events. Knows State and the settings; sends nothing, knows no clock.

What a model or a run wrote is one bounded line of plain text.
"""

from autoresearch.events import Event, SessionStarted, TrialAccepted, TrialDecided
from autoresearch.report.plain import line
from autoresearch.report.text import amount, counts, number, summary
from autoresearch.state import State
from autoresearch.study import Stop
from autoresearch.tell.settings import Occasion, Tell
from autoresearch.trial import Trial

NEARLY = 0.9  # of a budget
IDEA = 160  # characters


class Message:
    """What happened, and what is said of it."""

    def __init__(self, on: Occasion, title: str, body: str) -> None:
        self.on, self.title, self.body = on, title, body


class Watch:
    """Looks at each event of a session, and remembers what was said, so that it is said once."""

    def __init__(self, tell: Tell, budget: Stop) -> None:
        self._tell, self._budget = tell, budget
        self._barren = 0  # trials in a row without a keep
        self._warned: set[str] = set()

    def begin(self, state: State) -> None:
        """Take up a study: what was spent before this session is no news."""
        self._warned = {name for name, _ in self._spent(state)}
        trials = [trial for trial in state.trials.values() if trial.verdict and not trial.is_baseline]
        self._barren = next((i for i, trial in enumerate(reversed(trials)) if trial.word == "keep"), len(trials))

    def see(self, event: Event, state: State) -> list[Message]:
        """What this event is worth saying; empty for most."""
        match event:
            case SessionStarted():
                self.begin(state)
                return []
            case TrialDecided(trial=id) | TrialAccepted(trial=id):
                return [*self._of_trial(state, state.trials[id]), *self._of_budget(state)]
        return []

    def _of_trial(self, state: State, trial: Trial) -> list[Message]:
        if trial.is_baseline:
            return []
        if trial.word == "keep":
            self._barren = 0
            verdict = trial.verdict
            gain = f", {amount(verdict.gain, 3)} better" if verdict and verdict.gain is not None else ""
            value = number(verdict.value if verdict else None)
            title = f"{_name(state)}: new best {line(state.metric.name, 40)} {value}{gain}"
            return [Message("best", title, f"trial {trial.id} by {line(trial.by, 40)}: {line(trial.idea, IDEA)}")]
        self._barren += 1
        if self._barren % self._tell.stuck_after:
            return []
        title = f"{_name(state)}: no keep in {self._barren} trials"
        return [Message("stuck", title, f"{state.decided} trials: {counts(state)}")]

    def _of_budget(self, state: State) -> list[Message]:
        found = [(name, said) for name, said in self._spent(state) if name not in self._warned]
        self._warned |= {name for name, _ in found}
        return [Message("budget", f"{_name(state)}: budget nearly spent", said) for _, said in found]

    def _spent(self, state: State) -> list[tuple[str, str]]:
        budget = self._budget
        tried = state.decided - state.counts.get("stale", 0)
        spent = (("trials", tried, budget.trials), ("dollars", state.dollars, budget.dollars))
        return [
            (name, f"{amount(used, 4)} of {amount(limit, 4)} {name}")
            for name, used, limit in (*spent, ("tokens", state.tokens, budget.tokens))
            if limit and used >= NEARLY * limit
        ]


def ended(state: State, why: str) -> Message:
    """The session ended of its own accord."""
    return Message("finished", f"{_name(state)} ended: {line(why, 120)}", line(summary(state)) if state.opened else "")


def failed(state: State, error: str) -> Message:
    """The session ended because something went wrong."""
    return Message("error", f"{_name(state)} stopped with an error", line(error, 300))


def hours_left(state: State, hours: float) -> Message:
    return Message("budget", f"{_name(state)}: budget nearly spent", f"{NEARLY:.0%} of {hours:g} hours are over")


def _name(state: State) -> str:
    return line(state.opened.study, 40) if state.opened else "the study"
