"""The live page's server: who may ask for what, what a reader gets, and that it costs no more for having readers."""

import http.client
import itertools
import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asking import ask, nvidia_smi, wish
from click.testing import CliRunner
from helpers import History, eventually, histories, make_study, play, says, started, state_of, step
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch.cli import main
from autoresearch.inbox import Inbox
from autoresearch.log import Log
from autoresearch.session import journal
from autoresearch.workspace import HOME

pytest.importorskip("starlette", reason="the extra `web` is not installed")
pytest.importorskip("uvicorn", reason="the extra `web` is not installed")

from autoresearch.web import app, detail, machine, rows, serve, token
from autoresearch.web.feed import Feed, Mark

BUDGET = 300_000  # bytes of all that the page loads
FILES = ("/", *app.FILES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("web") / "study"
    curve = "echo PROGRESS 0.5 loss=3\necho PROGRESS 1 loss=2\n"
    make_study(
        made, step(f"{curve}echo METRIC loss=9\n", "by one"), says(11, "worse"), start=f"{curve}echo METRIC loss=10\n"
    )
    play(made)
    return made


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[serve.Serving]:
    with serve.serving(folder, 0, hosts=("night.example",)) as served:
        yield served


# -- who may ask -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*FILES, "/api/study", "/api/trial/1", "/api/trial/99", "/nothing"])
def test_every_answer_forbids_what_the_page_does_not_need(page: serve.Serving, path: str) -> None:
    _, headers, _ = ask(page, path)
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "night.example.org"]
)
def test_a_name_of_somebody_elses_is_refused_whatever_it_asks_for(page: serve.Serving, host: str) -> None:
    for path in ("/", "/api/study", "/api/events"):
        assert ask(page, path, host=host)[0] in (400, 421)  # an empty one does not get past the server
    if host:
        assert wish(page, "pause", host=host, origin=f"http://{host}")[0] in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "LOCALHOST:80", "[::1]:8484", "night.example"])
def test_loopback_by_any_name_and_port_is_served_and_so_is_a_name_that_was_allowed(
    page: serve.Serving, host: str
) -> None:
    assert ask(page, "/api/study", host=host)[0] == 200


def test_two_hosts_in_one_request_are_refused(page: serve.Serving) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    connection.putrequest("GET", "/api/study", skip_host=True)
    connection.putheader("Host", "localhost")
    connection.putheader("Host", "evil.example")
    connection.endheaders()
    assert connection.getresponse().status in (400, 421)
    connection.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": ""}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Basic {secret}"}, 401),
        ({"authorization": "Bearer {secret}x"}, 401),
        ({"authorization": "Bearer ß"}, 401),
        ({"origin": ""}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost"}, 403),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
    ],
)
@pytest.mark.parametrize("name", ["steer", "drop", "pause", "resume", "stop"])
def test_nobody_steers_without_the_token_from_the_page_itself(
    page: serve.Serving, folder: Path, name: str, headers: dict[str, str], status: int
) -> None:
    given = {key: value.replace("{secret}", page.secret) for key, value in headers.items()}
    assert wish(page, name, b'{"text": "x"}', **given)[0] == status
    assert not Inbox(folder / HOME).paused
    assert not state_of(folder).wishes.notes


def test_the_token_in_the_address_opens_nothing(page: serve.Serving) -> None:
    assert wish(page, f"pause?token={page.secret}", authorization="")[0] == 401
    assert ask(page, "/api/pause", authorization=f"Bearer {page.secret}")[0] == 405


def test_a_large_body_is_refused_before_it_is_read_to_its_end(page: serve.Serving) -> None:
    assert wish(page, "steer", b'{"text": "' + b"x" * 9000 + b'"}')[0] == 413


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"text": 1}', b"\xff", b"{}", b'{"text": "  "}', b'{"text": "' + b"x" * 3000 + b'"}']
)
def test_a_note_that_is_none_is_refused(page: serve.Serving, folder: Path, body: bytes) -> None:
    assert wish(page, "steer", body)[0] in (400, 409)
    assert not state_of(folder).wishes.notes


def test_another_site_reads_nothing(page: serve.Serving) -> None:
    for path in ("/api/study", "/api/trial/1", "/api/events"):
        status, headers, _ = ask(page, path, sec_fetch_site="cross-site")
        assert status == 403
        assert "access-control-allow-origin" not in headers


def test_the_token_is_for_its_owner_alone_and_lasts(tmp_path: Path) -> None:
    made = token.get(tmp_path)
    path = tmp_path / token.FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token.get(tmp_path) == made
    path.chmod(0o644)
    assert token.get(tmp_path) != made, "others could have read it"
    path.unlink()
    (tmp_path / "elsewhere").write_text("a" * 43)
    path.symlink_to(tmp_path / "elsewhere")
    assert token.get(tmp_path) != "a" * 43
    assert not path.is_symlink()


# -- what a person asks for -------------------------------------------------------------------------------


def test_steering_pausing_and_resuming_leave_what_was_asked_for(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study", says(9))
    play(folder)
    with serve.serving(folder, 0) as page:
        assert wish(page, "steer", b'{"text": "try smaller steps"}')[0] == 200
        assert [note.text for note in state_of(folder).wishes.notes.values()] == ["try smaller steps"]
        assert ask(page, "/api/study")[2]["head"]["notes"][0]["text"] == "try smaller steps"
        assert wish(page, "pause")[0] == 200
        assert ask(page, "/api/study")[2]["pulse"]["paused"]
        assert wish(page, "resume")[0] == 200
        assert not Inbox(folder / HOME).paused
        assert wish(page, "stop")[0] == 409, "nothing runs"
        assert wish(page, "burn")[0] == 404


def test_a_note_is_dropped_and_none_that_there_is_not(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study", says(9))
    play(folder)
    with serve.serving(folder, 0) as page:
        wish(page, "steer", b'{"text": "one"}')
        wish(page, "steer", b'{"text": "two"}')
        assert wish(page, "drop", b'{"note": 1}')[0] == 200
        assert [note["number"] for note in ask(page, "/api/study")[2]["head"]["notes"]] == [2]
        assert wish(page, "drop", b'{"note": 1}')[0] == 409
        for body in (b"", b"[]", b"{", b'{"note": "2"}', b'{"note": true}', b'{"number": 2}', b"\xff"):
            assert wish(page, "drop", body)[0] == 400
        for number in (0, -2, 10**30):
            assert wish(page, "drop", b'{"note": %d}' % number)[0] in (400, 409)
        assert list(state_of(folder).wishes.notes) == [2]
        with Log(journal(folder)):  # held, as by a study that runs: it takes the wish up before its next trial
            assert wish(page, "drop", b'{"note": 2}')[0] == 200
            assert list(state_of(folder).wishes.notes) == [2]
            assert ask(page, "/api/study")[2]["pulse"]["dropping"] == [2]


# -- how busy the machine is -------------------------------------------------------------------------------

GPUS = "37, 12345, 81559, NVIDIA H100 80GB HBM3\n[N/A], 512, 81559, NVIDIA A100-SXM4-80GB MIG\n5, [N/A], [N/A], NVIDIA GB10\n"


def test_every_gpu_is_told_as_far_as_it_says_how_busy_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = f'[ "$*" = "{" ".join(machine.ASK_GPUS)}" ] || exit 2\n'
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path, f"{asked}printf '{GPUS}'\n"))
    told = [(one["name"], one["busy"], one["memory_used_mb"], one["memory_mb"]) for one in machine.Gpus().known()]
    assert told == [
        ("NVIDIA H100 80GB HBM3", 0.37, 12345, 81559),
        ("NVIDIA A100-SXM4-80GB MIG", None, 512, 81559),
        ("NVIDIA GB10", 0.05, None, None),
    ]


@pytest.mark.parametrize(
    "script",
    [
        "exit 1\n",
        "echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'; exit 9\n",
        "echo 'No devices were found'\n",
        "echo 'an error, of some, other kind, without numbers'\n",
        "head -c 300000 /dev/urandom\n",
    ],
)
def test_an_nvidia_smi_without_an_answer_is_no_gpu_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path, script))
    assert machine.gpus() == []
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert machine.gpus() == []


def test_an_nvidia_smi_that_hangs_is_ended_and_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "GPUS_WITHIN_S", 0.2)
    monkeypatch.setattr(machine, "FIRST_S", 0.01)
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path, f"echo $$ >> {tmp_path}/asked\nexec sleep 600\n"))
    gpus = machine.Gpus()
    assert [gpus.known() for _ in range(100)] == [[]] * 100
    assert eventually(lambda: not gpus.asking, 10)
    [pid] = (tmp_path / "asked").read_text().split()  # asked once, though a hundred wanted to know
    assert not Path(f"/proc/{pid}").exists()


# -- what a reader gets ------------------------------------------------------------------------------------


def test_the_page_and_all_it_loads_is_small_and_asks_nobody_else(page: serve.Serving) -> None:
    contents = {path: ask(page, path)[2] for path in FILES}
    assert all(contents.values())
    assert sum(map(len, contents.values())) < BUDGET
    ours = b"".join(content for path, content in contents.items() if not path.startswith("/uplot"))
    assert b"//" not in ours.replace(b"http://www.w3.org/2000/svg", b"").replace(b"// ", b"").replace(b"\\/\\/", b"")
    for word in (b"innerHTML", b"insertAdjacentHTML", b"document.write", b"eval(", b"<style", b" style=", b" onclick="):
        assert word not in ours


def test_the_snapshot_holds_the_study(page: serve.Serving) -> None:
    found = ask(page, "/api/study")[2]
    trials = [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
    assert [(t["id"], t["word"], t["value"], t["parent"]) for t in trials] == [
        (0, "keep", 10.0, None),
        (1, "keep", 9.0, 0),
        (2, "discard", 11.0, 1),
    ]
    assert found["head"]["best"] == 9.0
    assert found["head"]["proposers"][0] | {"gain": 1.0} == found["head"]["proposers"][0]


def test_a_trial_is_told_in_full(page: serve.Serving) -> None:
    found = ask(page, "/api/trial/1")[2]
    assert "+echo METRIC loss=9" in found["diff"]
    assert found["curves"] == [
        {"name": "this trial", "points": [[0.5, 3], [1, 2]]},
        {"name": "what it had to beat", "points": [[0.5, 3], [1, 2]]},
    ]
    assert "METRIC loss=9" in found["logs"][0]["text"]
    assert found["numbers"].startswith("loss 9, its base 10; gain +1")
    assert ask(page, "/api/trial/7")[0] == 404


def stream(page: serve.Serving, since: str, until: str, header: str = "") -> list[tuple[str, str, Any]]:
    """(event, id, data) of a stream, up to the first event of a name."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    connection.request("GET", f"/api/events?since={since}", headers={"Last-Event-ID": header} if header else {})
    answer = connection.getresponse()
    assert answer.status == 200
    found, fields = [], dict[str, str]()
    while True:
        line = answer.readline().decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        found.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
        fields = {}
        if found[-1][0] == until:
            connection.close()
            return found


def test_a_reader_hears_of_what_it_missed_and_of_nothing_else(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study", says(9), says(8))
    play(folder, trials=1)
    with serve.serving(folder, 0) as page:
        mark = ask(page, "/api/study")[2]["mark"]
        play(folder)
        heard = stream(page, mark, "pulse")
        assert [name for name, _, _ in heard] == ["rows", "head", "pulse"]
        assert [row[0] for row in heard[0][2] if len(row) > 1] == [2]  # the third was given back: nothing was left
        later = heard[0][1]
        assert [name for name, _, _ in stream(page, mark, "pulse", header=later)] == ["head", "pulse"]
    with serve.serving(folder, 0) as page:  # another process goes on where the first was
        assert [row[0] for row in stream(page, mark, "pulse")[0][2] if len(row) > 1] == [2]
        assert stream(page, "another-3", "reset")
        assert stream(page, "rubbish", "reset")


def test_the_server_ends_while_somebody_reads(folder: Path) -> None:
    with serve.serving(folder, 0) as page:
        mark = ask(page, "/api/study")[2]["mark"]
        connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
        connection.request("GET", f"/api/events?since={mark}")
        answer = connection.getresponse()
        assert answer.readline()
    while answer.readline():
        pass  # ends by itself
    connection.close()


def test_a_study_that_was_never_run_has_a_page(tmp_path: Path) -> None:
    with serve.serving(make_study(tmp_path / "study"), 0) as page:
        found = ask(page, "/api/study")[2]
        assert found["head"]["study"] is None
        assert found["rows"] == []
        assert [name for name, _, _ in stream(page, found["mark"], "pulse")] == ["head", "pulse"]


@settings(max_examples=25)
@given(histories(), st.lists(st.integers(0, 60), max_size=4))
def test_whoever_reads_piece_by_piece_knows_what_a_newcomer_is_told(
    tmp_path_factory: pytest.TempPathFactory, events: list[Any], cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("feed") / "events.jsonl"
    feed, known, mark = Feed(path), dict[int, Any](), None
    lines = [msgspec.json.encode(event) + b"\n" for event in events]
    edges = sorted({0, *(min(cut, len(lines)) for cut in cuts), len(lines)})
    for begin, end in itertools.pairwise(edges):
        with path.open("ab") as file:
            file.write(b"".join(lines[begin:end]))
        feed.poll()
        news = feed.news(mark)
        known = {} if news.all else known
        known |= {row[0]: row for row in json.loads(news.rows)}
        mark = Mark.read(str(news.mark))
    newcomer = Feed(path)
    newcomer.poll()
    told = {row[0]: row for row in json.loads(newcomer.news(None).rows)}
    assert {number: row for number, row in known.items() if len(row) > 1} == told
    rows.head(feed.state)


def test_another_log_in_its_place_begins_the_page_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first, second = History(), History(digest="other")
    for value in (3.0, 2.0, 1.0):
        first.tried(value)
    path.write_bytes(b"".join(msgspec.json.encode(e) + b"\n" for e in first.events))
    feed = Feed(path)
    before = feed.poll()
    path.write_bytes(b"".join(msgspec.json.encode(e) + b"\n" for e in second.events))
    assert feed.poll().log != before.log
    assert feed.news(before).all


# -- what a candidate leaves --------------------------------------------------------------------------------


def test_the_end_of_an_output_is_bounded_and_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the key")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "long").write_text("".join(f"line {n}\n" for n in range(10_000)))
    assert detail.tail(tmp_path / "link", 100) == ""
    assert detail.tail(tmp_path / "none", 100) == ""
    end = detail.tail(tmp_path / "long", 100)
    assert len(end) <= 100
    assert end.startswith("line ")
    assert end.endswith("line 9999\n")


def test_control_characters_and_those_that_turn_the_direction_are_replaced() -> None:
    assert rows.clean("a\x1b[31m\u202eb\tc\n") == "a�[31m�b\tc\n"
    assert rows.clean("x" * 30, 10) == "x" * 9 + "…"


# -- the commands --------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_said_and_the_usual_one_moves_on(folder: Path) -> None:
    with serve.serving(folder, 0) as page:
        done = CliRunner().invoke(main, ["web", "-C", str(folder), "--port", str(page.port)])
        assert done.exit_code == 2
        assert f"port {page.port} is taken" in done.output
        with serve.serving(folder, page.port, search=True) as other:
            assert other.port > page.port


def test_without_the_extra_the_command_says_what_to_install(folder: Path) -> None:
    code = (
        "import sys\nsys.modules['starlette'] = sys.modules['uvicorn'] = None\n"
        f"from autoresearch.cli import main\nmain(['web', '-C', {str(folder)!r}])"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "pip install 'autoresearch[web]'" in done.stderr


def test_the_address_is_printed_once_and_is_nowhere_in_the_log(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study", says(9))
    with started("run", "--web", cwd=folder) as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert output.count("#token=") == 1
    secret = output.partition("#token=")[2].split()[0]
    assert secret == token.get(folder / HOME)
    assert secret not in journal(folder).read_text()


def test_a_page_beside_a_run_does_not_hear_its_signals(tmp_path: Path) -> None:
    """Uvicorn would take Ctrl-C for itself; it must go to the study."""
    folder = make_study(tmp_path / "study", step("sleep 0.5\necho METRIC loss=9\n"), says(8))
    with started("run", "--web", cwd=folder) as process:
        until = time.monotonic() + 20
        while not state_of(folder).open_runs and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(2)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "stopping when the running trials are done" in output


def test_reading_the_page_writes_nothing_into_the_study(folder: Path) -> None:
    before = journal(folder).read_bytes()
    with serve.serving(folder, 0) as page:
        ask(page, "/api/study")
        ask(page, "/api/trial/1")
    assert journal(folder).read_bytes() == before
