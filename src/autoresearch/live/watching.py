"""
What stops a campaign or a part of it, whatever the model believes: guardrails, visitors who do not arrive as they were
sent, and effects that fade.

Every test may be made after each visitor. Knows no plan's making.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from autoresearch.guard import Guard
from autoresearch.live import places
from autoresearch.live.arriving import GRAIN, Side, label
from autoresearch.live.counts import Counts
from autoresearch.stats import sequences
from autoresearch.stats.evidence import mixture_e_value
from autoresearch.stats.mismatch import mismatch_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

BROKEN = 0.01  # chance, over all looks, that a guardrail that holds is called broken, for each guardrail
LIKELY = 0.95  # how likely a guardrail is to be broken before a level is set aside as a precaution
EXPECTED = 0.5  # successes that what is believed of a guardrail before any data is worth: half the bound, then
MISMATCH = 0.01  # chance, over all looks, of a false alarm
NEWNESS = 7  # days in which a level is new to those who see it
FADED, FADING = 0.05, 0.2  # chance of a false mark, and the size of a change that is looked for, in log odds


class Stop(Struct, frozen=True):
    """
    A level, or a cell, that is not to be shown any more; or, with variable = level = "", the whole study. `sure`: it is
    shown, with the chance of error that this module states; else it is a precaution, and a person may take it back.
    """

    variable: str
    level: str
    why: str
    sure: bool = True


def guardrails(guards: Sequence[Guard], rates: Mapping[str, Counts], default: Mapping[str, str]) -> list[Stop]:
    """
    What breaks a bound. `rates`: for each guard's name, visitors and those of them who had that outcome.

    First the whole: if the defaults' own rate is above the bound, or all together, no level is to blame. Then the worst
    level is taken out with all cells it is in, as long as there is one, so that what it met is not blamed for it.
    """
    return [stop for guard in guards if guard.name in rates for stop in _one(guard, rates[guard.name], default)]


def _one(guard: Guard, counts: Counts, default: Mapping[str, str]) -> list[Stop]:
    import numpy as np

    shown, won = counts.shown.sum(axis=0), counts.won.sum(axis=0)
    own = tuple(default.items())
    at = places.having(counts.columns, own)
    plain = [i for i, cell in enumerate(places.cells_of(counts.columns, own)) if cell == dict(default)]
    levels = sorted(item for item in at if default.get(item[0]) != item[1])
    alpha = BROKEN / 2
    n, y = float(shown[plain].sum()), float(won[plain].sum())
    if _evidence(guard, n, y) >= -math.log(alpha):
        return [Stop("", "", f"what everybody saw before breaks the guardrail {guard}: {_told(n, y)}")]
    stops, left = list[Stop](), np.ones(len(counts.columns), dtype=bool)
    while True:
        found = list[tuple[float, bool, str, str, float, float]]()
        for name, level in levels:
            here = at[name, level][left[at[name, level]]]
            n, y = float(shown[here].sum()), float(won[here].sum())
            sure = _evidence(guard, n, y) >= math.log(len(levels) / alpha)
            if n and (sure or _likely(guard, n, y) >= LIKELY):
                found.append((y / n if guard.sense[0] == "<" else -y / n, sure, name, level, n, y))
        if not found:
            break
        _, sure, name, level, n, y = max(found, key=lambda row: (row[1], row[0], row[2:4]))
        is_shown = "is shown to break" if sure else f"likely (more than {LIKELY:.0%}) breaks"
        stops.append(Stop(name, level, f"{label(name, level)} {is_shown} the guardrail {guard}: {_told(n, y)}", sure))
        left[at[name, level]] = False
    n, y = float(shown[left].sum()), float(won[left].sum())
    if _evidence(guard, n, y) >= -math.log(alpha):
        stops.append(Stop("", "", f"what is left, all together, breaks the guardrail {guard}: {_told(n, y)}"))
    return stops


def arrivals(sides: Iterable[Side]) -> Stop | None:
    """
    Whether visitors arrive as plans sent them: the holdout, and each level among the others, over all plans at once.

    The chance of a false alarm is 1 % over all looks. A loss of 2 % of one of two halves is found after about 200,000
    visitors, one of 10 % after 10,000: that is arithmetic, not a weakness of the test. Source: Lindon and Malek 2022;
    see stats/mismatch.py.
    """
    found = sorted(sides, key=lambda side: (side.plan, side.name))
    for side in found:
        if side.plan >= 0 and side.name:
            why = f"{side.name} was shown to {side.came} visitors under plan {side.plan}, which does not list it"
            return Stop("", "", why)
    known = {side.name: side for side in found if side.name}
    log_evidence, worst = mismatch_of({name: [GRAIN * x for x in side.paid] for name, side in known.items()})
    if log_evidence < -math.log(MISMATCH):
        return None
    came, due = known[worst].came, known[worst].due * GRAIN
    return Stop(
        "",
        "",
        f"visitors do not arrive as they were sent: {worst} has {came:,.0f} of the {due:,.0f} that plans gave it "
        f"({came / due - 1:+.1%}); whatever loses some of them also bends every rate. Look for redirects, pages that fail and robots",
    )


def faded(
    shown_a: "Numbers",
    won_a: "Numbers",
    shown_b: "Numbers",
    won_b: "Numbers",
    days: "Sequence[int] | NDArray[np.int64]",
    first: int,
) -> str:
    """
    Whether a level's effect against the default (b) changes after its first `NEWNESS` days, as a sentence; "" while
    that is not shown. Rows are strata with their days, `first` is the level's first day.

    The two estimates are nearly normal and independent; the test of their difference may be looked at every day, and
    marks one constant effect in twenty at most.
    """
    import numpy as np

    young = np.asarray(days) < first + NEWNESS
    early = log_ratio(shown_a[young], won_a[young], shown_b[young], won_b[young])
    late = log_ratio(shown_a[~young], won_a[~young], shown_b[~young], won_b[~young])
    if early is None or late is None:
        return ""
    change, error = late[0] - early[0], math.hypot(early[1], late[1])
    if mixture_e_value(change, error, FADING, two_sided=True) < 1 / FADED:
        return ""
    word = "fades" if abs(late[0]) < abs(early[0]) else "grows"
    return (
        f"its effect {word}: {math.expm1(early[0]):+.0%} in its first {NEWNESS} days, {math.expm1(late[0]):+.0%} since then; "
        "go by the later figure"
    )


def log_ratio(
    shown_a: "Numbers", won_a: "Numbers", shown_b: "Numbers", won_b: "Numbers", least: float = 10.0
) -> tuple[float, float] | None:
    """
    Log of the ratio of two rates over strata and its standard error; None with fewer than `least` outcomes on a side.

    Source: Greenland and Robins 1985 (Mantel and Haenszel's estimate for ratios of rates, and its variance).
    """
    import numpy as np

    total = shown_a + shown_b
    both = (shown_a > 0) & (shown_b > 0)
    n, m, y, z, t = shown_a[both], shown_b[both], won_a[both], won_b[both], total[both]
    if y.sum() < least or z.sum() < least:
        return None
    above, below = float(np.sum(y * m / t)), float(np.sum(z * n / t))
    variance = float(np.sum((n * m * (y + z) - y * z * t) / t**2)) / (above * below)
    return math.log(above / below), math.sqrt(max(variance, 1e-12))


def _evidence(guard: Guard, n: float, y: float) -> float:
    return sequences.hits(n, y, guard.bound, above=guard.sense[0] == "<") if n and guard.bound > 0 else 0.0


def _likely(guard: Guard, n: float, y: float) -> float:
    """
    How likely the rate is to break the bound, from a Gamma prior whose mean is half of it (or as much better), worth
    half an outcome.
    """
    if guard.bound <= 0:
        return 0.0
    good = guard.bound / 2 if guard.sense[0] == "<" else guard.bound * 2
    shape, per = EXPECTED + y, EXPECTED / good + n
    below = _gamma_below(shape, guard.bound * per)
    return 1 - below if guard.sense[0] == "<" else below


def _gamma_below(shape: float, x: float) -> float:
    """
    P(a Gamma variable of this shape is below x). Source: Abramowitz and Stegun 1964, 6.5.29; far out, Wilson and
    Hilferty 1931.
    """
    if shape > 500 or x > 700:
        z = ((x / shape) ** (1 / 3) - (1 - 1 / (9 * shape))) * 3 * math.sqrt(shape)
        return 0.5 * math.erfc(-z / math.sqrt(2))
    term = total = 1 / shape
    k = 0
    while term > 1e-12 * total:
        k += 1
        term *= x / (shape + k)
        total += term
    return min(1.0, total * math.exp(shape * math.log(x) - x - math.lgamma(shape)))


def _told(n: float, y: float) -> str:
    return f"{y:,.0f} of {n:,.0f} ({y / n:.2%})"
