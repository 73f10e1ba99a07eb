"""A swarm on the terminal: who is in it, boards, findings. Names and ideas are strangers' words: shown as text, and cut."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from autoresearch.report.plain import line

if TYPE_CHECKING:
    from autoresearch.share.settings import Settings
    from autoresearch.share.tables import Board, Carried, Listed, Tables

SHOWN = 40  # rows of a table
NAME, IDEA, TIER = 20, 60, 32  # cells


def ways(chosen: "Settings") -> RenderableType:
    """How this study shares."""
    how = [f"git remote {chosen.git}"] if chosen.git else []
    how += [f"live at {chosen.listen}"] if chosen.listen else []
    how += [f"live to {', '.join(chosen.connect)}"] if chosen.connect else []
    entry = "with an invitation" if chosen.swarm else "open to anybody"
    return Text(f"You are {line(chosen.name, NAME)}, {entry}, over {' and '.join(how) or 'nothing: alone'}.")


def peers(found: "Tables") -> RenderableType:
    """Who is known and what each did; runs are counted once each, from receipts."""
    shown = _table("peer", "machine", "runs", "claims", "held*", "refuted*", "receipts")
    for peer in sorted(found.peers, key=lambda peer: -peer.runs)[:SHOWN]:
        name = Text(_named(peer.name, peer.peer), style="red" if peer.caught else "")
        numbers = (peer.runs, peer.findings, peer.replicated, peer.refuted, peer.receipts)
        shown.add_row(name, line(peer.tier, TIER), *map(str, numbers))
    caught = [_named(peer.name, peer.peer) for peer in found.peers if peer.caught]
    lies = [Text(f"told two stories, and counts no more from then on: {', '.join(caught)}", "red")] if caught else []
    total = Text(f"{found.runs} runs in all. * of others' findings, measured again on the same kind of machine", "dim")
    return Group(shown, *_more(len(found.peers)), *lies, total)


def boards(found: "Tables") -> Iterator[RenderableType]:
    """A table for each study, kind of machine and budget; then how far findings carry."""
    for board in found.boards:
        yield _board(board)
    if found.carried:
        yield _carried(found.carried)


def _board(board: "Board") -> RenderableType:
    shown = _table("", "peer", "value", "runs", "held", "refuted", "idea")
    for place, row in enumerate(board.rows[:SHOWN], start=1):
        known = f" (known: {', '.join(row.known)})" if row.known else ""
        idea = Text(line(row.idea, IDEA), "dim").append(known, "cyan")
        numbers = (f"{row.value:.5g}", str(row.runs), str(row.replicated), str(row.refuted))
        shown.add_row(str(place), _named(row.name, row.peer), *numbers, idea)
    title = Text(f"{line(board.tier, TIER)}, {line(board.budget, NAME) or 'no budget'}", "bold")
    return Group(title, Text(f"study {board.study[:8]}, {board.direction}", "dim"), shown, *_more(len(board.rows)))


def _carried(found: "Sequence[Carried]") -> RenderableType:
    tiers = sorted({one.tier for one in found})
    shown = _table("finding", *(line(tier, TIER) for tier in tiers))
    by: dict[str, dict[str, Carried]] = {}
    for one in found:
        by.setdefault(one.finding, {})[one.tier] = one
    for finding, there in list(by.items())[:SHOWN]:
        shown.add_row(finding[:8], *(_interval(there.get(tier)) for tier in tiers))
    about = "How far findings carry: gain by kind of machine, with a 95 % interval and by how many peers"
    return Group(Text(about, "bold"), shown, *_more(len(by)))


def _interval(one: "Carried | None") -> Text:
    if one is None:
        return Text("-", "dim")
    color = "green" if one.low > 0 else "red" if one.high < 0 else ""
    return Text(f"{one.gain:+.3g} [{one.low:+.3g}, {one.high:+.3g}] by {one.n}", color)


def findings(found: "Sequence[Listed]") -> RenderableType:
    """The latest first."""
    shown = _table("finding", "peer", "machine", "gain", "it", "held", "refuted", "idea")
    colors = {"holds": "green", "refuted": "red"}
    for one in found[:SHOWN]:
        known = f" (known: {', '.join(one.known)})" if one.known else ""
        gain = "-" if one.gain is None else f"{one.gain:+.3g}"
        shown.add_row(
            one.finding[:8],
            _named(one.name, one.peer),
            line(one.tier, TIER),
            gain,
            Text(one.word, colors.get(one.word, "")),
            str(one.replicated),
            str(one.refuted),
            Text(line(one.idea, IDEA), "dim").append(known, "cyan"),
        )
    return Group(shown, *_more(len(found)))


def _table(*names: str) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        text = name in ("peer", "machine", "idea", "finding", "it")
        shown.add_column(name, justify="left" if text else "right", overflow="fold" if name == "idea" else "ellipsis")
    return shown


def _named(name: str, peer: str) -> str:
    return f"{line(name, NAME) or 'somebody'} ({peer[:6]})"


def _more(n: int) -> list[Text]:
    return [Text(f"and {n - SHOWN} more: --json", "dim")] if n > SHOWN else []
