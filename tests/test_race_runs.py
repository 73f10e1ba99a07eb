"""Racing, with real runs: one that is hopeless is ended with all it started, and what was decided is on record."""

import signal
from pathlib import Path
from typing import Any

from helpers import (
    alive,
    contract,
    eventually,
    journal_lines,
    last,
    make_study,
    play,
    started,
    state_of,
    step,
    toml,
    why,
    words,
    write,
)
from test_keeper import Machine1, machine

from autoresearch.execute.curve import BINS, Curve

__all__ = ["machine"]


def curve(loss: float, value: float | None) -> str:
    """A run of half a second whose loss stays where it is; without a value it goes on for a minute."""
    lines = "".join(f"echo PROGRESS 0.{i} loss={loss}; sleep 0.12\n" for i in (2, 3, 4, 5, 6))
    return lines + (f"echo METRIC loss={value} # {loss}\n" if value is not None else "sleep 60\n")


EVIDENCE = [step(curve(loss, value)) for loss, value in ((5.001, 10), (5.002, 10), (6, 20), (6.5, 21), (7, 22))]


def study_with_evidence(folder: Path, *more: dict[str, Any]) -> Path:
    made = make_study(folder, *EVIDENCE, *more, start=curve(5, 10), decide={"calibrate": 3})
    assert words(play(made, trials=len(EVIDENCE))) == ["discard"] * len(EVIDENCE)
    return made


def test_a_hopeless_run_is_ended_with_all_it_started_and_a_killed_one_is_decided_the_same(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    leaves = f"echo $$ >> {pids}; setsid sleep 61 & echo $! >> {pids}; sleep 0.5\n"
    folder = study_with_evidence(tmp_path / "repo", step(leaves + curve(8, None)))

    with started("run", cwd=folder) as process:
        assert eventually(pids.exists, 20)
        process.send_signal(signal.SIGKILL)
    state = play(folder)

    assert words(state)[-1] == "discard"
    assert why(state).startswith("stopped at 28 % of its budget: loss 8 where the best had 5; nothing so far behind")
    results = [run.measurement for run in (state.runs[i] for i in last(state).runs) if run.measurement]
    assert [(result.status, result.value) for result in results] == [("stopped", None), ("hopeless", None)]
    assert results[-1].wall_s < 20
    assert results[-1].curve == ((0.2, 8.0), (0.3, 8.0))
    assert eventually(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))
    again = state_of(folder)
    assert (again.runs, again.trials) == (state.runs, state.trials)


def test_rubbish_is_no_reason_to_stop_and_racing_can_be_turned_off(tmp_path: Path) -> None:
    rubbish = "".join(
        f"echo 'PROGRESS {line}'; sleep 0.11\n"
        for line in ("0.4 loss=nan", "0.9 loss=1e999", "x loss=9", "-5", "0.5", "0.2 loss=5", "9e9 loss=")
    )
    folder = study_with_evidence(tmp_path, step(rubbish + "echo METRIC loss=9.5\n"), step(curve(9, 30)))

    assert words(play(folder, trials=1))[-1] == "keep"
    write(folder, {"study.toml": toml(contract(decide={"calibrate": 3, "race": False}))})
    state = play(folder)
    assert last(state).verdict is not None
    assert last(state).verdict.value == 30  # type: ignore[union-attr]
    finished = [line["measurement"] for line in journal_lines(folder) if line["event"] == "run_finished"]
    assert len(finished[-1]["curve"]) == 5


def test_whoever_hears_a_run_can_end_it_alone(machine: Machine1) -> None:
    """A run that ends by itself before it could be ended counts as it ended."""
    heard: list[int] = []

    def hopeless(points: Any) -> str:
        heard.append(len(points))
        return "no hope" if len(points) == 2 else ""

    content = "sleep 62 & for i in 1 2 3; do echo PROGRESS 0.$i loss=3; sleep 0.12; done; sleep 60"
    found = machine.run(content, hopeless=hopeless)
    assert (found.status, found.value, found.why) == ("hopeless", None, "no hope")
    assert heard == [1, 2]
    assert machine.run("echo METRIC loss=1").status == "ok", "the next one is not concerned"


def test_a_curve_stays_small_and_in_order_whatever_is_printed() -> None:
    told = Curve()
    for i in range(10_000):
        told.add((i % 7000) / 6999, 3 + (i % 2) / 3)
    told.add(1.0, float("inf"))
    told.add(1.0, None)
    fractions = [fraction for fraction, _ in told.points]
    assert fractions == sorted(fractions)
    assert len(told.points) == BINS + 1
    assert all(3 <= loss <= 3.334 for _, loss in told.points)
