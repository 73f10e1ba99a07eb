"""
What calls to models may cost: the study's caps in dollars and tokens, looked at before every call. Where the machine
has a price, what it cost counts too.

A call reserves what it is expected to cost, so that workers that ask at the same moment cannot spend more together
than one would alone. Knows the log's sums and prices; no model and no network.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator

from msgspec import Struct

from autoresearch.errors import NothingLeft, Stopped
from autoresearch.events import Charged
from autoresearch.state import State
from autoresearch.study import Stop

A_CENT_S_MILLIONTH = 1e-8  # dollars; ten times 0.1 is not quite 1
LOOK_S = 0.2  # how often one that waits for others' calls looks up
GUESS = 2_000  # tokens of an answer, before one was seen


class Cost(Struct, frozen=True):
    """What a call is expected to cost."""

    dollars: float
    tokens: int


class Account:
    """
    The caps of one study, and what its calls under way may still cost.

    Raises (from `reserved`):
        NothingLeft: a cap is reached, or leaves no room for this call; the message says so for a person.
        Stopped: the study is stopping, while it waited for what others' calls cost.
    """

    def __init__(
        self, caps: Stop, state: State, charge: Callable[[Charged], None], stopping: Callable[[], bool]
    ) -> None:
        self.caps, self.state, self._charge, self._stopping = caps, state, charge, stopping
        self._changed = threading.Condition()
        self._open: list[Cost] = []  # calls that were begun and not charged yet

    @contextlib.contextmanager
    def reserved(self, cost: Cost) -> Iterator[None]:
        """Room for one call, which is to be charged before this is left."""
        with self._changed:
            while problem := self._too_much(cost, self._open):
                if alone := self._too_much(cost, []):
                    raise NothingLeft(alone)
                if self._stopping():
                    raise Stopped(f"stopped while it waited for other calls to end: {problem}")
                self._changed.wait(LOOK_S)  # for a call that may turn out to cost less
            self._open.append(cost)
        try:
            yield
        finally:
            with self._changed:
                self._open.remove(cost)
                self._changed.notify_all()

    def charge(self, charged: Charged) -> None:
        """Write down what a call did cost."""
        self._charge(charged)

    def answer_tokens(self, by: str) -> int:
        """How long answers are here: as they were so far."""
        spent = self.state.charged.get(by)
        return round(spent.output_tokens / spent.calls) if spent and spent.output_tokens else GUESS

    def _too_much(self, cost: Cost, open_calls: list[Cost]) -> str:
        dollars = cost.dollars + sum(call.dollars for call in open_calls)
        tokens = cost.tokens + sum(call.tokens for call in open_calls)
        if self.caps.dollars is not None and self.state.dollars + dollars > self.caps.dollars + A_CENT_S_MILLIONTH:
            return reached(self.caps, self.state) or (
                f"the cap of ${self.caps.dollars:.2f} (budget.dollars) leaves no room for another call: "
                f"{_cost(self.state)}, and one costs about ${cost.dollars:.2f}"
            )
        if self.caps.tokens is not None and self.state.tokens + tokens > self.caps.tokens:
            return reached(self.caps, self.state) or (
                f"the cap of {self.caps.tokens:,} tokens (budget.tokens) leaves no room for another call: "
                f"{_calls(self.state)} took {self.state.tokens:,}, and one takes about {cost.tokens:,}"
            )
        return ""


def reached(caps: Stop, state: State) -> str:
    """Which cap was reached, in a sentence; empty where none was."""
    if caps.dollars is not None and state.dollars >= caps.dollars - A_CENT_S_MILLIONTH:
        return f"the cap of ${caps.dollars:.2f} (budget.dollars) is reached: {_cost(state)}"
    if caps.tokens is not None and state.tokens >= caps.tokens:
        return f"the cap of {caps.tokens:,} tokens (budget.tokens) is reached: {_calls(state)} took {state.tokens:,}"
    return ""


def _cost(state: State) -> str:
    """What the dollars went into."""
    ledger = state.ledger
    models = f"{_calls(state)} cost ${ledger.models:.2f}"
    if not ledger.was_priced:
        return models
    return (
        f"{models}, the machine ${ledger.machine:.2f}" if state.charged else f"the machine cost ${ledger.machine:.2f}"
    )


def _calls(state: State) -> str:
    calls = sum(spent.calls for spent in tuple(state.charged.values()))
    return f"{calls} call{'' if calls == 1 else 's'}"
