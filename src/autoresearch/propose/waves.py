"""
Factorial waves: with several slots, constants are changed several at once, so that a pair is found that helps only together.

Which constants a wave is about, which of its runs come next, and what to combine when they are in. Designs and the fit
are in stats/factorial.py; what trials say in history.py. Knows no files.
"""

import functools
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from statistics import median

from autoresearch.propose import mixing
from autoresearch.propose.history import History, Outcome, Wave
from autoresearch.propose.knobs import Knob
from autoresearch.propose.ranges import Value
from autoresearch.stats import factorial

FEWEST = 4  # slots: with fewer, one idea after another learns sooner
NEW = 1 / 3  # of a wave's pairs must be new
BEST = 2  # combinations that a wave suggests, each if it is expected to gain more than the standard error of that
HARM = 0.5  # of what a constant typically does by itself: how much worse one may be that is worth a try with others


def begin(knobs: Iterable[Knob], history: History, rng: random.Random) -> Wave | None:
    """The next wave: of the levels that did no clear harm by themselves, those that met the least."""
    harm = HARM * median(history.strongest.values()) if history.strongest else 0.0
    levels = [level for knob in knobs for level in _promising(knob, history, harm)]
    rng.shuffle(levels)
    levels.sort(key=lambda level: -level[1])
    strangers = mixing.strangers(
        [level for level, _ in levels], history.strangeness, lambda n: NEW * n * (n - 1) / 2, rng
    )
    return Wave(tuple(sorted((knob.key, knob.value, value) for knob, value in strangers))) if strangers else None


@functools.lru_cache(maxsize=64)
def runs(wave: Wave) -> tuple[dict[str, Value], ...]:
    """What each run of a wave sets, those that change the fewest first."""
    n = len(wave.factors)
    design = factorial.rows(max(8, 1 << (2 * n - 1).bit_length()), n)
    chosen = sorted(design[1:], key=sum)
    return tuple({knob: new for (knob, _, new), on in zip(wave.factors, row, strict=True) if on} for row in chosen)


def conclusions(
    wave: Wave, history: History, base: str, now: Mapping[str, Value]
) -> Iterator[tuple[dict[str, Value], str]]:
    """
    What to set together after a wave, the most promising first, and why; nothing where too few of its runs are in, or
    where the best has gone elsewhere since.
    """
    tried = {_row(wave, one) for one in history.about(wave)}
    if len(tried) < len(runs(wave)) // 2 or any(now.get(knob) not in (old, new) for knob, old, new in wave.factors):
        return
    effects = effects_of(wave, history, base)
    here, _ = effects.gain(tuple(now[knob] == new for knob, _, new in wave.factors))
    rows = [row for row in itertools.product((False, True), repeat=len(wave.factors)) if row not in tried]
    for row in sorted(rows, key=lambda row: -effects.gain(row)[0])[:BEST]:
        gain, error = effects.gain(row)
        if gain - here > error:
            values = {knob: new if on else old for (knob, old, new), on in zip(wave.factors, row, strict=True)}
            yield values, f"{len(tried)} trials together say {gain - here:+.3g} ± {error:.2g}"


def effects_of(wave: Wave, history: History, base: str) -> factorial.Effects:
    """What the trials of a wave's constants say of each and of each pair, and each alone, however long ago."""
    seen = history.about(wave)
    alone = (history.tried(knob, new) for knob, _, new in wave.factors)
    seen += [one for one in alone if one and one.trial not in history.window]
    worst = min((one.gain for one in seen if one.gain is not None), default=0.0)
    return factorial.fit(
        len(wave.factors),
        tuple(
            (
                _row(wave, one),
                min(worst, 0.0) if one.gain is None else one.gain,
                one.variance(base),
            )
            for one in seen
        ),
    )


def _row(wave: Wave, outcome: Outcome) -> factorial.Row:
    """Which factors of a wave a trial changed."""
    return tuple(knob in outcome.changes for knob, _, _ in wave.factors)


def _promising(knob: Knob, history: History, harm: float) -> Iterator[tuple[mixing.Level, float]]:
    """Levels that did no clear harm, with what they gained by themselves."""
    for value, _ in knob.range.steps(knob.value):
        alone = history.alone(knob.key, knob.value, value)
        if alone is not None and alone.gain is not None and (alone.gain > -harm or not alone.hurt):
            yield (knob, value), alone.gain
