"""
What several tests need: studies in real repositories, made-up histories, and a look at processes.

The study of most tests has one file that may change, `step.sh`, and its measure command runs it. A proposal
rewrites the file, so it can print, do and break whatever the test is about.
"""

import contextlib
import hashlib
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from autoresearch import carrying, log, session
from autoresearch import events as ev
from autoresearch.events import Event
from autoresearch.policy import Ask
from autoresearch.session import Goal, Listener
from autoresearch.state import State
from autoresearch.trial import Imported, Machine, Measurement, Metric, Purpose, Run, RunStatus, Trial, Verdict, Word

PYTHON = sys.executable
MACHINE = Machine("test, 1 core", 1)
# Takes away what lets root write where permissions say no, then becomes the command given to it.
_DROP = """
import ctypes, os, sys
for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.argv[1], sys.argv[1:])
"""
WITHOUT_PRIVILEGE = [PYTHON, "-c", _DROP]


# -- git -----------------------------------------------------------------------------------------------


def git(folder: Path, *args: str, input: str | None = None) -> str:
    """Git as the person uses it, with their identity and configuration."""
    done = subprocess.run(["git", *args], cwd=folder, input=input, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {args}: {done.stderr}"
    return done.stdout.strip()


def repository(folder: Path, files: dict[str, str]) -> Path:
    """A repository with one commit of these files."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet")
    write(folder, files)
    commit(folder)
    return folder


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def commit(folder: Path) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "--no-gpg-sign", "-m", "by the person")
    return git(folder, "rev-parse", "HEAD")


def fingerprint(folder: Path) -> dict[str, str]:
    """
    Mode and content of everything in a repository that belongs to the person: files tracked or not, index,
    HEAD, configuration, hooks, reflogs and branches. New objects, refs and worktrees of ours are not theirs.
    """
    ours = [".git/objects/", ".git/refs/autoresearch/", ".git/refs/heads/autoresearch/", ".autoresearch/"]
    ours += [".git/logs/refs/heads/autoresearch/"]
    for link in folder.glob(".git/worktrees/*/gitdir"):
        if "/.autoresearch/trees/" in link.read_text():
            ours.append(f"{link.parent.relative_to(folder).as_posix()}/")
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if f"{name}/".startswith(tuple(ours)) or "/.autoresearch/" in f"/{name}/" or name == ".git/worktrees":
            continue
        content = b""
        if stat.S_ISLNK(mode):
            content = os.readlink(path).encode()
        elif stat.S_ISREG(mode):
            content = path.read_bytes()
        found[name] = f"{mode:o} {hashlib.sha256(content).hexdigest()[:16]}"
    return found


# -- studies -------------------------------------------------------------------------------------------


def toml(table: dict[str, Any]) -> str:
    """TOML for a dict of plain values; tables inside are written inline."""
    return "".join(f"{_string(key)} = {_value(value)}\n" for key, value in table.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_string(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return _string(value) if isinstance(value, str) else str(value)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def contract(**changes: Any) -> dict[str, Any]:
    """The study of most tests as a dict, one level of it replaced key by key: `contract(measure={"run": "x"})`."""
    tables: dict[str, Any] = {
        "name": "s",
        "asset": ["step.sh"],
        "metric": {"name": "loss"},
        "measure": {"run": "sh step.sh", "timeout_s": 20},
        "execute": {"workers": 1, "sandbox": "none"},
        "propose": {"with": ["script"], "script": "steps.jsonl", "sandbox": "none"},
        "decide": {"calibrate": 1},
    }
    for name, change in changes.items():
        was = tables.get(name, {})
        tables[name] = was | change if isinstance(was, dict) and isinstance(change, dict) else change
    return tables


def says(value: object, idea: str = "") -> dict[str, Any]:
    """A step of a script after which the run states this value."""
    return step(f"echo METRIC loss={value}\n", idea or f"say {value}")


def step(content: str, idea: str = "an idea", more: dict[str, str | None] | None = None) -> dict[str, Any]:
    """A step of a script that rewrites step.sh, and more files where given."""
    return {"idea": idea, "files": {"step.sh": content} | (more or {})}


def make_study(
    folder: Path,
    *steps: dict[str, Any],
    start: str = "echo METRIC loss=10\n",
    files: dict[str, str] | None = None,
    **changes: Any,
) -> Path:
    """A study in a repository of its own, with a script of proposals."""
    own = {"study.toml": toml(contract(**changes)), "program.md": "Make it small.\n", "steps.jsonl": script(*steps)}
    return repository(folder, own | {"step.sh": start} | (files or {}))


def script(*steps: dict[str, Any]) -> str:
    return "".join(json.dumps(s) + "\n" for s in steps)


class Recorder(Listener):
    """Remembers what a session told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.events: list[Event] = []
        self.points: list[tuple[float, float | None]] = []

    def event(self, event: Event, state: State) -> None:
        self.events.append(event)

    def progress(self, run: Run, fraction: float, loss: float | None) -> None:
        self.points.append((fraction, loss))

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def play(
    folder: Path, recorder: Recorder | None = None, trials: int | None = None, workers: int | None = None
) -> State:
    """Run a study until its script is exhausted."""
    return session.run(folder, Goal(trials=trials, workers=workers), recorder or Recorder())


def state_of(folder: Path) -> State:
    """What the log of a study says, read anew."""
    return log.read(session.journal(folder))


def words(state: State) -> list[str]:
    """The verdicts in order, baselines left out."""
    return [trial.word for trial in state.trials.values() if not trial.is_baseline]


def runs_for(folder: Path, purpose: Purpose) -> list[Run]:
    return [run for run in state_of(folder).runs.values() if run.purpose == purpose]


def last(state: State) -> Trial:
    return list(state.trials.values())[-1]


def why(state: State) -> str:
    """Why the last trial ended as it did."""
    verdict = last(state).verdict
    assert verdict is not None
    return verdict.why


def journal_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in session.journal(folder).read_text().splitlines()]


# -- histories -----------------------------------------------------------------------------------------


class History:
    """Makes events that could follow each other, and folds them as it goes."""

    def __init__(self, direction: str = "minimize", digest: str = "d0") -> None:
        self.state = State()
        self.events: list[Event] = []
        self.metric = Metric("loss", direction)  # type: ignore[arg-type]
        self.reopen(digest)
        self.session(MACHINE)

    def happen(self, event: Event) -> None:
        self.events.append(event)
        self.state.apply(event)

    def reopen(self, digest: str) -> None:
        self.happen(ev.StudyOpened(study="s", start="c0", start_tree="t0", metric=self.metric, digest=digest, seed=1))

    def session(self, machine: Machine) -> None:
        self.machine = machine
        self.happen(ev.SessionStarted(pid=7, version="0", machine=machine, workers=2))

    def start(
        self, baseline: bool = False, again: int | None = None, wish: str = "", stack: tuple[int, ...] = ()
    ) -> int:
        best, id = self.state.best, self.state.next_trial
        assert best is not None
        carries: dict[str, Any] = {"again": again, "stack": stack, "baseline": baseline, "wish": wish}
        self.happen(ev.TrialStarted(trial=id, base=best.commit, base_tree=best.tree, **carries))
        return id

    def ask(self, idea: str = "mine", by: str = "person") -> str:
        key = f"key {len(self.state.wishes.asked)}"
        self.happen(ev.IdeaAsked(key=key, idea=idea, by=by, base="c0", commit=f"a{key}", tree=f"a{key}"))
        return key

    def steer(self, text: str, by: str = "person") -> int:
        note = self.state.wishes.next_note
        self.happen(ev.Steered(note=note, text=text, by=by, key=f"note {note}"))
        return note

    def propose(self, trial: int, tree: str | None = None, **more: Any) -> None:
        tree = tree or f"t{trial}"
        self.happen(
            ev.TrialProposed(trial=trial, idea=f"idea {trial}", by="script", commit=f"c{trial}", tree=tree, **more)
        )

    def begin_run(self, trial: int, index: int | None = None, purpose: Purpose = "trial") -> int:
        found, id = self.state.trials[trial], self.state.next_run
        assert found.tree is not None
        assert found.commit is not None
        index = len(self.state.runs_on(found.tree)) if index is None else index
        about = (id, trial, found.tree, found.commit, index, 1000 + index, self.state.digest)
        self.happen(ev.RunStarted(run=Run(*about, purpose=purpose)))
        return id

    def end_run(self, run: int, value: float | None, status: RunStatus = "ok", **more: Any) -> None:
        digest = self.state.runs[run].digest
        self.happen(ev.RunFinished(run=run, measurement=Measurement(status, value, digest, self.machine, **more)))

    def measured(self, trial: int, *values: float) -> None:
        for value in values:
            self.end_run(self.begin_run(trial), value)

    def begin_look(self, best: int, index: int, by: int | None = None, purpose: Purpose = "record") -> int:
        """Another run of something that was kept."""
        found, id = self.state.trials[best], self.state.next_run
        assert found.tree is not None
        trial, commit = best if by is None else by, found.kept_as or ""
        run = Run(id, trial, found.tree, commit, index, 1000 + index, self.state.digest, purpose=purpose)
        self.happen(ev.RunStarted(run=run))
        return id

    def look(self, best: int, index: int, value: float) -> None:
        self.end_run(self.begin_look(best, index), value)

    def answer(self, trial: int, ask: Ask, value: float | None, **more: Any) -> None:
        """The run that a policy asked for, of the trial or of its base; a crash where there is no value."""
        assert self.state.best is not None
        if ask.base:
            run = self.begin_look(self.state.best.trial, ask.index, by=trial, purpose=ask.purpose)
        else:
            run = self.begin_run(trial, ask.index, ask.purpose)
        self.end_run(run, value, "crash" if value is None else "ok", **more)

    def decide(self, trial: int, word: Word, value: float | None = None, **more: Any) -> None:
        kept_as = None
        if word == "keep":
            found = self.state.trials[trial]
            kept_as = found.base if found.is_baseline else f"k{trial}"
        self.happen(ev.TrialDecided(trial=trial, verdict=Verdict(word, "because", value, **more), kept_as=kept_as))

    def baseline(self, *values: float) -> int:
        trial = self.start(baseline=True)
        for value in values:
            self.end_run(self.begin_run(trial, purpose="record"), value)
        self.decide(trial, "keep", sum(values) / len(values))
        return trial

    def tried(self, *values: float, tree: str | None = None, **more: Any) -> int:
        """A trial with runs, not yet decided."""
        trial = self.start()
        self.propose(trial, tree, **more)
        self.measured(trial, *values)
        return trial


VALUES = st.floats(-1e6, 1e6, allow_nan=False)
_ACTIONS = ("start", "again", "stack", "baseline", "propose", "run", "ok", "crash", "stop", "decide", "withdraw")
_RARE = ("reopen", "session", "end", "import", "ask", "ask", "steer", "drop")
_MEMO = st.dictionaries(st.text(max_size=5), st.integers(-9, 9) | st.text(max_size=5) | st.none(), max_size=2)
_WORDS: tuple[Word, ...] = ("keep", "keep", "discard", "crash", "timeout", "rejected", "stale", "inconclusive")
_BASELINE_WORDS: tuple[Word, ...] = ("keep", "crash")


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Sequences of events that a loop could have written."""
    past = History(draw(st.sampled_from(["minimize", "maximize"])))
    for action in draw(st.lists(st.sampled_from(_ACTIONS * 3 + _RARE), max_size=40)):
        _act(draw, past, action)
    return past.events


def _act(draw: st.DrawFn, past: History, action: str) -> None:
    state = past.state
    thinking = [i for i in state.unfinished if state.trials[i].commit is None]
    running = [i for i in state.unfinished if state.trials[i].commit is not None]
    if action in ("start", "baseline"):
        waiting = [idea.key for idea in state.wishes.pending] if action == "start" else []
        past.start(baseline=action == "baseline", wish=draw(st.sampled_from(["", *waiting])) if waiting else "")
    elif action == "ask":
        past.ask(draw(st.text(max_size=9)))
    elif action == "steer":
        past.steer(draw(st.text(max_size=9)), draw(st.sampled_from(["person", "mcp"])))
    elif action == "drop" and state.wishes.notes:
        past.happen(ev.NoteDropped(note=draw(st.sampled_from(list(state.wishes.notes)))))
    elif action == "again" and state.stale:
        past.start(again=next(iter(state.stale)))
    elif action == "stack" and len(together := carrying.next_up(state)) > 1:
        past.start(stack=together)
    elif action == "propose" and thinking:
        past.propose(draw(st.sampled_from(thinking)), draw(st.sampled_from([None, "t1", "t2"])), memo=draw(_MEMO))
    elif action == "withdraw" and thinking:
        past.happen(ev.TrialWithdrawn(trial=draw(st.sampled_from(thinking)), why="given back"))
    elif action == "run" and running:
        past.begin_run(draw(st.sampled_from(running)))
    elif action == "ok" and state.open_runs:
        extras = draw(st.dictionaries(st.text(max_size=3), VALUES, max_size=2))
        past.end_run(draw(st.sampled_from(list(state.open_runs))), draw(VALUES), extras=extras, wall_s=draw(VALUES))
    elif action in ("crash", "stop") and state.open_runs:
        past.end_run(draw(st.sampled_from(list(state.open_runs))), None, "crash" if action == "crash" else "stopped")
    elif action == "decide" and running:
        trial = draw(st.sampled_from(running))
        word = draw(st.sampled_from(_BASELINE_WORDS if state.trials[trial].is_baseline else _WORDS))
        measured = word in ("keep", "discard", "inconclusive") or (word == "stale" and draw(st.booleans()))
        past.decide(trial, word, draw(VALUES) if measured else None)
    elif action == "reopen":
        past.reopen(draw(st.sampled_from(["d0", "d1", "d2"])))
    elif action == "session":
        past.session(draw(st.sampled_from([MACHINE, Machine("test, 2 cores", 2)])))
    elif action == "end":
        past.happen(ev.SessionEnded(why=draw(st.text(max_size=9))))
    elif action == "import":
        past.happen(ev.TrialsImported(source="x.tsv", trials=(Imported(draw(st.text(max_size=9)), "keep", 1.5),)))


# -- processes -----------------------------------------------------------------------------------------


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and only waits to be collected does not."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        return False
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return True
    return False


PATIENCE_S = 30.0  # on a busy machine a process may need seconds to begin


def eventually(holds: Callable[[], bool], within_s: float = PATIENCE_S) -> bool:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@contextlib.contextmanager
def started(*args: str, cwd: Path) -> Iterator["subprocess.Popen[str]"]:
    """`autoresearch ...` as a process of its own; killed at the end if the test did not see it through."""
    command = [PYTHON, "-m", "autoresearch", *args]
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def autoresearch(
    *args: str, cwd: Path, wrap: list[str] | None = None, env: dict[str, str] | None = None, timeout_s: float = 60
) -> "subprocess.CompletedProcess[str]":
    """The command, run to its end in a process of its own."""
    command = [*(wrap or []), PYTHON, "-m", "autoresearch", *args]
    return subprocess.run(
        command, cwd=cwd, env=os.environ | (env or {}), capture_output=True, text=True, check=False, timeout=timeout_s
    )
