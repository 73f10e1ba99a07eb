"""A node's ideas for the night: constants of settings.py to set, one after another, on whatever is best by then."""

import re
from collections.abc import Sequence

from autoresearch.errors import NothingLeft, ProposerError
from autoresearch.propose import Tree
from autoresearch.report.brief import Brief
from autoresearch.trial import Limits, Proposal

FILE = "settings.py"


class Ideas:
    """Each pair of a constant and the Python text of a value is proposed once, in order."""

    def __init__(self, ideas: Sequence[tuple[str, str]]) -> None:
        self.ideas = list(ideas)

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        """
        Raises:
            NothingLeft: all were proposed.
            ProposerError: the next one is what it is already.
        """
        if not self.ideas:
            raise NothingLeft("all its ideas were tried")
        name, value = self.ideas.pop(0)
        text = (tree.path / FILE).read_text()
        edited, found = re.subn(rf"^({name} = )(\S+|\"[^\"]*\")", rf"\g<1>{value}", text, count=1, flags=re.MULTILINE)
        if not found or edited == text:
            raise ProposerError(f"{name} is {value} already")
        (tree.path / FILE).write_text(edited)
        return Proposal(f"set {name} to {value}", "ideas")
