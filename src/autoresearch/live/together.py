"""
Many callers, one wait for the disk: who comes while somebody writes waits, and all who wait are written in one transaction.

There is no thread of its own. Whoever comes when nobody writes does it for all, and when its own are written, lets the next do it.
Knows no database.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from autoresearch.live.records import AnyRecord

MOST = 2000  # records in one transaction, where more than one caller waits

Records = Sequence[AnyRecord]
T = TypeVar("T")
Commit = Callable[
    [Sequence[Records]], Sequence[T]
]  # what each caller brings -> what each is told, when they are on the disk


class Ticket(Generic[T]):
    """What one caller brings, and what became of it."""

    __slots__ = ("answer", "done", "error", "records", "turn", "writes")

    def __init__(self, records: Records) -> None:
        self.records = records
        self.answer: T | None = None
        self.done = False
        self.error: Exception | None = None
        self.writes = False  # its caller does
        self.turn = threading.Event()  # it is done, or its caller writes now


class Together(Generic[T]):
    """`fatal`: errors that every caller of a transaction has; after others each is tried alone, so that nobody spoils it for the rest."""

    def __init__(self, commit: Commit[T], fatal: tuple[type[Exception], ...] = ()) -> None:
        self._commit, self._fatal = commit, fatal
        self._waiting: list[Ticket[T]] = []
        self._lock = threading.Lock()
        self._writes = False  # whether somebody does

    def add(self, records: Records) -> T:
        """What `commit` tells of these; or what it raised for them."""
        ticket = Ticket[T](records)
        with self._lock:
            self._waiting.append(ticket)
            if not self._writes:
                self._appoint(ticket)
        try:
            ticket.turn.wait()
            while not ticket.done:
                self._write(self._next())
        finally:
            self._leave(ticket)
        if ticket.error is not None:
            raise ticket.error
        assert ticket.answer is not None
        return ticket.answer

    def _appoint(self, ticket: Ticket[T]) -> None:
        self._writes = ticket.writes = True
        ticket.turn.set()

    def _leave(self, ticket: Ticket[T]) -> None:
        """Whoever wrote, or was to, lets one of those who wait do it from now on."""
        with self._lock:
            if not ticket.done:  # interrupted
                self._waiting = [one for one in self._waiting if one is not ticket]
            if ticket.writes:
                self._writes = False
                if self._waiting:
                    self._appoint(self._waiting[0])

    def _next(self) -> list[Ticket[T]]:
        """Who is written now, in the order in which they came."""
        with self._lock:
            taken, n = 0, 0
            for ticket in self._waiting:
                if taken and n + len(ticket.records) > MOST:
                    break
                taken, n = taken + 1, n + len(ticket.records)
            tickets, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return tickets

    def _write(self, tickets: list[Ticket[T]]) -> None:
        try:
            for ticket, answer in zip(tickets, self._commit([one.records for one in tickets]), strict=True):
                ticket.answer = answer
        except Exception as error:
            if len(tickets) == 1 or isinstance(error, self._fatal):
                for ticket in tickets:
                    ticket.error = error
            else:
                for ticket in tickets:
                    self._write([ticket])
        except BaseException:
            for ticket in tickets:
                ticket.error = InterruptedError("whoever wrote for all was interrupted")
            raise
        finally:
            for ticket in tickets:
                ticket.done = True
                ticket.turn.set()
