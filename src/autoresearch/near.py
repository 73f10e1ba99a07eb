"""
Which earlier trial a change comes near to, without being the same: a note for its proposer, and no reason to refuse it.

Two changes are near where they set the same numbers the same way to close values, or where most of their changed lines
are the same lines. Knows patches as git prints them with no context; nothing is run.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from autoresearch.git import PLAIN_DIFF, git
from autoresearch.trial import Trial

OVERLAP = 0.7  # of the changed lines of both, for patches to be near
LEAST = 4  # changed lines; two patches of one line each have little to share
CLOSE = 0.25  # of the shorter of two steps: so far apart may two values be
LOOK_BACK = 200  # trials
AT_ONCE = 20  # patches that are read at once
LONGEST = 4000  # changed lines of a patch that are looked at
DULL = ("discard", "crash", "timeout")  # verdicts of trials that did not help

_NUMBER = re.compile(r"(?<![\w.])(?:\d[\d_]*\.?[\d_]*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)(?![\w.])")

Place = tuple[str, str, int]  # file, the line with its numbers left out, and which of its numbers


class Sketch(Struct, frozen=True):
    """
    What a patch did: its changed lines, and, where it did nothing but set numbers, each number before and after.
    """

    lines: frozenset[str]
    numbers: dict[Place, tuple[float, float]] | None


def sketch(patch: str) -> Sketch:
    """Of a patch in the form of `git diff --unified=0`."""
    lines: set[str] = set()
    numbers: dict[Place, tuple[float, float]] | None = {}
    file, inside, gone, come = "", False, list[str](), list[str]()
    for line in [*patch.split("\n")[: 2 * LONGEST], "@@"]:
        if inside and line[:1] in ("-", "+"):
            (gone if line[0] == "-" else come).append(line[1:])
            continue
        if line.startswith("\\"):
            continue  # no end of line at the end of the file
        if gone or come:
            found = _numbers(file, gone, come)
            numbers = None if found is None or numbers is None else numbers | found
            for sign, side in (("-", gone), ("+", come)):
                lines.update(f"{sign} {file} {flat}" for text in side if (flat := " ".join(text.split())))
            gone, come = [], []
        inside = line.startswith("@@") or (inside and not line.startswith("diff "))
        if not inside and line.startswith(("--- a/", "+++ b/")):
            file = line[6:]
    return Sketch(frozenset(sorted(lines)[:LONGEST]), numbers or None)


def _numbers(file: str, gone: Sequence[str], come: Sequence[str]) -> dict[Place, tuple[float, float]] | None:
    """The numbers that a hunk sets; None where it changes something else too."""
    if len(gone) != len(come):
        return None
    found: dict[Place, tuple[float, float]] = {}
    for old, new in zip(gone, come, strict=True):
        rest = " ".join(_NUMBER.sub("#", old).split())
        if rest != " ".join(_NUMBER.sub("#", new).split()):
            return None
        values = ([float(text.replace("_", "")) for text in _NUMBER.findall(line)] for line in (old, new))
        for index, (before, after) in enumerate(zip(*values, strict=True)):
            if before != after:
                found[file, rest, index] = before, after
    return found


def are_near(one: Sketch, other: Sketch) -> bool:
    """
    Whether two changes come to nearly the same. Changed lines by Jaccard's measure (1901): those of both, over those of
    either.
    """
    if one.numbers and other.numbers and one.numbers.keys() == other.numbers.keys():
        return all(_is_close(one.numbers[place], other.numbers[place]) for place in one.numbers)
    either = one.lines | other.lines
    return len(either) >= LEAST and len(one.lines & other.lines) >= OVERLAP * len(either)


def _is_close(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two steps go the same way and end close together, wherever each began."""
    steps = one[1] - one[0], other[1] - other[0]
    return steps[0] * steps[1] > 0 and abs(one[1] - other[1]) <= CLOSE * min(map(abs, steps))


def near(patch: str, others: Iterable[tuple[int, Sketch]]) -> int | None:
    """The first of these numbered sketches that a patch comes near to, if any."""
    mine = sketch(patch)
    return next((number for number, other in others if are_near(mine, other)), None)


class Sketches:
    """The sketches of a study's trials, each made once, from what git holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, Sketch] = {}  # commit -> sketch

    def learn(self, commit: str, patch: str) -> None:
        """What a commit did to its base, where that is known without asking git."""
        self._known[commit] = sketch(patch)

    def near(self, patch: str, back: Iterable[Trial]) -> int | None:
        """The latest trial that did not help and that a patch comes near to; `back` are all, from the latest."""
        latest: dict[str, int] = {}
        open_: set[str] = set()
        for trial in back:
            if trial.commit and trial.verdict is None:
                open_.add(trial.commit)
            elif trial.commit and trial.word in DULL and not trial.problem:
                latest.setdefault(trial.commit, trial.id)
                if len(latest) == LOOK_BACK:
                    break
        known = self._known
        new = [commit for commit in latest if commit not in known]
        for some in (new[i : i + AT_ONCE] for i in range(0, len(new), AT_ONCE)):
            known.update(self._read(some))
        if len(known) > 4 * LOOK_BACK + 2 * len(open_):
            self._known = {commit: one for commit, one in tuple(known.items()) if commit in latest or commit in open_}
        return near(patch, ((number, known[commit]) for commit, number in latest.items()))

    def _read(self, commits: Sequence[str]) -> dict[str, Sketch]:
        # Each commit of a trial has its base as its only parent.
        words = ["diff-tree", "--stdin", "-r", "--patch", "--unified=0", *PLAIN_DIFF]
        printed = git(self.folder, *words, input="".join(f"{commit}\n" for commit in commits).encode())
        parts = re.split(r"^([0-9a-f]{40,64})$", printed.decode(errors="replace"), flags=re.MULTILINE)
        patches = dict(zip(parts[1::2], parts[2::2], strict=True))
        return {commit: sketch(patches.get(commit, "")) for commit in commits}
