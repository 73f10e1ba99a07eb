"""
Where a program that proposes runs: in the sandbox, with its worktree to write to and no way out but the proxy.

Shared by everything that starts somebody else's program to have ideas. Knows the contract's grants and keys; what
the program is told and what it says is its caller's.
"""

import copy
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from autoresearch.errors import ProposerError, StudyError
from autoresearch.execute.environment import INSIDE, environment
from autoresearch.execute.keepers import Bounds, Ending, Keepers
from autoresearch.execute.machine import Slot
from autoresearch.execute.proxy import Proxy, Upstream
from autoresearch.execute.sandbox import Cell, choose, system_paths
from autoresearch.files import entries
from autoresearch.hosts import Allow
from autoresearch.study import Study

BRIDGE = Path(__file__).parents[1] / "execute" / "bridge.py"
PORT = 47117  # of a loopback device that nobody else has, so any would do
# Whom to trust when a tunnel is encrypted end to end. Not all of /etc/ssl: private keys are there.
CERTIFICATES: tuple[str, ...] = ("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf")
CERTIFICATES += ("/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/ca-trust/extracted")


class ProposerCell:
    """
    One study's cell for proposing programs; every `run` has a proxy and stand-ins of its own.

    Raises (when made):
        StudyError: a key is not set, or a grant does not exist or would show the log or the repository.
        SandboxError: the sandbox that was asked for does not work here.
    """

    def __init__(self, study: Study, folder: Path, home: Path, keepers: Keepers) -> None:
        self.study, self.home, self.keepers = study, home, keepers
        asked = study.propose
        self.sandbox = choose(asked.sandbox, study.execute.image, "propose")
        dear = [folder / home.relative_to(folder).parts[0], *_repository(folder)]
        write = [_granted("write", path, folder, dear) for path in asked.write]
        read = [_granted("read", path, folder, dear) for path in asked.read]
        # What lies in a folder that it may write to could be a link to anywhere by the next proposal.
        self.write = tuple(path for path in write if not any(_lies_in(path, other) for other in write))
        seen = [*write, *map(Path, system_paths())]
        self.read = tuple(path for path in read if path not in seen and not any(_lies_in(path, s) for s in seen))
        passed = environment(Slot(), {}, [*study.execute.env, *asked.env])
        self.keys = {allow.key: _key(allow.key, passed) for allow in asked.allow if allow.key}

    def run(
        self,
        argv: list[str],
        tree: Path,
        given: Path,
        out: Path,
        err: Path,
        timeout_s: float,
        *,
        env: Mapping[str, str] = {},
        read: Sequence[Path] = (),
        on_progress: Callable[[str], object] = lambda text: None,
    ) -> Ending:
        """
        Run a program in a worktree. `tree` is the study's folder in it, `given` what it reads on standard input;
        `env` and `read` are variables and paths that this run is given beside the contract's.

        Raises:
            ProposerError: it left a repository of its own, which git outside must never look into.
        """
        if not self.sandbox.wraps:
            return self.keepers.run(
                argv,
                cwd=tree,
                env={**self._everything(), "PWD": str(tree), **env},  # some believe it rather than ask
                out=out,
                err=err,
                timeout_s=timeout_s,
                stdin=given,
                on_progress=on_progress,
            )
        top = self._top_of(tree)
        link = (top / ".git").read_bytes()
        with ExitStack() as stack:
            upstreams = self._upstreams()
            proxy = stack.enter_context(Proxy(upstreams)) if upstreams else None
            env = {**self._environment(upstreams), **env}
            cell = self._cell(top, tree, proxy, env, read)
            if proxy is not None:
                argv = [self.sandbox.python, "-I", "-S", str(BRIDGE), str(proxy.path), str(PORT), "--", *argv]
            ending = self.keepers.run(
                self.sandbox.wrap(argv, cell),
                cwd=tree,
                env=env,
                out=out,
                err=err,
                timeout_s=timeout_s,
                stdin=given,
                on_progress=on_progress,
                bounds=Bounds(processes=cell.processes, disk_mb=cell.disk_mb, paths=(top,)),
            )
        _open_up(top)
        for path in _repositories(top, link):
            raise ProposerError(f"it left a repository of its own at {path.relative_to(top).as_posix()!r}")
        return ending

    def elsewhere(self, home: Path) -> "ProposerCell":
        """The same cell for worktrees of another home: to try what it guarantees."""
        other = copy.copy(self)
        other.home = home
        return other

    def _top_of(self, tree: Path) -> Path:
        trees = self.home / "trees"
        return trees / tree.relative_to(trees).parts[0]

    def _cell(self, top: Path, tree: Path, proxy: Proxy | None, env: Mapping[str, str], more: Sequence[Path]) -> Cell:
        asked = self.study.execute
        ways_out = (BRIDGE, proxy.path, *map(Path, filter(os.path.exists, CERTIFICATES))) if proxy else ()
        return Cell(
            cwd=tree,
            read=(*self.read, *ways_out, *more),
            write=(top, *self.write),
            processes=asked.processes,
            disk_mb=asked.disk_mb,
            loopback=PORT if proxy else None,
            env=tuple(env),
        )

    def _upstreams(self) -> list[Upstream]:
        """The hosts that may be reached; each key has one stand-in, good for this run only."""
        stand_ins = {name: f"stand-in-{secrets.token_urlsafe(24)}" for name in self.keys}
        return [
            Upstream(
                allow.origin,
                by_number=allow.address is not None,
                key=self.keys[allow.key] if allow.key else None,
                name=allow.key,
                stand_in=stand_ins[allow.key] if allow.key else None,
            )
            for allow in self.study.propose.allow
        ]

    def _environment(self, upstreams: list[Upstream]) -> dict[str, str]:
        asked = self.study.propose
        env = environment(Slot(), {}, asked.env)
        env |= {name: value for name, value in INSIDE.items() if name not in asked.env}
        env |= {up.name: up.stand_in for up in upstreams if up.name and up.stand_in}
        env |= addresses(asked.allow)
        if upstreams:
            env |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), f"http://127.0.0.1:{PORT}")
            env |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1")
        return env

    def _everything(self) -> dict[str, str]:
        """The person's own environment, for a program that they let run as themselves."""
        return environment(Slot(), {}, [name for name in os.environ if not name.startswith("AUTORESEARCH_")])


def addresses(allowed: list[Allow]) -> dict[str, str]:
    """Where a proposer finds each host that has an address of ours."""
    return {allow.address: f"http://127.0.0.1:{PORT}/{i}" for i, allow in enumerate(allowed) if allow.address}


def _key(name: str, passed: dict[str, str]) -> str:
    key = os.environ.get(name, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        wrong = "holds more than one line of plain characters" if key else "is not set"
        raise StudyError(
            f"study.toml: propose.allow names the key {name}, but that variable {wrong} in your environment: "
            f"`export {name}=...` before you start, or remove `key`"
        )
    if name in passed:
        raise StudyError(
            f"study.toml: propose.allow says that {name} is a key, but it would be passed on: remove it from "
            "execute.env, or give the variable another name"
        )
    return key


def _granted(kind: str, written: str, folder: Path, dear: list[Path]) -> Path:
    path = folder / Path(written).expanduser()
    if not path.exists():
        raise StudyError(f"study.toml: propose.{kind} names {written!r}, which does not exist; make it, or remove it")
    path = path.resolve()
    for ours in dear:
        if path.is_relative_to(ours) or ours.is_relative_to(path):
            raise StudyError(f"study.toml: propose.{kind} names {written!r}, which would open {ours}; name less of it")
    return path


def _lies_in(path: Path, other: Path) -> bool:
    return path != other and path.is_relative_to(other)


def _repository(folder: Path) -> list[Path]:
    """The folders in which git keeps what this folder's repository is."""
    for top in (folder, *folder.parents):
        link = top / ".git"
        if link.is_dir():
            return [link.resolve()]
        if link.is_file():  # a worktree of the person's, or a submodule
            git_dir = (top / link.read_text().removeprefix("gitdir:").strip()).resolve()
            return [git_dir, git_dir.parent.parent] if git_dir.parent.name == "worktrees" else [git_dir]
    return []


def _open_up(top: Path) -> None:
    """
    Make every folder below a worktree readable. git passes over one that may be entered but not listed, so what
    lies in it would be there for a run and in no commit; nor can git or we remove it.
    """
    top.chmod(top.stat().st_mode | stat.S_IRWXU)
    for entry in entries(top):
        if entry.is_dir(follow_symlinks=False):  # opened before what lies in it is listed
            os.chmod(entry.path, entry.stat(follow_symlinks=False).st_mode | stat.S_IRWXU)


def _repositories(top: Path, link: bytes) -> Iterator[Path]:
    """
    What git would take for a repository below a worktree, and the worktree's own link to its repository if it is
    another than before. A `git status` in there would heed settings that name programs to start; and what lies in
    a `.git` is no part of a commit, so it would be measured without being recorded.
    """
    own = top / ".git"
    if not (own.exists() and stat.S_ISREG(own.lstat().st_mode) and own.read_bytes() == link):
        yield own
    for entry in entries(top):
        if entry.name.lower() == ".git" and entry.path != str(own):
            yield Path(entry.path)
