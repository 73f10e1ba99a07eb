"""
What a person should know before believing a verdict, and which gains are held until one has looked.

Works beside any policy: the policy says whether a change is better, this says whether that can be so. Pure
functions of the state. Starts nothing.
"""

import statistics
from collections.abc import Iterator

from msgspec.structs import replace

from autoresearch.policy import Ask
from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.trial import Measurement, Trial, Verdict, is_dearer

# How far a gain may go before it is doubted. Wide on purpose: what is held waits for a person.
FEW = 20  # trials; with fewer, "anything seen" says little
TIMES_LARGEST = 10.0  # ... of the largest gain seen
TIMES_TYPICAL = 10.0  # ... of the usual size of a gain or loss
TIMES_NOISE = 10.0  # standard deviations of one run
SHARE = 0.5  # ... of the baseline's value (of max - min where both are given) while there were few trials
SHARE_LATER = 0.02

SLACK, SLACK_S = 1.1, 1.0  # by which a stated time may differ from a measured one
WHOLE_TIMES = {"seconds", "elapsed", "elapsed_s", "wall_s", "total_seconds", "total_s"}
PART_TIMES = {"training_seconds", "train_seconds", "training_s", "train_s", "duration_s"}


def examined(state: State, study: Study, trial: Trial, verdict: Verdict) -> Verdict:
    """A policy's verdict with what it cost and what is odd about it; a gain that cannot be so is `suspect`."""
    if trial.is_baseline or trial.tree is None:
        return verdict
    cost = cost_of(state, trial)
    flags = (
        *oddities(state, study, trial),
        *_bought(state, trial, verdict),
        *(f"fixes a seed: {line}" for line in trial.seeds),
    )
    verdict = replace(verdict, cost=cost, flags=flags)
    if why := doubt(state, study, trial, verdict):
        return replace(verdict, word="suspect", why=f"{why}{_in_the_clean_room(state, trial)}")
    return verdict


def doubt(state: State, study: Study, trial: Trial, verdict: Verdict) -> str:
    """
    Why what a policy would keep is held until a person has looked at it, in a clause; empty if it is not.

    Once doubted, it stays so: what other trials found meanwhile makes it no more likely.
    """
    if verdict.word != "keep" or trial.is_baseline or trial.accepted:
        return ""
    if ignores_seed(state, study, trial):
        return "it ignores its seed, so a lucky one would pass as a gain"
    gain = verdict.gain or 0.0
    if study.metric.max_step is not None:
        limit, known = study.metric.max_step, f"metric.max_step = {study.metric.max_step:g}"
    else:
        limit, known = usual_step(state, study)
    doubted = gain > limit or _careful(state, trial)
    return f"a gain of {gain:.4g} is far outside anything seen ({known})" if doubted else ""


def usual_step(state: State, study: Study) -> tuple[float, str]:
    """The largest gain that one trial may bring without being doubted, and what it rests on, in words."""
    gains = list(_gains(state))
    sd = state.noise.sd if state.noise else 0.0
    metric, start = study.metric, state.baseline and state.mean(state.baseline.tree or "")
    scale = metric.max - metric.min if metric.max is not None and metric.min is not None else abs(start or 0.0)
    largest = max([gain for gain in gains if gain > 0], default=0.0)
    few = len(gains) < FEW
    limit = max(TIMES_NOISE * sd, TIMES_LARGEST * largest, (SHARE if few else SHARE_LATER) * scale)
    if not few:
        limit = max(limit, TIMES_TYPICAL * statistics.median(map(abs, gains)))
    tried = f"{len(gains)} trial{'s' if len(gains) != 1 else ''}"
    return limit, f"{tried} gained {largest:.4g} at most; more than {limit:.4g} is doubted"


def _gains(state: State) -> Iterator[float]:
    """Of every trial that was compared under the present referee and is not doubted itself."""
    for trial in tuple(state.trials.values()):
        verdict = trial.verdict
        if verdict is None or verdict.gain is None or verdict.word == "suspect":
            continue
        run = state.runs[trial.runs[0]] if trial.runs else None
        if run and run.digest == state.digest and run.measurement and run.measurement.machine.tier == state.tier:
            yield verdict.gain


# -- the clean room ------------------------------------------------------------------------------------


def clean_room(state: State, study: Study, trial: Trial, verdict: Verdict) -> list[Ask]:
    """What is to be measured once more: a doubted trial's base, then itself. Nothing that was measured so already."""
    if not doubt(state, study, trial, verdict):
        return []
    assert trial.tree is not None
    mine = [run for run in (state.runs[i] for i in state.trials[trial.id].runs) if run.careful]
    tried = {run.seed_index for run in tuple(state.runs.values()) if run.tree in (trial.tree, trial.base_tree)}
    index = mine[0].seed_index if mine else max(tried, default=-1) + 1
    asks = {trial.base_tree: Ask(index, base=True, purpose="careful"), trial.tree: Ask(index, purpose="careful")}
    return [ask for tree, ask in asks.items() if tree not in _careful(state, trial)]


def _careful(state: State, trial: Trial) -> dict[str, Measurement]:
    """Tree -> its measurement in the clean room."""
    runs = [state.runs[i] for i in state.trials[trial.id].runs]
    done = {run.tree: run.measurement for run in runs if run.careful and run.measurement}
    return {tree: measurement for tree, measurement in done.items() if measurement.status != "stopped"}


def _in_the_clean_room(state: State, trial: Trial) -> str:
    """What the clean room gave, as the end of a sentence."""
    done = _careful(state, trial)
    mine, base = done.get(trial.tree or ""), done.get(trial.base_tree)
    if mine is None or base is None:
        return ""
    if mine.value is None or base.value is None:
        which, failed = ("it", mine) if mine.value is None else ("its base", base)
        return f"; measured again in a clean room, {which} has no value ({failed.status})"
    again = state.metric.gain(base.value, mine.value)
    return f"; measured again in a clean room with a fresh seed, the gain is {again:.4g}"


# -- what is odd ---------------------------------------------------------------------------------------


def oddities(state: State, study: Study, trial: Trial) -> Iterator[str]:
    """What a trial's runs show that does not fit, a sentence each."""
    assert trial.tree is not None
    if ignores_seed(state, study, trial):
        n = len(state.values(trial.tree))
        yield f"ignores its seed: {n} runs with different seeds gave the same value, while its base's differ"
    results = [run.measurement for run in state.runs_on(trial.tree) if run.measurement]
    yield from dict.fromkeys(claim for result in results for claim in false_claims(study, result))


def ignores_seed(state: State, study: Study, trial: Trial) -> bool:
    """Whether different seeds gave one value, or one guarded number, to the last digit, where the base's differ."""
    assert trial.tree is not None
    for name in ("", *(guard.name for guard in study.metric.no_worse)):
        mine, base = (state.values(tree, name=name).values() for tree in (trial.tree, trial.base_tree))
        # Seconds in hundredths and the like repeat themselves by chance.
        coarse = name and all(round(number, 2) == number for number in base)
        if len(mine) > 1 and len(set(mine)) == 1 and len(set(base)) > 1 and not coarse:
            return True
    return False


def false_claims(study: Study, result: Measurement) -> Iterator[str]:
    """What a run stated about itself that was measured otherwise from outside."""
    for name, stated in result.extras.items():
        too_much = name in WHOLE_TIMES | PART_TIMES and stated > result.wall_s * SLACK + SLACK_S
        too_little = name in WHOLE_TIMES and stated < result.wall_s / SLACK - SLACK_S
        if too_much or too_little:
            yield f"states {name} = {stated:g}, but ran {result.wall_s:.1f} s"
    budget = study.measure.allowance
    stated = result.extras.get(budget.unit, 0.0) if budget else 0.0
    if budget and stated > budget.amount * 1.001:
        yield f"states {budget.unit} = {stated:g}, but the budget is {budget.amount:g}"


def cost_of(state: State, trial: Trial) -> float | None:
    """What a run of this trial takes, in multiples of its base's; None where either is unknown."""
    mine, base = state.compute_s(trial.tree or ""), state.compute_s(trial.base_tree)
    return mine / base if mine is not None and base else None


def _bought(state: State, trial: Trial, verdict: Verdict) -> Iterator[str]:
    mine, base = state.compute_s(trial.tree or ""), state.compute_s(trial.base_tree)
    if mine and base and is_dearer(mine, base) and (verdict.gain or 0.0) > 0:
        yield f"bought with compute: a run costs {mine / base:.2f} times the base's"
