"""
Results from a file: a table of events, as a sending tool or an advertising account exports it.

Each row is an event of our plain shape (mappings.py) under names that tools use for the same thing, or that the person says. A row
without an id is known by what it says, and the second row that says the same by that and being the second, so that the same file
twice, or a longer one that holds it, adds nothing twice. Nothing is added of a file in which anything is wrong.

A table that names nobody and counts, as advertising accounts export it, is read by counted.py.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from autoresearch.live import counted, table
from autoresearch.live.counted import SHOWN, WON
from autoresearch.live.counts import parts
from autoresearch.live.mappings import (
    CELL,
    CHANCE,
    COSTS,
    EXPOSED,
    HELD,
    PLAN,
    SEGMENT,
    STOPS,
    UnitOf,
    generic,
    too_early,
)
from autoresearch.live.records import AnyRecord, Cost, Exposure, Fate, Outcome, Suppression
from autoresearch.live.settings import Live
from autoresearch.live.store import Store
from autoresearch.live.table import Problem, Unreadable
from autoresearch.live.variables import Variables

MOST_PROBLEMS = 50  # that are told
AT_ONCE = 1000  # records

# Our key -> the columns that hold it, the first that is there.
NAMES: dict[str, tuple[str, ...]] = {
    "event": ("event", "event_type", "type", "status"),
    "person": ("person", "email", "lead_email", "to_email", "email_address", "address", "recipient", "visitor"),
    "unit": ("unit", "ar_unit"),
    "at": ("at", "time", "timestamp", "event_timestamp", "date", "day", "datetime", "created_at"),
    "id": ("id", "event_id"),
    "value": ("value", "revenue"),
    "amount": ("amount", "cost", "spend"),
    "why": ("why", "reason"),
    CELL: (CELL, "cell"),
    SEGMENT: (SEGMENT, "segment"),
    PLAN: (PLAN, "plan"),
    CHANCE: (CHANCE, "chance"),
    HELD: (HELD, "held"),
    SHOWN: ("shown", "impressions", "impr.", "delivered"),
    WON: ("won", "clicks", "results", "conversions"),
}
COUNTS = (SHOWN, WON)
NAMED = {"person", "unit"}


class Import(Struct, frozen=True):
    """
    What a file says. `columns`: our key -> the file's name for it; `unused` are its other columns. `kinds`: how many events of each kind, since
    "Replied" is no "reply". `problems`: the first of them.
    """

    records: tuple[AnyRecord, ...] = ()
    problems: tuple[Problem, ...] = ()
    columns: dict[str, str] = {}
    unused: tuple[str, ...] = ()
    kinds: dict[str, int] = {}
    rows: int = 0


class Result(Struct, frozen=True):
    """
    How many records were new, or would be, and how many were there already. `refused`: how many are of people who asked to be forgotten.
    `orphans`: how many of the file's outcomes belong to nobody, since no exposure of their unit is in the store or the file.
    """

    new: int
    known: int
    refused: int = 0
    orphans: int = 0


def read(
    content: bytes,
    source: str,
    unit_of: UnitOf,
    now: float,
    columns: Mapping[str, str] | None = None,
    event: str = "",
    variables: Variables | None = None,
) -> Import:
    """
    `variables`: with all levels that there ever were, where that is known; a cell with another is wrong. `columns`: our key -> the file's column, where it has a name of its own; "" where it has none, whatever its names look like. `event`: what kind
    of event every row is, for files that do not say; a column that says it wins. Of a file that counts, it is the outcome that is counted.
    """
    try:
        header, rows = table.read(content)
        found, lacking = _columns(header, columns or {}, event)
        if lacking:
            return Import(problems=lacking, columns=found)
        places = {key: header.index(name) for key, name in found.items()}
        unused = tuple(name for name in header if name and name not in found.values())
        empty = Import(columns=found, unused=unused)
        result = _read(rows, len(header), places, source, unit_of, now, event, empty, variables)
        nothing = Problem(1, "", "only names of columns are here, and no row below them")
        return result if result.rows else replace(result, problems=(nothing,))
    except Unreadable as error:
        return Import(problems=(Problem(error.line, "", str(error)),))


def look(store: Store, found: Import) -> Result:
    """The dry run: what `bring_in` would do now."""
    return _result(store, found, store.fates(found.records))


def bring_in(store: Store, found: Import) -> Result:
    """
    Raises:
        ValueError: something is wrong with the file, so that nothing of it is added.
    """
    if found.problems:
        raise ValueError(str(found.problems[0]))
    some = [found.records[i : i + AT_ONCE] for i in range(0, len(found.records), AT_ONCE)]
    return _result(store, found, [fate for part in some for fate in store.enter(part)])


def stopped(found: Import) -> int:
    """How many people the file says are not to be written to any more."""
    return len({record.unit for record in found.records if isinstance(record, Suppression)})


def uncounted(found: Import, live: Live) -> dict[str, int]:
    """The kinds of event in the file that are neither what the study counts nor what a guardrail bounds, and how many there are of each."""
    counted_here = {live.outcome, EXPOSED, COSTS, STOPS, *(guard.name for guard in live.bounds)}
    return {kind: count for kind, count in found.kinds.items() if kind not in counted_here}


def partial(found: Import, variables: Variables) -> tuple[dict[str, int], int]:
    """Variables that cells in the file do not name, which are the defaults there, each with how many records that are; and how many all are."""
    cells = Counter(record.cell for record in found.records if isinstance(record, Exposure | Cost))
    missing = {name: sum(n for cell, n in cells.items() if name not in parts(cell)) for name in variables.variables}
    return {name: n for name, n in missing.items() if n}, cells.total()


def _wrong(records: Sequence[AnyRecord], now: float, variables: Variables | None) -> tuple[str, str] | None:
    """What these cannot be, our key and why: of the future, or of a cell that this study can never have shown."""
    if why := too_early(records, now):
        return "at", why
    if variables is None:
        return None
    for record in records:
        for name, level in parts(record.cell).items() if isinstance(record, Exposure | Cost) else ():
            own = variables.variables.get(name)
            if own is None:
                return CELL, f"{name} is no variable of this study; it has {', '.join(variables.variables)}"
            if level not in own.levels:
                return CELL, f"{name} = {level} is no level of this study; it has {', '.join(own.levels)}"
    return None


def _result(store: Store, found: Import, fates: Sequence[Fate]) -> Result:
    taken = [one for one, fate in zip(found.records, fates, strict=True) if fate is not Fate.REFUSED]
    outcomes = [record.unit for record in taken if isinstance(record, Outcome)]
    shown = {record.unit for record in taken if isinstance(record, Exposure)}
    shown |= store.exposed(set(outcomes) - shown)
    orphans = sum(unit not in shown for unit in outcomes)
    return Result(fates.count(Fate.NEW), fates.count(Fate.KNOWN), fates.count(Fate.REFUSED), orphans)


def _columns(header: Sequence[str], said: Mapping[str, str], event: str) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Our key -> the file's name; and what is wrong with the header."""
    problems = [
        Problem(1, name, "two columns have this name: rename one of them")
        for name, count in Counter(header).items()
        if name and count > 1
    ]
    there = {_plain(name): name for name in reversed(header) if name}
    found = {}
    for key, names in NAMES.items():
        name = next((there[one] for one in names if one in there), None)
        if name is not None:
            found[key] = name
    for key, name in ((_ours(key), name) for key, name in said.items()):
        if key not in NAMES:
            problems.append(Problem(1, name, f"{key!r} is nothing that a column can be; {', '.join(NAMES)} are"))
        elif not name:
            found.pop(key, None)
        elif name not in header:
            problems.append(Problem(1, name, f"there is no such column; the file has {', '.join(header)[:300]}"))
        else:
            found[key] = name
    if event in (
        COSTS,
        STOPS,
        EXPOSED,
    ):  # of all that such a table has, no count is wanted, and none of its words are ours
        table_ = SHOWN in found and not NAMED & found.keys()
        for key in (*COUNTS, *(("event", "id", "value", "why") if table_ else ())):
            if key not in map(_ours, said):
                found.pop(key, None)
    elif event and SHOWN in found and not NAMED & found.keys() and WON not in map(_ours, said):
        won, unclear = _won(found, there, event)
        problems += [Problem(1, "", unclear)] if unclear else []
        found = {**found, WON: won} if won else {key: name for key, name in found.items() if key != WON}
    if _counts(found):
        for key in ("event", "id", "value", "amount", "why"):
            found.pop(key, None)
        if not event:
            problems.append(Problem(1, found[WON], "the file counts: say which outcome, as --event click"))
        if CELL not in found:
            problems.append(Problem(1, CELL, "no column says what was shown: name the one that holds the cell"))
    elif not event and "event" not in found:
        problems.append(Problem(1, "event", "no column says what happened: name it, or say what every row is"))
    if "at" not in found:
        problems.append(Problem(1, "at", "no column says when it happened: name it"))
    for key in () if _counts(found) else COUNTS:
        found.pop(key, None)
    return found, tuple(problems)


def _plain(name: str) -> str:
    return name.lower().replace(" ", "_").replace("-", "_")


def _ours(key: str) -> str:
    """Our key, or one of the columns that usually hold it."""
    return next((own for own, names in NAMES.items() if key.lower() in names), key) if key not in NAMES else key


def _won(found: Mapping[str, str], there: Mapping[str, str], event: str) -> tuple[str, str]:
    """The column of such a table that counts this outcome; or why none can be said to."""
    word = _plain(event)
    own = next((there[name] for name in (f"{word}s", word) if there.get(name) not in (None, found[SHOWN])), "")
    before = found.get(WON, "")
    if own or before.lower() in ("won", "results"):
        return own or before, ""
    counts = " and ".join([found[SHOWN], *([before] if before else [])])
    return (
        "",
        f"counts {counts}, and no column counts {event[:40]}: say which one does, as --map clicks={before or 'NAME'}",
    )


def _counts(columns: Mapping[str, object]) -> bool:
    """Whether a file with these columns counts, and names nobody."""
    return all(key in columns for key in COUNTS) and not NAMED & columns.keys()


def _read(
    rows: table.Rows,
    width: int,
    places: Mapping[str, int],
    source: str,
    unit_of: UnitOf,
    now: float,
    event: str,
    empty: Import,
    variables: Variables | None,
) -> Import:
    records: list[AnyRecord] = []
    problems: list[Problem] = []
    said: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    summed, total = list[counted.Row](), 0
    n = 0
    for line, row in rows:
        n += 1
        if len(row) != width:
            problems.append(Problem(line, "", f"{len(row)} columns, and the header has {width}"))
            continue
        told = {key: row[place].strip() for key, place in places.items()}
        told = {key: text for key, text in told.items() if text}
        if _counts(places):
            try:
                one = counted.row(told, source)
            except ValueError as error:
                problems.append(Problem(line, _blamed(str(error), empty.columns), str(error)))
                continue
            total += one.shown
            if wrong := _wrong([one.exposure], now, variables):
                problems.append(Problem(line, empty.columns.get(wrong[0], ""), wrong[1]))
            elif total > counted.MOST:
                most = f"the file counts more than {counted.MOST:,} showings: cut it into several, by days"
                problems.append(Problem(line, empty.columns[SHOWN], most))
                break
            else:
                kinds[EXPOSED] += one.shown
                kinds[event] += one.won
                summed.append(one)
            continue
        if event and "event" not in places:
            told["event"] = event
        try:
            mapped = generic(told, source, unit_of).records
        except ValueError as error:
            problems.append(Problem(line, _blamed(str(error), empty.columns), str(error)))
            continue
        if wrong := _wrong(mapped, now, variables):
            problems.append(Problem(line, empty.columns.get(wrong[0], ""), wrong[1]))
            continue
        kinds[told["event"]] += 1
        records += mapped if "id" in told else _numbered(mapped, said)
    try:
        records += counted.records(summed, event)
    except ValueError as error:
        problems.append(Problem(1, "event", str(error)))
    return Import(tuple(records), tuple(problems[:MOST_PROBLEMS]), empty.columns, empty.unused, dict(kinds), n)


def _numbered(mapped: Sequence[AnyRecord], said: Counter[str]) -> list[AnyRecord]:
    """The same, told apart from those before that say the same."""
    found = []
    for record in mapped:
        said[record.id] += 1
        n = said[record.id]
        found.append(record if n == 1 else replace(record, id=f"{record.id}-{n}"))
    return found


def _blamed(why: str, columns: Mapping[str, str]) -> str:
    """The column that an error is about, as the file names it."""
    word = why.partition(" ")[0].rstrip(":")
    key = {"kind": "event", "cell": CELL, "segment": SEGMENT, "plan": PLAN, "chance": CHANCE}.get(word, word)
    return columns.get(key, key if key in NAMES else "")
