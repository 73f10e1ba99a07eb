"""
One peer, for as long as a session of its study lasts: tells others what was measured, hears what they say, and says which of
their findings come next.

All of it is done by threads of its own, apart from the workers; whatever fails there is told once and stops nothing. What is
told is read from the study's log, so that nothing is forgotten by being killed, and nothing told twice.
"""

import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from autoresearch.errors import StudyError
from autoresearch.events import Event, TrialDecided, TrialProposed
from autoresearch.listener import Listener
from autoresearch.share import findings, identity, leases, settings, trust
from autoresearch.share.board import Swarm, fold, named
from autoresearch.share.book import Book
from autoresearch.share.exchange import Exchange, Share
from autoresearch.share.identity import Identity
from autoresearch.share.membership import Door
from autoresearch.share.receipt import Caught, Entry, Hello, Word
from autoresearch.share.settings import Settings
from autoresearch.share.trust import Candidate, View
from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.trial import FINDING, Trial

BEAT_S = 1.0  # between two beacons
FAREWELL_S = 10.0  # that the end of a session waits for what is still to be told
CLAIM_S = 600.0  # that a change is held by hand, unless it is claimed again
MOST_CLAIMS = 16
BOOK = "receipts.jsonl"
TRUSTED = 0.5  # a peer whose claims held more often than that is believed when it says that something does not help
NO_GAIN: set[Word] = {"discard", "crash", "timeout"}


class Node(Listener):
    """
    `patch` gives the patch of one of the study's trials, relative to its folder. `ways` are how others are reached; `say` tells
    the person.
    """

    def __init__(
        self,
        home: Path,
        chosen: Settings,
        study: Study,
        state: State,
        patch: Callable[[Trial], str],
        say: Callable[[str], None],
    ) -> None:
        where = settings.folder(home)
        self.settings, self.study, self.state, self._patch, self._say = chosen, study, state, patch, say
        self.me: Identity = identity.own(where)
        self._swarm, self._refold, self._seen = Swarm(), False, (-1, View(self.me.peer, {}, {}, {}))
        self.book = Book(where / BOOK, Door(chosen, self.me.peer), self._told)
        self.exchange = Exchange(self.book, self.me, epoch(where), time.monotonic)
        self.ways: Sequence[Share] = ()
        self._failed: set[str] = set()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._told_all = threading.Event()  # nothing more is told; the ways to others end with their next turn
        self._rings: list[threading.Event] = []  # of the threads that turn the ways
        self._threads: list[threading.Thread] = []
        self._turned = threading.Condition()  # guards what follows
        self._turns: dict[threading.Event, tuple[int, int]] = {}  # ring of a thread -> turns that it began, and ended
        self._claims: dict[str, float] = {}  # shape that is held by hand -> until when
        self._beaten: tuple[float, list[str]] = -math.inf, []  # when the last beacon was said, and its leases

    def start(self, tier: str, ways: Sequence[Share]) -> None:
        """Introduce oneself, and begin."""
        self.ways = ways
        hello = Hello(self.settings.name, tier[:120], self.me.box_key, self.settings.ticket)
        mine = [self.book.entries[id].receipt.body for id in self.book.chains.get(self.me.peer, ())]
        if next((body for body in reversed(mine) if isinstance(body, Hello)), None) != hello:
            self.book.say(self.me, hello)
        self._rings = [threading.Event() for _ in ways]
        self._begin(self._wake, self._tell, self._closing)
        for way, ring in zip(ways, self._rings, strict=True):  # one that hangs keeps nobody else waiting
            self._begin(ring, way.turn, self._told_all)

    def close(self) -> None:
        """Tell what is still to be told, for so long at most, and end."""
        self._closing.set()
        self._wake.set()
        until = time.monotonic() + FAREWELL_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        for way in self.ways:
            way.close()
        if not any(thread.is_alive() for thread in self._threads):
            self.book.close()

    # -- what the study hears of it ------------------------------------------------------------------------

    def event(self, event: Event, state: State) -> None:
        if isinstance(event, TrialDecided):
            self.release(state.trials[event.trial].shape)
        if isinstance(event, TrialDecided | TrialProposed):
            self.wake()

    def wake(self) -> None:
        """There is something to tell."""
        self._wake.set()

    def ring(self) -> None:
        """Something came from others, or is to go to them."""
        for ring in self._rings:
            ring.set()

    def swarm(self) -> Swarm:
        """What all receipts say. Not to be changed; who iterates takes a tuple first."""
        with self.book.lock:
            if self._refold:
                self._swarm, self._refold = fold(self.book.entries.values()), False
            self._swarm.tell_apart(self.book.caught_at())
            return self._swarm

    def view(self) -> View:
        """What others' words are worth here."""
        with self.book.lock:
            swarm, size = self.swarm(), len(self.book.entries) + len(self.book.caught)
            if self._seen[0] != size:
                self._seen = size, trust.view(swarm, self.me.peer)
            return self._seen[1]

    def alive(self) -> set[str]:
        """Peers that were heard lately, and ourselves."""
        return leases.alive(self.exchange.heard.copy(), time.monotonic()) | {self.me.peer}

    def candidates(self, known: Collection[str]) -> Iterator[Candidate]:
        """The findings of others that are worth a run here, the best first; `known` are keys that were tried here."""
        place = findings.place(self.state, self.study)
        with self.book.lock:
            return trust.candidates(self.swarm(), self.view(), place, self.alive(), known)

    def spared(self, key: str) -> str:
        """Why a change of one's own need not be measured here: somebody else does, or did; empty where nobody does."""
        lease = leases.key(self.state.digest, key)
        if who := leases.holder(lease, self.exchange.heard.copy(), time.monotonic()):
            return f"{self.name(who)} is measuring the same now"
        place = findings.place(self.state, self.study)
        with self.book.lock:
            swarm, seen = self.swarm(), self.view()
            for told in (swarm.findings[id] for id in swarm.keys.get((self.state.digest, key), ())):
                elsewhere = told.peer == self.me.peer or told.place != place
                if not elsewhere and told.finding.word in NO_GAIN and seen.trust(told.peer) > TRUSTED:
                    return f"{self.name(told.peer)} measured the same: {told.finding.word}"
        return ""

    def name(self, peer: str) -> str:
        """What a peer calls itself, with the beginning of its key, since names are free."""
        return named(self._swarm.members, peer)

    # -- by hand -------------------------------------------------------------------------------------------

    def settle(self, within_s: float) -> bool:
        """
        Wait until what is in the book's file now was told, and until each way to others had a turn after that: False where that
        took longer. A way that hangs holds up nobody for longer.
        """
        until = time.monotonic() + within_s
        return self._turn([self._wake], until) and self._turn(self._rings, until)

    def _turn(self, rings: Sequence[threading.Event], until: float) -> bool:
        """Ring, and wait for a turn that begins after that to have ended, of each of these threads."""
        with self._turned:
            wanted = {ring: self._turns.get(ring, (0, 0))[0] + 1 for ring in rings}
            for ring in rings:
                ring.set()
            return self._turned.wait_for(
                lambda: all(self._turns.get(ring, (0, 0))[1] >= turn for ring, turn in wanted.items()),
                max(0.0, until - time.monotonic()),
            )

    def claim(self, shape: str) -> str:
        """
        Hold a change by hand, as a trial that measures it would; "" where it is ours now, else who holds it. Of two that began at
        once, one is told so when it asks again.

        Raises:
            StudyError: too many are held.
        """
        lease = leases.key(self.state.digest, shape)
        other = leases.holder(lease, self.exchange.heard.copy(), time.monotonic())
        with self._turned:
            held = shape in self.claims()
            if other and not (held and leases.right(lease, self.me.peer) < leases.right(lease, other)):
                self._claims.pop(shape, None)
                return self.name(other)
            if not held and len(self._claims) >= MOST_CLAIMS:
                raise StudyError(f"{MOST_CLAIMS} changes are held already; `release` what is not worked on")
            self._claims[shape] = time.monotonic() + CLAIM_S
        self.wake()
        return ""

    def claims(self) -> tuple[str, ...]:
        """The changes that are held by hand now."""
        with self._turned:
            now = time.monotonic()
            self._claims = {shape: until for shape, until in self._claims.items() if until > now}
            return tuple(self._claims)

    def release(self, shape: str) -> bool:
        """Hold a change no longer; whether it was held."""
        with self._turned:
            return self._claims.pop(shape, None) is not None

    # -- its threads ---------------------------------------------------------------------------------------

    def _told(self, entry: Entry) -> None:
        if isinstance(entry.receipt.body, Caught):
            self._refold = True
        elif not self._refold:
            self._swarm.add(entry)

    def _begin(self, ring: threading.Event, step: Callable[[], str], ending: threading.Event) -> None:
        thread = threading.Thread(target=self._work, args=(ring, step, ending), name="swarm", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, ring: threading.Event, step: Callable[[], str], ending: threading.Event) -> None:
        last = False
        while not last:
            ring.wait(BEAT_S)
            ring.clear()
            last = ending.is_set()  # what was decided before is told before one goes
            with self._turned:
                begun, ended = self._turns.get(ring, (0, 0))
                self._turns[ring] = begun + 1, ended
            try:
                problem = step()
            except Exception as error:  # sharing must never stop a study
                problem = f"sharing failed ({type(error).__name__}: {str(error)[:200]}); the study goes on"
            if problem and problem not in self._failed:
                self._failed.add(problem)
                self._say(problem)
            with self._turned:
                self._turns[ring] = begun + 1, begun + 1
                self._turned.notify_all()

    def _tell(self) -> str:
        """Tell what was decided and not told yet, and what one is at."""
        last = self._closing.is_set()
        try:
            self.book.refresh()  # another process may have written a letter: it is sent from here
            self._publish()
            self._beat(last)
        finally:
            if last:
                self._told_all.set()
            self.ring()
        return ""

    def _publish(self) -> None:
        told = findings.told(self.book, self.me.peer)
        for trial in findings.due(self.state):
            if findings.mark(trial) in told:
                continue
            found = findings.finding(self.state, self.study, trial, self._patch(trial))
            data = self.book.say(self.me, found)
            for way in self.ways:
                way.show(data)

    def _beat(self, last: bool) -> None:
        state = self.state
        trials = (state.trials[id] for id in tuple(state.unfinished))
        keys = [leases.key(state.digest, trial.shape) for trial in trials if trial.shape and FINDING not in trial.memo]
        keys += [leases.key(state.digest, shape) for shape in self.claims()]
        at, said = self._beaten
        now = time.monotonic()
        if keys == said and now - at < leases.pace(len(self.alive())) and not last:
            return
        self._beaten = now, keys
        beacon = self.exchange.beacon(keys)
        for way in self.ways:
            way.beat(beacon)


def epoch(folder: Path) -> int:
    """A number that is larger each time, so that beacons of a session are later than those of the one before."""
    path = folder / "epoch"
    try:
        last = int(path.read_text())
    except (OSError, ValueError):
        last = 0
    path.write_text(f"{last + 1}\n")
    return last + 1
