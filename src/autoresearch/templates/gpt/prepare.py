"""
Builds the data of this study, once: a corpus of text becomes three arrays of byte tokens.

Knows where text comes from and which file belongs to which split. Does not know models or metrics.
The train split goes where a run may look (AUTORESEARCH_DATA), validation where only the scorer looks
(AUTORESEARCH_HELD), and the sealed test where it looks for a claim alone (AUTORESEARCH_SEALED).
Frozen: a change here starts a new study, old values no longer compare.
"""

import hashlib
import json
import os
import sys
import sysconfig
from pathlib import Path

import numpy as np

# "stdlib": the source text of Python's own library, offline. "files:/path/to/folder": your own text.
CORPUS = "stdlib"

BOS = 256  # opens every document; the other tokens are the 256 bytes
VOCAB_SIZE = 257
ROW_LENGTH = 256  # tokens a model sees in one row of validation or test, and predicts the next of
VALIDATION_ROWS = 256  # 65,536 predicted tokens: about one second of prediction on one core
SEALED_ROWS = 1024  # opened once, by `certify`, so it may cost more and be sharper
HELD_SHARE = 0.06  # of the corpus' bytes, for validation and again for the sealed test
SPLIT_KEY = b"autoresearch gpt 1"  # fixes which file falls into which split, on every machine

# Tests repeat each other and hold odd bytes; the build's own settings differ from machine to machine.
SKIPPED = ("site-packages", "dist-packages", "test", "tests", "idle_test", "lib-dynload", "__pycache__")
SKIPPED_PREFIXES = ("_sysconfigdata", "config-")


class NoCorpus(Exception):
    """CORPUS names a place without enough text; the message says which and what to do."""


def main():
    """Build, write what differs from what is there, and say so. Exit 2: the corpus or a folder is missing."""
    try:
        data, held, sealed_folder = folders()
        documents, skipped = read_corpus(CORPUS)
        train, validation, sealed = split(documents)
        arrays = {
            "train": stream(train),
            "validation": rows(stream(validation), VALIDATION_ROWS, "validation"),
            "sealed": rows(stream(sealed), SEALED_ROWS, "the sealed test"),
        }
    except NoCorpus as problem:
        print(f"prepare.py: {problem}", file=sys.stderr)
        raise SystemExit(2) from None
    changed = write_split(data, {"train": arrays["train"]}, {"train": train})
    changed |= write_split(held, {"validation": arrays["validation"]}, {"validation": validation})
    changed |= write_split(sealed_folder, {"sealed": arrays["sealed"]}, {"sealed": sealed})
    n_bytes = sum(map(len, documents.values()))
    print(f"corpus {CORPUS}: {len(documents)} files, {n_bytes / 1e6:.1f} MB ({skipped} repeats or not text)")
    for name, part in (("train", train), ("validation", validation), ("sealed", sealed)):
        print(f"  {name}: {len(part)} files, {arrays[name].size:,} tokens kept, shape {arrays[name].shape}")
    print(f"written to {data}, {held} and {sealed_folder}" if changed else "nothing written: the same data is already there")


def folders() -> list[Path]:
    """The folder a run may see, the scorer's own, and the one for a claim; each is made when absent."""
    paths = []
    for name in ("AUTORESEARCH_DATA", "AUTORESEARCH_HELD", "AUTORESEARCH_SEALED"):
        if not os.environ.get(name):
            raise NoCorpus(f"{name} is not set: give the folder to fill")
        paths.append(Path(os.environ[name]).resolve())
    if any(path.is_relative_to(paths[0]) for path in paths[1:]):
        raise NoCorpus("AUTORESEARCH_HELD or _SEALED lies inside AUTORESEARCH_DATA: a run could read the answers")
    for path in paths:
        path.mkdir(parents=True, exist_ok=True)
    return paths


def read_corpus(corpus: str) -> tuple[dict[str, bytes], int]:
    """Relative path -> raw bytes, sorted by path, each content once; and how many files were left out."""
    if corpus == "stdlib":
        folder, suffix = Path(sysconfig.get_path("stdlib")), ".py"
    elif corpus.startswith("files:"):
        folder, suffix = Path(__file__).parent / Path(corpus.removeprefix("files:")).expanduser(), ""
    else:
        raise NoCorpus(f"CORPUS is {corpus!r}: write 'stdlib' or 'files:/path/to/folder'")
    if not folder.is_dir():
        raise NoCorpus(f"the corpus folder {folder} does not exist: correct CORPUS in prepare.py")

    documents, seen, skipped = {}, set(), 0
    paths = {path.relative_to(folder).as_posix(): path for path in find_files(folder, suffix)}
    for name in sorted(paths):
        raw = paths[name].read_bytes()
        digest = hashlib.sha256(raw).digest()
        if digest in seen or not is_text(raw):
            skipped += 1
            continue
        seen.add(digest)
        documents[name] = raw
    if len(documents) < 3:
        raise NoCorpus(
            f"{folder} holds {len(documents)} different text files; three splits need three of them"
        )
    return documents, skipped


def find_files(folder: Path, suffix: str):
    """Regular files under `folder` that end in `suffix`, without hidden ones and those of SKIPPED."""
    for root, inner, names in os.walk(folder):
        inner[:] = filter(is_wanted, inner)  # in place, so that os.walk does not descend into the others
        for name in filter(is_wanted, names):
            path = Path(root, name)
            if name.endswith(suffix) and path.is_file():
                yield path


def is_wanted(name: str) -> bool:
    return not name.startswith((".", *SKIPPED_PREFIXES)) and name not in SKIPPED


def is_text(raw: bytes) -> bool:
    """Non-empty UTF-8 without NUL, which would be a binary format that happens to decode."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return bool(raw.strip()) and b"\0" not in raw


def split(documents: dict[str, bytes]) -> tuple[dict, dict, dict]:
    """
    Train, validation, sealed: whole files, in the order of a keyed hash of their relative path.

    A share of bytes rather than a threshold on the hash, so that a folder of five long books splits too.
    """

    def rank(name):
        return hashlib.blake2b(name.encode(), key=SPLIT_KEY, digest_size=16).digest()

    waiting = sorted(documents, key=rank)
    wanted = HELD_SHARE * sum(map(len, documents.values()))
    parts = []
    for still_needed in (2, 1):  # files that must remain for the splits after this one
        part, n_bytes = {}, 0
        while not part or (n_bytes < wanted and len(waiting) > still_needed):
            name = waiting.pop(0)
            part[name] = documents[name]
            n_bytes += len(part[name])
        parts.append(part)
    return {name: documents[name] for name in waiting}, parts[1], parts[0]


def stream(documents: dict[str, bytes]) -> np.ndarray:
    """All documents in one line of tokens, uint16, each opened by BOS."""
    pieces = []
    for name in sorted(documents):
        pieces += [np.array([BOS], np.uint16), np.frombuffer(documents[name], np.uint8).astype(np.uint16)]
    return np.concatenate(pieces)


def rows(tokens: np.ndarray, wanted: int, name: str) -> np.ndarray:
    """
    `wanted` rows (n, ROW_LENGTH + 1) spread evenly over the stream; fewer where the stream is short.

    Rows never overlap: otherwise the input of one would hold the targets of another.
    """
    width = ROW_LENGTH + 1
    n = min(wanted, len(tokens) // width)
    if n == 0:
        raise NoCorpus(
            f"{name} got {len(tokens)} tokens, less than a row of {width}: the corpus is too small"
        )
    starts = np.arange(n) * (len(tokens) - width) // max(n - 1, 1)
    return tokens[starts[:, None] + np.arange(width)]


def write_split(folder: Path, arrays: dict[str, np.ndarray], files: dict[str, dict]) -> bool:
    """Write <name>.bin for each array, then meta.json: whoever finds that finds everything. True if changed."""
    # How many raw bytes a token stands for: the metric is per byte, so that no tokenizer can flatter itself.
    token_bytes = np.array([1] * 256 + [0], np.uint8)
    contents = {f"{name}.bin": np.ascontiguousarray(array, "<u2").tobytes() for name, array in arrays.items()}
    contents["token_bytes.bin"] = token_bytes.tobytes()
    meta = {
        "corpus": CORPUS,
        "vocab_size": VOCAB_SIZE,
        "bos": BOS,
        "dtype": "<u2",
        "splits": {
            name: {
                "files": len(files[name]),
                "shape": list(array.shape),
                "tokens": array.size,
                "bytes": int(token_bytes[array].sum(dtype=np.int64)),
            }
            for name, array in arrays.items()
        },
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    contents["meta.json"] = (json.dumps(meta, indent=2) + "\n").encode()
    n_replaced = sum(replace_if_other(folder / name, content) for name, content in contents.items())
    return n_replaced > 0


def replace_if_other(path: Path, content: bytes) -> bool:
    """True if `path` had to be written. A crash leaves the old file or the new one, never half of one."""
    if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return False
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    scratch.write_bytes(content)
    os.replace(scratch, path)
    return True


if __name__ == "__main__":
    main()
