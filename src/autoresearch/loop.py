"""
The loop, and nothing else: propose a change, measure it, keep it or not, until the budget is spent.

Knows no file format, no process and no statistics; what it holds together is in Lab.
"""

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from msgspec.structs import replace

from autoresearch import carrying
from autoresearch.again import carried
from autoresearch.change import Change
from autoresearch.errors import BaselineError, KindLost, NothingLeft, ProposerError, Stopped
from autoresearch.events import TrialAccepted, TrialDecided, TrialProposed
from autoresearch.inbox import Inbox
from autoresearch.lab import Lab, begin, check_out, go_on, measure
from autoresearch.log import Log
from autoresearch.patch import code_lines, seeds_in
from autoresearch.policy import Ask, calibrating, dearer, doubt, failure, no_worse, race, screening
from autoresearch.report import calibration
from autoresearch.report.brief import Brief, brief
from autoresearch.state import State
from autoresearch.trial import FINDING, Best, Limits, Proposal, Trial, Verdict
from autoresearch.workspace import Tree, Workspace, one_line

BY_THE_PERSON = "stopped by the person"
GIVE_UP_AFTER = 10  # proposals in a row that came to nothing


def work(lab: Lab) -> None:
    """Propose a change, measure it, keep it or not, until the budget is spent."""
    log = lab.log
    while lab.places.turn() and (trial := next_trial(lab)):  # an unfinished one first, else a new one
        try:
            with lab.workspace.open(trial) as tree:  # a git worktree
                if trial.commit is None:
                    trial = propose(lab, trial, tree)
                if trial.problem:
                    log.append(TrialDecided(trial=trial.id, verdict=Verdict("rejected", trial.problem)))
                    continue
                own = is_ours(lab, trial)  # another kind of machine can only say that it is no gain
                while not see_through(lab, trial, tree, own):
                    own = True
        except ProposerError as error:
            rejected = Verdict("rejected", str(error))
            log.append(TrialDecided(trial=trial.id, verdict=rejected, propose_s=round(error.took_s, 3)))
            stop_if_hopeless(lab)
        except NothingLeft as error:
            log.exhausted = str(error)
        except Stopped:
            break  # the trial stays as it is, and goes on in the next session
        finally:
            log.release(trial)
    lab.places.leave()


def see_through(lab: Lab, trial: Trial, tree: Tree, own: bool) -> bool:
    """
    Measure a trial on a place of its own and decide it. False: it did well elsewhere, or that is gone, and it goes on on our
    own kind.
    """
    with lab.places.taken(trial, own) as tier:
        lab.log.settle(trial)
        if verdict := out_of_date(lab.log.state, trial):
            lab.log.append(TrialDecided(trial=trial.id, verdict=verdict))
            return True
        try:
            return seen(replace(lab, tier=tier), trial, tree)
        except KindLost:
            return False


def seen(lab: Lab, trial: Trial, tree: Tree) -> bool:
    """
    The same, on its place.

    Raises:
        KindLost: that place was on another kind of machine, which is gone.
    """
    if lab.tier:
        know_base(lab, trial, tree)
        if not lab.log.state.on(lab.tier).values(trial.base_tree):
            return False
    if trial.is_baseline:
        calibrate(lab, trial, tree)
    while ask := next_run(lab, trial):
        measure(lab, trial, tree, ask)
    if lab.tier and judge(lab, trial).word == "keep":
        return False
    look_twice(lab, trial, tree)
    decide(lab, trial)
    return True


def is_ours(lab: Lab, trial: Trial) -> bool:
    """Whether a trial needs a machine of the study's own kind: from the first, or since it was screened; winners were."""
    winners = carrying.wins(lab.log.state, trial)
    runs = (lab.log.state.runs[run] for run in trial.runs)
    return trial.is_baseline or winners or bool(trial.wish) or trial.accepted or any(not run.tier for run in runs)


def know_base(lab: Lab, trial: Trial, tree: Tree) -> None:
    """
    Run the base of a trial on another kind of machine, as often as it has to be known there, beside others who do, and
    the trial itself while they are at it.
    """
    log = lab.log
    while True:
        with log.lock:
            while not (ask := screening.ask(log.state.on(lab.tier), lab.study, trial)):
                if not screening.waits(log.state.on(lab.tier), lab.study, trial):
                    return
                log.lock.wait()
        check_out(lab, trial, tree, ask)
        with log.lock:  # unless another worker was quicker, it is written down before one looks
            begun = begin(lab, trial, ask) if screening.ask(log.state.on(lab.tier), lab.study, trial) == ask else None
        if begun:
            go_on(lab, trial, tree, begun)


def calibrate(lab: Lab, trial: Trial, tree: Tree) -> None:
    """Run the unchanged code once and, if it has a value then, as often as the study calibrates, on all places at once."""
    if not (asks := calibrating(lab.log.state, lab.study, trial)):
        return
    measure(lab, trial, tree, asks[0])
    asks = calibrating(lab.log.state, lab.study, trial)
    if lab.places.rooms[""] < 2 or len(asks) < 2 or failure(lab.log.state, trial):
        return

    def one(ask: Ask) -> None:
        with lab.places.taken(trial), lab.workspace.at(f"{trial.id}-{ask.index}", trial.base, trial.base) as own:
            measure(lab, trial, own, ask)

    with ThreadPoolExecutor(len(asks) - 1) as pool:
        others = [pool.submit(one, ask) for ask in asks[1:]]
        measure(lab, trial, tree, asks[0])
        for other in others:
            other.result()


def next_run(lab: Lab, trial: Trial) -> Ask | None:
    """What the policy wants to know, then what a guard does; None when enough is known to judge."""
    if not trial.is_baseline and lab.log.state.trials[trial.id].runs:
        lab.log.calibrated()
    state, policy = lab.log.state.on(lab.tier), lab.policy
    return policy.next_run(state, trial) or no_worse.ask(state, lab.study, trial, policy.judge(state, trial))


def judge(lab: Lab, trial: Trial) -> Verdict:
    """What the policy says, unless its cost or a guard speaks against it."""
    state = lab.log.state.on(lab.tier)
    verdict = race.examined(state, trial, lab.policy.judge(state, trial))
    verdict = dearer.examined(state, lab.study, trial, verdict)
    return no_worse.examined(state, lab.study, trial, verdict)


def next_trial(lab: Lab) -> Trial | None:
    """What to work on next, once what the person has asked for meanwhile is done."""
    with lab.log.lock:
        for number in lab.inbox.accepted():
            accept(lab.log, lab.workspace, number, lab.tell)
            lab.inbox.done(number)
        take_up(lab.log, lab.inbox)
        heed(lab)
    return lab.log.claim(lab.may_start, lab.policy.base, lab.only, lab.beside)


def take_up(log: Log, inbox: Inbox) -> None:
    """Write down what was asked for meanwhile, each wish once, wherever the program was ended before."""
    with log.lock:
        for wish in inbox.wishes():
            if event := wish.event(log.state.wishes):
                log.append(event)
            wish.path.unlink(missing_ok=True)


def heed(lab: Lab) -> None:
    """Pause, go on or stop, as the person has asked for from another terminal or on the page."""
    log, inbox = lab.log, lab.inbox
    with log.lock:
        if inbox.take_stop() and log.stopping is None:
            log.stop(BY_THE_PERSON)
            lab.tell("stopping when the running trials are done, as was asked for")
        paused = inbox.paused and lab.only is None  # an idea that a person wants tried now is tried
        if paused != log.paused:
            log.pause(paused)
            lab.tell(
                "paused: no new trial until `autoresearch resume`; running ones are finished" if paused else "resumed"
            )


def propose(lab: Lab, trial: Trial, tree: Tree) -> Trial:
    """Give a trial its commit: from its proposer, from who asked for it, or from the stale trials it carries on."""
    log, workspace, took_s = lab.log, lab.workspace, 0.0
    if trial.carries:
        proposal = carrying.proposal(carried(tree, log.state, trial))
        change = tree.change()
    elif trial.wish:
        asked = log.state.wishes.asked[trial.wish]
        tree.carry(asked.base, asked.commit, "the change that was asked for")
        proposal = Proposal(asked.idea, asked.by)
        change = tree.change()
    else:
        began = time.monotonic()
        try:
            limits = Limits(lab.study.propose.timeout_s, trial.id)
            proposal = lab.proposer.propose(tree, told(lab, trial), limits)
            change = tree.change()
        except ProposerError as error:
            error.took_s = time.monotonic() - began
            raise
        took_s = time.monotonic() - began
    return record(lab, trial, proposal, change, workspace.commit(tree, change, trial, proposal), took_s)


def told(lab: Lab, trial: Trial) -> Brief:
    """What the proposer of a trial is given."""
    state = lab.log.state
    base = Best(trial.base, trial.base_tree, state.trees.get(trial.base_tree, trial.id))
    ladder = {"on": True, "off": False}.get(lab.study.decide.ladder)
    return brief(lab.study.name, lab.program, tuple(lab.study.asset), base, state, ladder, lab.around)


def record(
    lab: Lab, trial: Trial, proposal: Proposal, change: Change, commit: str, took_s: float = 0.0, problem: str = ""
) -> Trial:
    """Write down what a trial is going to try, and whether it may be tried at all; with a `problem` it may not."""
    log, workspace = lab.log, lab.workspace
    near = workspace.sketches.near(change.patch, log.state.back())
    workspace.sketches.learn(commit, change.patch)
    with log.lock:
        problem = problem or workspace.problem(change) or ""
        problem = problem or twin(lab, trial, change) or spared(lab, trial, proposal, change)
        log.add(
            TrialProposed(
                trial=trial.id,
                idea=one_line(proposal.idea),
                by=proposal.by,
                commit=commit,
                tree=change.tree,
                memo=proposal.memo,
                lines=code_lines(change.patch),
                seeds=seeds_in(change.patch),
                problem=problem,
                shape=change.shape,
                near=None if problem else near,
                propose_s=round(took_s, 3),
            )
        )
    log.sync()
    return log.state.trials[trial.id]


def twin(lab: Lab, trial: Trial, change: Change) -> str:
    """
    Why a change need not be measured: which trial had the same code, or the same program. Empty where none had, and where it is
    what this one carries: then it is held against the new best by the runs that it has.
    """
    state = lab.log.state
    assert state.opened is not None
    if (same := state.trees.get(change.tree)) is not None:
        return "" if same in trial.carries else f"the same code as trial {same}"
    same = state.shapes.get(change.shape)
    if same is None and change.shape == lab.workspace.shapes.of(state.opened.start):
        same = state.trees.get(state.opened.start_tree)  # its baseline, which nobody proposed
    return "" if same is None or same in trial.carries else f"the same program as trial {same}, written differently"


def spared(lab: Lab, trial: Trial, proposal: Proposal, change: Change) -> str:
    """Why an idea of one's own need not be measured: somebody elsewhere does, or did. Nobody spares us what was asked for."""
    own = not (trial.carries or trial.wish or FINDING in proposal.memo)
    return lab.company.spared(change.shape) if own else ""


def repair(lab: Lab) -> None:
    """
    Make git and the log agree after a crash between any two steps: a commit without its line in the log is
    written down, and the best branch moved to where the log says it is.
    """
    for trial in [lab.log.state.trials[i] for i in lab.log.state.unfinished]:
        if trial.commit is None and (found := lab.workspace.recover(trial)):
            record(lab, trial, *found)
    if lab.log.state.kept:
        move_best(lab.log, lab.workspace, lab.tell)


def look_twice(lab: Lab, trial: Trial, tree: Tree) -> None:
    """Measure a gain that is hard to believe once more, and its base beside it, in a clean room."""
    state = lab.log.state.on(lab.tier)
    verdict = judge(lab, trial)
    for ask in doubt.clean_room(state, lab.study, trial, verdict):
        measure(lab, trial, tree, ask)


def decide(lab: Lab, trial: Trial) -> None:
    """Judge a trial; best moves one step at a time."""
    log, state, workspace = lab.log, lab.log.state, lab.workspace
    with log.lock:
        verdict = doubt.examined(state.on(lab.tier), lab.study, trial, judge(lab, trial))
        if lab.tier:  # its value compares with nothing here
            verdict = replace(verdict, value=None, base_value=None, why=f"{verdict.why}, on {lab.tier}")
        kept_as = workspace.keep(trial, verdict) if verdict.word == "keep" else None
        log.add(TrialDecided(trial=trial.id, verdict=verdict, kept_as=kept_as))
        if kept_as:
            log.sync()
            move_best(log, workspace, lab.tell)
    log.sync()
    if trial.is_baseline and verdict.word == "keep" and (noise := state.noise):
        runs, most = len(state.values(trial.tree or "")), lab.study.decide.repeats
        lab.tell(f"Calibrated: {calibration.sentence(noise.sd, noise.dof, runs, most, lab.study.budget.trials)}.")
        for guard in lab.study.metric.no_worse:
            numbers = state.values(trial.tree or "", name=guard.name)
            lab.tell(f"{calibration.guarded(guard.name, list(numbers.values()), guard.margin)}.")
    if verdict.word == "suspect":
        lab.tell(f"trial {trial.id} is suspect: {verdict.why}. Look at it: `autoresearch show {trial.id}`")
    elif verdict.word != "keep":
        lab.executor.drop(state.trials[trial.id].runs)  # a night of checkpoints would fill the disk
    if trial.is_baseline and verdict.word != "keep":
        log.stop("the baseline cannot be measured")
        raise BaselineError(
            f"the unchanged code cannot be measured, so nothing can be compared with it: {verdict.why}. "
            "`autoresearch check` shows its output"
        )


def accept(log: Log, workspace: Workspace, number: int, tell: Callable[[str], None]) -> None:
    """A person says that a suspect trial's gain is real: it becomes best, or is tried again on the new best."""
    state = log.state
    trial = state.trials.get(number)
    if trial is None or trial.verdict is None or trial.word != "suspect":
        return
    on_best = state.best is not None and state.best.commit == trial.base and bool(state.values(trial.tree or ""))
    kept_as = workspace.keep(trial, trial.verdict) if on_best else None
    log.append(TrialAccepted(trial=number, kept_as=kept_as))
    if kept_as:
        move_best(log, workspace, tell)


def move_best(log: Log, workspace: Workspace, tell: Callable[[str], None]) -> None:
    """Make our refs say what the log says, and tell of the branch where it had to be left alone."""
    state = log.state
    assert state.best is not None
    ours = {kept for kept in (state.trials[i].kept_as for i in state.kept) if kept} | {state.best.commit}
    if warning := workspace.move_best(state.best, ours):
        tell(warning)


def out_of_date(state: State, trial: Trial) -> Verdict | None:
    """The verdict on a trial that is not worth a run on its base: the same patch is tried on the best instead."""
    if trial.is_baseline:
        return None
    if not state.values(trial.base_tree):
        return Verdict("stale", "its base was never measured by the current referee on this kind of machine")
    if state.best is not None and state.best.commit != trial.base and not state.trials[trial.id].runs:
        return Verdict("stale", f"trial {state.best.trial} became best before this one ran; tried there instead")
    return None


def stop_if_hopeless(lab: Lab) -> None:
    """A proposer that fails every time would fail all night."""
    last = list(itertools.islice(lab.log.state.back(), GIVE_UP_AFTER))
    if len(last) == GIVE_UP_AFTER and all(t.word == "rejected" and not t.idea for t in last):
        verdict = last[0].verdict
        lab.log.stop(f"the proposer failed {GIVE_UP_AFTER} times in a row: {verdict.why if verdict else ''}")
