"""
A bare repository of ours, and git in it under limits: what is fetched into it was made by strangers.

Nothing is ever checked out. Each process of git ends within a time, writes no file larger than a size, and asks nobody
anything. Knows git; does not know what a receipt is.
"""

import contextlib
import fcntl
import hashlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from autoresearch import git
from autoresearch.errors import StudyError, WorkspaceError

LIMIT_S = 60.0  # of one process of git
SHORT_S = 15.0  # of one that has little to carry
MOST_FETCHED = 256 << 20  # bytes of one file, and what comes with one fetch is one
MOST_LISTED = 4 << 20  # bytes of a list of refs or of a commit's files
# Nobody sits before it: neither git nor ssh asks for a password, on a terminal or in a window.
_NOBODY = {"GIT_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never"}
# sh counts blocks of 512 bytes. The limit holds for what git starts, too.
_LIMITED = ["/bin/sh", "-c", 'ulimit -f "$0" 2>/dev/null; exec "$@"']


class Blob(Struct, frozen=True):
    """A file in a commit: where, what, and how many bytes."""

    path: str
    id: str
    size: int


def address(repository: Path, remote: str) -> str:
    """
    Where a remote of this repository is, or the remote itself where it is an address.

    Raises:
        StudyError: it is neither.
    """
    if remote.startswith("-") or not remote.strip():
        raise StudyError(f"swarm: {remote!r} is neither the name of a git remote nor an address")
    if "/" not in remote and ":" not in remote:
        try:
            remote = git.text(git.git(repository, "remote", "get-url", remote, as_the_person=True))
        except WorkspaceError:
            raise StudyError(
                f"swarm: {repository} has no git remote {remote!r}; type `git remote -v` to see those it has, or give an address"
            ) from None
    local = "://" not in remote and (
        ":" not in remote or "/" in remote.partition(":")[0]
    )  # as git tells paths from hosts
    return str((repository / remote).resolve()) if local else remote


def blob_id(data: bytes) -> str:
    """What git calls a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class Bare:
    """Our repository in `folder`, made where there is none, when it is first held."""

    def __init__(self, folder: Path, limit_s: float = LIMIT_S) -> None:
        self.folder, self.limit_s = folder, limit_s
        self._ready = False
        self._lock = -1
        self._child: subprocess.Popen[bytes] | None = None
        self.closed = False

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """
        Alone with it, or not at all: whether we are. git's own processes hold it too, so that one that outlived us ends first.

        Raises:
            WorkspaceError: it cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / "turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise WorkspaceError(f"{self.folder}: {error.strerror}; the study's folder must be writable") from None
        try:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            if not self._ready:
                self._swept("*.lock", "objects/pack/tmp_*", "fast_import_crash_*")
                self.run("init", "--bare", "--quiet", "--template=", "--object-format=sha1")
                self._ready = True
            yield True
        finally:
            os.close(self._lock)
            self._lock = -1

    def doubt(self) -> None:
        """Something went wrong: see to it that it is there, next time."""
        self._ready = False

    def _swept(self, *patterns: str) -> None:
        """What a killed git left behind: its locks would stand in the way for ever."""
        for pattern in patterns:
            for path in self.folder.rglob(pattern):
                path.unlink(missing_ok=True)

    def run(self, *args: str, input: bytes = b"", most: int = MOST_LISTED, limit_s: float | None = None) -> bytes:
        """
        What git printed.

        Raises:
            WorkspaceError: it said no, took too long, or wrote or printed too much.
        """
        words, env = git.prepared(self.folder, *args)
        limit_s = min(limit_s or self.limit_s, self.limit_s)
        blocks = str((max(most, MOST_FETCHED) >> 9) + 1)
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            given.write(input)
            given.seek(0)
            if self.closed:
                raise WorkspaceError("sharing has ended")
            self._child = subprocess.Popen(
                [*_LIMITED, blocks, *words],
                stdin=given,
                stdout=output,
                stderr=errors,
                env=env | _NOBODY | {"GIT_DIR": str(self.folder)},
                pass_fds=(self._lock,),
                start_new_session=True,  # without a terminal to ask on, and ended with all that it started
            )
            try:
                if self.closed:  # meanwhile
                    self._end()
                status = self._child.wait(limit_s)
            except subprocess.TimeoutExpired:
                self._end()
                raise WorkspaceError(f"git {args[0]} took longer than {limit_s:g} s") from None
            finally:
                self._child = None
            if status:
                errors.seek(0)
                said = errors.read(4096).decode(errors="replace").strip().splitlines() or ["no reason given"]
                said = [line for line in said if line.startswith(("fatal:", "error:", " ! "))] or said
                raise WorkspaceError(f"git {args[0]}: {said[0].strip()[:300]}")
            if output.seek(0, os.SEEK_END) > most:
                raise WorkspaceError(f"git {args[0]} printed more than {most >> 20} MiB")
            output.seek(0)
            return output.read()

    def _end(self) -> None:
        child = self._child
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def close(self) -> None:
        """From any thread: what is under way ends."""
        self.closed = True
        self._end()

    # -- what is in it -------------------------------------------------------------------------------------

    def fetch(self, remote: str, specs: Sequence[str], prune: bool = False) -> None:
        """Raises: as `run`; then nothing has changed, or some refs have."""
        options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"]
        try:
            self.run("fetch", *options, *(["--prune"] if prune else []), "--", remote, *specs)
        except WorkspaceError:
            self._swept("objects/pack/tmp_*")
            raise

    def refs(self, prefix: str) -> dict[str, str]:
        """Name -> the commit that it is at; what is no commit is left out."""
        listed = self.run("for-each-ref", "--format=%(objecttype) %(objectname) %(refname)", prefix)
        lines = (line.split(" ", 2) for line in listed.decode(errors="replace").splitlines())
        return {name: id for kind, id, name in lines if kind == "commit"}

    def files(self, commit: str) -> list[Blob]:
        """The plain files of a commit."""
        found = []
        for line in self.run("ls-tree", "-r", "-z", "-l", "--full-tree", commit).split(b"\0")[:-1]:
            facts, _, path = line.partition(b"\t")
            mode, kind, id, size = facts.split()
            if mode == b"100644" and kind == b"blob" and size.isdigit():
                found.append(Blob(path.decode(errors="replace"), id.decode(), int(size)))
        return found

    def read(self, blobs: Sequence[Blob]) -> Iterator[tuple[Blob, bytes]]:
        """The content of files. Whoever asks has looked at their sizes."""
        if not blobs:
            return
        asked = "".join(f"{blob.id}\n" for blob in blobs).encode()
        most = sum(blob.size + 128 for blob in blobs)
        data, at = self.run("cat-file", "--batch", input=asked, most=most), 0
        for blob in blobs:
            head = f"{blob.id} blob {blob.size}\n".encode()
            if not data.startswith(head, at):
                raise WorkspaceError(f"{self.folder} has lost {blob.id[:12]}")
            start, at = at + len(head), at + len(head) + blob.size + 1
            yield blob, data[start : at - 1]

    def commit(self, ref: str, parent: str, files: Mapping[str, str], new: Mapping[str, bytes]) -> None:
        """A commit of these files (path -> id) under a ref; `new` is the content of those that are not here yet."""
        stream = b"".join(b"blob\ndata %d\n%b\n" % (len(data), data) for data in new.values())
        # No clock and no name of this machine: the same content on the same parent is the same commit.
        head = f"commit {ref}\ncommitter autoresearch <autoresearch@localhost> 0 +0000\ndata 8\nreceipts\n"
        stream += (head + (f"from {parent}\n" if parent else "") + "deleteall\n").encode()
        stream += "".join(f"M 100644 {id} {path}\n" for path, id in files.items()).encode() + b"\ndone\n"
        if not parent:
            self.run("update-ref", "-d", ref)  # else it would be the parent
        self.run("fast-import", "--quiet", "--force", "--done", "--date-format=raw", input=stream)
