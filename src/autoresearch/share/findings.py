"""
What a study's own trials are to others: each that was measured, as a finding. Pure functions of the state.

A trial is told once it is decided, whatever came of it: what did not help is worth as much to others. Values are of the
study's own kind of machine alone. No name of a file outside the asset, no host and no clock is in it.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from autoresearch.share.board import Place, measured
from autoresearch.share.book import Book
from autoresearch.share.receipt import LARGEST, MOST_PATCH, MOST_RUNS, Finding, Ran, Word
from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.trial import FINDING, Run, Trial

WORDS: dict[str, Word] = {
    "keep": "keep",
    "discard": "discard",
    "inconclusive": "inconclusive",
    "crash": "crash",
    "timeout": "timeout",
    "stale": "stale",
    "suspect": "suspect",
}
IDEA = 500  # characters


def budget(study: Study) -> str:
    """A budget in words: values under two of them are not compared."""
    found = study.measure.allowance
    return f"{found.amount:g} {found.unit}" if found else ""


def place(state: State, study: Study) -> Place:
    """Where this study's values compare with others'."""
    return state.digest, state.tier[:120], budget(study)


def due(state: State) -> Iterator[Trial]:
    """Trials that others are to be told of: decided, and measured on the study's own kind of machine."""
    for trial in tuple(state.trials.values()):
        if trial.word in WORDS and trial.tree and any(not state.runs[run].tier for run in trial.runs):
            yield trial


def mark(trial: Trial) -> tuple[int, str, str]:
    """By what a told trial is known again: a study may be begun anew, and its trials' numbers with it."""
    return trial.id, trial.base_tree, trial.shape or trial.tree or ""


def told(book: Book, peer: str) -> dict[tuple[int, str, str], str]:
    """What a peer told of, by mark: the id of the receipt."""
    with book.lock:
        entries = [book.entries[id] for id in book.chains.get(peer, ())]
    bodies = ((entry.id, entry.receipt.body) for entry in entries)
    return {(body.trial, body.base, body.key): id for id, body in bodies if isinstance(body, Finding)}


def finding(state: State, study: Study, trial: Trial, patch: str) -> Finding:
    """
    What is told of a decided trial. A patch that is longer than a receipt may hold is left out: others then cannot try it.

    The start's own trial is told too: its runs are what all others are held against.
    """
    assert trial.verdict is not None
    assert trial.tree is not None
    verdict = trial.verdict
    own = [state.runs[run] for run in trial.runs]
    mine = [run for run in own if run.tree == trial.tree]
    beside = [run for run in (*state.runs_on(trial.base_tree), *own) if run.tree == trial.base_tree != trial.tree]
    about = str(trial.memo.get(FINDING, ""))
    digest, tier, allowed = place(state, study)
    found = Finding(
        study=digest,
        tier=tier,
        direction=state.metric.direction,
        budget=allowed,
        base=trial.base_tree,
        key=trial.shape or trial.tree,
        word=WORDS[trial.word],
        idea=trial.idea[:IDEA],
        trial=trial.id,
        runs=_ran(mine),
        base_runs=_ran(beside),
        patch=patch if len(patch) <= MOST_PATCH and not trial.is_baseline else "",
        noise=state.noise.sd if state.noise else None,
        cost=verdict.cost,
        about=about,
        on=tuple(dict.fromkeys(_held(state, trial)))[-64:],
    )
    said = measured(found)  # as whoever reads it works it out, and not as the study's policy did
    return replace(found, gain=said.gain, error=said.error)


def _ran(runs: list[Run]) -> tuple[Ran, ...]:
    """Each run once, the latest where there are too many; those that a stop ended say nothing."""
    ended = {run.id: run for run in runs if run.measurement and run.measurement.status != "stopped" and not run.tier}
    return tuple(Ran(run.id, min(run.seed, LARGEST), run.value) for run in sorted(ended.values(), key=_id))[-MOST_RUNS:]


def _id(run: Run) -> int:
    return run.id


def _held(state: State, trial: Trial) -> Iterator[str]:
    """The findings of others that its base holds, or that it carries with it."""
    for id in (*(kept for kept in state.kept if kept < trial.id), trial.id):
        kept = state.trials[id]
        carried = [state.trials[stale] for stale in kept.stack]
        for one in (kept, *carried) if id != trial.id else carried:
            if isinstance(found := one.memo.get(FINDING), str):
                yield found
