"""
The addresses of a live study's own parts of the page.

The queue takes the token. How a level would look is a document of its own for a frame: no script runs in it, it has no origin, it asks
nobody but us, and the address that opens it opens nothing else. The map may be read by whoever reads the page.
"""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from autoresearch.errors import AutoresearchError
from autoresearch.web.answers import as_json, same_site, say
from autoresearch.web.campaign import Campaign

POLICY = (
    "default-src 'none'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; font-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox"
)
KINDS = {"svg": "image/svg+xml", "csv": "text/csv", "json": "application/json"}


class Shown:
    """What they answer from; `refuse` says what to answer whoever may not steer, None who may."""

    def __init__(self, campaign: Campaign, refuse: Callable[[Request], Response | None]) -> None:
        self.campaign, self.refuse = campaign, refuse

    def routes(self) -> list[Route]:
        return [
            Route("/api/live", self.live),
            Route("/api/map.{kind:str}", self.map),
            Route("/api/queue", self.queue),
            Route("/api/look/{trial:int}/{key:str}/", self.look),
            Route("/api/look/{trial:int}/{key:str}/static/{name:path}", self.picture),
        ]

    def live(self, request: Request) -> Response:
        same_site(request)
        return as_json(self.campaign.told())

    def map(self, request: Request) -> Response:
        from autoresearch.campaign import drawing

        same_site(request)
        kind = request.path_params["kind"]
        if kind not in KINDS:
            return say(404, "the map is to be had as " + ", ".join(f"map.{one}" for one in KINDS))
        try:
            atlas = self.campaign.atlas()
        except AutoresearchError as error:
            return say(409, str(error))
        made = {
            "svg": lambda: drawing.svg(atlas).encode(),
            "csv": lambda: drawing.as_csv(atlas).encode(),
            "json": lambda: msgspec.json.encode(drawing.as_data(atlas)),
        }
        named = {"cache-control": "no-store", "content-disposition": f'inline; filename="map.{kind}"'}
        return Response(made[kind](), 200, named, media_type=KINDS[kind])

    def queue(self, request: Request) -> Response:
        same_site(request)
        if (refusal := self.refuse(request)) is not None:
            return refusal
        try:
            return as_json(self.campaign.queue())
        except AutoresearchError as error:
            return say(409, str(error))

    def look(self, request: Request) -> Response:
        if not self.campaign.opens(request.path_params["trial"], request.path_params["key"]):
            return say(404, "no such level")
        try:
            page, nonce = self.campaign.look(request.path_params["trial"])
        except AutoresearchError as error:
            return say(409, str(error))
        headers = {
            "content-security-policy": POLICY.format(nonce=nonce),
            "x-frame-options": "SAMEORIGIN",
            "cache-control": "no-store",
        }
        return Response(page.encode(), 200, headers, media_type="text/html")

    def picture(self, request: Request) -> Response:
        if not self.campaign.opens(request.path_params["trial"], request.path_params["key"]):
            return say(404, "no such level")
        found = self.campaign.picture(request.path_params["name"])
        if found is None:
            return say(404, "no such file")
        # The frame has no origin, so to a browser it is somebody else.
        headers = {"cross-origin-resource-policy": "cross-origin", "access-control-allow-origin": "*"}
        return Response(found[0], 200, headers | {"cache-control": "no-store"}, media_type=found[1])
