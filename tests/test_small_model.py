"""docs/small-model.md, as it is written, on the gpt template's frozen code and a stand-in for its model."""

import os
import re
import tomllib
from pathlib import Path

import pytest
from gpt import TEMPLATE, copy, load, run
from helpers import autoresearch, commit, play, repository, script, state_of, words, write

from autoresearch.study import parse
from autoresearch.trial import Measurement

PAGE = (Path(__file__).parent.parent / "docs" / "small-model.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]

# Says that bytes below 128 are likely, and how likely by what its weights say. Its SIZE is all padding.
TRAIN = """
import os, random, struct, sys, time
import numpy as np
SIZE = {size}
HARM = {harm}
BUSY = {busy}
weights = os.environ["AUTORESEARCH_OUT"] + "/model.pt"
if sys.argv[1:] != ["predict"]:
    peak = 3.0 - HARM + random.Random(os.environ["AUTORESEARCH_SEED"]).gauss(0, 0.1)
    open(weights, "wb").write(struct.pack("<d", peak) + os.urandom(SIZE))
    sys.exit()
peak = struct.unpack("<d", open(weights, "rb").read(8))[0]
spent = time.process_time()
while time.process_time() < spent + BUSY: pass
while len(header := sys.stdin.buffer.read(8)) == 8:
    n_rows, length = struct.unpack("<II", header)
    sys.stdin.buffer.read(2 * n_rows * length)
    logits = np.zeros((n_rows, length, 257), "<f4")
    logits[..., :128] = peak
    sys.stdout.buffer.write(logits.tobytes())
    sys.stdout.buffer.flush()
"""


def train(size: int, harm: float = 0.0, busy: float = 0.0, idea: str = "an idea") -> dict[str, object]:
    return {"idea": idea, "files": {"train.py": TRAIN.format(size=size, harm=harm, busy=busy)}}


def test_the_page_shows_the_template_with_another_metric() -> None:
    shown, own = tomllib.loads(SHOWN), tomllib.loads((TEMPLATE / "study.toml").read_text())
    assert shown["metric"].pop("name") == "model_bytes"
    assert {table for table in own if own[table] != shown[table]} == {"metric"}
    assert len(parse(SHOWN).metric.no_worse) == 3


def text_corpus(folder: Path) -> str:
    for n in range(12):
        write(folder, {f"{n}.txt": f"document {n}\n" + "the same words again and again, and then some more\n" * 12})
    return f"files:{folder}"


def test_the_study_of_the_page_finds_the_smaller_model_and_claims_it(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="certify needs the extra `stats`")
    steps = [train(3000, harm=2.0), train(4000), train(2000, busy=0.8)]
    folder = repository(tmp_path / "repo", {"train.py": TRAIN.format(size=8000, harm=0.0, busy=0.0)})
    copy(folder, CORPUS=text_corpus(tmp_path / "texts"), ROW_LENGTH=32)
    contract = SHOWN.replace('with = ["search"]', 'with = ["script"]\nscript = "steps.jsonl"')
    contract = contract.replace("python prepare.py", "python prepare.py data")  # the stand-in needs no plan
    # So small a set is predicted in hundredths of a second, which say nothing by the million bytes.
    contract = contract.replace("baseline + 3", "baseline + 1000").replace("cores = 1", 'cores = 1\nsandbox = "none"')
    write(folder, {"study.toml": contract, "steps.jsonl": script(*steps), "program.md": "Make it small.\n"})
    commit(folder)
    state = play(folder, workers=1)
    why = [trial.verdict.why if trial.verdict else "" for trial in state.trials.values()]
    assert words(state) == ["discard", "keep", "discard"], why
    assert re.match(r"better by 5000 over \d runs?, but val_bpb is worse than the start's by \+0\.\d+ ", why[1])
    assert re.search(r"better by 4000 over \d runs; val_bpb no worse: ", why[2])
    assert re.search(r"but predict_start_s is worse than the start's by \+0\.[789]\d* .*: 0\.5 is allowed", why[3])
    done = autoresearch("certify", "--runs", "3", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "certified 4000 [4000, 4000] on the sealed set" in done.stdout
    assert re.search(r"; val_bpb no worse: [+-]?[\d.e-]+ \[.*\] within 0\.\d+; predict_start_s no worse", done.stdout)
    claim = state_of(folder).claims[-1]
    assert [one.name for one in claim.beside] == ["val_bpb", "predict_start_s", "predict_s_per_mb"]


# -- what is weighed -----------------------------------------------------------------------------------


def weighed(folder: Path, out: Path, tree: Path) -> int:
    code = load(copy(folder), "score")
    os.environ |= {"AUTORESEARCH_OUT": str(out), "AUTORESEARCH_TREE": str(tree)}
    here = Path.cwd()
    os.chdir(folder)
    try:
        found: int = code.model_bytes()
        return found
    finally:
        os.chdir(here)
        for name in ("AUTORESEARCH_OUT", "AUTORESEARCH_TREE"):
            del os.environ[name]


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, Path]:
    """The referee's tree, the output folder, and the candidate's tree: the same code, and 1000 bytes of weights."""
    folder, out, tree = (tmp_path / name for name in ("referee", "out", "tree"))
    for place in (folder, tree):
        copy(place)
        (place / "train.py").write_text("x = 1\n" * 100)
        (place / ".git").write_text(f"gitdir: {place}")
    out.mkdir()
    (out / "model.pt").write_bytes(bytes(1000))
    return folder, out, tree


def test_what_a_run_left_is_weighed_whole(places: tuple[Path, Path, Path]) -> None:
    _, out, _ = places
    plain = weighed(*places)
    assert plain == 1000 + len("model.pt") + 64
    hidden = out / ".git" / ("f" * 200)
    hidden.mkdir(parents=True)
    (hidden / "x").write_bytes(bytes(500))
    assert weighed(*places) == plain + 3 * 64 + 4 + 200 + 1 + 500
    (out / "model.pt").unlink()
    with (out / "holes").open("wb") as file:
        file.truncate(10**9)
    assert weighed(*places) > 10**9


def test_code_that_grew_is_weighed_and_code_that_shrank_takes_nothing_off(places: tuple[Path, Path, Path]) -> None:
    _, _, tree = places
    plain = weighed(*places)
    (tree / "train.py").write_text("x = 1\n" * 100 + "w = 0x" + "f" * 5000 + "\n")
    assert weighed(*places) == plain + 5000 + len("w = 0x\n")
    (tree / "train.py").write_text("x = 1\n")
    assert weighed(*places) == plain


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes here")
def test_attributes_are_weighed_too(places: tuple[Path, Path, Path]) -> None:
    _, out, _ = places
    plain = weighed(*places)
    try:
        os.setxattr(out / "model.pt", "user.w", bytes(300))
    except OSError:
        pytest.skip("this file system has no extended attributes")
    assert weighed(*places) == plain + len("user.w") + 300


def test_the_time_of_predicting_is_that_of_all_that_predicts(tmp_path: Path) -> None:
    """Also of a process that it started; and what is done before the first reply is told apart from what comes after."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("read from /proc")
    copy(tmp_path, CORPUS=text_corpus(tmp_path / "texts"), ROW_LENGTH=32)
    assert run(tmp_path, "prepare.py", "data").returncode == 0
    helper = "import subprocess; subprocess.run([sys.executable, '-c', 'import time\\nwhile time.process_time() < 0.8: pass'])\n"
    (tmp_path / "out").mkdir()
    told = {"AUTORESEARCH_OUT": str(tmp_path / "out"), "AUTORESEARCH_SEED": "1"}
    found = []
    for extra in ("", helper):
        (tmp_path / "train.py").write_text(
            TRAIN.format(size=9, harm=0.0, busy=0.0).replace("peak = struct", extra + "peak = struct")
        )
        assert run(tmp_path, "train.py", **told).returncode == 0
        done = run(tmp_path, "score.py", **told)
        assert done.returncode == 0, done.stderr
        found.append(
            {name: float(value) for name, value in re.findall(r"^METRIC (\w+)=(.*)$", done.stdout, re.MULTILINE)}
        )
    assert found[1]["predict_start_s"] > found[0]["predict_start_s"] + 0.5
    assert found[0]["predict_s_per_mb"] >= 0
    assert Measurement("ok", 1.0, "", None, found[0]).number("model_bytes") == 8 + 9 + 8 + 64  # type: ignore[arg-type]
