"""A live study is a study: levels are trials, a person's word opens them, traffic decides them, and the log says it all."""

import contextlib
import random
import signal
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import pytest
from helpers import Recorder, git, make_study, started

pytest.importorskip("sqlalchemy")
pytest.importorskip("numpy")

from autoresearch import log, person, session
from autoresearch.campaign import house, levels
from autoresearch.campaign.atlas import learnt
from autoresearch.campaign.drawing import as_csv, svg, table
from autoresearch.campaign.turns import Campaign, machine
from autoresearch.errors import StudyError
from autoresearch.events import TrialStarted
from autoresearch.inbox import Inbox
from autoresearch.live.plan import assign
from autoresearch.live.records import AnyRecord, Exposure, Outcome, Plan
from autoresearch.live.variables import cell_of, parse
from autoresearch.session import Goal, journal
from autoresearch.state import State
from autoresearch.study import load
from autoresearch.workspace import HOME

VARIABLES = """\
# The words of the page.
[headline]
default = "plain"
[headline.levels]
plain = "A calendar"
bold = "The calendar that <b>rings</b>"
dull = "Calendar"

[button]
default = "go"
[button.levels]
go = "Go"
"""
LIVE = """
[live]
outcome = "click"
window_hours = 1
every_minutes = 60
holdout = 0.2
guardrails = ["complaint <= 0.02"]
"""
HOUR, START = 3600.0, 1.7e9
RATES = {"plain": 0.05, "bold": 0.15, "dull": 0.01}


def make(folder: Path, more: str = "", brand: str = "") -> Path:
    files = {"variables.toml": VARIABLES, "page.html": "<h1>{{ headline }}</h1><a data-outcome=click>{{ button }}</a>"}
    make_study(folder, asset=["variables.toml"], files={**files, **({"brand.toml": brand} if brand else {})})
    text = '[metric]\nname = "click_rate"\ndirection = "maximize"\n'
    (folder / "study.toml").write_text(f'name = "s"\nasset = ["variables.toml"]\n{text}{LIVE}{more}')
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-q", "-m", "live")
    return folder


class Days:
    """A campaign whose clock is turned by hand, and whose visitors come in crowds."""

    def __init__(self, campaign: Campaign, rates: Mapping[str, float], harm: Mapping[str, float]) -> None:
        self.campaign, self.rates, self.harm, self.now = campaign, rates, harm, START
        campaign.clock = lambda: self.now
        self.rng, self.people = random.Random(5), 0

    @property
    def state(self) -> State:
        return self.campaign.lab.log.state

    @property
    def plan(self) -> Plan:
        found = self.campaign.store.plan()
        assert found is not None
        return found

    def turn(self) -> None:
        self.campaign.turn()

    def day(self, visitors: int = 1500) -> None:
        """A crowd, and a plan when they are counted."""
        self.now += 12 * HOUR
        records: list[AnyRecord] = []
        for _ in range(visitors):
            self.people += 1
            unit = f"{self.people:032x}"
            given = assign(self.plan, "s", unit, "")
            at = self.now - self.rng.random() * HOUR
            shown = {"cell": given.cell, "plan": self.plan.number, "chance": given.chance, "held": given.held}
            said = {"what": "exposure", "source": "test", "id": f"e{unit}", "at": at, "unit": unit}
            records.append(msgspec.convert({**said, **shown}, Exposure))
            level = cell_of(given.cell)["headline"]
            if self.rng.random() < self.rates[level]:
                records.append(Outcome(source="test", id=f"c{unit}", at=at + 60, unit=unit, kind="click"))
            if self.rng.random() < self.harm.get(level, 0.0):
                records.append(Outcome(source="test", id=f"h{unit}", at=at + 60, unit=unit, kind="complaint"))
        self.campaign.store.add(records)
        self.now += 12 * HOUR
        self.turn()


@pytest.fixture
def opened() -> Iterator[Callable[..., Days]]:
    with contextlib.ExitStack() as stack:

        def begin(folder: Path, rates: Mapping[str, float] = RATES, harm: Mapping[str, float] | None = None) -> Days:
            lab = stack.enter_context(session.opened(folder, Goal(), Recorder()))
            live = load(folder).live
            assert live is not None
            store = house.store_of("s", live, folder / HOME)
            stack.callback(store.close)
            session.begin(lab, machine(live))
            return Days(Campaign(lab, folder / HOME, store), rates, harm or {})

        yield begin


def test_nothing_is_shown_before_a_person_said_yes_and_what_was_refused_never_is(
    tmp_path: Path, opened: Callable[..., Days]
) -> None:
    folder = make(tmp_path / "s")
    days = opened(folder)
    days.turn()
    assert {cell_of(cell)["headline"] for cell in days.plan.shares[""]} == {"plain"}
    waiting = levels.waiting(days.state)
    assert {level.name for level in waiting.values()} == {"bold", "dull"}
    inbox = Inbox(folder / HOME)
    bold, dull = (next(n for n, level in waiting.items() if level.name == name) for name in ("bold", "dull"))
    inbox.approve(bold, True)
    inbox.approve(dull, False, "too short")
    days.turn()
    assert {cell_of(cell)["headline"] for cell in days.plan.shares[""]} == {"plain", "bold"}
    refused = days.state.trials[dull]
    assert refused.verdict is not None
    assert (refused.word, refused.verdict.why) == ("rejected", "a person said no: too short")
    days.turn()
    assert not levels.waiting(days.state)  # and it is not opened again


def test_traffic_keeps_what_is_better_and_drops_what_is_not_and_the_default_moves(
    tmp_path: Path, opened: Callable[..., Days]
) -> None:
    folder = make(tmp_path / "s", 'approve = "rules"\n')
    before = git(folder, "status", "--porcelain"), git(folder, "rev-parse", "HEAD")
    days = opened(folder)
    days.turn()
    for _ in range(12):
        days.day()
    words = {str(level.name): trial.word for trial in days.state.trials.values() if (level := levels.of(trial))}
    assert words == {"bold": "keep", "dull": "discard"}
    best = days.state.best
    assert best is not None
    kept = git(folder, "show", f"{best.commit}:variables.toml")
    assert parse(kept).default["headline"] == "bold"
    assert kept.startswith("# The words of the page.")
    trial = days.state.trials[best.trial]
    assert trial.verdict is not None
    assert trial.verdict.value is not None
    assert 0.1 < trial.verdict.value < 0.2
    assert days.state.runs[trial.runs[-1]].measurement is not None
    assert {cell_of(cell)["headline"] for cell in days.plan.shares[""]} == {"bold"}
    assert (git(folder, "status", "--porcelain"), git(folder, "rev-parse", "HEAD")) == before


def test_a_level_that_bothers_people_is_taken_out(tmp_path: Path, opened: Callable[..., Days]) -> None:
    days = opened(
        make(tmp_path / "s", 'approve = "rules"\n'), {"plain": 0.05, "bold": 0.05, "dull": 0.05}, {"bold": 0.1}
    )
    days.turn()
    for _ in range(4):
        days.day()
    [bold] = [trial for trial in days.state.trials.values() if (level := levels.of(trial)) and level.name == "bold"]
    assert bold.word == "discard"
    assert bold.verdict is not None
    assert "complaint" in bold.verdict.why


def test_what_breaks_a_rule_of_the_brand_is_rejected_with_the_rule(tmp_path: Path, opened: Callable[..., Days]) -> None:
    days = opened(make(tmp_path / "s", 'approve = "rules"\n', 'banned = ["rings"]\n'))
    days.turn()
    words = {level.name: trial for trial in days.state.trials.values() if (level := levels.of(trial))}
    assert words["bold"].word == "rejected"
    assert "rings" in words["bold"].problem
    assert words["dull"].approved


def test_a_level_that_a_person_asks_for_later_is_a_trial_and_what_is_none_is_rejected(
    tmp_path: Path, opened: Callable[..., Days]
) -> None:
    folder = make(tmp_path / "s", 'approve = "rules"\n')
    days = opened(folder)
    days.turn()

    def asked(change: str, idea: str) -> str:
        source = tmp_path / f"mine{len(idea)}"
        source.mkdir()
        (source / "variables.toml").write_text(VARIABLES.replace('go = "Go"', change))
        person.ask(folder, idea, person.changes(folder, source))
        days.turn()
        return next(trial.word for trial in days.state.trials.values() if trial.idea == idea)

    assert asked('go = "Go"\nnow = "Go now"', "say when") == "running"
    assert asked('go = "Go"\nbold = "Go!"\ndone = "Done"', "two at once") == "rejected"
    assert asked('go = "Go"\nnow = "Right now"', "the same name") == "rejected"
    days.turn()
    assert {cell_of(cell)["button"] for cell in days.plan.shares[""]} == {"go", "now"}
    names = [level.name for trial in days.state.trials.values() if (level := levels.of(trial))]
    assert sorted(names) == ["bold", "dull", "now"]


def test_what_a_killed_session_began_and_did_not_finish_never_was(tmp_path: Path, opened: Callable[..., Days]) -> None:
    days = opened(make(tmp_path / "s", 'approve = "rules"\n'))
    days.turn()
    best = days.state.best
    assert best is not None
    days.campaign.lab.log.append(TrialStarted(trial=days.state.next_trial, base=best.commit, base_tree=best.tree))
    days.turn()
    assert all(trial.commit for trial in days.state.trials.values())


def test_another_session_goes_on_where_the_first_was(tmp_path: Path) -> None:
    folder = make(tmp_path / "s", 'approve = "rules"\n')
    numbers = []
    for _ in range(2):
        with session.opened(folder, Goal(), Recorder()) as lab:
            live = load(folder).live
            assert live is not None
            with contextlib.closing(house.store_of("s", live, folder / HOME)) as store:
                Campaign(lab, folder / HOME, store, lambda: START).turn()
                plan = store.plan()
                numbers.append(sorted(lab.log.state.trials))
                assert plan is not None
    assert numbers[0] == numbers[1]
    state = log.read(journal(folder))
    assert [trial.word for trial in state.trials.values()] == ["running"] * 3


def test_the_map_tells_what_is_known_and_quotes_what_it_is_told(tmp_path: Path, opened: Callable[..., Days]) -> None:
    folder = make(tmp_path / "s", 'approve = "rules"\n')
    days = opened(folder)
    days.turn()
    for _ in range(3):
        days.day()
    found = learnt(folder, days.now)
    assert found.exposures == 4500
    places = {place.reading.level: place for place in found.places if place.reading.variable == "headline"}
    assert (places["bold"].word, places["bold"].reading.word) == ("keep", "default")
    assert places["plain"].reading.low < -2 / 3 < places["plain"].reading.high  # 5 % where the new default has 15 %
    assert places["dull"].reading.high < -2 / 3
    assert "<b>" not in svg(found)
    assert "&lt;b&gt;" in svg(found)
    assert as_csv(found).splitlines()[0].startswith("variable,level,segment,text")
    assert table(found)


def test_a_study_that_is_none_says_what_to_do(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "s")
    with pytest.raises(StudyError, match=r"no table \[live\]"):
        learnt(folder)
    live = make(tmp_path / "l")
    with pytest.raises(StudyError, match="was not run yet"):
        learnt(live)


def test_a_pair_of_variables_that_are_not_there_is_told_before_anything_is_shown(
    tmp_path: Path, opened: Callable[..., Days]
) -> None:
    folder = make(tmp_path / "s", 'interactions = [["headline", "zzz"]]\n')
    says = r'live\.interactions names "zzz", which variables\.toml does not have \(it has: headline, button\)'
    with pytest.raises(StudyError, match=says):
        opened(folder)
    with pytest.raises(StudyError, match=says):
        learnt(folder)


def test_a_level_is_added_as_a_person_would_write_it() -> None:
    new = levels.Level("button", "now", 'Say "now"\nand #go')
    made = levels.written(VARIABLES, new)
    assert parse(made).variables["button"].levels == {"go": "Go", "now": new.text}
    assert parse(made).default == {"headline": "plain", "button": "now"}
    assert levels.added(parse(VARIABLES), parse(made.replace('default = "now"', 'default = "go"'))) == new
    with pytest.raises(StudyError, match="adds 0"):
        levels.added(parse(VARIABLES), parse(VARIABLES))
    with pytest.raises(StudyError, match="changes nothing else"):
        levels.added(parse(VARIABLES), parse(made.replace('plain = "A calendar"', 'plain = "A diary"')))


def test_a_store_that_goes_away_does_not_end_the_server(tmp_path: Path) -> None:
    folder = make(tmp_path / "s")
    with started("live", "serve", "--port", "0", cwd=folder) as process:
        assert process.stdout
        said: list[str] = []

        def until(word: str) -> None:
            assert process.stdout
            while not said or word not in said[-1]:
                said.append(process.stdout.readline())
                assert said[-1], said

        until("Serving on")
        with contextlib.closing(sqlite3.connect(folder / HOME / house.FOLDER / house.STORE)) as away:
            away.execute("ALTER TABLE ar_plans RENAME TO elsewhere")
            until("cannot be used")
            away.execute("ALTER TABLE elsewhere RENAME TO ar_plans")
        until("answers again")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, (said, process.communicate())
