"""
Mixes: many constants changed at once, so that each two of their levels meet in some trial; and which two did more together than alone.

What a mix gains is compared with the sum of what its changes do by themselves. Where it is clearly more, some two of them are at work
together, and those that can be are tried by themselves. Knows constants and what trials say of them; no files.

Source: group testing (Dorfman 1943), with the sum of single effects in the place of a clean sample.
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from statistics import mean, median

from msgspec import Struct

from autoresearch.propose.history import CLEAR, Change, History, Outcome, Way, pairs, way
from autoresearch.propose.knobs import Knob
from autoresearch.propose.ranges import Value

MOST = 8  # constants that are chosen at once: more hide in their sum what two of them do
NEW = 3  # pairs that a mix makes meet, at least
STARTS = 8  # levels that a choice is tried to be begun with
BEARABLE = 0.75  # of the constants do less by themselves, at most, than one may lose that is mixed with others
FEWEST = 5  # mixes, on one base or on all, before it is said of one that it stands out
SPREAD = 1.4826  # times the median distance is the standard deviation, where noise is normal
SURE = 3.0  # standard deviations by which two must do more together than the usual mix says
TIRED = 28  # tries of two that came to nothing, after which they must be twice as sure

Level = tuple[Knob, Value]
Pair = frozenset[Way]


class Couple(Struct, frozen=True):
    """Two changes that seem to do more together: by how much, its standard error, and what both should gain in all."""

    values: dict[str, Value]
    more: float
    error: float
    gain: float


# -- mixes ------------------------------------------------------------------------------------------------


def mix(knobs: Iterable[Knob], history: History, met: Collection[Pair], rng: random.Random) -> dict[str, Value]:
    """What the next mix sets: levels that were tried alone, of which as many pairs as can be are not in `met`; empty where most have met."""
    strongest = sorted(history.strongest.values())
    harm = strongest[int(len(strongest) * BEARABLE)] if strongest else 0.0
    levels = [level for knob in knobs for level in _bearable(knob, history, harm)]
    rng.shuffle(levels)
    return {
        knob.key: value for knob, value in strangers(levels, lambda pair: float(pair not in met), lambda _: NEW, rng)
    }


def strangers(
    levels: Sequence[Level], strange: Callable[[Pair], float], fewest: Callable[[int], float], rng: random.Random
) -> list[Level]:
    """
    Levels of different constants that are strange to each other (1 for a pair that never met, 0 for one that did); of those that are
    alike, the earlier. None where fewer than `fewest(n)` pairs of n levels are strange.
    """
    tries = (_gathered(levels, first, strange) for first in rng.sample(levels, min(STARTS, len(levels))))
    worth, chosen = max(tries, key=lambda found: found[0], default=(0.0, []))
    return chosen if len(chosen) > 2 and worth >= fewest(len(chosen)) else []


def _gathered(levels: Sequence[Level], first: Level, strange: Callable[[Pair], float]) -> tuple[float, list[Level]]:
    """One after another from a first, each that which is the strangest to those before; and how strange all are."""
    chosen, worth = [first], 0.0
    left = {level: 0.0 for level in levels if level[0].key != first[0].key}
    while left and len(chosen) < MOST:
        for level in left:
            left[level] += strange(frozenset({_way(level), _way(chosen[-1])}))
        best = max(left, key=left.__getitem__)
        worth += left[best]
        chosen.append(best)
        left = {level: met for level, met in left.items() if level[0].key != best[0].key}
    return worth, chosen


def _bearable(knob: Knob, history: History, harm: float) -> Iterable[Level]:
    for value, _ in knob.range.steps(knob.value):
        alone = _alone(knob.key, knob.value, value, history)
        if alone is not None and alone > -harm:
            yield knob, value


def _way(level: Level) -> Way:
    knob, value = level
    return way(knob.key, knob.value, value)


# -- what they say ----------------------------------------------------------------------------------------------


def couples(knobs: Mapping[str, Knob], history: History) -> list[Couple]:
    """
    Two changes each that can be made now, the most promising first: those that did more together once and were lost when best
    moved; and those that were not made by themselves so far, while mixes with both gained more than the sum of single gains, by so
    much that both should gain.
    """
    proven = dict(_proven(history))
    lost = [
        couple
        for couple in proven.values()
        if couple.values.keys() <= knobs.keys()
        and any(knobs[key].value != value for key, value in couple.values.items())
    ]
    return [*lost, *_suspected(knobs, history, proven.keys())]


def _proven(history: History) -> Iterator[tuple[Pair, Couple]]:
    """Pairs whose own trial gained, and more than the sum of both."""
    for pair, trial in history.couples.items():
        one = history.window.get(trial)
        if one is None or one.gain is None or one.word not in ("keep", "stale") or not one.helped:
            continue
        more = one.gain - _about(one.changes, history)
        if more > CLEAR * one.error:
            yield pair, Couple({key: new for key, (_, new) in one.changes.items()}, more, one.error, one.gain)


def _suspected(knobs: Mapping[str, Knob], history: History, proven: Collection[Pair]) -> list[Couple]:
    """What mixes say that have none of those in them that are proven."""
    rests = _standing_out(history)
    if len(rests) < FEWEST:
        return []
    scatter = SPREAD * median(map(abs, rests.values()))
    seen: dict[Pair, list[float]] = defaultdict(list)
    values: dict[Way, Value] = {}
    for trial, rest in rests.items():
        ways = {way(key, *change): change[1] for key, change in history.window[trial].changes.items()}
        together = pairs(ways)
        if together.isdisjoint(proven):
            values |= ways
            for pair in together:
                seen[pair].append(rest)
    sure = SURE * (1 + history.couples_failed / TIRED)
    found = []
    for pair in seen.keys() - history.couples.keys():
        more, error = mean(seen[pair]), scatter / math.sqrt(len(seen[pair]))
        both = {key: values[key, up] for key, up in pair}
        if more <= sure * error or any(key not in knobs or knobs[key].value == new for key, new in both.items()):
            continue
        gain = more + _about({key: (knobs[key].value, new) for key, new in both.items()}, history)
        if gain > error:
            found.append(Couple(both, more, error, gain))
    return sorted(found, key=lambda couple: (-couple.more / couple.error, sorted(couple.values)))


def _standing_out(history: History) -> dict[int, float]:
    """
    Mix -> what it gained beyond the sum of single gains, less what mixes on its base usually do: that has the base's own error, as often
    as there are changes, and how far harm adds up there at all.
    """
    by_base: dict[str, dict[int, float]] = defaultdict(dict)
    for outcome in history.window.values():
        if outcome.kind == "mix" and (rest := _beyond(outcome, history)) is not None:
            by_base[outcome.base_tree][outcome.trial] = rest
    found = dict[int, float]()
    everywhere = [rest for rests in by_base.values() for rest in rests.values()]
    for rests in by_base.values():
        usual = median(rests.values() if len(rests) >= FEWEST else everywhere)
        found |= {trial: rest - usual for trial, rest in rests.items()}
    return found


def _beyond(outcome: Outcome, history: History) -> float | None:
    """What a trial gained beyond the sum of what its changes do alone; None where that is not known."""
    alone = [_alone(key, *change, history) for key, change in outcome.changes.items()]
    return None if outcome.gain is None or None in alone else outcome.gain - math.fsum(one for one in alone if one)


def _about(changes: Mapping[str, Change], history: History) -> float:
    """About what these gain in sum: by the latest trial of each alone in that direction, from whatever the constant was."""
    alone = (history.alone(key, old, new) for key, (old, new) in changes.items())
    return math.fsum(one.gain for one in alone if one and one.gain is not None)


def _alone(key: str, old: Value, new: Value, history: History) -> float | None:
    """What this very change gained by itself; what other steps of the constant say of it is not sure enough to add up."""
    one = history.tried(key, new)
    return one.gain if one and one.changes[key][0] == old else None
