"""
What a run takes along to another machine, and what it brings back: the same for every cluster.

Knows folders and parcels. Does not know how they travel.
"""

import os
import tarfile
from pathlib import Path

import autoresearch
from autoresearch.errors import StudyError
from autoresearch.execute import Hopeless
from autoresearch.execute.far import LEFT_OUT, Back, Job, Share, Sight
from autoresearch.execute.guarantees import Guarantee
from autoresearch.execute.parcel import Parcel, pack, unpack
from autoresearch.files import remove
from autoresearch.study import Study
from autoresearch.trial import Measurement, Run


def packed_referee(home: Path, referee: Path) -> Parcel:
    """The whole worktree of frozen code, of which `referee` is the study's folder."""
    trees = home / "trees"
    return pack(trees / referee.relative_to(trees).parts[0], links=True)


def packed(
    home: Path,
    share: Share,
    referee: Parcel,
    data: str,
    run: Run,
    tree: Path,
    study: Study,
    usual: Measurement | None,
    hopeless: Hopeless | None,
) -> tuple[Job, list[Parcel]]:
    """A run as it travels: what to do, and the parcels that it names. `data` is the identity of the prepared data."""
    trees = home / "trees"
    name, *prefix = tree.relative_to(trees).parts
    parcels = [pack(trees / name, links=True), referee]
    job = Job(
        study=study,
        run=run,
        share=share,
        name=study.name,
        tree=parcels[0].key,
        referee=parcels[1].key,
        prefix="/".join(prefix),
        data=data,
        env={name: os.environ[name] for name in study.execute.env if name in os.environ},
        usual=usual,
        hopeless=hopeless,
    )
    return job, parcels


def received(home: Path, run: Run, back: Back, node: str) -> Measurement:
    """
    Put logs and artifacts where they belong.

    Raises:
        StudyError: a node cannot do what the study asks for.
    """
    if back.measurement is None:
        raise StudyError(f"on node {node}: {back.problem}")
    folder = home / "runs" / str(run.id)
    remove(folder)  # of an attempt that was lost
    unpack(back.logs.data, folder)
    left = f"{back.out.left_out / (1 << 20):.0f} MB of artifacts" if back.out.left_out else ""
    try:
        unpack(back.out.data, folder / "out")
    except (tarfile.TarError, OSError, ValueError) as error:  # a candidate may choose names that fit nowhere else
        left = f"some artifacts ({type(error).__name__})"
    if left:
        (folder / LEFT_OUT).write_text(f"{left} were not brought back from {node}\n")
    return back.measurement


def tried_there(found: tuple[str, list[Guarantee]] | str, node: str) -> tuple[str, list[Guarantee]]:
    """
    What far.try_sandbox said on a node, with the node's name.

    Raises:
        StudyError: it lacks the sandbox that was asked for.
    """
    if isinstance(found, str):
        raise StudyError(f"on node {node}: {found}")
    name, guarantees = found
    return f"{name} on {node}", guarantees


def check_version(sight: Sight, node: str) -> None:
    """
    Raises:
        StudyError: another version of autoresearch is there.
    """
    if sight.version != autoresearch.__version__:
        raise StudyError(
            f"{node} has autoresearch {sight.version}, and here is {autoresearch.__version__}: "
            "runs would not be measured alike; install the same there"
        )
