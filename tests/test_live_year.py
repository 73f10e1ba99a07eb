"""What a decision rests on is kept day by day: the same as from the records themselves, however often and in whatever order it was asked."""

import itertools
import math
import random
from contextlib import closing
from pathlib import Path

import pytest

np = pytest.importorskip("numpy", reason="numpy is not installed")
pytest.importorskip("sqlalchemy", reason="the extra live is not installed")

from helpers_live import LEVELS, VARIABLES  # noqa: E402

from autoresearch.campaign.known import Known, known  # noqa: E402
from autoresearch.live import bandit, deciding  # noqa: E402
from autoresearch.live.deciding import Decision  # noqa: E402
from autoresearch.live.plan import assign  # noqa: E402
from autoresearch.live.records import AnyRecord, Exposure, Outcome, Plan  # noqa: E402
from autoresearch.live.settings import Live  # noqa: E402
from autoresearch.live.store import Store, open_store  # noqa: E402
from autoresearch.stats import logistic, sequences  # noqa: E402
from benchmarks import live_year  # noqa: E402

LIVE = Live("click", window_hours=30, guardrails=["complaint <= 0.2"], segments=["device"])
HOUR, START = 3600.0, 1_700_006_400.0


def decided(facts: Known) -> Decision:
    return deciding.decide(
        facts.counts, VARIABLES, LEVELS, LIVE, seed=3, rates=facts.rates, arrived=facts.arrived, labels=facts.labels
    )


def planned(facts: Known, number: int) -> Plan:
    return bandit.make(facts.counts, VARIABLES, LEVELS, LIVE, number, facts.until, facts.seen, 3)


def crowd(plan: Plan, first: int, begin: float, rng: random.Random, visitors: int = 60) -> list[AnyRecord]:
    """Within eight hours; what they do may come on a later day."""
    found: list[AnyRecord] = []
    for n in range(first, first + visitors):
        unit, at, segment = f"{n:032x}", begin + rng.random() * 8 * HOUR, rng.choice(["device=phone", "device=desktop"])
        given = assign(plan, "s", unit, segment)
        shown = {"cell": given.cell, "segment": segment, "plan": plan.number, "chance": given.chance}
        found.append(Exposure(source="t", id=f"e{n}", at=at, unit=unit, held=given.held, **shown))  # type: ignore[arg-type]
        for kind, chance in (("click", 0.4 if "tone=warm" in given.cell else 0.2), ("complaint", 0.05)):
            if rng.random() < chance:
                later = at + rng.random() * 40 * HOUR  # some too late
                found.append(Outcome(source="t", id=f"{kind}{n}", at=later, unit=unit, kind=kind))
    return found


def test_a_store_that_was_asked_at_every_step_decides_as_a_fresh_one_does(tmp_path: Path) -> None:
    """With records that come late, in another order, and twice."""
    rng, everything = random.Random(1), list[AnyRecord]()
    with closing(open_store(tmp_path / "asked.db", "s")) as asked, closing(open_store(tmp_path / "new.db", "s")) as new:
        plan = planned(known(asked, LIVE, START), 1)
        late = list[AnyRecord]()
        for step in range(36):
            assert asked.add_plan(plan)
            came = crowd(plan, 60 * step, START + 8 * HOUR * step, rng)
            everything += came
            rng.shuffle(late := [*late, *came])
            now = START + 8 * HOUR * (step + 1)
            for_now = late[: len(late) * 3 // 4]  # the rest days later, perhaps after its day was kept
            late = late[len(for_now) :]
            asked.add(for_now)
            facts = known(asked, LIVE, now)
            decided(facts)
            plan = planned(facts, step + 2)
        asked.add(late)
        for one in asked.plans():
            new.add_plan(one)
        rng.shuffle(everything)
        new.add([*everything, *everything[:500]])
        end = START + 20 * 24 * HOUR
        with closing(open_store(tmp_path / "asked.db", "s")) as again:
            told = [facts_of(store, end) for store in (asked, again, new)]
        assert told[0] == told[1] == told[2]
        assert told[0][2].halt == ""
        asked.forget(f"{7:032x}"), new.forget(f"{7:032x}")
        assert facts_of(asked, end) == facts_of(new, end) != told[0]


def facts_of(store: Store, until: float) -> tuple[object, object, Decision, object]:
    facts = known(store, LIVE, until)
    tables = [[*of[:2], of.shown.tolist(), of.won.tolist()] for of in (facts.counts, *facts.rates.values())]
    return tables, facts.arrived, decided(facts), planned(facts, 99).shares


def test_readings_for_a_verdict_are_those_of_the_map(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / "a.db", "s")) as store:
        plan = planned(known(store, LIVE, START), 1)
        store.add_plan(plan)
        store.add(crowd(plan, 0, START, random.Random(2), 400))
        facts = known(store, LIVE, START + 90 * HOUR)
    few = deciding.decide(facts.counts, VARIABLES, LEVELS, LIVE, seed=3, whole_map=False)
    whole = deciding.decide(facts.counts, VARIABLES, LEVELS, LIVE, seed=3)
    assert [(r.variable, r.level, r.word, r.effect, r.better) for r in few.readings] == [
        (r.variable, r.level, r.word, r.effect, r.better) for r in whole.readings if not r.segment
    ]
    assert any(r.segment for r in whole.readings)


def test_the_year_of_the_benchmark_goes_on(tmp_path: Path) -> None:
    with live_year.opened(tmp_path / "study", 5, writer=True) as year:
        costs = [year.decide() for _ in range(3)]
        row = year.row(1, costs)
        assert len(year.campaign.store.plans()) == 4
    assert len(row) == len(live_year.HEAD)
    assert min(cost.whole for cost in costs) > 0


def test_plans_are_kept_to_the_last_digit(tmp_path: Path) -> None:
    plans = [
        Plan(1, 0.1, 5, 7, "a=b", 0.1, {"": {"a=c": 0.333333, "a=b": 0.666667}, "x": {}}),
        Plan(2, 0.2, 6, 7, "a=never", 0.1, {"": {"a=c": 1 / 3, "a=b": 2 / 3}, "x": {"a=z": 1.0}}),
    ]
    with closing(open_store(tmp_path / "a.db", "s")) as store:
        for plan in plans:
            store.add_plan(plan)
    with closing(open_store(tmp_path / "a.db", "s")) as store:
        assert store.plans() == tuple(plans)


def test_the_ends_of_a_ratio_are_where_the_evidence_is_spent() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        n, m = rng.integers(1, 400, 30).astype(float), rng.integers(1, 400, 30).astype(float)
        y, z = rng.binomial(n.astype(int), 0.1) * 1.0, rng.binomial(m.astype(int), 0.05) * 1.0
        bets = sequences.bets(n, y, m, z)
        found = bets.ratio(0.05)

        def height(r: float, bets: sequences.Bets = bets) -> float:
            return bets.y * math.log(r) - float(bets.s @ np.log1p(bets.share * (r - 1)))

        least = float(np.logaddexp.reduce(bets.paid) - np.logaddexp.reduce(bets.weights)) + math.log(0.05)
        assert found.low < found.estimate < found.high
        assert height(found.low) == pytest.approx(least, abs=1e-7)
        assert height(found.high) == pytest.approx(least, abs=1e-7)
        assert height(found.estimate) >= max(height(found.estimate * step) for step in (0.999, 1.001))


def test_a_family_rejects_what_closed_testing_does() -> None:
    rng = random.Random(3)
    for _ in range(300):
        values = [rng.gauss(3.0, 2.0) for _ in range(rng.randint(1, 6))]
        sets = [s for k in range(1, len(values) + 1) for s in itertools.combinations(range(len(values)), k)]
        enough = {s for s in sets if sum(math.exp(values[i]) for i in s) / len(s) >= 20}
        by_hand = {i for i in range(len(values)) if all(s in enough for s in sets if i in s)}
        assert sequences.family(values, 0.05) == by_hand


def test_a_sparse_design_has_the_same_products() -> None:
    rng = np.random.default_rng(5)
    features = np.zeros((40, 7))
    features[:, 0] = 1.0
    features[np.arange(40), rng.integers(1, 4, 40)] = 1.0
    features[np.arange(40), rng.integers(4, 7, 40)] = 1.0
    weight = rng.random(40)
    for design in (
        logistic.Design(features, np.zeros(40, np.int64)),
        logistic.Design(features, rng.integers(0, 2, 40), 4, 2),
    ):
        assert design.sparse().pairs is not None
        assert np.allclose(design.sparse().gram(weight), design.gram(weight))
