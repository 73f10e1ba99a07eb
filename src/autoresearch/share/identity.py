"""
Who one is in a swarm: a key pair in a file that only its owner can read.

A peer is its public key; the name beside it is for people, and two may have the same. The key never leaves the folder.
Copied to a second machine, it would sign two different receipts with one number, which others would take for a lie.
"""

import base64
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from autoresearch.errors import StudyError
from autoresearch.share import receipt
from autoresearch.share.receipt import Body, Receipt, Refused, Stub

KEY = "key"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """
    Raises:
        ValueError: it is no base64url, or not the one way to write these bytes.
    """
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64(data) != text:
        raise ValueError("not base64url")
    return data


class Identity:
    """A peer that can sign. `seed` are 32 secret bytes, of which both of its keys are made."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        # A key of its own for sealing: one key for two uses would have to be shown to be safe.
        self.box = X25519PrivateKey.from_private_bytes(hashlib.sha256(b"autoresearch box\0" + seed).digest())
        self.peer = b64(self._key.public_key().public_bytes_raw())

    @property
    def box_key(self) -> str:
        """Where sealed messages go."""
        return b64(self.box.public_key().public_bytes_raw())

    def sign(self, data: bytes) -> str:
        return b64(self._key.sign(data))

    def receipt(self, seq: int, prev: str, body: Body) -> bytes:
        """
        A receipt, ready to be shown. To be written down before anybody sees it: a number is used once.

        Raises:
            ValueError: it is too large, or holds a number that is none.
        """
        line = receipt.signed(self.peer, seq, prev, receipt.sha256(receipt.canonical(body)))
        data = receipt.canonical(Receipt(receipt.VERSION, self.peer, seq, prev, body, self.sign(line)))
        try:
            receipt.read(data)
        except Refused as error:
            raise ValueError(str(error)) from None
        return data


def own(folder: Path) -> Identity:
    """
    The identity in this folder, made where there is none.

    Raises:
        StudyError: the file cannot be read or written, is open to others, or is no key.
    """
    path = folder / KEY
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            draft = folder / f".{KEY}.{secrets.token_hex(4)}"
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(b64(secrets.token_bytes(32)).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)  # where another process was quicker, its key stays
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        if path.stat().st_mode & 0o077:
            raise StudyError(f"{path}: others can read this secret key; `chmod 600` it, or move it away for a new one")
        return Identity(unb64(path.read_text().strip()))
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}; the study's folder must be writable") from None
    except ValueError:
        raise StudyError(f"{path}: this is no key; move it away for a new one, under which nobody knows you") from None


def check(peer: str, stub: Stub) -> None:
    """
    Raises:
        Refused: a receipt was not signed by its peer.
    """
    if not verify(peer, receipt.signed(peer, stub.seq, stub.prev, stub.body), stub.sign):
        raise Refused("its signature is not its peer's")


def verify(peer: str, data: bytes, signature: str) -> bool:
    """Whether this peer signed this."""
    try:
        Ed25519PublicKey.from_public_bytes(unb64(peer)).verify(unb64(signature), data)
    except (InvalidSignature, ValueError):
        return False
    return True
