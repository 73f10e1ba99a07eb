"""
What the sandbox guarantees on this machine, found out by trying to break each guarantee.

Every row is a small attack, run as a candidate would be. A row holds when the attack failed; nothing is assumed
from the backend's name. With no sandbox the attacks succeed, so each must do no harm then: what it touches is in a
temporary folder made for it, and what it mounts it unmounts.
"""

import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from msgspec import Struct

from autoresearch.execute.environment import INSIDE, environment
from autoresearch.execute.keepers import Bounds, Keepers
from autoresearch.execute.machine import Slot
from autoresearch.execute.sandbox import Backend, Cell

SUCCEEDED = "the attack succeeded"
TIMEOUT_S = 20.0
DEAR = (".ssh", ".aws", ".config", ".netrc", ".gitconfig", ".bashrc", ".profile", ".bash_history")


class Guarantee(Struct, frozen=True):
    """One promise, and whether it held when it was tried."""

    promise: str
    holds: bool


class Attack(Struct, frozen=True):
    """A shell script that prints SUCCEEDED when it gets what it must not, or changes the file `untouched`."""

    promise: str
    script: str
    untouched: Path | None = None


def tried(sandbox: Backend, keepers: Keepers) -> list[Guarantee]:
    """Try every guarantee of this sandbox, here and now. Takes about a twentieth of a second a row."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autoresearch-check-")))
        listener = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        for name in ("tree", "out", "held"):
            (place / name).mkdir()
        (place / "held" / "answers.txt").write_text("the answers\n")
        (place / "events.jsonl").write_text("what happened\n")
        token = secrets.token_hex(8)
        os.environ["PROBE_TOKEN"] = token
        stack.callback(os.environ.pop, "PROBE_TOKEN", None)
        attacks = list(_attacks(place, listener.getsockname()[1]))
        return [Guarantee(a.promise, _holds(a, sandbox, keepers, place)) for a in attacks] + [
            Guarantee("what a run starts ends with it, also when it detaches", _ends(sandbox, keepers, place))
        ]


def _attacks(place: Path, port: int) -> Iterator[Attack]:
    got = f"echo {SUCCEEDED}"
    python = "python3 -I -c"
    reach = f"import socket; socket.create_connection(('127.0.0.1', {port}), 3)"
    find = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 53))"
    yield Attack("no network: not even this machine's own ports", f'{python} "{reach}" && {got}')
    yield Attack("no way out for datagrams and name look-ups", f'{python} "{find}" && {got}')
    yield Attack("held data cannot be read", f"cat {place}/held/answers.txt && {got}")
    journal = place / "events.jsonl"
    yield Attack("the log cannot be read", f"grep happened {journal} && {got}")
    yield Attack("the log cannot be written", f"echo more >> {journal}; echo more > {journal}", untouched=journal)
    yield Attack("the candidate's own tree cannot be written", f"touch {place}/tree/new && {got}")
    dear = " ".join(f"{Path.home()}/{name}" for name in DEAR if (Path.home() / name).exists())
    yield Attack("your home cannot be seen", f"for f in {dear} {place}/held; do test -e $f && {got}; done")
    yield Attack("password files cannot be read", f"cat /etc/shadow && {got}")
    yield Attack("your environment is not passed on", f'test -n "$PROBE_TOKEN" && {got}')
    yield Attack(
        "other processes cannot be seen",
        f"test -d /proc/{os.getpid()}/fd && grep -q . /proc/{os.getpid()}/cmdline && {got}",
    )
    yield Attack("other processes cannot be signalled", f"kill -0 {os.getpid()} && {got}")
    setting = "import os; os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)"  # opened, nothing is written
    yield Attack("no setting of the kernel can be changed", f'{python} "{setting}" && {got}')
    mounted = f"{place}/out/mounted"
    mount = f"mkdir {mounted} && mount -t tmpfs none {mounted} && {got}; umount {mounted}"
    yield Attack("no file system can be mounted", mount)


def _holds(attack: Attack, sandbox: Backend, keepers: Keepers, place: Path) -> bool:
    before = attack.untouched.read_bytes() if attack.untouched else b""
    printed = _run(attack.script, sandbox, keepers, place)
    return SUCCEEDED not in printed and (attack.untouched is None or attack.untouched.read_bytes() == before)


def _run(script: str, sandbox: Backend, keepers: Keepers, place: Path) -> str:
    """What a script printed that ran as a candidate would."""
    cell = Cell(cwd=place / "tree", read=(place / "tree",), write=(place / "out",), processes=64, disk_mb=64)
    out = place / "printed.txt"
    keepers.run(
        sandbox.wrap(["sh", "-c", script], cell),
        cwd=cell.cwd,
        env=environment(Slot(), {}) | (INSIDE if sandbox.wraps else {}),
        out=out,
        err=place / "errors.txt",
        timeout_s=TIMEOUT_S,
        bounds=Bounds(processes=64, disk_mb=64, paths=cell.write),
    )
    return out.read_text(errors="replace")


def _ends(sandbox: Backend, keepers: Keepers, place: Path) -> bool:
    """A process that detached and ignores signals writes on for as long as it lives."""
    beat = place / "out" / "beat"
    stubborn = f"trap '' TERM HUP INT; while :; do date +%N > {beat}; sleep 0.02; done"
    _run(f'setsid sh -c "{stubborn}" >/dev/null 2>&1 & sleep 0.2', sandbox, keepers, place)
    if not beat.exists():
        return False  # it never began, so nothing was found out
    before = beat.read_text()  # empty if it was ended between opening and writing
    time.sleep(0.15)
    return before == beat.read_text() and shutil.which("setsid") is not None
