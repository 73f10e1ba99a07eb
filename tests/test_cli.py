"""The commands, as a person types them: what they print, and how they say that something is wrong."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from helpers import (
    PATIENCE_S,
    PYTHON,
    WITHOUT_PRIVILEGE,
    autoresearch,
    commit,
    contract,
    eventually,
    fingerprint,
    git,
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

from autoresearch import session
from autoresearch.cli import main

COMMANDS = ["init", "check", "run", "status", "log", "show", "diff", "front", "export", "import", "audit", "demo"]


def call(*args: object) -> Result:
    """The command in this process: the same, without the time it takes to start."""
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a trial of each common kind. Tests only read it."""
    folder = tmp_path_factory.mktemp("night")
    steps = (
        says(9, "better [bold]by one[/bold]"),
        says(11, "worse \x1b[31mred\x1b[0m"),
        step("exit 3\n", "breaks"),
        step("x\n", "cheats", more={"study.toml": "x"}),
        says(8.5, "better again"),
    )
    make_study(folder, *steps, metric={"unit": "points"})
    assert words(play(folder)) == ["keep", "discard", "crash", "rejected", "keep"]
    return folder


def test_help_lists_the_commands_in_the_order_one_meets_them() -> None:
    done = call("--help")
    listed = [line.split()[0] for line in done.output.partition("Commands:")[2].splitlines() if line.strip()]
    assert done.exit_code == 0
    assert [name for name in listed if name in COMMANDS] == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = call(command, "-h")
    assert done.exit_code == 0
    assert done.output.startswith("Usage: ")


def test_the_version_is_told() -> None:
    assert "autoresearch, version " in call("--version").output


# -- what is wrong is said in plain words, with exit code 2 ---------------------------------------------


def bad_study(folder: Path) -> None:
    make_study(folder, metric={"directon": "minimize"})


def no_git(folder: Path) -> None:
    write(folder, {"study.toml": toml(contract()), "step.sh": "", "steps.jsonl": ""})


def no_commit(folder: Path) -> None:
    no_git(folder)
    git(folder, "init", "--quiet")


def uncommitted(folder: Path) -> None:
    make_study(folder)
    (folder / "step.sh").write_text("echo METRIC loss=1\n")


def broken_baseline(folder: Path) -> None:
    make_study(folder, start="echo what happened >&2; exit 1\n")


def silent_baseline(folder: Path) -> None:
    make_study(folder, start="echo METRIC los=1\n")


def taken_branch(folder: Path) -> None:
    make_study(folder)
    git(folder, "branch", "autoresearch/s")


def unknown_proposer(folder: Path) -> None:
    make_study(folder, propose={"with": ["serch"]})


def nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    ("prepare", "says_so"),
    [
        (nothing, "no study.toml in"),
        (bad_study, "study.toml: metric.directon is not a key (did you mean 'direction'?)"),
        (no_git, "is not inside a git repository"),
        (no_commit, "has no commit yet"),
        (uncommitted, "'step.sh' has changes that are not committed"),
        (broken_baseline, "what happened"),
        (silent_baseline, "the output has no line `METRIC loss=...`; it stated los"),
        (taken_branch, "a branch autoresearch/s exists already"),
        (unknown_proposer, "propose.with = 'serch'"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_wrong_is_said_with_exit_code_2(tmp_path: Path, command: str, prepare: Any, says_so: str) -> None:
    prepare(tmp_path)
    done = call(command, "-C", tmp_path)
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("autoresearch: ")
    assert says_so in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    "command", ["status", "log", "show 0", "diff", "diff 0", "export --to tsv", "import x.tsv", "run", "check"]
)
def test_a_folder_that_is_not_there_has_no_study(tmp_path: Path, command: str) -> None:
    done = call(*command.split(), "-C", tmp_path / "none")
    assert done.exit_code == 2
    assert "no study.toml in" in done.stderr


@pytest.mark.parametrize("command", ["show 0", "diff", "diff 0", "front", "export --to tsv", "export --to jsonl"])
def test_what_needs_a_study_that_was_run_says_so(tmp_path: Path, command: str) -> None:
    make_study(tmp_path)
    done = call(*command.split(), "-C", tmp_path)
    assert done.exit_code == 2
    assert "`autoresearch run`" in done.stderr


@pytest.mark.parametrize("command", ["status", "log", "status --json", "log --json"])
def test_looking_at_a_study_that_was_not_run_is_no_error(tmp_path: Path, command: str) -> None:
    make_study(tmp_path)
    before = fingerprint(tmp_path)
    assert call(*command.split(), "-C", tmp_path).exit_code == 0
    assert fingerprint(tmp_path) == before
    assert not (tmp_path / ".autoresearch").exists()


def test_a_trial_that_is_not_there_is_an_error_that_says_which_are(night: Path) -> None:
    for command in ("show", "diff"):
        done = call(command, 99, "-C", night)
        assert done.exit_code == 2
        assert "no trial 99; there are 0 to 6" in done.stderr


@pytest.mark.parametrize(
    "args", ["run --trials 0", "run --hours 0", "run --workers -1", "log --last 0", "export", "show x"]
)
def test_an_impossible_option_is_refused(night: Path, args: str) -> None:
    assert call(*args.split(), "-C", night).exit_code == 2


def test_a_damaged_log_is_named_by_every_command_that_reads_it(tmp_path: Path) -> None:
    make_study(tmp_path, says(9))
    play(tmp_path)
    path = session.journal(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], "garbage\n", *lines[2:]]))
    for command in ("status", "log", "show 0", "diff", "export --to tsv", "run"):
        done = call(*command.split(), "-C", tmp_path)
        assert done.exit_code == 2, command
        assert "events.jsonl, line 2: damaged" in done.stderr


def test_an_output_that_cannot_be_written_is_a_clear_error(night: Path, tmp_path: Path) -> None:
    done = call("export", "--to", "tsv", "-C", night, "-o", tmp_path / "none" / "x.tsv")
    assert done.exit_code == 2
    assert "x.tsv" in done.stderr


def test_a_folder_that_may_not_be_written_is_a_clear_error_of_run_and_no_error_of_log(tmp_path: Path) -> None:
    make_study(tmp_path, says(9), says(8))
    play(tmp_path, trials=1)
    places = [tmp_path, tmp_path / ".autoresearch"]
    for place in places:
        place.chmod(0o555)
    (tmp_path / ".autoresearch" / "events.jsonl").chmod(0o444)
    (tmp_path / ".autoresearch" / ".gitignore").chmod(0o444)
    before = (tmp_path / ".autoresearch" / "events.jsonl").read_bytes()
    try:
        done = autoresearch("run", cwd=tmp_path, wrap=WITHOUT_PRIVILEGE)
        assert done.returncode == 2, done.stderr
        assert "must be writable" in done.stderr
        done = autoresearch("log", cwd=tmp_path, wrap=WITHOUT_PRIVILEGE)
        assert done.returncode == 0, done.stderr
    finally:
        for place in places:
            place.chmod(0o755)
    assert (tmp_path / ".autoresearch" / "events.jsonl").read_bytes() == before


def test_a_log_that_may_not_be_read_is_a_clear_error(tmp_path: Path) -> None:
    make_study(tmp_path, says(9))
    play(tmp_path)
    session.journal(tmp_path).chmod(0)
    done = autoresearch("log", cwd=tmp_path, wrap=WITHOUT_PRIVILEGE)
    assert done.returncode == 2, done.stderr
    assert "events.jsonl" in done.stderr


# -- run -----------------------------------------------------------------------------------------------


def test_run_shows_a_line_for_each_trial_and_one_sentence_at_the_end(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9, "[bold]an idea[/bold]"), step("exit 3\n", "\x1b[31mbreaks"))
    done = autoresearch("run", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "[bold]an idea[/bold]" in done.stdout
    assert "\x1b" not in done.stdout
    assert "loss went from 10 to 9, a gain of 1 while climbing: 1 of 2 trials kept." in done.stdout


def test_run_with_json_prints_one_object_a_line_and_they_are_the_log(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), says(11))
    done = autoresearch("run", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(isinstance(line, dict) and "event" in line for line in told)
    lines = [json.loads(line) for line in session.journal(folder).read_text().splitlines()]
    assert [line for line in told if line["event"] != "said"] == lines[-sum(line["event"] != "said" for line in told) :]
    assert sum(line["event"] == "trial_decided" for line in told) == 3


def test_run_stops_after_as_many_trials_as_asked_and_goes_on_when_asked_again(tmp_path: Path) -> None:
    folder = make_study(tmp_path, *(says(20 + i) for i in range(5)))
    for expected in (2, 4, 5):
        assert call("run", "--trials", 2, "-C", folder).exit_code == 0
        assert len(words(state_of(folder))) == expected


def test_run_stops_after_the_hours_asked_for(tmp_path: Path) -> None:
    folder = make_study(tmp_path, *(step(f"sleep 0.15; echo METRIC loss={20 + i}\n") for i in range(50)))
    assert call("run", "--hours", 1 / 3600, "-C", folder).exit_code == 0
    assert 1 <= len(words(state_of(folder))) < 20


def test_a_reader_that_goes_away_is_no_error(night: Path) -> None:
    with subprocess.Popen(
        [PYTHON, "-m", "autoresearch", "log", "--json"], cwd=night, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


# -- looking -------------------------------------------------------------------------------------------


def test_log_is_a_table_with_a_line_for_each_trial(night: Path) -> None:
    lines = call("log", "-C", night).output.splitlines()
    assert lines[0].split() == ["trial", "verdict", "value", "gain", "cost", "runs", "idea"]
    assert [line.split()[:2] for line in lines[1:7]] == [
        ["0", "keep"],
        ["1", "keep"],
        ["2", "discard"],
        ["3", "crash"],
        ["4", "rejected"],
        ["5", "keep"],
    ]
    assert "better [bold]by one[/bold]" in lines[2]
    assert (
        lines[-1]
        == "loss went from 10 to 8.5 points, a gain of 1.5 while climbing: 2 of 5 trials kept. Not certified yet: `autoresearch certify`."
    )
    assert call("log", "--last", 2, "-C", night).output.splitlines()[1].split()[0] == "4"


def test_nothing_that_a_proposer_wrote_reaches_the_terminal_as_an_escape(night: Path) -> None:
    for command in ("log", "show 2", "status", "front"):
        assert "\x1b" not in call(*command.split(), "-C", night).output


def test_log_with_json_prints_a_trial_a_line(night: Path) -> None:
    trials = [json.loads(line) for line in call("log", "--json", "-C", night).output.splitlines()]
    assert [trial["word"] for trial in trials] == ["keep", "keep", "discard", "crash", "rejected", "keep"]
    assert trials[3]["verdict"].get("value") is None
    assert len(call("log", "--json", "--last", 2, "-C", night).output.splitlines()) == 2


def test_status_with_json_can_be_read_by_a_script(night: Path) -> None:
    found = json.loads(call("status", "--json", "-C", night).output)
    assert (found["study"], found["pid"], found["trials"], found["unfinished"]) == ("s", None, 5, 0)
    assert (found["start"], found["best"], found["noise"]) == (10.0, 8.5, None)
    assert found["counts"] == {"keep": 2, "discard": 1, "crash": 1, "rejected": 1}
    assert found["best_commit"] == git(night, "rev-parse", "autoresearch/s")
    assert "not running" in call("status", "-C", night).output


def test_status_works_while_the_study_runs(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "repo", step(f"touch {tmp_path}/runs; sleep 30; echo METRIC loss=9\n"))
    with started("run", cwd=folder) as process:
        assert eventually((tmp_path / "runs").exists)
        found = json.loads(call("status", "--json", "-C", folder).output)
        assert (found["pid"], found["unfinished"], found["trials"]) == (process.pid, 1, 0)
        assert f"running, process {process.pid}" in call("status", "-C", folder).output
        done = call("import", _foreign(tmp_path), "-C", folder)
        assert done.exit_code == 2
        assert f"already running, in process {process.pid}" in done.stderr
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
    assert json.loads(call("status", "--json", "-C", folder).output)["pid"] is None


def test_show_tells_idea_verdict_runs_and_diff(night: Path) -> None:
    text = call("show", 1, "-C", night).output
    assert "trial     1: better [bold]by one[/bold]" in text
    assert "verdict   keep: better by 1 over 1 run" in text
    assert "-echo METRIC loss=10" in text
    assert "+echo METRIC loss=9" in text
    assert "ok" in text
    assert "run ended with exit code 3" in call("show", 3, "-C", night).output
    assert "touches frozen files: 'study.toml'" in call("show", 4, "-C", night).output


def test_show_with_json_has_runs_and_patch(night: Path) -> None:
    found = json.loads(call("show", 5, "--json", "-C", night).output)
    assert found["word"] == "keep"
    assert found["runs"][0]["measurement"]["value"] == 8.5
    assert found["patch"].startswith("diff --git a/step.sh b/step.sh")
    assert json.loads(call("show", 0, "--json", "-C", night).output)["patch"] == ""


def test_diff_applies_to_where_the_study_started(night: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(night, "clone", "--quiet", "--branch", "main", str(night), str(clone))
    patch = autoresearch("diff", cwd=night).stdout
    git(clone, "apply", "--check", "-", input=patch)
    git(clone, "apply", "-", input=patch)
    assert (clone / "step.sh").read_text() == git(night, "show", "autoresearch/s:step.sh") + "\n"


def test_diff_of_a_trial_applies_to_its_base(night: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(night, "clone", "--quiet", "--branch", "autoresearch/s", str(night), str(clone))
    for trial in (2, 5):
        git(clone, "checkout", "--quiet", json.loads(call("show", trial, "--json", "-C", night).output)["base"])
        git(clone, "apply", "--check", "-", input=call("diff", trial, "-C", night).output)


def test_diff_of_a_study_in_a_subfolder_applies_at_the_top(tmp_path: Path) -> None:
    top = repository(tmp_path, {"x": "y"})
    folder = make_study_inside(top / "sub")
    commit(top)
    play(folder)
    git(top, "apply", "--check", "-", input=autoresearch("diff", cwd=folder).stdout)


def make_study_inside(folder: Path) -> Path:
    steps = json.dumps(says(9)) + "\n"
    write(folder, {"study.toml": toml(contract()), "step.sh": "echo METRIC loss=10\n", "steps.jsonl": steps})
    return folder


# -- check ---------------------------------------------------------------------------------------------


def test_check_says_what_is_frozen_and_what_may_change_and_leaves_no_trace(tmp_path: Path) -> None:
    folder = make_study(tmp_path, files={"data/x.txt": "x"})
    before = fingerprint(folder)
    done = call("check", "-C", folder)
    assert done.exit_code == 0, done.output
    assert "may change  step.sh" in done.output
    assert "data/x.txt" in done.output.partition("frozen")[2].splitlines()[0]
    assert "baseline    10, with other seeds 10" in done.output
    assert "measure.score is missing: the candidate marks itself" in done.output
    assert "measure.budget is missing" in done.output
    assert done.output.rstrip().endswith("Ready: autoresearch run")
    assert fingerprint(folder) == before
    left = {path.name for path in (folder / ".autoresearch").iterdir()}
    assert left <= {".gitignore", "data"}
    assert not (folder / ".git" / "worktrees").exists()
    assert git(folder, "for-each-ref", "refs/autoresearch", "refs/heads/autoresearch") == ""


def test_check_with_json_can_be_read_by_a_script(tmp_path: Path) -> None:
    folder = make_study(tmp_path, measure={"budget": "5 steps"})
    found = json.loads(call("check", "--json", "-C", folder).stdout)
    assert found["measurements"][0]["value"] == 10.0
    assert found["asset"] == ["step.sh"]
    assert sorted(found["frozen"]) == ["program.md", "steps.jsonl"] or "program.md" in found["frozen"]
    assert len(found["advice"]) == 4
    assert len(found["measurements"]) == 2
    assert found["calibration"].startswith("runs do not scatter")
    assert any("ignores AUTORESEARCH_SEED" in sentence for sentence in found["advice"])
    assert found["sandbox"] == "none"
    assert not all(guarantee["holds"] for guarantee in found["guarantees"])


def test_check_shows_the_end_of_what_a_broken_baseline_printed(tmp_path: Path) -> None:
    folder = make_study(tmp_path, start="echo line one; echo line two >&2; exit 9\n")
    done = call("check", "-C", folder)
    assert done.exit_code == 2
    assert "exit code 9" in done.stderr
    assert "| line one" in done.stderr
    assert "| line two" in done.stderr


def test_check_runs_beside_a_study_that_runs(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "repo", step(f"touch {tmp_path}/runs; sleep 30; echo METRIC loss=9\n"))
    with started("run", cwd=folder) as process:
        assert eventually((tmp_path / "runs").exists)
        assert call("check", "-C", folder).exit_code == 0
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0


# -- other formats -------------------------------------------------------------------------------------


def _foreign(folder: Path) -> Path:
    path = folder / "results.tsv"
    rows = ["commit\tval_bpb\tmemory_gb\tstatus\tdescription", "a1b2c3d\t0.9\t1.0\tkeep\ta hint", "b\t0\t0\tcrash\tbad"]
    path.write_text("\n".join(rows) + "\n")
    return path


def test_export_prints_or_writes(night: Path, tmp_path: Path) -> None:
    printed = call("export", "--to", "tsv", "-C", night)
    assert printed.exit_code == 0
    assert printed.output.startswith("commit\tval_bpb\tmemory_gb\tstatus\tdescription\n")
    assert call("export", "--to", "tsv", "-C", night, "-o", tmp_path / "x.tsv").exit_code == 0
    assert (tmp_path / "x.tsv").read_text() == printed.output
    lines = call("export", "--to", "jsonl", "-C", night).output.splitlines()
    assert [json.loads(line).get("status") for line in lines][1:] == [
        "keep",
        "keep",
        "discard",
        "crash",
        "checks_failed",
        "keep",
    ]


def test_import_keeps_foreign_trials_as_hints_and_counts_none_of_them(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "repo", says(9))
    done = call("import", _foreign(tmp_path), "-C", folder)
    assert done.exit_code == 0, done.output
    assert "2 trials read, 1 of them kept there" in done.output
    again = call("import", _foreign(tmp_path), "-C", folder)
    assert again.exit_code == 2
    assert "imported already" in again.stderr
    state = play(folder)
    assert [hint.idea for hint in state.imported] == ["a hint", "bad"]
    assert (state.decided, state.counts) == (1, {"keep": 1})


def test_import_of_what_is_no_log_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "repo")
    (tmp_path / "notes.txt").write_text("hello\n")
    done = call("import", tmp_path / "notes.txt", "-C", folder)
    assert done.exit_code == 2
    assert "notes.txt, line 1" in done.stderr
    assert not session.journal(folder).exists()


def test_commands_work_from_the_folder_they_are_typed_in(night: Path) -> None:
    before = os.getcwd()
    try:
        os.chdir(night)
        assert call("log").exit_code == 0
    finally:
        os.chdir(before)
