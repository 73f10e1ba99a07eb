"""
Runs on this machine: processes in slots, each with its own cores or GPU, each kept by a keeper.

Knows processes and their environment. Reads no value itself (measure.py does) and decides nothing.
"""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import structs

from autoresearch import measure
from autoresearch.errors import Stopped, StudyError
from autoresearch.execute import Hopeless, OnProgress, outcome
from autoresearch.execute.curve import Curve
from autoresearch.execute.environment import (
    INSIDE,
    budget_variables,
    data_folders,
    environment,
    run_variables,
    words,
    write_launcher,
)
from autoresearch.execute.guarantees import Guarantee, tried
from autoresearch.execute.keepers import Bounds, Ending, Keepers
from autoresearch.execute.machine import Slot, machines
from autoresearch.execute.sandbox import Backend, Cell, for_answers
from autoresearch.files import keep_plain, remove
from autoresearch.study import Study
from autoresearch.trial import Machine, Measurement, Run

AGAIN = 75  # EX_TEMPFAIL: no answer yet, ask again later


class Local:
    """
    The executor for one machine. `home` is the study's `.autoresearch` folder. Of slots of several kinds, the kind that there is
    most of is the study's own.
    """

    def __init__(
        self, home: Path, slots: list[Slot], sandbox: Backend, on_progress: OnProgress = lambda *_: None
    ) -> None:
        self.home = home
        self.keepers = Keepers()
        self.sandbox = sandbox
        self.on_progress = on_progress
        found = machines(slots)
        kinds = Counter(machine.tier for machine in found).most_common()  # of equal size: as they come
        (own, self.room), self.others = kinds[0], dict(kinds[1:])
        self.machine = next(machine for machine in found if machine.tier == own)
        self._elsewhere = {machine.tier: machine for machine in found if machine.tier != own}
        self._like = slots[0]  # what any run is given
        for folder in ("runs", "data/open", "data/held", "data/sealed"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        self._stopping = threading.Event()
        self._free: dict[str, queue.SimpleQueue[Slot]] = {
            "" if kind == own else kind: queue.SimpleQueue() for kind, _ in kinds
        }
        for slot, machine in zip(slots, found, strict=True):
            self._free["" if machine.tier == own else machine.tier].put(slot)

    def stop(self) -> None:
        self._stopping.set()
        self.keepers.stop()

    def close(self) -> None:
        self._stopping.set()
        self.keepers.close()

    def prepare(self, study: Study, referee: Path, digest: str, say: Callable[[str], None] = lambda _: None) -> None:
        command, data = study.measure.prepare, self.home / "data"
        done = data / f"prepared-{digest}"
        if command is None or done.exists():
            return
        say(f"preparing the data: {command}")
        # Told how many threads a run will have, for what it measures; not pinned, for what it builds.
        env = environment(self._like, budget_variables(study) | data_folders(self.home, held=True, sealed=True))
        ending = self._command(words(command), referee, data, env, study.measure.prepare_timeout_s, name="prepare")
        if ending.how != "exited" or ending.code:
            raise StudyError(
                f"study.toml: measure.prepare ({command}) failed{outcome.last_words(data / 'prepare')}; its whole output is in "
                f"{data.resolve()}/prepare.err.txt"
            )
        done.touch()

    def tried(self) -> tuple[str, list[Guarantee]]:
        return self.sandbox.name, tried(self.sandbox, self.keepers)

    def drop(self, runs: Iterable[int]) -> None:
        for run in runs:
            remove(self.home / "runs" / str(run) / "out")

    def attach(self, run: Run, study: Study) -> None:
        """Runs here end with the program that began them."""

    def run(
        self, run: Run, tree: Path, study: Study, usual: Measurement | None = None, hopeless: Hopeless | None = None
    ) -> Measurement:
        free = self._free[run.tier]
        slot = free.get()
        began = time.monotonic()
        try:
            result = self._run_in(slot, run, tree, study, usual, Curve(hopeless))
        except Stopped as stopped:
            result = Measurement("stopped", None, run.digest, self._machine(run), why=str(stopped))
        finally:
            free.put(slot)
        return structs.replace(result, slot_s=round(time.monotonic() - began, 3))

    def _run_in(
        self, slot: Slot, run: Run, tree: Path, study: Study, usual: Measurement | None, curve: Curve
    ) -> Measurement:
        folder = self.home / "runs" / str(run.id)
        out = folder / "out"
        folder.mkdir(exist_ok=True)
        out.mkdir(exist_ok=True)
        told = run_variables(run, study, out) | data_folders(self.home)
        env = environment(slot, told, study.execute.env)
        inside_env = env | INSIDE if self.sandbox.wraps else env
        cell = self._cell(slot, tree, out, study)
        ending = self._candidate(run, cell, inside_env, folder, study, slot, usual, curve)
        record = outcome.recorder(run, self._machine(run), ending, curve)
        if ending.how == "unwanted":
            return record("hopeless", None, curve.why)
        if problem := outcome.problem(ending, folder / "run", study.measure.timeout_s):
            return record(*problem)
        keep_plain(out)
        own = measure.read(study.metric.name, folder / "run.out.txt", out / "result.json")
        if study.measure.score is None:
            return record(*outcome.judged(own, study, ending), own.extras)

        inside = folder / "answers"  # what the scorer starts candidate code with
        write_launcher(inside, self.sandbox, for_answers(cell), inside_env)
        held = data_folders(self.home, held=True, sealed=run.held == "sealed") | {
            "AUTORESEARCH_TREE": str(tree),
            "AUTORESEARCH_SET": run.held,
            "AUTORESEARCH_INSIDE": str(inside),
            **({"AUTORESEARCH_CAREFUL": "1"} if run.careful else {}),
        }
        referee = self.home / "trees" / "referee" / tree.relative_to(self._top_of(tree))
        timeout_s = study.measure.score_timeout_s
        scoring = self._command(
            words(study.measure.score),
            referee,
            folder,
            env | held,
            timeout_s,
            name="score",
            slot=slot,
            bounds=scoring_bounds(cell, study, usual if run.held == "search" else None),  # another set, another size
        )
        if problem := outcome.problem(scoring, folder / "score", timeout_s):
            return record(*problem, own.extras, scoring)
        score = measure.read(study.metric.name, folder / "score.out.txt")
        return record(*outcome.judged(score, study, ending), own.extras | score.extras, scoring)

    def _machine(self, run: Run) -> Machine:
        return self._elsewhere[run.tier] if run.tier else self.machine

    def _cell(self, slot: Slot, tree: Path, out: Path, study: Study) -> Cell:
        """What a run of this study may see: its own tree, the open data, and its output folder to write to."""
        asked = study.execute
        return Cell(
            cwd=tree,
            read=(self._top_of(tree), self.home / "data" / "open", *(Path(path).expanduser() for path in asked.read)),
            write=(out,),
            gpu=slot.gpu is not None,
            memory_mb=asked.memory_mb,
            processes=asked.processes,
            disk_mb=asked.disk_mb,
        )

    def _candidate(
        self,
        run: Run,
        cell: Cell,
        env: dict[str, str],
        folder: Path,
        study: Study,
        slot: Slot,
        usual: Measurement | None,
        curve: Curve,
    ) -> Ending:
        """Run the candidate's own code, inside the sandbox."""

        def on_progress(text: str) -> str:
            if point := measure.progress(text):
                self.on_progress(run, *point)
                curve.add(*point)
            return curve.why

        argv = self.sandbox.wrap(list(words(study.measure.run)), cell)
        return self._command(
            tuple(argv),
            cell.cwd,
            folder,
            env,
            study.measure.timeout_s,
            name="run",
            slot=slot,
            bounds=bounds(cell, study, usual),
            on_progress=on_progress,
        )

    def _top_of(self, tree: Path) -> Path:
        """The worktree's own top folder: a study may live in a subfolder of its repository."""
        trees = self.home / "trees"
        return trees / tree.relative_to(trees).parts[0]

    def _command(
        self,
        argv: tuple[str, ...],
        cwd: Path,
        folder: Path,
        env: dict[str, str],
        timeout_s: float,
        *,
        name: str,
        slot: Slot | None = None,
        bounds: Bounds | None = None,
        on_progress: Callable[[str], object] = lambda text: None,
    ) -> Ending:
        """Run one command of the study; exit code 75 asks to be asked again, within the same time limit."""
        give_up = time.monotonic() + timeout_s
        pause_s = 1.0
        waited_for: list[Ending] = []
        while True:
            ending = self.keepers.run(
                list(argv),
                cwd=cwd,
                env=env,
                out=folder / f"{name}.out.txt",
                err=folder / f"{name}.err.txt",
                timeout_s=max(0.0, give_up - time.monotonic()),
                cores=slot.cores if slot else (),
                bounds=bounds,
                on_progress=on_progress,
            )
            if ending.code != AGAIN:
                return outcome.altogether([*waited_for, ending])
            if time.monotonic() + pause_s >= give_up:
                return Ending("timeout", wall_s=timeout_s)
            if self._stopping.wait(pause_s):
                raise Stopped("ended by the person")
            waited_for.append(ending)
            if bounds is not None and bounds.processor_s is not None:  # asking again renews nothing
                bounds = structs.replace(bounds, processor_s=max(0.01, bounds.processor_s - ending.processor_s))
            pause_s = min(60.0, pause_s * 2)


def bounds(cell: Cell, study: Study, usual: Measurement | None) -> Bounds:
    """What a run and all it starts may use together."""
    budget, most_s = study.measure.allowance, study.measure.most_s
    processor_s = wall_s = None
    if budget is not None and usual is not None:
        if budget.unit == "seconds":
            wall_s = most_s(usual.wall_s)
        else:
            processor_s = most_s(usual.processor_s)
    return Bounds(cell.memory_mb, cell.processes, cell.disk_mb, cell.write, processor_s, wall_s)


def scoring_bounds(cell: Cell, study: Study, usual: Measurement | None) -> Bounds:
    """What scoring may use: it runs candidate code that answers, which could go on training."""
    processor_s = study.measure.most_s(usual.score_processor_s) if usual is not None else None
    return Bounds(memory_mb=cell.memory_mb, processes=cell.processes, processor_s=processor_s)
