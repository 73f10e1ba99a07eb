"""
Builds the data of this study, once: a corpus of text becomes arrays of tokens, one for training and three held ones.

Knows where text comes from, which document belongs to which split, and how many bytes a token stands for. Does not
know models or metrics. Training data goes where a run may look (AUTORESEARCH_DATA), the validation and confirm sets
where only the scorer looks (AUTORESEARCH_HELD), the sealed set where it looks for a claim alone (AUTORESEARCH_SEALED).
Frozen: a change here starts a new study, old values no longer compare.

`python prepare.py download` only fetches what CORPUS needs (download.py), and shows how far it is.
"""

import hashlib
import itertools
import json
import os
import sys
import sysconfig
from array import array
from bisect import bisect, insort
from functools import cached_property
from pathlib import Path

import numpy as np
from download import NoDownload, download_all, replace_with, sha256_of

# "stdlib": the source text of Python's own library, offline. "files:/path/to/folder": your own text.
# "tinystories", "climbmix": downloaded on first use; they need `pip install pyarrow`.
CORPUS = "stdlib"
SHARDS = 8  # of climbmix to train on, each about 90 MB to download, 250 MB of text, 60 million tokens; 6542 at most
TOKENS = "bytes"  # or "bpe:4096": so many tokens, learnt from the train split; needs `pip install rustbpe`
PACKING = "stream"  # documents one after another; "rows": each row opens with BOS and holds whole documents, see `pack`

ROW_LENGTH = 256  # tokens a model sees in one row of a held set, and predicts the next of
VALIDATION_ROWS = 256  # 65,536 predicted tokens: about one second of prediction on one core
CONFIRM_ROWS = 256  # of documents that no trial was compared on: `certify` measures on them what each change carries
SEALED_ROWS = 1024  # opened once, by `certify`, so it may cost more and be sharper
HELD_SHARE = 0.06  # of the corpus' bytes, for each of the three held sets ...
HELD_BYTES = 16_000_000  # ... but never more than this, which is plenty for the rows above
SPLIT_KEY = b"autoresearch gpt 1"  # fixes which document falls into which split, on every machine

# Tests repeat each other and hold odd bytes; the build's own settings differ from machine to machine.
SKIPPED = ("site-packages", "dist-packages", "test", "tests", "idle_test", "lib-dynload", "__pycache__")
SKIPPED_PREFIXES = ("_sysconfigdata", "config-")

LAST_SHARD = 6542  # of climbmix: held sets come from it alone, so SHARDS does not change them; nanochat's choice too

# What no token crosses: letters with the character before them, one or two digits, other signs, line ends, blanks.
# 3.17 bytes a token on held stdlib text at 4096 tokens, as GPT-4's longer pattern, and 20 % faster to learn.
# Each is bounded, because looking for pairs takes the square of a length: 16,000 blanks as one took 1.7 s. So no token
# has more than 255 bytes.
WORDS = (
    r"[^\p{L}\p{N}\r\n]?\p{L}{1,40}|\p{N}{1,2}| ?[^\s\p{L}\p{N}]{1,40}[\r\n]{0,8}"
    r"|\s{0,40}[\r\n]{1,40}|\s{1,40}(?!\S)|\s{1,40}"
)
TOKENIZER_BYTES = 200_000_000  # of training text are enough to learn tokens from: 20 s on one core
WAITING = 10_000  # pieces that `pack` chooses from: loses 2.8 % of web-like lengths in rows of 1024; 1,000: 4.5 %
BATCH_BYTES = 8_000_000  # of text tokenised at once, by all cores

TRAIN, VALIDATION, CONFIRM, SEALED, UNUSED = range(5)
HELD = {
    VALIDATION: ("validation", VALIDATION_ROWS),
    CONFIRM: ("confirm", CONFIRM_ROWS),
    SEALED: ("sealed", SEALED_ROWS),
}


class NoCorpus(Exception):
    """A setting above cannot be met; the message says which and what to do."""


def main():
    """Build, write what differs from what is there, and say so. Exit 2: the corpus or a folder is missing."""
    try:
        if sys.argv[1:] == ["download"]:
            find_corpus(CORPUS)
        else:
            prepare()
    except (NoCorpus, NoDownload) as problem:
        print(f"prepare.py: {problem}", file=sys.stderr)
        raise SystemExit(2) from None


def prepare():
    paths = folders()
    vocab_size = bpe_size(TOKENS)
    if PACKING not in ("stream", "rows"):
        raise NoCorpus(f"PACKING is {PACKING!r}: write 'stream' or 'rows'")
    corpus = find_corpus(CORPUS)  # the part that may take long, so what can be wrong was looked at before
    parts, sizes = survey(corpus)
    train = (raw for part, raw in zip(parts, texts(corpus), strict=True) if part == TRAIN)
    tokenizer = Bpe(vocab_size, up_to(TOKENIZER_BYTES, train)) if vocab_size else Bytes()
    scratch = paths[0] / "train.bin.tmp"
    try:
        splits, rows = tokenise(corpus, parts, sizes, tokenizer, scratch)
        n_replaced = replace_with_file(paths[0] / "train.bin", scratch, splits["train"]["sha256"])
    finally:
        scratch.unlink(missing_ok=True)
    for folder, names in zip(paths, (["train"], ["validation", "confirm"], ["sealed"]), strict=True):
        n_replaced += write(folder, names, rows, splits, tokenizer)
    report(splits, int((parts == UNUSED).sum()))
    places = "{}, {} and {}".format(*paths)
    print(f"written to {places}" if n_replaced else "nothing written: the same data is already there")


def tokenise(corpus, parts: np.ndarray, sizes: np.ndarray, tokenizer, scratch: Path) -> tuple[dict, dict]:
    """What meta.json says of each split, and the rows of the held ones; training tokens go to `scratch`."""
    held = {part: [] for part in HELD}  # filled while the training documents go by
    arrange = pack if PACKING == "rows" else stream
    splits = {"train": write_train(scratch, arrange(encode(corpus, parts, tokenizer, held), tokenizer.bos), tokenizer)}
    rows = {}
    for part, (name, wanted) in HELD.items():
        rows[name] = pick_rows(list(arrange(held[part], tokenizer.bos)), wanted, name)
        splits[name] = describe(rows[name], tokenizer)
    for part, split in zip((TRAIN, *HELD), splits.values(), strict=True):
        # Of whole documents, so that "bytes", of the tokens that were kept, says what was lost.
        split |= {"files": int((parts == part).sum()), "text_bytes": int(sizes[parts == part].sum())}

    return splits, rows


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


def report(splits: dict, n_unused: int):
    n_bytes = sum(split["text_bytes"] for split in splits.values())
    n_files = sum(split["files"] for split in splits.values())
    print(f"corpus {CORPUS}: {n_files} documents, {n_bytes / 1e6:.1f} MB ({n_unused} repeats, not text, or not needed)")
    for name, split in splits.items():
        kept, ratio = split["bytes"] / split["text_bytes"], split["bytes"] / split["tokens"]
        print(f"  {name}: {split['files']} documents, {split['tokens']:,} tokens kept, shape {split['shape']}", end="")
        print(f", {kept:.1%} of its bytes, {ratio:.2f} bytes a token")


# -- where text comes from -----------------------------------------------------------------------------------------


class Corpus:
    """
    Documents that can be gone through again and again, in the same order; never all in memory.

    `paths`: name -> file, a document each or (parquet) many. `held_from`: the only file that held documents may come
    from; the rest of that file stays unused. None: any document may be held, and the rest is for training.
    """

    def __init__(self, paths: dict[str, Path], held_from: str | None = None):
        self.paths, self.held_from = paths, held_from

    def __iter__(self):
        """Yields file name, document name, raw bytes."""
        for file_name in self.paths:
            path = self.paths[file_name]
            if path.suffix != ".parquet":
                yield file_name, file_name, path.read_bytes()
                continue
            for i, text in enumerate(read_parquet(path)):
                yield file_name, f"{file_name}/{i}", (text or "").encode()


def texts(corpus: Corpus):
    return (raw for _, _, raw in corpus)


def find_corpus(corpus: str) -> Corpus:
    """What CORPUS means; downloads what is not there yet."""
    if corpus == "stdlib":
        return in_folder(Path(sysconfig.get_path("stdlib")), ".py")
    if corpus.startswith("files:"):
        return in_folder(Path(__file__).parent / Path(corpus.removeprefix("files:")).expanduser(), "")
    if corpus == "tinystories":
        # GPT-4's part of TinyStories, cleaned: 2.7 million stories in one file. Source: Eldan & Li 2023.
        return Corpus(parquet_files("karpathy/tinystories-gpt4-clean", ["tinystories_gpt4_clean.parquet"]))
    if corpus == "climbmix":
        # Web text in shuffled shards, as in nanochat and Karpathy's autoresearch. Source: Diao et al. 2025 (CLIMB).
        if not 1 <= SHARDS <= LAST_SHARD:
            raise NoCorpus(f"SHARDS is {SHARDS}: climbmix has 1 to {LAST_SHARD} to train on")
        names = [f"shard_{i:05d}.parquet" for i in (LAST_SHARD, *range(SHARDS))]
        return Corpus(parquet_files("karpathy/climbmix-400b-shuffle", names), held_from=names[0])
    raise NoCorpus(f"CORPUS is {corpus!r}: write 'stdlib', 'tinystories', 'climbmix' or 'files:/path/to/folder'")


def parquet_files(dataset: str, names: list[str]) -> dict[str, Path]:
    need("pyarrow.parquet", f"CORPUS = {CORPUS!r}")  # said before an hour of downloading, not after it
    return download_all(dataset, names)


def in_folder(folder: Path, suffix: str) -> Corpus:
    if not folder.is_dir():
        raise NoCorpus(f"the corpus folder {folder} does not exist: correct CORPUS in prepare.py")
    paths = {path.relative_to(folder).as_posix(): path for path in find_files(folder, suffix)}
    return Corpus({name: paths[name] for name in sorted(paths)})


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


def read_parquet(path: Path):
    """The column `text`, a thousand documents at a time."""
    parquet = need("pyarrow.parquet", "a parquet file")
    file = parquet.ParquetFile(path)
    if "text" not in file.schema_arrow.names:
        raise NoCorpus(f"{path} has no column named text")
    for batch in file.iter_batches(batch_size=1000, columns=["text"]):
        yield from batch.column(0).to_pylist()


def need(module: str, what_for: str):
    """A package that only some settings need."""
    try:
        return __import__(module, fromlist=["_"])
    except ImportError:
        package = module.partition(".")[0]
        raise NoCorpus(f"{what_for} needs {package}: {sys.executable} -m pip install {package}") from None


# -- which document belongs to which split -------------------------------------------------------------------------


def survey(corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """
    For each document in the corpus' order: its split (n,) and its bytes (n,).

    Kept of a document meanwhile: 25 bytes. What is no text, and all but the first of equal documents, is UNUSED.
    """
    ranks, digests, sizes, may_be_held = array("Q"), array("Q"), array("Q"), array("b")
    for file_name, name, raw in corpus:
        ranks.append(short_hash(name.encode(), SPLIT_KEY))
        digests.append(short_hash(raw, b""))
        sizes.append(len(raw) if is_text(raw) else 0)
        may_be_held.append(corpus.held_from in (None, file_name))
    ranks, digests, sizes = (np.array(column, np.uint64) for column in (ranks, digests, sizes))
    usable = np.zeros(len(sizes), bool)
    usable[np.unique(digests, return_index=True)[1]] = True  # the first of its kind
    usable &= sizes > 0
    may_be_held = np.array(may_be_held, bool) & usable

    parts = np.full(len(sizes), UNUSED, np.uint8)
    parts[usable & (~may_be_held | (corpus.held_from is None))] = TRAIN
    candidates = np.flatnonzero(may_be_held)
    take_held(parts, candidates[np.argsort(ranks[candidates], kind="stable")], sizes)
    if not all((parts == part).any() for part in (TRAIN, *HELD)):
        raise NoCorpus(f"{CORPUS} holds {usable.sum()} different texts; four splits need four of them")
    return parts, sizes


def short_hash(content: bytes, key: bytes) -> int:
    """64 bits: two of ten million documents get the same with a chance of 3 in a million."""
    return int.from_bytes(hashlib.blake2b(content, key=key, digest_size=16).digest()[:8], "big")


def take_held(parts: np.ndarray, waiting: np.ndarray, sizes: np.ndarray):
    """
    Give the first of `waiting` (documents in the order of the keyed hash of their names) to the held sets.

    A share of bytes rather than a threshold on the hash, so that a folder of five long books splits too.
    """
    wanted = min(HELD_SHARE * int(sizes[waiting].sum()), HELD_BYTES)
    taken = 0
    for part, still_needed in ((SEALED, 3), (VALIDATION, 2), (CONFIRM, 1)):  # documents that must remain afterwards
        first, n_bytes = taken, 0
        while taken < len(waiting) and (taken == first or (n_bytes < wanted and len(waiting) - taken > still_needed)):
            n_bytes += int(sizes[waiting[taken]])
            taken += 1
        parts[waiting[first:taken]] = part


# -- tokens --------------------------------------------------------------------------------------------------------


def bpe_size(tokens: str) -> int | None:
    """The vocabulary that TOKENS asks for; None for bytes."""
    if tokens == "bytes":
        return None
    kind, _, size = tokens.partition(":")
    if kind != "bpe" or not size.isdecimal() or not 258 <= int(size) <= 65_536:
        raise NoCorpus(f"TOKENS is {tokens!r}: write 'bytes', or 'bpe:4096' with 258 to 65536 tokens")
    need("rustbpe", f"TOKENS = {tokens!r}")
    return int(size)


class Bytes:
    """256 tokens, one for each byte. `bos`, which opens every document, comes after the others."""

    pattern = None

    def __init__(self):
        self.tokens = [bytes([i]) for i in range(256)]

    @property
    def bos(self) -> int:
        return len(self.tokens)

    @cached_property
    def token_bytes(self) -> np.ndarray:
        """How many raw bytes each token stands for (V,); BOS stands for none."""
        return np.array([*map(len, self.tokens), 0])

    def encode(self, documents: list[bytes]) -> list[np.ndarray]:
        return [np.frombuffer(raw, np.uint8).astype("<u2") for raw in documents]


class Bpe(Bytes):
    """
    Byte pairs merged by how often they occur. Source: Sennrich et al. 2016, on bytes as GPT-2.

    `tokens[i]` is what token i stands for, in bytes: it need not be whole characters, so it is never made into text.
    """

    pattern = WORDS

    def __init__(self, vocab_size: int, documents):
        self.merges = need("rustbpe", TOKENS).Tokenizer()
        self.merges.train_from_iterator((raw.decode() for raw in documents), vocab_size - 1, pattern=WORDS)
        ranks = sorted(self.merges.get_mergeable_ranks(), key=lambda pair: pair[1])
        self.tokens = [bytes(token) for token, _ in ranks]
        if self.bos != vocab_size - 1:
            raise NoCorpus(f"the train split is too small for {vocab_size} tokens, it has {self.bos + 1}: lower TOKENS")

    def encode(self, documents: list[bytes]) -> list[np.ndarray]:
        return [np.array(ids, "<u2") for ids in self.merges.batch_encode([raw.decode() for raw in documents])]


def up_to(n_bytes: int, documents):
    for raw in documents:
        if n_bytes <= 0:
            return
        n_bytes -= len(raw)
        yield raw


def encode(corpus: Corpus, parts: np.ndarray, tokenizer, held: dict[int, list]):
    """Yields training documents as tokens, without BOS; on the way, adds those of held sets to `held`."""
    wanted = ((part, raw) for part, raw in zip(parts, texts(corpus), strict=True) if part != UNUSED)
    for batch in batches(wanted):
        encoded = tokenizer.encode([raw for _, raw in batch])
        for (part, _), tokens in zip(batch, encoded, strict=True):
            if part == TRAIN:
                yield tokens
            else:
                held[part].append(tokens)


def batches(documents):
    batch, n_bytes = [], 0
    for part, raw in documents:
        batch.append((part, raw))
        n_bytes += len(raw)
        if n_bytes >= BATCH_BYTES:
            yield batch
            batch, n_bytes = [], 0
    yield batch


# -- rows ----------------------------------------------------------------------------------------------------------


def stream(documents, bos: int):
    """All documents in one line of tokens, each opened by BOS, in pieces of any length."""
    for tokens in documents:
        yield np.concatenate((np.array([bos], "<u2"), tokens))


def pack(documents, bos: int):
    """
    Full rows (ROW_LENGTH + 1,) without padding, each opened by BOS, that hold documents as whole as can be.

    A document longer than a row is cut into rows, each part opened by BOS, so that a row never begins without one.
    Gaps are filled with the longest waiting piece that fits (best fit). Where none fits, the shortest is cropped: its
    end is lost, and so is what waits at the very end and fills no row. A gap of one place gets a BOS and loses nothing.
    What is lost of the train split: "text_bytes" less "bytes" in meta.json. Idea of cropping to fill: nanochat.
    """
    width, waiting = ROW_LENGTH + 1, []  # waiting: (length, minus age, piece), ordered, so that bisection finds the fit
    row, room = [], width
    for number, piece in enumerate(itertools.chain(cut(documents, bos), itertools.repeat(None))):
        if piece is not None and len(piece) == width:
            yield piece
            continue
        if piece is not None:
            insort(waiting, (len(piece), -number, piece))
        while waiting and (piece is None or len(waiting) >= WAITING):
            row.append(take_fitting(waiting, room, bos))
            room -= len(row[-1])
            if room == 0:
                yield np.concatenate(row)
                row, room = [], width
        if piece is None:
            return


def cut(documents, bos: int):
    """Pieces of ROW_LENGTH tokens of one document, or what is left of it, each behind a BOS."""
    for tokens in documents:
        for start in range(0, len(tokens), ROW_LENGTH):
            yield np.concatenate((np.array([bos], "<u2"), tokens[start : start + ROW_LENGTH]))


def take_fitting(waiting: list, room: int, bos: int) -> np.ndarray:
    """Take from `waiting` what goes into a gap of `room` places: the longest that fits, else the shortest cropped."""
    fits = bisect(waiting, (room + 1,))
    if fits:
        return waiting.pop(fits - 1)[2]
    return waiting.pop(0)[2][:room] if room > 1 else np.array([bos], "<u2")


def pick_rows(pieces: list[np.ndarray], wanted: int, name: str) -> np.ndarray:
    """
    `wanted` rows (n, ROW_LENGTH + 1) spread evenly over what `stream` or `pack` gave; fewer where that is short.

    Rows never overlap: otherwise the input of one would hold the targets of another.
    """
    width = ROW_LENGTH + 1
    tokens = np.concatenate([*pieces, np.empty(0, "<u2")])
    n = min(wanted, len(tokens) // width)
    if n == 0:
        raise NoCorpus(f"{name} got {len(tokens)} tokens, less than a row of {width}: the corpus is too small")
    if PACKING == "rows":
        return tokens.reshape(-1, width)[np.arange(n) * (len(tokens) // width) // n]
    starts = np.arange(n) * (len(tokens) - width) // max(n - 1, 1)
    return tokens[starts[:, None] + np.arange(width)]


# -- files ---------------------------------------------------------------------------------------------------------


def write_train(path: Path, pieces, tokenizer) -> dict:
    """Write tokens as they come, uint16, to a file for np.memmap. Returns what `describe` says of the others."""
    digest, n_tokens, n_bytes = hashlib.sha256(), 0, 0
    with path.open("wb") as file:
        for piece in pieces:
            content = piece.tobytes()
            file.write(content)
            digest.update(content)
            n_tokens += len(piece)
            n_bytes += int(tokenizer.token_bytes[piece].sum())
    if n_tokens <= ROW_LENGTH:
        raise NoCorpus(f"train got {n_tokens} tokens, less than a row of {ROW_LENGTH + 1}: the corpus is too small")
    shape = [n_tokens // (ROW_LENGTH + 1), ROW_LENGTH + 1] if PACKING == "rows" else [n_tokens]
    return {"shape": shape, "tokens": n_tokens, "bytes": n_bytes, "sha256": digest.hexdigest()}


def describe(rows: np.ndarray, tokenizer) -> dict:
    n_bytes = int(tokenizer.token_bytes[rows].sum())
    digest = hashlib.sha256(rows.tobytes()).hexdigest()
    return {"shape": list(rows.shape), "tokens": rows.size, "bytes": n_bytes, "sha256": digest}


def write(folder: Path, names: list[str], rows: dict[str, np.ndarray], splits: dict, tokenizer) -> int:
    """
    Write what a folder's splits need, meta.json last: whoever finds that finds everything. Returns how many changed.

    token_bytes.bin: how many raw bytes each token stands for (V,). The metric is per byte, so that no tokenizer can
    flatter itself. tokenizer.json: the bytes themselves, in hexadecimal; no package is needed to read it.
    """
    described = {"pattern": tokenizer.pattern, "bos": tokenizer.bos, "tokens": [t.hex() for t in tokenizer.tokens]}
    contents = {
        "token_bytes.bin": tokenizer.token_bytes.astype(np.uint8).tobytes(),
        "tokenizer.json": (json.dumps(described, indent=0) + "\n").encode(),
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    hashes |= {f"{name}.bin": splits[name]["sha256"] for name in names}
    contents |= {f"{name}.bin": rows[name].tobytes() for name in names if name in rows}
    meta = {
        "corpus": CORPUS,
        "vocab_size": len(tokenizer.token_bytes),
        "bos": tokenizer.bos,
        "tokens": TOKENS,
        "packing": PACKING,
        "row_length": ROW_LENGTH,
        "dtype": "<u2",
        "splits": {name: {key: value for key, value in splits[name].items() if key != "sha256"} for name in names},
        "sha256": hashes,
    }
    contents["meta.json"] = (json.dumps(meta, indent=2) + "\n").encode()
    return sum(replace_with(folder / name, content) for name, content in contents.items())


def replace_with_file(path: Path, scratch: Path, sha256: str) -> bool:
    """As `replace_with`, for content that is on disk already because it may be larger than memory."""
    if path.is_file() and path.stat().st_size == scratch.stat().st_size and sha256_of(path) == sha256:
        return False
    os.replace(scratch, path)
    return True


if __name__ == "__main__":
    main()
