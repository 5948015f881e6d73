"""What breaks in the middle of an upload: the server, the network, the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.uploader import (
    MEBI,
    Uploader,
    digest_of,
    made_file,
    stored_digests,
    url_of,
)
from tests.servers import ProcessServer, process_server
from tests.tus import Tus, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.browser.uploader import Visit


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ProcessServer]:
    with process_server(tmp_path / "uploads") as server:
        yield server


def upload_over_a_restart(
    uploader: Uploader, server: ProcessServer, file: Path, upload_dir: Path, rate: float
) -> None:
    """The server is killed when a good part of the file is there, and started again."""
    with uploader.slowly(rate):
        uploader.choose(file)
        uploader.wait_for_percent(file.name, 30)
        server.kill()
        uploader.expect_state(file.name, "The server cannot be reached. Trying again, 1 of 3")
    server.start()
    uploader.expect_done(file.name)
    assert stored_digests(upload_dir, file.stat().st_size) == {digest_of(file)}


@pytest.mark.parametrize(
    ("size", "rate"),
    [
        pytest.param(8 * MEBI, 2 * MEBI, id="in one piece"),
        pytest.param(128 * MEBI, 40 * MEBI, id="in parts"),
    ],
)
def test_an_upload_survives_the_death_of_the_server(
    size: int, rate: float, visit: Visit, server: ProcessServer, tmp_path: Path
) -> None:
    file = made_file(tmp_path / "in", "a.bin", size)
    uploader = visit(url_of(server.tus))
    upload_over_a_restart(uploader, server, file, tmp_path / "uploads", rate)
    # Not from the start again: what was on the disk was not sent anew.
    for path in uploader.traffic.uploads():
        offsets = uploader.traffic.offsets(path)
        assert offsets.count(0) == 1
        assert max(offsets) > 0


def test_a_server_that_stays_away_is_given_up_until_the_user_tries_again(
    visit: Visit, server: ProcessServer, tmp_path: Path
) -> None:
    file = made_file(tmp_path / "in", "a.bin", 6 * MEBI)
    uploader = visit(url_of(server.tus))
    with uploader.slowly():
        uploader.choose(file)
        uploader.wait_for_percent("a.bin", 20)
        server.kill()
        for attempt in (1, 2, 3):
            uploader.expect_state("a.bin", f"The server cannot be reached. Trying again, {attempt}")
        expect(uploader.button("Try again", "a.bin")).to_be_visible()
        uploader.expect_state("a.bin", "The server cannot be reached. · 6")
    server.start()
    uploader.press("Try again", "a.bin")
    uploader.expect_done("a.bin")
    assert stored_digests(tmp_path / "uploads", 6 * MEBI) == {digest_of(file)}


def test_an_upload_goes_on_by_itself_when_the_network_is_back(
    visit: Visit, tus: Tus, tmp_path: Path
) -> None:
    file = made_file(tmp_path / "in", "a.bin", 8 * MEBI)
    uploader = visit(url_of(tus))
    uploader.throttle(2 * MEBI)
    uploader.choose(file)
    uploader.wait_for_percent("a.bin", 20)
    uploader.go_offline()
    uploader.expect_state("a.bin", "No network. It goes on by itself")
    [path] = uploader.traffic.uploads()
    eventually(lambda: tus.off(path) > 0)
    kept = tus.off(path)
    uploader.throttle(-1)
    uploader.expect_done("a.bin")
    assert uploader.traffic.offsets(path)[:2] == [0, kept]
    assert tus.content(path) == file.read_bytes()


def test_after_a_reload_the_same_file_goes_on_from_where_it_was(
    visit: Visit, tus: Tus, tmp_path: Path
) -> None:
    file = made_file(tmp_path / "in", "a.bin", 8 * MEBI)
    uploader = visit(url_of(tus))
    uploader.throttle(2 * MEBI)
    uploader.choose(file)
    uploader.wait_for_percent("a.bin", 20)
    uploader.page.reload()
    expect(uploader.page.locator(".tus-unfinished")).to_contain_text("a.bin")
    uploader.throttle(-1)
    [path] = uploader.traffic.uploads()
    eventually(lambda: tus.off(path) > 0)
    kept = tus.off(path)
    uploader.choose(file)
    uploader.expect_done("a.bin")
    assert uploader.traffic.offsets(path)[:2] == [0, kept]
    assert len(uploader.traffic.sent("POST")) == 1
    assert tus.content(path) == file.read_bytes()
    uploader.page.reload()
    expect(uploader.page.locator(".tus-drop")).to_be_visible()
    expect(uploader.page.locator(".tus-unfinished")).to_have_count(0)


def test_another_file_of_the_same_name_is_not_joined_to_the_first(
    visit: Visit, tus: Tus, tmp_path: Path
) -> None:
    uploader = visit(url_of(tus))
    uploader.throttle(2 * MEBI)
    uploader.choose(made_file(tmp_path / "one", "a.bin", 8 * MEBI))
    uploader.wait_for_percent("a.bin", 20)
    uploader.page.reload()
    uploader.throttle(-1)
    other = made_file(tmp_path / "two", "a.bin", 8 * MEBI)
    uploader.choose(other)
    uploader.expect_done("a.bin")
    first, second = uploader.traffic.uploads()
    assert tus.content(second) == other.read_bytes()
    assert tus.off(first) < 8 * MEBI


def test_an_unfinished_upload_can_be_discarded(visit: Visit, tus: Tus, tmp_path: Path) -> None:
    uploader = visit(url_of(tus))
    uploader.throttle(2 * MEBI)
    uploader.choose(made_file(tmp_path / "in", "a.bin", 8 * MEBI))
    uploader.wait_for_percent("a.bin", 20)
    uploader.page.reload()
    with uploader.page.expect_response(lambda answer: answer.request.method == "DELETE"):
        uploader.press("Discard", "a.bin")
    expect(uploader.page.locator(".tus-unfinished")).to_have_count(0)
    [path] = uploader.traffic.uploads()
    assert tus.hd(path).status == 404
