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


def copy(folder: Path, **settings: object) -> Path:
    """The template's code in `folder`, with other values for constants of prepare.py, score.py or download.py."""
    folder.mkdir(parents=True, exist_ok=True)
    waiting = dict(settings)
    for name in ("prepare.py", "score.py", "download.py"):
        lines = (TEMPLATE / name).read_text().splitlines()
        for i, line in enumerate(lines):
            constant = line.partition(" = ")[0]
            if constant in waiting:
                lines[i] = f"{constant} = {waiting.pop(constant)!r}"
        (folder / name).write_text("\n".join(lines) + "\n")
    assert not waiting, f"no such constants: {list(waiting)}"
    return folder


def module(folder: Path, name: str, **settings: object) -> Any:
    """prepare.py or download.py with these settings, imported; every call gives a module of its own."""
    copy(folder, **settings)
    sys.path.insert(0, str(folder))
    try:
        loaded = load(folder, name)
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("download", None)
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
