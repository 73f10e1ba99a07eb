"""`init`: a study as an ordinary repository, or a guest in one that was there before."""

import re
from pathlib import Path

import pytest
from helpers import autoresearch, commit, fingerprint, git, repository, write

from autoresearch import cli, starter
from autoresearch.errors import StudyError, WorkspaceError
from autoresearch.study import load

TEMPLATES = starter.TEMPLATES


def test_the_command_knows_the_same_templates() -> None:
    assert cli.TEMPLATES == starter.TEMPLATES
    assert cli.SIZES == starter.SIZES


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_study_is_a_clean_repository_with_one_commit(tmp_path: Path, template: str) -> None:
    folder = tmp_path / "new" / "deep"
    made = starter.make(folder, template)
    assert made.committed
    assert git(folder, "status", "--porcelain") == ""
    assert git(folder, "log", "--format=%s") == f"Start from the {template} template"
    assert git(folder, "branch", "--show-current") == "main"
    assert sorted(git(folder, "ls-files").splitlines()) == made.files
    assert {"study.toml", "program.md"} <= set(made.files)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_is_a_study_that_can_be_read(tmp_path: Path, template: str) -> None:
    starter.make(tmp_path / "s", template)
    study = load(tmp_path / "s")
    assert study.asset


@pytest.mark.parametrize("size", starter.SIZES)
def test_a_template_fits_the_machine(tmp_path: Path, size: str) -> None:
    starter.make(tmp_path / "s", "gpt", size=size)
    study, train = load(tmp_path / "s"), (tmp_path / "s" / "train.py").read_text()
    prepare = (tmp_path / "s" / "prepare.py").read_text()
    wanted = {"cpu": ("100_000 tokens", 4, 128), "mps": ("1_000_000 tokens", 4, 256), "cuda": ("300 seconds", 8, 2048)}
    budget, depth, length = wanted[size]
    assert study.measure.budget == budget
    assert f"\nDEPTH = {depth}  # search" in train
    assert f"\nSEQ_LEN = {length}  # search" in train
    assert f"\nROW_LENGTH = {length}  # tokens" in prepare
    compile(train, "train.py", "exec")
    compile(prepare, "prepare.py", "exec")
    choices = re.findall(r"(?m)^(\w+) = (\S+)  # search: (\S+\|\S+)", train)
    assert len(choices) > 10
    assert {name: value for name, value, among in choices if value not in among.split("|")} == {}


def test_the_machine_is_looked_at_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert starter.make(tmp_path / "a", "gpt").size == "cuda"
    assert starter.make(tmp_path / "b", "gpt", size="cpu").size == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert starter.make(tmp_path / "c", "gpt").size in {"cpu", "mps"}


def test_in_a_repository_files_are_added_and_nothing_else_is_touched(tmp_path: Path) -> None:
    top = repository(tmp_path / "repo", {"README.md": "mine\n", ".gitignore": "*.log\n"})
    write(top, {"staged.txt": "x\n", "untracked.txt": "y\n"})
    git(top, "add", "staged.txt")
    before = fingerprint(top)
    made = starter.make(top, "toy")
    after = fingerprint(top)
    assert not made.committed
    assert set(after) - set(before) == set(made.files)
    assert {name: after[name] for name in before} == before
    assert ".gitignore" not in made.files


def test_a_subfolder_of_a_repository_gets_the_files(tmp_path: Path) -> None:
    top = repository(tmp_path / "repo", {"README.md": "mine\n"})
    made = starter.make(top / "studies" / "one", "toy")
    assert not made.committed
    assert (top / "studies" / "one" / "study.toml").exists()
    assert not (top / "studies" / "one" / ".git").exists()
    assert git(top, "log", "--format=%s") == "by the person"


def test_a_file_of_the_same_name_is_never_overwritten(tmp_path: Path) -> None:
    top = repository(tmp_path / "repo", {"program.md": "mine\n", "score.py": "mine\n"})
    before = fingerprint(top)
    with pytest.raises(StudyError, match=r"has program\.md, score\.py already; name another folder"):
        starter.make(top, "toy")
    assert fingerprint(top) == before


def test_a_folder_with_files_and_no_repository_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StudyError, match=r"is not empty and not a git repository; .*git init"):
        starter.make(tmp_path, "toy")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_fine(tmp_path: Path) -> None:
    assert starter.make(tmp_path, "toy").committed


def test_a_second_init_is_refused(tmp_path: Path) -> None:
    starter.make(tmp_path / "s", "toy")
    with pytest.raises(StudyError, match="already"):
        starter.make(tmp_path / "s", "toy")


def test_a_file_in_the_way_of_the_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises((StudyError, WorkspaceError), match="file"):
        starter.make(tmp_path / "file" / "s", "toy")


def test_signing_hooks_and_templates_of_the_person_are_not_in_the_way(tmp_path: Path, home: Path) -> None:
    hooks = home / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("pre-commit", "commit-msg", "prepare-commit-msg", "post-commit"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    (home / ".gitconfig").write_text(
        f"[core]\n\thooksPath = {hooks}\n[commit]\n\tgpgsign = true\n\ttemplate = /nowhere\n[gpg]\n\tprogram = false\n"
        "[init]\n\tdefaultBranch = trunk\n"
    )
    assert starter.make(tmp_path / "s", "toy").committed


def test_nobody_needs_to_have_told_git_their_name(tmp_path: Path, home: Path) -> None:
    (home / ".gitconfig").write_text("[user]\n\tuseConfigOnly = true\n")
    assert starter.make(tmp_path / "s", "toy").committed


def test_the_command_says_what_to_type_next(tmp_path: Path) -> None:
    done = autoresearch("init", "s", "--template", "toy", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Next: cd s && autoresearch run" in done.stdout
    top = repository(tmp_path / "repo", {"x": "y"})
    done = autoresearch("init", "studies/a", cwd=top)
    assert "Nothing else was touched" in done.stdout
    typed = done.stdout.rpartition(": ")[2].strip()
    assert typed.startswith("cd studies/a && git add ")
    assert typed.endswith(" && git commit")
    commit(top)


def test_what_is_made_is_ready_for_a_check(tmp_path: Path) -> None:
    starter.make(tmp_path / "s", "toy")
    done = autoresearch("check", cwd=tmp_path / "s")
    assert done.returncode == 0, done.stderr
    assert "Ready: autoresearch run" in done.stdout
    assert git(tmp_path / "s", "status", "--porcelain") == ""
    assert not (tmp_path / "s" / ".autoresearch" / "events.jsonl").exists()
