"""
Room for trials to be measured, and for the next ideas to be had meanwhile: a GPU does not wait for a model to think.

A worker has an idea, then takes a place and keeps it for all runs of the trial. While all places are taken, others have
their ideas ahead of time: no more of them than the places that are to become free until an idea is there, and no sooner
than that, since an idea that was had without the latest results is a worse one.
"""

import bisect
import collections
import contextlib
import heapq
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from autoresearch.errors import Stopped
from autoresearch.trial import Trial

NEGLIGIBLE = 0.005  # of a trial's time: what having an idea may take without being done ahead
SHORT_S = 5.0  # trials that are measured faster than this are worth waiting for: the next idea knows of them
EARLY = 1.3  # times what an idea took lately
LATELY = 20  # trials
MOST_AHEAD = 64
LOOK_S = 0.5  # between two looks at the time


class Places:
    """
    Places for `room` trials on the study's own kind of machine, and on others by tier; shared by all workers.
    `stopping` says whether the study is; `clock` is in seconds.
    """

    def __init__(
        self,
        room: int,
        others: Mapping[str, int] | None = None,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rooms = {"": room, **(others or {})}
        self.room, self._stopping, self._clock = sum(self.rooms.values()), stopping, clock
        self._lock = threading.Lock()
        self._turn = threading.Condition(self._lock)  # where one waits for its turn; others wait for the door
        self._door = threading.Lock()
        self._since: dict[int, tuple[str, float]] = {}  # who has a place -> where, and since when
        self._ahead: set[int] = set()  # who has an idea, or is having one
        self._failed = False  # somebody's trial ended in an error: nobody begins until the study knows
        # Who waits for a place, in order -> whether only one of our own kind will do, and what tells that it is there.
        # Who carries winners comes before all others: until it is decided, they all start from a base that is about to be left.
        self._order: dict[int, tuple[bool, threading.Condition]] = {}
        self._took: collections.deque[float] = collections.deque(maxlen=LATELY)  # seconds from place to verdict
        self._thought: collections.deque[float] = collections.deque(maxlen=LATELY)  # seconds that ideas took

    def learn(self, past: Iterable[tuple[float, float]]) -> None:
        """What earlier trials took, in their order: seconds to have the idea, and to measure it."""
        for thought, took in past:
            self._thought.append(thought)
            self._took.append(took)

    def withdraw(self, tier: str) -> bool:
        """Give no more places of another kind. Whether there were any."""
        with self._lock:
            were = self.rooms.get(tier, 0)
            self.rooms[tier] = 0
            self.room -= were
            self._tell()
        return were > 0

    @property
    def workers(self) -> int:
        """How many workers there can be use for."""
        return self.room + max(1, min(self.room // 2, MOST_AHEAD))

    def turn(self) -> bool:
        """Wait until it is time to begin with a trial. Always true."""
        me = threading.get_ident()
        with self._lock:
            self._ahead.discard(me)
            self._turn.notify()  # its idea may have come to nothing
        with self._door, self._lock:
            while not self._stopping() and (wait_s := self._early_s()) > 0:
                self._turn.wait(min(wait_s, LOOK_S))
            self._ahead.add(me)
        return True

    def leave(self) -> None:
        """This worker begins with no other trial."""
        with self._lock:
            self._ahead.discard(threading.get_ident())
            self._tell()

    @contextlib.contextmanager
    def taken(self, trial: Trial, own: bool = True) -> Iterator[str]:
        """
        A place for a trial, in the order in which workers ask; waits until there is one. Unless `own`, it may be of
        another kind: its tier, empty for the study's own.

        Raises:
            Stopped: the study is stopping, and there is none.
        """
        me = threading.get_ident()
        bell = threading.Condition(self._lock)
        with self._lock:
            if not trial.is_baseline and not trial.carries:
                self._thought.append(trial.propose_s)
            self._order[me] = own, bell
            if own and trial.carries:
                self._order = {me: (own, bell)} | self._order
            try:
                while (tier := self._given().get(me)) is None:
                    if self._stopping():
                        raise Stopped("stopped before it began")
                    bell.wait(LOOK_S)
                began = self._clock()
                self._since[me] = tier, began
                self._ahead.discard(me)
            finally:
                del self._order[me]
                self._tell()
        try:
            yield tier
        except BaseException:
            self._failed = True
            raise
        finally:
            with self._lock:
                del self._since[me]
                if not trial.is_baseline:
                    self._took.append(self._clock() - began)
                self._tell()

    def _tell(self) -> None:
        """Wake whom a change concerns: of a thousand workers that all look, each change costs a thousand looks."""
        self._turn.notify()
        for who in self._given():
            self._order[who][1].notify()

    def _given(self) -> dict[int, str]:
        """Who of those that wait has a place now, and where."""
        if self._failed or not self._order:
            return {}
        left = dict(self.rooms)
        for tier, _ in self._since.values():
            left[tier] -= 1
        given: dict[int, str] = {}
        for who, (own, _) in self._order.items():
            if not any(left.values()):
                break
            free = next((tier for tier in left if left[tier] > 0 and not (own and tier)), None)
            if free is not None:
                given[who] = free
                left[free] -= 1
        return given

    def _early_s(self) -> float:
        """For how long it is too early to begin with another trial."""
        if self._failed:
            return math.inf
        short = len(self._ahead) - (self.room - len(self._since))  # that have to wait for a place already
        if short < 0:
            return 0.0
        if short >= self._most():
            return math.inf
        now, took = self._clock(), sorted(self._took)
        free = [0.0] * (self.room - len(self._since))
        free += [_expected_s(now - since, took) for _, since in self._since.values()]
        heapq.heapify(free)
        for _ in self._ahead:  # each takes the first place that is free, for as long as a trial takes
            heapq.heapreplace(free, free[0] + _expected_s(0.0, took))
        return free[0] - EARLY * max(self._thought)

    def _most(self) -> int:
        """How many may be ahead: as many as places become free while an idea is had, and what that varies by."""
        took = sum(self._took) / len(self._took) if self._took else 0.0
        thought = max(self._thought, default=0.0)
        if took < SHORT_S or thought < NEGLIGIBLE * took:
            return 0
        among = self.room * thought / took
        return min(math.ceil(among + math.sqrt(among)), self.workers - self.room)


def _expected_s(elapsed: float, took: Sequence[float]) -> float:
    """
    Seconds until a trial that was begun so long ago has its verdict, if it is as short as most are short. `took` is what
    others took, in order of length.
    """
    place = bisect.bisect_right(took, elapsed)
    return took[place] - elapsed if place < len(took) else 0.0
