"""
The pictures and figures of docs/deciding.md, from made-up studies whose truth is known.

No model is trained: a run is its code's true loss plus normal noise, and every seed is its own luck. The rule of
`climb` is played with its own constants, with the noise taken as known.

    python -m benchmarks.pictures
"""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean, quantiles, stdev
from typing import Any, NamedTuple

import matplotlib

from autoresearch import stats
from autoresearch.certify import ALPHA, carries_nothing
from autoresearch.policy.climb import KEEP, LOOK_AGAIN, PROMISING
from autoresearch.policy.compare import BELIEVED
from autoresearch.report import calibration, claim
from autoresearch.study import Decide
from autoresearch.trial import Claim, Machine, Metric, Share

matplotlib.use("Agg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).parent.parent / "docs"
SEED, STUDIES, TRIALS = 1, 4000, 100
START, SD = 3.0, 0.01
CALIBRATE, REPEATS = Decide().calibrate, Decide().repeats
# One change in ten is good and one in two is bad, by so many SD on average (exponential); the rest do nothing.
GOOD, GOOD_BY, BAD, BAD_BY = 0.1, 1.0, 0.5, 2.0
SHOWN, TRUE, DOT, LUCKY = "#d62728", "#1f77b4", "#b8b8b8", "#d62728"


class Kept(NamedTuple):
    trial: int
    effect: float  # on the true loss; negative is better
    value: float  # mean of the runs for which it was kept


class Course(NamedTuple):
    """A study trial by trial: the value shown for the best, its true loss, what was kept, how many runs it took."""

    shown: list[float]
    true: list[float]
    kept: list[Kept]
    runs: int
    start: float  # mean of the baseline's runs


# -- made-up studies -----------------------------------------------------------------------------------


def change(rng: random.Random) -> float:
    """The true effect of a proposal on the loss."""
    which = rng.random()
    if which < GOOD:
        return -rng.expovariate(1 / (GOOD_BY * SD))
    return rng.expovariate(1 / (BAD_BY * SD)) if which < GOOD + BAD else 0.0


def run_of(true: float, rng: random.Random) -> float:
    return rng.gauss(true, SD)


def baseline(rng: random.Random) -> list[float]:
    return [run_of(START, rng) for _ in range(CALIBRATE)]


def trusting(rng: random.Random, effects: Sequence[float]) -> Course:
    """One run each; the lowest value seen is the best, and is shown as its loss."""
    true = START
    start = best = run_of(true, rng)
    course = Course([best], [true], [], 1 + len(effects), start)
    for trial, effect in enumerate(effects, 1):
        value = run_of(true + effect, rng)
        if value < best:
            best, true = value, true + effect
            course.kept.append(Kept(trial, effect, value))
        course.shown.append(best)
        course.true.append(true)
    return course


def climbing(rng: random.Random, effects: Sequence[float]) -> Course:
    """The rule of `climb`: what looks good is run again, and the bar is made of fresh runs of the best."""
    true = START
    bar = baseline(rng)
    start, runs, tried, looks = fmean(bar), CALIBRATE, 0, len(LOOK_AGAIN)
    course = Course([start], [true], [], 0, start)
    for trial, effect in enumerate(effects, 1):
        while looks < sum(tried >= after for after in LOOK_AGAIN):
            bar = [run_of(true, rng)] + (bar if looks else [])
            looks, runs = looks + 1, runs + 1
        mine, score = tried_out(rng, true + effect, bar)
        runs, tried = runs + len(mine), tried + 1
        if score >= KEEP:
            back = (1 - BELIEVED) * (fmean(bar) - fmean(mine))
            bar, true, tried, looks = [value + back for value in mine], true + effect, 0, 0
            course.kept.append(Kept(trial, effect, fmean(mine)))
        course.shown.append(fmean(bar))
        course.true.append(true)
    return course._replace(runs=runs)


def tried_out(rng: random.Random, true: float, bar: Sequence[float]) -> tuple[list[float], float]:
    """The runs that a trial gets, and its gain over the bar in standard errors."""
    mine: list[float] = []
    while True:
        mine.append(run_of(true, rng))
        score = (fmean(bar) - fmean(mine)) / stats.gain_error(SD, len(mine), len(bar))
        if len(mine) >= REPEATS or score < PROMISING or (len(mine) > 1 and score >= KEEP):
            return mine, score


def study(play: Callable[[random.Random, Sequence[float]], Course], seed: int) -> Course:
    """Both rules meet the same proposals."""
    ideas = random.Random(seed)
    return play(random.Random(seed + STUDIES), [change(ideas) for _ in range(TRIALS)])


def lucky(rng: random.Random) -> tuple[float, list[float]]:
    """A baseline's mean, and the runs of trials that change nothing."""
    return fmean(baseline(rng)), [run_of(START, rng) for _ in range(TRIALS)]


# -- pictures ------------------------------------------------------------------------------------------


def luck(path: Path) -> None:
    """A study in which nothing works, and what the best of many such studies seems to gain."""
    rng = random.Random(SEED)
    before, values = lucky(rng)
    gains = [level - min(found) for level, found in (lucky(rng) for _ in range(STUDIES))]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 6), width_ratios=(8, 5), layout="constrained")
    numbers = range(1, TRIALS + 1)
    left.axhspan(START - SD, START + SD, color=TRUE, alpha=0.12, label="true loss, scatter of one run")
    left.axhline(before, color=TRUE, linewidth=1.8, label=f"baseline, mean of {CALIBRATE} runs")
    left.scatter(numbers, values, s=30, color="#8c8c8c", label="one run of each change", zorder=3)
    best = min(values)
    left.scatter([values.index(best) + 1], [best], s=90, color=LUCKY, label="the best of them", zorder=4)
    labels(left, "trial", "loss (lower is better)", f"{TRIALS} changes that do nothing")
    left.set_ylim(START - 4.3 * SD, START + 3.2 * SD)
    left.legend(loc="lower left", fontsize=11, frameon=False, ncols=2, columnspacing=1)
    right.hist(gains, bins=30, color=LUCKY, alpha=0.55, weights=[100 / STUDIES] * STUDIES)
    right.axvline(fmean(gains), color="black", linewidth=1.8)
    right.set_xlim(0, None)
    right.text(fmean(gains) + 0.1 * SD, right.get_ylim()[1], f"mean {fmean(gains):.3f}", fontsize=12, va="top")
    labels(right, "gain that the best one seems to have", "% of studies", f"{STUDIES} such studies")
    save(figure, path)


def bars(path: Path) -> None:
    """One made-up study under both rules: what is shown for the best, and what is true of it."""
    courses = [
        ("The winning run is its record", study(trusting, SEED)),
        ("The bar is fresh runs", study(climbing, SEED)),
    ]
    figure, both = plt.subplots(1, 2, figsize=(12, 6), sharey=True, layout="constrained")
    for axes, (title, course) in zip(both, courses, strict=True):
        numbers = range(TRIALS + 1)
        axes.step(numbers, course.shown, where="post", color=SHOWN, linewidth=2.2, label="shown as the best")
        axes.step(numbers, course.true, where="post", color=TRUE, linewidth=2.2, label="true loss of that code")
        axes.fill_between(numbers, course.shown, course.true, step="post", color=DOT, alpha=0.35, linewidth=0)
        labels(axes, "trial", "loss (lower is better)" if axes is both[0] else "", title)
    both[0].legend(loc="upper right", fontsize=13, frameon=False)
    save(figure, path)


def labels(axes: Any, x: str, y: str, title: str) -> None:
    axes.set_xlabel(x, fontsize=13)
    axes.set_ylabel(y, fontsize=13)
    axes.set_title(title, fontsize=14, loc="left")
    axes.tick_params(labelsize=11)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=100, metadata={"Software": None})  # no version in it: the same bytes again
    plt.close(figure)


# -- figures in the text -------------------------------------------------------------------------------


def figures() -> Iterator[str]:
    """What the page says in numbers, a line each."""
    rng = random.Random(SEED)
    yield calibration.sentence(SD, CALIBRATE - 1, CALIBRATE, REPEATS, TRIALS)
    sds = [stdev(baseline(rng)) / SD for _ in range(STUDIES)]
    cuts = quantiles(sds, n=20)
    yield f"noise from {CALIBRATE} runs: {cuts[0]:.2f} to {cuts[-1]:.2f} times the truth in 9 of 10 studies"
    for effect in (0.0, 0.5, 1.0, 2.0):
        found = [tried_out(rng, START - effect * SD, baseline(rng)) for _ in range(STUDIES)]
        kept, runs = fmean(score >= KEEP for _, score in found), fmean(len(mine) for mine, _ in found)
        yield f"a change worth {effect:.1f} sd: kept in {kept:.0%}, {runs:.2f} runs"
    for name, play in (("winning run", trusting), ("fresh runs", climbing)):
        courses = [study(play, seed) for seed in range(STUDIES)]
        shown, true = fmean(START - c.shown[-1] for c in courses), fmean(START - c.true[-1] for c in courses)
        useless = fmean(sum(k.effect >= 0 for k in c.kept) for c in courses)
        all_kept, runs = fmean(len(c.kept) for c in courses), fmean(c.runs for c in courses)
        yield (
            f"{name}: shown gain {shown:.4f}, true gain {true:.4f}, {runs:.0f} runs, {all_kept:.1f} kept, "
            f"{useless:.1f} of them no better"
        )
    one = [study(play, SEED) for play in (trusting, climbing)]
    for c in one:
        yield f"in the picture: shown {c.shown[-1]:.4f}, true {c.true[-1]:.4f}, kept {len(c.kept)}"


def certified(course: Course, runs: int) -> Claim:
    """What `certify` would say of a study: its measurements made up, its arithmetic the real one."""
    rng = random.Random(SEED)
    effects = {k.trial: k.effect for k in course.kept}
    names = {trial: f"change {trial}" for trial in effects}

    def measure(without: Sequence[int] = ()) -> list[float]:
        true = START + sum(effect for trial, effect in effects.items() if trial not in without)
        return [run_of(true, rng) for _ in range(runs)]

    def gained(before: Sequence[float], after: Sequence[float]) -> list[float]:
        return [b - a for b, a in zip(before, after, strict=True)]

    full = measure()
    lost = {trial: gained(measure([trial]), full) for trial in effects}
    evidence = [stats.t_e_value(gains) for gains in lost.values()]
    proven = stats.e_bh(evidence, ALPHA)
    shares = []
    for i, (trial, gains) in enumerate(lost.items()):
        interval = stats.paired(gains, ALPHA)
        ends = (interval.estimate, interval.low, interval.high)
        shares.append(Share((trial,), names[trial], *ends, evidence[i], i in proven))
    idle = [share.trials[0] for share in shares if carries_nothing(share)]
    start, best, pruned = measure(list(effects)), measure(), measure(idle)
    whole, less = (stats.paired(gained(start, after), ALPHA) for after in (best, pruned))
    return Claim(
        start="0" * 40,
        best="b" * 40,
        tree="b" * 40,
        held="sealed",
        runs=runs,
        before=fmean(start),
        after=fmean(best),
        gain=whole.estimate,
        low=whole.low,
        high=whole.high,
        climbing=course.start - course.kept[-1].value,
        tried=TRIALS,
        luck=stats.expected_best_of_noise(SD, TRIALS),
        digest="d" * 16,
        machine=Machine("a processor", 1, "a processor"),
        shares=tuple(shares),
        passengers=tuple(idle),
        pruned="a" * 40 if idle else None,
        pruned_gain=(less.estimate, less.low, less.high) if idle else None,
    )


def main() -> None:
    from rich.console import Console

    luck(DOCS / "deciding-luck.png")
    bars(DOCS / "deciding-bar.png")
    for line in figures():
        print(line)
    course = study(climbing, SEED)
    print(f"true gain of the certified study: {START - course.true[-1]:.4f}")
    print("true effects:", {k.trial: round(-k.effect, 4) for k in course.kept})
    Console(width=110, highlight=False).print(claim.page(certified(course, 8), Metric("loss")))


if __name__ == "__main__":
    main()
