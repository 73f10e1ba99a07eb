"""
Who is let into a swarm: everybody, those who hold an invitation, or those who are listed.

An invitation is a secret key and how to reach somebody. Whoever has it signs his own public key with it, and everybody can see
that he did; the invitation itself never travels in a receipt. It cannot be taken back: a swarm that has to lose somebody makes
a new one, or lists who is listened to.
"""

import secrets

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from autoresearch.errors import StudyError
from autoresearch.share import identity
from autoresearch.share.identity import b64, unb64
from autoresearch.share.receipt import Hello
from autoresearch.share.settings import Settings

PREFIX = "autoresearch-swarm:"


class Door:
    """Says of a peer's introduction why it is not let in, "" where it is."""

    def __init__(self, settings: Settings, me: str) -> None:
        self.settings, self.me = settings, me

    def __call__(self, peer: str, hello: Hello) -> str:
        if peer == self.me:
            return ""
        if self.settings.allow and peer not in self.settings.allow:
            return "its peer is not on the list of those who are listened to"
        if self.settings.swarm and not identity.verify(self.settings.swarm, _line(peer), hello.ticket):
            return "its peer has no invitation"
        return ""


class Invitation(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`key` are 32 secret bytes, empty where anybody may join; `git` and `connect` are how to reach somebody."""

    key: str
    git: str = ""
    connect: tuple[str, ...] = ()

    @property
    def swarm(self) -> str:
        """What tickets are checked against."""
        return b64(self._key().public_key().public_bytes_raw()) if self.key else ""

    def ticket(self, peer: str) -> str:
        """What lets this peer in."""
        return b64(self._key().sign(_line(peer))) if self.key else ""

    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(unb64(self.key))

    def __str__(self) -> str:
        return PREFIX + b64(msgspec.json.encode(self))


def new(git: str = "", connect: tuple[str, ...] = ()) -> Invitation:
    return Invitation(b64(secrets.token_bytes(32)), git, connect)


def read(text: str) -> Invitation:
    """
    Raises:
        StudyError: this is no invitation.
    """
    try:
        found = msgspec.json.decode(unb64(text.strip().removeprefix(PREFIX)), type=Invitation)
        found.swarm  # noqa: B018  # a key that is none is found here
    except (ValueError, msgspec.MsgspecError):
        raise StudyError(
            f"this is no invitation; it is one line that begins with {PREFIX}, as `autoresearch swarm init` printed it"
        ) from None
    return found


def _line(peer: str) -> bytes:
    return f"autoresearch ticket 1 {peer}".encode()
