"""
Proposals from a list: for tests, for replays, and for a person with a plan.

A script is a JSONL file. Each line is one proposal: an idea, and the files it writes (null deletes one).

    {"idea": "double the batch", "files": {"train.py": "BATCH = 64\\n"}}
"""

import threading
from pathlib import Path

import msgspec
from msgspec import Struct

from autoresearch.errors import NothingLeft, StudyError
from autoresearch.propose import Tree
from autoresearch.propose.making import Given
from autoresearch.report.brief import Brief
from autoresearch.trial import Limits, Proposal


class Step(Struct, frozen=True, forbid_unknown_fields=True):
    """One proposal: file contents by path, relative to the study's folder."""

    idea: str
    files: dict[str, str | None]


def make(given: Given) -> "Script":
    """
    Raises:
        StudyError: `propose.script` cannot be read.
    """
    return Script.read(given.folder / str(given.study.propose.script))


class Script:
    """Each step is proposed once, in order; which ones were is read from the history, so a script survives a crash."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps
        self._lock = threading.Lock()
        self._taken: set[int] = set()

    @classmethod
    def read(cls, path: Path) -> "Script":
        """
        Raises:
            StudyError: the file is missing, or a line of it is not a proposal.
        """
        try:
            return cls(msgspec.json.Decoder(Step).decode_lines(path.read_bytes()))
        except OSError as error:
            raise StudyError(f"study.toml: propose.script: {path}: {error.strerror}") from None
        except msgspec.MsgspecError as error:
            raise StudyError(f"{path}: not a script of proposals: {error}; docs/study.md shows the shape") from None

    def propose(self, tree: Tree, brief: Brief, limits: Limits) -> Proposal:
        index = self._next(brief)
        step = self.steps[index]
        for name, content in step.files.items():
            path = tree.path / name
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
        return Proposal(step.idea, "script", {"step": index})

    def _next(self, brief: Brief) -> int:
        with self._lock:
            done = {trial.memo["step"] for trial in brief.trials if trial.by == "script"}
            left = (i for i in range(len(self.steps)) if i not in done and i not in self._taken)
            index = next(left, None)
            if index is None:
                raise NothingLeft("the script has no further proposal")
            self._taken.add(index)
            return index
