"""
Letters that only their recipient can read: X25519 with a key made for one letter, and ChaCha20-Poly1305.

The receipt around a letter is signed by its sender, and both their names are part of what is sealed, so that nobody can pass
another's letter off as his own. Source: RFC 7748, RFC 8439, and HKDF (RFC 5869) for the key.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from autoresearch.share.identity import Identity, b64, unb64

MOST = 16 << 10  # bytes of a letter
_NONCE = bytes(12)  # the key is used once


def seal(text: str, sender: str, to: str, box: str) -> str:
    """
    A letter, for whoever has this box key.

    Raises:
        ValueError: it is too long, or the key is none.
    """
    data = text.encode()
    if len(data) > MOST:
        raise ValueError(f"a letter has at most {MOST >> 10} KiB")
    once = X25519PrivateKey.generate()
    public = once.public_key().public_bytes_raw()
    key = _key(once.exchange(X25519PublicKey.from_public_bytes(unb64(box))), public, box)
    return b64(public + ChaCha20Poly1305(key).encrypt(_NONCE, data, _about(sender, to)))


def unseal(sealed: str, sender: str, me: Identity) -> str:
    """
    What a letter says.

    Raises:
        ValueError: it is not for us, or not from who signed it.
    """
    data = unb64(sealed)
    if len(data) < 32:
        raise ValueError("no letter")
    key = _key(me.box.exchange(X25519PublicKey.from_public_bytes(data[:32])), data[:32], me.box_key)
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, data[32:], _about(sender, me.peer)).decode()
    except (InvalidTag, UnicodeDecodeError):
        raise ValueError("not for us, or not from who signed it") from None


def _key(secret: bytes, public: bytes, box: str) -> bytes:
    return HKDF(SHA256(), 32, None, b"autoresearch letter" + public + unb64(box)).derive(secret)


def _about(sender: str, to: str) -> bytes:
    return f"autoresearch letter 1 {sender} {to}".encode()
