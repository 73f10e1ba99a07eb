"""Who has the ideas: the table [propose] of study.toml, typed."""

import typing

from msgspec import Struct, field

from autoresearch.agent_table import AgentTable
from autoresearch.agent_table import check as check_agents
from autoresearch.hosts import Allow
from autoresearch.models import ChangeKind, Price
from autoresearch.models import check as check_models
from autoresearch.values import check_command, check_positive, check_sandbox


class Propose(Struct, frozen=True, forbid_unknown_fields=True):
    """
    Who has the ideas, and what a program that has them may see: `read` and `write` are paths beside the worktree,
    `env` the person's variables that it is given, `allow` the hosts that it reaches through our proxy.

    For `llm`: `model` is asked, as "provider:name", and each of `fallback` where those before it cannot be had, at
    `address` where it is not the provider's own. `key` names the variable that holds the key. One call asks for so
    many `ideas`, which are made of these kinds of `changes`, and so often again for `repairs`; rate limits are waited
    out for `patience_hours`.

    `agents` say more of coding agents that `with` names; one proposal may cost `dollars_each`.
    """

    with_: list[str] = field(default_factory=lambda: ["search"], name="with")
    command: str | list[str] | None = None
    script: str | None = None
    timeout_s: float = 600.0
    sandbox: str = "auto"
    read: list[str] = []
    write: list[str] = []
    env: list[str] = []
    allow: list[Allow] = []
    model: str | None = None
    fallback: list[str] = []
    address: str | None = None
    key: str | None = None
    price: Price | None = None
    ideas: int = 1
    changes: list[ChangeKind] = field(default_factory=lambda: list(typing.get_args(ChangeKind)))
    repairs: int = 2
    answer_tokens: int = 16_384
    patience_hours: float = 6.0
    agents: list[AgentTable] = []
    dollars_each: float | None = None

    def __post_init__(self) -> None:
        if not self.with_ or not all(self.with_) or len(set(self.with_)) < len(self.with_):
            raise ValueError('with must name one proposer or several, each once, like ["search"]')
        for name in {"command", "agent"} & set(self.with_):
            if not self.command:
                raise ValueError(f'with = ["{name}"] needs a key `command`, the program that edits the files')
        if "script" in self.with_ and not self.script:
            raise ValueError('with = ["script"] needs a key `script`, a file of proposals')
        check_positive(self, "timeout_s", "ideas", "answer_tokens", "patience_hours", "dollars_each")
        check_command("command", self.command)
        check_models(filter(None, [self.model, *self.fallback]), self.address, self.key)
        if self.fallback and not self.model:
            raise ValueError("fallback needs a key `model`, the one that is asked first")
        if not self.changes or len(set(self.changes)) < len(self.changes):
            raise ValueError('changes must name one or more kinds, each once, like ["set", "replace"]')
        if self.ideas > 20 or not 0 <= self.repairs <= 20:
            raise ValueError("ideas must be 1 to 20, repairs 0 to 20")
        check_agents(self.agents, self.with_)
        check_sandbox(self.sandbox)
        if self.sandbox == "none" and self.allow:
            raise ValueError('allow has no effect with sandbox = "none": remove one of the two')
        keys, addresses = ({getattr(allow, name) for allow in self.allow} - {None} for name in ("key", "address"))
        if clash := (keys & {*self.env, *addresses}) | (addresses & set(self.env)):
            raise ValueError(
                f"allow and env both name {min(clash)}: a key is not passed on, and an address is ours to give"
            )
        if len(addresses) < sum(allow.address is not None for allow in self.allow):
            raise ValueError("allow names the same `address` for two hosts: each needs a variable of its own")
