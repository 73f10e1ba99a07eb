"""
The morning's report as one HTML file: no script, no external reference, nothing but what stands in it.

Whatever came from a run, a model or a person goes through markup.tag, which escapes it. The page forbids itself to load
anything (Content-Security-Policy), so even a mistake here could fetch nothing.
"""

from importlib import resources

from autoresearch.report import staircase
from autoresearch.report.markup import Html, join, tag
from autoresearch.report.morning import Headline, Kept, Morning
from autoresearch.report.text import amount, number
from autoresearch.report.themes import Theme

MARK = "autoresearch report"  # how a page of ours is told from a person's
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
WHISKER = 120  # points wide


def page(found: Morning) -> str:
    """The whole file."""
    style = Html(resources.files("autoresearch.report").joinpath("style.css").read_text(encoding="utf-8"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="generator", content=MARK),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{found.study}: what came of it"),
        tag("style", style),
    )
    body = tag("body", tag("main", *_parts(found)))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _parts(found: Morning) -> list[Html]:
    return [
        tag("h1", f"Study {found.study}"),
        _claim(found),
        tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in found.facts], class_="facts"),
        _picture(found),
        *_kept(found),
        *_themes(found),
        *_near(found),
        *_failures(found),
        *_cost(found),
        *_steps(found),
        tag(
            "footer",
            f"From {found.start[:10]} to {found.best[:10]}. Made by autoresearch from the study's log and git.",
        ),
    ]


def _claim(found: Morning) -> Html:
    head = found.headline
    parts = [tag("span", head.word, class_="word"), *_gain(found, head), tag("p", head.sentence)]
    parts += [tag("p", warning, class_="warn") for warning in found.warnings]
    return tag("section", parts, class_="claim proven" if head.proven else "claim")


def _gain(found: Morning, head: Headline) -> list[Html]:
    if head.numbers is None:
        return []
    gain, low, high = head.numbers
    unit = f" {found.metric.unit}" if found.metric.unit else ""
    ends = f" {found.metric.name} from {number(head.before)} to {number(head.after)}"
    small = tag("small", f"{unit} better, 95 % interval {amount(low)} to {amount(high)};{ends}")
    return [tag("p", amount(gain), " ", small, class_="gain")]


def _picture(found: Morning) -> Html:
    caption = (
        "Each dot is a trial, the line the best so far, as seen while climbing; at the edge: far worse; band: scatter of "
        "one run around the start. Changes are kept seed by seed against their base, and dots are means over whatever "
        "seeds they had, so a step may lead up. A gain counts once it is certified."
    )
    drawn = staircase.draw(found.picture, found.metric)
    return tag("figure", tag("div", drawn, class_="wide"), tag("figcaption", caption), class_="card")


NUMBERS = {"trial", "trials", "tried", "kept", "unclear", "failed", "best gain", "seen", "certified share", "calls"}
NUMBERS |= {"tokens", "cost", "latest"}


def _table(heads: list[str], rows: list[Html], left: str = "") -> Html:
    head = tag("tr", [tag("th", name, class_="num" if name in NUMBERS else None) for name in heads])
    table = tag("table", tag("thead", head), tag("tbody", rows))
    card = tag("div", tag("div", table, class_="scroll"), class_="card")
    return join([card, tag("p", left, class_="note")] if left else card)


def _n(value: object) -> Html:
    return tag("td", value, class_="num")


def _signed(value: float | None, error: float | None = None) -> str:
    if value is None:
        return "-"
    return f"{value:+.4g}" + (f" ±{error:.1g}" if error else "")


def _left(n: int, what: str) -> str:
    return f"{n:,} more {what} are not shown; `autoresearch log` has them all." if n else ""


# -- what was kept -------------------------------------------------------------------------------------


def _kept(found: Morning) -> list[Html]:
    title = tag("h2", "What was kept")
    if not found.kept:
        return [title, tag("p", "Nothing.", class_="soft")]
    reach = [end for one in found.kept if one.share for end in one.share]
    scale = (min([0.0, *reach]), max([0.0, *reach]))
    certified = found.headline.certified
    rows = [_kept_row(one, scale, certified) for one in found.kept]
    heads = ["trial", "idea", "seen", *(["certified share", ""] if certified else [])]
    note = "Seen: the gain for which it was kept while climbing, which leans to the good side."
    if certified:
        note += " Certified share: what the best loses without the change, on fresh seeds, with its 95 % interval."
    return [title, _table(heads, rows, _left(found.kept_left, "kept changes")), tag("p", note, class_="note")]


def _kept_row(one: Kept, scale: tuple[float, float], certified: bool) -> Html:
    added, removed = one.lines
    lines = f", lines +{added} -{removed}" if added or removed else ""
    idea = [one.idea, tag("span", f"by {one.by or '-'}{lines}", class_="by")]
    idea += [tag("span", flag, class_="by wait") for flag in one.flags]
    if one.patch:
        idea.append(tag("details", tag("summary", "the change"), _patch(one.patch)))
    cells = [_n(one.trial), tag("td", idea, class_="idea"), _n(_signed(one.climbing))]
    return tag("tr", cells, _share(one, scale) if certified else [])


def _share(one: Kept, scale: tuple[float, float]) -> list[Html]:
    if one.share is None:
        return [_n("-"), tag("td", tag("span", one.word, class_="soft"))]
    gain, low, high = one.share
    color = "good" if one.word.startswith("proven") else "wait" if one.word == "carries nothing" else "soft"
    mark = [_whisker(one.share, scale), tag("span", one.word, class_=color)]
    return [_n(f"{gain:+.3g} [{low:.3g}, {high:.3g}]"), tag("td", mark, class_="mark")]


def _whisker(share: tuple[float, float, float], scale: tuple[float, float]) -> Html:
    """A share and its interval on the scale of all shares; the dashes are at 0."""
    low, high = scale
    gain, *ends = (round(6 + (value - low) / ((high - low) or 1.0) * (WHISKER - 12), 1) for value in share)
    zero = round(6 + (0 - low) / ((high - low) or 1.0) * (WHISKER - 12), 1)
    return tag(
        "svg",
        tag("path", d=f"M{zero} 1V15", class_="zero"),
        tag("path", d=f"M{ends[0]} 8H{ends[1]}", class_="range"),
        tag("path", d=f"M{gain} 8h0", class_="point"),
        width=WHISKER,
        height=16,
        viewBox=f"0 0 {WHISKER} 16",
        class_="whisker",
        aria_hidden="true",
    )


def _patch(patch: str) -> Html:
    classes = {"+": "add", "-": "del", "@": "hunk"}
    lines = []
    for line in patch.split("\n"):
        header = line.startswith(("+++ ", "--- "))
        kind = None if header else classes.get(line[:1])
        lines.append(tag("span", line, class_=kind) if kind else join(line))
        lines.append(Html("\n"))
    return tag("pre", lines[:-1])


# -- what was tried ------------------------------------------------------------------------------------


def _themes(found: Morning) -> list[Html]:
    if not found.themes:
        return []
    heads = ["theme", "tried", "kept", "unclear", "failed", "best gain"]
    rows = [tag("tr", _theme(theme)) for theme in found.themes]
    note = "Best gain: the largest that any of them showed while climbing."
    table = _table(heads, rows, _left(found.themes_left, "themes"))
    return [tag("h2", "What was tried, by theme"), table, tag("p", note, class_="note")]


def _theme(theme: Theme) -> list[Html]:
    counts = [theme.tried, theme.kept, theme.unclear, theme.failed]
    return [tag("td", theme.name, class_="idea"), *(_n(n or "·") for n in counts), _n(_signed(theme.best))]


def _near(found: Morning) -> list[Html]:
    if not found.near:
        return []
    rows = [
        tag(
            "tr",
            _n(one.trial),
            tag("td", one.idea, class_="idea"),
            tag("td", one.word, class_="mark"),
            _n(_signed(one.gain, one.error)),
        )
        for one in found.near
    ]
    note = "Better than their base while climbing, and not kept: too little beyond the noise, or waiting for you."
    table = _table(["trial", "idea", "verdict", "seen"], rows, _left(found.near_left, "near misses"))
    return [tag("h2", "Near misses worth a look"), tag("p", note, class_="note"), table]


def _failures(found: Morning) -> list[Html]:
    if not found.failures:
        return []
    rows = [
        tag(
            "tr",
            tag("td", one.name),
            _n(one.count),
            _n(one.trial),
            tag("td", tag("blockquote", one.last), class_="idea"),
        )
        for one in found.failures
    ]
    table = _table(["how", "trials", "latest", "its last line"], rows, _left(found.failures_left, "failed trials"))
    return [tag("h2", "Failures"), table]


# -- cost, and what to do ------------------------------------------------------------------------------


def _cost(found: Morning) -> list[Html]:
    facts = tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in found.spent], class_="facts")
    rows = [
        tag(
            "tr",
            tag("td", one.by),
            _n(one.trials),
            _n(one.kept),
            _n(one.calls),
            _n(f"{one.tokens:,}"),
            _n(_dollars(one.dollars)),
        )
        for one in found.spenders
    ]
    heads = ["proposer", "trials", "kept", "calls", "tokens", "cost"]
    return [tag("h2", "Time and cost"), facts, *([_table(heads, rows)] if rows else [])]


def _dollars(amount_: float) -> str:
    return f"${amount_:,.2f}" if amount_ else "-"


def _steps(found: Morning) -> list[Html]:
    items = [tag("li", tag("code", command), f": {what}.") for command, what in found.steps]
    return [tag("h2", "What to do with it"), tag("ol", items, class_="steps")]
