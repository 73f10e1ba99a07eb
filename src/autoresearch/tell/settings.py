"""
The table [tell] of study.toml: who is told of what, and when not; and where a running study is mirrored.

Knows no network. An address that begins with $ is the name of a variable, so that secrets need not be in a file that
git tracks.
"""

import datetime
import os
import re
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from autoresearch.errors import StudyError

Occasion = Literal["best", "finished", "stuck", "budget", "error"]
MIRRORS = ("mlflow", "wandb")
_QUIET = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_VARIABLE = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")


class Tell(Struct, frozen=True, forbid_unknown_fields=True):
    """
    `to` are Apprise addresses or, with a $, variables that hold one. `stuck_after` so many trials without a keep;
    in the hours `quiet` messages are held back and sent as one afterwards. `mirror` is a tracker and its place.
    """

    to: list[str] = []
    on: list[Occasion] = field(default_factory=lambda: ["best", "finished", "stuck", "budget", "error"])
    stuck_after: int = 30
    quiet: str | None = None
    mirror: str | None = None

    def __post_init__(self) -> None:
        if self.stuck_after < 1:
            raise ValueError("stuck_after must be positive: so many trials without a keep")
        if self.quiet is not None and not _QUIET.fullmatch(self.quiet):
            raise ValueError(f"quiet {self.quiet!r} must be two times of the day, like '22:00-07:00'")
        for address in self.to:
            if address.startswith("$") and not _VARIABLE.fullmatch(address):
                raise ValueError("to has an entry that begins with $ and is no name of a variable, like $PHONE")
            if not address.startswith("$") and "://" not in address:
                raise ValueError("to has an entry that is no address, like json://localhost:8080, and no $VARIABLE")
        if self.mirror is not None:
            kind, _, place = self.mirror.partition(":")
            if kind not in MIRRORS or not place:
                raise ValueError("mirror must be 'mlflow:ADDRESS' or 'wandb:FOLDER'")

    def is_quiet(self, now: datetime.datetime) -> bool:
        """Whether this is in the quiet hours, by the machine's own clock."""
        if self.quiet is None or (found := _QUIET.fullmatch(self.quiet)) is None:
            return False
        start, end = (datetime.time(int(found[i]), int(found[i + 1])) for i in (1, 3))
        time = now.time()
        return start <= time < end if start <= end else time >= start or time < end

    def addresses(self, env: Mapping[str, str] = os.environ) -> list[str]:
        """
        The addresses themselves.

        Raises:
            StudyError: a variable is not set; the message names it.
        """
        found = []
        for address in self.to:
            if not address.startswith("$"):
                found.append(address)
            elif value := env.get(address[1:], "").strip():
                found.append(value)
            else:
                raise StudyError(
                    f"study.toml: tell.to names {address}, which is not set; set it, or take the entry out"
                )
        return found
