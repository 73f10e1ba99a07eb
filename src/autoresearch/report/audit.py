"""
An audit in words and as a page for a terminal, and the same as plain data. Pure functions of Audit.

Whatever stood in the log is escaped before it reaches the terminal.
"""

from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from autoresearch.audit import TOP, Audit, Keep, Noise
from autoresearch.report.text import clean, number

MOST_ROWS = 40  # keeps in the table; all of them are in the JSON
MOST_NAMED = 8  # lines named in a sentence
COLORS = {"beyond": "bold green", "within": "dim", "worse": "red", "unknown": "cyan"}
REMEDY = "Run the first version and the last best 5 times each, with fresh seeds, before you rely on it."


def data(found: Audit) -> dict[str, Any]:
    fields: dict[str, Any] = _cleaned(msgspec.to_builtins(found))
    return fields | {"notes": notes(found), "verdict": verdict(found)}


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _cleaned(inner) for key, inner in value.items()}
    return [_cleaned(inner) for inner in value] if isinstance(value, list) else value


# -- the verdict -----------------------------------------------------------------------------------------


def verdict(found: Audit) -> list[str]:
    """What follows from the numbers, in at most six sentences of plain words."""
    said = [_total(found), _singles(found), _basis(found), _top(found), _late(found), _baseline(found)]
    return [clean(sentence) for sentence in said if sentence]


def _total(found: Audit) -> str:
    way = f"{found.metric} went from {number(found.first)} to {number(found.best)}{_unit(found)}"
    trials, luck, noise = found.luck.trials, found.luck, found.noise
    if found.total == "none":
        return f"There is no gain: nothing kept is better than the first value, {number(found.first)}{_unit(found)}."
    gain = f"a gain of {_gain(found.gain)}"
    if found.total == "unknown":
        return (
            f"Whether the total gain is real cannot be said: {way}, {gain}, but nothing was repeated, and "
            f"{_count(trials, 'trial')} {_are(trials)} too few to bound the noise."
        )
    least = "" if noise.sd is not None else "at most "
    reach = f"luck among {_count(trials, 'trial')} makes {least}{_n(luck.average)} on average and rarely over {_n(luck.most)}"
    if found.total == "real":
        return f"The total gain is real: {way}, {gain}; {reach}."
    if found.total == "luck":
        return f"The total gain is not beyond luck: {way}, {gain}; {reach}."
    return f"Whether the total gain is real stays open: {way}, {gain}; with the noise as large as it may be, {reach}."


def _singles(found: Audit) -> str:
    gains = [keep for keep in found.keeps if keep.gain > 0]
    if not gains:
        return ""
    beyond, n = found.counts["beyond"], len(gains)
    bar = f"{_n(found.bar)}, two standard errors" if found.place == "line" else "two standard errors"
    if found.noise.usable is None:
        return f"Which of the {_count(n, 'kept gain')} are beyond the noise cannot be said."
    if found.noise.sd is None:
        return (
            f"{beyond} of {_count(n, 'kept gain')} {_are(beyond)} beyond the noise even if it is as large as it can be "
            f"({_n(found.bar)}); of the other {n - beyond} the log cannot tell."
        )
    if n == 1:
        return f"The only kept gain is {'beyond' if beyond else 'within'} the noise ({bar})."
    if 2 * beyond < n:
        text = f"Most single keeps are not beyond the noise: of {n} kept gains only {beyond} {_exceed(beyond)} {bar}"
    else:
        lead = "Every single keep is" if beyond == n else "Most single keeps are"
        text = f"{lead} beyond the noise: {beyond} of {n} kept gains {_exceed(beyond)} {bar}"
    if found.beyond_range and found.beyond_range[0] != found.beyond_range[1]:
        text += f", or {found.beyond_range[0]} to {found.beyond_range[1]} as far as the noise is known"
    if found.below_repeat:
        text += (
            f"; {found.below_repeat} are smaller than the {_gain(found.largest_repeat or 0)} that {_cause(found)} made"
        )
    return f"{text}."


def _cause(found: Audit) -> str:
    largest = max(found.noise.repeats, key=lambda repeat: abs(repeat.gain))
    return "a mere change of the seed" if largest.kind == "seed" else "a mere repeat"


def _basis(found: Audit) -> str:
    """How the noise is known."""
    noise = found.noise
    if noise.source == "given":
        return f"You gave the noise: one run scatters by {_n(noise.sd)}."
    if noise.sd is None:
        same = "What was repeated came out equal to the last digit, so the seed was fixed or there is no noise"
        lead = same if noise.repeats else "Nothing in the log says that it repeats something unchanged"
        bound = f"; the middle half of all trials bounds the noise of one run by {_n(noise.ceiling)}"
        return f"{lead}{bound if noise.ceiling else ''}. If you know the noise, give it: --noise SD."
    if noise.source == "own repeats":
        evidence = f"{_count(noise.dof or 0, 'degree')} of freedom in its own repeats"
    else:
        evidence = f"{_count(len(noise.repeats), 'repeat')} in the log ({_count(noise.dof or 0, 'degree')} of freedom)"
    return f"One run scatters by about {_n(noise.sd)}, known from {evidence}: it may be {_n(noise.low)} to {_n(noise.high)}."


def _top(found: Audit) -> str:
    if found.top_share is None or sum(keep.gain > 0 for keep in found.keeps) <= TOP:
        return ""
    return f"The {TOP} largest keeps ({_where(found, sorted(found.top))}) carry {found.top_share:.0%} of the total."


def _late(found: Audit) -> str:
    late = found.late
    if late is None or late.gain <= 0 or late.luck.most is None:
        return ""
    lead = f"After {found.place} {late.after}, the last keep that is clear, {_count(late.luck.trials, 'trial')} gained"
    if late.gain > late.luck.most:
        return (
            f"{lead} {_gain(late.gain)} more, where luck rarely makes over {_n(late.luck.most)}: some of the small keeps "
            "are real, but this log cannot say which."
        )
    return f"{lead} {_gain(late.gain)} more; luck alone may make that."


def _baseline(found: Audit) -> str:
    again = found.baseline_runs - 1
    if again:
        known = f"The baseline was run {again} more time{'s' if again > 1 else ''}."
        return known if found.noise.source == "own repeats" else f"{known} {REMEDY}"
    return f"The baseline was never run again, so {number(found.first)} may itself be off by a run's noise. {REMEDY}"


# -- what is odd -----------------------------------------------------------------------------------------


def notes(found: Audit) -> list[str]:
    """What a person should know about the log itself."""
    said = list(found.notes)
    if found.guessed and found.direction == "maximize":
        said.append("the format does not say which way is better; the kept values rise, so higher is taken as better")
    for kind, what in (("seed", "only another seed"), ("best", "nothing changed"), ("baseline", "nothing changed")):
        kept = [keep.where for keep in found.keeps if keep.repeats == kind]
        if kept:
            said.append(f"{_where(found, kept)}: kept with {what}, so what was kept is luck")
    if worse := [keep.where for keep in found.keeps if keep.word == "worse"]:
        said.append(
            f"{_where(found, worse)}: kept though worse than the best before, so the kept values do not only improve"
        )
    if found.better_discards and found.place == "line":  # ours has a word for them: inconclusive
        said.append(f"{_where(found, found.better_discards)}: better than the best before, but not kept")
    if zeros := found.written_crashes:
        said.append(f"{_where(found, zeros)}: no value, but a number is written there; it is not taken as one")
    if found.duplicates:
        said.append(f"{_where(found, found.duplicates)}: same idea and value as an earlier {found.place}")
    noise = found.noise
    if noise.sd and noise.ceiling and noise.sd > noise.ceiling:
        said.append(
            f"the noise of {_n(noise.sd)} is more than the middle half of all trials leaves room for "
            f"({_n(noise.ceiling)}): some repeat may have been none"
        )
    return [clean(note) for note in said]


# -- the page --------------------------------------------------------------------------------------------


def page(found: Audit, name: str) -> RenderableType:
    """The numbers, the keeps, and the verdict last, where the eye is."""
    lines = [
        f"log       {name}: {found.form}, {_count(found.trials, 'trial')}, {found.measured} with a value",
        f"metric    {found.metric}{_unit(found)}, {'lower' if found.direction == 'minimize' else 'higher'} is better",
        f"total     {number(found.first)} to {number(found.best)} at {found.place} {found.best_where}, a gain of {_gain(found.gain)}",
        f"luck      {_luck(found)}",
        f"noise     {_noise(found.noise)}",
        *(f"          {line}" for line in _repeats(found)),
        f"keeps     {', '.join(f'{n} {word}' for word, n in found.counts.items() if n) or 'none'}",
        f"order     {'each keep better than the best before' if found.monotone else 'not monotone'}",
        f"baseline  {'never run again' if found.baseline_runs == 1 else f'run {found.baseline_runs} times'}",
    ]
    parts: list[RenderableType] = [Text(clean("\n".join(lines)))]
    if found.keeps:
        parts += [Text(""), _table(found)]
    parts += [Text("")] if notes(found) else []
    parts += [Text(f"note      {note}", "yellow") for note in notes(found)]
    parts += [Text(""), Text("Verdict", "bold")]
    parts += [Padding(Text(sentence), (0, 0, 0, 2), expand=False) for sentence in verdict(found)]
    return Group(*parts)


def _luck(found: Audit) -> str:
    if found.luck.most is None:
        return "not known: there is no noise to go by"
    least = "" if found.noise.sd is not None else "at most "
    return (
        f"{least}{_n(found.luck.average)} on average from {_count(found.luck.trials, 'null trial')}, "
        f"over {_n(found.luck.most)} once in 40"
    )


def _noise(noise: Noise) -> str:
    if noise.source == "given":
        return f"{_n(noise.sd)} a run, as you say"
    if noise.sd is None:
        return f"at most {_n(noise.ceiling)} a run, by the middle half of all trials" if noise.ceiling else "not known"
    return f"{_n(noise.sd)} a run ({_n(noise.low)} to {_n(noise.high)}), {_count(noise.dof or 0, 'degree')} of freedom"


def _repeats(found: Audit) -> list[str]:
    shown = [
        f'{found.place} {repeat.where}: "{repeat.idea[:60]}" repeats {found.place} {repeat.of}, {repeat.gain:+.3g}'
        for repeat in found.noise.repeats[:MOST_NAMED]
    ]
    more = len(found.noise.repeats) - len(shown)
    return [*shown, f"and {more} more"] if more > 0 else shown


def _table(found: Audit) -> RenderableType:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in (found.place, "value", "gain", "gain/error"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("noise", no_wrap=True)
    shown.add_column("idea", overflow="fold", ratio=1)
    for keep in found.keeps[:MOST_ROWS]:
        shown.add_row(*_row(keep))
    more = len(found.keeps) - MOST_ROWS
    return Group(shown, Text(f"and {more} more: --json", "dim")) if more > 0 else shown


def _row(keep: Keep) -> list[RenderableType]:
    times = f"{keep.gain / keep.error:.1f}" if keep.error and abs(keep.gain) < 1e6 * keep.error else "-"
    idea = Text(clean(keep.idea), style="dim" if keep.word == "within" else "")
    return [str(keep.where), number(keep.value), f"{keep.gain:+.3g}", times, Text(keep.word, COLORS[keep.word]), idea]


def _where(found: Audit, wheres: list[int]) -> str:
    named = ", ".join(map(str, wheres[:MOST_NAMED]))
    more = f" and {len(wheres) - MOST_NAMED} more" if len(wheres) > MOST_NAMED else ""
    return f"{found.place}{'s' if len(wheres) > 1 else ''} {named}{more}"


def _unit(found: Audit) -> str:
    return f" {found.unit}".rstrip()


def _n(value: float | None) -> str:
    """A noise, or what follows from one: seldom known to more than two digits."""
    return "-" if value is None else f"{value:.2g}" if abs(value) < 100 else f"{value:.6g}"


def _gain(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.6g}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def _exceed(n: int) -> str:
    return "exceeds" if n == 1 else "exceed"
