"""
The levels of a live study, each a trial: what it adds to variables.toml, and which may be shown.

A trial's commit is the file with its level as the default, so that what is kept is what everybody is shown. Knows the state and the text
of the file; no store and no worktree.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from autoresearch.errors import MissingExtra, StudyError
from autoresearch.live.variables import FILE, Variables, parse
from autoresearch.state import State
from autoresearch.trial import Trial

MEMO = "level"  # in a trial's memo: what it is about


class Level(Struct, frozen=True):
    """A level, and the words that it stands for."""

    variable: str
    name: str
    text: str

    @property
    def at(self) -> tuple[str, str]:
        return self.variable, self.name


def of(trial: Trial) -> Level | None:
    """What a trial is about; None where it is about no level. A memo is whatever its proposer wrote."""
    try:
        return msgspec.convert(trial.memo.get(MEMO), Level)
    except msgspec.ValidationError:
        return None


def memo(level: Level) -> dict[str, object]:
    return {MEMO: msgspec.to_builtins(level)}


def shown(state: State) -> dict[int, Level]:
    """Trials whose levels may be shown now: approved, and not decided."""
    trials = (state.trials[number] for number in tuple(state.unfinished))
    found = {trial.id: of(trial) for trial in trials if trial.approved and trial.commit}
    return {number: level for number, level in found.items() if level is not None}


def waiting(state: State) -> dict[int, Level]:
    """Those that wait for a person's word."""
    trials = (state.trials[number] for number in tuple(state.unfinished))
    found = {trial.id: of(trial) for trial in trials if not trial.approved and trial.commit}
    return {number: level for number, level in found.items() if level is not None}


def tried(state: State) -> set[tuple[str, str]]:
    """Levels that a trial was ever about."""
    found = (of(trial) for trial in tuple(state.trials.values()))
    return {level.at for level in found if level is not None}


def untried(variables: Variables, state: State, were: Iterable[tuple[str, str]]) -> list[Level]:
    """Levels of the file that no trial is about and that never were the default."""
    known = tried(state) | set(were)
    return [
        Level(name, level, text)
        for name, variable in variables.variables.items()
        for level, text in variable.levels.items()
        if level != variable.default and (name, level) not in known
    ]


def allowed(variables: Variables, levels: Iterable[Level]) -> dict[str, set[str]]:
    """Variable -> levels that a plan may show: the defaults, and these."""
    found = {name: {variable.default} for name, variable in variables.variables.items()}
    for level in levels:
        if level.variable in found:
            found[level.variable].add(level.name)
    return found


def joined(variables: Variables, levels: Iterable[Level]) -> Variables:
    """The variables with all of these levels, whoever had them."""
    texts: dict[str, dict[str, str]] = {name: dict(variable.levels) for name, variable in variables.variables.items()}
    for level in levels:
        if level.variable in texts:
            texts[level.variable].setdefault(level.name, level.text)
    return Variables(
        {name: msgspec.structs.replace(variable, levels=texts[name]) for name, variable in variables.variables.items()},
        variables.forbid,
    )


def ever_approved(state: State, variables: Variables) -> Variables:
    """The variables with every level that was ever approved: somebody may have seen it, and sees it for ever."""
    trials = tuple(state.trials.values())
    return joined(variables, [level for trial in trials if trial.approved and (level := of(trial)) is not None])


def defaults_only(variables: Variables) -> Variables:
    """The variables with no level but their defaults."""
    alone = {
        name: msgspec.structs.replace(variable, levels={variable.default: variable.levels[variable.default]})
        for name, variable in variables.variables.items()
    }
    return Variables(alone)


def added(before: Variables, after: Variables) -> Level:
    """
    The one level that a proposal adds.

    Raises:
        StudyError: it adds none, or several, or changes something else.
    """
    new = [
        Level(name, level, text)
        for name, variable in after.variables.items()
        if name in before.variables
        for level, text in variable.levels.items()
        if level not in before.variables[name].levels
    ]
    if len(new) != 1:
        raise StudyError(f"{FILE}: an idea adds one level to one variable; this one adds {len(new)}")
    if joined(before, new).texts_of_all() != after.texts_of_all() or before.forbid != after.forbid:
        raise StudyError(f"{FILE}: an idea adds one level and changes nothing else")
    return new[0]


def written(text: str, level: Level) -> str:
    """
    The file with this level in it, as the default of its variable; its comments and order stay.

    Raises:
        StudyError: it cannot be put there.
        MissingExtra: tomlkit is not there.
    """
    try:
        import tomlkit
    except ImportError:
        raise MissingExtra("tomlkit", "live", "live studies") from None
    document = tomlkit.parse(text)
    table: Any = document[level.variable]
    table["levels"][level.name] = level.text
    table["default"] = level.name
    result = tomlkit.dumps(document)
    found = parse(result, meet=False)  # a level that must not meet another default is a trial all the same
    if found.variables[level.variable].default != level.name:
        raise StudyError(f"{FILE}: {level.variable}.levels is not written in a way that a level can be added to")
    return result
