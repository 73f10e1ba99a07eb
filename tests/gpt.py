"""The gpt template's frozen files, for tests: with other settings, as modules or as the programs they are."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import autoresearch

TEMPLATE = Path(autoresearch.__file__).parent / "templates" / "gpt"
FROZEN = [path for path in sorted(TEMPLATE.glob("*.py")) if path.name != "train.py"]


def copy(folder: Path, **settings: object) -> Path:
    """The template's frozen code in `folder`, with other values for its constants; by default for a few short texts."""
    folder.mkdir(parents=True, exist_ok=True)
    waiting = {"TOKENS": "bytes", "PACKING": "stream"} | settings
    for path in FROZEN:
        (folder / path.name).write_text(with_constants(path.read_text(), waiting))
    assert not waiting, f"no such constants: {list(waiting)}"
    return folder


def with_constants(text: str, waiting: dict[str, object]) -> str:
    """A file with those of the constants that it has; what is set waits no longer."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        constant = line.partition(" = ")[0]
        if constant in waiting:
            lines[i] = f"{constant} = {waiting.pop(constant)!r}"
    return "\n".join(lines) + "\n"


def module(folder: Path, name: str, **settings: object) -> Any:
    """One of the frozen files with these settings, imported; every call gives a module of its own."""
    copy(folder, **settings)
    sys.path.insert(0, str(folder))
    try:
        loaded = load(folder, name)
    finally:
        sys.path.remove(str(folder))
        for path in FROZEN:
            sys.modules.pop(path.stem, None)
    return loaded


def load(folder: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def folders(folder: Path) -> dict[str, str]:
    """What prepare.py and score.py are told, with a home of its own."""
    names = {"AUTORESEARCH_DATA": "open", "AUTORESEARCH_HELD": "held", "AUTORESEARCH_SEALED": "sealed", "HOME": "home"}
    return {variable: str(folder / name) for variable, name in names.items()}


def run(folder: Path, *argv: str, **told: str) -> subprocess.CompletedProcess[str]:
    env: Mapping[str, str] = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **folders(folder), **told}
    return subprocess.run(
        [sys.executable, *argv], check=False, cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )


def texts(folder: Path, documents: Mapping[str, str | bytes]) -> str:
    """Documents as files in `folder`/texts; returns the CORPUS that means them."""
    for name, content in documents.items():
        path = folder / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return f"files:{folder / 'texts'}"
