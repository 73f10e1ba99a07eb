"""
What the sandbox costs per run: `true` started through the keeper, bare and in each backend that works here.

The backends take turns, so that a machine that gets slower gets slower for all of them.

    python -m benchmarks.sandbox --write
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from autoresearch.execute.environment import INSIDE, environment
from autoresearch.execute.keepers import Keepers
from autoresearch.execute.machine import Slot
from autoresearch.execute.sandbox import NONE, Cell, backends, why_not
from benchmarks.tables import markdown, report


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    missing = {name: why for name, backend in backends(None).items() if (why := why_not(backend, None))}
    found = [NONE, *(backend for name, backend in backends(None).items() if name not in missing)]
    walls: dict[str, list[float]] = {backend.name: [] for backend in found}
    cost: dict[str, list[float]] = {backend.name: [] for backend in found}
    keepers = Keepers()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        cell = Cell(cwd=place, read=(place,), processes=512, disk_mb=20_000)
        for _ in range(options.rounds):
            for backend in found:
                started = time.perf_counter()
                ending = keepers.run(
                    backend.wrap(["true"], cell),
                    cwd=place,
                    env=environment(Slot(), {}) | INSIDE,
                    out=place / "out",
                    err=place / "err",
                    timeout_s=20,
                )
                assert ending.code == 0, (backend.name, (place / "err").read_text())
                walls[backend.name].append((time.perf_counter() - started) * 1e3)
                cost[backend.name].append(ending.processor_s * 1e3)
    keepers.close()
    rows = []
    for backend in found:
        times = sorted(walls[backend.name])
        extra = [a - b for a, b in zip(walls[backend.name], walls["none"], strict=True)]
        spread = f"{times[len(times) // 10]:.1f}-{times[len(times) * 9 // 10]:.1f}"
        rows.append(
            [backend.name, f"{median(times):.1f}", spread, f"{median(extra):.1f}", f"{median(cost[backend.name]):.1f}"]
        )
    header = ["sandbox", "wall ms, median", "wall ms, 10-90 %", "more than none, median", "processor ms"]
    left_out = "".join(f" Not tried, {name}: {why}." for name, why in missing.items())
    text = f"{markdown(header, rows)}\n{options.rounds} runs of `true` each, in turn.{left_out}"
    report("sandbox", "What the sandbox costs per run", text, options.write)


if __name__ == "__main__":
    main()
