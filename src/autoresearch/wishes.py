"""
What was asked of a study from outside its loop: ideas to try, and notes to all proposers.

A part of State, folded from the log like the rest of it. Knows no files and no git.
"""

from autoresearch.events import IdeaAsked, NoteDropped, Steered
from autoresearch.trial import Trial


class Wishes:
    """The fold of what was asked for; changed by State alone."""

    def __init__(self) -> None:
        self.asked: dict[str, IdeaAsked] = {}  # by key, in the order in which they were asked for
        self.carried: dict[str, int] = {}  # key -> the latest trial that carries the idea
        self.notes: dict[int, Steered] = {}  # those that were not dropped, in order
        self.next_note = 1
        self._keys: set[str] = set()

    @property
    def pending(self) -> list[IdeaAsked]:
        """Ideas that no trial carries yet, in order."""
        if len(self.carried) == len(self.asked):
            return []
        return [idea for key, idea in tuple(self.asked.items()) if key not in self.carried]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wishes) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def knows(self, key: str) -> bool:
        """Whether a wish is in the log already."""
        return key in self._keys

    def apply(self, event: IdeaAsked | Steered | NoteDropped) -> None:
        match event:
            case IdeaAsked():
                self.asked[event.key] = event
                self._keys.add(event.key)
            case Steered():
                self.notes[event.note] = event
                self.next_note = max(self.next_note, event.note + 1)
                self._keys.add(event.key)
            case NoteDropped():
                self.notes.pop(event.note, None)

    def carry(self, key: str, trial: int) -> None:
        """A trial was started for an idea."""
        if key:
            self.carried[key] = trial

    def give_back(self, trial: Trial) -> None:
        """That trial never was: the idea is the earlier trial's again, or waits."""
        if trial.wish and trial.again is None:
            self.carried.pop(trial.wish, None)
        elif trial.wish and trial.again is not None:
            self.carried[trial.wish] = trial.again
