"""
The audit of a log: what of its gain is beyond the noise, in numbers; report/audit.py says them in words.

Pure functions of a ledger (see ledger.py). Runs nothing and never claims more than the log can show: where nothing was
repeated, the noise is only bounded, and where there is too little even for that, it is called unknown.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from autoresearch.audit import luck
from autoresearch.audit.ledger import LARGEST, Entry, Ledger
from autoresearch.audit.repeats import Kind
from autoresearch.errors import AutoresearchError
from autoresearch.stats import expected_best_of_noise, gain_error, pooled_sd
from autoresearch.trial import Direction, Metric

BAR = 2.0  # standard errors of a gain; one pair of runs of the same code in 22 differs by more
TOP = 3  # keeps whose share of the total is told

Word = Literal["beyond", "within", "worse", "unknown"]
Total = Literal["real", "open", "luck", "none", "unknown"]
Source = Literal["given", "own repeats", "named repeats", "ceiling", "none"]


class Repeat(Struct, frozen=True):
    """A line that says that it changes nothing, and how much better it was than what it repeats."""

    where: int
    of: int
    kind: Kind
    gain: float
    idea: str


class Noise(Struct, frozen=True):
    """
    Standard deviation of one run. `sd` is None where only its bound is known, `dof` where it was given.

    The truth lies between `low` and `high` but for 2.5 % on either side. `ceiling` comes from the scatter of all
    trials (luck.ceiling).
    """

    source: Source
    sd: float | None = None
    dof: int | None = None
    low: float | None = None
    high: float | None = None
    ceiling: float | None = None
    repeats: list[Repeat] = []

    @property
    def usable(self) -> float | None:
        """What single gains are held against: the estimate, or else the most that it can be."""
        return self.high if self.sd is None else self.sd


class Keep(Struct, frozen=True):
    """A kept trial: `gain` over the best before it, `error` the standard error that the noise gives it."""

    where: int
    value: float
    gain: float
    error: float | None
    word: Word
    repeats: Kind | None
    idea: str


class Luck(Struct, frozen=True):
    """What the best of so many trials of nothing but noise gains: on average, and exceeded by 2.5 % of studies."""

    trials: int
    average: float | None
    most: float | None


class Late(Struct, frozen=True):
    """What was gained after the last keep that is beyond the noise."""

    after: int
    gain: float
    luck: Luck


class Audit(Struct, frozen=True):
    """Everything that was found. Counts are of trials, gains in the metric's unit and positive when better."""

    form: str
    place: str
    metric: str
    direction: Direction
    unit: str
    trials: int
    measured: int
    statuses: dict[str, int]
    first: float
    best: float
    best_where: int
    gain: float
    total: Total
    noise: Noise
    luck: Luck
    keeps: list[Keep]
    counts: dict[Word, int]
    beyond_range: tuple[int, int] | None  # keeps beyond the noise if it is as large, and as small, as it may be
    bar: float | None  # a gain of single runs beyond this is beyond the noise
    largest_repeat: float | None  # the largest difference that a repeat made by itself
    below_repeat: int | None  # kept gains that are smaller
    top: list[int]
    top_share: float | None
    baseline_runs: int
    monotone: bool
    late: Late | None
    better_discards: list[int]
    written_crashes: list[int]
    duplicates: list[int]  # same idea and value as one before
    guessed: bool  # the direction is not stated in the log; most kept steps go this way
    notes: list[str]


class Walk(Struct):
    """One pass over the entries, as a greedy climber would have seen them."""

    first: Entry
    best: Entry
    measured: int = 0
    keeps: list[tuple[Entry, Entry]] = []  # each with the best before it
    repeats: list[Repeat] = []
    groups: dict[int, list[float]] = {}  # where the code came up -> values of this same code
    scatter: list[float] = []  # gains over the best before, of single runs
    better_discards: list[int] = []
    written_crashes: list[int] = []


def audit(ledger: Ledger, given_sd: float | None = None) -> Audit:
    """
    Grade a log. `given_sd` is the standard deviation of one run, where somebody knows it.

    The ledger holds at least one value (ledger.load sees to that).

    Raises:
        AutoresearchError: `given_sd` is no standard deviation.
    """
    if given_sd is not None and not 0 <= given_sd <= LARGEST:  # no comparison holds for NaN
        raise AutoresearchError(f"--noise {given_sd}: the standard deviation of one run is a number from 0 up")
    walk = _walk(ledger)
    noise = _noise(ledger, walk, given_sd)
    gain = _gain(ledger.metric, walk.first, walk.best)
    fortune = _luck(noise, walk.measured - 1)
    keeps = [_keep(ledger.metric, entry, before, noise) for entry, before in walk.keeps]
    gained = sorted((keep for keep in keeps if keep.gain > 0), key=lambda keep: -keep.gain)
    largest = max((abs(repeat.gain) for repeat in noise.repeats), default=0.0) or None
    return Audit(
        form=ledger.form,
        place=ledger.place,
        metric=ledger.metric.name,
        direction=ledger.metric.direction,
        unit=ledger.metric.unit,
        trials=len(ledger.entries),
        measured=walk.measured,
        statuses=_statuses(ledger.entries),
        first=_value(walk.first),
        best=_value(walk.best),
        best_where=walk.best.where,
        gain=gain,
        total=_total(gain, noise, fortune, walk.measured - 1),
        noise=noise,
        luck=fortune,
        keeps=keeps,
        counts={word: sum(keep.word == word for keep in keeps) for word in ("beyond", "within", "worse", "unknown")},
        beyond_range=_range(keeps, walk, noise),
        bar=None if noise.usable is None else BAR * gain_error(noise.usable, 1, 1),
        largest_repeat=largest,
        below_repeat=sum(0 < keep.gain < largest for keep in keeps) if largest else None,
        top=[keep.where for keep in gained[:TOP]],
        top_share=sum(keep.gain for keep in gained[:TOP]) / gain if gain > 0 else None,
        baseline_runs=ledger.baseline_runs or len(walk.groups[walk.first.where]),
        monotone=all(keep.word != "worse" for keep in keeps),
        late=_late(ledger, walk, keeps, noise),
        better_discards=walk.better_discards,
        written_crashes=walk.written_crashes,
        duplicates=_duplicates(ledger.entries),
        guessed=ledger.guessed,
        notes=ledger.notes,
    )


def _walk(ledger: Ledger) -> Walk:
    metric = ledger.metric
    first = next(entry for entry in ledger.entries if entry.value is not None)
    walk = Walk(first, first, groups={first.where: [_value(first)]})
    code = first  # what the next repeat repeats: the code that was kept last
    for entry in ledger.entries:
        better = entry.value is not None and _gain(metric, walk.best, entry) > 0
        # A crash that its author wrote down as 0 would be the best loss ever seen.
        zero = entry.value == 0 and not entry.kept and better and metric.direction == "minimize"
        if zero or (entry.value is None and entry.written is not None):
            walk.written_crashes.append(entry.where)
        if entry.value is None or zero:
            continue
        walk.measured += 1
        if entry is first:
            continue
        if entry.runs == 1:
            walk.scatter.append(_gain(metric, walk.best, entry))
        if better and not entry.kept and not entry.repeats:
            walk.better_discards.append(entry.where)
        if entry.repeats:
            of = first if entry.repeats == "baseline" else code
            walk.groups.setdefault(of.where, [_value(of)]).append(entry.value)
            gain = _gain(metric, of, entry)
            walk.repeats.append(Repeat(entry.where, of.where, entry.repeats, gain, entry.idea))
        if entry.kept:
            walk.keeps.append((entry, walk.best))
            walk.best = entry if better else walk.best
            code = code if entry.repeats else entry
    return walk


def _noise(ledger: Ledger, walk: Walk, given: float | None) -> Noise:
    ceiling = luck.ceiling(walk.scatter)
    if given is not None:
        return Noise("given", given, None, given, given, ceiling, walk.repeats)
    if ledger.noise is not None:
        sd, dof = ledger.noise.sd, ledger.noise.dof
    else:
        pooled = pooled_sd(walk.groups.values())
        # Equal to the last digit: a seed that was fixed, or a metric without noise. The log cannot say which.
        if pooled is None or not pooled[0]:
            return Noise("ceiling" if ceiling else "none", None, None, None, ceiling, ceiling, walk.repeats)
        sd, dof = pooled
    low, high = luck.sd_range(sd, dof)
    high = high if ceiling is None else max(sd, min(high, ceiling))
    source: Source = "own repeats" if ledger.noise is not None else "named repeats"
    return Noise(source, sd, dof, low, high, ceiling, walk.repeats)


def _luck(noise: Noise, trials: int) -> Luck:
    average = None if noise.usable is None or not trials else expected_best_of_noise(noise.usable, trials, 1, 1)
    return Luck(trials, average, None if noise.high is None else noise.high * luck.largest_gain(trials))


def _total(gain: float, noise: Noise, fortune: Luck, trials: int) -> Total:
    if gain <= 0:
        return "none"
    if noise.usable is None or fortune.most is None:
        return "unknown"
    if gain > fortune.most:
        return "real"
    return "open" if noise.sd is None or gain > noise.sd * luck.largest_gain(trials) else "luck"


def _keep(metric: Metric, entry: Entry, before: Entry, noise: Noise) -> Keep:
    gain = _gain(metric, before, entry)
    error = None if noise.usable is None else gain_error(noise.usable, entry.runs, before.runs)
    word: Word = "unknown"
    if gain < 0:
        word = "worse"
    elif entry.repeats:
        word = "within"  # nothing was changed, so whatever it gained is noise
    elif error is not None and gain > BAR * error:
        word = "beyond"
    elif noise.sd is not None or gain == 0:
        word = "within"
    return Keep(entry.where, _value(entry), gain, error, word, entry.repeats, entry.idea)


def _range(keeps: Sequence[Keep], walk: Walk, noise: Noise) -> tuple[int, int] | None:
    """How many keeps are beyond the noise if it is as large, and as small, as it may be."""
    if noise.sd is None or noise.low is None or noise.high is None:
        return None
    pairs = zip(keeps, walk.keeps, strict=True)
    units = [(keep.gain, gain_error(1.0, e.runs, b.runs)) for keep, (e, b) in pairs if not keep.repeats]
    least, most = (sum(gain > BAR * sd * unit for gain, unit in units) for sd in (noise.high, noise.low))
    return least, most


def _late(ledger: Ledger, walk: Walk, keeps: Sequence[Keep], noise: Noise) -> Late | None:
    clear = [keep for keep in keeps if keep.word == "beyond"]
    if not clear or clear[-1].where == walk.best.where:
        return None
    last = clear[-1]
    at = next(i for i, entry in enumerate(ledger.entries) if entry.where == last.where)
    trials = sum(entry.value is not None for entry in ledger.entries[at + 1 :])
    return Late(last.where, ledger.metric.gain(last.value, _value(walk.best)), _luck(noise, trials))


def _statuses(entries: Sequence[Entry]) -> dict[str, int]:
    """How the trials ended, commonest first; a hostile file has as many words as lines."""
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry.status] = counts.get(entry.status, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1])[:20])


def _duplicates(entries: Sequence[Entry]) -> list[int]:
    seen: set[tuple[str, float]] = set()
    found = []
    for entry in entries:
        if entry.value is None or not entry.idea:
            continue
        key = (entry.idea.casefold(), entry.value)
        if key in seen:
            found.append(entry.where)
        seen.add(key)
    return found


def _gain(metric: Metric, before: Entry, after: Entry) -> float:
    return metric.gain(_value(before), _value(after))


def _value(entry: Entry) -> float:
    assert entry.value is not None, "only entries with a value get here"
    return entry.value
