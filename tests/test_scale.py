"""The recipes of docs/scale.md for one machine, on one that says it has cards; those for clusters: test_ray.py, test_slurm.py."""

import itertools
from pathlib import Path

import pytest
from asking import nvidia_smi
from helpers import Recorder, make_study, play, state_of, step, words
from recipes import recipe, type_in

from autoresearch import log, session
from autoresearch.events import Event, RunFinished, RunStarted, SessionStarted
from autoresearch.execute.machine import machines, slots

MIXED = """GPU 0: Slow (UUID: GPU-aaaa)
GPU 1: Fast 80GB (UUID: GPU-bbbb)
GPU 2: Fast 80GB (UUID: GPU-cccc)
  MIG 3g.20gb     Device  0: (UUID: MIG-dddd)
"""
SEEN = "sleep 0.2; test $CUDA_DEVICE_ORDER = PCI_BUS_ID && echo METRIC card=$CUDA_VISIBLE_DEVICES; "
HERE = {"gpt": "toy", "8": "0.003"}  # a template that needs neither torch nor a card; hours


@pytest.mark.parametrize(("heading", "cards"), [("One GPU", 1), ("One box of eight", 8)])
def test_a_recipe_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heading: str, cards: int) -> None:
    listed = "".join(f"GPU {i}: Card (UUID: GPU-{i})\n" for i in range(cards))
    (tmp_path / "smi").mkdir()
    smi = f'case "$1" in -L) printf "{listed}";; --query-gpu=name) echo Card;; *) exit 9;; esac\n'
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path / "smi", smi))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    folder = type_in(tmp_path, *recipe(heading, HERE))
    state = state_of(folder)
    assert state.session is None
    assert state.claims
    assert state.tier.startswith("Card, ")
    events = list(log.decode(session.journal(folder).read_bytes()))
    assert next(event.workers for event in events if isinstance(event, SessionStarted)) == cards
    assert 1 <= most_at_once(events) <= cards
    assert most_at_once(events) > 1 or cards == 1


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smi").mkdir()
    (tmp_path / "smi" / "said").write_text(MIXED)
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path / "smi", f'test "$1" = -L && cat {tmp_path}/smi/said\n'))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize(
    ("visible", "workers", "cards"),
    [
        (None, None, {"1": "Fast 80GB", "2": "Fast 80GB", "0": "Slow"}),
        (None, 2, {"1": "Fast 80GB", "2": "Fast 80GB"}),
        ("0,1", None, {"0": "Slow", "1": "Fast 80GB"}),
        (
            "GPU-c,GPU-aaaa,MIG-dddd",
            None,
            {"GPU-c": "Fast 80GB", "GPU-aaaa": "Slow", "MIG-dddd": "Fast 80GB MIG 3g.20gb"},
        ),
        ("7", None, {"7": "GPU"}),
    ],
)
def test_each_card_has_a_slot_and_the_largest_kind_comes_first(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, workers: int | None, cards: dict[str, str]
) -> None:
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = slots(1, workers)
    assert {slot.gpu: machine.device for slot, machine in zip(found, machines(found), strict=True)} == cards
    assert [slot.gpu for slot in found] == list(cards)


@pytest.mark.usefixtures("mixed")
def test_cards_that_differ_are_kinds_of_their_own(tmp_path: Path) -> None:
    steps = [step(f"{SEEN}echo METRIC loss=1{i}\n", f"idea {i}") for i in range(6)]
    folder = make_study(tmp_path / "study", *steps, start=f"{SEEN}echo METRIC loss=10\n", execute={"workers": 3})
    recorder = Recorder()
    state = play(folder, recorder)
    assert len(words(state)) == 6
    assert "what is kept is decided on Fast 80GB, 1 core; only to screen: Slow, 1 core" in recorder.said[0]
    seen = {
        (run.tier, run.measurement.machine.tier, run.measurement.extras["card"])
        for run in state.runs.values()
        if run.measurement
    }
    own = "Fast 80GB, 1 core"
    assert ("Slow, 1 core", "Slow, 1 core", 0.0) in seen
    assert seen <= {("Slow, 1 core", "Slow, 1 core", 0.0), ("", own, 1.0), ("", own, 2.0)}
    assert next(event.workers for event in recorder.events if isinstance(event, SessionStarted)) == 2


def most_at_once(events: list[Event]) -> int:
    under_way = itertools.accumulate(isinstance(event, RunStarted) - isinstance(event, RunFinished) for event in events)
    return max(under_way)
