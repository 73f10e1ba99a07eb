"""Ideas and notes from outside the loop: a person's, or those of an agent that drives."""

import difflib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest
from click.testing import CliRunner, Result
from helpers import (
    History,
    Recorder,
    autoresearch,
    commit,
    eventually,
    fingerprint,
    git,
    journal_lines,
    last,
    make_study,
    play,
    repository,
    says,
    started,
    state_of,
    step,
    toml,
    words,
    write,
)
from helpers import contract as contract_of

from autoresearch import events as ev
from autoresearch import person, session
from autoresearch.cli import main
from autoresearch.errors import StudyError
from autoresearch.inbox import Inbox
from autoresearch.log import Log
from autoresearch.loop import take_up
from autoresearch.trial import Trial
from benchmarks import kill_try

NINE = "echo METRIC loss=9\n"


def patch_to(folder: Path, content: str, name: str = "step.sh") -> bytes:
    """The patch that makes this of a file as it stands on the best."""
    best = state_of(folder).best
    before = git(folder, "show", f"{best.commit if best else 'HEAD'}:{name}") + "\n"
    old, new = (text.splitlines(keepends=True) for text in (before, content))
    return "".join(difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")).encode()


def edited(folder: Path, content: str) -> bytes:
    """The person's own edit as `git diff` prints it; their checkout is as before afterwards."""
    before = (folder / "step.sh").read_text()
    write(folder, {"step.sh": content})
    made = subprocess.run(["git", "diff"], cwd=folder, capture_output=True, check=True).stdout
    write(folder, {"step.sh": before})
    return made


def typed(folder: Path, *words: str, env: dict[str, str] | None = None, stdin: bytes = b"") -> Result:
    """A command, typed in this folder."""
    return CliRunner(env={"COLUMNS": "200"} | (env or {})).invoke(main, [*words, "-C", str(folder)], input=stdin)


def attempt(folder: Path, content: str, idea: str = "mine", name: str = "step.sh") -> Trial:
    trial = person.attempt(folder, idea, patch_to(folder, content, name), Recorder())
    assert trial is not None
    return trial


def why(trial: Trial) -> str:
    assert trial.verdict is not None
    return trial.verdict.why


def inbox(folder: Path) -> list[str]:
    return [path.name for path in (folder / ".autoresearch" / "inbox").glob("[!.]*")]


@contextmanager
def slow_study(folder: Path, steps: int = 3) -> Iterator["Popen[str]"]:
    """A study that runs in another process: each trial waits until it may go on, see `go_on`."""
    gate = folder.parent / "gate"
    slow = f"while [ ! -e {gate} ]; do sleep 0.02; done; echo METRIC loss={{}}\n"
    make_study(folder, *(step(slow.format(20 + i), f"own {i}") for i in range(steps)))
    with started("run", cwd=folder) as process:
        assert eventually(lambda: len(state_of(folder).runs) == 2, 30), "it does not run"
        yield process


def go_on(folder: Path) -> None:
    (folder.parent / "gate").touch()


# -- one idea ------------------------------------------------------------------------------------------


def test_a_persons_idea_goes_through_the_same_loop_in_a_session_of_its_own(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(5, "the proposer's"))
    before = fingerprint(folder)
    trial = attempt(folder, NINE, "less is more")
    state = state_of(folder)

    assert (trial.word, trial.by, trial.idea) == ("keep", "person", "less is more")
    assert [t.by for t in state.trials.values()] == ["baseline", "person"], "and nothing else was tried"
    assert state.best is not None
    assert state.best.trial == trial.id
    assert git(folder, "show", f"{state.best.commit}:step.sh") + "\n" == NINE
    assert "Proposed-by: person" in git(folder, "show", "-s", state.best.commit)
    assert fingerprint(folder) == before
    assert inbox(folder) == []
    assert [line["why"] for line in journal_lines(folder) if line["event"] == "session_ended"] == ["the idea was tried"]
    assert words(play(folder)) == ["keep", "keep"], "the study goes on from there"


def test_what_may_not_be_tried_is_rejected_as_anybodys(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9))
    play(folder)
    frozen = attempt(folder, "easier\n", name="program.md")
    assert (frozen.word, frozen.runs, frozen.idea) == ("rejected", (), "mine")
    assert "it touches frozen files: 'program.md'" in why(frozen)
    worse = attempt(folder, "echo METRIC loss=11\n")
    twin = attempt(folder, "echo METRIC loss=11\n", "again")
    assert (worse.word, twin.word, why(twin)) == ("discard", "rejected", f"the same code as trial {worse.id}")


@pytest.mark.parametrize(
    ("patch", "problem"),
    [
        (b"", "the patch is empty"),
        (b"make it faster\n", "does not apply"),
        (b"--- a/step.sh\n+++ b/step.sh\n@@ -1 +1 @@\n-not there\n+x\n", "does not apply"),
        (b"--- a/lost.sh\n+++ b/lost.sh\n@@ -1 +1 @@\n-a\n+b\n", "does not apply"),
        (b"--- a/../out.sh\n+++ b/../out.sh\n@@ -0,0 +1 @@\n+b\n", "does not apply"),
        (
            b"diff --git a/.git/x b/.git/x\nnew file mode 100644\n--- /dev/null\n+++ b/.git/x\n@@ -0,0 +1 @@\n+b\n",
            "not apply",
        ),
    ],
)
def test_a_patch_that_does_not_apply_is_said_so_and_leaves_nothing(tmp_path: Path, patch: bytes, problem: str) -> None:
    folder = make_study(tmp_path / "repo", says(9))
    play(folder)
    log_before, before = session.journal(folder).read_bytes(), fingerprint(folder)
    done = typed(folder, "try", "mine", "--patch", "-", stdin=patch)

    assert (done.exit_code, done.stdout) == (2, "")
    assert problem in done.stderr
    assert session.journal(folder).read_bytes() == log_before
    assert (inbox(folder), fingerprint(folder)) == ([], before)
    assert git(folder, "for-each-ref", "refs/autoresearch/s/asked") == ""


def test_a_change_that_the_best_has_already_is_not_tried(tmp_path: Path) -> None:
    folder = make_study(tmp_path)
    patch = patch_to(folder, NINE)
    assert person.attempt(folder, "once", patch, Recorder())
    with pytest.raises(StudyError, match="the best holds all of it already"):
        person.attempt(folder, "twice", patch, Recorder())
    with pytest.raises(StudyError, match="in one sentence"):
        person.attempt(folder, " \n", patch, Recorder())


@pytest.mark.parametrize("place", ["", "deep/study"])
def test_paths_of_a_patch_may_begin_at_the_repository_or_at_the_study(tmp_path: Path, place: str) -> None:
    own = {"study.toml": toml(contract_of()), "steps.jsonl": "", "step.sh": "echo METRIC loss=10\n"}
    repo = repository(tmp_path, {f"{place}/{name}".lstrip("/"): text for name, text in own.items()})
    folder = repo / place
    for value, name in ((9, f"{place}/step.sh".lstrip("/")), (8, "step.sh")):
        hunk = f"@@ -1 +1 @@\n-echo METRIC loss={value + 1}\n+echo METRIC loss={value}\n"
        trial = person.attempt(folder, "mine", f"--- a/{name}\n+++ b/{name}\n{hunk}".encode(), Recorder())
        assert trial is not None
        assert trial.word == "keep", why(trial)
    plain = "--- step.sh.orig\n+++ step.sh\n@@ -1 +1 @@\n-echo METRIC loss=8\n+echo METRIC loss=7\n"  # as `diff -u`
    trial = person.attempt(folder, "mine", plain.encode(), Recorder())
    assert trial is not None
    assert trial.word == "keep"


def test_an_edit_of_an_older_commit_is_carried_over_to_the_best(tmp_path: Path) -> None:
    start = "A=1\n\n\n\nB=1\n\n\n\necho METRIC loss=$((A + B + 10))\n"
    folder = make_study(tmp_path, step(start.replace("A=1", "A=0"), "a"), start=start)
    play(folder)
    mine = edited(folder, start.replace("B=1", "B=0"))  # against the checkout, which is still at the start
    trial = person.attempt(folder, "b", mine, Recorder())
    assert trial is not None
    assert trial.verdict is not None
    assert (trial.word, trial.verdict.value) == ("keep", 10)


def test_ideas_count_as_trials_and_an_agents_end_with_the_budget(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), says(8), budget={"trials": 1})
    patch, other = patch_to(folder, "echo METRIC loss=5\n"), patch_to(folder, "echo METRIC loss=4\n")
    first = person.attempt(folder, "an agent's", patch, Recorder(), by="mcp", beyond_budget=False)
    assert first is not None
    assert (first.by, first.word) == ("mcp", "keep")
    with pytest.raises(StudyError, match="the budget of the study is spent"):
        person.attempt(folder, "one more", other, Recorder(), by="mcp", beyond_budget=False)
    assert words(play(folder)) == ["keep"]
    assert attempt(folder, "echo METRIC loss=3\n").word == "keep", "a person may go on"
    with pytest.raises(ValueError, match="asked for by person or mcp"):
        person.ask(folder, "posing", other, by="search")


def test_an_idea_is_tried_before_the_proposers_next_one(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9, "own 1"), says(8, "own 2"))
    play(folder, trials=1)
    assert person.attempt(folder, "mine", patch_to(folder, "echo METRIC loss=7\n"), Recorder(), wait=False) is None
    assert [t.idea for t in play(folder).trials.values()][1:] == ["own 1", "mine", "own 2"]


def test_an_idea_that_was_left_is_gone_on_with_when_it_is_typed_again(tmp_path: Path) -> None:
    folder = make_study(tmp_path)
    patch = patch_to(folder, NINE)
    key = person.ask(folder, "mine", patch)
    assert person.ask(folder, "mine, said again", patch) == key
    trial = person.attempt(folder, "and again", patch, Recorder())
    assert trial is not None
    assert (trial.wish, trial.idea) == (key, "mine")
    assert words(state_of(folder)) == ["keep"]


def test_an_idea_that_best_has_overtaken_and_does_not_fit_is_rejected_with_its_sentence(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9, "own"))
    key = person.ask(folder, "mine", patch_to(folder, "echo METRIC loss=8\n"))
    ours = Inbox(folder / ".autoresearch")
    waiting = ours.wishes()
    waiting[0].path.rename(folder.parent / "later")  # best moves before it is taken up
    play(folder)
    (folder.parent / "later").rename(waiting[0].path)
    trial = person.settle(folder, key, Recorder())
    assert trial is not None
    assert (trial.word, trial.idea, trial.by) == ("rejected", "mine", "person")
    assert why(trial) == "the change that was asked for does not fit on the new best"
    assert git(folder, "show", f"refs/autoresearch/s/asked/{key}:step.sh") == "echo METRIC loss=8", "nothing is lost"


def test_what_is_stale_is_followed_to_its_next_try_and_what_is_given_back_waits_again() -> None:
    past = History()
    past.baseline(10.0)
    key = past.ask()
    first = past.start(wish=key)
    assert (past.state.trials[first].idea, past.state.wishes.pending) == ("mine", [])
    past.happen(ev.TrialWithdrawn(trial=first, why=""))
    assert [idea.key for idea in past.state.wishes.pending] == [key]
    second = past.start(wish=key)
    past.propose(second)
    past.measured(second, 9.0)
    past.decide(second, "stale", 9.0)
    assert person.verdict_on(past.state, key) is None
    third = past.start(again=second)
    assert past.state.wishes.carried == {key: third}
    past.happen(ev.TrialWithdrawn(trial=third, why=""))
    assert past.state.wishes.carried == {key: second}
    third = past.start(again=second)
    past.propose(third)
    past.measured(third, 9.0)
    past.decide(third, "keep", 9.0)
    found = person.verdict_on(past.state, key)
    assert found is not None
    assert found.id == third


# -- beside a running study ----------------------------------------------------------------------------


def test_beside_a_running_study_the_idea_is_its_next_trial_and_the_verdict_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    with slow_study(folder) as process:
        (tmp_path / "p").write_bytes(patch_to(folder, NINE))
        with started("try", "mine", "--patch", str(tmp_path / "p"), cwd=folder) as trying:
            assert eventually(lambda: len(inbox(folder)) == 1, 30)
            shown = autoresearch("status", cwd=folder).stdout
            assert "waiting   person: mine" in shown
            go_on(folder)
            said, errors = trying.communicate(timeout=60)
        assert trying.returncode == 0, errors
        assert f"process {process.pid} is at this study" in said
        assert "Trial 2: keep, better by 1" in " ".join(said.split())
        process.communicate(timeout=60)
    assert [t.idea for t in state_of(folder).trials.values()][1:] == ["own 0", "mine", "own 1", "own 2"]
    assert len([line for line in journal_lines(folder) if line["event"] == "session_started"]) == 1


def test_an_idea_survives_the_session_it_was_left_with_and_who_waits_takes_over(tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    with slow_study(folder) as process:
        (tmp_path / "p").write_bytes(patch_to(folder, NINE))
        with started("try", "mine", "--patch", str(tmp_path / "p"), "--json", cwd=folder) as trying:
            assert eventually(lambda: len(inbox(folder)) == 1, 30)
            os.killpg(process.pid, signal.SIGKILL)
            said, errors = trying.communicate(timeout=60)
        assert trying.returncode == 0, errors
    verdict = json.loads(said)
    assert (verdict["word"], verdict["by"], verdict["idea"]) == ("keep", "person", "mine")
    state = state_of(folder)
    assert [t.word for t in state.trials.values()] == ["keep", "running", "keep"], "the killed trial waits for `run`"
    go_on(folder)
    assert len(play(folder).trials) == 5


def test_a_killed_try_leaves_its_idea_with_the_running_study(tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    with slow_study(folder, steps=1) as process:
        (tmp_path / "p").write_bytes(patch_to(folder, NINE))
        with started("try", "mine", "--patch", str(tmp_path / "p"), cwd=folder) as trying:
            assert eventually(lambda: len(inbox(folder)) == 1, 30)
            trying.kill()
        go_on(folder)
        process.communicate(timeout=60)
    assert [(t.idea, t.word) for t in state_of(folder).trials.values()][1:] == [("own 0", "discard"), ("mine", "keep")]


def test_killed_at_any_step_an_idea_is_neither_lost_nor_tried_twice() -> None:
    every = kill_try.places()
    found = kill_try.run([every * part // 100 for part in (38, 70, 85)])
    assert sum(found.values()) == 3
    assert {"in the inbox", "in its trial"} <= set(found), "the kills were all at one place; benchmarks/kill_try.py"


# -- worktrees -----------------------------------------------------------------------------------------


def edit(folder: Path, editor: str) -> Result:
    (folder.parent / "editor.sh").write_text(editor)
    return typed(folder, "try", "mine", "--edit", env={"VISUAL": f"sh {folder.parent / 'editor.sh'}"})


def test_an_editor_opens_the_best_in_a_worktree_and_never_the_checkout(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "repo", says(9))
    play(folder)
    write(folder, {"notes.txt": "mine"})
    before = fingerprint(folder)
    done = edit(folder, f'pwd > {tmp_path}/where; cp "$1" {tmp_path}/seen; echo echo METRIC loss=8 > "$1"\n')

    assert (done.exit_code, done.stderr) == (0, "")
    assert "loss 9 -> 8, gain +1" in done.stdout
    assert (tmp_path / "seen").read_text() == NINE, "the best, not what is checked out"
    assert (tmp_path / "where").read_text().startswith(str(folder / ".autoresearch" / "lent"))
    assert fingerprint(folder) == before
    assert person.lent(folder) == []
    assert git(folder, "worktree", "list").count("\n") == 0


def test_what_was_edited_is_kept_where_it_cannot_be_tried(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "repo")
    done = edit(folder, "true\n")
    assert (done.exit_code, "nothing was edited" in done.stderr, person.lent(folder)) == (2, True, [])
    done = edit(folder, 'echo echo METRIC loss=8 > "$1"; exit 3\n')
    assert (done.exit_code, "ended with exit code 3" in done.stderr) == (2, True)
    [lent] = person.lent(folder)
    assert str(lent) in done.stderr
    assert f"lent      {lent}  (" in typed(folder, "status").stdout
    assert json.loads(typed(folder, "status", "--json").stdout)["lent"] == [str(lent)]
    assert "loss 10 -> 8" in typed(folder, "try", "mine", "--from", str(lent)).stdout
    assert person.lent(folder) == []
    for name, problem in (("", "export EDITOR=nano"), ("/no/such/editor", "set EDITOR")):
        done = typed(folder, "try", "mine", "--edit", env={"VISUAL": "", "EDITOR": name})
        assert (done.exit_code, problem in done.stderr, person.lent(folder)) == (2, True, [])


def test_all_that_changed_in_a_lent_worktree_is_taken_so_that_frozen_files_are_noticed(tmp_path: Path) -> None:
    folder = make_study(tmp_path)
    lent = person.lend(folder)
    assert lent.files == [Path("step.sh")]
    write(lent.path, {"step.sh": NINE, "program.md": "easier\n"})
    git(lent.path, "add", "--all")
    git(lent.path, "commit", "-qm", "an agent that commits")
    (lent.path / ".git").unlink()
    trial = person.attempt(folder, "mine", person.changes(folder, lent.path), Recorder())
    assert trial is not None
    assert "it touches frozen files: 'program.md'" in why(trial)
    assert (lent.path / "step.sh").read_text() == NINE, "a session leaves lent worktrees alone"
    person.take_back(folder, lent.path)
    assert not lent.path.exists()
    with pytest.raises(StudyError, match="not a worktree that was lent"):
        person.take_back(folder, folder)
    assert (folder / "step.sh").exists()


def test_of_a_folder_only_the_asset_is_taken_and_nothing_is_deleted(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "repo", asset=["step.sh", "lib/**"], files={"lib/kept.sh": "echo\n"})
    write(tmp_path / "mine", {"step.sh": ". lib/new.sh\n", "lib/new.sh": NINE, "program.md": "easier\n"})
    trial = person.attempt(folder, "mine", person.changes(folder, tmp_path / "mine"), Recorder())
    assert trial is not None
    assert trial.word == "keep", why(trial)
    assert git(folder, "diff", "--name-status", trial.base, trial.commit or "").split() == [
        "A",
        "lib/new.sh",
        "M",
        "step.sh",
    ]
    (tmp_path / "empty").mkdir()
    for place, problem in (("empty", "none of step.sh"), ("nowhere", "no such folder")):
        with pytest.raises(StudyError, match=problem):
            person.changes(folder, tmp_path / place)
    (tmp_path / "mine" / "step.sh").unlink()
    (tmp_path / "mine" / "step.sh").symlink_to("/etc/passwd")
    with pytest.raises(StudyError, match="not a plain file"):
        person.changes(folder, tmp_path / "mine")


def test_a_checkout_of_the_repository_brings_only_its_own_changes(tmp_path: Path) -> None:
    start = "A=1\n\n\n\nB=1\n\n\n\necho METRIC loss=$((A + B + 10))\n"
    folder = make_study(tmp_path / "repo", step(start.replace("A=1", "A=0"), "a"), start=start)
    play(folder)
    write(folder, {"step.sh": start.replace("B=1", "B=0")})
    commit(folder)  # the person's branch: from the start on, without what was kept
    trial = person.attempt(folder, "b", person.changes(folder, folder), Recorder())
    assert trial is not None
    assert trial.verdict is not None
    assert (trial.word, trial.verdict.value) == ("keep", 10), "A = 0 was not taken back"


# -- the command ---------------------------------------------------------------------------------------


def test_a_patch_may_come_from_standard_input_and_the_verdict_as_json(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "repo")
    done = typed(folder, "try", "mine", "--patch", "-", "--json", stdin=patch_to(folder, NINE))
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["word"], found["verdict"]["gain"], found["idea"]) == ("keep", 1, "mine")
    assert {"trial_started", "trial_decided"} <= {json.loads(line)["event"] for line in done.stderr.splitlines()}


def test_exactly_one_way_to_bring_a_change_is_asked_for(tmp_path: Path) -> None:
    folder = make_study(tmp_path)
    for more in ([], ["--edit", "--from", "."]):
        done = typed(folder, "try", "mine", *more)
        assert (done.exit_code, "--patch FILE, --edit, or --from DIR" in done.stderr) == (2, True)


def test_a_patch_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    done = typed(make_study(tmp_path), "try", "mine", "--patch", str(tmp_path / "lost"))
    assert (done.exit_code, "lost: No such file or directory" in done.stderr) == (2, True)


def test_an_idea_that_is_only_left_is_shown_by_status(tmp_path: Path) -> None:
    folder = make_study(tmp_path)
    play(folder)
    write(folder, {"step.sh": NINE})
    done = typed(folder, "try", "\x1b[2J mine", "--from", str(folder), "--no-wait")
    assert (done.exit_code, done.stdout.startswith("The idea stays with the study")) == (0, True)
    assert "waiting   person: [2J mine" in typed(folder, "status").stdout
    assert [idea["idea"] for idea in json.loads(typed(folder, "status", "--json").stdout)["ideas_waiting"]]
    assert last(play(folder)).word == "keep"
    assert "waiting" not in typed(folder, "status").stdout


def test_a_baseline_that_cannot_be_measured_is_said_and_the_idea_stays(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "repo", start="exit 3\n")
    done = typed(folder, "try", "mine", "--patch", "-", stdin=patch_to(folder, NINE))
    assert (done.exit_code, "the unchanged code cannot be measured" in done.stderr) == (2, True)
    assert [idea.idea for idea in state_of(folder).wishes.pending] == ["mine"]


# -- notes ---------------------------------------------------------------------------------------------


def test_a_note_is_in_the_log_at_once_where_nothing_runs(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9))
    assert typed(folder, "steer", "--list").stdout == "no notes\n"
    first = typed(folder, "steer", "stop tuning;\n look at \x1b[2J the data")
    assert (first.exit_code, first.stdout) == (0, "Note 1. It is in every brief from now on.\n")
    person.steer(folder, "second")
    assert typed(folder, "steer", "--list").stdout.splitlines() == [
        "  1  stop tuning; look at [2J the data",
        "  2  second",
    ]
    assert typed(folder, "steer", "--drop", "1").stdout == "Note 1 is told to nobody any more.\n"
    assert [note["number"] for note in json.loads(typed(folder, "steer", "--list", "--json").stdout)] == [2]
    assert person.steer(folder, "third").number == 3, "a number is never used again"
    play(folder)
    assert [note.text for note in person.notes(folder)] == ["second", "third"]


def test_a_note_reaches_a_study_that_runs_in_another_process(tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    with slow_study(folder) as process:
        said = autoresearch("steer", "look at the data", cwd=folder).stdout
        assert said == "Note 1. The running study takes it up before its next trial.\n"
        assert autoresearch("steer", "second", cwd=folder).stdout.startswith("Note 2.")
        assert "(not taken up yet)" in autoresearch("steer", "--list", cwd=folder).stdout
        assert autoresearch("steer", "--drop", "1", cwd=folder).returncode == 0
        assert [note.number for note in person.notes(folder)] == [2]
        go_on(folder)
        process.communicate(timeout=60)
    assert [note.text for note in person.notes(folder)] == ["second"]
    assert inbox(folder) == []
    kinds = [line["event"] for line in journal_lines(folder)]
    assert kinds.index("note_dropped") < len(kinds) - 1 - kinds[::-1].index("trial_started"), "before the next trial"


@pytest.mark.parametrize(
    ("words_", "problem"),
    [
        (["steer"], "say one of"),
        (["steer", "x", "--list"], "say one of"),
        (["steer", " "], "the note is empty"),
        (["steer", "x" * 2001], "2000 at most"),
        (["steer", "--drop", "7"], "no note 7"),
    ],
)
def test_a_note_that_cannot_be_left_is_said_so(tmp_path: Path, words_: list[str], problem: str) -> None:
    done = typed(make_study(tmp_path), *words_)
    assert (done.exit_code, problem in done.stderr) == (2, True)


def test_what_waits_is_taken_up_once_even_if_it_was_not_removed(tmp_path: Path) -> None:
    folder = make_study(tmp_path)
    ours = Inbox(session.make_home(folder))
    ours.steer("one", "person")
    person.ask(folder, "mine", patch_to(folder, NINE))
    left = {wish.path: wish.path.read_bytes() for wish in ours.wishes()}
    (ours.folder / "idea-garbage").write_text("{")
    (ours.folder / "note-garbage").write_bytes(b"\xff" * 100_000)
    for _ in range(3):
        with Log(session.journal(folder)) as log:
            take_up(log, ours)
        for path, content in left.items():  # as if it had been ended before it could remove them
            path.write_bytes(content)
    state = state_of(folder)
    assert [note.text for note in state.wishes.notes.values()] == ["one"]
    assert [idea.idea for idea in state.wishes.pending] == ["mine"]
