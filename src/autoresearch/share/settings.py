"""
How this folder's study takes part in a swarm: .autoresearch/swarm/swarm.toml, written by `autoresearch swarm init` and
`join`, and by hand if one likes. It is no part of study.toml: whether one shares is not what is measured.
"""

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from autoresearch import files
from autoresearch.errors import StudyError
from autoresearch.share.receipt import Peer

FOLDER, FILE = "swarm", "swarm.toml"
KEYS = {
    "name": "what others see you called",
    "swarm": "the public key of the swarm's invitation; empty where anybody may join",
    "ticket": "its signature over your key",
    "git": "a git remote, by its name here or its address",
    "listen": "where others may reach this machine",
    "connect": "machines to connect to",
    "allow": "the only peers that are listened to; empty for all that may join",
    "floor": "the share of trials that others' findings get",
}


FIRST = "amber brisk calm clever copper dusty eager early faint gentle ivory jolly keen lively mellow merry"
SECOND = "badger beetle comet crane daisy falcon finch heron lark lynx marten otter pebble raven sparrow thistle"


class Settings(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """
    `name` is for people. `git` is a remote, `listen` and each of `connect` an address like "tcp/192.168.0.7:7447"; with none of these
    one is alone. `floor` is the share of trials, 0 to 1, that is for others' findings while there are any worth a run.
    """

    name: Annotated[str, Meta(min_length=1, max_length=40)]
    swarm: str = ""
    ticket: str = ""
    git: str = ""
    listen: str = ""
    connect: tuple[str, ...] = ()
    allow: tuple[Peer, ...] = ()
    floor: Annotated[float, Meta(ge=0, le=1)] = 0.4


def folder(home: Path) -> Path:
    """Where all of it lies; `home` is the study's .autoresearch."""
    return home / FOLDER


def load(home: Path) -> Settings | None:
    """
    What the file says; None where this study takes part in nothing.

    Raises:
        StudyError: it cannot be read, or a key in it is wrong.
    """
    path = folder(home) / FILE
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Settings)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}; make it readable, or type `autoresearch swarm leave`") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: {error}; correct it, or type `autoresearch swarm leave` and join again") from None


def save(home: Path, settings: Settings) -> Path:
    """
    Write it, whole or not at all.

    Raises:
        StudyError: the disk refused.
    """
    where = folder(home)
    lines = []
    for key, value in msgspec.to_builtins(settings).items():
        lines += [f"# {KEYS[key]}", f"{key} = {_toml(value)}"]
    try:
        files.put(where / FILE, "\n".join([*lines, ""]).encode())
    except OSError as error:
        raise StudyError(f"{where}: {error.strerror}; the study's folder must be writable") from None
    return where / FILE


def keep_secret(home: Path, name: str, text: str) -> None:
    """
    A file in the folder that only its owner can read.

    Raises:
        StudyError: the disk refused.
    """
    path = folder(home) / name
    try:
        files.put(path, f"{text}\n".encode(), 0o600)
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}; the study's folder must be writable") from None


def pet_name(peer: str) -> str:
    """Two words, of a key alone: nothing about a machine or who sits at it."""
    first, second = hashlib.sha256(peer.encode()).digest()[:2]
    return f"{FIRST.split()[first % 16]} {SECOND.split()[second % 16]}"


def _toml(value: object) -> str:
    """Texts, numbers and lists of texts; TOML's basic strings are JSON's."""
    return msgspec.json.encode(value).decode()
