"""How numbers of things, and names from somebody's file, are put into a sentence."""

from collections.abc import Iterable

MOST, LONGEST = 20, 60  # names of a list that are told, and characters of one


def many(count: int, one: str, several: str = "") -> str:
    """So many things: 1,200 rows."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def listed(names: Iterable[str]) -> str:
    """As many as a line holds, and how many more."""
    told = list(names)
    more = f" and {len(told) - MOST:,} more" if len(told) > MOST else ""
    return ", ".join(shown(name) for name in told[:MOST]) + more


def shown(text: str, most: int = LONGEST) -> str:
    """Cut, and without control characters, terminal escapes among them."""
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(letter if letter.isprintable() else "�" for letter in cut)
