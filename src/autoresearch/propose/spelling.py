"""
How a new literal is written in the place of an old one: in its style, so that a diff shows only the value.

Knows four languages' literals; no files.
"""

import json
import math
import re
from decimal import Decimal

from autoresearch.propose.ranges import Value


def spell(language: str, value: Value, like: str) -> str:
    """The literal for `value`, written the way the literal `like` was."""
    if isinstance(value, bool):
        return _spell_flag(language, value, like)
    if isinstance(value, str):
        quote = like[0] if like[:1] in ("'", '"') else ""
        plain = value.isascii() and value.isprintable() and not set(value) & set("\"'\\")
        return f"{quote}{value}{quote}" if plain and like[:3] != quote * 3 else json.dumps(value)
    if isinstance(value, int):
        return _spell_int(value, like)
    return _spell_float(language, value, like)


def _spell_flag(language: str, value: bool, like: str) -> str:
    if language == "python":
        return str(value)
    pairs = [("no", "yes"), ("off", "on"), ("false", "true")]
    word = next((pair[value] for pair in pairs if like.lower() in pair), str(value).lower())
    return word.upper() if like.isupper() and len(like) > 1 else word.title() if like[:1].isupper() else word


def _spell_int(value: int, like: str) -> str:
    if (power := re.fullmatch(r"2(\s*\*\*\s*)\d+", like)) and value > 1 and value & (value - 1) == 0:
        return f"2{power[1]}{value.bit_length() - 1}"
    if (product := re.fullmatch(r"\d+(\s*\*\s*)(\d+)", like)) and int(product[2]) and value % int(product[2]) == 0:
        return f"{value // int(product[2])}{product[1]}{product[2]}"
    return f"{value:_}" if "_" in like else str(value)


def _spell_float(language: str, value: float, like: str) -> str:
    assert math.isfinite(value)
    if not re.search(r"\d[eE]", like) or value == 0:
        text = format(Decimal(repr(value)), "f") if 1e-5 <= abs(value) < 1e9 else repr(value)
        if "e" not in text:
            return text if "." in text else text + ".0"
    mantissa, _, exponent = format(Decimal(repr(value)).normalize(), "e").partition("e")
    if (language == "yaml" and "." in like) or (language == "yaml" and not re.search(r"\d[eE]", like)):
        mantissa = mantissa if "." in mantissa else mantissa + ".0"  # or PyYAML would read text
        return f"{mantissa}e{int(exponent):+d}"
    return f"{mantissa}{'E' if 'E' in like else 'e'}{int(exponent)}"
