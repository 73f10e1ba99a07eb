"""
Several proposers as one: each next trial goes to the one with the best odds of progress for what it costs.

Whom it asks follows from the study's state and the study's seed alone (the rule is in stats/odds.py), and is written to
the log before it asks, so a killed study goes on with the same proposer. Knows nothing of how any of them has ideas.
"""

import random
import statistics
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from autoresearch.errors import NothingLeft, ProposerError
from autoresearch.events import TrialAsked
from autoresearch.propose import Proposer, Tree, constants
from autoresearch.propose.history import BY
from autoresearch.report.brief import Brief
from autoresearch.report.proposers import failed, machine_s
from autoresearch.state import State
from autoresearch.stats import odds
from autoresearch.stats.odds import Outcome
from autoresearch.trial import Limits, Proposal, Trial

DOLLARS_PER_HOUR = 2.0  # of the machine where execute.dollars_per_hour does not say; about that of a large rented GPU
FAILURES = 3  # in a row, after which a proposer rests
REST, LONGEST_REST = 8, 128  # trials; each further failure doubles it


class Portfolio:
    """
    `proposers` by the names that study.toml gives them. `note` writes to the log; `tell` says a sentence to the person.

    Workers share one. Whoever has nothing left is asked again once best has moved.
    """

    def __init__(
        self,
        proposers: Mapping[str, Proposer],
        state: State,
        note: Callable[[TrialAsked], None],
        tell: Callable[[str], None],
    ) -> None:
        self.proposers, self.state, self.note, self.tell = dict(proposers), state, note, tell
        self._lock = threading.Lock()
        self._empty: dict[str, tuple[str, str]] = {}  # name -> (base on which it had nothing left, its words)
        self._told: set[str] = set()  # who rests, as the person was told

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        """
        What the chosen one proposes.

        Raises:
            ProposerError: it could not make a change this time.
            NothingLeft: none of them has anything left.
        """
        while True:
            name = self._choose(brief, limits.trial)
            before = constants.contents(tree) if name != BY else {}  # search says itself what it set
            try:
                proposal = self.proposers[name].propose(tree, brief, limits)
                return proposal if name == BY else constants.noted(proposal, before, constants.contents(tree))
            except NothingLeft as error:
                with self._lock:
                    self._empty[name] = brief.base.tree, str(error)
            if tree.snapshot() != brief.base.tree:
                raise ProposerError(f"{name} has nothing left, but changed files before it said so")

    def _choose(self, brief: Brief, number: int) -> str:
        with self._lock:
            left = [name for name in self.proposers if self._empty.get(name, ("",))[0] != brief.base.tree]
            if not left:
                raise NothingLeft("; ".join(f"{name}: {said}" for name, (_, said) in self._empty.items()))
            asked = self.state.trials[number].asked
            if asked in left:
                return asked  # before the study was killed
            past = [trial for trial in tuple(self.state.trials.values()) if trial.id != number]
            awake = self.awake(past, left)
            seed = self.state.opened.seed if self.state.opened else 0
            rng = random.Random(f"{seed} {number} {len(left)}")
            name = odds.choose(outcomes(self.state, past, self.proposers), awake, rng) if len(awake) > 1 else awake[0]
            self.note(TrialAsked(trial=number, by=name))
            return name

    def awake(self, past: Sequence[Trial], names: Sequence[str]) -> list[str]:
        """Those that do not rest; if all do, the one whose rest ends first. The person is told when one begins to."""
        left = {name: rest(past, name) for name in names}
        for name in names:
            if len(failures(past, name)) < FAILURES:
                self._told.discard(name)
            elif name not in self._told:
                self._told.add(name)
                self.tell(f"{name} failed {FAILURES} times in a row and rests; it is tried again now and then")
        return [name for name in names if not left[name]] or [min(names, key=lambda name: left[name])]


def shares(state: State, names: Sequence[str]) -> dict[str, float]:
    """How likely each of these is to be asked next; nothing where there is only one."""
    if len(names) < 2:
        return {}
    past = tuple(state.trials.values())
    awake = [name for name in names if not rest(past, name)]
    found = odds.shares(outcomes(state, past, names), awake, random.Random(len(past))) if awake else {}
    return {name: found.get(name, 0.0) for name in names}


def rest(past: Sequence[Trial], name: str) -> int:
    """For how many more trials a proposer rests that failed several times in a row."""
    lately = failures(past, name)
    if len(lately) < FAILURES:
        return 0
    since = len(past) - 1 - lately[-1]
    return max(0, min(REST << min(len(lately) - FAILURES, 9), LONGEST_REST) - since)


def failures(past: Sequence[Trial], name: str) -> list[int]:
    """The places of a proposer's latest trials, as far back as it made no change at all in any of them."""
    mine = [place for place, trial in enumerate(past) if trial.proposer == name and trial.verdict is not None]
    made = max((place for place in mine if not failed(past[place])), default=-1)
    return [place for place in mine if place > made]


def outcomes(state: State, past: Sequence[Trial], names: Iterable[str]) -> list[Outcome]:
    """What became of these trials, as the odds see it: gains in units of noise, costs in hours of the machine."""
    mine = [trial for trial in past if trial.proposer in names]
    baseline = state.baseline.id if state.baseline else -1
    # What was kept before best was measured anew may have gained in another unit.
    kept = [trial for trial in mine if trial.word == "keep" and trial.id > baseline]
    gains = {t.id: gain for t in kept if (gain := _gain(state, t)) is not None}
    sizes = dict(zip(gains, odds.sizes(list(gains.values())), strict=True))
    usual = statistics.fmean(sizes.values()) if sizes else 1.0
    dollars = {name: _dollars(state, mine, name) for name in names}
    price = state.ledger.price or DOLLARS_PER_HOUR
    found = []
    stacked = {stale for trial in past if trial.word == "keep" for stale in trial.stack}
    for trial in mine:
        won = (
            True
            if trial.id in stacked
            else None
            if trial.word == "stale"
            else trial.word == "keep" and gains.get(trial.id, 1.0) > 0
        )
        hours = (trial.propose_s + machine_s(state, trial)) / 3600 + dollars[trial.proposer] / price
        cost = hours if trial.verdict else None
        found.append(Outcome(trial.proposer, won, sizes.get(trial.id, usual) if won else 0.0, cost))
    return found


def _gain(state: State, trial: Trial) -> float | None:
    """What a kept trial gained, by all that is known now: what was kept for a lucky run is worth what it then showed."""
    before, after = state.mean(trial.base_tree), state.mean(trial.tree or "")
    if before is None or after is None or not state.record(trial.tree or ""):
        return trial.verdict.gain if trial.verdict else None
    return state.metric.gain(before, after)


def _dollars(state: State, trials: Sequence[Trial], name: str) -> float:
    """What a trial of this proposer cost in calls to models, on average. It may have called itself otherwise."""
    mine = [trial for trial in trials if trial.proposer == name]
    called = {name, *(trial.by for trial in mine)}
    return sum(spent.dollars for who, spent in tuple(state.charged.items()) if who in called) / (len(mine) or 1)
