"""
Makes a model's changes: on the contents of files, as pure functions, and then in a worktree.

A change that cannot be made is refused with words for the model: what was looked for, and what stands there instead.
A file outside the asset is never touched, and nothing of what a model wrote is executed; it is only parsed.
"""

import difflib
import json
import os
import stat
import threading
import tomllib
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from autoresearch.errors import ProposerError, StudyError
from autoresearch.propose import knobs
from autoresearch.propose.answers import Change, Delete, Replace, Set, Unfit, Write, plain
from autoresearch.propose.ranges import Value

LARGEST = 1_000_000  # bytes of a file; a larger one is data
LOOKED_AT = 5_000  # lines that are compared with a search text that was not found
SHOWN = 3  # places that are shown of a text that was not found, or was found too often
SHOWN_WIDTH = 200  # characters of a line that is compared or shown

Content = dict[str, bytes | None]
"""File -> its new bytes; None where it is deleted."""

_warnings = threading.Lock()  # the filters of warnings belong to all threads together


def applied(changes: Sequence[Change], files: Mapping[str, bytes], may_change: Callable[[str], bool]) -> Content:
    """
    What these changes, made one after the other, make of the files that they touch.

    `files` are those of the asset that can be read, by path relative to the study's folder.

    Raises:
        Unfit: one of them cannot be made; the message tells the model all of what is wrong.
    """
    done: Content = {}
    problems = []
    for number, change in enumerate(changes, 1):
        try:
            name, content = _made(change, {**files, **done}, may_change)
            if content is not None and len(content) > LARGEST:
                raise Unfit(f"{name} would have {len(content):,} bytes, and may have {LARGEST:,}")
            done[name] = content
        except Unfit as error:
            problems.append(f"change {number}: {error}")
    done = {name: content for name, content in done.items() if content != files.get(name)}
    problems += [broken for name, content in done.items() if (broken := _breaks(name, files.get(name), content))]
    if problems:
        raise Unfit("\n".join(problems))
    if not done:
        raise Unfit("the files are the same after these changes as before")
    return done


def _made(
    change: Change, files: Mapping[str, bytes | None], may_change: Callable[[str], bool]
) -> tuple[str, bytes | None]:
    match change:
        case Set(constant, value):
            return _set(constant, value, {name: content for name, content in files.items() if content is not None})
        case Write(file, content):
            name = _allowed(file, files, may_change)
            return name, encoded(content)
        case Delete(file):
            name = _allowed(file, files, may_change)
            _existing(name, files)
            return name, None
        case Replace(file, search, replacement):
            name = _allowed(file, files, may_change)
            return name, replaced(name, _existing(name, files), search, replacement)


def replaced(name: str, source: bytes, search: str, replacement: str) -> bytes:
    """
    The file with other text in the place of `search`, which stands in it exactly once.

    Line ends are the file's own, whichever the model wrote.

    Raises:
        Unfit: it stands there never or more than once.
    """
    try:
        text = source.decode()
    except UnicodeDecodeError:
        raise Unfit(f"{name} is not text: it can be written whole or deleted, not edited") from None
    if not search:
        raise Unfit(f"search is empty: copy the lines of {name} that you replace, or write the file whole")
    if "\r\n" in text and "\n" not in text.replace("\r\n", ""):
        search, replacement = (part.replace("\r\n", "\n").replace("\n", "\r\n") for part in (search, replacement))
    times = text.count(search)
    if times > 1 or (times == 1 and text.find(search, text.find(search) + 1) >= 0):  # "aa" stands twice in "aaa"
        raise Unfit(_ambiguous(name, text, search))
    if not times:
        raise Unfit(_missing(name, text, search))
    before, _, after = text.partition(search)
    return encoded(before + replacement + after)


def _ambiguous(name: str, text: str, search: str) -> str:
    lines: list[str] = []
    place = -1
    while len(lines) <= SHOWN and (place := text.find(search, place + 1)) >= 0:
        lines.append(str(text.count("\n", 0, place) + 1))
    more = " and more" if len(lines) > SHOWN else ""
    return (
        f"the search text stands more than once in {name}, at lines {', '.join(lines[:SHOWN])}{more}: take in lines "
        "before or after it, so that it stands there once"
    )


def _missing(name: str, text: str, search: str) -> str:
    lines = text.splitlines()[:LOOKED_AT]
    wanted = next((line for line in search.splitlines() if line.strip()), search)[:SHOWN_WIDTH]
    near = difflib.get_close_matches(wanted, [line[:SHOWN_WIDTH] for line in dict.fromkeys(lines)], SHOWN, cutoff=0.4)
    height = min(len(search.splitlines()), 8)
    shown = []
    for line in near:
        at = next(i for i, other in enumerate(lines) if other[:SHOWN_WIDTH] == line)
        shown += [f"  {i + 1}| {lines[i][:SHOWN_WIDTH]}" for i in range(at, min(at + height, len(lines)))] + ["  ..."]
    found = "\n".join(["The nearest lines there:", *shown[:-1]]) if shown else "Nothing like it stands there."
    return f"the search text does not stand in {name}; it must match to the last blank. {found}"


def _set(constant: str, value: Value, files: Mapping[str, bytes]) -> tuple[str, bytes]:
    known = {knob.key: knob for knob in constants(files)}
    knob = known.get(constant)
    if knob is None:
        alone = [other for other in known.values() if other.name == constant]
        if len(alone) != 1:
            near = difflib.get_close_matches(constant, known, 5, cutoff=0.3) or list(known)[:5]
            raise Unfit(f"there is no constant {plain(constant, 80)!r} to set; there are {', '.join(near) or 'none'}")
        knob = alone[0]
    try:
        return knob.file, knobs.write(knob.file, files[knob.file], {knob.name: like(value, knob.value, knob.key)})
    except ProposerError as error:
        raise Unfit(str(error)) from None


def constants(files: Mapping[str, bytes]) -> list[knobs.Knob]:
    """The constants of these files that may be set; none of a file with a hint that cannot be read."""
    found: list[knobs.Knob] = []
    for name, source in files.items():
        try:
            found += knobs.read(name, source)
        except StudyError:
            continue
    return found


def like(value: Value, present: Value, name: str) -> Value:
    """
    A value in the type of the present one: 1 is 1.0 for a fraction, 64.0 is 64 for a whole number.

    Raises:
        Unfit: it has no such form.
    """
    if isinstance(value, str) is not isinstance(present, str) or isinstance(value, bool) is not isinstance(
        present, bool
    ):
        raise Unfit(f"{name} is {present!r}: {plain(repr(value), 60)} is not of its kind")
    if isinstance(value, str):
        if len(value) > LARGEST // 100 or not value.isprintable():
            raise Unfit(f"{name} takes one short line of text")
        return value
    if isinstance(present, bool):
        return value
    if abs(value) > 2**63:
        raise Unfit(f"{name}: {value:g} is too large")
    if isinstance(present, int) and value != int(value):
        raise Unfit(f"{name} is a whole number: {value!r} is not")
    return int(value) if isinstance(present, int) else float(value)


# -- names and contents --------------------------------------------------------------------------------


def _allowed(written: str, files: Mapping[str, bytes | None], may_change: Callable[[str], bool]) -> str:
    """A path as the asset has it: relative, plain, and one that may change."""
    name = written.removeprefix("./")
    parts = name.split("/")
    shown = plain(repr(written), 120)
    if not name.isprintable() or not _encodes(name) or len(name) > 1000 or any(len(part) > 200 for part in parts):
        raise Unfit(f"{shown} is not the name of a file")
    if name.startswith(("/", "~")) or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise Unfit(f"{shown} must be a path relative to the study's folder, without '..'")
    if not may_change(name) or any(part.lower() == ".git" for part in parts):
        known = [file for file, content in files.items() if content is not None]
        near = difflib.get_close_matches(name, known, 3, cutoff=0.3) or known[:5]
        raise Unfit(f"{shown} may not change; these may, for example: {', '.join(near)}")
    if lies_in := [str(parent) for parent in PurePosixPath(name).parents if files.get(str(parent)) is not None]:
        raise Unfit(f"{shown} cannot be made: {lies_in[0]} is a file")
    return name


def _existing(name: str, files: Mapping[str, bytes | None]) -> bytes:
    content = files.get(name)
    if content is None:
        raise Unfit(f"there is no file {name!r} that can be read")
    return content


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def encoded(text: str) -> bytes:
    """
    Raises:
        Unfit: it has half a character, which JSON can hold and no file can.
    """
    if not _encodes(text):
        raise Unfit("the text holds characters that no file can hold (lone surrogates)")
    return text.encode()


def _breaks(name: str, before: bytes | None, after: bytes | None) -> str:
    """Why a file can no longer be read, if it could or is new; empty where all is well or nobody can tell."""
    if after is None:
        return ""
    if problem := syntax(name, after):
        was_so = before is not None and syntax(name, before)
        return "" if was_so else f"{name} does not parse after the changes: {problem}"
    try:
        knobs.read(name, after)
    except StudyError as error:  # the built-in search would stop the study at it
        return str(error)
    return ""


def syntax(name: str, content: bytes) -> str:
    """What the format's own parser has against a file, in words; empty where it has nothing, or there is no parser."""
    try:
        match knobs.language(name):
            case "python":
                with _warnings, warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # about a model's code, on a person's screen
                    compile(content.decode(), name, "exec", dont_inherit=True)
            case "toml":
                tomllib.loads(content.decode())
            case "json":
                json.loads(content)
            case "yaml":
                _read_yaml(content)
    except SyntaxError as error:
        line = f", line {error.lineno}: {error.text.strip()[:SHOWN_WIDTH]}" if error.text else ""
        return f"{error.msg}{line}"
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        return plain(str(error)) or type(error).__name__
    return ""


def _read_yaml(content: bytes) -> None:
    try:
        import yaml
    except ImportError:
        return
    try:
        for _ in yaml.parse(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            pass  # its events only: aliases are not followed, so they cannot multiply
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


# -- a worktree ----------------------------------------------------------------------------------------


def read(root: Path, names: Sequence[Path]) -> dict[str, bytes]:
    """The files of these names that are plain and not too large to be edited."""
    found = {}
    for name in names:
        path = root / name
        mode = path.lstat().st_mode if path.exists() else 0
        if stat.S_ISREG(mode) and path.stat().st_size <= LARGEST and _encodes(str(name)):
            found[name.as_posix()] = path.read_bytes()
    return found


def put(root: Path, content: Content) -> Content:
    """
    Write these files below a folder; what was there before is returned, so that it can be put back.

    Raises:
        Unfit: a link or a folder is in the way.
    """
    before: Content = {}
    for name in content:
        path = root / name
        _nothing_in_the_way(root, path)
        before[name] = path.read_bytes() if path.exists() else None
    for name, new in content.items():
        path = root / name
        try:
            if new is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(new)
        except OSError as error:
            raise ProposerError(f"{name} cannot be written: {error.strerror}") from None
    return before


def _nothing_in_the_way(root: Path, path: Path) -> None:
    """Of all that lies between the folder and the file, nothing is a link, and the file is a plain one."""
    for parent in reversed(path.relative_to(root).parents):
        if os.path.lexists(root / parent) and not stat.S_ISDIR((root / parent).lstat().st_mode):
            raise Unfit(f"{parent.as_posix()} is not a folder")
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise Unfit(f"{path.relative_to(root).as_posix()} is not a plain file")
