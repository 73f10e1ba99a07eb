"""
Runs on this machine: processes in slots, each with its own cores or GPU, each kept by a keeper.

Knows processes and their environment. Reads no value itself (measure.py does) and decides nothing.
"""

import os
import queue
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import structs

from autoresearch import measure
from autoresearch.errors import Stopped
from autoresearch.execute import Hopeless, OnProgress, outcome
from autoresearch.execute.curve import Curve
from autoresearch.execute.keepers import Bounds, Ending, Keepers
from autoresearch.execute.machine import Slot, this_machine
from autoresearch.execute.sandbox import Backend, Cell, for_answers
from autoresearch.files import keep_plain, remove
from autoresearch.study import Study
from autoresearch.trial import Measurement, Run

# What programs need to start and to speak the person's language; nothing that opens a door.
HARMLESS = {"LANG", "LANGUAGE", "TZ", "TERM", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "HOME", "TMPDIR", "USER", "LOGNAME"}
HARMLESS_BEGINNINGS = ("LC_", "CUDA_", "NVIDIA_", "TORCH_", "TORCHINDUCTOR_", "TRITON_", "OMP_", "MKL_", "KMP_", "XLA_")
INSIDE = {"HOME": "/tmp", "TMPDIR": "/tmp", "USER": "candidate", "LOGNAME": "candidate"}
PLACE = "@arguments@"
AGAIN = 75  # EX_TEMPFAIL: no answer yet, ask again later


class Local:
    """The executor for one machine. `home` is the study's `.autoresearch` folder."""

    def __init__(
        self, home: Path, slots: list[Slot], sandbox: Backend, on_progress: OnProgress = lambda *_: None
    ) -> None:
        self.home = home
        self.keepers = Keepers()
        self.sandbox = sandbox
        self.on_progress = on_progress
        self.machine = this_machine(slots[0])
        self.room = len(slots)
        self._like = slots[0]  # what any run is given
        for folder in ("runs", "data/open", "data/held", "data/sealed"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        self._stopping = threading.Event()
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)

    def stop(self) -> None:
        self._stopping.set()
        self.keepers.stop()

    def close(self) -> None:
        self._stopping.set()
        self.keepers.close()

    def prepare(self, study: Study, tree: Path) -> Ending:
        """Run `measure.prepare` in a tree of trusted code; its output goes to data/prepare.*.txt."""
        data = self.home / "data"
        # Told how many threads a run will have, for what it measures; not pinned, for what it builds.
        env = environment(self._like, budget_variables(study) | _data_folders(self.home, held=True, sealed=True))
        return self._command(
            words(study.measure.prepare or ""), tree, data, env, study.measure.prepare_timeout_s, name="prepare"
        )

    def drop(self, runs: Iterable[int]) -> None:
        for run in runs:
            remove(self.home / "runs" / str(run) / "out")

    def last_words(self, name: str) -> str:
        """The last line that `prepare` printed, quoted."""
        return outcome.last_words(self.home / "data" / name)

    def run(
        self, run: Run, tree: Path, study: Study, usual: Measurement | None = None, hopeless: Hopeless | None = None
    ) -> Measurement:
        slot = self._free.get()
        began = time.monotonic()
        try:
            result = self._run_in(slot, run, tree, study, usual, Curve(hopeless))
        except Stopped as stopped:
            result = Measurement("stopped", None, run.digest, self.machine, why=str(stopped))
        finally:
            self._free.put(slot)
        return structs.replace(result, slot_s=round(time.monotonic() - began, 3))

    def _run_in(
        self, slot: Slot, run: Run, tree: Path, study: Study, usual: Measurement | None, curve: Curve
    ) -> Measurement:
        folder = self.home / "runs" / str(run.id)
        out = folder / "out"
        folder.mkdir(exist_ok=True)
        out.mkdir(exist_ok=True)
        told = run_variables(run, study, out) | _data_folders(self.home)
        env = environment(slot, told, study.execute.env)
        inside_env = env | INSIDE if self.sandbox.wraps else env
        cell = self._cell(slot, tree, out, study)
        ending = self._candidate(run, cell, inside_env, folder, study, slot, usual, curve)
        record = outcome.recorder(run, self.machine, ending, curve)
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
        held = _data_folders(self.home, held=True, sealed=run.held == "sealed") | {
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
    budget, over = study.measure.allowance, study.measure.overrun
    processor_s = wall_s = None
    if budget is not None and usual is not None:
        # A second more: what starting up scatters by is no overrun of a short run.
        if budget.unit == "seconds":
            wall_s = usual.wall_s * over + 1
        else:
            processor_s = usual.processor_s * over + 1
    return Bounds(cell.memory_mb, cell.processes, cell.disk_mb, cell.write, processor_s, wall_s)


def scoring_bounds(cell: Cell, study: Study, usual: Measurement | None) -> Bounds:
    """What scoring may use: it runs candidate code that answers, which could go on training."""
    processor_s = usual.score_processor_s * study.measure.overrun + 1 if usual is not None else None
    return Bounds(memory_mb=cell.memory_mb, processes=cell.processes, processor_s=processor_s)


def environment(slot: Slot, told: Mapping[str, str], passed: Iterable[str] = ()) -> dict[str, str]:
    """
    The environment of a command: what programs need to start, what the study passes on by name, the slot's
    share, and what it is told. Keys and tokens that happen to be in ours are not among it.

    `python` means the active virtual environment's, else the one that runs autoresearch.
    """
    mine = os.environ.get("VIRTUAL_ENV")
    scripts = str(Path(mine) / "bin") if mine else str(Path(sys.executable).parent)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in HARMLESS or name.startswith(HARMLESS_BEGINNINGS) or name in passed
    }
    return inherited | {
        "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONDONTWRITEBYTECODE": "1",  # a run leaves its worktree as it found it
        "PYTHONUNBUFFERED": "1",  # output that is still in a buffer when a run is killed is lost
        "PYTHONNOUSERSITE": "1",  # the person's own site-packages are no part of a study
        **slot.environment(),
        **told,
    }


def write_launcher(path: Path, sandbox: Backend, cell: Cell, env: Mapping[str, str]) -> None:
    """
    A program that runs its arguments as candidate code: the scorer starts what answers it through this.

    It gives its own environment, so that what the scorer knows of held data does not get in there.
    """
    placed = sandbox.wrap([PLACE], cell)
    words = ['"$@"' if word == PLACE else shlex.quote(word) for word in placed]
    names = " ".join(shlex.quote(f"{name}={value}") for name, value in env.items())
    path.write_text(f"#!/bin/sh\ncd {shlex.quote(str(cell.cwd))} && exec env -i {names} {' '.join(words)}\n")
    path.chmod(0o700)


def run_variables(run: Run, study: Study, out: Path) -> dict[str, str]:
    """What a run is told: its seed, its budget, and where its artifacts go."""
    told = {
        "AUTORESEARCH_RUN": str(run.id),
        "AUTORESEARCH_SEED": str(run.seed),
        "AUTORESEARCH_OUT": str(out),
    }
    return told | budget_variables(study)


def budget_variables(study: Study) -> dict[str, str]:
    budget = study.measure.allowance
    if budget is None:
        return {}
    return {"AUTORESEARCH_BUDGET": _plain(budget.amount), "AUTORESEARCH_BUDGET_UNIT": budget.unit}


def _data_folders(home: Path, held: bool = False, sealed: bool = False) -> dict[str, str]:
    """Where prepared data lies: one folder that runs may see, one for frozen code, one for a claim alone."""
    folders = {"AUTORESEARCH_DATA": home / "data" / "open"}
    folders |= {"AUTORESEARCH_HELD": home / "data" / "held"} if held else {}
    folders |= {"AUTORESEARCH_SEALED": home / "data" / "sealed"} if sealed else {}
    return {name: str(folder) for name, folder in folders.items()}


def words(command: str | Sequence[str]) -> tuple[str, ...]:
    """A command line as a shell would split it, without a shell; a list of words is taken as it stands."""
    return tuple(shlex.split(command) if isinstance(command, str) else command)


def _plain(amount: float) -> str:
    """A number that any language reads: 150000, not 1.5e+05 or 150000.0."""
    return str(int(amount)) if amount == int(amount) else repr(amount)
