"""The server inside other applications: at any path, in Starlette and FastAPI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.servers import running, serving
from tests.spec_ids import spec
from tests.tus import Tus
from tusserver import TusApp, create_app
from tusserver.asgi.app import whole_server
from tusserver.store.base import StoreUnusable


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


def starlette_app(tus: TusApp, path: str) -> ASGIApp:
    return Starlette(routes=[Route("/hello", hello), Mount(path, tus)], lifespan=tus.lifespan)


def fastapi_app(tus: TusApp, path: str) -> ASGIApp:
    app = FastAPI(lifespan=tus.lifespan)
    app.add_route("/hello", hello)
    app.mount(path, tus)
    return app


def not_told_of_the_start(tus: TusApp, path: str) -> ASGIApp:
    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        yield
        await tus.stop()

    return Starlette(routes=[Route("/hello", hello), Mount(path, tus)], lifespan=lifespan)


def nested(tus: TusApp, path: str) -> ASGIApp:
    inner = Starlette(routes=[Mount(path, tus)])
    return Starlette(routes=[Route("/hello", hello), Mount("/outer", inner)], lifespan=tus.lifespan)


class Timed(BaseHTTPMiddleware):
    """A middleware of the kind that people add; it runs the application in a task of its own."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["X-Timed"] = "yes"
        return response


def with_middleware(tus: TusApp, path: str) -> ASGIApp:
    return Starlette(
        routes=[Route("/hello", hello), Mount(path, tus)],
        middleware=[Middleware(Timed)],
        lifespan=tus.lifespan,
    )


APPS = {
    "starlette": (starlette_app, ""),
    "fastapi": (fastapi_app, ""),
    "not told of the start": (not_told_of_the_start, ""),
    "nested": (nested, "/outer"),
    "with middleware": (with_middleware, ""),
}


@pytest.mark.parametrize("path", ["/files", "/a/b c/files"])
@pytest.mark.parametrize("kind", APPS)
def test_it_mounts_anywhere(kind: str, path: str, tmp_path: Path) -> None:
    make, prefix = APPS[kind]
    app = make(TusApp(upload_dir=tmp_path / "uploads"), path)
    quoted = prefix + path.replace(" ", "%20")
    with running(app) as server:
        tus = Tus(server.address, f"{quoted}/")
        assert tus.get("/hello").body == b"hello"
        answer = tus.post({"Upload-Length": "10"})
        assert answer["Location"].startswith(f"{quoted}/")
        url = tus.location(answer)
        assert tus.pa(url, 0, b"hello").status == 204
        assert tus.off(url) == 5
        assert tus.pa(url, 5, b"world").status == 204
        assert tus.content(url) == b"helloworld"
        assert tus.options(url).status == 200


def test_partials_of_a_mounted_server_are_found_by_their_location(tmp_path: Path) -> None:
    app = starlette_app(TusApp(upload_dir=tmp_path), "/deep/files")
    with running(app) as server:
        tus = Tus(server.address, "/deep/files/")
        part = tus.made(b"hello", {"Upload-Concat": "partial"})
        for url in (part, f"http://elsewhere{part}", part.rpartition("/")[2]):
            final = tus.post({"Upload-Concat": f"final;{url}"})
            assert tus.content(tus.location(final)) == b"hello"
        stranger = part.removeprefix("/deep")
        assert tus.post({"Upload-Concat": f"final;{stranger}"}).status == 400


def test_two_servers_live_side_by_side(tmp_path: Path) -> None:
    first, second = (TusApp(upload_dir=tmp_path / name) for name in ("a", "b"))

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        async with first.lifespan(), second.lifespan():
            yield

    routes = [Mount("/a", first), Mount("/b", second)]
    with running(Starlette(routes=routes, lifespan=lifespan)) as server:
        one, two = Tus(server.address, "/a/"), Tus(server.address, "/b/")
        url = one.made(b"x")
        assert two.hd(url.replace("/a/", "/b/")).status == 404
        assert one.content(url) == b"x"


def test_a_root_path_of_the_server_is_part_of_every_url(tmp_path: Path) -> None:
    app = create_app(upload_dir=tmp_path, access_log=False)
    with running(app, root_path="/portal") as server:
        tus = Tus(server.address)
        answer = tus.post({"Upload-Length": "5"})
        assert answer["Location"].startswith("/portal/files/")
        url = answer["Location"].removeprefix("/portal")
        assert tus.pa(url, 0, b"hello").status == 204
        partial = tus.post({"Upload-Length": "0", "Upload-Concat": "partial"})["Location"]
        assert tus.post({"Upload-Concat": f"final;{partial}"}).status == 201


def whole_in_fastapi(tus: TusApp, path: str) -> ASGIApp:
    app = FastAPI(lifespan=tus.lifespan)
    app.mount("/", whole_server(tus, path))
    return app


@pytest.mark.parametrize("takes_off", [True, False])
@pytest.mark.parametrize("make", [starlette_app, whole_in_fastapi])
def test_an_application_may_be_told_of_the_prefix_that_its_proxy_takes_off(
    make: Callable[[TusApp, str], ASGIApp], takes_off: bool, tmp_path: Path
) -> None:
    inner = make(TusApp(upload_dir=tmp_path), "/files")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # As FastAPI does with its `root_path`.
        await inner({**scope, "root_path": "/portal"}, receive, send)

    prefix = "" if takes_off else "/portal"
    with running(app) as server:
        tus = Tus(server.address, f"{prefix}/files/")
        answer = tus.post({"Upload-Length": "5"})
        assert answer["Location"].startswith("/portal/files/")
        url = prefix + answer["Location"].removeprefix("/portal")
        assert tus.pa(url, 0, b"hello").status == 204
        assert tus.content(url) == b"hello"


@spec("ROB-SEC-04")
def test_the_creation_url_works_with_and_without_its_slash(tus: Tus) -> None:
    for creation in ("/files/", "/files"):
        answer = Tus(tus.address, creation).post({"Upload-Length": "1"})
        assert answer.status == 201
        assert tus.off(tus.location(answer)) == 0


@pytest.mark.parametrize("base_path", ["/", "/deep/er/files/", "/files"])
def test_the_base_path_is_free_to_choose(base_path: str, tmp_path: Path) -> None:
    with serving(tmp_path, base_path=base_path) as tus:
        url = tus.made(b"hello")
        assert url.startswith(base_path)
        assert tus.content(url) == b"hello"


def test_the_root_of_a_server_says_where_to_upload(tus: Tus) -> None:
    answer = tus.get("/")
    assert (answer.status, answer.body) == (
        200,
        b"This is tusserver. Point a tus client at /files/\n",
    )
    assert tus.get("/elsewhere").status == 404


def test_a_store_that_cannot_start_stops_the_server_from_starting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def enter() -> None:
        async with TusApp(upload_dir=tmp_path / "file").lifespan():
            pass

    with pytest.raises(StoreUnusable):
        asyncio.run(enter())


def test_an_application_may_be_started_again(tmp_path: Path) -> None:
    """As tests of an application do, with an event loop each time."""
    app = create_app(upload_dir=tmp_path, access_log=False)
    urls = []
    for _ in range(3):
        with running(app) as server:
            tus = Tus(server.address)
            urls.append(tus.made(b"hello"))
            assert [tus.content(url) for url in urls] == [b"hello"] * len(urls)


def test_a_websocket_is_refused_by_the_application_and_not_by_accident(tmp_path: Path) -> None:
    async def connect() -> None:
        app: Any = TusApp(upload_dir=tmp_path)
        await app({"type": "websocket", "path": "/"}, None, None)

    with pytest.raises(RuntimeError, match="serves HTTP"):
        asyncio.run(connect())


def test_listeners_hear_of_every_event_once(tmp_path: Path) -> None:
    events: list[Any] = []
    with serving(tmp_path, events=events) as tus:
        url = tus.mk(5)
        tus.pa(url, 0, b"hello")
        tus.pa(url, 5, b"")
        tus.delete(url)
        tus.mk(0)
    names = [type(event).__name__ for event in events]
    assert names == [
        "UploadCreated", "UploadFinished", "UploadTerminated", "UploadCreated", "UploadFinished",
    ]  # fmt: skip
