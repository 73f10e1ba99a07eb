"""What the contract says of one coding agent. Knows no command line; what each agent takes is in propose/agents.py."""

from msgspec import Struct


class AgentTable(Struct, frozen=True, forbid_unknown_fields=True):
    """
    One agent of `propose.with`, by its `name` there. `model` is what it is told to use, in its own spelling; `args`
    are put behind our own on its command line. `acp`: speak the Agent Client Protocol with it, or not; by default
    where the agent tells over it what it costs, the extra is installed, and there are no `args`.
    """

    name: str
    model: str | None = None
    args: list[str] = []
    acp: bool | None = None

    def __post_init__(self) -> None:
        for what, words in (("model", [self.model]), ("args", self.args)):
            if any(word is not None and (not word.strip() or not word.isprintable()) for word in words):
                raise ValueError(f"{what} must hold plain words, on one line and not empty")
        if self.model is not None and self.model.startswith("-"):
            raise ValueError(f"model {self.model!r} would be taken for an option")


def check(tables: list[AgentTable], named: list[str]) -> None:
    """
    Raises:
        ValueError: a table is of no agent that `propose.with` names, or there are two of one.
    """
    names = [table.name for table in tables]
    if lost := [name for name in names if name not in named]:
        raise ValueError(f"agents names {lost[0]!r}, which `with` does not: add it there, or remove the table")
    if len(set(names)) < len(names):
        raise ValueError("agents has two tables of the same name: put them together")
