"""
What is to be said of a study in the morning, once: report/html.py and report/markdown.py only render it.

A pure function of State, and of what git holds of the trials. The gain while climbing is never told as the result.
Text of unknown origin is cleaned and bounded here, and escaped where it is rendered.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from autoresearch.final import Branch, Final
from autoresearch.report import claim as claims
from autoresearch.report import text
from autoresearch.report.text import amount, current, number
from autoresearch.report.themes import Failure, Files, Near, Theme, failures, near_misses, one_line, themes
from autoresearch.state import State
from autoresearch.trial import Beside, Claim, Metric, Share, Trial

# How many of each are shown; the number of the others is told.
KEPT, THEMES, NEAR_MISSES, FAILURES, SPENDERS = 60, 30, 10, 12, 12
PATCHES, PATCH_LINES, PATCH_WIDTH = 24, 80, 160
DOTS = 12_000  # trials in the picture; of more, the latest


class Seen(Struct, frozen=True):
    """What git knows of the trials: the files that each changed, and the patches of what was kept."""

    files: Files = {}
    patches: dict[int, str] = {}


class Headline(Struct, frozen=True):
    """The result: `certified` says whether it may be told in public; `numbers` is then the gain with its interval."""

    word: str
    certified: bool
    proven: bool  # certified, the interval lies above 0, and no guard is left open
    sentence: str
    numbers: tuple[float, float, float] | None = None
    before: float | None = None
    after: float | None = None


class Kept(Struct, frozen=True):
    """
    A kept change. `share` is what the certified best loses without it, with its interval; None where `word` says why.
    """

    trial: int
    by: str
    idea: str
    word: str
    share: tuple[float, float, float] | None
    climbing: float | None
    lines: tuple[int, int]
    flags: tuple[str, ...] = ()
    patch: str = ""


class Spender(Struct, frozen=True):
    """A proposer: what came of its trials, and what its calls to models cost."""

    by: str
    trials: int
    kept: int
    calls: int
    tokens: int
    dollars: float


class Dot(Struct, frozen=True):
    """A trial in the picture: its place in order, its value, and whether it was kept."""

    n: int
    value: float
    kept: bool
    idea: str = ""  # of kept ones


class Picture(Struct, frozen=True):
    """The staircase: dots, and the value that was best from each trial on. `sd` is the scatter of one run."""

    dots: tuple[Dot, ...]
    steps: tuple[tuple[int, float], ...]
    sd: float | None
    claim: tuple[float, float] | None = None  # certified: means of the start and the best


class Morning(Struct, frozen=True):
    """All that is said, in its order. What ends in `_left` counts what was left out."""

    study: str
    metric: Metric
    headline: Headline
    warnings: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    picture: Picture
    kept: tuple[Kept, ...]
    kept_left: int
    themes: tuple[Theme, ...]
    themes_left: int
    near: tuple[Near, ...]
    near_left: int
    failures: tuple[Failure, ...]
    failures_left: int
    spent: tuple[tuple[str, str], ...]
    spenders: tuple[Spender, ...]
    steps: tuple[tuple[str, str], ...]  # command, what it does
    start: str
    best: str


def morning(state: State, seen: Seen | None = None) -> Morning:
    """What is to be said. The study was run: `state.opened` is not None."""
    assert state.opened is not None
    seen = seen or Seen()
    claim = current(state)
    kept, of_kept = _kept(state, claim, seen)
    about, near, failed = themes(state, seen.files), near_misses(state), failures(state)
    return Morning(
        study=state.opened.study,
        metric=state.metric,
        headline=_headline(state, claim),
        warnings=tuple(_warnings(state, claim)),
        facts=tuple(_facts(state)),
        picture=_picture(state, claim),
        kept=kept,
        kept_left=of_kept - len(kept),
        themes=tuple(about[:THEMES]),
        themes_left=len(about[THEMES:]),
        near=tuple(near[:NEAR_MISSES]),
        near_left=len(near[NEAR_MISSES:]),
        failures=tuple(failed[:FAILURES]),
        failures_left=sum(failure.count for failure in failed[FAILURES:]),
        spent=tuple(_spent(state)),
        spenders=tuple(_spenders(state)[:SPENDERS]),
        steps=tuple(_steps(state, claim)),
        start=state.opened.start,
        best=state.best.commit if state.best else state.opened.start,
    )


# -- the result ----------------------------------------------------------------------------------------


def _headline(state: State, claim: Claim | None) -> Headline:
    if claim is not None:
        numbers = (claim.gain, claim.low, claim.high)
        sentence = claims.sentence(claim, state.metric)
        is_open = not all(one.shown for one in claim.beside)
        word = "Certified, but a guard is not shown to hold" if is_open else "Certified"
        word = "Certified, but no proof of a gain" if claim.low <= 0 else word
        return Headline(word, True, claim.low > 0 and not is_open, sentence, numbers, claim.before, claim.after)
    kept = len(changes(state))
    if not kept:
        return Headline("Nothing kept", False, False, f"There is nothing to certify after {_trials(state.decided)}.")
    many = "1 change was kept" if kept == 1 else f"{kept} changes were kept"
    sentence = (
        f"{many.capitalize()} in {_trials(state.decided)}, and how much they gain together was not measured anew. "
        "What a study shows while it climbs leans to the good side, so it is no result."
    )
    earlier = state.claims[-1] if state.claims else None
    if earlier is not None and earlier.digest == state.digest:
        sentence += f" An earlier best, {earlier.best[:10]}, was certified: {claims.sentence(earlier, state.metric)}"
    return Headline("Not certified yet", False, False, sentence)


def _warnings(state: State, claim: Claim | None) -> list[str]:
    """What to know before believing it."""
    found = []
    if claim is not None and claim.low <= 0:
        found.append("The interval holds 0: this is no proof of a gain.")
    if claim is not None and claim.held == "search":
        found.append("The study has no set that the search did not see (measure.sets), so the claim may flatter.")
    unshown: Sequence[Beside] = [one for one in claim.beside if not one.shown] if claim else []
    if unshown:
        found.append(f"Not shown to be no worse than the start: {', '.join(one.name for one in unshown)}.")
    if times := text.dearer(state):
        found.append(f"A run of the best takes {times:.2g} times the compute of the start's.")
    found += [line for line in (text.held(state), text.drift(state)) if line]
    flagged = [trial for trial in changes(state) if trial.verdict and trial.verdict.flags]
    if flagged:
        numbers = ", ".join(str(trial.id) for trial in flagged[:10])
        found.append(f"Some of what was kept carries notes to read before believing it: trial {numbers}.")
    return found


def _trials(n: int) -> str:
    return "1 trial" if n == 1 else f"{n:,} trials"


def _facts(state: State) -> list[tuple[str, str]]:
    metric = state.metric
    better = "lower is better" if metric.direction == "minimize" else "higher is better"
    noise = f"{amount(state.noise.sd, 3)} from seed to seed" if state.noise else "not known yet"
    return [
        ("metric", f"{metric.name}{f' in {metric.unit}' if metric.unit else ''}, {better}"),
        ("trials", f"{state.decided:,} ({text.counts(state)})"),
        ("runs", f"{len(state.runs):,}"),
        ("scatter of one run", noise),
        ("machine", state.tier or "-"),
    ]


# -- what was kept -------------------------------------------------------------------------------------


def changes(state: State) -> list[Trial]:
    """What was kept since the value to beat was measured, in order."""
    first = state.baseline
    since = next((n for n, i in enumerate(state.kept) if first and i == first.id), 0)
    return [state.trials[i] for i in state.kept[since:] if not state.trials[i].is_baseline]


def _kept(state: State, claim: Claim | None, seen: Seen) -> tuple[tuple[Kept, ...], int]:
    """The kept changes to show, and how many there are: with a claim by what they carry, else as they were kept."""
    shares = {share.trials[0]: share for share in claim.shares} if claim else {}
    idle = set(claim.passengers) if claim else set()
    listed = [_one_kept(trial, shares.get(trial.id), claim, idle, seen) for trial in changes(state)]
    if claim:
        listed.sort(key=lambda one: -one.share[0] if one.share else float("inf"))
    shown = listed[:KEPT] if claim else listed[-KEPT:]
    return tuple(one if n < PATCHES else replace(one, patch="") for n, one in enumerate(shown)), len(listed)


def _one_kept(trial: Trial, share: Share | None, claim: Claim | None, idle: set[int], seen: Seen) -> Kept:
    verdict = trial.verdict
    carries = None
    if share is not None and share.gain is not None and share.low is not None and share.high is not None:
        carries = (share.gain, share.low, share.high)
    return Kept(
        trial=trial.id,
        by=one_line(trial.by, 40),
        idea=one_line(trial.idea),
        word=_word(share, claim, trial.id in idle),
        share=carries,
        climbing=verdict.gain if verdict else None,
        lines=trial.lines,
        flags=tuple(one_line(flag) for flag in (verdict.flags if verdict else ())[:4]),
        patch=_bounded(seen.patches.get(trial.id, "")),
    )


def _word(share: Share | None, claim: Claim | None, is_idle: bool) -> str:
    if claim is None:
        return "not certified yet"
    if is_idle:
        return "carries nothing"
    if share is None:
        return "share not measured"
    if share.gain is None:
        return one_line(share.why) or "cannot be taken out"
    with_others = f", with {claims.listed(share.trials[1:])}" if len(share.trials) > 1 else ""
    return f"{'proven' if share.proven else 'likely'}{with_others}"


def _bounded(patch: str) -> str:
    """A patch with so many lines at most, each so wide at most."""
    lines = [line for line in patch.split("\n") if not line.startswith(("index ", "diff --git "))]
    more = [f"… {len(lines) - PATCH_LINES} more lines"] if len(lines) > PATCH_LINES else []
    cut = [line if len(line) <= PATCH_WIDTH else f"{line[: PATCH_WIDTH - 1]}…" for line in lines[:PATCH_LINES]]
    return "\n".join([*map(text.clean, cut), *more]).strip("\n")


# -- the picture ---------------------------------------------------------------------------------------


def _picture(state: State, claim: Claim | None) -> Picture:
    dots = []
    place = 0
    for trial in tuple(state.trials.values()):
        if trial.verdict is None:
            continue
        place += not trial.is_baseline
        if trial.verdict.value is not None:
            kept = trial.word == "keep"
            idea = "start" if trial.is_baseline else one_line(trial.idea.partition(": ")[0], 44)
            dots.append(Dot(place, trial.verdict.value, kept, idea if kept else ""))
    ends = (claim.before, claim.after) if claim else None
    return Picture(tuple(dots[-DOTS:]), tuple(text.staircase(state)), state.noise.sd if state.noise else None, ends)


# -- cost ----------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _spent(state: State) -> list[tuple[str, str]]:
    """What it took, in seconds and in money."""
    runs = tuple(state.runs.values())
    results = [run.measurement for run in runs if run.measurement]
    times = [t for trial in state.trials.values() for t in (trial.started_at, trial.decided_at or 0.0) if t]
    claimed = [run.measurement.wall_s for run in runs if run.measurement and run.purpose == "claim"]
    found = [
        ("from first to last trial", duration(max(times) - min(times)) if times else "-"),
        ("measuring", f"{duration(sum(m.wall_s + m.score_s for m in results))} of runs and scoring"),
        ("processor", duration(sum(m.processor_s + m.score_processor_s for m in results))),
    ]
    if claimed:
        found.append(("of that for claims", f"{duration(sum(claimed))} in {len(claimed)} runs"))
    ledger = state.ledger
    if state.charged:
        found.append(("models", f"${ledger.models:.2f}, {state.tokens:,} tokens"))
    if ledger.was_priced:
        found.append(("machine", f"${ledger.machine:.2f}{f', ${ledger.price:g} a slot-hour' if ledger.price else ''}"))
    if state.charged and ledger.was_priced:
        found.append(("together", f"${state.dollars:.2f}"))
    return found


def _spenders(state: State) -> list[Spender]:
    """Every proposer, by what was kept of it."""
    found: dict[str, list[str]] = {one_line(by, 40): [] for by in state.charged}
    for trial in tuple(state.trials.values()):
        if trial.verdict and not trial.is_baseline and trial.by:
            found.setdefault(one_line(trial.by, 40), []).append(trial.word)
    cost = {one_line(by, 40): spent for by, spent in state.charged.items()}
    listed = [
        Spender(
            by,
            len(words),
            words.count("keep"),
            cost[by].calls if by in cost else 0,
            cost[by].tokens if by in cost else 0,
            cost[by].dollars if by in cost else 0.0,
        )
        for by, words in found.items()
    ]
    return sorted(listed, key=lambda one: (-one.kept, -one.trials, one.by))


# -- what to do ----------------------------------------------------------------------------------------


def _steps(state: State, claim: Claim | None) -> list[tuple[str, str]]:
    """How to use it: commands that exist, in the order in which one would type them."""
    assert state.opened is not None
    waiting = [trial.id for trial in state.trials.values() if trial.word == "suspect"]
    found = [
        (f"autoresearch show {i}", "why this gain is hard to believe; autoresearch accept takes it as real")
        for i in waiting[:3]
    ]
    if not changes(state):
        return [*found, ("autoresearch run", "goes on with the study")]
    if claim is None:
        found.append(("autoresearch certify", "measures the claim on fresh seeds, and what each change carries"))
    found.append(("autoresearch diff", "everything that was kept, as one patch, as git apply takes it"))
    if final := handed_on(state):
        n = len(final.together.trials)
        measured = f", measured together: {_ends(final.together)}" if final.together.gain is not None else ""
        found.append((f"git merge {final.together.name}", f"takes {n} of them from where the study began{measured}"))
    else:
        what = "a branch for each change that carries its weight, measured alone and together"
        found.append(("autoresearch finalize", what))
    found.append((f"git merge autoresearch/{state.opened.study}", "takes all of it as it is"))
    if claim is not None and claim.pruned:
        what = "what to leave out: it carries nothing"
        found.append((f"git diff {claim.best[:10]} {claim.pruned[:10]}", what))
    return found


def handed_on(state: State) -> Final | None:
    """The branches that were made of what is best now."""
    final = state.finals[-1] if state.finals else None
    return final if final and state.best and final.best == state.best.commit else None


def _ends(branch: Branch) -> str:
    if branch.gain is None or branch.low is None or branch.high is None:
        return "-"
    return f"{amount(branch.gain)} better [{amount(branch.low)}, {amount(branch.high)}]"


def subject(found: Morning) -> str:
    """One line for a commit or a pull request."""
    head = found.headline
    kept = len(found.kept) + found.kept_left
    many = "1 kept change" if kept == 1 else f"{kept} kept changes"
    if head.numbers is None or head.before is None or head.after is None:
        return f"Study {found.study}: {many}, not certified yet"
    gain, low, high = head.numbers
    said = f"gain {amount(gain)} [{amount(low)}, {amount(high)}]"
    return f"Study {found.study}: {found.metric.name} {number(head.before)} to {number(head.after)}, certified {said}"
