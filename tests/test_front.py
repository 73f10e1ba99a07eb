"""The front: which trials no other beats in value, lines and compute, and what is said of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from helpers import History, make_study, play, says, state_of, step
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from autoresearch import starter
from autoresearch.cli import main
from autoresearch.errors import AutoresearchError
from autoresearch.events import TrialProposed
from autoresearch.report.front import Point, dominates, front, page, undominated
from autoresearch.trial import Machine, Metric, Word, is_dearer

SECONDS = st.floats(0.01, 1000)


def call(*args: object) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(arg) for arg in args])


class Costed(History):
    """A history whose runs take processor time."""

    def started(self, *values: float, compute_s: float = 10.0) -> None:
        trial = self.start(baseline=True)
        for value in values:
            self.end_run(self.begin_run(trial, purpose="record"), value, processor_s=compute_s)
        self.decide(trial, "keep", values[0])

    def trial(
        self,
        value: float,
        lines: tuple[int, int] = (1, 1),
        compute_s: float = 10.0,
        word: Word = "discard",
        **more: Any,
    ) -> int:
        trial = self.start()
        self.propose(trial, lines=lines, **more)
        self.end_run(self.begin_run(trial), value, processor_s=compute_s)
        self.decide(trial, word, value)
        return trial


def members(past: History) -> list[int]:
    return [point.trial for point in front(past.state).members]


def found(past: History, trial: int) -> Point:
    shown = front(past.state)
    return next(point for point in (*shown.members, *shown.others) if point.trial == trial)


def told(past: History) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(page(past.state))
    return " ".join(captured.get().split())


# -- which are the front -------------------------------------------------------------------------------


def test_the_front_is_what_no_other_beats_from_the_worst_value_to_the_best() -> None:
    past = Costed()
    past.started(10.0)
    shorter = past.trial(10.5, lines=(0, 5))
    cheaper = past.trial(10.2, compute_s=5.0)
    past.trial(10.6, lines=(0, 4))  # longer than `shorter`, and worse
    past.trial(10.0, lines=(2, 1))  # as good as the start, but longer
    better = past.trial(9.0, lines=(20, 0), compute_s=15.0, word="keep")
    assert members(past) == [shorter, cheaper, 0, better]


def test_where_higher_is_better_the_front_turns_over() -> None:
    past = Costed("maximize")
    past.started(10.0)
    past.trial(9.0)
    better = past.trial(11.0, lines=(3, 0))
    assert members(past) == [0, better]


def test_lines_are_summed_along_the_chain_of_bases() -> None:
    past = Costed()
    past.started(10.0)
    first = past.trial(9.0, lines=(20, 5), word="keep")
    aside = past.trial(9.5, lines=(1, 3))
    second = past.trial(8.0, lines=(2, 10), word="keep")
    last = past.trial(8.5, lines=(4, 0))
    assert [found(past, trial).lines for trial in (0, first, aside, second, last)] == [0, 15, 13, 7, 11]


def test_after_the_referee_changed_lines_and_compute_are_against_the_new_start() -> None:
    past = Costed()
    past.started(10.0)
    past.trial(9.0, lines=(20, 5), word="keep")
    past.reopen("d1")
    past.started(4.0, compute_s=20.0)
    start = past.state.next_trial - 1
    trial = past.trial(3.0, lines=(2, 0), compute_s=30.0, word="keep")
    assert (found(past, start).lines, found(past, trial).lines, found(past, trial).times) == (0, 2, 1.5)
    assert len(front(past.state).members) == 2, "nothing that another referee measured"


def test_values_of_another_machine_do_not_count() -> None:
    past = Costed()
    past.started(10.0)
    past.trial(9.0)
    past.session(Machine("test, 2 cores", 2))
    with pytest.raises(AutoresearchError, match="nothing is measured yet"):
        front(past.state)


def test_compute_that_differs_by_less_than_counts_as_dearer_keeps_nothing_on_the_front() -> None:
    past = Costed()
    past.started(10.0)
    past.trial(10.3, compute_s=9.8)
    assert members(past) == [0]


@pytest.mark.parametrize("word", ["suspect", "rejected", "crash"])
def test_what_failed_or_waits_for_a_person_is_left_out(word: Word) -> None:
    past = Costed()
    past.started(10.0)
    past.trial(1.0, word=word)
    assert members(past) == [0]


def test_a_suspect_trial_is_named_below_the_table() -> None:
    past = Costed()
    past.started(10.0)
    trial = past.trial(1.0, word="suspect")
    assert f"Trial {trial} is suspect" in told(past)


def test_a_mean_without_the_run_that_broke_a_guard_is_left_out() -> None:
    past = Costed()
    past.started(10.0)
    trial = past.tried()
    past.measured(trial, 9.0)
    past.end_run(past.begin_run(trial), None, "infeasible")
    past.decide(trial, "discard", 9.0)
    assert members(past) == [0]


def test_the_same_content_is_one_point_under_its_first_trial() -> None:
    past = Costed()
    past.started(10.0)
    first = past.trial(9.0, tree="same")
    past.trial(9.0, tree="same")
    assert members(past) == [first]


# -- properties ----------------------------------------------------------------------------------------

POINTS = st.lists(
    st.builds(
        Point,
        trial=st.integers(0, 999),
        word=st.just("discard"),
        idea=st.just(""),
        value=st.integers(-3, 3).map(float) | st.floats(-3, 3),
        lines=st.integers(-3, 3),
        compute_s=st.just(1.0),
        times=st.just(1.0),
        dearer=st.integers(-2, 2),
    ),
    max_size=25,
)


@given(POINTS, st.sampled_from(["minimize", "maximize"]))
def test_no_member_is_dominated_and_whatever_is_no_member_is_dominated_by_one(found: list[Point], way: Any) -> None:
    metric = Metric("loss", way)
    chosen = undominated(metric, found)
    assert not any(dominates(metric, other, member) for member in chosen for other in found)
    for point in found:
        assert (point in chosen) != any(dominates(metric, member, point) for member in chosen)
    gains = [metric.gain(0, member.value) for member in chosen]
    assert gains == sorted(gains)


@given(SECONDS, SECONDS)
def test_a_run_that_counts_as_dearer_is_at_least_a_step_dearer(before_s: float, now_s: float) -> None:
    past = Costed()
    past.started(10.0, compute_s=before_s)
    trial = past.trial(11.0, compute_s=now_s)
    if is_dearer(now_s, before_s):
        assert found(past, trial).dearer >= 1
    elif not is_dearer(before_s, now_s):
        assert abs(found(past, trial).dearer) <= 1


# -- what is said --------------------------------------------------------------------------------------


def test_values_closer_than_a_run_scatters_are_said_not_to_differ() -> None:
    past = Costed()
    past.started(10.0, 10.4)
    near, best = past.trial(9.1, lines=(4, 0)), past.trial(9.0, lines=(9, 0), word="keep")
    assert members(past) == [0, near, best]
    assert f"Trials {near}, {best} are closer to each other than one run scatters (0.28)" in told(past)
    assert f"the fewest lines is trial {near}." in told(past)


def test_without_repeats_it_says_that_the_noise_is_not_known() -> None:
    past = Costed()
    past.started(10.0)
    assert "How far one run scatters is not known yet" in told(past)


def test_a_best_that_another_mean_beats_is_shown_and_said_to_be_missing() -> None:
    past = Costed()
    past.started(10.0)
    best = past.trial(9.0, word="keep")
    lucky = past.trial(8.9, word="inconclusive")
    assert members(past) == [lucky]
    assert f"best, not on the front: idea {best}" in told(past)
    assert f"trial {lucky} (inconclusive) is no worse in anything" in told(past)


def test_control_characters_in_an_idea_never_reach_the_terminal() -> None:
    past = Costed()
    past.started(10.0)
    trial = past.start()
    past.happen(TrialProposed(trial=trial, idea="\x1b[31mred", by="x", commit="c", tree="t"))
    past.measured(trial, 9.0)
    past.decide(trial, "keep", 9.0)
    assert "best: �[31mred" in told(past)


# -- the command ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose ideas hold what a terminal must not get. Tests only read it."""
    folder = tmp_path_factory.mktemp("night")
    longer = step("x=1\ny=2\necho METRIC loss=8\n", "\x1b[31mlonger $x_ [bold]b[/bold]")
    play(make_study(folder, says(9, "better"), longer, says(11, "worse")))
    return folder


def test_the_command_prints_the_front_as_a_table(night: Path) -> None:
    lines = call("front", "-C", night).output.splitlines()
    assert [line.split()[:3] for line in lines[:4]] == [
        ["trial", "value", "lines"],
        ["0", "10", "0"],
        ["1", "9", "0"],
        ["2", "8", "+2"],
    ]
    assert "longer $x_ [bold]b[/bold]" in lines[3]


def test_with_json_a_script_gets_every_measured_trial(night: Path) -> None:
    told = json.loads(call("front", "--json", "-C", night).output)
    assert (told["metric"]["name"], told["noise"], told["start"], told["best"]) == ("loss", None, 0, 2)
    assert [point["trial"] for point in told["front"]] == [1, 2]
    assert [point["trial"] for point in told["others"]] == [0, 3]
    assert told["front"][1]["lines"] == 2


def test_the_picture_is_written_whatever_the_ideas_hold(night: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert call("front", "--plot", tmp_path / "front.png", "-C", night).exit_code == 0
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["none/front.png", "front.nothing"])
def test_a_picture_that_cannot_be_written_is_a_clear_error(night: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib")
    done = call("front", "--plot", tmp_path / name, "-C", night)
    assert done.exit_code == 2
    assert name in done.stderr


def test_a_night_on_the_toy_template_has_a_front(tmp_path: Path) -> None:
    starter.make(tmp_path / "toy", "toy")
    assert call("run", "--trials", 4, "-C", tmp_path / "toy").exit_code == 0
    told = json.loads(call("front", "--json", "-C", tmp_path / "toy").output)
    assert told["front"]
    tried = set(map(int, state_of(tmp_path / "toy").trials))
    assert {point["trial"] for point in told["front"] + told["others"]} <= tried
