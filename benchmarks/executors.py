"""
What a run costs beside its own work, on this machine and on Ray, taken by turns so that both see the same load.

The run is a shell's echo, so all of it is ours: packing, the cluster's scheduling, keeper, bringing back. Needs the extra
`ray`; the cluster is one on this machine that a session starts by itself.

    python -m benchmarks.executors --rounds 5 --runs 30 --write
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from autoresearch.execute import Executor
from autoresearch.execute.local import Local
from autoresearch.execute.machine import Slot
from autoresearch.execute.sandbox import NONE
from autoresearch.study import Study, parse
from autoresearch.trial import Run
from benchmarks.tables import markdown, report

STUDY = """
name = "executors"
asset = ["number.txt"]
[metric]
name = "score"
[measure]
run = "echo METRIC score=0"
[execute]
on = "ray"
cores = 1
sandbox = "none"
"""


def took_s(executor: Executor, study: Study, home: Path, number: int) -> float:
    """Wall seconds of one run, from being asked for to its measurement."""
    tree = home / "trees" / str(number)
    tree.mkdir(parents=True)
    (tree / "number.txt").write_text(str(number))
    began = time.monotonic()
    found = executor.run(Run(number, 0, "t", "c", 0, 0, "d"), tree, study)
    assert found.status == "ok", found.why
    return time.monotonic() - began


def one_round(study: Study, runs: int) -> tuple[float, list[tuple[float, float]]]:
    """Seconds that Ray took to start, and those of each run, locally and on Ray by turns."""
    from autoresearch.execute.ray import OnRay

    with tempfile.TemporaryDirectory() as name:
        homes = [Path(name, where) for where in ("local", "ray")]
        for home in homes:
            (home / "trees" / "referee").mkdir(parents=True)
        began = time.monotonic()
        ray = OnRay(homes[1], study, lambda *_: None)
        start_s = time.monotonic() - began
        ray.prepare(study, homes[1] / "trees" / "referee", "none")
        local = Local(homes[0], [Slot()], NONE)
        try:
            taken = [(took_s(local, study, homes[0], i), took_s(ray, study, homes[1], i)) for i in range(runs)]
        finally:
            ray.close()
            local.close()
    return start_s, taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    import ray

    study = parse(STUDY)
    rounds = [one_round(study, options.runs) for _ in range(options.rounds)]

    def row(name: str, values: list[float]) -> list[str]:
        ms = sorted(1000 * value for value in values)
        return [name, f"{median(ms):.0f}", f"{ms[0]:.0f}-{ms[-1]:.0f}"]

    first = [taken[0] for _, taken in rounds]
    later = [pair for _, taken in rounds for pair in taken[1:]]
    rows = [
        row("Ray's own start and ours on it, once a session", [start_s for start_s, _ in rounds]),
        row("first run, local", [pair[0] for pair in first]),
        row("first run, Ray", [pair[1] for pair in first]),
        row("first run, Ray more than local", [pair[1] - pair[0] for pair in first]),
        row("later runs, local", [pair[0] for pair in later]),
        row("later runs, Ray", [pair[1] for pair in later]),
        row("later runs, Ray more than local", [pair[1] - pair[0] for pair in later]),
    ]
    text = (
        f"{markdown(['', 'wall ms, median', 'range'], rows)}\nA run is a shell's echo, so all of it is ours and Ray's. "
        f"{options.rounds} rounds, each with a Ray {ray.__version__} of its own on this machine, of {options.runs} runs "
        "on either side by turns."
    )
    report("executors", "What a run costs on Ray", text, options.write)


if __name__ == "__main__":
    main()
