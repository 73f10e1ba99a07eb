"""What a candidate reaches for: the study's files, the person's, other processes, the network."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import alive

from faults.conftest import SECRET, Played, Row, check_row, play_rows

# Reads a path in every way there is; a win if any shows more than nothing.
READ = """
def reads(*paths):
    for path in paths:
        try:
            if os.path.isdir(path) and not os.listdir(path): continue
            if os.path.isdir(path) or open(path, "rb").read(1): won()
        except OSError: pass
"""
# Opens for writing, adds nothing: enough to know, harmless where it works.
OPEN = """
def opens(*paths):
    for path in paths:
        try: os.close(os.open(path, os.O_WRONLY)); won()
        except OSError: pass
"""
C = "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
AR = "@FOLDER@/.autoresearch"
MOUNT = C + (
    "def mount(source, target, kind, flags):\n"
    "    return libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None)\n"
)
SOCKET = "import socket\ndef connects(family, address, kind=socket.SOCK_STREAM):\n"
SOCKET += (
    "    try:\n        s = socket.socket(family, kind); s.settimeout(2); s.connect(address); won()\n"
    "    except OSError: pass\n"
)

FILES = {
    "reads-held-targets-by-path": Row(READ + f'reads("{AR}/data/held/target.json", "{AR}/data/held")\n'),
    "reads-held-targets-by-dots": Row(READ + 'reads("../../data/held/target.json", OUT + "/../../../data/held")\n'),
    "reads-held-targets-by-variable": Row(READ + 'reads(os.environ.get("AUTORESEARCH_HELD", "/nowhere"))\n'),
    "reads-held-targets-beside-the-open-data": Row(READ + 'reads(os.environ["AUTORESEARCH_DATA"] + "/../held")\n'),
    "reads-the-log": Row(READ + f'reads("{AR}/events.jsonl", "../../events.jsonl")\n'),
    "reads-another-run": Row(READ + f'reads("{AR}/runs/0/run.out.txt", "{AR}/runs/0/out/answer.json")\n'),
    "reads-the-repository": Row(READ + 'reads("@FOLDER@/.git/HEAD", "@FOLDER@/study.toml", "../../../.git")\n'),
    "reads-through-proc-self-root": Row(READ + f'reads("/proc/self/root{AR}/data/held/target.json")\n'),
    "reads-through-proc-1-root": Row(
        READ + f'reads("/proc/1/root{AR}/data/held/target.json", "/proc/1/cwd/.git/HEAD")\n'
    ),
    "reads-through-descriptors-of-others": Row(
        READ + "for pid in filter(str.isdigit, os.listdir('/proc')):\n    for fd in range(3, 64):\n"
        f'        if pid != str(os.getpid()): reads(f"/proc/{{pid}}/fd/{{fd}}{AR}/events.jsonl")\n'
    ),
    "reads-ssh-keys": Row(READ + 'reads("@HOME@/.ssh/id_fault", os.path.expanduser("~/.ssh/id_fault"), "@HOME@")\n'),
    "reads-password-files": Row(READ + 'reads("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/root/.ssh")\n'),
    "reads-by-a-hard-link": Row(
        f'try: os.link("{AR}/data/held/target.json", OUT + "/link"); won()\nexcept OSError: pass\n'
    ),
    "reads-by-a-symbolic-link": Row(
        READ + f'os.symlink("{AR}/data/held/target.json", OUT + "/link"); reads(OUT + "/link")\n'
    ),
    "reads-by-file-handle": Row(
        C
        + "class H(ctypes.Structure): _fields_ = [('n', ctypes.c_uint), ('t', ctypes.c_int), ('f', ctypes.c_ubyte * 128)]\n"
        "h, m = H(128), ctypes.c_int()\n"
        "if libc.name_to_handle_at(-100, OUT.encode(), ctypes.byref(h), ctypes.byref(m), 0) == 0:\n"
        "    if libc.open_by_handle_at(os.open(OUT, os.O_RDONLY), ctypes.byref(h), 0) >= 0: won()\n"
    ),
    "edits-the-scorer": Row(OPEN + f'opens("score.py", "{AR}/trees/referee/score.py", "@FOLDER@/score.py")\n'),
    "edits-the-preparation": Row(OPEN + f'opens("prepare.py", "{AR}/trees/referee/prepare.py")\n'),
    "edits-the-contract": Row(OPEN + 'opens("study.toml", "@FOLDER@/study.toml")\n'),
    "edits-the-log": Row(
        OPEN + f'opens("{AR}/events.jsonl", "../../events.jsonl", "/proc/1/cwd/.autoresearch/events.jsonl")\n'
    ),
    "edits-the-refs": Row(
        OPEN + 'opens("@FOLDER@/.git/refs/autoresearch/s/best", "@FOLDER@/.git/packed-refs", ".git")\n'
    ),
    "edits-another-tree": Row(f'try: open("{AR}/trees/0/candidate.py", "w"); won()\nexcept OSError: pass\n'),
    "edits-its-own-tree": Row(OPEN + 'opens("candidate.py")\ntry: open("more.py", "w"); won()\nexcept OSError: pass\n'),
    "edits-the-open-data": Row('try: open(os.environ["AUTORESEARCH_DATA"] + "/x", "w"); won()\nexcept OSError: pass\n'),
    "plants-sitecustomize": Row(
        "for path in (p for p in sys.path if os.path.isdir(p)):\n"
        '    for name in ("sitecustomize.py", "x.pth", "json.py"):\n'
        '        try: open(path + "/" + name, "w"); won()\n        except OSError: pass\n'
    ),
    "plants-a-crafted-pyc": Row(
        'try: os.mkdir("__pycache__"); open("__pycache__/json.cpython-311.pyc", "wb"); won()\nexcept OSError: pass\n'
        f'try: os.mkdir("{AR}/trees/referee/__pycache__"); won()\nexcept OSError: pass\n'
    ),
    "replaces-the-interpreter": Row(
        OPEN + "opens(sys.executable, os.path.realpath(sys.executable), os.__file__, json.__file__)\n"
    ),
    "mounts": Row(MOUNT + 'os.mkdir(OUT + "/m")\nif mount("none", OUT + "/m", "tmpfs", 0) == 0: won()\n'),
    "remounts-its-tree-writable": Row(
        MOUNT + "tree = os.getcwd()\n"
        "for flags in (32, 32 | 4096):\n    if mount('none', tree, '', flags) == 0 or mount('none', '/', '', flags) == 0: won()\n"
    ),
    "remounts-in-a-namespace-of-its-own": Row(
        MOUNT + "ids = os.getuid(), os.getgid()\n"
        "if libc.unshare(0x10000000 | 0x20000) == 0:\n"
        "    for name, id in zip(('uid_map', 'gid_map'), ids):\n"
        "        try:\n            if name == 'gid_map': open('/proc/self/setgroups', 'w').write('deny')\n"
        "            open('/proc/self/' + name, 'w').write(f'{id} {id} 1')\n"
        "        except OSError: pass\n"
        "    for target in (os.getcwd(), '/', '/usr'):\n        mount('none', target, '', 32 | 4096); libc.umount2(target.encode(), 2)\n"
        "    try: open('more.py', 'w'); won()\n    except OSError: pass\n"
        f"    if os.path.exists('{AR}/events.jsonl'): won()\n"
    ),
    "leaves-its-root": Row(
        C
        + f"os.chdir('/')\nlibc.chroot(b'.')\nos.chdir('../../../..')\nif os.path.exists('.{AR}/events.jsonl'): won()\n"
    ),
    "makes-a-device": Row(
        "import stat\ntry: os.mknod(OUT + '/disk', 0o600 | stat.S_IFBLK, os.makedev(254, 0)); won()\nexcept OSError: pass\n"
    ),
    # Opened and closed, nothing written: the kernel's settings would be a way out for root.
    "opens-the-kernels-settings": Row(
        OPEN + "opens('/proc/sys/kernel/core_pattern', '/proc/sys/kernel/modprobe', '/proc/sysrq-trigger',"
        " '/sys/kernel/uevent_helper', '/proc/sys/vm/overcommit_memory')\n"
    ),
}
PROCESSES = {
    "reads-the-persons-environment": Row(
        "if 'FAULT_TOKEN' in os.environ: won()\n"
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    try:\n        if b'FAULT_TOKEN' in open(f'/proc/{pid}/environ', 'rb').read(): won()\n    except OSError: pass\n"
    ),
    "reads-held-by-proc-environ": Row(
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    try:\n        if b'AUTORESEARCH_HELD' in open(f'/proc/{pid}/environ', 'rb').read(): won()\n    except OSError: pass\n"
    ),
    "sees-other-processes": Row(
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    try:\n        if b'the-victim' in open(f'/proc/{pid}/cmdline', 'rb').read(): won()\n    except OSError: pass\n"
    ),
    "signals-a-process-of-the-person": Row("try: os.kill(@VICTIM@, 0); won()\nexcept OSError: pass\n"),
    "traces-a-process-of-the-person": Row(C + "if libc.ptrace(16, @VICTIM@, None, None) == 0: won()\n"),
    # bubblewrap's own first process may be stopped so: it holds no more than the candidate, which then only waits.
    "traces-the-first-process": Row(C + "libc.ptrace(16, 1, None, None)\n", ("discard", "timeout")),
    "kills-its-parent": Row(
        "import signal\ntry: os.kill(os.getppid(), signal.SIGKILL)\nexcept OSError: pass\n", ("discard", "crash")
    ),
    "kills-its-keeper": Row(
        "import signal\nfor pid in (@VICTIM@, @SESSION@):\n    try: os.kill(pid, signal.SIGTERM); won()\n    except OSError: pass\n"
    ),
    "kills-its-process-group": Row("import signal\nos.killpg(0, signal.SIGKILL)\n", ("crash",), "signal 9|exit code"),
    "kills-everything-it-may": Row("import signal\nos.kill(-1, signal.SIGKILL)\n", ("discard", "crash")),
    "becomes-another-user": Row("try: os.setuid(12345); won()\nexcept OSError: pass\n"),
    "raises-its-own-limits": Row(
        "import resource\ntry: resource.setrlimit(resource.RLIMIT_DATA, (-1, -1)); won()\nexcept (OSError, ValueError): pass\n"
    ),
}
NETWORK = {
    "connects-by-ipv4": Row(SOCKET + 'connects(socket.AF_INET, ("127.0.0.1", @PORT4@))\n'),
    "connects-by-ipv6": Row(SOCKET + 'connects(socket.AF_INET6, ("::1", @PORT6@))\n'),
    "connects-out": Row(SOCKET + 'connects(socket.AF_INET, ("192.0.2.1", 80))\n'),
    "connects-by-a-path": Row(SOCKET + 'connects(socket.AF_UNIX, "@UNIX@")\n'),
    "connects-by-an-abstract-name": Row(SOCKET + 'connects(socket.AF_UNIX, "\\0@ABSTRACT@")\n'),
    "sends-a-datagram": Row(SOCKET + 'connects(socket.AF_INET, ("192.0.2.1", 53), socket.SOCK_DGRAM)\n'),
    "looks-up-a-name": Row(
        "import socket\ntry: socket.getaddrinfo('example.invalid', 80); won()\nexcept OSError: pass\n"
        + SOCKET
        + 'connects(socket.AF_UNIX, "/run/systemd/resolve/io.systemd.Resolve")\n'
        # A datagram to a port where nobody listens is refused; silence means that it reached our listener.
        + "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1)\n"
        + 'try: s.connect(("127.0.0.1", @UDP@)); s.send(b"?"); s.recv(1); won()\n'
        + "except TimeoutError: won()\nexcept OSError: pass\n"
    ),
}
# Between runs: each looks for what the one before it left, then leaves it again.
MEMORY = """
marks = [OUT + "/../mark", "mark", "/tmp/mark-of-a-run", "/dev/shm/mark-of-a-run", "/var/tmp/mark-of-a-run"]
marks += [OUT + "/mark", os.environ["AUTORESEARCH_DATA"] + "/mark"]
for mark in marks:
    if os.path.exists(mark): won()
    try: open(mark, "w").write("5500")
    except OSError: pass
"""
CACHES = {"leaves-a-mark": Row(MEMORY), "looks-for-the-mark": Row(MEMORY + "# again\n")}
KERNEL = FILES.pop("opens-the-kernels-settings")
ROWS = FILES | PROCESSES | NETWORK | CACHES


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """Listeners on loopback, and a process of the person's: all made here, so that a success does no harm."""
    folder = tmp_path_factory.mktemp("s")
    with contextlib.ExitStack() as stack:
        four = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        found: dict[str, object] = {"PORT4": four.getsockname()[1], "PORT6": 9}
        with contextlib.suppress(OSError):  # a machine without IPv6: then nothing can be reached by it anyway
            six = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
            found["PORT6"] = six.getsockname()[1]
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        path, name = str(folder / "door"), f"fault-{os.getpid()}"
        for address in (path, f"\0{name}"):
            unix = stack.enter_context(socket.socket(socket.AF_UNIX))
            unix.bind(address)
            unix.listen()
        victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600) # the-victim"])
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        more = {"UDP": udp.getsockname()[1], "UNIX": path, "ABSTRACT": name, "VICTIM": victim.pid}
        yield found | more | {"HOME": os.environ["HOME"], "SESSION": victim.pid}


@pytest.fixture(scope="module")
def played(backend: str, tokens: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play_rows(tmp_path_factory.mktemp("escapes") / "repo", ROWS, backend, tokens)


@pytest.mark.parametrize("name", FILES)
def test_a_candidate_reads_and_writes_nothing_but_its_grants(played: Played, name: str) -> None:
    check_row(played, name, ROWS[name])


@pytest.mark.parametrize("name", PROCESSES)
def test_a_candidate_sees_and_touches_no_process_but_its_own(played: Played, name: str) -> None:
    check_row(played, name, ROWS[name])


@pytest.mark.parametrize("name", NETWORK)
def test_a_candidate_reaches_nobody(played: Played, name: str) -> None:
    check_row(played, name, ROWS[name])


@pytest.mark.parametrize("name", CACHES)
def test_nothing_passes_from_one_run_to_the_next(played: Played, name: str) -> None:
    check_row(played, name, ROWS[name])


def test_the_attacks_would_succeed_without_a_sandbox(tokens: dict[str, object], tmp_path: Path) -> None:
    """A row that could not fail would prove nothing."""
    names: tuple[str, ...] = (
        "reads-held-targets-by-path",
        "reads-ssh-keys",
        "sees-other-processes",
        "connects-by-ipv4",
        "looks-up-a-name",
    )
    names += ("connects-by-a-path", "connects-by-an-abstract-name", "signals-a-process-of-the-person")
    for name in names:
        played = play_rows(tmp_path / name, {name: ROWS[name]}, "none", tokens)
        assert played.trials[name].word == "keep", name


def test_the_persons_processes_live_on_and_no_secret_is_in_the_log(played: Played, tokens: dict[str, object]) -> None:
    victim = tokens["VICTIM"]
    assert isinstance(victim, int)
    assert alive(victim)
    assert SECRET not in (played.folder / ".autoresearch" / "events.jsonl").read_text()


def test_the_kernels_settings_cannot_be_opened_for_writing(backend: str, tmp_path: Path) -> None:
    check_row(play_rows(tmp_path / "repo", {"kernel": KERNEL}, backend), "kernel", KERNEL)
