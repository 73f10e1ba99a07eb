"""Foreign patches: read as data, refused unless plain, and written anew; what git is given is ours."""

import subprocess
from pathlib import Path

import pytest
from helpers import git
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch.share import patches
from autoresearch.share.receipt import Refused

HEAD = "diff --git a/a.py b/a.py\nindex 0123456..89abcde 100644\n--- a/a.py\n+++ b/a.py\n"
PLAIN = HEAD + "@@ -1,3 +1,3 @@\n A = 1\n-B = 2\n+B = 3\n C = 4\n"


def anything(path: str) -> bool:
    return path.endswith(".py")


def test_a_plain_patch_is_written_as_it_was_understood() -> None:
    found = patches.read(PLAIN, anything)
    assert patches.write(found) == PLAIN.replace("index 0123456..89abcde 100644\n", "")
    assert patches.line_for_line(found) == (
        "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -2,1 +2,1 @@\n-B = 2\n+B = 3\n"
    )


@pytest.mark.parametrize(
    "patch",
    [
        "",
        "rm -rf /\n",
        PLAIN.replace("a.py", "../a.py"),
        PLAIN.replace("a.py", "/etc/a.py"),
        PLAIN.replace("a.py", ".git/hooks/a.py"),
        PLAIN.replace("a.py", "train.sh"),
        PLAIN.replace("+++ b/a.py", "+++ b/b.py"),
        PLAIN.replace("a/a.py b/a.py", "a/a.py b/c.py"),
        PLAIN.replace("-1,3", "-1,4"),
        PLAIN.replace(" C = 4", "~C = 4"),
        PLAIN + PLAIN,
        HEAD,
        HEAD.replace("index", "old mode 100644\nnew mode 100755\nindex") + "@@ -1 +1 @@\n-a\n+b\n",
        "diff --git a/a.py b/a.py\nnew file mode 120000\nindex 0000000..89abcde\n--- /dev/null\n+++ b/a.py\n@@ -0,0 +1 @@\n+/etc/passwd\n",
        "diff --git a/a.py b/a.py\nsimilarity index 100%\nrename from a.py\nrename to b.py\n",
        "diff --git a/a.py b/a.py\nindex 0123456..89abcde 100644\nGIT binary patch\nliteral 3\nKcmZQ%U|?Wi00aO5\n\n",
        PLAIN.replace("a.py", 'a\tb.py"'),
        PLAIN + "\n".join(["From: somebody", "Subject: [PATCH]", ""]),
    ],
)
def test_anything_else_is_refused(patch: str) -> None:
    with pytest.raises(Refused):
        patches.read(patch, anything)


lines = st.lists(st.sampled_from(["A = 1", "B = 2", "", "  x", "-y", "+z", "\\ no", "@@ -1 +1 @@", "é"]), max_size=12)


@settings(max_examples=40, deadline=None)
@given(before=lines, after=lines, end=st.booleans())
def test_what_git_says_of_two_files_is_read_and_does_the_same(
    tmp_path_factory: pytest.TempPathFactory, before: list[str], after: list[str], end: bool
) -> None:
    folder = tmp_path_factory.mktemp("repo")
    git(folder, "init", "-q")
    text = ["\n".join(side) + "\n" * (end and bool(side)) for side in (before, after)]
    (folder / "a.py").write_text(text[0])
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-qm", "start", "--allow-empty")
    (folder / "a.py").write_text(text[1])
    git(folder, "add", "-A")
    diff = subprocess.check_output(["git", "diff", "--cached", "--full-index", "--no-renames"], cwd=folder, text=True)
    if not diff:
        return
    written = patches.write(patches.read(diff, anything))
    git(folder, "reset", "-q", "--hard")
    (folder / "p").write_text(written)
    git(folder, "apply", "p")
    assert (folder / "a.py").read_text() == text[1]


@given(st.text(max_size=400), st.integers(0, len(PLAIN)))
def test_no_text_makes_it_fail_otherwise(text: str, at: int) -> None:
    for patch in (text, PLAIN[:at] + text + PLAIN[at:]):
        try:
            found = patches.read(patch, anything)
        except Refused:
            continue
        assert all(anything(one.path) for one in found)
        again = patches.write(found)
        assert patches.write(patches.read(again, anything)) == again


def test_bare_lines_fit_where_only_their_neighbours_changed(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("A = 9\nB = 2\nC = 8\n")
    found = patches.read(PLAIN, anything)
    (tmp_path / "wide").write_text(patches.write(found))
    (tmp_path / "bare").write_text(patches.line_for_line(found) or "")
    with pytest.raises(Exception, match="apply"):
        git(tmp_path, "apply", "wide")
    git(tmp_path, "apply", "--unidiff-zero", "bare")
    assert (tmp_path / "a.py").read_text() == "A = 9\nB = 3\nC = 8\n"
    inserts = HEAD + "@@ -1,2 +1,3 @@\n A = 1\n+B = 3\n C = 4\n"
    assert patches.line_for_line(patches.read(inserts, anything)) is None
