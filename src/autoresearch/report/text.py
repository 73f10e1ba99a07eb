"""
Tables and sentences for a terminal, and the same as plain data for scripts. Pure functions of State.

Whatever a proposer or a run wrote is escaped before it reaches the terminal.
"""

import statistics
from collections.abc import Mapping
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from autoresearch.report import cost, proposers
from autoresearch.report.brief import Left
from autoresearch.state import State
from autoresearch.trial import Claim, Trial, is_dearer

COLORS = {
    "keep": "bold green",
    "discard": "dim",
    "crash": "red",
    "timeout": "red",
    "rejected": "magenta",
    "stale": "yellow",
    "inconclusive": "cyan",
    "suspect": "bold yellow",
    "running": "blue",
}
LEAST_CONTROLS = 3
MOST_SHOWN = 10  # ideas, and notes, in `status`
SPARKS = "▁▂▃▄▅▆▇█"
NOTHING_BOUND = Left()


def clean(text: str) -> str:
    """Text of unknown origin, without control characters (terminal escapes among them)."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def number(value: float | None) -> str:
    return "-" if value is None else amount(value, 6)


def amount(value: float, digits: int = 4) -> str:
    """Rounded, but where that would take an exponent and it is a whole number: 1,015,124 bytes and not 1.015e+06."""
    whole = 10 ** min(digits, 5) <= abs(value) < 1e15 and value == int(value)
    return f"{value:,.0f}" if whole else f"{value:.{digits}g}"


def summary(state: State) -> str:
    """The one sentence: what was gained, out of how many trials."""
    start, best = start_value(state), best_value(state)
    if start is None or best is None:
        return "Nothing is measured yet."
    metric = state.metric
    unit = f" {metric.unit}".rstrip()
    tried = f"{state.decided} trial{'s' if state.decided != 1 else ''}"
    kept = state.counts.get("keep", 0)
    noise = f", where one run scatters by {state.noise.sd:.2g}" if state.noise else ""
    if not kept:
        return f"No gain in {tried}: {metric.name} stays at {number(start)}{unit}{noise}."
    gain = metric.gain(start, best)
    return (
        f"{metric.name} went from {number(start)} to {number(best)}{unit}, a gain of {amount(gain)} while climbing{noise}: "
        f"{kept} of {tried} kept{_at_what_cost(state)}. {certified(state)}"
    )


def current(state: State) -> Claim | None:
    """The claim about what is best now, under the referee of now; None where there is none."""
    claim = state.claims[-1] if state.claims else None
    of_best = claim and state.best and (claim.tree, claim.digest) == (state.best.tree, state.digest)
    return claim if of_best else None


def certified(state: State) -> str:
    """What of the gain is certified, in a sentence."""
    claim = current(state)
    if claim is None:
        return "Not certified yet: `autoresearch certify`."
    guarded = "".join(f", {one.name} {'' if one.shown else 'not shown to be '}no worse" for one in claim.beside)
    return (
        f"Certified on the {claim.held} set: {amount(claim.gain)} [{amount(claim.low)}, {amount(claim.high)}]{guarded}."
    )


def dearer(state: State) -> float | None:
    """How many times the compute of the start's a run of the best takes; None where that is no difference."""
    start = state.compute_s(state.baseline.tree or "") if state.baseline else None
    best = state.compute_s(state.best.tree) if state.best else None
    return best / start if start and best and is_dearer(best, start) else None


def _at_what_cost(state: State) -> str:
    """A clause where a run of the best takes more compute than one of the start did."""
    times = dearer(state)
    return f"; a run now takes {times:.2g} times the compute" if times else ""


def held(state: State) -> str:
    """What waits for a person, as a sentence; empty if nothing does."""
    numbers = [str(trial.id) for trial in state.trials.values() if trial.word == "suspect"]
    if not numbers:
        return ""
    which = f"Trial {numbers[0]} is" if len(numbers) == 1 else f"Trials {', '.join(numbers)} are"
    return (
        f"{which} suspect and waiting for you: `autoresearch show {numbers[-1]}` says why, "
        f"`autoresearch accept {numbers[-1]}` takes the gain as real."
    )


def start_value(state: State) -> float | None:
    """The baseline's mean, over every run it ever had under this referee."""
    return state.mean(state.baseline.tree) if state.baseline and state.baseline.tree else None


def best_value(state: State) -> float | None:
    return state.mean(state.best.tree) if state.best else None


def counts(state: State) -> str:
    """How the trials ended, commonest first."""
    ordered = sorted(state.counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{n} {word}" for word, n in ordered) or "no trial yet"


def staircase(state: State) -> list[tuple[int, float]]:
    """(trials decided so far, the value that was best from then on) for each step of best."""
    steps: list[tuple[int, float]] = []
    number_of = 0
    for trial in tuple(state.trials.values()):
        if trial.verdict is None:
            continue
        number_of += not trial.is_baseline
        if trial.word == "keep" and trial.verdict.value is not None:
            steps.append((number_of, trial.verdict.value))
    return steps


def sparkline(values: list[float]) -> str:
    """A line of small bars, one per value."""
    if not values:
        return ""
    low, span = min(values), (max(values) - min(values)) or 1.0
    return "".join(SPARKS[round((v - low) / span * (len(SPARKS) - 1))] for v in values)


def status(
    state: State,
    running_pid: int | None,
    paused: bool = False,
    odds: Mapping[str, float] | None = None,
    left: Left = NOTHING_BOUND,
) -> RenderableType:
    """Where the study stands. `odds` are those of several proposers to be asked next; `left` is of the budget."""
    if state.opened is None:
        return Text("This study has not been run yet: `autoresearch run`")
    best = state.best.trial if state.best else "-"
    steps = [value for _, value in staircase(state)]
    lines = [
        f"study     {state.opened.study}  (metric {state.metric.name}, {state.metric.direction})",
        f"state     {doing(running_pid, paused)}",
        f"trials    {state.decided} decided ({counts(state)}), {len(state.unfinished)} unfinished",
        f"runs      {len(state.runs)}, {state.spent_s / 60:.1f} minutes of measuring",
        *cost.lines(state, left),
        f"best      {number(best_value(state))}  from trial {best}  {sparkline(steps)}",
        f"start     {number(start_value(state))}",
        f"noise     {number(state.noise.sd) if state.noise else 'not known yet'} from seed to seed",
        f"seeds     {_pairing(state)}",
        f"sealed    {_openings(state)}",
        "",
        *proposers.lines(state, odds),
        "",
        summary(state),
        held(state),
        asked(state),
    ]
    return Text("\n".join(lines).rstrip())


def doing(running_pid: int | None, paused: bool) -> str:
    now = f"running, process {running_pid}" if running_pid else "not running"
    return f"{now}, paused: `autoresearch resume`" if paused else now


def asked(state: State) -> str:
    """Ideas that wait for a trial, and the notes that proposers are told, a line each; empty if there are none."""
    waiting = state.wishes.pending
    lines = [f"waiting   {one.by}: {clean(one.idea)}" for one in waiting[:MOST_SHOWN]]
    lines += [f"          and {len(waiting) - MOST_SHOWN} more ideas"] if len(waiting) > MOST_SHOWN else []
    notes = list(state.wishes.notes.values())
    lines += (
        [f"          {len(notes) - MOST_SHOWN} older notes: `autoresearch steer --list`"]
        if len(notes) > MOST_SHOWN
        else []
    )
    return "\n".join(lines + [f"note {one.note:<5}{clean(one.text)}" for one in notes[-MOST_SHOWN:]])


def verdict(state: State, trial: Trial) -> RenderableType:
    """What became of one trial, with its numbers."""
    found = trial.verdict
    assert found is not None, "only of a decided trial"
    metric = state.metric
    shown = Text(f"Trial {trial.id}: ").append(trial.word, COLORS[trial.word]).append(f", {clean(found.why)}")
    if found.value is not None:
        error = f" +- {found.error:.1g}" if found.error else ""
        gain = f", gain {found.gain:+.4g}{error}" if found.gain is not None else ""
        cost = f", cost x{found.cost:.2f}" if found.cost is not None else ""
        unit = f" {metric.unit}".rstrip()
        shown.append(f"\n{metric.name} {number(found.base_value)} -> {number(found.value)}{unit}{gain}{cost}")
    for flag in found.flags:
        shown.append(f"\nnote: {clean(flag)}", "yellow")
    return shown.append(f"\nautoresearch show {trial.id}", "dim")


def _pairing(state: State) -> str:
    found = state.pairing
    if not found.dof:
        return f"{found.correlation:.2g} of a run's variance is taken to come with its seed, until it is seen"
    return (
        f"{found.correlation:.2g} of a run's variance comes with its seed, as {found.dof:.0f} degrees of freedom show"
    )


def _openings(state: State) -> str:
    n = len(state.openings)
    return f"opened {n} time{'s' if n != 1 else ''}, last for {clean(state.openings[-1].why)}" if n else "never opened"


def status_data(
    state: State,
    running_pid: int | None,
    paused: bool = False,
    odds: Mapping[str, float] | None = None,
    left: Left = NOTHING_BOUND,
) -> dict[str, Any]:
    return {
        "study": state.opened.study if state.opened else None,
        "metric": msgspec.to_builtins(state.metric) if state.opened else None,
        "pid": running_pid,
        "paused": paused,
        "trials": state.decided,
        "unfinished": len(state.unfinished),
        "counts": state.counts,
        "runs": len(state.runs),
        "spent_s": round(state.spent_s, 3),
        **cost.data(state, left),
        "proposers": proposers.data(state, odds),
        "start": start_value(state),
        "best": best_value(state),
        "best_commit": state.best.commit if state.best else None,
        "noise": state.noise.sd if state.noise else None,
        "seed_correlation": state.pairing.correlation if state.pairing.dof else None,
        "claim": msgspec.to_builtins(state.claims[-1]) if state.claims else None,
        "transfer": msgspec.to_builtins(state.transfers[-1]) if state.transfers else None,
        "ideas_waiting": [msgspec.to_builtins(one) for one in state.wishes.pending],
        "notes": [msgspec.to_builtins(one) for one in state.wishes.notes.values()],
        "sealed_openings": len(state.openings),
        "suspect": [trial.id for trial in state.trials.values() if trial.word == "suspect"],
        "summary": summary(state),
    }


def table(state: State, last: int | None = None) -> RenderableType:
    """The log as a table: a line per trial."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (
        ("trial", "right"),
        ("verdict", "left"),
        ("value", "right"),
        ("gain", "right"),
        ("cost", "right"),
        ("runs", "right"),
    ):
        shown.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    shown.add_column("idea", overflow="fold", ratio=1)
    trials = list(state.trials.values())
    for trial in trials[-last:] if last else trials:
        shown.add_row(*row(trial))
    return shown


def row(trial: Trial) -> list[RenderableType]:
    verdict = trial.verdict
    gain = "" if verdict is None or verdict.gain is None else f"{verdict.gain:+.4g}"
    if verdict is not None and verdict.error:
        gain += f" ±{verdict.error:.1g}"
    why = f"  ({clean(verdict.why)})" if verdict and verdict.value is None and verdict.why else ""
    idea = Text(clean(trial.idea) + why, style="" if trial.word in {"keep", "running"} else "dim")
    value = number(verdict.value if verdict else None)
    cost = "" if verdict is None or verdict.cost is None else f"x{verdict.cost:.2f}"
    word = Text(trial.word, style=COLORS[trial.word]).append(" !" if verdict and verdict.flags else "", "bold yellow")
    return [str(trial.id), word, value, gain, cost, str(len(trial.runs)), idea]


def row_data(trial: Trial) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(trial)
    return {"word": trial.word} | fields


def drift(state: State) -> str:
    """What repeated runs of the best say about the machine, as a sentence; empty while they say nothing."""
    moved: dict[tuple[str, int], list[float]] = {}
    for control in (state.runs[i] for i in state.controls):
        before = state.record(control.tree).get(control.seed_index)
        if control.value is not None and before is not None and control.digest == state.digest:
            moved.setdefault((control.tree, control.seed_index), []).append(state.metric.gain(before, control.value))
    by_seed = [statistics.fmean(gains) for gains in moved.values()]  # repeats of one run share its luck
    if len(by_seed) < LEAST_CONTROLS or not any(by_seed):
        return ""
    mean, error = statistics.fmean(by_seed), statistics.stdev(by_seed) / len(by_seed) ** 0.5
    if abs(mean) < 4 * error:
        return ""
    way = "better" if mean > 0 else "worse"
    return (
        f"The machine drifts: {len(by_seed)} runs of the best, repeated with the same seed, came out {way} by "
        f"{abs(mean):.2g} +- {error:.1g}. Gains of that size say nothing."
    )


def notes(state: State) -> str:
    """What a person should read below the table: who waits for them, and what the marks mean."""
    marked = any(trial.verdict and trial.verdict.flags for trial in state.trials.values())
    mark = "! marks what to read before believing it: `autoresearch show TRIAL`" if marked else ""
    return "".join(f"{line}\n" for line in (held(state), drift(state), mark) if line)


def show(state: State, trial: Trial, patch: str) -> RenderableType:
    """One trial: idea, diff, runs, verdict and why."""
    head = [
        f"trial     {trial.id}: {clean(trial.idea) or '(no idea yet)'}",
        f"by        {clean(trial.by or trial.asked) or '-'}"
        + (f", carrying on trial {', '.join(map(str, trial.carries))}" if trial.carries else ""),
        f"base      {trial.base[:12]}",
        f"commit    {trial.commit[:12] if trial.commit else '-'}"
        + (f", kept as {trial.kept_as[:12]}" if trial.kept_as else ""),
    ]
    if trial.near is not None:
        head.append(f"near      trial {trial.near}, which did not help")
    parts: list[RenderableType] = [Text("\n".join(head)), Text("verdict   ").append(trial.word, COLORS[trial.word])]
    if trial.verdict:
        parts[-1] = Text("verdict   ").append(trial.word, COLORS[trial.word]).append(f": {clean(trial.verdict.why)}")
        parts += [Text(f"note      {clean(flag)}", "yellow") for flag in trial.verdict.flags]
        parts += [Text(f"compute   {line}") for line in _compute(state, trial)]
    if trial.runs:
        parts += [Text(""), runs_table(state, trial)]
    if patch:
        parts += [Text(""), diff(patch)]
    return Group(*parts)


def _compute(state: State, trial: Trial) -> list[str]:
    """What a run takes beside what it gains."""
    cost, verdict = state.compute_s(trial.tree or ""), trial.verdict
    if not cost or verdict is None or verdict.gain is None:
        return []
    of_base = f", {verdict.cost:.2f} times the base's" if verdict.cost else ""
    return [f"{cost:.3g} s a run{of_base}; gain per second of compute {verdict.gain / cost:.3g}"]


def runs_table(state: State, trial: Trial) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "seed", "status", "value", "wall s", "processor s", "peak MB", ""):
        shown.add_column(name, justify="left" if name in {"status", ""} else "right")
    for run in (state.runs[i] for i in trial.runs):
        m = run.measurement
        if m is None:
            shown.add_row(str(run.id), str(run.seed_index), "running")
            continue
        where = "base, " if run.tree != trial.tree else ""
        what = f"{where}clean room" if run.careful else where.removesuffix(", ")
        times = (f"{m.wall_s:.2f}", f"{m.processor_s:.2f}", f"{m.peak_memory_mb:.0f}")
        shown.add_row(
            str(run.id),
            str(run.seed_index),
            m.status,
            number(m.value),
            *times,
            escape(", ".join(filter(None, (what, clean(m.why))))),
        )
    return shown


def diff(patch: str) -> Text:
    """A patch in the usual colours; its text is data."""
    shown = Text()
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in clean(patch).splitlines(keepends=True):
        if line.startswith("index "):
            continue  # two hashes that fill a line and say nothing to a reader
        header = line.startswith(("+++", "---", "diff "))
        shown.append(line, "bold" if header else styles.get(line[:1], ""))
    return shown
