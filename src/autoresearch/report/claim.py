"""
A claim in words and as a table. Pure functions; what proposers wrote is escaped.
"""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from autoresearch.report.text import amount, clean
from autoresearch.trial import Beside, Claim, Metric, Share

NAMED = 3  # trials of a row of the table that are named


def sentence(claim: Claim, metric: Metric) -> str:
    """The one sentence that may be said in public."""
    unit = f" {metric.unit}".rstrip()
    luck = f", expected best of pure noise {claim.luck:.4g}" if claim.luck is not None else ""
    guarded = "".join(f"; {beside(one)}" for one in claim.beside)
    return (
        f"{metric.name}{unit and f' in{unit}'}: claimed while climbing {amount(claim.climbing)}, certified "
        f"{amount(claim.gain)} [{amount(claim.low)}, {amount(claim.high)}] on the {claim.held} set ({amount(claim.before, 6)} to {amount(claim.after, 6)}, "
        f"{claim.runs} fresh paired seeds), {claim.tried} {'try' if claim.tried == 1 else 'tries'}{luck}{guarded}."
    )


def beside(one: Beside) -> str:
    """What became of a guarded number, as a clause."""
    word = "no worse" if one.shown else "not shown to be no worse"
    within = "within" if one.shown else "where the guard allows"
    return f"{one.name} {word}: {one.worse:+.4g} [{one.low:.4g}, {one.high:.4g}] {within} {one.margin:.4g}"


def listed(trials: Sequence[int]) -> str:
    """Trials in words, "trial 4", "trials 4, 6 and 9": of many, the first few and how many more."""
    named, more = [*map(str, trials[:NAMED])], len(trials) - NAMED
    parts = [*named, f"{more} more"] if more > 0 else named
    words = " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)
    return f"trial{'s' if len(trials) > 1 else ''} {words}"


def page(claim: Claim, metric: Metric) -> RenderableType:
    parts: list[RenderableType] = []
    if claim.shares:
        parts += [_shares(claim), Text("")]
    if claim.passengers:
        parts += [Text(_passengers(claim)), Text("")]
    if claim.low <= 0:
        parts.append(Text("The interval holds 0: this is no proof of a gain.", "bold yellow"))
    unshown = ", ".join(one.name for one in claim.beside if not one.shown)
    if unshown:
        parts.append(
            Text(f"Not shown to be no worse than the start: {unshown}. More --runs may show it.", "bold yellow")
        )
    if claim.held == "search":
        parts.append(Text("The study has no set that the search did not see (measure.sets), so this may flatter."))
    return Group(*parts, Text(sentence(claim, metric), "bold"))


def _shares(claim: Claim) -> Table:
    shown = Table(
        box=None, pad_edge=False, header_style="bold", title="What each kept change carries", title_justify="left"
    )
    for name, justify in (("trial", "right"), ("share", "right"), ("95 %", "left"), ("", "left")):
        shown.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    shown.add_column("idea", ratio=1)
    for share in claim.shares:
        *numbers, idea = _row(share, claim.passengers)
        shown.add_row(*numbers, Text(idea, no_wrap=True, overflow="ellipsis"))  # the column itself gives way first
    return shown


def _row(share: Share, passengers: tuple[int, ...]) -> tuple[str, str, str, str, str]:
    """Trials that can only be taken out together share a row; of many, the first few are named."""
    more = len(share.trials) - NAMED
    trials = "+".join(map(str, share.trials[:NAMED])) + (f" and {more} more" if more > 0 else "")
    idea = clean(share.idea)
    if share.gain is None:
        return trials, "-", "", share.why or "cannot be taken out", idea
    word = "carries nothing" if set(share.trials) <= set(passengers) else "proven" if share.proven else "likely"
    return trials, f"{share.gain:+.4g}", f"[{share.low:.4g}, {share.high:.4g}]".replace("[", "\\["), word, idea


def _passengers(claim: Claim) -> str:
    trials = listed(claim.passengers)
    if claim.pruned is None or claim.pruned_gain is None:
        guard = ", or not without a loss that a guard forbids" if claim.beside else ""
        if len(claim.passengers) == 1:
            return f"{trials.capitalize()} carries nothing by itself, but cannot be taken out{guard}."
        return f"{trials.capitalize()} carry nothing by themselves, but cannot be taken out together{guard}."
    gain, low, high = claim.pruned_gain
    return (
        f"Without what carries nothing ({trials}) the gain is {gain:.4g} [{low:.4g}, {high:.4g}]: "
        f"`git diff {claim.best[:10]} {claim.pruned[:10]}` shows what to leave out."
    )
