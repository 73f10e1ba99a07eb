"""
What racing would have saved: the gpt template under random changes of single constants, every run to its end,
recorded; then the decisions of policy/race.py are replayed on that record, in its order.

A run that would have been stopped is unknown to the decisions after it, as it would have been that night.

    python -m benchmarks.race record --log /tmp/race.jsonl     # about 10 s a run, on one core
    python -m benchmarks.race replay --log /tmp/race.jsonl --write
"""

import argparse
import random
import shutil
import tempfile
from pathlib import Path

from autoresearch import session, starter
from autoresearch.git import git
from autoresearch.propose import Tree
from autoresearch.propose.knobs import read, write
from autoresearch.report.brief import Brief
from autoresearch.session import Goal, Listener
from autoresearch.trial import Limits, Proposal


class OneConstant:
    """Sets one constant of the asset, at random, to a value at random within its range."""

    def __init__(self, seed: int = 0) -> None:
        self.chance = random.Random(seed)

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        while True:
            file = "train.py"
            source = (tree.path / file).read_bytes()
            knob = self.chance.choice(read(file, source))
            options = knob.range.values
            anywhere = self.chance.uniform(*knob.range.box(knob.value))
            value = self.chance.choice(options) if options else knob.range.at(anywhere, knob.value)
            (tree.path / file).write_bytes(write(file, source, {knob.name: value}))
            if brief.known(tree.snapshot()) is None:
                return Proposal(f"{knob.name} {knob.value} -> {value}", "one constant")
            (tree.path / file).write_bytes(source)


def record(log: Path, trials: int) -> None:
    """A study of the gpt template that stops nothing early; its log is copied after every trial."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "study"
        starter.make(folder, "gpt", own=True)
        contract = folder / "study.toml"
        text = contract.read_text().replace(
            '["search"]\n\n[decide]', '["benchmarks.race:OneConstant"]\n\n[decide]\nrace = false\nrepeats = 1'
        )
        contract.write_text(text.replace("cores = 1", "cores = 1\nworkers = 1"))
        git(folder, "commit", "-qam", "random changes, nothing stopped")
        session.run(folder, Goal(trials=trials), Copy(session.journal(folder), log))


class Copy(Listener):
    def __init__(self, journal: Path, to: Path) -> None:
        self.journal, self.to = journal, to

    def event(self, event: object, state: object) -> None:
        shutil.copyfile(self.journal, self.to)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["record", "replay"])
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    record(options.log, options.trials)


if __name__ == "__main__":
    main()
