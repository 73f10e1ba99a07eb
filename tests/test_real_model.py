"""A real small language model has the ideas: ten trials of the toy study, and the books are right. Optional: `make model`."""

import shutil
from pathlib import Path

import pytest
import smallmodel
from helpers import journal_lines, play, repository, state_of

import autoresearch
from autoresearch.models import ChangeKind
from autoresearch.propose.answers import KINDS
from autoresearch.state import Spent
from autoresearch.trial import Trial

TOY = Path(autoresearch.__file__).parent / "templates" / "toy"
TRIALS = 10


@pytest.mark.skipif(bool(smallmodel.missing()), reason=smallmodel.missing())
@pytest.mark.parametrize("changes", [("set",), KINDS], ids=["constants", "any change"])
def test_ten_trials_of_a_real_model_are_kept_book_of(tmp_path: Path, changes: tuple[ChangeKind, ...]) -> None:
    with smallmodel.serving() as address:
        folder = study(tmp_path / "toy", address, changes)
        play(folder)

    state = state_of(folder)
    trials = [trial for trial in state.trials.values() if not trial.is_baseline]
    charged = [line for line in journal_lines(folder) if line["event"] == "charged"]
    assert len(trials) == TRIALS
    assert all(call["model"] == smallmodel.NAME and call["input_tokens"] > 0 for call in charged)
    spent = state.charged["llm"]
    assert spent.calls == len(charged) >= TRIALS
    assert spent.input_tokens == sum(call["input_tokens"] for call in charged)
    assert spent.output_tokens == sum(call.get("output_tokens", 0) for call in charged) > 0
    assert spent.dollars == 0
    for trial in trials:
        asked = sum(call["trial"] == trial.id for call in charged)
        assert asked == (trial.memo["repairs"] + 1 if trial.commit else 3), trial
    ideas = [trial for trial in trials if trial.commit]
    report(trials, changes, spent)
    assert ideas, "none of ten ideas of this model could be tried"
    assert all(trial.runs and trial.by == "llm" and trial.memo["model"] == smallmodel.NAME for trial in ideas)


def study(folder: Path, address: str, changes: tuple[ChangeKind, ...]) -> Path:
    shutil.copytree(TOY, folder)
    asked = (
        f'with = ["llm"]\nmodel = "{smallmodel.NAME}"\naddress = "{address}"\nprice = {{call = 0.0}}\n'
        f"answer_tokens = 400\nchanges = {list(changes)}"
    )
    text = (folder / "study.toml").read_text()
    text = text.replace('with = ["search"]', asked).replace("trials = 200", f"trials = {TRIALS}\ndollars = 1.0")
    (folder / "study.toml").write_text(text.replace("cores = 1", 'cores = 1\nworkers = 1\nsandbox = "none"'))
    return repository(folder, {})


def report(trials: list[Trial], changes: tuple[ChangeKind, ...], spent: Spent) -> None:
    """The figures, for `pytest -s`."""
    words = [trial.word for trial in trials]
    repairs = [trial.memo["repairs"] for trial in trials if trial.commit]
    print(
        f"\n{'+'.join(changes)}: {len(repairs)} of {len(trials)} ideas were run, {words.count('keep')} kept, "
        f"{words.count('crash')} crashed; repairs {repairs}; {spent.calls} calls, {spent.input_tokens} tokens sent, "
        f"{spent.output_tokens} received, {spent.wall_s:.0f} s"
    )
