"""
What the noise of a study means for the person, in a sentence. Pure functions.
"""

from collections.abc import Sequence

from autoresearch.stats import expected_best_of_noise, pooled_sd, smallest_effect

TRIALS = 100  # of which a lucky one is told, where the budget does not say how many there will be


def sentence(sd: float, dof: int, runs: int, repeats: int, trials: int | None, correlation: float = 0.0) -> str:
    """
    `sd` is the noise of one run, known from `dof` degrees of freedom; `runs` are those of the baseline, `repeats` the
    most that a trial gets.
    """
    if sd == 0:
        return "runs do not scatter: every gain, however small, is one"
    tries = trials or TRIALS
    seen = smallest_effect(sd, repeats, max(runs, 1), correlation)
    lucky = expected_best_of_noise(sd, tries, 1, max(runs, 1))
    known = f" (from {dof + 1} runs, so by half too small or too large is possible)" if dof < 4 else ""
    times = f"{repeats} repeats" if repeats > 1 else "one run"
    return (
        f"noise {sd:.2g}{known}; {times} can see a gain of {seen:.2g}; {tries} trials of nothing can be expected to "
        f"show a lucky {lucky:.2g}"
    )


def guarded(name: str, numbers: Sequence[float], margin: float | None) -> str:
    """What a guard against the start asks, given the numbers of the start's runs; `margin` as written, if it is."""
    known = pooled_sd([numbers])
    scatters = f"scatters by {known[0]:.2g} from run to run" if known and known[0] else "does not scatter"
    scatters = scatters if known else "was run once, so how far it scatters is not known"
    allowed = known[0] if margin is None and known else margin or 0.0
    return f"{name} {scatters}; no worse than the start means: by no more than {allowed:.2g}"
