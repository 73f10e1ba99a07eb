"""
Downloads files of public data sets on Hugging Face, once for all studies of this machine.

Knows addresses, broken connections and checksums. Does not know what the files hold. Frozen, like prepare.py, which
alone calls it; nothing is downloaded unless CORPUS there says so.
"""

import hashlib
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

# HF_ENDPOINT is Hugging Face's own variable for a mirror. A study passes it on if `execute.env` names it.
ADDRESS = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
FOLDER = Path("~/.cache/autoresearch").expanduser()
ATTEMPTS = 5  # without a single new byte; waits of 1, 2, 4 and 8 s lie between them
FIRST_WAIT_S = 1.0
SILENCE_S = 30  # after which a connection counts as lost


class NoDownload(Exception):
    """A file cannot be had; the message says why and what to do."""


class Broken(OSError):
    """What arrived is not the file, or not all of it; worth another attempt."""


def download_all(dataset: str, names: list[str]) -> dict[str, Path]:
    """Name -> file on this machine, each with the bytes that its checksum promises."""
    folder = FOLDER / dataset.replace("/", "--")
    folder.mkdir(parents=True, exist_ok=True)
    return {name: download(f"{ADDRESS}/datasets/{dataset}/resolve/main/{name}", folder / name) for name in names}


def download(address: str, path: Path) -> Path:
    """
    The file at `address`, unless it is there already; a part that is there is gone on with.

    Its SHA-256 is noted in manifest.json beside it. From then on that is what it must be, here and at the source.
    """
    manifest = path.with_name("manifest.json")
    promised = read(manifest).get(path.name, {}).get("sha256")
    if promised and path.exists():
        if sha256_of(path) == promised:
            return path
        say(f"{path} is not what was downloaded (sha256); downloading it again")
        path.unlink()
    part = path.with_name(f"{path.name}.part")
    try:
        found = persist(address, part, promised)
    except NoDownload as problem:
        hint = f" If the source has a new file there, remove {path.name} from {manifest}." if promised else ""
        raise NoDownload(f"{problem}{hint}") from None
    noted = read(manifest) | {path.name: {"sha256": found, "bytes": part.stat().st_size, "from": address}}
    os.replace(part, path)
    replace_with(manifest, (json.dumps(noted, indent=2) + "\n").encode())
    say(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, sha256 {found[:12]}")
    return path


def read(manifest: Path) -> dict:
    return json.loads(manifest.read_text()) if manifest.exists() else {}


def persist(address: str, part: Path, promised: str | None) -> str:
    """Try until `part` is the whole file. Returns its SHA-256: the promised one, the published one, or what came."""
    failures = 0
    while True:
        size = size_of(part)
        try:
            published = receive(address, part)
            wanted = promised or published
            found = sha256_of(part)
            if wanted in (None, found):
                return found
            part.unlink()
            raise Broken(f"its sha256 is {found}, not {wanted}")
        except urllib.error.HTTPError as problem:
            if problem.code < 500 and problem.code not in (408, 416, 429):
                raise NoDownload(f"{address} answered {problem.code} {problem.reason}.") from None
            failure = problem
        except (OSError, http.client.HTTPException) as problem:
            failure = problem
        failures = 1 if size_of(part) > size else failures + 1
        if failures == ATTEMPTS:
            raise NoDownload(f"{address}: {failure}, in the last of {ATTEMPTS} attempts. What came is kept: try again.")
        wait_s = FIRST_WAIT_S * 2 ** (failures - 1)
        say(f"{part.stem}: {failure}; again in {wait_s:g} s")
        time.sleep(wait_s)


def receive(address: str, part: Path) -> str | None:
    """Append to `part` what it lacks. Returns the SHA-256 that the source publishes, if it does."""
    have = size_of(part)
    linked = Linked()
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        reply = urllib.request.build_opener(linked).open(request, timeout=SILENCE_S)
    except urllib.error.HTTPError as problem:
        problem.close()
        if problem.code == 416 and problem.headers.get("Content-Range") == f"bytes */{have}":
            return linked.sha256  # stopped between the last byte and the new name: all is there
        if problem.code == 416:
            part.unlink()
        raise
    with reply:
        linked.note(reply.headers)
        place = reply.headers.get("Content-Range", "")
        if reply.status == 206 and not place.startswith(f"bytes {have}-"):
            raise Broken(f"asked for the bytes from {have} on, got {place or 'others'}")
        have = have if reply.status == 206 else 0  # 200: from the start, whatever was asked
        length = reply.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if have else "wb") as file:
            while chunk := reply.read(1 << 18):
                file.write(chunk)
                have += len(chunk)
                show_progress(part.stem, have, total)
    if total is not None and have < total:
        raise Broken(f"the connection ended after {have} of {total} bytes")
    if size_of(part) != have:
        part.unlink()
        raise Broken("another process wrote to the same file")
    return linked.sha256


class Linked(urllib.request.HTTPRedirectHandler):
    """Hugging Face states a file's SHA-256 in the redirect to where the file lies, as X-Linked-ETag."""

    sha256 = None

    def note(self, headers):
        tag = headers.get("X-Linked-ETag", "").strip('"').lower()
        if len(tag) == 64:  # else the SHA-1 of a small file
            self.sha256 = tag

    def redirect_request(self, request, reply, code, message, headers, address):
        self.note(headers)
        return super().redirect_request(request, reply, code, message, headers, address)


def say(text: str):
    print(text, file=sys.stderr, flush=True)


def show_progress(name: str, have: int, total: int | None):
    if sys.stderr.isatty():
        share = f" of {total / 1e6:.0f} MB, {have / total:.0%}" if total else " MB"
        print(f"{name}: {have / 1e6:.0f}{share}  ", end="\r", file=sys.stderr, flush=True)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_with(path: Path, content: bytes) -> bool:
    """True if `path` had to be written. A crash leaves the old file or the new one, never half of one."""
    if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return False
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    scratch.write_bytes(content)
    os.replace(scratch, path)
    return True
