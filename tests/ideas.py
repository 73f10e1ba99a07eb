"""Proposers for tests, as a person would write them: named in study.toml as "ideas:Good". The study is that of helpers.py."""

import os
import time
from pathlib import Path

from autoresearch.errors import NothingLeft, ProposerError
from autoresearch.propose import Tree
from autoresearch.report.brief import Brief
from autoresearch.trial import Limits, Proposal


class Scripted:
    """Makes step.sh state a loss that is lower than its base's by `gain`, in every `every`-th trial, else higher."""

    name, gain, every = "scripted", 1.0, 1

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        number = limits.trial
        hang(number)
        base = 0.0 if brief.base_value is None else brief.base_value
        loss = base - (self.gain if number % self.every == 0 else -1.0)
        (tree.path / "step.sh").write_text(f"# {self.name}, trial {number}\necho METRIC loss={loss!r}\n")
        return Proposal(f"{self.name} {number}", self.name)


def hang(number: int) -> None:
    """Where a test asks for it: say that this trial is being thought about, and think for ever."""
    wanted, marker = os.environ.get("IDEAS_HANG_AT"), os.environ.get("IDEAS_MARKER", "")
    if wanted == str(number):
        Path(marker).touch()
        time.sleep(600)


class Good(Scripted):
    name, every = "good", 2


class Bad(Scripted):
    name, gain = "bad", -2.0


class Failing:
    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        time.sleep(0.002)  # failures are timed, to the millisecond
        raise ProposerError("it never works")


class Empty:
    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        raise NothingLeft("no ideas at all")


class Untidy:
    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        (tree.path / "step.sh").write_text("echo METRIC loss=0\n")
        raise NothingLeft("changed its mind")


class TwoGains(Scripted):
    """Helps twice."""

    name = "two"

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        if sum(trial.by == self.name for trial in brief.trials) >= 2:
            raise NothingLeft("both are made")
        return super().propose(tree, brief, limits)


class Doubles:
    """Doubles the constant RATE of rate.py, and claims to have done something else to it."""

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        file = tree.path / "rate.py"
        rate = float(file.read_text().removeprefix("RATE = "))
        file.write_text(f"RATE = {2 * rate}\n")
        return Proposal("double it", "doubles", {"constants": {"rate.py:RATE": [rate, 7.0]}})


class Thinker:
    """Thinks for a while, then sets one of ten files: odd trials help. Changes of two trials do not touch."""

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        time.sleep(0.5)
        (tree.path / "part" / str(limits.trial % 10)).write_text(f"{limits.trial % 2 or -limits.trial}\n")
        return Proposal(f"part {limits.trial % 10}", "thinker")


class Racers:
    """Three ideas that help, each in a file of its own."""

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        done = [trial for trial in brief.trials if trial.by == "racers"]
        if limits.trial > 3 or len(done) >= 3:
            raise NothingLeft("all three are made")
        (tree.path / "part" / str(limits.trial)).write_text("1\n")
        return Proposal(f"part {limits.trial}", "racers")


class Rivals:
    """Ideas that change the same line, each better than the one before, and slower."""

    lines: tuple[dict[str, int], ...] = ({"A": 2}, {"A": 3}, {"A": 4})
    told = False  # whether it says what it set

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        if limits.trial > len(self.lines):
            raise NothingLeft("all are made")
        new = self.lines[limits.trial - 1]
        file = tree.path / "settings.py"
        now = dict(line.split(" = ") for line in file.read_text().splitlines())
        file.write_text("".join(f"{name} = {new.get(name, value)}\n" for name, value in now.items()))
        memo = {"constants": {f"settings.py:{name}": [1, value] for name, value in new.items()}} if self.told else {}
        return Proposal(f"set {new}", "rivals", memo)


class Setters(Rivals):
    """The same of constants that were set together."""

    lines = ({"A": 2, "C": 2}, {"A": 3, "B": 3})
    told = True


class Nothing:
    """Changes that do nothing, each in a file of its own."""

    gain = 0

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        (tree.path / "part" / str(limits.trial % 100)).write_text(f"{self.gain}  # trial {limits.trial}\n")
        return Proposal(f"part {limits.trial}", type(self).__name__.lower())


class Gains(Nothing):
    """Changes that help, each by 1."""

    gain = 1
