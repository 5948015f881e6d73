"""The example of the manual: Uppy with its dashboard, bundled as its package.json says, from an
origin of its own.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from tests.browser import node
from tests.browser.uploader import (
    MEBI,
    Uploader,
    Visit,
    digest_of,
    made_file,
    stored_digests,
    url_of,
)
from tests.servers import process_server, running
from tests.tus import Tus, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Serve

EXAMPLE = node.ROOT / "docs" / "examples" / "uppy"

Example = Callable[[Tus], Uploader]
"""Opens the example, whose uploads go to this server."""


@pytest.fixture
def example(visit: Visit, tmp_path: Path) -> Iterator[Example]:
    with ExitStack() as stack:

        def start(tus: Tus) -> Uploader:
            site = built_example(tmp_path / "uppy", url_of(tus, "/files/"))
            server = stack.enter_context(running(Starlette(routes=[Mount("/", site)])))
            return visit(url_of(Tus(server.address)), origins=(url_of(tus, ""),))

        yield start


def built_example(directory: Path, endpoint: str) -> StaticFiles:
    shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (directory / "node_modules").symlink_to(
        node.installed(EXAMPLE / "package.json") / "node_modules"
    )
    node.run("npm", "run", "build", cwd=directory, VITE_TUS_ENDPOINT=endpoint)
    return StaticFiles(directory=directory / "dist", html=True)


def choose_and_upload(uploader: Uploader, *files: Path) -> None:
    uploader.page.locator("input[type=file]").first.set_input_files(list(files))
    uploader.page.get_by_role("button", name=re.compile(r"^Upload \d+ files?$")).click()


def test_several_files_go_up_from_another_origin(
    example: Example, serve: Serve, tmp_path: Path
) -> None:
    tus = serve()
    files = [made_file(tmp_path / "in", f"{name}.bin", 300_000 + name) for name in range(5)]
    uploader = example(tus)
    choose_and_upload(uploader, *files)
    expect(uploader.page.get_by_text("Complete", exact=True)).to_be_visible()
    paths = uploader.traffic.uploads()
    assert {tus.content(path) for path in paths} == {file.read_bytes() for file in files}
    assert all(tus.hd(path)["Upload-Metadata"].startswith("filename ") for path in paths)


def test_an_upload_survives_the_death_of_the_server(example: Example, tmp_path: Path) -> None:
    file = made_file(tmp_path / "in", "a.bin", 8 * MEBI)
    with process_server(tmp_path / "uploads") as server:
        uploader = example(server.tus)
        with uploader.slowly():
            choose_and_upload(uploader, file)
            uploader.wait_for_request("PATCH")
            eventually(lambda: any(stored_sizes(tmp_path / "uploads")))
            server.kill()
        server.start()
        expect(uploader.page.get_by_text("Complete", exact=True)).to_be_visible()
        assert stored_digests(tmp_path / "uploads", 8 * MEBI) == {digest_of(file)}
        [path] = uploader.traffic.uploads()
        assert uploader.traffic.offsets(path).count(0) == 1


def stored_sizes(directory: Path) -> list[int]:
    """Of the files with more bytes than any record of an upload has."""
    sizes = [path.stat().st_size for path in directory.rglob("*") if path.is_file()]
    return [size for size in sizes if size > 100_000]


def test_the_sentence_of_the_server_is_shown(
    example: Example, serve: Serve, tmp_path: Path
) -> None:
    uploader = example(serve(max_size=1000))
    choose_and_upload(uploader, made_file(tmp_path / "in", "a.bin", 1001))
    said = uploader.page.get_by_role("alert").get_by_text("a.bin: the upload is longer").first
    expect(said).to_contain_text("than the 1000 bytes that this server takes")
    uploader.traffic.excuse("[Uppy]")
