"""
Others' findings as trials: a proposer like any other, for a study that takes part in a swarm.

Which finding comes next is in share/trust.py. A finding is somebody else's word and somebody else's code: its patch is read as
data and written anew (share/patches.py), it may touch the asset alone, it runs in the sandbox or not at all, and what it is worth is
measured here like everything else. A part of all trials is kept for others' findings, while there are any worth a run.
"""

import threading
from collections.abc import Callable, Iterable, Iterator

from autoresearch.errors import NothingLeft, ProposerError
from autoresearch.events import TrialAsked
from autoresearch.propose import Proposer, Tree
from autoresearch.report.brief import Brief
from autoresearch.share import patches
from autoresearch.share.node import Node
from autoresearch.share.receipt import Refused
from autoresearch.share.trust import Candidate
from autoresearch.state import State
from autoresearch.study import Study
from autoresearch.trial import FINDING, Limits, Proposal, Trial

BY = "peers"


class Peers:
    """Workers share one; a finding that one of them is at is not another's."""

    def __init__(self, node: Node, study: Study) -> None:
        self.node, self.study = node, study
        self._lock = threading.Lock()
        self._taken: dict[str, str] = {}  # finding -> why it is not for another worker, or never fitted

    def waiting(self, brief: Brief) -> Iterator[Candidate]:
        """What could be tried now, the best first."""
        tried = {str(trial.memo[FINDING]) for trial in brief.trials if FINDING in trial.memo}
        keys = {trial.shape for trial in brief.trials if trial.shape and trial.verdict is not None and trial.runs}
        return (
            one for one in self.node.candidates(keys) if one.told.id not in tried and one.told.id not in self._taken
        )

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        """
        The finding that is worth most, made here.

        Raises:
            NothingLeft: none is worth a run now, or fits.
        """
        for one in self.waiting(brief):
            with self._lock:
                if one.told.id in self._taken:
                    continue
                self._taken[one.told.id] = "tried"
            if self._made(one, tree):
                finding = one.told.finding
                return Proposal(f"{self.node.name(one.told.peer)} found: {finding.idea}", BY, {FINDING: one.told.id})
        raise NothingLeft("no finding of others is worth a run now")

    def _made(self, one: Candidate, tree: Tree) -> bool:
        try:
            files = patches.read(one.told.finding.patch, self.study.may_change)
        except Refused as error:
            self._taken[one.told.id] = str(error)
            return False
        return tree.fit(patches.write(files), patches.line_for_line(files))


class Reserved:
    """
    One's own proposer, with at least `floor` of all trials for what others found. `note` writes down who was asked, so that a killed
    study asks the same again.
    """

    def __init__(
        self, peers: Peers, own: Proposer, floor: float, state: State, note: Callable[[TrialAsked], None]
    ) -> None:
        self.peers, self.own, self.floor, self.state, self.note = peers, own, floor, state, note

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        """
        Raises:
            ProposerError, NothingLeft: as the one that was asked.
        """
        asked = self.state.trials[limits.trial].asked
        if asked == BY or (not asked and self._is_due(brief.trials)):
            try:
                proposal = self.peers.propose(tree, brief, limits)
                if not asked:
                    self.note(TrialAsked(trial=limits.trial, by=BY))
                return proposal
            except NothingLeft:
                if asked:
                    raise ProposerError("the finding that was to be tried is not there any more") from None
        try:
            return self.own.propose(tree, brief, limits)
        except NothingLeft:
            if next(self.peers.waiting(brief), None):
                return self.peers.propose(tree, brief, limits)
            raise

    def _is_due(self, trials: Iterable[Trial]) -> bool:
        asked = [trial.by == BY or trial.asked == BY for trial in trials if not trial.is_baseline and not trial.carries]
        return sum(asked) < self.floor * len(asked)
