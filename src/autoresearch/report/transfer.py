"""
A measured ladder in words and as a table. Pure functions; what proposers wrote is escaped.
"""

from rich.console import Group, RenderableType
from rich.text import Text

from autoresearch.report.text import clean, number
from autoresearch.rungs import Crossing, Effect, Passage, Reach, Rung, Setting, Transfer
from autoresearch.trial import Metric, is_dearer

STYLES = {"carries": "bold green", "shrinks": "yellow", "gone": "yellow", "reverses": "bold red"}
SHORT = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def page(found: Transfer, metric: Metric) -> RenderableType:
    unit = f", {metric.unit}" if metric.unit else ""
    how = HOW[found.each].format(metric=metric.name)
    lines = [*sums(found), *costs(found), *reached(found, metric), *notes(found)]
    parts = [Text(f"Gain in {metric.name}{unit}, with 95 % interval{how}", "italic"), gains(found), Text("")]
    return Group(*parts, *(Text(line) for line in lines), Text(sentence(found, metric), "bold"))


def sentence(found: Transfer, metric: Metric) -> str:
    """What became of the whole, and of how many changes."""
    top, bottom = found.rungs[found.top], found.rungs[found.bottom]
    words = [change.word for change in found.changes]
    counted = ", ".join(f"{word} {words.count(word)}" for word in dict.fromkeys(words))
    way = "" if found.top == found.bottom else f", after {interval(bottom.stack)} at {label(found, bottom)}"
    changes = f" Kept changes: {counted}." if words else ""
    return (
        f"The best's gain in {metric.name} {SAID[found.stack]}: {interval(top.stack)} at {label(found, top)}{way} "
        f"({found.runs} fresh paired seeds, {found.held} set).{changes}"
    )


SAID = {
    "carries": "carries",
    "shrinks": "shrinks",
    "gone": "is gone",
    "reverses": "reverses",
    "unclear": "is unclear",
    "overridden": "is overridden",
    "unmeasured": "is not measured",
}


def label(found: Transfer, rung: Rung) -> str:
    """A rung by what tells it from the others."""
    shown = [settings(rung.settings)] if rung.settings else []
    if rung.budget is not None and (len({other.budget for other in found.rungs}) > 1 or not shown):
        shown.append(spent(rung.budget, found))
    return ", ".join(shown)


def settings(values: dict[str, Setting]) -> str:
    return ", ".join(f"{clean(key)}={clean(str(value))}" for key, value in values.items())


def spent(budget: float, found: Transfer) -> str:
    """A budget as one says it: `150k tokens`."""
    size, letter = next(((size, letter) for size, letter in SHORT if budget >= size), (1.0, ""))
    return f"{budget / size:.3g}{letter} {(found.unit or '').replace('_', ' ')}".rstrip()


def interval(effect: Effect) -> str:
    if effect.gain is None or effect.low is None or effect.high is None:
        return "-"
    return f"{effect.gain:+.4g} [{effect.low:.4g}, {effect.high:.4g}]"


def name(change: Passage) -> str:
    return "+".join(map(str, change.trials))


# -- the gains -----------------------------------------------------------------------------------------

HOW = {
    "alone": "; each change by itself on the start",
    "without": "; of each change, what the best loses without it",
    "none": "",
}


def gains(found: Transfer) -> Text:
    """For the whole and for each change its word, and below it a line for each rung."""
    shown = Text("all together: ").append(found.stack, STYLES.get(found.stack, ""))
    _lines(shown, found, [rung.stack for rung in found.rungs])
    for i, change in enumerate(found.changes):
        shown.append(f"\ntrial {name(change)}: ").append(change.word, STYLES.get(change.word, ""))
        shown.append(f"  {clean(change.idea)}", "dim")
        if note := _note(change):
            shown.append(f"\n    {note}")
        effects = [rung.changes[i] for rung in found.rungs]
        if any(effect.gain is not None for effect in effects):
            _lines(shown, found, effects)
    return shown


def _lines(shown: Text, found: Transfer, effects: list[Effect]) -> None:
    labels = [label(found, rung) for rung in found.rungs]
    width = max(map(len, labels))
    for text, effect in zip(labels, effects, strict=True):
        shown.append(f"\n    {text:<{width}}  {interval(effect)}")


def _note(change: Passage) -> str:
    mine = f"it set {', '.join(change.overridden)} itself, and the ladder overrides that" if change.overridden else ""
    return "; ".join(filter(None, (mine, clean(change.why))))


# -- sentences -----------------------------------------------------------------------------------------


def sums(found: Transfer) -> list[str]:
    """Whether gains add, rung by rung."""
    if len(found.changes) < 2:
        return []
    if len(why := {rung.excess.why for rung in found.rungs}) == 1 and any(why):
        return [f"Whether the gains add is not known: {why.pop()}."]
    lines = []
    for rung in found.rungs:
        excess = rung.excess
        if excess.gain is None or excess.low is None or excess.high is None or rung.stack.gain is None:
            lines.append(f"Sum at {label(found, rung)}: not known, {excess.why}.")
            continue
        total = rung.stack.gain - excess.gain
        verdict = "more than they add up to" if excess.low > 0 else "less than they add up to"
        if excess.low <= 0 <= excess.high:
            verdict = "as much as they add up to, as far as can be told"
        lines.append(
            f"Sum at {label(found, rung)}: single gains add up to {total:.4g}, together they gain {rung.stack.gain:.4g}: "
            f"{verdict} (difference {interval(excess)})."
        )
    return lines


def costs(found: Transfer) -> list[str]:
    """Where a run of the best takes more compute than one of the start: a gain per budget is not one per second."""
    return [
        f"At {label(found, rung)} a run of the best takes {rung.after_s / rung.before_s:.2g} times the compute of the start's."
        for rung in found.rungs
        if rung.before_s > 0 and is_dearer(rung.after_s, rung.before_s)
    ]


def reached(found: Transfer, metric: Metric) -> list[str]:
    return [_target(found, r, metric) if r.target else _multiplier(found, r) for r in found.reaches]


def _multiplier(found: Transfer, reach: Reach) -> str:
    at = f" at {settings(reach.settings)}" if reach.settings else ""
    what = (
        f"Compute{at}: what the start reaches with {spent(reach.start.budget or 0.0, found)} ({number(reach.value)}), "
    )
    if reach.stack.word == "below":
        least = f" (at least {reach.low:.3g} times less, 95 %)" if reach.low else ""
        return f"{what}the best reaches with the smallest budget that was measured already{least}."
    if reach.stack.word == "above" or reach.times is None:
        return f"{what}the best does not reach with any budget that was measured."
    low, high = (f"{end:.3g}" if end else "?" for end in (reach.low, reach.high))
    return f"{what}the best reaches with {spent(reach.stack.budget or 0.0, found)}: {reach.times:.3g} times less [{low}, {high}]."


def _target(found: Transfer, reach: Reach, metric: Metric) -> str:
    at = f" at {settings(reach.settings)}" if reach.settings else ""
    sides = f"the start {_crossed(found, reach.start)}, the best {_crossed(found, reach.stack)}"
    times = f" ({reach.times:.3g} times less budget)" if reach.times else ""
    return f"Target {metric.name} {number(reach.value)}{at}: {sides}{times}."


def _crossed(found: Transfer, crossing: Crossing) -> str:
    if crossing.word == "below":
        return "is there with the smallest budget that was measured already"
    if crossing.word == "above" or crossing.budget is None:
        return "does not get there with any budget that was measured"
    low, high = (spent(end, found) if end else "?" for end in (crossing.low, crossing.high))
    seconds = f", {crossing.seconds:.3g} s of compute" if crossing.seconds else ""
    return f"gets there with {spent(crossing.budget, found)} [{low}, {high}]{seconds}"


def notes(found: Transfer) -> list[str]:
    """What to know before believing it."""
    lines = list(found.notes)
    if len(found.changes) >= 10:
        lines.append(f"With {len(found.changes)} changes at 95 %, a word or two of theirs may be chance.")
    return lines
