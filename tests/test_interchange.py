"""Other people's logs, read and written: their formats exactly, and nothing of ours lost or made up on the way."""

import json
import math
from pathlib import Path

import pytest
from helpers import History, histories
from hypothesis import given
from hypothesis import strategies as st

from autoresearch import interchange
from autoresearch.errors import AutoresearchError
from autoresearch.events import Event, TrialProposed
from autoresearch.state import fold
from autoresearch.trial import Imported

HEADER = "commit\tval_bpb\tmemory_gb\tstatus\tdescription"


def night() -> History:
    """One of each: kept, discarded, crashed, timed out, rejected, inconclusive, and one still running."""
    past = History()
    past.baseline(10.0)
    for word, value in (("keep", 9.0), ("discard", 9.5), ("inconclusive", 8.99)):
        trial = past.tried()
        past.end_run(past.begin_run(trial), value, peak_memory_mb=2048.0, extras={"acc": 0.5})
        past.decide(trial, word, value)  # type: ignore[arg-type]
    for word in ("crash", "timeout"):
        trial = past.tried()
        past.end_run(past.begin_run(trial), None, word, peak_memory_mb=512.0)  # type: ignore[arg-type]
        past.decide(trial, word)  # type: ignore[arg-type]
    past.decide(past.start(), "rejected")
    past.tried(1.0)
    return past


def test_the_table_has_karpathys_header_and_five_columns_in_every_line() -> None:
    text = interchange.to_tsv(night().state)
    assert text.endswith("\n")
    header, *rows = text.splitlines()
    assert header == HEADER
    assert all(row.count("\t") == 4 for row in rows)
    assert len(rows) == 7, "one line for each decided trial, the baseline included"


def test_the_table_in_full() -> None:
    rows = [row.split("\t") for row in interchange.to_tsv(night().state).splitlines()[1:]]
    assert [row[1:] for row in rows] == [
        ["10.000000", "0.0", "keep", "baseline"],
        ["9.000000", "2.0", "keep", "idea 1"],
        ["9.500000", "2.0", "discard", "idea 2"],
        ["8.990000", "2.0", "discard", "idea 3"],
        ["0.000000", "0.0", "crash", "idea 4"],
        ["0.000000", "0.0", "crash", "idea 5"],
        ["0.000000", "0.0", "crash", "no proposal"],
    ]
    assert [row[0] for row in rows[1:-1]] == ["k1", "c2", "c3", "c4", "c5"]


def test_the_baseline_has_a_commit_like_every_other_line() -> None:
    first = interchange.to_tsv(night().state).splitlines()[1]
    assert first.split("\t")[0] == "c0"


def test_a_crash_is_zero_in_the_table_and_nowhere_else() -> None:
    past = night()
    assert "0.000000" in interchange.to_tsv(past.state)
    crashed = [trial for trial in past.state.trials.values() if trial.word in ("crash", "timeout", "rejected")]
    assert len(crashed) == 3
    for trial in crashed:
        assert trial.verdict is not None
        assert trial.verdict.value is None
        assert all(past.state.runs[i].value is None for i in trial.runs)


def test_a_trial_without_a_value_has_none_after_the_way_there_and_back(tmp_path: Path) -> None:
    past = History()
    past.baseline(10.0)
    past.decide(past.tried(), "stale")  # its base was never measured under this referee
    for name, content in (("a.tsv", interchange.to_tsv(past.state)), ("a.jsonl", interchange.to_jsonl(past.state))):
        (tmp_path / name).write_text(content)
        assert [trial.value for trial in interchange.read(tmp_path / name)] == [10.0, None]


def test_an_idea_with_tabs_and_newlines_stays_in_its_column() -> None:
    past = History()
    past.baseline(10.0)
    trial = past.start()
    idea = "tabs\tand\nnew\r\nlines \u2028 and more"
    past.happen(TrialProposed(trial=trial, idea=idea, by="x", commit="c", tree="t"))
    past.decide(trial, "discard", 11.0)
    assert interchange.to_tsv(past.state).splitlines()[2].split("\t")[4] == "tabs and new lines and more"


def test_the_jsonl_has_a_config_line_and_a_line_for_each_trial() -> None:
    config, *runs = map(json.loads, interchange.to_jsonl(night().state).splitlines())
    assert config == {
        "type": "config",
        "name": "s",
        "metricName": "loss",
        "metricUnit": "",
        "bestDirection": "lower",
    }
    assert [run["run"] for run in runs] == list(range(1, 8))
    assert [run["metric"] for run in runs] == [10.0, 9.0, 9.5, 8.99, 0, 0, 0]
    statuses = ["keep", "keep", "discard", "discard", "crash", "crash", "checks_failed"]
    assert [run["status"] for run in runs] == statuses
    assert runs[1]["metrics"] == {"acc": 0.5}
    assert set(runs[0]) == {
        "run",
        "commit",
        "metric",
        "metrics",
        "status",
        "description",
        "timestamp",
        "segment",
        "confidence",
    }


def test_a_metric_that_grows_is_said_to_be_higher() -> None:
    past = History("maximize")
    assert json.loads(interchange.to_jsonl(past.state).splitlines()[0])["bestDirection"] == "higher"


@given(histories())
def test_what_is_written_can_be_read_back(tmp_path_factory: pytest.TempPathFactory, past: list[Event]) -> None:
    state = fold(past)
    folder = tmp_path_factory.mktemp("there and back")
    decided = [t for t in state.trials.values() if t.verdict]
    for name, content in (("a.tsv", interchange.to_tsv(state)), ("a.jsonl", interchange.to_jsonl(state))):
        (folder / name).write_text(content, encoding="utf-8")
        found = interchange.read(folder / name)
        assert len(found) == len(decided)
        for ours, theirs in zip(decided, found, strict=True):
            value = ours.verdict.value if ours.verdict else None
            if ours.word in ("crash", "timeout", "rejected") or value is None:
                assert theirs.value is None
            else:
                assert theirs.value == pytest.approx(value, abs=1e-6)
                assert (theirs.status == "keep") == (ours.word == "keep")


def read(tmp_path: Path, content: str | bytes, name: str = "results.tsv") -> list[Imported]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return interchange.read(path)


def test_a_table_as_it_is_found_in_the_wild_is_read(tmp_path: Path) -> None:
    rows = "a1b2c3d\t0.997900\t44.0\tkeep\tbaseline\n\nd4e5f6g\t0.000000\t0.0\tcrash\tdouble model width (OOM)\n"
    assert read(tmp_path, f"{HEADER}\n{rows}") == [
        Imported("baseline", "keep", 0.9979, "a1b2c3d", 44.0),
        Imported("double model width (OOM)", "crash", None, "d4e5f6g", None),
    ]
    assert read(tmp_path, f"{HEADER}\n{rows}".replace("\n", "\r\n")) == read(tmp_path, f"{HEADER}\n{rows}")
    assert read(tmp_path, f"{HEADER}\n") == []


def test_a_log_of_pi_autoresearch_is_read(tmp_path: Path) -> None:
    lines = [
        {"type": "config", "name": "x", "metricName": "ms", "bestDirection": "lower"},
        {"run": 1, "commit": "abc1234", "metric": 15200, "status": "keep", "description": "baseline", "segment": 0},
        {"run": 2, "commit": "def5678", "metric": 0, "status": "crash", "description": "inline \u2028 it"},
        {"run": 3, "metric": 0, "status": "checks_failed", "description": "skip tests"},
        {"type": "note", "text": "something of a later version"},
    ]
    found = read(tmp_path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "autoresearch.jsonl")
    assert [trial.status for trial in found] == ["keep", "crash", "checks_failed"]
    assert [trial.value for trial in found] == [15200.0, None, None]
    assert found[0].commit == "abc1234"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("commit\tval_bpb\tstatus\n", "line 1: the columns must be commit, val_bpb, memory_gb, status, description"),
        (f"{HEADER}\na\tb\n", "line 2: five columns"),
        (f"{HEADER}\na\t1.0\t1\tkeep\tfine\nb\tlow\t1\tkeep\tx\n", "line 3: five columns with a number in the second"),
        (f"{HEADER}\na\tnan\t1\tkeep\tx\n", "line 2"),
        ("hello\n", "line 1: neither a TSV that begins with 'commit' nor a JSON object per line"),
        ('{"run": 1, "metric": 1, "status": "keep"}\n[1]\n', "line 2: neither"),
        ('{"run": 1, "metric": NaN, "status": "keep"}\n', "line 1: neither"),
        (b"\x89PNG\r\n\x1a\n\0\0", "line 1: neither"),
    ],
)
def test_what_is_neither_is_refused_with_its_line(tmp_path: Path, content: str | bytes, line: str) -> None:
    with pytest.raises(AutoresearchError, match=rf"results\.tsv, {line}"):
        read(tmp_path, content)


def test_a_file_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(AutoresearchError, match=r"no\.tsv: No such file"):
        interchange.read(tmp_path / "no.tsv")
    with pytest.raises(AutoresearchError, match=r"directory"):
        interchange.read(tmp_path)


CELLS = st.sampled_from(
    ["a1b2c3d", "0.9", "nan", "1e400", "-", "keep", "crash", "", " ", "x" * 2000, "\x1b[31m", "\uff19"]
)
NUMBERS = st.sampled_from(["1", "0.5", "1e400", "-1e400", "9" * 400, "true", "null", '"1"', "[]", "{}"])


@given(st.binary(max_size=200))
def test_no_file_ever_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    _survives(tmp_path_factory.mktemp("any"), content)


@given(st.lists(st.lists(CELLS, max_size=6).map("\t".join), max_size=4))
def test_no_table_ever_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, rows: list[str]) -> None:
    _survives(tmp_path_factory.mktemp("any"), "\n".join([HEADER, *rows]).encode())


@given(NUMBERS, NUMBERS, NUMBERS)
def test_no_json_ever_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, run: str, metric: str, status: str
) -> None:
    line = f'{{"run": {run}, "metric": {metric}, "status": {status}, "description": {run}, "commit": {status}}}'
    _survives(tmp_path_factory.mktemp("any"), line.encode())


def _survives(folder: Path, content: bytes) -> None:
    try:
        found = read(folder, content)
    except AutoresearchError:
        return
    assert all(trial.value is None or math.isfinite(trial.value) for trial in found)
    assert all(len(trial.idea) <= interchange.TEXT_LENGTH for trial in found)
