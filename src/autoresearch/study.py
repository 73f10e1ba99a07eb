"""
The contract: what may change, how to measure, when to keep, when to stop.

Reads study.toml into a typed Study and says, for anything wrong, which key it is and what to write instead.
Knows no git and runs nothing.
"""

import hashlib
import re
import tomllib
import typing
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, field

from autoresearch.errors import StudyError
from autoresearch.guard import METRIC_NAME, Guard, NoWorse
from autoresearch.guard import read as read_guard
from autoresearch.keys import explain
from autoresearch.live.settings import Live
from autoresearch.patterns import compiled, may_change
from autoresearch.proposing import Propose
from autoresearch.tell.settings import Tell
from autoresearch.trial import Budget, BudgetUnit, HeldSet, Metric
from autoresearch.values import SANDBOXES as SANDBOXES
from autoresearch.values import check_command, check_place, check_positive, check_sandbox

FILE = "study.toml"
UNITS = typing.get_args(BudgetUnit)
STARTING_S = 1.0  # what starting up scatters by is no overrun of a short run
_TIMES = {"s", "sec", "second", "seconds", "ms", "milliseconds", "us", "microseconds", "ns", "nanoseconds", "minutes"}
LIVE = "autoresearch live serve"  # what measures a live study
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


class MetricTable(Metric, frozen=True, forbid_unknown_fields=True):
    """
    What is optimised. A value outside `min` to `max` is not possible, so a run that states one has no value.

    A gain of more than `max_step` in one trial is `suspect`; without it, what was seen so far is the measure.

    `kind` says how values scatter, and with that how they are compared: `repeats` of a run with other seeds; `timing`,
    where a trial and its base are run by turns, since a shared machine is now fast, now slow; `proportion`, successes
    of so many `items`. `auto` is timing where the unit is one of time.
    """

    kind: Literal["auto", "repeats", "timing", "proportion"] = "auto"
    min: float | None = None
    max: float | None = None
    max_step: float | None = None
    guards: list[str] = field(default_factory=list)

    @property
    def bounds(self) -> list[Guard | NoWorse]:
        """The guards, read: `peak_memory_mb <= 64000`."""
        return [read_guard(text) for text in self.guards]

    @property
    def no_worse(self) -> list[NoWorse]:
        """Those that hold a trial to where the study started: `val_bpb <= baseline + 0.01`."""
        return [guard for guard in self.bounds if isinstance(guard, NoWorse)]

    @property
    def is_timing(self) -> bool:
        return self.kind == "timing" or (self.kind == "auto" and self.unit.lower() in _TIMES)

    @property
    def is_proportion(self) -> bool:
        return self.kind == "proportion"

    def implausible(self, value: float, extras: Mapping[str, float]) -> str:
        """Why this value cannot be, in words; empty if it can."""
        if self.is_proportion and not 0 <= value <= 1:
            return f"{self.name} = {value:g} is no proportion: metric.kind asks for successes by items, from 0 to 1"
        if self.is_proportion and not extras.get("items", 0) >= 1:
            return "metric.kind is proportion, and no line `METRIC items=...` says of how many items"
        if self.min is not None and value < self.min:
            return f"{self.name} = {value:g} is below metric.min = {self.min:g}, so it cannot be"
        if self.max is not None and value > self.max:
            return f"{self.name} = {value:g} is above metric.max = {self.max:g}, so it cannot be"
        return ""

    def __post_init__(self) -> None:
        if self.min is not None and self.max is not None and not self.min < self.max:
            raise ValueError(f"min = {self.min:g} must be below max = {self.max:g}")
        if self.max_step is not None and not self.max_step > 0:
            raise ValueError("max_step must be positive: the largest gain that one change can honestly bring")
        if any(guard.name == self.name for guard in self.bounds):
            raise ValueError(f"guards: {self.name} is the metric itself; what it cannot be is said by min and max")
        if not METRIC_NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} must be one word, like val_bpb, as in a line `METRIC val_bpb=0.99`")


class Measure(Struct, frozen=True, forbid_unknown_fields=True):
    """
    How a value is obtained. Commands are split as a shell would, but run without one.

    `run` is the candidate's code. `score` is frozen code that reads what the run left behind; without it the
    candidate marks itself. `prepare` is frozen too and fills the data folders, once.

    A budget in tokens, steps or flops is the candidate's word. `overrun` bounds it from outside: a run that takes
    more than so many times the baseline's processor time (its wall time, for a budget in seconds) is ended.

    `sets` are the held sets that `score` knows: candidates are compared on `search`, a new best is confirmed on
    `confirm`, and `sealed` opens only for a claim.
    """

    run: str
    score: str | None = None
    prepare: str | None = None
    budget: str | None = None
    overrun: float = 2.0
    sets: list[HeldSet] = field(default_factory=lambda: ["search"])
    timeout_s: float = 600.0
    score_timeout_s: float = 600.0
    prepare_timeout_s: float = 3600.0

    def __post_init__(self) -> None:
        for name in ("run", "score", "prepare"):
            check_command(name, getattr(self, name))
        for name in ("timeout_s", "score_timeout_s", "prepare_timeout_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a positive number of seconds")
        if not 1 < self.overrun < float("inf"):
            raise ValueError("overrun must be more than 1: honest runs take as long as the baseline")
        if "search" not in self.sets or len(set(self.sets)) < len(self.sets):
            raise ValueError('sets must name "search", and each set once')
        if len(self.sets) > 1 and self.score is None:
            raise ValueError("sets needs a key `score`: only frozen code can keep a set from the candidate")
        _ = self.allowance

    def most_s(self, usual_s: float) -> float:
        """How many seconds a run may take where it usually takes so many."""
        return self.overrun * usual_s + STARTING_S

    @property
    def allowance(self) -> Budget | None:
        """What one run may spend, as told to it."""
        if self.budget is None:
            return None
        amount, _, unit = self.budget.strip().partition(" ")
        try:
            number = float(amount)
        except ValueError:
            number = -1.0
        if not 0 < number < float("inf") or unit not in UNITS:
            raise ValueError(
                f"budget {self.budget!r} is not an amount and a unit, like '300 seconds' ({', '.join(UNITS)})"
            )
        return Budget(number, typing.cast(BudgetUnit, unit))


class Execute(Struct, frozen=True, forbid_unknown_fields=True):
    """
    Where runs happen: cores for each run, how many runs at once, and what a run may see and use.

    `read` are paths that candidates may read beside their own tree and the open data; `env` are variables of
    the person's environment that they are given. `memory_mb` and `disk_mb` bound one run with all it starts. A slot
    costs `dollars_per_hour` while a run has it; None: machine time is free.

    On a cluster each run asks for `gpus`, a part of one (Ray) or several, and for a node with this `accelerator`, beside
    its cores and memory. On Ray, `address` is the cluster's (None: one that is started here). On Slurm, runs are jobs in
    `partition`, paid by `account`, on nodes with the features that `constraint` names.
    """

    on: Literal["local", "ray", "slurm"] = "local"
    address: str | None = None
    partition: str | None = None
    account: str | None = None
    constraint: str | None = None
    gpus: float | None = None
    accelerator: str | None = None
    cores: int | None = None
    workers: int | None = None
    dollars_per_hour: float | None = None
    sandbox: str = "auto"
    image: str | None = None
    memory_mb: int | None = None
    disk_mb: int = 20_000
    processes: int = 512
    read: list[str] = []
    env: list[str] = []

    def __post_init__(self) -> None:
        check_positive(self, "cores", "workers", "dollars_per_hour", "memory_mb", "disk_mb", "processes", "gpus")
        if self.gpus is not None and self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus = {self.gpus:g} must be a part of one GPU, or whole ones")
        check_place(self)
        check_sandbox(self.sandbox)
        if any(name.startswith("AUTORESEARCH_") for name in self.env):
            raise ValueError("env names the person's variables; those of autoresearch are given anyway")


class Decide(Struct, frozen=True, forbid_unknown_fields=True):
    """
    When a change is kept. `calibrate` runs of the baseline come first; a trial gets at most `repeats`.

    With the Ladder, proposers learn no more of a trial that did not win than that it did not. With `race`, a run
    whose training curve is hopeless is ended early. With `halving`, so are all but the best of so many that got as
    far; 0: none. `screen` says where trials are screened before they are measured on the study's own kind of machine: on
    the other kinds that there are, or nowhere. `simplicity` is what one more line of code has to gain, in standard
    deviations of a run; 0: nothing.
    """

    policy: str = "climb"
    race: bool = True
    halving: int = 0
    ladder: Literal["auto", "on", "off"] = "auto"
    screen: Literal["others", "off"] = "others"
    calibrate: int = 5
    repeats: int = 3
    simplicity: float = 0.02

    @property
    def baseline_runs(self) -> int:
        return 1 if self.policy == "greedy" else self.calibrate

    def __post_init__(self) -> None:
        check_positive(self, "calibrate", "repeats")
        if self.halving not in (0, 2, 3, 4):
            raise ValueError(
                f"halving = {self.halving} must be 2, 3 or 4: one in so many goes on; or 0, and none is ended"
            )
        if not 0 <= self.simplicity < float("inf"):
            raise ValueError("simplicity must be 0 or more")


class Stop(Struct, frozen=True, forbid_unknown_fields=True):
    """
    When the study is over. `trials` counts all sessions, `hours` each session by itself; `dollars` and `tokens` are
    of all sessions together: what models and, where it has a price, the machine may cost.
    """

    trials: int | None = None
    hours: float | None = None
    dollars: float | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        check_positive(self, "trials", "hours", "dollars", "tokens")


class Study(Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """study.toml, typed. With a table [live], people's doings are what is measured, and nothing is run."""

    name: str
    asset: list[str]
    metric: MetricTable
    measure: Measure
    execute: Execute = field(default_factory=Execute)
    propose: Propose = field(default_factory=Propose)
    decide: Decide = field(default_factory=Decide)
    budget: Stop = field(default_factory=Stop)
    tell: Tell = field(default_factory=Tell)
    live: Live | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name.endswith((".", ".lock")) or ".." in self.name:
            raise ValueError("name must be lower-case letters, digits, '-', '_' or '.', at most 40 of them")
        if not self.asset or not all(self.asset):
            raise ValueError('asset must name at least one file or pattern that may change, like ["train.py"]')
        for pattern in self.asset:
            if pattern.startswith(("/", "~")) or ".." in pattern.split("/"):
                raise ValueError(f"asset {pattern!r} must lie inside the study's folder")
            if may_change([pattern], FILE):
                raise ValueError(f"asset {pattern!r} includes {FILE} itself, which is always frozen")
        if self.live is not None and self.metric.direction != "maximize":
            raise ValueError(
                'metric.direction must be "maximize" beside [live]: the metric is the rate of live.outcome'
            )
        if self.live is not None and self.live.prior is not None and may_change(self.asset, self.live.prior):
            raise ValueError(
                f"live.prior = {self.live.prior!r} is among the asset, and it must be frozen: name another file"
            )
        once = self.decide.baseline_runs < 2
        for guard in self.metric.no_worse if once else ():
            if guard.margin is None:
                raise ValueError(
                    f"metric.guards: {str(guard)!r} needs a margin, as in '{guard} {guard.away} 0.01': the start is run "
                    "once, so how far runs scatter is not known"
                )

    def need_live(self) -> Live:
        """
        Raises:
            StudyError: this study is run, and not lived.
        """
        if self.live is None:
            raise StudyError(
                f"{FILE} has no table [live]: `autoresearch init DIR --template landing-page` makes a study of people's doings"
            )
        return self.live

    def may_change(self, path: str) -> bool:
        """Whether a file (relative to the study's folder, with '/') belongs to the asset."""
        return any(p.fullmatch(path) for p in self._patterns)

    @cached_property
    def _patterns(self) -> list[re.Pattern[str]]:
        return [compiled(glob) for glob in self.asset]

    def digest(self, frozen: Iterable[str]) -> str:
        """
        The identity of the referee: what is measured, how, on what budget, by which files.

        `frozen` are lines that identify the frozen files by content. Values under different digests are
        never compared.
        """
        counted = [self.live.counted] if self.live else []
        return _digest([self.metric, self.measure, self.asset, *counted], frozen)

    def data_digest(self, frozen: Iterable[str]) -> str:
        """The identity of what `prepare` made: a new budget needs no new data."""
        return _digest(self.measure.prepare, frozen)


def _digest(contract: object, frozen: Iterable[str]) -> str:
    lines = [msgspec.json.encode(contract, order="sorted"), *sorted(line.encode("utf-8", "replace") for line in frozen)]
    return hashlib.sha256(b"\n".join(lines)).hexdigest()[:16]


def load(folder: Path) -> Study:
    """
    The study in this folder.

    Raises:
        StudyError: no study.toml, or something in it is wrong; the message names the key and the remedy.
    """
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(f"no {FILE} in {folder}; make a study with `autoresearch init DIR --template toy`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read ({error})") from None
    return parse(text)


def parse(text: str) -> Study:
    """The study in this text; errors as in `load`."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{FILE}: not valid TOML: {error}") from None
    except RecursionError:
        raise StudyError(f"{FILE}: not valid TOML: nested too deeply") from None
    if "live" in content:
        content.setdefault("measure", {"run": LIVE})
    try:
        return msgspec.convert(content, Study)
    except msgspec.ValidationError as error:
        explain(str(error), Study, FILE)
