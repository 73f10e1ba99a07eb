"""What a session may spend: trials, hours, dollars and tokens. What was spent is in the state."""

import time
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

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

    def __init__(
        self, study: Study, goal: Goal, started: int, tell: Callable[[str], None] = lambda sentence: None
    ) -> None:
        """`started` is how many trials were decided before the session; `tell` says once that a cap is reached."""
        hours = goal.hours or study.budget.hours
        self.deadline = time.monotonic() + hours * 3600 if hours else float("inf")
        self.trials = started + goal.trials if goal.trials is not None else study.budget.trials
        self.caps = study.budget
        self._tell, self._told = tell, False

    def may_start(self, state: State, running: int) -> bool:
        """Whether one more trial may start, given how many are decided and how many are running."""
        left = self.left(state)
        if left.trials is not None and left.trials - running <= 0:
            return False
        cap = reached(self.caps, state)
        if cap and running and not self._told:
            self._told = True
            self._tell(
                f"{cap}. No new trial starts; {'the running one is' if running == 1 else 'running ones are'} finished"
            )
        return not self.is_late() and not cap

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


def left_outside(study: Study, state: State, running: bool, now: float) -> Left:
    """What is left as study.toml and the log tell it to others than the session itself; `now` is since 1970."""
    left = Purse(study, Goal(), state.decided).left(state)
    if not running or left.hours is None or state.session is None:
        return left
    return replace(left, hours=max(0.0, left.hours - max(0.0, now - state.session.at) / 3600))
