"""
What waits for a person's word: each level with what it takes to say yes or no to it, and how it would look.

A level's words may be a model's. They are data here: what becomes markup is escaped by the template alone.
"""

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from autoresearch.campaign import levels
from autoresearch.campaign.levels import Level
from autoresearch.errors import StudyError
from autoresearch.inbox import Inbox
from autoresearch.live import render
from autoresearch.live.brand import Brand
from autoresearch.live.render import Template
from autoresearch.live.variables import Variables, key
from autoresearch.state import State

LONGEST_WHY = 500  # characters of a reason


class Waits(Struct, frozen=True):
    """
    A level that waits, and the words of the default that it would stand in for. `breaks`: what the rules have against it or against the
    whole with it; `claims`: those that allow what it asserts. `seen`: the whole with it as somebody reads it; "" where it cannot be made.
    """

    trial: int
    variable: str
    about: str
    kind: str
    level: str
    text: str
    beside: str
    by: str
    idea: str
    breaks: tuple[str, ...]
    claims: tuple[str, ...]
    seen: str


def waits(state: State, variables: Variables, template: Template | None, rules: Brand | None) -> tuple[Waits, ...]:
    """All that wait, in order; `variables` are those of the best."""
    found = []
    for number, level in levels.waiting(state).items():
        variable = variables.variables.get(level.variable)
        if variable is None:
            continue
        trial = state.trials[number]
        breaks, seen = _whole(variables, level, state, template, rules)
        found.append(
            Waits(
                number,
                level.variable,
                variable.about,
                variable.kind,
                level.name,
                level.text,
                variable.levels[variable.default],
                trial.by,
                trial.idea,
                breaks,
                rules.rests_on(level.text) if rules is not None and variable.kind == "text" else (),
                seen,
            )
        )
    return tuple(found)


def _whole(
    variables: Variables, level: Level, state: State, template: Template | None, rules: Brand | None
) -> tuple[tuple[str, ...], str]:
    """What the rules have against it that they have not against the defaults, and what somebody would read."""
    everything, cell = _with(variables, level, state)
    try:
        texts = render.shown(everything, cell)
        seen = render.seen(template.render(texts, key(cell)), template.html) if template else "\n".join(texts.values())
        if rules is None:
            return (), seen
        before = render.forbidden(variables, variables.default, template, rules)
        return tuple(one for one in render.forbidden(everything, cell, template, rules) if one not in before), seen
    except StudyError as error:
        return (str(error),), ""


def look(state: State, variables: Variables, level: Level, template: Template, nonce: str = "") -> str:
    """
    The page, mail or advertisement with this level, rendered: of an HTML template what a browser must not trust.

    Raises:
        StudyError: it cannot be made.
    """
    everything, cell = _with(variables, level, state)
    return template.render(render.shown(everything, cell), key(cell), nonce)


def _with(variables: Variables, level: Level, state: State) -> tuple[Variables, dict[str, str]]:
    """The allowed cell with this level that has as many defaults beside it as may be, approved levels before others."""
    everything = levels.joined(variables, [*levels.shown(state).values(), level])
    plain = {**variables.default, level.variable: level.name}
    if everything.allowed(plain):
        return everything, plain
    approved = {**levels.allowed(variables, levels.shown(state).values()), level.variable: {level.name}}
    for chosen in (approved, {level.variable: {level.name}}):
        cells = everything.cells(chosen)
        cell = min(cells, key=lambda cell: sum(plain[name] != one for name, one in cell.items()), default=None)
        if cell is not None:
            return everything, cell
    return everything, plain


def say(home: Path, state: State, trials: Iterable[int], yes: bool, why: str = "") -> None:
    """
    Leave a person's word on levels that wait. `home` is the study's .autoresearch; `why` is told to whoever has the next idea.

    Raises:
        StudyError: one of them does not wait, or the reason is too long; then nothing was said of any.
    """
    inbox, wanted, waiting = Inbox(home), tuple(trials), levels.waiting(state)
    reason = " ".join("".join(c if c.isprintable() else " " for c in why).split())
    if len(reason) > LONGEST_WHY:
        raise StudyError(f"the reason has {len(reason)} characters; {LONGEST_WHY} at most")
    refused = {number for number, word in inbox.approvals() if not word.yes}
    for trial in wanted:
        if trial not in waiting:
            raise StudyError(
                f"trial {trial} does not wait for your word; `autoresearch live approve` lists those that do"
            )
        if yes and trial in refused:
            raise StudyError(f"trial {trial} was refused a moment ago")
    for trial in wanted:
        inbox.approve(trial, yes, reason)
