"""What a study cost follows from its log alone, at the price of then; and the forecast is right as often as it says."""

import json
import random
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from helpers import (
    MACHINE,
    History,
    Recorder,
    autoresearch,
    contract,
    eventually,
    journal_lines,
    make_study,
    play,
    says,
    started,
    state_of,
    step,
    toml,
    write,
)
from hypothesis import given
from hypothesis import strategies as st

from autoresearch import events as ev
from autoresearch.log import Log
from autoresearch.propose import portfolio
from autoresearch.propose.account import reached
from autoresearch.purse import Goal, Purse
from autoresearch.report import cost, screen, text
from autoresearch.report.brief import Left
from autoresearch.session import journal
from autoresearch.state import State, fold
from autoresearch.study import Stop, parse

DEAR = 3600.0  # dollars of a slot-hour: a dollar a second


# -- the fold ------------------------------------------------------------------------------------------

PRICES = st.sampled_from([None, 0.5, 2.0, 7.25])
SECONDS = st.floats(0, 1e5, allow_nan=False)
STATUSES = st.sampled_from(["ok", "crash", "timeout", "hopeless", "stopped"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("session"), PRICES),
        st.tuples(st.just("run"), SECONDS),
        st.tuples(st.just("end"), st.tuples(SECONDS, SECONDS, SECONDS, STATUSES)),
        st.tuples(st.just("call"), st.floats(0, 10)),
        st.tuples(st.just("wait"), SECONDS),
    ),
    max_size=30,
)


@given(STEPS)
def test_machine_dollars_are_each_runs_time_on_its_slot_at_the_price_when_it_began(
    steps: list[tuple[str, Any]],
) -> None:
    past, now = History(), 1e9
    price: float | None = None
    begun: dict[int, tuple[float, float]] = {}  # run -> (price, when), while it is open
    paid = calls = 0.0
    past.propose(trial := past.start())
    for what, value in steps:
        if what == "session":
            price = value
            past.happen(
                ev.SessionStarted(at=now, pid=1, version="0", machine=MACHINE, workers=1, dollars_per_hour=price)
            )
        elif what == "run":
            run = past.begin_run(trial)
            opened = msgspec.structs.replace(past.state.runs[run], started_at=now)
            past.events[-1] = ev.RunStarted(at=now, run=opened)
            begun[run] = (price or 0.0, now)
        elif what == "end" and begun:
            run = next(iter(begun))
            slot_s, wall_s, score_s, status = value
            took = {"slot_s": slot_s, "wall_s": wall_s, "score_s": score_s}
            past.end_run(run, 1.0 if status == "ok" else None, status, **took)
            past.events[-1] = msgspec.structs.replace(past.events[-1], at=now)
            paid += begun.pop(run)[0] * (slot_s or wall_s + score_s) / 3600
        elif what == "call":
            past.happen(ev.Charged(at=now, trial=trial, by="llm", dollars=value))
            calls += value
        elif what == "wait":
            now += value
            past.happen(ev.Steered(at=now, note=past.state.wishes.next_note, text="x", by="person", key=str(now)))
    state = fold(past.events)
    latest = max((event.at for event in past.events), default=0.0)
    open_now = sum(cost_of * max(0.0, latest - since) / 3600 for cost_of, since in begun.values())
    assert state.ledger.machine == pytest.approx(paid + open_now, abs=1e-6)
    assert state.ledger.models == pytest.approx(calls)
    assert state.dollars == pytest.approx(state.ledger.machine + state.ledger.models)
    by_run = sum(state.ledger.of_run(run) for run in state.runs.values())
    assert by_run == pytest.approx(paid, abs=1e-6)


def priced(past: History, price: float | None, at: float = 0.0) -> None:
    about = ev.SessionStarted(pid=7, version="0", machine=MACHINE, workers=1, dollars_per_hour=price, at=at)
    past.happen(about)


def test_a_price_of_today_does_not_change_what_yesterday_cost() -> None:
    past = History()
    priced(past, 2.0)
    past.propose(trial := past.start())
    past.end_run(past.begin_run(trial), 1.0, wall_s=1800, score_s=1800)
    assert past.state.ledger.machine == pytest.approx(2.0)
    priced(past, 10.0)
    assert past.state.ledger.machine == pytest.approx(2.0)
    past.end_run(past.begin_run(trial), None, "crash", slot_s=360)
    priced(past, None)
    past.end_run(past.begin_run(trial), 1.0, slot_s=3600)
    assert past.state.ledger.machine == pytest.approx(3.0)
    assert past.state.ledger.price is None


def test_a_study_without_a_price_has_no_machine_dollars_and_shows_none() -> None:
    past = History()
    past.propose(trial := past.start())
    past.end_run(past.begin_run(trial), 1.0, wall_s=3600)
    assert (past.state.dollars, past.state.ledger.was_priced) == (0.0, False)
    assert cost.lines(past.state, Left()) == []
    assert cost.data(past.state, Left())["cost"]["machine"] is None


def test_the_cap_counts_models_and_machine_together_and_says_what_each_cost() -> None:
    past = History()
    priced(past, DEAR)
    past.propose(trial := past.start())
    past.happen(ev.Charged(trial=trial, by="llm", dollars=0.75))
    past.end_run(past.begin_run(trial), 1.0, slot_s=0.5)
    assert reached(Stop(dollars=1.3), past.state) == ""
    found = reached(Stop(dollars=1.25), past.state)
    assert found == "the cap of $1.25 (budget.dollars) is reached: 1 call cost $0.75, the machine $0.50"


def test_at_the_cap_no_trial_starts_and_who_waits_for_those_that_run_is_told_once() -> None:
    past, said = History(), list[str]()
    priced(past, DEAR)
    purse = Purse(parse(toml(contract(budget={"dollars": 2.0}))), Goal(), 0, said.append)
    past.propose(trial := past.start())
    past.end_run(past.begin_run(trial), 1.0, slot_s=1.9)
    assert purse.may_start(past.state, 1)
    past.end_run(past.begin_run(trial), 1.0, slot_s=0.1)
    assert not purse.may_start(past.state, 2)
    assert not purse.may_start(past.state, 1)
    cap = "the cap of $2.00 (budget.dollars) is reached: the machine cost $2.00"
    assert said == [f"{cap}. No new trial starts; running ones are finished"]
    assert purse.left(past.state).dollars == 0.0


def test_a_portfolio_weighs_calls_by_the_studys_own_price() -> None:
    def hours(price: float | None) -> float:
        past = History()
        priced(past, price)
        past.propose(trial := past.start())
        past.happen(ev.Charged(trial=trial, by="script", dollars=8.0))
        past.decide(trial, "discard", 1.0)
        return portfolio.outcomes(past.state, list(past.state.trials.values()), ["script"])[0].cost or 0.0

    assert hours(None) == pytest.approx(8.0 / portfolio.DOLLARS_PER_HOUR)
    assert hours(4.0) == pytest.approx(2.0)


# -- real studies --------------------------------------------------------------------------------------


def test_a_study_ends_at_the_cap_finishes_what_runs_and_says_so(tmp_path: Path) -> None:
    recorder = Recorder()
    folder = make_study(
        tmp_path / "s",
        *(step(f"sleep 0.2; echo METRIC loss={10 - i}\n", f"idea {i}") for i in range(1, 30)),
        execute={"dollars_per_hour": DEAR},
        budget={"dollars": 0.6},
    )
    state = play(folder, recorder)
    costs = [state.ledger.of_run(run) for run in state.runs.values()]
    assert state.decided < 29  # a slow machine may spend it all on the baseline
    assert not state.unfinished
    assert state.ledger.machine == pytest.approx(sum(costs))
    assert state.dollars >= 0.6
    last = list(state.trials.values())[-1]
    assert state.dollars - cost.of_trial(state, last) < 0.6  # it was begun below the cap
    ended = [line["why"] for line in journal_lines(folder) if line["event"] == "session_ended"][-1]
    assert re.fullmatch(r"the cap of \$0.60 \(budget.dollars\) is reached: the machine cost \$\d+\.\d\d", ended)
    assert f"Ended: {ended}." in recorder.said
    again = play(folder)  # nothing more, not even the next day
    assert again.decided == state.decided


def test_a_run_costs_its_scoring_and_its_crash_and_the_price_is_in_the_log(tmp_path: Path) -> None:
    folder = make_study(
        tmp_path / "s",
        step("sleep 0.3; exit 3\n", "crash"),
        files={"score.sh": "sleep 0.2; echo METRIC loss=1\n"},
        measure={"score": "sh score.sh"},
        execute={"dollars_per_hour": 2.0},
    )
    state = play(folder)
    done = [run.measurement for run in state.runs.values() if run.measurement]
    assert {one.status for one in done} == {"ok", "crash"}
    for one in done:
        assert one.slot_s >= max(0.2, one.wall_s + one.score_s - 0.01)
    assert state.ledger.machine == pytest.approx(sum(one.slot_s for one in done) * 2.0 / 3600)
    assert [e["dollars_per_hour"] for e in journal_lines(folder) if e["event"] == "session_started"] == [2.0]
    write(folder, {"study.toml": (folder / "study.toml").read_text().replace("2.0", "200.0")})
    before = state.ledger.machine
    write(folder, {"steps.jsonl": ""})
    assert play(folder).ledger.machine == pytest.approx(before)


def test_a_run_that_was_lost_costs_up_to_its_last_sign_of_life(tmp_path: Path) -> None:
    ticking = "i=0; while [ $i -lt 300 ]; do echo PROGRESS 0.01; sleep 0.1; i=$((i+1)); done\n"
    folder = make_study(tmp_path / "s", step(ticking, "slow"), execute={"dollars_per_hour": DEAR})
    with started("run", cwd=folder) as process:
        printed = folder / ".autoresearch" / "runs" / "1" / "run.out.txt"
        assert eventually(lambda: printed.exists() and printed.read_text().count("\n") >= 8, within_s=60)
        open_runs = state_of(folder).open_runs
        process.kill()
        process.wait()
    killed_at = printed.stat().st_mtime
    assert list(open_runs) == [1]
    with Log(journal(folder)) as log:
        log.lose(1)
        lost = log.state.runs[1].measurement
    assert lost is not None
    assert lost.status == "stopped"
    began = log.state.runs[1].started_at
    assert killed_at - began - 0.01 <= lost.slot_s <= printed.stat().st_mtime - began + 0.01
    assert lost.slot_s >= 0.5
    assert log.state.ledger.of_run(log.state.runs[1]) == pytest.approx(lost.slot_s)


def test_a_run_that_was_stopped_costs_what_it_took(tmp_path: Path) -> None:
    folder = make_study(
        tmp_path / "s", step("sleep 60; echo METRIC loss=1\n", "slow"), execute={"dollars_per_hour": 1.0}
    )
    with started("run", cwd=folder) as process:
        assert eventually((folder / ".autoresearch" / "runs" / "1" / "run.out.txt").exists, within_s=60)
        process.terminate()
        process.wait(timeout=60)
    stopped = state_of(folder).runs[1].measurement
    assert stopped is not None
    assert (stopped.status, stopped.slot_s > 0) == ("stopped", True)


def test_status_tells_the_cost_and_what_is_left_in_words_and_as_data(tmp_path: Path) -> None:
    steps = [step(f"sleep 0.1; echo METRIC loss={10 + i}\n", f"idea {i}") for i in range(9)]
    folder = make_study(tmp_path / "s", *steps, execute={"dollars_per_hour": 36.0}, budget={"dollars": 50.0})
    state = play(folder, trials=5)
    said = " ".join(autoresearch("status", cwd=folder).stdout.split())
    assert re.search(r"cost +\$[\d.]+: \$[\d.]+ machine, at \$36 a slot-hour; \$4\d.\d\d left of budget.dollars", said)
    assert re.search(
        r"forecast +\$[\d.]+ a trial lately; the \$4\d.\d\d left buy about [\d,]+( \([\d,]+ to [\d,]+\))? more", said
    )
    found = json.loads(autoresearch("status", "--json", cwd=folder).stdout)
    assert found["cost"]["machine"] == pytest.approx(state.ledger.machine)
    assert found["cost"]["dollars_left"] == pytest.approx(50 - state.dollars)
    seen = found["forecast"]
    assert (seen["bound"], seen["of"]) == ("dollars", 5)
    assert seen["trials"]["low"] <= seen["trials"]["middle"] <= seen["trials"]["high"]
    each = sum(cost.of_trial(state, t) for t in state.trials.values() if not t.is_baseline) / 5
    assert seen["trials"]["middle"] == pytest.approx((50 - state.dollars) / each)


# -- the forecast --------------------------------------------------------------------------------------


def night(draws: list[float], price: float = 1.0) -> State:
    """A study of trials that took so many hours each, one after the other."""
    past, now = History(), 1e9
    priced(past, price, at=now)
    for hours in draws:
        past.propose(trial := past.start())
        past.end_run(past.begin_run(trial), 1.0, slot_s=hours * 3600)
        now += hours * 3600
        past.decide(trial, "discard", 1.0)
        about = msgspec.structs.replace(past.events[-1], at=now)
        past.events[-1] = about
    return fold(past.events)


def bought(rng: random.Random, dollars: float, scatter: float) -> int:
    """How many trials a sum pays for."""
    n = 0
    while (dollars := dollars - rng.lognormvariate(-2.0, scatter)) >= 0:
        n += 1
    return n


@pytest.mark.parametrize("scatter", [0.1, 0.5, 0.8])
def test_what_a_sum_buys_lies_in_the_range_about_as_often_as_is_said(scatter: float) -> None:
    inside, rounds = 0, 400
    for seed in range(rounds):
        rng = random.Random(seed)
        costs = [rng.lognormvariate(-2.0, scatter) for _ in range(20)]
        found = cost.pace(costs)
        assert found is not None
        dollars = 6.0
        middle = dollars / found.mean
        ends = cost._around(middle, found.spread(middle))
        inside += ends.low - 1 <= bought(rng, dollars, scatter) <= ends.high + 1
    assert 0.84 <= inside / rounds <= 1.0  # 9 in 10; the mean of a skewed sample is low a little too often


def test_the_forecast_goes_to_the_first_bound_of_the_budget() -> None:
    state = night([0.1, 0.12, 0.08, 0.11, 0.09], price=2.0)
    few = cost.forecast(state, Left(trials=4, dollars=100.0))
    assert few is not None
    assert (few.bound, few.trials) == ("trials", cost.Range(4.0, 4.0, 4.0))
    assert few.dollars is not None
    assert few.hours is not None
    assert few.dollars.middle == pytest.approx(0.8)
    assert few.hours.middle == pytest.approx(0.4)
    poor = cost.forecast(state, Left(trials=400, dollars=2.0))
    assert poor is not None
    assert (poor.bound, poor.dollars) == ("dollars", cost.Range(2.0, 2.0, 2.0))
    assert poor.trials.middle == pytest.approx(10.0)
    late = cost.forecast(state, Left(hours=1.0, dollars=100.0))
    assert late is not None
    assert late.bound == "hours"
    assert late.trials.middle == pytest.approx(10.0)
    assert cost.forecast(state, Left()) is None
    assert cost.forecast(night([0.1, 0.1]), Left(trials=4)) is None
    assert cost.sentence(state, Left(dollars=0.0)) == "budget.dollars is spent: no new trial starts"


def test_a_stale_trial_is_part_of_the_one_that_carries_it_on_and_a_claim_of_none() -> None:
    past = History()
    priced(past, DEAR)
    past.propose(stale := past.start())
    past.end_run(past.begin_run(stale), 1.0, slot_s=2)
    past.decide(stale, "stale")
    past.propose(again := past.start(again=stale), "t9")
    past.end_run(past.begin_run(again), 1.0, slot_s=3)
    past.end_run(past.begin_run(again, purpose="claim"), 1.0, slot_s=50)
    past.decide(again, "discard", 1.0)
    assert cost.lately(past.state) == [pytest.approx(5.0)]
    assert past.state.ledger.machine == pytest.approx(55.0)


@given(
    st.lists(st.floats(0.01, 5), min_size=0, max_size=30),
    st.floats(0, 1e4) | st.none(),
    st.integers(0, 500) | st.none(),
)
def test_every_forecast_is_a_range_and_can_be_said(
    draws: list[float], dollars: float | None, trials: int | None
) -> None:
    state, left = night(draws), Left(dollars=dollars, trials=trials)
    seen = cost.forecast(state, left)
    if seen:
        for one in filter(None, (seen.trials, seen.dollars, seen.hours)):
            assert 0 <= one.low <= one.middle <= one.high
        assert trials is None or seen.trials.middle <= trials
    assert all(line.isprintable() for line in cost.lines(state, left))
    text.status_data(state, None, left=left)


def test_the_screen_shows_the_sum_and_the_machines_part() -> None:
    past = History()
    priced(past, DEAR)
    past.propose(trial := past.start())
    past.happen(ev.Charged(trial=trial, by="llm", dollars=1.0))
    past.end_run(past.begin_run(trial), 1.0, slot_s=2)
    rows = screen.rows(screen.standing(past.state), {}, 0.0, 100, 20, screen.Plan(dollars=9.0))
    shown = next(row.plain for row in rows if row.plain.startswith("cost"))
    assert "$3.00 of 9.00" in shown
    assert "$2.00 of it the machine" in shown


def test_the_break_between_two_sessions_is_no_part_of_the_pace() -> None:
    past = History()
    for begin in (1000.0, 900_000.0):
        priced(past, 1.0, at=begin)
        for i in (1, 2, 3):
            past.propose(trial := past.start())
            past.decide(trial, "discard", 1.0)
            past.events[-1] = msgspec.structs.replace(past.events[-1], at=begin + 60 * i)
    assert list(fold(past.events).ledger.gaps_s) == [60.0] * 6
    assert all(a.at <= b.at or not b.at for a, b in pairwise(past.events[1:]))


def test_without_a_price_a_cap_in_dollars_ends_nothing(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "s", says(9), says(8), budget={"dollars": 0.01})
    assert play(folder).decided == 2
