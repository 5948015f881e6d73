"""The pages for people: they are files of the package, built from `web/`, into which the server
writes what it knows about itself.

No page needs anything from another host, and all URLs in them are relative, so that they work below
any path: behind a proxy with a prefix, or mounted into another application.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.resources.abc import Traversable

    from starlette.requests import Request
    from starlette.routing import BaseRoute

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'self'; base-uri 'none'"
)
_SAFE = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
# A changed page is seen at once; what it refers to has other names then.
_PAGE_CACHE = {"Cache-Control": "no-cache", "Vary": "Accept"}
_ASSET_CACHE = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}

_MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
}
_ROOT = '<div id="root"></div>'


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What the pages have to know of the server.

    `uploads` is the path at which uploads are created, `api` that of the status API (empty: it is
    off), both as the server itself sees them, as `/files/`. `max_size` is in bytes, None for no
    limit. `extensions` (without dots) and `types` are those that are taken, empty for all.
    `accepts_token`: the server asks who is there. `destinations`: uploads may say where they go.
    """

    uploads: str
    api: str = ""
    max_size: int | None = None
    extensions: Sequence[str] = ()
    types: Sequence[str] = ()
    accepts_token: bool = False
    destinations: bool = False


def page_routes(facts: PageFacts) -> list[BaseRoute]:
    """Routes for the upload page at `/`, for the dashboard at `/dashboard` where there is a status
    API to tell it something, and for the files that pages refer to, at `/assets/`.

    Clients that do not want HTML get a greeting in plain text at `/`.
    """
    page = Page("index.html", facts)

    async def upload_page(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", "").lower():
            return page.response(request)
        location = f"{request.scope.get('root_path', '')}{facts.uploads}"
        text = f"This is tusserver. Point a tus client at {location}\n"
        return PlainTextResponse(text, headers={**_PAGE_CACHE, **_SAFE})

    routes: list[BaseRoute] = [Route("/", upload_page), _assets()]
    return [*routes, _dashboard(facts)] if facts.api else routes


def _dashboard(facts: PageFacts) -> Route:
    page = Page("dashboard.html", facts)

    async def dashboard(request: Request) -> Response:
        return page.response(request)

    return Route("/dashboard", dashboard)


class Page:
    """One of the built pages with the facts written into it. Raises ValueError for a page that has
    no place for them.
    """

    def __init__(self, name: str, facts: PageFacts) -> None:
        template = _web().joinpath(name).read_text(encoding="utf-8")
        if template.count(_ROOT) != 1:
            raise ValueError(f"{name} has no {_ROOT}")
        root = _ROOT.replace('">', f'"{_attributes(facts)}>', 1)
        self._body = template.replace(_ROOT, root).encode()
        self._etag = f'"{sha256(self._body).hexdigest()[:20]}"'

    def response(self, request: Request) -> Response:
        """The page, or 304 if the browser has it already."""
        headers = {**_PAGE_CACHE, **_SAFE, "ETag": self._etag}
        known = request.headers.get("if-none-match", "")
        if self._etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
            return Response(status_code=304, headers=headers)
        return Response(self._body, headers=headers, media_type="text/html; charset=utf-8")


def _attributes(facts: PageFacts) -> str:
    values = {
        "uploads": _relative(facts.uploads),
        "api": _relative(facts.api) if facts.api else "",
        "max-size": "" if facts.max_size is None else str(facts.max_size),
        "extensions": ",".join(facts.extensions),
        "types": ",".join(facts.types),
        "accepts-token": str(facts.accepts_token).lower(),
        "destinations": str(facts.destinations).lower(),
    }
    return "".join(f' data-{name}="{escape(value)}"' for name, value in values.items())


def _relative(path: str) -> str:
    """As a URL relative to a page directly below the server's root."""
    return f"./{quote(path.lstrip('/'))}"


class _Asset:
    """One file with a name that changes with its content."""

    def __init__(self, file: Traversable) -> None:
        suffix = file.name.rpartition(".")[2]
        self._plain = file.read_bytes()
        # The same bytes at every start, and from every worker.
        self._packed = gzip.compress(self._plain, mtime=0)
        self._media_type = _MEDIA_TYPES.get(suffix, "application/octet-stream")

    def response(self, request: Request) -> Response:
        headers = {**_ASSET_CACHE, **_SAFE}
        if "gzip" not in request.headers.get("accept-encoding", "").lower():
            return Response(self._plain, headers=headers, media_type=self._media_type)
        headers["Content-Encoding"] = "gzip"
        return Response(self._packed, headers=headers, media_type=self._media_type)


def _assets() -> Route:
    # Listed once, so that no name in a URL ever becomes a path.
    assets = {file.name: _Asset(file) for file in _web().joinpath("assets").iterdir()}

    async def asset(request: Request) -> Response:
        found = assets.get(request.path_params["name"])
        if found is None:
            return PlainTextResponse("there is no such file\n", 404, headers=_SAFE)
        return found.response(request)

    return Route("/assets/{name}", asset)


def _web() -> Traversable:
    return files("tusserver").joinpath("web")
