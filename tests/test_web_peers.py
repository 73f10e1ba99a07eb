"""What the live page is told of a swarm: what the receipts say, bounded, without a lock, and nothing where there is none."""

import fcntl
import json
import os
import subprocess
from pathlib import Path

import pytest
from asking import ask
from helpers import PYTHON, make_study
from swarms import Crowd, joined, night

from autoresearch.errors import StudyError
from autoresearch.share.board import fold
from autoresearch.share.receipt import Finding
from autoresearch.share.tables import findings, tables
from autoresearch.web import peers
from autoresearch.web.peers import Peers
from autoresearch.workspace import HOME

pytest.importorskip("starlette", reason="the extra `web` is not installed")
pytest.importorskip("uvicorn", reason="the extra `web` is not installed")

from autoresearch.web import serve


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "EVERY_S", 0.0)
    monkeypatch.setattr(peers, "SHARE", 0)


def test_the_page_tells_what_the_receipts_say(tmp_path: Path) -> None:
    crowd = night()
    joined(tmp_path, crowd)
    said = json.loads(Peers(tmp_path).told() or b"")
    found = tables(crowd.swarm(), crowd.book.digest())
    assert (said["n_peers"], said["runs"]) == (35, found.runs)
    assert sorted((one["runs"], one["claims"], one["held"], one["refuted"]) for one in said["peers"]) == sorted(
        (peer.runs, peer.findings, peer.replicated, peer.refuted) for peer in found.peers
    )
    assert [(one["tier"], one["budget"]) for one in said["boards"]] == [
        (tier, "100 steps") for tier in ("large", "medium", "small")
    ]
    values = [[row["value"] for row in board["rows"]] for board in said["boards"]]
    assert values == [[row.value for row in board.rows] for board in found.boards]
    words = {one["idea"].partition(" ")[0]: one["word"] for one in said["findings"]}
    assert words == {"scale": "holds", "a": "holds", "no": "refuted", "RMSNorm": "holds"}
    rate = next(one for one in said["carried"] if one["idea"].startswith("a learning rate"))
    large, _, small = rate["cells"]
    assert large[0] > 0
    assert small[2] < 0
    assert len(said["map"]["steps"]) == len(found.adoptions)


def test_what_is_written_is_seen_and_neither_waited_for_nor_changed(tmp_path: Path) -> None:
    crowd = night()
    path = joined(tmp_path, crowd)
    reader = Peers(tmp_path)
    before, mark = path.read_bytes(), reader.mark()
    with path.open("ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)  # as a study that is just writing
        assert json.loads(reader.told() or b"")["mark"] == mark
        crowd.say(5, "f" * 8, 0.1)
        line = crowd.lines()[-1]
        writer.write(line[:40])
        writer.flush()
        assert json.loads(reader.told() or b"")["n_findings"] == 4, "half a line is none"
        writer.write(line[40:])
        writer.flush()
        assert reader.mark() != mark
        assert json.loads(reader.told() or b"")["n_findings"] == 5
    assert path.read_bytes() == before + line
    path.unlink()  # left, and joined as somebody new
    assert json.loads(reader.told() or b"")["n_peers"] == 0
    joined(tmp_path, Crowd(["small"] * 2))
    assert json.loads(reader.told() or b"")["n_peers"] == 2
    assert list(tmp_path.iterdir()) == [path.parent]


def test_damaged_receipts_are_said_and_read_once(tmp_path: Path) -> None:
    path = joined(tmp_path, Crowd(["small"]))
    whole, reader = path.read_bytes(), Peers(tmp_path)
    assert reader.told()
    with path.open("ab") as file:
        file.write(b"no receipt\n")
    before = len(os.listdir("/proc/self/fd"))
    for one in (reader, reader, *(Peers(tmp_path) for _ in range(5))):
        with pytest.raises(StudyError, match="a line is damaged"):
            one.told()
    assert len(os.listdir("/proc/self/fd")) <= before, "nothing is left open"
    path.write_bytes(whole)
    assert json.loads(reader.told() or b"")["n_peers"] == 1


def test_a_large_swarm_is_cut_and_the_rest_counted() -> None:
    crowd = Crowd([f"tier {number % 60}" for number in range(300)])
    for number in range(300):
        crowd.say(number, f"{number:08x}", 0.1, idea="x" * 500)
    said = peers.page(crowd.swarm(), "d")
    assert (said["n_peers"], len(said["peers"])) == (300, peers.MOST_PEERS)
    assert (said["n_boards"], len(said["boards"])) == (60, peers.MOST_BOARDS)
    assert (said["n_findings"], len(said["findings"])) == (300, peers.MOST_FINDINGS)
    assert all(len(one["idea"]) == peers.IDEA for one in said["findings"])
    assert said["map"].peers == 300 - 80


def test_where_there_is_no_swarm_there_is_nothing_of_it(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study")
    with serve.serving(folder, 0) as page:
        assert ask(page, "/api/study")[2]["pulse"]["peers"] == ""
        assert ask(page, "/api/peers")[0] == 404
        joined(folder / HOME, Crowd(["small"]))
        assert ask(page, "/api/study")[2]["pulse"]["peers"] == ask(page, "/api/peers")[2]["mark"]
        assert ask(page, "/api/peers", sec_fetch_site="cross-site")[0] == 403


def test_without_the_extra_the_page_is_as_without_a_swarm(tmp_path: Path) -> None:
    joined(tmp_path, Crowd(["small"]))
    code = (
        "import sys\nfrom pathlib import Path\nsys.modules['rfc8785'] = None\nfrom autoresearch.web.peers import Peers\n"
        f"found = Peers(Path({str(tmp_path)!r}))\nassert found.mark() == ''\nassert found.told() is None\n"
    )
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_finding_that_is_unknown_here_breaks_nothing() -> None:
    """Receipts come in any order: a replication may be known before what it is about."""
    crowd = night()
    entries = [one for one in crowd.book.entries.values() if not _is_claim(one.receipt.body)]
    said = peers.page(fold(entries), "d")
    assert said["n_findings"] == len(findings(fold(entries))) == 0
    assert said["map"].steps == ()


def _is_claim(body: object) -> bool:
    return isinstance(body, Finding) and body.word == "keep" and not body.about
