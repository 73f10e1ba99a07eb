"""What can happen in a study. An `Event` is one line of the log; what follows from them is in state.py."""

from typing import Any

from msgspec import Struct

from autoresearch.final import Final
from autoresearch.rungs import Transfer
from autoresearch.trial import Claim, Imported, Machine, Measurement, Metric, Run, Verdict


class Event(Struct, frozen=True, omit_defaults=True, tag_field="event", kw_only=True):
    """Something that happened. `at` is seconds since 1970, for people; it decides nothing but what an open run cost."""

    at: float = 0.0


class StudyOpened(Event, frozen=True, tag="study_opened"):
    """
    A study starts, or goes on under another referee: from here on, only runs with this `digest` count.

    `start` is the commit the study began from; `seed` is the root from which every run's seed follows.
    """

    study: str
    start: str
    start_tree: str
    metric: Metric
    digest: str
    seed: int


class SessionStarted(Event, frozen=True, tag="session_started"):
    """A process took the study up. A slot costs `dollars_per_hour` from here on; None: nothing."""

    pid: int
    version: str
    machine: Machine
    workers: int
    dollars_per_hour: float | None = None


class SessionEnded(Event, frozen=True, tag="session_ended"):
    """That process stopped of its own accord. A killed one leaves no such line."""

    why: str


class TrialStarted(Event, frozen=True, tag="trial_started"):
    """
    A worker took a new trial on `base`. `again` names the stale trial whose patch it carries, `stack` several whose
    patches it carries together; a `baseline` measures the base itself and needs no proposal; `wish` is the key of the
    idea that it carries.
    """

    trial: int
    base: str
    base_tree: str
    again: int | None = None
    stack: tuple[int, ...] = ()
    baseline: bool = False
    wish: str = ""


class TrialAsked(Event, frozen=True, tag="trial_asked"):
    """Of several proposers, the one of this name was asked for a trial. Where it has nothing left, another follows."""

    trial: int
    by: str


class TrialProposed(Event, frozen=True, tag="trial_proposed"):
    """
    A trial has its idea and the commit that carries it. With a `problem`, it is not going to be run.

    `lines` of code were added and removed, blank lines and comments not counted; `seeds` are lines that fix a seed.
    `shape` is the identity of the asset as far as it runs (see shape.py); `near` is an earlier trial that did not help
    and that this one comes close to. Its proposer took `propose_s` seconds.
    """

    trial: int
    idea: str
    by: str
    commit: str
    tree: str
    memo: dict[str, Any] = {}
    lines: tuple[int, int] = (0, 0)
    seeds: tuple[str, ...] = ()
    problem: str = ""
    shape: str = ""
    near: int | None = None
    propose_s: float = 0.0


class TrialWithdrawn(Event, frozen=True, tag="trial_withdrawn"):
    """A trial was given back before anything was proposed: it never was."""

    trial: int
    why: str


class Charged(Event, frozen=True, tag="charged"):
    """
    What one call to a model cost, written as soon as it is known. Made for a trial, by the proposer of this name,
    whether or not anything came of it.
    """

    trial: int
    by: str
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float = 0.0
    wall_s: float = 0.0


class RunStarted(Event, frozen=True, tag="run_started"):
    """A run began."""

    run: Run


class RunFinished(Event, frozen=True, tag="run_finished"):
    """A run ended, with what it returned."""

    run: int
    measurement: Measurement


class TrialDecided(Event, frozen=True, tag="trial_decided"):
    """
    A verdict. A kept trial becomes best; `kept_as` is its commit on the best branch. `propose_s` is what its proposer
    took where nothing came of it.
    """

    trial: int
    verdict: Verdict
    kept_as: str | None = None
    propose_s: float = 0.0


class TrialAccepted(Event, frozen=True, tag="trial_accepted"):
    """
    A person accepted a suspect trial: it becomes best as `kept_as`, or, where best has moved since, its patch is
    tried again on the new one.
    """

    trial: int
    kept_as: str | None = None


class TrialApproved(Event, frozen=True, tag="trial_approved"):
    """A person looked at what a trial of a live study would show in public: it may be shown."""

    trial: int


class Claimed(Event, frozen=True, tag="claimed"):
    """The best was certified."""

    claim: Claim


class Transferred(Event, frozen=True, tag="transferred"):
    """What was kept was measured on a ladder of other settings."""

    transfer: Transfer


class Finalized(Event, frozen=True, tag="finalized"):
    """What was kept was made into branches to hand on."""

    final: Final


class SealedOpened(Event, frozen=True, tag="sealed_opened"):
    """The sealed set is about to be measured on. Each opening counts: what was seen is sealed no more."""

    why: str


class TrialsImported(Event, frozen=True, tag="trials_imported"):
    """Somebody else's log was read in, as hints."""

    source: str
    trials: tuple[Imported, ...]


class IdeaAsked(Event, frozen=True, tag="idea_asked"):
    """
    Somebody other than the study's proposer wants an idea tried: a person, or an agent that drives. `commit` carries
    it, made on `base`; `key` is unique, and names the idea until it has a trial.
    """

    key: str
    idea: str
    by: str
    base: str
    commit: str
    tree: str


class Steered(Event, frozen=True, tag="steered"):
    """A note to all proposers, under a number by which it can be dropped."""

    note: int
    text: str
    by: str
    key: str


class NoteDropped(Event, frozen=True, tag="note_dropped"):
    """A note is told to nobody any more."""

    note: int


AnyEvent = (
    StudyOpened
    | SessionStarted
    | SessionEnded
    | TrialStarted
    | TrialAsked
    | TrialProposed
    | TrialWithdrawn
    | Charged
    | RunStarted
    | RunFinished
    | TrialDecided
    | TrialAccepted
    | TrialApproved
    | SealedOpened
    | Claimed
    | Transferred
    | Finalized
    | TrialsImported
    | IdeaAsked
    | Steered
    | NoteDropped
)
