"""
What a study cost so far: calls to models, and slots of the machine at the price that was in force when a run began.

A part of the fold in state.py. Knows no clock: a run that has not ended costs up to the latest line of the log.
"""

from bisect import bisect_right
from collections import deque

from msgspec import Struct

from autoresearch.events import Charged, SessionStarted
from autoresearch.trial import Run, Trial

LATEST = 20  # trials that a pace is taken from


class Spent(Struct, frozen=True):
    """What a proposer's calls to models cost so far."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float = 0.0
    wall_s: float = 0.0

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Ledger:
    """Changes with State alone; others read. A price that changes is one for later runs: what was paid was paid."""

    def __init__(self) -> None:
        self.charged: dict[str, Spent] = {}  # proposer -> what its calls to models cost
        self.called: dict[int, float] = {}  # trial -> dollars of the calls that were made for it
        self.gaps_s: deque[float] = deque(maxlen=LATEST)  # between verdicts, sessions' breaks left out
        self._prices: list[tuple[int, float]] = []  # (from this run on, dollars of a slot-hour), in order
        self._finished = 0.0  # dollars of all runs that ended
        self._open: dict[int, Run] = {}
        self._latest = 0.0  # when the latest line was written
        self._mark = 0.0  # when the latest trial was decided, or the session began

    def __eq__(self, other: object) -> bool:
        """Two folds of the same events are equal."""
        return isinstance(other, Ledger) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment] # it changes

    # -- reading ---------------------------------------------------------------------------------------

    @property
    def price(self) -> float | None:
        """Dollars of a slot-hour now; None where the machine is free."""
        return (self._prices[-1][1] or None) if self._prices else None

    @property
    def was_priced(self) -> bool:
        """Whether the machine had a price at any time."""
        return bool(self._prices)

    @property
    def models(self) -> float:
        """Dollars of all calls to models."""
        return sum(spent.dollars for spent in tuple(self.charged.values()))

    @property
    def machine(self) -> float:
        """Dollars of all runs, whatever became of them; those that have not ended count as far as the log goes."""
        return self._finished + sum(
            self._price_of(run.id) * max(0.0, self._latest - run.started_at) / 3600
            for run in tuple(self._open.values())
        )

    def of_run(self, run: Run) -> float:
        """Dollars of one run; 0 as long as it has not ended."""
        return self._price_of(run.id) * run.measurement.held_s / 3600 if run.measurement else 0.0

    def last_sign(self, run: Run, at: float) -> float:
        """Seconds from a run's start to the latest of `at` and the last line of the log."""
        return max(0.0, max(at, self._latest) - run.started_at)

    def _price_of(self, run: int) -> float:
        """Dollars of a slot-hour when this run began."""
        place = bisect_right(self._prices, run, key=lambda price: price[0])
        return self._prices[place - 1][1] if place else 0.0

    # -- changing --------------------------------------------------------------------------------------

    def open(self, next_run: int, event: SessionStarted) -> None:
        """A session began: its runs are those from `next_run` on."""
        self._mark = event.at
        now = event.dollars_per_hour or 0.0
        if now != (self.price or 0.0):
            self._prices.append((next_run, now))

    def charge(self, event: Charged) -> None:
        before = self.charged.get(event.by, Spent())
        self.charged[event.by] = Spent(
            calls=before.calls + 1,
            input_tokens=before.input_tokens + event.input_tokens,
            output_tokens=before.output_tokens + event.output_tokens,
            dollars=before.dollars + event.dollars,
            wall_s=before.wall_s + event.wall_s,
        )
        if event.dollars:
            self.called[event.trial] = self.called.get(event.trial, 0.0) + event.dollars

    def begin(self, run: Run) -> None:
        if self.price:
            self._open[run.id] = run

    def finish(self, run: Run) -> None:
        self._open.pop(run.id, None)
        self._finished += self.of_run(run)

    def decide(self, trial: Trial) -> None:
        """A trial has its verdict. A stale one goes on as another: together they are one."""
        if trial.word == "stale" or trial.decided_at is None:
            return
        if not trial.is_baseline and self._mark:
            self.gaps_s.append(max(0.0, trial.decided_at - self._mark))
        self._mark = trial.decided_at

    def seen(self, at: float) -> None:
        """A line was written at this time."""
        if at > self._latest:
            self._latest = at
