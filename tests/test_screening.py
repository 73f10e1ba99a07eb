"""Machines of two kinds in one study: values of one never meet those of the other, and what is kept is kept on our own."""

from pathlib import Path

import pytest
from helpers import Recorder, make_study
from msgspec.structs import replace

from autoresearch import session
from autoresearch.execute import Hopeless
from autoresearch.execute.local import Local
from autoresearch.session import Goal
from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.trial import Machine, Measurement, Run

FAST = "fast card"
NOISE = (
    "echo METRIC loss=$(awk -v s=$AUTORESEARCH_SEED 'BEGIN {srand(s); for (i = 0; i < 9; i++) x += rand(); print x}')"
)
AHEAD = 5.0  # by which the same code is better on the faster kind: some 6 standard deviations of a run


class Kinds(Local):
    """Half of the places are on faster machines, where every value is better."""

    most: dict[str, int]

    def run(
        self, run: Run, tree: Path, study: Study, usual: Measurement | None = None, hopeless: Hopeless | None = None
    ) -> Measurement:
        done = super().run(run, tree, study, usual, hopeless)
        if not run.tier:
            return done
        value = None if done.value is None else done.value - AHEAD
        return replace(done, value=value, machine=Machine(run.tier, 1))


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    def placed(here: Local, *_: object) -> Local:
        there = Kinds.__new__(Kinds)
        vars(there).update(vars(here), others={FAST: 2})
        return there

    monkeypatch.setattr(session, "placed", placed)


def night(folder: Path, ideas: str, trials: int, start: str, workers: int = 1, **changes: object) -> State:
    make_study(
        folder,
        start=start,
        files={f"part/{i}": "0\n" for i in range(100)},
        asset=["part/*"],
        propose={"with": [ideas], "sandbox": "none"},
        execute={"sandbox": "none", "workers": 4},
        **changes,
    )
    return session.run(folder, Goal(trials=trials, workers=workers), Recorder())


@pytest.mark.usefixtures("fast")
def test_a_faster_kind_of_machine_is_no_gain(tmp_path: Path) -> None:
    climb = {"calibrate": 5, "repeats": 3, "policy": "climb"}
    state = night(tmp_path, "ideas:Nothing", 24, f"sleep 0.2; {NOISE}\n", decide=climb)
    mean = state.mean(state.baseline.tree or "") if state.baseline else None
    assert mean is not None
    sent = {t.id for t in state.trials.values() if any(state.runs[run].tier == FAST for run in t.runs)}
    assert len(sent) > 6
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
def test_a_study_with_a_guard_on_the_start_leaves_other_kinds_alone(tmp_path: Path) -> None:
    guard = {"name": "loss", "direction": "minimize", "guards": ["size <= baseline + 1"]}
    state = night(tmp_path, "ideas:Gains", 2, "echo METRIC loss=1; echo METRIC size=1\n", metric=guard)
    assert not any(run.tier for run in state.runs.values())
