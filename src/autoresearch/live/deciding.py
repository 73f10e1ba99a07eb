"""
What is kept, what is discarded, and what is not known yet: readings of what was seen, made of nothing but tallies.

Two kinds of statement stand side by side. *Effects* come from the model of belief.py: of everything that was seen, with
intervals that hold for most effects. *Verdicts* do not trust it: a level is kept when a comparison within days, of
visitors who were sent by chance, shows it to be better at a level of evidence that may be looked at every day. Knows no
log and no clock.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
from msgspec import Struct

from autoresearch.live import effects, places, unnamed
from autoresearch.live.arriving import Side
from autoresearch.live.belief import Belief, Levels, Prior, Term, believe
from autoresearch.live.comparing import Comparison, Lift, comparisons, lift, shown_better
from autoresearch.live.counts import Counts, as_counts
from autoresearch.live.records import Tally
from autoresearch.live.settings import Live
from autoresearch.live.variables import Variables
from autoresearch.live.watching import Stop, arrivals, faded, guardrails
from autoresearch.stats import sequences
from autoresearch.stats.checks import exp
from autoresearch.stats.evidence import e_bh
from autoresearch.stats.labels import Errors
from autoresearch.stats.misfit import Misfit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

HOPELESS = 0.01  # chance to be the best, below which a level is not shown any more
LEAST_SEEN = 20  # outcomes of a level, before it can be hopeless
LITTLE = 0.005  # of the rate; a level of which it is worth less to learn more is learned enough

Word = Literal["default", "keep", "discard", "not yet"]


class Reading(Struct, frozen=True):
    """
    What is known of a level (of a whole cell, where variable = "cell"), among all visitors (segment = "") or those of a
    segment; or of a pair of levels, whose names are joined by " x ", beyond what each does.

    `effect`, `low`, `high`: by what share the rate changes against the default level, 0.1 is a tenth more, with a 95 %
    interval of the model; of a pair, beyond its parts. `surely_low`, `surely_high`: the same from comparisons within
    days alone, over all looks; None of pairs. `better` and `worse`: the logarithm of the evidence for that. `p_best`:
    chance to be the best of its variable. `value`: by what share of itself the rate would rise, on average, if it were
    known exactly. `enough`: so little that it is learned. `told`: different from the default also when all readings of
    the map are taken into account. `word` is of all visitors' readings; `why` is a sentence; `fades` is one where the
    effect changes.
    """

    variable: str
    level: str
    segment: str
    shown: float
    won: float
    effect: float
    low: float
    high: float
    surely_low: float | None
    surely_high: float | None
    better: float
    worse: float
    p_best: float
    value: float
    enough: bool
    told: bool
    word: Word
    why: str
    fades: str = ""


class Decision(Struct, frozen=True):
    """
    `halt`: why the whole study must stop; "" where it may go on. `stops`: levels that are not to be shown any more, and
    why. `pairs`: pairs of variables that are not in the model yet, and by what share the rate would rise, on average,
    if it were known what they do together. `misfit`: what such pairs seem to do, for which intervals allow.
    """

    readings: tuple[Reading, ...]
    stops: tuple[Stop, ...]
    halt: str
    lift: Lift
    pairs: tuple[tuple[str, str, float], ...] = ()
    misfit: Misfit = Misfit()

    def kept(self) -> list[Reading]:
        return [reading for reading in self.readings if reading.word == "keep"]


def decide(
    tallies: Iterable[Tally] | Counts,
    variables: Variables,
    levels: Levels,
    live: Live,
    *,
    seed: int = 0,
    rates: Mapping[str, Iterable[Tally] | Counts] | None = None,
    arrived: Iterable[Side] = (),
    prior: Prior | None = None,
    labels: Errors | None = None,
    belief: Belief | None = None,
    whole_map: bool = True,
) -> Decision:
    """
    Everything that can be said from these tallies. `rates`: for the outcome that each guardrail bounds, tallies of it.
    `arrived`: what was sent and what came, for the check of arrivals; of plans and counts at hand, see arriving.py.
    `belief`: what `believe` says of the same, where it is known already. Without `whole_map` readings are
    of all visitors alone, and of levels that may be shown: what a verdict is still due on; there are no `pairs`, and intervals
    allow for no misfit.

    Raises:
        StudyError: see believe.
        MissingExtra: numpy is not there.
    """
    counts = as_counts(tallies)
    belief = belief or believe(counts, variables, levels, live, prior, labels)
    import numpy as np

    stops = guardrails(live.bounds, {name: as_counts(of) for name, of in (rates or {}).items()}, belief.default)
    mismatch = arrivals(arrived)
    halt = "; ".join(stop.why for stop in (*stops, *([mismatch] if mismatch else [])) if not stop.variable)
    only = [stop for stop in stops if stop.variable]
    drawn = belief.posterior.draw(effects.DRAWS, np.random.default_rng(seed))
    # What an earlier campaign found is no evidence: a verdict rests on this one's visitors alone.
    alone = believe(counts, variables, levels, live, None, labels) if prior is not None else belief
    own = alone.posterior.draw(effects.DRAWS, np.random.default_rng(seed)) if prior is not None else drawn
    wanted = None if whole_map or belief.whole else levels
    wide, misfit = unnamed.allowed_for(belief, counts, labels) if whole_map else (belief, Misfit())
    mind, out = _Mind(belief, drawn, alone, own, wide), {(stop.variable, stop.level) for stop in only}
    level_readings = _levels(counts, mind, live, out, wanted)
    readings = _marked((*level_readings, *_pairs(counts, wide, drawn)), live.false_winner)
    pairs = effects.untested_pairs(belief, seed) if whole_map else ()
    return Decision(tuple(readings), tuple(only), halt, lift(counts, live), pairs, misfit)


class _Side(Struct, frozen=True):
    """What a verdict is made of."""

    keep: bool
    ahead: bool  # shown to be better, though another of its variable is more so
    worse: bool
    hopeless: bool
    stopped: bool
    chance: float  # to be the best, by this campaign's visitors alone


class _Mind(NamedTuple):
    """What is believed, and draws of it; the same without what an earlier campaign found; and less surely, see unnamed.py."""

    belief: Belief
    drawn: "Numbers"
    alone: Belief
    own: "Numbers"
    wide: Belief


def _levels(
    counts: Counts, mind: "_Mind", live: Live, stopped: set[tuple[str, str]], wanted: Levels | None
) -> list[Reading]:
    """For all visitors, and for each segment; or, where these levels are wanted, of them and the defaults for all visitors alone."""
    belief, drawn, alone, own, wide = mind
    compared, all_seen = comparisons(counts, belief), _seen(counts, belief)
    by_name = {(one.variable, one.level): one for one in compared}
    better = [one for one in shown_better(compared, live.false_winner) if (one.variable, one.level) not in stopped]
    worse = {(one.variable, one.level) for one in shown_better(compared, live.false_winner, worse=True)}
    found = []
    for block in belief.blocks:
        # Visitors who are of no kind have no readings of their own: "" stands for all.
        for segment in (None, *(sorted(filter(None, belief.weights)) if wanted is None else ())):
            values = effects.values(belief, block, drawn, segment)
            unaided = values if alone is belief or segment else effects.values(alone, block, own, segment)
            for name in block.variables:
                shown = {level for combo in block.combos for level in (combo[block.variables.index(name)],)}
                best = leader(alone, [one.level for one in better if one.variable == name and one.level in shown], name)
                for term in [term for term in belief.terms if term.variables == (name,) and term.segment is None]:
                    level = term.levels[0]
                    if wanted is not None and level not in {*wanted.get(name, ()), belief.default[name]}:
                        continue
                    one = by_name.get((name, level))
                    effect = effects.relative(wide, effects.contrast(belief, block, name, level, segment), segment)
                    p_best, value = effects.chances(belief, block, name, level, values, segment)
                    seen = all_seen.get((term, segment), (0.0, 0.0))
                    chance = (
                        p_best if unaided is values else effects.chances(alone, block, name, level, unaided, segment)[0]
                    )
                    hopeless = level in shown and chance < HOPELESS and seen[1] >= LEAST_SEEN
                    side = _Side(
                        level == best,
                        any((one.variable, one.level) == (name, level) for one in better),
                        (name, level) in worse,
                        hopeless,
                        (name, level) in stopped or level not in shown,
                        chance,
                    )
                    found.append(
                        _reading(belief, live, (name, level), segment, one, effect, p_best, value, seen, side, best)
                    )
    return found


def _reading(
    belief: Belief,
    live: Live,
    of: tuple[str, str],
    segment: str | None,
    one: Comparison | None,
    effect: effects.Effect,
    p_best: float,
    value: float,
    seen: tuple[float, float],
    side: _Side,
    leader: str | None,
) -> Reading:
    name, level = of
    is_default = level == belief.default[name]
    surely = None
    if one is not None:
        bets = one.bets if segment is None else sequences.bets(*one.within(segment))
        surely = bets.ratio(live.false_winner)
    fades = ""
    if segment is None and one is not None and one.shown.any():
        first = int(one.days[one.shown > 0].min())
        fades = faded(*one.within(None), one.days, first)
    word, why = _verdict(name, is_default, side, effect, surely, p_best, leader) if segment is None else ("not yet", "")
    if segment is not None:
        word = "default" if is_default else "not yet"
        why = f"among visitors of {segment}: {_percent(effect)}"
    return Reading(
        name,
        level,
        segment or "",
        *seen,
        *effect,
        surely.low - 1 if surely else None,
        surely.high - 1 if surely else None,
        surely.better if surely else 0.0,
        surely.worse if surely else 0.0,
        p_best,
        value,
        value < LITTLE,
        False,
        word,
        why,
        fades,
    )


def _verdict(
    name: str,
    is_default: bool,
    side: _Side,
    effect: effects.Effect,
    surely: sequences.Ratio | None,
    p_best: float,
    leader: str | None,
) -> tuple[Word, str]:
    """The word, and a sentence of why."""
    text = _percent(effect)
    if is_default:
        return "default", "what the others are compared with"
    if side.stopped:
        return "discard", "it is not shown any more"
    if side.keep and surely is not None:
        return (
            "keep",
            f"shown to be better than the default, at all looks together: at least {surely.low - 1:+.0%}; all in all {text}",
        )
    if side.worse and surely is not None:
        return (
            "discard",
            f"shown to be worse than the default, at all looks together: at most {surely.high - 1:+.0%}; all in all {text}",
        )
    if side.hopeless:
        return "discard", f"its chance to be the best of {name} is {side.chance:.1%}; {text}"
    if side.ahead:
        return "not yet", f"better than the default, but {leader} is ahead of it; {text}"
    return "not yet", f"{text}; its chance to be the best of {name} is {p_best:.0%}"


def _percent(effect: effects.Effect) -> str:
    middle, low, high = effect
    return f"{middle:+.0%} ({low:+.0%} to {high:+.0%})"


def leader(belief: Belief, levels: Sequence[str], name: str) -> str | None:
    """Of these levels of a variable the one that is believed to be best."""
    rows = belief.rows([name], [[level] for level in levels])
    means = (rows @ belief.posterior.mean).tolist()
    return max(zip(means, levels, strict=True))[1] if levels else None


def _seen(counts: Counts, belief: Belief) -> dict[tuple[Term, str | None], tuple[float, float]]:
    """
    For each level and chosen pair, in each segment and (None) in all: visitors, and how many of them had the outcome;
    the holdout's too.
    """
    found = places.sums(counts, tuple(belief.default.items()), belief.pairs)
    return {(Term(names, levels), segment): seen for (names, levels, segment), seen in found.items()}


def _pairs(counts: Counts, belief: Belief, drawn: "Numbers") -> list[Reading]:
    """What chosen pairs do beyond their parts, against the default of both."""
    import numpy as np

    all_seen = _seen(counts, belief) if belief.pairs else {}
    found = []
    for a, b in belief.pairs:
        block = next(block for block in belief.blocks if a in block.variables)
        values = effects.values(belief, block, drawn, None)
        best = np.bincount(values.argmax(axis=1), minlength=len(block.combos)) / len(drawn)
        for term in [term for term in belief.terms if term.variables == (a, b)]:
            if belief.default[a] == term.levels[0] or belief.default[b] == term.levels[1]:
                continue
            weights = np.zeros(len(belief.terms))
            for x, one in ((term.levels[0], 1.0), (belief.default[a], -1.0)):
                for y, two in ((term.levels[1], 1.0), (belief.default[b], -1.0)):
                    if (at := belief.terms.get(Term((a, b), (x, y)))) is not None:
                        weights[at] += one * two
            having = [
                i
                for i, combo in enumerate(block.combos)
                if (combo[block.variables.index(a)], combo[block.variables.index(b)]) == term.levels
            ]
            effect = effects.relative(belief, weights, None)
            seen = all_seen.get((term, None), (0.0, 0.0))
            mean, sd = belief.posterior.contrast(weights)
            others = [i for i in range(len(block.combos)) if i not in set(having)]
            value = effects.worth_of(values, having, others) if having and others else 0.0
            name, level = " x ".join(term.variables), " x ".join(term.levels)
            evidence = _log_two_sided(mean, sd)
            found.append(
                Reading(
                    name,
                    level,
                    "",
                    *seen,
                    *effect,
                    None,
                    None,
                    evidence if mean > 0 else 0.0,
                    evidence if mean < 0 else 0.0,
                    float(best[having].sum()) if having else 0.0,
                    value,
                    value < LITTLE,
                    False,
                    "not yet",
                    f"together, beyond what each does: {_percent(effect)}",
                )
            )
    return found


def _log_two_sided(mean: float, sd: float) -> float:
    """Minus the log of a two-sided p-value."""
    return -math.log(max(1e-300, math.erfc(abs(mean) / max(sd, 1e-12) / math.sqrt(2))))


def _marked(readings: Sequence[Reading], alpha: float) -> list[Reading]:
    """
    With those marked that differ from the default also when all of the map is taken into account: at most a share alpha
    of the marks is false, on average. Levels by their e-values (Wang and Ramdas 2022), pairs by p-values (Benjamini and
    Yekutieli 2001).
    """
    levels = [i for i, reading in enumerate(readings) if reading.surely_low is not None]
    pairs = [i for i, reading in enumerate(readings) if reading.surely_low is None and reading.word != "default"]
    by_e = e_bh([(exp(readings[i].better) + exp(readings[i].worse)) / 2 for i in levels], alpha)
    by_p = sequences.benjamini_yekutieli([math.exp(-max(readings[i].better, readings[i].worse)) for i in pairs], alpha)
    told = {levels[i] for i in by_e} | {pairs[i] for i in by_p}
    return [msgspec.structs.replace(reading, told=i in told) for i, reading in enumerate(readings)]
