"""
A study where nothing works: the whole loop, with real git and real processes. It must not end in a claim.

Every change is a new name for the same thing; the value is noise that follows from the seed and the content, so that
pairing has nothing to hold on to. While climbing some are kept, which is what the default allows; the claim, on
fresh seeds, is what must not fall for it.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import contract, play, repository, script, toml

from autoresearch.certify import certify
from autoresearch.errors import AutoresearchError
from autoresearch.session import Listener

pytest.importorskip("scipy", reason="certify needs the extra `stats`")

STUDIES, TRIALS, ALPHA = 12, 12, 0.05
MEASURE = """
import os, random
noise = random.Random(open("name.txt").read() + os.environ["AUTORESEARCH_SEED"]).gauss(0, 1)
print("METRIC loss=%r" % (10 + noise))
"""


def null_study(folder: Path, number: int) -> Path:
    steps: list[dict[str, Any]] = [
        {"idea": f"nothing {i}", "files": {"name.txt": f"{number}-{i}\n"}} for i in range(TRIALS)
    ]
    tables = contract(
        asset=["name.txt"],
        metric={"name": "loss", "max_step": 100.0},
        measure={"run": "python -I -S measure.py"},
        decide={"calibrate": 3},
    )
    files = {"measure.py": MEASURE, "name.txt": f"{number}\n", "program.md": "x\n", "steps.jsonl": script(*steps)}
    return repository(folder, files | {"study.toml": toml(tables)})


def test_a_study_of_pure_noise_ends_in_no_claim(tmp_path: Path) -> None:
    wins, kept, reports = 0, 0, []
    for number in range(STUDIES):
        folder = null_study(tmp_path / str(number), number)
        state = play(folder)
        assert state.decided == TRIALS
        kept += state.counts.get("keep", 0)
        if not state.counts.get("keep"):
            with pytest.raises(AutoresearchError, match="no change was kept"):
                certify(folder, 5, False, Listener())
            continue
        claim = certify(folder, 5, False, Listener())
        wins += claim.low > 0
        reports.append((claim.climbing, claim.gain))
    # 2.5 % of honest one-sided intervals lie above 0; of 12 studies, 4 or more would happen once in 7,000.
    assert wins <= 3, json.dumps(reports)
    assert kept < STUDIES * TRIALS / 2, "climbing is lenient, but not that lenient"
    climbing = sum(looked for looked, _ in reports) / max(1, len(reports))
    certified = sum(found for _, found in reports) / max(1, len(reports))
    assert climbing > certified, "what was picked for looking good looks better than it is"
