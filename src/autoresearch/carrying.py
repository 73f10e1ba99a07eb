"""
Which changes are tried again once best has moved: winners that raced each other as one first, each by itself after that.

Of several that were better than one base, only the first can become best; the others are stale. Together they are one
trial: where gains add up, a single run takes them all. Where they do not, each is tried on the best by itself, in order.
"""

from collections.abc import Sequence

from autoresearch.state import State
from autoresearch.trial import Proposal, Trial

BY = "stack"
MOST = 8  # changes in one trial
IDEA = 60  # characters of each


def next_up(state: State, only: str | None = None) -> tuple[int, ...]:
    """
    The stale trials whose changes the next trial carries; none where there are none, or where more winners may come of
    runs on the same base. `only` is the key of an idea, where nothing else is wanted.
    """
    due = [state.trials[i] for i in state.stale if only in (None, state.trials[i].wish)]
    if not due:
        return ()
    winners = [trial for trial in due if won(trial) and trial.id not in state.apart]
    if alone := next((trial for trial in due if trial not in winners), None):
        return (alone.id,)
    bases = {trial.base_tree for trial in winners}
    racing = (state.trials[i] for i in state.unfinished)
    if any(trial.base_tree in bases and trial.runs for trial in racing):
        return ()
    return tuple(trial.id for trial in winners[:MOST])


def won(trial: Trial) -> bool:
    """Whether its own runs showed a gain, and nobody wants it by itself."""
    gain = trial.verdict.gain if trial.verdict else None
    return gain is not None and gain > 0 and bool(trial.runs) and not (trial.wish or trial.accepted)


def proposal(carried: Sequence[Trial]) -> Proposal:
    """What a trial proposes that carries the changes of these."""
    if len(carried) == 1:
        return Proposal(carried[0].idea, carried[0].by, carried[0].memo)
    names = ", ".join(str(trial.id) for trial in carried[:-1])
    ideas = "; ".join(trial.idea[:IDEA] for trial in carried)
    return Proposal(f"trials {names} and {carried[-1].id} together: {ideas}", BY)
