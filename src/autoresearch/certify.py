"""
The claim: the best against the start on fresh paired seeds, and each kept change's own share of it.

Nothing that was measured while climbing enters: those runs are why the best is the best. Every seed is one that
nothing was run with, and the runs of all sides alternate, so that a machine that drifts favours none of them. The
gain is measured on the sealed set where the study has one; the shares are not, so that what is taken out because of
them is judged on data that did not choose it.
"""

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from autoresearch import stats
from autoresearch.errors import AutoresearchError, MissingExtra, Stopped, StudyError
from autoresearch.events import Claimed, SealedOpened, SessionEnded
from autoresearch.lab import Lab, run_once
from autoresearch.policy import Ask, no_worse
from autoresearch.session import Goal, Listener, begin, opened, stoppable
from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.trial import Beside, Claim, HeldSet, Measurement, Run, Share, Trial

ALPHA = 0.05
IDLE = 0.5  # standard errors that a kept change has to carry; below, it is proposed for removal
LEAST = 3  # runs of each side; with fewer the interval says next to nothing
STEADY = 2  # runs that show a share where values do not scatter: a third would say the same again
CERTAIN = 1e9  # the e-value of a gain that does not scatter


class Content(NamedTuple):
    """Something that is measured: a commit and what it holds."""

    name: str
    commit: str
    tree: str


Job = TypeVar("Job")
Values = Mapping[str, Sequence[float]]  # name of a content -> its values, seed by seed
Measured = tuple[Content, Sequence[float]]


def certify(folder: Path, runs: int, leave_one_out: bool, listener: Listener) -> Claim:
    """
    Measure the claim, write it down, and return it.

    Raises:
        AutoresearchError: nothing was kept, or something could not be measured. Then nothing is claimed.
    """
    if importlib.util.find_spec("scipy") is None:
        raise MissingExtra("scipy", "stats", "certify")
    with opened(folder, Goal(), listener) as lab, stoppable(lab):
        begin(lab)
        state = lab.log.state
        start, best = ends(state)
        shares: tuple[Share, ...] = ()
        passengers: list[Trial] = []
        if leave_one_out:
            shares, passengers = measure_shares(lab, best, runs, listener)
        pruned = take_out(lab, passengers) if passengers else None
        held = final_set(lab.study)
        if held == "sealed":
            lab.log.append(SealedOpened(why=f"certify, {best.commit[:10]} against {start.commit[:10]}, {runs} seeds"))
        contents = [start, best, *([pruned] if pruned else [])]
        values, _ = measure_all(lab, contents, runs, held, listener)
        claim = conclude(lab, start, best, values, held, shares, passengers, pruned)
        lab.log.append(Claimed(claim=claim))
        lab.log.append(SessionEnded(why="the claim is made"))
        return claim


def ends(state: State) -> tuple[Content, Content]:
    """
    The start and the best.

    Raises:
        AutoresearchError: there is nothing to certify.
    """
    start, best = state.baseline, state.best
    if start is None or best is None or start.tree is None or not state.ready:
        raise AutoresearchError("nothing was measured here on this kind of machine yet: `autoresearch run` first")
    if best.tree == start.tree:
        raise AutoresearchError("no change was kept, so there is nothing to certify: `autoresearch run` goes on")
    return Content("start", start.kept_as or start.base, start.tree), Content("best", best.commit, best.tree)


def final_set(study: Study) -> HeldSet:
    """The set for the claim: the one that the search had least to do with."""
    return next(held for held in ("sealed", "confirm", "search") if held in study.measure.sets)


def choosing_set(study: Study) -> HeldSet:
    """The set for what is chosen by: the one that chose least of what was kept; the sealed one stays for the claim."""
    return "confirm" if "confirm" in study.measure.sets else "search"


# -- measuring -----------------------------------------------------------------------------------------


def measure_all(
    lab: Lab, contents: Sequence[Content], runs: int, held: HeldSet, listener: Listener, may_fail: bool = False
) -> tuple[Values, dict[str, str]]:
    """
    Each content with the same fresh seeds, in turn: forwards with one seed, backwards with the next. With `may_fail`,
    all but the first may have no value: the second dict says which have none, and how they ended.
    """
    known = lab.log.state.runs.values()
    first = 1 + max((run.seed_index for run in known if run.purpose != "transfer"), default=-1)
    order = [
        (content, index)
        for index in range(first, first + runs)
        for content in (contents if (index - first) % 2 == 0 else reversed(contents))
    ]
    listener.expect(len(order))
    values: dict[tuple[str, int], float] = {}
    failed: dict[str, str] = {}

    def one(job: tuple[Content, int]) -> None:
        content, index = job
        if lab.log.stopping:
            raise Stopped(f"{lab.log.stopping}; nothing is claimed")
        if content.name in failed:
            return
        result = run_of(lab, content, Ask(index, purpose="claim", held=held))
        if result.value is not None:
            values[content.name, index] = result.value
            return
        if not may_fail or content == contents[0]:
            why = f"{result.status}: {result.why}"
            raise AutoresearchError(f"{content.name} could not be measured ({why}); nothing is claimed")
        failed[content.name] = result.status

    all_or_none(lab.workers, one, order)
    measured = [content.name for content in contents if content.name not in failed]
    return {name: [values[name, index] for index in range(first, first + runs)] for name in measured}, failed


def all_or_none(workers: int, do: Callable[[Job], None], jobs: Iterable[Job]) -> None:
    """Do the jobs, so many at a time and begun in their order; when one fails, none is begun any more."""
    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(do, job) for job in jobs]
        try:
            for done in waiting:
                done.result()
        except BaseException:
            for job in waiting:
                job.cancel()
            raise


def run_of(lab: Lab, content: Content, ask: Ask) -> Measurement:
    state = lab.log.state
    assert state.best is not None
    asker = state.trials[state.best.trial]
    with lab.workspace.at(f"claim-{content.name}-{ask.index}", content.commit, content.commit) as tree:
        return run_once(lab, asker, tree, ask, content.tree, content.commit)


# -- what each change carries --------------------------------------------------------------------------


def measure_shares(lab: Lab, best: Content, runs: int, listener: Listener) -> tuple[tuple[Share, ...], list[Trial]]:
    """Each kept change's share, in the order in which they were kept; and the trials that carry nothing."""
    kept = kept_changes(lab.log.state)
    if len(kept) < 2:
        return (), []
    steady = lab.log.state.noise is not None and not lab.log.state.noise.sd
    runs = min(runs, STEADY) if steady else runs
    without = {trial.id: best_without(lab, trial, kept) for trial in kept}
    contents = {found[1].name: found[1] for found in without.values() if found}
    listener.say(f"what each of {len(kept)} kept changes carries: the best without it, on {runs} fresh seeds")
    held = choosing_set(lab.study)
    measured = [best, *contents.values()]
    values, failed = measure_all(lab, measured, runs, held, listener, may_fail=True) if contents else ({}, {})
    shares: dict[tuple[int, ...], Share] = {}
    for trial in kept:
        if (found := without[trial.id]) is None:
            shares[trial.id,] = Share((trial.id,), trial.idea, why="cannot be taken out")
            continue
        group, content = found
        if content.name in failed:
            shares[group] = Share(group, trial.idea, why=f"no value without it: {failed[content.name]}")
            continue
        less, full = (content, values[content.name]), (best, values["best"])
        interval = over(lab, less, full, held)
        e_value = 0.0 if lab.study.metric.is_proportion else stats.t_e_value(gains(lab, less, full))
        e_value = CERTAIN * (interval.low > 0) if steady else e_value
        shares[group] = Share(group, trial.idea, interval.estimate, interval.low, interval.high, e_value)
    listed = list(shares.values())
    proven = stats.e_bh([share.e_value for share in listed], ALPHA)
    marked = tuple(replace(share, proven=i in proven) for i, share in enumerate(listed))
    idle = {trial for share in marked if carries_nothing(share) for trial in share.trials}
    return marked, [trial for trial in kept if trial.id in idle]


def carries_nothing(share: Share) -> bool:
    """Less than IDLE standard errors, or nothing at all."""
    if share.gain is None or share.low is None or share.high is None:
        return False
    # Half the width of the interval is some two standard errors; which t it is matters little here.
    error = (share.high - share.low) / 4
    return share.gain <= IDLE * error


def kept_changes(state: State) -> list[Trial]:
    """What was kept between the start and the best, in order."""
    since = next((n for n, i in enumerate(state.kept) if state.baseline and i == state.baseline.id), 0)
    return [state.trials[i] for i in state.kept[since:] if not state.trials[i].is_baseline]


def best_without(lab: Lab, trial: Trial, kept: Sequence[Trial]) -> tuple[tuple[int, ...], Content] | None:
    """The best without a change; with those that build on it, where it cannot be taken out alone."""
    assert lab.log.state.best is not None
    later = [other for other in kept if other.id > trial.id]
    for group in ([trial], *([trial, other] for other in later), [trial, *later]):
        numbers = tuple(t.id for t in group)
        name = "-".join(map(str, numbers))
        if found := lab.workspace.commit_without(lab.log.state.best, group, name):
            return numbers, Content(f"without-{name}", *found)
    return None


def take_out(lab: Lab, passengers: Sequence[Trial]) -> Content | None:
    """The best without all that carries nothing."""
    assert lab.log.state.best is not None
    found = lab.workspace.commit_without(lab.log.state.best, passengers, "passengers")
    return Content("pruned", *found) if found else None


# -- the claim -----------------------------------------------------------------------------------------


def conclude(
    lab: Lab,
    start: Content,
    best: Content,
    values: Values,
    held: HeldSet,
    shares: tuple[Share, ...],
    passengers: Iterable[Trial],
    pruned: Content | None,
) -> Claim:
    state, runs = lab.log.state, len(values["best"])
    guarded = beside(lab, start, best, runs, held)
    if pruned and not all(one.shown for one in beside(lab, start, pruned, runs, held)):
        pruned = None  # what carries nothing of the metric may carry what a guard holds
    before = (start, values["start"])
    whole = over(lab, before, (best, values["best"]), held)
    less = over(lab, before, (pruned, values["pruned"]), held) if pruned else None
    sd = state.noise.sd if state.noise else None
    return Claim(
        start=start.commit,
        best=best.commit,
        tree=best.tree,
        held=held,
        runs=runs,
        before=_mean(values["start"]),
        after=_mean(values["best"]),
        gain=whole.estimate,
        low=whole.low,
        high=whole.high,
        climbing=while_climbing(state),
        tried=state.decided,
        luck=stats.expected_best_of_noise(sd, state.decided) if sd and state.decided else None,
        digest=state.digest,
        machine=lab.executor.machine,
        shares=shares,
        passengers=tuple(trial.id for trial in passengers),
        pruned=pruned.commit if pruned else None,
        pruned_gain=(less.estimate, less.low, less.high) if less else None,
        beside=guarded,
    )


def beside(lab: Lab, start: Content, better: Content, runs: int, held: HeldSet) -> tuple[Beside, ...]:
    """What the guards hold to the start, over the same runs as the claim: nothing is run for it."""
    found = []
    for guard in lab.study.metric.no_worse:
        before, after = (_numbers(lab.log.state, content, guard.name, runs, held) for content in (start, better))
        margin = no_worse.margin(lab.log.state, guard)
        assert margin is not None, "ends() has seen the start's runs"
        losses = [guard.worse(one, other) for one, other in zip(before, after, strict=True)]
        worse = stats.paired(losses, ALPHA)
        shown = worse.high <= margin
        found.append(Beside(guard.name, _mean(before), _mean(after), *worse[:3], margin=margin, shown=shown))
    return tuple(found)


def _numbers(state: State, content: Content, name: str, runs: int, held: HeldSet) -> list[float]:
    """The numbers of this name of its latest runs, in the order of their seeds."""
    latest = _claimed(state, content, runs, held)
    return [number for run in latest if (number := run.number(name)) is not None]


def _claimed(state: State, content: Content, runs: int, held: HeldSet) -> list[Run]:
    """Its latest runs for a claim, in the order of their seeds, which no earlier run had."""
    done = [run for run in state.runs_on(content.tree) if run.purpose == "claim" and run.held == held]
    return sorted(done, key=lambda run: run.seed_index)[-runs:]


def over(lab: Lab, base: Measured, better: Measured, held: HeldSet) -> stats.Interval:
    """How much better one content is than another, with the interval that suits what is measured."""
    metric = lab.study.metric
    if not metric.is_proportion:
        return stats.paired(gains(lab, base, better), ALPHA)
    counts = [_successes(lab.log.state, content, len(values), held) for content, values in (base, better)]
    more, less = counts if metric.direction == "minimize" else reversed(counts)
    return stats.success_rates(*more, *less, ALPHA)


def gains(lab: Lab, base: Measured, better: Measured) -> list[float]:
    """Seed by seed, how much better one content is than another."""
    return [lab.study.metric.gain(before, after) for before, after in zip(base[1], better[1], strict=True)]


def _successes(state: State, content: Content, runs: int, held: HeldSet) -> tuple[int, int]:
    """Successes and items of its latest runs; of one where all gave the same: they looked at the same items."""
    latest = _claimed(state, content, runs, held)
    seen = [(run.value or 0.0, run.measurement.extras["items"]) for run in latest if run.measurement]
    seen = seen[:1] if len(set(seen)) == 1 else seen
    return round(sum(rate * n for rate, n in seen)), round(sum(n for _, n in seen))


def while_climbing(state: State) -> float:
    """The gain as the study showed it: the start's mean to the value for which the best was kept."""
    assert state.baseline is not None
    assert state.best is not None
    verdict = state.trials[state.best.trial].verdict
    start = state.mean(state.baseline.tree or "")
    if verdict is None or verdict.value is None or start is None:
        raise StudyError("the best was never measured by the current referee: `autoresearch run` first")
    return state.metric.gain(start, verdict.value)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
