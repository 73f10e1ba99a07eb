"""
One process at one study: opens it, starts the workers, and stops.

Knows which parts belong together; the work itself is in loop.py.
"""

import contextlib
import itertools
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import FrameType

import autoresearch
from autoresearch import policy
from autoresearch.asset import Asset
from autoresearch.company import in_company
from autoresearch.errors import AutoresearchError, Busy, StudyError, WorkspaceError
from autoresearch.events import SessionEnded, SessionStarted, StudyOpened
from autoresearch.execute import Executor
from autoresearch.execute.environment import words
from autoresearch.execute.local import Local
from autoresearch.execute.placing import local, placed
from autoresearch.inbox import Inbox
from autoresearch.lab import Lab
from autoresearch.listener import Listener as Listener
from autoresearch.log import Log
from autoresearch.loop import BY_THE_PERSON, accept, heed, repair, work
from autoresearch.places import LATELY, Places
from autoresearch.policy import screening
from autoresearch.propose import Proposer
from autoresearch.propose.account import reached
from autoresearch.propose.making import Given, make
from autoresearch.purse import Goal as Goal
from autoresearch.purse import Purse
from autoresearch.rejoin import rejoin
from autoresearch.report.brief import Around
from autoresearch.rules import sentences
from autoresearch.state import State
from autoresearch.study import Study, load
from autoresearch.tell.listening import told
from autoresearch.trial import Machine, Metric
from autoresearch.workspace import HOME, Workspace

EVENTS = "events.jsonl"
HEAR_S = 0.5  # between two looks at what the person wants


def journal(folder: Path) -> Path:
    return folder / HOME / EVENTS


def make_home(folder: Path) -> Path:
    """The folder for everything of ours; it ignores itself, so no ignore rule of the person's changes."""
    home = folder / HOME
    try:
        home.mkdir(parents=True, exist_ok=True)
        (home / ".gitignore").write_text("*\n")
    except OSError as error:
        raise StudyError(f"{home}: {error.strerror}; the study's folder must be writable") from None
    return home


@contextlib.contextmanager
def opened(folder: Path, goal: Goal, listener: Listener, proposer: Proposer | None = None) -> Iterator[Lab]:
    """
    The study in this folder, ready to work on: log locked and repaired, worktrees clean, data prepared. `proposer`
    takes the place of the one that study.toml names.

    Raises:
        AutoresearchError: something is missing or wrong; the message says what to do.
    """
    folder = folder.resolve()
    study = load(folder)
    workspace = Workspace(folder, study)
    home = make_home(folder)
    with Log(journal(folder)) as log, contextlib.ExitStack() as stack:
        inbox = Inbox(home)
        inbox.take_stop()  # meant for a session that was gone before it heard of it
        started = log.state.decided
        workspace.clean()
        open_study(log, workspace, study, listener)
        workers = goal.workers or study.execute.workers
        assert log.state.opened is not None
        start = log.state.opened.start
        here = local(study, home, workers, listener.progress)
        stack.callback(workspace.clean)
        stack.callback(here.close)
        rejoined: list[threading.Thread] = []
        stack.callback(_join, rejoined)
        executor = placed(here, study, listener.say)
        stack.callback(executor.close)
        if said := screening.sentence(study, executor.machine.tier, executor.others):
            listener.say(said)
        purse = Purse(study, goal, started, listener.say)
        room = at_once(executor, here, workers, listener.say)
        kinds = executor.others if screening.fits(study) else {}
        lab = Lab(
            study=study,
            program=read_program(folder),
            log=log,
            workspace=workspace,
            proposer=proposer or make(given(study, folder, here, log, purse, listener)),
            policy=policy.make(study),
            executor=executor,
            may_start=purse.may_start,
            inbox=inbox,
            places=places(room, kinds, log),
            around=around(study, workspace, purse, room + sum(kinds.values())),
            workers=room,
            # More would wait for its places, and it for theirs.
            beside=max(0, room + sum(kinds.values()) - study.decide.baseline_runs),
            tell=listener.say,
        )
        data = study.data_digest(workspace.frozen(start))
        executor.prepare(study, workspace.referee(start), data, listener.say)
        repair(lab)
        rejoined += rejoin(log, executor, study, listener.say)
        log.listener = lambda event: listener.event(event, log.state)
        log.on_stop = listener.ending
        yield lab


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


def open_study(log: Log, workspace: Workspace, study: Study, listener: Listener) -> None:
    """Write down what the study is, when it is new or its referee has changed."""
    was = log.state.opened
    if was is not None and was.study != study.name:
        raise StudyError(
            f"study.toml: name = {study.name!r}, but the study in this folder was begun as {was.study!r}: write "
            f"that name again, or move {HOME} away to begin anew"
        )
    if was is None or not log.state.kept:  # nothing was ever measured here: begin from what is committed now
        start, start_tree = workspace.head()
        check_start(workspace, study, start)
        seed = was.seed if was else secrets.randbits(31)
    else:
        start, start_tree, seed = was.start, was.start_tree, was.seed
        remind(workspace, start, listener)
    digest = study.digest(workspace.frozen(start))
    if was is not None and (was.digest, was.start) == (digest, start):
        return
    if log.state.kept:
        listener.say("what is measured has changed: the best is measured anew, and earlier values do not count")
    metric = Metric(study.metric.name, study.metric.direction, study.metric.unit)
    log.append(
        StudyOpened(study=study.name, start=start, start_tree=start_tree, metric=metric, digest=digest, seed=seed)
    )


def check_start(workspace: Workspace, study: Study, start: str) -> None:
    """
    Raises:
        StudyError, WorkspaceError: a study cannot begin from this commit.
    """
    commands = (study.measure.run, study.measure.score, study.measure.prepare)
    if lost := workspace.untracked(word for command in commands if command for word in words(command)):
        raise StudyError(
            f"study.toml: measure names {', '.join(map(repr, lost))}, which git does not track, so no run would find "
            "it: `git add` and commit it"
        )
    if not workspace.asset_files(start):
        raise StudyError(
            f"study.toml: asset {', '.join(map(repr, study.asset))} matches no file that git tracks here; "
            "correct the pattern, or `git add` and commit the file"
        )
    if changed := workspace.uncommitted():
        raise WorkspaceError(
            f"{', '.join(map(repr, changed[:3]))} has changes that are not committed, and a study starts from a "
            "commit: `git commit -a` or `git stash` first"
        )
    if taken := workspace.taken():
        raise WorkspaceError(taken)


def remind(workspace: Workspace, start: str, listener: Listener) -> None:
    """Say so when frozen files were committed anew since the study began: it goes on with the old ones."""
    head, _ = workspace.head()
    changed = set(workspace.frozen(head)) - set(workspace.frozen(start)) if head != start else set()
    if changed:
        names = sorted(line.partition("\t")[2] for line in changed)
        listener.say(
            f"{', '.join(names[:3])} changed since this study began at {start[:10]}; it goes on with the files of "
            f"then. Move {HOME} away to begin anew"
        )


def lately(state: State) -> list[tuple[float, float]]:
    """Of the latest trials, the oldest first: seconds to have the idea, and to measure it."""
    decided = (t for t in reversed(state.trials.values()) if t.verdict and t.runs and not (t.is_baseline or t.carries))
    found = []
    for trial in itertools.islice(decided, LATELY):
        done = [run.measurement for run in map(state.runs.__getitem__, trial.runs) if run.measurement]
        found.append((trial.propose_s, sum(measurement.held_s for measurement in done)))
    return found[::-1]


def given(study: Study, folder: Path, here: Local, log: Log, purse: Purse, listener: Listener) -> Given:
    """What a proposer is made with."""
    return Given(
        study,
        folder,
        here.home,
        here.keepers,
        log.state,
        log.append,
        listener.say,
        stopping=lambda: log.stopping is not None or purse.is_late(),
        note=log.append,
    )


def at_once(executor: Executor, here: Local, workers: int | None, say: Callable[[str], None]) -> int:
    """How many trials go on at once on the study's own kind of machine; on this one, no more than it has slots."""
    if executor is not here:
        return workers or executor.room
    if workers and workers > (slots := here.room + sum(here.others.values())):
        say(f"{workers} workers were asked for, and this machine has room for {slots}: {slots} trials at once")
    return here.room


def going_on(state: State) -> int:
    """How many trials go on at once in the session that is open; one where there is none."""
    return state.session.workers if state.session else 1


def places(room: int, others: Mapping[str, int], log: Log) -> Places:
    """So many on the study's own kind of machine, and on other kinds, where trials can be screened."""
    found = Places(room, others, lambda: log.stopping is not None)
    found.learn(lately(log.state))
    return found


def read_program(folder: Path) -> str:
    """program.md: the goal in the person's words, for proposers that read."""
    with contextlib.suppress(OSError):
        return (folder / "program.md").read_text(encoding="utf-8", errors="replace")
    return ""


def around(study: Study, workspace: Workspace, purse: Purse, slots: int) -> Around:
    """What a brief tells beside the state of the study."""
    return Around(
        contents=Asset(workspace).contents,
        left=purse.left,
        rules=sentences(study),
        repeats=study.decide.repeats,
        trials=study.budget.trials,
        slots=slots,
        learnt=partial(_learnt, workspace.folder) if study.live is not None else tuple,
    )


def _learnt(folder: Path) -> tuple[str, ...]:
    from autoresearch.campaign import telling

    return telling.told(folder)


def run(folder: Path, goal: Goal, listener: Listener) -> State:
    """Work on the study until its budget is spent, nothing is left to try, or the person stops it."""
    study = load(folder)
    if study.live is not None:
        from autoresearch.campaign import running

        return running.run(folder, goal, listener)
    with (
        told(folder.resolve(), study.tell, study.budget, goal.hours or study.budget.hours, listener) as listener,
        opened(folder, goal, listener) as alone,
        in_company(folder, alone) as lab,
        stoppable(lab),
    ):
        why = see_through(lab, "the budget is spent")
        listener.say(f"Ended: {why}.")
        return lab.log.state


def see_through(lab: Lab, done: str) -> str:
    """A session from its first event to its last: why it ended, where nothing else ended it `done`."""
    begin(lab)
    failures = run_workers(lab, lab.places.workers)
    if failures:
        raise failures[0]
    capped = reached(lab.study.budget, lab.log.state)
    why = lab.log.stopping or lab.log.exhausted or capped or done
    lab.log.append(SessionEnded(why=why))
    return why


def begin(lab: Lab, machine: Machine | None = None) -> None:
    """
    Write down that this process took the study up, and on what machine, the executor's if on no other: from here on only its
    values count.
    """
    machine, version = machine or lab.executor.machine, autoresearch.__version__
    lab.log.append(
        SessionStarted(
            pid=os.getpid(),
            version=version,
            machine=machine,
            workers=lab.workers,
            dollars_per_hour=lab.study.execute.dollars_per_hour,
        )
    )


def accept_trial(folder: Path, number: int, tell: Callable[[str], None]) -> bool:
    """
    Take a person's word that a suspect trial's gain is real. False: the study is running, and will take it up
    before its next trial.
    """
    study = load(folder)
    try:
        with Log(journal(folder)) as log:
            accept(log, Workspace(folder, study), number, tell)
        return True
    except Busy:
        Inbox(folder / HOME).ask_to_accept(number)
        return False


def run_workers(lab: Lab, n: int) -> list[BaseException]:
    """`work` on n threads; what stopped any of them stops all."""
    failures: list[BaseException] = []

    def body() -> None:
        try:
            work(lab)
        except BaseException as error:
            failures.append(error)
            lab.log.stop(str(error) if isinstance(error, AutoresearchError) else f"a defect: {error!r}")

    heed(lab)
    threads = [threading.Thread(target=body, name=f"worker-{i}") for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # with a limit, so that signals are heard in between
            thread.join(HEAR_S)
            heed(lab)
    return failures


@contextlib.contextmanager
def stoppable(lab: Lab) -> Iterator[None]:
    """Ctrl-C once: no new trial, running ones are finished. Twice, or SIGTERM: running ones end now, to go on later."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        gently = lab.log.stopping is None and number == signal.SIGINT
        lab.log.stop(BY_THE_PERSON)  # before anything is said: a second Ctrl-C may come at once
        if gently:
            said = "stopping when the running trials are done; Ctrl-C again to stop now (nothing is lost either way)"
            # In a thread of its own: whoever was interrupted may be in the midst of a line.
            threading.Thread(target=lab.tell, args=[said]).start()
        else:
            lab.executor.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
