"""
Whether a trial is no worse than the start in what the guards name: `val_bpb <= baseline + 0.01`.

Works beside any policy: the policy says whether a change is better, this whether that cost too much elsewhere. A trial
is held against the start and not against its base, so that many small losses do not add up to a large one. What is
looked at are differences between runs with the same seed; it is enough only when a difference as large as the margin
can be ruled out, so a change is not kept because its runs were lucky. Pure functions of the state. Starts nothing.
"""

import math
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from autoresearch.guard import NoWorse
from autoresearch.policy import Ask, timing
from autoresearch.state import State
from autoresearch.stats import own_sd, pooled_sd, t_quantile
from autoresearch.study import Study
from autoresearch.trial import Trial, Verdict

ALPHA = 0.05  # that a look passes what is worse by just the margin; over all looks: tests/test_no_worse.py
LEAST = 2  # pairs of runs; one may be a lucky seed
TREES = 12  # the latest that were kept, from which it is learnt how far differences scatter


class Standing(Struct, frozen=True):
    """
    Where a trial stands with one guard: mean loss against the start over `pairs` of runs, what can be ruled out above
    and below it (both None while nobody knows how far runs scatter), and the loss that is allowed.
    """

    name: str
    worse: float
    reach: float | None
    margin: float
    pairs: int

    @property
    def word(self) -> Literal["kept", "broken", "open"]:
        """`open`: neither shown to be within the margin nor beyond it."""
        if not self.reach:
            return "kept" if self.worse <= self.margin else "broken"
        if self.pairs >= LEAST and self.worse + self.reach <= self.margin:
            return "kept"
        beyond = self.worse - self.reach > self.margin or (self.pairs >= LEAST and self.worse > self.margin)
        return "broken" if beyond else "open"

    @property
    def numbers(self) -> str:
        reach = f" +- {self.reach:.2g}" if self.reach else ""
        return f"{self.worse:+.4g}{reach} over {self.pairs} pair{'s' if self.pairs > 1 else ''} of runs"


def ask(state: State, study: Study, trial: Trial, verdict: Verdict) -> Ask | None:
    """
    Another run of a trial that would be kept but for a guard that is still open; none beyond the seeds of the start.
    """
    if verdict.word != "keep" or trial.is_baseline or trial.tree is None:
        return None
    found = {guard: standing(state, guard, trial) for guard in study.metric.no_worse}
    if any(one and one.word == "broken" for one in found.values()):
        return None
    done = state.values(trial.tree)
    for guard, one in found.items():
        untried = [seed for seed in _of_start(state, guard) if seed not in done]
        if untried and (one is None or one.word == "open"):
            # A turn must stay whole; turns go through the seeds from the first on, as the start did.
            return timing.ask(state, trial) if study.metric.is_timing else Ask(untried[0])
    return None


def examined(state: State, study: Study, trial: Trial, verdict: Verdict) -> Verdict:
    """
    A policy's verdict, unless a guard speaks against it; why it does not is added. What breaks one gets no numbers, like
    a run that breaks a bound: whoever learns from gains must not learn to break it.
    """
    if verdict.word not in ("keep", "stale") or trial.is_baseline or trial.tree is None:
        return verdict
    shown = []
    for guard in study.metric.no_worse:
        found = standing(state, guard, trial)
        if found and found.word == "broken":
            why = f"{verdict.why}, but {guard.name} is worse than the start's by {found.numbers}"
            return Verdict("discard", f"{why}: {found.margin:.4g} is allowed")
        if verdict.word == "stale":
            continue  # it is tried again, and looked at then
        if found is None:
            return replace(verdict, word="inconclusive", why=f"{verdict.why}, but {_unpaired(guard)}")
        if found.word == "open":
            why = f"{verdict.why}, but {guard.name} is not shown to be no worse than the start's: {found.numbers}"
            return replace(verdict, word="inconclusive", why=f"{why}, where {found.margin:.4g} is allowed")
        shown.append(f"{guard.name} no worse: {found.numbers}, within {found.margin:.4g}")
    return replace(verdict, why="; ".join([verdict.why, *shown]))


def _unpaired(guard: NoWorse) -> str:
    return f"none of its runs can be paired with one of the start to compare {guard.name}"


def standing(state: State, guard: NoWorse, trial: Trial) -> Standing | None:
    """None before the two were run with the same seed."""
    start = _of_start(state, guard)
    mine = state.values(trial.tree or "", name=guard.name)
    losses = [guard.worse(start[seed], number) for seed, number in mine.items() if seed in start]
    allowed = margin(state, guard)
    if not losses or allowed is None:
        return None
    worse, reach = math.fsum(losses) / len(losses), _reach(state, guard, trial, len(losses))
    return Standing(guard.name, worse, reach, allowed, len(losses))


def margin(state: State, guard: NoWorse) -> float | None:
    """What may be lost, in the number's unit: as written, else what one run of the start scatters by."""
    if guard.margin is not None:
        return guard.margin
    start = state.baseline
    # Of the calibration alone: runs that were added later must not move it.
    runs = [state.runs[i] for i in start.runs] if start else []
    numbers = [run.number(guard.name) for run in runs if run.purpose == "record" and state.has_ended(run)]
    known = pooled_sd([[number for number in numbers if number is not None]])
    return known[0] if known else None


def _reach(state: State, guard: NoWorse, trial: Trial, pairs: int) -> float | None:
    """
    How far the mean of so many differences may be off, at ALPHA on each side; None while the scatter is unknown.

    From differences between the start, what was kept since and this trial, whatever a seed does to all of them left
    out; before two have two seeds in common, from the start's own scatter, as if seeds did not help.
    """
    baseline = state.baseline
    since = state.kept[state.kept.index(baseline.id) + 1 :] if baseline else []
    trees = [state.trials[i].tree for i in since[-TREES:]] + [trial.tree]
    groups = [_of_start(state, guard), *(state.values(t, name=guard.name) for t in dict.fromkeys(trees) if t)]
    known = own_sd(groups) or pooled_sd([list(groups[0].values())])
    if known is None:
        return None
    sd, dof = known
    return t_quantile(1 - ALPHA, max(1, int(dof))) * sd * math.sqrt(2 / pairs)


def _of_start(state: State, guard: NoWorse) -> dict[int, float]:
    """Seed index -> the guarded number of the start's runs."""
    return state.values(state.baseline.tree or "", name=guard.name) if state.baseline else {}
