"""
What a candidate's command may see and touch: a few granted paths, no network, bounded memory, processes, disk.

Backends behind one function from a command to the command that runs it inside: bubblewrap, namespaces with
Landlock (jail.py), docker or podman. What was asked for is used or refused, never weakened. Knows no study and
starts nothing but its own trials of what works here.
"""

import functools
import json
import os
import shutil
import site
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from autoresearch.errors import SandboxError

JAIL = Path(__file__).with_name("jail.py")
# What programs need of the system. Not all of /etc: passwords, keys and other services' secrets are there.
SYSTEM = ("/usr", "/opt", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/sys/devices/system")
SETTINGS = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "localtime",
    "locale.alias",
    "magic",
    "mime.types",
)
KERNEL_SETTINGS = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")
GPU_DEVICES = ("nvidia", "dri", "kfd")
TRIAL_S = 20.0


class Cell(Struct, frozen=True):
    """
    The grants of one command. `read` and `write` are absolute paths; what is named in neither does not exist
    in there. Limits of None are not set. `loopback` is the one port of its own loopback device that may be used
    in there, and `env` the variables that a container is given by name.
    """

    cwd: Path
    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    network: bool = False
    gpu: bool = False
    memory_mb: int | None = None
    processes: int | None = None
    disk_mb: int | None = None
    loopback: int | None = None
    env: tuple[str, ...] = ()


Wrap = Callable[[list[str], Cell], list[str]]


def bubblewrap(argv: list[str], cell: Cell) -> list[str]:
    """The command inside bubblewrap: new namespaces of every kind, a root of nothing but the grants."""
    words = [
        "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--cap-drop",
        "ALL",
        "--hostname",
        "sandbox",
    ]
    words += ["--share-net"] if cell.network else []
    words += ["--unshare-user", "--disable-userns"] if bubblewrap_knows("--disable-userns") else []
    words += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--size", str((cell.memory_mb or 1024) << 20)]
    words += ["--tmpfs", "/tmp", "--size", str((cell.memory_mb or 1024) << 20), "--tmpfs", "/dev/shm"]
    for path in KERNEL_SETTINGS:  # root in there is root for these, and no namespace has its own
        words += ["--ro-bind", path, path] if os.path.exists(path) else []
    for path, target in system_links().items():
        words += ["--symlink", target, path]
    for path in (*visible(cell), *map(str, cell.write)):
        words += ["--bind" if Path(path) in cell.write else "--ro-bind", path, path]
    for device in gpu_devices() if cell.gpu else ():
        words += ["--dev-bind", device, device]
    return [*words, "--remount-ro", "/", "--chdir", str(cell.cwd), "--", *_limited(argv, cell)]


def namespaces(argv: list[str], cell: Cell) -> list[str]:
    """The command inside jail.py, with the same grants."""
    job = {
        "cwd": str(cell.cwd),
        "read": list(visible(cell)),
        "write": [str(path) for path in cell.write],
        "links": list(system_links()),
        "devices": gpu_devices() if cell.gpu else [],
        "network": cell.network,
        "loopback": cell.loopback,
        "memory_mb": cell.memory_mb,
        "processes": cell.processes,
        "disk_mb": cell.disk_mb,
    }
    return [sys.executable, "-I", "-S", str(JAIL), json.dumps(job), *argv]


def container(engine: str, image: str) -> Wrap:
    """The command inside a container of docker or podman; the image must hold what the study needs."""

    def wrap(argv: list[str], cell: Cell) -> list[str]:
        words = [engine, "run", "--rm", "--init", "--interactive", "--read-only", "--cap-drop", "ALL"]
        words += ["--security-opt", "no-new-privileges", "--user", f"{os.getuid()}:{os.getgid()}"]
        words += [] if cell.network else ["--network", "none"]
        words += ["--memory", f"{cell.memory_mb}m"] if cell.memory_mb else []
        words += ["--pids-limit", str(cell.processes)] if cell.processes else []
        words += ["--gpus", "all"] if cell.gpu else []
        words += ["--tmpfs", "/tmp", "--workdir", str(cell.cwd)]
        for path in cell.read:
            words += ["--volume", f"{path}:{path}:ro"]
        for path in cell.write:
            words += ["--volume", f"{path}:{path}:rw"]
        for name in (*ENVIRONMENT_OF_A_RUN, *cell.env):
            words += ["--env", name]  # by name: values stay out of the argument list
        return [*words, image, *argv]

    return wrap


def nothing(argv: list[str], _: Cell) -> list[str]:
    """No sandbox at all: only when a person asked for `none` by name."""
    return argv


ENVIRONMENT_OF_A_RUN = (
    "AUTORESEARCH_SEED",
    "AUTORESEARCH_BUDGET",
    "AUTORESEARCH_BUDGET_UNIT",
    "AUTORESEARCH_OUT",
    "AUTORESEARCH_RUN",
    "AUTORESEARCH_DATA",
    "OMP_NUM_THREADS",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONUNBUFFERED",
)


def _limited(argv: list[str], cell: Cell) -> list[str]:
    """The command under per-process limits, set inside the sandbox so that they count in there only."""
    limits = {
        "nproc": cell.processes,
        "fsize": cell.disk_mb and cell.disk_mb << 20,
        "data": cell.memory_mb and cell.memory_mb << 20,
    }
    words = [f"--{name}={value}" for name, value in limits.items() if value]
    return ["prlimit", "--core=0", *words, "--", *argv] if shutil.which("prlimit") else argv


# -- what is on this machine ---------------------------------------------------------------------------


@functools.cache
def system_links() -> dict[str, str]:
    """Top folders that are links where /usr is merged, as Debian's /bin -> usr/bin."""
    return {path: os.readlink(path) for path in SYSTEM if os.path.islink(path)}


@functools.cache
def system_paths() -> tuple[str, ...]:
    """Read by nearly every program: system folders, harmless settings, and the Python that runs."""
    settings = [f"/etc/{name}" for name in SETTINGS]
    environment = os.environ.get("VIRTUAL_ENV")
    pythons = [
        sys.prefix,
        sys.base_prefix,
        sys.exec_prefix,
        *site.getsitepackages(),
        *([environment] if environment else []),
    ]
    if environment:
        pythons.append(str(Path(environment, "bin", "python").resolve().parent.parent))
    candidates = [*SYSTEM, *settings, *pythons]
    return tuple(path for path in candidates if os.path.exists(path) and not os.path.islink(path))


def visible(cell: Cell) -> tuple[str, ...]:
    """Everything that is read-only in a cell, parents before what lies in them, each once."""
    return tuple(sorted({*system_paths(), *map(str, cell.read)}))


@functools.cache
def bubblewrap_knows(option: str) -> bool:
    """Whether the bubblewrap here has an option that came later (--disable-userns: 0.8, 2023)."""
    told = subprocess.run(["bwrap", "--help"], capture_output=True, text=True, check=False)
    return option in told.stdout + told.stderr


@functools.cache
def gpu_devices() -> list[str]:
    return [f"/dev/{name}" for name in sorted(os.listdir("/dev")) if name.startswith(GPU_DEVICES)]


# -- which one is used ---------------------------------------------------------------------------------


class Backend(Struct, frozen=True):
    name: str
    wrap: Wrap
    remedy: str

    @property
    def wraps(self) -> bool:
        return self.name != "none"

    @property
    def python(self) -> str:
        """The Python that is found in there: a container has its own."""
        return "python3" if self.name in ("docker", "podman") else sys.executable


def backends(image: str | None) -> dict[str, Backend]:
    """All there are, the preferred first."""
    all_ = [
        Backend(
            "bubblewrap",
            bubblewrap,
            "install it (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap)",
        ),
        Backend(
            "namespaces", namespaces, "it needs Linux with user namespaces (sysctl kernel.unprivileged_userns_clone=1)"
        ),
    ]
    for engine in ("docker", "podman"):
        wrap = container(engine, image or "")
        remedy = (
            f"install {engine} and start it" if image else "name an image that holds your programs as execute.image"
        )
        all_.append(Backend(engine, wrap, remedy))
    return {backend.name: backend for backend in all_}


NONE = Backend("none", nothing, "")


def choose(asked: str, image: str | None = None, table: str = "execute") -> Backend:
    """
    The backend that was asked for, tried; for `auto` the first that works here.

    Raises:
        SandboxError: it does not work here; the message says what to install.
    """
    if asked == "none":
        return NONE
    known = backends(image)
    wanted = (
        [known[asked]]
        if asked != "auto"
        else [b for b in known.values() if image or b.name not in ("docker", "podman")]
    )
    reasons = []
    for backend in wanted:
        problem = why_not(backend, image)
        if problem is None:
            return backend
        reasons.append(f"{backend.name}: {problem}; {backend.remedy}")
    raise SandboxError(
        f"study.toml: {table}.sandbox = {asked!r} does not work here. {'. '.join(reasons)}. To run without any "
        'protection, write sandbox = "none"'
    )


@functools.cache
def _why_not(name: str, image: str | None) -> str | None:
    backend = backends(image)[name]
    program = {"bubblewrap": "bwrap", "namespaces": sys.executable}.get(name, name)
    if shutil.which(program) is None:
        return "not installed"
    if name in ("docker", "podman") and not image:
        return "no image is named"
    if name == "namespaces" and sys.platform != "linux":
        return "not Linux"
    probe = backend.wrap(["true"], Cell(cwd=Path("/")))
    try:
        done = subprocess.run(probe, capture_output=True, text=True, timeout=TRIAL_S, check=False)
    except subprocess.TimeoutExpired:
        return f"it did not answer within {TRIAL_S:g} s"
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it failed without a word"])[-1]


def why_not(backend: Backend, image: str | None) -> str | None:
    """Why a backend does not work here, in a clause; found out by trying it, once per process."""
    return _why_not(backend.name, image)


def for_answers(cell: Cell) -> Cell:
    """The cell of candidate code that answers the scorer: as while running, but nothing may be written."""
    return replace(cell, read=(*cell.read, *cell.write), write=())
