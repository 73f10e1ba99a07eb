"""Handing on: branches that measure as certified, conflicts that are told and not forced, and nothing of yours touched."""

import json
import re
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
from helpers import (
    autoresearch,
    eventually,
    fingerprint,
    git,
    journal_lines,
    make_study,
    play,
    runs_for,
    started,
    state_of,
)
from hypothesis import given
from hypothesis import strategies as st
from test_certify import CHANGES, MEASURE, stack

from autoresearch.certify import certify
from autoresearch.errors import AutoresearchError, WorkspaceError
from autoresearch.final import Clash, Final
from autoresearch.finalize import SLUG, Plan, finalize, slug
from autoresearch.session import Listener
from autoresearch.trial import Trial

pytest.importorskip("scipy", reason="finalize needs the extra `stats`")

TOP = "autoresearch/s-final"
KNOBS = """
import os, random
knobs = dict(line.split("=") for line in open("knobs.txt").read().split())
noise = random.Random(os.environ["AUTORESEARCH_SEED"]).gauss(0, 0.05)
print("METRIC loss=%r" % (10 - sum(map(float, knobs.values())) + noise))
"""


def knobs(*lines: str) -> dict[str, Any]:
    return {"idea": f"set {lines[-1]}: because", "files": {"knobs.txt": "".join(f"{line}\n" for line in lines)}}


def chain(folder: Path, *steps: dict[str, Any]) -> Path:
    """A study of one file with four constants, each on its line."""
    files = {"knobs.txt": "a=0\nb=0\nc=0\nd=0\n", "measure.py": KNOBS}
    how: dict[str, Any] = {"measure": {"run": "python measure.py"}, "metric": {"max_step": 100.0}}
    return make_study(folder, *steps, files=files, asset=["knobs.txt"], decide={"policy": "greedy"}, **how)


def made(folder: Path, **plan: Any) -> tuple[Final, list[str]]:
    return finalize(folder, Plan(**({"runs": 3} | plan)), Listener())


def branches(folder: Path) -> list[str]:
    return git(folder, "for-each-ref", "--format=%(refname:short)", f"refs/heads/{TOP}").splitlines()


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Final, list[str], dict[str, str]]:
    """The planted stack with its passenger: played, certified, handed on; and what was the person's before."""
    folder = stack(tmp_path_factory.mktemp("finalize") / "repo")
    (folder / "luck").touch()
    assert play(folder).counts == {"keep": 4}
    (folder / "luck").unlink()
    certify(folder, 3, True, Listener())
    git(folder, "branch", "gone")
    git(folder, "branch", "-D", "gone")  # from here on git has its file of packed refs, which any deletion writes anew
    before = fingerprint(folder)
    found, lines = made(folder, runs=3)
    return folder, found, lines, before


def test_the_union_of_the_branches_measures_as_certified(handed: tuple[Path, Final, list[str], dict[str, str]]) -> None:
    folder, found, _, _ = handed
    claim = state_of(folder).claims[-1]
    assert claim.gain == pytest.approx(3.3, abs=1e-9)
    assert found.together.gain is not None
    assert found.together.gain == pytest.approx(3.3, abs=1e-9)
    assert claim.low - 1e-9 <= found.together.gain <= claim.high + 1e-9
    assert found.notes[-1].startswith("Together the branches measure as certified: the intervals overlap")
    git(folder, "branch", "union", git(folder, "rev-parse", "main" if "main" in git(folder, "branch") else "master"))
    tree = git(folder, "rev-parse", "union^{tree}")
    for name in (branch.name for branch in found.branches):
        tree = git(folder, "merge-tree", "--write-tree", "union", name)
        commit = git(folder, "commit-tree", tree, "-p", "union", "-p", name, "-m", "merged")
        git(folder, "update-ref", "refs/heads/union", commit)
    git(folder, "branch", "-D", "union")
    assert tree == git(folder, "rev-parse", f"{TOP}/all^{{tree}}"), "merging them all gives what was measured"


def test_each_change_has_a_branch_from_the_start_with_its_own_gain_and_the_passenger_has_none(
    handed: tuple[Path, Final, list[str], dict[str, str]],
) -> None:
    folder, found, _, _ = handed
    assert branches(folder) == [f"{TOP}/1-one", f"{TOP}/2-two", f"{TOP}/3-three", f"{TOP}/all"]
    assert found.left_out == (2,)
    assert [branch.gain for branch in found.branches] == [pytest.approx(gain, abs=1e-9) for gain in (1.0, 0.8, 1.5)]
    for branch in found.branches:
        assert git(folder, "rev-parse", f"{branch.name}^") == found.start == git(folder, "rev-parse", "HEAD")
    assert git(folder, "diff", "--name-only", "HEAD", f"{TOP}/2-two") == "two.txt"
    assert git(folder, "rev-list", "--count", f"HEAD..{TOP}/all") == "3"


def test_the_evidence_is_in_the_message_of_the_commit(handed: tuple[Path, Final, list[str], dict[str, str]]) -> None:
    folder, _, _, _ = handed
    message = git(folder, "log", "-1", "--format=%B", f"{TOP}/3-three")
    assert message.splitlines()[0] == "three"
    flat = " ".join(message.split())
    assert "Alone on the start: loss better by 1.5 [1.5, 1.5], 3 fresh paired seeds, search set." in flat
    assert "The certified best loses 1.5 [1.5, 1.5] without it: " in flat
    trailers = git(folder, "log", "-1", "--format=%(trailers:only,unfold)", f"{TOP}/3-three")
    assert trailers == "Study: s\nTrial: 4\nProposed-by: script"


def test_nothing_of_the_persons_is_touched(handed: tuple[Path, Final, list[str], dict[str, str]]) -> None:
    folder, _, _, before = handed
    assert fingerprint(folder) == before
    assert git(folder, "worktree", "list").count("\n") == 0
    assert not list((folder / ".autoresearch" / "trees").glob("*"))


def test_the_lines_for_pull_requests_name_branches_and_bodies_that_exist(
    handed: tuple[Path, Final, list[str], dict[str, str]],
) -> None:
    folder, found, lines, _ = handed
    words = [shlex.split(line) for line in lines]
    assert [line[:2] for line in words] == [["git", "push"], ["gh", "pr"]] * 3
    for branch, line in zip(found.branches, words[1::2], strict=True):
        assert line[line.index("--head") + 1] == branch.name
        assert line[line.index("--base") + 1] == git(folder, "branch", "--show-current")
        assert "Alone on the start" in (folder / line[line.index("--body-file") + 1]).read_text()


def test_it_is_in_the_log_and_measured_on_fresh_seeds_like_a_claim(
    handed: tuple[Path, Final, list[str], dict[str, str]],
) -> None:
    folder, found, _, _ = handed
    assert state_of(folder).finals == [found]
    last = runs_for(folder, "claim")[-15:]
    assert len({run.tree for run in last}) == 5  # the start, three alone, and all together
    others = {run.seed_index for run in state_of(folder).runs.values()} - {run.seed_index for run in last}
    assert min(run.seed_index for run in last) > max(others)


def test_again_with_a_squash_there_is_one_branch_and_those_of_before_are_gone(
    handed: tuple[Path, Final, list[str], dict[str, str]],
) -> None:
    folder, _, _, before = handed
    done = autoresearch("finalize", "--squash", "--no-measure", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert branches(folder) == [f"{TOP}/squashed"]
    assert found["together"]["trials"] == [1, 3, 4]
    assert "gain" not in found["together"] or found["together"]["gain"] is None
    assert git(folder, "rev-list", "--count", f"HEAD..{TOP}/squashed") == "1"
    assert [line.split()[0] for line in found["commands"]] == ["git", "gh"]
    assert fingerprint(folder) == before


# -- conflicts -----------------------------------------------------------------------------------------


def test_a_change_that_needs_another_is_told_and_stands_on_top_of_it(tmp_path: Path) -> None:
    steps = [knobs("a=1", "b=0", "c=0", "d=0"), knobs("a=2", "b=0", "c=0", "d=0"), knobs("a=2", "b=3", "c=0", "d=0")]
    folder = chain(tmp_path / "repo", *steps)
    assert play(folder).counts == {"keep": 3}
    found, lines = made(folder)
    # The third is a neighbour of both; that it conflicts with the first says the same of the second, which needs it.
    assert found.clashes == (Clash(1, 2, alone=False, on_top=True), Clash(1, 3, alone=True, on_top=True))
    first, second, third = found.branches
    assert third.on == ""
    assert (first.on, second.on) == ("", first.name)
    assert second.gain == pytest.approx(1.0, abs=1e-9)
    assert git(folder, "rev-parse", f"{second.name}^") == first.commit
    assert f"--base {first.name}" in lines[3]
    said = " ".join(git(folder, "log", "-1", "--format=%B", second.name).split())
    assert "Trials 1 and 2 conflict: 2 does not apply to the start by itself, and works on top of 1." in said


def test_a_pair_that_conflicts_only_when_merged_is_told_and_not_forced(tmp_path: Path) -> None:
    """Neighbouring lines: each patch has its place on the start, and a merge of both stops."""
    folder = chain(tmp_path / "repo", knobs("a=1", "b=0", "c=0", "d=0"), knobs("a=1", "b=2", "c=0", "d=0"))
    assert play(folder).counts == {"keep": 2}
    found, _ = made(folder)
    assert found.clashes == (Clash(1, 2, alone=True, on_top=True),)
    assert [branch.on for branch in found.branches] == ["", ""]
    assert git(folder, "show", f"{found.branches[1].name}:knobs.txt") == "a=0\nb=2\nc=0\nd=0"
    assert git(folder, "show", f"{TOP}/all:knobs.txt") == "a=1\nb=2\nc=0\nd=0"
    assert found.together.gain == pytest.approx(3.0, abs=1e-9)
    page = autoresearch("finalize", "--no-measure", cwd=folder)
    assert "Trials 1 and 2 conflict when both are merged; 2 works on top of 1." in page.stdout


def test_what_gives_no_value_by_itself_is_told(tmp_path: Path) -> None:
    needs_one = MEASURE + "assert parts['one'] or not parts['two'], 'two needs one'\n"
    folder = stack(tmp_path / "repo", [CHANGES[0], CHANGES[2]], needs_one)
    assert play(folder).counts == {"keep": 2}
    found, _ = made(folder)
    assert [branch.why for branch in found.branches] == ["", "no value by itself: crash"]
    assert found.together.gain == pytest.approx(1.8, abs=1e-9)


def test_an_idea_becomes_no_option_no_command_and_no_mention(tmp_path: Path) -> None:
    evil = "--force; $(touch gone) `touch gone` ../../x @everyone fixes #3 <img>"
    folder = stack(tmp_path / "repo", [CHANGES[0] | {"idea": evil}])
    play(folder)
    found, lines = made(folder, runs=0)
    assert found.branches[0].name == f"{TOP}/1-force-touch-gone-touch-gone-x-everyone"
    title = shlex.split(lines[1])[shlex.split(lines[1]).index("--title") + 1]
    subject = git(folder, "log", "-1", "--format=%s", found.branches[0].name)
    assert title == subject == "--force; $(touch gone) `touch gone` ../../x @ everyone fixes # 3 <img>"
    body = (folder / ".autoresearch" / "final" / "1-force-touch-gone-touch-gone-x-everyone.md").read_text()
    assert body.startswith(f"``{evil}``\n"), "in a code span"


@given(st.text(max_size=80))
def test_whatever_the_idea_its_branch_has_a_name_that_git_takes(idea: str) -> None:
    name = slug(Trial(7, "", "", idea=idea))
    assert re.fullmatch(r"[a-z0-9]+([-.][a-z0-9]+)*", name), name
    assert len(name) <= SLUG
    assert not name.endswith(".lock")


@pytest.mark.parametrize(
    ("idea", "name"),
    [
        ("raise LR 0.3 -> 0.06: not tried yet", "raise-lr-0.3-0.06"),
        ("..", "trial-7"),
        ("0..5 and .5 and 5.", "0-5-and-5-and-5"),
        ("1." * 40, "1.1-1.1-1.1-1.1-1.1-1.1-1.1-1.1-1.1-1.1"),
        ("a.lock", "a-lock"),
    ],
)
def test_numbers_stay_readable_in_the_name(idea: str, name: str) -> None:
    assert slug(Trial(7, "", "", idea=idea)) == name


# -- branches in the way -------------------------------------------------------------------------------


def test_a_checked_out_branch_is_never_moved(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", CHANGES[:1])
    play(folder)
    found, _ = made(folder, runs=0)
    git(folder, "worktree", "add", "--quiet", str(tmp_path / "elsewhere"), found.branches[0].name)
    runs = len(state_of(folder).runs)
    with pytest.raises(WorkspaceError, match=r"1-one is checked out in .*elsewhere"):
        made(folder, replace=True)
    assert git(folder, "rev-parse", found.branches[0].name) == found.branches[0].commit
    assert len(state_of(folder).runs) == runs, "refused before anything is measured"


def test_a_branch_with_commits_of_the_persons_is_left_alone_unless_they_say_otherwise(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", CHANGES[:1])
    play(folder)
    git(folder, "branch", f"{TOP}/1-one")
    mine = git(folder, "rev-parse", f"{TOP}/1-one")
    with pytest.raises(WorkspaceError, match="is not as autoresearch left it"):
        made(folder)
    assert git(folder, "rev-parse", f"{TOP}/1-one") == mine
    made(folder, runs=0, replace=True)
    assert git(folder, "rev-parse", f"{TOP}/1-one^") == mine
    git(folder, "branch", f"{TOP}/notes")
    made(folder, runs=0)
    assert branches(folder) == [f"{TOP}/1-one", f"{TOP}/all", f"{TOP}/notes"]


def test_a_branch_where_the_folder_must_be_is_told(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", CHANGES[:1])
    play(folder)
    git(folder, "branch", TOP)
    with pytest.raises(WorkspaceError, match="rename it"):
        made(folder)


def test_where_nothing_was_kept_there_is_nothing_to_hand_on(tmp_path: Path) -> None:
    folder = chain(tmp_path / "repo", knobs("a=-1", "b=0", "c=0", "d=0"))
    play(folder)
    with pytest.raises(AutoresearchError, match="no change was kept"):
        made(folder)


def test_killed_while_it_measures_it_leaves_no_branch_and_begins_again(tmp_path: Path) -> None:
    slow = KNOBS + "import time\nif os.path.exists('../../../slow'): time.sleep(0.3)\n"
    folder = chain(tmp_path / "repo", knobs("a=1", "b=0", "c=0", "d=0"))
    (folder / "measure.py").write_text(slow)
    git(folder, "commit", "-qam", "slower")
    play(folder)
    (folder / "slow").touch()
    before = fingerprint(folder)
    with started("finalize", "--runs", "3", cwd=folder) as process:
        assert eventually(lambda: len(runs_for(folder, "claim")) > 1, 20)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert branches(folder) == []
    assert state_of(folder).finals == []
    found, _ = made(folder)
    assert branches(folder) == [f"{TOP}/1-set-d-0", f"{TOP}/all"]
    assert fingerprint(folder) == before
    assert journal_lines(folder)[-2]["event"] == "finalized"
    assert found.together.gain == pytest.approx(1.0, abs=1e-9)


def test_killed_between_the_branches_and_the_log_the_same_command_makes_them_again(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", CHANGES[:1])
    play(folder)
    made(folder, runs=0)
    log = folder / ".autoresearch" / "events.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    assert "finalized" in lines[-2]
    log.write_text("".join(lines[:-2]))
    found, _ = made(folder, runs=0)
    assert branches(folder) == [f"{TOP}/1-one", f"{TOP}/all"]
    assert state_of(folder).finals == [found]
