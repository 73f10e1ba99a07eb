"""Machines of two kinds in one study: values of one never meet those of the other, and what is kept is kept on our own."""

from pathlib import Path
from typing import Any

import pytest
from helpers import Recorder, make_study
from msgspec.structs import replace

from autoresearch import check, session
from autoresearch.events import SessionEnded
from autoresearch.execute import Hopeless
from autoresearch.execute.local import Local
from autoresearch.policy import screening
from autoresearch.session import Goal
from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.trial import Machine, Measurement, Run

FAST = "fast card"
NOISE = (
    "echo METRIC loss=$(awk -v s=$AUTORESEARCH_SEED 'BEGIN {srand(s); for (i = 0; i < 9; i++) x += rand(); print x}')"
)
NEVER = "Values from different machines are never compared"
AHEAD = 5.0  # by which the same code is better on the faster kind: some 6 standard deviations of a run


class Kinds(Local):
    """Half of the places are on faster machines, where every value is better. Those are gone after so many runs."""

    lasts: list[int]

    def run(
        self, run: Run, tree: Path, study: Study, usual: Measurement | None = None, hopeless: Hopeless | None = None
    ) -> Measurement:
        done = super().run(replace(run, tier=""), tree, study, usual, hopeless)
        if not run.tier:
            return done
        if run.id >= self.lasts[0]:
            return Measurement("stopped", None, run.digest, self.machine, why="none of them is left")
        value = None if done.value is None else done.value - AHEAD
        return replace(done, value=value, machine=Machine(run.tier, 1))


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From which run on that kind is gone."""
    lasts = [1000]

    def placed(here: Local, *_: object) -> Local:
        there = Kinds.__new__(Kinds)
        vars(there).update(vars(here), others={FAST: 2}, lasts=lasts)
        return there

    monkeypatch.setattr(session, "placed", placed)
    monkeypatch.setattr(check, "placed", placed)
    return lasts


def night(
    folder: Path, ideas: str, trials: int, start: str, recorder: Recorder | None = None, **changes: object
) -> State:
    make_study(
        folder,
        start=start,
        files={f"part/{i}": "0\n" for i in range(100)},
        asset=["part/*"],
        propose={"with": [ideas], "sandbox": "none"},
        execute={"sandbox": "none", "workers": 4},
        **changes,
    )
    return session.run(folder, Goal(trials=trials, workers=1), recorder or Recorder())


@pytest.mark.usefixtures("fast")
def test_a_faster_kind_of_machine_is_no_gain(tmp_path: Path) -> None:
    climb = {"calibrate": 5, "repeats": 3, "policy": "climb"}
    state = night(tmp_path, "ideas:Nothing", 24, f"sleep 0.2; {NOISE}\n", decide=climb)
    mean = state.mean(state.baseline.tree or "") if state.baseline else None
    assert mean is not None
    sent = {t.id for t in state.trials.values() if any(state.runs[run].tier == FAST for run in t.runs)}
    assert len(sent) > 3
    for trial in state.trials.values():
        verdict = trial.verdict
        assert verdict is not None
        assert verdict.gain is None or abs(verdict.gain) < AHEAD / 2, "two kinds were compared"
        if verdict.word == "keep":
            assert verdict.value is not None
            assert abs(verdict.value - mean) < AHEAD / 2
        if trial.id in sent and verdict.value is None and verdict.word in ("discard", "inconclusive"):
            assert verdict.why.endswith(f", on {FAST}")
    there, base = state.on(FAST), state.trials[min(sent)].base_tree
    assert there.noise is not None
    assert max(there.values(base).values()) < min(state.values(base).values())


@pytest.mark.usefixtures("fast")
def test_a_gain_that_is_seen_there_is_kept_here_with_the_values_of_here(tmp_path: Path) -> None:
    start = "sleep 0.2; echo METRIC loss=$(cat part/* | awk '{s += $1} END {print 100 - s}')\n"
    state = night(tmp_path, "ideas:Gains", 10, start, decide={"calibrate": 2, "policy": "greedy"})
    kept = [state.trials[i] for i in state.kept if not state.trials[i].is_baseline]
    assert state.best is not None
    for trial in kept:
        assert trial.verdict is not None
        assert trial.verdict.value is not None
        assert trial.verdict.value <= 99, "on our own kind"
        assert any(not state.runs[run].tier and state.runs[run].tree == trial.tree for run in trial.runs)
    first = [state.trials[stale] for t in kept for stale in (t.carries or (t.id,))]
    screened = [t for t in first if any(state.runs[run].tier for run in t.runs)]
    assert screened, "none of those that were kept was screened first"
    carried = sum(len(t.stack) or 1 for t in kept)
    assert state.mean(state.best.tree) == 100 - carried
    for trial in state.trials.values():
        bases = {run.tree for run in map(state.runs.__getitem__, trial.runs) if run.tier and run.purpose == "record"}
        assert bases <= {trial.base_tree}


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"metric": {"guards": ["size <= baseline + 1"]}}, "a guard holds the start"),
        ({"decide": {"screen": "off"}}, 'decide.screen is "off"'),
        ({}, ""),
    ],
)
def test_who_decides_and_who_screens_is_said_and_kept_to(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    start = "sleep 0.2; echo METRIC loss=1; echo METRIC size=1\n"
    state = night(tmp_path, "ideas:Gains", 2, start, **changes)
    assert any(run.tier for run in state.runs.values()) == (not why)
    found = check.check(tmp_path, Recorder(), most=1)
    own = found.measurements[0].machine.tier
    said = f"all runs are on {own}; not used, since {why}: {FAST}"
    assert found.kinds == (said if why else f"what is kept is decided on {own}; only to screen: {FAST}. {NEVER}")
    assert f"machine     {own}\n            {found.kinds}\n" in check.page(found)


@pytest.mark.parametrize("last", [1, 4])
def test_a_study_goes_on_without_a_kind_that_is_gone(tmp_path: Path, fast: list[int], last: int) -> None:
    fast[0], recorder = last, Recorder()
    start = "sleep 0.2; echo METRIC loss=$(cat part/* | awk '{s += $1} END {print 100 - s}')\n"
    state = night(tmp_path, "ideas:Gains", 6, start, recorder, decide={"calibrate": 1, "policy": "greedy"})
    assert [event.why for event in recorder.events if isinstance(event, SessionEnded)] == ["the budget is spent"]
    assert all(trial.verdict for trial in state.trials.values())
    stopped = [run for run in state.runs.values() if run.measurement and run.measurement.status == "stopped"]
    assert {run.tier for run in stopped} == {FAST}
    assert len(stopped) <= 2, "those that were under way there, and no more"
    assert recorder.said.count(f"nothing more is screened on {FAST} in this session: none of them is left") == 1
    assert max(run.id for run in state.runs.values() if run.tier) < max(state.runs)
    done = {run.trial for run in state.runs.values() if not run.tier}
    assert {run.trial for run in stopped} <= done | {t.id for t in state.trials.values() if t.word == "stale"}


@pytest.mark.usefixtures("fast")
def test_while_others_run_the_base_there_a_trial_is_run_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screening, "BASE_RUNS", 1)
    state = night(tmp_path, "ideas:Nothing", 8, f"sleep 0.5; {NOISE}\n", decide={"calibrate": 1, "policy": "greedy"})
    there = [run for run in state.runs.values() if run.tier]
    assert [run.purpose for run in there[:2]] == ["record", "trial"]
    base, own = there[:2]
    assert base.tree == state.trials[own.trial].base_tree
    assert base.measurement is not None
    assert own.started_at < base.started_at + base.measurement.slot_s, "it waited for the run of its base"
    assert own.seed_index == base.seed_index, "a pair"
    assert all(trial.verdict for trial in state.trials.values())
