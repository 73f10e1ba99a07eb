"""
What the separate scorer of the gpt template costs: the default model, trained with the default budget, scored by
`score.py` as the loop runs it, and evaluated by one process that holds weights and targets together.

Everything has one core and the ways take turns, so that a machine that gets slower gets slower for all of them.

    python -m benchmarks.scorer --write
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import autoresearch
from autoresearch import measure
from autoresearch.execute.environment import INSIDE, environment, write_launcher
from autoresearch.execute.keepers import Ending, Keepers
from autoresearch.execute.machine import Slot
from autoresearch.execute.sandbox import Backend, Cell, choose, for_answers
from benchmarks.tables import markdown, report

TEMPLATE = Path(autoresearch.__file__).parent / "templates" / "gpt"
BUDGET_TOKENS = 100_000  # of the template's study.toml
N_WEIGHTS = 3  # seeds of training, over which values are compared
ALLOWED = 1.10  # of what scoring would cost anyway
AGREE = 1e-5  # bits per byte
# Nothing is left out that scoring in one process needs, and nothing is done beside it.
EVALUATE = """
import json, math, os, sys, time
import numpy as np, torch, train
import torch.nn.functional as F
train.machine.set_up()
model = train.GPT().eval()
model.load_state_dict(torch.load(os.environ["AUTORESEARCH_OUT"] + "/model.pt"))
meta = json.load(open(os.environ["AUTORESEARCH_HELD"] + "/meta.json"))
rows = np.fromfile(os.environ["AUTORESEARCH_HELD"] + "/validation.bin", "<u2").astype(np.int64)
rows = torch.from_numpy(rows).view(meta["splits"]["validation"]["shape"])
token_bytes = torch.from_numpy(np.fromfile(os.environ["AUTORESEARCH_HELD"] + "/token_bytes.bin", np.uint8)).long()
@torch.inference_mode()
def evaluate():
    nats, n_bytes = 0.0, 0
    for some in rows.split(train.rows_at_once()):
        inputs, targets = some[:, :-1], some[:, 1:].flatten()
        losses = F.cross_entropy(train.predict_rows(model, inputs).flatten(0, 1), targets, reduction="none")
        nats += float(losses[token_bytes[targets] > 0].double().sum())
        n_bytes += int(token_bytes[targets].sum())
    return nats / (math.log(2) * n_bytes)
if sys.argv[1] != "warm":
    print(f"METRIC val_bpb={evaluate()!r}", flush=True)
    if sys.argv[1] == "leave":
        os._exit(0)
else:
    evaluate()
    for _ in sys.stdin:
        processor_s, wall_s = time.process_time(), time.perf_counter()
        evaluate()
        print(json.dumps([time.process_time() - processor_s, time.perf_counter() - wall_s]), flush=True)
"""


@dataclass(frozen=True)
class Place:
    """A folder with the template's code, its data and the weights of some trainings; commands run as in the loop."""

    folder: Path
    backend: Backend
    keepers: Keepers
    slot: Slot

    def set_up(self) -> "Place":
        shutil.copytree(TEMPLATE, self.folder / "tree")
        (self.folder / "open").mkdir()
        (self.folder / "held").mkdir()
        return self

    @property
    def cell(self) -> Cell:
        return Cell(cwd=self.folder / "tree", read=(self.folder / "open",), processes=512, disk_mb=20_000)

    def told(self, seed: int, budget_tokens: int = BUDGET_TOKENS) -> dict[str, str]:
        """The environment of a run, without what only the scorer knows."""
        return environment(
            self.slot,
            {
                "AUTORESEARCH_DATA": str(self.folder / "open"),
                "AUTORESEARCH_OUT": str(self.folder / f"out{seed}"),
                "AUTORESEARCH_SEED": str(seed),
                "AUTORESEARCH_BUDGET": str(budget_tokens),
                "AUTORESEARCH_BUDGET_UNIT": "tokens",
            },
        )

    def run(self, argv: list[str], env: dict[str, str]) -> tuple[Ending, str]:
        """What a command took, and what it said on stdout and stderr."""
        out, err = self.folder / "out.txt", self.folder / "err.txt"
        ending = self.keepers.run(
            argv, cwd=self.folder / "tree", env=env, out=out, err=err, timeout_s=300, cores=self.slot.cores
        )
        return ending, out.read_text() + err.read_text()

    def prepare(self) -> None:
        ending, said = self.run([sys.executable, "prepare.py"], self.told(0) | self.held)
        assert ending.code == 0, said

    def train(self, seed: int, budget_tokens: int = BUDGET_TOKENS) -> None:
        ending, said = self.run([sys.executable, "train.py"], self.told(seed, budget_tokens))
        assert ending.code == 0, said

    @property
    def held(self) -> dict[str, str]:
        return {"AUTORESEARCH_HELD": str(self.folder / "held"), "AUTORESEARCH_SEALED": str(self.folder / "sealed")}

    def score(self, seed: int, careful: bool = False) -> tuple[Ending, str]:
        """By score.py, which has the candidate's code answer in the sandbox."""
        inside = self.folder / "answers"
        env, out = self.told(seed), self.folder / f"out{seed}"
        out.mkdir(exist_ok=True)
        cell = Cell(cwd=self.cell.cwd, read=(*self.cell.read, self.cell.cwd), write=(out,), processes=512)
        write_launcher(inside, self.backend, for_answers(cell), env | (INSIDE if self.backend.wraps else {}))
        told = {"AUTORESEARCH_TREE": str(self.folder / "tree"), "AUTORESEARCH_INSIDE": str(inside)}
        told |= {"AUTORESEARCH_CAREFUL": "1"} if careful else {}
        return self.run([sys.executable, "score.py"], env | self.held | told)

    def evaluate(self, seed: int, how: str = "once") -> tuple[Ending, str]:
        """By one process that has everything; `leave`: without the shutting down of Python and torch."""
        return self.run([sys.executable, "-c", EVALUATE, how], self.told(seed) | self.held)

    def value(self, scored: tuple[Ending, str]) -> float:
        ending, said = scored
        assert ending.code == 0, said
        value = measure.read("val_bpb", self.folder / "out.txt").value
        assert value is not None, said
        return value


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sandbox", default="auto")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    core = max(os.sched_getaffinity(0))
    keepers = Keepers()
    with tempfile.TemporaryDirectory() as name:
        place = Place(Path(name), choose(options.sandbox), keepers, Slot((core,))).set_up()
        place.prepare()
        for seed in range(N_WEIGHTS):
            place.train(seed)
        difference = max(
            abs(place.value(place.score(seed)) - place.value(place.evaluate(seed))) for seed in range(N_WEIGHTS)
        )
        assert difference <= AGREE, difference
        times = compare(place, options.rounds)
    keepers.close()
    report("scorer", "What the separate scorer costs", page(times, difference, place.backend, options), options.write)


def compare(place: Place, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Processor and wall seconds of each way in each round."""
    warm = subprocess.Popen(
        ["taskset", "-c", str(place.slot.cores[0]), sys.executable, "-c", EVALUATE, "warm"],
        cwd=place.folder / "tree",
        env=place.told(0) | place.held,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert warm.stdin is not None
    assert warm.stdout is not None
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ("a", "b", "b-", "c", "d")}
    for _ in range(rounds):
        print("once more", file=warm.stdin, flush=True)
        processor_s, wall_s = json.loads(warm.stdout.readline())
        times["a"].append((processor_s, wall_s))
        for way in ("b", "b-", "c", "d"):
            if way in ("c", "d"):
                ending, said = place.score(0, careful=way == "d")
            else:
                ending, said = place.evaluate(0, "once" if way == "b" else "leave")
            assert ending.code == 0, said
            times[way].append((ending.processor_s, ending.wall_s))
    warm.communicate()
    return times


def page(
    times: dict[str, list[tuple[float, float]]], difference: float, backend: Backend, options: argparse.Namespace
) -> str:
    names = {
        "a": "a: evaluation alone, in a process that has torch and the weights",
        "b": "b: one process: imports torch, loads the weights, evaluates, ends",
        "b-": "b-: the same, cut off after its result (`os._exit`)",
        "c": f"c: score.py, and `train.py predict` in the sandbox ({backend.name})",
        "d": "d: the same with AUTORESEARCH_CAREFUL=1",
    }

    def typical(way: str, clock: int) -> float:
        return median(pair[clock] for pair in times[way])

    def cell(way: str, clock: int) -> list[str]:
        values = [pair[clock] for pair in times[way]]
        return [f"{median(values):.2f}", f"{min(values):.2f}-{max(values):.2f}"]

    header = ["way", "processor s, median", "range", "wall s, median", "range"]
    rows = [[name, *cell(way, 0), *cell(way, 1)] for way, name in names.items()]
    shares = []
    for words, over, base in (
        ("c more than b, of b", "b", "b"),
        ("c more than b-, of b-", "b-", "b-"),
        ("c more than b, of a", "b", "a"),
        ("c more than b-, of a", "b-", "a"),
    ):
        share = [(typical("c", clock) - typical(over, clock)) / typical(base, clock) for clock in (0, 1)]
        shares.append([words, *(f"{value:+.0%}" for value in share)])
    reached = "reached" if typical("c", 0) <= ALLOWED * typical("b", 0) else "not reached"
    return f"""{markdown(header, rows)}
{markdown(["share, of medians", "processor", "wall"], shares)}
{options.rounds} rounds on one core, in turn. The goal, c at most {ALLOWED:.2f} of b in processor time, is {reached}.
`predict` leaves without letting Python and torch shut down (0.3 s), as b- does; so c over b- is what two
processes, a pipe, the sandbox and 32 rows of probes cost, and c over b is what separating them costs in all.

Values of b and c differ by {difference:.0e} bits per byte at most, over {N_WEIGHTS} trainings ({AGREE:.0e} is allowed; score.py
prints six decimals).
"""


if __name__ == "__main__":
    main()
