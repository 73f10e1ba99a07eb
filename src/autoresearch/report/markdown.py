"""
The morning's report as Markdown, for a file, a pull request or a commit.

Text that came from a run or a model stands in code spans, where neither HTML, links, mentions nor closing words work;
sentences of ours have their special characters escaped, because they carry names and units.
"""

import re
import textwrap

from autoresearch.report.morning import Kept, Morning, subject
from autoresearch.report.text import amount, clean

MARK = "<!-- autoresearch report -->"  # how a file of ours is told from a person's
BODY = 60_000  # characters; GitHub refuses the body of a pull request beyond 65,536
MESSAGE_CHANGES = 40
_SPECIAL = re.compile(r"(\[[-+\d.,e ]+\])|([\\`*\[\]<>&|~#]|(?<![^\W_])_|_(?![^\W_]))")
_REFERS = re.compile(r"([@#])(?=\w)|(?<=GH)-(?=\d)|(?<=:)//")


def md(text: str) -> str:
    """A sentence of ours, on one line, without effect as Markdown. Intervals in brackets stay as they are."""
    flat = " ".join(clean(text).split())
    return _SPECIAL.sub(lambda found: found[1] or f"\\{found[2]}", flat)


def span(text: str) -> str:
    """Text of unknown origin as a code span: nothing in it has an effect."""
    flat = " ".join(clean(text).split()) or "-"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    pad = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def cell(text: str) -> str:
    """The same in a table, where a bar would end the cell even in code."""
    return span(text).replace("|", "\\|")


def plain(text: str) -> str:
    """
    Text of unknown origin for a commit message, on one line. A hosting service reads those: `@name` would call
    somebody, and `fixes #3` close an issue, so both are taken apart. After `---` git reads no further.
    """
    flat = re.sub("-{3,}", "--", " ".join(clean(text).split()))
    return _REFERS.sub(lambda found: f"{found[0]} ", flat)


def page(found: Morning, picture: str | None = None) -> str:
    """The report; `picture` is the name of a file beside it."""
    parts = [MARK, f"# Study {md(found.study)}", *_claim(found)]
    parts += [f"![Every trial a dot, the best so far a line, as seen while climbing]({picture})"] if picture else []
    parts += [_list(f"**{name}**: {md(value)}" for name, value in found.facts)]
    parts += ["## What was kept", *_kept(found), *_tried(found)]
    parts += ["## Time and cost", _list(f"**{name}**: {md(value)}" for name, value in found.spent), *_spenders(found)]
    parts += ["## What to do with it", _list(f"{span(command)}: {md(what)}" for command, what in found.steps)]
    return "\n\n".join(parts) + "\n"


def body(found: Morning) -> str:
    """What a pull request carries: claim, changes, what was tried; bounded."""
    text = page(found)
    return text if len(text) <= BODY else text[: BODY - 20].rpartition("\n")[0] + "\n\n(cut short)\n"


def message(found: Morning) -> str:
    """A commit message: one line, the claim, the changes with what they carry, and trailers; bounded."""
    certified = found.headline.certified
    shares = [f" ({_share(one)})" if certified else "" for one in found.kept[:MESSAGE_CHANGES]]
    lines = [plain(one.idea + share) for one, share in zip(found.kept, shares, strict=False)]
    left = len(found.kept) - len(lines) + found.kept_left
    lines += [f"and {left} more"] if left else []
    head = found.headline
    said = [head.sentence if head.certified else f"{head.word}. {head.sentence}", *found.warnings]
    paragraphs = [
        textwrap.fill(plain(sentence), 72, break_long_words=False, break_on_hyphens=False) for sentence in said
    ]
    listed = "\n".join(textwrap.fill(line, 72, initial_indent="- ", subsequent_indent="  ") for line in lines)
    trailers = f"Study: {found.study}\nStart: {found.start}\nBest: {found.best}"
    return "\n\n".join(filter(None, [plain(subject(found)), *paragraphs, listed, trailers])) + "\n"


def _claim(found: Morning) -> list[str]:
    head = found.headline
    return [f"**{head.word}.** {md(head.sentence)}", *(f"> {md(w)}" for w in found.warnings)]


def _kept(found: Morning) -> list[str]:
    if not found.kept:
        return ["Nothing."]
    heads, rows = (
        ["trial", "idea", "seen while climbing"],
        [[str(k.trial), cell(k.idea), _signed(k.climbing)] for k in found.kept],
    )
    if found.headline.certified:
        heads += ["certified share [95 %]", ""]
        rows = [[*row, _interval(k), md(k.word)] for row, k in zip(rows, found.kept, strict=True)]
    return [_table(heads, rows), *_left(found.kept_left, "kept changes")]


def _interval(one: Kept) -> str:
    return f"{one.share[0]:+.3g} [{one.share[1]:.3g}, {one.share[2]:.3g}]" if one.share else "-"


def _share(one: Kept) -> str:
    return f"carries {_interval(one)}, {one.word}" if one.share else one.word


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4g}"


def _tried(found: Morning) -> list[str]:
    parts = []
    if found.themes:
        rows = [
            [cell(t.name), *map(str, (t.tried, t.kept, t.unclear, t.failed)), _signed(t.best)] for t in found.themes
        ]
        heads = ["theme", "tried", "kept", "unclear", "failed", "best gain seen"]
        parts += ["## What was tried, by theme", _table(heads, rows), *_left(found.themes_left, "themes")]
    if found.near:
        rows = [[str(n.trial), cell(n.idea), n.word, _signed(n.gain)] for n in found.near]
        parts += ["## Near misses worth a look", _table(["trial", "idea", "verdict", "seen while climbing"], rows)]
        parts += _left(found.near_left, "near misses")
    if found.failures:
        rows = [[cell(f.name), str(f.count), str(f.trial), cell(f.last)] for f in found.failures]
        parts += ["## Failures", _table(["how", "trials", "latest", "its last line"], rows)]
        parts += _left(found.failures_left, "failed trials")
    return parts


def _spenders(found: Morning) -> list[str]:
    rows = [
        [
            cell(s.by),
            str(s.trials),
            str(s.kept),
            str(s.calls),
            f"{s.tokens:,}",
            f"${s.dollars:,.2f}" if s.dollars else "-",
        ]
        for s in found.spenders
    ]
    return [_table(["proposer", "trials", "kept", "calls", "tokens", "cost"], rows)] if rows else []


def _left(n: int, what: str) -> list[str]:
    return [f"{amount(n)} more {what} are not shown."] if n else []


def _list(items: object) -> str:
    return "\n".join(f"- {item}" for item in items)  # type: ignore[attr-defined]


def _table(heads: list[str], rows: list[list[str]]) -> str:
    ruler = ["---"] * len(heads)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ruler, *rows))
