"""The server as an ASGI application: mountable anywhere, or as a whole with a page at its root."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Route

from tusserver.asgi.endpoint import EndpointOptions, TusEndpoint, path_below_root
from tusserver.sweeper import Sweeper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

    from tusserver.status.board import Board
    from tusserver.uploads import Uploads


class Application:
    """An ASGI application for one set of uploads, at whatever path it is mounted.

    `lifespan` is for the application around it. Without that it starts at the first request, as
    servers do not tell mounted applications of their start; only the last syncs at the stop are
    then missing. `sweep_interval` in seconds, None: no sweeps. `board` lives as long as they do.
    """

    def __init__(
        self,
        uploads: Uploads,
        options: EndpointOptions,
        sweep_interval: float | None,
        board: Board | None = None,
    ) -> None:
        self.uploads = uploads
        self.board = board
        self._endpoint = TusEndpoint(uploads, options)
        self._access = options.access
        self._sweep_interval = sweep_interval
        self._starting: asyncio.Lock | None = None
        self._sweeper: Sweeper | None = None
        self._housekeeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts store, locker and housekeeping; once, however often it is called. Raises
        StoreUnusable, LockerUnusable.
        """
        if self._starting is None:
            self._starting = asyncio.Lock()
        async with self._starting:
            if self._housekeeping is None:
                await self.uploads.start()
                if self.board is not None:
                    await self.board.start()
                self._sweeper = Sweeper(self.uploads)
                self._housekeeping = asyncio.create_task(self._sweeper.run(self._sweep_interval))

    async def stop(self) -> None:
        """Ends what `start` began; requests must have ended before. It may be started again."""
        if self._housekeeping is None or self._sweeper is None:
            return
        self._sweeper.stop()
        self._housekeeping.cancel()
        with suppress(asyncio.CancelledError):
            await self._housekeeping
        self._housekeeping = None
        # A lock belongs to the event loop in which it was waited for; the next start may be in
        # another one.
        self._starting = None
        if self.board is not None:
            await self.board.close()
        if self._access is not None:
            await self._access.close()
        await self.uploads.close()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """To be given to Starlette or FastAPI as `lifespan=`, or entered inside of one's own."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves HTTP requests below its mount point."""
        if scope["type"] != "http":
            raise RuntimeError(
                "a tus application serves HTTP; pass its `lifespan` to the application around it"
            )
        if self._housekeeping is None:
            await self.start()
        await self._endpoint(scope, receive, send)


class Below(BaseRoute):
    """Everything at and below one path, which has no slash at its end.

    Unlike a Mount it takes the path without its slash, too, instead of redirecting, and paths with
    line ends, so that whatever comes for an upload gets our answer.
    """

    def __init__(self, path: str, app: ASGIApp) -> None:
        self._path = path
        self._app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        path = path_below_root(scope)
        if path != self._path and not path.startswith(f"{self._path}/"):
            return Match.NONE, {}
        root = scope.get("root_path", "")
        return Match.FULL, {
            "endpoint": self._app,
            "app_root_path": scope.get("app_root_path", root),
            "root_path": root + self._path,
        }

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class _WholeServer(Starlette):
    """Starlette, but for requests to uploads as long as nobody has added a middleware.

    The way through its layers costs as much as the rest of a small request, and does nothing for
    it.
    """

    def __init__(self, uploads: Below, *others: BaseRoute, lifespan: Lifespan[Any]) -> None:
        super().__init__(routes=[uploads, *others], lifespan=lifespan)
        self._uploads = uploads

    @property
    def is_bare(self) -> bool:
        """Nothing lies between the server and the uploads that may cancel a request."""
        return not self.user_middleware

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.is_bare:
            match, child_scope = self._uploads.matches(scope)
            if match is Match.FULL:
                scope.update(child_scope, app=self)
                return await self._uploads.handle(scope, receive, send)
        return await super().__call__(scope, receive, send)


def whole_server(app: Application, base_path: str, *others: BaseRoute) -> Starlette:
    """A Starlette application that serves uploads at `base_path` and says so at `/`, with `others`
    before that; uploads at `/` leave no room for either.
    """
    path = base_path.rstrip("/")
    uploads = Below(path, app)
    if not path:
        return _WholeServer(uploads, lifespan=app.lifespan)

    async def greeting(request: Request) -> Response:
        location = f"{request.scope.get('root_path', '')}{path}/"
        return PlainTextResponse(f"This is tusserver. Point a tus client at {location}\n")

    return _WholeServer(uploads, *others, Route("/", greeting), lifespan=app.lifespan)
