"""
Gets an answer from the first model that has one: retries, waits out rate limits, falls back, and charges every call.

Knows when a model may be asked again; nothing of what is asked.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from autoresearch.errors import NothingLeft, ProposerError, Stopped
from autoresearch.events import Charged
from autoresearch.propose.account import Account, Cost
from autoresearch.propose.answers import Unusable
from autoresearch.propose.model import CallFailed, Kind, Model, Question, Reply

BY = "llm"
LOOK_S = 0.2  # how often one that waits looks up whether the study is stopping
FIRST_S = 60.0  # of trouble with a model that never answered: a wrong address is found soon
TOLD_S = 20.0  # a wait that a person is told of
TAKEN_AT_THEIR_WORD = 5  # times that a server's own "ask again in" is believed
_PAUSE_S: dict[Kind, tuple[float, float]] = {
    "limited": (5.0, 900.0),
    "trouble": (1.0, 300.0),
}  # the first, doubling to the longest


class Answered(Struct, frozen=True):
    """A reply, and the name of the model that gave it."""

    model: str
    reply: Reply


class _Line:
    """How it stands with one model. Shared by all workers, under the lock of Calls."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.ready_at = 0.0
        self.since: float | None = None  # when its present trouble began
        self.tries = 0
        self.answered = False
        self.out = ""  # why it will not be asked again in this session
        self.told = False


class Calls:
    """
    The models of a study, in the order in which they are asked, shared by all workers.

    Raises (from `ask`):
        NothingLeft: a cap of the study is reached, or none of the models can be had in this session.
        ProposerError: none of them takes this question.
        Unusable: one took its time, and nothing came of it.
        Stopped: the study is stopping and it would have had to wait, or the person wants everything to end.
    """

    def __init__(
        self,
        models: Sequence[Model],
        account: Account,
        patience_s: float,
        *,
        stopping: Callable[[], bool] = lambda: False,
        stopped: Callable[[], bool] = lambda: False,
        tell: Callable[[str], None] = print,
    ) -> None:
        self.lines = [_Line(model) for model in models]
        self.account, self.patience_s = account, patience_s
        self._stopping, self._stopped, self._tell = stopping, stopped, tell
        self._lock = threading.Lock()

    def ask(self, trial: int, question: Question, timeout_s: float) -> Answered:
        """An answer for this trial; each call is charged to it, also one that came to nothing."""
        unwilling: dict[str, str] = {}  # for this question, and why
        while True:
            line = self._next(unwilling)
            try:
                reply = self._call(trial, line.model, question, timeout_s)
            except CallFailed as failed:
                if failed.kind == "unusable":
                    raise Unusable(f"{line.model}: {failed.why}") from None
                if failed.kind == "rejected":
                    unwilling[line.model.name] = f"{line.model}: {failed.why}"
                else:
                    self._note(line, failed)
                continue
            with self._lock:
                if line.told:
                    self._tell(f"{line.model} answers again")
                line.since, line.tries, line.answered, line.told = None, 0, True, False
            return Answered(line.model.name, reply)

    def _call(self, trial: int, model: Model, question: Question, timeout_s: float) -> Reply:
        expected = self.expected(model, question)
        with self.account.reserved(expected):
            began = time.monotonic()
            try:
                reply = model.ask(question, timeout_s, self._stopped)
            except (CallFailed, Stopped) as failed:
                # Whoever cannot tell what it cost is charged what was expected, or a cap would be none.
                if isinstance(failed, Stopped) or failed.billed:
                    self._charge(trial, model, question.expected_tokens, 0, expected.dollars, time.monotonic() - began)
                raise
            self._charge(trial, model, reply.input_tokens, reply.output_tokens, reply.dollars, reply.wall_s)
            return reply

    def expected(self, model: Model, question: Question) -> Cost:
        """What a call is expected to cost, by its length and the answers so far."""
        sent, got = question.expected_tokens, min(self.account.answer_tokens(BY), question.tokens)
        return Cost(model.cost(sent, got) or 0.0, sent + got)

    def _charge(self, trial: int, model: Model, sent: int, got: int, dollars: float, wall_s: float) -> None:
        self.account.charge(
            Charged(
                trial=trial,
                by=BY,
                model=model.name,
                input_tokens=sent,
                output_tokens=got,
                dollars=dollars,
                wall_s=round(wall_s, 3),
            )
        )

    # -- whom to ask, and when -------------------------------------------------------------------------

    def _next(self, unwilling: Mapping[str, str]) -> _Line:
        """The first model that may be asked now; waits until one may."""
        while True:
            with self._lock:
                left = [line for line in self.lines if not line.out and line.model.name not in unwilling]
                if not left and unwilling:
                    raise ProposerError("; ".join(unwilling.values()))
                if not left:
                    raise NothingLeft("; ".join(f"{line.model}: {line.out}" for line in self.lines if line.out))
                for line in left:
                    if line.ready_at <= time.monotonic():
                        return line
            if self._stopping() or self._stopped():
                raise Stopped(f"stopped while it waited for {left[0].model}")
            time.sleep(LOOK_S)

    def _note(self, line: _Line, failed: CallFailed) -> None:
        """Write down when this model may be asked again, if ever."""
        with self._lock:
            now = time.monotonic()
            line.tries += 1
            line.since = line.since or now
            if failed.kind == "refused":
                self._give_up(line, failed.why)
                return
            waited_for = pause_s(failed.kind, line.tries, failed.after_s)
            patience_s = self.patience_s if failed.kind == "limited" or line.answered else min(FIRST_S, self.patience_s)
            if now + waited_for - line.since > patience_s:
                limit = "" if patience_s < self.patience_s else " (propose.patience_hours)"
                self._give_up(line, f"{failed.why}; not waited for longer than {span(patience_s)}{limit}")
                return
            line.ready_at = max(line.ready_at, now + waited_for)
            if waited_for > TOLD_S and not line.told:
                line.told = True
                again = time.strftime("%H:%M", time.localtime(time.time() + waited_for))
                self._tell(f"{line.model}: {failed.why}. Asking again at {again}, for {span(patience_s)} at most")

    def _give_up(self, line: _Line, why: str) -> None:
        if not line.out:
            line.out = why
            others = any(not other.out for other in self.lines)
            if others:
                self._tell(f"{line.model}: {why}. Asking another model")


def pause_s(kind: Kind, tries: int, after_s: float | None) -> float:
    """How long to leave a model alone after so many failures in a row, where it said to ask again in `after_s`."""
    first, longest = _PAUSE_S[kind]
    ours = min(first * 2.0 ** min(tries - 1, 30), longest)
    if after_s is None or not 0 <= after_s < float("inf"):
        return ours
    return after_s if tries <= TAKEN_AT_THEIR_WORD else max(after_s, ours)


def span(seconds: float) -> str:
    """A length of time as one says it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
