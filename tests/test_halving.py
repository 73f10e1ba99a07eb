"""Successive halving: how many it stops, whom, and what a run sees of those in other slots."""

import math
import pickle
import random
import threading
from pathlib import Path
from statistics import NormalDist, fmean

import pytest
from helpers import MACHINE, History, make_study, play, step, words
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from autoresearch.errors import StudyError
from autoresearch.policy.halving import PEERS, RUNGS, Asks, Board, Reached, places, stands, watch
from autoresearch.policy.race import GRID
from autoresearch.study import parse
from benchmarks.halving import CONTENDERS, WORLDS, Night

ETAS = st.sampled_from([2, 3, 4])
Points = tuple[tuple[float, float], ...]


# -- how many, and whom --------------------------------------------------------------------------------


def in_order(gaps: list[float], eta: int) -> list[bool]:
    """Who goes on at one rung, when runs get there in this order."""
    seen: list[Reached] = []
    for run, gap in enumerate(gaps):
        seen.append(Reached(run, gap, stands(gap, seen[-PEERS:], eta).goes_on))
    return [one.went_on for one in seen]


@given(st.lists(st.floats(-9, 9), max_size=60), ETAS)
def test_no_order_stops_more_than_its_share_and_the_best_so_far_goes_on(gaps: list[float], eta: int) -> None:
    went_on = in_order(gaps, eta)
    assert all(sum(went_on[:n]) >= n // (2 * eta) for n in range(len(gaps) + 1))
    assert all(went_on[n] for n, gap in enumerate(gaps) if gap <= min(gaps[: n + 1]))


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_where_each_run_is_worse_than_all_before_it_half_of_one_in_eta_still_go_on(eta: int) -> None:
    went_on = in_order([float(n) for n in range(4 * PEERS)], eta)
    shares = [sum(went_on[n : n + PEERS + 1]) for n in range(len(went_on) - PEERS)]
    assert min(shares) >= PEERS // (2 * eta)
    assert max(shares) <= PEERS // (2 * eta) + 2


def to_the_end(chance: random.Random, eta: int, n: int, noise: float = 0.0) -> tuple[int, float, int]:
    """Of n runs in random order: how many ended, how much of their budget they used, and how many of the best ones did."""
    board, used, ended, best = Board(), 0.0, 0, 0
    truth = [chance.gauss(0, 1) for _ in range(n)]
    for run, gap in enumerate(truth):
        spent = 1.0
        for rung, place in enumerate(places(eta)):
            if not board.ask("", rung, run, gap + chance.gauss(0, noise), eta).goes_on:
                spent = place / GRID
                break
        used += spent
        ended += spent == 1
        best += spent == 1 and gap == min(truth)
    return ended, used / n, best


def test_the_larger_eta_is_the_less_of_the_budget_is_used() -> None:
    used, ended = list[float](), list[float]()
    for eta in (2, 3, 4):
        found = [to_the_end(random.Random(seed), eta, 80) for seed in range(40)]
        assert all(one[2] for one in found), "where curves tell the truth, the best of all goes on to its end"
        ended.append(fmean(one[0] for one in found) / 80)
        used.append(fmean(one[1] for one in found))
        assert 1 / eta**RUNGS <= ended[-1] <= 1 / eta**RUNGS + 0.08, "more: the first of a rung have few to beat"
    assert used == sorted(used, reverse=True)
    assert used[0] <= 0.6
    assert used[-1] <= 0.25


def by_theory(chance: random.Random, eta: int, ahead: float, noise: float, n: int) -> float:
    """The chance that one that is `ahead` of the others, N(0, 1), is among the best n / eta of n, with this noise."""
    others, found = NormalDist(0, math.hypot(1, noise)), list[float]()
    for _ in range(400):
        p = others.cdf(-ahead + chance.gauss(0, noise))
        above = math.ceil(n / eta)
        found.append(sum(math.comb(n - 1, k) * p**k * (1 - p) ** (n - 1 - k) for k in range(above)))
    return fmean(found)


@pytest.mark.parametrize(("eta", "noise"), [(2, 1.0), (3, 0.5), (4, 2.0)])
def test_a_good_one_survives_a_noisy_rung_as_often_as_theory_says(eta: int, noise: float) -> None:
    chance, n, ahead, tries = random.Random(7), 24, 2.0, 1500
    survived = 0
    for _ in range(tries):
        others = [Reached(run, chance.gauss(0, math.hypot(1, noise)), run % eta == 0) for run in range(n - 1)]
        survived += stands(-ahead + chance.gauss(0, noise), others, eta).goes_on
    least = by_theory(chance, eta, ahead, noise, n)
    assert survived / tries >= least - 3 * math.sqrt(least * (1 - least) / tries) - 0.02


# -- runs of a study -----------------------------------------------------------------------------------


def line(above: float, upto: int = GRID) -> Points:
    """A loss that falls evenly, this much above the base's."""
    return tuple((i / GRID, 5 + above - 4 * i / GRID) for i in range(upto + 1))


def begun() -> History:
    past = History()
    first = past.start(baseline=True)
    past.end_run(past.begin_run(first), 1.0, curve=line(0))
    past.decide(first, "keep")
    return past


def asks(past: History, board: Board, eta: int = 2, wish: str = "") -> Asks:
    trial = past.start(wish=wish)
    past.propose(trial)
    return asked_of(past, board, trial, eta)


def asked_of(past: History, board: Board, trial: int, eta: int = 2) -> Asks:
    run = past.begin_run(trial)
    found = watch(past.state, past.state.trials[trial], past.state.runs[run], eta, board)
    assert found is not None
    return found


def test_a_run_is_ranked_among_those_that_go_on_in_other_slots() -> None:
    past, board = begun(), Board()
    better, worse = asks(past, board), asks(past, board)
    assert better(line(0.1, 14)) == ""
    assert worse(line(0.3, 12)) == "", "not there yet"
    assert worse(line(0.3, 14)) == (
        "stopped at rung 1 of 2, 26 % of its budget: number 2 of 2 that got there, with a loss +0.3 from its base's; "
        "the best 1 go on"
    )
    assert better(line(0.1, 15)) == "", "asked once at a rung"
    assert better(line(0.1, 26)) == "", "and nobody else got to the next one"


def test_the_log_tells_a_new_session_who_got_where_and_who_went_on() -> None:
    past = begun()
    for above, upto, status in ((0.1, GRID, "ok"), (0.3, 14, "hopeless"), (0.2, 30, "hopeless")):
        run = asks(past, Board()).run
        past.end_run(run, 1.0 if status == "ok" else None, status, curve=line(above, upto))  # type: ignore[arg-type]
        past.decide(past.state.runs[run].trial, "discard")
    told = asks(past, board := Board(), eta=3)
    first, second = board.__reduce__()[1][0][MACHINE.tier]  # type: ignore[index]
    assert [(round(one.gap, 6), one.went_on) for one in first] == [(0.1, True), (0.3, False), (0.2, True)]
    assert [(round(one.gap, 6), one.went_on) for one in second] == [(0.1, True), (0.2, False)]
    assert "number 4 of 4" in told(line(0.5, 20))


def test_trials_on_different_bases_are_ranked_by_what_they_do_to_their_own() -> None:
    past, board = begun(), Board()
    assert asks(past, board)(line(-0.1, 14)) == ""
    better = past.tried()
    past.end_run(past.begin_run(better), 0.5, curve=line(-0.5))
    past.decide(better, "keep", 0.5)
    new = asks(past, board)
    assert "loss +0.1 from its base's" in new(line(-0.4, 14)), "below the other's curve, but worse than its base"


def test_trials_of_persons_and_every_twentieth_are_counted_and_go_on_and_what_was_tried_before_is_not_ranked() -> None:
    past, board = begun(), Board()
    assert asks(past, board)(line(0.1)) == ""
    assert asks(past, board, wish=past.ask())(line(0.9)) == ""
    assert "number 3 of 3" in asks(past, board)(line(0.95, 14))
    while past.state.next_trial < 20:
        past.decide(past.tried(), "discard")
    assert asks(past, board)(line(0.9)) == ""

    trial = past.tried()
    run = past.state.runs[past.begin_run(trial)]
    seen = past.state.trials[trial]
    assert watch(past.state, seen, run, 2, board) is not None
    for other in (replace(run, purpose="record"), replace(run, purpose="claim"), replace(run, tree=seen.base_tree)):
        assert watch(past.state, seen, other, 2, board) is None
    assert watch(past.state, replace(seen, again=3), run, 2, board) is None
    assert watch(past.state, seen, replace(run, seed_index=7), 2, board) is None, "nothing to hold it against"
    past.end_run(run.id, 1.0, curve=line(0))
    assert watch(past.state, seen, past.state.runs[past.begin_run(trial)], 2, board) is None, "a repeat"


def test_another_referee_has_rungs_of_its_own() -> None:
    past = begun()
    for above in (0.1, 0.2):
        past.end_run(asks(past, Board()).run, 1.0, curve=line(above))
    past.reopen("d1")
    again = past.start(baseline=True)
    past.end_run(past.begin_run(again, 0), 1.0, curve=line(0))
    past.decide(again, "keep")
    assert asks(past, Board())(line(0.9)) == ""


def test_a_run_without_a_curve_is_never_stopped_and_never_counted() -> None:
    past, board = begun(), Board()
    assert asks(past, board)(()) == ""
    assert asks(past, board)(((0.1, 9.0), (0.9, 9.0))) == "", "nobody said what was between"
    assert asks(past, board)(line(0.9)) == ""


def test_what_travels_with_a_run_knows_what_was_known_when_it_left() -> None:
    past, board = begun(), Board()
    here, there = asks(past, board), asks(past, board)
    assert here(line(0.1, 14)) == ""
    away: Asks = pickle.loads(pickle.dumps(there))
    assert "number 2 of 2" in away(line(0.3, 14))
    assert there(line(0.05, 14)) == "", "what was written there is not heard here"


def test_many_threads_at_once_are_each_counted_once() -> None:
    board, n, eta = Board(), 64, 4
    found = list[bool]()
    start = threading.Barrier(8)

    def slot(number: int) -> None:
        start.wait()
        for run in range(number, n, 8):
            found.append(board.ask("", 0, run, run * 7 % n, eta).goes_on)

    threads = [threading.Thread(target=slot, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == n
    assert sum(found) >= n // (2 * eta)
    assert board.ask("", 0, n, 99, eta).n == n + 1


def test_it_is_off_unless_it_is_asked_for_and_other_numbers_are_refused() -> None:
    study = 'name = "s"\nasset = ["a"]\nmetric = {name = "m"}\nmeasure = {run = "none"}\n'
    assert parse(study).decide.halving == 0
    assert parse(study + "decide = {halving = 3}\n").decide.halving == 3
    for number in (1, 5, -2):
        with pytest.raises(StudyError, match=rf"halving = {number} must be 2, 3 or 4"):
            parse(study + f"decide = {{halving = {number}}}\n")


# -- real runs -----------------------------------------------------------------------------------------


def test_of_two_runs_side_by_side_the_worse_is_ended_at_a_rung_while_the_better_goes_on(tmp_path: Path) -> None:
    there, pid = tmp_path / "there", tmp_path / "pid"

    def curve(loss: float, *tenths: int) -> str:
        return "".join(f"echo PROGRESS 0.{i} loss={loss}; sleep 0.12\n" for i in tenths)

    waits = f"for i in $(seq 100); do test -s {pid} && ! kill -0 $(cat {pid}) && break; sleep 0.05; done\n"
    better = curve(4.5, 2, 3, 4) + f"touch {there}\n" + waits + "echo METRIC loss=9\n"
    worse = f"echo $$ > {pid}\nfor i in $(seq 100); do test -e {there} && break; sleep 0.05; done\n"
    worse += curve(4.9, 2, 3, 4) + "sleep 60\n"
    folder = make_study(
        tmp_path / "repo",
        step(better),
        step(worse),
        start=curve(5, 2, 3, 4) + "echo METRIC loss=10\n",
        decide={"halving": 2, "race": False, "repeats": 1, "policy": "greedy"},
        execute={"workers": 2},
    )

    state = play(folder)

    assert sorted(words(state)) == ["discard", "keep"]
    stopped, ended = (
        next(
            run for run in state.runs.values() if run.trial > 0 and run.measurement and run.measurement.status == status
        )
        for status in ("hopeless", "ok")
    )
    verdict = state.trials[stopped.trial].verdict
    assert verdict is not None
    assert verdict.why.startswith(
        "stopped at rung 1 of 2, 26 % of its budget: number 2 of 2 that got there, with a loss -0.1"
    )
    assert ended.value == 9
    assert stopped.measurement is not None
    assert stopped.measurement.wall_s < 20


# -- a whole study in numbers --------------------------------------------------------------------------


def test_the_same_ideas_take_less_compute_the_larger_eta_is_and_racing_stops_fewer() -> None:
    found = {one.name: Night(WORLDS[1], one, 0, slots=16, runs=math.inf, ideas=60).play() for one in CONTENDERS[:-1]}
    assert {one.tried for one in found.values()} == {60}
    spent = [found[name].spent for name in ("none", "race", "halving 2", "halving 4")]
    assert spent == sorted(spent, reverse=True)
    assert found["halving 4"].used < 0.4 * 60
