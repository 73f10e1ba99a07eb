"""
A study's own files, as they were committed when it began: its page, mail or ad, the brand's rules, pictures.

They are read from git, so they are there whether or not a session is, and nobody who has the folder can change what is shown by a slip. What was
read is kept, since nothing changes it.
"""

import contextlib
import functools
import posixpath
import shlex

from autoresearch.errors import StudyError, WorkspaceError
from autoresearch.git import git
from autoresearch.live import brand, pictures, render
from autoresearch.live.settings import Live
from autoresearch.live.variables import Variables
from autoresearch.wording import shown
from autoresearch.workspace import Workspace

LARGEST = 1 << 20  # bytes of a text
MOST_KEPT = 128_000_000  # bytes of what was read


class Own:
    """
    Of the study that began at `start`. Thread-safe.

    Raises:
        WorkspaceError: the repository has no such commit.
    """

    def __init__(self, workspace: Workspace, start: str, live: Live) -> None:
        self.workspace, self.start, self.live = workspace, start, live
        modes = {path: line[:3] for line, path in workspace.files(start) if path is not None}
        self._names = frozenset(path for path, mode in modes.items() if mode == "100")
        self._links = modes.keys() - self._names
        self._kept: dict[str, bytes] = {}
        self._too_large = set[str]()

    def read(self, name: str, most: int, filtered: bool = False) -> bytes | None:
        """
        A file; None where none of that name was there. `filtered`: as a checkout has it, since a large picture may be kept elsewhere.

        Raises:
            StudyError: it has more than `most` bytes, or is a link.
            WorkspaceError: git did not answer.
        """
        name = posixpath.normpath(name)
        if name in self._links:
            raise StudyError(f"{name}: is a link, and what it leads to is in no commit; commit the file itself")
        if name not in self._names:
            return None
        if (known := self._kept.get(name)) is not None:
            return known
        at = f"{self.start}:{self.workspace.prefix}{name}"
        size = 0 if name in self._too_large else int(git(self.workspace.folder, "cat-file", "-s", at))
        if name in self._too_large or size > most:
            found = None
        else:
            found = git(self.workspace.folder, "cat-file", "--filters" if filtered else "blob", at)
        if found is None or len(found) > most:
            self._too_large.add(name)
            raise StudyError(f"{name}: has more than {most:,} bytes, which is the most; make it smaller and commit it")
        if len(found) + sum(map(len, tuple(self._kept.values()))) <= MOST_KEPT:
            self._kept[name] = found
        return found

    def text(self, name: str, most: int = LARGEST) -> str | None:
        """
        The same as text.

        Raises:
            StudyError: as `read`, or it is not in UTF-8.
            WorkspaceError: as `read`.
        """
        found = self.read(name, most)
        try:
            return found.decode() if found is not None else None
        except UnicodeDecodeError as error:
            raise StudyError(f"{name}: is not in UTF-8 ({error.reason}); save it as UTF-8 and commit it") from None

    @functools.cached_property
    def template(self) -> render.Template | None:
        """
        The page, mail or ad; None where study.toml says that there is none.

        Raises:
            StudyError: it was not there, is too large, or is no template.
        """
        if not self.live.template:
            return None
        if (found := self.text(self.live.template, render.MOST_TEMPLATE)) is None:
            raise StudyError(
                f"{self.live.template} was not committed when the study began; live.template names the page, mail or ad"
            )
        return render.Template(found, self.live.template)

    @functools.cached_property
    def rules(self) -> brand.Brand | None:
        """
        The brand's; None where there are none.

        Raises:
            StudyError: they cannot be used.
        """
        found = self.text(brand.FILE)
        return brand.parse(found) if found is not None else None

    def picture(self, name: str) -> tuple[bytes, str] | None:
        """A file under static/ and its kind; None for what is not there, is too large, or of no kind that a page needs."""
        kind = pictures.kind(name)
        with contextlib.suppress(StudyError, WorkspaceError):
            if kind is not None and (found := self.read(f"static/{name}", pictures.MOST, True)) is not None:
                return found, kind
        return None

    def doubts(self, variables: Variables, rules: brand.Brand | None = None) -> tuple[str, ...]:
        """
        Where template and variables do not meet, or the rules forbid what they make, a sentence for each. What nobody would see may be meant, where a
        page of the person's own asks for decisions.

        Raises:
            StudyError: the template has names that no variable has, so that it can never be shown; or as `template`.
        """
        if self.template is None:
            return ()
        if wrong := render.unknown(self.template, variables):
            raise StudyError(f"{'; '.join(wrong[:3])}; correct and commit it")
        outcome = self.live.outcome if self.live.channel == "page" else ""
        return render.problems(self.template, variables, outcome, rules)

    def left_out(self) -> list[str]:
        """Pictures that lie in the folder and not in the commit, so that nobody would see them; a sentence for each, at most three."""
        root = self.workspace.folder
        files = (path for path in (root / "static").rglob("*") if path.is_file() and not path.is_symlink())
        there = sorted(path.relative_to(root).as_posix() for path in files)
        left = [name for name in there if pictures.kind(name.removeprefix("static/")) and name not in self._names]
        return [
            f"{shown(name)} is not in the commit that the study begins from, so nobody sees it: `git add {shown(shlex.quote(name))}` and commit it before"
            for name in left[:3]
        ]
