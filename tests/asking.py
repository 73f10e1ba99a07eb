"""Requests to a page that a test serves, as a browser would send them; and a GPU for it to tell of."""

import http.client
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoresearch.web import serve


def ask(
    page: "serve.Serving", path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        content = answer.read()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, told, json.loads(content) if told.get("content-type") == "application/json" else content
    finally:
        connection.close()


def wish(page: "serve.Serving", name: str, body: bytes = b"{}", below: str = "/", **headers: str) -> tuple[int, Any]:
    """A POST as the page itself sends it, but for the headers that are given; `below` is where the page lies."""
    usual = {
        "origin": page.address.rstrip("/"),
        "authorization": f"Bearer {page.secret}",
        "content_type": "application/json",
    }
    status, _, said = ask(page, f"{below}api/{name}", "POST", body, **{k: v for k, v in (usual | headers).items() if v})
    return status, said


def nvidia_smi(folder: Path, script: str) -> str:
    """A program in the place of nvidia-smi; the PATH that finds it first."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}")
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def cards(folder: Path, count: int) -> dict[str, str]:
    """The environment of a machine that says it has so many cards of one kind, with a slot on each."""
    listed = "".join(f"GPU {i}: Card (UUID: GPU-{i})\\n" for i in range(count))
    folder.mkdir(parents=True, exist_ok=True)
    smi = f'case "$1" in -L) printf "{listed}";; --query-gpu=name) echo Card;; *) exit 9;; esac\n'
    return {"PATH": nvidia_smi(folder, smi), "CUDA_VISIBLE_DEVICES": ",".join(map(str, range(count)))}
