"""The recipes of docs/scale.md for one machine, on one that says it has cards; those for clusters: test_ray.py, test_slurm.py."""

import itertools
from pathlib import Path

import pytest
from asking import nvidia_smi
from helpers import state_of
from recipes import recipe, type_in

from autoresearch import log, session
from autoresearch.events import Event, RunFinished, RunStarted, SessionStarted

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


def most_at_once(events: list[Event]) -> int:
    under_way = itertools.accumulate(isinstance(event, RunStarted) - isinstance(event, RunFinished) for event in events)
    return max(under_way)
