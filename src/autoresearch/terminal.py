"""
What a person sees while a study runs: a line per finished trial, and below it one calm screen.

Plain lines where the output is no terminal; JSON lines where asked for. Knows the events; changes nothing.
"""

import threading
import time
from collections import deque
from types import TracebackType

import msgspec
from rich.console import Console
from rich.text import Text

from autoresearch.events import (
    Event,
    IdeaAsked,
    RunFinished,
    SessionStarted,
    Steered,
    StudyOpened,
    TrialDecided,
)
from autoresearch.listener import Listener
from autoresearch.pinned import Pinned
from autoresearch.report import screen, text
from autoresearch.report.plain import line
from autoresearch.session import Goal
from autoresearch.state import State
from autoresearch.study import Stop
from autoresearch.trial import Purpose, Run, Trial

TICK_S = 0.25  # between two looks at what changed
CLOCK_S = 1.0  # between two draws where only the clock moved
OF_NO_TRIAL: tuple[Purpose, ...] = ("claim", "transfer")
HEAD = ("trial", "verdict", "value", "gain", "idea")
LOOSE = "{:>5}  {:<12}  {:>10}  {:>18}  {}"
TIGHT = "{:>5}  {:<12} {:>9} {:>15}  {}"


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
    """
    One calm screen. Use as a context manager around a session.

    Those who tell it something only leave it behind; a thread of its own draws. `budget` and `goal` say when the
    session ends, where that is known.
    """

    def __init__(self, console: Console, budget: Stop | None = None, goal: Goal | None = None) -> None:
        self.console = console
        self.live = console.is_terminal and not console.is_dumb_terminal
        self.note = ""  # why nothing is going to happen; see screen.rows
        self._budget, self._goal = budget or Stop(), goal or Goal()
        self._plan = screen.Plan(dollars=self._budget.dollars, tokens=self._budget.tokens)
        self._state: State | None = None
        self._shown: screen.Standing | None = None
        self._said: dict[int, screen.Said] = {}  # by run
        self._above: deque[Text] = deque()
        self._dirty = True  # something is to be drawn
        self._stood = True  # the state is what it was when `_shown` was made
        self._next_look = 0.0
        self._header = False
        self._expected: tuple[Purpose, int, int] | None = None  # purpose, finished, of so many
        self._pinned = Pinned(console)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._draw_until_stopped, name="screen", daemon=True)

    def __enter__(self) -> "Screen":
        if self.live:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self._stop.set()
            self._thread.join(timeout=2.0)  # a terminal that takes nothing (Ctrl-S) must not hold up the end
            if not self._thread.is_alive():
                self._pinned.close(self._fitting(self._pinned.size()[0] - 1))

    @property
    def height(self) -> int:
        """Rows of the terminal."""
        return self._pinned.size()[1]

    # -- what is told --------------------------------------------------------------------------------------

    def say(self, sentence: str) -> None:
        self._put(Text(text.clean(sentence), style="italic"))

    def progress(self, run: Run, fraction: float, loss: float | None) -> None:
        self._said.setdefault(run.id, screen.Said()).add(fraction, loss)
        self._dirty = True

    def expect(self, runs: int, purpose: Purpose = "claim") -> None:
        self._expected = (purpose, 0, runs)

    def ending(self, why: str) -> None:
        self.note = "stopping"
        self._dirty = True

    def idle(self, nobody: bool) -> None:
        """Whether nobody runs the study, which the log of one that was killed does not say."""
        note = screen.IDLE if nobody else ""
        self._dirty = self._dirty or note != self.note
        self.note = note

    def event(self, event: Event, state: State) -> None:
        match event:
            case SessionStarted():
                self._plan = self._planned(state, event.at)
                self.note = ""
            case RunFinished(run=number):
                self._said.pop(number, None)
                if self._expected and state.runs[number].purpose in OF_NO_TRIAL:
                    purpose, finished, total = self._expected
                    self._expected = (purpose, finished + 1, total)
            case TrialDecided(trial=id):
                self._line(state.trials[id])
            case IdeaAsked(by=by, idea=idea):
                self.say(f"{by} asks for: {text.clean(idea)}")
            case Steered(note=number, text=words):
                self.say(f"note {number} to all proposers: {text.clean(words)}")
            case StudyOpened():
                self.say(f"study {event.study}: {event.metric.name}, {event.metric.direction}, from {event.start[:10]}")
        self._state = state
        self._stood, self._dirty = False, True

    def attach(self, state: State, last: int) -> None:
        """Take up a study in the middle: its last so many finished trials, then what runs."""
        self._said.clear()
        done = [trial for trial in tuple(state.trials.values())[-last - 100 :] if trial.verdict]
        for trial in done[-last:] if last > 0 else []:
            self._line(trial)
        if state.session:
            self._plan = self._planned(state, state.session.at)
        self._state = state
        self._stood, self._dirty = False, True

    def _planned(self, state: State, at: float) -> screen.Plan:
        budget, goal = self._budget, self._goal
        hours = goal.hours or budget.hours
        trials = state.decided + goal.trials if goal.trials is not None else budget.trials
        return screen.Plan(trials, at + hours * 3600 if hours else None, budget.dollars, budget.tokens)

    # -- what is shown -------------------------------------------------------------------------------------

    def _put(self, row: Text) -> None:
        if self.live:
            self._above.append(row)
            self._dirty = True
        else:
            self.console.print(row, soft_wrap=True)

    def _line(self, trial: Trial) -> None:
        tight = self.live and self._pinned.size()[0] <= screen.WIDE
        if not self._header:
            self._header = True
            self._put(Text((TIGHT if tight else LOOSE).format(*HEAD), style="bold", no_wrap=True))
        number, word, value, gain, _, _, idea = text.row(trial)
        idea = idea if isinstance(idea, Text) else Text(str(idea))
        idea = Text(line(idea.plain), idea.style) if self.live else idea
        row = Text((TIGHT if tight else LOOSE).format(str(number), str(word), str(value), str(gain), ""), no_wrap=True)
        row.stylize(text.COLORS[trial.word], row.plain.index(trial.word), row.plain.index(trial.word) + len(str(word)))
        self._put(row.append_text(idea))

    def _fitting(self, width: int) -> list[Text]:
        """What is to scroll above, in rows of this width: a trial's is cut, a sentence goes on on the next."""
        found: list[Text] = []
        while self._above:
            row = self._above.popleft()
            if row.no_wrap:
                row.truncate(width, overflow="ellipsis")
                found.append(row)
            else:
                found += row.wrap(self.console, width)
        return found

    def _draw_until_stopped(self) -> None:
        drawn_at, size = 0.0, (0, 0)
        while not self._stop.wait(TICK_S):
            width, height = self._pinned.size()
            width -= 1  # in the last column of a row, clearing its rest would take its last character too
            now = time.time()
            if self._dirty or (width, height) != size or now - drawn_at >= CLOCK_S:
                size, drawn_at = (width, height), now
                self._draw(now, width, height)

    def _draw(self, now: float, width: int, height: int) -> None:
        self._dirty = False  # before looking: what comes meanwhile is drawn next time
        began = time.monotonic()
        if self._state is not None and not self._stood and began >= self._next_look:
            self._stood = True
            self._shown = screen.standing(self._state)
            ended = time.monotonic()
            self._next_look = ended + 100 * (ended - began)  # 5 ms at 10,000 trials; never more than 1 % of a core
        above = self._fitting(width)
        self._pinned.draw(above, self._rows(now, width, height))

    def _rows(self, now: float, width: int, height: int) -> screen.Rows:
        if self._state is None:
            return []
        if self._expected:
            purpose, finished, total = self._expected
            runs = [run for id in tuple(self._state.open_runs) if (run := self._state.runs.get(id))]
            return screen.expected(purpose, finished, total, runs, now, width)
        if self._shown is None:
            return []
        return screen.rows(self._shown, dict(self._said), now, width, height - 1, self._plan, self.note)
