"""
Telling others of a running study: notifications through Apprise, and a mirror in MLflow or Weights & Biases.

Both listen and neither can slow or stop the study; see worker.py. Addresses are secrets: they are never shown.
"""

import contextlib
import datetime
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError, MissingExtra, StudyError
from autoresearch.events import Event, SessionEnded, SessionStarted, TrialAccepted, TrialDecided
from autoresearch.export import tables, trackers
from autoresearch.listener import Listener
from autoresearch.state import State
from autoresearch.study import Stop
from autoresearch.tell import words
from autoresearch.tell.settings import Tell
from autoresearch.tell.words import Message
from autoresearch.tell.worker import Worker
from autoresearch.trial import Purpose, Run

HELD = 20  # messages of the quiet hours that are sent in full afterwards, the latest; the others are counted
MIRROR_FAREWELL_S = 60.0  # a tracker's first tables take a while on a busy machine
LONGEST = 1800  # characters of a message: chats cut at 2000


class Sender:
    """
    The addresses, ready to be sent to.

    Raises:
        MissingExtra: apprise is not installed.
        StudyError: a variable is not set, or an address is none that Apprise knows. It is named by its place in the list.
    """

    def __init__(self, tell: Tell) -> None:
        addresses = tell.addresses()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own imports warn of what Python is to drop
            self.services = list(_services(addresses))

    def send(self, message: Message) -> list[bool]:
        """Whether each address took it. May take as long as their time limits."""
        return [self._one(service, message) for service in self.services]

    def _one(self, service: Any, message: Message) -> bool:
        kind = "failure" if message.on == "error" else "success" if message.on == "best" else "info"
        try:
            return bool(service.notify(title=message.title[:200], body=message.body[:LONGEST], notify_type=kind))
        except Exception:  # a service of a hundred; its text may hold the address
            return False


def _services(addresses: list[str]) -> Iterator[Any]:
    try:
        import apprise
    except ImportError:
        raise MissingExtra("apprise", "notify", "tell.to") from None
    log = logging.getLogger("apprise")  # it would name addresses on standard error, across the screen
    log.propagate = False
    log.addHandler(logging.NullHandler())
    for place, address in enumerate(addresses, start=1):
        service = apprise.Apprise.instantiate(address, suppress_exceptions=True)
        if service is None:
            raise StudyError(f"study.toml: entry {place} of tell.to is no address that Apprise knows")
        yield service


class Notifier(Listener):
    """Sends what `words.Watch` finds worth saying. In quiet hours messages wait, and come as one afterwards."""

    def __init__(self, tell: Tell, budget: Stop, hours: float | None, say: Callable[[str], None]) -> None:
        self._tell, self._hours = tell, hours
        self._sender = Sender(tell)
        self._watch = words.Watch(tell, budget)
        self._worker = Worker("notifications", say, self._release)
        self._held: list[Message] = []  # the worker's own
        self._left_out = 0
        self._hours_from: float | None = None
        self.state = State()

    def event(self, event: Event, state: State) -> None:
        self.state = state
        for message in self._watch.see(event, state):
            self.tell(message)
        if isinstance(event, SessionEnded):
            self.tell(words.ended(state, event.why))
        if isinstance(event, SessionStarted) and self._hours:
            self._hours_from = time.monotonic()
        since = self._hours_from
        if self._hours and since is not None and time.monotonic() - since >= words.NEARLY * self._hours * 3600:
            self._hours_from = None
            self.tell(words.hours_left(state, self._hours))

    def tell(self, message: Message) -> None:
        if message.on in self._tell.on:
            self._worker.do(lambda: self._send(message))

    def _send(self, message: Message) -> str:
        if self._tell.is_quiet(datetime.datetime.now().astimezone()):
            self._left_out += len(self._held) >= HELD
            self._held = [*self._held, message][-HELD:]
            return ""
        return self._release() or self._deliver(message)

    def _release(self, anyway: bool = False) -> str:
        """Send what was held back, as one message, once the quiet hours are over."""
        if not self._held or (not anyway and self._tell.is_quiet(datetime.datetime.now().astimezone())):
            return ""
        lines = [f"{message.title}. {message.body}".strip() for message in self._held]
        lines += [f"and {self._left_out} before"] if self._left_out else []
        kept, self._held, self._left_out = self._held, [], 0
        if len(kept) == 1:
            return self._deliver(kept[0])
        return self._deliver(
            Message(kept[-1].on, f"{len(kept)} messages of the quiet hours", "\n".join(reversed(lines)))
        )

    def _deliver(self, message: Message) -> str:
        failed = [str(place) for place, took in enumerate(self._sender.send(message), start=1) if not took]
        return f"notifications: entry {', '.join(failed)} of tell.to did not take a message" if failed else ""

    def close(self) -> None:
        # The process ends: who sleeps finds it in the morning, rather than nobody ever.
        self._worker.do(lambda: self._release(anyway=True))
        self._worker.close()


class Mirror(Listener):
    """Hands decided trials to a tracker as they come, those before first."""

    def __init__(self, where: str, folder: Path, say: Callable[[str], None]) -> None:
        self._form, _, place = where.partition(":")
        self._place = place if "://" in place else str(folder / Path(place).expanduser())
        self._worker = Worker(f"mirror to {self._form}", say)
        self._tracker: trackers.Tracker | None = None
        self._opened = False
        trackers.installed(self._form)

    def event(self, event: Event, state: State) -> None:
        if isinstance(event, SessionStarted) and not self._opened:
            self._opened = True
            study, before = trackers.about(state), list(tables.all_decided(state))
            self._worker.do(lambda: self._open(study))
            self._take(before)
        elif self._opened and isinstance(event, TrialDecided | TrialAccepted):
            best = state.best
            verdict = state.trials[best.trial].verdict if best and best.trial in state.trials else None
            self._take([tables.decided(state, state.trials[event.trial], verdict.value if verdict else None)])

    def _open(self, study: trackers.About) -> str:
        self._tracker = trackers.opened(self._form, self._place, study)
        return ""

    def _take(self, trials: list[tables.Decided]) -> None:
        def job() -> str:
            for trial in trials if self._tracker else []:
                assert self._tracker is not None
                self._tracker.take(trial)
            return ""

        self._worker.do(job)

    def _end(self) -> str:
        if self._tracker:
            self._tracker.close()
        return ""

    def close(self) -> None:
        self._worker.do(self._end)
        self._worker.close(MIRROR_FAREWELL_S)


class Several(Listener):
    """Tells each of several what one is told."""

    def __init__(self, *listeners: Listener) -> None:
        self.listeners = listeners

    def event(self, event: Event, state: State) -> None:
        for listener in self.listeners:
            listener.event(event, state)

    def progress(self, run: Run, fraction: float, loss: float | None) -> None:
        for listener in self.listeners:
            listener.progress(run, fraction, loss)

    def say(self, sentence: str) -> None:
        for listener in self.listeners:
            listener.say(sentence)

    def expect(self, runs: int, purpose: Purpose = "claim") -> None:
        for listener in self.listeners:
            listener.expect(runs, purpose)

    def ending(self, why: str) -> None:
        for listener in self.listeners:
            listener.ending(why)


@contextlib.contextmanager
def told(folder: Path, tell: Tell, budget: Stop, hours: float | None, listener: Listener) -> Iterator[Listener]:
    """
    The listener, with those beside it that the study asks for; an error that passes through is told.

    Raises:
        MissingExtra, StudyError: what [tell] asks for cannot be had. Only here, before anything runs.
    """
    notifier = Notifier(tell, budget, hours, listener.say) if tell.to else None
    mirror = Mirror(tell.mirror, folder, listener.say) if tell.mirror else None
    beside = [one for one in (notifier, mirror) if one is not None]
    try:
        yield Several(listener, *beside) if beside else listener
    except BaseException as error:
        if notifier is not None and not isinstance(error, KeyboardInterrupt):
            known = isinstance(error, AutoresearchError)
            notifier.tell(words.failed(notifier.state, str(error) if known else f"a defect: {type(error).__name__}"))
        raise
    finally:
        for one in beside:
            one.close()
