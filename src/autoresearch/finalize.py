"""
Handing on: the kept stack as branches from where the person began, one for each change that carries its weight.

Each is applied to the start by itself and measured anew, alone and together, by the study's own referee on fresh paired
seeds. Only refs are written, all in one step at the end, and never a branch that is checked out or not ours: killed at
any moment, nothing is half done, and the same command begins again. Runs nothing on a network.
"""

import contextlib
import importlib.util
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from autoresearch import branches
from autoresearch.certify import Content, beside, choosing_set, ends, kept_changes, measure_all, over
from autoresearch.errors import AutoresearchError, MissingExtra, WorkspaceError
from autoresearch.events import Finalized, SessionEnded
from autoresearch.final import Branch, Clash, Final
from autoresearch.git import PLAIN_DIFF, changed_files
from autoresearch.lab import Lab
from autoresearch.report import evidence
from autoresearch.report.markdown import plain
from autoresearch.report.text import current
from autoresearch.session import Goal, Listener, begin, make_home, opened, stoppable
from autoresearch.transfer.sides import put_on
from autoresearch.trial import Trial
from autoresearch.workspace import message

SLUG = 40  # characters of an idea in the name of its branch


class Plan(Struct, frozen=True):
    """What was asked for: seeds of each side (0: measure nothing), one branch for all, branches not ours replaced."""

    runs: int = 5
    squash: bool = False
    replace: bool = False


class Piece(NamedTuple):
    """A kept change made to stand alone: its trial, a commit that nothing refers to yet, and the piece that it needs."""

    trial: Trial
    content: Content
    on: "Piece | None" = None

    @property
    def line(self) -> "list[Piece]":
        """It and those that it stands on, the lowest first."""
        return [*(self.on.line if self.on else []), self]


class Stack(NamedTuple):
    """What is handed on, before it is measured: single changes, and all of them one after another."""

    start: Content
    pieces: list[Piece]
    series: list[Piece]
    clashes: list[Clash]
    left_out: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def finalize(folder: Path, plan: Plan, listener: Listener) -> tuple[Final, list[str]]:
    """
    Make the branches, write down what they are, and return it, with the lines to type for pull requests.

    Raises:
        AutoresearchError: nothing was kept; a branch is in the way; the start could not be measured. No ref was moved.
    """
    if plan.runs and importlib.util.find_spec("scipy") is None:
        raise MissingExtra("scipy", "stats", "finalize")
    with opened(folder, Goal(), listener) as lab, stoppable(lab):
        begin(lab)
        stack = make(lab, plan.squash)
        names = names_of(lab, stack, plan.squash)
        top = top_of(lab)
        # Before anything is measured: what is in the way would be in the way then, too.
        branches.moves(lab.workspace, top, dict.fromkeys(names.values(), ""), plan.replace)
        found, said = with_evidence(lab, stack, measured(lab, stack, names, plan, listener), plan.squash)
        tips = {branch.name: branch.commit for branch in (*found.branches, found.together)}
        branches.move(lab.workspace, branches.moves(lab.workspace, top, tips, plan.replace))
        lab.log.append(Finalized(final=found))
        lab.log.append(SessionEnded(why="the branches are made"))
        return found, pull_requests(lab.workspace.folder, found, said)


# -- what is handed on ---------------------------------------------------------------------------------


def make(lab: Lab, squash: bool) -> Stack:
    """The changes that carry their weight, each by itself on the start, and all of them one after another."""
    start, _ = ends(lab.log.state)
    kept = kept_changes(lab.log.state)
    claim = current(lab.log.state)
    idle = set(claim.passengers) if claim else set()
    which = ", ".join(map(str, sorted(idle)))
    notes = []
    if claim and idle and claim.pruned is None:
        notes.append(f"Trial {which}: carries nothing by itself, but cannot be taken out without a loss, so it is in.")
        idle = set()
    chosen = [trial for trial in kept if trial.id not in idle]
    if not chosen:
        raise AutoresearchError("no kept change carries anything, as the claim says, so there is nothing to hand on")
    series = in_turn(lab, start, chosen)
    if series is None:
        notes.append(f"Trial {which}: carries nothing by itself, but others build on it, so it is in.")
        chosen, idle = kept, set()
        series = in_turn(lab, start, chosen)
    if series is None:
        raise AutoresearchError("the kept changes do not apply to the start one after another; take the best as it is")
    pieces = [] if squash else alone(lab, start, chosen)
    clashes = [] if squash else [*needed(pieces), *conflicts(lab, start, pieces)]
    return Stack(start, pieces, series, clashes, tuple(sorted(idle)), tuple(notes))


def in_turn(lab: Lab, start: Content, chosen: Sequence[Trial]) -> list[Piece] | None:
    """Each change on top of the one before it; None where one does not apply."""
    made: list[Piece] = []
    for trial in chosen:
        under = made[-1].content if made else start
        if (content := applied(lab, under, trial, f"with-{trial.id}")) is None:
            return None
        made.append(Piece(trial, content, made[-1] if made else None))
    return made


def alone(lab: Lab, start: Content, chosen: Sequence[Trial]) -> list[Piece]:
    """Each change by itself on the start, or else on top of the latest one with which it applies."""
    made: list[Piece] = []
    for trial in chosen:
        if content := applied(lab, start, trial, f"alone-{trial.id}"):
            made.append(Piece(trial, content))
            continue
        for under in reversed(made):
            if content := applied(lab, under.content, trial, f"on-{under.trial.id}-{trial.id}"):
                made.append(Piece(trial, content, under))
                break
    return made


def applied(lab: Lab, under: Content, trial: Trial, name: str) -> Content | None:
    """A kept change on other content; None where it does not apply, or changes nothing there."""
    with lab.workspace.at(f"final-{name}", under.commit, under.commit) as tree:
        if not put_on(tree, trial):
            return None
        content = tree.snapshot()
    if content == under.tree:
        return None
    return Content(f"final-{name}", lab.workspace.commit_tree(content, under.commit, message(trial.idea, {})), content)


def needed(pieces: Sequence[Piece]) -> list[Clash]:
    """The pairs of which the later one does not apply without the earlier."""
    return [Clash(piece.on.trial.id, piece.trial.id, alone=False, on_top=True) for piece in pieces if piece.on]


def conflicts(lab: Lab, start: Content, pieces: Sequence[Piece]) -> list[Clash]:
    """The pairs that do not need each other, and conflict when both are merged."""
    names = changed_files(lab.workspace.folder, [(start.commit, piece.content.commit) for piece in pieces])
    files = {piece.trial.id: set(names_) for piece, names_ in zip(pieces, names, strict=True)}
    found: dict[frozenset[int], Clash] = {}
    for n, later in enumerate(pieces):
        for earlier in pieces[:n]:
            if earlier in later.line or not files[earlier.trial.id] & files[later.trial.id]:
                continue
            below = (frozenset({one.trial.id, other.trial.id}) for one in earlier.line for other in later.line)
            if any(pair in found for pair in below):
                continue  # those that they stand on conflict already
            if not merges(lab, start, earlier.content, later.content):
                ids = earlier.trial.id, later.trial.id
                works = applied(lab, earlier.content, later.trial, f"top-{ids[0]}-{ids[1]}") is not None
                found[frozenset(ids)] = Clash(*ids, alone=True, on_top=works)
    return list(found.values())


def merges(lab: Lab, start: Content, one: Content, other: Content) -> bool:
    """Whether what one changes since the start can be merged into the other."""
    with lab.workspace.at("final-merge", one.commit, one.commit) as tree:
        patch = tree.git("diff", "--binary", "--full-index", *PLAIN_DIFF, start.commit, other.commit)
        with contextlib.suppress(WorkspaceError):
            tree.git("apply", "--3way", "--index", "-", input=patch)
            return True
    return False


# -- names ---------------------------------------------------------------------------------------------


def names_of(lab: Lab, stack: Stack, squash: bool) -> dict[int, str]:
    """Trial -> the name of its branch; under -1 that of all together."""
    top = top_of(lab)
    width = len(str(len(stack.pieces)))  # so that a list of branches is in order
    names = {p.trial.id: f"{top}/{n:0{width}}-{slug(p.trial)}" for n, p in enumerate(stack.pieces, start=1)}
    return names | {-1: f"{top}/{'squashed' if squash else 'all'}"}


def top_of(lab: Lab) -> str:
    """Where the branches are. Not under the study's own branch: git has no room for a branch below a branch."""
    return f"autoresearch/{lab.study.name}-final"


def slug(trial: Trial) -> str:
    """An idea as part of a branch's name: letters, digits and hyphens, and a point within a number."""
    words = "-".join(re.findall(r"[a-z0-9]+(?:[.][0-9]+)?", trial.idea.partition(": ")[0].lower()))
    short = words if len(words) <= SLUG else words[:SLUG].rpartition("-")[0] or words[:SLUG]
    return short.strip("-.") or f"trial-{trial.id}"


# -- measuring -----------------------------------------------------------------------------------------


def measured(lab: Lab, stack: Stack, names: dict[int, str], plan: Plan, listener: Listener) -> Final:
    """What each gains over what it stands on, and all together over the start."""
    whole, held = stack.series[-1], choosing_set(lab.study)
    contents = [stack.start, whole.content, *(piece.content for piece in stack.pieces)]
    distinct = {content.tree: content for content in reversed(contents)}
    sides = [stack.start, *(content for content in distinct.values() if content.tree != stack.start.tree)]
    if plan.runs:
        listener.say(f"{len(sides) - 1} contents against the start, {plan.runs} fresh seeds each")
    values, failed = measure_all(lab, sides, plan.runs, held, listener, may_fail=True) if plan.runs else ({}, {})

    def branch(name: str, content: Content, under: Content, trials: Sequence[Trial]) -> Branch:
        made = Branch(
            name, content.commit, content.tree, tuple(t.id for t in trials), trials[0].idea if len(trials) == 1 else ""
        )
        better, base = distinct[content.tree], distinct.get(under.tree, stack.start)
        if lost := [failed[side.name] for side in (better, base) if side.name in failed]:
            return replace(made, why=f"no value by itself: {lost[0]}")
        if not plan.runs:
            return made
        found = over(lab, (base, values[base.name]), (better, values[better.name]), held)
        return replace(made, gain=found.estimate, low=found.low, high=found.high)

    singles = []
    for piece in stack.pieces:
        made = branch(
            names[piece.trial.id], piece.content, piece.on.content if piece.on else stack.start, [piece.trial]
        )
        singles.append(replace(made, on=names[piece.on.trial.id]) if piece.on else made)
    all_trials = [piece.trial for piece in stack.series]
    together = branch(names[-1], whole.content, stack.start, all_trials)
    guarded = () if together.gain is None else beside(lab, stack.start, distinct[whole.content.tree], plan.runs, held)
    mine = {piece.trial.id for piece in stack.pieces}
    return Final(
        start=stack.start.commit,
        best=lab.log.state.best.commit if lab.log.state.best else stack.start.commit,
        held=held,
        runs=plan.runs,
        digest=lab.log.state.digest,
        machine=lab.executor.machine,
        together=together,
        branches=tuple(singles),
        clashes=tuple(stack.clashes),
        left_out=stack.left_out,
        only_together=() if plan.squash else tuple(t.id for t in all_trials if t.id not in mine),
        beside=guarded,
        notes=stack.notes,
    )


# -- writing -------------------------------------------------------------------------------------------


def with_evidence(lab: Lab, stack: Stack, found: Final, squash: bool) -> tuple[Final, dict[str, list[str]]]:
    """
    The commits, each with what speaks for it in its message; no ref leads to them yet. And those sentences, by branch.
    """
    claim, metric = current(lab.log.state), lab.study.metric
    shares = {share.trials[0]: share for share in claim.shares} if claim else {}
    carries = {piece.trial.id: evidence.share(shares.get(piece.trial.id), claim) for piece in stack.series}
    said: dict[str, list[str]] = {}
    commits = {"": found.start}
    for piece, branch in zip(stack.pieces, found.branches, strict=True):
        pairs = [evidence.clash(pair) for pair in found.clashes if piece.trial.id in (pair.earlier, pair.later)]
        lines = [evidence.gain(branch, metric, found.runs, found.held), carries[piece.trial.id], *pairs]
        said[branch.name] = lines
        commits[branch.name] = committed(lab, [piece.trial], piece.content, lines, commits[branch.on])
    singles = tuple(replace(branch, commit=commits[branch.name]) for branch in found.branches)
    said[found.together.name] = lines = evidence.whole(found, claim, metric)
    trials, tip = [piece.trial for piece in stack.series], found.start
    if squash:
        tip = committed(lab, trials, stack.series[-1].content, lines, tip)
    for piece in [] if squash else stack.series:
        tip = committed(lab, [piece.trial], piece.content, [carries[piece.trial.id]], tip)
    notes = (*found.notes, evidence.agreement(found, claim))
    return replace(found, branches=singles, together=replace(found.together, commit=tip), notes=notes), said


def committed(lab: Lab, trials: Sequence[Trial], content: Content, lines: Sequence[str], parent: str) -> str:
    """A commit of this content with its evidence."""
    by = ", ".join(dict.fromkeys(trial.by for trial in trials))
    trailers = {
        "Study": lab.study.name,
        "Trial": ", ".join(str(t.id) for t in trials),
        "Proposed-by": plain(by),
    }
    title, body = evidence.commit([trial.idea for trial in trials], lines)
    return lab.workspace.commit_tree(content.tree, parent, message(title, dict(trailers), body))


def pull_requests(folder: Path, found: Final, said: Mapping[str, list[str]]) -> list[str]:
    """
    The lines to type for pull requests, of single changes or, with a squash, of the whole. Their bodies are written into
    files of ours.
    """
    home = make_home(folder) / "final"
    home.mkdir(exist_ok=True)
    base = branches.of_person(folder)
    lines = []
    for branch in found.branches or (found.together,):
        body = home / f"{branch.name.rpartition('/')[2]}.md"
        body.write_text(evidence.body(branch, said[branch.name], found.start), encoding="utf-8", errors="replace")
        words = ["gh", "pr", "create", "--base", branch.on or base, "--head", branch.name]
        words += ["--title", evidence.title(branch), "--body-file", str(body.relative_to(folder))]
        lines += [shlex.join(["git", "push", "origin", branch.name]), shlex.join(words)]
    return lines
