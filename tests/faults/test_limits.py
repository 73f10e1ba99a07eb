"""What a candidate takes: time, memory, processes, disk. Bounded from outside, and the next trial comes in time."""

import time
from pathlib import Path

import pytest

from faults.conftest import Played, Row, check_row, play_rows

BURN = """
import time
def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until: pass
"""
DETACH = """
import time
def detached(body):
    if os.fork(): return
    os.setsid()
    if os.fork(): os._exit(0)
    body()
    os._exit(0)
"""
STUBBORN = "import signal\nfor number in range(1, 65):\n    try: signal.signal(number, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
HOLD = """
import time
held = []
def hold(folder=OUT):
    for i in range(4):
        file = open(f"{folder}/{i}", "wb")
        for _ in range(48): file.write(b"x" * (1 << 20))
        file.flush(); os.unlink(f"{folder}/{i}"); held.append(file)
"""
DISK = "used more than 64 MB of disk and was ended"
OVERRUN = r"used more than [\d.]+ s of processor time and was ended: more than measure\.overrun allows"

ROWS = {
    "forks-many": Row(
        "import time\nfor _ in range(100):\n    try:\n        if os.fork() == 0: time.sleep(60); os._exit(0)\n    except OSError: break\n"
        "time.sleep(3)\nwon()\n",
        ("crash",),
        "used more than (32 processes|256 MB of memory) and was ended",
    ),
    "allocates-at-once": Row("held = bytearray(1 << 30)\nwon()\n", ("crash",), "MemoryError|MB of memory|exit code"),
    "allocates-in-many-processes": Row(
        "import time\nfor _ in range(6):\n    if os.fork() == 0:\n        held = bytearray(b'x') * (100 << 20); time.sleep(60); os._exit(0)\n"
        "time.sleep(3)\nwon()\n",
        ("crash",),
        "used more than 256 MB of memory and was ended",
    ),
    "fills-the-disk-with-one-file": Row(
        "block = b'x' * (1 << 20)\nwith open(OUT + '/big', 'wb') as file:\n    for _ in range(200): file.write(block)\nwon()\n",
        ("crash",),
        "File too large|MB of disk|signal 25|exit code",
    ),
    "fills-the-disk-with-many-files": Row(
        "import time\nblock = b'x' * (1 << 20)\nfor i in range(120):\n    with open(f'{OUT}/{i}', 'wb') as file: file.write(block)\n"
        "time.sleep(3)\nwon()\n",
        ("crash",),
        "used more than 64 MB of disk and was ended",
    ),
    "fills-its-temporary-folder": Row(
        "block = b'x' * (1 << 20)\ntry:\n    with open('/tmp/a', 'wb') as a, open('/tmp/b', 'wb') as b, open('/tmp/c', 'wb') as c, open('/tmp/d', 'wb') as d, open('/tmp/e', 'wb') as e:\n"
        "        for file in (a, b, c, d, e):\n            for _ in range(60): file.write(block)\n    won()\n"
        "except OSError: pass\n",
    ),
    "sleeps-and-ignores-signals": Row(
        STUBBORN + "import time\ntime.sleep(600)\n", ("timeout",), "run was ended after 3 s"
    ),
    "waits-for-children-that-ignore-signals": Row(
        STUBBORN + "import time\nfor _ in range(3):\n    if os.fork() == 0: time.sleep(600)\nos.wait()\n", ("timeout",)
    ),
    "computes-beyond-its-budget": Row(BURN + "burn(2.7)\nwon()\n", ("timeout",), OVERRUN),
    "computes-while-it-imports": Row(
        BURN + "open('/tmp/slow.py', 'w').write('import time\\nwhile time.process_time() < 3: pass')\n"
        "sys.path.insert(0, '/tmp')\nimport slow\nwon()\n",
        ("timeout",),
        OVERRUN,
    ),
    "computes-in-children": Row(
        BURN + "for _ in range(8):\n    if os.fork() == 0: burn(0.4); os._exit(0)\n    os.wait()\nwon()\n",
        ("timeout",),
        OVERRUN,
    ),
    "computes-in-a-detached-grandchild": Row(
        BURN + DETACH + "detached(lambda: (burn(3), won()))\ntime.sleep(3.5)\n", ("timeout",), OVERRUN
    ),
    "goes-on-after-its-end": Row(DETACH + "detached(lambda: (time.sleep(0.3), won()))\n"),
    "goes-on-after-the-deadline": Row(
        STUBBORN + DETACH + "detached(lambda: (time.sleep(3.5), won()))\ntime.sleep(600)\n", ("timeout",)
    ),
    "asks-again-for-ever": Row("sys.exit(75)\n", ("timeout",), "run was ended after 3 s"),
}
BROKEN = {
    # The kernel forgets the time of a child that nobody waits for.
    "computes-in-children-nobody-waits-for": Row(
        BURN + "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nfor _ in range(8):\n"
        "    if (pid := os.fork()) == 0: burn(0.4); os._exit(0)\n"
        "    try: os.waitpid(pid, 0)\n    except ChildProcessError: pass\nwon()\n",
        ("timeout",),
        OVERRUN,
    ),
    # Exit code 75 starts a new attempt, with a new allowance and the old output folder.
    "computes-on-in-the-next-attempt": Row(
        BURN + "burn(0.9)\nif not os.path.exists(OUT + '/more'): open(OUT + '/more', 'w'); sys.exit(75)\nwon()\n",
        ("timeout",),
    ),
    "holds-deleted-files": Row(HOLD + "hold()\ntime.sleep(0.7)\nwon()\n", ("crash",), DISK),
    "holds-deleted-files-in-a-thread-that-shares-none": Row(
        HOLD
        + "import ctypes, threading\ndef body():\n    ctypes.CDLL(None).unshare(0x400)\n    hold(); time.sleep(5)\n"
        "threading.Thread(target=body, daemon=True).start()\ntime.sleep(2)\nwon()\n",
        ("crash",),
        DISK,
    ),
    "holds-deleted-files-too-deep-to-name": Row(
        HOLD + "name = 'x' * 200\nos.chdir(OUT)\nfor _ in range(25): os.mkdir(name); os.chdir(name)\n"
        "hold('.')\ntime.sleep(0.7)\nwon()\n",
        ("crash",),
        DISK,
    ),
    "fills-memory-through-files-in-it": Row(
        "import time\nblock = b'x' * (1 << 20)\nheld = []\nfor i in range(10):\n    fd = os.memfd_create(str(i)); held.append(fd)\n"
        "    for _ in range(40): os.write(fd, block)\ntime.sleep(0.7)\nwon()\n",
        ("crash",),
        "used more than 256 MB of memory and was ended",
    ),
    "fills-shared-memory": Row(
        "import time\nblock = b'x' * (1 << 20)\ntry:\n    for i in range(10):\n        with open(f'/dev/shm/{i}', 'wb') as file:\n"
        "            for _ in range(40): file.write(block)\n    time.sleep(0.7)\n    won()\nexcept OSError: pass\n",
        ("discard", "crash"),
    ),
    "fills-a-file-system-of-its-own": Row(
        "import ctypes, time\nlibc, ids = ctypes.CDLL(None), (os.getuid(), os.getgid())\nlibc.unshare(0x10020000)\ntry:\n"
        "    for name, text in ('setgroups', 'deny'), ('uid_map', f'0 {ids[0]} 1'), ('gid_map', f'0 {ids[1]} 1'):\n"
        "        with open(f'/proc/self/{name}', 'w') as file: file.write(text)\nexcept OSError: pass\n"
        "if libc.mount(b'tmpfs', b'/dev/shm', b'tmpfs', 0, b'size=1g') == 0:\n    for i in range(10):\n"
        "        with open(f'/dev/shm/{i}', 'wb') as file: file.write(b'x' * (40 << 20))\n    time.sleep(0.7)\n    won()\n",
        ("discard", "crash"),
    ),
}
HOLES = {
    "fills-memory-through-a-mapping-it-forgets": Row(
        "import mmap, time\nsize = 40 << 20\nheld = mmap.mmap(-1, 10 * size)\nfor i in range(10):\n"
        "    held[i * size:(i + 1) * size] = b'x' * size; held.madvise(mmap.MADV_DONTNEED)\ntime.sleep(0.7)\nwon()\n",
        ("crash",),
    ),
}


@pytest.fixture(scope="module")
def played(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play_rows(tmp_path_factory.mktemp("limits") / "repo", ROWS, backend, measure={"timeout_s": 3})


@pytest.mark.parametrize("name", ROWS)
def test_what_a_candidate_takes_is_bounded_from_outside(played: Played, name: str) -> None:
    check_row(played, name, ROWS[name])


@pytest.mark.parametrize("name", BROKEN)
def test_no_way_round_the_bounds(backend: str, tmp_path: Path, name: str) -> None:
    check_row(
        play_rows(tmp_path / "repo", {name: BROKEN[name]}, backend, measure={"timeout_s": 20}), name, BROKEN[name]
    )


@pytest.mark.parametrize("name", HOLES)
def test_a_hole_that_is_known(request: pytest.FixtureRequest, backend: str, tmp_path: Path, name: str) -> None:
    request.applymarker(pytest.mark.xfail(strict=True, reason="known hole: see docs/threat-model.md"))
    check_row(play_rows(tmp_path / "repo", {name: HOLES[name]}, backend, measure={"timeout_s": 20}), name, HOLES[name])


def test_the_next_trial_comes_in_time(backend: str, tmp_path: Path) -> None:
    began = time.monotonic()
    row = Row(STUBBORN + "import time\ntime.sleep(600)\n", ("timeout",))
    check_row(play_rows(tmp_path / "repo", {"x": row}, backend, measure={"timeout_s": 1}), "x", row)
    assert time.monotonic() - began < 15
