"""What a patch adds and takes away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch.patch import code_lines, seeds_in

PATCH = """\
diff --git a/train.py b/train.py
--- a/train.py
+++ b/train.py
@@ -3 +3,5 @@
-lr = 0.1
+# a comment
+
+lr = 0.2  # with a comment behind it
+++x
+    // and one of another language
@@ -9,2 +12,0 @@
-    # only a comment
---x
"""


def test_blank_lines_and_comments_are_no_code() -> None:
    assert code_lines(PATCH) == (2, 1)
    assert code_lines("") == (0, 0)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("torch.manual_seed(137)", True),
        ("rng = np.random.default_rng(42)", True),
        ("random.Random(7)", True),
        ("model = Forest(random_state=0)", True),
        ("SEED = 1337", True),
        ("torch.manual_seed(int(os.environ['AUTORESEARCH_SEED']))", False),
        ("seed = int(os.environ['SEED'])  # was seed = 3", False),
        ("default_rng(seed)", False),
        ("seeds = range(3)", False),
    ],
)
def test_which_lines_fix_a_seed(line: str, found: bool) -> None:
    assert bool(seeds_in(f"+    {line}\n- torch.manual_seed(1)\n+++ b/seed = 5\n")) == found


@given(st.text())
def test_any_patch_can_be_looked_through(patch: str) -> None:
    assert all(len(line) <= 120 for line in seeds_in(patch))
    assert min(code_lines(patch)) >= 0
