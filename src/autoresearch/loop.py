"""
The loop, and nothing else: propose a change, measure it, keep it or not, until the budget is spent.

Knows no file format, no process and no statistics; what it holds together is in Lab.
"""

import time
from collections.abc import Callable

from msgspec import Struct

from autoresearch.errors import BaselineError, NothingLeft, ProposerError, Stopped
from autoresearch.events import RunFinished, RunStarted, State, TrialDecided, TrialProposed
from autoresearch.execute import Executor
from autoresearch.log import Log
from autoresearch.policy import Policy
from autoresearch.propose import Proposer
from autoresearch.report.brief import brief
from autoresearch.seeds import seed
from autoresearch.study import Study
from autoresearch.trial import Best, Limits, Proposal, Run, Trial, Verdict
from autoresearch.workspace import Change, Tree, Workspace, one_line

GIVE_UP_AFTER = 10  # proposals in a row that came to nothing


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
    workers: int = 1
    tell: Callable[[str], None] = print  # what a person should know, in a sentence


def work(lab: Lab) -> None:
    """Propose a change, measure it, keep it or not, until the budget is spent."""
    log, state = lab.log, lab.log.state
    while trial := log.claim(lab.may_start, lab.policy.base):  # an unfinished trial first, else a new one
        try:
            with lab.workspace.open(trial) as tree:  # a git worktree
                if trial.commit is None:
                    trial = propose(lab, trial, tree)
                if verdict := not_worth_a_run(state, trial):
                    log.append(TrialDecided(trial=trial.id, verdict=verdict))
                    continue
                while (index := lab.policy.next_run(state, trial)) is not None:
                    measure(lab, trial, tree, index)
                decide(lab, trial)
        except ProposerError as error:
            log.append(TrialDecided(trial=trial.id, verdict=Verdict("rejected", str(error))))
            stop_if_hopeless(lab)
        except NothingLeft as error:
            log.exhausted = str(error)
        except Stopped:
            return  # the trial stays as it is, and goes on in the next session
        finally:
            log.release(trial)


def propose(lab: Lab, trial: Trial, tree: Tree) -> Trial:
    """Give a trial its commit: from its proposer, or from the stale trial it carries on."""
    log, workspace = lab.log, lab.workspace
    if trial.again is not None:
        stale = log.state.trials[trial.again]
        tree.carry(stale)
        proposal = Proposal(stale.idea, stale.by, stale.memo)
    else:
        base = Best(trial.base, trial.base_tree, trial.id)
        given = brief(lab.study.name, lab.program, tuple(lab.study.asset), base, log.state)
        proposal = lab.proposer.propose(tree, given, Limits(lab.study.propose.timeout_s))
    change = tree.change()
    return record(lab, trial, proposal, change, workspace.commit(tree, change, trial, proposal))


def record(lab: Lab, trial: Trial, proposal: Proposal, change: Change, commit: str) -> Trial:
    """Write down what a trial is going to try, and whether it may be tried at all."""
    log, workspace = lab.log, lab.workspace
    with log.lock:
        twin = log.state.trees.get(change.tree)
        problem = workspace.problem(change) or ("" if twin is None else f"the same code as trial {twin}")
        log.append(
            TrialProposed(
                trial=trial.id,
                idea=one_line(proposal.idea),
                by=proposal.by,
                commit=commit,
                tree=change.tree,
                memo=proposal.memo,
                lines=change.lines,
                problem=problem,
            )
        )
    return log.state.trials[trial.id]


def repair(lab: Lab) -> None:
    """
    Make git and the log agree after a crash between any two steps: a commit without its line in the log is
    written down, and the best branch moved to where the log says it is.
    """
    for trial in [lab.log.state.trials[i] for i in lab.log.state.unfinished]:
        if trial.commit is None and (found := lab.workspace.recover(trial)):
            record(lab, trial, *found)
    if lab.log.state.kept and (warning := move_best(lab)):
        lab.tell(warning)


def measure(lab: Lab, trial: Trial, tree: Tree, index: int) -> None:
    """
    One run of a trial.

    Raises:
        Stopped: it was ended from outside; the run is recorded so, and does not count.
    """
    log = lab.log
    assert trial.tree is not None
    assert trial.commit is not None
    if trial.runs or index:
        tree.reset(trial.tree)  # what an earlier run left behind must not help this one
    with log.lock:
        root = log.state.opened.seed if log.state.opened else 0
        run = Run(
            id=log.state.next_run,
            trial=trial.id,
            tree=trial.tree,
            commit=trial.commit,
            seed_index=index,
            seed=seed(root, index),
            digest=log.state.digest,
            started_at=round(time.time(), 3),
        )
        log.append(RunStarted(run=run))
    usual = None if trial.is_baseline else log.state.usual
    result = lab.executor.run(run, tree.path, lab.study, usual)
    log.append(RunFinished(run=run.id, measurement=result))
    if result.status == "stopped":
        raise Stopped(result.why)


def decide(lab: Lab, trial: Trial) -> None:
    """Judge a trial; best moves one step at a time."""
    log, state = lab.log, lab.log.state
    with log.lock:
        verdict = lab.policy.judge(state, trial)
        kept_as = lab.workspace.keep(trial, verdict) if verdict.word == "keep" else None
        log.append(TrialDecided(trial=trial.id, verdict=verdict, kept_as=kept_as))
        if kept_as and (warning := move_best(lab)):
            lab.tell(warning)
    if verdict.word != "keep":
        lab.executor.drop(state.trials[trial.id].runs)  # a night of checkpoints would fill the disk
    if trial.is_baseline and verdict.word != "keep":
        log.stop("the baseline cannot be measured")
        raise BaselineError(
            f"the unchanged code cannot be measured, so nothing can be compared with it: {verdict.why}. "
            "`autoresearch check` shows its output"
        )


def move_best(lab: Lab) -> str | None:
    """Make our refs say what the log says."""
    state = lab.log.state
    assert state.best is not None
    ours = {kept for kept in (state.trials[i].kept_as for i in state.kept) if kept} | {state.best.commit}
    return lab.workspace.move_best(state.best, ours)


def not_worth_a_run(state: State, trial: Trial) -> Verdict | None:
    """The verdict on a trial that cannot be compared, or may not be tried at all."""
    if trial.problem:
        return Verdict("rejected", trial.problem)
    if not trial.is_baseline and not state.values(trial.base_tree):
        return Verdict("stale", "its base was never measured by the current referee on this kind of machine")
    return None


def stop_if_hopeless(lab: Lab) -> None:
    """A proposer that fails every time would fail all night."""
    last = list(lab.log.state.trials.values())[-GIVE_UP_AFTER:]
    if len(last) == GIVE_UP_AFTER and all(t.word == "rejected" and not t.idea for t in last):
        verdict = last[-1].verdict
        lab.log.stop(f"the proposer failed {GIVE_UP_AFTER} times in a row: {verdict.why if verdict else ''}")
