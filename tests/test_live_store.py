"""The store of a live study, on SQLite and on a real PostgreSQL: nothing twice, nothing lost, and the same tallies in any order."""

import os
import random
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from helpers import PYTHON, eventually
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import postgres

sqlalchemy = pytest.importorskip("sqlalchemy", reason="the extra live is not installed")

from autoresearch.errors import StudyError  # noqa: E402 - only where sqlalchemy is
from autoresearch.live import tallying  # noqa: E402
from autoresearch.live.arriving import Side, Sides, sides_of  # noqa: E402
from autoresearch.live.counts import Counts, counted  # noqa: E402
from autoresearch.live.records import AnyRecord, Cost, Exposure, Outcome, Plan, Suppression, Tally  # noqa: E402
from autoresearch.live.settings import Live  # noqa: E402
from autoresearch.live.store import FIRST_LOOK, Store, open_store  # noqa: E402
from autoresearch.live.tallying import DAY_S, Audit  # noqa: E402
from autoresearch.live.together import Records, Together  # noqa: E402

LIVE = Live("click", window_hours=12)
ADDER = Path(__file__).parent / "live_adder.py"
NEVER = 1e10  # when all windows are closed
Open = Callable[[str], Store]


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    if why := postgres.missing():
        pytest.skip(why)
    pytest.importorskip("psycopg", reason="the extra postgres is not installed")
    with postgres.running() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/live.db"
    return request.getfixturevalue("server").address  # type: ignore[no-any-return]


_made = 0


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    """Of a new study, in the same database."""
    store = open_store(address, fresh())
    yield store
    store.close()


def fresh() -> str:
    global _made  # noqa: PLW0603 - studies that share a server must not share a name
    _made += 1
    return f"study {_made}"


def unit(n: int) -> str:
    return f"{n:032x}"


def shown(n: int, at: float, who: int | None = None, cell: str = "a=b", **more: object) -> Exposure:
    return Exposure(source="door", id=f"e{n}", at=at, unit=unit(n if who is None else who), cell=cell, **more)  # type: ignore[arg-type]


def did(n: int, at: float, who: int | None = None, kind: str = "click") -> Outcome:
    return Outcome(source="door", id=f"o{n}", at=at, unit=unit(n if who is None else who), kind=kind)


# -- each once, and by its definition ----------------------------------------------------------------------


def test_the_second_of_the_same_changes_nothing(store: Store) -> None:
    records: list[AnyRecord] = [shown(1, 100), did(1, 200), Cost(source="ads", id="e1", at=1, cell="a=b", amount=2.5)]

    assert store.add([*records, records[0]]) == 3
    assert store.add([shown(1, 999), *records]) == 0
    assert store.add([shown(1, 100, who=2, cell="a=c")]) == 0, "known by source and id, whatever it says"
    assert store.first(unit(1)) == records[0]
    assert store.first(unit(2)) is None
    assert store.seen() == 3
    assert store.costs(NEVER) == {"a=b": 2.5}


def test_a_unit_counts_once_at_its_first_exposure_and_only_what_came_in_the_window_after_it(store: Store) -> None:
    hour, window = 3600.0, LIVE.window_s
    store.add([shown(1, 50 * hour, who=1, cell="a=later"), shown(2, 10 * hour, who=1, cell="a=first", held=True)])
    store.add([did(1, 10 * hour, who=1), did(2, 11 * hour, who=1)])  # at that very instant; and again
    store.add([shown(3, 10 * hour), did(3, 10 * hour + window)])  # at the very end
    store.add([shown(4, 10 * hour), did(4, 10 * hour + window + 1)])  # after it
    store.add([shown(5, 10 * hour), did(5, 10 * hour - 1)])  # before it
    store.add([shown(6, 10 * hour), did(6, 11 * hour, kind="unsubscribe")])
    store.add([did(7, 10 * hour)])  # never exposed

    assert store.tallies(10 * hour + window - 1, None, LIVE) == ()
    expected = (Tally(0, "", "a=b", 4.0, 1), Tally(0, "", "a=first", 1.0, 1, True))
    assert store.tallies(10 * hour + window, None, LIVE) == expected
    assert store.tallies(NEVER, None, LIVE) == expected
    assert store.rates("unsubscribe", 11 * hour, None, LIVE).tallies() == (
        Tally(0, "", "a=b", 4.0, 1),
        Tally(0, "", "a=first", 1.0, 0, True),
    )
    assert store.delays(NEVER, None, LIVE) == (0.0, window)
    summary = store.summary()
    assert (summary.exposures, summary.units, summary.outcomes) == (6, 5, {"click": 6, "unsubscribe": 1})
    assert summary.orphans == 1


def test_a_late_record_makes_its_day_anew_and_an_old_question_keeps_its_answer(address: str) -> None:
    name = fresh()
    store = open_store(address, name)
    store.add([shown(1, 100), shown(2, 100, cell="a=c")])
    before = store.seen()
    was = store.tallies(NEVER, None, LIVE)
    assert was == (Tally(0, "", "a=b", 1.0, 0), Tally(0, "", "a=c", 1.0, 0))

    store.add([did(2, 500), shown(3, DAY_S + 5, who=3), shown(4, 7, who=3)])

    for again in (store, open_store(address, name)):
        assert again.tallies(NEVER, None, LIVE) == (Tally(0, "", "a=b", 2.0, 0), Tally(0, "", "a=c", 1.0, 1))
        assert again.tallies(NEVER, before, LIVE) == was
        assert again.counts(NEVER, before, LIVE).tallies() == was
        again.close()


def test_an_earlier_exposure_that_comes_late_moves_a_unit_to_its_own_day_and_cell(store: Store) -> None:
    store.add([shown(1, DAY_S + 5), did(1, DAY_S + 6)])
    assert store.tallies(NEVER, None, LIVE) == (Tally(1, "", "a=b", 1.0, 1),)

    store.add([shown(2, DAY_S - 5, who=1, cell="a=c")])

    assert store.tallies(NEVER, None, LIVE) == (Tally(0, "", "a=c", 1.0, 1),)
    assert store.counts(NEVER, None, LIVE).tallies() == (Tally(0, "", "a=c", 1.0, 1),)
    assert store.tallies(NEVER, 2, LIVE) == (Tally(1, "", "a=b", 1.0, 1),)
    assert store.first(unit(1)) == shown(2, DAY_S - 5, who=1, cell="a=c")


SECONDS = st.floats(0, 4 * DAY_S).map(lambda x: round(x, 1))
RECORDS: st.SearchStrategy[list[AnyRecord]] = st.lists(
    st.one_of(
        st.builds(
            shown,
            st.integers(0, 30),
            SECONDS,
            st.integers(0, 6),
            st.sampled_from(["a=b", "a=c"]),
            segment=st.sampled_from(["", "mobile"]),
            plan=st.integers(0, 2),
            held=st.booleans(),
        ),
        st.builds(did, st.integers(0, 30), SECONDS, st.integers(0, 6), st.sampled_from(["click", "bounce"])),
    ),
    max_size=30,
    unique_by=lambda record: record.id,
)


def test_the_tallies_are_a_function_of_the_records_whatever_the_order_and_however_often_they_come(address: str) -> None:
    """The tables against the definition, in any order, with repeats, in any division into transactions, at any time and number."""

    @settings(max_examples=40 if address.startswith("sqlite") else 10)
    @given(RECORDS, st.randoms(use_true_random=False), st.floats(0, 6 * DAY_S), st.integers(0, 30))
    def holds(records: list[AnyRecord], chance: random.Random, until: float, seen: int) -> None:
        arrivals = [*records, *chance.sample(records, len(records) // 2)]
        chance.shuffle(arrivals)
        with closing(open_store(address, fresh())) as store:
            kept: list[AnyRecord] = []
            store.add_plan(PLANNED[0])
            while arrivals:
                some = [arrivals.pop() for _ in range(min(len(arrivals), chance.randint(1, 6)))]
                for record in some:
                    if record not in kept:
                        kept.append(record)
                store.add(some)
                if chance.random() < 0.5:  # so that days are kept before late records touch them
                    store.counts(until, None, LIVE)
                    store.arrived(until, None)
            store.add_plan(PLANNED[1])
            window = LIVE.window_s
            for to, known in ((None, records), (seen, kept[:seen])):
                for came in (None, tallying.every, lambda age: age / window):
                    expected = tallying.tally(known, until, "click", window, came)
                    assert store.tallies(until, to, LIVE, came=came) == expected
                    assert same(store.counts(until, to, LIVE, came=came), counted(expected))
                assert store.arrived(until, to) == expected_sides(known, until)
                begun, took = tallying.firsts(known, until), tallying.waited(known, until, "click", window)
                closed = [wait for who, wait in took.items() if begun[who].at + window <= until]
                assert sorted(store.delays(until, to, LIVE)) == pytest.approx(sorted(closed))

    holds()


def same(one: Counts, other: Counts) -> bool:
    return one[:2] == other[:2] and all((a == b).all() for a, b in zip(one[2:], other[2:], strict=True))


PLANNED = [
    Plan(0, 0.0, 0, 1, "a=b", 0.1, {"": {"a=b": 0.75, "a=c": 0.25}, "mobile": {"a=b": 0.125, "a=c": 0.875}}),
    Plan(2, 5.0, 0, 1, "a=c", 0.2, {"": {"a=c": 1.0}}),
]


def expected_sides(records: Sequence[AnyRecord], until: float) -> tuple[Side, ...]:
    """Day by day, of all plans and all first exposures."""
    begun, sums = tallying.firsts(records, until).values(), Sides()
    for day in {tallying.day_of(first.at) for first in begun}:
        today = [first for first in begun if tallying.day_of(first.at) == day]
        sums.add(sides_of(PLANNED, tallying.shown(today, until)))
    return sums.and_(())


# -- durable ---------------------------------------------------------------------------------------------------


def test_a_kill_loses_no_record_that_was_acknowledged(address: str, request: pytest.FixtureRequest) -> None:
    """The process is killed, and with PostgreSQL the server too, as if the power failed."""
    store = open_store(address, "s")
    acknowledged: set[int] = set()
    for turn in range(3):
        command = [PYTHON, str(ADDER), address, str(turn * 1_000_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            lines = [process.stdout.readline() for _ in range(40 + 17 * turn)]
            process.kill()
            lines += process.stdout.read().split("\n")
        acknowledged |= {int(line) for line in lines if line.endswith("\n") or line.isdigit()}
    if not address.startswith("sqlite"):
        store.close()
        server: postgres.Server = request.getfixturevalue("server")
        server.stop()
        server.start()
    assert len(acknowledged) >= 150
    again = open_store(address, "s")
    lost = [n for n in acknowledged if again.first(unit(n)) != shown(n, 1e9 + n)]
    total, summary = again.counts(NEVER, None, LIVE).together().tallies(), again.summary()
    again.close()
    store.close()

    assert not lost
    assert summary.units == summary.exposures == total[0].n >= len(acknowledged), "nothing twice"
    assert summary.outcomes == {"click": summary.units}, "a call's records are there together, or not at all"
    assert total[0].successes == summary.units


def test_many_who_add_at_once_are_each_told_what_was_new(store: Store) -> None:
    told: list[int] = []

    def work(first: int) -> None:
        told.extend(store.add([shown(n, n), shown(0, 0)]) for n in range(first, first + 25))

    threads = [threading.Thread(target=work, args=(1000 * i,)) for i in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(told) == 201
    assert store.summary().units == 201


class Disk:
    """Commits when it is let, and remembers what it was given together."""

    def __init__(self) -> None:
        self.free, self.seen = threading.Event(), list[list[str]]()

    def commit(self, calls: Sequence[Records]) -> list[int]:
        ids = [record.id for call in calls for record in call]
        self.seen.append(ids)
        self.free.wait()
        if "e4" in ids:
            raise ValueError("e4")
        if "e0" in ids:
            raise KeyboardInterrupt
        if "e9" in ids:
            raise OSError("e9")
        return [len(call) for call in calls]


def together(disk: Disk, numbers: Sequence[int]) -> dict[int, str]:
    """What became of callers that came one after another, all while the first was written."""
    ways, found = Together(disk.commit, fatal=(OSError,)), dict[int, str]()

    def call(n: int) -> None:
        try:
            found[n] = str(ways.add([shown(n, n)]))
        except BaseException as error:
            found[n] = type(error).__name__

    def holds(waiting: int) -> bool:
        return bool(disk.seen) and len(ways._waiting) == waiting

    threads = [threading.Thread(target=call, args=(n,)) for n in numbers]
    for i, thread in enumerate(threads):
        thread.start()
        assert eventually(partial(holds, i))
    disk.free.set()
    for thread in threads:
        thread.join(10)
    return found


def test_who_waits_is_written_together_and_one_bad_record_spoils_nobody_elses() -> None:
    disk = Disk()
    assert together(disk, range(1, 7)) == {1: "1", 2: "1", 3: "1", 4: "ValueError", 5: "1", 6: "1"}
    assert disk.seen == [["e1"], ["e2", "e3", "e4", "e5", "e6"], *([f"e{n}"] for n in range(2, 7))]


def test_a_disk_that_is_gone_is_told_to_all_at_once_and_an_interrupted_writer_lets_another_write() -> None:
    assert together(disk := Disk(), [1, 8, 9]) == {1: "1", 8: "OSError", 9: "OSError"}
    assert len(disk.seen) == 2
    assert together(disk := Disk(), [0, 1, 2]) == {0: "KeyboardInterrupt", 1: "1", 2: "1"}
    assert disk.seen == [["e0"], ["e1", "e2"]]


def test_what_cannot_be_kept_is_refused_and_spoils_nobody_elses(store: Store) -> None:
    bad: list[AnyRecord] = [
        did(1, float("nan")),
        did(1, -1),
        did(1, 1, kind="x" * 121),
        did(1, 1, kind="a\0b"),
        did(1, 1, kind="\ud800"),
        did(1, 1, kind=""),
        Outcome(source="door", id="o", at=1, unit="anna@example.org", kind="click"),
        Outcome(source="door", id="o", at=1, unit=unit(1), kind="click", value=float("inf")),
        shown(1, 1, plan=2**40),
    ]
    for record in bad:
        with pytest.raises(ValueError, match=r"\w+"):
            store.add([shown(2, 5), record])

    assert store.seen() == 0
    words = "'; DROP TABLE ar_records; -- \" %s {{x}} \\ =1+1 ☃\n"
    stopped = Suppression(source=words, id="s", at=1, unit=unit(1), why=words)
    nasty = Exposure(source=words, id=words, at=1, unit=unit(1), cell=words, segment=words)
    assert store.add([nasty, stopped]) == 2
    assert store.first(unit(1)) == nasty


# -- people ------------------------------------------------------------------------------------------------------


def test_who_asked_to_be_forgotten_is_and_stays_so(address: str, tmp_path: Path) -> None:
    name = fresh()
    store = open_store(address, name)
    records: list[AnyRecord] = [shown(n, 100) for n in (1, 0xABCDEF)]
    records += [did(n, 200) for n in (1, 0xABCDEF)]
    gone = unit(0xABCDEF)
    store.add(records)
    store.add_audits([Audit(gone, True, False)])
    assert store.tallies(NEVER, None, LIVE)[0].n == 2

    assert store.forget(gone) == 2

    assert store.add(records) == 0, "told again, and refused"
    assert store.tallies(NEVER, None, LIVE) == (Tally(0, "", "a=b", 1.0, 1),)
    assert store.first(gone) is None
    assert store.audits() == ()
    assert store.suppressed([gone, unit(1)]) == {gone}, "nobody writes to them again"
    assert store.forget(gone) == 0
    store.close()
    again = open_store(address, name)
    assert again.tallies(NEVER, None, LIVE) == (Tally(0, "", "a=b", 1.0, 1),)
    again.close()
    for path in tmp_path.iterdir():
        assert bytes.fromhex(gone) not in path.read_bytes()
        assert bytes.fromhex(unit(1)) not in path.read_bytes() or path.name.startswith("live.db")


def test_plans_audits_cursors_and_what_was_ignored_are_kept(store: Store) -> None:
    plans = [Plan(n, 10.0 * n, n, 7, "a=b", 0.1, {"": {"a=b": 0.25, "a=c": 0.75}}) for n in range(3)]
    assert store.plan() is None
    assert [store.add_plan(plan) for plan in plans] == [True] * 3
    assert not store.add_plan(Plan(2, 0, 0, 0, "a=x", 0.5, {})), "whoever was first holds"
    assert store.plan() == plans[2]
    assert store.plan(1) == plans[1]
    assert store.plans(1) == tuple(plans[1:])

    store.add_audits([Audit(unit(1), True, True), Audit(unit(2), True, True)])
    store.add_audits([Audit(unit(2), True, False)])
    assert store.audits() == (Audit(unit(1), True, True), Audit(unit(2), True, False))

    store.add([Suppression(source="door", id="s", at=1, unit=unit(5))])
    assert store.suppressed(map(unit, range(3000))) == {unit(5)}

    assert store.cursor("x") is None
    store.set_cursor("x", "1")
    store.set_cursor("x", "2")
    assert store.cursor("x") == "2"

    store.ignore("x", {"opened": 2, "a\0b": 1})
    store.ignore("x", {"opened": 1} | {f"kind {n}": 1 for n in range(300)})
    ignored = store.ignored()
    assert ignored["x", "opened"] == 3
    assert len(ignored) == 101
    assert sum(ignored.values()) == 304


def test_postgresql_sees_how_large_its_tables_have_become(server: postgres.Server) -> None:
    store = open_store(server.address, fresh())
    store.add(shown(n, 1000.0 + n) for n in range(FIRST_LOOK))
    sizes = sqlalchemy.text("SELECT reltuples FROM pg_class WHERE relname = 'ar_records'")
    with store._database.reading() as connection:
        assert connection.execute(sizes).scalar_one() >= FIRST_LOOK
    store.close()


def test_two_studies_in_one_database_know_nothing_of_each_other(address: str) -> None:
    one, other = open_store(address, fresh()), open_store(address, fresh())
    one.add([shown(1, 1)])
    assert other.add([shown(1, 1)]) == 1
    other.forget(unit(1))
    assert one.first(unit(1)) is not None
    one.close()
    other.close()


# -- addresses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["mysql://x/y", "nonsense", "$NOT_SET", "sqlite://", "postgresql://us:secret@127.0.0.1:1/x"]
)
def test_an_address_that_is_none_is_told_without_its_password(address: str) -> None:
    if address.startswith("postgresql"):
        pytest.importorskip("psycopg", reason="the extra postgres is not installed")
    with pytest.raises(StudyError, match=r"live\.store") as error:
        open_store(address, "s")
    assert "secret" not in str(error.value)


def test_an_address_may_stand_in_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMPAIGN_STORE", f"sqlite:///{tmp_path}/x.db")
    open_store("$CAMPAIGN_STORE", "s").close()
    open_store(tmp_path / "y.db", "s").close()
    assert {"x.db", "y.db"} <= set(os.listdir(tmp_path))
