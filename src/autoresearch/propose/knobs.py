"""
The tunable constants of a study's files: reading them, and changing them without touching anything else.

Knows files' contents and literals; knows no strategy. An edit replaces the bytes of a literal and is then
read back: unless exactly the named constants changed, it is refused.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from msgspec import Struct

from autoresearch.errors import ProposerError, StudyError
from autoresearch.propose import literals
from autoresearch.propose.ranges import Range, Value, infer, parse_hint
from autoresearch.propose.spelling import spell
from autoresearch.shape import shape

LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".yaml": "yaml", ".yml": "yaml"}
LARGEST = 1_000_000  # bytes; a larger file is data
MOST = 500  # constants; a file with more is data too

_HINT = re.compile(rb"#\s*search:[ \t]*([^\r\n]*)")


class EditRefused(ProposerError):
    """An edit would have changed something else, or left a file that does not parse."""


class Knob(Struct, frozen=True):
    """
    A constant that may be tuned. `name` is its dotted path within the file (`optimizer.lr`, `BETAS[0]`,
    `Config.depth`); `start` and `end` are the bytes of its literal.
    """

    file: str
    name: str
    value: Value
    start: int
    end: int
    line: int
    range: Range

    @property
    def key(self) -> str:
        """Its name within the study."""
        return f"{self.file}:{self.name}"

    def __str__(self) -> str:
        return self.name


def language(file: str) -> str | None:
    """What a file is written in, by its suffix; None where we cannot read it."""
    return LANGUAGES.get(PurePosixPath(file).suffix.lower())


@functools.lru_cache(maxsize=64)  # the same few files are read before every proposal
def read(file: str, source: bytes) -> tuple[Knob, ...]:
    """
    The constants of a file that may be tuned, in the order in which they stand there.

    Text is tunable only with a hint. A file that does not parse has none.

    Raises:
        StudyError: a hint cannot be read; the message names file, line and remedy.
    """
    spoken = language(file)
    if spoken is None or len(source) > LARGEST:
        return ()
    found = literals.find(spoken, source)
    if len(found) > MOST:
        return ()
    hints = _hints(source, found) if spoken != "json" else {}
    knobs = []
    for literal in found:
        line = source.count(b"\n", 0, literal.start) + 1
        hint, last = hints.get(line, (None, 0))
        if isinstance(literal.value, str) and literal.end != last:
            hint = None  # `NAME = "x"; KIND = "a"  # search: a|b` is about KIND
        try:
            inferred = infer(literal.name, literal.value)
            values = inferred if hint is None else parse_hint(hint, literal.value)
        except ValueError as error:
            raise StudyError(f"{file}:{line}: the hint for {literal.name} cannot be used: {error}") from None
        if values.scale != "fixed":
            knobs.append(Knob(file, literal.name, literal.value, literal.start, literal.end, line, values))
    return tuple(knobs)


def _hints(source: bytes, found: Iterable[literals.Literal]) -> dict[int, tuple[str, int]]:
    """Line -> what the person wrote after `# search:` behind the last constant there, and where that ends."""
    hints = {}
    for end in sorted(literal.end for literal in found):
        stop = source.find(b"\n", end)
        match = _HINT.search(source, end, stop if stop >= 0 else len(source))
        if match:
            hints[source.count(b"\n", 0, end) + 1] = match[1].decode(errors="replace").strip(), end
    return hints


def write(file: str, source: bytes, changes: Mapping[str, Value]) -> bytes:
    """
    The file with these constants changed, and nothing else.

    Raises:
        EditRefused: a name is not there, or the result does not say exactly that.
    """
    spoken = language(file)
    assert spoken is not None, "only files with knobs are edited"
    places = {literal.name: literal for literal in literals.find(spoken, source)}
    if missing := changes.keys() - places.keys():
        raise EditRefused(f"{file}: no constant {', '.join(sorted(missing))}")
    edited = source
    for name in sorted(changes, key=lambda name: places[name].start, reverse=True):
        old = places[name]
        new = spell(spoken, changes[name], source[old.start : old.end].decode())
        edited = edited[: old.start] + new.encode() + edited[old.end :]
    try:
        before, after = literals.values(spoken, source), literals.values(spoken, edited)
    except (ValueError, SyntaxError, RecursionError) as error:
        raise EditRefused(f"{file}: does not parse after the edit: {error}") from None
    wanted = {**before, **changes}
    if list(after) != list(wanted) or any(not _same(after[name], wanted[name]) for name in wanted):
        raise EditRefused(f"{file}: changing {', '.join(changes)} would change something else")
    return edited


def changed(file: str, before: bytes, after: bytes) -> dict[str, tuple[Value, Value]]:
    """The constants that were set, with their values before and after; none where anything else changed too."""
    try:
        was, now = ({knob.name: knob.value for knob in read(file, source)} for source in (before, after))
        if was.keys() != now.keys():
            return {}
        new = {name: value for name, value in now.items() if not _same(was[name], value)}
        if new and shape(file, write(file, before, new)) == shape(file, after):
            return {name: (was[name], value) for name, value in new.items()}
    except (EditRefused, StudyError):
        pass  # a hint that cannot be read is a change too
    return {}


def _same(a: object, b: object) -> bool:
    """Equal and of one type; a NaN equals itself."""
    return type(a) is type(b) and (a == b or (a != a and b != b))
