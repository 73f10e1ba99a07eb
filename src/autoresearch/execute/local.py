"""
Runs on this machine: processes in slots, each with its own cores or GPU, each kept by a keeper.

Knows processes and their environment. Reads no value itself (measure.py does) and decides nothing.
"""

import contextlib
import json
import os
import platform
import queue
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from autoresearch import measure
from autoresearch.errors import Stopped
from autoresearch.execute import OnProgress
from autoresearch.study import Study
from autoresearch.trial import Machine, Measurement, Run

KEEPER = Path(__file__).with_name("keeper.py")
AGAIN = 75  # EX_TEMPFAIL: no answer yet, ask again later
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Ending(Struct, frozen=True):
    """How a kept command ended; see keeper.keep."""

    how: str
    code: int | None = None
    why: str = ""
    wall_s: float = 0.0
    processor_s: float = 0.0
    peak_memory_mb: float = 0.0
    left_behind: int = 0


class Keepers:
    """
    Starts commands through the keeper, so that none of them outlives this process.

    Raises (from `run`):
        Stopped: `stop` was called while the command ran, or before.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._requests = ours
        self._lock = threading.Lock()
        self._running: set[socket.socket] = set()
        self._stopped = False
        with theirs:
            # -I -S: neither the user's environment nor site packages have a say in it.
            self._nursery = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in the terminal is for us to hear, not for them
            )

    def run(
        self,
        argv: list[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        out: Path,
        err: Path,
        timeout_s: float,
        cores: tuple[int, ...] = (),
        stdin: Path | None = None,
        on_progress: Callable[[str], None] = lambda text: None,
    ) -> Ending:
        """Run a command to its end, and everything it started with it."""
        job = {
            "argv": argv,
            "cwd": str(cwd),
            "env": dict(env),
            "stdin": str(stdin or ""),
            "out": str(out),
            "err": str(err),
            "timeout_s": timeout_s,
            "cores": cores,
        }
        ours, theirs = socket.socketpair()
        with ours:
            with theirs, self._lock:
                if self._stopped:
                    raise Stopped("stopped before it began")
                socket.send_fds(self._requests, [b"+"], [theirs.fileno()])
                self._running.add(ours)
            try:
                ours.sendall(json.dumps(job).encode() + b"\n")
                return self._listen(ours, on_progress)
            finally:
                with self._lock:
                    self._running.discard(ours)

    def _listen(self, keeper: socket.socket, on_progress: Callable[[str], None]) -> Ending:
        with keeper.makefile("rb") as lines:
            for line in lines:
                message: dict[str, Any] = json.loads(line)
                if "progress" in message:
                    on_progress(message["progress"])
                elif "ended" in message:
                    ending = Ending(**message["ended"])
                    if ending.how == "stopped":
                        raise Stopped("ended by the person")
                    return ending
        return Ending("failed", why="the keeper of this run was killed")

    def stop(self) -> None:
        """End every command now, and start no further one."""
        with self._lock:
            self._stopped = True
            for keeper in self._running:
                with contextlib.suppress(OSError):
                    keeper.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let the nursery go. It ends by itself when this end of the socket closes."""
        self.stop()
        self._requests.close()
        self._nursery.wait()


class Slot(Struct, frozen=True):
    """A share of the machine that belongs to one run at a time."""

    cores: tuple[int, ...] = ()
    gpu: str | None = None

    def environment(self) -> dict[str, str]:
        threads = {name: str(len(self.cores) or 1) for name in THREAD_VARIABLES}
        # Idle OpenMP threads that spin would take the neighbour's core: 5 times slower with two runs at once.
        return threads | {"OMP_WAIT_POLICY": "PASSIVE"} | ({"CUDA_VISIBLE_DEVICES": self.gpu} if self.gpu else {})


def slots(cores_each: int | None, workers: int | None) -> list[Slot]:
    """
    Divide this machine into at most `workers` slots that share nothing: one per GPU where there are any, else
    one per `cores_each` cores. Without `cores_each` all cores are shared out evenly among the slots.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    gpus = visible_gpus()
    each = min(len(cores), cores_each or max(1, len(cores) // (len(gpus) or workers or 1)))
    room = len(gpus) or len(cores) // each
    n = min(workers or room, room)
    shares = [tuple(cores[(i * each + k) % len(cores)] for k in range(each)) for i in range(n)]
    return [Slot(share, gpus[i] if gpus else None) for i, share in enumerate(shares)]


def visible_gpus() -> list[str]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES would name them. Asks nvidia-smi, not torch."""
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is not None:
        return [name for name in asked.split(",") if name.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return [str(i) for i, line in enumerate(filter(None, listed.stdout.splitlines())) if line.startswith("GPU ")]


def this_machine(slot: Slot) -> Machine:
    """The tier of a slot: the kind of processor or GPU, and how many cores go with it."""
    device = _gpu_name() if slot.gpu is not None else _processor_name()
    cores = len(slot.cores) or 1
    return Machine(tier=f"{device}, {cores} core{'s' if cores > 1 else ''}", cores=cores, device=device)


def _processor_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu_name() -> str:
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    names = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    return names[0].strip() if names else "GPU"


class Local:
    """The executor for one machine. `home` is the study's `.autoresearch` folder."""

    def __init__(self, home: Path, slots: list[Slot], on_progress: OnProgress = lambda *_: None) -> None:
        self.home = home
        self.keepers = Keepers()
        self.on_progress = on_progress
        self.machine = this_machine(slots[0])
        for folder in ("runs", "data/open", "data/held"):
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
        env = environment(Slot(), _data_folders(self.home, held=True))
        return self._command(
            words(study.measure.prepare or ""), tree, data, env, study.measure.prepare_timeout_s, name="prepare"
        )

    def drop(self, runs: Iterable[int]) -> None:
        for run in runs:
            shutil.rmtree(self.home / "runs" / str(run) / "out", ignore_errors=True)

    def last_words(self, name: str) -> str:
        """The last line that `prepare` printed, quoted."""
        return _last_words(self.home / "data" / name)

    def run(self, run: Run, tree: Path, study: Study) -> Measurement:
        slot = self._free.get()
        try:
            return self._run_in(slot, run, tree, study)
        except Stopped as stopped:
            return Measurement("stopped", None, run.digest, self.machine, why=str(stopped))
        finally:
            self._free.put(slot)

    def _run_in(self, slot: Slot, run: Run, tree: Path, study: Study) -> Measurement:
        folder = self.home / "runs" / str(run.id)
        folder.mkdir(exist_ok=True)
        (folder / "out").mkdir(exist_ok=True)
        wanted = run_variables(run, study, folder / "out") | _data_folders(self.home)
        env = environment(slot, wanted)

        def on_progress(text: str) -> None:
            if point := measure.progress(text):
                self.on_progress(run, *point)

        timeout_s = study.measure.timeout_s
        ending = self._command(
            words(study.measure.run), tree, folder, env, timeout_s, name="run", slot=slot, on_progress=on_progress
        )
        record = _record(run, self.machine, ending)
        if problem := _problem(ending, folder / "run", timeout_s):
            return record(*problem)
        own = measure.read(study.metric.name, folder / "run.out.txt", folder / "out" / "result.json")
        if study.measure.score is None:
            return record(own.status, own.value, own.why, own.extras)

        held = {"AUTORESEARCH_TREE": str(tree), "AUTORESEARCH_SET": "search"} | _data_folders(self.home, held=True)
        referee = self.home / "trees" / "referee" / tree.relative_to(self._top_of(tree))
        scoring = self._command(
            words(study.measure.score),
            referee,
            folder,
            env | held,
            study.measure.score_timeout_s,
            name="score",
            slot=slot,
        )
        if problem := _problem(scoring, folder / "score", study.measure.score_timeout_s):
            return record(*problem, own.extras, scoring.wall_s)
        score = measure.read(study.metric.name, folder / "score.out.txt")
        return record(score.status, score.value, score.why, own.extras | score.extras, scoring.wall_s)

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
        on_progress: Callable[[str], None] = lambda text: None,
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
                on_progress=on_progress,
            )
            if ending.code != AGAIN:
                return _altogether([*waited_for, ending])
            if time.monotonic() + pause_s >= give_up:
                return Ending("timeout", wall_s=timeout_s)
            if self._stopping.wait(pause_s):
                raise Stopped("ended by the person")
            waited_for.append(ending)
            pause_s = min(60.0, pause_s * 2)


def _altogether(endings: list[Ending]) -> Ending:
    """How a command ended that was asked several times, with what all the asking took."""
    return structs.replace(
        endings[-1],
        wall_s=sum(e.wall_s for e in endings),
        processor_s=sum(e.processor_s for e in endings),
        peak_memory_mb=max(e.peak_memory_mb for e in endings),
    )


def environment(slot: Slot, wanted: Mapping[str, str]) -> dict[str, str]:
    """
    The environment of a command: ours without our own variables, the slot's share, and what it is told.

    `python` means the active virtual environment's, else the one that runs autoresearch.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AUTORESEARCH_")}
    environment = os.environ.get("VIRTUAL_ENV")
    scripts = str(Path(environment) / "bin") if environment else str(Path(sys.executable).parent)
    return inherited | {
        "PATH": f"{scripts}{os.pathsep}{inherited.get('PATH', os.defpath)}",
        "PYTHONDONTWRITEBYTECODE": "1",  # a run leaves its worktree as it found it
        "PYTHONUNBUFFERED": "1",  # output that is still in a buffer when a run is killed is lost
        **slot.environment(),
        **wanted,
    }


def run_variables(run: Run, study: Study, out: Path) -> dict[str, str]:
    """What a run is told: its seed, its budget, and where its artifacts go."""
    budget = study.measure.allowance
    told = {
        "AUTORESEARCH_RUN": str(run.id),
        "AUTORESEARCH_SEED": str(run.seed),
        "AUTORESEARCH_OUT": str(out),
    }
    if budget is not None:
        told |= {"AUTORESEARCH_BUDGET": _plain(budget.amount), "AUTORESEARCH_BUDGET_UNIT": budget.unit}
    return told


def _data_folders(home: Path, held: bool = False) -> dict[str, str]:
    """Where prepared data lies: one folder that runs may see, and one that only frozen code may."""
    folders = {"AUTORESEARCH_DATA": home / "data" / "open"}
    if held:
        folders["AUTORESEARCH_HELD"] = home / "data" / "held"
    return {name: str(folder) for name, folder in folders.items()}


def _record(run: Run, machine: Machine, ending: Ending) -> Callable[..., Measurement]:
    def record(
        status: Any, value: float | None, why: str = "", extras: dict[str, float] | None = None, score_s: float = 0.0
    ) -> Measurement:
        return Measurement(
            status=status,
            value=value,
            digest=run.digest,
            machine=machine,
            extras=extras or {},
            why=why,
            wall_s=ending.wall_s,
            processor_s=ending.processor_s,
            peak_memory_mb=ending.peak_memory_mb,
            score_s=score_s,
        )

    return record


def _problem(ending: Ending, output: Path, timeout_s: float) -> tuple[str, None, str] | None:
    """Why a command's output is not worth reading, if so: status, no value, reason."""
    what = output.name
    if ending.how == "timeout":
        return "timeout", None, f"{what} was ended after {timeout_s:g} s"
    if ending.how == "failed":
        return "crash", None, f"{what} could not start: {ending.why}"
    if ending.code:
        how = f"was ended by signal {-ending.code}" if ending.code < 0 else f"ended with exit code {ending.code}"
        return "crash", None, f"{what} {how}{_last_words(output)}"
    return None


def _last_words(output: Path) -> str:
    """The last line that a command left, quoted: usually the exception."""
    for stream in ("err", "out"):
        with contextlib.suppress(OSError):
            text = output.with_name(f"{output.name}.{stream}.txt").read_bytes()[-4096:].decode(errors="replace")
            if lines := [line for line in text.splitlines() if line.strip()]:
                return f": {' '.join(lines[-1].split())[:200]!r}"
    return ""


def words(command: str) -> tuple[str, ...]:
    """A command line as a shell would split it, without a shell."""
    return tuple(shlex.split(command))


def _plain(amount: float) -> str:
    """A number that any language reads: 150000, not 1.5e+05 or 150000.0."""
    return str(int(amount)) if amount == int(amount) else repr(amount)
