"""download.py and the downloaded corpora of the gpt template, against a real server that misbehaves."""

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gpt import copy, module, run, texts

pytest.importorskip("numpy", reason="the gpt template needs numpy")
CONTENT = random.Random(0).randbytes(1_500_000)


@dataclass
class Source:
    """What a server on this machine has, how it misbehaves, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    drop_after: int | None = None  # bytes of a reply, then the connection ends
    ranges: bool = True
    publishes: bool = False  # SHA-256 in a redirect, as Hugging Face
    answers: list[int] = field(default_factory=list)  # of the next requests, before it serves at all
    corrupt: int = 0  # so many replies have a wrong byte
    asked: list[tuple[str, str]] = field(default_factory=list)  # path and range
    address: str = ""


@pytest.fixture
def source() -> Iterator[Source]:
    found = Source()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(found))
    found.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def handler(source: Source) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if source.publishes and not self.path.startswith("/real"):
                self.redirect()
                return
            name = self.path.rpartition("/")[2]
            source.asked.append((name, self.headers.get("Range", "")))
            if source.answers:
                self.send_error(source.answers.pop(0))
            elif name not in source.files:
                self.send_error(404)
            else:
                self.serve(source.files[name])

        def redirect(self) -> None:
            content = source.files.get(self.path.rpartition("/")[2], b"")
            self.send_response(302)
            self.send_header("Location", f"/real{self.path}")
            self.send_header("X-Linked-ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def serve(self, content: bytes) -> None:
            start, total = 0, len(content)
            if source.ranges and (wanted := self.headers.get("Range")):
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start and start >= total:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(total - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            self.end_headers()
            body = content[start:]
            if source.corrupt:
                source.corrupt -= 1
                body = bytes([body[0] ^ 1]) + body[1:]
            self.wfile.write(body[: source.drop_after])

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def download(tmp_path: Path) -> Callable[[Source], Path]:
    code = module(tmp_path / "code", "download", FIRST_WAIT_S=0.001)
    (tmp_path / "cache").mkdir()

    def one(source: Source) -> Path:
        path: Path = code.download(f"{source.address}/datasets/x/resolve/main/file", tmp_path / "cache" / "file")
        return path

    one.NoDownload = code.NoDownload  # type: ignore[attr-defined]
    return one


def checksum(path: Path) -> str:
    noted: str = json.loads((path.parent / "manifest.json").read_text())["file"]["sha256"]
    return noted


def test_a_file_arrives_once_and_its_checksum_is_noted(source: Source, download: Any) -> None:
    source.files["file"] = CONTENT
    path = download(source)
    assert path.read_bytes() == CONTENT
    assert checksum(path) == hashlib.sha256(CONTENT).hexdigest()
    download(source)
    assert len(source.asked) == 1
    assert sorted(item.name for item in path.parent.iterdir()) == ["file", "manifest.json"]


@pytest.mark.parametrize("publishes", [False, True])
def test_a_connection_that_drops_is_taken_up_where_it_ended(source: Source, download: Any, publishes: bool) -> None:
    source.files["file"], source.drop_after, source.publishes = CONTENT, 200_000, publishes
    assert download(source).read_bytes() == CONTENT
    assert [wanted for _, wanted in source.asked] == ["", *(f"bytes={n}-" for n in range(200_000, 1_500_000, 200_000))]


def test_a_part_left_by_a_process_that_was_killed_is_gone_on_with(
    source: Source, download: Any, tmp_path: Path
) -> None:
    source.files["file"] = CONTENT
    (tmp_path / "cache" / "file.part").write_bytes(CONTENT[:1_000_000])
    assert download(source).read_bytes() == CONTENT
    assert source.asked == [("file", "bytes=1000000-")]


def test_a_part_that_is_the_whole_file_only_gets_its_name(source: Source, download: Any, tmp_path: Path) -> None:
    source.files["file"] = CONTENT
    (tmp_path / "cache" / "file.part").write_bytes(CONTENT)
    assert download(source).read_bytes() == CONTENT
    assert source.asked == [("file", "bytes=1500000-")]


def test_a_part_that_is_too_long_is_thrown_away(source: Source, download: Any, tmp_path: Path) -> None:
    source.files["file"] = CONTENT
    (tmp_path / "cache" / "file.part").write_bytes(CONTENT + b"more")
    assert download(source).read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_all_again(source: Source, download: Any, tmp_path: Path) -> None:
    source.files["file"], source.ranges = CONTENT, False
    (tmp_path / "cache" / "file.part").write_bytes(b"x" * 1_000)
    assert download(source).read_bytes() == CONTENT


def test_a_server_that_is_busy_is_asked_again(source: Source, download: Any) -> None:
    source.files["file"], source.answers = CONTENT, [503, 429, 500]
    assert download(source).read_bytes() == CONTENT


def test_a_server_that_stays_busy_is_given_up_and_what_came_is_kept(
    source: Source, download: Any, tmp_path: Path
) -> None:
    source.files["file"], source.answers = CONTENT, [503] * 5
    (tmp_path / "cache" / "file.part").write_bytes(CONTENT[:7])
    with pytest.raises(download.NoDownload, match=r"503.* in the last of 5 attempts\. What came is kept"):
        download(source)
    assert (tmp_path / "cache" / "file.part").read_bytes() == CONTENT[:7]


def test_a_file_that_is_not_there_is_not_asked_for_again(source: Source, download: Any) -> None:
    with pytest.raises(download.NoDownload, match="/file answered 404"):
        download(source)
    assert len(source.asked) == 1


def test_what_does_not_match_the_published_checksum_is_fetched_again(source: Source, download: Any) -> None:
    source.files["file"], source.publishes, source.corrupt = CONTENT, True, 2
    assert download(source).read_bytes() == CONTENT
    assert len(source.asked) == 3


def test_a_file_that_was_damaged_here_is_fetched_again(source: Source, download: Any) -> None:
    source.files["file"] = CONTENT
    path = download(source)
    path.write_bytes(CONTENT[:-1] + b"!")
    assert download(source).read_bytes() == CONTENT
    assert len(source.asked) == 2


def test_another_file_at_the_source_is_never_taken_for_the_first(source: Source, download: Any) -> None:
    source.files["file"] = CONTENT
    path = download(source)
    path.unlink()
    source.files["file"] = CONTENT[::-1]
    with pytest.raises(download.NoDownload, match=r"If the source has a new file there, remove file from .*manifest"):
        download(source)
    assert not path.exists()


def test_a_person_at_a_terminal_sees_how_far_it_is(source: Source, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty", reason="no terminals of this kind here")
    source.files["file"] = CONTENT
    code = copy(tmp_path / "code")
    ours, theirs = pty.openpty()
    program = f"import download; download.download('{source.address}/file', download.Path('../file'))"
    try:
        subprocess.run([sys.executable, "-c", program], cwd=code, stderr=theirs, check=True, timeout=60)
        seen = os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "file: 1 of 2 MB, 87%" in seen
    assert "file: 2 of 2 MB, 100%" in seen


# -- corpora -------------------------------------------------------------------------------------------------------


def parquet(stories: list[str | None]) -> bytes:
    arrow = pytest.importorskip("pyarrow", reason="downloaded corpora need pyarrow")
    from pyarrow import parquet as files

    sink = arrow.BufferOutputStream()
    files.write_table(arrow.table({"text": stories}), sink, row_group_size=7)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def stories(first: int, n: int = 40) -> list[str | None]:
    return [
        f"story {i}: " + " ".join(random.Random(i).choices(["one", "day", "she", "ran"], k=40))
        for i in range(first, first + n)
    ]


def train_of(folder: Path) -> bytes:
    return (folder / "open" / "train.bin").read_bytes()[::2]


def test_nothing_is_downloaded_unless_the_corpus_says_so(source: Source, tmp_path: Path) -> None:
    corpus = texts(tmp_path, {f"{i}": text or "" for i, text in enumerate(stories(0))})
    copy(tmp_path, CORPUS=corpus, ROW_LENGTH=32)
    done = run(tmp_path, "prepare.py", "data", HF_ENDPOINT=source.address)
    assert done.returncode == 0, done.stderr
    assert run(tmp_path, "prepare.py", "download", HF_ENDPOINT=source.address).returncode == 0
    assert source.asked == []
    assert not (tmp_path / "home").exists()


def test_climbmix_holds_out_of_its_last_shard_and_trains_on_the_others(source: Source, tmp_path: Path) -> None:
    shards = {
        "shard_06542.parquet": stories(0, 60),
        "shard_00000.parquet": stories(100),
        "shard_00001.parquet": stories(200),
    }
    shards["shard_00001.parquet"] += [*stories(0, 3), None, ""]  # of the last shard once more, and nothing
    source.files = {name: parquet(part) for name, part in shards.items()}
    source.publishes, source.drop_after = True, 3_000
    copy(tmp_path, CORPUS="climbmix", FIRST_WAIT_S=0.01, SHARDS=2, ROW_LENGTH=32, VALIDATION_ROWS=4, SEALED_ROWS=4)
    done = run(tmp_path, "prepare.py", "download", HF_ENDPOINT=source.address)
    assert done.returncode == 0, done.stderr
    assert {name for name, _ in source.asked} == set(shards)
    source.asked.clear()
    done = run(tmp_path, "prepare.py", "data", HF_ENDPOINT=source.address)
    assert done.returncode == 0, done.stderr
    assert source.asked == []
    train = train_of(tmp_path)
    assert [f"story {i}:".encode() in train for i in (*range(60), 100, 139, 200, 239)] == [False] * 60 + [True] * 4
    held = [(tmp_path / "held" / "validation.bin").read_bytes(), (tmp_path / "sealed" / "sealed.bin").read_bytes()]
    copy(tmp_path, CORPUS="climbmix", FIRST_WAIT_S=0.01, SHARDS=1, ROW_LENGTH=32, VALIDATION_ROWS=4, SEALED_ROWS=4)
    assert run(tmp_path, "prepare.py", "data", HF_ENDPOINT=source.address).returncode == 0
    assert held == [
        (tmp_path / "held" / "validation.bin").read_bytes(),
        (tmp_path / "sealed" / "sealed.bin").read_bytes(),
    ]
    assert len(train_of(tmp_path)) < len(train)


def test_a_folder_may_hold_parquet_files(tmp_path: Path) -> None:
    corpus = texts(tmp_path, {"a.parquet": parquet(stories(0)), "b.txt": "and one more"})
    copy(tmp_path, CORPUS=corpus, ROW_LENGTH=32)
    done = run(tmp_path, "prepare.py", "data")
    assert done.returncode == 0, done.stderr
    assert "41 documents" in done.stdout


def test_tinystories_is_one_file_split_by_story(source: Source, tmp_path: Path) -> None:
    source.files["tinystories_gpt4_clean.parquet"] = parquet(stories(0, 200))
    copy(tmp_path, CORPUS="tinystories", ROW_LENGTH=32, PACKING="rows")
    done = run(tmp_path, "prepare.py", "data", HF_ENDPOINT=source.address)
    assert done.returncode == 0, done.stderr
    meta = json.loads((tmp_path / "open" / "meta.json").read_text())
    assert 150 < meta["splits"]["train"]["files"] < 175


def test_a_source_that_cannot_be_reached_is_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="downloaded corpora need pyarrow")
    copy(tmp_path, CORPUS="tinystories", FIRST_WAIT_S=0.01)
    done = run(tmp_path, "prepare.py", "data", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 2
    assert "prepare.py: http://127.0.0.1:9/datasets/karpathy/tinystories-gpt4-clean/" in done.stderr
