"""
A session in a swarm: what is told, what is heard, and the part of the trials that is for others' findings.

Where a study takes part in nothing, all of this is nothing, and none of it is imported.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from autoresearch.events import Event
from autoresearch.lab import Lab
from autoresearch.trial import Trial
from autoresearch.workspace import HOME

SWARM = "swarm"  # the folder, beside the log, of who takes part in one
SETTINGS = "swarm.toml"  # in it

if TYPE_CHECKING:
    from autoresearch.share.exchange import Share
    from autoresearch.share.node import Node


def joined(home: Path) -> bool:
    """Whether a study takes part in a swarm; `home` is its .autoresearch."""
    return (home / SWARM / SETTINGS).is_file()


@contextlib.contextmanager
def in_company(folder: Path, lab: Lab) -> Iterator[Lab]:
    """
    The same lab, in the swarm that this folder's study has joined, for as long as the session lasts.

    Raises:
        MissingExtra: the extra `swarm` is not installed.
        StudyError: what .autoresearch/swarm says cannot be used.
    """
    home = folder.resolve() / HOME
    if not (home / SWARM).is_dir():
        yield lab
        return
    from autoresearch.propose.peers import Peers, Reserved
    from autoresearch.share import settings
    from autoresearch.share.node import Node

    chosen = settings.load(home)
    if chosen is None:
        yield lab
        return

    def patch(trial: Trial) -> str:
        return lab.workspace.relative_patch(trial.base, trial.commit or trial.base)

    node = Node(home, chosen, lab.study, lab.log.state, patch, lab.tell)
    peers = Peers(node, lab.study)
    proposer = lab.proposer
    if lab.study.execute.sandbox != "none":
        proposer = Reserved(peers, lab.proposer, chosen.floor, lab.log.state, lab.log.append)
    else:
        lab.tell("others' findings are not tried here: their code is a stranger's, and execute.sandbox is \"none\"")
    hears = lab.log.listener

    def listener(event: Event) -> None:
        hears(event)
        node.event(event, lab.log.state)

    lab.log.listener = listener
    try:
        node.start(lab.executor.machine.tier, ways(node, folder.resolve(), home))
        yield replace(lab, proposer=proposer, company=node)
    finally:
        lab.log.listener = hears
        node.close()


def ways(node: "Node", folder: Path, home: Path) -> "list[Share]":
    """How others are reached, as the settings have it."""
    from autoresearch.share import settings

    chosen, study = node.settings, node.state.digest
    found: list[Share] = []
    if chosen.git:
        from autoresearch.share.bare import address
        from autoresearch.share.over_git import OverGit

        found.append(OverGit(node.exchange, settings.folder(home), address(folder, chosen.git), study))
    if chosen.listen or chosen.connect:
        from autoresearch.share.over_zenoh import LOOPBACK, OverZenoh

        listen = chosen.listen or LOOPBACK
        found.append(OverZenoh(node.exchange, study, listen, chosen.connect, wake=node.ring))
    return found
