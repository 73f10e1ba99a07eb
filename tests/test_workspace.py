"""Git as a study uses it: everything of the person's stays as it is, and only the asset ever changes."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import (
    Recorder,
    autoresearch,
    commit,
    contract,
    fingerprint,
    git,
    journal_lines,
    make_study,
    play,
    repository,
    says,
    script,
    step,
    toml,
    words,
    write,
)

from autoresearch import session, worktrees
from autoresearch.errors import ProposerError, StudyError, WorkspaceError
from autoresearch.patch import code_lines
from autoresearch.study import Study, load, parse
from autoresearch.trial import Proposal, Trial
from autoresearch.workspace import Workspace

BUSY_NIGHT = (says(9), says(11), step("exit 1\n"), step("echo METRIC loss=1\n", more={"study.toml": "x"}), says(8))


@contextlib.contextmanager
def untouched(folder: Path) -> Iterator[None]:
    """What is the person's is byte for byte the same afterwards."""
    before = fingerprint(folder)
    try:
        yield
    finally:
        after = fingerprint(folder)
        assert {name for name in before | after if before.get(name) != after.get(name)} == set()


# -- the person's checkout -----------------------------------------------------------------------------


def test_a_study_leaves_checkout_index_branches_and_configuration_as_they_were(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "repo", *BUSY_NIGHT)
    play(folder, trials=1)  # a study starts from what is committed; after that, the checkout is the person's to use
    git(folder, "branch", "other")
    git(folder, "tag", "v1")
    git(folder, "config", "some.key", "value")
    write(
        folder, {"untracked.txt": "mine\n", "staged.txt": "in the index\n", ".gitignore": "ignored\n", "ignored": "x"}
    )
    git(folder, "add", "staged.txt")
    (folder / "step.sh").write_text("an edit that is under way\n")
    with untouched(folder):
        state = play(folder)
    assert words(state) == ["keep", "discard", "crash", "rejected", "keep"]


def test_a_file_that_was_only_touched_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9))
    os.utime(folder / "step.sh", (1e9, 1e9))  # same content, another time: git would like to note that
    with untouched(folder):
        play(folder)


def test_a_study_that_fails_to_start_leaves_everything_as_it_was(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9))
    (folder / "step.sh").write_text("echo METRIC loss=3\n")
    with untouched(folder), pytest.raises(WorkspaceError, match=r"'step\.sh' has changes that are not committed"):
        play(folder)


def test_a_detached_head_and_a_bare_start_are_fine(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9))
    git(folder, "checkout", "--quiet", "--detach")
    with untouched(folder):
        assert words(play(folder)) == ["keep"]


def test_the_worktrees_are_gone_afterwards(tmp_path: Path) -> None:
    folder = make_study(tmp_path, *BUSY_NIGHT)
    play(folder)
    assert not (folder / ".git" / "worktrees").exists()
    assert not list((folder / ".autoresearch" / "trees").iterdir())
    assert git(folder, "status", "--porcelain") == ""


def test_a_worktree_of_ours_is_one_to_git_and_leaves_one_of_the_same_name_alone(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "repo", says(9))
    theirs = tmp_path / "0"
    git(folder, "worktree", "add", "--quiet", "--detach", str(theirs))
    head = git(folder, "rev-parse", "HEAD")
    workspace = Workspace(folder, load(folder))
    with workspace.at("0", head, head) as tree:
        listed = git(folder, "worktree", "list", "--porcelain").split("\n\n")
        assert [entry.splitlines()[0] for entry in listed] == [f"worktree {top}" for top in (folder, theirs, tree.top)]
        assert f"HEAD {head}\ndetached" in listed[2]
        assert git(tree.top, "status", "--porcelain") == ""
        git(folder, "worktree", "prune", "--expire", "now")
        (tree.top / ".git").unlink()  # whatever a candidate does to it
    listed = git(folder, "worktree", "list", "--porcelain").split("\n\n")
    assert [entry.splitlines()[0] for entry in listed] == [f"worktree {top}" for top in (folder, theirs)]


def test_what_a_killed_program_left_of_a_worktree_is_removed(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9))
    left = folder / ".git" / f"{worktrees.ASIDE}0123"
    half = folder / ".autoresearch" / "trees" / "7"
    for made in (left, half):
        made.mkdir(parents=True)
    os.utime(left, (1e9, 1e9))
    play(folder)
    assert not left.exists()
    assert not half.exists()


def test_our_folder_ignores_itself(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9))
    play(folder)
    assert git(folder, "check-ignore", ".autoresearch/events.jsonl") == ".autoresearch/events.jsonl"


def test_hooks_that_would_fail_are_not_ours_to_run(tmp_path: Path, home: Path) -> None:
    folder = make_study(tmp_path / "repo", *BUSY_NIGHT)
    hooks = [folder / ".git" / "hooks", home / "hooks"]
    for place in hooks:
        place.mkdir(exist_ok=True)
        for name in (
            "pre-commit",
            "commit-msg",
            "post-checkout",
            "post-commit",
            "reference-transaction",
            "post-index-change",
        ):
            (place / name).write_text(f"#!/bin/sh\ntouch {home}/hooked\nexit 1\n")
            (place / name).chmod(0o755)
    (home / ".gitconfig").write_text(f"[core]\n\thooksPath = {home}/hooks\n")
    with untouched(folder):
        assert len(words(play(folder))) == 5
    assert not (home / "hooked").exists()


CONFIGURATIONS = {
    "signing, encodings and looks": "[commit]\n\tgpgsign = true\n[gpg]\n\tprogram = false\n[tag]\n\tgpgsign = true\n"
    "[i18n]\n\tcommitEncoding = latin1\n\tlogOutputEncoding = latin1\n[format]\n\tpretty = oneline\n"
    "[status]\n\tshort = true\n[log]\n\tshowSignature = true\n[color]\n\tui = always\n[core]\n\tpager = false\n"
    "[worktree]\n\tguessRemote = true\n[checkout]\n\tdefaultRemote = x\n[submodule]\n\trecurse = true\n",
    "line ends on the way in": "[core]\n\tautocrlf = input\n\tfileMode = false\n\tquotePath = false\n",
    "line ends both ways": "[core]\n\tautocrlf = true\n",
    "prefixes of patches": "[diff]\n\tnoprefix = true\n\tmnemonicPrefix = true\n",
    "a diff program": "[diff]\n\texternal = false\n\trenames = copies\n\trelative = true\n",
    "white space": "[apply]\n\twhitespace = error\n[core]\n\twhitespace = tab-in-indent\n",
}


def meets(folder: Path, own: str, other: str) -> str:
    """Shell that waits until the other run has begun too, so that both start from the same best."""
    return f"touch '{folder}/{own}'\nfor i in $(seq 300); do test -e '{folder}/{other}' && break; sleep 0.01; done\n"


def two_that_meet(folder: Path) -> Path:
    """A study of two proposals that are each better, in files of their own, and are measured at the same time."""
    (folder / "meet").mkdir()
    start = (
        "a=$(tr -dc 0-9 < a.txt) b=$(tr -dc 0-9 < b.txt)\n"
        f"if test $a$b = 45; then\n{meets(folder / 'meet', 'a', 'b')}fi\n"
        f"if test $a$b = 53; then\n{meets(folder / 'meet', 'b', 'a')}fi\n"
        "echo METRIC loss=$((a + b))\n"
    )
    return make_study(
        folder / "repo",
        {"idea": "a smaller a \N{SNOWMAN}", "files": {"a.txt": "4\n"}},
        {"idea": "a smaller b", "files": {"b.txt": "\t3  \n"}},
        start=start,
        files={"a.txt": "5\n", "b.txt": "5\n"},
        asset=["a.txt", "b.txt"],
    )


@pytest.mark.parametrize("config", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_no_configuration_of_the_person_changes_what_is_measured(tmp_path: Path, home: Path, config: str) -> None:
    folder = two_that_meet(tmp_path)
    with (home / ".gitconfig").open("a") as file:
        file.write(config)
    with untouched(folder):
        state = play(folder, workers=2)
    # The stale one's patch was carried over, through git's own diff and apply.
    assert sorted(words(state)) == ["keep", "keep", "stale"]
    assert sorted(t.verdict.value or 0 for t in state.trials.values() if t.verdict) == [7.0, 8.0, 9.0, 10.0]
    assert git(folder, "show", "autoresearch/s:b.txt").strip() == "3"
    best = Workspace(folder, load(folder)).diff(state.opened.start, state.best.commit)  # type: ignore[union-attr]
    (folder / "p.patch").write_bytes(best)
    git(folder, "-c", "apply.whitespace=nowarn", "apply", "--check", "p.patch")


def test_a_checkout_with_other_line_ends_than_its_commits_is_not_a_changed_one(tmp_path: Path, home: Path) -> None:
    folder = make_study(tmp_path, says(9))
    with (home / ".gitconfig").open("a") as file:
        file.write("[core]\n\tautocrlf = true\n")
    for name in ("step.sh", "program.md"):
        (folder / name).unlink()
    git(folder, "checkout", "--quiet", ".")
    assert (folder / "step.sh").read_bytes().endswith(b"\r\n")
    os.utime(folder / "step.sh", (1e9, 1e9))
    with untouched(folder):
        assert words(play(folder)) == ["keep"]


def test_git_variables_of_a_surrounding_hook_do_not_mislead(tmp_path: Path) -> None:
    other = repository(tmp_path / "other", {"x": "y"})
    folder = make_study(tmp_path / "repo", says(9))
    misleading = {"GIT_DIR": str(other / ".git"), "GIT_INDEX_FILE": str(other / ".git" / "index"), "GIT_WORK_TREE": "/"}
    with untouched(other), untouched(folder):
        done = autoresearch("run", cwd=folder, env=misleading)
    assert done.returncode == 0, done.stderr
    assert git(folder, "log", "-1", "--format=%s", "autoresearch/s") == "say 9"


# -- where a study may live ----------------------------------------------------------------------------


def test_a_study_in_a_subfolder_sees_the_rest_of_its_repository_as_frozen(tmp_path: Path) -> None:
    top = repository(tmp_path, {"shared.txt": "7\n", "README.md": "all of it\n"})
    start = "echo METRIC loss=$(( $(cat ../../shared.txt) + 3 ))\n"
    steps = (
        step("echo METRIC loss=$(( $(cat ../../shared.txt) + 2 ))\n", "inside"),
        step("echo METRIC loss=0\n", "outside", more={"../../shared.txt": "0\n"}),
        step("echo METRIC loss=$(( $(cat ../../shared.txt) + 1 ))\n", "inside again"),
    )
    folder = top / "deep" / "er study"
    own = {"study.toml": toml(contract()), "step.sh": start, "steps.jsonl": script(*steps)}
    write(folder, own)
    commit(top)
    with untouched(top):
        state = play(folder)
    assert words(state) == ["keep", "rejected", "keep"]
    assert "'shared.txt'" in str(state.trials[2].problem)
    assert git(top, "show", "autoresearch/s:deep/er study/step.sh").endswith("+ 1 ))")
    assert (folder / ".autoresearch" / "events.jsonl").exists()
    assert not (top / ".autoresearch").exists()


def test_a_subfolder_whose_name_begins_with_a_space_is_a_place_like_any_other(tmp_path: Path) -> None:
    top = repository(tmp_path, {"README.md": "x\n"})
    folder = top / " odd"
    write(folder, {"study.toml": toml(contract()), "step.sh": "echo METRIC loss=2\n", "steps.jsonl": script(says(1))})
    commit(top)
    assert words(play(folder)) == ["keep"]


def test_a_linked_worktree_of_the_person_can_hold_a_study(tmp_path: Path) -> None:
    main = make_study(tmp_path / "main", says(9))
    linked = tmp_path / "linked"
    git(main, "worktree", "add", "--quiet", str(linked), "-b", "side")
    with untouched(linked):
        assert words(play(linked)) == ["keep"]


def test_a_folder_that_is_no_repository_is_refused_with_a_remedy(tmp_path: Path) -> None:
    write(tmp_path, {"study.toml": toml(contract())})
    with pytest.raises(WorkspaceError, match=r"not inside a git repository.*git init && git add -A && git commit"):
        play(tmp_path)


def test_a_repository_without_a_commit_is_refused_with_a_remedy(tmp_path: Path) -> None:
    write(tmp_path, {"study.toml": toml(contract()), "step.sh": "", "steps.jsonl": ""})
    git(tmp_path, "init", "--quiet")
    with pytest.raises(WorkspaceError, match=r"has no commit yet.*git commit"):
        play(tmp_path)


def test_an_asset_that_git_does_not_track_is_refused_with_a_remedy(tmp_path: Path) -> None:
    folder = make_study(tmp_path, asset=["not-there.py"])
    with pytest.raises(StudyError, match=r"asset 'not-there.py' matches no file that git tracks"):
        play(folder)


def test_names_of_any_kind_in_the_asset_are_only_names(tmp_path: Path) -> None:
    names = [
        "with space.txt",
        "snow\N{SNOWMAN}man.txt",
        "new\nline.txt",
        "tab\t.txt",
        'quo"te.txt',
        "-dash.txt",
        ":colon.txt",
    ]
    edits = [{"idea": f"edit {i}", "files": {f"data/{name}": "changed\n"}} for i, name in enumerate(names)]
    folder = make_study(
        tmp_path / "a repo \N{SNOWMAN}",
        *edits,
        start="grep -rh start data | wc -l | sed 's/^ */METRIC loss=/'\n",
        files={f"data/{name}": "start\n" for name in names},
        asset=["data"],
    )
    with untouched(folder):
        state = play(folder)
    assert words(state) == ["keep"] * len(names)
    assert state.trials[1].lines == (1, 1)


def test_frozen_files_whose_names_are_not_text_are_frozen_all_the_same(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9))
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("latin-1 in its name\n")
    commit(folder)
    assert words(play(folder)) == ["keep"]


# -- the branch of the best ----------------------------------------------------------------------------


def test_kept_changes_form_a_branch_and_every_trial_keeps_its_ref(tmp_path: Path) -> None:
    folder = make_study(tmp_path, *BUSY_NIGHT)
    state = play(folder)
    assert state.best is not None
    assert git(folder, "rev-parse", "autoresearch/s") == state.best.commit
    assert git(folder, "rev-parse", "refs/autoresearch/s/best") == state.best.commit
    assert git(folder, "log", "--format=%s", "autoresearch/s").splitlines() == ["say 8", "say 9", "by the person"]
    for trial in state.trials.values():
        if not trial.is_baseline:
            assert git(folder, "rev-parse", f"refs/autoresearch/s/trials/{trial.id}") == trial.commit
            assert git(folder, "rev-parse", f"{trial.commit}^") == trial.base


def test_a_kept_commit_carries_trailers_that_git_reads(tmp_path: Path) -> None:
    folder = make_study(
        tmp_path, says(9, "a first idea\nTrial: 99\n\nValue-after: 0"), says(7.5, "a second"), metric={"unit": "s"}
    )
    state = play(folder)
    message = git(folder, "log", "-1", "--format=%B", "autoresearch/s")
    trailers = dict(
        line.split(": ", 1) for line in git(folder, "interpret-trailers", "--parse", input=message).splitlines()
    )
    assert trailers == {
        "Study": "s",
        "Trial": "2",
        "Proposed-by": "script",
        "Value-before": "9.0",
        "Value-after": "7.5",
    }
    assert message.splitlines()[:3] == ["a second", "", "loss 9 -> 7.5 s. better by 1.5 over 1 run"]
    first = git(folder, "log", "-1", "--format=%B", "autoresearch/s^")
    trailers = dict(
        line.split(": ", 1) for line in git(folder, "interpret-trailers", "--parse", input=first).splitlines()
    )
    assert (trailers["Trial"], trailers["Value-after"]) == ("1", "9.0")
    assert first.splitlines()[0] == "a first idea Trial: 99 Value-after: 0"
    assert state.best is not None
    own = git(folder, "log", "-1", "--format=%B", "refs/autoresearch/s/trials/2")
    assert '"step":1' in git(folder, "interpret-trailers", "--parse", input=own)


def test_an_idea_of_control_characters_is_a_plain_line_in_the_commit(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9, "\x1b[31mred\x07 \u202e and\r\nlong " + "x" * 1000), says(8, " \n "))
    play(folder)
    second, first, _ = git(folder, "log", "--format=%s", "autoresearch/s").splitlines()
    assert first.isprintable()
    assert len(first) == 300
    assert second == "(no idea given)"


def test_a_branch_that_is_checked_out_is_not_moved_and_the_person_is_told(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), says(8))
    play(folder, trials=1)
    git(folder, "checkout", "--quiet", "autoresearch/s")
    recorder = Recorder()
    with untouched(folder):
        state = play(folder, recorder)
    assert state.best is not None
    assert git(folder, "rev-parse", "HEAD") == state.trials[1].kept_as
    assert git(folder, "rev-parse", "refs/autoresearch/s/best") == state.best.commit
    assert any("is checked out in" in said and "refs/autoresearch/s/best" in said for said in recorder.said)
    git(folder, "checkout", "--quiet", "main")
    play(folder)
    assert git(folder, "rev-parse", "autoresearch/s") == state.best.commit


def test_a_branch_that_the_person_committed_to_is_not_moved_and_they_are_told(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), says(8))
    play(folder, trials=1)
    git(folder, "checkout", "--quiet", "autoresearch/s")
    write(folder, {"mine.txt": "mine\n"})
    mine = commit(folder)
    git(folder, "checkout", "--quiet", "main")
    recorder = Recorder()
    play(folder, recorder)
    assert git(folder, "rev-parse", "autoresearch/s") == mine
    assert any("carries commits of your own" in said for said in recorder.said)


def test_a_branch_that_was_deleted_comes_back(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), says(8))
    play(folder, trials=1)
    git(folder, "branch", "-D", "autoresearch/s")
    state = play(folder)
    assert state.best is not None
    assert git(folder, "rev-parse", "autoresearch/s") == state.best.commit


@pytest.mark.parametrize("name", ["autoresearch/s", "autoresearch/s/x", "autoresearch"])
def test_a_branch_in_the_way_is_refused_before_anything_is_run(tmp_path: Path, name: str) -> None:
    folder = make_study(tmp_path, says(9))
    git(folder, "branch", name)
    with untouched(folder), pytest.raises(WorkspaceError, match=rf"branch {name}\b.*rename"):
        play(folder)
    assert not (folder / ".autoresearch" / "runs").exists()


# -- what a proposal may touch -------------------------------------------------------------------------


def sub_repository(path: Path, with_commit: bool) -> None:
    repository(path, {"inner.txt": "x\n"}) if with_commit else git(path.parent, "init", "--quiet", str(path))


def becomes_a_link(path: Path, target: str) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(target)


CheckCase = tuple[str, Callable[[Path], object], str]
CHECKS: list[CheckCase] = [
    ("nothing", lambda p: None, "it changes nothing"),
    ("ignored file only", lambda p: (p / "x.log").write_text("x"), "it changes nothing"),
    ("frozen file edited", lambda p: (p / "frozen.py").write_text("pass\n"), "touches frozen files: 'st/frozen.py'"),
    ("frozen file deleted", lambda p: (p / "frozen.py").unlink(), "touches frozen files: 'st/frozen.py'"),
    ("frozen file made executable", lambda p: (p / "frozen.py").chmod(0o755), "touches frozen files: 'st/frozen.py'"),
    ("frozen file renamed into the asset", lambda p: (p / "frozen.py").rename(p / "lib" / "f.py"), "frozen files: 'st/frozen.py'"),
    ("asset renamed out", lambda p: (p / "lib" / "a.py").rename(p / "b.py"), "touches frozen files: 'st/b.py'"),
    ("new file outside", lambda p: (p / "new.py").write_text("x"), "touches frozen files: 'st/new.py'"),
    ("new file in a new folder", lambda p: write(p, {"etc/new.py": "x"}), "touches frozen files: 'st/etc/new.py'"),
    ("contract", lambda p: (p / "study.toml").write_text("name"), "touches frozen files: 'st/study.toml'"),
    ("ignore rules", lambda p: (p / ".gitignore").write_text("x"), "touches frozen files: 'st/.gitignore'"),
    ("attributes", lambda p: (p / ".gitattributes").write_text("* text"), "touches frozen files: 'st/.gitattributes'"),
    ("above the study", lambda p: write(p, {"../above.py": "x"}), "touches frozen files: 'above.py'"),
    ("link in the asset", lambda p: (p / "lib" / "l").symlink_to("/etc/passwd"), "not a plain file: .*lib/l'"),
    ("asset file becomes a link", lambda p: becomes_a_link(p / "lib" / "a.py", "../frozen.py"),
     "not a plain file: .*lib/a.py'"),
    ("asset folder becomes a link", lambda p: becomes_a_link(p / "lib", "/tmp"), "not a plain file"),
    ("nested repository", lambda p: sub_repository(p / "lib" / "sub", with_commit=True), "not a plain file: .*lib/sub'"),
    ("many frozen files", lambda p: write(p, {f"n{i}.py": "x" for i in range(9)}), "and 6 more"),
]  # fmt: skip


@pytest.fixture
def study() -> Study:
    return parse(toml(contract(asset=["lib", "opt.py"])))


@pytest.fixture
def workspace(tmp_path: Path, study: Study) -> Workspace:
    top = repository(
        tmp_path / "repo",
        {"st/study.toml": "x", "st/lib/a.py": "a = 1\n", "st/frozen.py": "f = 1\n", "st/.gitignore": "*.log\n"},
    )
    return Workspace(top / "st", study)


def trial_of(workspace: Workspace, id: int = 1) -> Trial:
    return Trial(id, *workspace.head())


@pytest.mark.parametrize(("edit", "expected"), [case[1:] for case in CHECKS], ids=[case[0] for case in CHECKS])
def test_a_change_that_may_not_be_tried_is_found(
    workspace: Workspace, edit: Callable[[Path], object], expected: str
) -> None:
    with untouched(workspace.folder.parent), workspace.open(trial_of(workspace)) as tree:
        edit(tree.path)
        problem = workspace.problem(tree.change())
    assert problem is not None
    assert re.search(expected, problem), problem


OddEdit = Callable[[Path], object]


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: sub_repository(p / "lib" / "sub", with_commit=False),
        lambda p: (p / ".." / ".git").resolve().unlink(),
        lambda p: ((p / ".." / ".git").resolve().unlink(), git(p.parent, "init", "--quiet")),
        lambda p: (p / ".." / ".git").resolve().write_text("gitdir: /nowhere\n"),
    ],
    ids=["an empty repository inside", "no .git", "a repository of its own", "a .git that points nowhere"],
)
def test_a_worktree_that_a_proposer_broke_is_its_own_trouble_and_nobody_elses(
    workspace: Workspace, edit: OddEdit
) -> None:
    with untouched(workspace.folder.parent), workspace.open(trial_of(workspace)) as tree:
        (tree.path / "lib" / "a.py").write_text("a = 2\n")
        edit(tree.path)
        with contextlib.suppress(ProposerError):  # rejecting the trial is fine, and so is seeing through it
            change = tree.change()
            assert workspace.problem(change) or list(change.modes) == ["st/lib/a.py"]


def test_a_worktree_that_a_run_broke_never_leads_git_to_the_persons_checkout(tmp_path: Path) -> None:
    breaks = "rm -rf .git\necho METRIC loss=$(( 10 + AUTORESEARCH_SEED % 7 ))\n"
    folder = make_study(tmp_path, step("rm -rf .git\necho METRIC loss=9\n"), start=breaks, decide={"calibrate": 3})
    write(folder, {"untracked.txt": "mine\n"})
    with (folder / "study.toml").open("a") as file:
        file.write("# a note that is not committed yet\n")
    with untouched(folder):
        play(folder)


def test_a_worktree_that_is_deleted_while_it_is_used_ends_with_a_clear_error(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), start='rm -rf "$PWD"\necho METRIC loss=10\n', decide={"calibrate": 2})
    with untouched(folder), pytest.raises(WorkspaceError, match=r"trees/0 is gone.*`autoresearch run`"):
        play(folder)
    assert journal_lines(folder)[-1]["event"] == "run_finished"


def test_a_worktree_that_was_deleted_between_sessions_is_made_anew(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9))
    play(folder)
    shutil.rmtree(folder / ".autoresearch" / "trees")
    assert words(play(folder)) == ["keep"]


def test_what_may_change_may_be_edited_added_deleted_and_made_executable(workspace: Workspace) -> None:
    with workspace.open(trial_of(workspace)) as tree:
        write(tree.path, {"lib/new/b.py": "b = 1\nb = 2\n", "opt.py": "x\n"})
        (tree.path / "lib" / "a.py").chmod(0o755)
        change = tree.change()
        assert workspace.problem(change) is None
        assert change.modes == {"st/lib/a.py": "100755", "st/lib/new/b.py": "100644", "st/opt.py": "100644"}
        assert code_lines(change.patch) == (3, 0)
        (tree.path / "lib" / "a.py").unlink()
        change = tree.change()
        assert workspace.problem(change) is None
        assert change.modes["st/lib/a.py"] == "000000"
        assert code_lines(change.patch) == (3, 1)


def test_a_binary_asset_counts_as_no_lines(workspace: Workspace) -> None:
    with workspace.open(trial_of(workspace)) as tree:
        (tree.path / "opt.py").write_bytes(b"\0\1\2" * 100)
        change = tree.change()
    assert workspace.problem(change) is None
    assert code_lines(change.patch) == (0, 0)


def test_a_commit_by_the_proposer_itself_is_seen_through(workspace: Workspace) -> None:
    with untouched(workspace.folder.parent), workspace.open(trial_of(workspace)) as tree:
        (tree.path / "frozen.py").write_text("cheat\n")
        commit(tree.path)
        assert "frozen.py" in str(workspace.problem(tree.change()))


def test_equal_content_has_an_equal_identity(workspace: Workspace) -> None:
    with workspace.open(trial_of(workspace)) as tree:
        before = tree.snapshot()
        (tree.path / "lib" / "a.py").write_text("a = 2\n")
        after = tree.snapshot()
        (tree.path / "lib" / "a.py").write_text("a = 1\n")
        assert tree.snapshot() == before != after
        assert before == workspace.head()[1]


def test_ignored_files_are_no_part_of_a_trial(workspace: Workspace) -> None:
    trial = trial_of(workspace)
    with workspace.open(trial) as tree:
        write(tree.path, {"lib/a.py": "a = 2\n", "lib/cache.log": "left by the proposer\n"})
        workspace.commit(tree, tree.change(), trial, Proposal("i", "x"))
        assert not (tree.path / "lib" / "cache.log").exists()
        assert (tree.path / "lib" / "a.py").read_text() == "a = 2\n"


def test_what_a_run_left_behind_does_not_help_the_next(tmp_path: Path) -> None:
    once = "test -e seen && echo METRIC loss=0 || echo METRIC loss=10\ntouch seen x.log; mkdir -p deep; touch deep/y\n"
    folder = make_study(tmp_path, start=once, files={".gitignore": "*.log\n"}, decide={"calibrate": 3})
    state = play(folder)
    assert [run.value for run in state.runs.values()] == [10.0] * 3


# -- recovery ------------------------------------------------------------------------------------------


def test_a_commit_without_its_line_in_the_log_is_taken_up_again(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9, "the only idea"))
    play(folder)
    events = session.journal(folder)
    lines = events.read_text().splitlines(keepends=True)
    cut = next(i for i, line in enumerate(lines) if "trial_proposed" in line)
    proposed = git(folder, "rev-parse", "refs/autoresearch/s/trials/1")
    events.write_text("".join(lines[:cut]))
    state = play(folder)  # the script has no second idea to give
    assert words(state) == ["keep"]
    trial = state.trials[1]
    assert (trial.idea, trial.by, trial.memo, trial.lines) == ("the only idea", "script", {"step": 0}, (1, 1))
    assert git(folder, "rev-parse", f"{proposed}^{{tree}}") == trial.tree


def test_a_kept_commit_without_its_line_in_the_log_is_made_again(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9), says(8))
    play(folder, trials=1)
    events = session.journal(folder)
    lines = events.read_text().splitlines(keepends=True)
    cut = max(i for i, line in enumerate(lines) if "trial_decided" in line)
    events.write_text("".join(lines[:cut]))
    start = git(folder, "rev-parse", "main")
    for ref in ("refs/heads/autoresearch/s", "refs/autoresearch/s/best"):  # they move after the line is written
        git(folder, "update-ref", ref, start)
    state = play(folder, trials=1)
    assert words(state) == ["keep"]
    assert len(state.trials[1].runs) == 1
    assert state.best is not None
    assert git(folder, "rev-parse", "autoresearch/s") == state.best.commit


def test_a_best_that_did_not_move_in_time_is_moved_at_the_next_start(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9))
    state = play(folder)
    start = git(folder, "rev-parse", "main")
    for ref in ("refs/heads/autoresearch/s", "refs/autoresearch/s/best"):
        git(folder, "update-ref", ref, start)
    play(folder)
    assert state.best is not None
    assert (
        git(folder, "rev-parse", "autoresearch/s")
        == state.best.commit
        == git(folder, "rev-parse", "refs/autoresearch/s/best")
    )


def test_a_commit_of_another_trial_is_not_mistaken_for_ones_own(workspace: Workspace) -> None:
    trial = trial_of(workspace, 4)
    with workspace.open(trial) as tree:
        write(tree.path, {"lib/a.py": "a = 2\n"})
        change = tree.change()
        commit_id = workspace.commit(tree, change, trial, Proposal("i", "x", {"k": [1]}))
    other = Trial(5, trial.base, trial.base_tree)
    git(workspace.folder, "update-ref", f"{workspace.refs}/trials/5", commit_id)
    assert workspace.recover(other) is None
    assert workspace.recover(Trial(4, "another base", "t")) is None
    assert workspace.recover(Trial(6, trial.base, trial.base_tree)) is None
    found = workspace.recover(trial)
    assert found is not None
    assert found[0] == Proposal("i", "x", {"k": [1]})


def test_a_worktree_left_by_a_killed_session_is_removed(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9))
    left = folder / ".autoresearch" / "trees" / "17"
    git(folder, "worktree", "add", "--quiet", "--detach", str(left))
    (left / "junk.txt").write_text("x")
    play(folder)
    assert not left.exists()
    assert git(folder, "worktree", "list").count("\n") == 0


# -- patches -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"a\r\nb\r\n", b"caf\xe9\n", b"\0\1\2\xff" * 50, b"no newline", b"\x1b[31m\n"],
    ids=lambda c: repr(c[:9]),
)
def test_a_diff_can_be_applied_whatever_the_asset_holds(workspace: Workspace, content: bytes) -> None:
    (workspace.folder / "opt.py").write_bytes(content)
    commit(workspace.folder)
    trial = trial_of(workspace)
    with workspace.open(trial) as tree:
        (tree.path / "opt.py").write_bytes(content * 2 + b"more")
        after = workspace.commit(tree, tree.change(), trial, Proposal("i", "x"))
    file = workspace.folder.parent / "p.patch"
    file.write_bytes(workspace.diff(trial.base, after))
    git(workspace.folder.parent, "-c", "core.autocrlf=false", "apply", str(file))
    assert (workspace.folder / "opt.py").read_bytes() == content * 2 + b"more"


def test_a_stale_patch_is_tried_again_before_the_study_ends(tmp_path: Path) -> None:
    state = play(two_that_meet(tmp_path), workers=2)
    assert sorted(words(state)) == ["keep", "keep", "stale"]
    assert not state.stale


def test_a_stale_patch_that_no_longer_fits_is_a_rejection_and_the_study_goes_on(tmp_path: Path) -> None:
    (tmp_path / "meet").mkdir()
    # Alike: of two that are not, the better would take the other's place, whichever was there first.
    one = step(meets(tmp_path / "meet", "a", "b") + "echo METRIC loss=8\n", "one")
    other = step(meets(tmp_path / "meet", "b", "a") + "echo METRIC loss=8\n", "the other")
    folder = make_study(tmp_path / "repo", one, other, says(7, "better still"))
    play(folder, workers=2, trials=2)
    state = play(folder, workers=2)
    assert words(state).count("stale") >= 1
    rejected = [trial for trial in state.trials.values() if trial.word == "rejected"]
    assert rejected
    assert all(
        t.verdict and re.fullmatch(r"the change of trial \d does not fit on the new best", t.verdict.why)
        for t in rejected
    )
    assert "better still" in [t.idea for t in state.trials.values() if t.word in ("keep", "stale")]
    assert not state.unfinished
