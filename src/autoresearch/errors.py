"""
What can go wrong, as a tree. Each message says what to do next.

    AutoresearchError          printed without a traceback; exit code 2
    ├── StudyError             study.toml, or a file it names, is not usable
    ├── WorkspaceError         git refused, or the repository is not in a usable state
    ├── LogError               the journal cannot be read or written
    │   └── Busy               another process is running this study
    ├── ProposerError          a proposer could not make a change (the trial is rejected, the loop goes on)
    ├── NothingLeft            a proposer has no further idea (the study ends when running trials are done)
    ├── BaselineError          the unchanged code cannot be measured, so nothing can be compared with it
    ├── Stopped                a run was ended from outside; nothing is known of the candidate
    ├── LeftRunning            a run goes on elsewhere while this session ends; the next one takes it up
    ├── KindLost               machines of another kind than the study's own are gone (the trial goes on without them)
    ├── SandboxError           the sandbox that was asked for does not work here
    └── MissingExtra           an optional package is needed for this command

Anything else is a defect of ours and keeps its traceback.
"""


class AutoresearchError(Exception):
    """Base of everything a user can put right."""


class StudyError(AutoresearchError):
    """study.toml, or a file it names, is not usable."""


class WorkspaceError(AutoresearchError):
    """git refused, or the repository is not in a usable state."""


class LogError(AutoresearchError):
    """The journal cannot be read or written."""


class Busy(LogError):
    """Another process is running this study."""


class ProposerError(AutoresearchError):
    """A proposer could not make a change. It tried for `took_s` wall seconds."""

    took_s: float = 0.0


class NothingLeft(AutoresearchError):
    """A proposer has no further idea."""


class BaselineError(AutoresearchError):
    """The unchanged code cannot be measured."""


class Stopped(AutoresearchError):
    """A run was ended from outside."""


class LeftRunning(AutoresearchError):
    """A run goes on elsewhere while this session ends."""


class KindLost(AutoresearchError):
    """Machines of another kind than the study's own are gone."""


class SandboxError(AutoresearchError):
    """The sandbox that was asked for does not work here."""


class MissingExtra(AutoresearchError):
    """An optional package is needed for this command."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'autoresearch[{extra}]'")
