"""
What may be said in public: brand.toml, read, and held against each level and each whole that is shown.

    banned = ["guarantee", "risk-free"]
    claims = ["14-day trial", "saves 2 hours a week"]
    longest = 1200
    [max_length]
    subject = 50

A number, a per cent, a price or a superlative in a level must be part of one of the `claims`; banned words and phrases
stand nowhere. The file is frozen: whoever writes copy does not get to write the rules for it. Words are compared without
regard to case, and letters that only look like others are not let in.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from autoresearch.errors import StudyError
from autoresearch.keys import explain
from autoresearch.live.variables import FILE as VARIABLES
from autoresearch.live.variables import Variables

FILE = "brand.toml"
Phrase = Annotated[str, Meta(min_length=1, max_length=200)]

_NUMBER_WORDS = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen "
    "twenty thirty forty fifty sixty seventy eighty ninety hundred hundreds thousand thousands million millions billion "
    "billions dozen dozens half double doubled twice triple tripled thrice quarter tenfold percent"
)
_PRICE_WORDS = "free dollar dollars euro euros pound pounds cent cents usd eur gbp chf cheap cheaper"
_SUPERLATIVES = (
    "best worst most least leading unrivalled unrivaled unbeatable unbeaten unmatched ultimate perfect flawless "
    "world-class number-one top top-rated award-winning"
)
# Words in -est that compare nothing.
_EST = (
    "arrest attest behest bequest breast chest conquest contest crest detest digest dishonest divest earnest everest forest "
    "guest harvest honest inquest interest invest ingest jest lest manifest midwest modest molest nest northwest pest priest "
    "protest quest reinvest request rest retest southwest suggest tempest test unrest vest west wrest zest"
)
_NUMBER = re.compile(r"[+-]?[^\W\d_]*\d(?:[\d.,']*\d)?[^\W\d_]*")
_WORD = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
_SIGN = re.compile(r"[%‰]|#(?=\s*\d)")
_JOINER = "\N{ZERO WIDTH JOINER}"  # within emoji
_SPACE = re.compile(r"\s+")


class Brand(Struct, frozen=True, forbid_unknown_fields=True):
    """
    `longest` bounds the characters that a reader sees of a whole page, mail or advertisement; `max_length` those of a
    variable's levels. `superlatives` are further words that take a claim, say of another language.
    """

    banned: tuple[Phrase, ...] = ()
    claims: tuple[Phrase, ...] = ()
    superlatives: tuple[Phrase, ...] = ()
    longest: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    max_length: dict[str, Annotated[int, Meta(ge=1, le=2000)]] = field(default_factory=dict)

    def said(self, text: str) -> Iterator[str]:
        """What is wrong with words that somebody would read, as ends of a sentence; nothing where all is well."""
        yield from _hidden(text)
        plain = folded(text)
        yield from self.banned_in(text)
        allowed = [span for claim in self.claims for span in _spans(plain, folded(claim))]
        for word, (start, end), kind in _assertions(plain, {folded(word) for word in self.superlatives}):
            if not any(begin <= start and end <= stop for begin, stop in allowed):
                yield f"says {word!r}, {kind} that no entry of claims covers"

    def rests_on(self, text: str) -> tuple[str, ...]:
        """The claims that allow what these words assert."""
        plain = folded(text)
        asserted = [span for _, span, _ in _assertions(plain, {folded(word) for word in self.superlatives})]
        return tuple(
            claim
            for claim in self.claims
            if any(a <= start and end <= b for a, b in _spans(plain, folded(claim)) for start, end in asserted)
        )

    def banned_in(self, text: str) -> Iterator[str]:
        """Banned words alone: the part of the rules that holds for the template's own words too."""
        plain = folded(text)
        for phrase in self.banned:
            if _spans(plain, folded(phrase)):
                yield f"says {phrase!r}, which is banned"

    def level(self, variable: str, text: str) -> Iterator[str]:
        """What is wrong with a level's words."""
        most = self.max_length.get(variable)
        if most is not None and len(text) > most:
            yield f"has {len(text)} characters, and max_length.{variable} is {most}"
        yield from self.said(text)


def parse(text: str, file: str = FILE) -> Brand:
    """
    Raises:
        StudyError: a key is wrong; the message names the file, the key and the remedy.
    """
    try:
        return msgspec.convert(tomllib.loads(text), Brand)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise StudyError(f"{file}: not valid TOML: {error}") from None
    except msgspec.ValidationError as error:
        explain(str(error), Brand, file)


def breaches(brand: Brand, variables: Variables, rules: str = FILE, file: str = VARIABLES) -> tuple[str, ...]:
    """What is wrong with each level, one sentence each, which names the file, the level and the rule."""
    unknown = sorted(set(brand.max_length) - set(variables.variables))
    found = [f"{rules}: max_length.{name}: {file} has no such variable" for name in unknown]
    for name, variable in variables.variables.items():
        if variable.kind != "text":
            continue
        for level, text in variable.levels.items():
            found += [f"{file}: {name}.levels.{level} {why} ({rules})" for why in brand.level(name, text)]
    return tuple(found)


def whole(brand: Brand, cell: str, seen: str, rules: str = FILE) -> tuple[str, ...]:
    """What is wrong with all that a reader of this cell sees: words that only together are banned, and its length."""
    found = [f"{cell}: the whole {why} ({rules})" for why in brand.banned_in(seen)]
    length = len(_SPACE.sub(" ", seen).strip())
    if brand.longest is not None and length > brand.longest:
        found.append(f"{cell}: the whole has {length} characters, and longest is {brand.longest} ({rules})")
    return tuple(found)


def folded(text: str) -> str:
    """Words as they are compared: one case, one form of each letter and digit, single spaces, nothing that cannot be seen."""
    shown = "".join(letter for letter in unicodedata.normalize("NFKC", text) if unicodedata.category(letter) != "Cf")
    shown = unicodedata.normalize("NFKC", shown.casefold()).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    shown = re.sub("[\N{HYPHEN}-\N{HORIZONTAL BAR}\N{MINUS SIGN}]", "-", shown)
    return _SPACE.sub(" ", shown).strip()


def _hidden(text: str) -> Iterator[str]:
    for letter in text:
        if unicodedata.category(letter) in ("Cf", "Co", "Cs") and letter != _JOINER:
            yield f"has an invisible character, U+{ord(letter):04X}"
            break
    for word in _WORD.findall(text):
        scripts = {unicodedata.name(letter, "?").partition(" ")[0] for letter in word if letter.isalpha()}
        if "LATIN" in scripts and scripts & {"CYRILLIC", "GREEK", "CHEROKEE", "ARMENIAN"}:
            yield f"mixes alphabets in {word!r}"
            break


def _spans(plain: str, phrase: str) -> list[tuple[int, int]]:
    """Where a phrase stands as whole words, in folded text."""
    if not phrase:
        return []
    before = r"(?<!\w)" if phrase[0].isalnum() else ""
    after = r"(?!\w)" if phrase[-1].isalnum() else ""
    words = re.sub(r"(?:\\-|\\ )+", "[- ]+", re.escape(phrase))  # risk-free, risk free
    return [match.span() for match in re.finditer(before + words + after, plain)]


def _assertions(plain: str, further: set[str]) -> Iterator[tuple[str, tuple[int, int], str]]:
    """Each number, price and superlative in folded text, where it stands and what it is."""
    for match in _NUMBER.finditer(plain):
        yield match[0].strip(), match.span(), "a number"
    for match in _SIGN.finditer(plain):
        yield match[0], match.span(), "a number's sign"
    for at, letter in enumerate(plain):
        if unicodedata.category(letter) == "Sc":
            yield letter, (at, at + 1), "a price"
    for match in _WORD.finditer(plain):
        if kind := _kind(match[0], further):
            yield match[0], match.span(), kind
            continue
        for part in re.finditer(r"[^-']+", match[0]):
            if kind := _kind(part[0], further):
                yield part[0], (match.start() + part.start(), match.start() + part.end()), kind
    for phrase in further:
        if " " in phrase:
            for span in _spans(plain, phrase):
                yield phrase, span, "a superlative"


_NUMBERS, _PRICES, _BEST, _NEUTRAL = (
    frozenset(words.split()) for words in (_NUMBER_WORDS, _PRICE_WORDS, _SUPERLATIVES, _EST)
)


def _kind(word: str, further: set[str]) -> str:
    if word in _NUMBERS:
        return "a number"
    if word in _PRICES:
        return "a price"
    if word in _BEST or word in further or (len(word) > 4 and word.endswith("est") and word not in _NEUTRAL):
        return "a superlative"
    return ""
