"""
Rows that stay at the bottom of a terminal while lines scroll above them.

Each change is one write, of the changed rows alone, with line wrap off and, where the terminal can, as one frame: so
nothing flickers, and a character that is wider than we think moves nothing. Knows rows and a terminal; does not know
what they say.
"""

import contextlib
import os
from collections.abc import Sequence

from rich.console import COLOR_SYSTEMS, Console
from rich.segment import Segment
from rich.text import Text

BEGIN, END = "\x1b[?2026h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?2026l"  # one frame, no cursor, no wrap; and back
CURSOR = "\x1b[?25h"
# The whole line, before it is written: cleared from the middle, tmux takes it for as long as before when it wraps anew.
CLEAR_LINE, CLEAR_BELOW = "\x1b[2K", "\x1b[J"


class Pinned:
    """One thread draws. Between two draws the cursor is at the start of the last row."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._drawn: list[str] = []
        self._cells: list[int] = []
        self._width = 0

    def size(self) -> tuple[int, int]:
        """Width and height in cells, now: COLUMNS, which the console believes in, does not follow a resize."""
        try:
            found = os.get_terminal_size(self.console.file.fileno())
        except (OSError, ValueError):
            return self.console.width, self.console.height
        return found.columns, found.lines

    def draw(self, above: Sequence[Text], rows: Sequence[Text]) -> None:
        """Print `above` for good, then the rows in place of those before. Each fits the terminal's width."""
        width, _ = self.size()
        lines = [self._ansi(row) for row in rows]
        resized = width != self._width
        if not above and not resized and len(lines) == len(self._drawn):
            out = self._changed(lines)
        else:
            start = "\r" + _up(self._height_above(width)) + (CLEAR_BELOW if resized else "")
            body = "\r\n".join(CLEAR_LINE + line for line in [*map(self._ansi, above), *lines])
            out = f"{start}{body}{CLEAR_BELOW}\r"
            if above and not lines:
                out = f"{start}{body}\r\n{CLEAR_BELOW}"
        self._drawn, self._cells, self._width = lines, [row.cell_len for row in rows], width
        if out:
            self._write(BEGIN + out + END)

    def close(self, above: Sequence[Text] = ()) -> None:
        """Print what is left, take the rows away and give the cursor back."""
        self.draw(above, [])
        self._write(CURSOR)

    def _changed(self, lines: list[str]) -> str:
        """From the last row up to the first that changed, and down again."""
        first = next((i for i, (new, old) in enumerate(zip(lines, self._drawn, strict=True)) if new != old), None)
        if first is None:
            return ""
        parts = [
            "" if new == old else CLEAR_LINE + new for new, old in list(zip(lines, self._drawn, strict=True))[first:]
        ]
        return "\r" + _up(len(lines) - 1 - first) + "\r\n".join(parts) + "\r"

    def _height_above(self, width: int) -> int:
        """Rows of the terminal between the first of ours and the last: in a narrower one, ours have been wrapped."""
        return sum(max(1, -(-cells // width)) for cells in self._cells[:-1])

    def _ansi(self, row: Text) -> str:
        segments = list(row.render(self.console))
        if self.console.no_color:
            segments = list(Segment.remove_color(segments))
        system = COLOR_SYSTEMS.get(self.console.color_system or "")
        return "".join(s.style.render(s.text, color_system=system) if s.style else s.text for s in segments)

    def _write(self, out: str) -> None:
        encoding = self.console.encoding or "utf-8"
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone: the study is not
            self.console.file.write(out.encode(encoding, "replace").decode(encoding))
            self.console.file.flush()


def _up(rows: int) -> str:
    return f"\x1b[{rows}A" if rows else ""
