"""The claim: fresh paired seeds, the sealed set opened once and counted, and what each kept change carries."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from helpers import (
    autoresearch,
    eventually,
    git,
    journal_lines,
    make_study,
    play,
    runs_for,
    says,
    script,
    started,
    state_of,
)

from autoresearch.certify import certify
from autoresearch.errors import AutoresearchError
from autoresearch.report.claim import sentence
from autoresearch.session import Listener
from autoresearch.trial import Claim, Metric

pytest.importorskip("scipy", reason="certify needs the extra `stats`")

# The value is what the parts take away from ten, plus noise of 0.05 that follows from the seed. What `luck.txt`
# names takes something away while it is there, which is while the study climbs.
MEASURE = """
import os, random
parts = {name: float(open(name + ".txt").read()) for name in ("one", "two", "three")}
luck = 1.0 if os.path.exists(open("luck.txt").read().strip()) else 0.0
noise = random.Random(os.environ["AUTORESEARCH_SEED"]).gauss(0, 0.05)
print("METRIC loss=%r" % (10 - sum(parts.values()) - luck + noise))
"""
SCORE = """
import os
where = os.environ["AUTORESEARCH_SET"]
with open(os.environ["AUTORESEARCH_HELD"] + "/seen", "a") as seen:
    print(where, os.environ.get("AUTORESEARCH_SEALED", "closed") != "closed", os.environ["AUTORESEARCH_SEED"], file=seen)
value = float(open(os.environ["AUTORESEARCH_OUT"] + "/value").read())
print("METRIC loss=%r" % (value + (1.0 if where == "sealed" else 0.0)))
"""
CHANGES = [
    {"idea": "one", "files": {"one.txt": "1.0\n"}},
    {"idea": "a passenger", "files": {"luck.txt": "../../../luck\n"}},
    {"idea": "two", "files": {"two.txt": "0.8\n"}},
    {"idea": "three", "files": {"three.txt": "1.5\n"}},
]


def stack(folder: Path, steps: list[dict[str, Any]] = CHANGES, code: str = MEASURE, **changes: Any) -> Path:
    """A study whose four changes are all kept, one of which carries nothing."""
    asset = {"one.txt": "0\n", "two.txt": "0\n", "three.txt": "0\n", "luck.txt": "nothing\n"}
    return make_study(
        folder,
        *steps,
        files=asset | {"measure.py": code, "score.py": SCORE},
        asset=list(asset),
        metric={"max_step": 100.0},
        measure={"run": "python measure.py"} | changes.pop("measure", {}),
        decide={"policy": "greedy"},
        **changes,
    )


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Claim]:
    folder = stack(tmp_path_factory.mktemp("certify") / "repo")
    (folder / "luck").touch()
    assert play(folder).counts == {"keep": 4}
    (folder / "luck").unlink()
    return folder, certify(folder, 6, True, Listener())


def test_the_leave_one_out_of_a_stack_with_a_passenger_removes_exactly_the_passenger(
    certified: tuple[Path, Claim],
) -> None:
    folder, claim = certified
    assert claim.passengers == (2,)
    assert [share.trials for share in claim.shares] == [(1,), (2,), (3,), (4,)]
    gains = [share.gain for share in claim.shares]
    assert gains[0] == pytest.approx(1.0, abs=1e-9)  # same seeds, so the noise cancels
    assert gains[1] == pytest.approx(0.0, abs=1e-9)
    assert gains[3] == pytest.approx(1.5, abs=1e-9)
    assert [share.proven for share in claim.shares] == [True, False, True, True]
    assert claim.pruned is not None
    assert git(folder, "diff", "--name-only", claim.best, claim.pruned) == "luck.txt"
    assert claim.pruned_gain is not None
    assert claim.pruned_gain[0] == pytest.approx(3.3, abs=1e-9)


def test_what_gives_no_value_without_a_change_costs_that_share_alone(tmp_path: Path) -> None:
    needs_one = MEASURE + "assert parts['one'] or not parts['two'], 'two needs one'\n"
    folder = stack(tmp_path / "repo", [CHANGES[0], CHANGES[2]], needs_one)
    assert play(folder).counts == {"keep": 2}
    claim = certify(folder, 3, True, Listener())
    assert [(share.trials, share.gain is None, share.why) for share in claim.shares] == [
        ((1,), True, "no value without it: crash"),
        ((2,), False, ""),
    ]
    assert claim.passengers == ()
    assert claim.gain == pytest.approx(1.8, abs=1e-9)


def test_what_is_claimed_may_cost_more_than_a_trial_may(tmp_path: Path) -> None:
    """The best without a change that made it cheap would be cut off by measure.overrun, and with it the claim."""
    slower = MEASURE + "import time\nwhile os.path.exists('../../../slow') and time.process_time() < 4: pass\n"
    folder = stack(tmp_path / "repo", [CHANGES[0]], slower, measure={"budget": "1 steps", "timeout_s": 120})
    assert play(folder).counts == {"keep": 1}
    (folder / "slow").touch()
    assert certify(folder, 3, False, Listener()).gain == pytest.approx(1.0, abs=1e-9)
    assert all(run.measurement and run.measurement.processor_s > 3 for run in runs_for(folder, "claim"))


def test_what_is_claimed_is_measured_anew_and_not_what_it_looked_like(certified: tuple[Path, Claim]) -> None:
    _, claim = certified
    assert claim.gain == pytest.approx(3.3, abs=1e-9)
    assert claim.climbing == pytest.approx(4.3, abs=1e-9)
    assert claim.low <= 3.3 + 1e-9
    said = sentence(claim, Metric("loss"))
    assert "claimed while climbing 4.3, certified 3.3 [" in said
    assert "4 tries" in said


def test_the_claim_is_in_the_log_in_the_summary_and_on_the_screen(certified: tuple[Path, Claim]) -> None:
    folder, claim = certified
    assert state_of(folder).claims == [claim]
    assert "Certified on the search set: 3.3 [" in " ".join(autoresearch("status", cwd=folder).stdout.split())
    status = json.loads(autoresearch("status", "--json", cwd=folder).stdout)
    assert status["claim"]["passengers"] == [2]


def test_every_side_has_the_same_fresh_seeds_and_they_alternate(certified: tuple[Path, Claim]) -> None:
    folder, _ = certified
    state = state_of(folder)
    before = {run.seed_index for run in state.runs.values() if run.purpose != "claim"}
    runs = runs_for(folder, "claim")
    assert not {run.seed_index for run in runs} & before
    by_seed: dict[int, list[str]] = {}
    for run in runs:
        by_seed.setdefault(run.seed_index, []).append(run.tree)
    orders = list(by_seed.values())
    assert len({frozenset(order) for order in orders[:6]}) == 1
    assert orders[0] == orders[1][::-1] == orders[2]
    assert len(orders) == 12  # six for the shares, six others for the claim


def test_climbing_goes_on_after_a_claim_and_then_it_is_not_certified_any_more(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", CHANGES[:1])
    play(folder)
    certify(folder, 3, True, Listener())
    (folder / "steps.jsonl").write_text(script(*CHANGES))
    state = play(folder)
    assert state.counts["keep"] >= 3
    assert "Not certified yet" in " ".join(autoresearch("status", cwd=folder).stdout.split())


def test_the_sealed_set_is_opened_once_counted_and_only_for_the_claim(tmp_path: Path) -> None:
    keep_value = MEASURE.replace(
        'print("METRIC loss=%r" % (', 'open(os.environ["AUTORESEARCH_OUT"] + "/value", "w").write("%r" % ('
    )
    measure = {"score": "python score.py", "prepare": "true", "sets": ["search", "confirm", "sealed"]}
    folder = stack(tmp_path / "repo", CHANGES[:3:2], measure=measure)
    (folder / "measure.py").write_text(keep_value)
    git(folder, "commit", "-qam", "leave a value")
    play(folder)
    claim = certify(folder, 3, True, Listener())
    assert claim.held == "sealed"
    assert claim.before == pytest.approx(11.0, abs=0.2)
    state = state_of(folder)
    assert [opening.why.split(",")[0] for opening in state.openings] == ["certify"]
    assert "opened 1 time" in autoresearch("status", cwd=folder).stdout
    seen = [line.split() for line in (folder / ".autoresearch/data/held/seen").read_text().splitlines()]
    assert {(where, told) for where, told, _ in seen} == {
        ("search", "False"),
        ("confirm", "False"),
        ("sealed", "True"),
    }
    assert sum(where == "sealed" for where, _, _ in seen) == 6
    assert {run.held for run in runs_for(folder, "claim")} == {"confirm", "sealed"}


def test_where_nothing_was_kept_there_is_nothing_to_certify(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(11))
    done = autoresearch("certify", cwd=folder)
    assert (done.returncode, "autoresearch run` first" in done.stderr) == (2, True)
    play(folder)
    done = autoresearch("certify", cwd=folder)
    assert (done.returncode, "no change was kept" in done.stderr) == (2, True)


def test_a_side_that_cannot_be_measured_is_no_claim(tmp_path: Path) -> None:
    breaks = {"idea": "x", "files": {"step.sh": "test $AUTORESEARCH_RUN -lt 4 || exit 3; echo METRIC loss=9\n"}}
    folder = make_study(tmp_path, breaks)
    play(folder)
    with pytest.raises(AutoresearchError, match=r"best could not be measured .crash.*nothing is claimed"):
        certify(folder, 3, True, Listener())
    assert state_of(folder).claims == []
    assert not list((folder / ".autoresearch" / "trees").iterdir())


def test_a_claim_that_was_cut_off_claims_nothing_and_can_be_made_again(tmp_path: Path) -> None:
    slow = {"idea": "x", "files": {"step.sh": "test $AUTORESEARCH_RUN -lt 5 || sleep 0.3; echo METRIC loss=9\n"}}
    folder = make_study(tmp_path, slow)
    play(folder)
    with started("certify", "--runs", "3", cwd=folder) as process:
        assert eventually(lambda: len(runs_for(folder, "claim")) > 2)
        process.kill()
        process.communicate()
    assert state_of(folder).claims == []
    claim = certify(folder, 3, True, Listener())
    assert claim.gain == 1
    assert [line["event"] for line in journal_lines(folder)][-2:] == ["claimed", "session_ended"]


def test_changes_that_build_on_each_other_are_taken_out_together(tmp_path: Path) -> None:
    steps = [
        {"idea": "one", "files": {"one.txt": "1.0\n"}},
        {"idea": "one again", "files": {"one.txt": "2.0\n"}},
        {"idea": "two", "files": {"two.txt": "1.0\n"}},
    ]
    folder = stack(tmp_path / "repo", steps)
    play(folder)
    claim = certify(folder, 3, True, Listener())
    assert [share.trials for share in claim.shares] == [(1, 2), (2,), (3,)]
    assert [round(share.gain or 0.0, 6) for share in claim.shares] == [2.0, 1.0, 1.0]
    assert claim.passengers == ()


def test_the_interval_holds_the_true_gain_as_often_as_it_says() -> None:
    """The statistics as certify uses them, on made-up studies: 95 % of intervals from 5 pairs hold the truth."""
    from autoresearch import stats

    chance, hits, studies = random.Random(3), 0, 600
    for _ in range(studies):
        seeds = [chance.gauss(0, 1) for _ in range(5)]
        pairs = [(10 + s + chance.gauss(0, 0.5), 9.4 + s + chance.gauss(0, 0.5)) for s in seeds]
        found = stats.paired([before - after for before, after in pairs])
        hits += found.low <= 0.6 <= found.high
    assert hits / studies > 0.95 - 3 * (0.95 * 0.05 / studies) ** 0.5
