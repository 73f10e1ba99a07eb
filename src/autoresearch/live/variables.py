"""
What a page, a mail or an advertisement can be made of: variables.toml, read.

    [headline]
    about = "the line at the top"
    max_length = 60
    default = "plain"
    [headline.levels]
    plain = "Research while you sleep"
    bold = "A hundred experiments before breakfast"

    [[forbid]]
    headline = "bold"
    tone = "shy"

A *cell* has one level of each variable. Knows no rules of a brand and nobody who is shown anything.
"""

import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping, Set
from functools import cached_property
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from autoresearch.errors import StudyError
from autoresearch.keys import explain
from autoresearch.live.settings import Live

FILE = "variables.toml"
FORBID = "forbid"
MOST_VARIABLES, MOST_LEVELS, MOST_CELLS = 12, 16, 20_000
LONGEST = 2000  # characters of a level
NAME = r"^[a-z][a-z0-9_-]{0,39}\Z"
_NAMED = "a name has lower-case letters, digits, - and _, at most 40 of them, and begins with a letter"

Name = Annotated[str, Meta(pattern=NAME)]
Cell = Mapping[str, str]  # variable -> the name of its level
Kind = Literal[
    "text",  # words that a person reads
    "choice",  # a word that only the template reads: a layout, a tone, a length
    "image",  # a path under the study's folder `static`, or an address that begins with https://
    "hour",  # of the day at which a mail is sent, 0 to 23
]


class Variable(Struct, frozen=True, forbid_unknown_fields=True):
    """
    `levels` are name -> what is put into the template. `default` is the level that the holdout sees, and everybody of whom nothing
    is recorded.
    """

    default: str
    levels: Annotated[dict[Name, Annotated[str, Meta(max_length=LONGEST)]], Meta(min_length=1, max_length=MOST_LEVELS)]
    kind: Kind = "text"
    about: Annotated[str, Meta(max_length=400)] = ""
    max_length: Annotated[int, Meta(ge=1, le=LONGEST)] | None = None

    def __post_init__(self) -> None:
        if self.default not in self.levels:
            raise ValueError(f"default = {self.default[:60]!r} is not among its levels: {', '.join(self.levels)}")
        for name, text in self.levels.items():
            if wrong := self.wrong(text):
                raise ValueError(f"levels.{name} {wrong}")

    def wrong(self, text: str) -> str:
        """Why this cannot be a level, as the end of a sentence; "" where it can."""
        if not text.strip():
            return 'is empty; write what is shown, or make a variable of kind "choice" by which the template leaves the place out'
        if self.max_length is not None and len(text) > self.max_length:
            return f"has {len(text)} characters, and max_length is {self.max_length}"
        if any(ord(letter) < 32 and letter != "\n" for letter in text):
            return "has a control character"
        if self.kind == "hour" and (not re.fullmatch(r"\d{1,2}", text, re.ASCII) or int(text) > 23):
            return f"= {text!r} is no hour of the day, 0 to 23"
        if self.kind == "image" and not re.fullmatch(r"https://[^\s\"'<>\\]+|(?!.*\.\.)[\w][\w./-]*", text, re.ASCII):
            return f"= {text[:80]!r} is neither a path under static/ nor an address that begins with https://"
        return ""


class Variables(Struct, frozen=True, dict=True):
    """All of variables.toml. `forbid` are pairs, or more, of levels that never meet."""

    variables: dict[str, Variable]
    forbid: tuple[dict[Name, Name], ...] = field(default_factory=tuple)

    @cached_property
    def default(self) -> dict[str, str]:
        """The cell of all defaults."""
        return {name: variable.default for name, variable in self.variables.items()}

    def allowed(self, cell: Cell) -> bool:
        """Whether these levels may meet."""
        return not any(pair.items() <= dict(cell).items() for pair in self.forbid)

    def cells(self, levels: Mapping[str, Set[str]] | None = None) -> Iterator[dict[str, str]]:
        """All that may be shown, of these levels only, in an order that depends on nothing but them."""
        names = sorted(self.variables)
        chosen = [sorted((levels or {}).get(name, self.variables[name].levels)) for name in names]
        for picked in itertools.product(*chosen):
            cell = dict(zip(names, picked, strict=True))
            if self.allowed(cell):
                yield cell

    def texts_of_all(self) -> dict[str, dict[str, str]]:
        """Variable -> level -> what is put into the template."""
        return {name: dict(variable.levels) for name, variable in self.variables.items()}

    def texts(self, cell: Cell) -> dict[str, str]:
        """Variable -> what a template is given."""
        return {name: self.variables[name].levels[level] for name, level in cell.items()}


def key(cell: Cell) -> str:
    """A cell as one word, the same for equal cells."""
    return ";".join(f"{name}={cell[name]}" for name in sorted(cell))


def cell_of(key: str) -> dict[str, str]:
    """
    Raises:
        ValueError: it is no cell's key.
    """
    found = dict(part.split("=") for part in key.split(";"))
    if not all(re.match(NAME, word) for pair in found.items() for word in pair):
        raise ValueError(f"{key[:80]!r} is no cell")
    return found


def parse(text: str, file: str = FILE, meet: bool = True) -> Variables:
    """
    The variables of a file. `meet`: its defaults must be allowed to meet, as they must where they are shown.

    Raises:
        StudyError: a key is wrong; the message names the file, the key and the remedy.
    """
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise StudyError(f"{file}: not valid TOML: {error}") from None
    forbid = content.pop(FORBID, [])
    variables: dict[str, Variable] = {}
    for name, table in content.items():
        if not re.match(NAME, name):
            raise StudyError(f"{file}: {name[:60]!r} is no name of a variable: {_NAMED}")
        levels = table.get("levels") if isinstance(table, dict) else None
        for level in levels if isinstance(levels, dict) else ():
            if not re.match(NAME, level):
                raise StudyError(f"{file}, [{name}]: levels: {level[:60]!r} is no name of a level: {_NAMED}")
        try:
            variables[name] = msgspec.convert(table, Variable)
        except msgspec.ValidationError as error:
            explain(str(error), Variable, f"{file}, [{name}]")
    if not variables:
        raise StudyError(f"{file}: names no variable; docs/live.md shows an example")
    if len(variables) > MOST_VARIABLES:
        raise StudyError(
            f"{file}: has {len(variables)} variables, and {MOST_VARIABLES} is the most: traffic is divided among them"
        )
    try:
        pairs = msgspec.convert(forbid, tuple[dict[str, str], ...])
    except msgspec.ValidationError as error:
        raise StudyError(f"{file}: forbid: {error}") from None
    for pair in pairs:
        for name, level in pair.items():
            if name not in variables or level not in variables[name].levels:
                raise StudyError(f"{file}: forbid names {name[:60]} = {level[:60]!r}, which is not there")
        if len(pair) < 2:
            raise StudyError(
                f"{file}: forbid must name two levels or more; one that is never shown is taken out instead"
            )
    found = Variables(variables, pairs)
    if meet and not found.allowed(found.default):
        raise StudyError(f"{file}: forbid rules out the defaults, which is what everybody is shown at first")
    cells = 1
    for variable in variables.values():
        cells *= len(variable.levels)
    if cells > MOST_CELLS:
        raise StudyError(
            f"{file}: has {cells:,} combinations, and {MOST_CELLS:,} is the most: take levels or variables out"
        )
    return found


def check_named(live: Live, known: Variables) -> None:
    """
    Raises:
        StudyError: study.toml names a variable that is not there.
    """
    for name in (name for pair in live.interactions for name in pair):
        if name not in known.variables:
            raise StudyError(
                f'study.toml: live.interactions names "{name[:60]}", which {FILE} does not have (it has: {", ".join(known.variables)})'
            )
