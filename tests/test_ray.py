"""
Runs on Ray: the contract of executors, lost workers and nodes, and a whole study, on a cluster of several raylets.

Needs the extra `ray` (about 260 MB), which `make test` does not install. On a quiet machine of two cores it takes about
a minute, most of it the cluster's own start.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import executors
import pytest
from executors import BEATS, Bench, Contract, stands_still
from helpers import Recorder, eventually, make_study, says, words

from autoresearch import session
from autoresearch.errors import StudyError
from autoresearch.events import RunFinished
from autoresearch.execute import Executor, OnProgress
from autoresearch.session import Goal
from autoresearch.study import Study

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

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

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "object_store_memory": SMALL, "include_dashboard": False, "include_log_monitor": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes: dict[str, Any] = {}

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
    return OnRay(home, study, on_progress, print)


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
