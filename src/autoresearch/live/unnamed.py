"""
What the map allows for: levels may do something together that no pair is named for.

A verdict needs no allowance, since it trusts no model, and a plan wants none.
"""

from autoresearch.live import places
from autoresearch.live.belief import Belief, labels_of, layout
from autoresearch.live.counts import Counts
from autoresearch.stats import misfit
from autoresearch.stats.labels import Errors
from autoresearch.stats.misfit import Misfit

NORMAL = 5000  # degrees of freedom, with which Student's quantile is the normal one


def allowed_for(belief: Belief, counts: Counts, labels: Errors | None = None) -> tuple[Belief, Misfit]:
    """What these counts made believe, less surely, for what pairs that nobody named may do; and how much that is."""
    if belief.whole or not counts.shown.any():
        return belief, Misfit()
    default = tuple(belief.default.items())
    _, design = layout(counts.columns, belief.blocks, default, belief.pairs, tuple(belief.weights))
    having = places.pairs(counts.columns, default, belief.pairs)
    posterior, found = misfit.widened(belief.posterior, design, having, counts.shown, counts.won, labels_of(labels))
    # Student's quantile on top would be too much, whether pairs are allowed for just now or not (docs/dev/LOG.md).
    return belief._replace(posterior=posterior, dof=NORMAL if having.size else belief.dof), found
