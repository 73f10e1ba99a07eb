"""
Which changes are tried again once best has moved: winners as one trial first, each by itself after that.

Of several that were better than one base, only the first can become best; the others are stale. Together they are one
trial: where gains add up, a single run takes them all. Where they do not, each is tried on the best by itself, in order.
While winners are measured so, no other trial on the same base becomes best, unless it gained more than each of them: it would make them
stale again, and with many slots there is always one.
"""

from collections.abc import Sequence
from typing import Any

from autoresearch.state import State
from autoresearch.trial import Proposal, Trial

BY = "stack"
SEARCH = "search"  # the built-in proposer, whose memo says by itself what it set
CONSTANTS = "constants"  # in the memo of who is not the built-in search: what it set, where it changed nothing else
MOST = 8  # changes in one trial
IDEA = 60  # characters of each


def next_up(state: State, only: str | None = None) -> tuple[int, ...]:
    """
    The stale trials whose changes the next trial carries; none where there are none, or where winners are being measured
    already, or as many may yet come of runs on the same base: those that come later are together the next. `only` is the
    key of an idea, where nothing else is wanted.
    """
    due = [state.trials[i] for i in state.stale if only in (None, state.trials[i].wish)]
    if not due:
        return ()
    winners = [trial for trial in due if won(trial) and trial.id not in state.apart]
    if alone := next((trial for trial in due if trial not in winners), None):
        return (alone.id,)
    bases = {trial.base_tree for trial in winners}
    unfinished = (state.trials[i] for i in state.unfinished)
    racing = sum(trial.base_tree in bases and bool(trial.runs) for trial in unfinished)
    if under_way(state) or racing >= len(winners):
        return ()
    return tuple(trial.id for trial in _in_order(winners)[:MOST])


def _in_order(winners: Sequence[Trial]) -> list[Trial]:
    """By gain, the largest first; but those that set a constant which one before them sets after all others: they do not go together."""
    first, rest, set_by_them = list[Trial](), list[Trial](), set[str]()
    for trial in sorted(winners, key=lambda trial: -_gain(trial)):
        (rest if set_by_them.intersection(constants(trial)) else first).append(trial)
        set_by_them.update(constants(trial))
    return [*first, *rest]


def largest(state: State, together: Trial) -> float:
    """The largest gain among those that a trial carries."""
    return max((_gain(state.trials[number]) for number in together.carries), default=0.0)


def wins(state: State, trial: Trial) -> bool:
    """Whether it carries nothing but winners."""
    return bool(trial.carries) and all(won(state.trials[i]) for i in trial.carries)


def under_way(state: State) -> Trial | None:
    """The trial that carries winners now, if one does."""
    unfinished = (state.trials[i] for i in tuple(state.unfinished))
    carrying = (trial for trial in unfinished if trial.carries and not state.apart.intersection(trial.carries))
    return next((trial for trial in carrying if wins(state, trial)), None)


def won(trial: Trial) -> bool:
    """Whether its own runs showed a gain, and nobody wants it by itself."""
    return _gain(trial) > 0 and bool(trial.runs) and not (trial.wish or trial.accepted)


def _gain(trial: Trial) -> float:
    return (trial.verdict.gain or 0.0) if trial.verdict else 0.0


def proposal(carried: Sequence[Trial]) -> Proposal:
    """What a trial proposes that carries the changes of these."""
    if len(carried) == 1:
        return Proposal(carried[0].idea, carried[0].by, carried[0].memo)
    names = ", ".join(str(trial.id) for trial in carried[:-1])
    ideas = "; ".join(trial.idea[:IDEA] for trial in carried)
    known = [constants(trial) for trial in carried]
    memo = {CONSTANTS: {name: change for one in known for name, change in one.items()}} if all(known) else {}
    return Proposal(f"trials {names} and {carried[-1].id} together: {ideas}", BY, memo)


def constants(trial: Trial) -> dict[str, list[Any]]:
    """
    What a trial set and from what, by constant, where it is known to have changed nothing else. A memo is whatever its
    proposer wrote.
    """
    told = trial.memo.get("set" if trial.by == SEARCH else CONSTANTS)
    if not isinstance(told, dict) or not all(isinstance(one, list | tuple) and len(one) == 2 for one in told.values()):
        return {}
    return {str(name): list(one) for name, one in told.items()}
