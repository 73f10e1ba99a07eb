"""
What a person asks of a study while it runs: files in `.autoresearch/inbox`, taken up before the next trial.

One process writes the log, so a command in another terminal leaves its wish here. Knows files, decides nothing.
"""

import re
from pathlib import Path

_ACCEPT = re.compile(r"accept-(\d{1,9})")


class Inbox:
    """`home` is the study's `.autoresearch` folder."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "inbox"

    def ask_to_accept(self, trial: int) -> None:
        """Leave the wish that a suspect trial be accepted."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"accept-{trial}").touch()

    def accepted(self) -> list[int]:
        """The trials that a person wants accepted; each is asked for until `done`."""
        if not self.folder.is_dir():
            return []
        return [int(match[1]) for path in sorted(self.folder.iterdir()) if (match := _ACCEPT.fullmatch(path.name))]

    def done(self, trial: int) -> None:
        (self.folder / f"accept-{trial}").unlink(missing_ok=True)
