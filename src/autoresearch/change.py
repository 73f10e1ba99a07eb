"""
What a worktree holds against its base, as git tells it, and the shapes of both sides (see shape.py).

Knows git's formats and objects; knows no worktrees and no refs.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from autoresearch.git import PLAIN_DIFF, git
from autoresearch.shape import LARGEST, shape, together

AS_CHANGE = ["--raw", "--patch", "--unified=0", "-z", "--abbrev=40", *PLAIN_DIFF]
PLAIN = ("100644", "100755")  # modes of files that have content of their own
REMEMBERED = 4096  # shapes of single files

Files = dict[str, tuple[str, str]]  # path from the repository's top -> mode and blob


class Change(Struct, frozen=True):
    """
    What a worktree holds against its base: the content's identity, changed paths with their new modes, and the
    patch, for reading. `shape` is that of the whole asset as it stands now, `base_shape` as it stood before.
    """

    tree: str
    modes: dict[str, str]
    patch: str
    shape: str
    base_shape: str


class Shapes:
    """
    Shapes of an asset's files, each blob read once. `asset(commit)` gives git's line for each file that may change.
    """

    def __init__(self, folder: Path, asset: Callable[[str], Iterable[str]]) -> None:
        self.folder, self.asset = folder, asset
        self._files: dict[str, Files] = {}
        self._known: dict[tuple[str, str], str] = {}  # (suffix, blob) -> shape

    def of(self, commit: str) -> str:
        """The shape of a commit's asset."""
        return self._whole(self._at(commit))

    def change(self, tree: str, base: str, listed: bytes) -> Change:
        """Read `git diff` in the form AS_CHANGE: raw entries as ':modes...' NUL path NUL, one more NUL, the patch."""
        raw, _, patch = listed.partition(b"\0\0")
        entries = raw.decode(errors="surrogateescape").removesuffix("\0").split("\0") if raw else []
        changed: Files = {}
        for about, path in zip(entries[::2], entries[1::2], strict=True):
            _, mode, _, blob, _ = about.split(" ")
            changed[path] = mode, blob
        before = self._at(base)
        after = {path: file for path, file in {**before, **changed}.items() if file[0] != "000000"}
        modes = {path: mode for path, (mode, _) in changed.items()}
        return Change(tree, modes, patch.decode(errors="replace"), self._whole(after), self._whole(before))

    def _at(self, commit: str) -> Files:
        if commit not in self._files:
            if len(self._files) > 8:
                self._files.clear()
            found: Files = {}
            for line in self.asset(commit):
                about, _, path = line.partition("\t")
                mode, _, blob = about.split(" ")
                found[path] = mode, blob
            self._files[commit] = found
        return self._files[commit]

    def _whole(self, files: Files) -> str:
        self._learn(files)
        return together({path: f"{mode} {self._one(path, mode, blob)}" for path, (mode, blob) in files.items()})

    def _one(self, path: str, mode: str, blob: str) -> str:
        return self._known.get((_suffix(path), blob), blob) if mode in PLAIN else blob

    def _learn(self, files: Files) -> None:
        """Read what was not read before. A large file is its own blob: it is data, and may not fit into memory."""
        if len(self._known) > REMEMBERED + 2 * len(files):
            self._known.clear()
        wanted = {(_suffix(path), blob): path for path, (mode, blob) in files.items() if mode in PLAIN}
        new = {key: path for key, path in wanted.items() if key not in self._known}
        if not new:
            return
        about = "--batch-check=%(objectname) %(objecttype) %(objectsize)"
        blobs = sorted({blob for _, blob in new})
        told = [
            line.split(" ") for line in git(self.folder, "cat-file", about, input=_ask(blobs)).decode().splitlines()
        ]
        small = [words[0] for words in told if words[1] == "blob" and int(words[2]) <= LARGEST]
        contents = _contents(git(self.folder, "cat-file", "--batch", input=_ask(small))) if small else {}
        for (suffix, blob), path in new.items():
            self._known[suffix, blob] = shape(path, contents[blob]) if blob in contents else blob


def _ask(blobs: Iterable[str]) -> bytes:
    return "".join(f"{blob}\n" for blob in blobs).encode()


def _contents(printed: bytes) -> Mapping[str, bytes]:
    """Read `git cat-file --batch`: a line of name, type and size, that many bytes, an end of line; and so on."""
    found, place = {}, 0
    while place < len(printed):
        end = printed.index(b"\n", place)
        name, _, size = printed[place:end].decode().split(" ")
        found[name] = printed[end + 1 : end + 1 + int(size)]
        place = end + 2 + int(size)
    return found


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()
