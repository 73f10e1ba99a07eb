"""
What others found, by words: claims and what did not help, the best match of the most trusted first. Pure.
"""

import re
from collections.abc import Iterator
from itertools import islice

from msgspec import Struct

from autoresearch.share import prior_art
from autoresearch.share.board import Swarm, Told, evidence
from autoresearch.share.trust import View

LOOKED = 20_000  # findings that are looked through, the latest to come to be known here
LONGEST = 2_000  # characters of a patch that are
_WORD = re.compile(r"[^\W_]{2,}")


class Hit(Struct, frozen=True):
    """A finding; `score` is the part of the words asked for that it has, times what its author's claims are worth here."""

    told: Told
    score: float
    gain: float | None
    error: float | None
    replicated: int
    refuted: int
    known: tuple[str, ...]  # where something like it was published


def search(swarm: Swarm, seen: View, text: str) -> Iterator[Hit]:
    """
    Findings of others that have one of these words, the best first. Measurements of somebody else's finding count as evidence for
    it and are not listed themselves; nor is a start, nor what somebody says who was caught.
    """
    asked = words(text)
    found = []
    for told in islice(reversed(swarm.findings.values()), LOOKED):
        finding = told.finding
        start = finding.word == "keep" and not finding.base_runs
        if told.peer == seen.me or finding.about or start:
            continue
        said = words(f"{finding.idea} {' '.join(_added(finding.patch))}")
        if score := len(asked & said) / max(1, len(asked)) * seen.trust(told.peer):
            found.append((-score, told.id, told))
    for score, _, told in sorted(found, key=lambda one: one[:2]):
        held, lost = evidence(told)
        values = told.numbers
        known = prior_art.known(told.finding.idea, told.finding.patch)
        yield Hit(told, -score, values.gain, values.error, held, lost, known)


def words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _added(patch: str) -> list[str]:
    lines = patch[:LONGEST].split("\n")
    return [line[1:] for line in lines if line.startswith("+") and not line.startswith("+++")]
