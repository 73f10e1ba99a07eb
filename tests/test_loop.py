"""The loop, end to end: real repositories, real processes, and proposals from a script."""

import contextlib
import json
import re
import shutil
import signal
import threading
from pathlib import Path
from subprocess import Popen
from types import SimpleNamespace
from typing import Any, cast

import pytest
from helpers import (
    PATIENCE_S,
    PYTHON,
    Recorder,
    alive,
    autoresearch,
    commit,
    contract,
    eventually,
    git,
    journal_lines,
    last,
    make_study,
    play,
    says,
    script,
    started,
    state_of,
    step,
    toml,
    why,
    words,
    write,
)

from autoresearch import session
from autoresearch.errors import BaselineError, StudyError
from autoresearch.events import SessionEnded, TrialDecided
from autoresearch.lab import Lab
from autoresearch.seeds import seed
from autoresearch.trial import Trial

# A value that scatters with the seed, so that no single run is certain.
NOISY = "echo METRIC loss=$(( {base}000000 + AUTORESEARCH_SEED % {spread}000003 ))\n"  # no two seeds alike


def verdict_of(trial: Trial) -> tuple[float | None, float | None, float | None]:
    assert trial.verdict is not None
    return trial.verdict.base_value, trial.verdict.value, trial.verdict.gain


# -- each verdict --------------------------------------------------------------------------------------


def test_a_better_value_is_kept_and_becomes_the_value_to_beat(tmp_path: Path) -> None:
    state = play(make_study(tmp_path, says(9), says(9.5), says(8)))
    assert words(state) == ["keep", "discard", "keep"]
    assert [verdict_of(t) for t in list(state.trials.values())[1:]] == [(10, 9, 1), (9, 9.5, -0.5), (9, 8, 1)]
    assert state.best is not None
    assert state.best.trial == 3


def test_a_metric_that_grows_is_maximised(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(11), says(10.5), says(12), metric={"direction": "maximize"})
    state = play(folder)
    assert words(state) == ["keep", "discard", "keep"]
    assert verdict_of(last(state)) == (11, 12, 1)


def test_a_tie_is_discarded(tmp_path: Path) -> None:
    state = play(make_study(tmp_path, step("echo METRIC loss=10 # said differently\n"), says("1e1"), says(10.0)))
    assert words(state) == ["discard", "discard", "discard"]
    assert why(state) == "no difference over 1 run"


CRASHES: list[tuple[str, str, str]] = [
    ("echo METRIC loss=nan\n", "not_finite", "loss is nan"),
    ("echo METRIC loss=-inf\n", "not_finite", "loss is -inf"),
    ("echo METRIC loss=1e999\n", "not_finite", "loss is 1e999"),
    ("echo METRIC los=1\n", "absent", "no value: the output has no line `METRIC loss=...`; it stated los"),
    ("true\n", "absent", "no value: the output has no line `METRIC loss=...`"),
    ("echo METRIC loss=1; echo METRIC loss=2\n", "repeated", "loss was stated 2 times with different values"),
    ("echo METRIC loss=low\n", "unparsable", "loss is not a number: 'low'"),
    ("echo METRIC loss=1; exit 3\n", "crash", "run ended with exit code 3: 'METRIC loss=1'"),
    ("echo METRIC loss=1; kill -9 $$\n", "crash", "run was ended by signal 9: 'METRIC loss=1'"),
    ("syntax error (\n", "crash", "run ended with exit code 2"),
]


def test_a_run_without_a_value_is_a_crash_that_says_why(tmp_path: Path) -> None:
    state = play(make_study(tmp_path, *(step(content) for content, _, _ in CRASHES), says(9)))
    assert words(state) == ["crash"] * len(CRASHES) + ["keep"]
    for trial, (content, status, reason) in zip(list(state.trials.values())[1:], CRASHES, strict=False):
        assert trial.verdict is not None
        assert trial.verdict.why.startswith(reason), content
        assert verdict_of(trial) == (None, None, None)
        found = state.runs[trial.runs[0]].measurement
        assert found is not None
        assert (found.status, found.value) == (status, None), content


def test_a_run_that_overstays_is_a_timeout(tmp_path: Path) -> None:
    state = play(make_study(tmp_path, step("echo METRIC loss=1; sleep 30\n"), measure={"timeout_s": 1}))
    assert words(state) == ["timeout"]
    assert why(state) == "run was ended after 1 s"


REJECTED: list[tuple[dict[str, Any], str]] = [
    (step("echo METRIC loss=10\n"), "it changes nothing"),
    (step("echo METRIC loss=1\n", more={"program.md": "easier"}), "it touches frozen files: 'program.md'"),
    (step("echo METRIC loss=1\n", more={"new.txt": "x"}), "it touches frozen files: 'new.txt'"),
    (step("echo METRIC loss=1\n", more={"study.toml": None}), "it touches frozen files: 'study.toml'"),
    (says(11), "the same code as trial 1"),
]


def test_a_proposal_that_may_not_be_tried_is_rejected_and_never_run(tmp_path: Path) -> None:
    state = play(make_study(tmp_path, says(11), *(proposal for proposal, _ in REJECTED)))
    assert words(state) == ["discard"] + ["rejected"] * len(REJECTED)
    for trial, (_, reason) in zip(list(state.trials.values())[2:], REJECTED, strict=True):
        assert trial.verdict is not None
        assert trial.verdict.why.startswith(reason)
        assert trial.runs == ()
        assert git(tmp_path, "rev-parse", f"refs/autoresearch/s/trials/{trial.id}") == trial.commit


# Every other run is worse by 200; a run of the trial, which comes after five of the baseline, is better by 125.
SCATTERS = "echo METRIC loss=$(( 100000 + AUTORESEARCH_RUN % 2 * 200 ))\n"
SCATTERS_BETTER = "case $AUTORESEARCH_RUN in 5) v=99980;; 6) v=100200;; *) v=100005;; esac; echo METRIC loss=$v\n"


def test_a_gain_within_the_noise_is_inconclusive_after_its_repeats(tmp_path: Path) -> None:
    state = play(make_study(tmp_path, step(SCATTERS_BETTER), start=SCATTERS, decide={"calibrate": 5, "repeats": 3}))
    assert words(state) == ["inconclusive"]
    assert len(last(state).runs) == 3
    assert verdict_of(last(state))[2] == pytest.approx(5)
    assert "too small to tell" in why(state)
    assert state.best is not None
    assert state.best.trial == 0


def test_what_is_clearly_worse_is_decided_by_one_run_and_a_gain_by_two(tmp_path: Path) -> None:
    start = NOISY.format(base=1000, spread=97)
    better, worse = (step(NOISY.format(base=base, spread=97)) for base in (100, 2000))
    changes: dict[str, Any] = {"decide": {"calibrate": 4, "repeats": 5}, "metric": {"max_step": 1e9}}
    state = play(make_study(tmp_path, worse, better, start=start, **changes))
    assert words(state) == ["discard", "keep"]
    assert [len(t.runs) for t in state.trials.values()] == [4, 1, 2]


def test_runs_of_the_same_number_have_the_same_seed_whatever_the_commit(tmp_path: Path) -> None:
    state = play(make_study(tmp_path, step(SCATTERS_BETTER), start=SCATTERS, decide={"calibrate": 5, "repeats": 3}))
    assert state.opened is not None
    for run in state.runs.values():
        assert run.seed == seed(state.opened.seed, run.seed_index)
        assert 0 <= run.seed < 2**31
    assert [[state.runs[i].seed_index for i in t.runs] for t in state.trials.values()] == [[0, 1, 2, 3, 4], [0, 1, 2]]


def test_parallel_workers_decide_every_trial_once(tmp_path: Path) -> None:
    folder = make_study(tmp_path, *(says(20 + i) for i in range(12)))
    state = play(folder, workers=3)
    assert words(state) == ["discard"] * 12
    decided = [line["trial"] for line in journal_lines(folder) if line["event"] == "trial_decided"]
    assert len(decided) == len(set(decided)) == 13  # which number found the script at its end, the workers race for
    runs = [line["run"] for line in journal_lines(folder) if line["event"] == "run_finished"]
    assert sorted(runs) == sorted(set(runs)) == list(state.runs)


def test_no_answer_yet_is_asked_again_and_is_one_run(tmp_path: Path) -> None:
    state = play(make_study(tmp_path, step("test -e asked && echo METRIC loss=9 || { touch asked; exit 75; }\n")))
    assert words(state) == ["keep"]
    assert len(last(state).runs) == 1


# -- scoring and data ----------------------------------------------------------------------------------


def test_the_frozen_scorer_marks_whatever_the_candidate_says(tmp_path: Path) -> None:
    folder = make_study(
        tmp_path,
        step('echo METRIC loss=0; echo METRIC acc=1; echo 11 > "$AUTORESEARCH_OUT/left"\n', "says better, is worse"),
        step('echo METRIC loss=99; echo 9 > "$AUTORESEARCH_OUT/left"\n', "says worse, is better"),
        step("echo METRIC loss=0; echo 'echo METRIC loss=0' > score.sh\n", "overwrites its copy of the scorer"),
        start='echo 10 > "$AUTORESEARCH_OUT/left"\n',
        files={"score.sh": 'echo METRIC loss=$(cat "$AUTORESEARCH_OUT/left")\n'},
        measure={"score": "sh score.sh"},
    )
    state = play(folder)
    assert words(state) == ["discard", "keep", "crash"]
    assert why(state).startswith("score ended with exit code") or why(state).startswith("loss is not a number")


def test_data_are_prepared_once_and_held_data_are_for_frozen_code_only(tmp_path: Path) -> None:
    prepare = 'echo 5 > "$AUTORESEARCH_DATA/open"; echo 10 > "$AUTORESEARCH_HELD/answer"; echo x >> "$AUTORESEARCH_DATA/times"\n'
    folder = make_study(
        tmp_path,
        start='test -z "$AUTORESEARCH_HELD" && cat "$AUTORESEARCH_DATA/open"\n',
        files={"prepare.sh": prepare, "score.sh": 'echo METRIC loss=$(cat "$AUTORESEARCH_HELD/answer")\n'},
        measure={"prepare": "sh prepare.sh", "score": "sh score.sh"},
    )
    play(folder)
    state = play(folder)
    assert state.mean(state.trials[0].tree or "") == 10
    assert (folder / ".autoresearch" / "data" / "open" / "times").read_text() == "x\n"


def test_a_preparation_that_fails_stops_the_study_with_its_last_words(tmp_path: Path) -> None:
    folder = make_study(
        tmp_path, files={"prepare.sh": "echo no corpus here >&2; exit 1\n"}, measure={"prepare": "sh prepare.sh"}
    )
    with pytest.raises(StudyError, match=r"measure\.prepare \(sh prepare\.sh\) failed.*no corpus here"):
        play(folder)


# -- the baseline --------------------------------------------------------------------------------------


def test_a_baseline_without_a_value_stops_the_study_and_says_why(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), start="echo broken >&2; exit 4\n")
    with pytest.raises(BaselineError, match=r"cannot be measured.*exit code 4: 'broken'.*autoresearch check"):
        play(folder)
    assert words(state_of(folder)) == []


def test_after_the_code_was_mended_and_committed_the_study_begins(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), start="exit 4\n")
    with pytest.raises(BaselineError):
        play(folder)
    write(folder, {"step.sh": "echo METRIC loss=10\n"})
    commit(folder)
    state = play(folder)
    assert words(state) == ["keep"]
    assert verdict_of(last(state)) == (10, 9, 1)


def test_after_a_passing_trouble_the_same_baseline_is_measured(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "repo", says(9), start=f"test -e {tmp_path}/gpu && echo METRIC loss=10\n")
    with pytest.raises(BaselineError):
        play(folder)
    (tmp_path / "gpu").touch()
    assert words(play(folder)) == ["keep"]


# -- going on ------------------------------------------------------------------------------------------


def test_a_second_session_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), says(8), says(7))
    assert words(play(folder, trials=2)) == ["keep", "keep"]
    state = play(folder)
    assert words(state) == ["keep"] * 3
    assert sum(trial.is_baseline for trial in state.trials.values()) == 1
    assert words(play(folder)) == ["keep"] * 3


def test_the_budget_of_the_study_counts_all_sessions_and_that_of_the_command_its_own(tmp_path: Path) -> None:
    folder = make_study(tmp_path, *(says(20 + i) for i in range(9)), budget={"trials": 3})
    assert len(words(play(folder))) == 3
    assert len(words(play(folder))) == 3
    assert len(words(play(folder, trials=2))) == 5


def test_why_a_session_ended_is_on_record(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), says(8))
    recorder = Recorder()
    play(folder, recorder, trials=1)
    play(folder, recorder)
    ends = [event.why for event in recorder.events if isinstance(event, SessionEnded)]
    assert ends == ["the budget is spent", "the script has no further proposal"]


def test_a_change_of_the_measure_measures_the_best_anew_and_compares_nothing_with_before(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), step("echo METRIC loss=${SCALE:-1}8\n", "18, or 28"), says(12))
    state = play(folder, trials=1)
    best = state.best
    write(folder, {"study.toml": toml(contract(measure={"run": "env SCALE=2 sh step.sh"}))})
    recorder = Recorder()
    state = play(folder, recorder)
    assert any("measured anew" in said for said in recorder.said)
    second = state.trials[2]
    assert second.is_baseline
    assert (second.base, second.tree) == ((best.commit, best.tree) if best else None)
    assert words(state) == ["keep", "discard", "discard"]
    assert verdict_of(state.trials[3])[:2] == (9, 28)
    assert {run.digest for run in state.runs.values() if run.trial < 2} != {state.digest}
    assert state.noise is None


def test_a_proposal_that_was_tried_under_another_measure_may_be_tried_again(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(11), says(11, "once more"))
    play(folder, trials=1)
    write(folder, {"study.toml": toml(contract(measure={"timeout_s": 19}))})
    assert words(play(folder)) == ["discard", "discard"]


def test_events_reach_the_listener_in_the_order_of_the_log(tmp_path: Path) -> None:
    recorder = Recorder()
    folder = make_study(tmp_path, step("echo PROGRESS 0.5 loss=3; echo METRIC loss=9\n"))
    play(folder, recorder)
    told = [json.loads(json.dumps({"event": type(e).__struct_config__.tag})) for e in recorder.events]
    assert [t["event"] for t in told] == [line["event"] for line in journal_lines(folder)][
        1:
    ]  # the opening comes before
    assert recorder.points == [(0.5, 3.0)]
    assert sum(isinstance(e, TrialDecided) for e in recorder.events) == 2


def test_a_script_that_is_no_script_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = make_study(tmp_path)
    for content in (
        "{}\n",
        "nonsense\n",
        '{"idea": "x", "files": {}, "more": 1}\n',
        '{"idea": "x", "files": {"a": 5}}\n',
    ):
        (folder / "steps.jsonl").write_text(content)
        git(folder, "commit", "-qam", "x")
        with pytest.raises(StudyError, match=r"steps\.jsonl: not a script of proposals"):
            play(folder)
    (folder / "steps.jsonl").unlink()
    git(folder, "commit", "-qam", "x")
    with pytest.raises(StudyError, match=r"propose\.script: .*steps\.jsonl: No such file"):
        play(folder)


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"propose": {"with": ["no.such:Thing"]}}, r"propose\.with = 'no\.such:Thing' is neither one of search, llm, command, script"),
        ({"propose": {"with": ["serch"]}}, r"propose\.with = 'serch' is neither one of"),
        ({"decide": {"policy": "clmb"}}, r"decide\.policy = 'clmb' is neither one of climb, strict, greedy"),
        ({"decide": {"policy": "json:nope"}}, r"decide\.policy = 'json:nope'"),
    ],
)  # fmt: skip
def test_a_part_that_does_not_exist_is_an_error_that_names_its_key(
    tmp_path: Path, changes: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(StudyError, match=remedy):
        play(make_study(tmp_path, **changes))


def test_the_greedy_policy_keeps_whatever_is_better_than_the_best_seen(tmp_path: Path) -> None:
    folder = make_study(
        tmp_path, says(9.999), says(9.999, "tie"), step("exit 1\n"), says(8), decide={"policy": "greedy"}
    )
    state = play(folder)
    assert words(state) == ["keep", "rejected", "crash", "keep"]
    assert len(state.runs) == 4


def test_a_command_may_name_its_program_with_a_whole_path(tmp_path: Path) -> None:
    shell = shutil.which("sh")
    assert words(play(make_study(tmp_path, says(9), measure={"run": f"{shell} ./step.sh"}))) == ["keep"]


def test_a_command_that_names_a_file_git_does_not_track_is_refused(tmp_path: Path) -> None:
    folder = make_study(tmp_path, measure={"run": "sh helper.sh"}, files={".gitignore": "helper.sh\n"})
    write(folder, {"helper.sh": "echo METRIC loss=1\n"})
    with pytest.raises(StudyError, match=r"measure names 'helper\.sh', which git does not track.*git add"):
        play(folder)


# -- a program that proposes ---------------------------------------------------------------------------


def command_study(folder: Path, program: str, **propose: Any) -> Path:
    """A study whose proposer is this Python program, kept outside the repository."""
    path = folder / "proposer.py"
    folder.mkdir(exist_ok=True)
    path.write_text(program)
    table = {"with": ["command"], "command": f"{PYTHON} '{path}'"} | propose
    return make_study(folder / "repo", propose=table)


def test_a_program_proposes_by_editing_files_and_saying_its_idea(tmp_path: Path) -> None:
    folder = command_study(
        tmp_path,
        "import sys\nfrom pathlib import Path\n"
        "given = sys.stdin.read()\n"
        f"Path({str(tmp_path)!r}, 'given.txt').write_text(given)\n"
        "n = given.count(' by command: ') + 1\n"
        "Path('step.sh').write_text(f'echo METRIC loss={10 - n}\\n')\n"
        "print('thinking aloud')\nprint(f'IDEA: number {n}')\n",
    )
    state = play(folder, trials=3)
    assert words(state) == ["keep"] * 3
    assert [t.idea for t in state.trials.values()][1:] == ["number 1", "number 2", "number 3"]
    assert last(state).by == "command"
    given = (tmp_path / "given.txt").read_text()
    assert "Make it small." in given
    assert "lower is better. Best so far: 8, of trial 2." in given
    assert "You may change only: step.sh" in given
    # Between them stands what a run cost more than its base's, where one of a few milliseconds happened to.
    assert re.search('- trial 2 by command: gain \\+1, value 8, [^"\n]*\\+1 -1 lines[^"\n]*: "number 2"', given)


def test_a_program_without_a_stated_idea_gives_its_first_line(tmp_path: Path) -> None:
    folder = command_study(tmp_path, "print('\\n  a first line\\nmore')\nopen('step.sh', 'a').write('# x\\n')\n")
    assert last(play(folder, trials=1)).idea == "a first line"


def test_a_program_that_fails_is_a_rejection_and_the_study_goes_on(tmp_path: Path) -> None:
    folder = command_study(
        tmp_path,
        "import sys, pathlib\n"
        f"again = pathlib.Path({str(tmp_path)!r}, 'again')\n"
        "if not again.exists(): again.touch(); sys.exit('no idea')\n"
        "pathlib.Path('step.sh').write_text('echo METRIC loss=9\\n')\n",
    )
    state = play(folder, trials=2)
    assert words(state) == ["rejected", "keep"]
    verdict = state.trials[1].verdict
    assert verdict is not None
    assert "failed: exit code 1; its output is in" in verdict.why


def test_a_program_that_thinks_too_long_is_ended_and_its_trial_rejected(tmp_path: Path) -> None:
    folder = command_study(tmp_path, "import time; time.sleep(60)", timeout_s=0.3)
    state = play(folder, trials=1)
    assert words(state) == ["rejected"]
    assert "was ended after 0.3 s (propose.timeout_s)" in why(state)


def test_a_program_that_edits_the_contract_is_rejected(tmp_path: Path) -> None:
    folder = command_study(tmp_path, "open('study.toml', 'a').write('# easier')")
    state = play(folder, trials=1)
    assert words(state) == ["rejected"]
    assert "frozen files: 'study.toml'" in why(state)


def test_a_program_that_fails_ten_times_in_a_row_stops_the_study(tmp_path: Path) -> None:
    folder = command_study(tmp_path, "import sys; sys.exit('key expired')")
    recorder = Recorder()
    state = play(folder, recorder)
    assert words(state) == ["rejected"] * 10
    ended = recorder.events[-1]
    assert isinstance(ended, SessionEnded)
    assert "the proposer failed 10 times in a row" in ended.why
    assert "exit code 1" in ended.why


def test_a_program_that_does_not_exist_is_said_so(tmp_path: Path) -> None:
    folder = make_study(tmp_path, propose={"with": ["command"], "command": "no-such-agent --yes"})
    state = play(folder, trials=1)
    assert "no-such-agent failed: no-such-agent: No such file or directory" in why(state)


# -- Ctrl-C --------------------------------------------------------------------------------------------


def waiting_study(tmp_path: Path) -> Path:
    """A study whose first proposal waits, once it runs, for a file `go`."""
    waits = f"touch '{tmp_path}/runs'\nfor i in $(seq 1500); do test -e '{tmp_path}/go' && break; sleep 0.02; done\n"
    return make_study(tmp_path / "repo", step(waits + "echo METRIC loss=9\n", "waits"), says(8, "comes next"))


def interrupt(process: Popen[str]) -> None:
    """Ctrl-C, and wait until it was heard."""
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    while "stopping when the running trials are done" not in process.stdout.readline():
        assert process.poll() is None


def test_ctrl_c_once_finishes_the_running_trial_and_stops(tmp_path: Path) -> None:
    folder = waiting_study(tmp_path)
    with started("run", cwd=folder) as process:
        assert eventually((tmp_path / "runs").exists)
        interrupt(process)
        (tmp_path / "go").touch()
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    state = state_of(folder)
    assert words(state) == ["keep"]
    assert state.session is None
    assert words(play(folder)) == ["keep", "keep"]


def test_ctrl_c_twice_stops_now_and_the_next_run_continues(tmp_path: Path) -> None:
    folder = waiting_study(tmp_path)
    with started("run", cwd=folder) as process:
        assert eventually((tmp_path / "runs").exists)
        interrupt(process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    state = state_of(folder)
    assert words(state) == ["running"]
    stopped = state.runs[last(state).runs[0]].measurement
    assert stopped is not None
    assert stopped.status == "stopped"
    (tmp_path / "go").touch()
    state = play(folder)
    assert words(state) == ["keep", "keep"]
    assert state.trials[1].idea == "waits"
    assert [state.runs[i].seed_index for i in state.trials[1].runs] == [0, 0]


def test_a_polite_signal_stops_now(tmp_path: Path) -> None:
    folder = waiting_study(tmp_path)
    with started("run", cwd=folder) as process:
        assert eventually((tmp_path / "runs").exists)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert words(state_of(folder)) == ["running"]


def test_ctrl_c_while_a_program_thinks_takes_its_trial_back(tmp_path: Path) -> None:
    folder = command_study(
        tmp_path, f"import pathlib, time; pathlib.Path({str(tmp_path)!r}, 'thinks').touch(); time.sleep(60)"
    )
    with started("run", cwd=folder) as process:
        assert eventually((tmp_path / "thinks").exists)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert words(state_of(folder)) == []
    assert journal_lines(folder)[-2]["event"] == "trial_withdrawn"


def test_a_killed_session_goes_on_and_nothing_of_it_survives(tmp_path: Path) -> None:
    folder = waiting_study(tmp_path)
    with started("run", cwd=folder) as process:
        assert eventually((tmp_path / "runs").exists)
        process.kill()
        process.communicate(timeout=PATIENCE_S)
    assert not alive(process.pid)
    (tmp_path / "go").touch()
    state = play(folder)
    assert words(state) == ["keep", "keep"]
    assert [m.status for m in (state.runs[i].measurement for i in state.trials[1].runs) if m] == ["stopped", "ok"]


def test_a_second_run_on_the_same_study_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    folder = waiting_study(tmp_path)
    with started("run", cwd=folder) as process:
        assert eventually((tmp_path / "runs").exists)
        done = autoresearch("run", cwd=folder)
        assert done.returncode == 2
        assert f"already running, in process {process.pid}" in done.stderr
        process.kill()


# -- trouble with the log ------------------------------------------------------------------------------


def test_a_damaged_log_stops_the_study_and_is_left_as_it_is(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), says(8))
    play(folder, trials=1)
    path = session.journal(folder)
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:3], b"{broken\n", *lines[4:]])
    path.write_bytes(damaged)
    done = autoresearch("run", cwd=folder)
    assert done.returncode == 2
    assert "events.jsonl, line 4: damaged" in done.stderr
    assert path.read_bytes() == damaged
    path.write_bytes(b"".join(lines))
    assert words(play(folder)) == ["keep", "keep"]


@pytest.mark.parametrize("calibrate", [1, 3])
def test_values_of_any_size_leave_a_log_that_reads_as_it_was_written(tmp_path: Path, calibrate: int) -> None:
    folder = make_study(
        tmp_path,
        *(says(-1e308), says(1e308), says(1e200), says(5)),
        start="test $AUTORESEARCH_RUN = 1 && echo METRIC loss=1e200 || echo METRIC loss=10\n",
        decide={"calibrate": calibrate},
    )
    with contextlib.suppress(BaselineError):
        live = play(folder)
        assert {i: t.verdict for i, t in state_of(folder).trials.items()} == {
            i: t.verdict for i, t in live.trials.items()
        }
    assert autoresearch("log", cwd=folder).returncode == 0


def test_a_script_survives_a_step_that_was_carried_on(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), says(8))
    play(folder, trials=1)
    (folder / "steps.jsonl").write_text(script(says(9), says(8), says(7)))
    assert [t.memo for t in play(folder).trials.values()][1:] == [{"step": 0}, {"step": 1}, {"step": 2}]


def test_a_command_that_proposes_is_given_the_persons_own_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY_OF_THE_PERSON", "3")
    command = "sh -c 'echo echo METRIC loss=$A_KEY_OF_THE_PERSON > step.sh'"
    folder = make_study(tmp_path, propose={"with": ["command"], "command": command})
    assert [trial.verdict.value for trial in play(folder, trials=1).trials.values() if trial.verdict] == [10.0, 3.0]


def test_frozen_code_that_somebody_changed_is_as_committed_again_before_the_next_run(tmp_path: Path) -> None:
    """Without a sandbox a candidate can write anywhere of ours; the next run is measured by the referee all the same."""
    referee = tmp_path / "repo" / ".autoresearch" / "trees" / "referee"
    files = {"score.sh": "echo METRIC loss=$(cat $AUTORESEARCH_OUT/x)\n"}
    start = "echo 10 > $AUTORESEARCH_OUT/x\n"
    evil = f"echo 12 > $AUTORESEARCH_OUT/x; sleep 0.05; (sleep 0.05; echo echo METRIC loss=1 > {referee}/score.sh) & wait\n"
    steps = (step(evil), step("echo 11 > $AUTORESEARCH_OUT/x\n"), step("echo 9 > $AUTORESEARCH_OUT/x\n"))
    folder = make_study(tmp_path / "repo", *steps, start=start, files=files, measure={"score": "sh score.sh"})
    recorder = Recorder()
    state = play(folder, recorder)
    assert words(state)[1:] == ["discard", "keep"]
    assert words(state)[0] in ("suspect", "discard", "crash")  # its own run was scored by what it wrote
    assert any("score.sh of the frozen code was changed by somebody" in said for said in recorder.said)
    assert (referee.parent / "referee").exists() is False


def test_what_is_said_of_ctrl_c_does_not_break_into_a_line_that_is_being_said() -> None:
    heard, said = list[threading.Thread](), threading.Event()

    def tell(_: str) -> None:
        heard.append(threading.current_thread())
        said.set()

    log = SimpleNamespace(stopping=None, stop=lambda why: None)
    with session.stoppable(cast(Lab, SimpleNamespace(log=log, tell=tell))):
        signal.raise_signal(signal.SIGINT)
        assert said.wait(30)
    assert heard[0] is not threading.current_thread()
