"""What a session may spend: trials, hours, dollars and tokens. What was spent is in the state."""

import time

from msgspec import Struct

from autoresearch.propose.account import reached
from autoresearch.report.brief import Left
from autoresearch.state import State
from autoresearch.study import Study


class Goal(Struct, frozen=True):
    """When this session is over: what study.toml says, unless the command line says otherwise."""

    trials: int | None = None  # more trials, in this session
    hours: float | None = None
    workers: int | None = None


class Purse:
    """What a session may spend: what study.toml says, unless the command line says otherwise."""

    def __init__(self, study: Study, goal: Goal, started: int) -> None:
        """`started` is how many trials were decided before the session."""
        hours = goal.hours or study.budget.hours
        self.deadline = time.monotonic() + hours * 3600 if hours else float("inf")
        self.trials = started + goal.trials if goal.trials is not None else study.budget.trials
        self.caps = study.budget

    def may_start(self, state: State, running: int) -> bool:
        """Whether one more trial may start, given how many are decided and how many are running."""
        left = self.left(state)
        if left.trials is not None and left.trials - running <= 0:
            return False
        return not self.is_late() and not reached(self.caps, state)

    def is_late(self) -> bool:
        """Whether the session's hours are over."""
        return time.monotonic() >= self.deadline

    def left(self, state: State) -> Left:
        """Trials that are not decided yet count as left. Nothing in it is below 0."""
        # A stale trial's patch is tried again; together they are one.
        done = state.decided - state.counts.get("stale", 0)
        hours = (self.deadline - time.monotonic()) / 3600
        return Left(
            trials=None if self.trials is None else max(0, self.trials - done),
            hours=None if hours == float("inf") else max(0.0, hours),
            dollars=None if self.caps.dollars is None else max(0.0, self.caps.dollars - state.dollars),
            tokens=None if self.caps.tokens is None else max(0, self.caps.tokens - state.tokens),
        )
