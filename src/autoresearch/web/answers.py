"""
How the page's server answers: JSON, a sentence, a file of ours; and who is not answered at all.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from autoresearch.web import rows

STATIC = Path(__file__).parent / "static"


def same_site(request: Request) -> None:
    """A browser says where a request comes from; another site's is refused even where it could not read the answer."""
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise HTTPException(403)


def as_json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, {"cache-control": "no-store"}, media_type="application/json")


def say(status: int, words: str) -> Response:
    return as_json(msgspec.json.encode({"said": rows.clean(words, 1000)}), status)


def file(name: str, kind: str, more: Mapping[str, str] | None = None) -> Callable[[Request], Response]:
    """A file of ours; `more` are headers in the place of the usual."""
    content, headers = (STATIC / name).read_bytes(), {"cache-control": "no-cache", **(more or {})}

    def answer(_: Request) -> Response:
        return Response(content, 200, headers, media_type=kind)

    return answer
