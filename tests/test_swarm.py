"""A study in a swarm, for real: sessions in clones of one repository find, tell, measure again and keep."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers import Recorder, git, make_study, step

from autoresearch import session
from autoresearch.cli import main
from autoresearch.session import Goal
from autoresearch.share import node, settings, verify
from autoresearch.share.board import evidence, read_book
from autoresearch.share.book import Book
from autoresearch.state import State
from autoresearch.trial import FINDING
from autoresearch.workspace import HOME

SUM = "sleep 0.3; echo METRIC loss=$(cat part/* | awk '{s += $1} END {print 100 - s}')\n"
PARTS = {f"part/{name}": "0\n" for name in "abc"} | {"program.md": "a secret goal\n"}


def idea(name: str, value: int) -> dict[str, Any]:
    return {"idea": f"set {name} to {value}", "files": {f"part/{name}": f"{value}\n"}}


def peers(folder: Path, *ideas: list[dict[str, Any]], **changes: Any) -> list[Path]:
    """Clones of one bare repository, each with a script of its own, in one swarm over that repository."""
    first = make_study(
        folder / "first",
        start=SUM,
        files=PARTS,
        asset=["part/*"],
        propose={"script": "own.jsonl"},
        execute={"sandbox": "auto"},
        decide={"calibrate": 2, "policy": "climb"},
        **changes,
    )
    bare = folder / "bare.git"
    git(folder, "init", "-q", "--bare", str(bare))
    git(first, "remote", "add", "origin", str(bare))
    git(first, "push", "-q", "origin", "HEAD:refs/heads/main")
    invitation = invited(first, "--git", "origin", "--name", "ada")
    found = [first]
    for number in range(1, len(ideas)):
        other = folder / f"peer{number}"
        git(folder, "clone", "-q", "-b", "main", str(bare), str(other))
        joined = CliRunner().invoke(
            main, ["swarm", "join", "-C", str(other), "--name", f"bob {number}", "--yes", invitation]
        )
        assert joined.exit_code == 0, joined.output
        found.append(other)
    for peer, own in zip(found, ideas, strict=True):
        (peer / "own.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in own))  # untracked: each has its own
    return found


def invited(folder: Path, *words: str) -> str:
    done = CliRunner().invoke(main, ["swarm", "init", "-C", str(folder), "--yes", *words])
    assert done.exit_code == 0, done.output
    return next(line for line in done.output.splitlines() if "swarm join " in line).rpartition(" ")[2]


def run(folder: Path, trials: int) -> tuple[State, Recorder]:
    recorder = Recorder()
    return session.run(folder, Goal(trials=trials), recorder), recorder


def book(folder: Path) -> Book:
    return Book(settings.folder(folder / HOME) / node.BOOK)


def test_a_finding_is_taken_up_only_where_it_was_measured_again_and_no_socket_is_open(tmp_path: Path) -> None:
    useless = [idea("b", -number) for number in range(1, 7)]
    ada, bob = peers(tmp_path, [idea("a", 20)], useless)
    state, _ = run(ada, 1)
    assert [trial.word for trial in state.trials.values()] == ["keep", "keep"]
    state, recorder = run(bob, 6)
    taken = [trial for trial in state.trials.values() if FINDING in trial.memo]
    assert [trial.word for trial in taken] == ["keep"], recorder.said
    assert taken[0].idea.startswith("ada (")
    assert taken[0].idea.endswith(") found: set a to 20")
    assert state.best is not None
    assert state.mean(state.best.tree) == 80, "bob's own measurement"
    inodes = {
        link.split("[")[1][:-1] for fd in os.listdir("/proc/self/fd") if (link := _link(fd)).startswith("socket:[")
    }
    listed = [Path(f"/proc/self/net/{kind}").read_text().splitlines()[1:] for kind in ("tcp", "tcp6", "udp", "udp6")]
    assert not inodes & {line.split()[9] for lines in listed for line in lines}

    run(ada, 0)  # and ada hears of it
    books = [book(ada), book(bob)]
    assert books[0].digest() == books[1].digest()
    swarm = read_book(books[0])
    claim = next(told for told in swarm.findings.values() if told.claims)
    assert evidence(claim) == (1, 0)
    assert {member.name for member in swarm.members.values()} == {"ada", "bob 1"}
    for folder in (ada, bob):
        tables, wrong = verify.differences(settings.folder(folder / HOME) / node.BOOK)
        assert wrong == []
        # Runs of the trials that were told of; those of rejected ones were none.
        assert [adoption.finding for adoption in tables.adoptions] == [claim.id]
    runs = {peer.name: peer.runs for peer in tables.peers}
    assert runs["bob 1"] == len([run for run in state.runs.values() if run.value is not None])


def _link(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def test_what_leaves_is_listed_and_nothing_else_leaves(tmp_path: Path) -> None:
    ada, _ = peers(tmp_path, [idea("a", 20)], [])
    run(ada, 1)
    said = CliRunner().invoke(main, ["swarm", "init", "-C", str(ada)]).output
    assert "takes part in a swarm already" in said
    left = (settings.folder(ada / HOME) / node.BOOK).read_text()
    for secret in ("a secret goal", str(tmp_path), "own.jsonl", "program"):
        assert secret not in left
    # As a word: a short name stands in a signature's letters by chance.
    assert not re.search(rf"(?<![\w-]){re.escape(os.uname().nodename)}(?![\w-])", left)
    refs = git(tmp_path / "bare.git", "for-each-ref", "--format=%(refname)")
    ours = [ref for ref in refs.splitlines() if ref.startswith("refs/autoresearch-swarm/")]
    assert len(ours) == 1
    shown = git(tmp_path / "bare.git", "log", "--format=%an %ae %cn %ce %s", ours[0])
    assert "a secret" not in shown
    assert "autoresearch@localhost" in shown


def test_foreign_code_is_not_run_without_a_sandbox(tmp_path: Path) -> None:
    ada, bob = peers(tmp_path, [idea("a", 20)], [idea("b", -1), idea("b", -2)])
    run(ada, 1)
    study = bob / "study.toml"
    study.write_text(study.read_text().replace('"auto"', '"none"'))
    state, recorder = run(bob, 2)
    assert not any(FINDING in trial.memo for trial in state.trials.values())
    assert any("findings are not tried here" in said for said in recorder.said)
    assert len(book(bob).chains) == 2, "it is told and hears all the same"


def test_without_a_network_a_study_goes_on_and_says_so_once(tmp_path: Path) -> None:
    ada, _ = peers(tmp_path, [idea("a", 20), idea("b", 1), idea("c", 1)], [])
    (tmp_path / "bare.git").rename(tmp_path / "gone.git")
    state, recorder = run(ada, 3)
    assert [trial.word for trial in state.trials.values()] == ["keep"] * 4
    assert len([said for said in recorder.said if "git" in said]) == 1
    (tmp_path / "gone.git").rename(tmp_path / "bare.git")
    run(ada, 0)
    assert len(book(ada).entries) == 5
    assert git(tmp_path / "bare.git", "for-each-ref", "--format=%(refname)", "refs/autoresearch-swarm/")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["init"], "say how others are reached"),
        (["join", "nonsense"], "this is no invitation"),
        (["status"], "takes part in no swarm"),
        (["verify"], "takes part in no swarm"),
    ],
)
def test_what_is_wrong_is_said_and_exits_2(tmp_path: Path, words: list[str], says: str) -> None:
    make_study(tmp_path, step("true\n"))
    done = subprocess.run(
        [sys.executable, "-m", "autoresearch", "swarm", words[0], "-C", str(tmp_path), *words[1:]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_person_sees_peers_boards_and_findings_and_leaves(tmp_path: Path) -> None:
    ada, bob = peers(tmp_path, [idea("a", 20)], [idea("b", -number) for number in range(1, 7)])
    run(ada, 1), run(bob, 6), run(ada, 0)
    cli = CliRunner()
    shown = {
        word: cli.invoke(main, ["swarm", word, "-C", str(ada)]).output
        for word in ("status", "board", "findings", "verify")
    }
    assert "ada" in shown["status"]
    assert "bob 1" in shown["status"]
    assert "80" in shown["board"]
    assert "holds" in shown["findings"]
    assert shown["verify"].startswith("all is as it says: ")
    printed = cli.invoke(main, ["swarm", "board", "--json", "-C", str(ada)]).output
    (tmp_path / "shown.json").write_text(printed)
    assert cli.invoke(main, ["swarm", "verify", "-C", str(ada), str(tmp_path / "shown.json")]).exit_code == 0
    (tmp_path / "shown.json").write_text(printed.replace('"runs": 3', '"runs": 300'))
    found = cli.invoke(main, ["swarm", "verify", "-C", str(ada), str(tmp_path / "shown.json")])
    assert found.exit_code == 1
    assert "300" in found.output
    assert cli.invoke(main, ["swarm", "leave", "-C", str(ada)]).exit_code == 0
    assert "no swarm" in cli.invoke(main, ["swarm", "status", "-C", str(ada)]).output
    state, _ = run(ada, 0)
    assert state.best is not None
