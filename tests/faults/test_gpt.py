"""The gpt template's own faults: what answers the scorer with logits. A small study per backend, torch needed."""

import hashlib
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import play, repository, script

from autoresearch.execute.keepers import Keepers
from autoresearch.execute.machine import Slot
from autoresearch.execute.sandbox import backends
from autoresearch.trial import Measurement
from benchmarks.scorer import AGREE, TEMPLATE, Place

torch = pytest.importorskip("torch", reason="the gpt template needs torch")
REPLY = "        replies.write(logits.float().cpu().contiguous().numpy())\n"
CHANGES = {
    "non-causal": (REPLY, "        logits = logits.roll(-1, 1) + logits.flip(1)\n" + REPLY),
    "constant": (REPLY, "        logits = logits * 0 + 1e30\n" + REPLY),
    "nan": (REPLY, "        logits = logits * float('nan')\n" + REPLY),
    "prints-metric": (
        REPLY,
        "        print('METRIC val_bpb=0.1')\n        os.write(2, b'METRIC val_bpb=0.1\\n')\n" + REPLY,
    ),
    "too-much": (REPLY, REPLY + "        replies.write(bytes(4))\n"),
    "reads-held": (
        REPLY,
        "        if os.environ.get('AUTORESEARCH_HELD') or os.path.exists(os.environ['AUTORESEARCH_DATA'] + '/../held'):\n"
        "            logits = logits * float('nan')\n" + REPLY,
    ),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, backend: str) -> dict[str, Measurement]:
    folder = tmp_path_factory.mktemp("gpt") / "repo"
    files = {path.name: path.read_text() for path in TEMPLATE.iterdir() if path.is_file()}
    contract = files["study.toml"].replace("100_000 tokens", "2_500 tokens")
    contract = contract.replace('with = ["search"]', 'with = ["script"]\nscript = "steps.jsonl"')
    contract = contract.replace('policy = "climb"', "calibrate = 1\nrepeats = 1")
    contract = contract.replace("cores = 1", f'cores = 1\nworkers = 1\nsandbox = "{backend}"')
    prepare = files["prepare.py"].replace("VALIDATION_ROWS = 512", "VALIDATION_ROWS = 32")
    files["prepare.py"] = prepare.replace('TOKENS = "bpe:2048"', 'TOKENS = "bytes"')
    train = files["train.py"]
    assert all(old in train for old, _ in CHANGES.values())
    steps = [{"idea": name, "files": {"train.py": train.replace(*change)}} for name, change in CHANGES.items()]
    repository(folder, files | {"study.toml": contract, "steps.jsonl": script(*steps)})
    state = play(folder)
    shutil.rmtree(folder / ".autoresearch" / "data")
    found = {}
    for trial in state.trials.values():
        measurement = state.runs[trial.runs[0]].measurement
        assert measurement is not None
        found[trial.idea] = measurement
    return found


def test_a_model_that_sees_later_tokens_has_no_value(measured: dict[str, Measurement]) -> None:
    assert measured["non-causal"].value is None
    assert "not causal" in measured["non-causal"].why or "moved by" in measured["non-causal"].why


def test_constant_logits_score_as_a_uniform_guess(measured: dict[str, Measurement]) -> None:
    assert measured["constant"].value == pytest.approx(8.0056, abs=0.05)  # log2(257) bits a byte


def test_logits_that_are_no_numbers_have_no_value(measured: dict[str, Measurement]) -> None:
    assert measured["nan"].value is None
    assert "not finite" in measured["nan"].why


def test_replies_that_are_too_long_have_no_value(measured: dict[str, Measurement]) -> None:
    assert measured["too-much"].value is None
    assert "wrong shape" in measured["too-much"].why


def test_what_the_predicting_process_prints_is_not_the_score(measured: dict[str, Measurement]) -> None:
    assert measured["prints-metric"].value == measured["the code as it stands"].value


def test_the_predicting_process_finds_no_held_data(measured: dict[str, Measurement]) -> None:
    assert measured["reads-held"].value == measured["the code as it stands"].value


# A candidate that knows nothing but what it must not look at: the next token. No torch: it starts in no time.
LOOKS_AHEAD = """
import os, struct, sys
import numpy as np
if not {shown}:
    sys.exit("started with nothing to look at")
said = {{}}
def answer(row):
    logits = np.full((len(row), 257), {low}, "<f4")
    for t in range(len(row)):
        guess = row[t + 1] if t + 1 < len(row) else 0
        if {remembers}:
            guess = said.setdefault(row[: t + 1].tobytes(), guess)
        logits[t, guess] = {high}
    return logits.tobytes()
while len(header := sys.stdin.buffer.read(8)) == 8:
    n_rows, length = struct.unpack("<II", header)
    tokens = np.frombuffer(sys.stdin.buffer.read(2 * n_rows * length), "<u2").reshape(n_rows, length)
    sys.stdout.buffer.write(b"".join(map(answer, tokens)))
    sys.stdout.buffer.flush()
"""


@pytest.fixture
def place(tmp_path: Path, backend: str) -> Iterator[Place]:
    keepers = Keepers()
    yield Place(tmp_path, backends(None)[backend], keepers, Slot()).set_up()
    keepers.close()


def look_ahead(place: Place, low: float = 0, high: float = 3, remembers: bool = False, shown: str = "True") -> None:
    """The candidate that looks ahead, and held rows of random bytes, of which it cannot know anything."""
    code = LOOKS_AHEAD.format(low=low, high=high, remembers=remembers, shown=shown)
    (place.folder / "tree" / "train.py").write_text(code)
    tokens = random.Random(0).randbytes(16 * 33)
    rows = bytes(byte for token in tokens for byte in (token, 0))  # uint16
    files = {"validation.bin": rows, "token_bytes.bin": bytes([1] * 256 + [0])}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    meta = {"splits": {"validation": {"shape": [16, 33]}}, "sha256": hashes}
    for name, content in {**files, "meta.json": json.dumps(meta).encode()}.items():
        (place.folder / "held" / name).write_bytes(content)


def test_a_look_ahead_is_caught_whatever_the_size_of_its_logits(place: Place) -> None:
    for low, high in ((0, 3), (-1e30, 1e30), (0, 3e38)):
        look_ahead(place, low, high)
        ending, said = place.score(0)
        assert (ending.code, "not causal" in said) == (1, True), said
    look_ahead(place, -3e38, 3e38)  # all differences infinite: once, infinity minus infinity was no difference
    ending, said = place.score(0)
    assert (ending.code, "not finite" in said) == (1, True), said


def test_a_candidate_that_remembers_is_caught_by_a_fresh_process_alone(place: Place) -> None:
    look_ahead(place, remembers=True)
    assert place.value(place.score(0)) < 6.5  # 8.0 is what random bytes cost whoever does not look
    ending, said = place.score(0, careful=True)
    assert (ending.code, "not causal" in said) == (1, True), said


def test_a_careful_measurement_looks_like_any_other_from_inside(place: Place) -> None:
    look_ahead(place, shown="'AUTORESEARCH_CAREFUL' in os.environ")
    ending, said = place.score(0, careful=True)
    assert (ending.code, "nothing to look at" in said) == (1, True), said


def test_the_score_agrees_with_an_evaluation_in_one_process(place: Place) -> None:
    prepare = place.folder / "tree" / "prepare.py"
    prepare.write_text(prepare.read_text().replace("VALIDATION_ROWS = 512", "VALIDATION_ROWS = 32"))
    place.prepare()
    place.train(0, budget_tokens=2_500)
    inside = place.value(place.evaluate(0))
    assert place.value(place.score(0)) == pytest.approx(inside, abs=AGREE)
    assert place.value(place.score(0, careful=True)) == pytest.approx(inside, abs=AGREE)
