"""
Runs for a ladder: what is in the log already counts, the rest is run in turn and written down.

Every rung has the digest of its own budget, so its values are never taken for the study's. Seeds come from a range
of their own that no trial and no claim reaches: they are fresh, the same on all rungs, and the same when a ladder that
was cut off, or given more seeds, is gone on with.
"""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from autoresearch.certify import Content, all_or_none, choosing_set
from autoresearch.errors import AutoresearchError, Stopped
from autoresearch.lab import Lab, Terms, run_once
from autoresearch.policy import Ask
from autoresearch.session import Listener
from autoresearch.study import Study
from autoresearch.transfer.ladder import Step
from autoresearch.transfer.sides import Side
from autoresearch.trial import Measurement

FIRST_SEED = 1_000_000  # seed index; a study has no million runs on one content
Results = dict[tuple[str, int], Measurement]  # (content, seed index) -> what a run of it returned


class Bench:
    """One rung: its terms, what was measured on it, and which contents gave no value."""

    def __init__(self, lab: Lab, step: Step, contents: Sequence[Content], runs: int, timeout_s: float | None) -> None:
        study = on_budget(lab.study, step.budget)
        assert lab.log.state.opened is not None
        self.step = step
        self.digest = study.digest(lab.workspace.frozen(lab.log.state.opened.start))
        if timeout_s is not None:  # how long we are ready to wait changes no value, so the digest does not know it
            study = replace(study, measure=replace(study.measure, timeout_s=timeout_s))
        self.lab = replace(lab, study=study)
        self.held = choosing_set(lab.study)
        self.needed = {content.tree for content in contents[:2]}  # the start and the best
        self.contents = list({content.tree: content for content in contents}.values())  # each is measured once
        self.seeds = range(FIRST_SEED, FIRST_SEED + runs)
        self.done = self._known()
        self.failed: dict[str, str] = {}

    def _known(self) -> Results:
        """What the log has: same content, seed, referee, budget, set and kind of machine."""
        state, wanted = self.lab.log.state, {content.tree for content in self.contents}
        found: Results = {}
        number: dict[tuple[str, int], int] = {}
        for run in state.runs.values():
            if run.purpose != "transfer" or run.tree not in wanted or run.measurement is None or run.value is None:
                continue
            same = (run.digest, run.held, run.measurement.machine.tier) == (self.digest, self.held, state.tier)
            if same and run.seed_index in self.seeds:
                found[run.tree, run.seed_index], number[run.tree, run.seed_index] = run.measurement, run.id
        if self.lab.study.metric.is_timing:  # a shared machine is now fast, now slow: only what was run side by side
            beside = {i for i in self.seeds if self._side_by_side([number.get((c.tree, i)) for c in self.contents])}
            found = {key: value for key, value in found.items() if key[1] in beside}
        return found

    def _side_by_side(self, runs: list[int | None]) -> bool:
        """Whether these runs, by number, were made in one go; workers mix those of neighbouring seeds."""
        known = [run for run in runs if run is not None]
        return len(known) == len(runs) and max(known) - min(known) < 2 * len(runs) + self.lab.workers

    @property
    def missing(self) -> list[tuple[Content, int]]:
        """Runs to make: with one seed forwards through the contents, with the next backwards."""
        order = [
            (content, index)
            for index in self.seeds
            for content in (self.contents if (index - FIRST_SEED) % 2 == 0 else reversed(self.contents))
        ]
        return [(content, index) for content, index in order if (content.tree, index) not in self.done]

    def run(self) -> None:
        """
        Make the runs that are missing. A content that gives no value is left at that.

        Raises:
            AutoresearchError: the start or the best gives none, so there is nothing to compare with.
            Stopped: from outside; what was measured is in the log.
        """
        waiting = self.missing
        if not any(tree == self.contents[0].tree for tree, _ in self.done):
            first = next(job for job in waiting if job[0] is self.contents[0])
            waiting.remove(first)
            self._one(first)  # before the others: what it costs bounds what they may
        all_or_none(self.lab.workers, self._one, waiting)

    def _one(self, job: tuple[Content, int]) -> None:
        content, index = job
        log = self.lab.log
        if log.stopping:
            raise Stopped(f"{log.stopping}; what was measured is kept: type the same command to go on")
        if content.tree in self.failed:
            return
        assert log.state.best is not None
        asker = log.state.trials[log.state.best.trial]
        ask = Ask(index, purpose="transfer", held=self.held)
        terms = Terms(self.digest, self._usual())
        name = f"transfer-{content.tree[:12]}-{index}"
        with self.lab.workspace.at(name, content.commit, content.commit) as tree:
            result = run_once(self.lab, asker, tree, ask, content.tree, content.commit, terms)
        if result.value is not None:
            self.done[content.tree, index] = result
            return
        self.failed[content.tree] = f"{result.status}: {result.why}"
        if content.tree in self.needed:
            raise AutoresearchError(
                f"{content.name} could not be measured at {self.step.name} ({result.status}: {result.why}), so nothing "
                "can be compared there. Leave this rung out, or give runs longer with --timeout; what was measured is kept"
            )

    def _usual(self) -> Measurement | None:
        """What the most expensive run of the start took on this rung: a deeper model may take longer, on all sides."""
        start = self.contents[0].tree
        known = [result for (tree, _), result in tuple(self.done.items()) if tree == start]
        return max(known, key=lambda result: result.processor_s, default=None)

    def results(self, content: Content) -> list[Measurement] | None:
        """Of each seed in order; None where a run gave no value."""
        found = [self.done.get((content.tree, index)) for index in self.seeds]
        return [result for result in found if result is not None] if all(found) else None

    def drop_artifacts(self) -> None:
        """What the runs of this rung left on the disk: checkpoints of larger models would fill it."""
        mine = {content.tree for content in self.contents}
        runs = tuple(self.lab.log.state.runs.values())
        self.lab.executor.drop(run.id for run in runs if run.purpose == "transfer" and run.tree in mine)


def on_budget(study: Study, amount: float | None) -> Study:
    """
    The study with another budget for each run; the same where a rung names none.

    Raises:
        AutoresearchError: the study has no budget that could be another.
    """
    if amount is None:
        return study
    budget = study.measure.allowance
    if budget is None:
        raise AutoresearchError(
            "study.toml: measure.budget is missing, so there is no budget for a ladder to change; ladder constants alone"
        )
    if amount == budget.amount:
        return study
    return replace(study, measure=replace(study.measure, budget=f"{amount!r} {budget.unit}"))


def measure(
    lab: Lab, steps: Sequence[Step], sides: Sequence[Side], runs: int, timeout_s: float | None, listener: Listener
) -> Iterator[Bench]:
    """Each rung once it is measured, from the first to the last."""
    made = [side for side in sides if side.at]
    benches = [Bench(lab, step, [side.at[i] for side in made], runs, timeout_s) for i, step in enumerate(steps)]
    wanted = sum(len(bench.contents) * runs for bench in benches)
    left = sum(len(bench.missing) for bench in benches)
    if left < wanted:
        listener.say(f"{wanted - left} of {wanted} runs are in the log already")
    listener.expect(left, "transfer")
    for bench in benches:
        bench.run()
        bench.drop_artifacts()
        yield bench
