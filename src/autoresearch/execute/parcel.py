"""
A folder as bytes that travel between machines: packed, named by its content, unpacked elsewhere.

Only plain files, folders and, where asked for, links are packed. Knows files; no network.
"""

import contextlib
import hashlib
import io
import os
import shutil
import stat
import tarfile
from pathlib import Path, PurePosixPath

from msgspec import Struct

from autoresearch.files import entries


class Parcel(Struct, frozen=True):
    """A packed folder. `left_out` is what it would have taken in bytes, where that was more than allowed."""

    data: bytes
    left_out: int = 0

    @property
    def key(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def pack(folder: Path, most: int | None = None, links: bool = False) -> Parcel:
    """
    A folder's content, without a `.git` of its own. Equal content gives equal bytes: owners and times are left out.

    With more than `most` bytes of files it is left out whole, and `left_out` says how large it is.
    """
    found = []
    size = 0
    for entry in entries(folder):
        path = os.path.relpath(entry.path, folder)
        if path == ".git" or path.startswith(f".git{os.sep}"):
            continue
        if entry.is_symlink() and not links:
            continue
        if entry.is_symlink() or entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False):
            found.append((path, entry.path))
            size += entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else 0
    if most is not None and size > most:
        return Parcel(b"", left_out=size)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, full in sorted(found):
            _add(tar, path, full)
    return Parcel(packed.getvalue())


def unpack(data: bytes, folder: Path, trusted: bool = False) -> None:
    """
    Put a parcel's content into a folder. What is not `trusted` can hold no links at all.

    Raises:
        tarfile.TarError, OSError, ValueError: it is no parcel, or the folder cannot take it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not data:
        return
    # Not extractall: its filters came with Python 3.11.4, and without one it goes wherever a name leads.
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            _put(tar, member, folder, trusted)


def _put(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, links: bool) -> None:
    path = PurePosixPath(member.name)
    place = folder / path
    if path.is_absolute() or ".." in path.parts or not place.parent.resolve().is_relative_to(folder.resolve()):
        raise tarfile.TarError(f"{member.name!r} leads out of its folder")
    place.parent.mkdir(parents=True, exist_ok=True)
    if member.isdir():
        place.mkdir(exist_ok=True)
    elif member.issym() and links:
        place.symlink_to(member.linkname)
    elif member.isfile() and (content := tar.extractfile(member)) is not None:
        place.unlink(missing_ok=True)  # never through a link that stands there
        with place.open("xb") as file:
            shutil.copyfileobj(content, file)
        place.chmod(member.mode & 0o755)
    else:
        raise tarfile.TarError(f"{member.name!r} is neither a file nor a folder")


def _add(tar: tarfile.TarFile, path: str, full: str) -> None:
    """One entry without owner or time. A second name of one file has the content too; what cannot be read is passed over."""
    info = tarfile.TarInfo(path)
    status = os.lstat(full)
    info.mode = 0o755 if status.st_mode & 0o100 or stat.S_ISDIR(status.st_mode) else 0o644
    if stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif stat.S_ISLNK(status.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(full)
        tar.addfile(info)
    else:
        with contextlib.suppress(PermissionError), open(full, "rb") as file:
            info.size = status.st_size
            tar.addfile(info, file)
