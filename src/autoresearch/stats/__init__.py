"""
The statistics, as pure functions with their sources: noise and errors, evidence and tests, intervals.

Imports nothing of ours. What the loop needs while it climbs is the standard library alone; `welch`, `paired`,
`paired_abba` and `bootstrap` need scipy, the extra `stats`; logistic.py and what goes over strata in sequences.py, for
studies on real traffic, need numpy, the extra `live`.
"""

from autoresearch.stats.evidence import (
    always_valid_p,
    e_bh,
    e_lond,
    e_lond_level,
    mixture_e_value,
    rates_e_value,
    t_e_value,
    t_quantile,
)
from autoresearch.stats.intervals import (
    Interval,
    betting_interval,
    bootstrap,
    confidence_sequence,
    paired,
    paired_abba,
    success_rates,
    t_confidence_sequence,
    welch,
)
from autoresearch.stats.noise import (
    expected_best_of_noise,
    expected_maximum,
    gain_error,
    ladder,
    own_sd,
    pooled_sd,
    seed_correlation,
    smallest_effect,
)

__all__ = [
    "Interval",
    "always_valid_p",
    "betting_interval",
    "bootstrap",
    "confidence_sequence",
    "e_bh",
    "e_lond",
    "e_lond_level",
    "expected_best_of_noise",
    "expected_maximum",
    "gain_error",
    "ladder",
    "mixture_e_value",
    "own_sd",
    "paired",
    "paired_abba",
    "pooled_sd",
    "rates_e_value",
    "seed_correlation",
    "smallest_effect",
    "success_rates",
    "t_confidence_sequence",
    "t_e_value",
    "t_quantile",
    "welch",
]
