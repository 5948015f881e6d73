"""The status API: JSON and live events about uploads (docs/status-api.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from posixpath import normpath
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import msgspec
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from tusserver.asgi.api_values import Facts, ListQuery, LiveQuery, Offer, SignedUrl, SignRequest
from tusserver.asgi.body import request_extension
from tusserver.asgi.events import LIFE_WITH_TOKEN, EventResponse, EventStream
from tusserver.policy.access import Inquiry
from tusserver.policy.ledger import Filter
from tusserver.protocol.access import Caller
from tusserver.protocol.errors import MalformedRequest, TusError, UploadNotFound
from tusserver.protocol.refusals import Forbidden
from tusserver.protocol.urls import is_upload_id
from tusserver.status.watching import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

    from tusserver.asgi.cors import Cors
    from tusserver.asgi.proxy import TrustedProxies
    from tusserver.policy.access import AccessControl
    from tusserver.policy.grants import Signer
    from tusserver.status.board import Board
    from tusserver.status.values import Status

_T = TypeVar("_T")

_EVERYBODY = Caller(is_admin=True)
_SAFE = "/~!$'()*+,;=:@%"
_MAX_BODY = 64 * 1024
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiOptions:
    """What the API is to be told. `uploads_path` leads from where it is mounted to the creation
    URL, as `../files/`; `access` None: everybody may see everything.
    """

    uploads_path: str
    offer: Offer
    proxies: TrustedProxies
    access: AccessControl | None = None
    signer: Signer | None = None
    cors: Cors | None = None


class StatusApi:
    """An ASGI application, to be mounted beside the uploads of this board."""

    def __init__(self, board: Board, options: ApiOptions) -> None:
        self._board = board
        self._options = options
        routes = [
            Route("/me", self._me),
            Route("/storage", self._storage),
            Route("/events", self._events),
            Route("/uploads", self._uploads),
            Route("/uploads/{upload_id:path}/events", self._events),
            Route("/uploads/{upload_id:path}", self._upload),
            Route("/openapi.json", self._describe),
        ]
        if options.signer is not None:
            routes.append(Route("/sign", self._sign, methods=["POST"]))
        self._app = Starlette(
            routes=routes,
            exception_handlers={TusError: _refused, HTTPException: _no_route},  # type: ignore[dict-item]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, with the cross-origin headers that uploads have, too."""
        cors = self._options.cors
        if cors is None or scope["type"] != "http":
            return await self._app(scope, receive, send)
        extra = cors.headers(scope["method"], scope["headers"])
        if scope["method"] == "OPTIONS":
            response = Response(status_code=204)
            response.raw_headers.extend(extra)
            return await response(scope, receive, send)

        async def send_with_extra(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        return await self._app(scope, receive, send_with_extra)

    async def _caller(self, request: Request) -> Caller:
        """Who is asking. Raises Unauthorized, Forbidden."""
        access = self._options.access
        if access is None:
            return _EVERYBODY
        inquiry = Inquiry(
            request.method, "", request.url.query, request.scope["headers"], is_status=True
        )
        caller = await access.identify(inquiry)
        if caller.grant is not None:
            raise Forbidden("a signed URL is for uploads only")
        return caller

    async def _me(self, request: Request) -> Response:
        caller = await self._caller(request)
        urls = self._urls(request)
        return _json(Facts.of(caller, self._options.offer, urls("")))

    async def _storage(self, request: Request) -> Response:
        caller = await self._caller(request)
        return _json(await self._board.storage(_owner(caller, None)))

    async def _uploads(self, request: Request) -> Response:
        caller = await self._caller(request)
        query = _query(request, ListQuery)
        wanted = Filter(
            owner=_owner(caller, query.owner), name=query.name, is_active=query.is_active
        )
        page = await self._board.page(
            wanted,
            query.by,
            descending=query.is_descending,
            limit=query.limit,
            skip=query.skip,
        )
        urls = self._urls(request)
        return _json(replace(page, uploads=tuple(_with_url(each, urls) for each in page.uploads)))

    async def _upload(self, request: Request) -> Response:
        caller = await self._caller(request)
        return _json(_with_url(await self._find(request, caller), self._urls(request)))

    async def _find(self, request: Request, caller: Caller) -> Status:
        """The upload in the path. Raises UploadNotFound, also for somebody else's."""
        upload_id: str = request.path_params["upload_id"]
        if not is_upload_id(upload_id):
            raise UploadNotFound
        status = await self._board.get(upload_id)
        if not caller.is_admin and (status.owner is None or status.owner != caller.user):
            raise UploadNotFound
        return status

    async def _events(self, request: Request) -> Response:
        caller = await self._caller(request)
        first = None
        if "upload_id" in request.path_params:
            first = await self._find(request, caller)
            wanted = Wanted(upload_id=first.id)
        else:
            query = _query(request, LiveQuery)
            owner = _owner(caller, query.owner)
            wanted = Wanted(owner=owner, name=query.name, is_active=query.is_active)
        headers = {**_HEADERS, "X-Accel-Buffering": "no"}
        if request.method == "HEAD":
            return Response(headers=headers, media_type="text/event-stream")
        urls = self._urls(request)
        stream = EventStream(
            self._board.live,
            wanted,
            lambda status: _with_url(status, urls),
            first=first,
            life=None if self._options.access is None else LIFE_WITH_TOKEN,
        )
        extension = request_extension(request.scope)
        if extension is not None:
            extension.on_stop(stream.close)
        return EventResponse(stream.run(), headers=headers, media_type="text/event-stream")

    async def _sign(self, request: Request) -> Response:
        assert self._options.signer is not None
        caller = await self._caller(request)
        if not caller.is_admin:
            raise Forbidden("only admins may sign URLs")
        asked = await _body(request, SignRequest)
        grant = asked.grant()
        url = f"{self._urls(request)(grant.upload_id or '')}?{self._options.signer.sign(grant)}"
        return _json(SignedUrl.of(url, grant), 201)

    async def _describe(self, request: Request) -> Response:
        """Not a secret: programs read it before they know of tokens."""
        return _json({**_description(), "servers": [{"url": self._root(request)}]})

    def _root(self, request: Request) -> str:
        """The path of this API as the client sees it, without a slash at its end."""
        prefix = self._options.proxies.client(request.scope).prefix
        return quote(f"{prefix}{request.scope['root_path']}", safe=_SAFE)

    def _urls(self, request: Request) -> Callable[[str], str]:
        """From ids to the paths of upload URLs as this client sees them."""
        way = quote(self._options.uploads_path, safe=_SAFE)
        base = normpath(f"{self._root(request)}/{way}") + "/"
        return lambda upload_id: base + upload_id


def _owner(caller: Caller, asked: str | None) -> str | None:
    """Whose uploads are meant; None: everybody's. Raises Forbidden."""
    if caller.is_admin:
        return asked
    if asked not in (None, caller.user):
        raise Forbidden("only admins may see the uploads of others")
    return caller.user or ""


def _with_url(status: Status, urls: Callable[[str], str]) -> Status:
    return replace(status, url=urls(status.id))


def _query(request: Request, shape: type[_T]) -> _T:
    """Raises MalformedRequest."""
    if len(request.query_params) != len(request.query_params.multi_items()):
        raise MalformedRequest("a parameter may be given once")
    return _converted(dict(request.query_params), shape)


def _converted(values: Mapping[str, str], shape: type[_T]) -> _T:
    try:
        return msgspec.convert(values, shape, strict=False)
    except msgspec.ValidationError as error:
        raise MalformedRequest(str(error)) from None


async def _body(request: Request, shape: type[_T]) -> _T:
    """The JSON in the body. Raises MalformedRequest. That it must say so keeps the forms of foreign
    pages out, which browsers send with the cookie of the user.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise MalformedRequest("send a JSON object, with Content-Type: application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            raise MalformedRequest("this is too long")
    try:
        return msgspec.convert(json.loads(body, parse_float=_number), shape)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(str(error)) from None


def _number(text: str) -> float:
    """JSON has only numbers: 60.0 is as whole as 60."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _json(value: object, status: int = 200) -> Response:
    body = msgspec.json.encode(value) + b"\n"
    return Response(body, status, _HEADERS, "application/json")


async def _refused(request: Request, error: TusError) -> Response:
    response = _json({"code": error.code, "message": error.message}, error.status)
    response.raw_headers.extend(error.headers)
    return response


async def _no_route(request: Request, error: HTTPException) -> Response:
    status = HTTPStatus(error.status_code)
    response = _json({"code": f"ERR_{status.name}", "message": status.phrase.lower()}, status)
    response.headers.update(error.headers or {})
    return response


@cache
def _description() -> dict[str, object]:
    text = files(__package__).joinpath("openapi.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, object])
