"""
What every executor has to do, wherever its runs happen: subclass Contract and give it a fixture `bench`.

Runs are shell scripts that print, leave and break what the test is about. Nothing here knows how an executor works.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers import contract, eventually, toml
from msgspec.structs import replace

from autoresearch.execute import Executor, Hopeless
from autoresearch.study import Study, parse
from autoresearch.trial import HeldSet, Machine, Measurement, Run

Make = Callable[[Path, Study, Callable[[Run, float, float | None], None]], Executor]
BEATS = "while :; do date +%s%N > {beat}.part; mv {beat}.part {beat}; sleep 0.05; done"


def behind(points: Any) -> str:
    """Hopeless at once. Of a module, so that it can travel."""
    return f"behind at {points[-1][0]:g}"


class Bench:
    """An executor with worktrees to run in, laid out as a session would: `home` is the folder for what is ours."""

    def __init__(self, home: Path, make: Make, **changes: Any) -> None:
        self.home, self.make = home, make
        self.study = parse(toml(contract(**changes)))
        self.points: list[tuple[int, float, float | None]] = []
        for name in ("referee", "0"):
            (home / "trees" / name).mkdir(parents=True, exist_ok=True)
        self.executor = make(home, self.study, lambda run, at, loss: self.points.append((run.id, at, loss)))

    def frozen(self, name: str, content: str) -> None:
        """A file of the referee's, which no candidate may change."""
        (self.home / "trees" / "referee" / name).write_text(content)

    def run(
        self,
        script: str,
        number: int = 3,
        usual: Measurement | None = None,
        hopeless: Hopeless | None = None,
        held: HeldSet = "search",
        data: str = "data",
        **measure: Any,
    ) -> Measurement:
        tree = self.home / "trees" / str(number)
        tree.mkdir(exist_ok=True)
        (tree / "step.sh").write_text(script)
        study = replace(self.study, measure=replace(self.study.measure, **measure)) if measure else self.study
        self.executor.prepare(study, self.home / "trees" / "referee", data)
        run = Run(number, 0, f"tree-{number}", "c", 0, 4711, "d", held=held)
        return self.executor.run(run, tree, study, usual, hopeless)

    def began(self, *args: Any, **more: Any) -> tuple[threading.Thread, list[Measurement]]:
        """The same on a thread of its own."""
        found: list[Measurement] = []
        thread = threading.Thread(target=lambda: found.append(self.run(*args, **more)))
        thread.start()
        return thread, found

    def out(self, number: int = 3) -> Path:
        return self.home / "runs" / str(number)


class Contract:
    """The tests. Each takes a few short runs."""

    def test_a_value_comes_back_with_who_measured_it_and_what_it_took(self, bench: Bench) -> None:
        found = bench.run("echo METRIC loss=$AUTORESEARCH_SEED; echo METRIC run=$AUTORESEARCH_RUN")
        assert (found.status, found.value, found.digest) == ("ok", 4711.0, "d")
        assert found.extras == {"run": 3.0}
        assert found.machine == bench.executor.machine
        assert found.machine.tier
        assert found.machine.cores >= 1
        assert found.wall_s > 0

    def test_what_a_run_printed_and_left_is_found_in_its_folder(self, bench: Bench) -> None:
        bench.run(
            'echo METRIC loss=1; echo to the errors >&2; mkdir "$AUTORESEARCH_OUT/a"; echo w > "$AUTORESEARCH_OUT/a/b"'
        )
        assert (bench.out() / "run.out.txt").read_text() == "METRIC loss=1\n"
        assert (bench.out() / "run.err.txt").read_text() == "to the errors\n"
        assert (bench.out() / "out" / "a" / "b").read_text() == "w\n"

    def test_dropping_a_run_deletes_what_it_left_and_keeps_what_it_printed(self, bench: Bench) -> None:
        bench.run('echo METRIC loss=1; echo w > "$AUTORESEARCH_OUT/left"')
        bench.executor.drop([3, 77])
        assert not (bench.out() / "out").exists()
        assert (bench.out() / "run.out.txt").exists()

    def test_the_scorer_is_the_referee_s_own_and_has_the_last_word(self, bench: Bench) -> None:
        bench.frozen(
            "score.sh",
            'test -d "$AUTORESEARCH_HELD" && test -z "$AUTORESEARCH_SEALED" && echo METRIC loss=$(cat "$AUTORESEARCH_OUT/w")'
            '; grep -c METRIC "$AUTORESEARCH_TREE/step.sh" >&2; echo METRIC set=$(test $AUTORESEARCH_SET = search && echo 1)',
        )
        found = bench.run('echo 7 > "$AUTORESEARCH_OUT/w"; echo METRIC loss=0', score="sh score.sh")
        assert (found.status, found.value, found.extras) == ("ok", 7.0, {"set": 1.0})
        assert found.score_s > 0
        assert (bench.out() / "score.err.txt").read_text() == "1\n"

    def test_candidates_are_not_told_where_held_data_lies(self, bench: Bench) -> None:
        found = bench.run('test -z "$AUTORESEARCH_HELD$AUTORESEARCH_SEALED" && echo METRIC loss=1')
        assert found.status == "ok"

    def test_a_crash_has_no_value_and_quotes_the_last_words(self, bench: Bench) -> None:
        found = bench.run("echo METRIC loss=0; echo the reason >&2; exit 3")
        assert (found.status, found.value) == ("crash", None)
        assert found.why == "run ended with exit code 3: 'the reason'"

    def test_a_timeout_is_a_word_of_its_own(self, bench: Bench) -> None:
        found = bench.run("echo METRIC loss=0; exec sleep 60", timeout_s=0.3)
        assert (found.status, found.value, found.why) == ("timeout", None, "run was ended after 0.3 s")

    def test_what_detaches_itself_ends_with_its_run(self, bench: Bench, tmp_path: Path) -> None:
        beat = tmp_path / "beat"
        found = bench.run(f"setsid sh -c '{BEATS.format(beat=beat)}' & sleep 0.5; echo METRIC loss=1")
        assert found.status == "ok"
        assert beat.exists()
        assert stands_still(beat)

    def test_a_run_that_does_far_more_than_is_usual_is_ended(self, bench: Bench) -> None:
        usual = Measurement("ok", 1.0, "d", Machine("t", 1), wall_s=0.1, processor_s=0.1)
        found = bench.run("exec sleep 60", usual=usual, budget="1 seconds")
        assert found.status == "timeout"
        assert "more than measure.overrun allows" in found.why

    def test_each_run_begins_in_a_tree_that_no_other_run_touched(self, bench: Bench) -> None:
        script = "test ! -e left && echo METRIC loss=1; touch left"
        assert bench.run(script, 3).status == "ok"
        assert bench.run(script, 4).status == "ok"

    def test_progress_reaches_whoever_watches_and_the_curve_is_recorded(self, bench: Bench) -> None:
        found = bench.run("echo PROGRESS 0.5 loss=3; sleep 0.3; echo PROGRESS 1 loss=2; sleep 0.3; echo METRIC loss=1")
        assert found.curve == ((0.5, 3.0), (1.0, 2.0))
        assert eventually(lambda: (3, 0.5, 3.0) in bench.points)

    def test_a_hopeless_run_is_ended_and_says_why(self, bench: Bench) -> None:
        found = bench.run("echo PROGRESS 0.2 loss=9; exec sleep 60", hopeless=behind)
        assert (found.status, found.value, found.why) == ("hopeless", None, "behind at 0.2")
        assert found.curve == ((0.2, 9.0),)

    def test_stopping_ends_a_run_with_all_it_started_and_blames_nobody(self, bench: Bench, tmp_path: Path) -> None:
        beat = tmp_path / "beat"
        thread, found = bench.began(BEATS.format(beat=beat))
        assert eventually(beat.exists, within_s=60)
        bench.executor.stop()
        thread.join(60)
        assert [m.status for m in found] == ["stopped"]
        assert found[0].value is None
        assert eventually(lambda: stands_still(beat), within_s=20)

    def test_nothing_starts_after_a_stop(self, bench: Bench, tmp_path: Path) -> None:
        bench.executor.stop()
        assert bench.run(f"touch {tmp_path}/began; echo METRIC loss=1").status == "stopped"
        assert not (tmp_path / "began").exists()

    def test_the_sandbox_is_tried_where_runs_happen(self, bench: Bench) -> None:
        name, guarantees = bench.executor.tried()
        assert name.startswith("none")
        holds = {guarantee.promise: guarantee.holds for guarantee in guarantees}
        assert holds["held data cannot be read"] is False
        assert holds["what a run starts ends with it, also when it detaches"] is True


def stands_still(beat: Path) -> bool:
    """Whether what writes into this file again and again has ended."""
    before = beat.read_text()
    threading.Event().wait(0.4)
    return beat.read_text() == before
