"""
Setting constants in the files of a tree, and nothing else there.

Knows trees and the files that have constants; no strategy.
"""

from collections.abc import Mapping
from pathlib import Path

from autoresearch.propose import Tree
from autoresearch.propose.knobs import EditRefused, language, write
from autoresearch.propose.ranges import Value


def readable(tree: Tree) -> dict[str, bytes]:
    """The asset files that can be edited so. A link is left alone: what it points to is not ours."""
    paths = [path for path in tree.asset_files() if language(path.as_posix())]
    real = [path for path in paths if (tree.path / path).is_file() and not (tree.path / path).is_symlink()]
    return {path.as_posix(): Path(tree.path / path).read_bytes() for path in real}


def edited(files: Mapping[str, bytes], values: Mapping[str, Value]) -> dict[str, bytes]:
    """
    The files that change when constants, by `file:name`, are set; as they are after it.

    Raises:
        EditRefused: one is not there, or something else would change.
    """
    by_file: dict[str, dict[str, Value]] = {}
    for key, value in values.items():
        file = next((file for file in files if key.startswith(f"{file}:")), None)
        if file is None:
            raise EditRefused(f"{key} is in no file of the asset")
        by_file.setdefault(file, {})[key.removeprefix(f"{file}:")] = value
    return {file: write(file, files[file], changes) for file, changes in by_file.items()}


def put(tree: Tree, values: Mapping[str, Value]) -> bool:
    """Set these; False, and nothing is changed, where that cannot be."""
    try:
        found = edited(readable(tree), values)
    except EditRefused:
        return False
    for file, source in found.items():
        (tree.path / file).write_bytes(source)
    return True
