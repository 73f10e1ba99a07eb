"""
The contents of the files that may change, as they stand on a commit: for whoever reads them without a worktree.

Knows git. Two git commands a commit; the latest is remembered.
"""

import threading

from autoresearch.git import git
from autoresearch.workspace import Workspace

LARGEST = 256 << 10  # bytes of a file that is read; a larger one is data
MOST = 1 << 20  # bytes altogether


class Asset:
    """Reads the contents of a study's files; shared by all workers."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        self._latest: tuple[str, dict[str, bytes]] = "", {}

    def contents(self, commit: str) -> dict[str, bytes]:
        """
        Path from the study's folder -> bytes, in order of the paths, until there are too many bytes. In place of a file
        that is too large stands a line that says so.
        """
        with self._lock:
            if self._latest[0] != commit:
                self._latest = commit, self._read(commit)
            return self._latest[1]

    def _read(self, commit: str) -> dict[str, bytes]:
        folder, prefix = self.workspace.folder, self.workspace.prefix
        listed = git(folder, "ls-tree", "-r", "-l", "-z", "--full-tree", commit).decode(errors="surrogateescape")
        wanted: dict[str, tuple[str, int]] = {}
        for entry in filter(None, listed.split("\0")):
            about, _, path = entry.partition("\t")
            _, kind, id, bytes_ = about.split()
            name = path.removeprefix(prefix)
            if path.startswith(prefix) and kind == "blob" and self.workspace.study.may_change(name):
                wanted[name] = id, int(bytes_)
        found: dict[str, str] = {}
        room = MOST
        for name, (blob, size) in sorted(wanted.items()):
            if size <= min(LARGEST, room):
                found[name] = blob
                room -= size
        asked = "".join(f"{blob}\n" for blob in found.values()).encode()
        read = iter(_split(git(folder, "cat-file", "--batch", input=asked), len(found)))
        return {
            name: next(read) if name in found else f"(not shown: {size:,} bytes)\n".encode()
            for name, (_, size) in sorted(wanted.items())
        }


def _split(batch: bytes, n: int) -> list[bytes]:
    """The contents in what `git cat-file --batch` prints: a line that ends in the size, then so many bytes."""
    found, at = [], 0
    for _ in range(n):
        end = batch.index(b"\n", at)
        size = int(batch[at:end].split()[-1])
        found.append(batch[end + 1 : end + 1 + size])
        at = end + 1 + size + 1
    return found
