"""
Runs on Ray: the contract of executors, lost workers and nodes, and a whole study, on a cluster of several raylets.

Needs the extra `ray` (about 260 MB), which `make test` does not install. On a quiet machine of two cores it takes about
two minutes, most of it starts of clusters and Ray's own waiting for what is gone.
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import executors
import pytest
from asking import nvidia_smi
from executors import BEATS, Bench, Contract, stands_still
from far_nodes import Far, has_networks
from helpers import Recorder, eventually, make_study, says, state_of, step, words
from recipes import configure, recipe, settings, type_in

from autoresearch import log, session
from autoresearch.errors import StudyError
from autoresearch.events import RunFinished, SessionStarted
from autoresearch.execute import Executor, OnProgress
from autoresearch.session import Goal
from autoresearch.study import Study

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

from autoresearch.execute import steward  # noqa: E402
from autoresearch.execute.ray import OnRay  # noqa: E402 - it sets what Ray reads when it is imported first

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves sockets and processes to the collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # the same, said by pytest
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]
SMALL = 100 << 20  # bytes of shared memory for each raylet
SLOW = 120.0  # seconds that a cluster on a loaded machine may take for what mostly takes one
# The Ray worker of a run: above the keeper and the nursery.
KILL_THE_WORKER = """
parent() { sed 's/.*) . //; s/ .*//' /proc/$1/stat; }
kill -9 $(parent $(parent $PPID)); exec sleep 60
"""


class Raylets:
    """A cluster on this machine: a head without cores, and nodes with one each."""

    def __init__(self, **more: Any) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "object_store_memory": SMALL, "include_dashboard": False, "include_log_monitor": False}
        head |= more
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes: dict[str, Any] = {}

    def stop(self) -> None:
        for node in [self.cluster.head_node, *self.cluster.worker_nodes]:
            node.kill_all_processes(check_alive=False, allow_graceful=False)

    def grow(self, to: int) -> None:
        while len(self.nodes) < to:
            node = self.cluster.add_node(num_cpus=1, object_store_memory=SMALL)
            self.nodes[node.node_id] = node

    def kill(self, node: str) -> None:
        self.cluster.remove_node(self.nodes.pop(node), allow_graceful=False)


@pytest.fixture(scope="module")
def raylets() -> Iterator[Raylets]:
    with tempfile.TemporaryDirectory(prefix="far-") as far:
        before = {name: os.environ.get(name) for name in ("TMPDIR", "RAY_TMPDIR")}
        os.environ |= {"TMPDIR": far, "RAY_TMPDIR": tempfile.gettempdir()}  # what runs leave there; sockets elsewhere
        try:
            made = Raylets()
        except Exception as error:  # plain in Ray's code, as is its limit of 30 s
            if "timed out during startup" not in str(error):
                raise
            pytest.skip("this machine is too busy: no raylet started within Ray's 30 s")
        try:
            ray.cloudpickle.register_pickle_by_value(executors)  # no worker could import it
            ray.init(address=made.cluster.address, log_to_driver=False)
            yield made
        finally:
            ray.shutdown()
            made.cluster.shutdown()
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def on_ray(home: Path, study: Study, on_progress: OnProgress) -> Executor:
    return OnRay(home, study, on_progress)


@pytest.fixture
def bench(raylets: Raylets, tmp_path: Path) -> Iterator[Bench]:
    raylets.grow(to=2)
    made = Bench(tmp_path / "home", on_ray, execute={"on": "ray", "cores": 1})
    yield made
    made.executor.close()


class TestOnRay(Contract):
    pass


def test_a_run_whose_raylet_is_killed_is_done_once_more_elsewhere(
    bench: Bench, raylets: Raylets, tmp_path: Path
) -> None:
    executor, beat = bench.executor, tmp_path / "beat"
    assert isinstance(executor, OnRay)
    assert executor.room == 2
    once = f"echo x >> {tmp_path}/tries; test -e {beat} && echo METRIC loss=2 && exit; {BEATS.format(beat=beat)}"
    thread, found = bench.began(once)
    assert eventually(beat.exists, within_s=SLOW)
    (busy,) = [node for node, runs in executor._nodes.busy.items() if runs]
    raylets.kill(busy)
    thread.join(SLOW)
    assert [(m.status, m.value) for m in found] == [("ok", 2.0)]
    assert (tmp_path / "tries").read_text() == "x\nx\n"
    assert eventually(lambda: stands_still(beat), within_s=SLOW)
    assert not +executor._nodes.busy


def test_a_run_that_is_lost_twice_blames_nobody(bench: Bench, tmp_path: Path) -> None:
    found = bench.run(f"echo x >> {tmp_path}/tries; {KILL_THE_WORKER}")
    assert (found.status, found.value) == ("stopped", None)
    assert found.why.startswith("its node was lost, 2 times")
    assert (tmp_path / "tries").read_text() == "x\nx\n"


def test_data_is_prepared_once_on_each_node_and_a_failure_is_told(bench: Bench, tmp_path: Path) -> None:
    bench.frozen("prepare.sh", f'echo x >> {tmp_path}/times; echo 5 > "$AUTORESEARCH_DATA/five"')
    script, prepare = 'echo METRIC loss=$(cat "$AUTORESEARCH_DATA/five")', "sh prepare.sh"
    assert [bench.run(script, number, prepare=prepare).value for number in (3, 4)] == [5.0, 5.0]
    assert (tmp_path / "times").read_text() == "x\n"  # the nodes of this cluster share a disk
    with pytest.raises(StudyError, match=r"on node .*measure.prepare \(sh no.sh\) failed"):
        bench.run(script, prepare="sh no.sh", data="other")


def test_artifacts_that_are_too_large_stay_where_they_are_and_it_is_said(bench: Bench) -> None:
    found = bench.run('truncate -s 100M "$AUTORESEARCH_OUT/model"; echo METRIC loss=1')
    assert found.status == "ok"
    assert (
        "105 MB" in (bench.out() / "left-out.txt").read_text() or "100 MB" in (bench.out() / "left-out.txt").read_text()
    )


def test_a_sandbox_that_nodes_lack_is_told(raylets: Raylets, tmp_path: Path) -> None:
    raylets.grow(to=1)
    bench = Bench(tmp_path / "home", on_ray, execute={"on": "ray", "sandbox": "docker"})
    try:
        with pytest.raises(StudyError, match=r"on node .*docker"):
            bench.executor.tried()
    finally:
        bench.executor.close()


def test_an_accelerator_that_no_node_has_is_told(raylets: Raylets, tmp_path: Path) -> None:
    raylets.grow(to=1)
    with pytest.raises(StudyError, match="no node of the Ray cluster has them"):
        Bench(tmp_path / "home", on_ray, execute={"on": "ray", "accelerator": "H100"})


def test_an_address_for_ray_s_client_is_refused_with_one_that_works(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r'"auto" on a machine of the cluster, or HOST:6379'):
        Bench(tmp_path / "home", on_ray, execute={"on": "ray", "address": "ray://127.0.0.1:10001"})


def test_a_whole_study_runs_on_ray(raylets: Raylets, tmp_path: Path) -> None:
    raylets.grow(to=2)
    steps = [says(value) for value in (9, 11, 8)]
    folder = make_study(tmp_path / "study", *steps, execute={"on": "ray", "cores": 1, "workers": 1})
    recorder = Recorder()
    state = session.run(folder, Goal(), recorder)
    assert words(state) == ["keep", "discard", "keep"], recorder.said
    best = state.trials[state.kept[-1]]
    assert best.verdict is not None
    assert best.verdict.value == 8.0
    assert all(run.measurement is not None and run.measurement.status == "ok" for run in state.runs.values())
    ended = Counter(event.run for event in recorder.events if isinstance(event, RunFinished))
    assert set(ended) == set(state.runs)
    assert set(ended.values()) == {1}


# -- the program, the cluster's head and the network end -----------------------------------------------

SESSION = """
import sys
from autoresearch.execute import cluster
cluster.GONE_S = 4.0  # of a head that is away
from autoresearch.cli import main
sys.argv = ["autoresearch", "run"]
main()
"""
LASTING = {"on": "ray", "cores": 1, "workers": 1, "address": "auto"}
# Says that it has begun, goes on until it may end, and says how far it is then.
HOLDS = """echo $AUTORESEARCH_RUN >> {place}/begun
until test -e {place}/end; do date +%s%N > {place}/beat.part; mv {place}/beat.part {place}/beat; sleep 0.05; done
echo PROGRESS 0.5 loss=3; sleep 0.3; echo METRIC loss=9
"""


def program(folder: Path, address: str) -> subprocess.Popen[str]:
    """`autoresearch run` in a process of its own, on the cluster with this address."""
    env = os.environ | {"RAY_ADDRESS": address}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([sys.executable, "-c", SESSION], cwd=folder, env=env, text=True, **pipes)  # type: ignore[call-overload, no-any-return]


def ended(begun: subprocess.Popen[str]) -> str:
    """What a program said, which is killed."""
    begun.kill()
    return begun.communicate()[0]


def holding_study(tmp_path: Path) -> Path:
    """A study whose second run goes on until the file `end` is there."""
    held = step(HOLDS.format(place=tmp_path))
    return make_study(tmp_path / "study", held, says(8), execute=LASTING)


def leave_a_run(folder: Path, raylets: Raylets, place: Path) -> None:
    """Kill the program in the middle of its second run."""
    begun = program(folder, raylets.cluster.address)
    assert eventually((place / "beat").exists, within_s=SLOW), ended(begun)
    ended(begun)
    assert list(state_of(folder).open_runs) == [1]


def stewards() -> list[Any]:
    return [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]


def test_a_run_outlives_the_program_that_was_killed_and_counts_once(
    raylets: Raylets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raylets.grow(to=2)
    folder = holding_study(tmp_path)
    leave_a_run(folder, raylets, tmp_path)
    assert not stands_still(tmp_path / "beat")
    recorder = Recorder()
    monkeypatch.setenv("RAY_ADDRESS", raylets.cluster.address)
    threading.Timer(1.0, (tmp_path / "end").touch).start()
    state = session.run(folder, Goal(), recorder)
    assert words(state) == ["keep", "keep"]
    assert "1 run went on meanwhile, and will count" in recorder.said
    assert (0.5, 3.0) in recorder.points
    assert (tmp_path / "begun").read_text() == "1\n", "it was done once"
    assert (kept := state.runs[1].measurement) is not None
    assert (kept.status, kept.value) == ("ok", 9.0)
    finished = [event.run for event in recorder.events if isinstance(event, RunFinished)]
    assert sorted(finished) == sorted(set(state.runs) - {0})
    assert eventually(lambda: not stewards(), within_s=SLOW), "nothing of ours stays on the cluster"


def test_a_result_waits_for_the_next_program(raylets: Raylets, tmp_path: Path) -> None:
    raylets.grow(to=2)
    folder = holding_study(tmp_path)
    leave_a_run(folder, raylets, tmp_path)
    with session.opened(folder, Goal(), Recorder()):
        pass  # as `certify` does: it is about something else
    assert not stands_still(tmp_path / "beat")
    assert list(state_of(folder).open_runs) == [1]
    (tmp_path / "end").touch()
    assert eventually(lambda: stands_still(tmp_path / "beat"), within_s=SLOW)
    threading.Event().wait(1)
    state = session.run(folder, Goal(), Recorder())
    assert (found := state.runs[1].measurement) is not None
    assert (found.status, found.value, found.curve) == ("ok", 9.0, ((0.5, 3.0),))
    assert (folder / ".autoresearch/runs/1/run.out.txt").read_text().endswith("METRIC loss=9\n")
    assert (tmp_path / "begun").read_text() == "1\n"
    assert words(state) == ["keep", "keep"]


def test_what_an_earlier_program_left_and_nobody_needs_is_ended(raylets: Raylets, tmp_path: Path) -> None:
    raylets.grow(to=2)
    folder = holding_study(tmp_path)
    leave_a_run(folder, raylets, tmp_path)
    bench = Bench(folder / ".autoresearch", on_ray, execute=LASTING)
    assert bench.run("echo METRIC loss=1", number=7).value == 1.0
    assert eventually(lambda: stands_still(tmp_path / "beat"), within_s=SLOW)
    bench.executor.close()
    assert eventually(lambda: not stewards(), within_s=SLOW)


def test_what_nobody_comes_for_ends_by_itself(
    raylets: Raylets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raylets.grow(to=1)
    monkeypatch.setattr(steward, "KEPT_S", 4.0)
    bench, beat = Bench(tmp_path / "home", on_ray, execute=LASTING), tmp_path / "beat"
    assert isinstance(bench.executor, OnRay)
    thread, found = bench.began(BEATS.format(beat=beat))
    assert eventually(beat.exists, within_s=SLOW)
    bench.executor._closed.set()  # it asks no more
    assert eventually(lambda: stands_still(beat), within_s=SLOW)
    bench.executor.close()
    thread.join(SLOW)
    assert [m.status for m in found] == ["stopped"]


def test_each_folder_has_a_steward_of_its_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first = steward.called(tmp_path / "one", "s")
    shutil.copy(tmp_path / "one" / "cluster-id", tmp_path / "two")
    assert len({first, steward.called(tmp_path / "two", "s"), steward.called(tmp_path / "one", "t")}) == 3
    assert steward.called(tmp_path / "one", "s") == first


def test_without_the_cluster_s_head_a_session_ends_and_goes_on_with_another(tmp_path: Path) -> None:
    folder = holding_study(tmp_path)
    for last in (False, True):
        made = Raylets(num_cpus=1)
        try:
            begun = program(folder, made.cluster.address)
            assert eventually((tmp_path / "beat").exists, within_s=SLOW), ended(begun)
            if not last:
                gcs = made.cluster.head_node.all_processes["gcs_server"][0].process
                gcs.kill()
            said, _ = begun.communicate(timeout=SLOW)
        finally:
            made.stop()
        if not last:
            assert "the head of the Ray cluster at" in said
            assert "type `autoresearch run` to go on" in said
            assert begun.returncode == 2
            assert [run.value for run in state_of(folder).runs.values()] == [10.0, None]
            (tmp_path / "end").touch()
    assert begun.returncode == 0, said
    state = state_of(folder)
    assert words(state) == ["keep", "keep"]
    assert [run.measurement.status for run in state.runs.values() if run.measurement] == ["ok", "stopped", "ok", "ok"]


def twice(lines: Path) -> Counter[str]:
    """How often each run was begun."""
    return Counter(line.split()[0] for line in lines.read_text().splitlines())


# Where it runs is told by its network. Behind the cable it goes on until its result is late; at home until the cut.
CUT = """net=$(readlink /proc/self/ns/net); echo $AUTORESEARCH_RUN $net >> {place}/begun
if test $net = {home}; then until test -e {place}/cut; do sleep 0.05; done; echo METRIC loss=9.5; exit; fi
until test -e {place}/back; do date +%s%N > {place}/beat.part; mv {place}/beat.part {place}/beat; sleep 0.05; done
echo METRIC loss=9
"""


@pytest.mark.skipif(not has_networks(), reason="network namespaces need root, and a kernel that has them")
def test_a_run_behind_a_cut_network_is_done_once_more_and_its_late_result_does_not_count(tmp_path: Path) -> None:
    home = os.readlink("/proc/self/ns/net")
    cut = [step(CUT.format(place=tmp_path, home=home) + f"# {i}\n") for i in range(2)]
    folder = make_study(tmp_path / "study", *cut, execute=LASTING | {"workers": 2})
    quick = {"initial_delay_ms": 1000, "period_ms": 1000, "timeout_ms": 1000, "failure_threshold": 3}
    near = Raylets(num_cpus=1, _system_config={f"health_check_{name}": value for name, value in quick.items()})
    far = None
    try:
        far = Far(near.cluster.address, tmp_path)
        assert eventually(lambda: "--block" in (tmp_path / "far.txt").read_text(), within_s=SLOW)
        begun = program(folder, near.cluster.address)
        assert eventually((tmp_path / "beat").exists, within_s=SLOW), ended(begun)
        far.cut()
        (tmp_path / "cut").touch()
        lines = tmp_path / "begun"
        assert eventually(lambda: 2 in twice(lines).values(), within_s=SLOW), lines.read_text()
        assert not stands_still(tmp_path / "beat")
        (tmp_path / "back").touch()
        far.mend()
        said, _ = begun.communicate(timeout=SLOW)
    finally:
        if far:
            far.close()
        near.stop()
    assert begun.returncode == 0, said
    state = state_of(folder)
    assert {run.value for run in state.runs.values()} == {10.0, 9.5}, "the late 9 does not count"
    ((again, _),) = (found for found in twice(lines).items() if found[1] > 1)
    places = [where for run, where in map(str.split, lines.read_text().splitlines()) if run == again]
    assert places[0] != home
    assert places[1:] == [home]
    assert all(trial.verdict for trial in state.trials.values())
    assert not state.open_runs


# -- as docs/scale.md has it -----------------------------------------------------------------------------


def raylet(place: Path, *typed: str) -> subprocess.Popen[bytes]:
    """What starts Ray on a machine: it stays until it is ended, and says in `place` how it is to be joined."""
    words = [f"{Path(sys.executable).parent / typed[0]}", *typed[1:], "--block", "--include-log-monitor=false"]
    words += ["--num-cpus=4", "--num-gpus=1", f"--object-store-memory={SMALL}"]  # as many as the recipe asks for
    with place.open("w") as said:
        return subprocess.Popen(words, stdout=said, stderr=said)


def test_the_recipe_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install, head, join, *rest = recipe("A Ray cluster", {})
    cards = 'case "$1" in -L) echo "GPU 0: Card (UUID: GPU-0)";; --query-gpu=name) echo Card;; *) exit 9;; esac\n'
    (tmp_path / "smi").mkdir()
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path / "smi", cards))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # as the page says, so that nobody else can run anything there
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    folder = type_in(tmp_path, install, ["autoresearch", "init", "night", "--template", "toy"], ["cd", "night"])
    configure(folder, settings("A Ray cluster"), trials=2)
    begun = []
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    try:
        begun.append(raylet(tmp_path / "head.txt", *head, f"--port={port}", "--include-dashboard=false"))
        assert eventually(lambda: "--block" in (tmp_path / "head.txt").read_text(), within_s=SLOW)
        (at,) = re.findall(r"ray start --address='(\S+)'", (tmp_path / "head.txt").read_text())
        begun.append(raylet(tmp_path / "node.txt", *[word.replace("HOST:6379", at) for word in join]))
        assert eventually(lambda: "--block" in (tmp_path / "node.txt").read_text(), within_s=SLOW)
        monkeypatch.setenv("RAY_ADDRESS", at)  # there may be other clusters on this machine
        type_in(folder, *rest)
    finally:
        for node in reversed(begun):
            node.terminate()
            node.wait(SLOW)
    state = state_of(folder)
    assert len(words(state)) == 2
    assert state.tier == "Card, 4 cores"
    events = log.decode(session.journal(folder).read_bytes())
    assert [event.workers for event in events if isinstance(event, SessionStarted)] == [2]
