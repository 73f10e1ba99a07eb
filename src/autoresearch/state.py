"""
What is known of a study: the fold of its log. `State.apply` is the only place where it changes.

Knows no files, no git, no clock: the same events always give the same state.
"""

import copy
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import attrgetter

from msgspec.structs import replace

from autoresearch import scatter
from autoresearch.events import (
    Charged,
    Claimed,
    Event,
    Finalized,
    IdeaAsked,
    NoteDropped,
    RunFinished,
    RunStarted,
    SealedOpened,
    SessionEnded,
    SessionStarted,
    Steered,
    StudyOpened,
    Transferred,
    TrialAccepted,
    TrialApproved,
    TrialAsked,
    TrialDecided,
    TrialProposed,
    TrialsImported,
    TrialStarted,
    TrialWithdrawn,
)
from autoresearch.final import Final
from autoresearch.ledger import Ledger
from autoresearch.ledger import Spent as Spent
from autoresearch.rungs import Transfer
from autoresearch.scatter import Noise, Pairing
from autoresearch.trial import BASELINE, Best, Claim, HeldSet, Imported, Measurement, Metric, Run, Trial, Word
from autoresearch.wishes import Wishes

PROPOSED = ("idea", "by", "commit", "tree", "memo", "lines", "seeds", "problem", "shape", "near", "propose_s")
CARRIED = ("idea", "wish", "accepted", "approved", "asked")
_told = attrgetter(*PROPOSED)


class State:
    """
    The fold of the log.

    Readers on other threads may look up single entries at any time; whoever iterates takes a tuple first
    (`tuple(state.trials.values())` is one step under the interpreter's lock) or goes `back` from the latest.
    """

    def __init__(self) -> None:
        self.opened: StudyOpened | None = None
        self.trials: dict[int, Trial] = {}
        self.runs: dict[int, Run] = {}
        self.best: Best | None = None
        self.ready = False  # the best was measured under the current referee: there is a value to beat
        self.kept: list[int] = []  # trials in the order in which they became best, baselines included
        self.trees: dict[str, int] = {}  # tree -> the first trial that carried it and could be run
        self.shapes: dict[str, int] = {}  # shape -> the first trial that had it and could be run
        self.imported: list[Imported] = []
        self.sources: list[str] = []
        self.openings: list[SealedOpened] = []
        self.claims: list[Claim] = []
        self.transfers: list[Transfer] = []
        self.finals: list[Final] = []
        self.controls: list[int] = []  # runs that repeat an earlier one, in order
        self.session: SessionStarted | None = None  # None once it ended of its own accord
        self.tier = ""  # the machine of the latest session; values from another tier do not count
        self.unfinished: dict[int, None] = {}  # trials without a verdict, in order
        self.open_runs: dict[int, None] = {}  # runs without a measurement, in order
        self.stale: dict[int, None] = {}  # stale trials that were not tried again yet, in order
        self.apart: set[int] = set()  # stale trials that were no gain together: each is tried by itself
        self.counts: dict[str, int] = {}  # verdict word -> trials, baselines excluded
        self.tried_on: dict[str, int] = {}  # tree -> trials that were measured against it, baselines excluded
        self.spent_s = 0.0  # wall seconds of all finished runs and their scoring
        self.ledger = Ledger()  # what it cost
        self.wishes = Wishes()  # what was asked for from outside the loop
        self.next_trial = 0
        self.next_run = 0
        self._scatter_of: dict[str, tuple[Noise | None, Pairing]] = {}  # by tier, until something of it changes
        self._runs_on: dict[tuple[str, str], list[int]] = {}  # (tree, digest) -> runs, in order
        self._repeated: dict[int, None] = {}  # trials with more than one run, in order

    # -- reading ---------------------------------------------------------------------------------------

    def on(self, tier: str) -> "State":
        """The same, as it is now, with the values of another kind of machine ("": the study's own) and no others."""
        if tier in ("", self.tier):
            return self
        seen = copy.copy(self)
        seen.tier = tier
        return seen

    def back(self) -> Iterator[Trial]:
        """Trials from the latest back, on any thread, at the cost of as many as are taken."""
        found = (self.trials.get(id) for id in range(self.next_trial - 1, -1, -1))
        return (trial for trial in found if trial is not None)

    @property
    def digest(self) -> str:
        return self.opened.digest if self.opened else ""

    @property
    def metric(self) -> Metric:
        assert self.opened is not None, "a study is opened before its metric is asked for"
        return self.opened.metric

    @property
    def decided(self) -> int:
        """Trials with a verdict, baselines not counted."""
        return sum(self.counts.values())

    @property
    def dollars(self) -> float:
        """What it cost so far: calls to models and, where it has a price, the machine. `budget.dollars` is its cap."""
        return self.ledger.models + self.ledger.machine

    @property
    def charged(self) -> dict[str, Spent]:
        """Proposer -> what its calls to models cost."""
        return self.ledger.charged

    @property
    def tokens(self) -> int:
        """What all proposers sent to models and got from them so far."""
        return sum(spent.tokens for spent in tuple(self.charged.values()))

    @property
    def noise(self) -> Noise | None:
        """
        Pooled over the repeats of everything that was ever best; None before any of it was run twice.

        Not over all trials: one candidate that diverged with its second seed would hide every later gain.
        """
        return self._scatter[0]

    @property
    def pairing(self) -> Pairing:
        """
        How far runs of one seed move together, from trees with repeats.

        Only of trees that were ever best, and of trials with several runs: those that were promising.
        """
        return self._scatter[1]

    @property
    def _scatter(self) -> tuple[Noise | None, Pairing]:
        if self.tier not in self._scatter_of:
            kept = [self.trials[i].tree for i in self.kept]
            best = [*kept, self.best.tree if self.best else None]
            again = (self.trials[i].tree for i in reversed(tuple(self._repeated)) if i in self.trials)
            noise = scatter.noise([list(values.values()) for values in self._groups(best)])
            pairing = scatter.pairing(self._groups([*kept, *islice(again, scatter.TREES)]), noise)
            self._scatter_of[self.tier] = noise, pairing
        return self._scatter_of[self.tier]

    def _groups(self, trees: Iterable[str | None]) -> list[dict[int, float]]:
        """Seed index -> value for each content that was run more than once, each content once, in this order."""
        return [values for tree in dict.fromkeys(filter(None, trees)) if len(values := self.values(tree)) > 1]

    @property
    def usual(self) -> Measurement | None:
        """What the most expensive run of the baseline took; later runs are held against it."""
        trial = self.baseline
        results = [run.measurement for run in self.runs_on(trial.tree or "")] if trial else []
        done = [result for result in results if result and result.value is not None]
        return max(done, key=lambda result: result.processor_s, default=None)

    def runs_on(self, tree: str) -> list[Run]:
        """Every finished run on this content that counts now: same digest, same machine tier, not stopped."""
        found = (self.runs[i] for i in tuple(self._runs_on.get((tree, self.digest), ())))
        return [run for run in found if self.has_ended(run)]

    def has_ended(self, run: Run) -> bool:
        """Whether it counts now: it was not stopped, and ran under the same digest and on the same machine tier."""
        done = run.measurement
        return (
            done is not None
            and done.status != "stopped"
            and run.digest == self.digest
            and done.machine.tier == self.tier
        )

    def values(self, tree: str, held: HeldSet = "search", name: str = "") -> dict[int, float]:
        """
        Seed index -> value (or the number of this name beside it), over the runs that decided on this content or
        looked at it again, on this held set.
        """
        runs = [run for run in self.runs_on(tree) if run.held == held and run.purpose in ("trial", "record")]
        return {run.seed_index: number for run in runs if (number := run.number(name)) is not None}

    def record(self, tree: str) -> dict[int, float]:
        """Seed index -> value, over fresh runs alone: none of them is why this content was kept."""
        runs = [run for run in self.runs_on(tree) if run.held == "search" and run.purpose == "record"]
        return {run.seed_index: run.value for run in runs if run.value is not None}

    def compute_s(self, tree: str) -> float | None:
        """What a run on this content takes on average; None before one gave a value."""
        done = [run.measurement for run in self.runs_on(tree) if run.measurement and run.value is not None]
        return sum(measurement.compute_s for measurement in done) / len(done) if done else None

    def mean(self, tree: str) -> float | None:
        """Over its fresh runs; where there are none, over those that decided on it."""
        values = self.record(tree) or self.values(tree)
        return sum(values.values()) / len(values) if values else None

    @property
    def baseline(self) -> Trial | None:
        """The first trial measured under the current digest: the code as it stood before any change."""
        under = (t for t in (self.trials[i] for i in self.kept) if t.is_baseline and t.tree is not None)
        return next((t for t in under if self.values(t.tree or "")), None)

    # -- changing --------------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Fold one event in. Events of a kind this version does not know never get here (see log.py)."""
        match event:  # the frequent ones first
            case RunStarted():
                self._start_run(event.run)
            case RunFinished():
                self._finish_run(event)
            case TrialStarted():
                self._start_trial(event)
            case TrialAsked():
                self.trials[event.trial] = replace(self.trials[event.trial], asked=event.by)
            case TrialProposed():
                self._propose(event)
            case TrialDecided():
                self._decide(event)
            case TrialAccepted():
                self._accept(event)
            case TrialApproved(trial=id):
                self.trials[id] = replace(self.trials[id], approved=True)
            case Charged():
                self.ledger.charge(event)
            case TrialWithdrawn():
                self._withdraw(event)
            case StudyOpened():
                self._open(event)
            case SessionStarted():
                self._start_session(event)
            case SessionEnded():
                self.session = None
            case SealedOpened():
                self.openings.append(event)
            case Claimed():
                self.claims.append(event.claim)
            case Transferred():
                self.transfers.append(event.transfer)
            case Finalized():
                self.finals.append(event.final)
            case TrialsImported():
                self.imported.extend(event.trials)
                self.sources.append(event.source)
            case IdeaAsked() | Steered() | NoteDropped():
                self.wishes.apply(event)
        self.ledger.seen(event.at)

    def _start_run(self, run: Run) -> None:
        self.runs[run.id] = run
        self.next_run = max(self.next_run, run.id + 1)
        self.open_runs[run.id] = None
        self.ledger.begin(run)
        if run.purpose == "transfer":
            return  # at other settings: it says nothing of a trial, of the noise or of what a run costs
        self.controls += [run.id] if run.purpose == "control" else []
        self._runs_on.setdefault((run.tree, run.digest), []).append(run.id)
        trial = self.trials[run.trial]
        self.trials[run.trial] = replace(trial, runs=(*trial.runs, run.id))
        if trial.runs:
            self._repeated[trial.id] = None
            self._scatter_of.clear()

    def _finish_run(self, event: RunFinished) -> None:
        run = replace(self.runs[event.run], measurement=event.measurement)
        self.runs[run.id] = run
        self.open_runs.pop(run.id, None)
        self.ledger.finish(run)
        self.spent_s += event.measurement.wall_s + event.measurement.score_s
        if len(self._runs_on.get((run.tree, run.digest), ())) > 1:
            self._scatter_of.clear()

    def _start_trial(self, event: TrialStarted) -> None:
        id = event.trial
        trial = Trial(id, event.base, event.base_tree, event.at, event.again, event.stack)
        if event.again is not None:
            before = self.trials[event.again]
            trial = replace(trial, **{name: getattr(before, name) for name in CARRIED})
        for carried in trial.carries:
            self.stale.pop(carried, None)
        if event.wish:
            asked = self.wishes.asked[event.wish]
            trial = replace(trial, idea=asked.idea, by=asked.by, wish=asked.key)
        self.wishes.carry(trial.wish, id)
        if event.baseline:
            idea = "the code as it stands"
            trial = replace(trial, by=BASELINE, idea=idea, commit=event.base, tree=event.base_tree)
            self.trees.setdefault(event.base_tree, id)
            if self.best and (known := self.trials.get(self.best.trial)) and known.shape:
                self.shapes.setdefault(known.shape, id)
        self.trials[id] = trial
        self.next_trial = max(self.next_trial, id + 1)
        self.unfinished[id] = None

    def _propose(self, event: TrialProposed) -> None:
        self.trials[event.trial] = replace(self.trials[event.trial], **dict(zip(PROPOSED, _told(event), strict=True)))
        for known, key in ((self.trees, event.tree), (self.shapes, event.shape)):
            if key and not event.problem:
                known.setdefault(key, event.trial)

    def _decide(self, event: TrialDecided) -> None:
        id, verdict = event.trial, event.verdict
        trial = replace(self.trials[id], verdict=verdict, decided_at=event.at, kept_as=event.kept_as)
        trial = replace(trial, propose_s=event.propose_s or trial.propose_s)
        self.trials[id] = trial
        self.unfinished.pop(id, None)
        self.ledger.decide(trial)
        if not trial.is_baseline:
            self.counts[verdict.word] = self.counts.get(verdict.word, 0) + 1
            self.tried_on[trial.base_tree] = self.tried_on.get(trial.base_tree, 0) + bool(trial.runs)
        if trial.stack:
            self._part(trial, verdict.word)
        elif verdict.word == "stale":
            self.stale[id] = None
        if verdict.word == "keep" and event.kept_as and trial.tree:
            self._become_best(trial, event.kept_as)

    def _part(self, stack: Trial, word: Word) -> None:
        """What several changes together turned out to be: kept, or to be tried again, each by itself if that was why."""
        if word == "keep":
            return
        self.stale |= dict.fromkeys(stack.stack)
        if word != "stale":
            self.apart.update(stack.stack)

    def _accept(self, event: TrialAccepted) -> None:
        id = event.trial
        trial = self.trials[id]
        assert trial.verdict is not None, "only a decided trial can be accepted"
        was = trial.verdict.word
        self.counts[was] -= 1
        if not self.counts[was]:
            del self.counts[was]
        word: Word = "keep" if event.kept_as else "stale"
        verdict = replace(trial.verdict, word=word, why=f"accepted by the person; before: {trial.verdict.why}")
        self.trials[id] = trial = replace(trial, verdict=verdict, kept_as=event.kept_as, accepted=True)
        self.counts[word] = self.counts.get(word, 0) + 1
        if event.kept_as:
            self._become_best(trial, event.kept_as)
        else:
            self.stale[id] = None

    def _withdraw(self, event: TrialWithdrawn) -> None:
        trial = self.trials.pop(event.trial)
        self.unfinished.pop(event.trial, None)
        self.wishes.give_back(trial)
        self.stale |= dict.fromkeys(trial.carries)

    def _open(self, event: StudyOpened) -> None:
        self.opened = event
        if not self.kept:
            self.best = Best(event.start, event.start_tree, 0)
        self._start_over()

    def _start_session(self, event: SessionStarted) -> None:
        self.session = event
        self.ledger.open(self.next_run, event)
        if event.machine.tier != self.tier:
            self.tier = event.machine.tier
            self._start_over()

    def _become_best(self, trial: Trial, commit: str) -> None:
        assert trial.tree is not None
        self.best = Best(commit, trial.tree, trial.id)
        self.kept.append(trial.id)
        self._scatter_of.clear()
        self.ready = True

    def _start_over(self) -> None:
        """Another referee or another kind of machine: nothing measured before compares with what comes now."""
        self.ready = False
        self.trees, self.shapes = {}, {}
        self._scatter_of.clear()


def fold(events: Iterable[Event]) -> State:
    """The state that follows from these events."""
    state = State()
    for event in events:
        state.apply(event)
    return state
