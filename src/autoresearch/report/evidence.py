"""
What speaks for a branch, in words: the message of its commit and the body of its pull request. Pure functions.
"""

import textwrap
from collections.abc import Sequence

from autoresearch.final import Branch, Clash, Final
from autoresearch.report import claim as claims
from autoresearch.report.markdown import md, plain, span
from autoresearch.report.text import amount
from autoresearch.trial import Claim, Metric, Share

TITLE = 100  # characters


def short(idea: str, of: int = 1) -> str:
    """One line: the idea without its reason, or how many they are."""
    what = f"{of} changes, each measured" if of > 1 else plain(idea.partition(": ")[0]) or "(no idea given)"
    return what if len(what) <= TITLE else what[: TITLE - 1] + "…"


def title(branch: Branch) -> str:
    return short(branch.idea, len(branch.trials))


def gain(branch: Branch, metric: Metric, final_runs: int, held: str) -> str:
    """What was measured of a branch, in a sentence."""
    where = f"On top of {branch.on}" if branch.on else "Alone on the start"
    where = "All together" if len(branch.trials) > 1 else where
    if branch.gain is None or branch.low is None or branch.high is None:
        return f"{where}: not measured{f' ({branch.why})' if branch.why else ''}."
    unit = f" {metric.unit}" if metric.unit else ""
    proof = "" if branch.low > 0 else ". The interval holds 0" if branch.high > 0 else ". It makes things worse"
    return (
        f"{where}: {metric.name} better by {amount(branch.gain)}{unit} [{amount(branch.low)}, {amount(branch.high)}], "
        f"{final_runs} fresh paired seeds, {held} set{proof}."
    )


def share(of: Share | None, claim: Claim | None) -> str:
    """What the claim says of a change, in a sentence."""
    if claim is None:
        return "Not certified: autoresearch certify measures what it carries."
    if of is None:
        return "Its share of the certified gain was not measured."
    if of.gain is None or of.low is None or of.high is None:
        return f"Its share of the certified gain is not known: {of.why}."
    others = f" (with {claims.listed(of.trials[1:])}, which build on it)" if len(of.trials) > 1 else ""
    word = "proven" if of.proven else "likely"
    return (
        f"The certified best loses {amount(of.gain)} [{amount(of.low)}, {amount(of.high)}] without it{others}: {word}."
    )


def agreement(found: Final, claim: Claim | None) -> str:
    """Whether all together measures as it was certified, in a sentence."""
    whole = found.together
    if claim is None:
        return "Nothing is certified, so there is no claim to hold this against."
    said = f"certified {amount(claim.gain)} [{amount(claim.low)}, {amount(claim.high)}] on the {claim.held} set"
    if whole.gain is None or whole.low is None or whole.high is None:
        return f"Not measured together; {said}."
    measured = f"{amount(whole.gain)} [{amount(whole.low)}, {amount(whole.high)}] on the {found.held} set"
    agrees = whole.low <= claim.high and claim.low <= whole.high
    word = "as certified: the intervals overlap" if agrees else "NOT as certified: the intervals lie apart"
    return f"Together the branches measure {word} ({measured}; {said})."


def clash(found: Clash) -> str:
    """A pair that cannot go together, in a sentence."""
    both = f"Trials {found.earlier} and {found.later}"
    top = "works" if found.on_top else "does not work"
    if found.alone:
        return f"{both} conflict when both are merged; {found.later} {top} on top of {found.earlier}."
    return f"{both} conflict: {found.later} does not apply to the start by itself, and {top} on top of {found.earlier}."


def whole(found: Final, claim: Claim | None, metric: Metric) -> list[str]:
    """What speaks for all together."""
    lines = [gain(found.together, metric, found.runs, found.held), agreement(found, claim)]
    lines += [f"Guard: {claims.beside(one)}." for one in found.beside]
    if claim is not None:
        lines.append(f"The claim: {claims.sentence(claim, metric)}")
    return [*lines, *map(clash, found.clashes), *found.notes]


def commit(ideas: Sequence[str], lines: Sequence[str]) -> tuple[str, str]:
    """First line and paragraphs of a commit's message: of one change, or of several at once."""
    listed = "\n".join(f"- {short(idea)}" for idea in ideas) if len(ideas) > 1 else ""
    reason = plain(ideas[0].partition(": ")[2]) if len(ideas) == 1 else ""
    said = "\n".join(textwrap.fill(plain(line), 72, break_long_words=False, break_on_hyphens=False) for line in lines)
    return short(ideas[0], len(ideas)), "\n\n".join(filter(None, [f"Why: {reason}" if reason else "", said, listed]))


def body(branch: Branch, lines: Sequence[str], start: str) -> str:
    """The body of a pull request; text of unknown origin stands in code spans."""
    listed = [f"- {md(line)}" for line in lines]
    trials = ", ".join(map(str, branch.trials))
    idea = [span(branch.idea), ""] if branch.idea else []
    return "\n".join([*idea, *listed, "", f"Trial {trials} of a study that began at {start[:10]}.", ""])
