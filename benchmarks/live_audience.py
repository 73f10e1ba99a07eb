"""
A simulated audience with hidden preferences, for the benchmarks of live studies. Nobody real is in it.

Each level of each variable multiplies the odds of an outcome by a hidden factor, and may do something else together
with another; days differ, and weekends are worse. All rules meet the same audience in the same days.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from autoresearch.live.counts import Column, Counts
from autoresearch.live.variables import Variable, Variables, key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

WEEKEND, DAYS_SD = 0.8, 0.1  # the rate on a weekend, by a weekday's; the log of a day's own factor


class Audience(NamedTuple):
    """`rates` of all cells, in the order of `cells`, on a usual day; `days` are factors of them."""

    variables: Variables
    cells: tuple[str, ...]
    rates: "Numbers"
    effects: dict[tuple[str, str], float]  # hidden, in log odds
    days: "Numbers"

    @property
    def default(self) -> int:
        return self.cells.index(key(self.variables.default))

    def on(self, day: int, columns: Sequence[int]) -> "Numbers":
        import numpy as np

        return np.minimum(0.99, self.rates[list(columns)] * self.days[day])  # type: ignore[no-any-return]


def variables_of(sizes: Sequence[int]) -> Variables:
    """So many levels of each variable; the first is the default."""
    return Variables(
        {
            f"v{i}": Variable(default="a0", levels={f"a{j}": f"text {i} {j}" for j in range(size)})
            for i, size in enumerate(sizes)
        }
    )


def audience(
    sizes: Sequence[int],
    base: float,
    sd: float | Sequence[float],
    pair_sd: float,
    days: int,
    rng: "np.random.Generator",
) -> Audience:
    """
    The defaults have a rate of `base`; each level adds to the log odds like N(0, sd^2) (of its variable), each pair of
    levels of two variables like N(0, pair_sd^2).
    """
    import numpy as np

    variables = variables_of(sizes)
    cells = list(variables.cells())
    names = sorted(variables.variables)
    index = np.array([[int(cell[name][1:]) for name in names] for cell in cells])
    effects: dict[tuple[str, str], float] = {}
    log_odds = np.zeros(len(cells))
    for i, size in enumerate(sizes):
        own = rng.normal(0, sd if isinstance(sd, float) else sd[i], size)
        effects |= {(names[i], f"a{j}"): float(own[j]) for j in range(size)}
        log_odds += own[index[:, i]]
    for i in range(len(sizes)):
        for j in range(i + 1, len(sizes)):
            log_odds += rng.normal(0, pair_sd, (sizes[i], sizes[j]))[index[:, i], index[:, j]]
    log_odds += np.log(base / (1 - base)) - log_odds[0]
    week = np.where(np.arange(days) % 7 < 5, 1.0, WEEKEND)
    factors = week / week.mean() * np.exp(rng.normal(0, DAYS_SD, days))
    return Audience(variables, tuple(map(key, cells)), 1 / (1 + np.exp(-log_odds)), effects, factors)


def shown(
    crowd: Audience,
    day: int,
    visitors: int,
    shares: dict[str, float],
    holdout: float,
    rng: "np.random.Generator",
    default: str = "",
) -> Counts:
    """A day on which visitors are shown cells by these shares, a part of them the default cell."""
    import numpy as np

    held = int(rng.binomial(visitors, holdout)) if holdout else 0
    cells = list(shares)
    share = np.array([shares[cell] for cell in cells])
    place = {cell: i for i, cell in enumerate(crowd.cells)}
    n = rng.multinomial(visitors - held, share / share.sum())
    columns = [(Column("", cell), int(k), place[cell]) for cell, k in zip(cells, n, strict=True) if k]
    if held:
        own = default or crowd.cells[crowd.default]
        columns.append((Column("", own, True), held, place[own]))
    columns.sort()
    counts = np.array([[k for _, k, _ in columns]], dtype=np.float64)
    won = rng.binomial(counts.astype(np.int64), crowd.on(day, [at for _, _, at in columns]))
    return Counts((day,), tuple(column for column, _, _ in columns), counts, won.astype(np.float64))
