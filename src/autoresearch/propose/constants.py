"""
Which constants a proposal set, where it did nothing else: so search learns from what others try.

Knows files before and after, and knobs; not who made the change.
"""

import os
from collections.abc import Mapping

from autoresearch.carrying import CONSTANTS
from autoresearch.propose import Tree, knobs
from autoresearch.propose.ranges import Value
from autoresearch.shape import LARGEST
from autoresearch.trial import Proposal

# Other languages' parsers can be made to take for ever by a hostile file.
LANGUAGES = ("python", "json")
MOST = 16  # constants set at once; more say little of each

Contents = Mapping[str, bytes | None]


def contents(tree: Tree) -> Contents:
    """What stands in the folders of the asset: the files that constants are read from, and None for all else."""
    paths = [path for path in tree.asset_files() if knobs.language(path.as_posix()) in LANGUAGES]
    found: dict[str, bytes | None] = {}
    for folder in {path.parent for path in paths if (tree.path / path.parent).is_dir()}:
        found |= dict.fromkeys((folder / name).as_posix() for name in os.listdir(tree.path / folder))
    for path in paths:
        whole = tree.path / path
        if whole.is_file() and not whole.is_symlink() and whole.stat().st_size <= LARGEST:
            found[path.as_posix()] = whole.read_bytes()
    return found


def noted(proposal: Proposal, before: Contents, after: Contents) -> Proposal:
    """The proposal with a memo of the constants that it set, if it did nothing else; of any other, without one."""
    memo = {key: value for key, value in proposal.memo.items() if key != CONSTANTS}
    told = {key: list(values) for key, values in changed(before, after).items()}
    return Proposal(proposal.idea, proposal.by, memo | ({CONSTANTS: told} if 0 < len(told) <= MOST else {}))


def changed(before: Contents, after: Contents) -> dict[str, tuple[Value, Value]]:
    """Each constant's value before and after; none at all where anything else changed too."""
    found: dict[str, tuple[Value, Value]] = {}
    for path, old in before.items() if before.keys() == after.keys() else ():
        new = after[path]
        if old is None or new is None or old == new:
            continue
        values = knobs.changed(path, old, new)
        if not values:
            return {}
        found |= {f"{path}:{name}": pair for name, pair in values.items()}
    return found
