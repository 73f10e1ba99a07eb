"""
The records that everything else passes around: frozen, typed, and free of behaviour.

Knows no files, no git and no processes. A record never changes; State replaces it by a newer one.
"""

from typing import Any, Literal

from msgspec import Struct

Direction = Literal["minimize", "maximize"]
BudgetUnit = Literal["tokens", "steps", "flops", "processor_seconds", "seconds"]

RunStatus = Literal[
    "ok",  # one finite value on record
    "crash",  # the command ended with an error
    "timeout",  # the command overstayed and was ended
    "absent",  # it ended well but never stated the metric
    "repeated",  # it stated the metric more than once, and not the same
    "unparsable",  # it stated the metric, but not as a number
    "not_finite",  # it stated NaN or an infinity
    "implausible",  # it stated what the study says cannot be
    "infeasible",  # it broke a guard: a bound that the study sets on something else than the metric
    "hopeless",  # ended early: its training curve was too far behind; see policy/race.py and policy/halving.py
    "stopped",  # ended from outside; says nothing about the candidate
]
Word = Literal["keep", "discard", "crash", "timeout", "rejected", "stale", "inconclusive", "suspect"]
HeldSet = Literal["search", "confirm", "sealed"]  # what a value is measured on; see Measure.sets in study.py
Purpose = Literal[
    "trial",  # to decide a trial; what was kept because of it leans to the good side
    "record",  # a fresh look at what is best already: the bar that later trials face
    "control",  # the same again, to see whether the machine drifts
    "careful",  # in the clean room; see doubt.py
    "claim",  # for certify
    "transfer",  # on a rung of a ladder; part of nothing else that the study knows
]

MEASURED = ("wall_s", "processor_s", "peak_memory_mb")  # taken from outside, so nobody can state them
BASELINE = "baseline"  # `by` of a trial that measures the best commit unchanged
FINDING = "finding"  # in the memo of a trial that tries what another peer of a swarm found: the id of its receipt


class Metric(Struct, frozen=True):
    """What is optimised. `unit` is for people only."""

    name: str
    direction: Direction = "minimize"
    unit: str = ""

    def gain(self, before: float, after: float) -> float:
        """How much better `after` is than `before`, in the metric's unit; positive is better."""
        return before - after if self.direction == "minimize" else after - before


class Budget(Struct, frozen=True):
    """What one run may spend."""

    amount: float
    unit: BudgetUnit


class Machine(Struct, frozen=True, omit_defaults=True):
    """Where a run happened. Values of different tiers are never compared."""

    tier: str
    cores: int
    device: str = ""
    gpu: bool = False


class Measurement(Struct, frozen=True, omit_defaults=True):
    """
    What a run returned. Times and memory are taken from outside, never from the candidate's word.

    `wall_s`, `processor_s` and `peak_memory_mb` are those of the run command with all its descendants;
    `score_s` and `score_processor_s` are those of the separate scorer. `slot_s` are the wall seconds for which the slot
    was the run's, waiting in between included; 0 where nobody took them. `curve` is the candidate's word: the loss at
    fractions of the budget, some 50 points.
    """

    status: RunStatus
    value: float | None
    digest: str
    machine: Machine
    extras: dict[str, float] = {}
    why: str = ""
    wall_s: float = 0.0
    processor_s: float = 0.0
    peak_memory_mb: float = 0.0
    score_s: float = 0.0
    score_processor_s: float = 0.0
    slot_s: float = 0.0
    curve: tuple[tuple[float, float], ...] = ()

    @property
    def compute_s(self) -> float:
        """What the run cost: processor seconds, or wall seconds where a GPU does the work."""
        return self.wall_s if self.machine.gpu else self.processor_s

    @property
    def held_s(self) -> float:
        """For how long it held its slot, which is what a machine is paid for."""
        return max(0.0, self.slot_s or self.wall_s + self.score_s)

    def number(self, name: str) -> float | None:
        """A number beside the value, as guards see it; None where the run gave no value or did not state it."""
        if self.value is None:
            return None
        measured: float | None = getattr(self, name) if name in MEASURED else self.extras.get(name)
        return measured


def is_dearer(now_s: float, before_s: float) -> bool:
    """Whether a run costs so much more compute than another that a gain counts as bought: by a fifth, and 0.2 s."""
    return now_s > max(before_s * 1.2, before_s + 0.2)


class Run(Struct, frozen=True, omit_defaults=True):
    """
    One execution of the measure command on a tree, with one seed.

    Runs belong to content (`tree`), not to a commit's message: a kept change is committed again with its
    numbers in the message, and its runs stay its own.
    """

    id: int
    trial: int
    tree: str
    commit: str
    seed_index: int
    seed: int
    digest: str
    started_at: float = 0.0
    held: HeldSet = "search"
    purpose: Purpose = "trial"
    measurement: Measurement | None = None
    tier: str = ""  # the kind of machine that it was sent to, where that is not the study's own

    @property
    def careful(self) -> bool:
        return self.purpose == "careful"

    @property
    def value(self) -> float | None:
        return self.measurement.value if self.measurement is not None else None

    def number(self, name: str) -> float | None:
        """The value, or the number of this name beside it."""
        return self.measurement.number(name) if name and self.measurement is not None else self.value


class Proposal(Struct, frozen=True):
    """
    An idea in one sentence. `memo` is whatever its proposer wants to find again later: small, JSON, opaque
    to the loop.
    """

    idea: str
    by: str
    memo: dict[str, Any] = {}


class Verdict(Struct, frozen=True, omit_defaults=True):
    """
    What was decided about a trial, the numbers behind it, and one sentence of why.

    `value` and `base_value` are means over the runs that were compared; `gain` is positive when better;
    `error` is the standard error of the gain (None while the noise is unknown). `cost` is what a run took,
    in multiples of the base's. `flags` are sentences that a person should read before believing it. `foreseen`: of a run
    that was ended early, the gain that its curve spoke for and the standard error of that; for whoever has ideas, and
    for no decision.
    """

    word: Word
    why: str
    value: float | None = None
    base_value: float | None = None
    gain: float | None = None
    error: float | None = None
    cost: float | None = None
    flags: tuple[str, ...] = ()
    foreseen: tuple[float, float] | None = None

    @property
    def promise(self) -> tuple[float, float] | None:
        """The gain and its standard error, as measured or foreseen."""
        return self.foreseen if self.gain is None else (self.gain, self.error or 0.0)


class Trial(Struct, frozen=True, omit_defaults=True):
    """One attempt: base commit, proposal, runs, verdict."""

    id: int
    base: str
    base_tree: str
    started_at: float = 0.0
    again: int | None = None  # the stale trial whose patch this one carries
    stack: tuple[int, ...] = ()  # several of them, whose patches it carries together
    commit: str | None = None
    tree: str | None = None
    idea: str = ""
    by: str = ""
    memo: dict[str, Any] = {}
    lines: tuple[int, int] = (0, 0)  # of code, added and removed; blank lines and comments are not counted
    seeds: tuple[str, ...] = ()  # lines that write a seed into the code
    problem: str = ""  # why it may not be tried
    asked: str = ""  # who was asked for it, of several proposers
    propose_s: float = 0.0  # wall seconds that its proposer took
    shape: str = ""  # the asset's identity as far as it runs
    near: int | None = None  # an earlier trial that did not help and that it comes close to
    runs: tuple[int, ...] = ()
    verdict: Verdict | None = None
    kept_as: str | None = None
    wish: str = ""  # the key of the idea that it carries, where somebody asked for it
    accepted: bool = False  # a person looked at it and says that its gain is real
    approved: bool = False  # a person says that what it shows may be shown in public; see live/
    decided_at: float | None = None

    @property
    def is_baseline(self) -> bool:
        return self.by == BASELINE

    @property
    def carries(self) -> tuple[int, ...]:
        """The stale trials whose patches it carries."""
        return self.stack or (() if self.again is None else (self.again,))

    @property
    def proposer(self) -> str:
        """Whose trial it is: the name in study.toml where there are several, else what the proposer calls itself."""
        return self.asked or self.by

    @property
    def word(self) -> str:
        return self.verdict.word if self.verdict else "running"


class Best(Struct, frozen=True):
    """The incumbent: the commit that a new trial must beat."""

    commit: str
    tree: str
    trial: int


class Share(Struct, frozen=True, omit_defaults=True):
    """
    What the best loses without one kept change, with its interval; several trials where they build on each other.

    `gain` is None where `why` says so: it cannot be taken out by itself, or what is left gives no value. `proven`: the change survives e-BH among all.
    """

    trials: tuple[int, ...]
    idea: str
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    e_value: float = 0.0
    proven: bool = False
    why: str = ""


class Beside(Struct, frozen=True):
    """
    A guarded number in a claim: means of the start and the best, and how much worse it became, seed by seed, with its
    95 % interval; positive is worse. `shown`: it is no worse than the start's by more than `margin`.
    """

    name: str
    before: float
    after: float
    worse: float
    low: float
    high: float
    margin: float
    shown: bool


class Claim(Struct, frozen=True, omit_defaults=True):
    """
    What is said in public: the best against the start, measured anew on `runs` seeds that nothing was run with.

    `before` and `after` are means, `low` to `high` is the 95 % interval of the gain. `climbing` is the gain as it
    looked while climbing, `luck` what `tried` changes without any effect could be expected to show.
    """

    start: str
    best: str
    tree: str
    held: HeldSet
    runs: int
    before: float
    after: float
    gain: float
    low: float
    high: float
    climbing: float
    tried: int
    luck: float | None
    digest: str
    machine: Machine
    shares: tuple[Share, ...] = ()
    passengers: tuple[int, ...] = ()  # trials that carry nothing
    pruned: str | None = None  # the best without them
    pruned_gain: tuple[float, float, float] | None = None  # its own gain over the start, with low and high
    beside: tuple[Beside, ...] = ()  # what the guards hold to the start


class Imported(Struct, frozen=True, omit_defaults=True):
    """A line of somebody else's log: a hint for proposers, never compared with values measured here."""

    idea: str
    status: str
    value: float | None = None
    commit: str = ""
    memory_gb: float | None = None


class Limits(Struct, frozen=True):
    """What one proposal may cost, and the trial that it is for."""

    timeout_s: float = 600.0
    trial: int = 0
