"""
A study as the server has it: what it says now, and the ideas that are being tried.

The first idea opens a session of our own, which stays open for the next one; left alone for IDLE_S, it ends, so that
`autoresearch run` can be typed beside an agent that thinks. So does a visit to the swarm that the study takes part in; a
change that is held there holds the session. Where another process runs the study, ideas are left in
its inbox and their trials are watched in the log. Either way an idea is in the inbox or in the log before anything
else happens, so that being killed loses none.

Knows the study's folder. Does not know MCP.
"""

import contextlib
import os
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from msgspec import Struct

from autoresearch import log, person, session
from autoresearch.company import in_company
from autoresearch.errors import AutoresearchError, Busy, StudyError
from autoresearch.events import SessionEnded, SessionStarted, StudyOpened
from autoresearch.follow import Follower
from autoresearch.inbox import Inbox
from autoresearch.lab import Company, Lab
from autoresearch.mcp import answers
from autoresearch.mcp.crew import Crew, Heard
from autoresearch.purse import Purse
from autoresearch.report.brief import Brief, brief
from autoresearch.session import Goal, journal, read_program
from autoresearch.state import State
from autoresearch.study import Study, load
from autoresearch.trial import Metric, Trial
from autoresearch.workspace import HOME, Workspace

IDLE_S = 30.0  # without an idea, until the study is let go
TICK_S = 0.1  # between two looks at the inbox, while it is open
GRACE_S = (
    20.0  # for ending; a thread that prepares data cannot be told to, and is left: its keeper ends what it started
)
TRY_S = 1.0  # between two tries to open it, while another process has it
FAILED = ("crash", "timeout", "rejected")


class Look(Struct, frozen=True):
    """A study at a moment, and what of it a proposer may know."""

    study: Study
    workspace: Workspace
    state: State
    brief: Brief

    def trial(self, number: int) -> Trial:
        """
        Raises:
            StudyError: there is none.
        """
        found = next((trial for trial in self.brief.trials if trial.id == number), None)
        if found is None:
            last = self.brief.trials[-1].id if self.brief.trials else None
            raise StudyError(f"no trial {number}; {'none was tried yet' if last is None else f'there are 0 to {last}'}")
        return found


class Desk:
    """One study, whose folder is `folder`. Use as a context manager; safe to call from any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.home = self.folder / HOME
        self._follower = Follower(journal(self.folder))
        self._changed = threading.Condition()  # guards what follows
        self._wanted: set[str] = set()  # keys of ideas of ours that were not settled when last looked at
        self._workers: int | None = None  # of the latest session
        self._lent: dict[str, Path] = {}  # key -> the worktree that it was made in
        self._failed: dict[str, str] = {}  # key -> why no session could try it
        self._visiting = 0.0  # until then, a session is wanted for the sake of others
        self._company: Company | None = None  # in the session that is open
        self._alone = ""  # why no session could be opened for a visit
        self._closing = False
        self._driver: threading.Thread | None = None
        self._heard = Heard()
        self.look()

    def __enter__(self) -> "Desk":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session, if one is open: runs are stopped, and go on with whoever runs the study next."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            driver = self._driver
        if driver is not None:
            driver.join(GRACE_S)

    # -- what it says now ------------------------------------------------------------------------------

    def look(self) -> Look:
        """
        The study now.

        Raises:
            AutoresearchError: it is not usable; the message says why.
        """
        study = load(self.folder)
        workspace = Workspace(self.folder, study)
        state = self.state()
        if state.opened is None:  # never run: as it would be opened now
            start, tree = workspace.head()
            metric = Metric(study.metric.name, study.metric.direction, study.metric.unit)
            state = State()
            state.apply(StudyOpened(study=study.name, start=start, start_tree=tree, metric=metric, digest="", seed=0))
        assert state.best is not None
        ladder = {"on": True, "off": False}.get(study.decide.ladder)
        around = session.around(study, workspace, Purse(study, Goal(), state.decided), session.going_on(state))
        program = read_program(self.folder)
        told = brief(study.name, program, tuple(study.asset), state.best, state, ladder, around)
        return Look(study, workspace, state, told)

    def state(self) -> State:
        """What the log says, whoever writes it."""
        with self._changed:
            for event in list(self._follower.events()):
                self._workers = event.workers if isinstance(event, SessionStarted) else self._workers
            return self._follower.state

    def holder(self) -> str:
        """Who works on the study now, in words."""
        pid = log.holder(journal(self.folder))
        if pid is None:
            return "nobody; an idea that is tried starts it"
        return "this server" if pid == os.getpid() else f"process {pid}; ideas are handed to it"

    def patch(self, look: Look, number: int | None) -> str:
        """The patch of a trial against its base; without a number, of the best against the start."""
        if number is None:
            assert look.state.opened is not None
            before, after = look.state.opened.start, look.brief.base.commit
        else:
            trial = look.trial(number)
            before, after = trial.base, trial.commit or trial.base
        return look.workspace.diff(before, after).decode(errors="replace") if before != after else ""

    def printed(self, look: Look, number: int) -> str:
        """What the last run of a trial printed at its end, where it gave no value."""
        trial = look.trial(number)
        last = look.state.runs[trial.runs[-1]] if trial.runs else None
        if last is None or last.measurement is None or last.value is not None or last.tree != trial.tree:
            return ""
        folder = self.home / "runs" / str(last.id)
        return "".join(_tail(folder / name) for name in ("run.out.txt", "run.err.txt"))[-answers.OUTPUT :]

    # -- ideas -----------------------------------------------------------------------------------------

    def attempt(self, idea: str, patch: bytes, worktree: Path | None = None) -> "Ticket":
        """
        Have an idea tried: a patch, as `git diff` gives it. Returns at once. The lent worktree that it was made in is
        taken back once there is a verdict, unless it failed.

        Raises:
            StudyError: it cannot be tried, or the budget is spent; nothing was asked then.
        """
        key = person.ask(self.folder, idea, patch, by="mcp", beyond_budget=False)
        with self._changed:
            self._wanted.add(key)
            if worktree:
                self._lent[key] = worktree
            self._failed.pop(key, None)
            self._begin()
        return Ticket(self, key)

    def _begin(self) -> None:
        """With `_changed` held."""
        if self._driver is None and not self._closing:
            self._driver = threading.Thread(target=self._drive, name="mcp-driver", daemon=True)
            self._driver.start()
        self._changed.notify_all()

    def visit(self, within_s: float) -> tuple[Company | None, str]:
        """
        Be among others for IDLE_S more. Who they are, once a session of ours is open; or why there is none: another process has
        the study, say, and is among them itself.
        """
        with self._changed:
            self._visiting, self._alone = time.monotonic() + IDLE_S, ""
            self._begin()
            self._changed.wait_for(lambda: self._company or self._alone or self._closing, within_s)
            return self._company, "" if self._company else self._alone or "the study is still being opened"

    def settled(self, key: str) -> Trial | None:
        """The trial that decided on an idea, if one has."""
        return person.verdict_on(self.state(), key)

    def carrier(self, key: str) -> int | None:
        """
        The trial that carries an idea; None while it waits for one.

        Raises:
            StudyError: there is no such idea.
        """
        found = self.state().wishes.carried.get(key)
        if found is None and key not in person.foreseen(self.folder).wishes.asked:
            raise StudyError("there is no such idea; `history` has the trials")
        return found

    def tidy(self, trial: Trial) -> str:
        """Take back the worktree of an idea that was decided. One that failed may be mended there: its path."""
        with self._changed:
            if trial.word in FAILED:
                return str(self._lent.get(trial.wish, ""))
            if path := self._lent.pop(trial.wish, None):
                with contextlib.suppress(AutoresearchError):  # the agent gave it back by itself
                    person.take_back(self.folder, path)
            return ""

    def failure(self, key: str) -> str:
        """Why an idea is not going to be tried by this server; empty if it may be."""
        with self._changed:
            return self._failed.get(key, "the server is ending" if self._closing else "")

    def how_far(self, trial: int) -> tuple[float, float | None]:
        """Of the run of a trial of ours: the fraction that is done, and its loss."""
        return self._heard.of.get(trial, (0.0, None))

    def _open(self) -> set[str]:
        """Ideas of ours that nothing was decided about."""
        with self._changed:
            for key in tuple(self._wanted):
                trial = self.settled(key)
                if trial is not None:
                    self.tidy(trial)
                if trial is not None or key in self._failed:
                    self._wanted.discard(key)
            return set(self._wanted)

    def _fail(self, why: str) -> None:
        with self._changed:
            self._failed |= dict.fromkeys(self._open(), why)

    def _leave(self, why: str) -> None:
        """No visit is to be waited for."""
        with self._changed:
            self._visiting, self._alone = 0.0, why
            self._changed.notify_all()

    def _drive(self) -> None:
        """See ideas through, until there is none left for a while. On a thread of its own."""
        while True:
            with self._changed:
                if self._closing or not (self._open() or self._visiting > time.monotonic()):
                    self._driver = None
                    return
            try:
                # As many workers as last time, so that runs have as many cores and their values compare.
                goal = Goal(workers=self._workers)
                with (
                    session.opened(self.folder, goal, self._heard, person.Nobody()) as alone,
                    in_company(self.folder, alone) as lab,
                ):
                    self._among(lab.company)
                    try:
                        self._serve(lab)
                    finally:
                        self._among(None)
            except Busy as error:  # another process is at it, and takes them from the inbox
                self._leave(str(error))
                self._pause(TRY_S)
            except AutoresearchError as error:
                self._leave(str(error))
                self._fail(str(error))
            except Exception as error:  # or those who wait would wait for ever
                traceback.print_exc()
                self._leave(f"a defect of autoresearch ({error!r})")
                self._fail(f"a defect of autoresearch ({error!r}); the server's standard error has the traceback")

    def _among(self, company: Company | None) -> None:
        with self._changed:
            self._company = company
            self._changed.notify_all()

    def _serve(self, lab: Lab) -> None:
        """A session of ours, as long as it has something to do, and IDLE_S more. The log hears of it once something is tried."""
        begun = False
        lab.log.exhausted = "only what is asked for is tried"
        crew, looked_for = Crew(lab), set[str]()  # the ideas that the latest worker could have taken
        let_go = time.monotonic() + IDLE_S
        while not self._closing and not crew.failure and lab.log.stopping is None:
            ideas = self._open()
            if ideas or crew.busy or lab.company.claims():
                let_go = time.monotonic() + IDLE_S
            elif self._is_over(let_go) or load(self.folder) != lab.study:
                break
            if not crew.busy and ideas and ideas <= looked_for:
                self._fail("the budget of the study is spent (study.toml, budget)")
            elif (ideas and not crew.busy) or lab.log.state.wishes.pending or _waits(lab.inbox):
                if not begun:
                    session.begin(lab)
                    begun = True
                looked_for = ideas if crew.send() else looked_for
            self._pause(TICK_S)
        if self._closing:
            lab.log.stop("the client went away")
            lab.executor.stop()
        crew.join()
        if why := crew.failure or lab.log.stopping:
            self._leave(why)
            self._fail(why)
        if begun:
            lab.log.append(SessionEnded(why=why or "nothing more was asked for"))

    def _is_over(self, let_go: float) -> bool:
        """Whether nobody wants the session any more; who visits from now on waits for the next one."""
        with self._changed:
            if over := time.monotonic() > max(let_go, self._visiting):
                self._company = None
            return over

    def _pause(self, seconds: float) -> None:
        with self._changed:
            if not self._closing:
                self._changed.wait(seconds)  # or until an idea comes


class Ticket:
    """An idea that was asked for."""

    def __init__(self, desk: Desk, key: str) -> None:
        self.desk, self.key = desk, key

    def is_done(self) -> bool:
        return self.desk.settled(self.key) is not None or bool(self.desk.failure(self.key))

    def progress(self) -> tuple[float, str]:
        """A number that grows, and how far it is in words."""
        state = self.desk.state()
        number = state.wishes.carried.get(self.key)
        if number is None:
            return 0.0, "waiting for its turn"
        runs = [state.runs[i] for i in state.trials[number].runs]
        done = sum(run.measurement is not None for run in runs)
        fraction, loss = self.desk.how_far(number) if len(runs) > done else (0.0, None)
        where = f"trial {number}, {done} runs done" if len(runs) == done else f"trial {number}, run {len(runs)}"
        return done + fraction, where + (f", {fraction:.0%}" if fraction else "") + (
            f", loss {loss:.4g}" if loss else ""
        )

    def told(self) -> dict[str, Any]:
        """
        The verdict with its numbers; where it is not decided yet, under which number to ask.

        Raises:
            StudyError: it could not be tried.
        """
        trial = self.desk.settled(self.key)
        if trial is not None:
            look = self.desk.look()
            best = {"value": look.brief.base_value, "trial": look.brief.base.trial}
            kept = self.desk.tidy(trial)
            still = {"still_lent": f"{kept}: mend it there and try again, or `lend` with give_back"} if kept else {}
            return answers.row(look.trial(trial.id)) | {"best_now": best} | still
        if why := self.desk.failure(self.key):
            raise StudyError(f"not decided: {why}. The idea stays with the study, and is tried when it is run again")
        number = self.desk.state().wishes.carried.get(self.key)
        return {
            "verdict": "waiting" if number is None else "running",
            "idea": self.key,
            "trial": number,
            "ask_for_it": f"`show` with idea = {self.key!r}",
        }


def _waits(inbox: Inbox) -> bool:
    """Whether somebody asked for something that is not in the log yet."""
    return bool(inbox.wishes() or inbox.accepted())


def _tail(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(-min(answers.OUTPUT, file.seek(0, os.SEEK_END)), os.SEEK_END)
        return file.read(answers.OUTPUT).decode(errors="replace")
    return ""
