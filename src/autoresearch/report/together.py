"""
What several changes do together, for a brief where many trials go on at once: what is known, and what this one is for.

Pure functions of a study's trials. Ideas are quoted.
"""

import math
from collections.abc import Sequence
from itertools import islice

from autoresearch.carrying import SEARCH, constants
from autoresearch.report.past import IDEA
from autoresearch.report.quoting import quote
from autoresearch.stats import factorial
from autoresearch.trial import Trial

FEWEST = 4  # trials at once
FACTORS = 4  # changes that are combined
LATELY = 200  # trials that are looked through
CLEAR = 2.0  # standard errors beyond which a loss is not noise
SHOWN = 8  # effects

Changes = tuple[tuple[str, object, object], ...]  # of constants: name, old, new


def lines(trials: Sequence[Trial], slots: int) -> list[str]:
    """Nothing where too few trials go on at once."""
    if slots < FEWEST:
        return []
    said = [f"{slots} trials go on at once; a pair of changes may help where neither does by itself."]
    if effects := known(trials):
        said += ["What constants did when several were changed at once, each run of a factorial wave others:", *effects]
    chosen = promising(trials)
    if len(chosen) == FACTORS:
        rows = factorial.rows(2 * FACTORS, FACTORS)[1:]
        row = rows[len(trials) % len(rows)]
        these = [str(trial.id) for trial, on in zip(chosen, row, strict=True) if on]
        said += ["Changes that did no clear harm by themselves and are not in the best:"]
        said += [f"- trial {trial.id}: {quote(trial.idea, IDEA)}" for trial in chosen]
        said.append(
            f"Unless you have a better idea, this trial makes those of {' and '.join(these)} together and leaves the others "
            "out: trials beside this one are asked for other combinations, so that it can be told which go together."
        )
    return ["", "# Many trials at once", *said]


def promising(trials: Sequence[Trial]) -> list[Trial]:
    """The latest changes that were measured and neither kept nor clearly worse, the best of them first."""
    found = []
    for trial in islice(reversed(trials), LATELY):
        gain, error = (trial.verdict and trial.verdict.promise) or (-math.inf, 0.0)
        alone = trial.by != SEARCH or len(constants(trial)) == 1
        if gain >= -CLEAR * error and alone and not (trial.is_baseline or trial.carries or trial.word == "keep"):
            found.append((gain, trial))
    return [trial for _, trial in sorted(found, key=lambda one: -one[0])[:FACTORS]]


def known(trials: Sequence[Trial]) -> list[str]:
    """The clearest effects that the latest factorial wave of the built-in search shows, in words."""
    lately = (trial for trial in islice(reversed(trials), LATELY) if trial.by == SEARCH)
    wave = [trial for trial in lately if trial.memo.get("kind") == "wave"]
    wave = [trial for trial in wave if _of(trial) == _of(wave[0])]
    done = [(trial, *trial.verdict.promise) for trial in wave if trial.verdict and trial.verdict.promise]
    if not done:
        return []
    of = _of(wave[0])
    seen = tuple((tuple(name in constants(t) for name, *_ in of), gain, error**2) for t, gain, error in done)
    effects = factorial.fit(len(of), seen)
    ranked = sorted(effects.terms, key=lambda term: -abs(effects.of(term)[0]))[:SHOWN]
    return [f"- {_named(of, term)}: {effects.of(term)[0]:+.3g} +- {effects.of(term)[1]:.2g}" for term in ranked]


def _of(trial: Trial) -> Changes:
    return tuple((str(name), old, new) for name, old, new in trial.memo["of"])


def _named(of: Changes, term: factorial.Term) -> str:
    parts = [quote(f"{of[i][0].rpartition(':')[2]} {of[i][1]} -> {of[i][2]}", IDEA) for i in term]
    return parts[0] if len(parts) == 1 else f"{' with '.join(parts)}, beyond the sum of the two"
