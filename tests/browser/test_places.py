"""The page behind nginx below a prefix, and inside of another application."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from tests.browser.uploader import (
    MEBI,
    Visit,
    digest_of,
    made_file,
    stored_digests,
    url_of,
)
from tests.e2e.nginx import nginx
from tests.servers import running
from tests.tus import Tus
from tusserver import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

    from tests.conftest import Serve


def assert_it_uploads(visit: Visit, url: str, directory: Path) -> None:
    """Through a pause and a reload, with every request below the URL of the page."""
    file = made_file(directory / "in", "a.bin", 8 * MEBI)
    uploader = visit(url)
    uploader.throttle(2 * MEBI)
    uploader.choose(file)
    uploader.wait_for_percent("a.bin", 15)
    uploader.press("Pause", "a.bin")
    uploader.press("Resume", "a.bin")
    uploader.wait_for_percent("a.bin", 30)
    uploader.page.reload()
    expect(uploader.page.locator(".tus-unfinished")).to_contain_text("a.bin")
    uploader.throttle(-1)
    uploader.choose(file)
    uploader.expect_done("a.bin")
    assert len(uploader.traffic.sent("POST")) == 1
    prefix = urlsplit(url).path
    assert [each.path for each in uploader.traffic.asked if not each.path.startswith(prefix)] == []
    assert stored_digests(directory / "uploads", 8 * MEBI) == {digest_of(file)}


def test_the_page_works_behind_nginx_below_a_prefix(
    visit: Visit, serve: Serve, tmp_path: Path
) -> None:
    address = serve(behind_proxy=True).address
    with nginx(tmp_path / "nginx", address, "prefix") as proxy:
        assert_it_uploads(visit, url_of(proxy.tus, "/portal/uploads/"), tmp_path)


@pytest.mark.parametrize("base_path", ["/files/", "/deep/down/files/"])
def test_the_page_works_inside_another_application(
    base_path: str, visit: Visit, tmp_path: Path
) -> None:
    def home(request: Request) -> PlainTextResponse:
        return PlainTextResponse("this is the portal")

    inner = create_app(upload_dir=tmp_path / "uploads", base_path=base_path)
    routes = [Route("/", home), Mount("/portal/uploads", inner)]

    # Starlette does not tell mounted applications of start and stop.
    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with inner.router.lifespan_context(inner):
            yield

    with running(Starlette(routes=routes, lifespan=lifespan)) as server:
        assert_it_uploads(visit, url_of(Tus(server.address), "/portal/uploads/"), tmp_path)


def test_a_link_of_the_portal_fills_in_the_folder(
    visit: Visit, serve: Serve, tmp_path: Path
) -> None:
    root = tmp_path / "place"
    root.mkdir()
    tus = serve(destination_root=root, destination_template="{destination}/{filename}")
    uploader = visit(url_of(tus, "/?destination=jobs%2F42"))
    expect(uploader.page.get_by_label("Folder")).to_have_value("jobs/42")
    uploader.choose(made_file(tmp_path / "in", "first.bin", 1000))
    uploader.expect_done("first.bin")
    uploader.page.get_by_label("Folder").fill("jobs/43")
    uploader.choose(made_file(tmp_path / "in", "second.bin", 1000))
    uploader.expect_done("second.bin")
    assert (root / "jobs/42/first.bin").stat().st_size == 1000
    assert (root / "jobs/43/second.bin").stat().st_size == 1000
