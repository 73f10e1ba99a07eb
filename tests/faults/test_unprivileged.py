"""The same attacks where nobody is root: the whole program as the user `nobody`."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from upstream import Decoy, Upstream

from autoresearch import log, session
from autoresearch.execute import sandbox
from faults import test_escapes, test_limits, test_marks, test_proposer_cell
from faults.conftest import BACKENDS, IDENTITY, Row, assert_matches, fault_study, plan

NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"
ROOT = Path(__file__).parents[2]
PACKAGES = ("msgspec", "click", "rich", "pygments", "markdown_it", "mdurl")
NAMES: tuple[str, ...] = (
    "reads-held-targets-by-path",
    "reads-password-files",
    "edits-the-log",
    "edits-its-own-tree",
    "mounts",
)
NAMES += ("remounts-in-a-namespace-of-its-own", "connects-out", "plants-sitecustomize")
ROWS: dict[str, Row] = {name: test_escapes.ROWS[name] for name in NAMES}
ROWS["kernel"] = test_escapes.KERNEL
ROWS |= {name: test_marks.ROWS[name] for name in ("fake-metric-line", "nan")}
ROWS |= {name: test_limits.ROWS[name] for name in ("allocates-at-once", "computes-beyond-its-budget")}
ROWS |= {name: test_limits.BROKEN[name] for name in ("holds-deleted-files", "fills-memory-through-files-in-it")}
COMMANDS = {"run": "python3 candidate.py", "score": "python3 score.py", "prepare": "python3 prepare.py"}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that anybody may read, with the program and what it needs: root's home is closed to nobody."""
    if os.getuid() != 0:
        pytest.skip("only root can become nobody; run by anybody else, every other row is this row")
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        place = Path(name)
        place.chmod(0o755)
        shutil.copytree(ROOT / "src" / "autoresearch", place / "lib" / "autoresearch")
        packages = Path(msgspec.__file__).parents[1]
        for package in PACKAGES:
            shutil.copytree(packages / package, place / "lib" / package)
        (place / "home").mkdir()
        (place / "home" / ".gitconfig").write_text(IDENTITY)
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", place / "home"], check=True)
        subprocess.run(["chmod", "-R", "a+rX", place], check=True)
        yield place


def as_nobody(place: Path, *args: str, **more: str) -> "subprocess.CompletedProcess[str]":
    env = {"HOME": str(place / "home"), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(place / "lib")} | more
    return subprocess.run(
        [SYSTEM_PYTHON, *args],
        cwd=place / "home",
        env=env | {"PYTHONDONTWRITEBYTECODE": "1"},
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def works_for_nobody(place: Path, backend: str) -> None:
    version = subprocess.run([SYSTEM_PYTHON, "-V"], capture_output=True, text=True, check=False).stdout.split()[-1:]
    if not version or not version[0].startswith(f"{sys.version_info.major}.{sys.version_info.minor}."):
        pytest.skip(f"{SYSTEM_PYTHON} is {version}, so the compiled packages here do not fit it")
    ask = f"from autoresearch.execute import sandbox as s; print(s.why_not(s.backends(None)[{backend!r}], None) or '')"
    asked = as_nobody(place, "-c", ask)
    assert asked.returncode == 0, asked.stderr
    if asked.stdout.strip():
        pytest.skip(f"{backend} does not work for nobody here: {asked.stdout.strip()}")


def play_as_nobody(place: Path, backend: str, rows: dict[str, Row]) -> None:
    """Play rows as the user nobody, and check the verdicts."""
    works_for_nobody(place, backend)
    folder = place / "home" / f"{backend}-{len(rows)}"
    fault_study(folder, plan(rows, {"FOLDER": folder}), backend, measure=COMMANDS)
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", folder], check=True)
    done = as_nobody(place, "-m", "autoresearch", "run", "-C", str(folder))
    assert done.returncode == 0, done.stderr
    trials = {trial.idea: trial for trial in log.read(session.journal(folder)).trials.values()}
    for name, row in rows.items():
        attack, honest = trials[name], trials[f"after {name}"]
        assert attack.verdict is not None
        assert attack.word in row.words, (name, attack.verdict)
        assert_matches(row.why, attack.verdict.why)
        assert honest.word == "keep", (name, honest.verdict)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_unprivileged_user_is_protected_as_root_is(place: Path, backend: str) -> None:
    play_as_nobody(place, backend, ROWS)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nobody_mounts_a_file_system_of_its_own(place: Path, backend: str) -> None:
    if backend == "bubblewrap" and not sandbox.bubblewrap_knows("--disable-userns"):
        pytest.skip("this bubblewrap is older than 0.8 and cannot forbid namespaces inside: see docs/threat-model.md")
    name = "fills-a-file-system-of-its-own"
    play_as_nobody(place, backend, {name: test_limits.BROKEN[name]})


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_unprivileged_users_proposer_has_its_one_way_out_and_no_other(place: Path, backend: str) -> None:
    works_for_nobody(place, backend)
    folder, program = place / "home" / f"proposer-{backend}", place / "lib" / "proposer.py"
    names: tuple[str, ...] = (
        "has-the-key-sent-back",
        "looks-for-the-key-in-every-process",
        "looks-for-the-key-in-every-file",
    )
    names += ("connects-directly", "asks-for-a-tunnel-to-another-host", "proposes-with-the-log", "writes-the-refs")
    with Upstream() as keyed, Upstream() as plain, Decoy() as decoy:
        allow = [
            {"host": f"http://{keyed.host}", "key": "MODEL_KEY", "address": "MODEL_BASE"},
            {"host": f"http://{plain.host}"},
        ]
        tokens = test_proposer_cell.tokens(folder, keyed, plain, decoy)
        attacks = {name: test_proposer_cell.ROWS[name] for name in names}
        attacks["mode"] = test_proposer_cell.PLANTED["hides-a-folder-by-its-mode"]  # which would stop nothing of root's
        program.write_text(test_proposer_cell.proposing(attacks, tokens))
        propose = {"with": ["command"], "command": f"python3 {program}", "sandbox": backend, "read": [str(program)]}
        fault_study(folder, [], backend, measure=COMMANDS, propose=propose | {"allow": allow})
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", folder], check=True)
        run = ("-m", "autoresearch", "run", "-C", str(folder), "--trials", str(len(attacks)))
        done = as_nobody(place, *run, MODEL_KEY=test_proposer_cell.KEY)
        assert done.returncode == 0, done.stderr
        assert {headers.get("x-api-key") for _, _, headers, _ in keyed.asked} == {test_proposer_cell.KEY}
        assert decoy.came == 0
    said = [path.read_text() for path in (folder / ".autoresearch" / "proposals").glob("*.out.txt")]
    assert len(said) == len(attacks)
    assert "WON" not in "".join(said)
    *kept, last = log.read(session.journal(folder)).trials.values()
    assert {trial.word for trial in kept} == {"keep"}
    assert (last.word, last.runs) == ("rejected", ()), last.verdict
    assert not (folder / ".autoresearch" / "trees" / str(last.id)).exists()
