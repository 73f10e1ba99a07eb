"""What the map allows for: pairs of levels that do something together though nobody named them."""

import math

import numpy as np
import pytest

from autoresearch.live import effects, unnamed
from autoresearch.live.belief import Belief, believe
from autoresearch.live.counts import Column, Counts
from autoresearch.live.settings import Live
from autoresearch.live.variables import Variable, Variables, cell_of, key
from autoresearch.stats import misfit
from autoresearch.stats.misfit import Misfit

SIZES, VISITORS, CAMPAIGNS = (4, 4, 3), 300_000, 40
VARIABLES = Variables(
    {
        f"v{i}": Variable(default="a0", levels={f"a{j}": f"text {i} {j}" for j in range(size)})
        for i, size in enumerate(SIZES)
    }
)
LEVELS = {name: set(variable.levels) for name, variable in VARIABLES.variables.items()}
LIVE = Live("click")


def campaign(pair_sd: float, seed: int, live: Live = LIVE) -> tuple[Belief, Counts, dict[tuple[str, str], float]]:
    """One batch, in which few levels have most of the visitors, as they have after a while; and what levels do by themselves."""
    rng = np.random.default_rng([seed, 5])
    cells = list(VARIABLES.cells())
    own = {(name, level): float(rng.normal(0, 0.15)) for name, levels in LEVELS.items() for level in sorted(levels)}
    pairs: dict[frozenset[tuple[str, str]], float] = {}
    odds = np.full(len(cells), -3.0)
    for i, cell in enumerate(cells):
        items = sorted(cell.items())
        odds[i] += sum(own[item] for item in items)
        for a in range(len(items)):
            for b in items[a + 1 :]:
                odds[i] += pairs.setdefault(frozenset((items[a], b)), float(rng.normal(0, pair_sd)))
    likes = {item: float(rng.exponential()) ** 2 + 0.02 for item in own}
    shares = np.array([math.prod(likes[item] for item in cell.items()) for cell in cells])
    shown = rng.multinomial(VISITORS, shares / shares.sum())
    won = rng.binomial(shown, 1 / (1 + np.exp(-odds)))
    columns = [Column("", key(cell)) for cell in cells]
    order = sorted(range(len(cells)), key=columns.__getitem__)
    counts = Counts(
        (0,), tuple(columns[i] for i in order), shown[order][None].astype(float), won[order][None].astype(float)
    )
    return believe(counts, VARIABLES, LEVELS, live), counts, own


def held(belief: Belief, own: dict[tuple[str, str], float]) -> list[bool]:
    """Whether the 95 % interval of each level holds what it does by itself."""
    found = []
    for block in belief.blocks:
        for name in block.variables:
            for level in sorted(LEVELS[name] - {"a0"}):
                mean, sd = belief.posterior.contrast(effects.contrast(belief, block, name, level, None))
                found.append(abs(mean - own[name, level] + own[name, "a0"]) <= 1.96 * sd)
    return found


@pytest.mark.parametrize(("pair_sd", "before"), [(0.0, (0.88, 1.0)), (0.1, (0.0, 0.75))])
def test_intervals_hold_what_a_level_does_whatever_pairs_do(pair_sd: float, before: tuple[float, float]) -> None:
    """Bounds are four standard errors of 40 campaigns of eight levels each from 95 %, as if levels of one campaign went together."""
    plain, wide, found = list[bool](), list[bool](), list[Misfit]()
    for seed in range(CAMPAIGNS):
        belief, counts, own = campaign(pair_sd, seed)
        wider, seen = unnamed.allowed_for(belief, counts)
        plain += held(belief, own)
        wide += held(wider, own)
        found.append(seen)
        assert (wider.posterior.mean == belief.posterior.mean).all()
    assert before[0] <= np.mean(plain) <= before[1]
    assert np.mean(wide) >= 0.88
    if pair_sd:
        assert np.median([seen.size for seen in found]) == pytest.approx(pair_sd, rel=0.4)
        assert np.mean([seen.chance > 0.9 for seen in found]) > 0.9
    else:
        assert np.mean([seen.chance > 0.9 for seen in found]) < 0.1


def test_the_size_is_the_likeliest_by_the_scores_own_distribution() -> None:
    """Against the density of a multivariate normal, worked out without axes."""
    rng = np.random.default_rng(3)
    root = rng.normal(size=(12, 30)) * 8
    information = root @ root.T
    scores = rng.multivariate_normal(np.zeros(12), information + 0.08**2 * information @ information)
    sizes = np.linspace(0.0, misfit.LARGEST, misfit.SIZES)
    prior = np.exp(-0.5 * (sizes / misfit.USUAL) ** 2)
    prior[0] = 0.0
    prior *= (1 - misfit.NONE) / prior.sum()
    prior[0] = misfit.NONE
    fits = []
    for size in sizes:
        covariance = information + size**2 * information @ information
        fits.append(-0.5 * (np.linalg.slogdet(covariance)[1] + scores @ np.linalg.solve(covariance, scores)))
    after = prior * np.exp(np.array(fits) - max(fits))
    after /= after.sum()
    found = misfit.of(scores, information)
    assert found.chance == pytest.approx(1 - after[0], abs=1e-6)
    assert found.chance > 0.5
    assert found.size == pytest.approx(math.sqrt(after @ sizes**2 / found.chance), rel=1e-6)
    assert misfit.of(scores / 10, information).size == 0


def test_where_no_pair_is_left_out_nothing_is_allowed_for() -> None:
    belief, counts, _ = campaign(0.1, 1, Live("click", interactions=[["v0", "v1"], ["v0", "v2"], ["v1", "v2"]]))
    wider, found = unnamed.allowed_for(belief, counts)
    assert found == Misfit()
    assert (wider.posterior.covariance == belief.posterior.covariance).all()
    empty = Counts((), (), np.zeros((0, 0)), np.zeros((0, 0)))
    assert unnamed.allowed_for(believe(empty, VARIABLES, LEVELS, LIVE), empty)[1] == Misfit()
    whole = Live("click", decide="winner")
    belief, counts, _ = campaign(0.1, 1, whole)
    assert unnamed.allowed_for(belief, counts) == (belief, Misfit())


def test_a_pair_that_is_named_is_not_counted_among_those_that_are_not() -> None:
    """Of three variables one pair does a lot: unnamed, it is seen; named, nothing else is."""
    rng = np.random.default_rng(8)
    _, counts, _ = campaign(0.0, 2)
    often = cell_of(counts.columns[int(counts.shown[0].argmax())].cell)
    cells = [cell_of(column.cell) for column in counts.columns]
    together = np.array([all(cell[name] == often[name] for name in ("v0", "v1")) for cell in cells])
    odds = -3.0 + 1.0 * together
    won = rng.binomial(counts.shown[0].astype(int), 1 / (1 + np.exp(-odds))).astype(float)[None]
    counts = counts._replace(won=won)
    for live, least, most in ((LIVE, 0.9, 1.0), (Live("click", interactions=[["v0", "v1"]]), 0.0, 0.9)):
        belief = believe(counts, VARIABLES, LEVELS, live)
        assert least <= unnamed.allowed_for(belief, counts)[1].chance <= most
