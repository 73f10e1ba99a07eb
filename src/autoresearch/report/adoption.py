"""
The map of who took up whose finding: peers in a ring by kind of machine, an arrow for each adoption, its author's colour.

One drawing for the live page, which is sent the shapes and steps through them, and for files (`svg`). There is no clock:
a step is one adoption more, in the order in which they came to be known here. Pure; names and ideas are strangers' text.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from rich.cells import cell_len

from autoresearch.report.plain import line

if TYPE_CHECKING:
    from autoresearch.share.tables import Adoption, Listed, Peer, Tables

STYLE = Path(__file__).with_name("adoption.css")
KEY_WIDTH = 460  # of what a file says beside the map
RING, NAMES = 262, 284  # radii around 0, 0: dots, where names begin
BAND_END = 0.04  # radians beyond the last dot of a kind
CELL, KIND_CELL, LINE = 6.4, 8.6, 20  # how wide a letter of a name is, and of a kind of machine; how high a line
GAP = 0.16  # radians between two kinds of machines
MOST_PEERS, MOST_STEPS, COLOURS = 80, 300, 8
NAME, KIND, IDEA = 16, 20, 60  # cells
RINGS = 3  # findings that one peer took up and that are seen at its dot


class Shape(Struct, frozen=True, array_like=True):
    """An element of the drawing: a circle, path, polygon or text; there from step `since` on."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    title: str = ""
    since: int = 0


class Key(Struct, frozen=True):
    """What a colour stands for: a finding, or with an empty `finding` all those beyond the first few."""

    colour: str
    finding: str
    by: str
    idea: str
    known: tuple[str, ...]
    word: str  # holds, refuted or open


class Step(Struct, frozen=True):
    """One adoption: which of the keys it is of, and what happened, in a sentence."""

    key: int
    words: str


class Map(Struct, frozen=True):
    """
    Around 0, 0, `across` and `down` to each side. `peers` and `earlier` count what is left out: peers, the first of too many
    adoptions.
    """

    across: int
    down: int
    shapes: tuple[Shape, ...]
    keys: tuple[Key, ...]
    steps: tuple[Step, ...]
    peers: int
    earlier: int


def drawing(found: "Tables", taken: "Sequence[Adoption]", claims: "Sequence[Listed]") -> Map:
    """`taken` are the adoptions in the order to be shown; `claims` say what the findings are."""
    steps = taken[-MOST_STEPS:]
    everybody = {peer.peer: peer for peer in found.peers}
    ring = _ring(_drawn(found, steps))
    listed = {claim.finding: claim for claim in claims}
    most: dict[str, int] = {}
    for one in steps:
        most[one.finding] = most.get(one.finding, 0) + 1
    order = sorted(most, key=lambda finding: -most[finding])  # stable: among equals, the first taken up
    number = {finding: min(place, COLOURS) for place, finding in enumerate(order)}
    authors = {one.finding: one.of for one in steps}
    keys = [
        _key(place, finding, everybody[authors[finding]], listed.get(finding))
        for place, finding in enumerate(order[:COLOURS])
    ]
    if len(order) > COLOURS:
        keys.append(Key("c-rest", "", "", f"{len(order) - COLOURS} other findings", (), "open"))
    own = {authors[finding]: keys[number[finding]].colour for finding in reversed(order)}
    told = [Step(number[one.finding], _words(one, everybody, listed.get(one.finding))) for one in steps]
    colours = [keys[step.key].colour for step in told]
    shapes = (
        *_kinds(ring),
        *_arrows(steps, ring, colours, told),
        *_peers(ring, own, {*own, *(one.by for one in steps)}),
        *_rings(steps, ring, colours),
    )
    outside = _outside(ring)
    across = outside + KIND_CELL * max((cell_len(_kind(spot.peer)) for spot in ring.values()), default=0) + 14
    left = len(found.peers) - len(ring), len(taken) - len(steps)
    return Map(math.ceil(across), math.ceil(outside + LINE), shapes, tuple(keys), tuple(told), *left)


def svg(shown: Map, step: int | None = None) -> str:
    """The map as a file of its own, after so many adoptions, the last of them marked; None for all, none marked."""
    until = len(shown.steps) if step is None else max(0, min(step, len(shown.steps)))
    width, height = 2 * shown.across + KEY_WIDTH, 2 * shown.down + 2 * LINE
    box = f"{-shown.across} {-shown.down} {width} {height}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="map" viewBox="{box}" width="{width}" height="{height}">',
        f"<style>{STYLE.read_text()}</style>",
        f'<rect class="paper" x="{-shown.across}" y="{-shown.down}" width="{width}" height="{height}"/>',
        *(_element(shape, _when(shape, step)) for shape in shown.shapes if shape.since <= until),
        *map(_element, _legend(shown, until)),
    ]
    return "\n".join([*parts, "</svg>", ""])


def _when(shape: Shape, step: int | None) -> str:
    if step is None or not shape.since:
        return ""
    return " now" if shape.since == step else " past"


def _element(shape: Shape, when: str = "") -> str:
    words = " ".join(f'{key}="{escape(value)}"' for key, value in shape.attributes.items())
    words = words.replace('class="', f'class="{when[1:]} ', 1) if when else words
    title = f"<title>{escape(shape.title)}</title>" if shape.title else ""
    return f"<{shape.tag} {words}>{title}{escape(shape.text)}</{shape.tag}>"


# -- what is drawn -----------------------------------------------------------------------------------------


def _drawn(found: "Tables", steps: "Sequence[Adoption]") -> "list[Peer]":
    """All peers, or of too many those first who adopted or were adopted from, then those with most runs."""
    part = {one for step in steps for one in (step.of, step.by)}
    return sorted(found.peers, key=lambda peer: (peer.peer not in part, -peer.runs, peer.peer))[:MOST_PEERS]


class _Spot(Struct, frozen=True):
    peer: "Peer"
    angle: float
    half: float  # of what is its own of the ring

    def at(self, radius: float) -> tuple[float, float]:
        return _at(self.angle, radius)


def _ring(peers: "Iterable[Peer]") -> dict[str, _Spot]:
    """Where each peer stands. The largest kind is on the left, so that the names of small ones stand below each other."""
    kinds: dict[str, list[Peer]] = {}
    for peer in sorted(peers, key=lambda peer: (*_natural(peer.name), peer.peer)):
        kinds.setdefault(peer.tier, []).append(peer)
    order = sorted(kinds, key=lambda kind: (-len(kinds[kind]), kind))
    n = sum(map(len, kinds.values()))
    gap = min(GAP, math.pi / len(kinds)) if len(kinds) > 1 else 0.0
    slot = (2 * math.pi - gap * len(kinds)) / max(1, n)
    first = len(kinds[order[0]]) if len(order) > 1 else 1
    angle = math.pi - first * slot / 2
    found: dict[str, _Spot] = {}
    for kind in order:
        for peer in kinds[kind]:
            found[peer.peer] = _Spot(peer, (angle + slot / 2) % (2 * math.pi), slot / 2)
            angle += slot
        angle += gap
    return found


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """So that `peer 9` comes before `peer 10`."""
    parts = re.findall(r"[0-9]{1,15}|[^0-9]+", name[:40])
    return tuple((0, int(part), "") if part.isascii() and part.isdecimal() else (1, 0, part) for part in parts)


def _at(angle: float, radius: float) -> tuple[float, float]:
    return radius * math.cos(angle), radius * math.sin(angle)


def _outside(ring: dict[str, _Spot]) -> float:
    """Where the names of peers end."""
    return NAMES + 14 + CELL * max((cell_len(_called(spot.peer)) for spot in ring.values()), default=0)


def _xy(point: tuple[float, float]) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"


def _kinds(ring: dict[str, _Spot]) -> Iterator[Shape]:
    """A band for each kind of machine, and its name outside."""
    kinds: dict[str, list[_Spot]] = {}
    for spot in ring.values():
        kinds.setdefault(spot.peer.tier, []).append(spot)
    outside = _outside(ring)
    for kind, spots in kinds.items():
        inner = min(spots[0].half / 2, BAND_END)
        first, last = spots[0].angle - inner, spots[0].angle + 2 * spots[0].half * (len(spots) - 1) + inner
        if len(kinds) == 1:
            yield Shape("circle", {"class": "track", "cx": "0", "cy": "0", "r": f"{RING}"})
        else:
            large = int(last - first > math.pi)
            path = f"M{_xy(_at(first, RING))}A{RING} {RING} 0 {large} 1 {_xy(_at(last, RING))}"
            yield Shape("path", {"class": "track", "d": path})
        middle = (first + last) / 2 if len(kinds) > 1 else math.pi
        x, y = _at(middle, outside)
        side = math.cos(middle)
        anchor = "start" if side > 0.3 else "end" if side < -0.3 else "middle"
        place = {"x": f"{x:.1f}", "text-anchor": anchor}
        yield Shape("text", {"class": "kind", "y": f"{y - 2:.1f}", **place}, _kind(spots[0].peer), line(kind))
        yield Shape("text", {"y": f"{y + 13:.1f}", **place}, _count(len(spots), "peer"))


def _peers(ring: dict[str, _Spot], own: dict[str, str], part: set[str]) -> Iterator[Shape]:
    for id, spot in ring.items():
        peer = spot.peer
        x, y = spot.at(RING)
        title = f"{_named(peer)}, {line(peer.tier, 60)}: {peer.runs} runs, {peer.findings} claims"
        title += ", told two stories" if peer.caught else ""
        centre = {"cx": f"{x:.1f}", "cy": f"{y:.1f}"}
        kind = f"own {own[id]}" if id in own else "peer"
        yield Shape("circle", {"class": kind, **centre, "r": "6" if id in own else "4"}, title=title)
        if peer.caught:
            yield Shape("path", {"class": "caught", "d": f"M{x - 6:.1f} {y - 6:.1f}l12 12m0 -12l-12 12"})
        degrees, left = math.degrees(spot.angle), math.cos(spot.angle) < 0
        x, y = spot.at(NAMES)
        turn = f"rotate({degrees + 180 if left else degrees:.1f} {x:.1f} {y:.1f})"
        words = {"class": "who"} if id in part else {}
        words |= {
            "x": f"{x:.1f}",
            "y": f"{y:.1f}",
            "dy": "4",
            "transform": turn,
            "text-anchor": "end" if left else "start",
        }
        yield Shape("text", words, _called(peer), title)


def _arrows(
    steps: "Sequence[Adoption]", ring: dict[str, _Spot], colours: Sequence[str], told: Sequence[Step]
) -> Iterator[Shape]:
    """From author to taker, through the middle the more the further apart they are."""
    before: dict[tuple[str, str], int] = {}
    for since, (one, colour, step) in enumerate(zip(steps, colours, told, strict=True), start=1):
        if one.of not in ring or one.by not in ring:
            continue
        times = before[one.of, one.by] = before.get((one.of, one.by), 0) + 1
        start, end = ring[one.of], ring[one.by]
        apart = (end.angle - start.angle + math.pi) % (2 * math.pi) - math.pi
        bend = _at(start.angle + apart / 2, RING * (0.82 - 0.82 * math.sin(abs(apart) / 2) - 0.07 * (times - 1)))
        begin, tip = start.at(RING - 9), end.at(RING - 13)
        way = math.atan2(tip[1] - bend[1], tip[0] - bend[0])
        sides = [(tip[0] - 9 * math.cos(way + turn), tip[1] - 9 * math.sin(way + turn)) for turn in (0.38, -0.38)]
        back = tip[0] - 6 * math.cos(way), tip[1] - 6 * math.sin(way)
        path = f"M{_xy(begin)}Q{_xy(bend)} {_xy(back)}"
        yield Shape("path", {"class": f"arrow {colour}", "d": path}, title=step.words, since=since)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (tip, *sides))
        yield Shape("polygon", {"class": f"tip {colour}", "points": points}, since=since)


def _rings(steps: "Sequence[Adoption]", ring: dict[str, _Spot], colours: Sequence[str]) -> Iterator[Shape]:
    """Around a dot, a ring for each finding that its peer took up."""
    held: dict[str, int] = {}
    for since, (one, colour) in enumerate(zip(steps, colours, strict=True), start=1):
        held[one.by] = held.get(one.by, 0) + 1
        if one.by in ring and held[one.by] <= RINGS:
            x, y = ring[one.by].at(RING)
            size = f"{4 + 3 * held[one.by]}"
            yield Shape(
                "circle", {"class": f"ring {colour}", "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": size}, since=since
            )


# -- what is said ------------------------------------------------------------------------------------------


def _key(place: int, finding: str, author: "Peer", claim: "Listed | None") -> Key:
    idea, known, word = (claim.idea, claim.known, claim.word) if claim else ("", (), "open")
    return Key(f"c{place}", finding, _named(author), line(idea, IDEA), known, word)


def _words(one: "Adoption", peers: "dict[str, Peer]", claim: "Listed | None") -> str:
    gain = "" if one.gain is None else f", which gained {one.gain:+.3g} there"
    idea = f" “{line(claim.idea, IDEA)}”" if claim and claim.idea else ""
    by, of = _named(peers[one.by]), _named(peers[one.of])
    return f"{by}, with its receipt {one.order}, took up {one.finding[:8]}{idea} of {of}{gain}"


def _called(peer: "Peer") -> str:
    return line(peer.name, NAME) or peer.peer[:6]


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def _kind(peer: "Peer") -> str:
    return line(peer.tier, KIND) or "a machine"


def _named(peer: "Peer") -> str:
    return f"{line(peer.name, NAME) or 'somebody'} ({peer.peer[:6]})"


def _legend(shown: Map, until: int) -> Iterator[Shape]:
    """What a file says beside the map."""
    n = [0] * len(shown.keys)
    for step in shown.steps[:until]:
        n[step.key] += 1
    x, y = shown.across + 10, 60 - shown.down
    total = _count(len(shown.steps), "adoption")
    total = f"{until} of {total}" if until < len(shown.steps) else total
    yield Shape("text", {"class": "head", "x": str(x), "y": str(y)}, total)
    y += 40
    for number, key in enumerate(shown.keys):
        yield Shape("circle", {"class": f"own {key.colour}", "cx": str(x + 6), "cy": str(y - 4), "r": "6"})
        name = f"{key.finding[:8]} by {key.by}" if key.finding else key.idea
        said = f"{name}: taken up {_count(n[number], 'time')}" + (", refuted" if key.word == "refuted" else "")
        yield Shape("text", {"class": "note who", "x": str(x + 22), "y": str(y)}, said)
        if key.finding:
            yield Shape("text", {"class": "note", "x": str(x + 22), "y": str(y + 17)}, key.idea)
        if key.known:
            words = line(f"known: {', '.join(key.known)}", IDEA)
            yield Shape("text", {"class": "note", "x": str(x + 22), "y": str(y + 34)}, words)
            y += 17
        y += 44
    left = [_count(shown.peers, "more peer")] if shown.peers else []
    left += [_count(shown.earlier, "earlier adoption")] if shown.earlier else []
    if left:
        yield Shape(
            "text", {"class": "note", "x": str(x), "y": str(shown.down - LINE)}, f"not drawn: {', '.join(left)}"
        )
    if until:
        yield Shape(
            "text",
            {"class": "note", "x": str(24 - shown.across), "y": str(shown.down + LINE)},
            shown.steps[until - 1].words,
        )
