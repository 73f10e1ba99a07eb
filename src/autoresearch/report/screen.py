"""
The screen of a running study, as rows of text that fit the terminal. Pure: State, what runs said, a clock and a size
in; rows out. Drawing them is in terminal.py.

Whatever a proposer or a run wrote is bounded and without control characters before it is on a row.
"""

import math
from collections.abc import Iterable, Mapping

from msgspec import Struct
from rich.cells import cell_len
from rich.text import Text

from autoresearch import carrying
from autoresearch.report import text
from autoresearch.report.plain import line
from autoresearch.state import State
from autoresearch.trial import Run, Trial

LABEL = 9  # cells before a row's content
WIDE = 110  # cells from which a running trial needs one row
SETTLED_S = 60.0  # of a session before its trials an hour say something
POINTS = 64  # of a run's curve that are kept for drawing
NARROWEST = 20
IDLE = "nobody is running it"
Rows = list[Text]


class Plan(Struct, frozen=True):
    """When this session is over, as far as it is known: trials decided in all, a time, dollars and tokens in all."""

    trials: int | None = None
    ends_at: float | None = None
    dollars: float | None = None
    tokens: int | None = None


NO_PLAN = Plan()


class Said(Struct):
    """What a run said of itself so far: the fraction of its budget that is spent, and its losses."""

    fraction: float | None = None
    losses: list[float] = []

    def add(self, fraction: float, loss: float | None) -> None:
        self.fraction = fraction
        if loss is not None:
            self.losses = [*(self.losses if len(self.losses) < POINTS else self.losses[::2]), loss]


class Running(Struct, frozen=True):
    """A trial without a verdict. `run` is its open run; without one it is `phase`."""

    id: int
    idea: str
    by: str
    phase: str
    since: float
    run: int | None = None
    baseline: bool = False


class Standing(Struct, frozen=True):
    """What the screen shows of State. Changes with an event and not with the clock, so it is made once for each."""

    title: str
    best: str
    claim: str
    certified: bool
    stairs: tuple[tuple[int, float], ...]  # trials decided so far, and the value that was best from then on
    decided: int
    counts: Mapping[str, int]
    session_from: float | None
    in_session: int  # trials decided in it
    cost_s: float
    dollars: float
    tokens: int
    machine: float | None  # dollars of them for the machine; None where it is free
    by: tuple[tuple[str, float, int], ...]  # proposer, dollars, tokens
    running: tuple[Running, ...]
    next: str
    usual_s: float | None


def standing(state: State) -> Standing:
    """Read off the state what the screen shows; it may change meanwhile, as State says readers must expect."""
    opened, session = state.opened, state.session
    title = "no study yet"
    if opened:
        way = "lower" if opened.metric.direction == "minimize" else "higher"
        title = f"{line(opened.study, 40)} · {line(opened.metric.name, 40)}, {way} is better"
    usual = state.usual if opened else None
    in_session = 0
    for trial in reversed(tuple(state.trials.values())):
        if session is None or (trial.decided_at or session.at) < session.at:
            break
        in_session += trial.verdict is not None and not trial.is_baseline
    claim, certified = _claim(state)
    return Standing(
        title=title,
        best=_best(state) if opened else "nothing is measured yet",
        claim=claim,
        certified=certified,
        stairs=tuple(text.staircase(state)),
        decided=sum(dict(state.counts).values()),
        counts=dict(state.counts),
        session_from=session.at if session else None,
        in_session=in_session,
        cost_s=state.spent_s,
        dollars=state.dollars,
        tokens=state.tokens,
        machine=state.ledger.machine if state.ledger.was_priced else None,
        by=tuple((name, spent.dollars, spent.tokens) for name, spent in tuple(state.charged.items())),
        running=tuple(_running(state, open_) for id in tuple(state.unfinished) if (open_ := state.trials.get(id))),
        next=_next(state),
        usual_s=usual.wall_s + usual.score_s if usual else None,
    )


def _best(state: State) -> str:
    metric = state.metric
    start, best = text.start_value(state), text.best_value(state)
    if best is None or state.best is None:
        return "nothing is measured yet"
    unit = f" {line(metric.unit, 16)}".rstrip()
    found = f"{text.number(best)}{unit}"
    maker = state.trials.get(state.best.trial)
    if start is None or maker is None or maker.is_baseline:
        return f"{found}, the code as it stands"
    gain = text.amount(metric.gain(start, best), 3)
    return f"{found}, {gain} better than the start: trial {maker.id} by {line(maker.by, 16)}"


def _claim(state: State) -> tuple[str, bool]:
    claim = state.claims[-1] if state.claims else None
    if claim is None or state.best is None:
        return "not certified", False
    if (claim.tree, claim.digest) != (state.best.tree, state.digest):
        return "not certified: best has moved since the claim", False
    low, high = text.amount(claim.low, 3), text.amount(claim.high, 3)
    return f"certified on the {claim.held} set: {text.amount(claim.gain, 3)} [{low}, {high}]", True


def _running(state: State, trial: Trial) -> Running:
    run = next((state.runs[id] for id in reversed(trial.runs) if id in state.open_runs), None)
    if run is not None:
        phase, since = f"run {len(trial.runs)}", run.started_at
    elif trial.commit is None:
        phase, since = "thinking", trial.started_at
    else:
        phase, since = "waiting", trial.started_at
    return Running(
        trial.id, line(trial.idea), line(trial.by, 24), phase, since, run.id if run else None, trial.is_baseline
    )


def _next(state: State) -> str:
    if state.opened is None:
        return "measure the code as it stands"
    if not state.ready:
        return "measure the best anew" if state.kept else "measure the code as it stands: how far do its runs scatter?"
    if carried := carrying.next_up(state):
        patches = (
            f"trial {carried[0]}'s patch" if len(carried) == 1 else f"the patches of {len(carried)} trials together"
        )
        return f"{patches} again, on the new best"
    best = state.best.trial if state.best else 0
    return f"a new idea on trial {best}'s code"


# -- rows --------------------------------------------------------------------------------------------------


def rows(
    shown: Standing, said: Mapping[int, Said], now: float, width: int, height: int, plan: Plan = NO_PLAN, note: str = ""
) -> Rows:
    """
    The screen, at most `height` rows of at most `width` cells. `said` goes by run, `now` is seconds since 1970; `note`
    says why nothing is going to happen where that is so: nobody runs the study, say.
    """
    width = max(NARROWEST, width)
    body = width - LABEL
    head = [
        _title(shown, now, width, plan, note),
        _row("best", Text(shown.best, style="bold")),
        _row("", Text(shown.claim, style="green" if shown.certified else "yellow")),
        _row("stairs", stairs(shown.stairs, shown.decided, body)),
        _row("trials", _trials(shown, now, plan)),
        _row("cost", _cost(shown, plan)),
    ]
    end = [_row("next", Text(_whats_next(shown, plan, note)))]
    room = max(1, height - len(head) - len(end))
    bars = _left_over(shown) if note == IDLE else _bars(shown, said, now, width, room)
    found = [*head, *bars, *end]
    for row in found:
        row.truncate(width, overflow="ellipsis")
    return found[: max(1, height)]


def _left_over(shown: Standing) -> Rows:
    """What nobody works at now."""
    if not (n := len(shown.running)):
        return []
    goes = "trial goes" if n == 1 else "trials go"
    return [_row("", Text(f"{n} unfinished {goes} on at the next `autoresearch run`", "dim"))]


def _row(label: str, content: Text) -> Text:
    return Text(f"{label:<{LABEL}}", style="dim", end="").append_text(content)


def _title(shown: Standing, now: float, width: int, plan: Plan, note: str) -> Text:
    right = note
    if not right and shown.session_from is not None:
        right = f"running {span(now - shown.session_from)}"
        right += f", ends in {span(plan.ends_at - now)}" if plan.ends_at else ""
    left = line(shown.title, max(8, width - cell_len(right) - 8))
    rule = "─" * max(1, width - cell_len(left) - cell_len(right) - 5)
    title = Text("── ", "dim").append(left, "bold").append(f" {rule} ", "dim")
    return title.append(right, "yellow" if note else "dim")


def _trials(shown: Standing, now: float, plan: Plan) -> Text:
    found = Text(f"{shown.decided:,}")
    if plan.trials is not None:
        found.append(f" of {plan.trials:,}")
    if shown.session_from is not None and shown.in_session and now - shown.session_from >= SETTLED_S:
        rate = shown.in_session * 3600 / (now - shown.session_from)
        found.append(f", {rate:,.0f} an hour" if rate >= 10 else f", {rate:.1f} an hour")
    words = ("keep", "discard", "crash")
    names = ("kept", "discarded", "crashed")
    for word, name in zip(words, names, strict=True):
        found.append(" · ", "dim").append(f"{shown.counts.get(word, 0):,} {name}", text.COLORS[word])
    if others := shown.decided - sum(shown.counts.get(word, 0) for word in words):
        found.append(" · ", "dim").append(f"{others:,} otherwise")
    return found


def _cost(shown: Standing, plan: Plan) -> Text:
    found = Text(f"{span(shown.cost_s)} of machine time")
    if shown.tokens or shown.dollars or plan.dollars or plan.tokens:
        dollars = f" of {plan.dollars:,.2f}" if plan.dollars else ""
        tokens = f" of {thousands(plan.tokens)}" if plan.tokens else ""
        found.append(f" · ${shown.dollars:,.2f}{dollars} · {thousands(shown.tokens)}{tokens} tokens")
    if shown.machine is not None and shown.by:
        found.append(" · ", "dim").append(f"${shown.machine:,.2f} of it the machine")
    if len(shown.by) > 1:
        found.append(" · ", "dim").append(
            ", ".join(f"{line(name, 16)} ${dollars:,.2f}" for name, dollars, _ in shown.by)
        )
    return found


def _whats_next(shown: Standing, plan: Plan, note: str) -> str:
    if note == IDLE:
        return "nothing, until somebody types `autoresearch run`"
    if note:
        return "finish what runs, and stop"
    tried = shown.decided - shown.counts.get("stale", 0)  # a stale trial's patch is tried again; together they are one
    news = sum(not trial.baseline for trial in shown.running)
    if plan.trials is not None and tried + news >= plan.trials:
        return f"finish what runs, and end: that makes {plan.trials} trials"
    return shown.next


def stairs(steps: Iterable[tuple[int, float]], decided: int, width: int) -> Text:
    """The best value over the trials, as a line of small bars with where it began and where it is."""
    found = list(steps)
    if not found:
        return Text("")
    first, last = text.number(found[0][1]), text.number(found[-1][1])
    room = max(1, width - len(first) - len(last) - 2)
    columns = min(room, decided + 1)
    values: list[float] = []
    index = 0
    for column in range(columns):
        trial = decided * column / max(1, columns - 1)
        while index + 1 < len(found) and found[index + 1][0] <= trial:
            index += 1
        values.append(found[index][1])
    return Text(f"{first} ", "dim").append(text.sparkline(values), "cyan").append(f" {last}")


def _bars(shown: Standing, said: Mapping[int, Said], now: float, width: int, room: int) -> Rows:
    """A bar for each running trial: on one row where the terminal is wide or the trials many, else on two."""
    running = shown.running
    each = 1 if width >= WIDE or 2 * len(running) > max(2, room // 2) else 2
    fit = len(running) if each * len(running) <= room else max(0, (room - 1) // each)
    found: Rows = []
    for trial in running[:fit]:
        found += _bar(trial, said.get(-1 if trial.run is None else trial.run), shown.usual_s, now, width, each == 2)
    if fit < len(running):
        found.append(Text(f"{'':<{LABEL}}and {len(running) - fit} more", "dim"))
    return found


def _bar(trial: Running, said: Said | None, usual_s: float | None, now: float, width: int, two: bool) -> Rows:
    elapsed = max(0.0, now - trial.since)
    bar_cells, curve_cells = (16, 16) if width < WIDE else (24, 32)
    done = said.fraction if said else None
    guessed = done is None
    if trial.run is not None and guessed and usual_s:
        done = min(0.99, elapsed / usual_s)
    left = Text(f"{_left(trial, done, guessed, elapsed, usual_s):>9}")
    what = Text(f"{trial.id:>5}    ", "bold")
    bar = _progress_bar(done if trial.run is not None else None, bar_cells, guessed)
    losses = said.losses if said else []
    curve = text.sparkline(_thinned(_levelled(losses), curve_cells))
    loss = text.amount(losses[-1], 4) if losses else ""
    who = f" ({trial.by})" if trial.by else ""
    middle = Text(" ").append_text(bar).append(f" {trial.phase:<8}").append_text(left)
    middle.append(f"  {curve:<{curve_cells if not two else 0}}", "cyan").append(f" {loss:<9}")
    if two:
        idea = line(trial.idea or "…", width - LABEL - cell_len(who))
        return [what + Text(idea).append(who, "dim"), Text(" " * (LABEL - 1)) + middle]
    first = what + Text(f"{trial.phase:<8}") + left + Text("  ") + bar + Text("  ")
    if width >= WIDE:
        first = first.append(f"{curve:<{curve_cells}}", "cyan").append(f" {loss:<9} ")
    room = max(4, width - first.cell_len - cell_len(who))
    return [first.append(line(trial.idea or "…", room)).append(who, "dim")]


def _progress_bar(done: float | None, cells: int, guessed: bool) -> Text:
    if done is None:
        return Text("╶" + "─" * (cells - 2) + "╴", "dim")
    full = round(max(0.0, min(1.0, done)) * cells)
    return Text("━" * full, "blue" if guessed else "bold blue").append("─" * (cells - full), "dim")


def _left(trial: Running, done: float | None, guessed: bool, elapsed: float, usual_s: float | None) -> str:
    if trial.run is None or done is None or done < 0.02:
        return span(elapsed)
    if not guessed and done >= 1:
        return "scoring"
    if guessed and usual_s and elapsed >= usual_s:
        return f"+{span(elapsed - usual_s)}"
    return f"{'~' if guessed else ''}{span(elapsed * (1 - done) / done)} left"


def _levelled(losses: list[float]) -> list[float]:
    """In steps of the same factor where they cross a power of ten and more: else a steep start flattens the rest."""
    low, high = min(losses, default=0.0), max(losses, default=0.0)
    return [math.log(loss) for loss in losses] if low > 0 and high > 10 * low else losses


def _thinned(values: list[float], most: int) -> list[float]:
    if len(values) <= most:
        return values
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def expected(name: str, done: int, total: int, open_runs: Iterable[Run], now: float, width: int) -> Rows:
    """The row of measurements that belong to no trial: a claim, a transfer."""
    since = min((run.started_at for run in open_runs), default=now)
    row = Text(f"{name:<{LABEL}}", "bold").append_text(
        _progress_bar(done / total if total else None, 24, guessed=False)
    )
    row.append(f" {done} of {total} runs  this one {span(now - since)}")
    row.truncate(max(NARROWEST, width), overflow="ellipsis")
    return [row]


def span(seconds: float) -> str:
    """A length of time, as short as it is still told apart: 0:07, 12:40, 3 h 05."""
    whole = max(0, int(seconds))
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d}"


def thousands(count: int) -> str:
    """A count of tokens: 950, 12.3 k, 4.56 M."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)
