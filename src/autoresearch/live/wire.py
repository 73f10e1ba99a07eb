"""
What is said over HTTP, as records: strict, bounded, and the source of /openapi.json.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from autoresearch.live.proof import Proof
from autoresearch.live.visitors import Daytime, Device, Language, Source

MOST_BODY = 8192  # bytes, of all but a webhook
MOST_HOOK = 1 << 20

Id = Annotated[
    str,
    Meta(
        pattern=r"^[!-~]{1,128}$",
        description="Whom it is about: an id of yours, or the one that /decide gave. Only a salted hash of it is kept.",
    ),
]


class Asked(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is to be shown something. What is left out of what visitors differ by is read from the request's headers."""

    id: Annotated[Id | None, Meta(description="Left out: a new one is made, and told.")] = None
    record: Annotated[
        bool,
        Meta(
            description="True: it is shown for certain, and recorded at once. False: nothing is recorded before POST /seen brings the proof."
        ),
    ] = True
    device: Device | None = None
    source: Source | None = None
    language: Language | None = None
    daytime: Annotated[Daytime | None, Meta(description="A quarter of the day, UTC.")] = None
    referrer: Annotated[str, Meta(max_length=300, description="The site before this one; its kind alone is kept.")] = ""
    medium: Annotated[str, Meta(max_length=100, description="utm_medium or utm_source; its kind alone is kept.")] = ""


class Decision(Struct, frozen=True):
    """
    What to show. Without an id nothing is, or will be, recorded; the cell is the default then. Of somebody who asked to be forgotten nothing
    is recorded either.
    """

    id: str | None
    cell: str
    texts: Annotated[dict[str, str], Meta(description="Variable to text. Text: never to be read as HTML.")]
    plan: int
    recorded: bool
    proof: str | None = None


class Seen(Struct, frozen=True, forbid_unknown_fields=True):
    """What was given to see has been seen."""

    proof: Proof
    id: Annotated[Id | None, Meta(description="Left out: the one in the cookie.")] = None


class Happened(Struct, frozen=True, forbid_unknown_fields=True):
    """An outcome. One of a kind counts for one visitor, unless `event` tells several apart."""

    kind: Annotated[str, Meta(min_length=1, max_length=64)]
    id: Annotated[Id | None, Meta(description="Left out: the one in the cookie.")] = None
    value: Annotated[float, Meta(ge=-1e9, le=1e9)] = 1.0
    event: Annotated[
        Id | None, Meta(description="Your own id of this event; the second of the same changes nothing.")
    ] = None


class Recorded(Struct, frozen=True):
    """Whether it is in the store, for good. False: of this visitor nothing is recorded."""

    recorded: bool


class Said(Struct, frozen=True):
    """Why not, in plain words."""

    said: str


class Health(Struct, frozen=True):
    """`ok`: the store can be written to, and the study's files can be read."""

    ok: bool
    store: str
    plan: int | None
    plan_age_s: float | None
    said: str = ""


def openapi(study: str, kinds: tuple[str, ...], hooks: tuple[str, ...], page: bool) -> dict[str, Any]:
    """The description of every address, made from the records above, for a study of these outcomes and webhooks."""
    shapes = (Asked, Decision, Seen, Happened, Recorded, Said, Health)
    _, parts = msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")
    parts["Happened"]["properties"]["kind"] = {"enum": list(kinds), "type": "string"}
    decide = _post("Asked", "Decision", "What to show to somebody.", {503})
    given = {"id": "$response.body#/id"}
    decide["responses"]["200"]["links"] = {
        "seen": {"operationId": "seen", "requestBody": {**given, "proof": "$response.body#/proof"}},
        "event": {"operationId": "event", "requestBody": {**given, "kind": kinds[0]}},
    }
    paths: dict[str, Any] = {
        "/decide": {"post": decide},
        "/seen": {"post": {"operationId": "seen", **_post("Seen", "Recorded", "It was seen: count it.", {503})}},
        "/event": {"post": {"operationId": "event", **_post("Happened", "Recorded", "An outcome.", {503})}},
        "/health": _get("Whether the server can record.", {"200": _answer("Health"), "503": _answer("Health")}),
        "/metrics": _get(
            "Counts since the start, for Prometheus; answered to the server's own machine.",
            {"200": _text("text/plain")},
            {403},
        ),
        "/script.js": _get("The script for pages elsewhere.", {"200": _text("text/javascript")}),
        "/openapi.json": _get(
            "This description.",
            {"200": {"description": "OK", "content": {"application/json": {"schema": {"type": "object"}}}}},
        ),
        "/static/{path}": _get(
            "A picture, a style or a font of the study.", {"200": {"description": "OK"}}, {404}, [_in_path("path")]
        ),
    }
    if page:
        paths["/"] = _get("The page, as this visitor is to see it.", {"200": _text("text/html")})
    if hooks:
        source = {"name": "source", "in": "path", "required": True, "schema": {"enum": list(hooks), "type": "string"}}
        token = _in_path("token")
        about = "What a sending tool reports, "
        paths["/hooks/{source}"] = {
            "post": _hook(f"{about}signed with the secret that it shares with the study.", [source])
        }
        paths["/hooks/{source}/{token}"] = {"post": _hook(f"{about}for one that can sign nothing.", [source, token])}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Live study {study}",
            "version": "1",
            "description": "With DNT: 1 or Sec-GPC: 1 every visitor gets the default, and nothing is recorded.",
        },
        "paths": paths,
        "components": {"schemas": parts},
    }


def _get(
    about: str, answers: dict[str, Any], further: set[int] | None = None, parameters: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    told = {"parameters": list(parameters)} if parameters else {}
    return {"get": {"summary": about, **told, "responses": {**answers, **_refusals({421, 429} | (further or set()))}}}


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _post(body: str, answer: str, about: str, further: set[int]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{body}"}
    return {
        "summary": about,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": _answer(answer), **_refusals({400, 403, 408, 413, 415, 421, 429} | further)},
    }


def _hook(about: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    stored = {"type": "object", "properties": {"records": {"type": "integer"}}, "required": ["records"]}
    return {
        "summary": about,
        "parameters": parameters,
        "requestBody": {"required": True, "content": {"application/json": {"schema": {}}}},
        "responses": {
            "200": {"description": "Stored, for good.", "content": {"application/json": {"schema": stored}}},
            **_refusals({400, 401, 403, 404, 408, 409, 413, 421, 422, 429, 503}),
        },
    }


def _answer(shape: str, about: str = "OK") -> dict[str, Any]:
    return {
        "description": about,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}},
    }


def _text(kind: str) -> dict[str, Any]:
    return {"description": "OK", "content": {kind: {"schema": {"type": "string"}}}}


WHY = {
    400: "The body is not as described.",
    401: "The signature is wrong, or too old.",
    403: "From an origin that the study does not list, or with a proof that is not of this server and this id.",
    404: "Not here.",
    408: "The body did not come in time.",
    409: "It contradicts what was said before.",
    413: "The body is too long.",
    415: "The body must be application/json.",
    421: "The server does not answer to this name.",
    422: "The body cannot be understood.",
    429: "Too many requests from this address.",
    503: "The store cannot be written to just now; nothing was recorded.",
}


def _refusals(which: set[int]) -> dict[str, Any]:
    return {str(status): _answer("Said", WHY[status]) for status in sorted(which)}
