"""The React package as it would be published: packed, and used in a fresh application."""

from __future__ import annotations

import itertools
import re
import shutil
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jwt
import pytest
from playwright.sync_api import expect
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.browser import node
from tests.browser.uploader import MEBI, Visit, digest_of, made_file, stored_digests, url_of
from tests.servers import running
from tests.status.site import SECRET
from tests.tus import Tus
from tusserver import TusApp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.requests import Request

FRESH = Path(__file__).parent / "app"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `npm publish` would send."""
    place = tmp_path_factory.mktemp("package")
    with node.web() as web:
        node.run("npm", "pack", "--pack-destination", str(place), cwd=web / "react")
    [packed] = place.iterdir()
    return packed


@pytest.fixture(scope="module")
def app(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built application; building it checks its types."""
    place = tmp_path_factory.mktemp("fresh") / "app"
    shutil.copytree(FRESH, place)
    node.run("npm", "install", "--no-audit", "--no-fund", str(package), cwd=place)
    node.run("npm", "run", "build", cwd=place)
    return place


@dataclass(frozen=True)
class Site:
    """The application on a server, with the uploads beside it; the first token that it gives out
    has expired.
    """

    url: str
    upload_dir: Path
    tokens: list[str]


@pytest.fixture
def site(app: Path, tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "secret").write_bytes(SECRET)
    tus = TusApp(upload_dir=tmp_path / "uploads", jwt_secret_file=tmp_path / "secret")
    tokens: list[str] = []
    lives = itertools.chain([-60], itertools.repeat(60))

    def token(request: Request) -> PlainTextResponse:
        expires = int(time.time()) + next(lives)
        tokens.append(jwt.encode({"sub": "kim", "exp": expires}, SECRET, "HS256"))
        return PlainTextResponse(tokens[-1])

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with tus.lifespan():
            yield

    pages = StaticFiles(directory=app / "dist", html=True)
    routes = [Mount("/files", tus), Route("/token", token), Mount("/", pages)]
    with running(Starlette(routes=routes, lifespan=lifespan)) as server:
        yield Site(url_of(Tus(server.address)), tmp_path / "uploads", tokens)


def test_the_uploader_of_a_fresh_application_uploads(
    visit: Visit, site: Site, tmp_path: Path
) -> None:
    file = made_file(tmp_path / "in", "a.bin", 6 * MEBI)
    uploader = visit(site.url)
    expect(uploader.page.locator(".tus-uploader.mine")).to_contain_text("take one")
    uploader.choose(file)
    uploader.expect_done("a.bin")
    expect(uploader.page).to_have_title("a.bin is there")
    assert stored_digests(site.upload_dir, 6 * MEBI) == {digest_of(file)}
    # The provider was asked once for a first token, and once more when that one was refused.
    assert len(site.tokens) == 2


def test_the_hook_of_a_fresh_application_uploads(visit: Visit, site: Site, tmp_path: Path) -> None:
    file = made_file(tmp_path / "in", "a.bin", 6 * MEBI)
    uploader = visit(f"{site.url}hook.html")
    status = uploader.page.get_by_role("status")
    expect(status).to_have_text("idle")
    with uploader.slowly():
        uploader.choose(file)
        uploader.page.wait_for_function("document.querySelector('progress').value > 20")
        uploader.page.get_by_role("button", name="Pause").click()
        expect(status).to_have_text("paused")
    uploader.page.get_by_role("button", name="Resume").click()
    expect(status).to_have_text("completed")
    assert stored_digests(site.upload_dir, 6 * MEBI) == {digest_of(file)}


def test_an_application_that_uses_only_the_hook_gets_no_more(app: Path) -> None:
    assert "Drop files here" in scripts(app, "index.html")
    assert "Drop files here" not in scripts(app, "hook.html")


def scripts(app: Path, page: str) -> str:
    """All that this page of the built application loads as code."""
    html = (app / "dist" / page).read_text()
    names = re.findall(r'(?:src|href)="/(assets/[^"]+\.js)"', html)
    assert names
    return "".join((app / "dist" / name).read_text() for name in names)


def test_nothing_is_packed_but_what_is_used(package: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(package, tmp_path, filter="data")
    names = {str(path.relative_to(tmp_path / "package")) for path in tmp_path.rglob("*.*")}
    names = {name for name in names if (tmp_path / "package" / name).is_file()}
    assert {"package.json", "README.md", "dist/index.js", "dist/index.d.ts"} <= names
    assert {name.partition("/")[0] for name in names} == {"package.json", "README.md", "dist"}
    assert {Path(name).suffix for name in names} == {".json", ".md", ".js", ".ts", ".css"}
