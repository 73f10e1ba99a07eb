"""An audit calls real what is, luck what is not, and unknown what the log cannot show."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from helpers import History, make_study, play, step
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoresearch.audit import Audit, audit, ledger, luck, repeats
from autoresearch.cli import main
from autoresearch.errors import AutoresearchError
from autoresearch.interchange import TSV_COLUMNS
from autoresearch.report import audit as report
from autoresearch.trial import Metric

HEADER = "\t".join(TSV_COLUMNS)
KARPATHY = Path(__file__).parent.parent / "shared" / "data" / "karpathy_mar8.tsv"
Row = tuple[float, str, str]  # value, status, description


def table(*rows: Row) -> str:
    return "\n".join([HEADER, *(f"c{i:06x}\t{v:.6f}\t1.0\t{s}\t{d}" for i, (v, s, d) in enumerate(rows)), ""])


def graded(folder: Path, content: str, noise: float | None = None, name: str = "results.tsv") -> Audit:
    (folder / name).write_text(content, encoding="utf-8")
    return audit(ledger.load(folder / name), noise)


def call(*args: object, columns: int = 200) -> Result:
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(main, ["audit", *map(str, args)])


# -- single logs, by hand --------------------------------------------------------------------------------

HONEST: list[Row] = [
    (10.00, "keep", "baseline"),
    (10.02, "discard", "baseline again"),
    (9.98, "discard", "re-run of the baseline (seed 3)"),
    (9.00, "keep", "halve the batch"),
    (9.03, "discard", "random seed 1 to 2"),
    (9.50, "discard", "wider"),
    (8.00, "keep", "deeper"),
    (7.98, "keep", "longer warmup"),
    (0.00, "crash", "batch 131K"),
]


def test_an_honest_log_is_called_real_with_its_numbers(tmp_path: Path) -> None:
    found = graded(tmp_path, table(*HONEST))
    assert (found.first, found.best, found.best_where) == (10.0, 7.98, 9)
    assert found.gain == pytest.approx(2.02)
    assert found.noise.sd == pytest.approx(((0.0008 + 0.00045) / 3) ** 0.5)
    assert (found.noise.source, found.noise.dof) == ("named repeats", 3)
    assert [repeat.where for repeat in found.noise.repeats] == [3, 4, 6]
    assert [(keep.where, keep.word) for keep in found.keeps] == [(5, "beyond"), (8, "beyond"), (9, "within")]
    assert found.total == "real"
    assert (found.baseline_runs, found.monotone, found.written_crashes) == (3, True, [10])
    said = report.verdict(found)
    assert said[0].startswith(
        "The total gain is real: val_bpb went from 10 to 7.98, a gain of 2.02; luck among 7 trials"
    )
    assert said[1].startswith("Most single keeps are beyond the noise: 2 of 3 kept gains exceed")
    assert "3 repeats in the log (3 degrees of freedom)" in said[2]
    assert said[-1].startswith("The baseline was run 2 more times.")


def test_keeps_of_nothing_but_a_seed_are_named_and_never_beyond(tmp_path: Path) -> None:
    rows = [*HONEST[:4], (8.0, "keep", "random seed 42 to 137"), (7.9, "keep", "no-op")]
    found = graded(tmp_path, table(*rows))
    assert [(keep.where, keep.word, keep.repeats) for keep in found.keeps[1:]] == [
        (6, "within", "seed"),
        (7, "within", "best"),
    ]
    assert {repeat.of for repeat in found.noise.repeats[2:]} == {5}, "a kept seed is still the same code"
    assert "line 6: kept with only another seed, so what was kept is luck" in report.notes(found)
    assert "line 7: kept with nothing changed, so what was kept is luck" in report.notes(found)


def test_a_keep_that_is_worse_than_the_best_before_it_is_seen(tmp_path: Path) -> None:
    found = graded(tmp_path, table(*HONEST[:4], (9.4, "keep", "simpler"), (9.2, "keep", "simpler still")), 0.01)
    assert [keep.word for keep in found.keeps] == ["beyond", "worse", "worse"]
    assert not found.monotone
    assert (found.best, found.gain) == (9.0, 1.0)
    assert any(note.startswith("lines 6, 7: kept though worse") for note in report.notes(found))


def test_without_a_repeat_and_with_few_trials_the_noise_is_called_unknown(tmp_path: Path) -> None:
    found = graded(tmp_path, table(HONEST[0], *HONEST[5:]))
    assert (found.total, found.noise.source, found.luck.most, found.bar) == ("unknown", "none", None, None)
    assert {keep.word for keep in found.keeps} == {"unknown"}
    said = " ".join(report.verdict(found))
    assert "cannot be said" in said
    assert "--noise SD" in said
    assert graded(tmp_path, table(HONEST[0], *HONEST[5:]), 0.02).total == "real", "but a person may know it"


def test_repeats_that_are_equal_to_the_last_digit_are_no_proof_of_no_noise(tmp_path: Path) -> None:
    found = graded(tmp_path, table(HONEST[0], (10.0, "discard", "baseline again"), HONEST[3]))
    assert found.noise.sd is None
    assert any("equal to the last digit" in sentence for sentence in report.verdict(found))


def test_a_discard_of_zero_is_a_crash_and_not_the_best(tmp_path: Path) -> None:
    found = graded(tmp_path, table(*HONEST[:4], (0.0, "discard", "died"), (-0.0, "failed", "died too")))
    assert found.written_crashes == [6, 7]
    assert (found.best, found.better_discards, found.measured) == (9.0, [], 4)


def test_where_the_kept_values_rise_higher_is_better_and_a_note_says_so(tmp_path: Path) -> None:
    found = graded(tmp_path, table((0.5, "keep", "baseline"), (0.6, "keep", "a"), (0.7, "keep", "b")), 0.01)
    assert (found.direction, found.total) == ("maximize", "real")
    assert any("higher is taken as better" in note for note in report.notes(found))


def test_lines_that_stand_twice_are_named(tmp_path: Path) -> None:
    assert graded(tmp_path, table(*HONEST[:4], HONEST[5], HONEST[5])).duplicates == [7]


def pi(*runs: dict[str, Any], **config: Any) -> str:
    lines = [{"type": "config", "metricName": "acc", "bestDirection": "higher"} | config, *runs]
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_a_log_of_pi_autoresearch_is_read_with_its_direction_and_its_gaps(tmp_path: Path) -> None:
    runs = [
        {"run": 1, "metric": 0.5, "status": "keep", "description": "baseline"},
        {"run": 2, "metric": 0.51, "status": "discard", "description": "baseline again"},
        {"run": 5, "metric": 0.9, "status": "keep", "description": "better"},
    ]
    found = graded(tmp_path, pi(*runs), name="results.tsv")
    assert (found.metric, found.direction, found.total) == (
        "acc",
        "maximize",
        "real" if found.total == "real" else "open",
    )
    assert found.gain == pytest.approx(0.4)
    assert "2 run numbers missing: lines were taken out or never written" in report.notes(found)


def test_of_several_segments_the_last_is_read(tmp_path: Path) -> None:
    first = pi({"run": 1, "metric": 5000, "status": "keep", "description": "baseline"})
    second = pi({"run": 2, "metric": 0.5, "status": "keep"}, {"run": 3, "metric": 0.6, "status": "keep"})
    found = graded(tmp_path, first + second)
    assert (found.first, found.best, found.trials) == (0.5, 0.6, 2)
    assert "only the last segment is read; lines of earlier ones, left out: 1" in report.notes(found)


@pytest.mark.parametrize(
    ("description", "kind"),
    [
        ("random seed 42 to 137", "seed"),
        ("Seed 137", "seed"),
        ("rerun best with another seed", "seed"),
        ("baseline", "baseline"),
        ("baseline again (lower this time)", "baseline"),
        ("revert to baseline", "baseline"),
        ("No-op", "best"),
        ("re-run current best", "best"),
        ("same as a1b2c3d, noise check", "best"),
        ("verify the best", "best"),
        ("seed 137, LR 0.1", None),
        ("random seed 7 (and LR 0.1)", None),
        ("average over seeds 1 2 3", None),
        ("seed the embedding with zeros", None),
        ("revert", None),
        ("same as before but wider", None),
        ("no change in batch size", None),
        ("reproduce the paper's schedule", None),
        ("random init", None),
        ("", None),
        ("(seed 3)", None),
    ],
)
def test_only_a_description_that_says_nothing_else_is_a_repeat(description: str, kind: str | None) -> None:
    assert repeats.kind(description) == kind


# -- our own log -----------------------------------------------------------------------------------------


def test_a_study_of_our_own_is_graded_by_its_own_repeats(tmp_path: Path) -> None:
    noisy = "echo METRIC loss=$(awk -v s=$AUTORESEARCH_SEED 'BEGIN{srand(s); print %s + rand() / 10}')\n"
    steps = (step(noisy % 9, "nine"), step(noisy % 11, "worse"), step("exit 3\n", "breaks"), step(noisy % 8, "eight"))
    state = play(make_study(tmp_path, *steps, start=noisy % 10, decide={"calibrate": 3}))
    found = audit(ledger.load(tmp_path))
    assert state.noise is not None
    assert (found.noise.sd, found.noise.dof) == (state.noise.sd, state.noise.dof)
    assert (found.noise.source, found.place, found.baseline_runs) == ("own repeats", "trial", 3)
    assert [(keep.where, keep.word) for keep in found.keeps] == [(1, "beyond"), (4, "beyond")]
    assert found.total == "real"
    journal = tmp_path / ".autoresearch" / "events.jsonl"
    (tmp_path / "any.name").write_bytes(journal.read_bytes())
    assert audit(ledger.load(tmp_path / "any.name")) == found, "recognised by what stands in it"
    done = call(tmp_path, "--json")
    assert done.exit_code == 0
    assert json.loads(done.output)["gain"] == found.gain


def test_values_of_another_referee_are_not_compared() -> None:
    past = History()
    past.baseline(10.0, 10.2)
    past.decide(past.tried(9.0), "keep", 9.0)
    past.reopen("d1")
    past.baseline(5.0, 5.2)
    past.decide(past.tried(4.0), "keep", 4.0)
    found = audit(ledger.of_state(past.state))
    assert (found.first, found.best, found.trials, found.measured) == (5.1, 4.0, 3, 2)
    assert any("another referee" in note for note in report.notes(found))


# -- what it promises, by simulation ---------------------------------------------------------------------


def climbed(seed: int, trials: int, mode: str, effect: Callable[[random.Random], float]) -> ledger.Ledger:
    """A greedy climb over runs that scatter by 1: keep whatever beats the best single run so far."""
    r = random.Random(seed)
    best = value = r.gauss(0, 1)
    rows = [(value, True, "baseline")]
    if mode == "baseline":
        rows += [(r.gauss(0, 1), False, "baseline again") for _ in range(3)]
    truth = 0.0
    for i in range(trials):
        repeated = mode == "seed" and i % 40 == 20
        change = 0.0 if repeated else effect(r)
        value = truth - change + r.gauss(0, 1)
        rows.append((value, value < best, "random seed 1 to 2" if repeated else f"change number {i}"))
        if value < best:
            best, truth = value, truth - change
    entries = [
        ledger.Entry(i + 2, idea, "keep" if kept else "discard", kept, value, repeats=repeats.kind(idea))
        for i, (value, kept, idea) in enumerate(rows)
    ]
    return ledger.Ledger("made up", "line", Metric("loss"), entries)


def none(_: random.Random) -> float:
    return 0.0


def some(r: random.Random) -> float:
    """One change in ten helps by three standard deviations of a run, the others do harm."""
    return 3.0 if r.random() < 0.1 else -abs(r.gauss(0, 2))


@pytest.mark.parametrize("mode", ["seed", "baseline", "nothing"])
def test_pure_noise_is_called_real_in_less_than_one_study_in_twenty(mode: str) -> None:
    totals = Counter(audit(climbed(seed, 100, mode, none)).total for seed in range(200))
    assert totals["real"] <= 10, totals


@pytest.mark.parametrize("mode", ["seed", "baseline", "nothing"])
def test_a_real_total_is_called_real_in_most_studies(mode: str) -> None:
    totals = Counter(audit(climbed(seed, 150, mode, some)).total for seed in range(60))
    assert totals["real"] >= 45, totals


def test_the_bound_on_the_noise_is_missed_in_few_null_studies() -> None:
    for trials in (20, 60, 200):
        ceilings = [audit(climbed(seed, trials, "nothing", none)).noise.ceiling for seed in range(200)]
        missed = sum(bound is None or bound < 1 for bound in ceilings)
        assert missed <= 12, trials  # 2.5 % of 200 is 5; P(more than 12) is 0.2 %


@pytest.mark.parametrize(("dof", "p", "value"), [(1, 0.025, 9.8207e-4), (1, 0.975, 5.02389), (4, 0.95, 9.48773)])
def test_the_chi_square_is_that_of_the_tables(dof: int, p: float, value: float) -> None:
    assert luck.chi_square_quantile(p, dof) == pytest.approx(value, rel=1e-4)
    assert luck.chi_square_quantile(p, 200) == pytest.approx(luck.chi_square_quantile(p, 201), rel=0.01)


def test_the_largest_lucky_gain_is_that_of_a_simulation() -> None:
    r = random.Random(1)
    gains = sorted(r.gauss(0, 1) + max(r.gauss(0, 1) for _ in range(10)) for _ in range(20000))
    assert luck.largest_gain(10) == pytest.approx(gains[19500], rel=0.03)
    assert luck.largest_gain(1) == pytest.approx(1.95996 * 2**0.5, rel=1e-4)
    assert luck.largest_gain(0) == 0


# -- hostile files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says_so"),
    [
        ("commit\tval_bpb\n", "line 1: the columns must be commit, val_bpb, memory_gb, status, description"),
        (f"{HEADER}\na\t1.0\t1\tkeep\tx\nb\tnan\t1\tkeep\tx\n", "line 3: five columns with a number in the second"),
        (f"{HEADER}\na\tinf\t1\tkeep\tx\n", "correct the line or take it out"),
        (f"{HEADER}\na\t0.0\t0\tcrash\tx\n", "no trial with a value in it"),
        (f"{HEADER}\na\t1e300\t0\tkeep\tx\n", "no trial with a value in it"),
        (f"{HEADER}\n", "name another log"),
        ("", "name another log"),
        ("nonsense\n", "line 1: neither a TSV"),
        ('{"event": "study_opened"}\n{"event": "x"}\n', "line 1: damaged"),
    ],
)
def test_what_cannot_be_read_is_said_with_exit_code_2(tmp_path: Path, content: str, says_so: str) -> None:
    (tmp_path / "results.tsv").write_text(content)
    done = call(tmp_path / "results.tsv")
    assert done.exit_code == 2
    assert done.stderr.startswith("autoresearch: ")
    assert says_so in done.stderr


@pytest.mark.parametrize("noise", ["nan", "inf", "-1", "1e200", "much"])
def test_an_impossible_noise_is_refused(tmp_path: Path, noise: str) -> None:
    (tmp_path / "t").write_text(table(*HONEST))
    done = call(tmp_path / "t", "--noise", noise)
    assert done.exit_code == 2
    assert "noise" in done.stderr


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    unusable = {"no": "No such file", "x" * 300: "File name too long", "/dev/zero": "not a file", ".": "no study"}
    for path, says_so in ((tmp_path / name, says_so) for name, says_so in unusable.items()):
        done = call(path)
        assert done.exit_code == 2
        assert says_so in done.stderr
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 30)
    assert "larger than 16 MiB" in call(tmp_path / "large").stderr


def test_control_characters_never_reach_the_terminal(tmp_path: Path) -> None:
    content = pi(
        {"run": 1, "metric": 2.0, "status": "ke\x1bep", "description": "[red]\x1b[31m\x07"},
        {"run": 2, "metric": 2.1, "status": "keep", "description": "[bold]\x9b31m[/]\nnoise     0"},
        {"run": 3, "metric": 2.2, "status": "keep", "description": "\u202e\ud83d"[:1] + "right to left"},
        metricName="\x1b]0;x\x07",
    )
    (tmp_path / "log").write_text(content)
    for options in ([], ["--json"]):
        done = call(tmp_path / "log", *options)
        assert done.exit_code == 0
        assert all(c.isprintable() or c == "\n" for c in done.output)
        assert "[bold]" in done.output, "markup is text here"
        assert "\nnoise     0" not in done.output


def test_a_hundred_thousand_lines_are_graded_in_seconds_and_a_hundred_at_once(tmp_path: Path) -> None:
    r = random.Random(2)
    rows = [(1 + r.random(), r.choice(["keep", "discard"]), f"change {i}") for i in range(100_000)]
    for some_rows, at_most_s in ((rows[:126], 1.0), (rows, 20.0)):
        (tmp_path / "results.tsv").write_text(table(*some_rows))
        started = time.process_time()
        assert call(tmp_path / "results.tsv").exit_code == 0
        assert time.process_time() - started < at_most_s


CELL = st.sampled_from(["keep", "discard", "crash", "", "KEEP", "\x1b[31m", "x" * 500])
IDEA = st.sampled_from(["baseline", "baseline again", "seed 3", "no-op", "wider", "", "((((", "\x9b\x00", "\u2028"])
VALUE = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 1.0, 1.0 + 1e-16, 5e-324, 1e100])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(st.tuples(VALUE, CELL, IDEA), max_size=40), st.none() | st.floats(0, 1e100))
def test_any_table_is_graded_or_refused(tmp_path: Path, rows: list[Row], noise: float | None) -> None:
    lines = [f"c\t{value!r}\t\t{status}\t{idea}" for value, status, idea in rows]
    (tmp_path / "t").write_text("\n".join([HEADER, *lines]), encoding="utf-8")
    try:
        found = audit(ledger.load(tmp_path / "t"), noise)
    except AutoresearchError:
        return
    data = report.data(found)
    json.dumps(data, allow_nan=False)
    assert 1 <= len(data["verdict"]) <= 6
    assert all(c.isprintable() for sentence in data["verdict"] + data["notes"] for c in sentence)
    assert len(found.keeps) == sum(found.counts.values())
    assert sum(max(0.0, keep.gain) for keep in found.keeps) == pytest.approx(max(0.0, found.gain))
    assert call(tmp_path / "t").exit_code == 0


@pytest.mark.skipif(not KARPATHY.exists(), reason="the data is not in the repository")
def test_of_karpathys_night_the_total_is_real_and_most_keeps_are_not() -> None:
    started = time.process_time()
    output = " ".join(call(KARPATHY).output.split())
    assert time.process_time() - started < 1
    assert "The total gain is real: val_bpb went from 0.9979 to 0.969686, a gain of 0.0282" in output
    assert "of 22 kept gains only 3 exceed 0.0014" in output
    assert "14 are smaller than the 0.000695 that a mere change of the seed made" in output
