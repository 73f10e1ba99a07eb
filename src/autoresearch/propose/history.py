"""
What a study's trials say about single constants, combinations and cuts.

A fold of the trials that search proposed, and of others that set constants and nothing else, brought up to date by those that are new or newly decided, so that
its cost does not grow with the study. The same trials give the same history, in whatever order they were
decided. Knows trials and their memos; no files, no strategy.
"""

import bisect
import functools
import itertools
import math
from collections.abc import Iterable, Mapping

from msgspec import Struct

from autoresearch import carrying
from autoresearch.carrying import CONSTANTS
from autoresearch.propose.ranges import Value
from autoresearch.report.brief import Brief
from autoresearch.trial import Trial

BY = carrying.SEARCH
WINDOW = 300  # trials that a sampler learns from; its cost grows with them
LAPSED = 0.5  # of a pair's strangeness is back when its trial is out of the window
TOGETHER = 4  # constants: of a trial that changed more, one that hurts hides what two of them do
CLEAR = 2.0  # standard errors beyond which a gain or a loss is not noise
ELSEWHERE = 2.0  # times the variance of a gain over another base: the constant may do something else here

Change = tuple[Value, Value]  # old, new
Way = tuple[str, Value]  # a constant that was raised (True) or lowered (False), or the option that it was set to
Key = tuple[str, frozenset[tuple[str, Value]]]  # base tree ("" for a cut: one base is enough), what is set there


class Outcome(Struct, frozen=True):
    """
    What became of one proposal. `gain` is None where it did not run to a value; where its run was ended early, it is what
    its curve spoke for, with an error that says how far that can be believed.
    """

    trial: int
    kind: str
    base_tree: str
    changes: dict[str, Change]
    word: str
    gain: float | None
    error: float  # 0.0 while the noise is unknown
    value: float | None

    @property
    def hurt(self) -> bool:
        """Clearly worse than its base, or no value at all."""
        return self.gain is None or self.gain < -CLEAR * self.error

    @property
    def helped(self) -> bool:
        """Better than its base by more than noise, kept or not."""
        return self.gain is not None and self.gain > CLEAR * self.error

    @property
    def looked_good(self) -> bool:
        return self.gain is not None and self.gain > 0

    def variance(self, base: str) -> float:
        """Of the gain, for what it says of this base."""
        return self.error**2 * (1.0 if self.base_tree == base else ELSEWHERE)


class Wave(Struct, frozen=True, dict=True):
    """Constants that are changed several at once: of each its key, what it is and what it might be."""

    factors: tuple[tuple[str, Value, Value], ...]

    @functools.cached_property
    def levels(self) -> frozenset[tuple[str, Value]]:
        return frozenset((knob, new) for knob, _, new in self.factors)


class History:
    """
    `single[knob][value]` is the latest trial that changed this knob alone, to this value. `keys` are all
    proposals ever made, `pending` those without a verdict. `window` are the latest decided ones. `waves` are
    factorial waves with their trials and what those set.
    """

    def __init__(self) -> None:
        self.single: dict[str, dict[Value, Outcome]] = {}
        self.strongest: dict[str, float] = {}  # knob -> the largest change that it made by itself
        self.grouped: dict[int, Outcome] = {}
        self.combined: dict[str, int] = {}  # base tree -> combinations proposed on it
        self.leaps: dict[int, frozenset[tuple[str, Value]]] = {}  # trial -> what it set at once
        self.keys: set[Key] = set()
        self.pending: dict[int, Key] = {}
        self.window: dict[int, Outcome] = {}
        self.waves: dict[Wave, dict[int, frozenset[tuple[str, Value]]]] = {}
        self._met: dict[frozenset[Way], int] = {}  # pair -> the latest trial that changed both
        self.mixed: dict[frozenset[Way], int] = {}  # pair -> the latest trial that changed both among many
        self.couples: dict[frozenset[Way], int] = {}  # pair -> the latest trial that changed both and nothing else
        self.kept: list[Outcome] = []  # ours, in order
        self.proposed = 0
        self.last = 0  # trial of ours
        self.visited = 0  # trials looked at, ever: what the flat-cost test counts
        self._settled = 0  # leading trials of the brief that are folded for good
        self._proposed: set[int] = set()
        self._decided: set[int] = set()
        self._step_of: dict[str, int] = {}  # tree -> how many keeps made it
        self._touches: dict[str, list[tuple[int, Value, Value]]] = {}  # knob -> (keep, old, new), in order
        self._was_best: set[tuple[str, Value]] = set()

    def update(self, brief: Brief) -> None:
        """Fold in what is new. Trials are never unlearnt, so an older brief after a newer one is harmless."""
        prefix = True
        for index in range(self._settled, len(brief.trials)):
            trial = brief.trials[index]
            self.visited += 1
            self._fold(trial)
            prefix = prefix and trial.verdict is not None
            if prefix:
                self._settled = index + 1

    def _fold(self, trial: Trial) -> None:
        ours = trial.by == BY and "kind" in trial.memo
        others = bool(trial.asked) or trial.by == carrying.BY
        known = ours or (others and CONSTANTS in trial.memo and trial.word != "rejected")
        if known and trial.id not in self._proposed:
            self._propose(trial, ours)
        if trial.verdict is None or trial.id in self._decided:
            return
        self._decided.add(trial.id)
        self.pending.pop(trial.id, None)
        kept = trial.word == "keep"
        if kept and trial.tree is not None:
            self._step_of.setdefault(trial.base_tree, 0)
            self._step_of.setdefault(trial.tree, self._step_of[trial.base_tree] + 1)
        if known:
            self._learn(_outcome(trial), kept)

    def _propose(self, trial: Trial, ours: bool) -> None:
        self._proposed.add(trial.id)
        self.proposed += ours
        self.last = max(self.last, trial.id) if ours else self.last
        changes = changes_of(trial)
        key = (trial.base_tree, frozenset((knob, new) for knob, (_, new) in changes.items()))
        if changes:
            self.keys.add(key)
            met = dict.fromkeys(pairs(way(knob, old, new) for knob, (old, new) in changes.items()), trial.id)
            mixed = ours and trial.memo["kind"] == "mix"
            if mixed:
                self.mixed |= met
            if mixed or len(changes) <= TOGETHER:
                self._met |= met
            if len(changes) == 2:
                self.couples |= met
            self._was_best.update((knob, old) for knob, (old, _) in changes.items())
            if trial.verdict is None:
                self.pending[trial.id] = key
        if ours and trial.memo["kind"] == "pair":
            self.combined[trial.base_tree] = self.combined.get(trial.base_tree, 0) + 1
        if ours and trial.memo["kind"] == "leap":
            self.leaps[trial.id] = key[1]
        if ours and trial.memo["kind"] == "wave":
            wave = Wave(tuple((knob, old, new) for knob, old, new in trial.memo["of"]))
            self.waves.setdefault(wave, {})[trial.id] = key[1]
        if ours and "cut" in trial.memo:
            self.keys.add(cut_key(str(trial.memo["cut"])))

    def _learn(self, outcome: Outcome, kept: bool) -> None:
        if not outcome.changes:
            return
        if len(outcome.changes) == 1:
            [(knob, (_, new))] = outcome.changes.items()
            earlier = self.single.setdefault(knob, {}).get(new)
            if earlier is None or earlier.trial < outcome.trial:
                self.single[knob][new] = outcome
            self.strongest[knob] = max(self.strongest.get(knob, 0.0), abs(outcome.gain or 0.0))
        if outcome.kind == "group":
            self.grouped[outcome.trial] = outcome
        self.window[outcome.trial] = outcome
        if len(self.window) > WINDOW:
            del self.window[min(self.window)]
        if kept:
            self.kept.append(outcome)
            step = self._step_of[outcome.base_tree] + 1
            for knob, (old, new) in outcome.changes.items():
                self._touches.setdefault(knob, []).append((step, old, new))

    # -- reading ---------------------------------------------------------------------------------------

    def tried(self, knob: str, value: Value) -> Outcome | None:
        """The latest trial of this value alone."""
        return self.single.get(knob, {}).get(value)

    def alone(self, knob: str, old: Value, new: Value) -> Outcome | None:
        """The latest trial of this value alone; of none, the latest of a change in the same direction, from whatever it was."""
        same = (
            one for one in self.single.get(knob, {}).values() if way(knob, *one.changes[knob]) == way(knob, old, new)
        )
        return self.tried(knob, new) or max(same, key=lambda one: one.trial, default=None)

    def strangeness(self, pair: frozenset[Way]) -> float:
        """
        1 for two changes that no trial made together, 0 for two that one did lately. What met long ago is between: the
        constants are elsewhere since, and may do something else there.
        """
        met = self._met.get(pair)
        return 1.0 if met is None else LAPSED * (met <= self.last - WINDOW)

    def was_best(self, knob: str, value: Value) -> bool:
        """Whether a base that trials started from had this value."""
        return (knob, value) in self._was_best

    def awaits(self, knob: str, value: Value) -> bool:
        """Whether a trial of this value alone is running."""
        return any(set(changes) == {(knob, value)} for _, changes in self.pending.values())

    def leapt(self, base: str, values: Mapping[str, Value]) -> bool:
        """Whether a leap from this base is on its way, or one set all of this, from wherever."""
        going = (self.pending[id][0] for id in self.leaps if id in self.pending)
        return base in going or any(values.items() <= earlier for earlier in self.leaps.values())

    @property
    def leaps_failed(self) -> int:
        """Leaps that came to nothing since the last one that gained."""
        decided = (self.window[id] for id in sorted(self.leaps, reverse=True) if id in self.window)
        return sum(1 for _ in itertools.takewhile(lambda one: not one.looked_good, decided))

    @property
    def couples_failed(self) -> int:
        """Tries of two that seemed to do more together which came to nothing since the last that gained."""
        tried = (one for one in reversed(self.window.values()) if one.kind == "couple")
        return sum(1 for _ in itertools.takewhile(lambda one: not one.helped, tried))

    @property
    def wave(self) -> Wave | None:
        """The latest."""
        return max(self.waves, key=lambda wave: min(self.waves[wave]), default=None)

    def about(self, wave: Wave) -> list[Outcome]:
        """The window's trials that changed some of a wave's constants and nothing else, in order."""
        found = (self.window[id] for id in sorted(self.window))
        return [one for one in found if {(knob, new) for knob, (_, new) in one.changes.items()} <= wave.levels]

    def configurations(self, now: dict[str, Value]) -> list[tuple[dict[str, Value], Outcome]]:
        """
        The window's trials with the value of every knob in them, given the values on the present best.

        Best moves along one line of keeps, so a knob's value on an earlier base is what the last keep before
        it set, else what the first keep after it replaced, else what it is now.
        """
        bases: dict[str, dict[str, Value]] = {}
        found = []
        for id in sorted(self.window):
            outcome = self.window[id]
            if outcome.base_tree not in bases:
                step = self._step_of.get(outcome.base_tree, 0)
                bases[outcome.base_tree] = {knob: self._value_at(knob, step, value) for knob, value in now.items()}
            changed = {knob: new for knob, (_, new) in outcome.changes.items() if knob in now}
            found.append((bases[outcome.base_tree] | changed, outcome))
        return found

    def _value_at(self, knob: str, step: int, now: Value) -> Value:
        touches = self._touches.get(knob, [])
        before = bisect.bisect_right(touches, step, key=lambda touch: touch[0])
        return touches[before - 1][2] if before else touches[0][1] if touches else now

    def facts(self) -> tuple[object, ...]:
        """Everything learnt, for comparison with a history folded anew."""
        kept = [outcome.trial for outcome in self.kept]
        trials = (self.single, self.strongest, self.grouped, self.window, kept, self._was_best)
        return (
            *trials,
            self.combined,
            self.leaps,
            self.waves,
            self._met,
            self.mixed,
            self.couples,
            self.keys,
            self.pending,
            self._step_of,
            self._touches,
            self.proposed,
        )


def cut_key(cut: str) -> Key:
    return "", frozenset({("cut", cut)})


def changes_of(trial: Trial) -> dict[str, Change]:
    """What a trial's memo says it set; of another proposer's trial, what the portfolio saw it set. Empty for a cut."""
    return {knob: (old, new) for knob, (old, new) in carrying.constants(trial).items()}


def _outcome(trial: Trial) -> Outcome:
    verdict = trial.verdict
    assert verdict is not None
    changes = changes_of(trial)
    gain, error = verdict.promise or (None, 0.0)
    others = "stack" if trial.by == carrying.BY else "one" if len(changes) == 1 else "group"
    return Outcome(
        trial=trial.id,
        kind=str(trial.memo["kind"]) if trial.by == BY else others,
        base_tree=trial.base_tree,
        changes=changes,
        word=verdict.word,
        gain=gain,
        error=error,
        value=verdict.value,
    )


def way(knob: str, old: Value, new: Value) -> Way:
    return knob, new if isinstance(old, str) or isinstance(new, str) else new > old


def pairs(ways: Iterable[Way]) -> set[frozenset[Way]]:
    return {frozenset(pair) for pair in itertools.combinations(ways, 2)}


def best_first(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """By gain, the largest first; those without a value last."""
    return sorted(outcomes, key=lambda o: -math.inf if o.gain is None else o.gain, reverse=True)
