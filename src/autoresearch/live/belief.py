"""
What is believed of each level after what was seen, and what a campaign hands on to the next.

Builds the model of stats/logistic.py from variables, segments and chosen pairs. Variables that may do something
together, and those of which some levels never meet, are tied: they form one *block*, and blocks are independent of each
other. Knows no plan and no decision.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from autoresearch.errors import StudyError
from autoresearch.live.counts import Column, Counts, need_numpy, parts
from autoresearch.live.places import CELL
from autoresearch.live.settings import Live
from autoresearch.live.variables import Variables, key
from autoresearch.stats import logistic
from autoresearch.stats.labels import LEAST_TOLD, Errors

if TYPE_CHECKING:
    from autoresearch.stats.logistic import Numbers

MOST_WHOLE = 200  # cells that are compared as wholes
LEVEL, PAIR, KIND, KIND_LEVEL = (
    0.15,
    0.07,
    0.3,
    0.07,
)  # sizes that effects usually have, in log odds; docs/live-deciding.md
BASE, BASE_SD = -3.5, 2.5  # log odds of a rate of 3 %, give or take a factor of ten
# Log odds by which effects usually change from one campaign to the next: what an earlier one knows is worth less than this one's own
# data (Pocock 1976), and by how much less is learned from how well the two agree (Hobbs et al. 2011).
HANDED_ON = 0.1
REWORDED = 0.5  # of an effect that is expected to stay where a level of the same name has other words; an assumption

Levels = Mapping[str, Set[str]]  # variable -> its levels that may be shown: approved, and not retired


class Term(NamedTuple):
    """
    What a coefficient belongs to: a level, a pair of levels, or nothing (the rate itself), in a segment or (None) in
    all.
    """

    variables: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    segment: str | None = None


class Block(NamedTuple):
    """Variables that are decided together, and what may be shown of them: for each combination a level of each."""

    variables: tuple[str, ...]
    combos: tuple[tuple[str, ...], ...]


class Known(Struct, frozen=True):
    """The effect of a text, against the mean of its variable's levels, in log odds; `level` was its name."""

    variable: str
    text: str
    mean: float
    sd: float
    level: str = ""


class Prior(Struct, frozen=True):
    """
    What an earlier campaign found: a level with the same text in a variable of the same name starts from it; one that
    has the name alone, and other words, from a part of it. All others are new.
    """

    known: tuple[Known, ...] = ()

    def of(self, variable: str, level: str, text: str) -> Known | None:
        """What a level starts from."""
        here = [known for known in self.known if known.variable == variable]
        if same := next((known for known in here if known.text == text), None):
            return same
        named = next((known for known in here if known.level == level), None)
        if named is None:
            return None
        sd = float((REWORDED**2 * named.sd**2 + (1 - REWORDED**2) * LEVEL**2) ** 0.5)
        return Known(variable, text, REWORDED * named.mean, sd, level)


class Belief(NamedTuple):
    """The posterior, and where in it everything is. `weights`: the segments' shares of all visitors."""

    blocks: tuple[Block, ...]
    default: dict[str, str]
    terms: dict[Term, int]
    pairs: tuple[tuple[str, str], ...]
    weights: dict[str, float]
    whole: bool
    posterior: "logistic.Posterior"
    dof: int  # with how many degrees of freedom the levels' spread is known: there are so many of them, and what was usual before
    groups: dict[object, int]  # whose spread is which

    def rows(self, names: Sequence[str], combos: Sequence[Sequence[str]], segment: str | None = None) -> "Numbers":
        """
        (combinations, coefficients): what each has, without the rate itself; in a segment, or (None) over all as they
        come.
        """
        import numpy as np

        found = np.zeros((len(combos), len(self.terms)))
        inside = self.weights if segment is None else {segment: 1.0} if segment in self.weights else {}
        for i, combo in enumerate(combos):
            for term in _terms(dict(zip(names, combo, strict=True)), self.pairs):
                if (at := self.terms.get(term)) is not None:
                    found[i, at] += 1.0
                for name, weight in inside.items():
                    if (at := self.terms.get(term._replace(segment=name))) is not None:
                        found[i, at] += weight
        return found

    def base(self, segment: str | None = None) -> float:
        """Log odds of the outcome where all levels are the defaults."""
        names = sorted(self.default)
        row = self.rows(names, [[self.default[name] for name in names]], segment)[0]
        row[self.terms[Term()]] = 1.0
        for name, weight in (self.weights if segment is None else {segment: 1.0}).items():
            if (at := self.terms.get(Term(segment=name))) is not None:
                row[at] = weight
        return float(row @ self.posterior.mean)


def believe(
    counts: Counts,
    variables: Variables,
    levels: Levels,
    live: Live,
    prior: Prior | None = None,
    labels: Errors | None = None,
    near: Belief | None = None,
    most: int = logistic.MOST_STEPS,
) -> Belief:
    """
    `most`: steps of the fit. `near`: what nearly the same counts make believe, from which it is a short way; it changes nothing but the time that it takes, and
    the last digits.

    Raises:
        StudyError: whole cells are to be compared and there are too many, or labels that an audit shows to say nothing.
        MissingExtra: numpy is not there.
    """
    need_numpy()
    import numpy as np

    whole = live.decide == "winner"
    blocks, default, pairs = _whole(variables, levels) if whole else _factorial(variables, levels, live)
    seen = sorted({column.segment for column in counts.columns})
    segments = seen if any(seen) else []
    terms, design = layout(counts.columns, blocks, tuple(default.items()), pairs, tuple(segments))
    groups, usual, parents, group_of = (
        np.full(len(terms), logistic.FIXED),
        list[float](),
        list[int](),
        dict[object, int](),
    )
    mean, sd = np.zeros(len(terms)), np.zeros(len(terms))
    mean[0], sd[0] = BASE, BASE_SD
    for term, at in terms.items():
        if at == 0:
            continue
        group, size, parent = _group(term)
        if prior is not None and not whole and len(term.variables) == 1 and term.segment is None:
            known = prior.of(term.variables[0], term.levels[0], _text(variables, term) or "")
            if known is not None:
                mean[at], sd[at] = known.mean, known.sd
                group, size, parent = (*term.variables, "handed on"), HANDED_ON, 4
        if group not in group_of:
            group_of[group] = len(usual)
            usual.append(size)
            parents.append(parent)
        groups[at] = group_of[group]
    start = _start(near, terms, mean, group_of, usual) if near is not None else None
    posterior = logistic.fit(
        design, groups, counts.shown, counts.won, mean, sd, usual, parents, labels_of(labels), start, most
    )
    of_kind = np.bincount(design.kinds, counts.shown.sum(axis=0), len(segments)) if segments else np.zeros(0)
    total = float(of_kind.sum())
    weights = {name: float(n) / total for name, n in zip(segments, of_kind, strict=True)} if total else {}
    dof = sum(1 for term in terms if len(term.variables) == 1 and term.segment is None) + int(logistic.WEIGHT)
    return Belief(blocks, default, terms, pairs, weights, whole, posterior, dof, group_of)


def _start(
    near: Belief, terms: Mapping[Term, int], mean: "Numbers", group_of: Mapping[object, int], usual: Sequence[float]
) -> "logistic.Start":
    """Where a fit begins: at what is believed of what both have."""
    import numpy as np

    beta, spreads = mean.copy(), np.array(usual, float)
    for term, at in terms.items():
        if (place := near.terms.get(term)) is not None:
            beta[at] = near.posterior.mean[place]
    for group, at in group_of.items():
        if (place := near.groups.get(group)) is not None:
            spreads[at] = near.posterior.spreads[place]
    return logistic.Start(beta, spreads, near.posterior.scatter)


def handed_on(belief: Belief, variables: Variables) -> Prior:
    """
    What the next campaign may start from. Effects of segments and of pairs are not handed on.

    Raises:
        StudyError: whole cells are compared.
    """
    import numpy as np

    if belief.whole:
        raise StudyError('study.toml: live.decide = "winner" compares whole cells, of which nothing is handed on')
    found = []
    for name, variable in variables.variables.items():
        here = [level for level in variable.levels if Term((name,), (level,)) in belief.terms]
        rows = belief.rows([name], [[level] for level in here])
        for level, row in zip(here, rows - rows.mean(axis=0) if here else rows, strict=True):
            mean, sd = belief.posterior.contrast(row)
            found.append(Known(name, variable.levels[level], float(np.round(mean, 6)), float(np.round(sd, 6)), level))
    return Prior(tuple(found))


def _factorial(
    variables: Variables, levels: Levels, live: Live
) -> tuple[tuple[Block, ...], dict[str, str], tuple[tuple[str, str], ...]]:
    names = sorted(variables.variables)
    pairs = tuple(sorted({(min(a, b), max(a, b)) for a, b in live.interactions if {a, b} <= set(names)}))
    tied = {name: {name} for name in names}
    for group in [set(pair) for pair in pairs] + [set(rule) for rule in variables.forbid]:
        together = set().union(*(tied[name] for name in group))
        for name in together:
            tied[name] = together
    blocks = []
    for members in sorted({tuple(sorted(group)) for group in tied.values()}):
        shown = [sorted(set(levels.get(name, set())) | {variables.variables[name].default}) for name in members]
        rules = [rule for rule in variables.forbid if set(rule) <= set(members)]
        combos = (
            combo
            for combo in itertools.product(*shown)
            if not any(rule.items() <= dict(zip(members, combo, strict=True)).items() for rule in rules)
        )
        blocks.append(Block(members, tuple(combos)))
    return tuple(blocks), variables.default, pairs


def _whole(
    variables: Variables, levels: Levels
) -> tuple[tuple[Block, ...], dict[str, str], tuple[tuple[str, str], ...]]:
    default = key(variables.default)
    shown = {name: set(levels.get(name, set())) | {v.default} for name, v in variables.variables.items()}
    cells = list(itertools.islice((key(cell) for cell in variables.cells(shown)), MOST_WHOLE + 1))
    if len(cells) > MOST_WHOLE:
        raise StudyError(
            f'study.toml: live.decide = "winner" compares whole cells, and there are more than {MOST_WHOLE}: take levels out of '
            'variables.toml, or set live.decide = "factorial"'
        )
    return (Block((CELL,), tuple((cell,) for cell in sorted({*cells, default}))),), {CELL: default}, ()


def _terms(cell: Mapping[str, str], pairs: Sequence[tuple[str, str]]) -> list[Term]:
    """Of a cell, or a part of one."""
    found = [Term((name,), (level,)) for name, level in cell.items()]
    return found + [Term(pair, (cell[pair[0]], cell[pair[1]])) for pair in pairs if pair[0] in cell and pair[1] in cell]


@functools.lru_cache(maxsize=16)
def layout(
    columns: tuple[Column, ...],
    blocks: tuple[Block, ...],
    default: tuple[tuple[str, str], ...],
    pairs: tuple[tuple[str, str], ...],
    segments: tuple[str, ...],
) -> tuple[dict[Term, int], logistic.Design]:
    """
    Each term that was shown or may be, with its place, and which column has which. The rate itself is the first; not to
    be changed.
    """
    import numpy as np

    names, whole = [name for name, _ in default], [name for name, _ in default] == [CELL]
    own = dict(default)
    cells = {column.cell: {CELL: column.cell} if whole else {**own, **parts(column.cell)} for column in columns}
    levels = {name: {cell[name] for cell in cells.values()} for name in names}
    combos = {pair: {(cell[pair[0]], cell[pair[1]]) for cell in cells.values()} for pair in pairs}
    for block in blocks:
        for place, name in enumerate(block.variables):
            levels[name] |= {combo[place] for combo in block.combos}
        for a, b in (pair for pair in pairs if set(pair) <= set(block.variables)):
            at = block.variables.index(a), block.variables.index(b)
            combos[a, b] |= {(combo[at[0]], combo[at[1]]) for combo in block.combos}
    order = [Term(), *(Term((name,), (level,)) for name in names for level in sorted(levels[name]))]
    count = len(order)
    order += [Term(pair, combo) for pair in pairs for combo in sorted(combos[pair])]
    places = {name: {} for name in names} | {pair: {} for pair in pairs}  # type: dict[object, dict[object, int]]
    for at_place, term in enumerate(order[1:], start=1):
        if len(term.variables) == 1:
            places[term.variables[0]][term.levels[0]] = at_place
        else:
            places[term.variables][term.levels] = at_place
    has = {
        key: [0, *(places[name][cell[name]] for name in names), *(places[a, b][cell[a], cell[b]] for a, b in pairs)]
        for key, cell in cells.items()
    }
    features = np.zeros((len(columns), len(order)))
    if columns:
        features[np.arange(len(columns))[:, None], np.array([has[column.cell] for column in columns])] = 1.0
    kind = {segment: k for k, segment in enumerate(segments)}
    kinds = np.array([kind.get(column.segment, 0) for column in columns], dtype=np.int64)
    order += [term._replace(segment=segment) for segment in segments for term in order[:count]]
    design = logistic.Design(features, kinds, count if segments else 0, len(segments))
    return {term: at for at, term in enumerate(order)}, design.sparse()


def _group(term: Term) -> tuple[object, float, int]:
    """Whose spread a coefficient has, its usual size, and the family."""
    if term.segment is None:
        return (term.variables, LEVEL, 0) if len(term.variables) == 1 else (term.variables, PAIR, 1)
    return ((term.variables, True), KIND_LEVEL, 3) if term.variables else ((), KIND, 2)


def labels_of(known: Errors | None) -> logistic.Labels:
    if known is None:
        return logistic.EXACT
    if known.told < LEAST_TOLD:
        raise StudyError(
            f"the audit of labels finds {known.sensitivity:.0%} of what is positive and {known.specificity:.0%} of what is not: such labels "
            "say nothing; audit more, or count another outcome"
        )
    return logistic.Labels(1 - known.specificity, known.told, known.specificity_sd, known.sensitivity_sd)


def _text(variables: Variables, term: Term) -> str | None:
    variable = variables.variables.get(term.variables[0])
    return variable.levels.get(term.levels[0]) if variable else None
