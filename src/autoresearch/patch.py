"""What a patch adds and takes away: lines of code, and seeds written into it. A patch is data; nothing is run."""

import re

_COMMENT = ("#", "//", "--", "%", ";")
_SEED = re.compile(
    r"(?:seed|random_state)\w*\s*(?:[:=]|\()\s*\(?\s*(\d+)\b"  # SEED = 137, manual_seed(137), random_state=0
    r"|default_rng\(\s*(\d+)\s*\)|\bRandom\(\s*(\d+)\s*\)|RandomState\(\s*(\d+)\s*\)",
    re.IGNORECASE,
)
LONGEST = 120  # characters of a line that is shown to somebody


def code_lines(patch: str) -> tuple[int, int]:
    """Lines of code added and removed; blank ones and those that are only a comment are not counted."""
    lines = [line[1:].strip() for line in _changed(patch, "+")], [line[1:].strip() for line in _changed(patch, "-")]
    added, removed = (sum(bool(line) and not line.startswith(_COMMENT) for line in side) for side in lines)
    return added, removed


def seeds_in(patch: str) -> tuple[str, ...]:
    """Lines of a patch (or of a file, each with a plus) that write a seed into the code."""
    added = [line[1:].strip() for line in _changed(patch, "+")]
    return tuple(dict.fromkeys(line[:LONGEST] for line in added if _SEED.search(line.partition("#")[0])))


def _changed(patch: str, sign: str) -> list[str]:
    header = f"{sign * 3} "
    return [line for line in patch.splitlines() if line.startswith(sign) and not line.startswith(header)]
