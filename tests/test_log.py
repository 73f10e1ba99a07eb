"""The journal: what was written is read back, whatever happens to the process, the disk or the file's end."""

import errno
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import PATIENCE_S, PYTHON, WITHOUT_PRIVILEGE, History, eventually, histories
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch import log
from autoresearch.errors import Busy, LogError
from autoresearch.events import Event, SessionEnded, TrialDecided, TrialProposed, TrialsImported
from autoresearch.follow import Follower
from autoresearch.log import Log
from autoresearch.state import State
from autoresearch.trial import Best, Imported, Trial, Verdict


def written(path: Path, past: list[Event]) -> State:
    """A journal of these events; the state as its writer saw it."""
    with Log(path) as journal:
        for event in past:
            journal.append(event)
        return journal.state


def short_story() -> list[Event]:
    """A baseline, a trial that was kept, and one that was rejected: no run is open at the end."""
    past = History()
    past.baseline(10.0, 11.0)
    past.decide(past.tried(5.0), "keep", 5.0)
    past.decide(past.tried(), "rejected")
    return past.events


@settings(max_examples=60)
@given(histories())
def test_what_is_read_back_equals_what_the_writer_knew(
    tmp_path_factory: pytest.TempPathFactory, past: list[Event]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "events.jsonl"
    live = written(path, past)
    assert vars(log.read(path)) == vars(live)


@settings(max_examples=25)
@given(histories(), st.integers(0, 2**20))
def test_who_follows_a_journal_knows_what_its_reader_knows_wherever_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, past: list[Event], cut: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "events.jsonl"
    follower = Follower(path)
    assert list(follower.events()) == []
    live = written(path, past)
    whole = path.read_bytes()
    path.write_bytes(whole[: cut % len(whole)])
    seen = list(follower.events())
    assert vars(follower.state) == vars(log.read(path))
    path.write_bytes(whole)
    assert len(seen + list(follower.events())) == len(past)
    assert vars(follower.state) == vars(live)
    assert list(follower.events()) == []
    path.write_bytes(whole[: whole.index(b"\n") + 1])  # begun anew
    assert len(list(follower.events())) == 1
    assert follower.state.next_trial == 0


@settings(max_examples=25)
@given(histories())
def test_opening_again_changes_nothing_and_a_lost_run_is_stopped(
    tmp_path_factory: pytest.TempPathFactory, past: list[Event]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "events.jsonl"
    live = written(path, past)
    before = path.read_bytes()
    with Log(path) as journal:
        assert vars(journal.state) == vars(live)
        for run in tuple(live.open_runs):
            journal.lose(run)
        assert not journal.state.open_runs
        assert journal.state.unfinished == live.unfinished
        assert all(journal.state.runs[i].measurement.status == "stopped" for i in live.open_runs)  # type: ignore[union-attr]
    assert path.read_bytes().startswith(before)
    again = path.read_bytes()
    with Log(path):
        pass
    assert path.read_bytes() == again


def test_every_event_is_one_line_of_json_and_carries_its_time(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    written(path, short_story())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == len(short_story())
    assert lines[0]["event"] == "study_opened"
    assert all(line["at"] > 1.7e9 for line in lines)


def test_a_torn_last_line_is_cut_wherever_it_was_torn(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    written(path, short_story())
    data = path.read_bytes()
    start = data.rindex(b"\n", 0, -1) + 1
    path.write_bytes(data[:start])
    before = vars(log.read(path))
    for cut in range(start, len(data)):
        path.write_bytes(data[:cut])
        assert vars(log.read(path)) == before
        assert path.read_bytes() == data[:cut], "reading must not repair"
        with Log(path) as journal:
            assert vars(journal.state) == before
        assert path.read_bytes() == data[:start]


@pytest.mark.parametrize(
    "rest", [b"\0" * 4096, b'{"event"', b"{}garbage\n", b"\xff\xfe", b'{"event":"run_st\n'], ids=repr
)
def test_rubbish_after_the_last_line_is_cut(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "events.jsonl"
    live = written(path, short_story())
    data = path.read_bytes()
    path.write_bytes(data + rest)
    with Log(path) as journal:
        assert vars(journal.state) == vars(live)
        journal.append(SessionEnded(why="after the repair"))
    assert path.read_bytes().startswith(data)
    assert json.loads(path.read_bytes()[len(data) :])["why"] == "after the repair"


DAMAGE: list[Callable[[bytes], bytes]] = [
    lambda line: line[: len(line) // 2],
    lambda line: b"\0" * len(line),
    lambda line: line[:10] + b"\xff" + line[11:],
    lambda line: line.replace(b'"trial_started"', b"7"),
    lambda line: line.replace(b'"trial":0', b'"trial":"zero"'),
    lambda line: b"[]",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_line_is_named_and_the_file_left_as_it_is(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "events.jsonl"
    written(path, short_story())
    lines = path.read_bytes().splitlines()
    intact = path.read_bytes()
    lines[2] = damage(lines[2])
    bad = b"\n".join(lines) + b"\n"
    path.write_bytes(bad)
    for open_it in (log.read, Log):
        with pytest.raises(LogError, match=r"events\.jsonl, line 3: damaged"):
            open_it(path)
    assert path.read_bytes() == bad
    path.write_bytes(intact)  # "restore the file from a backup", the message says
    with Log(path) as journal:
        assert journal.state.decided == 2


def test_a_lost_line_is_damage_too(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    written(path, short_story())
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(LogError, match=r"events\.jsonl"):
        log.read(path)


def test_events_and_fields_of_a_newer_version_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    live = written(path, short_story())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["since_version_9"] = {"deep": [1, 2]}
    lines.insert(2, {"event": "trial_admired", "trial": "a word where a number was", "at": 1.0})
    lines.append({"event": "study_archived"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert vars(log.read(path)) == vars(live)
    with Log(path) as journal:
        assert vars(journal.state) == vars(live)


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert log.read(tmp_path / "none" / "events.jsonl").opened is None
    assert log.holder(tmp_path / "none" / "events.jsonl") is None


def test_large_and_strange_content_survives(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    past = History()
    trial = past.start()
    idea = 'quotes " and \\ and \n newlines \u2028 \x1b[31m \N{SNOWMAN} \0' * 1000
    past.happen(TrialProposed(trial=trial, idea=idea, by="script", commit="c", tree="t", memo={"a": [1, {"b": None}]}))
    live = written(path, past.events)
    assert vars(log.read(path)) == vars(live)
    assert log.read(path).trials[trial].idea == idea


# -- one writer ----------------------------------------------------------------------------------------

HOLD = "import sys; from autoresearch.log import Log; from pathlib import Path; log = Log(Path(sys.argv[1]))"


def test_a_second_writer_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    written(path, short_story())
    hold = f"{HOLD}; print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([PYTHON, "-c", hold, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"open\n"
        with pytest.raises(Busy, match=rf"already running, in process {first.pid}\b"):
            Log(path)
        assert log.holder(path) == first.pid
        assert log.read(path).decided == 2, "reading needs no lock"
        first.kill()
    assert log.holder(path) is None
    with Log(path):
        assert log.holder(path) == os.getpid()


def test_two_writers_in_one_process_are_two_writers(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Log(path), pytest.raises(Busy, match=str(os.getpid())):
        Log(path)
    with Log(path):
        pass


# -- a disk that refuses -------------------------------------------------------------------------------


def fill(journal: Log) -> int:
    """Append until the disk refuses; how many events it took."""
    for n in range(1_000_000):
        before = vars(journal.state).copy()
        refused = ""
        try:
            journal.append(SessionEnded(why="x" * (n % 211)))
        except LogError as error:
            refused = str(error)
        if refused:
            assert "Everything before is safe" in refused
            assert vars(journal.state) == before
            assert journal.stopping is not None
            return n
    raise AssertionError("the disk never refused")


def test_a_file_that_may_not_grow_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    code = (
        f"{HOLD}\nimport resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))\n"
        "from test_log import fill; print(fill(log))"
    )
    done = subprocess.run(
        [PYTHON, "-c", code, path], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == int(done.stdout)
    assert all(json.loads(line)["event"] == "session_ended" for line in lines)
    with Log(path) as journal:
        journal.append(SessionEnded(why="room again"))
    assert path.read_bytes().startswith(b"".join(lines))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB, where this machine lets us have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system takes root on Linux")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_an_error_and_loses_nothing(small_disk: Path) -> None:
    path = small_disk / "events.jsonl"
    story = short_story()
    written(path, story)
    (small_disk / "filler").write_bytes(b"x" * 50_000)
    with Log(path) as journal:
        n = fill(journal)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == len(story) + n
    assert log.read(path).decided == 2
    (small_disk / "filler").unlink()
    with Log(path) as journal:
        assert journal.state.decided == 2
        journal.append(SessionEnded(why="room again"))


def test_one_sync_does_for_all_who_wait_and_nobody_waits_for_it_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go_on, synced = threading.Event(), threading.Event(), []

    def slow(file: int) -> None:
        synced.append(os.fstat(file).st_size)
        entered.set()
        assert go_on.wait(20)

    with Log(tmp_path / "events.jsonl") as journal:
        monkeypatch.setattr(os, "fsync", slow)
        events = [SessionEnded(why=str(n)) for n in range(8)]
        threads = [threading.Thread(target=journal.append, args=(event,)) for event in events]
        threads[0].start()
        assert entered.wait(20)
        heard: list[Event] = []
        journal.listener = heard.append
        for thread in threads[1:]:
            thread.start()
        while len(heard) < len(events) - 1:  # all are folded in while the disk is busy
            threading.Event().wait(0.01)
        assert all(thread.is_alive() for thread in threads), "each waits until its own line is on disk"
        go_on.set()
        for thread in threads:
            thread.join(20)
    whole = (tmp_path / "events.jsonl").stat().st_size
    assert len(synced) == 2
    assert synced[0] < synced[1] == whole


def test_once_a_sync_failed_nothing_passes_for_safe_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with Log(tmp_path / "events.jsonl") as journal:
        journal.append(SessionEnded(why="safe"))
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", broken)
            with pytest.raises(LogError, match="Input/output error"):
                journal.append(SessionEnded(why="not safe"))
        assert journal.stopping is not None
        with pytest.raises(LogError, match="Input/output error"):  # the kernel may have dropped what it failed to write
            journal.append(SessionEnded(why="not safe either"))


def as_anybody(code: str, *args: object) -> "subprocess.CompletedProcess[str]":
    """Python without root's right to write everywhere."""
    command = [*WITHOUT_PRIVILEGE, PYTHON, "-c", code, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_folder_that_may_not_be_written_is_a_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    for path in (folder / "events.jsonl", folder / "deeper" / "events.jsonl"):
        done = as_anybody(HOLD, path)
        assert "LogError" in done.stderr
        assert "the study's folder must be writable" in done.stderr.splitlines()[-1]
    assert not any(folder.iterdir())


def test_a_journal_that_may_not_be_read_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    written(path, short_story())
    path.chmod(0)
    code = "import sys; from autoresearch import log; from pathlib import Path; log.read(Path(sys.argv[1]))"
    for done in (as_anybody(HOLD, path), as_anybody(code, path)):
        assert "LogError" in done.stderr
        assert "events.jsonl" in done.stderr.splitlines()[-1]


def test_an_open_that_failed_leaves_nothing_locked(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"not json\n{}\n")
    for _ in range(2):
        with pytest.raises(LogError, match="line 1"):
            Log(path)
    assert log.holder(path) is None


def test_opening_often_leaks_no_file(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard > 50
    with Log(tmp_path / "events.jsonl"):
        before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        with Log(tmp_path / "events.jsonl"):
            assert len(os.listdir("/dev/fd")) == before


# -- claims --------------------------------------------------------------------------------------------


def always(_state: State, _running: int) -> bool:
    return True


def incumbent(state: State) -> Best:
    assert state.best is not None
    return state.best


def claim(journal: Log, may_start: Callable[[State, int], bool] = always) -> Trial:
    trial = journal.claim(may_start, incumbent)
    assert trial is not None
    return trial


class Desk:
    """A journal to claim from, and the events of trials written into it."""

    def __init__(self, path: Path, past: History) -> None:
        self.past = past
        self.journal = Log(path)
        self.sync()

    def sync(self) -> None:
        """Write whatever was added to the history since."""
        done = len(self.path_lines())
        for event in self.past.events[done:]:
            self.journal.append(event)

    def path_lines(self) -> list[bytes]:
        return self.journal.path.read_bytes().splitlines()

    def decide(self, trial: Trial, word: str = "discard") -> None:
        best = self.journal.state.best
        assert best is not None
        kept = best.commit if word == "keep" else None
        self.journal.append(TrialDecided(trial=trial.id, verdict=Verdict(word, "because", 1.0), kept_as=kept))  # type: ignore[arg-type]
        self.journal.release(trial)

    def propose(self, trial: Trial) -> None:
        self.journal.append(TrialProposed(trial=trial.id, idea="i", by="x", commit="c", tree=f"tree{trial.id}"))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "events.jsonl", History())
    yield made
    made.journal.close()


def test_the_baseline_is_claimed_first_and_alone(desk: Desk) -> None:
    baseline = claim(desk.journal)
    assert baseline.is_baseline
    others: list[Trial] = []
    waiting = threading.Thread(target=lambda: others.append(claim(desk.journal)))
    waiting.start()
    assert not eventually(lambda: bool(others), 0.2), "nobody else starts before there is a value to beat"
    desk.decide(baseline, "keep")
    waiting.join(PATIENCE_S)
    assert not others[0].is_baseline


def test_a_failed_baseline_is_tried_again_by_the_next_who_claims(desk: Desk) -> None:
    first = claim(desk.journal)
    desk.decide(first, "crash")
    second = claim(desk.journal)
    assert second.is_baseline
    assert second.id != first.id


def test_an_unfinished_baseline_goes_on_instead_of_a_second_one(tmp_path: Path) -> None:
    past = History()
    begun = past.start(baseline=True)
    with Desk(tmp_path / "events.jsonl", past).journal as journal:
        assert claim(journal).id == begun


def test_unfinished_trials_come_before_new_ones_in_their_order(tmp_path: Path) -> None:
    past = History()
    past.baseline(10.0)
    first, second = past.tried(), past.start()
    with Desk(tmp_path / "events.jsonl", past).journal as journal:
        ids = [claim(journal).id for _ in range(3)]
    assert ids == [first, second, second + 1]


def test_an_unfinished_trial_is_claimed_even_when_the_budget_is_spent(tmp_path: Path) -> None:
    past = History()
    past.baseline(10.0)
    left = past.tried()
    with Desk(tmp_path / "events.jsonl", past).journal as journal:
        assert claim(journal, lambda state, running: False).id == left
        assert journal.claim(lambda state, running: False, incumbent) is None


def test_a_stale_patch_is_tried_again_before_anything_new(tmp_path: Path) -> None:
    past = History()
    past.baseline(10.0)
    stale = past.tried(5.0)
    past.decide(stale, "stale", 5.0)
    with Desk(tmp_path / "events.jsonl", past).journal as journal:
        assert claim(journal).again == stale
        assert claim(journal).again is None


def test_the_budget_counts_trials_that_are_running(desk: Desk) -> None:
    desk.past.baseline(10.0)
    desk.sync()
    budget = lambda state, running: state.decided + running < 2  # noqa: E731
    first, second = claim(desk.journal, budget), claim(desk.journal, budget)
    assert desk.journal.claim(budget, incumbent) is None
    desk.decide(first)
    assert desk.journal.claim(budget, incumbent) is None
    desk.journal.release(second)  # withdrawn: nothing was proposed
    third = claim(desk.journal, budget)
    desk.decide(third)
    assert desk.journal.claim(budget, incumbent) is None
    assert desk.journal.state.decided == 2


def test_releasing_what_was_never_proposed_withdraws_it(desk: Desk) -> None:
    desk.past.baseline(10.0)
    desk.sync()
    trial = claim(desk.journal)
    desk.journal.release(trial)
    assert trial.id not in desk.journal.state.trials
    assert claim(desk.journal).id == trial.id + 1, "a number is never used twice"


def test_releasing_a_proposed_trial_leaves_it_to_the_next_who_claims(desk: Desk) -> None:
    desk.past.baseline(10.0)
    desk.sync()
    trial = claim(desk.journal)
    desk.propose(trial)
    desk.journal.release(trial)
    assert claim(desk.journal).id == trial.id


def test_nothing_is_claimed_once_the_study_is_stopping(desk: Desk) -> None:
    desk.journal.stop("first reason")
    desk.journal.stop("second reason")
    assert desk.journal.claim(always, incumbent) is None
    assert desk.journal.stopping == "first reason"


def test_stopping_wakes_whoever_waits_for_the_baseline(desk: Desk) -> None:
    claim(desk.journal)
    found: list[Trial | None] = []
    waiting = threading.Thread(target=lambda: found.append(desk.journal.claim(always, incumbent)))
    waiting.start()
    desk.journal.stop("enough")
    waiting.join(PATIENCE_S)
    assert found == [None]


def test_eight_threads_never_hold_the_same_trial(desk: Desk) -> None:
    holding: set[int] = set()
    clashes: list[int] = []
    total = 60

    def budget(state: State, running: int) -> bool:
        return state.decided + running < total

    def worker() -> None:
        while trial := desk.journal.claim(budget, incumbent):
            if trial.id in holding:
                clashes.append(trial.id)
            holding.add(trial.id)
            if not trial.is_baseline:
                desk.propose(trial)
            holding.discard(trial.id)
            desk.decide(trial, "keep" if trial.is_baseline else "discard")

    threads = [threading.Thread(target=worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    state = desk.journal.state
    assert not clashes
    assert not state.unfinished
    assert state.decided == total
    assert vars(log.read(desk.journal.path)) == vars(state)


def test_listeners_hear_every_event_after_it_counts(desk: Desk) -> None:
    heard: list[tuple[str, int]] = []
    desk.journal.listener = lambda event: heard.append((type(event).__name__, desk.journal.state.decided))
    trial = claim(desk.journal)
    desk.decide(trial, "keep")
    desk.journal.append(TrialsImported(source="x", trials=(Imported("i", "keep"),)))
    assert [name for name, _ in heard] == ["TrialStarted", "TrialDecided", "TrialsImported"]


@pytest.mark.parametrize("part", [1, 40, 100, 1 << 20])
def test_a_log_is_decoded_the_same_in_parts_of_any_size(monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr(log, "PART", part)
    lines = [b'{"event": "session_ended", "at": %d, "why": "x"}\n' % n for n in range(9)]
    lines.insert(4, b'{"event": "from_the_future", "at": 4}\n')
    assert [event.at for event in log.decode(b"".join(lines))] == list(range(9))
    lines[7] = b'{"event": "session_ended", "why": 1}\n'
    with pytest.raises(LogError, match=r"events\.jsonl, line 8: damaged"):
        list(log.decode(b"".join(lines)))
