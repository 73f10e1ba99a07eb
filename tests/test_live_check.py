"""`autoresearch check` of a live study: it looks and does not begin, and says what would stop it or what nobody would see."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import git
from live_page import PICTURE, begun, make

pytest.importorskip("sqlalchemy", reason="the extra live is not installed")
pytest.importorskip("starlette", reason="the extra live is not installed")

from autoresearch.campaign.own import Own
from autoresearch.cli import main
from autoresearch.study import load
from autoresearch.workspace import HOME, Workspace


def checked(folder: Path, *args: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["check", "-C", str(folder), *args])
    assert done.exit_code == code, done.output
    return done.output


def commit(folder: Path) -> None:
    git(folder, "add", "--update")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-q", "--allow-empty", "-m", "words")


def test_it_says_what_there_is_and_begins_nothing(tmp_path: Path) -> None:
    folder = make(tmp_path / "s")
    said = checked(folder)
    for line in (
        "study      s  (live, page)",
        "template   page.html",
        "variables  headline (3), button (2)",
        "store      a file beside the log",
        "Ready: autoresearch live serve",
    ):
        assert line in said
    assert not (folder / HOME).exists()
    found = json.loads(checked(folder, "--json"))
    assert (found["levels"], found["rules"], found["begins"]) == (
        {"headline": 3, "button": 2},
        True,
        "autoresearch live serve",
    )
    with begun(folder):
        assert "Ready" in checked(folder), "also beside one that runs"


def test_what_nobody_would_see_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "s")
    (folder / "static" / "new.png").write_bytes(b"picture")
    (folder / "page.html").write_text("<h1>{{ headline }}</h1>")
    git(folder, "rm", "-q", "brand.toml")
    commit(folder)
    said = checked(folder)
    assert "`git add static/new.png`" in said
    assert "button is not in page.html, so that nobody would see a difference" in said
    assert "there is no brand.toml" in said
    own = Own(Workspace(folder, load(folder)), git(folder, "rev-parse", "HEAD"), load(folder).need_live())
    assert own.picture("own.svg") == (PICTURE.encode(), "image/svg+xml")
    assert len(own.left_out()) == 1


def no_such_name(folder: Path) -> None:
    (folder / "page.html").write_text("<h1>{{ headlin }}</h1>")
    commit(folder)


def uncommitted(folder: Path) -> None:
    (folder / "page.html").write_text("<h1>{{ headline }}</h1>")


def no_secret(folder: Path) -> None:
    toml = folder / "study.toml"
    toml.write_text(toml.read_text() + '[[live.hooks]]\nname = "shop"\nsecret = "$NO_SUCH_SECRET"\n')


def no_store(folder: Path) -> None:
    toml = folder / "study.toml"
    toml.write_text(toml.read_text() + 'store = "postgresql+psycopg://127.0.0.1:1/none"\n')


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (no_such_name, "did you mean headline?"),
        (uncommitted, "changes that are not committed"),
        (no_secret, "live.hooks[0].secret names $NO_SUCH_SECRET, which is not set"),
        (no_store, "store"),
    ],
)
def test_what_would_stop_it_is_an_error_with_its_remedy(
    tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    folder = make(tmp_path / "s")
    spoil(folder)
    assert says in " ".join(checked(folder, code=2).split())
