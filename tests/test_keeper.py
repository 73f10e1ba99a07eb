"""Commands under the keeper: ended in time with everything they started, measured from outside, bounded on disk."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import PATIENCE_S, PYTHON, alive, eventually
from msgspec import structs

from autoresearch.errors import Stopped
from autoresearch.execute import Hopeless
from autoresearch.execute.keeper import HEAD_BYTES, TAIL_BYTES
from autoresearch.execute.keepers import Bounds, Ending, Keepers
from autoresearch.execute.local import Local
from autoresearch.execute.machine import Slot, slots
from autoresearch.execute.sandbox import NONE
from autoresearch.study import parse
from autoresearch.trial import Measurement, Run

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a keeper adopt orphans")

# Leaves the process group and the session, and is nobody's child by the time its pid is in the file.
ESCAPE = (
    "import os, sys, time\n"
    "if os.fork(): os.wait(); sys.exit()\n"
    "os.setsid()\n"
    "if os.fork(): os._exit(0)\n"
    "open('pid.part', 'w').write(str(os.getpid())); os.rename('pid.part', 'pid')\n"
    "for fd in (0, 1, 2): os.close(fd)\n"
    "time.sleep(60)"
)


class Bench:
    """A folder to run commands in, and what they left there."""

    def __init__(self, keepers: Keepers, folder: Path) -> None:
        self.keepers, self.folder = keepers, folder

    def run(
        self,
        *argv: str,
        timeout_s: float = 20.0,
        cores: tuple[int, ...] = (),
        stdin: Path | None = None,
        bounds: Bounds | None = None,
    ) -> Ending:
        self.progress: list[str] = []
        return self.keepers.run(
            list(argv),
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "GIVEN": "yes"},
            out=self.folder / "out.txt",
            err=self.folder / "err.txt",
            timeout_s=timeout_s,
            cores=cores,
            stdin=stdin,
            bounds=bounds,
            on_progress=self.progress.append,
        )

    def sh(self, script: str, timeout_s: float = 20.0) -> Ending:
        return self.run("sh", "-c", script, timeout_s=timeout_s)

    def python(self, code: str, timeout_s: float = 20.0, cores: tuple[int, ...] = ()) -> Ending:
        return self.run(PYTHON, "-c", code, timeout_s=timeout_s, cores=cores)

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def pid(self, name: str = "pid") -> int:
        """The number that a command leaves in a file, once it is there."""
        assert eventually(lambda: (self.folder / name).exists() and bool(self.text(name).strip()))
        return int(self.text(name))


@pytest.fixture
def bench(keepers: Keepers, tmp_path: Path) -> Iterator[Bench]:
    yield Bench(keepers, tmp_path)
    if sys.platform == "linux":
        for pid in processes_in(tmp_path):  # a test that failed may have shown that something escapes
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("code", [0, 1, 7, 75, 255])
def test_the_exit_code_is_told(bench: Bench, code: int) -> None:
    ending = bench.sh(f"echo to out; echo to err >&2; exit {code}")
    assert (ending.how, ending.code, ending.left_behind) == ("exited", code, 0)
    assert (bench.text("out.txt"), bench.text("err.txt")) == ("to out\n", "to err\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_signal_is_told_as_a_negative_code(bench: Bench, number: int) -> None:
    assert bench.sh(f"kill -{number} $$").code == -number


def test_a_command_that_does_not_exist_is_named(bench: Bench) -> None:
    ending = bench.run("no-such-program-anywhere")
    assert ending.how == "failed"
    assert "no-such-program-anywhere" in ending.why


def test_a_folder_that_is_gone_is_what_the_message_names(bench: Bench, tmp_path: Path) -> None:
    bench.folder = tmp_path / "gone"
    ending = bench.keepers.run(
        ["sh", "-c", "true"],
        cwd=bench.folder,
        env={"PATH": os.environ["PATH"]},
        out=tmp_path / "out.txt",
        err=tmp_path / "err.txt",
        timeout_s=5,
    )
    assert ending.how == "failed"
    assert "gone" in ending.why


def test_a_command_sees_the_environment_it_is_given_and_nothing_else(bench: Bench) -> None:
    bench.sh("env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | sort")
    assert bench.text("out.txt") == f"GIVEN=yes\nPATH={os.environ['PATH']}\n"


def test_input_comes_from_the_file_and_is_empty_without_one(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a brief\n")
    bench.run("cat", stdin=tmp_path / "in.txt")
    assert bench.text("out.txt") == "a brief\n"
    assert bench.run("cat", timeout_s=5).how == "exited"
    assert bench.text("out.txt") == ""


def test_a_command_that_overstays_is_ended(bench: Bench) -> None:
    ending = bench.sh("sleep 60", timeout_s=0.2)
    assert ending.how == "timeout"
    assert 0.2 <= ending.wall_s < 20


def test_a_command_may_clean_up_when_its_time_is_over(bench: Bench) -> None:
    ending = bench.sh("trap 'echo saved; exit 3' TERM; sleep 60 & wait", timeout_s=0.3)
    assert ending.how == "timeout"
    assert bench.text("out.txt") == "saved\n"


def test_a_command_that_ignores_the_polite_signal_is_ended_all_the_same(bench: Bench) -> None:
    ending = bench.sh("trap '' TERM; echo $$ > pid; while true; do sleep 0.05; done", timeout_s=0.2)
    assert ending.how == "timeout"
    assert ending.wall_s < 20
    assert not alive(bench.pid())


def test_a_child_left_in_the_background_is_ended_and_counted(bench: Bench) -> None:
    ending = bench.sh("sleep 60 & echo $! > pid")
    assert (ending.how, ending.code) == ("exited", 0)
    assert ending.wall_s < 30
    assert not alive(bench.pid())
    assert ending.left_behind == 1


@linux
def test_a_grandchild_that_leaves_group_and_session_is_ended_and_counted(bench: Bench) -> None:
    ending = bench.run(PYTHON, "-c", f"import subprocess, sys, os, time\nsubprocess.run([sys.executable, '-c', {ESCAPE!r}])\n"
                       "while not os.path.exists('pid'): time.sleep(0.01)")  # fmt: skip
    assert (ending.how, ending.code) == ("exited", 0)
    assert not alive(bench.pid())
    assert ending.left_behind == 1


@linux
def test_a_timeout_ends_those_that_left_too(bench: Bench) -> None:
    ending = bench.sh(f'{PYTHON} -c "{ESCAPE}"; sleep 60', timeout_s=1.0)
    assert ending.how == "timeout"
    assert not alive(bench.pid())


@linux
@pytest.mark.parametrize(
    ("bounds", "how", "why"),
    [
        (Bounds(wall_s=0.3), "overran", "used more than 0.3 s"),
        (Bounds(processor_s=0.3), "overran", "used more than 0.3 s of processor time"),
        (Bounds(memory_mb=60), "bounds", "used more than 60 MB of memory"),
        (Bounds(processes=2), "bounds", "used more than 2 processes"),
        (Bounds(files=20), "bounds", "used more than 20 open files"),
        (Bounds(disk_mb=8), "bounds", "used more than 8 MB of disk"),
    ],
)
def test_an_overrun_and_the_other_bounds_end_a_command_each_with_its_word(
    bench: Bench, tmp_path: Path, bounds: Bounds, how: str, why: str
) -> None:
    greedy = (
        "import os\nheld = b'x' * (80 << 20)\nopen('big', 'wb').write(held[: 16 << 20])\n"
        "for _ in range(20): os.dup(0)\nfor _ in range(3): os.fork()\nwhile True: pass"
    )
    bounds = structs.replace(bounds, paths=(tmp_path,))
    ending = bench.run(PYTHON, "-c", greedy, bounds=bounds)
    assert (ending.how, ending.why) == (how, why)


@linux
def test_a_crowd_that_keeps_forking_is_ended(bench: Bench) -> None:
    code = (
        "import os, time\n"
        "for _ in range(40):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        end = time.monotonic() + 30\n"
        "        while time.monotonic() < end:\n"
        "            if os.fork() == 0: time.sleep(0.02); os._exit(0)\n"
        "            time.sleep(0.01)\n"
        "            try:\n"
        "                while os.waitpid(-1, os.WNOHANG)[0]: pass\n"
        "            except ChildProcessError: pass\n"
        "open('pid', 'w').write(str(os.getpid()))"
    )
    ending = bench.python(code)
    assert (ending.how, ending.code) == ("exited", 0)
    assert ending.wall_s < 10
    assert not processes_in(bench.folder)


def processes_in(folder: Path) -> list[int]:
    """Living processes whose working directory is this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd") == str(folder) and alive(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_a_long_output_keeps_its_head_and_its_tail_and_little_else(bench: Bench) -> None:
    ending = bench.python(
        "import sys\n"
        "print('the first line')\n"
        "for i in range(500): sys.stdout.write('x' * 99_999 + '\\n')\n"
        "print('METRIC loss=1')"
    )
    assert ending.code == 0
    size = (bench.folder / "out.txt").stat().st_size
    assert HEAD_BYTES + TAIL_BYTES <= size < HEAD_BYTES + TAIL_BYTES + 1000
    data = (bench.folder / "out.txt").read_bytes()
    assert data.startswith(b"the first line\n")
    assert data.endswith(b"x\nMETRIC loss=1\n")
    left_out = 15 + 50_000_000 + 14 - HEAD_BYTES - TAIL_BYTES
    assert b"\n[... %d bytes left out ...]\n" % left_out in data


def test_an_output_that_fits_is_kept_byte_for_byte(bench: Bench) -> None:
    bench.python(f"import sys; sys.stdout.buffer.write(bytes(range(256)) * {(HEAD_BYTES + TAIL_BYTES) // 256})")
    assert (bench.folder / "out.txt").read_bytes() == bytes(range(256)) * ((HEAD_BYTES + TAIL_BYTES) // 256)


def test_memory_is_measured_from_outside(bench: Bench) -> None:
    ending = bench.python("held = b'x' * (200 << 20)")
    assert 195 < ending.peak_memory_mb < 260


@linux
def test_memory_is_that_of_all_processes_at_once(bench: Bench) -> None:
    ending = bench.sh(
        f"for i in 1 2 3; do {PYTHON} -c 'import time; held = b\"x\" * (60 << 20); time.sleep(1.2)' & done; wait"
    )
    assert 175 < ending.peak_memory_mb < 300


@linux
@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_in_memory_counts_once_for_all_who_hold_it_open(bench: Bench, mapped: bool) -> None:
    code = (
        "import mmap, os, time\nfile = os.memfd_create('x')\nfor _ in range(200): os.write(file, b'x' * (1 << 20))\n"
        f"if {mapped}: held = mmap.mmap(file, 200 << 20); sum(held[::4096])\n"
        "for _ in range(2):\n    if os.fork() == 0: time.sleep(0.8); os._exit(0)\ntime.sleep(0.8)"
    )
    assert 200 < bench.python(code).peak_memory_mb < 300


def test_a_short_command_has_used_little(bench: Bench) -> None:
    ending = bench.sh("true")
    assert ending.peak_memory_mb < 40
    assert ending.wall_s < 10
    assert ending.processor_s < 0.5


def test_processor_time_counts_every_descendant(bench: Bench) -> None:
    burn = "import time; end = 0.3\nwhile time.process_time() < end: pass"
    (bench.folder / "burn.py").write_text(burn)
    ending = bench.sh(f"{PYTHON} burn.py & ({PYTHON} burn.py) & wait")
    assert 0.58 < ending.processor_s < 1.5


def test_sleeping_uses_wall_time_and_no_processor_time(bench: Bench) -> None:
    ending = bench.sh("sleep 0.3")
    assert ending.wall_s > 0.29
    assert ending.processor_s < 0.2


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores can be assigned on Linux only")
def test_a_command_and_its_children_stay_on_their_cores(bench: Bench) -> None:
    core = max(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    code = "import os, subprocess, sys; print(os.sched_getaffinity(0), flush=True)"
    bench.python(f"{code}; subprocess.run([sys.executable, '-c', {code!r}])", cores=(core,))
    assert bench.text("out.txt") == f"{{{core}}}\n" * 2
    assert os.sched_getaffinity(0) == before


def test_progress_lines_are_passed_on_while_the_command_runs(bench: Bench) -> None:
    bench.sh(
        "echo PROGRESS 0.1; sleep 0.15; echo PROGRESS 0.2 loss=3; echo no PROGRESS 0.3; sleep 0.15; printf 'PROGRESS 0.'; sleep 0.15; echo 4"
    )
    assert bench.progress[0] == "0.1"
    assert set(bench.progress) <= {"0.1", "0.2 loss=3", "0.4"}, "those that come too fast may be left out"


def test_a_flood_of_progress_is_thinned_out(bench: Bench) -> None:
    bench.python("for i in range(100_000): print(f'PROGRESS {i / 100_000}')")
    assert 1 <= len(bench.progress) <= 140


def test_a_short_run_loses_none_of_its_progress(bench: Bench) -> None:
    bench.python("for i in range(50): print(f'PROGRESS {i / 50} loss=3', flush=True)")
    assert len(bench.progress) == 50


def test_stopping_ends_what_runs_and_starts_nothing_more(bench: Bench) -> None:
    ended: list[BaseException] = []

    def body() -> None:
        try:
            bench.sh("trap '' TERM; echo $$ > pid; sleep 60 & wait; sleep 60")
        except Stopped as stopped:
            ended.append(stopped)

    thread = threading.Thread(target=body)
    thread.start()
    pid = bench.pid()
    begun = time.monotonic()
    bench.keepers.stop()
    thread.join(PATIENCE_S)
    assert time.monotonic() - begun < PATIENCE_S
    assert len(ended) == 1
    assert not alive(pid)
    with pytest.raises(Stopped):
        bench.sh("true")


def test_many_commands_at_once_do_not_mix(keepers: Keepers, tmp_path: Path) -> None:
    def body(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        found[number] = Bench(keepers, folder).sh(f"sleep 0.1; echo {number}; exit {number}")

    found: dict[int, Ending] = {}
    threads = [threading.Thread(target=body, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert {n: ending.code for n, ending in found.items()} == {n: n for n in range(8)}
    assert all((tmp_path / str(n) / "out.txt").read_text() == f"{n}\n" for n in range(8))


OWNER = """
import sys, threading
from pathlib import Path
from autoresearch.execute.keepers import Keepers
here, keepers = Path.cwd(), Keepers()
print(keepers._nursery.pid, flush=True)
def run(name, script):
    keepers.run(["sh", "-c", script], cwd=here, env={"PATH": sys.argv[1]}, out=here / f"{name}.out",
                err=here / f"{name}.err", timeout_s=60)
for name in ("a", "b"):
    threading.Thread(target=run, args=(name, f"echo $$ > {name}.pid; trap '' TERM HUP; sleep 60 & echo $! > {name}.child; wait; sleep 60")).start()
"""


@linux
def test_nothing_outlives_an_owner_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [PYTHON, "-c", OWNER, os.environ["PATH"]], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        nursery = int(owner.stdout.readline())
        files = [tmp_path / f"{name}.{kind}" for name in "ab" for kind in ("pid", "child")]
        assert eventually(lambda: all(file.exists() and file.read_text().strip() for file in files))
        pids = [int(file.read_text()) for file in files]
        assert all(map(alive, [*pids, nursery]))
        owner.kill()
        owner.wait()
        assert eventually(lambda: not any(map(alive, [*pids, nursery])))
    assert eventually(lambda: not processes_in(tmp_path))


def test_output_that_cannot_be_stored_leaves_no_process_behind(bench: Bench, tmp_path: Path) -> None:
    ending = bench.keepers.run(
        ["sh", "-c", "echo $$ > pid; exec sleep 60"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        out=tmp_path / "no folder" / "out.txt",
        err=tmp_path / "err.txt",
        timeout_s=10,
    )
    assert ending.how == "failed"
    assert "out.txt" in ending.why or "No such file" in ending.why
    time.sleep(0.2)  # long enough for the command to have written its pid, had it been started
    assert not processes_in(tmp_path)


@linux
def test_a_command_that_kills_its_keeper_is_ended_all_the_same(bench: Bench) -> None:
    ending = bench.sh("echo $$ > pid; kill -9 $PPID; exec sleep 60")
    assert ending.how == "failed"
    assert eventually(lambda: not alive(bench.pid()))


def test_closing_takes_the_nursery_along() -> None:
    keepers = Keepers()
    nursery = keepers._nursery.pid
    assert alive(nursery)
    keepers.close()
    assert not alive(nursery)


# -- the executor on top -------------------------------------------------------------------------------


def study(run: str, **measure: object) -> str:
    table = {"run": run, "timeout_s": 20} | measure
    keys = "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
    return f'name = "s"\nasset = ["x"]\n[metric]\nname = "loss"\n[measure]\n{keys}\n'


class Machine1:
    """The local executor with a worktree to run in."""

    def __init__(self, tmp_path: Path) -> None:
        self.home = tmp_path / "home"
        self.tree = self.home / "trees" / "0"
        for folder in (self.tree, self.home / "trees" / "referee"):
            folder.mkdir(parents=True)
        self.points: list[tuple[float, float | None]] = []
        self.local = Local(self.home, [Slot()], NONE, lambda run, fraction, loss: self.points.append((fraction, loss)))

    def run(self, script: str, hopeless: Hopeless | None = None, **measure: object) -> Measurement:
        (self.tree / "x").write_text(script)
        run = Run(3, 0, "t", "c", 0, 4711, "d")
        return self.local.run(run, self.tree, parse(study("sh x", **measure)), hopeless=hopeless)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine1]:
    made = Machine1(tmp_path)
    yield made
    made.local.close()


def test_a_run_is_told_its_seed_its_budget_and_where_its_artifacts_go(machine: Machine1) -> None:
    told = machine.run(
        "echo METRIC seed=$AUTORESEARCH_SEED; echo METRIC run=$AUTORESEARCH_RUN; echo METRIC b=$AUTORESEARCH_BUDGET\n"
        'echo $AUTORESEARCH_BUDGET_UNIT > "$AUTORESEARCH_OUT/unit"; echo METRIC loss=1; test -d "$AUTORESEARCH_DATA"\n'
        'test -z "$AUTORESEARCH_HELD"',
        budget="150000 tokens",
    )
    assert (told.status, told.value, told.digest) == ("ok", 1.0, "d")
    assert told.extras == {"seed": 4711.0, "run": 3.0, "b": 150000.0}
    assert (machine.home / "runs" / "3" / "out" / "unit").read_text() == "tokens\n"


def test_the_scorer_has_the_last_word(machine: Machine1) -> None:
    (machine.home / "trees" / "referee" / "score.sh").write_text(
        'echo METRIC loss=$(cat "$AUTORESEARCH_OUT/left"); test -d "$AUTORESEARCH_HELD" && test -d "$AUTORESEARCH_TREE"'
    )
    found = machine.run('echo 7 > "$AUTORESEARCH_OUT/left"; echo METRIC loss=0; echo METRIC acc=1', score="sh score.sh")
    assert (found.status, found.value, found.extras) == ("ok", 7.0, {"acc": 1.0})
    assert found.score_s > 0


def test_a_scorer_that_fails_gives_no_value_whatever_the_run_said(machine: Machine1) -> None:
    found = machine.run("echo METRIC loss=0", score="sh no-score.sh")
    assert (found.status, found.value) == ("crash", None)
    assert found.why.startswith("score ended with exit code")


def test_a_crash_quotes_the_last_words_in_one_printable_line(machine: Machine1) -> None:
    found = machine.run("echo METRIC loss=0; printf 'first\\n\\033[31mthe \\t reason\\n\\n' >&2; exit 3")
    assert (found.status, found.value) == ("crash", None)
    assert found.why == "run ended with exit code 3: '\\x1b[31mthe reason'"


def test_a_run_that_kills_itself_names_the_signal(machine: Machine1) -> None:
    assert machine.run("kill -9 $$").why == "run was ended by signal 9"


def test_a_timeout_is_a_word_of_its_own_and_no_value(machine: Machine1) -> None:
    found = machine.run("echo METRIC loss=0; sleep 60", timeout_s=0.2)
    assert (found.status, found.value, found.why) == ("timeout", None, "run was ended after 0.2 s")


def test_no_answer_yet_is_asked_again(machine: Machine1) -> None:
    found = machine.run("if test -e seen; then echo METRIC loss=2; else touch seen; exit 75; fi")
    assert (found.status, found.value) == ("ok", 2.0)


def test_no_answer_ever_is_a_timeout(machine: Machine1) -> None:
    assert machine.run("exit 75", timeout_s=1.2).status == "timeout"


def test_progress_reaches_whoever_watches(machine: Machine1) -> None:
    machine.run(
        "echo PROGRESS 0.5 loss=3; sleep 0.12; echo PROGRESS rubbish; sleep 0.12; echo PROGRESS 1; echo METRIC loss=1"
    )
    assert machine.points[0] == (0.5, 3.0)
    assert set(machine.points) <= {(0.5, 3.0), (1.0, None)}


def test_stopping_while_asking_again_comes_back_at_once(machine: Machine1) -> None:
    found: list[Measurement] = []
    thread = threading.Thread(target=lambda: found.append(machine.run("touch asked; exit 75")))
    thread.start()
    assert eventually((machine.tree / "asked").exists)
    machine.local.stop()
    thread.join(PATIENCE_S)
    assert [m.status for m in found] == ["stopped"]


def test_slots_share_nothing_and_are_no_more_than_there_is_room_for() -> None:
    have = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for each in (None, 1, 2, 1000):
        for workers in (None, 1, 2, 1000):
            shares = slots(each, workers)
            taken = [core for slot in shares for core in slot.cores]
            assert 1 <= len(shares) <= have
            assert len(set(taken)) == len(taken)
            assert workers is None or len(shares) <= workers
    assert len(slots(1, None)) == have
    assert [len(slot.cores) for slot in slots(None, 1)] == [have]


def test_gpus_are_given_out_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    shares = slots(None, None)
    assert [slot.gpu for slot in shares] == ["3", "5"]
    assert [slot.environment()["CUDA_VISIBLE_DEVICES"] for slot in shares] == ["3", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert all(slot.gpu is None for slot in slots(None, None))


def test_threads_are_pinned_to_the_slot() -> None:
    told = Slot((0, 1)).environment()
    assert told["OMP_NUM_THREADS"] == told["MKL_NUM_THREADS"] == "2"
