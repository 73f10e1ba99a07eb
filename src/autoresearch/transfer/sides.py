"""
What is measured on each rung: the start, the best, and each kept change by itself or the best without it.

Knows git and the ladder; runs nothing.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from autoresearch.certify import Content, best_without, ends, kept_changes
from autoresearch.errors import AutoresearchError, WorkspaceError
from autoresearch.git import PLAIN_DIFF, git
from autoresearch.lab import Lab
from autoresearch.propose.knobs import language
from autoresearch.rungs import Each, Setting
from autoresearch.transfer import ladder
from autoresearch.transfer.ladder import Spot, Step
from autoresearch.trial import Trial
from autoresearch.workspace import Tree

_INSERTS = re.compile(rb"^@@ -\d+,0 ", re.MULTILINE)


class Side(NamedTuple):
    """One of those. `at` is its content on each rung; empty where it cannot be made, with the reason in `why`."""

    name: str
    at: tuple[Content, ...]
    trials: tuple[int, ...] = ()
    idea: str = ""
    overridden: tuple[str, ...] = ()
    why: str = ""


def make(lab: Lab, steps: Sequence[Step], each: Each) -> tuple[list[Side], list[dict[str, Setting]]]:
    """
    All sides: the start first, then the best, then the changes in the order in which they were kept. And what the
    constants are on each rung.

    Raises:
        AutoresearchError: there is nothing to measure, or a constant of the ladder cannot be set on some side.
    """
    start, best = ends(lab.log.state)
    with lab.workspace.at("transfer-start", start.commit, start.commit) as tree:
        files = {str(path): (tree.path / path).read_bytes() for path in tree.asset_files() if language(str(path))}
        spots = [ladder.locate(key, files) for key in steps[0].settings]
        settings = [{spot.key: ladder.asked(spot, step, files[spot.file]) for spot in spots} for step in steps]
        sides = [Side("the start", on_rungs(lab, tree, "the start", spots, steps))]
    with lab.workspace.at("transfer-best", best.commit, best.commit) as tree:
        sides.append(Side("the best", on_rungs(lab, tree, "the best", spots, steps)))
    kept = kept_changes(lab.log.state) if each != "none" else []
    for trial in kept:
        made = alone(lab, trial, start, spots, steps) if each == "alone" else without(lab, trial, kept, spots, steps)
        if made.trials not in {side.trials for side in sides}:
            sides.append(made)
    return sides, settings


def alone(lab: Lab, trial: Trial, start: Content, spots: Sequence[Spot], steps: Sequence[Step]) -> Side:
    """The start with one kept change."""
    name = f"the start with trial {trial.id} alone"
    set_by_it = overridden(lab, trial, spots)
    with lab.workspace.at(f"transfer-{trial.id}", start.commit, start.commit) as tree:
        if not put_on(tree, trial):
            why = "its patch does not apply to the start by itself; --each without takes it out of the best instead"
            return Side(name, (), (trial.id,), trial.idea, set_by_it, why)
        return Side(name, on_rungs(lab, tree, name, spots, steps), (trial.id,), trial.idea, set_by_it)


def without(lab: Lab, trial: Trial, kept: Sequence[Trial], spots: Sequence[Spot], steps: Sequence[Step]) -> Side:
    """The best without one kept change, and without those that build on it where it cannot be taken out alone."""
    set_by_it = overridden(lab, trial, spots)
    found = best_without(lab, trial, kept)
    if found is None:
        return Side("", (), (trial.id,), trial.idea, set_by_it, "it cannot be taken out of the best")
    group, content = found
    name = f"the best without trial {' and '.join(map(str, group))}"
    with lab.workspace.at(f"transfer-{content.name}", content.commit, content.commit) as tree:
        return Side(name, on_rungs(lab, tree, name, spots, steps), group, trial.idea, set_by_it)


def on_rungs(lab: Lab, tree: Tree, name: str, spots: Sequence[Spot], steps: Sequence[Step]) -> tuple[Content, ...]:
    """What a worktree holds, committed once for each rung with the ladder's constants set."""
    found = []
    sources = {spot.file: _source(tree, spot, name) for spot in spots}
    for number, step in enumerate(steps):
        for file, source in sources.items():
            (tree.path / file).write_bytes(ladder.place(file, source, spots, step, name))
        content = tree.snapshot()
        ref = f"transfer/{re.sub(r'[^a-z0-9]+', '-', name)}-{number}"
        found.append(Content(name, lab.workspace.store(content, tree.base, f"{name}, {step.name}", ref), content))
    return tuple(found)


def _source(tree: Tree, spot: Spot, name: str) -> bytes:
    try:
        return (tree.path / spot.file).read_bytes()
    except OSError:
        raise AutoresearchError(
            f"{spot.file} of {name}: there is no such file any more, so {spot.name} cannot be put on the ladder"
        ) from None


def put_on(tree: Tree, trial: Trial) -> bool:
    """Apply the patch of a kept change to other content; False where it needs what came before it."""
    assert trial.commit is not None
    words = ["diff", "--binary", "--full-index", *PLAIN_DIFF]
    ways = (("-U3", ["--3way", "--index"]), ("-U1", ["--index"]), ("-U0", ["--unidiff-zero", "--index"]))
    for context, how in ways:
        patch = tree.git(*words, context, trial.base, trial.commit)
        if context == "-U0" and _INSERTS.search(patch):
            return False  # with no line around it, nothing says where an insertion belongs
        try:
            tree.git("apply", *how, "-", input=patch)
        except WorkspaceError:
            tree.git("reset", "--quiet", "--hard")
        else:
            return True
    return False


def overridden(lab: Lab, trial: Trial, spots: Sequence[Spot]) -> tuple[str, ...]:
    """The constants of the ladder that a kept change set itself."""
    assert trial.commit is not None
    return tuple(s.key for s in spots if _value(lab, s, trial.base) != _value(lab, s, trial.commit))


def _value(lab: Lab, spot: Spot, commit: str) -> Setting | None:
    try:
        source = git(lab.workspace.folder, "show", f"{commit}:{lab.workspace.prefix}{spot.file}")
    except WorkspaceError:
        return None  # the file is not there
    return ladder.value(spot, source)
