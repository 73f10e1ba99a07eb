"""
Builds the data of this study, once: a corpus of text becomes arrays of tokens, one for training and three held ones.

Knows where text comes from, which document belongs to which split, and what is written of each. Does not know models
or metrics. Training data goes where a run may look (AUTORESEARCH_DATA), the validation and confirm sets where only
the scorer looks (AUTORESEARCH_HELD), the sealed set where it looks for a claim alone (AUTORESEARCH_SEALED).
Frozen, with its parts tokens.py, rows.py and download.py: a change starts a new study, old values no longer compare.

At last it has plan.py measure how train.py runs fastest here. `python prepare.py download` only fetches what CORPUS
needs (download.py) and shows how far it is; `python prepare.py data` makes no plan.
"""

import hashlib
import json
import os
import sys
import sysconfig
from array import array
from functools import partial
from pathlib import Path

import numpy as np
from download import NoDownload, download_all, replace_with, sha256_of
from rows import pack, pick_rows, stream
from tokens import Bpe, Bytes, Unmet, bpe_size, need

# "stdlib": the source text of Python's own library, offline. "files:/path/to/folder": your own text.
# "tinystories", "climbmix": downloaded on first use; they need `pip install pyarrow`.
CORPUS = "stdlib"
SHARDS = 8  # of climbmix to train on, each about 90 MB to download, 250 MB of text, 60 million tokens; 6542 at most
TOKENS = "bpe:2048"  # so many tokens, learnt from the train split; needs `pip install rustbpe`. "bytes" needs nothing
PACKING = "rows"  # each row opens with BOS and holds documents as whole as can be; "stream": one after another

ROW_LENGTH = 128  # tokens a model sees in one row of a held set, and predicts the next of
VALIDATION_ROWS = 512  # 65,536 predicted tokens: four seconds of prediction on one core
CONFIRM_ROWS = 512  # of documents that no trial was compared on: `certify` measures on them what each change carries
SEALED_ROWS = 1536  # opened once, by `certify`, so it may cost more and be sharper
HELD_SHARE = 0.06  # of the corpus' bytes, for each of the three held sets ...
HELD_BYTES = 16_000_000  # ... but never more than this, which is plenty for the rows above
SPLIT_KEY = b"autoresearch gpt 1"  # fixes which document falls into which split, on every machine

# Tests repeat each other and hold odd bytes; the build's own settings differ from machine to machine.
SKIPPED = ("site-packages", "dist-packages", "test", "tests", "idle_test", "lib-dynload", "__pycache__")
SKIPPED_PREFIXES = ("_sysconfigdata", "config-")

LAST_SHARD = 6542  # of climbmix: held sets come from it alone, so SHARDS does not change them; nanochat's choice too
BATCH_BYTES = 8_000_000  # of text tokenised at once, by all cores

TRAIN, VALIDATION, CONFIRM, SEALED, UNUSED = range(5)
HELD = {
    VALIDATION: ("validation", VALIDATION_ROWS),
    CONFIRM: ("confirm", CONFIRM_ROWS),
    SEALED: ("sealed", SEALED_ROWS),
}


def main():
    """Build, write what differs from what is there, and say so. Exit 2: the corpus or a folder is missing."""
    try:
        if sys.argv[1:] == ["download"]:
            find_corpus(CORPUS)
            return
        data = prepare()
        if sys.argv[1:] != ["data"]:
            from plan import in_words, make_plan  # here, because it loads torch

            print(in_words(make_plan(data)))
    except (Unmet, NoDownload) as problem:
        print(f"prepare.py: {problem}", file=sys.stderr)
        raise SystemExit(2) from None


def prepare() -> Path:
    """Returns the folder of training data."""
    paths = folders()
    vocab_size = bpe_size(TOKENS)
    if PACKING not in ("stream", "rows"):
        raise Unmet(f"PACKING is {PACKING!r}: write 'stream' or 'rows'")
    corpus = find_corpus(CORPUS)  # the part that may take long, so what can be wrong was looked at before
    parts, sizes = survey(corpus)
    train = (raw for part, raw in zip(parts, texts(corpus), strict=True) if part == TRAIN)
    tokenizer = Bpe(vocab_size, train) if vocab_size else Bytes()
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
    return paths[0]


def tokenise(corpus, parts: np.ndarray, sizes: np.ndarray, tokenizer, scratch: Path) -> tuple[dict, dict]:
    """What meta.json says of each split, and the rows of the held ones; training tokens go to `scratch`."""
    held = {part: [] for part in HELD}  # filled while the training documents go by
    packed = PACKING == "rows"
    arrange = partial(pack, row_length=ROW_LENGTH) if packed else stream
    splits = {"train": write_train(scratch, arrange(encode(corpus, parts, tokenizer, held), tokenizer.bos), tokenizer)}
    rows = {}
    for part, (name, wanted) in HELD.items():
        tokens = np.concatenate([*arrange(held[part], tokenizer.bos), np.empty(0, "<u2")])
        check_length(name, len(tokens))
        rows[name] = pick_rows(tokens, wanted, ROW_LENGTH, packed)
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
            raise Unmet(f"{name} is not set: give the folder to fill")
        paths.append(Path(os.environ[name]).resolve())
    if any(path.is_relative_to(paths[0]) for path in paths[1:]):
        raise Unmet("AUTORESEARCH_HELD or _SEALED lies inside AUTORESEARCH_DATA: a run could read the answers")
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
            raise Unmet(f"SHARDS is {SHARDS}: climbmix has 1 to {LAST_SHARD} to train on")
        names = [f"shard_{i:05d}.parquet" for i in (LAST_SHARD, *range(SHARDS))]
        return Corpus(parquet_files("karpathy/climbmix-400b-shuffle", names), held_from=names[0])
    raise Unmet(f"CORPUS is {corpus!r}: write 'stdlib', 'tinystories', 'climbmix' or 'files:/path/to/folder'")


def parquet_files(dataset: str, names: list[str]) -> dict[str, Path]:
    need("pyarrow.parquet", f"CORPUS = {CORPUS!r}")  # said before an hour of downloading, not after it
    return download_all(dataset, names)


def in_folder(folder: Path, suffix: str) -> Corpus:
    if not folder.is_dir():
        raise Unmet(f"the corpus folder {folder} does not exist: correct CORPUS in prepare.py")
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
        raise Unmet(f"{path} has no column named text")
    for batch in file.iter_batches(batch_size=1000, columns=["text"]):
        yield from batch.column(0).to_pylist()


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
        raise Unmet(f"{CORPUS} holds {usable.sum()} different texts; four splits need four of them")
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
    check_length("train", n_tokens)
    shape = [n_tokens // (ROW_LENGTH + 1), ROW_LENGTH + 1] if PACKING == "rows" else [n_tokens]
    return {"shape": shape, "tokens": n_tokens, "bytes": n_bytes, "sha256": digest.hexdigest()}


def check_length(name: str, n_tokens: int):
    if n_tokens <= ROW_LENGTH:
        raise Unmet(f"{name} got {n_tokens} tokens, less than a row of {ROW_LENGTH + 1}: the corpus is too small")


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
