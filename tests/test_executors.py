"""The contract of executors, held by each of them."""

import contextlib
import importlib.util
import io
import os
import re
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from executors import Bench, Contract
from helpers import contract, make_study, play, toml, write
from hypothesis import given
from hypothesis import strategies as st

from autoresearch.errors import AutoresearchError, MissingExtra, Stopped, StudyError
from autoresearch.execute import Executor, OnProgress, nodes
from autoresearch.execute.far import Job, Share, look, measure
from autoresearch.execute.local import Local
from autoresearch.execute.machine import Slot
from autoresearch.execute.parcel import Parcel, pack, unpack
from autoresearch.execute.sandbox import NONE
from autoresearch.study import Study, parse
from autoresearch.trial import Machine, Run


def local(home: Path, _: Study, on_progress: OnProgress) -> Executor:
    return Local(home, [Slot()], NONE, on_progress)


class TestLocal(Contract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[Bench]:
        made = Bench(tmp_path / "home", local)
        yield made
        made.executor.close()


# -- what travels ----------------------------------------------------------------------------------------


@given(st.dictionaries(st.from_regex(r"[a-z]{1,6}(/[a-z]{1,6}){0,2}", fullmatch=True), st.binary(max_size=50)))
def test_a_folder_arrives_as_it_was_packed(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        before, after = Path(name, "before"), Path(name, "after")
        before.mkdir()
        kept = {}
        for path, content in files.items():
            with contextlib.suppress(OSError):  # a name that is a folder already
                (before / path).parent.mkdir(parents=True, exist_ok=True)
                (before / path).write_bytes(content)
                kept[path] = content
        unpack(pack(before).data, after)
        assert {p.relative_to(after).as_posix(): p.read_bytes() for p in after.rglob("*") if p.is_file()} == kept
        assert pack(after).key == pack(before).key


def test_what_a_candidate_left_is_packed_without_links_and_within_a_bound(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "out" / "pipe")
    (tmp_path / "out" / "plain").write_text("x" * 100)
    os.link(tmp_path / "out" / "plain", tmp_path / "out" / "twice")
    unpack(pack(tmp_path / "out").data, tmp_path / "back")
    back = {path.name: path.read_text() for path in (tmp_path / "back").iterdir()}
    assert back == {"plain": "x" * 100, "twice": "x" * 100}
    assert pack(tmp_path / "out", most=99) == Parcel(b"", left_out=200)


def test_a_parcel_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to("/etc")
    data = pack(tmp_path / "in", links=True).data
    with pytest.raises(tarfile.TarError):
        unpack(data, tmp_path / "back")


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/../../out", "link/out"])
@pytest.mark.parametrize("trusted", [False, True])
def test_no_name_in_a_parcel_leads_out_of_its_folder(tmp_path: Path, name: str, trusted: bool) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    back = tmp_path / "back"
    back.mkdir()
    (back / "link").symlink_to(tmp_path)
    with pytest.raises(tarfile.TarError, match="leads out of its folder"):
        unpack(packed.getvalue(), back, trusted)


def test_a_run_far_away_is_fed_with_parcels_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "far"))
    (tmp_path / "far").mkdir()
    files = {"tree/sub/step.sh": "cat a; echo PROGRESS 1 loss=2; sleep 0.2", "tree/sub/a": "METRIC loss=0\n"}
    files["referee/sub/score.sh"] = 'cat "$AUTORESEARCH_TREE/a"; echo METRIC data=$(cat "$AUTORESEARCH_HELD/n")'
    files["referee/sub/prepare.sh"] = 'echo 5 > "$AUTORESEARCH_HELD/n"'
    write(tmp_path, files)
    parcels = {p.key: p.data for p in (pack(tmp_path / "tree"), pack(tmp_path / "referee"))}
    tree, referee = parcels
    commands = {"run": "sh step.sh", "score": "sh score.sh", "prepare": "sh prepare.sh"}
    study = parse(toml(contract(measure=commands)))
    job = Job(study, Run(3, 0, "t", "c", 0, 4711, "d"), Share(1), "s", tree, referee, "sub", "data", {"PASSED": "on"})
    fetched: list[str] = []
    said: list[tuple[float, float | None]] = []

    def fetch(key: str) -> bytes:
        fetched.append(key)
        return parcels[key]

    for _ in range(2):
        back = measure(job, fetch, lambda fraction, loss: said.append((fraction, loss)))
        assert back.problem == ""
        assert back.measurement is not None
        assert (back.measurement.value, back.measurement.extras) == (0.0, {"data": 5.0})
        assert back.measurement.machine == look(Share(1)).machine
    assert fetched == [tree, referee]
    assert said[0] == (1.0, 2.0)
    assert "PASSED" not in os.environ
    (root,) = (tmp_path / "far").glob("autoresearch-*/s")
    assert list((root / "runs").iterdir()) == []


@pytest.mark.parametrize(("place", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_cluster_s_package_that_is_not_installed_is_named(tmp_path: Path, place: str, package: str) -> None:
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    folder = make_study(tmp_path / "s", execute={"on": place, "cores": 1})
    with pytest.raises(MissingExtra, match=rf"autoresearch\[{place}\]"):
        play(folder)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('on = "rey"', "did you mean 'ray'"),
        ('address = "auto"', 'address is for a cluster: write on = "ray"'),
        ("gpus = 1", 'gpus is for a cluster: write on = "ray" or on = "slurm"'),
        ('on = "slurm"\naddress = "auto"', 'address is for a cluster: write on = "ray"'),
        ('on = "ray"\npartition = "gpu"', 'partition is for a cluster: write on = "slurm"'),
        ('on = "slurm"', "cores is missing: say how many cores each run asks Slurm for"),
        ('on = "slurm"\ncores = 1\npartition = "a b"', "partition 'a b' is no name of Slurm's"),
        ('on = "slurm"\ncores = 1\ngpus = 0.5', "gpus = 0.5: Slurm gives whole GPUs"),
        ('on = "slurm"\ncores = 1\naccelerator = "h100"', "say with gpus how many"),
        ('on = "ray"\ngpus = 1.5', "gpus = 1.5 must be a part of one GPU, or whole ones"),
        ('on = "ray"\ngpus = 0', "gpus must be positive"),
    ],
)
def test_a_wrong_place_is_explained(line: str, says: str) -> None:
    with pytest.raises(StudyError, match=re.escape(says)):
        parse(f'name = "s"\nasset = ["x"]\n[metric]\nname = "m"\n[measure]\nrun = "x"\n[execute]\n{line}\n')


@pytest.mark.parametrize(("tier", "error"), [("", AutoresearchError), ("another kind", Stopped)])
def test_only_without_nodes_of_its_own_kind_does_a_study_on_ray_end(
    monkeypatch: pytest.MonkeyPatch, tier: str, error: type[Exception]
) -> None:
    monkeypatch.setattr(nodes, "NO_NODE_S", 0.0)
    empty = nodes.Nodes.__new__(nodes.Nodes)  # of a cluster, with nothing of Ray
    vars(empty).update(_problem=None, _placing=threading.Lock(), _found=[], _sights={}, machine=Machine("our kind", 1))
    told = pytest.raises(AutoresearchError, match=f"no node left of the kind {tier or 'our kind'}")
    with told as raised, empty.place(tier, set(), lambda: None):
        pass
    assert type(raised.value) is error
