"""
What a study cost, and what the rest of its budget will buy: lines for a terminal, and plain data. Pure.

The forecast takes the latest trials as a sample of those to come. Costs within the sample are taken as independent:
a study whose trials grow dearer will be dearer than it says.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from autoresearch.ledger import LATEST
from autoresearch.report.brief import Left
from autoresearch.state import State
from autoresearch.stats import t_quantile
from autoresearch.trial import Trial

LEAST = 3  # trials before anything is foreseen
SURE = 0.9  # how often what comes is to lie within a range

Bound = Literal["dollars", "trials", "hours"]


class Range(Struct, frozen=True):
    """What is expected, with the ends that hold nine times in ten."""

    middle: float
    low: float
    high: float


class Pace(Struct, frozen=True):
    """The mean of a sample, and its standard deviation in multiples of the mean."""

    mean: float
    scatter: float
    n: int

    def spread(self, trials: float) -> float:
        """
        Half the width of the range on a log scale: of what so many trials come to, or of how many trials a sum buys.

        The count of a renewal process has the variance `trials * scatter^2` (Feller 1971, XI.5); to that comes the error
        of the mean, `scatter^2 / n`. Coverage: tests/test_ledger.py.
        """
        return t_quantile((1 + SURE) / 2, self.n - 1) * self.scatter * math.sqrt(1 / max(trials, 1.0) + 1 / self.n)


class Forecast(Struct, frozen=True):
    """
    What is left until the first `bound` of the budget, at the pace of the latest `of` trials. `dollars` is None where
    trials cost nothing, `hours` where no pace is known.
    """

    bound: Bound
    of: int
    trials: Range
    dollars: Range | None
    hours: Range | None


def of_trial(state: State, trial: Trial) -> float:
    """Dollars of a trial: the calls that were made for it and its runs, and the same of the stale one it carries on, or of
    several that were kept with it."""
    runs = (state.runs[run] for run in trial.runs)
    own = sum(state.ledger.of_run(run) for run in runs if run.purpose != "claim")
    own += state.ledger.called.get(trial.id, 0.0)
    before = trial.carries if trial.again is not None or trial.word == "keep" else ()
    return own + sum(of_trial(state, state.trials[stale]) for stale in before)


def lately(state: State) -> list[float]:
    """Dollars of the latest decided trials, newest first; a stale one is part of the one that carries it on."""
    found: list[float] = []
    for trial in reversed(tuple(state.trials.values())):
        if len(found) == LATEST:
            break
        if trial.verdict and not trial.is_baseline and trial.word != "stale":
            found.append(of_trial(state, trial))
    return found


def pace(sample: Sequence[float]) -> Pace | None:
    """None where the sample is too small or all of it is 0."""
    mean = statistics.fmean(sample) if len(sample) >= LEAST else 0.0
    return Pace(mean, statistics.stdev(sample) / mean, len(sample)) if mean > 0 else None


def forecast(state: State, left: Left) -> Forecast | None:
    """None where the budget bounds nothing that is known of, or too few trials are decided."""
    dollars, hours = pace(lately(state)), pace([gap / 3600 for gap in tuple(state.ledger.gaps_s)])
    found: list[tuple[float, Bound, float]] = []  # trials, until which bound, spread of their number
    if left.trials is not None:
        found.append((float(left.trials), "trials", 0.0))
    bounds: tuple[tuple[Bound, float | None, Pace | None], ...]
    bounds = (("dollars", left.dollars, dollars), ("hours", left.hours, hours))
    for name, rest, of in bounds:
        if rest is not None and of:
            found.append((rest / of.mean, name, of.spread(rest / of.mean)))
    if not found or not (dollars or hours):
        return None
    trials, bound, spread = min(found)

    def amount(what: Bound, rest: float | None, of: Pace | None) -> Range | None:
        if of is None:
            return None
        if what == bound and rest is not None:
            return Range(rest, rest, rest)
        # As if what is counted here and what bounds the trials were independent; together they are closer than that.
        return _around(trials * of.mean, math.hypot(spread, of.spread(trials)))

    of_many = max(one.n for one in (dollars, hours) if one)
    counted = _around(trials, spread)
    return Forecast(
        bound, of_many, counted, amount("dollars", left.dollars, dollars), amount("hours", left.hours, hours)
    )


def _around(middle: float, spread: float) -> Range:
    return Range(middle, middle * math.exp(-spread), middle * math.exp(spread))


# -- as words and as data ------------------------------------------------------------------------------


def lines(state: State, left: Left) -> list[str]:
    """What it cost and what is to come; nothing where nothing has a price and nothing is bounded."""
    ledger = state.ledger
    found = []
    if ledger.was_priced or ledger.models or left.dollars is not None:
        parts = [f"{money(ledger.models)} models"] if state.charged or not ledger.was_priced else []
        at = f", at ${ledger.price:g} a slot-hour" if ledger.price else ""
        parts += [f"{money(ledger.machine)} machine{at}"] if ledger.was_priced else []
        rest = f"; {money(left.dollars)} left of budget.dollars" if left.dollars is not None else ""
        found.append(f"cost      {money(state.dollars)}: {' and '.join(parts)}{rest}")
    said = sentence(state, left)
    return [*found, *([f"forecast  {said}"] if said else [])]


def sentence(state: State, left: Left) -> str:
    """The forecast in words; empty where there is none."""
    if spent := _spent(left):
        return f"{spent} is spent: no new trial starts"
    seen = forecast(state, left)
    if seen is None:
        return ""
    each = pace(lately(state))
    now = f"{money(each.mean)} a trial lately; " if each else ""
    many = _range(seen.trials, _count)
    dollars = _range(seen.dollars, money) if seen.dollars else ""
    hours = f"{_range(seen.hours, _hours)}" if seen.hours else ""
    if seen.bound == "dollars":
        said = (
            f"the {money(left.dollars or 0.0)} left buy about {many} more trials{f' in about {hours}' if hours else ''}"
        )
    elif seen.bound == "hours":
        cost = f" for about {dollars}" if dollars else ""
        said = f"the {_hours(left.hours or 0.0)} left are enough for about {many} more trials{cost}"
    else:
        verbs = [f"cost about {dollars}"] if dollars else []
        verbs += [f"take about {hours}"] if hours else []
        said = f"the {_count(seen.trials.middle)} trials left {' and '.join(verbs)}"
    return f"{now}{said} (nine times in ten, from {seen.of} trials)"


def data(state: State, left: Left) -> dict[str, Any]:
    ledger, seen, each = state.ledger, forecast(state, left), pace(lately(state))
    return {
        "cost": {
            "dollars": state.dollars,
            "models": ledger.models,
            "machine": ledger.machine if ledger.was_priced else None,
            "dollars_per_hour": ledger.price,
            "dollars_left": left.dollars,
            "dollars_a_trial": each.mean if each else None,
        },
        "forecast": msgspec.to_builtins(seen) if seen else None,
    }


def money(dollars: float) -> str:
    """Cents where they say something, else two digits."""
    return f"${dollars:,.2f}" if dollars >= 0.1 or not dollars else f"${max(dollars, 1e-4):.1g}"


def _spent(left: Left) -> str:
    """Which part of the budget has nothing left."""
    bounds = (("dollars", left.dollars), ("trials", left.trials), ("hours", left.hours), ("tokens", left.tokens))
    return next((f"budget.{name}" for name, rest in bounds if rest is not None and rest <= 0), "")


def _range(found: Range, told: Callable[[float], str]) -> str:
    ends = f" ({told(found.low)} to {told(found.high)})" if told(found.low) != told(found.high) else ""
    return f"{told(found.middle)}{ends}"


def _count(trials: float) -> str:
    return f"{trials:,.0f}" if trials >= 1 else "1"


def _hours(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:.0f} min" if hours >= 1 / 60 else f"{hours * 3600:.0f} s"
