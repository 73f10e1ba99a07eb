"""A small campaign for tests of live studies: three variables, and visitors who have preferences."""

import math
from collections.abc import Callable, Mapping, Sequence

from autoresearch.live.records import Tally
from autoresearch.live.variables import Variable, Variables, key

VARIABLES = Variables(
    {
        "cta": Variable(default="buy", levels={"buy": "Buy now", "go": "Go on"}),
        "headline": Variable(default="calm", levels={"bold": "A hundred", "calm": "One", "odd": "Minus one"}),
        "tone": Variable(default="plain", levels={"plain": "It works.", "warm": "You will like it."}),
    }
)
LEVELS = {name: set(variable.levels) for name, variable in VARIABLES.variables.items()}


def levels_of(variables: Variables) -> dict[str, set[str]]:
    return {name: set(variable.levels) for name, variable in variables.variables.items()}


def variables_of(sizes: Sequence[int]) -> Variables:
    return Variables(
        {
            f"v{i}": Variable(default="a0", levels={f"a{j}": f"text {i} {j}" for j in range(size)})
            for i, size in enumerate(sizes)
        }
    )


def campaign(
    effects: Mapping[tuple[str, str], float],
    days: int,
    visitors: int = 1200,
    rate: float = 0.05,
    segment: str = "",
    seed: int = 1,
    beside: Callable[[dict[str, str]], float] | None = None,
    variables: Variables = VARIABLES,
) -> list[Tally]:
    """All cells alike, and a tenth held out; `effects` and `beside` of a cell are in log odds."""
    import numpy as np

    rng, tallies = np.random.default_rng(seed), []
    cells = list(variables.cells())
    for day in range(days):
        base = math.log(rate / (1 - rate)) + float(rng.normal(0, 0.1))

        def won(cell: dict[str, str], n: int, base: float = base) -> int:
            odds = base + sum(effects.get(pair, 0.0) for pair in cell.items()) + (beside(cell) if beside else 0.0)
            return int(rng.binomial(n, 1 / (1 + math.exp(-odds))))

        for cell, n in zip(
            cells, rng.multinomial(visitors * 9 // 10, [1 / len(cells)] * len(cells)).tolist(), strict=True
        ):
            tallies.append(Tally(day, segment, key(cell), n, won(cell, n)))
        tallies.append(
            Tally(
                day, segment, key(variables.default), visitors // 10, won(variables.default, visitors // 10), held=True
            )
        )
    return tallies
