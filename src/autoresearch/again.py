"""
Stale changes once more, on the new best.

What became best meanwhile may have changed the same lines. Then constants that were set together are set again, and what was measured
to be better than the new best takes its place as it is. Knows worktrees and what trials carry; decides nothing.
"""

from autoresearch import carrying
from autoresearch.errors import ProposerError
from autoresearch.propose import setting
from autoresearch.state import State
from autoresearch.trial import Trial
from autoresearch.workspace import Tree


def carried(tree: Tree, state: State, trial: Trial) -> list[Trial]:
    """
    Make the changes that a trial carries. Of several, those that fit, in their order; the others would not fit by themselves
    either, once these are kept.

    Raises:
        ProposerError: none fits.
    """
    fits: list[Trial] = []
    stale = [state.trials[number] for number in trial.carries]
    for one in stale:
        try:
            tree.carry(one.base, one.commit or "", f"the change of trial {one.id}")
            fits.append(one)
        except ProposerError:
            if one is stale[0] and _forced(tree, state, one):
                fits.append(one)
            elif one is stale[-1] and not fits:
                raise
    return fits


def _forced(tree: Tree, state: State, one: Trial) -> bool:
    """Make a change although what is there now was changed too; False where there is no good way."""
    known = carrying.constants(one)
    if len(known) > 1 and setting.put(tree, {name: new for name, (_, new) in known.items()}):
        return True
    if one.tree is None or not _better(state, one.tree):
        return False
    tree.reset(one.tree)
    return True


def _better(state: State, content: str) -> bool:
    """Whether its runs say more for it than those of the best do."""
    mine, best = state.mean(content), state.mean(state.best.tree) if state.best else None
    assert state.opened is not None
    return mine is not None and best is not None and state.opened.metric.gain(best, mine) > 0
