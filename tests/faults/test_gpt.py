"""The gpt template's own faults: what answers the scorer with logits. Two small studies, torch needed."""

import shutil
from pathlib import Path

import pytest
from helpers import play, repository, script

import autoresearch
from autoresearch.trial import Measurement
from faults.conftest import works_here

torch = pytest.importorskip("torch", reason="the gpt template needs torch")
TEMPLATE = Path(autoresearch.__file__).parent / "templates" / "gpt"
REPLY = "        replies.write(logits.float().cpu().contiguous().numpy())\n"
CHANGES = {
    "non-causal": (REPLY, "        logits = logits.roll(-1, 1) + logits.flip(1)\n" + REPLY),
    "constant": (REPLY, "        logits = logits * 0 + 5\n" + REPLY),
    "nan": (REPLY, "        logits = logits * float('nan')\n" + REPLY),
    "prints-metric": (
        REPLY,
        "        print('METRIC val_bpb=0.1')\n        os.write(2, b'METRIC val_bpb=0.1\\n')\n" + REPLY,
    ),
    "reads-held": (
        REPLY,
        "        if os.environ.get('AUTORESEARCH_HELD') or os.path.exists(os.environ['AUTORESEARCH_DATA'] + '/../held'):\n"
        "            logits = logits * float('nan')\n" + REPLY,
    ),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measurement]:
    folder = tmp_path_factory.mktemp("gpt") / "repo"
    files = {path.name: path.read_text() for path in TEMPLATE.iterdir() if path.is_file()}
    contract = files["study.toml"].replace("150_000 tokens", "5_000 tokens")
    contract = contract.replace('with = ["search"]', 'with = ["script"]\nscript = "steps.jsonl"')
    contract = contract.replace('policy = "climb"', "calibrate = 1\nrepeats = 1")
    contract = contract.replace("cores = 1", f'cores = 1\nworkers = 1\nsandbox = "{works_here("namespaces")}"')
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


def test_what_the_predicting_process_prints_is_not_the_score(measured: dict[str, Measurement]) -> None:
    assert measured["prints-metric"].value == measured["the code as it stands"].value


def test_the_predicting_process_finds_no_held_data(measured: dict[str, Measurement]) -> None:
    assert measured["reads-held"].value == measured["the code as it stands"].value
