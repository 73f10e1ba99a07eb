"""What cannot be prevented from outside is seen: lucky seeds, false claims, bought gains, gains out of this world."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import play, repository, script, toml

from autoresearch.state import State
from autoresearch.trial import Trial
from faults.conftest import fault_contract

START = """
import json, os, random, sys
SEED = int(os.environ["AUTORESEARCH_SEED"])
def train(seed, gift=0.0):
    answer = 1000 + random.Random(seed * 77 + 1).random() - gift
    json.dump(answer, open(os.environ["AUTORESEARCH_OUT"] + "/answer.json", "w"))
"""
HONEST = START + "train(SEED)\n"
SCORE = """
import json, os
print("METRIC loss=%r" % json.load(open(os.environ["AUTORESEARCH_OUT"] + "/answer.json")))
"""


@dataclass(frozen=True)
class Seen:
    """What a candidate does instead of `train(SEED)`, the verdict's word, and what is said about it."""

    code: str
    word: str
    said: str


ROWS = {
    "hard-codes-a-lucky-seed": Seen(
        "train(seed=137, gift=2.5)\n", "suspect", "fixes a seed: train(seed=137, gift=2.5)"
    ),
    "ignores-its-seed": Seen("train(int('8' * 3), gift=2.5)\n", "suspect", "ignores its seed: "),
    "states-more-time-than-it-took": Seen(
        "train(SEED, gift=9)\nprint('METRIC training_seconds=300')\n", "keep", "states training_seconds = 300, but ran "
    ),
    "states-more-than-its-budget": Seen(
        "train(SEED, gift=9)\nprint('METRIC steps=40')\n", "keep", "states steps = 40, but the budget is 1"
    ),
    "buys-its-gain": Seen(
        "import time\nwhile time.process_time() < 0.6: pass\ntrain(SEED, gift=9)\n", "keep", "bought with compute: "
    ),
    "gains-more-than-can-be": Seen("train(SEED, gift=900)\n", "suspect", "far outside anything seen"),
}


@pytest.fixture(scope="module")
def played(backend: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[State, Trial]]:
    """Each row against the honest start, so that none profits from another."""
    found = {}
    for name, row in ROWS.items():
        folder = tmp_path_factory.mktemp("doubts") / name
        decide = {"calibrate": 5, "repeats": 3}
        own = fault_contract(backend, decide=decide)
        del own["metric"]["max"]
        own["measure"] = {"run": "python candidate.py", "score": "python score.py", "budget": "1 steps", "overrun": 50}
        files = {"study.toml": toml(own), "score.py": SCORE, "candidate.py": HONEST, "program.md": "x\n"}
        steps = script({"idea": name, "files": {"candidate.py": START + row.code}})
        repository(folder, files | {"steps.jsonl": steps})
        state = play(folder)
        found[name] = (state, list(state.trials.values())[-1])
    return found


@pytest.mark.parametrize("name", ROWS)
def test_what_cannot_be_prevented_is_seen(played: dict[str, tuple[State, Trial]], name: str) -> None:
    state, trial = played[name]
    assert trial.verdict is not None
    assert trial.word == ROWS[name].word, trial.verdict
    assert any(ROWS[name].said in said for said in (trial.verdict.why, *trial.verdict.flags)), trial.verdict
    assert state.best is not None
    assert (state.best.trial == trial.id) == (trial.word == "keep")


def test_the_study_of_these_rows_is_an_honest_one(backend: str, tmp_path: Path) -> None:
    """Without any of it, a real gain is kept and nothing is said."""
    own = fault_contract(backend, decide={"calibrate": 5, "repeats": 3})
    own["measure"] = {"run": "python candidate.py", "score": "python score.py", "budget": "1 steps", "overrun": 50}
    files = {"study.toml": toml(own), "score.py": SCORE, "candidate.py": HONEST, "program.md": "x\n"}
    steps = script({"idea": "honest", "files": {"candidate.py": START + "train(SEED, gift=9)\n"}})
    trial = list(play(repository(tmp_path / "s", files | {"steps.jsonl": steps})).trials.values())[-1]
    assert trial.verdict is not None
    assert (trial.word, trial.verdict.flags) == ("keep", ())
