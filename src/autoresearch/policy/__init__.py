"""
Decides what to run next and whether to keep.

A policy is a pure function of the state: asked again after a crash, it answers the same.
"""

import importlib
import itertools
from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from autoresearch import carrying
from autoresearch.errors import StudyError
from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.trial import Best, HeldSet, Measurement, Purpose, Trial, Verdict, Word

DECIDING = ("trial", "record")  # purposes of runs that say whether a trial works at all
BUILT_IN = {
    "climb": "autoresearch.policy.climb:Climb",
    "strict": "autoresearch.policy.strict:Strict",
    "greedy": "autoresearch.policy.greedy:Greedy",
}


class Ask(Struct, frozen=True):
    """A run that a policy wants: of the trial or of its base, with this seed index."""

    index: int
    base: bool = False
    purpose: Purpose = "trial"
    held: HeldSet = "search"


class OnBest:
    """What policies have in common whose every trial starts from the best."""

    def __init__(self, study: Study) -> None:
        self.study = study

    def base(self, state: State) -> Best:
        assert state.best is not None
        return state.best

    def next_run(self, state: State, trial: Trial) -> Ask | None:
        """What calibration asks of the unchanged code, and `another` of a trial; nothing more after a failure."""
        if failure(state, trial):
            return None
        if trial.is_baseline:
            return next(iter(calibrating(state, self.study, trial)), None)
        return self.another(state, trial)

    def another(self, state: State, trial: Trial) -> Ask | None:
        """The next run of a trial that changed something, or of its base; None when enough is known to judge."""
        raise NotImplementedError


class Policy(Protocol):
    def base(self, state: State) -> Best:
        """The commit that the next trial starts from."""
        ...

    def next_run(self, state: State, trial: Trial) -> Ask | None:
        """What to run next; None when enough is known to judge."""
        ...

    def judge(self, state: State, trial: Trial) -> Verdict:
        """The verdict on a trial whose `next_run` is None."""
        ...


def make(study: Study) -> Policy:
    """The policy that study.toml names: a built-in one, or a dotted path "pkg.mod:Class" called with the study."""
    policy: Policy = load(BUILT_IN.get(study.decide.policy, study.decide.policy), "decide.policy", BUILT_IN)(study)
    return policy


def load(path: str, key: str, built_in: dict[str, str]) -> type:
    """The class behind a dotted path, with an error that names the key it came from."""
    module, _, name = path.partition(":")
    try:
        found: type = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise StudyError(
            f"study.toml: {key} = {path!r} is neither one of {', '.join(built_in)} nor a dotted path "
            f'like "pkg.mod:Class" ({error})'
        ) from None
    return found


def failure(state: State, trial: Trial) -> Measurement | None:
    """
    The first run of this trial that gave no value, if one did. Failures of an earlier trial on the same content
    do not count: the baseline may be tried again.
    """
    runs = (state.runs[i] for i in state.trials[trial.id].runs)
    results = (run.measurement for run in runs if run.tree == trial.tree and run.purpose in DECIDING)
    return next((result for result in results if result and result.status not in {"ok", "stopped"}), None)


def next_seed(state: State, tree: str, first: Iterable[int] = (), but: Iterable[int] = ()) -> int:
    """A seed index that this content was not measured with: one of `first` in their order, else the smallest."""
    done = {run.seed_index for run in state.runs_on(tree) if run.value is not None}.union(but)
    return next(index for index in itertools.chain(first, itertools.count()) if index not in done)


def calibrating(state: State, study: Study, trial: Trial) -> list[Ask]:
    """The runs of the unchanged code that are still wanted, of `decide.calibrate`: nothing is chosen because of them."""
    assert trial.tree is not None
    wanted, asks = study.decide.baseline_runs - len(state.values(trial.tree)), list[Ask]()
    while len(asks) < wanted:
        asks.append(Ask(next_seed(state, trial.tree, but=[ask.index for ask in asks]), purpose="record"))
    return asks


def failed(measurement: Measurement) -> Verdict:
    """A run without a value decides the trial: a crash is never a number."""
    words: dict[str, Word] = {"timeout": "timeout", "infeasible": "discard", "hopeless": "discard"}
    return Verdict(words.get(measurement.status, "crash"), measurement.why)


def unless_moved(verdict: Verdict, state: State, trial: Trial) -> Verdict:
    """
    A gain over a base that is no longer best is stale: the same patch is tried again on the new best. So is one beside
    winners that are measured together on the same base, of which one gained as much.
    """
    if verdict.word == "keep" and state.best is not None and state.best.commit != trial.base:
        why = f"better than its own base, but trial {state.best.trial} became best meanwhile; tried again there"
        return replace(verdict, word="stale", why=why)
    together = carrying.under_way(state) if verdict.word == "keep" and not trial.is_baseline else None
    if together and together.id != trial.id and together.base == trial.base and together.runs:
        if (verdict.gain or 0.0) > carrying.largest(state, together):
            return verdict
        why = f"better than its base, beside trial {together.id}, which carries earlier winners; tried again after it"
        return replace(verdict, word="stale", why=why)
    return verdict
