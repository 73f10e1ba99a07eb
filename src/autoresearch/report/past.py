"""
What was tried, for whoever reads the brief: grouped, the newest and the most informative of each group, bounded.

Pure functions of State. One pass over the trials sorts them; only those that may be shown become text. Whatever a run
or a proposer wrote is quoted.
"""

import heapq
from collections.abc import Iterable, Sequence
from itertools import islice

from msgspec import Struct

from autoresearch.report.quoting import quote, word
from autoresearch.state import State
from autoresearch.trial import Best, Imported, Measurement, Trial

IDEA, WHY = 200, 240  # characters of an idea, and of what went wrong
MOST = 60  # of a group that become text
TOLD = 8  # trials whose curves and other numbers are told
EXTRAS = 8  # numbers of a trial
FRACTIONS = (0.1, 0.25, 0.5, 0.75, 1.0)  # of the budget, where curves are told
BOUND = 90  # characters that a group's heading and what it leaves out may take


class Group(Struct, frozen=True):
    """
    Lines that belong together. `lines` are (trial, text), those to keep first first; shown newest first. `total` is
    how many there are altogether, `share` the part of the room that is theirs before others may have it.
    """

    heading: str
    lines: list[tuple[int, str]]
    total: int
    share: float
    as_listed: bool = False  # shown in the order of `lines`

    @property
    def overhead(self) -> int:
        return len(self.heading) + BOUND


def fit(groups: Iterable[Group], room: int) -> list[str]:
    """As many lines of each group as its share allows, then as many as there is room for, in the order given."""
    groups = [group for group in groups if group.lines]
    left = room - sum(group.overhead for group in groups)
    taken = {id(group): _fitting(group.lines, int(group.share * left)) for group in groups}
    left -= sum(_length(group.lines[: taken[id(group)]]) for group in groups)
    shown: list[str] = []
    for group in groups:
        first = taken[id(group)]
        more = _fitting(group.lines[first:], left)
        left -= _length(group.lines[first : first + more])
        shown += _shown(group, first + more)
    return shown


def _shown(group: Group, n: int) -> list[str]:
    kept = group.lines[:n]
    lines = [text for _, text in (kept if group.as_listed else sorted(kept, key=lambda line: -line[0]))]
    out = group.total - n
    return [f"## {group.heading}", *lines, *([f"(… {out:,} more are left out)"] if out > 0 else [])]


def _fitting(lines: Sequence[tuple[int, str]], room: int) -> int:
    for n, (_, text) in enumerate(lines):
        room -= len(text) + 1
        if room < 0:
            return n
    return len(lines)


def _length(lines: Iterable[tuple[int, str]]) -> int:
    return sum(len(text) + 1 for _, text in lines)


# A stale trial's patch is tried again, as another trial.
_GROUPS = {"keep": "helped", "suspect": "held", "crash": "failed", "timeout": "failed", "rejected": "refused"}


# -- trials --------------------------------------------------------------------------------------------


def tried(trials: Sequence[Trial], state: State) -> list[Group]:
    """What helped, what nearly did, what did not, what crashed, and what was refused; trials as they may be told."""
    found: dict[str, list[Trial]] = {name: [] for name in ("helped", "near", "held", "dead", "failed", "refused")}
    for trial in trials:
        verdict = trial.verdict
        if verdict is None or (trial.is_baseline and verdict.word == "keep"):
            continue
        name = _GROUPS.get(verdict.word)
        if verdict.word in {"discard", "inconclusive"}:
            name = "near" if _is_near(trial, state) else "dead"
        if name:
            found[name].append(trial)
    return [
        _group("Helped, and kept", found["helped"], 0.28),
        _group("Near misses: not kept, and within one standard error of a gain or better", found["near"], 0.18),
        _group("Suspect: gains that a person has to look at first; no value to build on", found["held"], 0.04),
        _group("Did not help", found["dead"], 0.16),
        _causes("Crashed, or overstayed", found["failed"], 0.12),
        _causes("Refused, and never run", found["refused"], 0.06),
    ]


def _is_near(trial: Trial, state: State) -> bool:
    verdict = trial.verdict
    if verdict is None or verdict.gain is None:
        return False
    error = verdict.error or (state.noise.sd if state.noise else 0.0)
    return verdict.word == "inconclusive" or verdict.gain > -error


def _gain(trial: Trial) -> float:
    return trial.verdict.gain if trial.verdict and trial.verdict.gain is not None else float("-inf")


def _choice(trials: list[Trial]) -> list[Trial]:
    """The newest and those that gained most, by turns: at most MOST."""
    best = heapq.nlargest(MOST // 2, (trial for trial in trials if _gain(trial) > float("-inf")), key=_gain)
    newest = islice(reversed(trials), MOST)
    chosen: dict[int, Trial] = {}
    for n, trial in enumerate(newest):
        chosen[trial.id] = trial
        if n < len(best):
            chosen[best[n].id] = best[n]
    return list(chosen.values())[:MOST]


def _group(heading: str, trials: list[Trial], share: float) -> Group:
    lines = [(trial.id, _line(trial)) for trial in _choice(trials)]
    return Group(f"{heading} ({len(trials):,})", lines, len(trials), share)


def _line(trial: Trial) -> str:
    verdict = trial.verdict
    assert verdict is not None, "only of a decided trial"
    numbers = []
    if verdict.gain is not None:
        error = f" +- {verdict.error:.1g}" if verdict.error else ""
        numbers.append(f"gain {verdict.gain:+.4g}{error}")
    if verdict.value is not None:
        numbers.append(f"value {verdict.value:.6g}")
    if verdict.cost is not None and not 0.8 < verdict.cost < 1.2:
        numbers.append(f"cost x{verdict.cost:.2f}")
    if trial.lines != (0, 0):
        numbers.append(f"+{trial.lines[0]} -{trial.lines[1]} lines")
    told = ", ".join([verdict.word] * (verdict.word not in {"keep", "discard"}) + numbers)
    flags = f"; note {quote(verdict.flags[0], WHY)}" if verdict.flags else ""
    why = f"; {quote(verdict.why, WHY)}" if verdict.gain is None else ""
    near = f"; close to trial {trial.near}, which had not helped" if trial.near is not None else ""
    return f"- {_who(trial)}: {told}{': ' if told else ''}{quote(trial.idea, IDEA)}{why}{flags}{near}"


def _who(trial: Trial) -> str:
    return f"trial {trial.id} by {word(trial.by)}" if trial.by else f"trial {trial.id}"


def _causes(heading: str, trials: list[Trial], share: float) -> Group:
    """What went wrong, each cause once with its latest trial, the latest first."""
    latest: dict[str, tuple[int, Trial]] = {}
    for trial in trials:
        why = trial.verdict.why if trial.verdict else ""
        times, _ = latest.pop(why, (0, trial))
        latest[why] = times + 1, trial  # popped first, so that it moves to the end
    lines = []
    for why, (times, trial) in islice(reversed(latest.items()), MOST):
        often = f" ({times:,} times, last here)" if times > 1 else ""
        idea = quote(trial.idea, IDEA) if trial.idea else "no proposal"
        lines.append((trial.id, f"- {_who(trial)}{often}: {idea}; {quote(why, WHY)}"))
    return Group(f"{heading} ({len(trials):,})", lines, len(latest), share)


def elsewhere(imported: Sequence[Imported]) -> Group:
    """Hints from other people's logs."""
    lines = [
        (n, f"- {word(one.status)} there: {quote(one.idea, IDEA)}")
        for n, one in islice(reversed(tuple(enumerate(imported))), MOST)
    ]
    return Group(f"Tried elsewhere; hints, never measured here ({len(imported):,})", lines, len(imported), 0.06)


# -- what runs said beside the value -------------------------------------------------------------------


def beside(trials: Sequence[Trial], state: State, base: Best, told_less: bool) -> list[Group]:
    """Training curves and other numbers: the best's, and those of the latest and the most promising trials."""
    chosen = _informative(trials, told_less)
    runs = {trial.id: _runs(state, trial.tree or "") for trial in chosen if trial.tree != base.tree}
    best = _runs(state, base.tree)
    digits = 2 if told_less else 4
    return [_curves(base, best, runs, digits), _numbers(base, best, runs, digits)]


def _informative(trials: Sequence[Trial], told_less: bool) -> list[Trial]:
    """Under the Ladder only those that won; a loser's curve tells what its value would."""
    chosen: dict[int, Trial] = {}
    for trial in islice(reversed(trials), 20 * TOLD):
        told = trial.word == "keep" if told_less else trial.word in {"keep", "discard", "inconclusive", "suspect"}
        if told and trial.runs and trial.tree and len(chosen) < TOLD // 2:
            chosen[trial.id] = trial
    rest = (trial for trial in trials if trial.runs and trial.word in {"inconclusive", "discard", "keep"})
    for trial in heapq.nlargest(TOLD, (t for t in rest if _gain(t) > float("-inf")), key=_gain):
        if len(chosen) < TOLD and (trial.word == "keep" or not told_less):
            chosen[trial.id] = trial
    return sorted(chosen.values(), key=lambda trial: -trial.id)


def _runs(state: State, tree: str) -> list[Measurement]:
    """Of this content, on the search set, those that decide: what a claim or a careful run saw is nobody's to learn."""
    found = (run for run in state.runs_on(tree) if run.held == "search" and run.purpose in ("trial", "record"))
    return [run.measurement for run in found if run.measurement is not None]


def _curves(base: Best, best: list[Measurement], runs: dict[int, list[Measurement]], digits: int) -> Group:
    lines = []
    for id, measured in ((base.trial, best), *runs.items()):
        points = _points(measured)
        if points:
            name = f"best (trial {id})" if measured is best else f"trial {id}"
            told = ", ".join(f"{fraction:.0%} {loss:.{digits}g}" for fraction, loss in points.items())
            lines.append((id, f"- {name}: {told}"))
    return Group("Training curves: the loss at parts of the budget, as runs stated it", lines, len(lines), 0.05, True)


def _points(measured: list[Measurement]) -> dict[float, float]:
    """Fraction of the budget -> the loss that runs last stated by then, on average."""
    found: dict[float, list[float]] = {}
    for curve in (one.curve for one in measured if one.curve):
        for fraction in FRACTIONS:
            before = [loss for at, loss in curve if at <= fraction]
            if before and curve[-1][0] >= fraction - 0.05:
                found.setdefault(fraction, []).append(before[-1])
    return {fraction: sum(losses) / len(losses) for fraction, losses in found.items()}


def _numbers(base: Best, best: list[Measurement], runs: dict[int, list[Measurement]], digits: int) -> Group:
    lines = []
    for id, measured in ((base.trial, best), *runs.items()):
        if measured:
            last = measured[-1]
            extras = [f"{word(name)} {value:.{digits}g}" for name, value in islice(last.extras.items(), EXTRAS)]
            more = [f"{len(last.extras) - EXTRAS} more"] if len(last.extras) > EXTRAS else []
            outside = f"{last.wall_s:.3g} s, {last.peak_memory_mb:.0f} MB"
            name = f"best (trial {id})" if measured is best else f"trial {id}"
            lines.append((id, f"- {name}: {', '.join([outside, *extras, *more])}"))
    return Group("Other numbers: time and memory of the latest run, and what it stated", lines, len(lines), 0.05, True)
