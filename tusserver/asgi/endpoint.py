"""One request: from an ASGI scope to a protocol request, through the use cases, to the answer.

A plain ASGI callable, because each layer of a framework costs more than the whole request. The only
place that turns a TusError into an answer, and the last resort for what nobody expected.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from functools import lru_cache
from functools import partial as bind
from typing import TYPE_CHECKING, assert_never
from urllib.parse import quote

from tusserver.asgi.access import Access
from tusserver.asgi.answer import Responder, refusal
from tusserver.asgi.body import body_of, request_extension
from tusserver.asgi.cors import Cors
from tusserver.asgi.download import send_download
from tusserver.asgi.proxy import Client, TrustedProxies
from tusserver.policy.access import AccessControl, Inquiry
from tusserver.protocol.access import Caller, Verb
from tusserver.protocol.core import Head, Options, Patch
from tusserver.protocol.creation import Create
from tusserver.protocol.download import Download
from tusserver.protocol.errors import TusError
from tusserver.protocol.refusals import Forbidden
from tusserver.protocol.request import RawRequest, Request, parse
from tusserver.protocol.termination import Terminate
from tusserver.protocol.urls import UploadUrls, is_host

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tusserver.asgi.access import AccessLog
    from tusserver.protocol.capabilities import Capabilities
    from tusserver.sections import RequestBody
    from tusserver.uploads import Uploads

_logger = logging.getLogger("tusserver")


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """How requests are served. `cors` None: no cross-origin headers at all. `idle_timeout` in
    seconds.

    `full_location`: `Location` is a full URL (with the host that the client named) instead of an
    absolute path. `access` None: everybody may do everything.
    """

    cors: Cors | None = field(default_factory=Cors)
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    full_location: bool = False
    idle_timeout: float = 60.0
    access_log: AccessLog | None = None
    access: AccessControl | None = None


class TusEndpoint:
    """Serves the creation URL at its root and upload URLs below it."""

    def __init__(self, uploads: Uploads, options: EndpointOptions) -> None:
        self._uploads = uploads
        self._options = options
        self._capabilities = uploads.capabilities
        self._capabilities_with_trailers = uploads.capabilities.with_trailers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        access_log = self._options.access_log
        started = 0.0 if access_log is None else time.perf_counter()
        cors = self._options.cors
        common = () if cors is None else cors.headers(scope["method"], scope["headers"])
        responder = Responder(send, scope["method"], common, request_extension(scope))
        client = self._options.proxies.client(scope)
        try:
            await self._answer(scope, receive, responder, client)
        finally:
            if access_log is not None:
                seconds = time.perf_counter() - started
                address, method, path = client.address, scope["method"], scope["path"]
                access_log(Access(address, method, path, responder.status, seconds))

    async def _answer(
        self, scope: Scope, receive: Receive, responder: Responder, client: Client
    ) -> None:
        try:
            await self._serve(scope, receive, responder, client)
        except TusError as error:
            if error.is_for_operator:
                _log_refusal(scope, error)
            if responder.break_off():
                return
            if responder.status:
                raise  # Breaking it off is all that is left.
            await responder.reply(refusal(error, scope["headers"]))
        except Exception:
            if responder.status:
                raise
            _logger.exception("%s %s failed", scope["method"], scope["path"])
            await responder.reply(refusal(TusError(), scope["headers"]))

    async def _serve(
        self, scope: Scope, receive: Receive, responder: Responder, client: Client
    ) -> None:
        # Proxies drop trailers, and a digest that does not arrive must not seem to be checked.
        extension = responder.extension
        has_trailers = extension is not None and not client.is_proxied
        capabilities = self._capabilities_with_trailers if has_trailers else self._capabilities
        target = path_below_root(scope).removeprefix("/")
        caller = await self._identify(scope, target)
        if caller is not None:
            capabilities = caller.offered(capabilities)
        raw = RawRequest(
            method=scope["method"],
            target=target,
            headers=scope["headers"],
            http_version=scope.get("http_version", "1.1"),
            urls=self._urls(scope, client, caller),
        )
        request: Request = parse(raw, capabilities)
        if caller is not None:
            await self._authorize(caller, request)
        await self._perform(request, capabilities, caller, scope, receive, responder)

    async def _perform(
        self,
        request: Request,
        capabilities: Capabilities,
        caller: Caller | None,
        scope: Scope,
        receive: Receive,
        responder: Responder,
    ) -> None:
        uploads = self._uploads
        match request:
            case Options():
                reply = request.reply()
            case Head():
                reply = await uploads.look(request, capabilities)
            case Patch():
                reply = await uploads.append(request, self._body(scope, receive), capabilities)
            case Create():
                body = self._body(scope, receive)
                reply = await uploads.create(request, body, capabilities, caller)
            case Terminate():
                reply = await uploads.terminate(request)
            case Download():
                return await send_download(request, uploads, responder)
            case _:
                assert_never(request)
        await responder.reply(reply)

    def _body(self, scope: Scope, receive: Receive) -> RequestBody:
        return body_of(scope, receive, self._options.idle_timeout)

    async def _identify(self, scope: Scope, target: str) -> Caller | None:
        """Who is asking; None where nobody is asked, and for OPTIONS, which browsers send without
        any token.
        """
        access = self._options.access
        if access is None or scope["method"] == "OPTIONS":
            return None
        query = scope.get("query_string", b"").decode("latin-1")
        return await access.identify(Inquiry(scope["method"], target, query, scope["headers"]))

    async def _authorize(self, caller: Caller, request: Request) -> None:
        """Raises Forbidden; before a byte of the body is read."""
        match request:
            case Options():
                return
            case Create():
                if not caller.may_create():
                    raise Forbidden
                for upload_id in request.partials or ():
                    await self._uploads.authorize(caller, Verb.JOIN, upload_id)
            case Head() | Patch() | Terminate() | Download():
                await self._uploads.authorize(caller, _VERBS[type(request)], request.upload_id)
            case _:
                assert_never(request)

    def _urls(self, scope: Scope, client: Client, caller: Caller | None) -> UploadUrls:
        origin = ""
        if self._options.full_location and is_host(client.host):
            origin = f"{client.scheme}://{client.host}"
        urls = _upload_urls(client.prefix + str(scope.get("root_path", "")), origin)
        access = self._options.access
        if caller is None or caller.grant is None or access is None:
            return urls
        return replace(urls, query=bind(access.sign_location, caller))


_VERBS: dict[type[Request], Verb] = {
    Head: Verb.HEAD,
    Patch: Verb.PATCH,
    Terminate: Verb.DELETE,
    Download: Verb.GET,
}


@lru_cache(maxsize=1024)
def _upload_urls(root: str, origin: str) -> UploadUrls:
    return UploadUrls(quote(root.rstrip("/"), safe="/~!$'()*+,;=:@%") + "/", origin)


def path_below_root(scope: Scope) -> str:
    """What follows the path at which this application is mounted, with a slash at its start."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if not root or path.startswith(f"{root}/"):
        return path[len(root) :]
    # Behind a proxy that takes a prefix off, the root path of an application that was told of it
    # (FastAPI's `root_path`) has that prefix and the path has not. Starlette notes what it was.
    mounted = root.removeprefix(scope.get("app_root_path", ""))
    for prefix in (root, mounted.rstrip("/")):
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            return path[len(prefix) :]
    return path


def _log_refusal(scope: Scope, error: TusError) -> None:
    what = f"{scope['method']} {quote(scope['path'])}: {error.code}"
    _logger.error("%s: %s", what, error.reason)
