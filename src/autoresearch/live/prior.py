"""
What one campaign hands on to the next: a file of effects, written by `live map --prior` and named by `live.prior`.

    format = 1
    study = "spring"
    outcome = "click"
    until = 2026-03-31
    [[effects]]
    variable = "headline"
    level = "bold"
    text = "The calendar that rings"
    mean = 0.21
    sd = 0.06

An effect is in log odds, against the mean of its variable's levels; how much less it is worth in the next campaign is said in
belief.py. The file is a person's to write and to change, and it is checked like one.
"""

import json
import math
import tomllib
from datetime import date
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from autoresearch.errors import StudyError
from autoresearch.keys import explain
from autoresearch.live.belief import Known, Prior
from autoresearch.live.settings import Live
from autoresearch.live.variables import LONGEST, Name

FORMAT = 1
LARGEST = 4 << 20  # bytes
MOST_EFFECTS = 4000
HEAD = """\
# What the campaign below found out, for the next one: name this file as `prior` in the table [live] of its study.toml,
# and let git keep it. Effects are in log odds, against the mean of the levels of their variable. docs/live.md
"""


class Effect(Struct, frozen=True, forbid_unknown_fields=True):
    """`sd`: how surely it is known, as a standard deviation. `people` who saw it."""

    variable: Name
    level: Name
    text: Annotated[str, Meta(max_length=LONGEST)]
    mean: Annotated[float, Meta(ge=-10, le=10)]
    sd: Annotated[float, Meta(gt=0, le=10)]
    people: Annotated[float, Meta(ge=0)] = 0.0


class Handed(Struct, frozen=True, forbid_unknown_fields=True):
    """All of the file. `until`: the day to which its campaign was known; `people` of it."""

    format: Literal[1]
    study: Annotated[str, Meta(max_length=200)]
    outcome: Annotated[str, Meta(max_length=120)]
    until: date
    effects: list[Effect]
    people: Annotated[float, Meta(ge=0)] = 0.0
    simulated: bool = False

    @property
    def prior(self) -> Prior:
        return Prior(tuple(Known(one.variable, one.text, one.mean, one.sd, one.level) for one in self.effects))


def parse(text: str, file: str) -> Handed:
    """
    Raises:
        StudyError: a key is wrong; the message names the file, the key and the remedy.
    """
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise StudyError(f"{file}: not valid TOML: {error}") from None
    if content.get("format") != FORMAT:
        raise StudyError(
            f"{file}: format must be {FORMAT}; write the file with `autoresearch live map --prior {file}` in the earlier campaign"
        )
    try:
        found = msgspec.convert(content, Handed)
    except msgspec.ValidationError as error:
        explain(str(error), Handed, file)
    if len(found.effects) > MOST_EFFECTS:
        raise StudyError(f"{file}: has {len(found.effects):,} effects, and {MOST_EFFECTS:,} is the most; take some out")
    seen: set[tuple[str, str]] = set()
    for number, one in enumerate(found.effects):
        if not all(map(math.isfinite, (one.mean, one.sd, one.people))):
            raise StudyError(f"{file}: effects[{number}] has a number that is none; take the entry out")
        for what in {one.level, f"= {one.text}"}:
            if (one.variable, what) in seen:
                raise StudyError(
                    f"{file}: effects[{number}] tells of {one.variable} {what[:60]!r} a second time; take one of them out"
                )
            seen.add((one.variable, what))
    return found


def accepted(text: str, file: str, live: Live) -> Prior:
    """
    What a study starts from.

    Raises:
        StudyError: as in `parse`; or the file is of another outcome, or of nobody real.
    """
    found = parse(text, file)
    if found.outcome != live.outcome:
        raise StudyError(
            f"{file}: outcome = {found.outcome!r}, and live.outcome is {live.outcome!r}: what moves one need not move the other. "
            "If both are the same, write the same word; else take live.prior out of study.toml"
        )
    if found.simulated and not live.simulated:
        raise StudyError(
            f"{file}: simulated = true: it says what a simulated audience liked, and this study asks real people; take "
            "live.prior out of study.toml"
        )
    return found.prior


def written(handed: Handed) -> str:
    """The file."""
    lines = [
        f"{HEAD}format = {handed.format}",
        f"study = {_text(handed.study)}",
        f"outcome = {_text(handed.outcome)}",
        f"until = {handed.until.isoformat()}",
        f"people = {float(handed.people)!r}",
        *(["simulated = true  # nobody real was asked"] if handed.simulated else []),
        *([] if handed.effects else ["effects = []"]),
    ]
    for one in handed.effects:
        lines += [
            "",
            "[[effects]]",
            f"variable = {_text(one.variable)}",
            f"level = {_text(one.level)}",
            f"text = {_text(one.text)}",
            f"mean = {float(one.mean)!r}",
            f"sd = {float(one.sd)!r}",
            f"people = {float(one.people)!r}",
        ]
    return "\n".join([*lines, ""])


def _text(text: str) -> str:
    """A basic string of TOML, which is one of JSON but for the one control character that JSON lets stand."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
