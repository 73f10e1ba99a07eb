"""
One run on another machine: the same Local executor there, in a folder of its own, fed with what travelled.

Sandbox, scorer, limits and measuring are Local's own, so a run is the same wherever it happens. Knows no cluster:
ray.py calls it from a task.
"""

import contextlib
import fcntl
import hashlib
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from msgspec import Struct
from msgspec.structs import replace

import autoresearch
from autoresearch.errors import AutoresearchError
from autoresearch.execute import Hopeless
from autoresearch.execute.guarantees import Guarantee, tried
from autoresearch.execute.keepers import Keepers
from autoresearch.execute.local import Local
from autoresearch.execute.machine import Slot, this_machine, visible_gpus
from autoresearch.execute.parcel import Parcel, pack, unpack
from autoresearch.execute.sandbox import choose
from autoresearch.files import remove
from autoresearch.study import Execute, Study
from autoresearch.trial import Machine, Measurement, Run

Fetch = Callable[[str], bytes]  # the key of a parcel -> its bytes
Say = Callable[[float, float | None], None]  # how far the run is, and its loss

MOST_BACK = 64 << 20  # bytes of artifacts that travel back; a run leaves checkpoints of any size
STORED = 64  # parcels that a machine keeps
LEFT_OUT = "left-out.txt"


class Share(Struct, frozen=True):
    """What each run is given of a machine: cores, and GPUs or a part of one."""

    cores: int
    gpus: float = 0.0


class Job(Struct, frozen=True):
    """All that a run needs to know there. `tree` and `referee` are keys of parcels; `prefix` the study's folder in them."""

    study: Study
    run: Run
    share: Share
    name: str  # of the folder for this study there
    tree: str
    referee: str
    prefix: str
    data: str  # the identity of the prepared data
    env: dict[str, str]
    usual: Measurement | None = None
    hopeless: Hopeless | None = None


class Back(Struct, frozen=True):
    """What comes back: a measurement with logs and artifacts, or a problem that a person has to put right."""

    measurement: Measurement | None = None
    logs: Parcel = Parcel(b"")
    out: Parcel = Parcel(b"")
    problem: str = ""


class Sight(Struct, frozen=True):
    """What a machine says of itself."""

    version: str
    machine: Machine


def look(share: Share) -> Sight:
    """Who is there: asked of a machine before any run goes to it."""
    return Sight(autoresearch.__version__, _machine(share, Slot(tuple(range(share.cores)), _gpu(share))))


def try_sandbox(asked: Execute) -> tuple[str, list[Guarantee]] | str:
    """The sandbox that runs have here, with what it guarantees; or why there is none."""
    keepers = Keepers()
    try:
        sandbox = choose(asked.sandbox, asked.image)
        return sandbox.name, tried(sandbox, keepers)
    except AutoresearchError as error:
        return str(error)
    finally:
        keepers.close()


def measure(job: Job, fetch: Fetch, say: Say) -> Back:
    """Do one run here. Whatever ends this process ends the run with all it started; see keeper.py."""
    root = _root(job.name)
    with contextlib.ExitStack() as stack:
        try:
            home = stack.enter_context(_folder(root))
            for key, name in ((job.tree, "run"), (job.referee, "referee")):
                unpack(_stored(root, key, fetch), home / "trees" / name, trusted=True)
            (home / "data").symlink_to(_data(root, job))
            stack.enter_context(_passed_on(job.env))
            slot = Slot(stack.enter_context(_cores(job.share.cores)), _gpu(job.share))
            sandbox = choose(job.study.execute.sandbox, job.study.execute.image)
            here = Local(home, [slot], sandbox, lambda run, fraction, loss: say(fraction, loss))
            stack.callback(here.close)
            here.machine = _machine(job.share, Slot(tuple(range(job.share.cores)), slot.gpu))
            with _one_at_a_time(home / "data" / "lock"):  # runs that come meanwhile wait
                here.prepare(job.study, home / "trees" / "referee" / job.prefix, job.data)
            run = replace(job.run, tier="")  # of the kinds that the study has, this is the one that is here
            done = here.run(run, home / "trees" / "run" / job.prefix, job.study, job.usual, job.hopeless)
        except AutoresearchError as error:
            return Back(problem=str(error))
        folder = home / "runs" / str(job.run.id)
        out = pack(folder / "out", MOST_BACK)
        remove(folder / "out")
        return Back(done, pack(folder), out)


# -- places --------------------------------------------------------------------------------------------


def _root(name: str) -> Path:
    """
    The folder for a study on this machine, which only this user can enter.

    Raises:
        AutoresearchError: somebody else made it first.
    """
    root = Path(tempfile.gettempdir()) / f"autoresearch-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    status = root.lstat()
    if root.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise AutoresearchError(f"{root} belongs to somebody else or is open to others: remove it")
    for folder in ("store", "runs", "data"):
        (root / name / folder).mkdir(parents=True, exist_ok=True)
    return root / name


@contextlib.contextmanager
def _folder(root: Path) -> Iterator[Path]:
    """A folder of this run's own, gone afterwards; and those whose runs were killed go first."""
    for left in (root / "runs").glob("*.lock"):
        with contextlib.suppress(OSError), left.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(left.with_suffix(""))
            left.unlink()
    folder = root / "runs" / uuid.uuid4().hex[:12]
    name = folder.with_suffix(".lock")
    part = folder.with_suffix(".part")
    with part.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        part.rename(name)  # nobody sees it before it is locked
        folder.mkdir()
        try:
            yield folder
        finally:
            remove(folder)
            name.unlink(missing_ok=True)


def _stored(root: Path, key: str, fetch: Fetch) -> bytes:
    """A parcel by its key: kept here from an earlier run, else fetched."""
    path = root / "store" / key
    with contextlib.suppress(OSError):
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == key:  # a run without a sandbox could have written to it
            os.utime(path)
            return data
    data = fetch(key)
    part = path.with_name(f"{key}.{uuid.uuid4().hex[:8]}.part")
    part.write_bytes(data)
    part.replace(path)
    oldest = sorted((p for p in path.parent.iterdir() if p.is_file()), key=lambda p: p.stat().st_mtime)
    for old in oldest[:-STORED]:
        old.unlink(missing_ok=True)
    return data


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _data(root: Path, job: Job) -> Path:
    """Where this referee's data lies here."""
    folder = root / "data" / (job.data or "none")
    folder.mkdir(exist_ok=True)
    return folder


# -- shares of the machine -----------------------------------------------------------------------------


@contextlib.contextmanager
def _cores(n: int) -> Iterator[tuple[int, ...]]:
    """
    So many cores that no other run of ours has. A cluster counts cores and gives none by number; where it was told
    of more than there are, some are shared.
    """
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    folder = Path(tempfile.gettempdir()) / f"autoresearch-{os.getuid()}" / "cores"
    folder.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        free: list[int] = []
        for core in mine:
            if len(free) < n and (lock := _lock(folder / str(core))) is not None:
                stack.enter_context(lock)
                free.append(core)
        yield tuple(sorted([*free, *[core for core in mine if core not in free][: n - len(free)]]))


def _lock(path: Path) -> IO[str] | None:
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock
    except OSError:
        lock.close()
        return None


def _gpu(share: Share) -> str | None:
    """The GPUs that the cluster gave to this process, by number."""
    return ",".join(visible_gpus()) or "0" if share.gpus else None


def _machine(share: Share, slot: Slot) -> Machine:
    """The tier: a part of a GPU is another machine than a whole one."""
    found = this_machine(slot)
    return found if share.gpus in (0.0, 1.0) else replace(found, tier=f"{found.tier}, {share.gpus:g} GPU")


@contextlib.contextmanager
def _passed_on(env: dict[str, str]) -> Iterator[None]:
    """The person's variables that the study names, for as long as the run takes: this process may serve another."""
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
