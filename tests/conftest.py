"""Every test runs as somebody with an empty home, a plain git identity and none of our variables set."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from autoresearch.execute.keepers import Keepers

# The same examples every time: a red test must stay red until it is understood.
settings.register_profile("project", max_examples=50, deadline=None, derandomize=True, database=None)
settings.load_profile("project")

IDENTITY = "[user]\n\tname = A Person\n\temail = person@example.org\n[init]\n\tdefaultBranch = main\n"

# Set once, before anything looks: what a process inherited does not change while it lives.
_home = tempfile.TemporaryDirectory(prefix="home-")
for _name in list(os.environ):
    if _name.startswith(("GIT_", "AUTORESEARCH_", "CUDA_VISIBLE_DEVICES", "XDG_CONFIG_HOME")):
        del os.environ[_name]
(Path(_home.name) / ".gitconfig").write_text(IDENTITY)
os.environ |= {"HOME": _home.name, "GIT_CONFIG_NOSYSTEM": "1", "PYTHONDONTWRITEBYTECODE": "1"}
sys.dont_write_bytecode = True  # the same for modules that tests load: folders are weighed


@pytest.fixture(scope="session", autouse=True)
def _home_is_removed() -> Iterator[None]:
    yield
    _home.cleanup()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium; without one, or without playwright to drive it, whoever asks for it is skipped."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install playwright)"
    )
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        # Chromium's own sandbox takes namespaces that a container does not have; the pages are ours, on loopback.
        found = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield found
        found.close()


@pytest.fixture(autouse=True)
def home() -> Iterator[Path]:
    """The person's home: its .gitconfig can be changed by a test, until its end."""
    yield Path(_home.name)
    (Path(_home.name) / ".gitconfig").write_text(IDENTITY)


@pytest.fixture
def keepers() -> Iterator[Keepers]:
    made = Keepers()
    yield made
    made.close()
