"""What a worker works with, and the smallest thing it does: one run, written down before it begins and after it ended."""

import time
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from autoresearch.errors import KindLost, Stopped
from autoresearch.events import RunFinished, RunStarted
from autoresearch.execute import Executor, Hopeless
from autoresearch.inbox import Inbox
from autoresearch.log import Log
from autoresearch.places import Places
from autoresearch.policy import Ask, Policy, dearer, halving, race
from autoresearch.propose import Proposer
from autoresearch.report.brief import Around
from autoresearch.seeds import seed
from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.trial import Measurement, Run, Trial
from autoresearch.workspace import Tree, Workspace


class Company(Protocol):
    """Others who work on the same study elsewhere."""

    def spared(self, key: str) -> str:
        """Why a change of one's own need not be measured here, by its shape; empty where it has to be."""
        ...

    def claims(self) -> tuple[str, ...]:
        """Shapes of changes that are held by hand."""
        ...


class Alone:
    """Nobody does."""

    def spared(self, key: str) -> str:
        return ""

    def claims(self) -> tuple[str, ...]:
        return ()


class Lab(Struct, frozen=True):
    """Everything a worker needs. Shared by all workers of a study."""

    study: Study
    program: str
    log: Log
    workspace: Workspace
    proposer: Proposer
    policy: Policy
    executor: Executor
    may_start: Callable[[State, int], bool]
    inbox: Inbox
    places: Places
    around: Around = Around()  # what a brief tells beside the state
    workers: int = 1
    beside: int = 0  # trials that may begin while the baseline is calibrated, once it has a value
    tier: str = ""  # the kind of machine that a worker's place is on, where it is not the study's own
    board: halving.Board = field(default_factory=halving.Board)  # how far the session's runs are
    company: Company = Alone()
    only: str | None = None  # the key of an idea, where the session is about nothing else
    tell: Callable[[str], None] = print  # what a person should know, in a sentence


class Terms(Struct, frozen=True):
    """
    What a run is held to where that is not what the study itself says: the digest under which its value counts, and
    what is usual there (None: not known yet).
    """

    digest: str
    usual: Measurement | None = None


class Begun(Struct, frozen=True):
    """A run that was written down, and what tells while it goes on that it is to be ended early."""

    run: Run
    hopeless: Hopeless | None


def measure(lab: Lab, trial: Trial, tree: Tree, ask: Ask) -> None:
    """
    One run of a trial, or of its base.

    Raises:
        Stopped: it was ended from outside; the run is recorded so, and does not count.
        KindLost: the same, on another kind of machine: the study goes on without that kind.
    """
    check_out(lab, trial, tree, ask)
    go_on(lab, trial, tree, begin(lab, trial, ask))


def check_out(lab: Lab, trial: Trial, tree: Tree, ask: Ask) -> None:
    """Make the worktree what is to be run, before the run is written down."""
    content, _ = _what(trial, ask)
    if lab.log.state.trials[trial.id].runs or ask.base:
        tree.reset(content)  # what an earlier run left behind must not help this one


def begin(lab: Lab, trial: Trial, ask: Ask) -> Begun:
    """Write down a run of a trial, or of its base, which `go_on` is to do. Raises KindLost as in `measure`."""
    return _begin(lab, trial, ask, *_what(trial, ask), lab.log.state.digest)


def _what(trial: Trial, ask: Ask) -> tuple[str, str]:
    """Content and commit of a run."""
    content, commit = (trial.base_tree, trial.base) if ask.base else (trial.tree, trial.commit)
    assert content is not None
    assert commit is not None
    return content, commit


def run_once(
    lab: Lab, trial: Trial, tree: Tree, ask: Ask, content: str, commit: str, terms: Terms | None = None
) -> Measurement:
    """
    Run what is checked out in a tree, and write it down. `trial` is who asks for it.

    Raises:
        Stopped, KindLost: as in `measure`.
    """
    digest = terms.digest if terms else lab.log.state.digest
    return go_on(lab, trial, tree, _begin(lab, trial, ask, content, commit, digest), terms)


def _begin(lab: Lab, trial: Trial, ask: Ask, content: str, commit: str, digest: str) -> Begun:
    log = lab.log
    assert log.state.opened is not None
    if lab.tier and not lab.places.rooms[lab.tier]:
        raise KindLost(lab.tier)
    with log.lock:
        run = Run(
            id=log.state.next_run,
            trial=trial.id,
            tree=content,
            commit=commit,
            seed_index=ask.index,
            seed=seed(log.state.opened.seed, ask.index),
            digest=digest,
            started_at=round(time.time(), 3),
            held=ask.held,
            purpose=ask.purpose,
            tier=lab.tier,
        )
        begun = Begun(run, watch(lab, run))
        log.add(RunStarted(run=run))
    return begun


def go_on(lab: Lab, trial: Trial, tree: Tree, begun: Begun, terms: Terms | None = None) -> Measurement:
    """Do what was written down. Raises as in `measure`."""
    log, run = lab.log, begun.run
    log.sync()
    assert log.state.opened is not None
    if changed := lab.workspace.restore_referee(log.state.opened.start):
        lab.tell(f"{changed[0].name} of the frozen code was changed by somebody; it is again as it was committed")
    # What is claimed was kept, or is part of it: that it costs more than the start is told, and no reason to stop.
    free = trial.is_baseline or run.purpose == "claim"
    usual = None if free else dearer.usual(log.state.on(lab.tier), lab.study, trial)
    usual = terms.usual if terms else usual
    began = time.monotonic()
    result = lab.executor.run(run, tree.path, lab.study, usual, begun.hopeless)
    if not result.held_s:  # an executor that does not say for how long a slot was held
        result = replace(result, slot_s=round(time.monotonic() - began, 3))
    lost = bool(lab.tier) and result.status == "stopped" and log.stopping is None
    if lost and lab.places.withdraw(lab.tier):  # before others who wait for this run ask for one more
        lab.tell(f"nothing more is screened on {lab.tier} in this session: {result.why}")
    log.append(RunFinished(run=run.id, measurement=result))
    if lost:
        raise KindLost(lab.tier)
    if result.status == "stopped":
        log.stop(result.why)  # if nothing has yet: a machine was lost, and there may be no other
        raise Stopped(result.why)
    return result


def watch(lab: Lab, run: Run) -> Hopeless | None:
    """What tells while this run goes on that it is to be ended early; None where nothing does."""
    state, decide = lab.log.state.on(lab.tier), lab.study.decide
    trial = state.trials[run.trial]
    asks = halving.watch(state, trial, run, decide.halving, lab.board) if decide.halving else None
    limit = race.watch(state, trial, run) if decide.race else None
    return halving.Either(asks, limit) if asks and limit else asks or limit
