"""
One coding agent as one study has it: what it may reach, and the command line that starts it.

Puts what agents.py knows of it together with what study.toml says. Starts nothing.
"""

import importlib.util
import json
import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from autoresearch.agent_table import AgentTable
from autoresearch.errors import MissingExtra, StudyError
from autoresearch.execute.environment import environment, words
from autoresearch.execute.machine import Slot
from autoresearch.execute.sandbox import Backend
from autoresearch.hosts import Allow
from autoresearch.patterns import compiled
from autoresearch.propose import spoken
from autoresearch.propose.agents import AGENTS, PROVIDERS, Agent, Provider, filled, filled_in, rules
from autoresearch.propose.cell import PORT
from autoresearch.propose.installed import Installed, find
from autoresearch.proposing import Propose

CLIENT = Path(__file__).with_name("acp.py")
CONTAINERS = ("docker", "podman")
SPEAKING = ("bubblewrap", "none")  # where all speak ACP: OpenCode listens at a port, which Landlock does not let it
GRACE_S = 15.0  # before its time is up, for one that can be cancelled to say what it cost


class Errand(Struct, frozen=True):
    """What one proposal is about: the file of its task, a folder to leave files in, and what it is held to."""

    task: Path
    scratch: Path
    tree: Path
    asset: tuple[str, ...]
    files: tuple[str, ...]
    timeout_s: float
    dollars: float | None


class Start(Struct, frozen=True):
    """How a program is started: its words, variables, and paths to be seen beside the contract's."""

    argv: list[str]
    env: dict[str, str]
    read: list[Path]


class Hired(Struct, frozen=True):
    """
    `asked` is the contract's table with what this agent needs beside it; `acp`, whether it is spoken to over the
    Agent Client Protocol. `installed` is None where it cannot be looked up: in a container, and in the worktree.
    """

    name: str
    agent: Agent
    table: AgentTable
    asked: Propose
    acp: bool
    installed: Installed | None

    @property
    def known(self) -> bool:
        """Whether it is one of agents.py, and not any program."""
        return bool(self.agent.install)

    @property
    def program(self) -> str:
        return str(self.installed.program) if self.installed else _program(self.agent, self.acp)

    @property
    def is_itself(self) -> bool:
        """Whether what is started is the agent, and not an adapter to it."""
        return _program(self.agent, self.acp) == self.agent.program

    @property
    def reader(self) -> str:
        return "acp" if self.acp else self.agent.reader

    @property
    def provider(self) -> str | None:
        """The name of the provider that its model is from, as far as it can be told."""
        prefix, slash, _ = (self.table.model or "").partition("/")
        return self.agent.provider or (prefix if slash else None)

    def start(self, errand: Errand, sandbox: Backend) -> Start:
        """The command line for one proposal in this sandbox."""
        agent, values = self.agent, self._values(errand, sandbox)
        if self.known:
            parts = agent.acp[1:] if self.acp else agent.argv + (agent.inside if sandbox.wraps else agent.outside)
            last = () if self.acp else agent.last
            argv = [*filled(parts, values, errand.files), *self.table.args, *filled(last, values)]
        else:
            argv = [*(str(word).replace("{brief}", str(errand.task)) for word in agent.argv), *self.table.args]
        read = [errand.task] if any(str(errand.task) in word for word in argv) else []
        argv = [self.program, *argv]
        env = filled_in(agent.env | agent.hosts.get(self.provider or "", {}), values) | self.path()
        if values["address"] and values["key"] and not any(allow.key for allow in self.asked.allow):
            env[values["key"]] = "none"  # clients want one even where the host does not
        if self.acp:
            argv = [sandbox.python, "-I", str(CLIENT), _job(errand), *argv]
            read.append(CLIENT)
        fresh = sandbox.wraps and "HOME" not in self.asked.env
        settings = filled_in(agent.settings, values) if fresh else {}
        prints = filled_in({"": agent.prints}, values)[""] if not self.acp else ""
        return Start(_wrapped(argv, settings, prints), env, read)

    def path(self) -> dict[str, str]:
        """PATH with where its interpreter is found, if that is not where PATH says by itself."""
        more = self.installed.path if self.installed else ()
        return {"PATH": os.pathsep.join([environment(Slot(), {})["PATH"], *map(str, more)])} if more else {}

    def _values(self, errand: Errand, sandbox: Backend) -> dict[str, str | None]:
        """What the blanks of an agent's words stand for."""
        model, provider = self.table.model, PROVIDERS.get(self.provider or "")
        number = _way_to(provider, self.asked.allow) if sandbox.wraps else None
        key = self.asked.allow[number].key if number is not None else None
        return {
            "model": model,
            "bare_model": model.partition("/")[2] or model if model else None,
            "provider": self.provider,
            "sdk": provider.sdk if provider else None,
            "key": key or (provider.key if provider else None),
            "path": provider.path if provider else None,
            "address": None if number is None else f"http://127.0.0.1:{PORT}/{number}",
            "dollars": None if errand.dollars is None else f"{errand.dollars:.2f}",
            "brief": str(errand.task),
            "scratch": "/tmp" if sandbox.wraps else str(errand.scratch),
            # Over ACP too: OpenCode gives up when its question is answered with no, and goes on where a rule says so.
            "rules": rules(self.agent.program, errand.asset, asks=self.acp),
        }


def hire(name: str, asked: Propose, sandbox: Backend) -> Hired:
    """
    An agent by its name in propose.with, for this sandbox.

    Raises:
        StudyError: it is not installed, or its key or the name of its model is missing.
        MissingExtra: it is to be spoken to over ACP, and the package for that is not there.
    """
    table = next((table for table in asked.agents if table.name == name), AgentTable(name))
    agent = AGENTS.get(name) or _any_program(words(asked.command or ""))
    acp = _over_acp(agent, table, sandbox)
    program, installed = _program(agent, acp), None
    if sandbox.name not in CONTAINERS and not _in_tree(program):
        installed = find(program)
        if installed is None:
            install = agent.acp_install if acp else agent.install
            remedy = f": `{install}`" if install.startswith(("npm", "pipx")) else f": {install}" if install else ""
            raise StudyError(f"study.toml: propose.with names {name!r}, but {program} is not on PATH{remedy}")
    hired = Hired(name, agent, table, asked, acp, installed)
    if not sandbox.wraps:
        return hired
    read = [str(path) for path in installed.read] if installed else []
    return replace(hired, asked=replace(asked, read=[*asked.read, *read], allow=asked.allow or _hosts(hired)))


def _any_program(command: Sequence[str]) -> Agent:
    """`with = ["agent"]`: nothing but {brief} is a blank in its words."""
    return Agent(program=command[0], install="", reader="plain", argv=tuple(command[1:]), acp=tuple(command))


def _program(agent: Agent, acp: bool) -> str:
    return str(agent.acp[0]) if acp else agent.program


def _in_tree(program: str) -> bool:
    """Whether a program is named by a path from the worktree."""
    return "/" in program and not Path(program).is_absolute()


def _over_acp(agent: Agent, table: AgentTable, sandbox: Backend) -> bool:
    there = importlib.util.find_spec("acp") is not None
    if table.acp is None:
        return agent.acp_tells_cost and there and sandbox.name in SPEAKING and not table.args
    if table.acp and not agent.acp:
        raise StudyError(f"study.toml: propose.agents.acp: {table.name} does not speak the Agent Client Protocol")
    if table.acp and not there:
        raise MissingExtra("agent-client-protocol", "acp", f"study.toml: propose.agents.acp for {table.name}")
    return table.acp


def _hosts(hired: Hired) -> list[Allow]:
    """The one host that an agent needs, where study.toml names none."""
    if not hired.known:
        return []
    led = hired.agent.hosts
    if led and hired.provider in PROVIDERS and hired.provider not in led:
        raise StudyError(
            f"study.toml: {hired.name} cannot be led to a host of ours for {hired.provider}: take a model of "
            f"{', '.join(led)}, or name its hosts in propose.allow without an address"
        )
    provider = PROVIDERS.get(hired.provider or "")
    if provider is None or provider.host is None:
        known = ", ".join(f"{name}/..." for name, found in PROVIDERS.items() if found.host)
        raise StudyError(
            f"study.toml: {hired.name} works with many models, so it is not known which host it has to reach: name its "
            f'model ({known}) in a table [[propose.agents]] with name = "{hired.name}", or the host in propose.allow'
        )
    if not os.environ.get(provider.key, "").strip():
        raise StudyError(
            f"study.toml: {hired.name} needs {provider.key}, the key for {provider.host}, and it is not set in your "
            f"environment: `export {provider.key}=...` before you start, or grant it a login of its own, as "
            "docs/proposers.md shows"
        )
    return [Allow(provider.host, provider.key, provider.address)]


def _way_to(provider: Provider | None, allowed: list[Allow]) -> int | None:
    """Which of the allowed hosts has the model: the one with the provider's variable, else the first with an address."""
    ours = [i for i, allow in enumerate(allowed) if allow.address]
    by_name = [i for i in ours if provider and provider.address == allowed[i].address]
    return next(iter(by_name + ours), None)


def _job(errand: Errand) -> str:
    """What our client of the Agent Client Protocol is told; see acp.py."""
    return json.dumps(
        {
            "cwd": str(errand.tree),
            "may_change": [compiled(glob).pattern for glob in errand.asset],
            "until": time.time() + errand.timeout_s,
            "grace_s": min(GRACE_S, errand.timeout_s / 3),
            "dollars": errand.dollars,
        }
    )


def _wrapped(argv: list[str], settings: dict[str, str], prints: str) -> list[str]:
    """The command with what is laid into its home before and printed after it; as it is where there is neither."""
    steps = []
    for name, text in settings.items():
        path = f'"$HOME"/{shlex.quote(name)}'
        steps.append(f'mkdir -p "$(dirname {path})" && printf %s {shlex.quote(text)} > {path}')
    if not (steps or prints):
        return argv
    steps.append('"$@"; code=$?')
    if prints:
        steps.append(f"echo; echo '{spoken.MARK}'; cat {shlex.quote(prints)} 2>/dev/null")
    return ["sh", "-c", "\n".join([*steps, "exit $code"]), "sh", *argv]
