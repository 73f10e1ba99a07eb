"""
What a person sees while a study runs: a line per finished trial, and below it a bar per running one.

Plain lines where the output is no terminal; JSON lines where asked for. Knows the events; changes nothing.
"""

import threading
import time
from types import TracebackType

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from autoresearch.events import (
    Event,
    IdeaAsked,
    RunFinished,
    RunStarted,
    Steered,
    StudyOpened,
    TrialDecided,
    TrialProposed,
    TrialStarted,
    TrialWithdrawn,
)
from autoresearch.report import text
from autoresearch.session import Listener
from autoresearch.state import State
from autoresearch.trial import Purpose, Run, Trial

IDEA_WIDTH = 48
REFRESH_HZ = 8
OF_NO_TRIAL: tuple[Purpose, ...] = ("claim", "transfer")


class JsonLines(Listener):
    """Every event as a line of JSON, as it is written."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lock = threading.Lock()

    def _print(self, line: bytes) -> None:
        with self._lock:
            self.console.file.write(line.decode() + "\n")
            self.console.file.flush()

    def event(self, event: Event, state: State) -> None:
        self._print(msgspec.json.encode(event))

    def say(self, sentence: str) -> None:
        self._print(msgspec.json.encode({"event": "said", "at": time.time(), "text": sentence}))


class Screen(Listener):
    """One calm screen. Use as a context manager around a session."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = console.is_terminal
        self.bars = Progress(
            TextColumn("[bold]{task.fields[trial]:>5}"),
            BarColumn(bar_width=18),
            TextColumn("{task.fields[phase]:<12}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[idea]}", markup=False),
            console=console,
            transient=True,
            refresh_per_second=REFRESH_HZ,
            disable=not self.live,
        )
        self._tasks: dict[int, TaskID] = {}
        self._header = False
        self._claim: TaskID | None = None

    def __enter__(self) -> "Screen":
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def say(self, sentence: str) -> None:
        self.console.print(Text(sentence, style="italic"))

    def progress(self, run: Run, fraction: float, loss: float | None) -> None:
        if run.trial in self._tasks:
            shown = f"loss {loss:.4g}" if loss is not None else f"{fraction:.0%}"
            self.bars.update(self._tasks[run.trial], completed=fraction, total=1.0, phase=shown)

    def expect(self, runs: int, purpose: Purpose = "claim") -> None:
        self._claim = self.bars.add_task("", trial=purpose, phase=f"0 of {runs}", idea="", total=runs)

    def event(self, event: Event, state: State) -> None:
        match event:
            case RunStarted(run=run) if run.purpose in OF_NO_TRIAL:
                pass
            case RunFinished(run=number) if state.runs[number].purpose in OF_NO_TRIAL:
                self._count()
            case TrialStarted(trial=id):
                self._tasks[id] = self.bars.add_task("", trial=id, phase="thinking", idea="", total=None)
                self._update(id, state)
            case TrialProposed(trial=id):
                self._update(id, state)
            case RunStarted(run=run):
                if run.trial not in self._tasks:  # taken up from an earlier session
                    self._tasks[run.trial] = self.bars.add_task("", trial=run.trial, phase="", idea="", total=None)
                    self._update(run.trial, state)
                nth = len(state.trials[run.trial].runs)
                self.bars.update(self._tasks[run.trial], completed=0, total=None, phase=f"run {nth}")
            case RunFinished(run=number):
                self._update(state.runs[number].trial, state)
            case TrialDecided(trial=id):
                self._drop(id)
                self._line(state.trials[id], state)
            case TrialWithdrawn(trial=id):
                self._drop(id)
            case IdeaAsked(by=by, idea=idea):
                self.say(f"{by} asks for: {text.clean(idea)}")
            case Steered(note=number, text=words):
                self.say(f"note {number} to all proposers: {text.clean(words)}")
            case StudyOpened():
                self.say(f"study {event.study}: {event.metric.name}, {event.metric.direction}, from {event.start[:10]}")

    def _count(self) -> None:
        if self._claim is not None:
            self.bars.advance(self._claim)
            task = self.bars.tasks[self.bars.task_ids.index(self._claim)]
            self.bars.update(self._claim, phase=f"{task.completed:.0f} of {task.total:.0f}")

    def _update(self, id: int, state: State) -> None:
        if id in self._tasks:
            idea = text.clean(state.trials[id].idea)
            self.bars.update(self._tasks[id], idea=idea if len(idea) <= IDEA_WIDTH else idea[: IDEA_WIDTH - 1] + "…")

    def _drop(self, id: int) -> None:
        if id in self._tasks:
            self.bars.remove_task(self._tasks.pop(id))

    def _line(self, trial: Trial, state: State) -> None:
        if not self._header:
            self._header = True
            self.console.print(Text(f"{'trial':>5}  {'verdict':<12}  {'value':>10}  {'gain':>18}  idea", style="bold"))
        number, word, value, gain, _, _, idea = text.row(trial)
        line = Text(f"{number!s:>5}  ").append(f"{word!s:<12}", text.COLORS[trial.word])
        line.append(f"  {value!s:>10}  {gain!s:>18}  ").append_text(idea if isinstance(idea, Text) else Text(str(idea)))
        if not self.live:
            self.console.print(line, soft_wrap=True)
            return
        line.truncate(max(40, self.console.width), overflow="ellipsis")
        self.console.print(line)
