"""
Looks at a live study without beginning it: whether template, variables, rules, tools and store can be used, and what nobody would see.

Nothing is shown, recorded or proposed. `autoresearch check` is the same of a study that runs something.
"""

import contextlib
from pathlib import Path

from msgspec import Struct

from autoresearch.campaign import house, tools
from autoresearch.campaign.own import Own
from autoresearch.errors import StudyError
from autoresearch.live.variables import FILE, check_named, parse
from autoresearch.log import holder
from autoresearch.session import check_start, journal
from autoresearch.study import load
from autoresearch.workspace import Workspace


class Checked(Struct, frozen=True):
    """`levels`: variable -> how many it has, the default among them. `advice`: sentences."""

    study: str
    channel: str
    outcome: str
    template: str
    levels: dict[str, int]
    rules: bool
    hooks: list[str]
    feeds: list[str]
    store: str
    begins: str
    advice: list[str]


def check(folder: Path) -> Checked:
    """
    The commit that is checked out, as a study that began now would take it.

    Raises:
        AutoresearchError: it could not begin; the message says why, and what to do.
    """
    folder = folder.resolve()
    study = load(folder)
    live = study.need_live()
    workspace = Workspace(folder, study)
    commit, _ = workspace.head()
    if holder(journal(folder)) is None:
        check_start(workspace, study, commit)
    own = Own(workspace, commit, live)
    variables = parse(own.text(FILE) or "")
    check_named(live, variables)
    house.prior(own)
    hooks, feeds = tools.called(live, b""), tools.asked(live)
    advice = [*own.doubts(variables, own.rules), *own.left_out()]
    if own.rules is None:
        advice.append("there is no brand.toml: nothing keeps a level from saying what you may not say")
    if not any(len(variable.levels) > 1 for variable in variables.variables.values()):
        advice.append(f"{FILE}: no variable has a second level, so there is nothing to find out yet")
    if live.store:
        with contextlib.closing(house.store_of(study.name, live, workspace.home)) as store:
            if why := store.check():
                raise StudyError(f"study.toml: live.store cannot be written to: {why}")
    return Checked(
        study.name,
        live.channel,
        live.outcome,
        live.template,
        {name: len(variable.levels) for name, variable in variables.variables.items()},
        own.rules is not None,
        list(hooks),
        [feed.name for feed in feeds],
        "the database that live.store names" if live.store else "a file beside the log",
        live.begins,
        advice,
    )


def page(found: Checked) -> str:
    """The same for a person, without the last word."""
    lines = [
        f"study      {found.study}  (live, {found.channel})",
        f"outcome    {found.outcome}",
        f"template   {found.template or 'none: decisions only'}",
        f"variables  {', '.join(f'{name} ({n})' for name, n in found.levels.items())}",
        f"rules      {'brand.toml' if found.rules else 'none'}",
        f"store      {found.store}",
    ]
    if tools_ := [*found.hooks, *found.feeds]:
        lines.append(f"tools      {', '.join(tools_)}")
    return "\n".join([*lines, *(f"note       {sentence}" for sentence in found.advice)])
