"""
What a run costs beside its own work, on this machine and on Ray, taken by turns so that both see the same load.

The run is a shell's echo, so all of it is ours: packing, the cluster's scheduling, keeper, bringing back. Needs the extra
`ray`; the cluster is a local one with one core.

    python -m benchmarks.executors --runs 20
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    from autoresearch.execute.ray import OnRay

    study = parse(STUDY)
    with tempfile.TemporaryDirectory() as name:
        homes = [Path(name, where) for where in ("local", "ray")]
        for home in homes:
            (home / "trees" / "referee").mkdir(parents=True)
        began = time.monotonic()
        ray = OnRay(homes[1], study, lambda *_: None, print)
        print(f"starting Ray: {time.monotonic() - began:.1f} s")
        ray.prepare(study, homes[1] / "trees" / "referee", "none")
        local = Local(homes[0], [Slot()], NONE)
        try:
            executors: list[tuple[Executor, Path]] = [(local, homes[0]), (ray, homes[1])]
            taken = [[took_s(executor, study, home, i) for executor, home in executors] for i in range(runs)]
        finally:
            ray.close()
            local.close()
    for where, times in zip(("local", "ray"), zip(*taken, strict=True), strict=True):
        ms = [1000 * s for s in times]
        print(f"{where}: first {ms[0]:.0f} ms, median of the rest {median(ms[1:]):.0f} ms, worst {max(ms[1:]):.0f} ms")


if __name__ == "__main__":
    main()
