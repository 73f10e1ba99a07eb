"""Several proposers share one study: each gets its turn, and whose turn it is follows from the log alone."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers import PYTHON, History, Recorder, eventually, make_study, says
from ideas import Bad, Failing, Good

from autoresearch import log, session
from autoresearch.check import check
from autoresearch.cli import main
from autoresearch.errors import NothingLeft, StudyError
from autoresearch.events import Charged, TrialAsked, TrialDecided, TrialProposed
from autoresearch.execute.keepers import Keepers
from autoresearch.propose import Proposer, Tree, constants
from autoresearch.propose.history import History as Learnt
from autoresearch.propose.making import Given, make
from autoresearch.propose.portfolio import FAILURES, LONGEST_REST, REST, Portfolio, outcomes, rest, shares
from autoresearch.propose.search import Search
from autoresearch.report.brief import Brief, brief
from autoresearch.report.proposers import accounts, lines
from autoresearch.session import Goal
from autoresearch.state import State, fold
from autoresearch.stats.odds import FLOOR
from autoresearch.study import load, parse
from autoresearch.trial import Best, Limits, Proposal, Verdict

HERE = Path(__file__).parent
MODEST = {"calibrate": 1, "policy": "greedy"}


def study(folder: Path, *names: str, **propose: Any) -> Path:
    table = {"with": list(names), "sandbox": "none"} | propose
    return make_study(folder, says(5), propose=table, decide=MODEST)


def run(folder: Path, trials: int, workers: int = 1, recorder: Recorder | None = None) -> State:
    return session.run(folder, Goal(trials=trials, workers=workers), recorder or Recorder())


def asked(state: State) -> list[str]:
    return [trial.asked for trial in state.trials.values() if not trial.is_baseline]


# -- what search learns from the others ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (b"RATE = 0.2\nDEPTH = 4\nprint(RATE)\n", {"a.py:RATE": (0.1, 0.2)}),
        (b"RATE = 0.2\nDEPTH = 8  # deeper\n\nprint(RATE)\n", {"a.py:RATE": (0.1, 0.2), "a.py:DEPTH": (4, 8)}),
        (b"RATE = 0.2\nDEPTH = 4\nprint(2 * RATE)\n", {}),
        (b"RATE = 0.1\nDEPTH = 4\nprint(2 * RATE)\n", {}),
        (b"RATE = 0.1\nDEPTH = 4\nNEW = 1\nprint(RATE)\n", {}),
        (b"RATE = 0.2\nDEPTH = \n", {}),
        (b"\x00\xff", {}),
        (None, {}),
    ],
)
def test_what_sets_constants_and_nothing_else_is_told_apart(after: bytes | None, expected: dict[str, Any]) -> None:
    before: dict[str, bytes | None] = {"a.py": b"RATE = 0.1\nDEPTH = 4\nprint(RATE)\n", "b.py": b"X = 1\n"}
    assert constants.changed(before, before | {"a.py": after}) == expected
    assert constants.changed(before, before | {"a.py": after, "new.txt": None}) == {}


def test_search_learns_which_constants_another_set_from_the_files_and_not_from_its_word(tmp_path: Path) -> None:
    folder = make_study(
        tmp_path,
        start="python3 -c 'from rate import RATE; print(\"METRIC loss=%r\" % abs(RATE - 0.8))'\n",
        files={"rate.py": "RATE = 0.1\n"},
        asset=["rate.py"],
        propose={"with": ["ideas:Doubles", "search"], "sandbox": "none"},
        decide=MODEST,
    )
    state = run(folder, 24)  # within 20, each is asked once
    doubled = [trial for trial in state.trials.values() if trial.by == "doubles" and trial.verdict]
    assert doubled
    learnt = Learnt()
    for trial in doubled:
        [(old, new)] = trial.memo["constants"].values()
        assert new == 2 * old
    base = state.best
    assert base is not None
    learnt.update(brief("s", "", ("rate.py",), base, state))
    tried = learnt.tried("rate.py:RATE", doubled[0].memo["constants"]["rate.py:RATE"][1])
    assert tried is not None
    first = state.trials[state.trees[doubled[0].tree or ""]]  # search may have set the same before
    assert tried.word == first.word


# -- in real studies -------------------------------------------------------------------------------------


def test_two_share_a_study_and_the_log_says_who_was_asked_and_how_long_it_took(tmp_path: Path) -> None:
    folder = study(tmp_path, "ideas:Good", "ideas:Bad")
    state = run(folder, 24)

    names = asked(state)
    assert set(names) == {"ideas:Good", "ideas:Bad"}
    assert names.count("ideas:Good") > names.count("ideas:Bad")
    assert all(trial.by == trial.asked.partition(":")[2].lower() for trial in state.trials.values() if trial.asked)
    assert all(trial.propose_s > 0 for trial in state.trials.values() if trial.asked)
    events = list(log.decode(session.journal(folder).read_bytes()))
    assert [e.by for e in events if isinstance(e, TrialAsked)] == names
    assert all(e.propose_s > 0 for e in events if isinstance(e, TrialProposed))


def test_nobody_falls_below_the_floor_in_a_real_study(tmp_path: Path) -> None:
    names = asked(run(study(tmp_path, "ideas:Good", "ideas:Bad"), FLOOR + 4))
    assert all("ideas:Bad" in names[i : i + FLOOR + 1] for i in range(len(names) - FLOOR))


def test_every_choice_can_be_made_again_from_the_log_before_it(tmp_path: Path) -> None:
    folder = study(tmp_path, "ideas:Good", "ideas:Bad", "ideas:Failing")
    run(folder, 16)
    events = list(log.decode(session.journal(folder).read_bytes()))
    choices = [(i, event) for i, event in enumerate(events) if isinstance(event, TrialAsked)]
    assert len({event.by for _, event in choices}) == 3
    for i, event in choices:
        assert chosen(fold(events[:i]), event.trial, ["ideas:Good", "ideas:Bad", "ideas:Failing"]) == event.by


class Stub:
    """Says its name and changes nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        return Proposal(self.name, self.name)


class Nowhere:
    """A worktree in which nothing was changed."""

    path = Path()

    def __init__(self, tree: str) -> None:
        self.tree = tree

    def asset_files(self) -> list[Path]:
        return []

    def snapshot(self) -> str:
        return self.tree

    def fit(self, patch: str, line_for_line: str | None) -> bool:
        return False


def chosen(state: State, number: int, names: list[str], told: list[str] | None = None) -> str:
    """Whom a new portfolio asks for a trial that has begun."""
    notes: list[TrialAsked] = []
    made: dict[str, Proposer] = {name: Stub(name) for name in names}
    portfolio = Portfolio(made, state, notes.append, ([] if told is None else told).append)
    asked_before = state.trials[number].asked
    idea = propose(portfolio, state, number).idea
    assert [note.by for note in notes] == ([] if asked_before == idea else [idea])
    return idea


def propose(portfolio: Portfolio, state: State, number: int) -> Proposal:
    trial = state.trials[number]
    given = brief("s", "", ("a",), Best(trial.base, trial.base_tree, number), state)
    return portfolio.propose(Nowhere(trial.base_tree), given, Limits(trial=trial.id))


def test_killed_while_it_waits_for_one_it_goes_on_with_the_same(tmp_path: Path) -> None:
    folder = study(tmp_path / "s", "ideas:Good", "ideas:Bad")
    marker = tmp_path / "thinking"
    command = [PYTHON, "-m", "autoresearch", "run", "--trials", "8", "--workers", "1", "-C", str(folder)]
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    hanging = os.environ | {"PYTHONPATH": path, "IDEAS_HANG_AT": "5", "IDEAS_MARKER": str(marker)}
    with subprocess.Popen(command, env=hanging, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert eventually(marker.exists, within_s=60)
        process.send_signal(signal.SIGKILL)
    before = log.read(session.journal(folder))
    assert before.trials[5].commit is None
    assert before.trials[5].asked

    after = run(folder, 3)
    assert after.trials[5].asked == before.trials[5].asked
    assert after.trials[5].by == before.trials[5].asked.partition(":")[2].lower()
    events = log.decode(session.journal(folder).read_bytes())
    assert sum(isinstance(e, TrialAsked) and e.trial == 5 for e in events) == 1


def test_several_workers_share_them_too(tmp_path: Path) -> None:
    state = run(study(tmp_path, "ideas:Good", "ideas:Bad"), 12, workers=3)
    assert {trial.asked for trial in state.trials.values() if not trial.is_baseline} == {"ideas:Good", "ideas:Bad"}
    assert all(trial.verdict for trial in state.trials.values())
    assert all(t.asked == state.trials[t.again].asked for t in state.trials.values() if t.again is not None)


def test_one_that_fails_rests_and_the_person_is_told_once(tmp_path: Path) -> None:
    recorder = Recorder()
    state = run(study(tmp_path, "ideas:Failing", "ideas:Good"), 22, recorder=recorder)

    names = asked(state)
    assert FAILURES <= names.count("ideas:Failing") <= FAILURES + 2
    third = [place for place, name in enumerate(names) if name == "ideas:Failing"][FAILURES - 1]
    rests = f"ideas:Failing failed {FAILURES} times in a row and rests; it is tried again now and then"
    # Told with the next trial: by chance there is none.
    assert [said for said in recorder.said if "rests" in said] == [rests] * (third < len(names) - 1)
    events = log.decode(session.journal(tmp_path).read_bytes())
    failures = [e for e in events if isinstance(e, TrialDecided) and e.verdict.word == "rejected"]
    assert len(failures) == names.count("ideas:Failing")
    assert state.trials[failures[0].trial].propose_s == failures[0].propose_s > 0
    assert accounts(state)["ideas:Failing"].failures == len(failures)


def test_the_study_ends_when_nobody_has_anything_left(tmp_path: Path) -> None:
    recorder = Recorder()
    state = run(study(tmp_path, "ideas:Empty", "ideas:TwoGains"), 50, recorder=recorder)

    assert [trial.by for trial in state.trials.values()] == ["baseline", "two", "two"]
    assert recorder.said[-1].startswith("Ended: ideas:")
    assert "no ideas at all" in recorder.said[-1]
    assert "both are made" in recorder.said[-1]


def test_one_that_had_nothing_left_is_asked_once_on_each_best() -> None:
    class Out:
        calls = 0

        def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
            self.calls += 1
            raise NothingLeft("done")

    past, out = history(), Out()
    portfolio = Portfolio({"a": out, "b": Stub("b")}, past.state, past.happen, lambda said: None)
    for best in range(1, 4):
        for _ in range(FLOOR + 2):
            number = past.start()
            assert propose(portfolio, past.state, number).by == "b"
            past.propose(number)
            past.decide(number, "discard", 11.0)
        assert out.calls == best
        past_trial(past, "b", True)


def test_edits_of_one_that_has_nothing_left_are_nobodys_proposal(tmp_path: Path) -> None:
    state = run(study(tmp_path, "ideas:Untidy", "ideas:Good"), 10)
    untidy = [t for t in state.trials.values() if t.asked == "ideas:Untidy"]
    assert {t.word for t in untidy} == {"rejected"}
    assert untidy[0].verdict
    assert "changed files" in untidy[0].verdict.why


# -- the configuration -----------------------------------------------------------------------------------


def given(folder: Path, keepers: Keepers) -> Given:
    return Given(load(folder), folder, folder, keepers, State(), lambda charged: None, lambda said: None)


def test_one_name_is_that_proposer_itself(tmp_path: Path, keepers: Keepers) -> None:
    assert type(make(given(study(tmp_path / "a", "search"), keepers))) is Search
    both = make(given(study(tmp_path / "b", "search", "ideas:Good"), keepers))
    assert isinstance(both, Portfolio)
    assert [type(one) for one in both.proposers.values()] == [Search, Good]
    state = run(study(tmp_path / "c", "ideas:Good"), 2)
    assert asked(state) == ["", ""]


@pytest.mark.parametrize(
    ("propose", "message"),
    [
        ('with = ["search", "search"]', "each once"),
        ("with = []", "one proposer or several"),
        ('with = ["search", ""]', "one proposer or several"),
        ('with = ["search", "command"]', "needs a key `command`"),
        ('with = ["script", "search"]', "needs a key `script`"),
    ],
)
def test_what_is_wrong_with_the_names_is_said(propose: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        parse(f'name = "s"\nasset = ["a"]\nmetric = {{name = "m"}}\nmeasure = {{run = "a"}}\n[propose]\n{propose}\n')


def test_one_that_cannot_be_made_ends_the_study_at_once(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="nowhere"):
        run(study(tmp_path / "a", "ideas:Good", "ideas:nowhere"), 1)
    with pytest.raises(StudyError, match=r"lost\.jsonl"):
        run(study(tmp_path / "b", "ideas:Good", "script", script="lost.jsonl"), 1)


def test_check_tries_each(tmp_path: Path) -> None:
    folder = study(tmp_path, "search", "command", "ideas:Good", command="no-such-program --now")
    found = check(folder, Recorder(), most=1).proposers
    assert [(one.name, one.works) for one in found] == [("search", True), ("command", False), ("ideas:Good", True)]


# -- what it knows ---------------------------------------------------------------------------------------


def history(*trials: tuple[str, bool | None], noise: float = 0.1) -> History:
    """Trials by these proposers, each kept or not; None: it failed."""
    past = History()
    past.baseline(10.0, 10.0 + noise)
    for by, kept in trials:
        past_trial(past, by, kept)
    return past


def past_trial(past: History, by: str, kept: bool | None) -> int:
    id = past.start()
    past.happen(TrialAsked(trial=id, by=by))
    if kept is None:
        past.happen(TrialDecided(trial=id, verdict=Verdict("rejected", "it never works"), propose_s=30.0))
        return id
    past.propose(id, propose_s=30.0)
    past.end_run(past.begin_run(id), 9.0, wall_s=60.0, score_s=5.0)
    past.decide(id, "keep" if kept else "discard", 9.0, gain=1.0 if kept else -1.0)
    return id


def test_an_outcome_has_the_size_of_its_gain_and_all_that_it_cost() -> None:
    past = history(("a", True), ("b", False), ("b", None))
    past.happen(Charged(trial=2, by="b", dollars=4.0))
    kept, missed, failed = outcomes(past.state, list(past.state.trials.values()), ["a", "b"])
    assert kept.kept
    assert kept.gain == 1.0
    assert kept.cost == pytest.approx((30 + 65) / 3600)
    assert missed.cost == pytest.approx((30 + 65) / 3600 + 1.0)  # two dollars a trial, an hour of the machine
    assert failed.cost == pytest.approx(30 / 3600 + 1.0)
    assert (missed.kept, failed.kept, failed.gain) == (False, False, 0.0)


def test_running_stale_and_foreign_trials_are_told_apart() -> None:
    past = history(("a", True))
    stale = past_trial(past, "a", False)
    past.happen(TrialDecided(trial=stale, verdict=Verdict("stale", "best has moved")))
    running = past.start()
    past.happen(TrialAsked(trial=running, by="b"))
    foreign = past.start()
    past.propose(foreign)
    found = outcomes(past.state, list(past.state.trials.values()), ["a", "b"])
    assert [(o.by, o.kept, o.cost is None) for o in found] == [
        ("a", True, False),
        ("a", None, False),
        ("b", False, True),
    ]


def test_gains_in_another_unit_do_not_count_but_keeps_do() -> None:
    past = history(("a", True))
    past.reopen("d1")
    past.baseline(1000.0, 1001.0)
    [before] = outcomes(past.state, list(past.state.trials.values()), ["a"])
    assert (before.kept, before.gain) == (True, 1.0)


def test_what_search_did_before_it_had_company_counts() -> None:
    past = History()
    past.baseline(10.0)
    past.decide(past.tried(9.0), "keep", 9.0, gain=1.0)  # by "script", of whom nobody had to be asked
    [found] = outcomes(past.state, list(past.state.trials.values()), ["script", "b"])
    assert found.kept


def test_a_rest_grows_ends_and_is_over_with_the_first_change() -> None:
    def rests(past: History) -> int:
        return rest(list(past.state.trials.values()), "b")

    past = history(*[("b", None)] * (FAILURES - 1))
    assert rests(past) == 0
    past_trial(past, "b", None)
    assert rests(past) == REST
    for left in range(REST - 1, -1, -1):
        past_trial(past, "a", False)
        assert rests(past) == left
    past_trial(past, "b", None)
    assert rests(past) == 2 * REST
    for _ in range(20):
        past_trial(past, "b", None)
    assert rests(past) == LONGEST_REST
    past_trial(past, "b", False)
    assert rests(past) == 0


def test_where_all_rest_the_one_whose_rest_ends_first_is_asked() -> None:
    past = history(*[("a", None)] * FAILURES, *[("b", None)] * FAILURES)
    assert chosen(past.state, past.start(), ["a", "b"]) == "a"
    assert shares(past.state, ["a", "b"]) == {"a": 0.0, "b": 0.0}


def test_a_rest_is_told_again_only_after_it_was_over() -> None:
    told: list[str] = []
    made: dict[str, Proposer] = {"a": Bad(), "b": Failing()}
    past = history(*[("b", None)] * FAILURES)
    portfolio = Portfolio(made, past.state, past.happen, told.append)
    awake = [portfolio.awake(list(past.state.trials.values()), ["a", "b"]) for _ in range(3)]
    assert awake == [["a"]] * 3
    assert len(told) == 1
    past_trial(past, "b", False)
    assert portfolio.awake(list(past.state.trials.values()), ["a", "b"]) == ["a", "b"]
    for _ in range(FAILURES):
        past_trial(past, "b", None)
    portfolio.awake(list(past.state.trials.values()), ["a", "b"])
    assert len(told) == 2


def test_nothing_left_at_all_is_said_with_everybodys_words() -> None:
    class Out:
        def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
            raise NothingLeft("done")

    past = history()
    number = past.start()
    made: dict[str, Proposer] = {"a": Out(), "b": Out()}
    portfolio = Portfolio(made, past.state, past.happen, lambda said: None)
    with pytest.raises(NothingLeft, match=r"^[ab]: done; [ab]: done$"):
        propose(portfolio, past.state, number)
    assert past.state.trials[number].asked in ("a", "b")


# -- what a person sees ----------------------------------------------------------------------------------


def test_accounts_add_up() -> None:
    past = history(("a", True), ("b", False), ("b", None), ("a", True))
    past.happen(Charged(trial=2, by="b", dollars=0.25, input_tokens=1000, output_tokens=100))
    found = accounts(past.state, {"a": 0.7, "b": 0.3})
    a, b = found["a"], found["b"]
    assert (a.trials, a.keeps, a.gain, a.failures, a.propose_s, a.machine_s) == (2, 2, 2.0, 0, 60.0, 130.0)
    assert (b.trials, b.keeps, b.failures, b.machine_s, b.dollars, b.tokens, b.odds) == (2, 0, 1, 65.0, 0.25, 1100, 0.3)
    head, *rows = lines(past.state, {"a": 0.7, "b": 0.3})
    assert head.split() == [
        "proposer",
        "trials",
        "kept",
        "gain",
        "failed",
        "proposing",
        "machine",
        "dollars",
        "tokens",
        "odds",
    ]
    assert rows[0].split() == ["a", "2", "2", "2", "1.0", "min", "2.2", "min", "70%"]


def test_a_call_by_another_name_is_charged_to_the_one_that_was_asked() -> None:
    past = history(("pkg.mod:Class", False))  # its proposals say "script"
    past.happen(Charged(trial=1, by="script", dollars=1.0))
    assert accounts(past.state)["pkg.mod:Class"].dollars == 1.0


def test_a_name_cannot_paint_the_terminal() -> None:
    past = history(("\x1b[31mred\n", False))
    assert all(line.isprintable() for line in lines(past.state))


def test_status_tells_who_proposed_what(tmp_path: Path) -> None:
    folder = study(tmp_path, "ideas:Good", "ideas:Bad")
    run(folder, 8)
    shown = CliRunner().invoke(main, ["status", "-C", str(folder)]).output
    assert "ideas:Good" in shown
    assert "odds" in shown
    data = json.loads(CliRunner().invoke(main, ["status", "--json", "-C", str(folder)]).output)["proposers"]
    assert data["ideas:Good"]["odds"] + data["ideas:Bad"]["odds"] == pytest.approx(1)
    assert data["ideas:Good"]["trials"] + data["ideas:Bad"]["trials"] == 8


def test_status_of_one_proposer_has_no_odds(tmp_path: Path) -> None:
    folder = study(tmp_path, "ideas:Good")
    run(folder, 2)
    data = json.loads(CliRunner().invoke(main, ["status", "--json", "-C", str(folder)]).output)["proposers"]
    assert list(data) == ["good"]
    assert data["good"]["odds"] is None
