"""Where runs happen."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from autoresearch.study import Study
from autoresearch.trial import Machine, Measurement, Run

if TYPE_CHECKING:
    from autoresearch.execute.guarantees import Guarantee

OnProgress = Callable[[Run, float, float | None], None]  # run, fraction of its budget, loss
Hopeless = Callable[[Sequence[tuple[float, float]]], str]  # the curve so far -> why to end the run, or empty


class Executor(Protocol):
    """
    Runs the measure command on a checked-out tree. Shared by all workers, each on its own thread.

    `run` returns whatever happened as a Measurement; it raises only for faults of ours.
    """

    @property
    def machine(self) -> Machine:
        """Where the runs happen; part of every measurement."""
        ...

    @property
    def room(self) -> int:
        """How many runs it can do at once, on machines of this kind."""
        ...

    @property
    def others(self) -> Mapping[str, int]:
        """Other kinds of machine that it has: their tier, and how many runs each kind can do at once."""
        ...

    def prepare(self, study: Study, referee: Path, digest: str, say: Callable[[str], None] = ...) -> None:
        """
        Have the data folders filled before the first run, once per referee: a checked-out tree of frozen code. `digest` is
        the identity of the data.

        Raises:
            StudyError: `measure.prepare` failed; the message carries its last words.
        """
        ...

    def tried(self) -> "tuple[str, list[Guarantee]]":
        """The name of the sandbox that runs have, and each of its promises, tried where they happen."""
        ...

    def run(
        self, run: Run, tree: Path, study: Study, usual: Measurement | None = None, hopeless: Hopeless | None = None
    ) -> Measurement:
        """
        Measure once, on a machine of the run's tier. Blocks until a slot is free and the run has ended. Where no machine of
        another tier than the study's own is left, it comes back as `stopped`, and the study goes on without that tier.

        `usual` is what the baseline took: a run that takes `measure.overrun` times as much is ended.
        `hopeless` is asked whenever the run says how far it is; a reason ends the run, with the status of that name. It
        may be asked in another process: it stands for itself and can be pickled.
        """
        ...

    def attach(self, run: Run, study: Study) -> Callable[[], Measurement | None] | None:
        """
        How to wait for the measurement of a run that an earlier session began, where it goes on or its result waits to be
        fetched; None where nothing is left of it, also as an answer. Called once for each such run, before any other.

        Whoever waits is told by LeftRunning that the executor was closed while the run goes on.
        """
        ...

    def drop(self, runs: Iterable[int]) -> None:
        """Delete the artifacts of these runs; what they printed stays."""
        ...

    def stop(self) -> None:
        """End every run now; they come back as `stopped`."""
        ...

    def close(self) -> None:
        """
        Give back what the executor holds. Runs that were begun here are ended; those of an earlier session that still go on are
        left to the next one, unless `stop` was called.
        """
        ...
