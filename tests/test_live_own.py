"""A study's own files: read as they were committed when it began, whatever lies in the folder now and whoever has gone."""

import contextlib
import http.client
import os
import signal
import socket
from pathlib import Path

import pytest
from helpers import eventually, git, make_study, started
from live_page import PAGE, PICTURE, make

pytest.importorskip("sqlalchemy", reason="the extra live is not installed")
pytest.importorskip("starlette", reason="the extra live is not installed")

from autoresearch.campaign.own import Own
from autoresearch.errors import StudyError, WorkspaceError
from autoresearch.live import brand, desk, pictures, render
from autoresearch.live.settings import Live
from autoresearch.study import load
from autoresearch.workspace import Workspace


def own(folder: Path, template: str = "page.html", commit: bool = True) -> Own:
    if commit:
        git(folder, "add", "-A")
        git(folder, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-q", "--allow-empty", "-m", "own")
    return Own(Workspace(folder, load(folder)), git(folder, "rev-parse", "HEAD"), Live("click", template=template))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "s")


def test_files_are_those_of_the_commit_whatever_is_there_now(folder: Path) -> None:
    found = own(folder)
    for name in ("page.html", "brand.toml", "static/own.svg"):
        (folder / name).write_text("other")
    assert found.template is not None
    assert found.template.name == "page.html"
    assert "A calendar" in found.template.render({"headline": "A calendar", "button": "Go"})
    assert found.rules == brand.parse('banned = ["never"]\nclaims = ["14-day trial"]\n')
    assert found.picture("own.svg") == (PICTURE.encode(), "image/svg+xml")
    assert own(folder, template="", commit=False).template is None


def test_a_study_in_a_subfolder_has_its_own(tmp_path: Path) -> None:
    make_study(tmp_path / "top")
    below = make_study(tmp_path / "top" / "below", files={"page.html": PAGE, "static/a.png": "picture"})
    assert own(below).picture("a.png") == (b"picture", "image/png")


@pytest.mark.parametrize(
    "name",
    [
        "../study.toml",
        "../page.html",
        "/etc/passwd",
        ".hidden.png",
        "a.png/",
        "link.png",
        "a.toml",
        "a.png\0",
        "big.png",
        "",
        "b.png",
    ],
)
def test_no_file_but_the_studys_own_pictures_is_given(folder: Path, name: str) -> None:
    static = folder / "static"
    (folder.parent / "secret.png").write_bytes(b"secret")
    (static / "link.png").symlink_to(folder.parent / "secret.png")
    (static / "a.png").write_bytes(b"picture")
    (static / ".hidden.png").write_bytes(b"secret")
    (static / "a.toml").write_bytes(b"secret")
    with (static / "big.png").open("wb") as file:
        file.truncate(pictures.MOST + 1)
    found = own(folder)
    (static / "b.png").write_bytes(b"not committed")
    assert found.picture("a.png") == (b"picture", "image/png")
    assert found.picture(name) is None


def test_a_picture_that_is_kept_elsewhere_is_what_a_checkout_would_have(folder: Path) -> None:
    git(folder, "config", "filter.kept.smudge", "sed s/pointer/picture/")
    git(folder, "config", "filter.kept.clean", "sed s/picture/pointer/")
    (folder / ".gitattributes").write_text("*.png filter=kept\n")
    (folder / "static" / "a.png").write_text("a picture\n")
    found = own(folder)
    assert git(folder, "show", "HEAD:static/a.png") == "a pointer"
    assert found.picture("a.png") == (b"a picture\n", "image/png")


@pytest.mark.parametrize("name", ["../secret.html", "/etc/passwd", "missing.html"])
def test_a_template_lies_in_its_folder(folder: Path, name: str) -> None:
    (folder.parent / "secret.html").write_text("secret")
    with pytest.raises(StudyError, match=r"was not committed .* live\.template names"):
        _ = own(folder, name).template


def test_a_link_is_refused_and_never_taken_for_nothing(folder: Path) -> None:
    """Without its rules, a brand would say anything."""
    for name in ("brand.toml", "page.html"):
        (folder / name).rename(folder.parent / name)
        (folder / name).symlink_to(folder.parent / name)
    found = own(folder)
    with pytest.raises(StudyError, match=r"brand\.toml: is a link"):
        _ = found.rules
    with pytest.raises(StudyError, match=r"page\.html: is a link"):
        _ = found.template
    assert own(folder, "./static/../static/own.svg").template is not None, "a path may be written otherwise"


def test_a_picture_that_grows_too_large_is_made_once_and_words_are_as_committed(folder: Path) -> None:
    made = folder.parent / "made"
    git(folder, "config", "filter.grows.smudge", f"echo x >> {made}; head -c {pictures.MOST + 1} /dev/zero")
    git(folder, "config", "filter.grows.clean", "cat")
    (folder / "static" / "a.png").write_text("small")
    (folder / ".gitattributes").write_text("*.png filter=grows\n")
    found = own(folder)
    made.unlink(missing_ok=True)
    (folder / ".gitattributes").write_text("* filter=grows\n*.toml working-tree-encoding=UTF-16\n")
    assert [found.picture("a.png") for _ in range(3)] == [None] * 3
    assert made.read_text() == "x\n"
    assert found.rules is not None
    assert found.template is not None


def test_what_cannot_be_used_is_named_with_its_remedy(folder: Path) -> None:
    (folder / "page.html").write_bytes(b"\xff\xfe")
    (folder / "brand.toml").write_bytes(b"\xff\xfe")
    found = own(folder)
    with pytest.raises(StudyError, match=r"page\.html: is not in UTF-8"):
        _ = found.template
    with pytest.raises(StudyError, match=r"brand\.toml: is not in UTF-8"):
        _ = found.rules
    (folder / "page.html").write_text("x" * (render.MOST_TEMPLATE + 1))
    with pytest.raises(StudyError, match=r"page\.html: has more than .* smaller"):
        _ = own(folder).template
    with pytest.raises(WorkspaceError):
        Own(found.workspace, "0" * 40, found.live)


def answer(port: int, path: str) -> tuple[int, bytes]:
    """Status and body; 0 while nobody is there."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as there:
        try:
            there.request("GET", path)
            found = there.getresponse()
            return found.status, found.read()
        except OSError:
            return 0, b""


def free_ports() -> list[int]:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


@pytest.mark.timeout(180)
def test_a_second_server_goes_on_when_the_process_that_decides_has_ended(folder: Path) -> None:
    first, second = free_ports()
    with started("live", "serve", "--port", str(first), cwd=folder) as decides:
        assert eventually(lambda: answer(first, "/health")[0] == 200, 60)
        with started("live", "serve", "--port", str(second), cwd=folder) as serves:
            assert eventually(lambda: answer(second, "/health")[0] == 200, 60)
            os.kill(decides.pid, signal.SIGINT)
            decides.communicate(timeout=60)
            assert not list((folder / ".autoresearch" / "trees").glob("*"))
            looked_again = desk.REFRESH_S + 1
            assert not eventually(lambda: answer(second, "/health")[0] != 200, looked_again), answer(second, "/health")
            assert answer(second, "/static/own.svg") == (200, PICTURE.encode())
            assert b"A calendar" in answer(second, "/")[1]
            os.kill(serves.pid, signal.SIGINT)
            serves.communicate(timeout=60)
