"""prepare.py of the gpt template: which bytes go where, what a token stands for, and what rows lose."""

import hashlib
import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from gpt import copy, module, run, texts
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy", reason="the gpt template needs numpy")
SPLITS = {"train": "open", "validation": "held", "confirm": "held", "sealed": "sealed"}
BOS, ROW = 9_999, 16


def some_text(seed: int, n_words: int) -> str:
    chance = random.Random(seed)
    words = ["naïve", "token", "row", "größer", "表示", "of", "a", "the", "🙂", "x = 42\n", "    return"]
    return f"document {seed}: " + " ".join(chance.choices(words, k=n_words))


def corpus_of(folder: Path, n: int = 40) -> str:
    return texts(folder, {f"{i:03d}.txt": some_text(i, 60 + 10 * i) for i in range(n)})


def meta(folder: Path, name: str = "open") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name / "meta.json").read_text())
    return found


def tokens_of(folder: Path, split: str) -> Any:
    where = folder / SPLITS[split]
    return np.fromfile(where / f"{split}.bin", "<u2").reshape(meta(folder, SPLITS[split])["splits"][split]["shape"])


def as_bytes(folder: Path, tokens: Any) -> bytes:
    """By tokenizer.json alone: no package that made it."""
    described = json.loads((folder / "open" / "tokenizer.json").read_text())
    meanings = [bytes.fromhex(token) for token in described["tokens"]]
    return b"".join(b"" if token == described["bos"] else meanings[token] for token in tokens)


def prepared(folder: Path, **constants: object) -> Path:
    copy(folder, **({"CORPUS": corpus_of(folder), "ROW_LENGTH": 32} | constants))
    done = run(folder, "prepare.py", "data")
    assert done.returncode == 0, done.stderr
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in folder.glob("*/*.bin")} | {
        f"{name}/meta": (folder / name / "meta.json").read_bytes() for name in ("held", "sealed")
    }


# -- splits --------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([b"a", b"bb" * 40, b"ccc", b"\xff", b"", b"d\0"]) | st.binary(max_size=60), max_size=30)
)
def test_each_text_is_in_exactly_one_split_and_its_repeats_in_none(
    prepare: Any, tmp_path_factory: pytest.TempPathFactory, documents: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("documents")
    texts(folder, {f"{i:02d}": raw for i, raw in enumerate(documents)} | {"last": b"so that the folder exists"})
    corpus = prepare.find_corpus(f"files:{folder / 'texts'}")
    found = [raw for _, _, raw in corpus]
    usable = {raw for raw in found if prepare.is_text(raw)}
    if len(usable) < 4:
        with pytest.raises(prepare.Unmet, match="four splits need four"):
            prepare.survey(corpus)
        return
    parts, sizes = prepare.survey(corpus)
    used = [raw for part, raw in zip(parts, found, strict=True) if part != prepare.UNUSED]
    assert sorted(used) == sorted(usable)
    assert set(parts) >= {prepare.TRAIN, *prepare.HELD}
    assert [size for size, raw in zip(sizes, found, strict=True) if prepare.is_text(raw)] == [
        len(raw) for raw in found if prepare.is_text(raw)
    ]


def test_one_more_document_moves_no_other_between_held_sets(prepare: Any, tmp_path: Path) -> None:
    corpus = prepare.find_corpus(corpus_of(tmp_path, 200))
    parts, _ = prepare.survey(corpus)
    texts(tmp_path, {"new.txt": "another"})
    more, _ = prepare.survey(prepare.find_corpus(f"files:{tmp_path / 'texts'}"))
    moved = (parts != more[:200]).sum()
    assert moved <= 4  # at the borders between sets, which are shares of bytes


def test_no_held_document_is_in_the_training_data(tmp_path: Path) -> None:
    prepared(tmp_path, VALIDATION_ROWS=10_000, CONFIRM_ROWS=10_000, SEALED_ROWS=10_000)
    seen = {split: as_bytes(tmp_path, tokens_of(tmp_path, split).ravel()) for split in SPLITS}
    opened = {split: {i for i in range(40) if f"document {i}: ".encode() in raw} for split, raw in seen.items()}
    assert sum(map(len, opened.values())) == len(set().union(*opened.values()))
    assert len(opened["train"]) == meta(tmp_path)["splits"]["train"]["files"]
    assert all(opened.values())


def test_training_bytes_are_the_files_one_after_another(tmp_path: Path) -> None:
    prepared(tmp_path)
    train = tokens_of(tmp_path, "train")
    documents = as_bytes(tmp_path, train)
    files = [path.read_bytes() for path in sorted((tmp_path / "texts").iterdir())]
    assert documents == b"".join(raw for raw in files if raw in documents)
    assert (train == 256).sum() == meta(tmp_path)["splits"]["train"]["files"]
    assert train[0] == meta(tmp_path)["bos"] == 256


@pytest.mark.parametrize("packing", ["stream", "rows"])
def test_the_same_settings_give_the_same_bytes(tmp_path: Path, packing: str) -> None:
    corpus = corpus_of(tmp_path)
    first = contents(prepared(tmp_path / "a", CORPUS=corpus, PACKING=packing))
    assert first == contents(prepared(tmp_path / "b", CORPUS=corpus, PACKING=packing))
    assert "nothing written" in run(tmp_path / "a", "prepare.py", "data").stdout
    (tmp_path / "a" / "open" / "train.bin").write_bytes(b"damaged")
    assert "written to" in run(tmp_path / "a", "prepare.py", "data").stdout
    assert contents(tmp_path / "a") == first
    assert not list(tmp_path.glob("*/*/*.tmp"))


# -- rows ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return module(tmp_path_factory.mktemp("template"), "prepare")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return module(tmp_path_factory.mktemp("template"), "rows", WAITING=5)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 40) | st.integers(1, 6), max_size=60))
def test_rows_hold_every_token_once_but_for_cropped_ends(rows: Any, lengths: list[int]) -> None:
    ends = np.cumsum([0, *lengths])
    documents = [np.arange(a, b, dtype="<u2") for a, b in pairwise(ends)]
    pieces = {int(piece[1]): piece[1:].tolist() for piece in rows.cut(documents, BOS, ROW)}
    assert sorted(token for piece in pieces.values() for token in piece) == list(range(ends[-1]))
    for row in map(np.ndarray.tolist, rows.pack(documents, BOS, ROW)):
        assert len(row) == ROW + 1  # and so there is no padding: every token is a document's, or BOS
        assert row[0] == BOS
        *whole, last = split_at(row, BOS)
        assert all(pieces.pop(segment[0]) == segment for segment in whole)
        if last:  # else a gap of one place, filled with a BOS
            assert pieces.pop(last[0])[: len(last)] == last
    assert sum(len(piece) + 1 for piece in pieces.values()) <= ROW  # at the very end, less than a row


def split_at(row: list[int], mark: int) -> list[list[int]]:
    places = [i for i, token in enumerate(row) if token == mark] + [len(row)]
    return [row[a + 1 : b] for a, b in pairwise(places)]


def test_nothing_is_cropped_where_something_fits(rows: Any) -> None:
    lengths = [3, 12, 7, 8, 11, 4]  # with a BOS each: three rows of 17
    documents = [np.full(length, i, "<u2") for i, length in enumerate(lengths)]
    packed = np.concatenate(list(rows.pack(documents, BOS, ROW)))
    assert [int((packed == i).sum()) for i in range(len(lengths))] == lengths


def test_held_rows_are_spread_over_their_split_and_do_not_overlap(tmp_path: Path) -> None:
    prepared(tmp_path, PACKING="rows", VALIDATION_ROWS=4)
    rows = tokens_of(tmp_path, "validation")
    assert rows.shape == (4, 33)
    assert (rows[:, 0] == 256).all()
    assert len({row.tobytes() for row in rows}) == 4


# -- tokens --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bpe(prepare: Any) -> Any:
    pytest.importorskip("rustbpe", reason="TOKENS = bpe:... needs rustbpe")
    return prepare.Bpe(310, (some_text(i, 300).encode() for i in range(20)))


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text("ab 1\n\r\t🙂表é_=") | st.integers(0, 99).map(lambda seed: some_text(seed, 30)))
def test_tokens_stand_for_all_bytes_of_a_document(prepare: Any, bpe: Any, text: str) -> None:
    raw = text.encode()
    for tokenizer in (bpe, prepare.Bytes()):
        (tokens,) = tokenizer.encode([raw])
        assert b"".join(tokenizer.tokens[token] for token in tokens) == raw
        assert tokenizer.token_bytes[tokens].sum() == len(raw)
        assert tokenizer.bos not in tokens
    assert bpe.token_bytes[bpe.bos] == 0


def test_tokens_that_are_no_whole_characters_count_their_own_bytes(bpe: Any) -> None:
    broken = [i for i, token in enumerate(bpe.tokens) if b"\xef\xbf\xbd" in token.decode(errors="replace").encode()]
    assert len(broken) > 128  # by way of text each would count 3 bytes or more: the replacement character
    assert all(bpe.token_bytes[i] == 1 for i in broken if i < 256)
    assert bpe.token_bytes.max() < 256  # what token_bytes.bin can hold


def test_a_run_of_one_character_takes_time_in_proportion_to_its_length(bpe: Any) -> None:
    (tokens,) = bpe.encode([b" " * 500_000])  # as one piece, this would take half an hour
    assert bpe.token_bytes[tokens].sum() == 500_000


def test_tokens_are_learnt_from_the_train_split_alone(tmp_path: Path) -> None:
    pytest.importorskip("rustbpe", reason="TOKENS = bpe:... needs rustbpe")
    prepared(tmp_path, TOKENS="bpe:300", PACKING="rows")
    found = meta(tmp_path)
    assert (found["vocab_size"], found["bos"]) == (300, 299)
    code = module(tmp_path / "again", "prepare", CORPUS=f"files:{tmp_path / 'texts'}")
    corpus = code.find_corpus(code.CORPUS)
    parts, _ = code.survey(corpus)
    train = [raw for part, raw in zip(parts, code.texts(corpus), strict=True) if part == code.TRAIN]
    described = json.loads((tmp_path / "open" / "tokenizer.json").read_text())
    assert [token.hex() for token in code.Bpe(300, iter(train)).tokens] == described["tokens"]
    lengths = np.fromfile(tmp_path / "open" / "token_bytes.bin", np.uint8)
    assert lengths.tolist() == [len(token) // 2 for token in described["tokens"]] + [0]
    rows = tokens_of(tmp_path, "train")
    assert int(lengths[rows].sum()) == found["splits"]["train"]["bytes"] == len(as_bytes(tmp_path, rows.ravel()))
    assert found["splits"]["train"]["text_bytes"] == sum(map(len, train))


@pytest.mark.parametrize(
    ("constants", "said"),
    [
        ({"CORPUS": "wikipedia"}, r"CORPUS is 'wikipedia': write 'stdlib', 'tinystories'"),
        ({"CORPUS": "files:/nowhere/at/all"}, "does not exist: correct CORPUS"),
        ({"TOKENS": "bpe"}, "TOKENS is 'bpe': write 'bytes', or 'bpe:4096'"),
        ({"TOKENS": "bpe:70000"}, "258 to 65536"),
        ({"PACKING": "padded"}, "PACKING is 'padded': write 'stream' or 'rows'"),
        ({"CORPUS": "climbmix", "SHARDS": 0}, "SHARDS is 0"),
        ({"ROW_LENGTH": 100_000}, "less than a row"),
    ],
)
def test_a_setting_that_cannot_be_met_is_a_sentence(tmp_path: Path, constants: dict[str, object], said: str) -> None:
    copy(tmp_path, **({"CORPUS": corpus_of(tmp_path)} | constants))
    done = run(tmp_path, "prepare.py", "data")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list((tmp_path / "open").glob("*"))


@pytest.mark.parametrize(
    ("package", "constants"), [("rustbpe", {"TOKENS": "bpe:300"}), ("pyarrow", {"CORPUS": "climbmix"})]
)
def test_a_missing_package_is_named_with_its_command(
    tmp_path: Path, package: str, constants: dict[str, object]
) -> None:
    copy(tmp_path, **({"CORPUS": corpus_of(tmp_path)} | constants))
    (tmp_path / f"{package}.py").write_text("raise ImportError('as if it were not installed')\n")
    done = run(tmp_path, "prepare.py", "data", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 2
    assert f"-m pip install {package}" in done.stderr


# -- scores --------------------------------------------------------------------------------------------------------

# Answers with logits that are all 0, but for what it sees when it looks one token ahead.
CANDIDATE = """
import struct, sys
import numpy as np
while len(header := sys.stdin.buffer.read(8)) == 8:
    n_rows, length = struct.unpack("<II", header)
    tokens = np.frombuffer(sys.stdin.buffer.read(2 * n_rows * length), "<u2").reshape(n_rows, length).astype(int)
    logits = np.zeros((n_rows, length, {vocab_size}), "<f4")
    if {looks_ahead} and length > 1:
        np.put_along_axis(logits[:, :-1], tokens[:, 1:, None], 0.5, axis=-1)
    sys.stdout.buffer.write(logits.tobytes())
    sys.stdout.buffer.flush()
"""


def held_rows(folder: Path, vocab_size: int, answers: int | None = None, looks_ahead: bool = False) -> Path:
    copy(folder)
    (folder / "held").mkdir()
    (folder / "train.py").write_text(CANDIDATE.format(vocab_size=answers or vocab_size, looks_ahead=looks_ahead))
    rows = np.random.default_rng(0).integers(0, vocab_size - 1, (48, 17)).astype("<u2")
    files = {"token_bytes.bin": bytes([*[4] * (vocab_size - 1), 0])}
    files |= {"validation.bin": rows[:32].tobytes(), "confirm.bin": rows[32:].tobytes()}
    shapes = {"validation": {"shape": [32, 17]}, "confirm": {"shape": [16, 17]}}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files["meta.json"] = json.dumps({"splits": shapes, "sha256": hashes}).encode()
    for name, content in files.items():
        (folder / "held" / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("vocab_size", [257, 4_096, 20_000, 65_536])
def test_a_uniform_guess_costs_the_logarithm_of_any_vocabulary(tmp_path: Path, vocab_size: int) -> None:
    held_rows(tmp_path, vocab_size)
    for held in ("search", "confirm"):
        done = run(tmp_path, "score.py", AUTORESEARCH_SET=held)
        assert done.stdout.splitlines()[0] == f"METRIC val_bpb={np.log2(vocab_size) / 4:.6f}", done.stderr


@pytest.mark.parametrize("vocab_size", [257, 20_000])
def test_a_look_ahead_is_caught_in_any_vocabulary(tmp_path: Path, vocab_size: int) -> None:
    done = run(held_rows(tmp_path, vocab_size, looks_ahead=True), "score.py")
    assert done.returncode == 1
    assert "not causal" in done.stderr


@pytest.mark.parametrize(("vocab_size", "answers"), [(257, 256), (4_096, 4_095), (65_536, 70_000)])
def test_another_vocabulary_is_a_wrong_shape(tmp_path: Path, vocab_size: int, answers: int) -> None:
    done = run(held_rows(tmp_path, vocab_size, answers), "score.py")
    assert done.returncode == 1
    assert "wrong shape" in done.stderr
