"""A file is there whole or not at all."""

import stat
from pathlib import Path

import pytest

from autoresearch import files


def test_a_file_takes_the_place_of_what_was_there_with_the_rights_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    files.put(path, b"one", 0o600)
    files.put(path, b"two", 0o600)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_where_it_cannot_be_there_all_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    (path / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        files.put(path, b"text")
    assert list(tmp_path.iterdir()) == [path]
