"""
Where a live study stands, in words and as data: who came, what they did, and what waits. Pure.

What the figures mean is the map's; here they are only told.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from rich.table import Table
from rich.text import Text

from autoresearch.report import cost, proposers, text
from autoresearch.report.brief import Left
from autoresearch.state import State
from autoresearch.trial import Trial
from autoresearch.wording import listed, many, shown

MAP = "What resonates, and how surely: `autoresearch live map`."


class Figures(Struct, frozen=True):
    """
    Of `people` who were shown something by now, `counted` count in full, `successes` of whom had the outcome; the windows of `waiting` are
    open. `outcomes`: of all people. `plan`: the number of the latest; None where none was made yet.
    """

    people: int
    counted: int
    successes: int
    waiting: int
    outcomes: int
    plan: int | None


class Kept(Struct, frozen=True):
    """
    What was recorded. `outcomes`: kind -> how many; `orphans` of them belong to nobody who was shown anything. `spent`: the sum of all costs.
    `suppressed`: people who are not to be written to. `ignored`: source -> kind of event -> how many came that mean nothing here.
    """

    exposures: int
    outcomes: dict[str, int]
    orphans: int
    spent: float
    suppressed: int
    ignored: dict[str, dict[str, int]]


class Standing(Struct, frozen=True):
    """
    `in_part`: those whose window is open count in part, by `live.attribution`. `levels_shown` beside the defaults; `levels_waiting` for a
    person's word. `figures` are None where the store cannot be read, and `why` says why. `begin` is the command that begins the study.
    """

    outcome: str
    window_hours: float
    in_part: bool
    levels_shown: int
    levels_waiting: int
    figures: Figures | None
    why: str = ""
    begin: str = "autoresearch run"
    kept: Kept | None = None


def windows(waiting: int, hours: float, in_part: bool, more: str = "") -> str:
    """A clause about those whose windows are open; `more`: a word for them beside others who count already."""
    verb = "counts" if waiting == 1 else "count"
    are = f"{verb} in part" if in_part else "waits" if waiting == 1 else "wait"
    whose = "its" if waiting == 1 else "their"
    hour = "hour is" if hours == 1 else "hours are"
    return f"{waiting:,} {more}{are} until {whose} {hours:g} {hour} over"


def summary(standing: Standing) -> str:
    """A few sentences, for the end of `log` and `run`."""
    found = standing.figures
    if found is None:
        return f"{_levels(standing, ' levels')}. Who came is not known here: {standing.why}. {MAP}"
    plan = "no plan was made yet" if found.plan is None else f"the latest plan is number {found.plan}"
    people = _people(standing, found)
    who = f"{people[0].upper()}{people[1:]}" + (f"; {_outcomes(standing, found)}" if found.people else "")
    return f"{who}; {plan}. {_levels(standing, ' levels')}. {MAP}"


def status(
    state: State,
    standing: Standing,
    running_pid: int | None,
    paused: bool,
    odds: Mapping[str, float] | None,
    left: Left,
) -> Text:
    """As text.status, of a live study."""
    if state.opened is None:
        return Text(f"This study has not been run yet: `{standing.begin}`")
    found = standing.figures
    told = (
        [f"people    not known here: {standing.why}"]
        if found is None
        else [
            f"people    {_people(standing, found)}",
            f"outcomes  {_outcomes(standing, found)}",
            f"plan      {'none yet' if found.plan is None else f'{found.plan}, the latest'}",
            *(_kept(standing.kept) if standing.kept else ()),
        ]
    )
    lines = [
        f"study     {state.opened.study}  (live, {state.metric.name}, {state.metric.direction})",
        f"state     {text.doing(running_pid, paused)}",
        *told,
        f"levels    {_levels(standing)}",
        f"trials    {state.decided} decided ({text.counts(state)}), {len(state.unfinished)} unfinished",
        *cost.lines(state, left),
        "",
        *proposers.lines(state, odds),
        "",
        MAP,
        text.asked(state),
    ]
    return Text("\n".join(lines).rstrip())


def table(state: State, last: int | None = None) -> Table:
    """The log as a table: a line per level, and one for the defaults that everything began with."""
    trials = list(state.trials.values())
    told = [(trial, text.row(trial)) for trial in (trials[-last:] if last else trials)]
    gained = any(gain for _, (_, _, _, gain, *_) in told)
    found = Table(box=None, pad_edge=False, header_style="bold")
    found.add_column("trial", justify="right", no_wrap=True)
    found.add_column("stands", no_wrap=True)
    if gained:
        found.add_column("gain", justify="right", no_wrap=True)
    found.add_column("idea", overflow="fold", ratio=1)
    for trial, (number, word, _, gain, _, _, idea) in told:
        stands = word if trial.verdict else Text(_open(trial), text.COLORS[trial.word])
        found.add_row(number, stands, *([gain] if gained else []), idea)
    return found


def _open(trial: Trial) -> str:
    if trial.is_baseline:
        return "defaults"
    if trial.commit is None:
        return "is being written"
    return "shown" if trial.approved else "waits for your word"


def data(standing: Standing) -> dict[str, Any]:
    """For `status --json`: the figures are null where the store cannot be read."""
    found = standing.figures
    figures = msgspec.to_builtins(found) if found else dict.fromkeys(Figures.__struct_fields__)
    return {
        "outcome": standing.outcome,
        **figures,
        "kept": msgspec.to_builtins(standing.kept),
        "levels_shown": standing.levels_shown,
        "levels_waiting": standing.levels_waiting,
    }


def _people(standing: Standing, found: Figures) -> str:
    if not found.people:
        return "nobody came yet"
    came = f"{found.people:,} {'person' if found.people == 1 else 'people'} came: {found.counted:,} counted by now"
    if not found.waiting:
        return came
    return f"{came}, {windows(found.waiting, standing.window_hours, standing.in_part)}"


def _outcomes(standing: Standing, found: Figures) -> str:
    return f"{found.outcomes:,} with the outcome ({standing.outcome}) so far, {found.successes:,} among the counted"


def _kept(kept: Kept) -> list[str]:
    """Only what there is any of."""
    stored = [
        many(kept.exposures, "exposure"),
        *([listed(f"{n:,} {kind}" for kind, n in kept.outcomes.items())] if kept.outcomes else []),
        *([f"costs of {kept.spent:,.2f}"] if kept.spent else []),
        *([f"{many(kept.suppressed, 'person', 'people')} not to be written to"] if kept.suppressed else []),
    ]
    lines = [f"stored    {'; '.join(stored)}"]
    if kept.orphans:
        lines.append(
            f"nobody's  {many(kept.orphans, 'outcome')} of people who were shown nothing: was `autoresearch live sent` typed, and does the "
            "tool write addresses as the list does?"
        )
    for source, kinds in kept.ignored.items():
        lines.append(f"not used  {listed(f'{n:,} {kind}' for kind, n in kinds.items())}, from {shown(source)}")
    return lines


def _levels(standing: Standing, noun: str = "") -> str:
    shown, waiting = standing.levels_shown, standing.levels_waiting
    beside = f"{shown}{noun} shown beside the defaults"
    if not waiting:
        return f"{beside}, none waits for your word"
    return f"{beside}, {waiting} wait{'s' if waiting == 1 else ''} for your word: `autoresearch live approve`"
