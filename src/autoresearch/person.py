"""
What comes from outside the loop: ideas to try and notes to steer by, from a person or from an agent that drives.

An idea becomes a trial like any other: the same checks, the same runs, the same policy; whoever has it never states
a value. The steps, each of which may be the last before a kill:

    1. the change becomes a commit on the best, under a ref of its own      (ideas.py)
    2. the idea is left in the inbox, naming that commit                    (inbox.py)
    3. whoever holds the log writes it there, `idea_asked`, and then removes it from the inbox
    4. a trial is started for it, `trial_started`, and goes through the loop

An idea counts from step 2 on. From there nothing loses it, and nothing tries it twice: its key says which trial
carries it, and a trial that was begun is gone on with.
"""

import contextlib
import time
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from autoresearch import ideas, session
from autoresearch.errors import Busy, NothingLeft, StudyError
from autoresearch.events import (
    IdeaAsked,
    RunFinished,
    RunStarted,
    SessionStarted,
    TrialDecided,
    TrialProposed,
    TrialStarted,
)
from autoresearch.follow import Follower
from autoresearch.inbox import Inbox, new_key
from autoresearch.log import Log, holder, read
from autoresearch.loop import take_up
from autoresearch.propose import Tree
from autoresearch.purse import Purse
from autoresearch.report.brief import Brief, brief
from autoresearch.session import Goal, Listener, journal, make_home, read_program
from autoresearch.state import State
from autoresearch.study import Study, load
from autoresearch.trial import Limits, Proposal, Trial
from autoresearch.workspace import HOME, Workspace, one_line

ASKERS = ("person", "mcp")  # `by` of a trial that was asked for
NOTE_LENGTH = 2000  # characters
POLL_S, TRY_S = 0.2, 1.0


class Note(Struct, frozen=True):
    """A note to all proposers. `taken_up`: it is in the log; else the running study writes it there soon."""

    number: int
    text: str
    by: str
    taken_up: bool


# -- ideas ---------------------------------------------------------------------------------------------


def attempt(
    folder: Path,
    idea: str,
    patch: bytes,
    listener: Listener,
    by: str = "person",
    wait: bool = True,
    beyond_budget: bool = True,
) -> Trial | None:
    """
    Put an idea through the loop: a unified diff against the best, or one that can be carried over to it.

    Blocks until there is a verdict; where another process runs the study, that one makes the trial. The trial that
    comes back has its `verdict`, whichever word it is: a change of frozen files, or one that was tried before, is
    `rejected`. None: not decided yet, because `wait` is False, or because the session was stopped; the idea stays
    with the study and is tried by whoever runs it next. Called again with the same change before it is decided, it
    goes on with that idea.

    `by` is one of ASKERS. Without `beyond_budget`, nothing is asked once the budget of study.toml is spent.

    Raises:
        StudyError: the patch is none, does not apply or changes nothing; or the budget is spent. Nothing was asked.
        AutoresearchError: the study cannot be opened, or its baseline cannot be measured. The idea stays with it.
    """
    key = ask(folder, idea, patch, by, beyond_budget)
    return settle(folder, key, listener, beyond_budget) if wait else None


def ask(folder: Path, idea: str, patch: bytes, by: str = "person", beyond_budget: bool = True) -> str:
    """Leave an idea with the study, without waiting: its key. Errors as in `attempt`."""
    if by not in ASKERS:
        raise ValueError(f"by = {by!r}: ideas are asked for by {' or '.join(ASKERS)}")
    if not idea.strip():
        raise StudyError("say the idea in one sentence")
    folder, study, workspace = _study(folder)
    state = foreseen(folder)
    purse = Purse(study, Goal(), state.decided)
    if not beyond_budget and not purse.may_start(state, len(state.unfinished)):
        raise StudyError("the budget of the study is spent (study.toml, budget): nothing more is tried")
    base = _best(workspace, state)
    tree = ideas.content(workspace, base, patch)
    for known in state.wishes.asked.values():
        if known.tree == tree and not verdict_on(state, known.key):
            return known.key
    key = new_key()
    sentence = one_line(idea)
    commit = workspace.store(tree, base, sentence, f"asked/{key}")
    asked = IdeaAsked(at=round(time.time(), 3), key=key, idea=sentence, by=by, base=base, commit=commit, tree=tree)
    make_home(folder)
    Inbox(folder / HOME).ask_to_try(asked)
    return key


def settle(folder: Path, key: str, listener: Listener, beyond_budget: bool = True) -> Trial | None:
    """See an idea through to its verdict: in a session of our own, or by watching the one that runs. See `attempt`."""
    folder = folder.resolve()
    following = _Watch(folder, key, listener)
    while True:
        if trial := following.look():
            return trial
        try:
            # As many workers as last time, so that runs have as many cores and their values compare.
            with session.opened(folder, Goal(workers=following.workers), listener, Nobody()) as lab:
                following.waiting = False
                take_up(lab.log, lab.inbox)
                may_start = (lambda state, running: True) if beyond_budget else lab.may_start
                only = replace(lab, only=key, may_start=may_start)
                with session.stoppable(only):
                    session.see_through(only, "the idea was tried")
            return following.look()
        except Busy:
            following.wait()


class _Watch:
    """Follows one idea in a log that another process writes, and tells what happens to it."""

    def __init__(self, folder: Path, key: str, listener: Listener) -> None:
        self.path, self.key, self.listener = journal(folder), key, listener
        self.follower = Follower(self.path)
        self.waiting = False
        self.workers: int | None = None  # of the latest session
        self.look()

    def look(self) -> Trial | None:
        """The trial with its verdict, once it has one that stands."""
        for event in list(self.follower.events()):
            self.workers = event.workers if isinstance(event, SessionStarted) else self.workers
            number = event.run.trial if isinstance(event, RunStarted) else None
            if isinstance(event, RunFinished):
                number = self.follower.state.runs[event.run].trial
            if isinstance(event, TrialStarted | TrialProposed | TrialDecided):
                number = event.trial
            trial = self.follower.state.trials.get(number) if number is not None else None
            if self.waiting and trial is not None and trial.wish == self.key:
                self.listener.event(event, self.follower.state)
        return verdict_on(self.follower.state, self.key)

    def wait(self) -> None:
        """A while, for the process that holds the log."""
        if not self.waiting:
            pid = holder(self.path)
            who = f"process {pid}" if pid else "another process"
            self.listener.say(f"{who} is at this study: the idea is its next trial, or ours when it ends")
            self.waiting = True
        until = time.monotonic() + TRY_S
        while time.monotonic() < until and not self.look():
            time.sleep(POLL_S)


class Nobody:
    """Proposes nothing: for a session about one idea that somebody else had."""

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        raise NothingLeft("this session is about one idea only")


def verdict_on(state: State, key: str) -> Trial | None:
    """The trial that decided on an idea; None while there is none, or while its patch is to be tried again."""
    trial = state.trials.get(state.wishes.carried.get(key, -1))
    return trial if trial is not None and trial.verdict is not None and trial.id not in state.stale else None


def briefed(folder: Path) -> Brief:
    """What a proposer would be given now, for whoever drives the study from outside; works while it runs."""
    folder, study, workspace = _study(folder)
    state = foreseen(folder)
    if state.opened is None or state.best is None:
        raise StudyError("this study has not been run yet, so there is nothing to tell: `autoresearch run --trials 1`")
    purse = Purse(study, Goal(), state.decided)
    around = session.around(study, workspace, purse, session.going_on(state))
    around = replace(around, left=lambda now: replace(purse.left(now), hours=None))  # of a session that is not ours
    ladder = {"on": True, "off": False}.get(study.decide.ladder)
    return brief(study.name, read_program(folder), tuple(study.asset), state.best, state, ladder, around)


# -- worktrees -----------------------------------------------------------------------------------------


def lend(folder: Path) -> ideas.Lent:
    """
    A worktree of the best for somebody to edit, apart from the person's checkout.

    It stays until `take_back`, also over sessions. `changes` is the patch of what was edited there, for `attempt`.

    Raises:
        StudyError: too many are lent already.
    """
    folder, _, workspace = _study(folder)
    make_home(folder)
    return ideas.lend(workspace, _best(workspace, read(journal(folder))))


def changes(folder: Path, path: Path) -> bytes:
    """
    The patch that leads to what lies in a lent worktree, or to the asset's files in any other folder.

    Raises:
        StudyError: there is no such folder, or nothing of the asset in it.
    """
    folder, _, workspace = _study(folder)
    return ideas.changes(workspace, path.resolve(), _best(workspace, read(journal(folder))))


def take_back(folder: Path, path: Path) -> None:
    """
    Remove a lent worktree, whatever it holds.

    Raises:
        StudyError: it is not a lent one.
    """
    ideas.take_back(_study(folder)[2], path)


def lent(folder: Path) -> list[Path]:
    """The worktrees that are lent now; the study's folder in each."""
    return ideas.lent(_study(folder)[2]) if any((folder / HOME / "lent").glob("*")) else []


# -- notes ---------------------------------------------------------------------------------------------


def steer(folder: Path, words: str, by: str = "person") -> Note:
    """
    Leave a note for every proposer's next brief, also while the study runs.

    Raises:
        StudyError: it is empty or too long.
    """
    sentence = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    if not sentence:
        raise StudyError("the note is empty")
    if len(sentence) > NOTE_LENGTH:
        raise StudyError(f"the note has {len(sentence)} characters; {NOTE_LENGTH} at most. program.md may say more")
    folder, _, _ = _study(folder)
    make_home(folder)
    key = Inbox(folder / HOME).steer(sentence, by)
    _hand_over(folder)
    return next(note for note in notes(folder, key) if note.text == sentence)


def notes(folder: Path, key: str = "") -> list[Note]:
    """The notes that were not dropped, in order, those that wait in the inbox included; or the one of this key."""
    folder, _, _ = _study(folder)
    taken_up = read(journal(folder)).wishes
    found = foreseen(folder).wishes.notes.values()
    return [Note(note.note, note.text, note.by, taken_up.knows(note.key)) for note in found if key in ("", note.key)]


def drop(folder: Path, number: int) -> None:
    """
    Tell a note to nobody any more.

    Raises:
        StudyError: there is no note of this number.
    """
    if not any(note.number == number for note in notes(folder)):
        raise StudyError(f"no note {number}: `autoresearch steer --list` shows them")
    folder = folder.resolve()
    Inbox(folder / HOME).drop(number)
    _hand_over(folder)


def foreseen(folder: Path) -> State:
    """The state as it will be once what waits in the inbox is taken up."""
    load(folder)
    waiting = Inbox(folder / HOME).wishes()  # before the log: what is taken up in between is in one of the two
    state = read(journal(folder))
    for wish in waiting:
        if event := wish.event(state.wishes):
            state.apply(event)
    return state


def _hand_over(folder: Path) -> None:
    """Take up what waits in the inbox, unless a running study is going to."""
    with contextlib.suppress(Busy), Log(journal(folder)) as log:
        take_up(log, Inbox(folder / HOME))


def _study(folder: Path) -> tuple[Path, Study, Workspace]:
    folder = folder.resolve()
    study = load(folder)
    return folder, study, Workspace(folder, study)


def _best(workspace: Workspace, state: State) -> str:
    """The commit that an idea starts from."""
    return state.best.commit if state.best else workspace.head()[0]
