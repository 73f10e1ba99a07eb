"""
Runs on Slurm: the contract of executors, lost, cancelled and restarted jobs, and whole studies, on Slurm's own daemons.

Needs the extra `slurm` and what slurmd.py names, which `make test` does not install.
"""

import os
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import executors
import pytest
from asking import nvidia_smi
from executors import BEATS, Bench, Contract, stands_still
from helpers import PYTHON, Recorder, eventually, make_study, says, state_of, step, words
from recipes import configure, recipe, settings, type_in
from slurmd import Cluster, missing

from autoresearch import log, session
from autoresearch.errors import StudyError
from autoresearch.events import RunFinished, SessionStarted
from autoresearch.execute import Executor, OnProgress
from autoresearch.session import Goal
from autoresearch.study import Study
from autoresearch.trial import Run

submitit = pytest.importorskip("submitit", reason="the extra slurm is not installed")
cloudpickle = pytest.importorskip("cloudpickle")

from autoresearch.execute.slurm import Going, OnSlurm, Pace  # noqa: E402 - only where submitit is
from autoresearch.execute.slurm_job import work  # noqa: E402

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
SLOW = 90.0  # seconds that a loaded machine may take for what mostly takes one
FAST = Pace(files_s=0.1, queue_s=0.5, late_s=1.0)
KILL_THE_JOB = """
parent() { sed 's/.*) . //; s/ .*//' /proc/$1/stat; }
kill -9 $(parent $(parent $PPID)); exec sleep 60
"""  # its Python: above the keeper and the nursery


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    before = {name: os.environ.get(name) for name in ("TMPDIR", "SLURM_CONF")}
    with tempfile.TemporaryDirectory(prefix="slurm-") as home, tempfile.TemporaryDirectory(prefix="far-") as far:
        made = Cluster(Path(home))
        os.environ["TMPDIR"] = far  # what runs leave there
        cloudpickle.register_pickle_by_value(executors)  # no job could import it
        try:
            made.start()
            yield made
        finally:
            made.stop()
            cloudpickle.unregister_pickle_by_value(executors)
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def on_slurm(home: Path, study: Study, on_progress: OnProgress) -> Executor:
    return OnSlurm(home, study, on_progress, print, FAST)


def made(home: Path, **execute: object) -> Bench:
    return Bench(home, on_slurm, execute={"on": "slurm", "cores": 1, "workers": 2} | execute)


@pytest.fixture
def bench(cluster: Cluster, tmp_path: Path) -> Iterator[Bench]:  # noqa: ARG001 - it has to be there
    bench = made(tmp_path / "home")
    yield bench
    bench.executor.close()


def going_of(bench: Bench) -> dict[int, Going]:
    assert isinstance(bench.executor, OnSlurm)
    return bench.executor._going


def job_of(bench: Bench, run: int = 3) -> str:
    return going_of(bench)[run].job


class TestOnSlurm(Contract):
    pass


# -- faults ----------------------------------------------------------------------------------------------


def test_a_run_that_is_lost_twice_blames_nobody(bench: Bench, tmp_path: Path) -> None:
    found = bench.run(f"echo x >> {tmp_path}/tries; {KILL_THE_JOB}")
    assert (found.status, found.value) == ("stopped", None)
    assert found.why.startswith("its job was lost, 2 times: job ")
    assert (tmp_path / "tries").read_text() == "x\nx\n"


def test_a_job_that_is_cancelled_in_slurm_blames_nobody(bench: Bench, cluster: Cluster, tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    thread, found = bench.began(BEATS.format(beat=beat))
    assert eventually(beat.exists, within_s=SLOW)
    cluster.asked("scancel", job_of(bench))
    thread.join(SLOW)
    assert [m.status for m in found] == ["stopped"]
    assert found[0].why.endswith("was cancelled in Slurm")
    assert stands_still(beat)


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"])
def test_what_a_run_detached_ends_with_its_cancelled_job(
    bench: Bench, cluster: Cluster, tmp_path: Path, trap: str
) -> None:
    beat = tmp_path / "beat"
    thread, _ = bench.began(f'setsid sh -c "{trap} {BEATS.format(beat=beat)}" & exec sleep 60')
    assert eventually(beat.exists, within_s=SLOW)
    cluster.asked("scancel", job_of(bench))
    thread.join(SLOW)
    assert eventually(lambda: stands_still(beat), within_s=20)


def test_a_requeued_job_begins_its_run_anew_and_counts_once(bench: Bench, cluster: Cluster, tmp_path: Path) -> None:
    tries, begun = tmp_path / "tries", bench.home / "slurm" / "runs" / "3" / "begun"
    often = 3  # more often than a node may be lost: a job that makes room for another is told to end
    tries.touch()
    thread, found = bench.began(
        f"echo x >> {tries}; test $(grep -c x {tries}) -gt {often} && echo METRIC loss=2 && exit; exec sleep 600",
        timeout_s=600.0,
    )
    for times in range(1, often + 1):
        assert eventually(lambda: tries.read_text() == "x\n" * times, within_s=SLOW)  # noqa: B023 - asked at once
        cluster.asked("scontrol", "requeue", job_of(bench))
        assert eventually(lambda: begun.read_text().count("told to end") == times, within_s=SLOW)  # noqa: B023
        cluster.start_now(job_of(bench))
    thread.join(SLOW)
    assert [(m.status, m.value, m.why) for m in found] == [("ok", 2.0, "")]
    assert tries.read_text() == "x\n" * (often + 1)


def test_a_job_that_makes_room_and_is_not_requeued_is_submitted_again(cluster: Cluster, tmp_path: Path) -> None:
    bench, tries = made(tmp_path / "home", partition="spare"), tmp_path / "tries"
    often = 2  # as often as a job may be lost
    tries.touch()
    try:
        thread, found = bench.began(
            f"echo x >> {tries}; test $(grep -c x {tries}) -gt {often} && echo METRIC loss=2 && exit; exec sleep 600",
            timeout_s=600.0,
        )
        for times in range(1, often + 1):
            assert eventually(lambda: tries.read_text() == "x\n" * times, within_s=SLOW)  # noqa: B023 - asked at once
            job = job_of(bench)
            cluster.asked("sbatch", "--partition=urgent", "--nodes=2", f"--chdir={tmp_path}", "--wrap=true")
            assert eventually(lambda: cluster.state(job) == "PREEMPTED", within_s=SLOW)  # noqa: B023
        thread.join(SLOW)
        assert [(m.status, m.value, m.why) for m in found] == [("ok", 2.0, "")]
        assert tries.read_text() == "x\n" * (often + 1)
    finally:
        bench.executor.close()


def test_a_job_that_is_told_to_end_has_the_time_to_say_so_and_to_clean_up(
    bench: Bench, cluster: Cluster, tmp_path: Path
) -> None:
    began, begun = tmp_path / "began", bench.home / "slurm" / "runs" / "3" / "begun"
    many = "touch $(seq -f left-%g 20000)"  # which takes a while to remove
    thread, _ = bench.began(f"{many}; touch {began}; exec sleep 600", timeout_s=600.0)
    assert eventually(began.exists, within_s=SLOW)
    cluster.asked("scontrol", "requeue", job_of(bench))
    assert eventually(lambda: cluster.state(job_of(bench)) == "PENDING", within_s=SLOW)
    assert begun.read_text().splitlines()[1:] == ["told to end"]
    assert not list(Path(os.environ["TMPDIR"]).rglob("left-1"))
    later = OnSlurm(bench.home, bench.study, lambda *_: None, print, FAST)
    assert later.attach(run_of(3), bench.study) is not None  # it waits for its next beginning, and is found
    later.close()
    bench.executor.stop()
    thread.join(SLOW)


def test_a_lost_job_that_is_requeued_beside_another_in_its_place_has_no_word(
    bench: Bench, cluster: Cluster, tmp_path: Path
) -> None:
    tries, go = tmp_path / "tries", tmp_path / "go"
    wait = f"while ! test -e {go}; do sleep 0.1; done; echo METRIC loss=2"
    thread, found = bench.began(
        f"echo x >> {tries}; test $(grep -c x {tries}) -gt 1 || {{ {KILL_THE_JOB} }}; {wait}", timeout_s=600.0
    )
    assert eventually(lambda: 3 in going_of(bench) and job_of(bench) != "", within_s=SLOW)
    lost = job_of(bench)
    assert eventually(lambda: tries.exists() and tries.read_text() == "x\nx\n", within_s=SLOW)
    cluster.asked("scontrol", "requeue", lost)
    cluster.asked("scontrol", "update", f"JobId={lost}", "StartTime=now+1")
    # It is cancelled where the queue was seen in time, and else ends as soon as it begins.
    assert eventually(lambda: cluster.state(lost) in ("CANCELLED", "COMPLETED"), within_s=SLOW)
    assert job_of(bench) != lost
    go.touch()
    thread.join(SLOW)
    assert [(m.status, m.value, m.why) for m in found] == [("ok", 2.0, "")]
    assert tries.read_text() == "x\nx\n"


def test_of_two_jobs_for_one_run_one_goes_on(bench: Bench, cluster: Cluster, tmp_path: Path) -> None:
    beat, go = tmp_path / "beat", tmp_path / "go"
    thread, found = bench.began(
        f"touch {beat}; while ! test -e {go}; do sleep 0.1; done; echo METRIC loss=2", timeout_s=600.0
    )
    assert eventually(beat.exists, within_s=SLOW)
    executor, going = bench.executor, going_of(bench)[3]
    assert isinstance(executor, OnSlurm)
    # As where Slurm took a job after we had stopped waiting for its answer, looked for the job, and asked once more.
    twin = executor.batch.submit(going.folder, executor._job_name(3), 5, work, *executor._told(going))
    assert eventually(lambda: cluster.state(twin) == "CANCELLED", within_s=SLOW)
    assert cluster.state(going.job) == "RUNNING"
    go.touch()
    thread.join(SLOW)
    assert [(m.status, m.value, m.why) for m in found] == [("ok", 2.0, "")]


def test_a_run_whose_node_is_lost_is_done_once_more_elsewhere(bench: Bench, cluster: Cluster, tmp_path: Path) -> None:
    tries, beat = tmp_path / "tries", tmp_path / "beat"
    once = f"echo x >> {tries}; test -e {beat} && echo METRIC loss=2 && exit; {BEATS.format(beat=beat)}"
    thread, found = bench.began(once)
    assert eventually(beat.exists, within_s=SLOW)
    job = job_of(bench)
    node = cluster.asked("squeue", "-h", "-j", job, "-o", "%N")
    cluster.lose(node, job)
    assert eventually(lambda: cluster.asked("squeue", "-h", "-j", job, "-o", "%T") == "PENDING", within_s=SLOW)
    assert stands_still(beat)
    cluster.start_now(job)
    thread.join(SLOW)
    cluster.start_node(node)
    assert [(m.status, m.value) for m in found] == [("ok", 2.0)]
    assert tries.read_text() == "x\nx\n"
    cluster.get_ready()


def test_a_run_goes_on_while_its_slurmd_and_the_controller_are_away(
    bench: Bench, cluster: Cluster, tmp_path: Path
) -> None:
    beat = tmp_path / "beat"
    thread, found = bench.began(
        f"echo x >> {tmp_path}/tries; touch {beat}; while ! test -e {tmp_path}/go; do sleep 0.1; done; echo METRIC loss=2"
    )
    assert eventually(beat.exists, within_s=SLOW)
    node = cluster.asked("squeue", "-h", "-j", job_of(bench), "-o", "%N")
    for name in (node, "slurmctld"):
        cluster.kill(name)
    (tmp_path / "go").touch()
    thread.join(SLOW)
    cluster.start_controller()
    cluster.start_node(node)
    assert [(m.status, m.value) for m in found] == [("ok", 2.0)]
    assert (tmp_path / "tries").read_text() == "x\n"
    cluster.get_ready()


def test_a_run_waits_for_a_controller_that_is_away(bench: Bench, cluster: Cluster, tmp_path: Path) -> None:
    cluster.kill("slurmctld")
    thread, found = bench.began(f"echo x >> {tmp_path}/tries; echo METRIC loss=1")
    thread.join(3)
    assert not found
    cluster.start_controller()
    thread.join(SLOW)
    cluster.get_ready()
    assert [(m.status, m.value) for m in found] == [("ok", 1.0)]
    assert (tmp_path / "tries").read_text() == "x\n"


# -- taken up again --------------------------------------------------------------------------------------


def run_of(number: int) -> Run:
    return Run(number, 0, f"tree-{number}", "c", 0, 4711, "d")


def test_a_run_of_a_program_that_is_gone_is_found_by_its_name(bench: Bench, tmp_path: Path) -> None:
    wait = f"echo x >> {tmp_path}/tries; while ! test -e {tmp_path}/go; do sleep 0.1; done; echo METRIC loss=2"
    thread, found = bench.began(wait)
    assert eventually((tmp_path / "tries").exists, within_s=SLOW)
    later = OnSlurm(bench.home, bench.study, lambda *_: None, print, FAST)
    try:
        assert later.attach(run_of(4), bench.study) is None
        again = later.attach(run_of(3), bench.study)
        assert again is not None
        (tmp_path / "go").touch()
        thread.join(SLOW)
        third = OnSlurm(bench.home, bench.study, lambda *_: None, print, FAST)
        came_back = third.attach(run_of(3), bench.study)
        third.close()
        assert came_back is not None
        assert came_back() == found[0]
        assert found[0].value == 2.0
        assert (tmp_path / "tries").read_text() == "x\n"
    finally:
        later.close()


def test_two_studies_of_one_name_do_not_meet(bench: Bench, tmp_path: Path) -> None:
    other = made(tmp_path / "other")
    try:
        thread, found = bench.began(f"while ! test -e {tmp_path}/go; do sleep 0.1; done; echo METRIC loss=1")
        assert eventually(lambda: 3 in going_of(bench) and job_of(bench) != "", within_s=SLOW)
        assert other.executor.attach(run_of(3), other.study) is None
        assert other.run("echo METRIC loss=5").value == 5.0
        (tmp_path / "go").touch()
        thread.join(SLOW)
        assert [m.value for m in found] == [1.0]
    finally:
        other.executor.close()


@pytest.mark.usefixtures("cluster")
def test_a_study_whose_program_is_killed_goes_on_with_the_run_that_its_job_did(tmp_path: Path) -> None:
    wait = f"echo $AUTORESEARCH_RUN >> {tmp_path}/runs; while ! test -e {tmp_path}/go; do sleep 0.1; done; echo METRIC loss=9"
    execute = {"on": "slurm", "cores": 1, "workers": 1}
    folder = make_study(tmp_path / "study", step(wait), says(11), execute=execute)
    program = subprocess.Popen([PYTHON, "-m", "autoresearch", "run"], cwd=folder, stdout=subprocess.DEVNULL)
    assert eventually((tmp_path / "runs").exists, within_s=SLOW)
    program.send_signal(signal.SIGKILL)
    program.wait()
    (number,) = state_of(folder).open_runs
    with session.opened(folder, Goal(), Recorder()):
        pass  # as `certify` does: it is about something else
    assert list(state_of(folder).open_runs) == [number]
    (tmp_path / "go").touch()
    recorder = Recorder()
    state = session.run(folder, Goal(), recorder)
    assert words(state) == ["keep", "discard"], recorder.said
    assert "1 run went on meanwhile, and will count" in recorder.said
    measured = state.runs[number].measurement
    assert measured is not None
    assert (measured.status, measured.value) == ("ok", 9.0)
    done = (tmp_path / "runs").read_text().split()
    assert len(done) == len(set(done)), "a run was done twice"
    ended = Counter(event.run for event in recorder.events if isinstance(event, RunFinished))
    assert set(ended.values()) == {1}


# -- what cannot be --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("cluster")
def test_a_partition_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"invalid partition specified.*set execute.partition"):
        made(tmp_path / "home", partition="nowhere")


def test_a_run_that_would_wait_for_ever_is_told(cluster: Cluster, tmp_path: Path) -> None:
    bench = made(tmp_path / "home", partition="short")
    try:
        with pytest.raises(StudyError, match=r"never start a run \(PartitionTimeLimit\)"):
            bench.run("echo METRIC loss=1", timeout_s=3600.0)
        assert eventually(lambda: not cluster.asked("squeue", "-h", "-p", "short"), within_s=20)
    finally:
        bench.executor.close()


def test_a_node_of_another_kind_gives_the_run_back_with_the_remedy(bench: Bench) -> None:
    executor = bench.executor
    assert isinstance(executor, OnSlurm)
    (known,) = executor.folder.glob("machine-*.json")
    known.write_text(known.read_text().replace('"tier":"', '"tier":"another '))
    bench.executor.close()
    bench.executor = on_slurm(bench.home, bench.study, lambda *_: None)
    with pytest.raises(StudyError, match=r"on node n\d: it is another kind of machine .* execute.constraint"):
        bench.run("echo METRIC loss=1")


# -- as docs/scale.md has it -----------------------------------------------------------------------------


def test_the_recipe_does_what_it_says(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install, make, go, *rest = recipe("A Slurm cluster", {"gpt": "toy"})
    cards = 'case "$1" in -L) echo "GPU 0: Card (UUID: GPU-0)";; --query-gpu=name) echo Card;; *) exit 9;; esac\n'
    (tmp_path / "smi").mkdir()
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path / "smi", cards))
    cluster.grow()
    folder = type_in(tmp_path, install, make, go)
    configure(folder, settings("A Slurm cluster"), trials=1)
    type_in(folder, *rest)
    state = state_of(folder)
    assert len(words(state)) == 1
    assert state.tier == "Card, 8 cores"
    events = log.decode(session.journal(folder).read_bytes())
    assert [event.workers for event in events if isinstance(event, SessionStarted)] == [8]
