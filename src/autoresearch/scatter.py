"""
How far runs of the same content scatter from seed to seed, and how far runs of the same seed move together.

Pure functions of values; which runs count is for state.py to say.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from autoresearch.stats import pooled_sd, seed_correlation

TREES = 12  # the latest with repeats, from which the correlation of seeds is estimated
# What is believed of that correlation before it was seen, and how many degrees of freedom that belief counts for:
# chosen in simulation, benchmarks/results/policies.md.
BELIEVED = 0.7
WEIGHT = 2.0


class Noise(Struct, frozen=True):
    """Standard deviation of one run, and the degrees of freedom it was estimated from."""

    sd: float
    dof: int


class Pairing(Struct, frozen=True):
    """How far runs of one seed move together, from 0 to 0.99; degrees of freedom it was seen with, 0 for a belief."""

    correlation: float
    dof: float


def noise(groups: Sequence[Sequence[float]]) -> Noise | None:
    """Pooled over groups of repeats; None where nothing was repeated."""
    found = pooled_sd(groups)
    return Noise(*found) if found else None


def pairing(groups: Sequence[Mapping[int, float]], scatter: Noise | None) -> Pairing:
    """From the latest groups of seed index -> value; what is believed where there is nothing to go by."""
    if scatter is None or not scatter.sd:
        return Pairing(BELIEVED, 0.0)
    return Pairing(*seed_correlation(groups[-TREES:], scatter.sd, BELIEVED, WEIGHT))
